//! What one record of the store keeps from being stored, put aside: a file for each, so that it stands in nobody's way and a
//! person can look at it.
//!
//! `<spool>/aside/<milliseconds since 1970>-<lane>-<name>-<CRC-32>.record` holds the line that the spool would. All processes
//! that share a spool share it; whoever puts the same record aside again finds it there.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{Lane, SpoolError, home, record};

/// Records that may be put aside.
pub const ASIDE_MAX: usize = 10_000;

/// The folder for them, in that of the spool.
const FOLDER: &str = "aside";

/// The ending of their files.
const ENDING: &str = ".record";

/// How much of a record's name stands in that of its file.
const NAME_CHARS_MAX: usize = 64;

/// The place for them.
pub struct Aside {
    folder: PathBuf,
}

impl Aside {
    /// That of the spool in `spool`.
    pub fn of(spool: &Path) -> Self {
        Self { folder: spool.join(FOLDER) }
    }

    /// The names of the files, the oldest first.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names: Vec<_> =
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        let mut names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.retain(|name| name.ends_with(ENDING));
        names.sort_unstable();
        Ok(names)
    }

    /// What the file `name` holds; nothing if it is gone, or is damaged.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            line => {
                let line = line?;
                let parsed = record::parse(line.strip_suffix(b"\n").unwrap_or(&line));
                Ok(parsed.map(|(_, text)| text.to_owned()))
            }
        }
    }

    /// Deletes the file `name`.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Keeps `record`, received at `at_ms` and called `name`; it is on disk when this returns the name of its file.
    pub fn put(&self, lane: Lane, at_ms: u64, name: &str, record: &str) -> Result<String, SpoolError> {
        let unwritable = |error: io::Error| SpoolError::Unwritable(error.to_string());
        if self.list().map_err(unwritable)?.len() >= ASIDE_MAX {
            return Err(SpoolError::Full);
        }
        let line = record::line(at_ms, record);
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS_MAX).collect();
        let stem = format!("{at_ms:013}-{}-{name}-{:08x}", lane.as_str(), crc32fast::hash(&line));
        let file = format!("{stem}{ENDING}");
        self.write(&stem, &file, &line).map_err(unwritable)?;
        Ok(file)
    }

    fn write(&self, stem: &str, name: &str, line: &[u8]) -> io::Result<()> {
        home::make(&self.folder)?;
        let draft = self.folder.join(format!("{stem}.draft"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(line)?;
        file.sync_all()?;
        fs::rename(&draft, self.folder.join(name))?;
        home::sync(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_stays_until_it_is_taken_away() {
        let spool = tempfile::tempdir().unwrap();
        let aside = Aside::of(spool.path());
        assert_eq!(aside.list().unwrap(), [""; 0]);
        let later = aside.put(Lane::Replies, 20, "../SM2", "two").unwrap();
        let first = aside.put(Lane::Statuses, 3, "SM1", "one").unwrap();
        assert_eq!(aside.put(Lane::Statuses, 3, "SM1", "one").unwrap(), first);
        fs::write(spool.path().join("aside/notes.txt"), "mine").unwrap();
        let aside = Aside::of(spool.path());
        assert_eq!(aside.list().unwrap(), [first.clone(), later.clone()]);
        assert!(later.starts_with("0000000000020-replies-SM2-"), "{later}");
        assert_eq!(aside.read(&later).unwrap().as_deref(), Some("two"));
        aside.remove(&first).unwrap();
        aside.remove(&first).unwrap();
        assert_eq!((aside.read(&first).unwrap(), aside.list().unwrap()), (None, vec![later]));
    }
}
