//! Consent as others record it: the application, an administrator, a file.
//!
//! It is our side only. Twilio's own block stays as it is, since nobody but the person can lift it.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};

use super::Consents;
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        Actor, Consent, Person, UnixMs,
        audit::{Action, Entry, Facts, Origin},
        consent::{ChannelConsent, ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        rights::{self, Verdict},
    },
    store::{self, ConsentUpdate, PAGE_MAX, Row},
    twilio::{BareAddress, MessageSid},
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

/// Who records a wish.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// What gives their word its weight.
    pub actor: Actor,
    /// By which name the history knows them; none for the person.
    pub name: Option<&'a str>,
}

impl Author<'_> {
    /// The person whose wish it is.
    pub(super) const PERSON: Author<'static> = Author { actor: Actor::Person, name: None };
}

/// Why a wish was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The person has opted out, and the author may not take that back.
    #[error("the person has opted out of {} in their own words", .0.as_str())]
    OptedOutByPerson(ConsentChannel),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What an import has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records that changed something.
    pub applied: usize,
    /// Records that changed nothing: known already, or older than what is known.
    pub unchanged: usize,
    /// Records that would have undone what a person said, and changed nothing.
    pub kept: Vec<Fault>,
}

/// A record of a file that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line on which it begins; the header is line 1.
    pub line: u64,
    /// Why.
    pub detail: String,
}

/// A record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// The line on which it begins; the header is line 1.
    pub line: u64,
    /// What it says.
    pub record: Record,
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
        Self {
            applied: self.applied + other.applied,
            unchanged: self.unchanged + other.unchanged,
            kept: [self.kept, other.kept].concat(),
        }
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
    ) -> Result<Vec<Row<ConsentChange>>, store::Error> {
        let changes =
            self.core.store.consent_changes(self.organization, &Person::of(phone), skip, limit).await?;
        for unreadable in changes.iter().filter_map(|change| change.as_ref().err()) {
            self.core.tell_unreadable(self.organization, unreadable);
        }
        if !changes.is_empty() || skip > 0 {
            return Ok(changes);
        }
        // Of a person whose data was erased there is no list, but perhaps an opt-out that is obeyed.
        let known = self.consent(phone).await?;
        Ok(known.wishes(phone).into_iter().take(limit).map(Ok).collect())
    }

    /// Records a wish, unless the author may not: then nothing changes. What waits for a person who opts out is refused. If it
    /// changes something, `entry` is added to the audit with it.
    pub async fn record_consent(
        &self,
        record: &Record,
        author: Author<'_>,
        entry: &Entry,
    ) -> Result<Consent, RecordError> {
        match self.apply_record(record, author, Some(entry), |_| true).await? {
            Outcome::Changed(consent) | Outcome::Unchanged(consent) => Ok(consent),
            Outcome::Kept(channel) => Err(RecordError::OptedOutByPerson(channel)),
        }
    }

    /// Applies the records of a file that has `rejected` further lines, if that is known, as `by` asks, whom the history knows as `name`. No
    /// record is applied before the audit tells of it; that it came to its end is told by an entry more.
    pub async fn import_consent(
        &self,
        by: &Origin,
        name: &str,
        records: Vec<FileRecord>,
        rejected: Option<usize>,
    ) -> Result<Imported, store::Error> {
        let begun = Facts { lines: Some(records.len()), rejected, ..Facts::default() };
        self.write_down(by, Action::ConsentImportBegin, begun).await?;
        let imported = self.import_records(records, name).await?;
        let done = Facts {
            imported: Some(imported.applied),
            unchanged: Some(imported.unchanged),
            kept: Some(imported.kept.len()),
            rejected,
            ..Facts::default()
        };
        self.write_down(by, Action::ConsentImport, done).await?;
        Ok(imported)
    }

    async fn write_down(&self, by: &Origin, action: Action, facts: Facts) -> Result<(), store::Error> {
        audit::record(&self.core, self.organization, &by.entry(action).with(facts)).await
    }

    /// Applies the records of a file, those of one person in their order. A record that is older than what is known, or
    /// says nothing new, changes nothing; so a file can be imported twice. No record undoes what a person said.
    async fn import_records(&self, records: Vec<FileRecord>, name: &str) -> Result<Imported, store::Error> {
        let author = Author { actor: Actor::File, name: Some(name) };
        let mut persons: BTreeMap<Person, Vec<FileRecord>> = BTreeMap::new();
        for record in records {
            persons.entry(Person::of(&record.record.phone)).or_default().push(record);
        }
        let imported = futures_util::stream::iter(persons.into_values())
            .map(|records| async move {
                let mut imported = Imported::default();
                for FileRecord { line, record } in records {
                    let is_news = |known: &ChannelConsent| is_news(known, &record);
                    match self.apply_record(&record, author, None, is_news).await? {
                        Outcome::Changed(_) => imported.applied += 1,
                        Outcome::Unchanged(_) => imported.unchanged += 1,
                        Outcome::Kept(channel) => {
                            let detail = RecordError::OptedOutByPerson(channel).to_string();
                            imported.kept.push(Fault { line, detail });
                        }
                    }
                }
                Ok::<_, store::Error>(imported)
            })
            .buffer_unordered(PERSONS_AT_ONCE)
            .try_fold(Imported::default(), |sum, some| std::future::ready(Ok(sum + some)))
            .await;
        imported.map(|mut imported| {
            imported.kept.sort_unstable_by_key(|kept| kept.line);
            imported
        })
    }

    /// Applies `record` on those of its channels where `is_news` says so of what is known, if the author may; and writes
    /// `audit_entry` down, in the same step, if that changes something.
    pub(super) async fn apply_record(
        &self,
        record: &Record,
        author: Author<'_>,
        audit_entry: Option<&Entry>,
        is_news: impl Fn(&ChannelConsent) -> bool,
    ) -> Result<Outcome, store::Error> {
        let person = Person::of(&record.phone);
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            let channel = match channel_of(&known.consent, record, author.actor, &is_news) {
                Reach::Changes(channel) => channel,
                Reach::Nothing => return Ok(Outcome::Unchanged(known.consent)),
                Reach::Refused(channel) => return Ok(Outcome::Kept(channel)),
            };
            let at = record.at.unwrap_or_else(|| self.core.now_ms());
            let (consent, entry) =
                known.consent.recorded(&record.phone, channel, record.state, record.source, at);
            let closed = known.consent.reviews_closed_by(&consent);
            let update = ConsentUpdate {
                expected: known.version,
                consent: consent.clone(),
                entry: entry.clone(),
                evidence: record.evidence.clone(),
                actor: author.name.map(str::to_owned),
                audit_entry: audit_entry.cloned(),
            };
            if self.core.store.change_consent(self.organization, update).await? {
                audit_entry.into_iter().for_each(|entry| audit::log(self.organization, entry));
                self.follow(&entry, &closed).await;
                return Ok(Outcome::Changed(consent));
            }
        }
        Err(contended())
    }

    /// Does what follows from a change of consent that is stored and has closed these reviews.
    pub(in crate::app) async fn follow(&self, entry: &ConsentEntry, closed_reviews: &[MessageSid]) {
        let steps = self.steps.of(self.organization);
        match entry.state {
            ConsentState::OptedOut => steps.refuse_waiting_after(entry).await,
            ConsentState::OptedIn if !closed_reviews.is_empty() => {
                steps.release_after_review(&entry.phone, entry.channel).await;
            }
            ConsentState::OptedIn | ConsentState::Unknown | ConsentState::Review => {}
        }
        self.forget_closed(closed_reviews).await;
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
            // An export that is not whole would lose evidence where it is imported.
            let changes = changes.into_iter().collect::<Result<Vec<ConsentChange>, _>>();
            let changes = changes.map_err(store::Error::from)?;
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

/// What became of a record, with what is known afterwards.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It changed something.
    Changed(Consent),
    /// It changed nothing, since it says nothing new.
    Unchanged(Consent),
    /// It changed nothing: it would have undone what the person said on this channel.
    Kept(ConsentChannel),
}

/// How far a record reaches.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    /// It changes consent on this channel, or on all of them.
    Changes(ConsentChannel),
    /// It says nothing new.
    Nothing,
    /// The person has opted out of this channel, and the actor may not take that back; so it changes nothing anywhere.
    Refused(ConsentChannel),
}

/// On which channels `record` of `actor` changes what is known, if it is news there.
fn channel_of(
    consent: &Consent,
    record: &Record,
    actor: Actor,
    is_news: impl Fn(&ChannelConsent) -> bool,
) -> Reach {
    let known = [(ConsentChannel::Sms, &consent.sms), (ConsentChannel::Whatsapp, &consent.whatsapp)];
    let reached = known
        .into_iter()
        .filter(|(channel, _)| record.channel == ConsentChannel::All || record.channel == *channel);
    let mut changed = Vec::new();
    for (channel, known) in reached {
        match rights::judge(known, actor, record.state) {
            Verdict::OptedOutByPerson => return Reach::Refused(channel),
            Verdict::Allowed if is_news(known) => changed.push(channel),
            Verdict::Allowed | Verdict::SaidByPerson => {}
        }
    }
    match changed[..] {
        [] => Reach::Nothing,
        [channel] => Reach::Changes(channel),
        _ => Reach::Changes(ConsentChannel::All),
    }
}

/// Whether `record` says something that is not known yet, and not known better.
fn is_news(known: &ChannelConsent, record: &Record) -> bool {
    match (record.at, known.at) {
        (Some(at), Some(known_at)) => at > known_at,
        _ => known.state != record.state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ConsentChannel::{All, Sms, Whatsapp};
    use ConsentState::{OptedIn, OptedOut};

    fn known(state: ConsentState, source: ConsentSource, at: u64) -> Consent {
        let sms = ChannelConsent {
            state,
            source: Some(source),
            at: Some(UnixMs::new(at)),
            ..ChannelConsent::default()
        };
        Consent { sms, ..Consent::default() }
    }

    fn record(channel: ConsentChannel, state: ConsentState, at: Option<u64>) -> Record {
        Record {
            phone: "+14155550100".parse().unwrap(),
            channel,
            state,
            source: ConsentSource::Import,
            evidence: None,
            at: at.map(UnixMs::new),
        }
    }

    #[test]
    fn a_line_of_a_file_changes_what_is_older_and_undoes_nothing_that_the_person_said() {
        let stopped = known(OptedOut, ConsentSource::Keyword, 100);
        for (consent, record, expected) in [
            (Consent::default(), record(Sms, OptedIn, None), Reach::Changes(Sms)),
            (Consent::default(), record(All, OptedIn, Some(1)), Reach::Changes(All)),
            (stopped.clone(), record(Sms, OptedIn, Some(99)), Reach::Refused(Sms)),
            (stopped.clone(), record(Sms, OptedIn, Some(101)), Reach::Refused(Sms)),
            (stopped.clone(), record(Sms, OptedIn, None), Reach::Refused(Sms)),
            // Not even where the person has said nothing: whoever wrote the line did not know the person's word.
            (stopped.clone(), record(All, OptedIn, Some(1)), Reach::Refused(Sms)),
            (stopped.clone(), record(Whatsapp, OptedIn, None), Reach::Changes(Whatsapp)),
            (stopped.clone(), record(Sms, OptedOut, Some(101)), Reach::Nothing),
            (stopped, record(All, OptedOut, None), Reach::Changes(Whatsapp)),
            (known(OptedOut, ConsentSource::Import, 100), record(Sms, OptedIn, None), Reach::Changes(Sms)),
            (known(OptedOut, ConsentSource::Import, 100), record(Sms, OptedIn, Some(100)), Reach::Nothing),
            (known(OptedIn, ConsentSource::Keyword, 100), record(Sms, OptedOut, None), Reach::Changes(Sms)),
            (
                known(OptedIn, ConsentSource::Keyword, 100),
                record(All, OptedOut, Some(9)),
                Reach::Changes(Whatsapp),
            ),
        ] {
            let reach = channel_of(&consent, &record, Actor::File, |known| is_news(known, &record));
            assert_eq!(reach, expected, "{record:?} after {:?}", consent.sms);
        }
    }
}
