//! Who may be sent to, and the messages received, in Redis.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{RedisStore, counts::counts_end, read, scripts, stream};
use crate::{
    domain::{
        Organization, Stream, UnixMs,
        consent::{Answer, ConsentChange},
        event::InboundEntry,
        stats::{Counter, Unit},
    },
    store::{
        ConsentUpdate, ConsentVersion, Consents, Error, InboundRecorded, KnownConsent, PAGE_MAX, decode,
        encode,
    },
    twilio::BareAddress,
};

impl RedisStore {
    /// The keys of `change_consent.lua`.
    fn consent_keys(&self, organization: &Organization, person: &BareAddress, at: UnixMs) -> [String; 6] {
        let partition = self.keys.partition(person);
        [
            self.keys.of_person(organization, "consent", person),
            self.keys.stream(organization, partition, Stream::Consents),
            self.keys.of_person(organization, "changes", person),
            self.keys.persons(organization, partition),
            self.counts_key(organization, partition, Unit::Minute, at),
            self.counts_key(organization, partition, Unit::Hour, at),
        ]
    }
}

/// The arguments of a change of consent, without the entry's fields and values.
fn consent_arguments(update: &ConsentUpdate) -> [String; 7] {
    let [minute_ends, hour_ends] = Unit::ALL.map(|unit| counts_end(unit, update.entry.at));
    [
        update.expected.0.clone().unwrap_or_default(),
        encode(&update.consent),
        update.entry.phone.clone().into(),
        update.change().map(|change| encode(&change)).unwrap_or_default(),
        Counter::of_consent(&update.entry).map(|counter| counter.name()).unwrap_or_default(),
        minute_ends,
        hour_ends,
    ]
}

#[async_trait]
impl Consents for RedisStore {
    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let person = entry.from.clone();
        let at = consent.as_ref().map_or(entry.at, |update| update.entry.at);
        let mut keys = vec![
            self.keys.received(organization, &person, &entry.sid),
            self.keys.stream(organization, self.keys.partition(&person), Stream::Inbound),
        ];
        keys.extend(self.consent_keys(organization, &person, at));
        let inbound = stream::inbound_fields(&entry);
        let (changes, change, consents) = match consent {
            Some(update) => ("1", consent_arguments(&update), stream::consent_fields(&update.entry)),
            None => ("0", Default::default(), Vec::new()),
        };
        let mut arguments = vec![encode(&answer), changes.to_owned()];
        arguments.extend(change);
        arguments.push(inbound.len().to_string());
        arguments.extend(inbound);
        arguments.extend(consents);
        let stored: String = read(self.write(&scripts::RECORD_INBOUND, &keys, &arguments).await?)?;
        Ok(match stored.as_str() {
            "1" => InboundRecorded::Stored,
            "0" => InboundRecorded::ConsentChanged,
            answered => InboundRecorded::Duplicate(decode("an inbound message", answered.as_bytes())?),
        })
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&BareAddress],
    ) -> Result<Vec<KnownConsent>, Error> {
        let consents = persons.iter().take(PAGE_MAX).map(|person| async move {
            let mut command = redis::cmd("GET");
            command.arg(self.keys.of_person(organization, "consent", person));
            ConsentVersion::decode(self.get(&command).await?)
        });
        try_join_all(consents).await
    }

    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &BareAddress,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, Error> {
        let limit = limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.of_person(organization, "changes", person)).arg(skip).arg(skip + limit - 1);
        let stored: Vec<String> = self.get(&command).await?;
        stored.iter().map(|change| decode("a change of consent", change.as_bytes())).collect()
    }

    async fn persons(
        &self,
        organization: &Organization,
        after: Option<&BareAddress>,
        limit: usize,
    ) -> Result<Vec<BareAddress>, Error> {
        let keys = |partition| self.keys.persons(organization, partition);
        let names = self.names(keys, after.map(BareAddress::as_str), limit.min(PAGE_MAX)).await?;
        let person =
            |name: String| name.try_into().map_err(|error| Error::Unreadable(format!("a person: {error}")));
        names.into_iter().map(person).collect()
    }

    async fn change_consent(
        &self,
        organization: &Organization,
        update: ConsentUpdate,
    ) -> Result<bool, Error> {
        let keys = self.consent_keys(organization, &update.entry.phone, update.entry.at);
        let mut arguments = consent_arguments(&update).to_vec();
        arguments.extend(stream::consent_fields(&update.entry));
        read(self.write(&scripts::CHANGE_CONSENT, &keys, &arguments).await?)
    }
}
