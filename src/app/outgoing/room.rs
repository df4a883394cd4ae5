//! How much may wait for an organization: messages that are scheduled, held or have not had their turn.
//!
//! How much waits is asked of the store, which knows it exactly and for all instances. What requests of this process are
//! about to store is counted besides, so that many at once do not all find the same room. Two processes may do so: for
//! each further process, as much as the limit may be accepted in the same instant, and not more.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Steps;
use crate::{
    app::Scope,
    domain::Organization,
    store::{self, Queued},
};

/// What requests of this process are about to put into the queues.
#[derive(Default)]
pub(in crate::app) struct Promises(Mutex<HashMap<Organization, Queued>>);

/// Room in an organization's queues. It is kept free for whoever holds this: until what is to be stored is stored.
pub(super) struct Room<'a> {
    promises: &'a Promises,
    organization: &'a Organization,
    size: Queued,
}

impl Promises {
    fn lock(&self) -> MutexGuard<'_, HashMap<Organization, Queued>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps room of `size`, and returns how much is promised with that.
    fn add(&self, organization: &Organization, size: Queued) -> Queued {
        let mut promised = self.lock();
        let promised = promised.entry(organization.clone()).or_default();
        promised.messages += size.messages;
        promised.bytes += size.bytes;
        *promised
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut promised = self.promises.lock();
        if let Some(of_organization) = promised.get_mut(self.organization) {
            of_organization.messages -= self.size.messages;
            of_organization.bytes -= self.size.bytes;
            if *of_organization == Queued::default() {
                promised.remove(self.organization);
            }
        }
    }
}

impl Scope<'_, Steps> {
    /// Room for `size` in the organization's queues; `None` if there is not so much.
    pub(super) async fn room_for(&self, size: Queued) -> Result<Option<Room<'_>>, store::Error> {
        let max = self.core.settings.limits.queue_max;
        // Promised before the store is asked: what others store meanwhile is counted twice rather than not at all.
        let promised = self.promises.add(self.organization, size);
        let room = Room { promises: &self.promises, organization: self.organization, size };
        let queued = self.core.store.queued(self.organization).await?;
        let fits = queued.messages.saturating_add(promised.messages) <= max.messages
            && queued.bytes.saturating_add(promised.bytes) <= max.bytes;
        Ok(fits.then_some(room))
    }
}
