//! Who may be sent to: consent as it is known, its changes, and the messages received that change it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Error, Row, Unreadable, decode};
use crate::{
    domain::{
        Consent, Organization, Person,
        audit::Entry,
        consent::{Answer, ConsentChange, ConsentEntry, ConsentState},
        event::InboundEntry,
    },
    twilio::{BareAddress, address::mask},
};

/// A person's consent, and the version that a change or a send names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownConsent {
    /// What is known.
    pub consent: Consent,
    /// Equal exactly if nothing has changed.
    pub version: ConsentVersion,
}

/// Names a state of one person's consent: whose, and what is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentVersion {
    person: Person,
    /// The stored text itself, `None` if nothing is stored.
    pub(super) stored: Option<String>,
}

impl ConsentVersion {
    /// That of a person of whom nothing is stored.
    pub fn of_nothing(person: Person) -> Self {
        Self { person, stored: None }
    }

    /// Under whose name it is stored: the person that was asked for, or the one that this is another name of.
    pub fn person(&self) -> &Person {
        &self.person
    }
}

/// What a store keeps under the name of a person.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum KeptConsent {
    /// It is another name of this person, under whose own everything is kept.
    Elsewhere {
        /// The person.
        same_as: Person,
    },
    /// What is known.
    Here(Box<Consent>),
}

/// What was found under a name.
pub(super) enum FoundConsent {
    /// What is known of the person.
    Known(Box<KnownConsent>),
    /// It is another name of this person.
    Elsewhere(Person),
}

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
    /// What the audit says of it, if somebody asked for it; added in the step that makes the change.
    pub audit_entry: Option<Entry>,
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
    /// With no change of consent there is no version to compare. `person` is who wrote, as consent was read
    /// ([`ConsentVersion::person`]).
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        person: &Person,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error>;

    /// What is known of `persons`, in their order, at most [`PAGE_MAX`] of them.
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
    ) -> Result<Vec<Row<ConsentChange>>, Error>;

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

    /// Puts `consent` in the place of the version `expected` without an entry in the stream or in the person's list, for
    /// what changes no wish; returns whether that version was still there.
    async fn replace_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        consent: &Consent,
    ) -> Result<bool, Error>;

    /// Erases everything that is kept of a person's consent under their name, with the list of its changes and when they were
    /// last sent to, if the version is still `expected`; returns whether it was. What is still to be obeyed, `kept`, stays
    /// under the person's pseudonym ([`Pseudonym`](crate::domain::Pseudonym)), where it is found like any other consent
    /// until another takes its place.
    async fn erase_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        kept: Option<&Consent>,
    ) -> Result<bool, Error>;
}

/// Reads change `number` of the consent of `person`.
pub(super) fn read_change(
    person: &Person,
    number: usize,
    stored: &[u8],
) -> Result<Row<ConsentChange>, Error> {
    let record = || format!("change {number} of the consent of {}", mask(person.as_str()));
    Unreadable::part(record, decode("a change of consent", stored))
}

/// Reads the name that a store has for a person.
pub(super) fn read_person(name: &str) -> Result<Person, Error> {
    let address = name.parse::<BareAddress>();
    address.map(Person::from).map_err(|error| Error::Unreadable(format!("a person: {error}")))
}

impl FoundConsent {
    /// Reads what is stored under the name of `person`.
    pub(super) fn read(person: Person, stored: Option<String>) -> Result<Self, Error> {
        let consent = match &stored {
            None => Consent::default(),
            Some(text) => match decode("consent", text.as_bytes())? {
                KeptConsent::Here(consent) => *consent,
                KeptConsent::Elsewhere { same_as } => return Ok(FoundConsent::Elsewhere(same_as)),
            },
        };
        let version = ConsentVersion { person, stored };
        Ok(FoundConsent::Known(Box::new(KnownConsent { consent, version })))
    }

    /// What is known, where no other name can lead to: a name that another leads to leads nowhere itself.
    pub(super) fn known(self) -> Result<KnownConsent, Error> {
        match self {
            FoundConsent::Known(known) => Ok(*known),
            FoundConsent::Elsewhere(person) => {
                Err(Error::Unreadable(format!("{} has a name too many", mask(person.as_str()))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else an opt-out that was damaged, or that a later version wrote, would be none.
    #[test]
    fn consent_that_cannot_be_read_is_never_taken_for_nothing() {
        let known = r#"{"state":"opted_out","twilio_block":[],"source":"keyword","at":1,"message_sid":null}"#;
        let read = |text: String| {
            let person = Person::from("+14155550177".parse::<BareAddress>().unwrap());
            FoundConsent::read(person, Some(text))
        };
        for damaged in [
            String::new(),
            "no record".to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            format!(r#"{{"sms":{known}}}"#),
            format!(r#"{{"sms":{known},"whatsapp":{{}}}}"#),
            format!(r#"{{"sms":null,"whatsapp":{known}}}"#),
            format!(r#"{{"sms":{},"whatsapp":{known}}}"#, known.replace("opted_out", "paused")),
            format!(r#"{{"sms":{},"whatsapp":{known}}}"#, known.replace("keyword", "oracle")),
            r#"{"same_as":7}"#.to_owned(),
        ] {
            let is_unreadable = matches!(read(damaged.clone()), Err(Error::Unreadable(_)));
            assert!(is_unreadable, "{damaged}");
        }
    }
}
