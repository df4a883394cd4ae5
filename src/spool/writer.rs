//! The thread that writes: what waits is written together, and shares one sync.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

use tokio::sync::{mpsc, oneshot};

use super::{Fault, Lane, Shared, SpoolError, home, segment};

/// How large a segment becomes before the next one is begun, in bytes: what is read again at most after a crash.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// Records that share one sync at the most.
const BATCH_MAX: usize = 512;

/// A record that waits for the writer, and whom to tell.
pub(super) struct Job {
    pub(super) lane: Lane,
    pub(super) line: Vec<u8>,
    pub(super) at: u64,
    pub(super) answer: oneshot::Sender<Result<(), SpoolError>>,
}

/// Runs until every sender is gone and nothing waits.
pub(super) fn run(shared: &Shared, mut waiting: mpsc::Receiver<Job>) {
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
            shared.note(match &result {
                Ok(()) => None,
                Err(SpoolError::Full) => Some(Fault::Full),
                Err(SpoolError::Unwritable(error)) => Some(Fault::Unwritable(error.clone())),
            });
            for job in of_lane {
                // Whoever asked may have gone away; the record stands all the same.
                drop(job.answer.send(result.clone()));
            }
        }
    }
}

/// Writes the records of `jobs`; once more if the folder was gone, and was made again.
fn write_batch(shared: &Shared, lane: Lane, open: &mut Option<File>, jobs: &[Job]) -> Result<(), SpoolError> {
    let bytes: u64 = jobs.iter().map(|job| job.line.len() as u64).sum();
    if shared.bytes() + bytes > shared.bytes_max {
        return Err(SpoolError::Full);
    }
    let mut written = try_write(shared, lane, open, jobs, bytes);
    if written.is_err() && shared.settle().unwrap_or(false) {
        written = try_write(shared, lane, open, jobs, bytes);
    }
    written.map_err(|error| SpoolError::Unwritable(error.to_string()))
}

/// Appends the records to the lane's last segment, or to a new one, and syncs it. If that fails, the next record begins a new
/// one: what stands half-written at the end is nobody's.
fn try_write(
    shared: &Shared,
    lane: Lane,
    open: &mut Option<File>,
    jobs: &[Job],
    bytes: u64,
) -> io::Result<()> {
    let written = append(shared, lane, open, jobs);
    let mut queues = shared.queues();
    match &written {
        Ok(()) => queues[lane as usize].wrote(jobs.len() as u64, bytes, jobs[0].at),
        Err(_) => {
            *open = None;
            if let Some(empty) = queues[lane as usize].seal() {
                // If it cannot be deleted either, the next start does it.
                drop(empty.remove());
            }
        }
    }
    written
}

fn append(shared: &Shared, lane: Lane, open: &mut Option<File>, jobs: &[Job]) -> io::Result<()> {
    let removed = || io::Error::new(io::ErrorKind::NotFound, "its folder was removed");
    let folder = shared.home().folder.clone();
    let (path, is_new) = {
        let mut queues = shared.queues();
        let queue = &mut queues[lane as usize];
        match open.as_ref().and_then(|_| queue.begin_write(SEGMENT_BYTES_MAX)) {
            Some(path) => (path, false),
            None => {
                let path = folder.join(segment::file_name(lane, queue.next_number()));
                queue.begin(path.clone());
                (path, true)
            }
        }
    };
    if is_new {
        // Another process may have made the folder again, and holds it.
        if !shared.home().is_held() {
            return Err(removed());
        }
        *open = Some(OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?);
        home::sync(&folder)?;
    }
    let file = open.as_mut().expect("a file is open by now");
    let lines: Vec<u8> = jobs.iter().flat_map(|job| job.line.iter().copied()).collect();
    file.write_all(&lines)?;
    file.sync_data()?;
    if home::is_in_place(file, &path) { Ok(()) } else { Err(removed()) }
}
