//! What was spooled, on its way to the store once that is back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, TryStreamExt};

use super::{Incoming, told::SpoolRecord};
use crate::{
    domain::{Organization, Person},
    spool::{self, Batch, Spool},
    store,
};

/// Spooled records that are stored at the same time: one of a person at a time, so that what they said keeps its order.
const REPLAYED_AT_ONCE: usize = 256;

/// How often one record is tried while the store takes others: it is put aside then, whatever is wrong with it.
const TRIES_MAX: u32 = 25;

/// How often records were tried that could not be stored although the store was there.
#[derive(Default)]
pub(super) struct Tries(Mutex<HashMap<u32, u32>>);

impl Tries {
    /// Counts a try of `record`; whether that was the last.
    fn is_last(&self, record: &str) -> bool {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = tries.entry(crc32fast::hash(record.as_bytes())).or_default();
        *tries += 1;
        *tries >= TRIES_MAX
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Incoming {
    /// Looks whether the store is back, and applies what is in the spool. An error means that it is away again; what
    /// has been applied by then is no longer in the spool.
    pub async fn replay(&self) -> Result<(), store::Error> {
        self.find_store().await.inspect_err(|error| match error {
            // Who finds that out tells it.
            store::Error::NotKnown(_) => {}
            error => self.store_went_away(&error.to_string()),
        })?;
        let Some(spool) = &self.intake.spool else { return Ok(()) };
        // After each part it is begun anew: what people said meanwhile goes first.
        while let Some((lane, batch)) = self.next_batch(spool).await? {
            self.replay_batch(spool, lane, batch).await?;
        }
        self.intake.tries.forget();
        Ok(())
    }

    async fn next_batch(&self, spool: &Arc<Spool>) -> Result<Option<(spool::Lane, Batch)>, store::Error> {
        for lane in spool::Lane::ALL {
            let read = {
                let spool = spool.clone();
                tokio::task::spawn_blocking(move || spool.read(lane)).await
            };
            let read = read.map_err(|error| broken(error.to_string()))?;
            if let Some(batch) = read.map_err(|error| broken(error.to_string()))? {
                return Ok(Some((lane, batch)));
            }
        }
        Ok(None)
    }

    async fn replay_batch(
        &self,
        spool: &Arc<Spool>,
        lane: spool::Lane,
        mut batch: Batch,
    ) -> Result<(), store::Error> {
        if batch.torn {
            tracing::warn!(
                "the spool ends in a record that a crash cut short; nobody was told that it is kept"
            );
        }
        let mut told = Vec::with_capacity(batch.records.len());
        for (at_ms, record) in &batch.records {
            match self.open_record(record) {
                Ok(opened) => told.push((*at_ms, record.as_str(), opened)),
                Err(error) => {
                    // Whole, and yet not ours: of a later version, or sealed with a key that was taken away.
                    tracing::error!(%error, "a record of the spool cannot be read by this process");
                    batch.unreadable += 1;
                }
            }
        }
        let turns = turns(&told);
        futures_util::stream::iter(0..turns.len())
            .map(|index| Ok(self.replay_turn(spool, lane, &turns[index])))
            .try_buffer_unordered(REPLAYED_AT_ONCE)
            .try_collect::<()>()
            .await?;
        if batch.unreadable > 0 {
            self.core.metrics.unreadable(batch.unreadable);
            tracing::error!(
                records = batch.unreadable,
                "records of the spool cannot be read; their file is put aside"
            );
        }
        spool.confirm(lane, &batch).map_err(|error| broken(error.to_string()))?;
        self.core.metrics.replayed(batch.records.len() as u64);
        Ok(())
    }

    /// Applies records one after the other. One that cannot be applied must not stand in the way for ever.
    async fn replay_turn(
        &self,
        spool: &Arc<Spool>,
        lane: spool::Lane,
        turn: &[&(u64, &str, SpoolRecord)],
    ) -> Result<(), store::Error> {
        for (at_ms, record, told) in turn {
            let error = match self.apply(told).await {
                Ok(()) => continue,
                Err(store::Error::Unreadable(error)) => error,
                Err(error @ store::Error::NotKnown(_)) => return Err(error),
                Err(error) => {
                    // If the store is there for others, it is this record's own.
                    if self.core.store.ping().await.is_err() || !self.intake.tries.is_last(record) {
                        return Err(error);
                    }
                    error.to_string()
                }
            };
            let put = self.put_aside(spool, lane, *at_ms, told, &error).await;
            put.map_err(|error| broken(error.to_string()))?;
        }
        Ok(())
    }
}

/// Records that are applied one after the other, in their order: those of one person; or all of them, if any says that two
/// names are one person's.
fn turns<'a, 'b>(told: &'a [(u64, &'b str, SpoolRecord)]) -> Vec<Vec<&'a (u64, &'b str, SpoolRecord)>> {
    if told.iter().any(|(_, _, told)| told.joins_names()) {
        return vec![told.iter().collect()];
    }
    let mut turns: Vec<Vec<_>> = Vec::new();
    let mut of_person: HashMap<(&Organization, Person), usize> = HashMap::new();
    for record in told {
        match record.2.person() {
            None => turns.push(vec![record]),
            Some(person) => {
                let turn = *of_person.entry((&record.2.organization, person)).or_insert(turns.len());
                match turns.get_mut(turn) {
                    Some(turn) => turn.push(record),
                    None => turns.push(vec![record]),
                }
            }
        }
    }
    turns
}

fn broken(error: String) -> store::Error {
    store::Error::Unavailable(anyhow::anyhow!("the spool: {error}"))
}
