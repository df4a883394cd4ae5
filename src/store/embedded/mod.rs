//! The store on one machine: one file, written by one thread.
//!
//! redb: a copy-on-write B-tree whose file is whole after a crash at any point; pure Rust, a stable file format, readers
//! that never wait for the writer. A log-structured engine would write faster; group commit makes the difference small, and
//! one file with transactions over several tables is simpler to trust.
//!
//! **Group commit.** Writes are jobs for the writer thread. It takes one, then as many more as wait, runs them in
//! one transaction, commits, and only then answers them all. So a write waits for at most two commits, and many
//! share one.

mod audit;
pub mod backup;
mod consents;
mod counts;
mod damage;
mod deliveries;
mod documents;
mod dry_run;
mod erasure;
mod events;
mod file;
mod outbox;
mod persons;
mod recognition;
mod retention;
mod tables;
mod tasks;
pub mod upkeep;
mod writer;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableDatabase};
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    damage::is_damage,
    file::{DatabaseFile, create_folder},
    tables::Tables,
    writer::{Job, write_loop},
};
use super::{Error, FileFault, Known, Store, pseudonyms::Pseudonyms};
use crate::{
    clock::Clock,
    domain::{Person, UnixMs},
    sampling::Sampled,
    sealing::MasterKeys,
};

/// The database's file, in the store's folder.
pub const FILE_NAME: &str = "textledger.redb";

/// Writes that may wait for the writer thread; one more waits outside.
const QUEUE_MAX: usize = 4_096;

/// Lines a minute about a damaged file: whoever reads the same page again finds the same.
const DAMAGE_LINES: u32 = 1;

/// The embedded store. Dropping it ends the writer thread after the writes it has taken.
pub struct EmbeddedStore {
    file: Arc<DatabaseFile>,
    writes: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    last_event: watch::Receiver<(UnixMs, u64)>,
    clock: Arc<dyn Clock>,
    /// By which erased persons are still known.
    pseudonyms: Pseudonyms,
    /// Lines about a damaged file.
    damage: Sampled<()>,
    damaged_reads: AtomicU64,
    known: Known,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, or creates it there.
    ///
    /// Fails if the folder or file cannot be written, another process has it open, or the file has been emptied.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        create_folder(folder)?;
        let (file, last) = DatabaseFile::open(folder)?;
        let file = Arc::new(file);
        let (writes, queue) = mpsc::channel(QUEUE_MAX);
        let (announce, last_event) = watch::channel(last);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let (file, clock) = (file.clone(), clock.clone());
                move || write_loop(&file, queue, &announce, clock.as_ref())
            })
            .map_err(|error| OpenError::Folder { path: folder.to_owned(), error })?;
        Ok(Self {
            file,
            writes: Some(writes),
            writer: Some(writer),
            last_event,
            clock,
            pseudonyms: Pseudonyms::default(),
            damage: Sampled::new(DAMAGE_LINES),
            damaged_reads: AtomicU64::new(0),
            known: Known::default(),
        })
    }

    /// The same store, in which what is secret is sealed with `keys`. Nobody's consent is read without them.
    pub fn sealed_with(mut self, keys: impl Into<Option<MasterKeys>>) -> Self {
        self.pseudonyms = Pseudonyms::new(keys.into());
        self
    }

    /// Runs `job` in the next transaction and returns its result once that is on disk. Nothing is written into a store that is
    /// not the known one.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.known.check()?;
        self.write_anyway(job).await
    }

    /// The same, whatever is known of the store.
    async fn write_anyway<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        // The caller may have gone away before it is answered; the write stands all the same.
        let job: Job = Box::new(move |tables| match job(tables) {
            Err(Error::Unavailable(error)) => {
                let failure = Error::Unavailable(anyhow::anyhow!("{error:#}"));
                drop(answer.send(Err(Error::Unavailable(error))));
                Err(failure)
            }
            result => Ok(Box::new(move |committed| drop(answer.send(committed.and(result))))),
        });
        let stopped = || Error::Unavailable(anyhow::anyhow!("the store's writer has stopped"));
        let dropped = "nothing is written for a moment, after a failure of which a line of its own tells";
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| Error::Unavailable(anyhow::anyhow!(dropped)))?
    }

    /// Runs `job` on what is committed now, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            file.with(|database| job(&database.begin_read().map_err(unavailable)?))
        });
        match read.await {
            Ok(Err(Error::Unavailable(error))) if is_damage(&error) => Err(self.damaged(&error)),
            Ok(read) => read,
            Err(error) if error.is_panic() => Err(self.damaged(&error)),
            Err(error) => Err(Error::Unavailable(error.into())),
        }
    }

    /// Tells the operator that a part of the file is not as redb wrote it, where redb fails or panics, and fails the read that came
    /// upon it alone.
    fn damaged(&self, error: &dyn Display) -> Error {
        self.damaged_reads.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.damage.note(()) {
            tracing::error!(
                %error,
                left_out,
                mend = "stop the service and restore a backup of the file, or look for what is wrong with the disk",
                "the embedded store's file is damaged"
            );
        }
        Error::Unreadable(format!("the store's file is damaged: {error}"))
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by the panic hook already.
            drop(writer.join());
        }
    }
}

/// Why the embedded store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or its thread not started.
    #[error("cannot use the folder {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another textledger", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and has no bytes.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot open {}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<redb::Error>,
    },
}

#[async_trait]
impl Store for EmbeddedStore {
    fn partition(&self, _person: &Person) -> u16 {
        0
    }

    async fn ping(&self) -> Result<(), Error> {
        self.write_anyway(|_| Ok(())).await
    }

    fn file_bytes(&self) -> Option<u64> {
        Some(std::fs::metadata(self.file.path()).ok()?.len())
    }

    fn file_fault(&self) -> Option<FileFault> {
        match self.file.is_writable() {
            false => Some(FileFault::Unwritable),
            true => (self.damaged_reads() > 0).then_some(FileFault::Damaged),
        }
    }

    fn damaged_reads(&self) -> u64 {
        self.damaged_reads.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        let file = self.file.clone();
        // A read or a commit that is under way may take a moment.
        if let Err(error) = tokio::task::spawn_blocking(move || file.close()).await {
            tracing::error!(%error, "the embedded store could not be closed");
        }
    }

    /// Returns when the writer has panicked, as redb does on a damaged page: nothing is written any more.
    async fn lost(&self) -> anyhow::Error {
        if let Some(writes) = &self.writes {
            writes.closed().await;
        }
        anyhow::anyhow!(
            "the embedded store's writer has failed, and nothing can be stored: start textledger again, as a supervisor does; if \
             it happens again, restore a backup of the store's file"
        )
    }
}

/// A failure of the database is one of the store, whatever its cause.
fn unavailable(error: impl Into<redb::Error>) -> Error {
    Error::Unavailable(error.into().into())
}
