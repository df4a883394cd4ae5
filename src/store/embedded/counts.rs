//! What is counted, in the embedded store.

use std::time::Duration;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    documents::end,
    tables::{COUNTS, Tables},
    unavailable,
};
use crate::{
    domain::{
        Organization, Sender, UnixMs,
        stats::{self, Counter, Unit},
    },
    store::{Counted, Counts, Error},
};

/// Old counts that are let go of with each new one.
const COUNTS_DROPPED: usize = 4;

/// The kind under which counters are kept.
pub(super) const COUNTER: &str = "counter";

/// A unit as keys name it.
fn length_ms(unit: Unit) -> u64 {
    unit.length().as_millis() as u64
}

impl Tables<'_> {
    /// Counts one of each of `counters` at `at`, and lets go of the oldest counts, a few at a time.
    pub(super) fn add_counts(
        &mut self,
        organization: &str,
        at: UnixMs,
        counters: &[Counter],
    ) -> Result<(), Error> {
        for unit in Unit::ALL {
            let start = unit.start(at);
            for counter in counters {
                let name = counter.name();
                let length = length_ms(unit);
                let key = (organization, length, start.get(), name.as_str());
                let before = self.counts.get(key).map_err(unavailable)?.map(|count| count.value());
                self.counts.insert(key, before.unwrap_or(0) + 1).map_err(unavailable)?;
                if before.is_some() {
                    continue;
                }
                let ended = (start - unit.kept()).get();
                let range = (organization, length, 0, "")..(organization, length, ended, "");
                let old = self.counts.range(range.clone()).map_err(unavailable)?.take(COUNTS_DROPPED);
                if old.count() > 0 {
                    let mut dropped = self.counts.extract_from_if(range, |_, _| true).map_err(unavailable)?;
                    for _ in 0..COUNTS_DROPPED {
                        dropped.next().transpose().map_err(unavailable)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Counts for EmbeddedStore {
    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, stats::Counts)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let counts = transaction.open_table(COUNTS).map_err(unavailable)?;
            let organization = organization.as_str();
            let length = length_ms(unit);
            let range = (organization, length, from.get(), "")..(organization, length, until.get(), "");
            let mut times: Vec<(UnixMs, stats::Counts)> = Vec::new();
            for row in counts.range(range).map_err(unavailable)? {
                let (key, count) = row.map_err(unavailable)?;
                let (_, _, start, name) = key.value();
                let start = UnixMs::new(start);
                if times.last().is_none_or(|(last, _)| *last != start) {
                    times.push((start, stats::Counts::new()));
                }
                if let (Some((_, counts)), Some(counter)) = (times.last_mut(), Counter::parse(name)) {
                    counts.insert(counter, count.value());
                }
            }
            Ok(times)
        })
        .await
    }

    async fn count_many(
        &self,
        organization: &Organization,
        name: &str,
        amount: u64,
        max: u64,
        keep: Duration,
    ) -> Result<Counted, Error> {
        let (organization, name) = (organization.clone(), name.to_owned());
        self.write(move |tables| {
            let organization = organization.as_str();
            let stored = tables.document(organization, COUNTER, &name)?;
            let (until, count) = match &stored {
                Some((until, text)) => (*until, text.parse().unwrap_or(0)),
                None => (end(tables.now, Some(keep)), 0),
            };
            let after: u64 = count + amount;
            if after > max {
                return Ok(Counted::Beyond(count));
            }
            if amount > 0 {
                tables.put_document(organization, COUNTER, &name, Some((until, &after.to_string())))?;
            }
            Ok(Counted::Yes(after))
        })
        .await
    }

    async fn reserve_pace(
        &self,
        organization: &Organization,
        sender: &Sender,
        now: UnixMs,
        cost: Duration,
    ) -> Result<UnixMs, Error> {
        let (organization, sender) = (organization.clone(), sender.to_twilio());
        self.write(move |tables| {
            let key = (organization.as_str(), sender.as_str());
            let given = tables.pace.get(key).map_err(unavailable)?.map_or(0, |given| given.value());
            let start = given.max(now.get() * 1_000);
            if !cost.is_zero() {
                tables.pace.insert(key, start + cost.as_micros() as u64).map_err(unavailable)?;
            }
            Ok(UnixMs::EPOCH + Duration::from_micros(start))
        })
        .await
    }
}
