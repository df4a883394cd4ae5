//! What is done to a store's file that nobody has open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    FILE_NAME, OpenError,
    damage::unless_damaged,
    dry_run::DryRun,
    file::{database, failed, in_folder},
};

/// The length of a file before and after it was compacted, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Moves everything in the file of the store in `folder` to its beginning, and gives the rest of it back to the disk. The file is whole
/// at any moment.
///
/// Fails if there is no store, another process has it open, or the file cannot be written or is damaged.
pub fn compact(folder: &Path) -> Result<Compacted, OpenError> {
    let (path, before) = file_in(folder)?;
    let failed = |error| failed(&path, error);
    let run = || {
        let mut database = database().open(&path)?;
        database.compact()?;
        Ok(())
    };
    unless_damaged(run, |damage| damage).map_err(failed)?;
    Ok(Compacted { before, after: file_in(folder)?.1 })
}

/// Compares every page of the file of the store in `folder` with its checksum, which takes as long as reading the file, and returns
/// the file's length in bytes. Nothing is changed in it.
///
/// Fails if there is no store, another process has it open, or the file is damaged.
pub fn check_pages(folder: &Path) -> Result<u64, OpenError> {
    let (path, length) = file_in(folder)?;
    let run = || {
        let mut database = database().create_with_backend(DryRun::open(&path)?)?;
        match database.check_integrity()? {
            true => Ok(length),
            // redb would mend it: which pages are free, or which commit is the newest, is not as it was written.
            false => {
                Err(redb::Error::Corrupted("what it says of its pages is not as it was written".to_owned()))
            }
        }
    };
    unless_damaged(run, |damage| damage).map_err(|error| failed(&path, error))
}

/// The file of the store in `folder`, and its length.
fn file_in(folder: &Path) -> Result<(PathBuf, u64), OpenError> {
    let path = folder.join(FILE_NAME);
    match fs::metadata(&path).map_err(|error| in_folder(folder, error))?.len() {
        0 => Err(OpenError::Empty { path }),
        length => Ok((path, length)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use redb::{Database, ReadableDatabase, ReadableTable};

    use super::*;
    use crate::{
        clock::SystemClock,
        store::{
            Store,
            embedded::{EmbeddedStore, tables::EVENTS},
        },
    };

    fn events(folder: &Path) -> Vec<(u64, Vec<u8>)> {
        let database = Database::open(folder.join(FILE_NAME)).unwrap();
        let table = database.begin_read().unwrap().open_table(EVENTS).unwrap();
        let rows = table.iter().unwrap().map(Result::unwrap);
        rows.map(|(key, value)| (key.value().1, value.value().to_vec())).collect()
    }

    #[test]
    fn a_file_gives_back_what_was_taken_away_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(compact(folder), Err(OpenError::Folder { .. })));
        drop(EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap());
        let database = Database::open(folder.join(FILE_NAME)).unwrap();
        // What is kept is all over the file.
        for is_kept in [None, Some(|ms: u64| ms.is_multiple_of(50))] {
            let transaction = database.begin_write().unwrap();
            let mut table = transaction.open_table(EVENTS).unwrap();
            for ms in 0..20_000 {
                match is_kept {
                    None => drop(table.insert(("default", ms, 0), [b'x'; 200].as_slice()).unwrap()),
                    Some(is_kept) if !is_kept(ms) => drop(table.remove(("default", ms, 0)).unwrap()),
                    Some(_) => {}
                }
            }
            drop(table);
            transaction.commit().unwrap();
        }
        assert!(matches!(compact(folder), Err(OpenError::InUse { .. })));
        drop(database);
        let (kept, checked) = (events(folder), check_pages(folder).unwrap());
        assert_eq!(kept.len(), 400);
        let compacted = compact(folder).unwrap();
        assert!(compacted.after * 2 < compacted.before, "{compacted:?}");
        assert!(checked >= compacted.after, "{checked}");
        assert_eq!(events(folder), kept);
    }

    /// As a kill leaves it: redb does not look at what is in it when it is opened.
    #[tokio::test]
    async fn a_file_that_was_not_closed_is_checked_and_not_changed() {
        let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
        store.ping().await.unwrap();
        let file = killed.path().join(FILE_NAME);
        fs::copy(folder.path().join(FILE_NAME), &file).unwrap();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(check_pages(killed.path()).unwrap(), bytes.len() as u64);
        assert!(fs::read(&file).unwrap() == bytes);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        drop(EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap());
        let database = Database::open(folder.join(FILE_NAME)).unwrap();
        let transaction = database.begin_write().unwrap();
        let word = b"zirconzirconzircon".as_slice();
        transaction.open_table(EVENTS).unwrap().insert(("default", 1, 0), word).unwrap();
        transaction.commit().unwrap();
        drop(database);
        check_pages(folder).unwrap();
        let file = folder.join(FILE_NAME);
        let mut bytes = fs::read(&file).unwrap();
        let place = bytes.windows(word.len()).rposition(|some| some == word).unwrap();
        bytes[place] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let error = check_pages(folder).unwrap_err();
        assert!(matches!(&error, OpenError::Database { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}
