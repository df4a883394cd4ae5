//! Whose records a folder holds: a file beside its segments names the store that they are meant for.
//!
//! What was told of one store's messages is wrong in another. So a process uses, and takes over, the folders of its own store, and
//! those of stores that its own stands for. A folder that names none is of an earlier version, and the first one's who comes.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

/// The file with the store's name.
const NAME: &str = "store";

/// Whether a process may have `folder` that applies records to the first of `stores`, which stands for the others.
pub(super) fn is_open_to(folder: &Path, stores: &[String]) -> io::Result<bool> {
    Ok(named(folder)?.is_none_or(|store| stores.contains(&store)))
}

/// Has `folder` name the first of `stores`, if there is any.
pub(super) fn claim(folder: &Path, stores: &[String]) -> io::Result<()> {
    let Some(store) = stores.first() else { return Ok(()) };
    if named(folder)?.as_ref() == Some(store) {
        return Ok(());
    }
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(store.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(folder.join(NAME)).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

fn named(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        named => Ok(Some(named?.trim().to_owned())),
    }
}
