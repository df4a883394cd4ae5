//! Messages on their way out: what was asked for, the queue that it waits in, and the order in which it was asked for.
//!
//! A message that is not resolved is always in the queue of its [`Flow`]: with the time at which somebody has to look
//! at it next. For one that waits that is the time at which it may leave; for one that is being sent, the time at which
//! the process that sends it must have failed. So nothing is forgotten by a crash, and no other list is kept.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;

use super::{ConsentVersion, Error, Row, Unreadable};
use crate::{
    domain::{
        Flow, HistoryId, MessageId, MessageRef, Organization, Outbound, OutboundState, Person, UnixMs,
        audit::Entry,
    },
    twilio::address::{InvalidAddress, mask},
};

/// The most messages that one call of [`Outbox::enqueue`], [`Outbox::outbounds`] or [`Outbox::history`] handles.
pub const OUTBOUNDS_MAX: usize = 500;

/// The flows of one page of [`Outbox::due_flows`], in each partition.
pub const DUE_FLOWS_MAX: usize = 1_000;

/// A page of the flows in which messages are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueFlows {
    /// The flows, in the order of their names.
    pub flows: Vec<Flow>,
    /// Names among them that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Where the next page begins, if there may be one.
    pub next: Option<usize>,
}

impl DueFlows {
    /// A page that began at `skip`: what each partition has of it, by the names of the flows.
    pub(super) fn of(partitions: Vec<Vec<Vec<u8>>>, skip: usize) -> Self {
        let next =
            partitions.iter().any(|names| names.len() == DUE_FLOWS_MAX).then_some(skip + DUE_FLOWS_MAX);
        let names: BTreeSet<Vec<u8>> = partitions.into_iter().flatten().collect();
        let (mut flows, mut unreadable) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            match read_flow(&name) {
                Ok(flow) => flows.push(flow),
                Err(error) => {
                    let name = mask(&String::from_utf8_lossy(&name));
                    unreadable.push(Unreadable { record: format!("the flow {name:?}"), error });
                }
            }
        }
        Self { flows, unreadable, next }
    }
}

fn read_flow(name: &[u8]) -> Result<Flow, String> {
    let name = str::from_utf8(name).map_err(|error| error.to_string())?;
    name.parse().map_err(|error: InvalidAddress| error.to_string())
}

/// Reads the id of a message that waits in `flow`.
pub(super) fn read_id(id: &[u8], flow: &Flow) -> Row<MessageId> {
    // What stands for bytes that are no text is in no id.
    let id = String::from_utf8_lossy(id);
    id.parse().map_err(|error| Unreadable {
        record: format!("the message {id:?} in the queue {:?}", mask(&flow.to_string())),
        error: format!("{error}"),
    })
}

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutbound {
    /// What was asked for.
    pub outbound: Outbound,
    /// Where it stands.
    pub state: OutboundState,
    /// What Twilio is to be given, sealed; `None` if its batch holds that.
    pub content: Option<String>,
    /// How much room it takes while it waits: the bytes of its content, for the first of a batch those of the batch's.
    pub bytes: u64,
    /// When somebody has to look at it.
    pub due: UnixMs,
    /// What the audit says of it; `None` if it says it of all that were asked for together.
    pub entry: Option<Entry>,
}

/// How much waits in the queues of an organization, or is about to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queued {
    /// Messages.
    pub messages: u64,
    /// The sum of [`NewOutbound::bytes`].
    pub bytes: u64,
}

/// What a message has to pass at the moment at which it begins to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The recipient's consent that the send was decided on.
    pub consent: ConsentVersion,
    /// The least time between two messages to the recipient; zero for any.
    pub cooldown: Duration,
    /// The moment.
    pub now: UnixMs,
}

/// What became of a message at its gate, or of a step from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It is stored.
    Yes,
    /// Another state than the expected one is stored, or the id is taken; nothing was written.
    StateChanged,
    /// Consent has changed since it was asked for; nothing was written.
    ConsentChanged,
    /// The recipient was sent to too short a time ago; nothing was written.
    CoolingDown {
        /// Until when.
        until: UnixMs,
    },
}

/// A step of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The state that it is decided on.
    pub from: OutboundState,
    /// The state afterwards.
    pub to: OutboundState,
    /// When somebody has to look at it next; `None` if nobody has to.
    pub due: Option<UnixMs>,
    /// What has to be passed.
    pub gate: Option<Gate>,
    /// What the audit says of it, if somebody asked for it; added in the same step.
    pub entry: Option<Entry>,
}

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOutbound {
    /// What was asked for.
    pub outbound: Outbound,
    /// Where it stands.
    pub state: OutboundState,
    /// What Twilio is to be given, sealed; gone once the message is resolved.
    pub content: Option<String>,
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Outbox {
    /// Stores a message, puts it into its queue unless it is resolved, and enters it in the history and in the audit, if it
    /// passes `gate`. Never gives [`Passed::Yes`] for an id twice.
    async fn create_outbound(
        &self,
        organization: &Organization,
        new: &NewOutbound,
        gate: Option<&Gate>,
    ) -> Result<Passed, Error>;

    /// Stores up to [`OUTBOUNDS_MAX`] messages as [`Outbox::create_outbound`] does without a gate. Each of them is
    /// stored whole or not at all; of several, an error may leave some.
    async fn enqueue(&self, organization: &Organization, new: &[NewOutbound]) -> Result<(), Error>;

    /// Takes `outbound` from one state to another. A resolved message loses its content.
    async fn step_outbound(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        step: &Step,
    ) -> Result<Passed, Error>;

    /// Stores what is known of the message `id` from elsewhere. A state of lower or equal rank changes nothing, an
    /// unknown id neither. The queue is left as it is.
    async fn resolve_outbound(
        &self,
        organization: &Organization,
        id: &MessageId,
        state: &OutboundState,
    ) -> Result<(), Error>;

    /// The messages asked for under `ids`, in their order, at most [`OUTBOUNDS_MAX`] of them.
    async fn outbound_rows(
        &self,
        organization: &Organization,
        ids: &[MessageId],
    ) -> Result<Vec<Row<Option<StoredOutbound>>>, Error>;

    /// The same, where none may be left out: one that cannot be read is an error.
    async fn outbounds(
        &self,
        organization: &Organization,
        ids: &[MessageId],
    ) -> Result<Vec<Option<StoredOutbound>>, Error> {
        Ok(self.outbound_rows(organization, ids).await?.into_iter().collect::<Result<_, _>>()?)
    }

    /// The message asked for under `id`.
    async fn outbound(
        &self,
        organization: &Organization,
        id: &MessageId,
    ) -> Result<Option<StoredOutbound>, Error> {
        Ok(self.outbounds(organization, &[*id]).await?.pop().flatten())
    }

    /// The flows in which messages are due at `now`, the urgent ones or the others: a page of them, each once, that begins
    /// where `skip` says, which is 0 or what a page before gave as its [`DueFlows::next`]. Flows in which nothing is due
    /// cost nothing.
    async fn due_flows(
        &self,
        organization: &Organization,
        now: UnixMs,
        urgent: bool,
        skip: usize,
    ) -> Result<DueFlows, Error>;

    /// Takes messages of `flow` that are due at `now`, at most `limit` of them, the longest due first. Until `until`
    /// nobody else gets them; then they are due again, unless a step has said otherwise. That goes for those too of which the
    /// id cannot be read.
    async fn claim_outbounds(
        &self,
        organization: &Organization,
        flow: &Flow,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Row<MessageId>>, Error>;

    /// Leaves the message `id`, which has been claimed and cannot be read, in the queue of `flow`, and lets it be due at
    /// `until`.
    async fn put_off(
        &self,
        organization: &Organization,
        flow: &Flow,
        id: &MessageId,
        until: UnixMs,
    ) -> Result<(), Error>;

    /// How much is in the organization's queues. What it costs does not depend on how much that is.
    async fn queued(&self, organization: &Organization) -> Result<Queued, Error>;

    /// Takes the message `id`, of which nothing is stored or which is resolved, out of the queue of `flow`.
    async fn dequeue(&self, organization: &Organization, flow: &Flow, id: &MessageId) -> Result<(), Error>;

    /// The messages before `before`, newest first, those to `person` or all, at most `limit` and [`OUTBOUNDS_MAX`] of
    /// them. What it costs does not depend on how many are stored.
    async fn history(
        &self,
        organization: &Organization,
        person: Option<&Person>,
        before: HistoryId,
        limit: usize,
    ) -> Result<Vec<(HistoryId, MessageRef)>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_of_a_queue_is_told_without_the_number_that_sends() {
        let names = ["+14155550177\u{7}".into(), "+14155550178".into(), b"+14155550179\xff".to_vec()];
        let due = DueFlows::of(vec![names.to_vec()], 0);
        assert_eq!((due.flows.len(), due.unreadable.len()), (1, 2));
        let id = read_id(b"no id\xff", &due.flows[0]).unwrap_err();
        let told: String = due.unreadable.iter().chain([&id]).map(ToString::to_string).collect();
        assert!(!told.contains("555017"), "{told}");
        assert!(told.contains("+1415***0178") && told.contains("no id"), "{told}");
    }
}
