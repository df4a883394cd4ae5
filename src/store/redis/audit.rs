//! Who did what, in Redis: a stream in each partition, read as one order by their ids.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;

use super::{CALL_KNOWN, RedisStore, scripts, stream};
use crate::{
    domain::{
        Organization,
        audit::{Entry, Place, RecordedEntry},
    },
    store::{
        Error,
        audit::{Audit, ENTRIES_MAX},
        encode,
    },
};

/// The partition of entries that are added by themselves.
const PARTITION: u16 = 0;

/// The field of an entry that holds it.
const ENTRY: &str = "entry";

/// One read of the streams: entries in order, and whether some were held back.
struct Page {
    entries: Vec<(Place, RecordedEntry)>,
    held_back: bool,
}

impl RedisStore {
    /// Reads the streams of all partitions behind `after`, up to the horizon: behind it another stream may still get an
    /// entry that comes before one that is read now.
    async fn audit_page(
        &self,
        organization: &Organization,
        after: Place,
        limit: usize,
    ) -> Result<Page, Error> {
        let horizon = self.horizon().await?;
        let reads = self.keys.partition_numbers().map(|partition| async move {
            let exclusive = if partition > after.partition { "" } else { "(" };
            // Behind the greatest id that there can be Redis answers with an error, not with nothing.
            if exclusive == "(" && (after.ms.get(), after.seq) == (u64::MAX, u64::MAX) {
                return Ok((partition, Vec::new()));
            }
            let mut command = redis::cmd("XRANGE");
            command.arg(self.keys.audit(organization, partition));
            command.arg(format!("{exclusive}{}-{}", after.ms, after.seq)).arg("+");
            command.arg("COUNT").arg(limit);
            Ok::<_, Error>((partition, stream::entries(self.get::<Value>(&command).await?)?))
        });
        let (mut found, mut held_back) = (Vec::new(), false);
        for (partition, entries) in try_join_all(reads).await? {
            for (id, fields) in entries {
                let (ms, seq) = stream::entry_id(&id)?;
                if ms < horizon {
                    found.push((Place { ms, seq, partition }, fields));
                } else {
                    held_back = true;
                }
            }
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        found.truncate(limit);
        let entries = found.into_iter().map(|(place, fields)| {
            let written = fields
                .iter()
                .find(|(name, _)| name == ENTRY.as_bytes())
                .map(|(_, written)| written.as_slice());
            (place, RecordedEntry::read(written.unwrap_or_default()))
        });
        Ok(Page { entries: entries.collect(), held_back })
    }
}

#[async_trait]
impl Audit for RedisStore {
    async fn add_entry(&self, organization: &Organization, entry: &Entry) -> Result<(), Error> {
        let keys = [
            ("audit", self.keys.audit(organization, PARTITION)),
            ("call", self.keys.call(organization, PARTITION)),
        ];
        let arguments = [("entry", encode(entry)), ("known", CALL_KNOWN.as_millis().to_string())];
        self.write(&scripts::ADD_ENTRY, &keys, &arguments).await.map(drop)
    }

    async fn entries(
        &self,
        organization: &Organization,
        after: Place,
        limit: usize,
    ) -> Result<Vec<(Place, RecordedEntry)>, Error> {
        let limit = limit.min(ENTRIES_MAX);
        let page = self.audit_page(organization, after, limit).await?;
        if !page.held_back || page.entries.len() == limit {
            return Ok(page.entries);
        }
        self.pass_horizon().await;
        Ok(self.audit_page(organization, after, limit).await?.entries)
    }
}
