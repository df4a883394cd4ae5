//! The thread that writes: takes jobs, runs many in one transaction, and answers them once it is on disk.

use redb::Database;
use tokio::sync::{mpsc, watch};

use super::{Error, tables::Tables, unavailable};
use crate::{clock::Clock, domain::UnixMs};

/// Writes that share one commit at the most, so that the first of them does not wait long.
const BATCH_MAX: usize = 512;

/// A write: runs inside the transaction and returns how to answer once it is known whether the commit succeeded.
pub(super) type Job = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Respond, Error> + Send>;
pub(super) type Respond = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The writer thread: runs until every sender is gone and the queue is empty.
pub(super) fn write_loop(
    database: &Database,
    mut queue: mpsc::Receiver<Job>,
    announce: &watch::Sender<(UnixMs, u64)>,
    clock: &dyn Clock,
) {
    let mut responds = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = queue.blocking_recv() {
        let result = write_batch(database, first, &mut queue, *announce.borrow(), clock, &mut responds);
        match result {
            Ok(last) => {
                announce.send_if_modified(|known| std::mem::replace(known, last) != last);
                for respond in responds.drain(..) {
                    respond(Ok(()));
                }
            }
            Err(error) => {
                tracing::error!(%error, writes = responds.len(), "the embedded store could not commit");
                let text = error.to_string();
                for respond in responds.drain(..) {
                    respond(Err(Error::Unavailable(anyhow::anyhow!(text.clone()))));
                }
            }
        }
    }
}

/// Runs `first` and what waits behind it in one transaction. A job that cannot write fails the batch, because its
/// tables may be half written; one that finds something unreadable has written nothing and fails alone.
fn write_batch(
    database: &Database,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    last_event: (UnixMs, u64),
    clock: &dyn Clock,
    responds: &mut Vec<Respond>,
) -> Result<(UnixMs, u64), Error> {
    let transaction = database.begin_write().map_err(unavailable)?;
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
