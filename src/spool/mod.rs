//! A local, durable waiting room for what must be acknowledged while the store is away.
//!
//! Records are appended to segment files, one file after the other per lane, and read back in that order. A record is
//! acknowledged once it is on disk (`fdatasync`; many share one). What has been read and dealt with is confirmed; a
//! segment all of whose records are confirmed is deleted. Only that is remembered across a crash, so records may be
//! read twice and whoever applies them must allow for it.
//!
//! ```text
//! <spool>/0/lock                       held by the process that uses this folder
//! <spool>/0/replies-00000000000000000001.spool
//! <spool>/0/statuses-00000000000000000001.spool
//! ```
//!
//! Processes that share a spool take a folder each (`0`, `1`, …). At its start a process also takes over what others
//! left behind in theirs. A process never appends to a file of an earlier one: a record that was torn by a crash is the
//! last of its file, is found by its checksum, and stands in nobody's way.

mod probe;
mod record;
mod segment;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};

pub use self::segment::Batch;
use self::segment::{Queue, Segment};

/// How large a segment becomes before the next one is begun, in bytes: what is read again at most after a crash.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// Records that may wait to be written; one more waits outside.
const WRITES_MAX: usize = 1_024;

/// Records that share one sync at the most.
const BATCH_MAX: usize = 512;

/// Processes that may share a spool.
const FOLDERS_MAX: u32 = 64;

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

/// A record that waits for the writer, and whom to tell.
struct Job {
    lane: Lane,
    line: Vec<u8>,
    at: u64,
    answer: oneshot::Sender<Result<(), SpoolError>>,
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
    /// Holds the lock on the folder.
    _lock: File,
}

struct Shared {
    folder: PathBuf,
    bytes_max: u64,
    queues: Mutex<[Queue; 2]>,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, [Queue; 2]> {
        // Nothing that holds the lock can panic half-way.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Opens the spool in `folder`, which is made if need be, and takes over what is left in it. It may become
    /// `bytes_max` bytes large.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let (own, lock, left_behind) = claim(folder)?;
        let mut queues = [Queue::default(), Queue::default()];
        for path in left_behind {
            let Some((lane, _)) = segment::name_of(&path) else { continue };
            let queue = &mut queues[lane as usize];
            let segment = Segment::found(&path)?;
            if segment.entries() == 0 && !segment.is_damaged() {
                fs::remove_file(&path)?;
                continue;
            }
            queue.add(segment);
        }
        let shared = Arc::new(Shared { folder: own, bytes_max, queues: Mutex::new(queues) });
        let (writes, waiting) = mpsc::channel(WRITES_MAX);
        let writer = std::thread::Builder::new().name("spool-writer".to_owned()).spawn({
            let shared = shared.clone();
            move || write_loop(&shared, waiting)
        })?;
        Ok(Self { shared, writes: Some(writes), writer: Some(writer), _lock: lock })
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
        let place = self.shared.queues()[lane as usize].front();
        place.map(Batch::read).transpose()
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

/// Takes a folder of its own below `spool`, with the segments that are in it and those that nobody else holds.
fn claim(spool: &Path) -> io::Result<(PathBuf, File, Vec<PathBuf>)> {
    // They hold people's numbers: for their owner alone.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(spool)?;
    let mut own: Option<(PathBuf, File)> = None;
    let mut found = Vec::new();
    for number in 0..FOLDERS_MAX {
        let folder = spool.join(number.to_string());
        if own.is_some() && !folder.exists() {
            break;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => continue,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut segments: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if segment::name_of(&path).is_some() {
                segments.push(path);
            }
        }
        segments.sort();
        match &own {
            None => {
                found = segments;
                own = Some((folder, lock));
            }
            Some((own, _)) => {
                // Read before what this process adds, and after what it had itself.
                let mut next = next_number(&found);
                for path in segments {
                    let Some((lane, _)) = segment::name_of(&path) else { continue };
                    let moved = own.join(segment::file_name(lane, next));
                    fs::rename(&path, &moved)?;
                    found.push(moved);
                    next += 1;
                }
                File::open(own)?.sync_all()?;
            }
        }
    }
    let (own, lock) = own.ok_or_else(|| {
        io::Error::new(io::ErrorKind::ResourceBusy, format!("{FOLDERS_MAX} processes share it already"))
    })?;
    Ok((own, lock, found))
}

/// A number above those of `segments`.
fn next_number(segments: &[PathBuf]) -> u64 {
    segments.iter().filter_map(|path| segment::name_of(path)).map(|(_, number)| number).max().unwrap_or(0) + 1
}

/// The writer thread: runs until every sender is gone and nothing waits.
fn write_loop(shared: &Shared, mut waiting: mpsc::Receiver<Job>) {
    let mut open: [Option<File>; 2] = [None, None];
    while let Some(first) = waiting.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < BATCH_MAX
            && let Ok(job) = waiting.try_recv()
        {
            jobs.push(job);
        }
        for lane in Lane::ALL {
            let of_lane: Vec<Job> = jobs.extract_if(.., |job| job.lane == lane).collect();
            if of_lane.is_empty() {
                continue;
            }
            let result = write_batch(shared, lane, &mut open[lane as usize], &of_lane);
            if let Err(error) = &result {
                tracing::error!(%error, records = of_lane.len(), "webhooks could not be spooled");
            }
            if let Err(SpoolError::Unwritable(_)) = result {
                // What stands half-written at its end is nobody's; the next record begins a new file.
                open[lane as usize] = None;
                if let Some(empty) = shared.queues()[lane as usize].seal() {
                    // If it cannot be deleted either, the next start does it.
                    drop(empty.remove());
                }
            }
            for job in of_lane {
                // Whoever asked may have gone away; the record stands all the same.
                drop(job.answer.send(result.clone()));
            }
        }
    }
}

/// Appends the records of `jobs` to the lane's last segment, or to a new one, and syncs it.
fn write_batch(shared: &Shared, lane: Lane, open: &mut Option<File>, jobs: &[Job]) -> Result<(), SpoolError> {
    let unwritable = |error: io::Error| SpoolError::Unwritable(error.to_string());
    let bytes: u64 = jobs.iter().map(|job| job.line.len() as u64).sum();
    let new_path = {
        let mut queues = shared.queues();
        if queues.iter().map(Queue::bytes).sum::<u64>() + bytes > shared.bytes_max {
            return Err(SpoolError::Full);
        }
        let queue = &mut queues[lane as usize];
        if open.is_some() && queue.begin_write(SEGMENT_BYTES_MAX) {
            None
        } else {
            let path = shared.folder.join(segment::file_name(lane, queue.next_number()));
            queue.begin(path.clone());
            Some(path)
        }
    };
    if let Some(path) = new_path {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        *open = Some(file.map_err(unwritable)?);
        File::open(&shared.folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    }
    let file = open.as_mut().expect("a file is open by now");
    let lines: Vec<u8> = jobs.iter().flat_map(|job| job.line.iter().copied()).collect();
    file.write_all(&lines).and_then(|()| file.sync_data()).map_err(unwritable)?;
    shared.queues()[lane as usize].wrote(jobs.len() as u64, bytes, jobs[0].at);
    Ok(())
}

#[cfg(test)]
mod tests;
