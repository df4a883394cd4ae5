//! Who did what, in the embedded store.

use std::ops::Bound;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    tables::{AUDIT, Tables},
    unavailable,
};
use crate::{
    domain::{
        Organization, UnixMs,
        audit::{Entry, Place, RecordedEntry},
    },
    store::{
        Error,
        audit::{Audit, ENTRIES_MAX},
        encode,
    },
};

impl Tables<'_> {
    /// Adds an entry behind the organization's newest one, even if the clock was set back.
    pub(super) fn add_entry(&mut self, organization: &str, entry: &Entry) -> Result<(), Error> {
        let newest = self.audit.range((organization, 0, 0)..=(organization, u64::MAX, u64::MAX));
        let newest = newest.map_err(unavailable)?.next_back().transpose().map_err(unavailable)?;
        let (ms, seq) = newest.map_or((0, 0), |(key, _)| (key.value().1, key.value().2));
        let now = self.now.get();
        let (ms, seq) = if now > ms { (now, 0) } else { (ms, seq + 1) };
        self.audit.insert((organization, ms, seq), encode(entry).as_bytes()).map_err(unavailable)?;
        Ok(())
    }
}

#[async_trait]
impl Audit for EmbeddedStore {
    async fn add_entry(&self, organization: &Organization, entry: &Entry) -> Result<(), Error> {
        let (organization, entry) = (organization.clone(), entry.clone());
        self.write(move |tables| tables.add_entry(organization.as_str(), &entry)).await
    }

    async fn entries(
        &self,
        organization: &Organization,
        after: Place,
        limit: usize,
    ) -> Result<Vec<(Place, RecordedEntry)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let organization = organization.as_str();
            let audit = transaction.open_table(AUDIT).map_err(unavailable)?;
            let first = Bound::Excluded((organization, after.ms.get(), after.seq));
            let last = Bound::Included((organization, u64::MAX, u64::MAX));
            let rows = audit.range::<(&str, u64, u64)>((first, last)).map_err(unavailable)?;
            rows.take(limit.min(ENTRIES_MAX))
                .map(|row| {
                    let (key, stored) = row.map_err(unavailable)?;
                    let (_, ms, seq) = key.value();
                    let place = Place { ms: UnixMs::new(ms), seq, partition: 0 };
                    Ok((place, RecordedEntry::read(stored.value())))
                })
                .collect()
        })
        .await
    }
}
