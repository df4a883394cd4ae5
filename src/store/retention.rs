//! What is taken away again: messages and entries of the streams, because of their age or because somebody is to be forgotten.
//!
//! Every operation does a bounded amount, so that nothing else waits for long, and may be repeated after it has failed at any
//! point: what leads to the rest goes last.

use std::ops::AddAssign;

use async_trait::async_trait;

use super::{Error, Row};
use crate::domain::{EventId, HistoryId, MessageRef, Organization, Stream, UnixMs};

/// The most messages that one call of [`Retention::oldest_messages`] or [`Retention::forget_messages`] handles.
pub const FORGOTTEN_MAX: usize = 100;

/// The most entries that one call of [`Retention::trim_events`] takes from each stream of each partition: others wait for it no longer
/// than for a few webhooks.
pub const TRIMMED_MAX: usize = 50;

/// Which messages are forgotten, of those that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forget {
    /// Those of which nothing was recorded at this time or later, and for which nobody is going to ask Twilio.
    HeardBefore(UnixMs),
    /// All of them.
    Any,
}

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Messages: what was asked for, where they stood, and their places in the histories.
    pub messages: u64,
    /// Entries of the deliveries stream, with their unknown parameters.
    pub deliveries: u64,
    /// Entries of the inbound stream, with what each message received was answered.
    pub inbound: u64,
    /// Entries of the consents stream.
    pub consents: u64,
}

impl Removed {
    /// So many messages.
    pub fn messages(messages: u64) -> Self {
        Self { messages, ..Self::default() }
    }

    /// So many entries of `stream`.
    pub fn entries(stream: Stream, entries: u64) -> Self {
        let mut removed = Self::default();
        match stream {
            Stream::Deliveries => removed.deliveries = entries,
            Stream::Inbound => removed.inbound = entries,
            Stream::Consents => removed.consents = entries,
        }
        removed
    }

    /// Each kind by its name, with how many.
    pub fn by_kind(&self) -> [(&'static str, u64); 4] {
        let Self { messages, deliveries, inbound, consents } = *self;
        [("messages", messages), ("deliveries", deliveries), ("inbound", inbound), ("consents", consents)]
    }
}

impl AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.inbound += other.inbound;
        self.consents += other.consents;
    }
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Retention {
    /// The messages after `after` that were entered in the history before `before`, oldest first, at most `limit` and
    /// [`FORGOTTEN_MAX`] of them. What it costs does not depend on how many are stored.
    async fn oldest_messages(
        &self,
        organization: &Organization,
        after: HistoryId,
        before: UnixMs,
        limit: usize,
    ) -> Result<Vec<(HistoryId, Row<MessageRef>)>, Error>;

    /// Takes away everything that is kept of some of `messages`, at most [`FORGOTTEN_MAX`]: what was asked for, where the message
    /// stands, its entries in the streams, and last its places in both histories. Each is named with its place in the history, or in
    /// that of its recipient.
    ///
    /// A message that is not resolved stays, whatever `which` says, and so does one that cannot be read.
    async fn forget_messages(
        &self,
        organization: &Organization,
        messages: &[(HistoryId, MessageRef)],
        which: Forget,
    ) -> Result<Removed, Error>;

    /// Takes away the oldest entries of the streams that were added before `before`, at most [`TRIMMED_MAX`] of each stream of each
    /// partition, with what is known of messages of which nothing was recorded since and for which nobody is going to ask
    /// Twilio. Returns whether there may be more.
    async fn trim_events(
        &self,
        organization: &Organization,
        before: UnixMs,
    ) -> Result<(Removed, bool), Error>;

    /// Up to where entries have been taken away of those after `after`, by whomever; `None` if none was. What others trim in a stream
    /// in Redis is known up to the first entry that was left when somebody asked for the first time afterwards.
    /// Asked after the entries behind `after` were read, it leaves out none that was taken away before they were.
    async fn lost_events(
        &self,
        organization: &Organization,
        after: EventId,
    ) -> Result<Option<EventId>, Error>;
}
