//! The folder of a spool that is one process's own, and those that nobody holds any more.
//!
//! A process holds its folder by the lock on the file `lock` in it. A lock goes with its process, and with its file: a folder
//! that was removed, and made again by somebody else, is held by whoever has locked the file that is there now.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{owner, segment};

/// Processes that may share a spool.
const FOLDERS_MAX: u32 = 64;

/// The file whose lock holds a folder.
const LOCK_FILE: &str = "lock";

/// A folder that this process holds.
pub(super) struct Home {
    pub(super) folder: PathBuf,
    lock: File,
}

impl Home {
    /// Takes the first folder below `spool` that nobody holds and that is open to the first of `stores`, and makes it if need be.
    /// One that cannot be used stands in nobody's way.
    pub(super) fn claim(spool: &Path, stores: &[String]) -> io::Result<Self> {
        make(spool)?;
        let mut fault = None;
        for number in 0..FOLDERS_MAX {
            let folder = spool.join(number.to_string());
            let held = make(&folder).and_then(|()| Self::hold(folder, stores));
            match held.and_then(|home| home.map(|home| home.marked(stores)).transpose()) {
                Ok(Some(home)) => return Ok(home),
                Ok(None) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        Err(fault.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("{FOLDERS_MAX} processes share it already"))
        }))
    }

    /// The folders below `spool`, other than `own`, that nobody holds, that are open to the first of `stores` and that have something
    /// in them: held until they are dropped, so that a process that starts meanwhile leaves them alone.
    pub(super) fn abandoned<'a>(
        spool: &Path,
        own: &Path,
        stores: &'a [String],
    ) -> impl Iterator<Item = io::Result<Self>> + use<'a> {
        let own = own.to_owned();
        folders(spool).filter(move |folder| *folder != own).filter_map(|folder| {
            // Looked at before it is held: a process that starts is not to find an empty folder taken.
            match segments(&folder) {
                Ok(found) if found.is_empty() => None,
                Ok(_) => Self::hold(folder, stores).transpose(),
                Err(error) => (error.kind() != io::ErrorKind::NotFound).then_some(Err(error)),
            }
        })
    }

    /// Holds `folder`, unless somebody else does, or it is of another store than the first of `stores` and those that it stands for.
    fn hold(folder: PathBuf, stores: &[String]) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let home = Self { folder, lock };
        // Removed in the moment before it was locked: what is there now may be somebody else's.
        let is_open = home.is_held() && owner::is_open_to(&home.folder, stores)?;
        Ok(is_open.then_some(home))
    }

    /// The same, naming the first of `stores` as the one that it is of.
    fn marked(self, stores: &[String]) -> io::Result<Self> {
        owner::claim(&self.folder, stores)?;
        Ok(self)
    }

    /// Whether the folder is there and still this process's.
    pub(super) fn is_held(&self) -> bool {
        is_in_place(&self.lock, &self.folder.join(LOCK_FILE))
    }

    /// The segments in it, the oldest of each lane first.
    pub(super) fn segments(&self) -> io::Result<Vec<PathBuf>> {
        segments(&self.folder)
    }
}

/// The folders of processes below `spool` that are there, whoever holds them.
pub fn folders(spool: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let spool = spool.to_owned();
    (0..FOLDERS_MAX).map(move |number| spool.join(number.to_string())).filter(|folder| folder.exists())
}

/// Whether `path` leads to `file`: what is written into a file that was removed is lost.
pub(super) fn is_in_place(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
}

/// Has it on disk which files are in `folder`.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes `folder`, if it is not there. It holds people's numbers: it is for its owner alone.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if segment::name_of(&path).is_some() {
            segments.push(path);
        }
    }
    segments.sort();
    Ok(segments)
}
