//! Consent as others record it: the application, an administrator, a file.
//!
//! It is our side only. Twilio's own block stays as it is, since nobody but the person can lift it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};

use super::Consents;
use crate::{
    app::{DECISIONS_MAX, Scope, contended},
    domain::{
        Consent, Person, UnixMs,
        consent::{ChannelConsent, ConsentChange, ConsentChannel, ConsentSource, ConsentState},
    },
    store::{self, ConsentUpdate, PAGE_MAX},
    twilio::BareAddress,
};

/// Persons whose lines of a file are applied at the same time.
const PERSONS_AT_ONCE: usize = 64;

/// Someone's record of a person's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The person: a number in E.164.
    pub phone: BareAddress,
    /// Which channel.
    pub channel: ConsentChannel,
    /// What they wish.
    pub state: ConsentState,
    /// How it came to us.
    pub source: ConsentSource,
    /// What shows it.
    pub evidence: Option<String>,
    /// When they said so, if that is known.
    pub at: Option<UnixMs>,
}

/// What an import has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records that changed something.
    pub applied: usize,
    /// Records that changed nothing: known already, or older than what is known.
    pub unchanged: usize,
}

/// A line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The person.
    pub phone: BareAddress,
    /// `sms` or `whatsapp`.
    pub channel: ConsentChannel,
    /// What is known there.
    pub known: ChannelConsent,
    /// What shows it.
    pub evidence: Option<String>,
}

impl std::ops::Add for Imported {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { applied: self.applied + other.applied, unchanged: self.unchanged + other.unchanged }
    }
}

impl Scope<'_, Consents> {
    /// What is known of `phone`.
    pub async fn consent(&self, phone: &BareAddress) -> Result<Consent, store::Error> {
        Ok(self.core.store.consent(self.organization, &Person::of(phone)).await?.consent)
    }

    /// The changes of `phone`'s consent, oldest first, without the first `skip`, at most `limit` of them.
    pub async fn consent_changes(
        &self,
        phone: &BareAddress,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, store::Error> {
        self.core.store.consent_changes(self.organization, &Person::of(phone), skip, limit).await
    }

    /// Records a wish, whatever was known before. What waits for a person who opts out is refused.
    pub async fn record_consent(&self, record: &Record, actor: &str) -> Result<Consent, store::Error> {
        let (consent, _) = self.apply_record(record, actor, |_| true).await?;
        Ok(consent)
    }

    /// Applies the records of a file, those of one person in their order. A record that is older than what is known, or
    /// says nothing new, changes nothing; so a file can be imported twice. One without a time does not undo what the
    /// person said.
    pub async fn import_consent(&self, records: Vec<Record>, actor: &str) -> Result<Imported, store::Error> {
        let mut persons: BTreeMap<Person, Vec<Record>> = BTreeMap::new();
        for record in records {
            persons.entry(Person::of(&record.phone)).or_default().push(record);
        }
        futures_util::stream::iter(persons.into_values())
            .map(|records| async move {
                let mut imported = Imported::default();
                for record in records {
                    let is_news = |consent: &Consent| is_news(consent, &record);
                    let (_, changed) = self.apply_record(&record, actor, is_news).await?;
                    imported.applied += usize::from(changed);
                    imported.unchanged += usize::from(!changed);
                }
                Ok::<_, store::Error>(imported)
            })
            .buffer_unordered(PERSONS_AT_ONCE)
            .try_fold(Imported::default(), |sum, some| std::future::ready(Ok(sum + some)))
            .await
    }

    /// Applies `record` if `is_wanted` says so of what is known; whether it did.
    pub(super) async fn apply_record(
        &self,
        record: &Record,
        actor: &str,
        is_wanted: impl Fn(&Consent) -> bool,
    ) -> Result<(Consent, bool), store::Error> {
        let person = Person::of(&record.phone);
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            if !is_wanted(&known.consent) {
                return Ok((known.consent, false));
            }
            let at = record.at.unwrap_or_else(|| self.core.now_ms());
            let (consent, entry) =
                known.consent.recorded(&record.phone, record.channel, record.state, record.source, at);
            let update = ConsentUpdate {
                expected: known.version,
                consent: consent.clone(),
                entry: entry.clone(),
                evidence: record.evidence.clone(),
                actor: Some(actor.to_owned()),
            };
            if self.core.store.change_consent(self.organization, update).await? {
                self.steps.of(self.organization).refuse_waiting_after(&entry).await;
                return Ok((consent, true));
            }
        }
        Err(contended())
    }

    /// A page of everybody's consent behind `after`, or the first one, and where the next one begins.
    pub async fn export_consent(
        &self,
        after: Option<&Person>,
    ) -> Result<(Vec<Exported>, Option<Person>), store::Error> {
        let persons = self.core.store.persons(self.organization, after, PAGE_MAX).await?;
        let all: Vec<&Person> = persons.iter().collect();
        let known = self.core.store.consents(self.organization, &all).await?;
        let mut lines = Vec::new();
        for (person, known) in persons.iter().zip(known) {
            let channels = [
                (ConsentChannel::Sms, known.consent.sms),
                (ConsentChannel::Whatsapp, known.consent.whatsapp),
            ];
            if channels.iter().all(|(_, known)| known.state == ConsentState::Unknown) {
                continue;
            }
            let changes = self.core.store.consent_changes(self.organization, person, 0, PAGE_MAX).await?;
            let phone = changes.last().map_or(person.address(), |change| &change.entry.phone);
            for (channel, known) in channels {
                if known.state == ConsentState::Unknown {
                    continue;
                }
                let is_of = |change: &&ConsentChange| {
                    let reaches =
                        change.entry.channel == channel || change.entry.channel == ConsentChannel::All;
                    reaches && Some(change.entry.at) == known.at && change.entry.state == known.state
                };
                let evidence = changes.iter().rev().find(is_of).and_then(|change| change.evidence.clone());
                lines.push(Exported { phone: phone.clone(), channel, known, evidence });
            }
        }
        let next = (persons.len() == PAGE_MAX).then(|| persons.last().cloned()).flatten();
        Ok((lines, next))
    }
}

/// Whether `record` says something that is not known yet, and not known better.
fn is_news(consent: &Consent, record: &Record) -> bool {
    let known = [(ConsentChannel::Sms, &consent.sms), (ConsentChannel::Whatsapp, &consent.whatsapp)];
    let reached =
        |channel: ConsentChannel| record.channel == ConsentChannel::All || record.channel == channel;
    known.into_iter().any(|(channel, known)| {
        reached(channel)
            && match (record.at, known.at) {
                (Some(at), Some(known_at)) => at > known_at,
                (_, None) => known.state != record.state,
                (None, Some(_)) => {
                    let by_person = known.source.is_some_and(ConsentSource::is_the_persons);
                    known.state != record.state && !(by_person && known.state == ConsentState::OptedOut)
                }
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_news_only_if_it_is_later_or_undoes_nothing_the_person_said() {
        let known = |state, source, at| {
            let mut consent = Consent::default();
            consent.sms =
                ChannelConsent { state, source: Some(source), at: Some(UnixMs::new(at)), ..consent.sms };
            consent
        };
        let record = |state, at: Option<u64>| Record {
            phone: "+14155550100".parse().unwrap(),
            channel: ConsentChannel::Sms,
            state,
            source: ConsentSource::Import,
            evidence: None,
            at: at.map(UnixMs::new),
        };
        use ConsentState::{OptedIn, OptedOut};
        let stopped = known(OptedOut, ConsentSource::Keyword, 100);
        for (consent, record, expected) in [
            (Consent::default(), record(OptedIn, None), true),
            (Consent::default(), record(OptedIn, Some(1)), true),
            (stopped.clone(), record(OptedIn, Some(99)), false),
            (stopped.clone(), record(OptedIn, Some(100)), false),
            (stopped.clone(), record(OptedIn, Some(101)), true),
            (stopped.clone(), record(OptedIn, None), false),
            (stopped, record(OptedOut, None), false),
            (known(OptedOut, ConsentSource::Import, 100), record(OptedIn, None), true),
            (known(OptedIn, ConsentSource::Keyword, 100), record(OptedOut, None), true),
        ] {
            assert_eq!(is_news(&consent, &record), expected, "{record:?} after {:?}", consent.sms);
        }
    }
}
