//! Whether the store is the known one, in the embedded store.
//!
//! It has one partition. No file takes another's place while a process has it open, so that what was compared stays so; a message
//! leaves in the transaction that compares all the same, since a file is opened again after an error of the disk.

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    tables::{CONSENT_COUNTS, MARKS, Tables},
    unavailable,
};
use crate::{
    domain::Organization,
    store::{Error, Known, Mark, Mismatch, Recognition, decode, encode, known::Seen},
};

/// The name of the one mark.
pub(super) const STORE: &str = "store";

/// The one partition.
const PARTITION: u16 = 0;

impl Tables<'_> {
    /// Counts a change of consent; returns how often it has changed.
    pub(super) fn count_change(&mut self, organization: &str) -> Result<u64, Error> {
        let known = self.consent_counts.get(organization).map_err(unavailable)?;
        let changes = known.map_or(0, |known| known.value()) + 1;
        self.consent_counts.insert(organization, changes).map_err(unavailable)?;
        Ok(changes)
    }

    /// Why the store is not the one of which `seen` was seen, if it is not.
    pub(super) fn mismatch(
        &self,
        organization: &Organization,
        seen: &Seen,
    ) -> Result<Option<Mismatch>, Error> {
        let Some(known) = seen.store.clone() else { return Ok(None) };
        let changes = self.consent_counts.get(organization.as_str()).map_err(unavailable)?;
        let (known_changes, found_changes) = (seen.changes, changes.map_or(0, |changes| changes.value()));
        Ok(match read_mark(&self.marks)? {
            None => Some(Mismatch::NoIdentity { known, known_changes }),
            Some(mark) if !mark.stands_for(&known) => {
                Some(Mismatch::Another { known, known_changes, found: mark.id, found_changes })
            }
            Some(mark) if mark.id == known && found_changes < known_changes => Some(Mismatch::FewerChanges {
                known,
                organization: organization.clone(),
                partition: PARTITION,
                known_changes,
                found_changes,
            }),
            Some(_) => None,
        })
    }
}

fn read_mark(marks: &impl ReadableTable<&'static str, &'static str>) -> Result<Option<Mark>, Error> {
    let stored = marks.get(STORE).map_err(unavailable)?;
    stored.map(|stored| decode("the store's mark", stored.value())).transpose()
}

impl EmbeddedStore {
    /// What a transaction that changes consent of `organization` compares with the store.
    pub(super) fn seen(&self, organization: &Organization) -> Seen {
        self.known.seen(organization, PARTITION)
    }

    /// Runs `job`, unless the store turns out not to be the known one in its transaction.
    pub(super) async fn write_known<T: Send + 'static>(
        &self,
        organization: &Organization,
        job: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (seen, whose) = (self.seen(organization), organization.clone());
        let done = self.write(move |tables| match tables.mismatch(&whose, &seen)? {
            Some(mismatch) => Ok(Err(mismatch)),
            None => job(tables).map(Ok),
        });
        done.await?.map_err(|mismatch| self.known.doubt(mismatch))
    }

    /// Runs `job`, which tells whether it has changed consent, and counts that with it.
    pub(super) async fn change_consent_by<T: Send + 'static>(
        &self,
        organization: &Organization,
        job: impl FnOnce(&mut Tables<'_>) -> Result<(T, bool), Error> + Send + 'static,
    ) -> Result<T, Error> {
        let whose = organization.clone();
        let store = self.known.mark().map(|mark| mark.id);
        let (done, changes) = self
            .write_known(organization, move |tables| {
                let (done, has_changed) = job(tables)?;
                Ok((done, if has_changed { tables.count_change(whose.as_str())? } else { 0 }))
            })
            .await?;
        if let Some(store) = store {
            self.known.note(&store, organization, PARTITION, changes);
        }
        Ok(done)
    }
}

#[async_trait]
impl Recognition for EmbeddedStore {
    fn known(&self) -> &Known {
        &self.known
    }

    async fn mark(&self) -> Result<Option<Mark>, Error> {
        self.read(|transaction| read_mark(&transaction.open_table(MARKS).map_err(unavailable)?)).await
    }

    async fn replace_mark(&self, before: Option<&Mark>, after: &Mark) -> Result<bool, Error> {
        let (before, after) = (before.cloned(), after.clone());
        self.write_anyway(move |tables| {
            if read_mark(&tables.marks)? != before {
                return Ok(false);
            }
            tables.marks.insert(STORE, encode(&after).as_str()).map_err(unavailable)?;
            Ok(true)
        })
        .await
    }

    async fn consent_counts(&self, organization: &Organization) -> Result<Vec<(u16, u64)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let counts = transaction.open_table(CONSENT_COUNTS).map_err(unavailable)?;
            let changes = counts.get(organization.as_str()).map_err(unavailable)?;
            Ok(changes.map(|changes| (PARTITION, changes.value())).into_iter().collect())
        })
        .await
    }
}
