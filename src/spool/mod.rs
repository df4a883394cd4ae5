//! A local, durable waiting room for what must be acknowledged while the store is away.
//!
//! Records are appended to segment files, one file after the other per lane, and read back in that order. A record is
//! acknowledged once it is on disk (`fdatasync`; many share one). What has been read and dealt with is confirmed; a
//! segment all of whose records are confirmed is deleted. Only that is remembered across a crash, so records may be
//! read twice and whoever applies them must allow for it.
//!
//! ```text
//! <spool>/0/lock                       held by the process that uses this folder
//! <spool>/0/store                      the store that its records are meant for
//! <spool>/0/replies-00000000000000000001.spool
//! <spool>/0/statuses-00000000000000000001.spool
//! ```
//!
//! Processes that share a spool take a folder each (`0`, `1`, …), and take over what is left in those of processes that have
//! ended, if it was meant for the same store: file by file, by a new name for each, so that a crash in the middle leaves every
//! file in one of the two. A process never appends to a file of an earlier one: a record that was torn by a crash is the last of
//! its file, is found by its checksum, and stands in nobody's way.
//!
//! A folder that is removed while its process runs is made again, or another one is taken.

mod aside;
mod home;
mod owner;
mod record;
mod segment;
mod writer;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

pub use self::{
    aside::{ASIDE_MAX, Aside},
    home::folders,
    segment::Batch,
};
use self::{
    home::Home,
    segment::{Queue, Segment},
    writer::Job,
};

/// Records that may wait to be written; one more waits outside.
const WRITES_MAX: usize = 1_024;

/// The file that is written to see whether one can be.
const PROBE_FILE: &str = "probe";

/// What is written into it: as much as a disk gives at once.
const PROBE_BYTES: usize = 4_096;

/// Room for a record of ordinary size, in bytes: with less than this left, most are turned away.
const RECORD_BYTES: u64 = 2_048;

/// The shortest time between two such looks, whoever asks for them.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A spool that was full takes a record again as soon as it fits, and is called full until so large a part of it is empty: one
/// in so many.
const ROOM_AGAIN: u64 = 10;

/// What records are kept apart by: each lane is read in its own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// What people wrote.
    Replies,
    /// What became of messages.
    Statuses,
}

impl Lane {
    /// All of them, the one that is read first first.
    pub const ALL: [Lane; 2] = [Lane::Replies, Lane::Statuses];

    fn as_str(self) -> &'static str {
        match self {
            Lane::Replies => "replies",
            Lane::Statuses => "statuses",
        }
    }
}

/// Why a record could not be kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// It has reached the size that it may have.
    #[error("the spool is full")]
    Full,
    /// The disk refused.
    #[error("the spool cannot be written: {0}")]
    Unwritable(String),
}

/// Why the spool would turn away what it was given now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It has the size that it may have.
    Full,
    /// The disk refuses, with these words.
    Unwritable(String),
}

impl Fault {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Fault::Full => "full",
            Fault::Unwritable(_) => "unwritable",
        }
    }
}

/// How much is in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Records that are not confirmed.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest of them was received: milliseconds since 1970.
    pub oldest_ms: Option<u64>,
}

/// The spool. Dropping it ends the writer thread after the records it has taken.
pub struct Spool {
    shared: Arc<Shared>,
    writes: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    probed: Mutex<Option<Instant>>,
    aside: Aside,
}

struct Shared {
    /// Where the folders of all processes are.
    spool: PathBuf,
    bytes_max: u64,
    home: Mutex<Home>,
    /// The names of the store that records are meant for, and of those that it stands for. Locked after `home`.
    stores: Mutex<Vec<String>>,
    queues: Mutex<[Queue; 2]>,
    fault: Mutex<Option<Fault>>,
    /// Records whose files were removed before they reached the store.
    lost: AtomicU64,
}

// Nothing that holds one of the locks can panic half-way.
impl Shared {
    fn queues(&self) -> MutexGuard<'_, [Queue; 2]> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self) -> MutexGuard<'_, Home> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stores(&self) -> MutexGuard<'_, Vec<String>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> u64 {
        self.queues().iter().map(Queue::bytes).sum()
    }

    /// Takes in what is in the own folder and not known yet.
    fn load(&self, home: &Home) -> io::Result<()> {
        for path in home.segments()? {
            let Some((lane, _)) = segment::name_of(&path) else { continue };
            if self.queues()[lane as usize].has(&path) {
                continue;
            }
            let segment = Segment::found(&path)?;
            if segment.is_empty() {
                segment.remove()?;
            } else {
                self.queues()[lane as usize].add(segment);
            }
        }
        Ok(())
    }

    /// Takes a folder again if the own one is not there any more, or is another's; whether that was so.
    fn settle(&self) -> io::Result<bool> {
        let mut home = self.home();
        if home.is_held() {
            return Ok(false);
        }
        *home = Home::claim(&self.spool, &self.stores())?;
        tracing::warn!(
            folder = %home.folder.display(),
            "the spool's folder was removed, or is another's by now: this one is used"
        );
        self.load(&home)?;
        Ok(true)
    }

    /// Notes how a try to write has ended, and tells the operator when that begins to fail and when it ends.
    fn note(&self, fault: Option<Fault>) {
        let mut known = self.fault();
        // Where a short record fits still, a longer one may not.
        let is_still_full =
            || *known == Some(Fault::Full) && self.bytes() > self.bytes_max - self.bytes_max / ROOM_AGAIN;
        if *known == fault || (fault.is_none() && is_still_full()) {
            return;
        }
        match &fault {
            Some(Fault::Full) => tracing::error!(
                bytes_max = self.bytes_max,
                mend = "bring the store back, or raise TEXTLEDGER_SPOOL_MAX",
                "the spool is full: webhooks are turned away until there is room"
            ),
            // The same one in other words is not told again.
            Some(Fault::Unwritable(_)) if matches!(*known, Some(Fault::Unwritable(_))) => {}
            Some(Fault::Unwritable(error)) => tracing::error!(
                error,
                mend = "make the folder of TEXTLEDGER_SPOOL_DIR writable, and see that its disk has room",
                "the spool cannot be written: while the store is away, webhooks are turned away"
            ),
            None => tracing::info!("the spool takes webhooks again"),
        }
        *known = fault;
    }
}

impl Spool {
    /// Opens the spool in `folder`, which is made if need be, and takes over what is left in it. It may become
    /// `bytes_max` bytes large. What was kept for a store is nobody's.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        Self::open_for(Vec::new(), folder, bytes_max)
    }

    /// The same for the first of `stores`, by name: of what is left in `folder`, that which was kept for one of them is taken over.
    pub fn open_for(stores: Vec<String>, folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            spool: folder.to_owned(),
            bytes_max,
            home: Mutex::new(Home::claim(folder, &stores)?),
            stores: Mutex::new(stores),
            queues: Mutex::default(),
            fault: Mutex::default(),
            lost: AtomicU64::default(),
        });
        shared.load(&shared.home())?;
        let (writes, waiting) = mpsc::channel(WRITES_MAX);
        let writer = std::thread::Builder::new().name("spool-writer".to_owned()).spawn({
            let shared = shared.clone();
            move || writer::run(&shared, waiting)
        })?;
        let spool = Self {
            shared,
            writes: Some(writes),
            writer: Some(writer),
            probed: Mutex::default(),
            aside: Aside::of(folder),
        };
        spool.take_over()?;
        Ok(spool)
    }

    /// Keeps what it has, and what comes, for the first of `stores` from now on, which stands for the others: another one may have been
    /// accepted in place of the store since the spool was opened. It blocks on the disk.
    pub fn keep_for(&self, stores: Vec<String>) -> io::Result<()> {
        let home = self.shared.home();
        let mut known = self.shared.stores();
        // A folder that is another's by now is not named anew; the one that is taken in its place is.
        if *known != stores && home.is_held() {
            owner::claim(&home.folder, &stores)?;
        }
        *known = stores;
        Ok(())
    }

    /// Takes over what processes that have ended left in their folders: it is read after what is here already, in the order
    /// in which each of them had it. Returns how many records that were. It blocks on the disk.
    pub fn take_over(&self) -> io::Result<u64> {
        let own = self.shared.home().folder.clone();
        let stores = self.shared.stores().clone();
        let mut taken = 0;
        for abandoned in Home::abandoned(&self.shared.spool, &own, &stores) {
            let abandoned = abandoned?;
            for path in abandoned.segments()? {
                let Some((lane, _)) = segment::name_of(&path) else { continue };
                let mut segment = Segment::found(&path)?;
                if segment.is_empty() {
                    segment.remove()?;
                    continue;
                }
                // Together, so that the numbers of the files tell the order after a crash as well.
                let mut queues = self.shared.queues();
                let queue = &mut queues[lane as usize];
                segment.move_to(own.join(segment::file_name(lane, queue.next_number())))?;
                taken += segment.entries();
                queue.add(segment);
            }
            home::sync(&own)?;
            home::sync(&abandoned.folder)?;
        }
        Ok(taken)
    }

    /// Looks whether a record could be written now, unless that was looked at a moment ago; makes the folder again if it is
    /// gone. [`Spool::fault`] then tells what was found. It blocks on the disk.
    pub fn probe(&self) {
        // Whoever asks meanwhile waits for the same look.
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if probed.is_some_and(|at| at.elapsed() < PROBE_INTERVAL) {
            return;
        }
        let shared = &self.shared;
        let written = shared.settle().and_then(|_| {
            let path = shared.home().folder.join(PROBE_FILE);
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_data());
            fs::remove_file(&path)?;
            written
        });
        let is_full = shared.bytes() + RECORD_BYTES > shared.bytes_max;
        shared.note(match written {
            Err(error) => Some(Fault::Unwritable(error.to_string())),
            Ok(()) => is_full.then_some(Fault::Full),
        });
        *probed = Some(Instant::now());
    }

    /// Why it would turn away what it was given now, as was found last; nothing if all is well.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault().clone()
    }

    /// How many records were lost since their files were removed, by whomever.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// What is put aside, of all processes that share the spool.
    pub fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Keeps `record`, which was received at `at_ms` (milliseconds since 1970) and has no line break; it is on disk
    /// when this returns.
    pub async fn append(&self, lane: Lane, at_ms: u64, record: &str) -> Result<(), SpoolError> {
        let stopped = || SpoolError::Unwritable("its writer has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let job = Job { lane, line: record::line(at_ms, record), at: at_ms, answer };
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// The oldest records of `lane` that are not confirmed, if there are any. It blocks on the disk.
    pub fn read(&self, lane: Lane) -> io::Result<Option<Batch>> {
        loop {
            let Some(batch) = self.shared.queues()[lane as usize].front() else { return Ok(None) };
            match batch.clone().read() {
                // What was removed is lost. Unless it comes back with its folder, nothing is gained by waiting for it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.shared.settle()?;
                    let entries = self.shared.queues()[lane as usize].forget(&batch);
                    self.shared.lost.fetch_add(entries, Ordering::Relaxed);
                    tracing::error!(
                        entries,
                        lane = lane.as_str(),
                        mend = "put the folder back if it was moved away; else ask Twilio for what was told meanwhile",
                        "a file of the spool was removed: what was in it is lost unless it comes back"
                    );
                }
                read => return read.map(Some),
            }
        }
    }

    /// Forgets what `batch` holds, the oldest records of `lane`, since it has been dealt with.
    pub fn confirm(&self, lane: Lane, batch: &Batch) -> io::Result<()> {
        let finished = self.shared.queues()[lane as usize].confirm(batch);
        match finished {
            Some(segment) => segment.remove(),
            None => Ok(()),
        }
    }

    /// How many records of `lane` are not confirmed.
    pub fn entries(&self, lane: Lane) -> u64 {
        self.shared.queues()[lane as usize].entries()
    }

    /// How much is in it.
    pub fn size(&self) -> Size {
        let queues = self.shared.queues();
        Size {
            entries: queues.iter().map(Queue::entries).sum(),
            bytes: queues.iter().map(Queue::bytes).sum(),
            oldest_ms: queues.iter().filter_map(Queue::oldest_ms).min(),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by the panic hook already.
            drop(writer.join());
        }
    }
}

#[cfg(test)]
mod tests;
