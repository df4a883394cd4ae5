//! What is taken away for good because its person asks for it, beside messages ([`Retention::forget_messages`](super::Retention)):
//! entries of the streams, one by one, and counters.

use async_trait::async_trait;

use super::Error;
use crate::domain::{EventId, Organization};

/// See the [module](self), and the store's promises. Each operation may be repeated.
#[async_trait]
pub trait Erasure {
    /// Takes the entries `events` out of their streams, with the unknown parameters of each. That a message was received is still
    /// known: a START that is posted again undoes no STOP that came after it.
    async fn forget_events(&self, organization: &Organization, events: &[EventId]) -> Result<(), Error>;

    /// Takes the counter `name` away.
    async fn forget_counter(&self, organization: &Organization, name: &str) -> Result<(), Error>;
}
