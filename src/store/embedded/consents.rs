//! Who may be sent to, and the messages received, in the embedded store.

use std::ops::Bound;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    tables::{CHANGES, CONSENTS, Tables},
    unavailable,
};
use crate::{
    domain::{
        Consent, Event, Organization, Person,
        consent::{Answer, ConsentChange},
        event::InboundEntry,
        stats::Counter,
    },
    store::{
        ConsentUpdate, ConsentVersion, Consents, Error, InboundRecorded, KnownConsent, PAGE_MAX, Row,
        consents::{FoundConsent, read_change, read_person},
        decode, encode,
    },
};

impl Tables<'_> {
    /// What is known of `person`, under whichever name.
    pub(super) fn consent(&self, organization: &str, person: &Person) -> Result<KnownConsent, Error> {
        known_consent(&self.consents, organization, person)
    }

    fn change_consent(&mut self, organization: &str, update: ConsentUpdate) -> Result<bool, Error> {
        if !self.replace_consent(organization, &update.expected, &update.consent)? {
            return Ok(false);
        }
        if let Some(entry) = &update.audit_entry {
            self.add_entry(organization, entry)?;
        }
        let person = update.expected.person().clone();
        if let Some(change) = update.change() {
            let last = self
                .changes
                .range((organization, person.as_str(), 0)..=(organization, person.as_str(), u64::MAX));
            let last = last.map_err(unavailable)?.next_back().transpose().map_err(unavailable)?;
            let number = last.map_or(0, |(key, _)| key.value().2 + 1);
            self.changes
                .insert((organization, person.as_str(), number), encode(&change).as_bytes())
                .map_err(unavailable)?;
        }
        if let Some(counter) = Counter::of_consent(&update.entry) {
            self.add_counts(organization, update.entry.at, &[counter])?;
        }
        self.add_event(organization, &Event::Consent(update.entry))?;
        Ok(true)
    }

    fn replace_consent(
        &mut self,
        organization: &str,
        expected: &ConsentVersion,
        consent: &Consent,
    ) -> Result<bool, Error> {
        let person = expected.person();
        if self.consent(organization, person)?.version != *expected {
            return Ok(false);
        }
        let (key, text) = ((organization, person.as_str()), encode(consent));
        self.consents.insert(key, text.as_str()).map_err(unavailable)?;
        Ok(true)
    }

    fn record_inbound(
        &mut self,
        organization: &str,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let sid = entry.sid.clone();
        let key = (organization, sid.as_str());
        if let Some(stored) = self.received.get(key).map_err(unavailable)? {
            return Ok(InboundRecorded::Duplicate(decode("an inbound message", stored.value())?));
        }
        if let Some(update) = &consent
            && self.consent(organization, update.expected.person())?.version != update.expected
        {
            return Ok(InboundRecorded::ConsentChanged);
        }
        self.received.insert(key, encode(&answer).as_bytes()).map_err(unavailable)?;
        self.add_event(organization, &Event::Inbound(entry))?;
        if let Some(update) = consent {
            self.change_consent(organization, update)?;
        }
        Ok(InboundRecorded::Stored)
    }
}

/// What is known of `person`, under whichever name.
pub(super) fn known_consent(
    consents: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    organization: &str,
    person: &Person,
) -> Result<KnownConsent, Error> {
    let found = |person: &Person| {
        let stored = consents.get((organization, person.as_str())).map_err(unavailable)?;
        FoundConsent::read(person.clone(), stored.map(|stored| stored.value().to_owned()))
    };
    match found(person)? {
        FoundConsent::Known(known) => Ok(*known),
        FoundConsent::Elsewhere(person) => found(&person)?.known(),
    }
}

#[async_trait]
impl Consents for EmbeddedStore {
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        _person: &Person,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.record_inbound(organization.as_str(), entry, consent, answer)).await
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&Person],
    ) -> Result<Vec<KnownConsent>, Error> {
        let organization = organization.clone();
        let persons: Vec<Person> = persons.iter().take(PAGE_MAX).map(|&person| person.clone()).collect();
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let known = |person: &Person| known_consent(&consents, organization.as_str(), person);
            persons.iter().map(known).collect()
        })
        .await
    }

    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &Person,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Row<ConsentChange>>, Error> {
        let (organization, person) = (organization.clone(), person.clone());
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let changes = transaction.open_table(CHANGES).map_err(unavailable)?;
            let organization = organization.as_str();
            let known = known_consent(&consents, organization, &person)?;
            let whose = known.version.person();
            let person = whose.as_str();
            let range = (organization, person, skip as u64)..=(organization, person, u64::MAX);
            let rows = changes.range(range).map_err(unavailable)?.take(limit.min(PAGE_MAX));
            let rows = (skip..)
                .zip(rows)
                .map(|(number, row)| read_change(whose, number, row.map_err(unavailable)?.1.value()));
            rows.collect()
        })
        .await
    }

    async fn persons(
        &self,
        organization: &Organization,
        after: Option<&Person>,
        limit: usize,
    ) -> Result<Vec<Person>, Error> {
        let (organization, after) = (organization.clone(), after.cloned());
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let organization = organization.as_str();
            let first = match &after {
                Some(after) => Bound::Excluded((organization, after.as_str())),
                None => Bound::Included((organization, "")),
            };
            let rows = consents.range::<(&str, &str)>((first, Bound::Unbounded)).map_err(unavailable)?;
            let mut persons = Vec::new();
            for row in rows {
                let (key, stored) = row.map_err(unavailable)?;
                let (of, name) = key.value();
                if of != organization || persons.len() == limit.min(PAGE_MAX) {
                    break;
                }
                let person = read_person(name)?;
                if let FoundConsent::Known(_) =
                    FoundConsent::read(person.clone(), Some(stored.value().to_owned()))?
                {
                    persons.push(person);
                }
            }
            Ok(persons)
        })
        .await
    }

    async fn change_consent(
        &self,
        organization: &Organization,
        update: ConsentUpdate,
    ) -> Result<bool, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.change_consent(organization.as_str(), update)).await
    }

    async fn replace_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        consent: &Consent,
    ) -> Result<bool, Error> {
        let (organization, expected, consent) = (organization.clone(), expected.clone(), consent.clone());
        self.write(move |tables| tables.replace_consent(organization.as_str(), &expected, &consent)).await
    }
}
