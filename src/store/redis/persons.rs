//! Who is one and the same person, in Redis.
//!
//! Two names are in two partitions, which no script reaches at once. So what is known under one is first merged into what
//! is known under the other, and only then taken away: after a crash in between, merging again changes nothing. Each half
//! is one script that compares with what was read; whoever has decided on what was there before finds it changed.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};

use super::{RedisStore, outbox::history_name, scripts};
use crate::{
    domain::{Consent, Organization, Person, consent::ConsentChange},
    store::{
        Error, Persons,
        consents::{FoundConsent, KeptConsent, read_person},
        decode, encode,
        persons::{SPELLED_TWICE, former_spelling},
    },
    twilio::BareAddress,
};

/// Partitions that are looked through at the same time, and keys of histories within one.
const PARTITIONS_AT_ONCE: usize = 16;
const KEYS_AT_ONCE: usize = 16;

/// Entries of a history that are moved at once.
const MOVED_AT_ONCE: usize = 500;

/// How often a move is tried again when what is known changes under it.
const TRIES_MAX: usize = 8;

/// What is kept of consent under a name.
#[derive(PartialEq)]
struct Kept {
    consent: Option<String>,
    changes: Vec<String>,
    /// Whether the consent is that of an erased person.
    is_erased: bool,
}

impl Kept {
    fn changes(&self) -> Result<Vec<ConsentChange>, Error> {
        self.changes.iter().map(|change| decode("a change of consent", change)).collect()
    }

    fn consent(&self, name: &str) -> Result<Consent, Error> {
        let name = read_person(name)?;
        Ok(FoundConsent::read(name, self.consent.clone())?.known()?.consent)
    }
}

impl RedisStore {
    async fn kept(&self, organization: &Organization, name: &str) -> Result<Kept, Error> {
        let mut changes = redis::cmd("LRANGE");
        changes.arg(self.keys.under(organization, "changes", name)).arg(0).arg(-1);
        let consent = self.stored_consent(organization, name);
        let ((named, erased), changes) = tokio::try_join!(consent, self.get(&changes))?;
        let is_erased = named.is_none() && erased.is_some();
        Ok(Kept { consent: named.or(erased), changes, is_erased })
    }

    /// Puts `after` in the place of `before`; whether that was still there.
    async fn replace_person(
        &self,
        organization: &Organization,
        name: &str,
        before: &Kept,
        after: &Kept,
        is_person: bool,
    ) -> Result<bool, Error> {
        let partition = self.keys.partition(name);
        let keys = [
            ("consent", self.keys.under(organization, "consent", name)),
            ("erased", self.erased_key(organization, name).await?),
            ("changes", self.keys.under(organization, "changes", name)),
            ("persons", self.keys.persons(organization, partition)),
        ];
        let listed = before.changes.len().to_string();
        let mut arguments = vec![
            ("decided_on", before.consent.as_deref().unwrap_or_default()),
            ("listed", &listed),
            ("after", after.consent.as_deref().unwrap_or_default()),
            ("person", name),
            ("is_person", if is_person { "1" } else { "0" }),
        ];
        arguments.extend(after.changes.iter().map(|change| ("changes", change.as_str())));
        self.count_change(organization, partition, &scripts::REPLACE_PERSON, &keys, &arguments).await
    }

    /// Moves what is kept under `name` to `person`; under `name` stays `remains`.
    async fn move_person(
        &self,
        organization: &Organization,
        name: &BareAddress,
        person: &Person,
        remains: Option<&KeptConsent>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let named = self.kept(organization, name).await?;
            // A name may have been that of another person before, whose consent it had then.
            let theirs = match FoundConsent::read(Person::of(name), named.consent.clone())? {
                FoundConsent::Elsewhere(same_as) if same_as == *person => return Ok(()),
                FoundConsent::Elsewhere(same_as) => Some(self.kept(organization, same_as.as_str()).await?),
                FoundConsent::Known(_) => None,
            };
            let theirs = theirs.as_ref().unwrap_or(&named);
            if theirs.consent.is_some() {
                let own = self.kept(organization, person.as_str()).await?;
                let consent = own.consent(person.as_str())?.merged(&theirs.consent(person.as_str())?);
                let changes = ConsentChange::merged(own.changes()?, theirs.changes()?);
                // Of an erased person nothing is written down again that is known by the pseudonym.
                let is_known =
                    own.is_erased && changes.is_empty() && consent == own.consent(person.as_str())?;
                let merged = Kept {
                    consent: Some(encode(&consent)),
                    changes: changes.iter().map(encode).collect(),
                    is_erased: false,
                };
                if !is_known
                    && !self.replace_person(organization, person.as_str(), &own, &merged, true).await?
                {
                    continue;
                }
            }
            if remains.is_some() {
                // First, so that no name leads to somebody by whom it cannot be found.
                let names = self.keys.of_person(organization, "names", person);
                self.put(&names, redis::cmd("SADD").arg(&names).arg(name.as_str())).await?;
            }
            let left = Kept { consent: remains.map(encode), changes: Vec::new(), is_erased: false };
            if self.replace_person(organization, name, &named, &left, false).await? {
                self.move_history(organization, name, person).await?;
                return self.move_last(organization, name, person).await;
            }
        }
        Err(Error::Unavailable(anyhow::anyhow!(
            "consent changed {TRIES_MAX} times while names were made one"
        )))
    }

    async fn move_history(
        &self,
        organization: &Organization,
        name: &str,
        person: &Person,
    ) -> Result<(), Error> {
        let (from, to) =
            (self.keys.history_under(organization, name), self.keys.history_of(organization, person));
        let (name, person) = (history_name(name), history_name(person.as_str()));
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&from).arg(format!("[{name}:")).arg(format!("({name};"));
            command.arg("LIMIT").arg(0).arg(MOVED_AT_ONCE);
            let members: Vec<String> = self.get(&command).await?;
            if members.is_empty() {
                return Ok(());
            }
            let (mut add, mut remove) = (redis::cmd("ZADD"), redis::cmd("ZREM"));
            add.arg(&to);
            remove.arg(&from);
            for member in &members {
                let entry = member.strip_prefix(name).unwrap_or_default();
                add.arg(0).arg(format!("{person}{entry}"));
                remove.arg(member);
            }
            self.put(&to, &add).await?;
            self.put(&from, &remove).await?;
        }
    }

    /// Moves when somebody was last sent to; the later of both times stays.
    async fn move_last(&self, organization: &Organization, name: &str, person: &Person) -> Result<(), Error> {
        let from = self.keys.under(organization, "last", name);
        let to = self.keys.of_person(organization, "last", person);
        let last: Option<u64> = self.get(redis::cmd("GET").arg(&from)).await?;
        let left_ms: i64 = self.get(redis::cmd("PTTL").arg(&from)).await?;
        let known: Option<u64> = self.get(redis::cmd("GET").arg(&to)).await?;
        if let Some(last) = last.filter(|last| left_ms > 0 && known < Some(*last)) {
            self.put(&to, redis::cmd("SET").arg(&to).arg(last).arg("PX").arg(left_ms)).await?;
        }
        self.put(&from, redis::cmd("DEL").arg(&from)).await
    }

    /// Everybody in a sorted set of recipients' messages whose number is between those of [`SPELLED_TWICE`].
    async fn recipients(&self, key: &str) -> Result<Vec<String>, Error> {
        let (first, end) = (history_name(SPELLED_TWICE.0), history_name(SPELLED_TWICE.1));
        let (mut recipients, mut from) = (Vec::new(), format!("[{first}"));
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(key).arg(&from).arg(format!("({end}")).arg("LIMIT").arg(0).arg(1);
            let found: Vec<String> = self.get(&command).await?;
            let Some((name, _)) = found.first().and_then(|member| member.split_once(':')) else {
                return Ok(recipients);
            };
            recipients.push(format!("+{name}"));
            // What comes behind a colon: the next recipient.
            from = format!("[{name};");
        }
    }

    async fn spellings_in(
        &self,
        organization: &Organization,
        partition: u16,
    ) -> Result<BTreeSet<String>, Error> {
        let (first, end) = SPELLED_TWICE;
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(self.keys.persons(organization, partition)).arg(format!("[{first}"));
        command.arg(format!("({end}"));
        let persons: Vec<String> = self.get(&command).await?;
        let mut names: BTreeSet<String> = persons.into_iter().collect();
        let history = self.keys.history(organization, partition);
        if self.get::<bool>(redis::cmd("EXISTS").arg(history)).await? {
            let recipients = futures_util::stream::iter(self.keys.histories(organization, partition))
                .map(|key| async move { self.recipients(&key).await })
                .buffer_unordered(KEYS_AT_ONCE);
            names.extend(recipients.try_concat().await?);
        }
        Ok(names)
    }
}

#[async_trait]
impl Persons for RedisStore {
    async fn link(&self, organization: &Organization, user: &Person, person: &Person) -> Result<(), Error> {
        let remains = KeptConsent::Elsewhere { same_as: person.clone() };
        self.move_person(organization, user.address(), person, Some(&remains)).await
    }

    async fn former_spellings(&self, organization: &Organization) -> Result<Vec<BareAddress>, Error> {
        let names = futures_util::stream::iter(self.keys.partition_numbers())
            .map(|partition| self.spellings_in(organization, partition))
            .buffer_unordered(PARTITIONS_AT_ONCE)
            .try_fold(BTreeSet::new(), |mut all, some| {
                all.extend(some);
                std::future::ready(Ok(all))
            });
        Ok(names.await?.iter().filter_map(|name| former_spelling(name)).collect())
    }

    async fn unite(&self, organization: &Organization, spelling: &BareAddress) -> Result<(), Error> {
        self.move_person(organization, spelling, &Person::of(spelling), None).await
    }

    async fn other_names(&self, organization: &Organization, person: &Person) -> Result<Vec<Person>, Error> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.keys.of_person(organization, "names", person));
        let names: Vec<String> = self.get(&command).await?;
        names.iter().map(|name| read_person(name)).collect()
    }

    async fn erase_name(
        &self,
        organization: &Organization,
        name: &Person,
        person: &Person,
        kept: Option<&Consent>,
    ) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let named = self.kept(organization, name.as_str()).await?;
            let found = FoundConsent::read(name.clone(), named.consent.clone())?;
            // It may be another person's by now, or stand for itself again.
            let is_theirs = matches!(found, FoundConsent::Elsewhere(same_as) if same_as == *person);
            let stored = named.consent.as_deref();
            if !is_theirs || self.erase_stored(organization, name, stored, kept).await? {
                let names = self.keys.of_person(organization, "names", person);
                self.put(&names, redis::cmd("SREM").arg(&names).arg(name.as_str())).await?;
                // A message that names both may have made it lead here again meanwhile.
                if self.resolve(organization, name).await? == *person {
                    self.put(&names, redis::cmd("SADD").arg(&names).arg(name.as_str())).await?;
                }
                return Ok(());
            }
        }
        Err(Error::Unavailable(anyhow::anyhow!("a name changed {TRIES_MAX} times while it was erased")))
    }
}
