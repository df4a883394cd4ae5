//! The streams, read as one order of all events.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, Row};
use crate::domain::{Event, EventId, Organization};

/// The most entries that one call of [`Events::events`] returns.
pub const EVENTS_PAGE_MAX: usize = 1_000;

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Events {
    /// The entries after `after`, oldest first, at most `limit` and [`EVENTS_PAGE_MAX`] of them.
    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Row<Event>)>, Error>;

    /// The newest entry's id, [`EventId::START`] if there is none.
    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error>;

    /// Returns when there may be an entry after `after`, or after `timeout`.
    async fn wait_for_events(
        &self,
        organization: &Organization,
        after: EventId,
        timeout: Duration,
    ) -> Result<(), Error>;
}
