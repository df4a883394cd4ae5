//! What a process knows of its store: the identity, and the most changes of consent that it has seen in each partition.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::{Error, Mark, Mismatch, StoreId};
use crate::domain::Organization;

/// The changes of consent that were seen, by organization and partition; partitions in which none was seen are left out.
pub type Changes = BTreeMap<Organization, BTreeMap<u16, u64>>;

/// What is known of a store, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStore {
    /// What the store says of itself.
    pub mark: Mark,
    /// The changes of consent that were seen in it.
    pub changes: Changes,
}

impl KnownStore {
    /// All changes of consent that were seen.
    pub fn changes_in_all(&self) -> u64 {
        in_all(&self.changes)
    }

    /// Adds what another process has seen in the same store.
    pub fn merge(&mut self, other: &KnownStore) {
        if other.mark != self.mark {
            return;
        }
        for (organization, partitions) in &other.changes {
            for (partition, changes) in partitions {
                see(&mut self.changes, organization, *partition, *changes);
            }
        }
    }
}

/// See the [module](self). As long as no identity is known, nothing is compared with the store.
#[derive(Debug, Default)]
pub struct Known {
    state: RwLock<State>,
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    mark: Option<Mark>,
    changes: Changes,
    /// Why the store is not the known one, while it is not.
    mismatch: Option<Mismatch>,
}

/// What a step is handed, to be compared with the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The known identity, `None` if none is known.
    pub store: Option<StoreId>,
    /// The changes of consent that were seen in the partition.
    pub changes: u64,
}

impl Known {
    /// What is known; `None` if that is nothing.
    pub fn store(&self) -> Option<KnownStore> {
        let state = self.read();
        state.mark.clone().map(|mark| KnownStore { mark, changes: state.changes.clone() })
    }

    /// What the known store says of itself.
    pub fn mark(&self) -> Option<Mark> {
        self.read().mark.clone()
    }

    /// Takes `store` as the known one from now on.
    pub fn take(&self, store: KnownStore) {
        let mut state = self.write();
        (state.mark, state.changes) = (Some(store.mark), store.changes);
    }

    /// Whoever compares holds this from before the mark is read: one that was read before another was taken tells nothing.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether a store that says `found` of itself is another one than the known one, and was not accepted in its place.
    pub fn is_another(&self, found: &Mark) -> bool {
        self.read().mark.as_ref().is_some_and(|known| !found.stands_for(&known.id))
    }

    /// Compares what the store says of itself with what is known. One of which nothing is known yet is known from then on, as is one
    /// that was accepted in place of the known one. Fails for any other; `found_changes` are those that it has.
    pub fn compare(&self, found: Option<Mark>, found_changes: u64) -> Result<(), Error> {
        let known = self.store();
        match (known, found) {
            (None, None) => Ok(()),
            (Some(known), Some(found)) if found.id == known.mark.id => Ok(()),
            (None, Some(mark)) => {
                self.take(KnownStore { mark, changes: Changes::new() });
                Ok(())
            }
            (Some(known), Some(found)) if found.stands_for(&known.mark.id) => {
                tracing::warn!(
                    known = %known.mark.id, known_changes = known.changes_in_all(), accepted = %found.id,
                    "another store was accepted in place of the known one"
                );
                self.take(KnownStore { mark: found, changes: Changes::new() });
                Ok(())
            }
            (Some(known), None) => {
                let known_changes = known.changes_in_all();
                Err(self.doubt(Mismatch::NoIdentity { known: known.mark.id, known_changes }))
            }
            (Some(known), Some(found)) => {
                let (known_changes, known, found) = (known.changes_in_all(), known.mark.id, found.id);
                Err(self.doubt(Mismatch::Another { known, known_changes, found, found_changes }))
            }
        }
    }

    /// Notes that there have been `changes` of consent of `organization` in a partition of the store `id`.
    pub fn note(&self, id: &StoreId, organization: &Organization, partition: u16, changes: u64) {
        if changes <= self.seen(organization, partition).changes {
            return;
        }
        let mut state = self.write();
        if state.mark.as_ref().is_some_and(|mark| mark.id == *id) {
            see(&mut state.changes, organization, partition, changes);
        }
    }

    /// Those in whose consent changes were seen.
    pub fn organizations(&self) -> Vec<Organization> {
        self.read().changes.keys().cloned().collect()
    }

    /// What a step in a partition of `organization` is to be compared with.
    pub(super) fn seen(&self, organization: &Organization, partition: u16) -> Seen {
        let state = self.read();
        let partitions = state.changes.get(organization);
        Seen {
            store: state.mark.as_ref().map(|mark| mark.id.clone()),
            changes: partitions.and_then(|seen| seen.get(&partition)).copied().unwrap_or_default(),
        }
    }

    /// Why the store is not the known one, if it was found not to be.
    pub fn mismatch(&self) -> Option<Mismatch> {
        self.read().mismatch.clone()
    }

    /// Fails if the store was found not to be the known one.
    pub fn check(&self) -> Result<(), Error> {
        self.mismatch().map_or(Ok(()), |mismatch| Err(Error::NotKnown(Box::new(mismatch))))
    }

    /// Says that the store is not the known one, and tells the operator if that is news.
    pub fn doubt(&self, mismatch: Mismatch) -> Error {
        let mut state = self.write();
        if state.mismatch.is_none() {
            tracing::error!(
                reason = mismatch.as_str(),
                %mismatch,
                mend = "put the right store back, or run textledger store accept if this one is to be used from now on",
                "the store is not the one that this installation knew: nothing is sent, and webhooks are spooled"
            );
        }
        state.mismatch = Some(mismatch.clone());
        Error::NotKnown(Box::new(mismatch))
    }

    /// Says that the store is the known one; tells the operator if it was not before.
    pub fn trust(&self) {
        if self.read().mismatch.is_some() && self.write().mismatch.take().is_some() {
            tracing::info!("the store is the known one again, or was accepted: it is used again");
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn see(changes: &mut Changes, organization: &Organization, partition: u16, seen: u64) {
    if seen > 0 {
        let partitions = changes.entry(organization.clone()).or_default();
        let known = partitions.entry(partition).or_default();
        *known = seen.max(*known);
    }
}

/// The sum of all changes.
pub fn in_all(changes: &Changes) -> u64 {
    changes.values().flat_map(BTreeMap::values).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_only_grows_and_goes_with_its_store() {
        let (known, mark) = (Known::default(), Mark::new());
        let organization = Organization::default();
        known.note(&mark.id, &organization, 0, 7);
        assert_eq!(known.store(), None, "nothing is known of a store without an identity");
        known.take(KnownStore { mark: mark.clone(), changes: Changes::new() });
        for changes in [2, 5, 3, 0] {
            known.note(&mark.id, &organization, 1, changes);
        }
        known.note(&StoreId::random(), &organization, 1, 9);
        assert_eq!(known.seen(&organization, 1).changes, 5);
        assert_eq!(known.seen(&organization, 0).changes, 0);
        let mut store = known.store().unwrap();
        let changes = [(organization.clone(), [(1, 6), (3, 1)].into())].into();
        store.merge(&KnownStore { mark: Mark::new(), changes });
        assert_eq!(store.changes_in_all(), 5);
        let changes = [(organization, [(1, 6), (3, 1)].into())].into();
        store.merge(&KnownStore { mark, changes });
        assert_eq!(store.changes_in_all(), 7);
    }
}
