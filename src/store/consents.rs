//! Who may be sent to: consent as it is known, its changes, and the messages received that change it.

use async_trait::async_trait;

use super::{Error, decode};
use crate::{
    domain::{
        Consent, Organization, Person,
        consent::{Answer, ConsentChange, ConsentEntry, ConsentState},
        event::InboundEntry,
    },
    twilio::BareAddress,
};

/// A person's consent, and the version that a change or a send names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownConsent {
    /// What is known.
    pub consent: Consent,
    /// Equal exactly if nothing has changed.
    pub version: ConsentVersion,
}

/// Names a state of one person's consent. Opaque: it is the stored text itself, `None` if nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsentVersion(pub(super) Option<String>);

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
    pub(super) fn change(&self) -> Option<ConsentChange> {
        let change = ConsentChange {
            entry: self.entry.clone(),
            evidence: self.evidence.clone(),
            actor: self.actor.clone(),
        };
        Some(change).filter(|change| change.entry.state != ConsentState::Review)
    }
}

/// What [`Consents::record_inbound`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundRecorded {
    /// Stored.
    Stored,
    /// It was stored before, and this was the answer then.
    Duplicate(Answer),
    /// Consent has changed since; nothing was written.
    ConsentChanged,
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Consents {
    /// Records a message received, the change of consent that it causes and the answer it gets, in one step.
    /// With no change of consent there is no version to compare.
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error>;

    /// What is known of `persons`, in their order, at most [`PAGE_MAX`] of
    /// them.
    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&Person],
    ) -> Result<Vec<KnownConsent>, Error>;

    /// What is known of `person`.
    async fn consent(&self, organization: &Organization, person: &Person) -> Result<KnownConsent, Error> {
        let known = self.consents(organization, &[person]).await?.pop();
        known.ok_or_else(|| Error::Unreadable("no consent was answered".to_owned()))
    }

    /// The changes of `person`'s consent, oldest first, without the first `skip`, at most `limit` and [`PAGE_MAX`] of
    /// them.
    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &Person,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, Error>;

    /// Those whose consent has ever changed, in the order of their numbers' text, behind `after` or from the first, at
    /// most `limit` and [`PAGE_MAX`] of them.
    async fn persons(
        &self,
        organization: &Organization,
        after: Option<&Person>,
        limit: usize,
    ) -> Result<Vec<Person>, Error>;

    /// Changes a person's consent and adds the stream's entry, if the version is still `update.expected`; returns
    /// whether it was.
    async fn change_consent(&self, organization: &Organization, update: ConsentUpdate)
    -> Result<bool, Error>;
}

/// Reads the name that a store has for a person.
pub(super) fn read_person(name: &str) -> Result<Person, Error> {
    let address = name.parse::<BareAddress>();
    address.map(Person::from).map_err(|error| Error::Unreadable(format!("a person: {error}")))
}

impl ConsentVersion {
    /// What a store keeps under this version: the consent itself, written down.
    pub(super) fn decode(stored: Option<String>) -> Result<KnownConsent, Error> {
        let consent = match &stored {
            Some(text) => decode("consent", text.as_bytes())?,
            None => Consent::default(),
        };
        Ok(KnownConsent { consent, version: ConsentVersion(stored) })
    }
}
