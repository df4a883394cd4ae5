//! Where state and streams are kept: the contract that every store keeps, in the domain's words.
//!
//! # Promises
//!
//! - **Durable.** When an operation returns `Ok`, what it wrote survives a crash of this process; on the embedded
//!   store also a crash of the machine, on Redis as far as the server's own persistence goes.
//! - **Atomic.** Each operation happens whole or not at all, and no other operation sees half of it.
//! - **Ordered.** Entries of one organization have growing [`EventId`]s. An entry that has been read by
//!   [`Store::events`] is never preceded by one that is added later.
//! - **Deduplicated.** A status of a message with the same error, and an inbound message of the same SID, is
//!   recorded once, for as long as the message is kept.
//! - **Once at a time.** A task, or a message that waits, that one caller has claimed is claimed by no other until the
//!   time that it named.
//! - **Compare and set.** What depends on consent names the version that it was decided on. If consent has changed
//!   since, nothing is written and the caller decides again. So do the steps of a message, and documents.
//!
//! [`outbox`] has the messages on their way out, [`documents`] the small texts, this file everything else.
//!
//! The suite in `tests/it/conformance` holds every store to this list.

pub mod documents;
pub mod embedded;
pub mod outbox;
pub mod redis;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{
    documents::{Documents, Kind},
    outbox::{Gate, NewOutbound, Outbox, Passed, Step, StoredOutbound},
};
use crate::{
    domain::{
        Consent, Delivery, Event, EventId, Organization, StatusChange, Task, TaskLine, UnixMs,
        consent::{Answer, ConsentChange, ConsentEntry, ConsentState},
        delivery::{DeliveryEntry, Recorded},
        event::InboundEntry,
        stats::{Counts, Unit},
    },
    twilio::MessageSid,
};

/// The most entries that one call of [`Store::events`] returns.
pub const EVENTS_PAGE_MAX: usize = 1_000;

/// The most persons or changes that one call of [`Store::persons`], [`Store::consents`], [`Store::consent_changes`] or
/// [`Store::deliveries`] handles.
pub const PAGE_MAX: usize = 500;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, did not answer in time, or could not write. Whether the operation happened is not
    /// known; every operation may be repeated.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] anyhow::Error),
    /// It holds something that this version cannot read.
    #[error("the store holds what cannot be read: {0}")]
    Unreadable(String),
}

/// What [`Store::record_status`] did.
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

/// A person's consent, and the version that a change or a send names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownConsent {
    /// What is known.
    pub consent: Consent,
    /// Equal exactly if nothing has changed.
    pub version: ConsentVersion,
}

/// Names a state of one person's consent. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsentVersion(String);

/// A change of a person's consent, decided on `expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentUpdate {
    /// The version that the change was decided on.
    pub expected: ConsentVersion,
    /// The consent afterwards.
    pub consent: Consent,
    /// The stream's entry; names the person.
    pub entry: ConsentEntry,
    /// What shows that the person wants it, in the words of whoever recorded it.
    pub evidence: Option<String>,
    /// Who recorded it, if it was not the person.
    pub actor: Option<String>,
}

impl ConsentUpdate {
    /// What the person's own list of changes tells of it; nothing of a reply that still waits for review.
    fn change(&self) -> Option<ConsentChange> {
        let change = ConsentChange {
            entry: self.entry.clone(),
            evidence: self.evidence.clone(),
            actor: self.actor.clone(),
        };
        Some(change).filter(|change| change.entry.state != ConsentState::Review)
    }
}

/// What [`Store::record_inbound`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundRecorded {
    /// Stored.
    Stored,
    /// It was stored before, and this was the answer then.
    Duplicate(Answer),
    /// Consent has changed since; nothing was written.
    ConsentChanged,
}

/// See the [module](self) for the promises.
#[async_trait]
pub trait Store: Outbox + Documents + Send + Sync + 'static {
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

    /// Records a message received, the change of consent that it causes and the answer it gets, in one step.
    /// With no change of consent there is no version to compare.
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error>;

    /// What is known of `persons` (addresses without their channels' prefix), in their order, at most [`PAGE_MAX`] of
    /// them.
    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&str],
    ) -> Result<Vec<KnownConsent>, Error>;

    /// What is known of `person`.
    async fn consent(&self, organization: &Organization, person: &str) -> Result<KnownConsent, Error> {
        let known = self.consents(organization, &[person]).await?.pop();
        known.ok_or_else(|| Error::Unreadable("no consent was answered".to_owned()))
    }

    /// The changes of `person`'s consent, oldest first, without the first `skip`, at most `limit` and [`PAGE_MAX`] of
    /// them.
    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &str,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, Error>;

    /// Those whose consent has ever changed, in the order of their numbers' text, behind `after`, at most `limit` and
    /// [`PAGE_MAX`] of them.
    async fn persons(
        &self,
        organization: &Organization,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error>;

    /// Changes a person's consent and adds the stream's entry, if the version is still `update.expected`; returns
    /// whether it was.
    async fn change_consent(&self, organization: &Organization, update: ConsentUpdate)
    -> Result<bool, Error>;

    /// The partition that `person`'s data is in: the first part of a new message's id.
    fn partition(&self, person: &str) -> u16;

    /// The entries after `after`, oldest first, at most `limit` and [`EVENTS_PAGE_MAX`] of them.
    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Event)>, Error>;

    /// The newest entry's id, [`EventId::START`] if there is none.
    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error>;

    /// Returns when there may be an entry after `after`, or after `timeout`.
    async fn wait_for_events(
        &self,
        organization: &Organization,
        after: EventId,
        timeout: Duration,
    ) -> Result<(), Error>;

    /// Plans `task` for `at`, unless it is planned already.
    async fn plan(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error>;

    /// Takes tasks of `line` that are due at `now`, at most `limit` of them, each with the time at which it was due. Until
    /// `until` nobody else gets them; then they are due again, unless they have been planned anew.
    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error>;

    /// Plans `task` for another time, or for none; not if it has been done in the meantime and is planned no more.
    async fn plan_anew(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error>;

    /// What was counted in the times of `unit` that begin at `from` or later and before `until`, in order; times in which
    /// nothing was counted are left out.
    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, Counts)>, Error>;

    /// Whether the store can be written to just now.
    async fn ping(&self) -> Result<(), Error>;
}

impl ConsentVersion {
    /// What a store keeps under this version: the consent itself, written down.
    fn decode(stored: Option<String>) -> Result<KnownConsent, Error> {
        let stored = stored.unwrap_or_default();
        let consent = match stored.as_str() {
            "" => Consent::default(),
            text => decode("consent", text.as_bytes())?,
        };
        Ok(KnownConsent { consent, version: ConsentVersion(stored) })
    }
}

/// Writes a value down as the stores keep it.
fn encode<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the domain's types have string keys and no failing serializer")
}

/// Reads what [`encode`] wrote.
fn decode<T: serde::de::DeserializeOwned>(what: &str, stored: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(stored).map_err(|error| Error::Unreadable(format!("{what}: {error}")))
}
