//! Replies that may be an opt-out: kept with their words until somebody decides, or the deadline does.
//!
//! What is open is told by the person's consent alone, which every message asks at its gate. Beside it are kept, under the
//! reply's SID, its words, sealed, with the decision; a list of the replies that may be open; and the task of the deadline.
//! All three are stored before the consent, so that a crash in between leaves nothing open, and Twilio's retry completes
//! it.
//!
//! A decision is written down beside the words before consent changes. So of two that come at once one holds, and one that
//! a crash has cut short is completed by whoever decides the same again, or at the deadline.

use std::{fmt, str::FromStr, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::Consents;
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        Consent, Person, Task, TaskLine, UnixMs,
        audit::{Entry, Facts, Masked},
        consent::{ConsentChannel, ConsentSource},
        event::InboundEntry,
    },
    metrics::ReviewResult,
    store::{self, ConsentUpdate, DocumentChange, Kind, Row, Unreadable, documents::DOCUMENTS_MAX},
    twilio::{
        BareAddress, Channel, MessageSid,
        address::mask,
        reply::{Language, Reading, Rule},
    },
};

/// How long a claim of a review at its deadline holds: longer than it takes to record an opt-out.
const CLAIM_TIME: Duration = Duration::from_secs(60);

/// Reviews at their deadlines that are claimed at once.
const CLAIMED_MAX: usize = 64;

/// Reviews of a list that are read at the same time.
const READ_AT_ONCE: usize = 16;

/// What may become of a reply under review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was an opt-out, somebody says.
    OptOut,
    /// It was none, somebody says.
    Dismiss,
    /// Nobody said anything in time.
    Expired,
}

impl Verdict {
    /// What is told to who decides otherwise.
    fn told(self) -> &'static str {
        match self {
            Verdict::OptOut => "it was decided that the person has opted out",
            Verdict::Dismiss => "it was dismissed",
            Verdict::Expired => "it became an opt-out at its deadline",
        }
    }

    fn counted(self) -> ReviewResult {
        match self {
            Verdict::OptOut => ReviewResult::OptOut,
            Verdict::Dismiss => ReviewResult::Dismiss,
            Verdict::Expired => ReviewResult::Expired,
        }
    }
}

/// A reply under review, as it is stored. `Debug` is left out: its words are for nobody's log, not even sealed.
#[derive(Serialize, Deserialize)]
struct StoredReview {
    /// Who wrote.
    phone: BareAddress,
    /// Where.
    channel: Channel,
    /// The words, sealed, if they are known.
    words: Option<String>,
    /// What they were read as.
    reading: Reading,
    /// When they arrived.
    at: UnixMs,
    /// What was decided, if anything was.
    outcome: Option<Outcome>,
}

/// What was decided on a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    verdict: Verdict,
    at: UnixMs,
    /// Who decided; `None` at the deadline.
    actor: Option<String>,
}

/// Where a reply stands in the list of those that may be under review.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReviewPlace {
    at: UnixMs,
    sid: String,
}

/// Digits of a time in a place, so that places are in the order of their texts for the next two centuries.
const TIME_DIGITS: usize = 13;

impl fmt::Display for ReviewPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0TIME_DIGITS$}-{}", self.at.get(), self.sid)
    }
}

/// A text that is no place of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the next_cursor of an earlier answer")]
pub struct InvalidReviewPlace;

impl FromStr for ReviewPlace {
    type Err = InvalidReviewPlace;

    fn from_str(text: &str) -> Result<Self, InvalidReviewPlace> {
        let (at, sid) = text.split_once('-').ok_or(InvalidReviewPlace)?;
        let at = UnixMs::new(at.parse().map_err(|_| InvalidReviewPlace)?);
        let place = Self { at, sid: sid.to_owned() };
        let is_whole = MessageSid::parse(sid).is_ok() && place.to_string() == text;
        if is_whole { Ok(place) } else { Err(InvalidReviewPlace) }
    }
}

/// A reply that waits for a decision. `Debug` is left out: it holds a person's words.
pub struct Review {
    /// The reply.
    pub message_sid: MessageSid,
    /// Who wrote.
    pub phone: BareAddress,
    /// The channel that is held back.
    pub channel: ConsentChannel,
    /// What they wrote; `None` if no key opens it.
    pub words: Option<String>,
    /// The rule by which it is doubtful.
    pub rule: Rule,
    /// The language that it was read in.
    pub language: Option<Language>,
    /// When it arrived.
    pub at: UnixMs,
    /// When it becomes an opt-out.
    pub decide_by: UnixMs,
}

/// A page of the replies that wait for a decision. `Debug` is left out: it holds persons' words.
#[derive(Default)]
pub struct Reviews {
    /// Those that can be read, oldest first.
    pub reviews: Vec<Review>,
    /// How many more may wait among these, and cannot be read here.
    pub unreadable: usize,
    /// Behind which one the next page begins, if there is one.
    pub next: Option<ReviewPlace>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No such reply was ever put under review.
    #[error("no reply of this SID was put under review")]
    Unknown,
    /// Something else was decided, or the person has said since what they want.
    #[error("the review is over: {0}")]
    Over(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What a review is called where it cannot be read.
fn review_record(message_sid: &str) -> String {
    format!("review {message_sid}")
}

/// What the words of a reply are sealed for.
fn context(message_sid: &MessageSid) -> String {
    format!("review/{message_sid}")
}

impl Consents {
    /// Seals the words of the reply `message_sid`, which is to be reviewed.
    pub(in crate::app) fn seal_words(&self, message_sid: &MessageSid, words: &str) -> String {
        self.core.keys.seal(&context(message_sid), words.as_bytes())
    }

    fn open_words(&self, message_sid: &MessageSid, sealed: &str) -> Option<String> {
        match self.core.keys.open(&context(message_sid), sealed) {
            Ok(words) => Some(String::from_utf8_lossy(words.expose_secret()).into_owned()),
            Err(error) => {
                tracing::warn!(%message_sid, %error, "the words of a reply under review cannot be opened");
                None
            }
        }
    }
}

impl Scope<'_, Consents> {
    /// Stores all that belongs to a review but the consent, which the caller changes next: until then nothing is open.
    pub(in crate::app) async fn prepare_review(
        &self,
        entry: &InboundEntry,
        reading: &Reading,
        words: Option<&str>,
        until: UnixMs,
    ) -> Result<(), store::Error> {
        let sid = &entry.sid;
        let review = StoredReview {
            phone: entry.from.clone(),
            channel: entry.channel,
            words: words.map(str::to_owned),
            reading: reading.clone(),
            at: entry.at,
            outcome: None,
        };
        // An earlier try may have come this far. What it stored stays, since its time is a part of the review's place.
        self.put_review(sid, None, &review, None).await?;
        let review = self.stored_review(sid).await?.map_or(review, |(_, stored)| stored);
        let task = Task::ExpireReview { sid: sid.clone() };
        self.core.store.schedule(self.organization, &task, until).await?;
        let place = place(sid, &review).to_string();
        let (kind, listed) = (Kind::OpenReview, Some(sid.as_str()));
        self.core.store.change_document(self.organization, kind, &place, None, listed, None).await.map(drop)
    }

    /// The replies that wait for a decision, behind `after` or from the first, at most `limit` of them.
    pub async fn reviews(&self, after: Option<&ReviewPlace>, limit: usize) -> Result<Reviews, store::Error> {
        let mut page = Reviews::default();
        // How many of those behind the last that was found cannot be read: where a page ends there, they belong to the next.
        let (mut last, mut behind) = (None, 0);
        let mut after = after.map(ToString::to_string);
        loop {
            let listed = self
                .core
                .store
                .documents(self.organization, Kind::OpenReview, after.as_deref(), DOCUMENTS_MAX)
                .await?;
            if listed.is_empty() {
                page.unreadable += behind;
                return Ok(page);
            }
            after = listed.last().map(|(name, _)| name.clone());
            let mut open = futures_util::stream::iter(listed)
                .map(|(_, sid)| self.review_row(sid))
                .buffered(READ_AT_ONCE);
            while let Some(row) = open.try_next().await? {
                match row {
                    Ok(None) => {}
                    Err(unreadable) => {
                        self.core.tell_unreadable(self.organization, &unreadable);
                        behind += 1;
                    }
                    // One more than wanted tells that there is a next page.
                    Ok(Some(_)) if page.reviews.len() == limit => {
                        return Ok(Reviews { next: last, ..page });
                    }
                    Ok(Some((place, review))) => {
                        last = Some(place);
                        page.unreadable += std::mem::take(&mut behind);
                        page.reviews.push(review);
                    }
                }
            }
        }
    }

    /// The same of a list: of which none is left out because another cannot be read.
    async fn review_row(&self, sid: String) -> Result<Row<Option<(ReviewPlace, Review)>>, store::Error> {
        let record = review_record(&sid);
        Unreadable::part(|| record, self.open_review(sid).await)
    }

    /// The reply `sid` of the list, if its review is open.
    async fn open_review(&self, sid: String) -> Result<Option<(ReviewPlace, Review)>, store::Error> {
        let message_sid = MessageSid::parse(&sid)
            .map_err(|error| store::Error::Unreadable(format!("a review: {error}")))?;
        let Some((_, stored)) = self.stored_review(&message_sid).await? else { return Ok(None) };
        let consent = self.consent(&stored.phone).await?;
        let Some((channel, open)) = consent.review(&message_sid) else { return Ok(None) };
        let review = Review {
            phone: stored.phone.clone(),
            channel,
            words: stored.words.as_ref().and_then(|sealed| self.open_words(&message_sid, sealed)),
            rule: stored.reading.rule,
            language: stored.reading.language,
            at: stored.at,
            decide_by: open.until,
            message_sid: message_sid.clone(),
        };
        Ok(Some((place(&message_sid, &stored), review)))
    }

    /// Decides on the reply `sid`: what is known then of the person, and who that is. What was decided before is decided
    /// again without effect; else `entry` is added to the audit with the decision, and tells the ends of the person's number.
    pub async fn decide_review(
        &self,
        sid: &MessageSid,
        verdict: Verdict,
        actor: &str,
        entry: &Entry,
    ) -> Result<(BareAddress, Consent), ReviewError> {
        for _ in 0..DECISIONS_MAX {
            let (before, mut review) = self.stored_review(sid).await?.ok_or(ReviewError::Unknown)?;
            let outcome = match review.outcome.clone() {
                Some(outcome) if outcome.verdict == verdict => outcome,
                Some(outcome) => return Err(ReviewError::Over(outcome.verdict.told())),
                None if self.consent(&review.phone).await?.review(sid).is_none() => {
                    return Err(ReviewError::Over(
                        "the person has said since what they want, or has opted out",
                    ));
                }
                None => {
                    let outcome = Outcome { verdict, at: self.core.now_ms(), actor: Some(actor.to_owned()) };
                    review.outcome = Some(outcome.clone());
                    let phone = Some(Masked::of(&review.phone));
                    let entry = entry.clone().with(Facts { phone, ..entry.facts.clone() });
                    if !self.put_review(sid, Some(&before), &review, Some(&entry)).await? {
                        continue;
                    }
                    audit::log(self.organization, &entry);
                    outcome
                }
            };
            let consent = self.carry_out(sid, &review, &outcome).await?;
            return Ok((review.phone, consent));
        }
        Err(contended().into())
    }

    /// Makes opt-outs of the replies whose deadlines have come, some of them at least; returns whether there may be more.
    pub async fn expire_reviews(&self) -> Result<bool, store::Error> {
        let now = self.core.now_ms();
        let (line, until) = (TaskLine::Reviews, now + CLAIM_TIME);
        let claimed = self.core.store.claim(self.organization, line, now, until, CLAIMED_MAX).await?;
        let is_full = claimed.len() == CLAIMED_MAX;
        for (task, _) in claimed {
            // One that cannot be read, and a review that cannot, must not stand in the way of those behind it.
            let Some(task) = self.core.readable(self.organization, task) else { continue };
            let Task::ExpireReview { sid } = &task else { continue };
            let expired = self.expire_review(&task, sid).await;
            self.core.if_readable(self.organization, || review_record(sid.as_str()), expired)?;
        }
        Ok(is_full)
    }

    async fn expire_review(&self, task: &Task, sid: &MessageSid) -> Result<(), store::Error> {
        let Some((before, mut review)) = self.stored_review(sid).await? else {
            return self.core.store.reschedule(self.organization, task, None).await;
        };
        let (consent, now) = (self.consent(&review.phone).await?, self.core.now_ms());
        let Some((_, open)) = consent.review(sid) else { return self.forget(sid, &review).await };
        // It was planned by a try that an earlier crash had cut short.
        if open.until > now {
            return self.core.store.reschedule(self.organization, task, Some(open.until)).await;
        }
        let expired = Outcome { verdict: Verdict::Expired, at: now, actor: None };
        let outcome = review.outcome.get_or_insert_with(|| expired.clone()).clone();
        if outcome == expired && !self.put_review(sid, Some(&before), &review, None).await? {
            // Somebody has decided just now.
            return self.core.store.reschedule(self.organization, task, Some(now)).await;
        }
        self.carry_out(sid, &review, &outcome).await.map(drop)
    }

    /// Does what was decided on the reply `sid`, if its review is open still; then nothing is left to be done for it.
    async fn carry_out(
        &self,
        sid: &MessageSid,
        review: &StoredReview,
        Outcome { verdict, actor, .. }: &Outcome,
    ) -> Result<Consent, store::Error> {
        let person = Person::of(&review.phone);
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            let Some((channel, _)) = known.consent.review(sid) else {
                self.let_go(*verdict, review, &known.consent).await;
                self.forget(sid, review).await?;
                return Ok(known.consent);
            };
            let (reach, source) = match verdict {
                Verdict::Dismiss => {
                    let consent = known.consent.dismissed(sid);
                    let store = &self.core.store;
                    if store.replace_consent(self.organization, &known.version, &consent).await? {
                        self.core.metrics.review(verdict.counted());
                    }
                    continue;
                }
                // It was the person's own word, which reaches as far as if it had been read at once.
                Verdict::OptOut => {
                    let reach = self.core.settings.opt_out_scope.reach(review.channel);
                    (reach, ConsentSource::Phrase)
                }
                Verdict::Expired => (channel, ConsentSource::ReviewExpired),
            };
            let now = self.core.now_ms();
            let (consent, entry) = known.consent.opted_out_by_review(&review.phone, reach, source, sid, now);
            let closed = known.consent.reviews_closed_by(&consent);
            let (expected, actor) = (known.version, actor.clone());
            let update = ConsentUpdate {
                expected,
                consent,
                entry: entry.clone(),
                evidence: None,
                actor,
                audit_entry: None,
            };
            if self.core.store.change_consent(self.organization, update).await? {
                self.core.metrics.review(verdict.counted());
                self.follow(&entry, &closed).await;
                if *verdict == Verdict::Expired {
                    tracing::info!(
                        event = "review_expired", organization = %self.organization, message_sid = %sid,
                        phone = mask(&review.phone), channel = channel.as_str(),
                        "nobody decided on a reply that may be an opt-out: it became one"
                    );
                }
            }
        }
        Err(contended())
    }

    /// After a dismissal, lets go what was held, unless another review is open.
    async fn let_go(&self, verdict: Verdict, review: &StoredReview, consent: &Consent) {
        let channel = ConsentChannel::from(review.channel);
        if verdict == Verdict::Dismiss && !consent.is_under_review(channel) {
            self.steps.of(self.organization).release_after_review(&review.phone, channel).await;
        }
    }

    /// Takes a reply that is under review no more out of the list, and its deadline away. Its words stay, with the decision.
    async fn forget(&self, sid: &MessageSid, review: &StoredReview) -> Result<(), store::Error> {
        let (place, listed) = (place(sid, review).to_string(), Some(sid.as_str()));
        let (store, kind) = (&self.core.store, Kind::OpenReview);
        store.change_document(self.organization, kind, &place, listed, None, None).await?;
        store.reschedule(self.organization, &Task::ExpireReview { sid: sid.clone() }, None).await
    }

    /// Erases the replies of everybody who `is_theirs`, with their words and what was decided on them: how many they were, and how
    /// many more cannot be read.
    pub(in crate::app) async fn erase_reviews(
        &self,
        is_theirs: impl Fn(&BareAddress) -> bool,
    ) -> Result<(usize, usize), store::Error> {
        let (mut erased, mut unreadable, mut after) = (0, 0, None);
        let (store, kind) = (&self.core.store, Kind::Review);
        loop {
            let page = store.documents(self.organization, kind, after.as_deref(), DOCUMENTS_MAX).await?;
            for (name, text) in &page {
                let read = store::decode::<StoredReview>("a review", text);
                let (Ok(review), Ok(sid)) = (read, MessageSid::parse(name)) else {
                    unreadable += 1;
                    continue;
                };
                if is_theirs(&review.phone) {
                    // Before the words, by which its place in the list is known.
                    self.forget(&sid, &review).await?;
                    let (before, after) = (Some(text.as_str()), None);
                    store.change_document(self.organization, kind, name, before, after, None).await?;
                    erased += 1;
                }
            }
            after = match page.into_iter().last() {
                Some((name, _)) => Some(name),
                None => return Ok((erased, unreadable)),
            };
        }
    }

    /// Forgets replies whose reviews a change of consent has closed, as [`Self::forget`] does. What is not done here is done at their deadlines.
    pub(super) async fn forget_closed(&self, closed: &[MessageSid]) {
        for sid in closed {
            let forgotten = match self.stored_review(sid).await {
                Ok(Some((_, review))) => self.forget(sid, &review).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = forgotten {
                tracing::warn!(organization = %self.organization, message_sid = %sid, %error, "a review that is over stays in the list of its deadlines");
            }
        }
    }

    /// What is stored of a review, as text and read.
    async fn stored_review(&self, sid: &MessageSid) -> Result<Option<(String, StoredReview)>, store::Error> {
        let text = self.core.store.document(self.organization, Kind::Review, sid.as_str()).await?;
        let Some(text) = text else { return Ok(None) };
        let review = store::decode("a review", &text)?;
        Ok(Some((text, review)))
    }

    async fn put_review(
        &self,
        sid: &MessageSid,
        before: Option<&str>,
        review: &StoredReview,
        entry: Option<&Entry>,
    ) -> Result<bool, store::Error> {
        let (kind, after) = (Kind::Review, store::encode(review));
        let change = DocumentChange { kind, name: sid.as_str(), before, after: Some(&after) };
        self.core
            .store
            .change_with_entry(
                self.organization,
                &[change],
                Some(self.core.settings.consent_retention),
                entry,
            )
            .await
    }
}

fn place(sid: &MessageSid, review: &StoredReview) -> ReviewPlace {
    ReviewPlace { at: review.at, sid: sid.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_was_written_and_is_ordered_by_time() {
        let sid = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let place = |at| ReviewPlace { at: UnixMs::new(at), sid: sid.to_owned() };
        assert_eq!(place(7).to_string(), format!("0000000000007-{sid}"));
        assert_eq!(place(1_764_000_000_000).to_string().parse(), Ok(place(1_764_000_000_000)));
        assert!(place(999).to_string() < place(1_000).to_string());
        for wrong in ["", "7", &format!("7-{sid}"), "0000000000007-SM1", &format!("-000000000007-{sid}")] {
            assert_eq!(wrong.parse::<ReviewPlace>(), Err(InvalidReviewPlace), "{wrong}");
        }
    }
}
