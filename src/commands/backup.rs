//! `textledger backup`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use tempfile::Builder;

use super::{Misuse, complain, configure, folder_of, say};
use crate::startup::{self, backup};

/// After how many further bytes the progress is told.
const PROGRESS_BYTES: u64 = 256 << 20;

/// Run it with the service's settings, as the user that the service runs as. The service goes on meanwhile; the backup is of
/// one instant, and holds everything that was acknowledged before it began. The file holds phone numbers: it is its owner's
/// alone.
#[derive(Args)]
#[command(after_help = "Example:
  textledger backup /backup/textledger-2026-01-31")]
pub(super) struct Backup {
    /// The file to write, which must not be there yet; it appears when it is whole.
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let (store, name) = (backup::folder(&config)?, self.file.display());
        let exists = || Misuse(format!("{name} is there already: name another file"));
        if fs::symlink_metadata(&self.file).is_ok() {
            return Err(exists().into());
        }
        let folder = folder_of(&self.file);
        let cannot = |error: io::Error| Misuse(format!("cannot write {name}: {error}"));
        // If the command is killed it stays, and has to tell what it is.
        let mut draft =
            Builder::new().prefix("textledger-").suffix(".draft").tempfile_in(folder).map_err(cannot)?;
        backup::write(store, Told { file: draft.as_file_mut(), bytes: 0 })?;
        let contents = backup::check(draft.as_file_mut())?;
        draft.as_file().sync_all().map_err(cannot)?;
        draft.persist_noclobber(&self.file).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => cannot(error.error),
        })?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)?;
        say(format_args!("{name}: {} rows, {} bytes", contents.rows, contents.bytes))?;
        let key = startup::secret_file(&config, startup::MASTER_KEY)
            .map_or_else(|| startup::MASTER_KEY.to_owned(), |file| file.display().to_string());
        say(format_args!(
            "the master key is not in it: keep {key} too, in another place, since nothing that is sealed opens without it"
        ))
    }
}

/// Writes, and tells how far it is.
struct Told<'a> {
    file: &'a mut File,
    bytes: u64,
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let before = self.bytes;
        self.bytes += written as u64;
        if self.bytes / PROGRESS_BYTES > before / PROGRESS_BYTES {
            complain(format_args!("{} MiB", self.bytes >> 20));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
