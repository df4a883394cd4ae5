//! The database's file: made whole or not at all, and opened again after an error of the disk.

use std::{
    cell::Cell,
    fs,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::anyhow;
use redb::{Builder, Database, ReadTransaction, ReadableDatabase};

use super::{Error, FILE_NAME, OpenError, damage::unless_damaged, tables::prepare};
use crate::domain::UnixMs;

/// Memory that is used for pages of the file, in bytes: enough for the inner pages of tens of millions of records, and for those
/// that change most. redb takes 1 GiB if it is not told, and has all of it after a million messages; what is not kept here
/// the system mostly has in its own cache, which it gives away when somebody needs the memory.
const CACHE_BYTES: usize = 128 << 20;

/// What the name of a file ends in that is not whole yet.
const DRAFT: &str = "draft";

/// The file, and the database in it while that is open.
pub(super) struct DatabaseFile {
    path: PathBuf,
    access: RwLock<Access>,
    /// Whether the last write succeeded.
    is_writable: AtomicBool,
}

/// Whether the database can be used.
enum Access {
    Open(Database),
    /// It is about to be opened again, or could not be.
    Failed,
    /// It was closed, and stays so.
    Closed,
}

impl DatabaseFile {
    /// Opens the database in `folder`, or makes it if there is no file; with it comes the newest event.
    ///
    /// A file of no bytes is one that was lost, since a new one is never seen before it is whole.
    pub(super) fn open(folder: &Path) -> Result<(Self, (UnixMs, u64)), OpenError> {
        let path = folder.join(FILE_NAME);
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            metadata => Some(metadata.map_err(|error| in_folder(folder, error))?.len()),
        };
        let (database, last) = match length {
            Some(0) => return Err(OpenError::Empty { path }),
            Some(_) => {
                let open = || {
                    let database = database().open(&path).map_err(|error| failed(&path, error))?;
                    remove_drafts(folder);
                    let last = prepare(&database, &path).map_err(|error| failed(&path, error))?;
                    Ok((database, last))
                };
                unless_damaged(open, |damage| failed(&path, damage))?
            }
            None => {
                let database = create(folder, &path, |_| Ok::<_, OpenError>(()))?;
                let last = prepare(&database, &path).map_err(|error| failed(&path, error))?;
                (database, last)
            }
        };
        let access = RwLock::new(Access::Open(database));
        Ok((Self { path, access, is_writable: AtomicBool::new(true) }, last))
    }

    /// Runs `job` on the database, which stays open meanwhile.
    pub(super) fn with<T>(&self, job: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        match &*self.access() {
            Access::Open(database) => job(database),
            Access::Failed => {
                Err(Error::Unavailable(anyhow!("the store's file could not be opened again so far")))
            }
            Access::Closed => Err(Error::Unavailable(anyhow!("the store is closed"))),
        }
    }

    /// A view of what is committed now, which holds up nobody: neither who writes, nor who has to close the database, after which
    /// nothing more can be read of it.
    pub(super) fn view(&self) -> Result<ReadTransaction, Error> {
        self.with(|database| database.begin_read().map_err(super::unavailable))
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the last write succeeded, as the writer has noted.
    pub(super) fn is_writable(&self) -> bool {
        self.is_writable.load(Ordering::Relaxed)
    }

    /// Notes whether the last write succeeded.
    pub(super) fn note_written(&self, is_written: bool) {
        self.is_writable.store(is_written, Ordering::Relaxed);
    }

    /// Whether it has to be opened again before anything can be written: redb takes nothing more after an error of the disk.
    pub(super) fn is_spent(&self) -> bool {
        match &*self.access() {
            Access::Open(database) => database.begin_write().is_err(),
            Access::Failed => true,
            Access::Closed => false,
        }
    }

    /// Closes the database, once what is read of it has been, and opens it again. If that fails it stays closed.
    pub(super) fn open_again(&self) -> Result<(), OpenError> {
        // Nobody waits for the lock while it is opened.
        self.replace(Access::Failed);
        let database = database().open(&self.path).map_err(|error| failed(&self.path, error))?;
        self.replace(Access::Open(database));
        Ok(())
    }

    /// Closes the database for good, once what is under way on it is done. The next one who opens it has nothing to look through.
    pub(super) fn close(&self) {
        self.replace(Access::Closed);
    }

    fn access(&self) -> RwLockReadGuard<'_, Access> {
        self.access.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, access: Access) {
        let mut current = self.access.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*current, Access::Closed) {
            *current = access;
        }
    }
}

/// How databases are opened.
pub(super) fn database() -> Builder {
    let mut builder = Database::builder();
    let told = Cell::new(None);
    builder.set_cache_size(CACHE_BYTES).set_repair_callback(move |repair| {
        let tenths = (repair.progress() * 10.0) as u32;
        if told.replace(Some(tenths)) != Some(tenths) {
            tracing::warn!(
                percent = tenths * 10,
                "the embedded store was not closed: its file is looked through before it is used"
            );
        }
    });
    builder
}

/// Makes the store's folder, if it is not there.
pub(super) fn create_folder(folder: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(folder).map_err(|error| in_folder(folder, error))
}

/// Makes the database under another name, has `fill` write into it and links it into place, so that a crash meanwhile leaves no
/// file that redb cannot open or that is not full, and of two processes the first has it.
pub(super) fn create<E: From<OpenError>>(
    folder: &Path,
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), E>,
) -> Result<Database, E> {
    let of_folder = |error| in_folder(folder, error);
    let draft = path.with_extension(format!("{:016x}.{DRAFT}", rand::random::<u64>()));
    // It holds people's numbers: for its owner alone.
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(of_folder)?;
    let made = database().create(&draft).map_err(|error| E::from(failed(&draft, error)));
    let linked = made.and_then(|database| {
        fill(&database)?;
        fs::hard_link(&draft, path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => OpenError::InUse { path: path.to_owned() },
            _ => of_folder(error),
        })?;
        Ok(database)
    });
    fs::remove_file(&draft).map_err(of_folder)?;
    let database = linked?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(of_folder)?;
    Ok(database)
}

/// Removes what crashes have left of files that were being made. Whoever has the file open may: nobody else can make one now.
fn remove_drafts(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("textledger.") && name.ends_with(&format!(".{DRAFT}")) {
            // It takes up room, and does no harm.
            drop(fs::remove_file(entry.path()));
        }
    }
}

pub(super) fn in_folder(folder: &Path, error: std::io::Error) -> OpenError {
    OpenError::Folder { path: folder.to_owned(), error }
}

pub(super) fn failed(path: &Path, error: impl Into<redb::Error>) -> OpenError {
    let path = path.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        error => OpenError::Database { path, error: Box::new(error) },
    }
}
