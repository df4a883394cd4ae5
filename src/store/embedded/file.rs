//! The database's file: made whole or not at all.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError};

use super::{FILE_NAME, OpenError};

/// Memory that is used for pages of the file, in bytes: enough for the inner pages of tens of millions of records, and for those
/// that change most. redb takes 1 GiB if it is not told, and has all of it after a million messages; what is not kept here
/// the system mostly has in its own cache, which it gives away when somebody needs the memory.
const CACHE_BYTES: usize = 128 << 20;

/// What the name of a file ends in that is not whole yet.
const DRAFT: &str = "draft";

/// Opens the database in `folder`, or makes it if there is no file.
///
/// A file of no bytes is one that was lost, since a new one is never seen before it is whole.
pub(super) fn open(folder: &Path) -> Result<Database, OpenError> {
    let path = folder.join(FILE_NAME);
    let length = match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        metadata => Some(metadata.map_err(|error| in_folder(folder, error))?.len()),
    };
    match length {
        Some(0) => Err(OpenError::Empty { path }),
        Some(_) => {
            let database = database().open(&path).map_err(|error| failed(&path, error))?;
            remove_drafts(folder);
            Ok(database)
        }
        None => create(folder, path),
    }
}

/// How databases are opened.
pub(super) fn database() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes the database under another name and links it into place, so that a crash meanwhile leaves no file that redb cannot open,
/// and of two processes the first has it.
fn create(folder: &Path, path: PathBuf) -> Result<Database, OpenError> {
    let of_folder = |error| in_folder(folder, error);
    let draft = path.with_extension(format!("{:016x}.{DRAFT}", rand::random::<u64>()));
    // It holds people's numbers: for its owner alone.
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(of_folder)?;
    let database = database().create(&draft).map_err(|error| failed(&draft, error))?;
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft).map_err(of_folder)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(OpenError::InUse { path }),
        linked => linked
            .and_then(|()| fs::File::open(folder)?.sync_all())
            .map(|()| database)
            .map_err(of_folder),
    }
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

fn in_folder(folder: &Path, error: std::io::Error) -> OpenError {
    OpenError::Folder { path: folder.to_owned(), error }
}

fn failed(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        error => OpenError::Database { path, error: Box::new(error.into()) },
    }
}
