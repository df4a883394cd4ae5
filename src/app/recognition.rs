//! Looks whether the store is the one that this installation knew, and accepts another one in its place.
//!
//! What is compared with each look tells soon that it is not. That nothing leaves before anybody has looked is the store's own
//! promise ([`store::recognition`](crate::store::recognition)).

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::{Core, accounts::Accounts};
use crate::{
    domain::{Organization, UnixMs},
    store::{self, Former, Mismatch, Store},
};

pub use crate::store::{Changes, KnownStore, Mark, StoreId, in_all};

/// Organizations whose counts are compared with one look, while nothing is wrong.
const LOOKED_AT_MAX: usize = 64;

/// Organizations whose counts are asked for at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Looks at the store, again and again.
pub struct Recognizer {
    core: Arc<Core>,
    accounts: Arc<Accounts>,
    /// Where the next look goes on; held during a look.
    next: Mutex<usize>,
}

impl Recognizer {
    /// One that looks at the store of `core`.
    pub(super) fn new(core: Arc<Core>, accounts: Arc<Accounts>) -> Self {
        Self { core, accounts, next: Mutex::new(0) }
    }

    /// Compares the store with what is known of it: its identity, and the counts of some organizations in turn; of all of them
    /// while the store is not the known one. [`store::Error::NotKnown`] says that it is not.
    pub async fn look(&self) -> Result<(), store::Error> {
        let mut next = self.next.lock().await;
        let store = &*self.core.store;
        let mut organizations: Vec<Organization> = self.accounts.known_organizations().into_iter().collect();
        let count = organizations.len();
        if store.known().mismatch().is_none() && count > LOOKED_AT_MAX {
            organizations.rotate_left(*next % count);
            organizations.truncate(LOOKED_AT_MAX);
            *next = (*next + LOOKED_AT_MAX) % count;
        }
        look(store, &organizations).await
    }
}

/// Compares `store` with what is known of it: its identity, and the counts of `organizations`. A store of which nothing is known
/// is known from then on, and has an identity; so is one that has been accepted in place of the known one.
pub async fn look(store: &dyn Store, organizations: &[Organization]) -> Result<(), store::Error> {
    let known = store.known();
    let doubted = known.mismatch();
    if known.mark().is_none() && store.mark().await?.is_none() {
        // If another process has just made one, it is that.
        store.replace_mark(None, &Mark::new()).await?;
    }
    compare_identity(store).await?;
    let Some(mark) = known.mark() else { return Ok(()) };
    // What is seen from here on may not be counted yet in what is read.
    let mut seen = known.store().map(|known| known.changes).unwrap_or_default();
    for (organization, partitions) in counts(store, organizations).await? {
        for (partition, known_changes) in seen.remove(&organization).unwrap_or_default() {
            let found_changes = partitions.get(&partition).copied().unwrap_or_default();
            if found_changes < known_changes {
                return Err(known.doubt(Mismatch::FewerChanges {
                    known: mark.id,
                    organization,
                    partition,
                    known_changes,
                    found_changes,
                }));
            }
        }
        for (partition, changes) in partitions {
            known.note(&mark.id, &organization, partition, changes);
        }
    }
    // What a step has found meanwhile is looked at with the next look.
    if known.mismatch() == doubted {
        known.trust();
    }
    Ok(())
}

/// Compares the identity of `store` alone with the known one, if any is known. What was read of the store before was of the known
/// one then.
pub(super) async fn compare_identity(store: &dyn Store) -> Result<(), store::Error> {
    let known = store.known();
    let _turn = known.turn().await;
    let found = store.mark().await?;
    let found_changes = match &found {
        Some(found) if known.is_another(found) => in_all(&counts(store, &known.organizations()).await?),
        _ => 0,
    };
    known.compare(found, found_changes)
}

/// How often consent of `organizations` has changed in `store`.
pub async fn counts(store: &dyn Store, organizations: &[Organization]) -> Result<Changes, store::Error> {
    let counts = organizations.iter().cloned().map(|organization| async move {
        let partitions = store.consent_counts(&organization).await?;
        let partitions: BTreeMap<u16, u64> = partitions.into_iter().collect();
        Ok::<_, store::Error>((organization, partitions))
    });
    futures_util::stream::iter(counts).buffer_unordered(ASKED_AT_ONCE).try_collect().await
}

/// Accepts `store`, which says `before` of itself and in which `changes` are counted, in place of `known`. Every process that knows
/// that one, or the store itself as it was, takes it for known with its next look. Returns what the store says of itself then;
/// `None` if it said something else meanwhile.
pub async fn accept(
    store: &dyn Store,
    before: Option<&Mark>,
    changes: &Changes,
    known: &KnownStore,
    now: UnixMs,
) -> Result<Option<Mark>, store::Error> {
    let former = |mark: &Mark, changes| Former { id: mark.id.clone(), changes, accepted_at: now };
    let mut in_place_of = vec![former(&known.mark, known.changes_in_all())];
    in_place_of.extend(before.map(|before| former(before, in_all(changes))));
    in_place_of.extend(known.mark.in_place_of.iter().cloned());
    in_place_of.extend(before.into_iter().flat_map(|before| before.in_place_of.iter().cloned()));
    let accepted = Mark::accepted(in_place_of);
    Ok(store.replace_mark(before, &accepted).await?.then_some(accepted))
}
