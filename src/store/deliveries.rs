//! Messages as Twilio told of them: where each stands, and the statuses that brought it there.

use async_trait::async_trait;

use super::Error;
use crate::{
    domain::{
        Delivery, Organization, StatusChange,
        delivery::{DeliveryEntry, Recorded},
    },
    twilio::MessageSid,
};

/// What [`Deliveries::record_status`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRecorded {
    /// What became of the status.
    pub recorded: Recorded,
    /// The message is that of our own id, and was not known to be before; or the status is a repetition. The outbound
    /// message of that id has to be told its SID.
    pub learned_id: bool,
}

/// A message as the stores know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it stands.
    pub delivery: Delivery,
    /// The entries that brought it there, in order of arrival.
    pub entries: Vec<DeliveryEntry>,
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Deliveries {
    /// Records what Twilio said of a message, by [`Delivery::judge`]'s rule: its state, its entry in the
    /// deliveries stream, in one step. A message that is new and not at its end is planned to be asked for at
    /// `change.ask_at` ([`Task::Ask`]); one that comes to its end is not any more. One that is new and was not sent
    /// through us is entered in the history. A status that moves the message is counted.
    async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<StatusRecorded, Error>;

    /// What is known of the message `sid`.
    async fn message(&self, organization: &Organization, sid: &MessageSid) -> Result<Option<Message>, Error>;

    /// Where the messages `sids` stand, in their order, at most [`PAGE_MAX`] of them.
    async fn deliveries(
        &self,
        organization: &Organization,
        sids: &[MessageSid],
    ) -> Result<Vec<Option<Delivery>>, Error>;
}
