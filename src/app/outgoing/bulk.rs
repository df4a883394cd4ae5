//! One text to many: a batch is accepted whole, leaves from the queue at its senders' pace, and tells how far it is.
//!
//! The messages of a batch are stored first, with the times at which they may leave, and the batch last: it holds what
//! Twilio is to be given, so that nothing leaves before all is stored, and what a crash broke off never leaves.
//!
//! How far a batch is follows from its messages alone, whenever it is asked for: there is no count that could be wrong.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use rand::RngExt;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Outgoing,
    advance::Occasion,
    batch::{self, Batch, MEMBERS_AT_ONCE, part_name, parts},
    content::Content,
    limits::DayCount,
    send::{self, SendError},
};
use crate::{
    app::{Scope, audit, reads::messages::Message},
    domain::{
        BatchId, Hold, MessageId, Outbound, OutboundState, Person, Principal, Refusal, UnixMs,
        audit::{Action, Entry, Facts, Origin, Subject},
        consent::{NoConsent, Route},
        outgoing::{Fact, NotAllowed},
    },
    store::{self, DocumentChange, Kind, NewOutbound, Queued, StoredOutbound},
    twilio::{Address, Channel, MessagingServiceSid},
};

/// The most recipients of one batch.
pub const RECIPIENTS_MAX: usize = 10_000;

/// Goes that are under way at a time.
const GOES: usize = 4;

/// How long a batch is kept of which nothing was accepted: as long as the answer to its request. It takes no room in the
/// queue and counts for no day, so that nothing else bounds how many there are.
const EMPTY_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// What to send, and to whom. `Debug` is left out: it holds a message's text.
#[derive(Clone)]
pub struct Bulk {
    /// Each recipient once, in order; all on one channel.
    pub to: Vec<Address>,
    /// On which channel.
    pub channel: Channel,
    /// The sender.
    pub from: Option<Address>,
    /// The messaging service that chooses the sender.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// What Twilio is given.
    pub content: Content,
    /// Not before this.
    pub send_at: Option<UnixMs>,
    /// What it is about.
    pub category: Option<String>,
    /// The caller's user it is for.
    pub user_id: Option<String>,
    /// The id that the batch gets: that of an earlier try of the same request.
    pub id: Option<BatchId>,
    /// Who asks.
    pub by: Origin,
}

/// What became of a bulk.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The batch.
    pub id: BatchId,
    /// How many recipients were accepted.
    pub accepted: usize,
    /// Those that were not.
    pub rejected: Rejected,
}

/// Those of a batch's recipients who were not accepted. They are answered, and not stored: a batch may be of ten thousand
/// of them, and nothing of them waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// They have opted out, or Twilio blocks the sender for them.
    pub opted_out: Vec<Address>,
    /// They have not opted in, and the batch needs that.
    pub not_opted_in: Vec<Address>,
    /// Nothing is sent to the countries of their numbers.
    pub country_not_allowed: Vec<Address>,
    /// Nothing is sent to numbers of their kind.
    pub number_type_not_allowed: Vec<Address>,
    /// Their numbers take no messages.
    pub unreachable: Vec<Address>,
}

impl Rejected {
    /// How many they are.
    fn len(&self) -> usize {
        let Self { opted_out, not_opted_in, country_not_allowed, number_type_not_allowed, unreachable } =
            self;
        let all = [opted_out, not_opted_in, country_not_allowed, number_type_not_allowed, unreachable];
        all.map(Vec::len).iter().sum()
    }

    /// Takes out those whom `is_accepted` names.
    fn leave_out(&mut self, is_accepted: impl Fn(&Address) -> bool) {
        let Self { opted_out, not_opted_in, country_not_allowed, number_type_not_allowed, unreachable } =
            self;
        for recipients in [opted_out, not_opted_in, country_not_allowed, number_type_not_allowed, unreachable]
        {
            recipients.retain(|recipient| !is_accepted(recipient));
        }
    }
}

/// Whether a batch goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Something is still to be done.
    Running,
    /// Nothing is left to be done on our side.
    Done,
    /// Called off.
    Canceled,
}

/// How far a batch is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The batch.
    pub id: BatchId,
    /// Who asked for it, if that was noted.
    pub actor: Option<Principal>,
    /// Whether it goes on.
    pub state: BatchState,
    /// How many were accepted.
    pub total: usize,
    /// Messages by where they are: `waiting`, `scheduled`, `held`, `sending`, `unknown`, `refused`, `canceled`, and
    /// Twilio's statuses.
    pub counts: BTreeMap<String, usize>,
    /// When the first of it left.
    pub started_at: Option<UnixMs>,
    /// When the last of it came to its end on our side.
    pub finished_at: Option<UnixMs>,
    /// Messages per second, from the first to the last that left.
    pub rate_per_s: Option<f64>,
    /// When the last will have left, at that rate.
    pub estimated_finish_at: Option<UnixMs>,
}

/// Some of a batch's messages.
#[derive(Debug, Clone)]
pub struct BatchPage {
    /// Those that can be read.
    pub messages: Vec<Message>,
    /// How many of the page cannot be.
    pub unreadable: usize,
    /// Where the next page begins, if there is one.
    pub next: Option<usize>,
}

impl Outgoing {
    /// A new batch's id.
    pub fn new_batch_id(&self) -> BatchId {
        BatchId::new(rand::rng().random())
    }
}

impl Scope<'_, Outgoing> {
    /// Accepts a batch: when this returns, it is stored, and leaves by itself. One for which the queue has no room, or the
    /// day on which its first message is due not so many messages left, is not accepted at all.
    pub async fn send_bulk(&self, bulk: Bulk) -> Result<Accepted, SendError> {
        self.core.store.known().check()?;
        if !self.intake.is_clear() {
            return Err(SendError::CatchingUp);
        }
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let (from, messaging_service_sid) =
            send::sender(&account, bulk.channel, bulk.from, bulk.messaging_service_sid)?;
        let id = bulk.id.unwrap_or_else(|| self.new_batch_id());
        let route = Route {
            channel: bulk.channel,
            from: from.as_ref().map(Address::bare),
            service: messaging_service_sid.as_ref(),
            category: bulk.category.as_deref(),
        };
        let (to, rejected) = self.who_may_be_sent_to(&route, from.as_ref(), bulk.to).await?;
        if let Some(batch) = self.steps.of(self.organization).batch(&id).await? {
            let rejected = self.rejected_before(&id, &batch, to, rejected).await?;
            return Ok(Accepted { id, accepted: batch.total, rejected });
        }
        let now = self.core.now_ms();
        let content = bulk.content.seal_for_batch(&id, &self.core.keys);
        let template = Outbound {
            id: MessageId::new(0, 0),
            to: Address::new(bulk.channel, "+10000000").expect("a constant address"),
            from,
            messaging_service_sid,
            body_length: bulk.content.body_length(),
            segments: bulk.content.segments(),
            media: bulk.content.media_url.len(),
            category: bulk.category,
            user_id: bulk.user_id,
            batch: Some(id.clone()),
            status_callback: None,
            fallback: None,
            actor: Some(bulk.by.principal().clone()),
            created_at: now,
        };
        // Each recipient's turn comes when the sender's pace allows it. So batches that wait for one sender take turns:
        // the first message of a later one is due before the last of an earlier one.
        let (first, reason) = match bulk.send_at.filter(|&at| at > now) {
            Some(at) => (at, Hold::Scheduled),
            None => (now, Hold::Turn),
        };
        let steps = self.steps.of(self.organization);
        let text_bytes = content.len() as u64;
        let spacing = self.core.settings.limits.time_of(template.flow().sender.as_ref(), template.segments);
        let due = |place: u32| first + spacing * place;
        let new: Vec<NewOutbound> = to
            .into_iter()
            .zip(0..)
            .map(|(to, place)| {
                let outbound = Outbound { id: self.member_id(&id, &to), to, ..template.clone() };
                // The first stands for the text that all of them share.
                let bytes = if place == 0 { text_bytes } else { 0 };
                steps.queued(outbound, None, bytes, due(place), reason)
            })
            .collect();
        // What an acceptance that broke off has stored has its room and is counted for the day. The members are stored
        // before the messages.
        let before =
            if self.members(&id, 0).await?.is_empty() { 0 } else { steps.stored_before(&new).await?.len() };
        let (wanted, by) = ((new.len() - before) as u64, template.actor.as_ref());
        let Some(_room) = steps.room_for(Queued { messages: wanted, bytes: text_bytes }).await? else {
            return Err(SendError::refused(Refusal::QueueFull));
        };
        if let DayCount::Beyond { left } = steps.count_for_the_day(first, wanted, by).await? {
            return Err(SendError::DailyLimit { wanted, left });
        }
        let kept = self.core.settings.batch_kept() + due(new.len() as u32).since(now);
        for (part, new) in new.chunks(MEMBERS_AT_ONCE).enumerate() {
            let ids: Vec<MessageId> = new.iter().map(|new| new.outbound.id).collect();
            let ids = store::encode(&ids);
            self.put(Kind::Members, &part_name(&id, part), &ids, kept).await?;
        }
        futures_util::stream::iter(0..new.chunks(MEMBERS_AT_ONCE).len())
            .map(|part| {
                let new = new.chunks(MEMBERS_AT_ONCE).nth(part).unwrap_or_default();
                steps.enqueue(new)
            })
            .buffer_unordered(GOES)
            .try_collect::<()>()
            .await?;
        // Before the batch is stored, and so before the first of it may leave. Of one of which nothing leaves there is nothing
        // to write down.
        if !new.is_empty() {
            let facts = Facts {
                channel: Some(bulk.channel.to_string()),
                accepted: Some(new.len()),
                rejected: Some(rejected.len()),
                ..Facts::default()
            };
            let entry = bulk.by.entry(Action::BatchCreate).about(Subject::Batch(id.clone())).with(facts);
            self.audit.of(self.organization).record(entry).await?;
        }
        let batch = Batch {
            actor: Some(bulk.by.principal().clone()),
            total: new.len(),
            created_at: now,
            canceled_at: None,
            opted_out: Vec::new(),
            content: if new.is_empty() { String::new() } else { content },
        };
        let kept = if new.is_empty() { EMPTY_KEPT } else { kept };
        self.put(Kind::Batch, id.as_str(), &store::encode(&batch), kept).await?;
        self.wanted.notify_one();
        Ok(Accepted { id, accepted: new.len(), rejected })
    }

    /// The id of a batch's message to `to`: always the same, so that a batch whose acceptance was broken off is accepted
    /// again without a double.
    fn member_id(&self, id: &BatchId, to: &Address) -> MessageId {
        let digest = Sha256::digest(format!("{id} {}", to.to_twilio()));
        let random = u128::from_be_bytes(digest[..16].try_into().expect("a digest has 32 bytes"));
        MessageId::new(self.core.store.partition(&Person::of(to.bare())), random)
    }

    /// Parts the recipients: those who may be sent to by `route`, from `from` if that is named, and those who must not. Of
    /// two names of one person the first counts.
    async fn who_may_be_sent_to(
        &self,
        route: &Route<'_>,
        from: Option<&Address>,
        recipients: Vec<Address>,
    ) -> Result<(Vec<Address>, Rejected), store::Error> {
        let (mut may, mut rejected) = (Vec::with_capacity(recipients.len()), Rejected::default());
        let mut seen = HashSet::with_capacity(recipients.len());
        let steps = self.steps.of(self.organization);
        let destinations = steps.destinations(from);
        for some in recipients.chunks(store::PAGE_MAX) {
            let persons: Vec<Person> = some.iter().map(|to| Person::of(to.bare())).collect();
            let persons: Vec<&Person> = persons.iter().collect();
            let known = self.core.store.consents(self.organization, &persons).await?;
            for (recipient, mut known) in some.iter().zip(known) {
                if !seen.insert(known.version.person().clone()) {
                    continue;
                }
                if steps.suppressed_since(&known.consent, route.channel).is_some() {
                    known = steps.lift_if_reached(known, route.channel).await?;
                }
                let is_unreachable = steps.suppressed_since(&known.consent, route.channel).is_some();
                let refusal = known.consent.refusal(route, self.core.settings.required_opt_in);
                let side = match (refusal, destinations.not_allowed(recipient)) {
                    (Some(NoConsent::OptedOut | NoConsent::BlockedByTwilio), _) => &mut rejected.opted_out,
                    (Some(NoConsent::NotOptedIn), _) => &mut rejected.not_opted_in,
                    (None, Some(NotAllowed::Country)) => &mut rejected.country_not_allowed,
                    (None, Some(NotAllowed::NumberType)) => &mut rejected.number_type_not_allowed,
                    (None, None) if is_unreachable => &mut rejected.unreachable,
                    (None, None) => &mut may,
                };
                side.push(recipient.clone());
            }
        }
        Ok((may, rejected))
    }

    /// Who was not accepted for a batch that is stored: everybody but its members. Why, is judged anew: `to` are those who may
    /// be sent to now, `rejected` those who may not. Whoever may be by now had opted out.
    async fn rejected_before(
        &self,
        id: &BatchId,
        batch: &Batch,
        to: Vec<Address>,
        mut rejected: Rejected,
    ) -> Result<Rejected, store::Error> {
        let mut members = HashSet::with_capacity(batch.total);
        for part in 0..parts(batch) {
            members.extend(self.members(id, part).await?);
        }
        let is_accepted = |recipient: &Address| members.contains(&self.member_id(id, recipient));
        rejected.leave_out(is_accepted);
        rejected.opted_out.extend(to.into_iter().filter(|recipient| !is_accepted(recipient)));
        Ok(rejected)
    }

    /// Puts a document in the place of what an earlier try has put there.
    async fn put(&self, kind: Kind, name: &str, text: &str, kept: Duration) -> Result<(), store::Error> {
        let before = self.core.store.document(self.organization, kind, name).await?;
        let before = before.as_deref();
        self.core
            .store
            .change_document(self.organization, kind, name, before, Some(text), Some(kept))
            .await
            .map(drop)
    }

    /// How far a batch is; `None` if there is no such batch.
    pub async fn progress(&self, id: &BatchId) -> Result<Option<Progress>, store::Error> {
        let Some(batch) = self.steps.of(self.organization).batch(id).await? else { return Ok(None) };
        let mut counts = BTreeMap::new();
        let (mut resolved, mut last_resolved) = (0_usize, None);
        let mut left = Vec::new();
        for part in 0..parts(&batch) {
            for message in self.part(id, part).await? {
                *counts.entry(message.status).or_default() += 1;
                if let Some(at) = message.resolved_at {
                    resolved += 1;
                    last_resolved = last_resolved.max(Some(at));
                }
                left.extend(message.left_at);
            }
        }
        let is_done = resolved == batch.total;
        let state = match (batch.canceled_at, is_done) {
            (Some(_), _) => BatchState::Canceled,
            (None, true) => BatchState::Done,
            (None, false) => BatchState::Running,
        };
        let (first, last) = (left.iter().min().copied(), left.iter().max().copied());
        // The first ends no interval.
        let took = last.zip(first).map(|(last, first)| last.since(first)).filter(|took| !took.is_zero());
        let rate_per_s =
            took.map(|took| (left.len() - 1) as f64 / took.as_secs_f64()).filter(|&rate| rate > 0.0);
        let remaining = (batch.total - resolved) as f64;
        let estimate = |rate: f64| self.core.now_ms() + Duration::from_secs_f64(remaining / rate);
        Ok(Some(Progress {
            id: id.clone(),
            actor: batch.actor,
            state,
            total: batch.total,
            counts,
            started_at: first,
            finished_at: last_resolved.filter(|_| is_done).or((batch.total == 0).then_some(batch.created_at)),
            rate_per_s,
            estimated_finish_at: rate_per_s.filter(|_| !is_done).map(estimate),
        }))
    }

    /// A page of a batch: its messages from the `skip`th on, in the order in which they were asked for, at most `limit` of
    /// them; `None` if there is no such batch.
    pub async fn batch_messages(
        &self,
        id: &BatchId,
        skip: usize,
        limit: usize,
    ) -> Result<Option<BatchPage>, store::Error> {
        let Some(batch) = self.steps.of(self.organization).batch(id).await? else { return Ok(None) };
        let mut wanted: Vec<MessageId> = Vec::with_capacity(limit);
        for part in skip / MEMBERS_AT_ONCE..parts(&batch) {
            if wanted.len() == limit {
                break;
            }
            let ids = self.members(id, part).await?;
            let skipped = skip.saturating_sub(part * MEMBERS_AT_ONCE);
            wanted.extend(ids.into_iter().skip(skipped).take(limit - wanted.len()));
        }
        let (mut messages, mut unreadable) = (Vec::with_capacity(wanted.len()), 0);
        for row in self.reads.of(self.organization).messages_by_id(&wanted).await? {
            match self.core.readable(self.organization, row) {
                Some(message) => messages.extend(message),
                None => unreadable += 1,
            }
        }
        // By what was looked at, not by what could be shown: else one that cannot be read ends the list, or has others
        // shown twice.
        let next = Some(skip + limit).filter(|&next| next < batch.total);
        Ok(Some(BatchPage { messages, unreadable, next }))
    }

    /// Calls off what has not left; `None` if there is no such batch. If something is left, and was not called off before,
    /// `entry` is added to the audit in the same step, and tells how much that is.
    pub async fn cancel_batch(&self, id: &BatchId, entry: Entry) -> Result<Option<Progress>, store::Error> {
        loop {
            let Some(text) = self.core.store.document(self.organization, Kind::Batch, id.as_str()).await?
            else {
                return Ok(None);
            };
            let batch: Batch = batch::read(id, &text)?;
            let parts = parts(&batch);
            if batch.canceled_at.is_none() {
                // A batch of which nothing is left to call off is done, not canceled.
                let left = self.left(id, parts).await?;
                if left == 0 {
                    break;
                }
                // Known before the first is called off: one that is under way finds it, should it come back to wait.
                let canceled = store::encode(&Batch { canceled_at: Some(self.core.now_ms()), ..batch });
                let (before, after) = (Some(text.as_str()), Some(canceled.as_str()));
                let change = DocumentChange { kind: Kind::Batch, name: id.as_str(), before, after };
                let entry = entry.clone().with(Facts { canceled: Some(left), ..Facts::default() });
                let (store, keep) = (&self.core.store, Some(self.core.settings.batch_kept()));
                if !store.change_with_entry(self.organization, &[change], keep, Some(&entry)).await? {
                    continue;
                }
                audit::log(self.organization, &entry);
            }
            for part in 0..parts {
                self.cancel_part(id, part).await?;
            }
            break;
        }
        self.progress(id).await
    }

    /// How many messages of the batch have not come to their end on our side. One that cannot be read counts: it is not to leave
    /// once somebody can read it.
    async fn left(&self, id: &BatchId, parts: usize) -> Result<usize, store::Error> {
        let mut left = 0;
        for part in 0..parts {
            let ids = self.members(id, part).await?;
            for row in self.core.store.outbound_rows(self.organization, &ids).await? {
                let is_left =
                    |stored: Option<StoredOutbound>| stored.is_some_and(|stored| !stored.state.is_resolved());
                left += usize::from(self.core.readable(self.organization, row).is_none_or(is_left));
            }
        }
        Ok(left)
    }

    /// Calls off what waits of one part. What cannot be read here finds that its batch is canceled when it is to leave.
    async fn cancel_part(&self, id: &BatchId, part: usize) -> Result<(), store::Error> {
        let ids = self.members(id, part).await?;
        let rows = self.core.store.outbound_rows(self.organization, &ids).await?;
        let stored = rows.into_iter().filter_map(|row| self.core.readable(self.organization, row));
        let canceled = futures_util::stream::iter(stored.flatten())
            .map(|StoredOutbound { outbound, state, .. }| async move {
                let occasion = Occasion::Known(Fact::CalledOff);
                self.steps.of(self.organization).advance(&outbound, &state, occasion, false).await
            })
            .buffer_unordered(CANCELED_AT_ONCE)
            .try_for_each(|_| std::future::ready(Ok(())));
        canceled.await
    }

    async fn members(&self, id: &BatchId, part: usize) -> Result<Vec<MessageId>, store::Error> {
        match self.core.store.document(self.organization, Kind::Members, &part_name(id, part)).await? {
            Some(text) => batch::read(id, &text),
            None => Ok(Vec::new()),
        }
    }

    /// Where each message of a part is.
    async fn part(&self, id: &BatchId, part: usize) -> Result<Vec<Place>, store::Error> {
        let ids = self.members(id, part).await?;
        let rows = self.core.store.outbound_rows(self.organization, &ids).await?;
        let mut stored = Vec::with_capacity(rows.len());
        let mut unreadable = Vec::new();
        for row in rows {
            match self.core.readable(self.organization, row) {
                Some(known) => stored.push(known),
                None => {
                    unreadable.push(Place { status: UNREADABLE.to_owned(), resolved_at: None, left_at: None })
                }
            }
        }
        let sids: Vec<_> = stored
            .iter()
            .flatten()
            .filter_map(|stored| match &stored.state {
                OutboundState::Accepted { message_sid, .. } => Some(message_sid.clone()),
                _ => None,
            })
            .collect();
        let mut deliveries = self.core.store.deliveries(self.organization, &sids).await?.into_iter();
        let now = self.core.now_ms();
        let place = |stored: StoredOutbound| {
            let resolved_at = stored.state.resolved_at();
            let left_at = match stored.state {
                OutboundState::Accepted { at, .. } => Some(at),
                OutboundState::Sending { since, .. } | OutboundState::Unknown { since, .. } => Some(since),
                _ => None,
            };
            let at_twilio = match stored.state {
                OutboundState::Accepted { .. } => deliveries.next().flatten().and_then(|known| known.status),
                _ => None,
            };
            let status = stored.state.standing(now).shown(at_twilio.as_ref());
            Place { status, resolved_at, left_at }
        };
        Ok(stored.into_iter().flatten().map(place).chain(unreadable).collect())
    }
}

/// Messages that are called off at the same time.
const CANCELED_AT_ONCE: usize = 64;

/// Where a message is of which that cannot be read.
const UNREADABLE: &str = "unreadable";

/// Where a message of a batch is.
struct Place {
    status: String,
    /// When it came to its end on our side.
    resolved_at: Option<UnixMs>,
    /// When Twilio had it, or may have had it.
    left_at: Option<UnixMs>,
}

/// The same recipients, each person once: of two spellings the first.
pub fn each_once(recipients: Vec<Address>) -> Vec<Address> {
    let mut seen = HashSet::with_capacity(recipients.len());
    recipients.into_iter().filter(|recipient| seen.insert(Person::of(recipient.bare()))).collect()
}
