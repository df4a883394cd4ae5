//! Whether the store is the known one, in Redis.
//!
//! Every partition carries the store's identity beside its count of changes of consent, since a script sees one partition. A
//! partition that carries none, or that of a store in place of which this one was accepted, is given it when a script first
//! comes upon it.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{
    RedisStore, failed,
    keys::Partition,
    read,
    scripts::{self, Script},
};
use crate::{
    domain::Organization,
    store::{Error, Known, Mark, Mismatch, Recognition, StoreId, decode, encode},
};

/// What a script's error begins with that found another store than it was handed.
pub(super) const NOT_KNOWN: &str = "NOTKNOWN";

/// The field that names the store, in a partition and of the whole store.
const STORE: &str = "store";

/// The field that counts a partition's changes of consent.
const CHANGES: &str = "changes";

impl RedisStore {
    /// Looks into a partition that a script found to be of another store than the known one. Returns if it belongs to that after
    /// all, now at the latest.
    pub(super) async fn recognize(
        &self,
        organization: &Organization,
        partition: Partition,
    ) -> Result<(), Error> {
        let asked_at = Instant::now();
        let _turn = self.known.turn().await;
        // Many come upon a partition at once, and the first of them does it for all.
        let place = (organization.clone(), partition);
        if self.recognized_at().get(&place).is_some_and(|at| *at > asked_at) {
            return Ok(());
        }
        let (found, changes) = (self.mark().await?, self.count(organization, partition).await?);
        self.known.compare(found, changes)?;
        let Some(known) = self.known.store() else { return Ok(()) };
        let (mark, id, known_changes) = (&known.mark, known.mark.id.clone(), known.changes_in_all());
        // Asked for first: what is seen from here on may not be counted yet in what is read.
        let seen = self.known.seen(organization, partition).changes;
        let found_changes = self.count(organization, partition).await?;
        if found_changes < seen {
            return Err(self.known.doubt(Mismatch::FewerChanges {
                known: id,
                organization: organization.clone(),
                partition,
                known_changes: seen,
                found_changes,
            }));
        }
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.known(organization, partition)).arg(STORE);
        let carried: Option<String> = self.get(&command).await?;
        match carried.as_deref().map(StoreId::parse) {
            Some(Ok(carried)) if !mark.stands_for(&carried) => Err(self.known.doubt(Mismatch::Another {
                known: id,
                known_changes,
                found: carried,
                found_changes,
            })),
            // If another process was faster, it has done the same.
            _ => {
                let key = self.keys.known(organization, partition);
                self.change_mark(key, carried.as_deref(), id.as_str()).await?;
                self.recognized_at().insert(place, Instant::now());
                Ok(())
            }
        }
    }

    fn recognized_at(&self) -> MutexGuard<'_, HashMap<(Organization, Partition), Instant>> {
        // Nothing that holds the lock can panic half-way.
        self.recognized_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script that answers how often consent has changed in the partition, or 0 if it has changed nothing; returns whether
    /// it has changed something.
    pub(super) async fn count_change<A: AsRef<[u8]>>(
        &self,
        organization: &Organization,
        partition: Partition,
        script: &Script,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> Result<bool, Error> {
        let store = self.known_id();
        let changes = read(self.write_in(organization, partition, script, keys, arguments).await?)?;
        self.note(store.as_ref(), organization, partition, changes);
        Ok(changes > 0)
    }

    /// The identity that is known now.
    pub(super) fn known_id(&self) -> Option<StoreId> {
        self.known.mark().map(|mark| mark.id)
    }

    /// Notes that there have been `changes` in a partition of `store`, which was known when they were counted.
    pub(super) fn note(
        &self,
        store: Option<&StoreId>,
        organization: &Organization,
        partition: Partition,
        changes: u64,
    ) {
        if let Some(store) = store {
            self.known.note(store, organization, partition, changes);
        }
    }

    async fn count(&self, organization: &Organization, partition: Partition) -> Result<u64, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.known(organization, partition)).arg(CHANGES);
        Ok(self.get::<Option<u64>>(&command).await?.unwrap_or_default())
    }

    /// The same, once as many replicas hold it as were asked for.
    async fn held_count(&self, organization: &Organization, partition: Partition) -> Result<u64, Error> {
        let key = self.keys.known(organization, partition);
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg(CHANGES);
        let held = self.connection()?.write(&command, self.replicas(&key).as_ref()).await;
        Ok(read::<Option<u64>>(held.map_err(failed)?)?.unwrap_or_default())
    }

    /// Whatever is known: by this a store becomes known.
    async fn change_mark(&self, key: String, before: Option<&str>, after: &str) -> Result<bool, Error> {
        let arguments = [("before", before.unwrap_or_default()), ("after", after)];
        read(self.run(&scripts::CHANGE_MARK, &[("marked", key)], &arguments).await.map_err(failed)?)
    }
}

#[async_trait]
impl Recognition for RedisStore {
    fn known(&self) -> &Known {
        &self.known
    }

    async fn mark(&self) -> Result<Option<Mark>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.store_mark()).arg(STORE);
        let stored: Option<String> = self.get(&command).await?;
        stored.map(|stored| decode("the store's mark", stored)).transpose()
    }

    async fn replace_mark(&self, before: Option<&Mark>, after: &Mark) -> Result<bool, Error> {
        let before = before.map(encode);
        self.change_mark(self.keys.store_mark(), before.as_deref(), &encode(after)).await
    }

    async fn consent_counts(&self, organization: &Organization) -> Result<Vec<(u16, u64)>, Error> {
        let counts = self.keys.partition_numbers().map(|partition| async move {
            let count = self.count(organization, partition).await?;
            // What a failover may lose has not been seen: whoever asked for it was told that it is not stored.
            if self.replicas > 0 && count > self.known.seen(organization, partition).changes {
                return Ok((partition, self.held_count(organization, partition).await?));
            }
            Ok::<_, Error>((partition, count))
        });
        Ok(try_join_all(counts).await?.into_iter().filter(|(_, changes)| *changes > 0).collect())
    }
}
