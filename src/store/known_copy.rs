//! The known copy: what is known of the store, in a file of the data folder, so that a restart knows it too.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{KnownStore, fault};

/// The file's name.
pub const NAME: &str = "known_store";

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// What is known.
    pub store: KnownStore,
    /// A digest of where the store was reached, which may hold a password.
    pub place: String,
}

/// Where the copy is.
#[derive(Debug)]
pub struct KnownCopy {
    path: PathBuf,
}

/// Why a copy cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk.
    #[error(transparent)]
    File(#[from] io::Error),
    /// What stands in it.
    #[error("{0}")]
    Unreadable(String),
}

impl KnownCopy {
    /// That in `folder`.
    pub fn of(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` if there is none.
    pub fn read(&self) -> Result<Option<Copied>, CopyError> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| CopyError::Unreadable(fault(&error)))
    }

    /// Writes it, for its owner alone, whole or not at all. What another process over the same folder has seen stays known.
    pub fn write(&self, copied: &Copied) -> Result<(), CopyError> {
        let mut copied = copied.clone();
        if let Ok(Some(there)) = self.read() {
            copied.store.merge(&there.store);
            if there == copied {
                return Ok(());
            }
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut draft = tempfile::Builder::new().prefix(NAME).suffix(".draft").tempfile_in(folder)?;
        draft.write_all(&serde_json::to_vec(&copied).expect("what is known has string keys"))?;
        draft.as_file().sync_all()?;
        draft.persist(&self.path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{domain::Organization, store::Mark};

    #[test]
    fn a_copy_is_its_owners_alone_and_keeps_what_others_have_seen() {
        let folder = tempfile::tempdir().unwrap();
        let copy = KnownCopy::of(&folder.path().join("data"));
        assert_eq!(copy.read().unwrap(), None);
        let mark = Mark::new();
        let seen = |partition, changes| Copied {
            store: KnownStore {
                mark: mark.clone(),
                changes: [(Organization::default(), [(partition, changes)].into())].into(),
            },
            place: "here".to_owned(),
        };
        copy.write(&seen(0, 4)).unwrap();
        copy.write(&seen(0, 3)).unwrap();
        copy.write(&seen(1, 2)).unwrap();
        assert_eq!(copy.read().unwrap().unwrap().store.changes_in_all(), 6);
        assert_eq!(fs::metadata(copy.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("data")).unwrap().count(), 1);
        fs::write(copy.path(), "{").unwrap();
        assert!(copy.read().unwrap_err().to_string().contains("ends early"));
    }
}
