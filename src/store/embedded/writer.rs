//! The thread that writes: takes jobs, runs many in one transaction, and answers them once it is on disk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use redb::Database;
use tokio::sync::{mpsc, watch};

use super::{
    Error,
    file::DatabaseFile,
    tables::{Tables, begin_write, committed_event},
    unavailable,
};
use crate::{clock::Clock, domain::UnixMs, sampling::Sampled};

/// Writes that share one commit at the most, so that the first of them does not wait long.
const BATCH_MAX: usize = 512;

/// How long nothing is written after an error of the disk, at the least.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Lines a minute about writes that fail: on a full disk each of them does.
const FAILURE_LINES: u32 = 2;

/// A write: runs inside the transaction and returns how to answer once it is known whether the commit succeeded.
pub(super) type Job = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Respond, Error> + Send>;
pub(super) type Respond = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The writer thread: runs until every sender is gone and the queue is empty.
///
/// After an error of the disk the file is opened again at once, so that it can be read, and writes are tried again a while later;
/// those in between are dropped, which tells whoever waits for them.
pub(super) fn write_loop(
    file: &DatabaseFile,
    mut queue: mpsc::Receiver<Job>,
    announce: &watch::Sender<(UnixMs, u64)>,
    clock: &dyn Clock,
) {
    let mut responds = Vec::with_capacity(BATCH_MAX);
    let failures = Sampled::new(FAILURE_LINES);
    let mut try_again: Option<Instant> = None;
    while let Some(first) = queue.blocking_recv() {
        if try_again.is_some_and(|at| Instant::now() < at) {
            continue;
        }
        let result = file.with(|database| {
            // What a failed commit has left of itself is known once the file is open again.
            let last = match try_again {
                Some(_) => committed_event(database).map_err(unavailable)?,
                None => *announce.borrow(),
            };
            write_batch(database, file.path(), first, &mut queue, last, clock, &mut responds)
        });
        file.note_written(result.is_ok());
        match result {
            Ok(last) => {
                if try_again.take().is_some() {
                    tracing::info!("the embedded store writes again");
                }
                announce.send_if_modified(|known| std::mem::replace(known, last) != last);
                for respond in responds.drain(..) {
                    respond(Ok(()));
                }
            }
            Err(error) => {
                if let Some(left_out) = failures.note(()) {
                    tracing::error!(%error, writes = responds.len(), left_out, "the embedded store could not commit");
                }
                let text = error.to_string();
                for respond in responds.drain(..) {
                    respond(Err(Error::Unavailable(anyhow::anyhow!(text.clone()))));
                }
                if file.is_spent() {
                    try_again = Some(open_again(file, &failures));
                }
            }
        }
    }
}

/// Opens the file again, and returns when a write may be tried: a second later, or as long as opening it took, so that a large file
/// which fails again and again can be read at least half of the time.
fn open_again(file: &DatabaseFile, failures: &Sampled<()>) -> Instant {
    let began = Instant::now();
    if let Err(error) = file.open_again()
        && let Some(left_out) = failures.note(())
    {
        tracing::error!(%error, left_out, "the embedded store could not be opened again so far");
    }
    Instant::now() + RETRY_INTERVAL.max(began.elapsed())
}

/// Runs `first` and what waits behind it in one transaction. A job that cannot write fails the batch, because its
/// tables may be half written; one that finds something unreadable has written nothing and fails alone.
fn write_batch(
    database: &Database,
    path: &Path,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    last_event: (UnixMs, u64),
    clock: &dyn Clock,
    responds: &mut Vec<Respond>,
) -> Result<(UnixMs, u64), Error> {
    let transaction = begin_write(database, path).map_err(unavailable)?;
    let last = {
        let mut tables = Tables::open(&transaction, last_event, clock.now_ms()).map_err(unavailable)?;
        responds.push(first(&mut tables)?);
        while responds.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            responds.push(job(&mut tables)?);
        }
        tables.last_event
    };
    transaction.commit().map_err(unavailable)?;
    Ok(last)
}
