//! Who may be sent to, and the messages received, in Redis.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{RedisStore, counts::counts_end, read, scripts, stream, unlisted};
use crate::{
    domain::{
        Consent, Organization, Person, Stream, UnixMs,
        consent::{Answer, ConsentChange},
        event::InboundEntry,
        stats::{Counter, Unit},
    },
    store::{
        ConsentUpdate, ConsentVersion, Consents, Error, InboundRecorded, KnownConsent, PAGE_MAX, Row,
        consents::{FoundConsent, read_change, read_person},
        decode, encode,
    },
};

impl RedisStore {
    /// The keys of a change of consent, as both scripts that change it name them.
    async fn consent_keys(
        &self,
        organization: &Organization,
        person: &Person,
        at: UnixMs,
    ) -> Result<[(&'static str, String); 7], Error> {
        let erased = self.erased_key(organization, person.as_str()).await?;
        let partition = self.keys.partition(person.as_str());
        Ok([
            ("consent", self.keys.of_person(organization, "consent", person)),
            ("erased", erased),
            ("consents", self.keys.stream(organization, partition, Stream::Consents)),
            ("changes", self.keys.of_person(organization, "changes", person)),
            ("persons", self.keys.persons(organization, partition)),
            ("minute_counts", self.counts_key(organization, partition, Unit::Minute, at)),
            ("hour_counts", self.counts_key(organization, partition, Unit::Hour, at)),
        ])
    }
}

impl RedisStore {
    /// What is kept under the name of `person`, or under their pseudonym.
    pub(super) async fn found_consent(
        &self,
        organization: &Organization,
        person: &Person,
    ) -> Result<FoundConsent, Error> {
        let (named, erased) = self.stored_consent(organization, person.as_str()).await?;
        FoundConsent::read(person.clone(), named.or(erased))
    }

    /// Erases what is stored under `name`, if that is still `stored`, and keeps `kept` under its pseudonym.
    pub(super) async fn erase_stored(
        &self,
        organization: &Organization,
        name: &Person,
        stored: Option<&str>,
        kept: Option<&Consent>,
    ) -> Result<bool, Error> {
        let pseudonym = self.pseudonyms.key_to_use(self).await?.pseudonym(organization, name.as_str());
        let partition = self.keys.partition(name.as_str());
        let keys = [
            ("consent", self.keys.of_person(organization, "consent", name)),
            ("erased", self.keys.erased(organization, partition, &pseudonym)),
            ("changes", self.keys.of_person(organization, "changes", name)),
            ("persons", self.keys.persons(organization, partition)),
            ("last", self.keys.of_person(organization, "last", name)),
        ];
        let kept = kept.map(encode).unwrap_or_default();
        let arguments =
            [("decided_on", stored.unwrap_or_default()), ("kept", &kept), ("person", name.as_str())];
        read(self.write(&scripts::ERASE_CONSENT, &keys, &arguments).await?)
    }

    /// The person of whom `person` is another name, or `person`. Whoever is known by a number has no other name, and
    /// the server is not asked.
    pub(super) async fn resolve(
        &self,
        organization: &Organization,
        person: &Person,
    ) -> Result<Person, Error> {
        if person.has_number() {
            return Ok(person.clone());
        }
        match self.found_consent(organization, person).await? {
            FoundConsent::Known(_) => Ok(person.clone()),
            FoundConsent::Elsewhere(person) => Ok(person),
        }
    }

    /// What was answered to a message that came before its writer was known by the name of `person`.
    async fn answered_before(
        &self,
        organization: &Organization,
        entry: &InboundEntry,
        person: &Person,
    ) -> Result<Option<Answer>, Error> {
        let named = Person::of(&entry.from);
        if named == *person {
            return Ok(None);
        }
        let mut command = redis::cmd("GET");
        command.arg(self.keys.received(organization, &named, &entry.sid));
        let answer: Option<String> = self.get(&command).await?;
        answer.map(|answer| decode("an inbound message", answer)).transpose()
    }
}

/// The arguments of a change of consent, without the entry's fields and values; empty texts for none.
fn consent_arguments(update: Option<&ConsentUpdate>) -> [(&'static str, String); 7] {
    let text = |of: fn(&ConsentUpdate) -> Option<String>| update.and_then(of).unwrap_or_default();
    [
        ("decided_on", text(|update| update.expected.stored.clone())),
        ("after", text(|update| Some(encode(&update.consent)))),
        ("person", text(|update| Some(update.expected.person().as_str().to_owned()))),
        ("change", text(|update| update.change().map(|change| encode(&change)))),
        ("counter", text(|update| Counter::of_consent(&update.entry).map(|counter| counter.name()))),
        ("minute_ends", text(|update| Some(counts_end(Unit::Minute, update.entry.at)))),
        ("hour_ends", text(|update| Some(counts_end(Unit::Hour, update.entry.at)))),
    ]
}

/// An entry's names and values in turn, as XADD takes them; the script calls each of them `argument`.
fn entry_arguments(argument: &'static str, fields: Vec<String>) -> Vec<(&'static str, String)> {
    fields.into_iter().map(|text| (argument, text)).collect()
}

#[async_trait]
impl Consents for RedisStore {
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        person: &Person,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        if let Some(answer) = self.answered_before(organization, &entry, person).await? {
            return Ok(InboundRecorded::Duplicate(answer));
        }
        let at = consent.as_ref().map_or(entry.at, |update| update.entry.at);
        let partition = self.keys.partition(person.as_str());
        let mut keys = vec![
            ("received", self.keys.received(organization, person, &entry.sid)),
            ("inbound", self.keys.stream(organization, partition, Stream::Inbound)),
        ];
        keys.extend(self.consent_keys(organization, person, at).await?);
        let inbound_entry = entry_arguments("inbound_entry", stream::inbound_fields(&entry));
        let mut arguments =
            vec![("answer", encode(&answer)), ("changes_consent", u8::from(consent.is_some()).to_string())];
        arguments.extend(consent_arguments(consent.as_ref()));
        arguments.push(("inbound_length", inbound_entry.len().to_string()));
        arguments.extend(inbound_entry);
        if let Some(update) = consent {
            arguments.extend(entry_arguments("consents_entry", stream::consent_fields(&update.entry)));
        }
        let store = self.known_id();
        let recorded =
            self.write_in(organization, partition, &scripts::RECORD_INBOUND, &keys, &arguments).await?;
        let words: Vec<String> = read(recorded)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["stored"] => Ok(InboundRecorded::Stored),
            ["stored", changes] => {
                let changes = changes.parse().map_err(|_| unlisted(&words))?;
                self.note(store.as_ref(), organization, partition, changes);
                Ok(InboundRecorded::Stored)
            }
            ["consent_changed"] => Ok(InboundRecorded::ConsentChanged),
            ["duplicate", answer] => {
                decode("an inbound message", answer.as_bytes()).map(InboundRecorded::Duplicate)
            }
            _ => Err(unlisted(&words)),
        }
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&Person],
    ) -> Result<Vec<KnownConsent>, Error> {
        let consents = persons.iter().take(PAGE_MAX).map(|person| async move {
            match self.found_consent(organization, person).await? {
                FoundConsent::Known(known) => Ok(*known),
                FoundConsent::Elsewhere(person) => self.found_consent(organization, &person).await?.known(),
            }
        });
        try_join_all(consents).await
    }

    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &Person,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Row<ConsentChange>>, Error> {
        let limit = limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let person = self.resolve(organization, person).await?;
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.of_person(organization, "changes", &person)).arg(skip).arg(skip + limit - 1);
        let stored: Vec<Vec<u8>> = self.get(&command).await?;
        let changes = (skip..).zip(&stored);
        changes.map(|(number, change)| read_change(&person, number, change)).collect()
    }

    async fn persons(
        &self,
        organization: &Organization,
        after: Option<&Person>,
        limit: usize,
    ) -> Result<Vec<Person>, Error> {
        let keys = |partition| self.keys.persons(organization, partition);
        let names = self.names(keys, after.map(Person::as_str), limit.min(PAGE_MAX)).await?;
        names.iter().map(|name| read_person(name)).collect()
    }

    async fn change_consent(
        &self,
        organization: &Organization,
        update: ConsentUpdate,
    ) -> Result<bool, Error> {
        let partition = self.keys.partition(update.expected.person().as_str());
        let keys = self.consent_keys(organization, update.expected.person(), update.entry.at).await?;
        let mut keys = keys.to_vec();
        keys.push(("audit", self.keys.audit(organization, partition)));
        let mut arguments = consent_arguments(Some(&update)).to_vec();
        arguments.push(("audit_entry", update.audit_entry.as_ref().map(encode).unwrap_or_default()));
        arguments.extend(entry_arguments("entry", stream::consent_fields(&update.entry)));
        self.count_change(organization, partition, &scripts::CHANGE_CONSENT, &keys, &arguments).await
    }

    async fn replace_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        consent: &Consent,
    ) -> Result<bool, Error> {
        let person = expected.person();
        let keys = [
            ("consent", self.keys.of_person(organization, "consent", person)),
            ("erased", self.erased_key(organization, person.as_str()).await?),
        ];
        let decided_on = expected.stored.clone().unwrap_or_default();
        let arguments = [("decided_on", decided_on), ("after", encode(consent))];
        let partition = self.keys.partition(expected.person().as_str());
        read(self.write_in(organization, partition, &scripts::REPLACE_CONSENT, &keys, &arguments).await?)
    }

    async fn erase_consent(
        &self,
        organization: &Organization,
        expected: &ConsentVersion,
        kept: Option<&Consent>,
    ) -> Result<bool, Error> {
        self.erase_stored(organization, expected.person(), expected.stored.as_deref(), kept).await
    }
}
