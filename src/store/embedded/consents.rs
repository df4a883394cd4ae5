//! Who may be sent to, and the messages received, in the embedded store.

use std::ops::Bound;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    tables::{CHANGES, CONSENTS, ERASED, Tables},
    unavailable,
};
use crate::{
    domain::{
        Consent, Event, Organization, Person, PseudonymKey,
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
    /// Whether what is stored of a person's consent is still what `expected` names.
    pub(super) fn is_current(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        key: &PseudonymKey,
    ) -> Result<bool, Error> {
        let person = expected.person();
        let (named, erased) = stored(&self.consents, &self.erased, key, organization, person)?;
        Ok(named.or(erased) == expected.stored)
    }

    fn change_consent(
        &mut self,
        organization: &Organization,
        update: ConsentUpdate,
        key: &PseudonymKey,
    ) -> Result<bool, Error> {
        if !self.replace_consent(organization, &update.expected, &update.consent, key)? {
            return Ok(false);
        }
        let organization = organization.as_str();
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
        organization: &Organization,
        expected: &ConsentVersion,
        consent: &Consent,
        key: &PseudonymKey,
    ) -> Result<bool, Error> {
        if !self.is_current(organization, expected, key)? {
            return Ok(false);
        }
        self.put_consent(organization, expected.person(), &encode(consent), key)?;
        Ok(true)
    }

    /// Stores `text` under the name of `person`, in the place of what was known of them after they were erased.
    pub(super) fn put_consent(
        &mut self,
        organization: &Organization,
        person: &Person,
        text: &str,
        key: &PseudonymKey,
    ) -> Result<(), Error> {
        let pseudonym = key.pseudonym(organization, person.as_str());
        let organization = organization.as_str();
        self.consents.insert((organization, person.as_str()), text).map_err(unavailable)?;
        self.erased.remove((organization, pseudonym.as_str())).map_err(unavailable)?;
        Ok(())
    }

    /// Takes away what is stored under `name` with the list of its changes, and keeps `kept` under its pseudonym.
    pub(super) fn erase_consent(
        &mut self,
        organization: &Organization,
        name: &str,
        kept: Option<&Consent>,
        key: &PseudonymKey,
    ) -> Result<(), Error> {
        let pseudonym = key.pseudonym(organization, name);
        let organization = organization.as_str();
        let of_pseudonym = (organization, pseudonym.as_str());
        match kept {
            Some(kept) => self.erased.insert(of_pseudonym, encode(kept).as_str()),
            None => self.erased.remove(of_pseudonym),
        }
        .map_err(unavailable)?;
        self.consents.remove((organization, name)).map_err(unavailable)?;
        let of_name = (organization, name, 0)..=(organization, name, u64::MAX);
        self.changes.retain_in(of_name, |_, _| false).map_err(unavailable)
    }

    fn record_inbound(
        &mut self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
        key: &PseudonymKey,
    ) -> Result<InboundRecorded, Error> {
        let sid = entry.sid.clone();
        let received = (organization.as_str(), sid.as_str());
        if let Some(stored) = self.received.get(received).map_err(unavailable)? {
            return Ok(InboundRecorded::Duplicate(decode("an inbound message", stored.value())?));
        }
        if let Some(update) = &consent
            && !self.is_current(organization, &update.expected, key)?
        {
            return Ok(InboundRecorded::ConsentChanged);
        }
        self.received.insert(received, encode(&answer).as_bytes()).map_err(unavailable)?;
        self.add_event(organization.as_str(), &Event::Inbound(entry))?;
        if let Some(update) = consent {
            self.change_consent(organization, update, key)?;
        }
        Ok(InboundRecorded::Stored)
    }
}

/// What is stored of a person's consent under their name, and under their pseudonym.
fn stored(
    consents: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    erased: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    key: &PseudonymKey,
    organization: &Organization,
    person: &Person,
) -> Result<(Option<String>, Option<String>), Error> {
    let of = organization.as_str();
    let named = consents.get((of, person.as_str())).map_err(unavailable)?;
    let named = named.map(|stored| stored.value().to_owned());
    let pseudonym = key.pseudonym(organization, person.as_str());
    let erased = erased.get((of, pseudonym.as_str())).map_err(unavailable)?;
    Ok((named, erased.map(|stored| stored.value().to_owned())))
}

/// What is found under the name of `person`, or under their pseudonym.
fn found_consent(
    consents: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    erased: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    key: &PseudonymKey,
    organization: &Organization,
    person: &Person,
) -> Result<FoundConsent, Error> {
    let (named, erased) = stored(consents, erased, key, organization, person)?;
    FoundConsent::read(person.clone(), named.or(erased))
}

/// The person of whom `person` is another name, or `person`.
pub(super) fn resolved(
    consents: &impl ReadableTable<(&'static str, &'static str), &'static str>,
    organization: &str,
    person: &Person,
) -> Result<Person, Error> {
    let stored = consents.get((organization, person.as_str())).map_err(unavailable)?;
    Ok(match FoundConsent::read(person.clone(), stored.map(|stored| stored.value().to_owned()))? {
        FoundConsent::Known(_) => person.clone(),
        FoundConsent::Elsewhere(person) => person,
    })
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
        let (whose, key) = (organization.clone(), self.pseudonyms.key(self).await?);
        let changes = consent.is_some();
        self.change_consent_by(organization, move |tables| {
            let recorded = tables.record_inbound(&whose, entry, consent, answer, &key)?;
            Ok((recorded, changes && recorded == InboundRecorded::Stored))
        })
        .await
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&Person],
    ) -> Result<Vec<KnownConsent>, Error> {
        let (organization, key) = (organization.clone(), self.pseudonyms.key(self).await?);
        let persons: Vec<Person> = persons.iter().take(PAGE_MAX).map(|&person| person.clone()).collect();
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let erased = transaction.open_table(ERASED).map_err(unavailable)?;
            let found = |person: &Person| found_consent(&consents, &erased, &key, &organization, person);
            let known = |person: &Person| match found(person)? {
                FoundConsent::Known(known) => Ok(*known),
                FoundConsent::Elsewhere(person) => found(&person)?.known(),
            };
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
            let whose = &resolved(&consents, organization, &person)?;
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
        let (whose, key) = (organization.clone(), self.pseudonyms.key(self).await?);
        self.change_consent_by(organization, move |tables| {
            let has_changed = tables.change_consent(&whose, update, &key)?;
            Ok((has_changed, has_changed))
        })
        .await
    }

    async fn replace_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        consent: &Consent,
    ) -> Result<bool, Error> {
        let (whose, key) = (organization.clone(), self.pseudonyms.key(self).await?);
        let (expected, consent) = (expected.clone(), consent.clone());
        self.write_known(organization, move |tables| {
            tables.replace_consent(&whose, &expected, &consent, &key)
        })
        .await
    }

    async fn erase_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        kept: Option<&Consent>,
    ) -> Result<bool, Error> {
        let (organization, key) = (organization.clone(), self.pseudonyms.key_to_use(self).await?);
        let (expected, kept) = (expected.clone(), kept.cloned());
        self.write(move |tables| {
            let is_current = tables.is_current(&organization, &expected, &key)?;
            if is_current {
                let name = expected.person().as_str();
                tables.erase_consent(&organization, name, kept.as_ref(), &key)?;
                tables.forget_last_sent(organization.as_str(), name)?;
            }
            Ok(is_current)
        })
        .await
    }
}
