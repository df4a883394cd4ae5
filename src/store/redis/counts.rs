//! What is counted, in Redis.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, future::try_join_all};

use super::{CALL_KNOWN, RedisStore, read, scripts};
use crate::{
    domain::{
        Organization, Sender, UnixMs,
        stats::{self, Counter, Unit},
    },
    store::{Counted, Counts, Error},
};

/// Times whose counts are read at once.
const COUNTS_AT_ONCE: usize = 64;

/// How long a sender's pace is remembered after it has passed.
const PACE_KEPT: Duration = Duration::from_secs(60);

impl RedisStore {
    pub(super) fn counts_key(
        &self,
        organization: &Organization,
        partition: u16,
        unit: Unit,
        at: UnixMs,
    ) -> String {
        self.keys.counts(organization, partition, unit, unit.start(at))
    }
}

/// When the counts end that are made at `at`: milliseconds since 1970.
pub(super) fn counts_end(unit: Unit, at: UnixMs) -> String {
    (unit.start(at) + unit.kept()).to_string()
}

#[async_trait]
impl Counts for RedisStore {
    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, stats::Counts)>, Error> {
        let times = from.ceil(unit.length()).steps(unit.length(), until).map(|start| async move {
            let partitions = self.keys.partition_numbers().map(|partition| {
                let mut command = redis::cmd("HGETALL");
                command.arg(self.keys.counts(organization, partition, unit, start));
                async move { self.get::<Vec<(String, u64)>>(&command).await }
            });
            Ok::<_, Error>((start, try_join_all(partitions).await?))
        });
        let mut counted = Vec::new();
        let mut times = futures_util::stream::iter(times).buffered(COUNTS_AT_ONCE);
        while let Some(time) = times.try_next().await? {
            let (start, partitions) = time;
            let mut counts = stats::Counts::new();
            for (name, count) in partitions.into_iter().flatten() {
                if let Some(counter) = Counter::parse(&name) {
                    *counts.entry(counter).or_default() += count;
                }
            }
            if !counts.is_empty() {
                counted.push((start, counts));
            }
        }
        Ok(counted)
    }

    async fn count_many(
        &self,
        organization: &Organization,
        name: &str,
        amount: u64,
        max: u64,
        keep: Duration,
    ) -> Result<Counted, Error> {
        let partition = self.keys.partition(name);
        let keys = [
            ("counter", self.keys.counter(organization, name)),
            ("call", self.keys.call(organization, partition)),
        ];
        let arguments = [
            ("amount", amount.to_string()),
            ("max", max.to_string()),
            ("keep", keep.as_millis().to_string()),
            ("known", CALL_KNOWN.as_millis().to_string()),
        ];
        let (is_counted, count): (bool, u64) = read(self.write(&scripts::COUNT, &keys, &arguments).await?)?;
        Ok(if is_counted { Counted::Yes(count) } else { Counted::Beyond(count) })
    }

    async fn reserve_pace(
        &self,
        organization: &Organization,
        sender: &Sender,
        now: UnixMs,
        cost: Duration,
    ) -> Result<UnixMs, Error> {
        let keys = [
            ("pace", self.keys.pace(organization, sender)),
            ("call", self.keys.call(organization, self.keys.partition(&sender.to_twilio()))),
        ];
        let arguments = [
            ("now", (now.get() * 1_000).to_string()),
            ("cost", cost.as_micros().to_string()),
            ("keep", PACE_KEPT.as_millis().to_string()),
            ("known", CALL_KNOWN.as_millis().to_string()),
        ];
        let start: u64 = read(self.write(&scripts::RESERVE_PACE, &keys, &arguments).await?)?;
        Ok(UnixMs::EPOCH + Duration::from_micros(start))
    }
}
