//! Tells the application what happens: messages that people send, statuses, opt-outs.
//!
//! The queue is the organization's streams themselves: an endpoint has a place in them, up to which it has been told, and a short
//! list of events before that place which it did not take. So nothing is stored for an endpoint when something happens, a replay is
//! a place further back, and an endpoint that is away costs what one place costs. Only the forms that Twilio posted are kept beside
//! the streams, sealed, before the entries are: they hold texts.
//!
//! Each event is told at least once, and with the same id each time. What fails is told again for a day, beside what comes after it.

pub mod payload;
mod posted;
mod standing;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use rand::RngExt;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::Notify;

use self::{
    payload::Payload,
    standing::{Attempt, Standing},
};
use super::{
    Core, DECISIONS_MAX, Scope,
    accounts::{Account, Accounts},
    audit, contended,
    relays::Relays,
    scope::scoped,
};
use crate::{
    domain::{
        Event, EventId, ForwardEndpoint, ForwardEvent, ForwardFormat, Organization, UnixMs,
        audit::{Action, Facts, Origin},
    },
    metrics::RelayResult,
    public_host,
    store::{self, Kind, Row},
    twilio::poster::{POST_TIMEOUT, Poster},
};

/// How long an endpoint may be away: an event is tried for so long, and an endpoint that takes nothing for so long is paused.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest pause before an event is told again. Each is about as long as all before it together.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause: an application that is back waits no longer.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5 * 60);

/// Events that are looked through in one step.
const PAGE: usize = 128;

/// Events of one step that are told at the same time.
const TOLD_AT_ONCE: usize = 32;

/// Events of one step while the endpoint takes nothing: enough that a few which it never takes hide nothing behind them.
const PROBES: usize = 4;

/// The most events that wait to be told again. While there are so many, nothing else is told.
const AGAIN_MAX: usize = 1_000;

/// How long nobody else takes an endpoint: longer than the events of a step take, each until it times out.
const CLAIM_TIME: Duration = Duration::from_secs(60);

const _: () = assert!(POST_TIMEOUT.as_secs() * ((PAGE / TOLD_AT_ONCE) as u64) < CLAIM_TIME.as_secs());

/// Writes an event as the API shows it.
pub type EventJson = fn(EventId, &Event) -> Value;

/// Tells the application what happens.
pub struct Forwards {
    core: Arc<Core>,
    accounts: Arc<Accounts>,
    relays: Arc<Relays>,
    poster: Poster,
    /// Organizations of which this process has recorded something that may be told.
    woken: Mutex<HashSet<Organization>>,
    /// Notified when there is one.
    wanted: Notify,
}

scoped!(Forwards);

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something, and there may be more.
    More,
    /// Nothing is to be told now.
    Idle,
}

/// How it goes with an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointStanding {
    /// The endpoint.
    pub endpoint: ForwardEndpoint,
    /// Since when it takes nothing.
    pub failing_since: Option<UnixMs>,
    /// What it answered last, if it took nothing.
    pub last_failure: Option<String>,
    /// When it was paused.
    pub paused_at: Option<UnixMs>,
    /// When the oldest event was added that it has not been told; `None` if it has been told all.
    pub waiting_since: Option<UnixMs>,
    /// Events that it did not take, and that are told again.
    pub retrying: usize,
}

/// What came of telling one event.
enum Told {
    /// It was taken, or there is nothing to be told of it any more.
    Taken,
    /// It is told at that time at the earliest: it is being told by somebody else.
    Later(UnixMs),
    /// It was not taken.
    Failed(String),
}

impl Forwards {
    /// The service, over those that it uses.
    pub(super) fn new(core: Arc<Core>, accounts: Arc<Accounts>, relays: Arc<Relays>, poster: Poster) -> Self {
        Self { core, accounts, relays, poster, woken: Mutex::default(), wanted: Notify::new() }
    }

    /// Returns when this process has recorded something that may be told: of these organizations, since it was asked last.
    pub async fn wanted(&self) -> HashSet<Organization> {
        self.wanted.notified().await;
        std::mem::take(&mut *self.woken())
    }

    fn woken(&self) -> MutexGuard<'_, HashSet<Organization>> {
        // Nothing that holds the lock can panic half-way.
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope<'_, Forwards> {
    /// Wakes who tells the organization's application, if it is told anything.
    pub(super) fn wake(&self) {
        let account = self.accounts.find(self.organization);
        if account.is_some_and(|account| !account.settings.forward.is_empty()) {
            self.woken().insert(self.organization.clone());
            self.wanted.notify_one();
        }
    }

    /// Whether the form that Twilio posts for such events is to be kept.
    pub fn needs_form(&self, event: ForwardEvent) -> bool {
        let account = self.accounts.find(self.organization);
        account.is_some_and(|account| needs_form(&account, event))
    }

    /// Tells the endpoint `id` of what has happened, some at a time.
    pub async fn tell_some(&self, id: &str, json: EventJson) -> Result<Step, store::Error> {
        let Some(account) = self.accounts.find(self.organization) else { return Ok(Step::Idle) };
        let Some(endpoint) = account.settings.forward.iter().find(|endpoint| endpoint.id == id) else {
            return Ok(Step::Idle);
        };
        let (stored, mut standing) = self.standing(endpoint).await?;
        let now = self.core.now_ms();
        if !standing.may_try(now) {
            return Ok(Step::Idle);
        }
        let claim = Standing { claimed_until: now + CLAIM_TIME, ..standing.clone() };
        let is_failing = standing.failing_since.is_some();
        let room = if is_failing { PROBES } else { PAGE };
        let again: Vec<Attempt> = standing.take_due(now, room);
        let page_room = (room - again.len()).min(AGAIN_MAX.saturating_sub(standing.again.len()));
        let page = match page_room {
            0 => Vec::new(),
            room => self.core.store.events(self.organization, standing.cursor, room).await?,
        };
        if again.is_empty() && page.is_empty() {
            return Ok(Step::Idle);
        }
        let claimed = store::encode(&claim);
        if !self.store_standing(endpoint, stored.as_deref(), &claimed).await? {
            // Somebody else was first.
            return Ok(Step::Idle);
        }
        if let Some((last, _)) = page.last() {
            standing.cursor = *last;
        }
        let new = |event| Attempt { event, since: now, at: now };
        let attempts: Vec<(Attempt, Option<Row<Event>>)> = again
            .into_iter()
            .map(|attempt| (attempt, None))
            .chain(page.into_iter().map(|(id, row)| (new(id), Some(row))))
            .collect();
        let telling: Vec<_> = attempts
            .iter()
            .map(|(attempt, row)| self.tell_one(&account, endpoint, &standing, attempt, row.as_ref(), json))
            .collect();
        let told: Vec<Result<Option<Told>, store::Error>> =
            futures_util::stream::iter(telling).buffered(TOLD_AT_ONCE).collect().await;
        let mut taken = 0;
        let mut failure = None;
        for ((attempt, _), told) in attempts.into_iter().zip(told) {
            match told {
                Ok(None) => {}
                Ok(Some(Told::Taken)) => taken += 1,
                Ok(Some(Told::Later(at))) => standing.again.push(Attempt { at, ..attempt }),
                Ok(Some(Told::Failed(reason))) => {
                    failure = Some(reason);
                    self.try_again(endpoint, &mut standing, attempt);
                }
                Err(error) => {
                    tracing::warn!(organization = %self.organization, endpoint = endpoint.id, %error, "an event is told later");
                    self.try_again(endpoint, &mut standing, attempt);
                }
            }
        }
        let now = self.core.now_ms();
        match failure {
            Some(reason) if taken == 0 => self.note_failure(endpoint, &mut standing, reason, now),
            failure => {
                // Where nothing is left that has failed, since it has been erased, nothing is known to fail any more.
                let is_over = taken > 0 || (failure.is_none() && standing.again.is_empty());
                if is_over && standing.failing_since.take().is_some() {
                    tracing::info!(organization = %self.organization, endpoint = endpoint.id, "the application takes what it is told again");
                }
                standing.last_failure = failure;
            }
        }
        let after = store::encode(&standing);
        // Where this fails somebody has asked for a replay meanwhile, whose place counts.
        self.store_standing(endpoint, Some(&claimed), &after).await?;
        Ok(if standing.may_try(now) { Step::More } else { Step::Idle })
    }

    /// Plans `attempt` for another time, unless its time is over.
    fn try_again(&self, endpoint: &ForwardEndpoint, standing: &mut Standing, attempt: Attempt) {
        let now = self.core.now_ms();
        let tried_for = now.since(attempt.since);
        if tried_for < GIVE_UP_AFTER {
            standing.again.push(Attempt { at: now + retry_delay(tried_for), ..attempt });
        } else {
            self.core.metrics.forward(RelayResult::GivenUp);
            tracing::warn!(
                organization = %self.organization, endpoint = endpoint.id, event_id = %attempt.event,
                mend = "POST /api/sms/forward/replay tells it again",
                "the application has not taken an event for a day"
            );
        }
    }

    fn note_failure(&self, endpoint: &ForwardEndpoint, standing: &mut Standing, reason: String, now: UnixMs) {
        let since = *standing.failing_since.get_or_insert(now);
        standing.next_try = now + retry_delay(now.since(since));
        tracing::debug!(organization = %self.organization, endpoint = endpoint.id, reason, "the application did not take what it was told");
        if now.since(since) >= GIVE_UP_AFTER {
            standing.paused_at = Some(now);
            self.core.metrics.endpoint_paused();
            tracing::error!(
                organization = %self.organization, endpoint = endpoint.id, reason,
                mend = "see to the application, then POST /api/sms/forward/replay",
                "the application took nothing for a day and is told nothing more"
            );
        }
        standing.last_failure = Some(reason);
    }

    /// Tells `endpoint` one event; `None` if it is not to be told of it.
    async fn tell_one(
        &self,
        account: &Account,
        endpoint: &ForwardEndpoint,
        standing: &Standing,
        attempt: &Attempt,
        row: Option<&Row<Event>>,
        json: EventJson,
    ) -> Result<Option<Told>, store::Error> {
        let found;
        let event = match row {
            Some(row) => row,
            None => {
                // An event that was not taken before, unless it has been erased since.
                let after = attempt.event.predecessor();
                found = self.core.store.events(self.organization, after, 1).await?.pop();
                match &found {
                    Some((id, row)) if *id == attempt.event => row,
                    _ => return Ok(None),
                }
            }
        };
        let event = match event {
            Ok(event) => event,
            Err(unreadable) => {
                self.core.tell_unreadable(self.organization, unreadable);
                return Ok(None);
            }
        };
        let kind = ForwardEvent::of(event);
        if !endpoint.wants(kind) {
            return Ok(None);
        }
        let is_replayed = standing.replayed_until.is_some_and(|until| attempt.event <= until);
        let posted = if endpoint.needs_form(kind) { self.posted_for(event).await? } else { None };
        if let Some(posted) = &posted
            && !is_replayed
        {
            if posted.was_told_to(&endpoint.id) {
                return Ok(Some(Told::Taken));
            }
            if endpoint.reply && posted.held_until > self.core.now_ms() {
                return Ok(Some(Told::Later(posted.held_until)));
            }
        }
        let url = endpoint.url.expose_secret();
        if let Err(refusal) = public_host::check_relay_url(url, self.core.settings.relay_private) {
            return Ok(Some(Told::Failed(format!("its URL {refusal}"))));
        }
        let form = posted.as_ref().map(|posted| self.open_posted(event, posted)).transpose()?;
        let payload = match endpoint.format {
            ForwardFormat::Twilio => self.form_of(account, attempt.event, event, form).await?,
            ForwardFormat::Standard => {
                Some(Payload::json(attempt.event, event, json(attempt.event, event), form))
            }
        };
        // Its form is gone: the text is kept no longer, or has been erased.
        let Some(payload) = payload else { return Ok(None) };
        let outcome = self.post(account, endpoint, &payload).await;
        if outcome.is_taken() {
            self.core.metrics.forward(RelayResult::Told);
            self.core.metrics.forward_delay(self.core.now_ms().since(attempt.event.ms));
            return Ok(Some(Told::Taken));
        }
        self.core.metrics.forward(RelayResult::Again);
        Ok(Some(Told::Failed(outcome.to_string())))
    }

    /// How it goes with the organization's endpoints.
    pub async fn standings(&self) -> Result<Vec<EndpointStanding>, store::Error> {
        let account = self.accounts.find(self.organization);
        let mut standings = Vec::new();
        for endpoint in account.iter().flat_map(|account| &account.settings.forward) {
            let (_, standing) = self.standing(endpoint).await?;
            let next = self.core.store.events(self.organization, standing.cursor, 1).await?.pop();
            let behind = next.map(|(id, _)| id).into_iter();
            let oldest = behind.chain(standing.again.iter().map(|attempt| attempt.event)).min();
            standings.push(EndpointStanding {
                endpoint: endpoint.clone(),
                failing_since: standing.failing_since,
                last_failure: standing.last_failure,
                paused_at: standing.paused_at,
                waiting_since: oldest.map(|id| id.ms),
                retrying: standing.again.len(),
            });
        }
        Ok(standings)
    }

    /// Tells the endpoint `id`, or all of them, what has happened since `since`, again; or without a time, goes on where it stopped.
    /// Whether there is an endpoint of that `id`.
    pub async fn replay(
        &self,
        id: Option<&str>,
        since: Option<UnixMs>,
        by: &Origin,
    ) -> Result<bool, store::Error> {
        let account = self.accounts.find(self.organization);
        let endpoints = account.iter().flat_map(|account| &account.settings.forward);
        let endpoints: Vec<_> = endpoints.filter(|endpoint| id.is_none_or(|id| endpoint.id == id)).collect();
        if id.is_some() && endpoints.is_empty() {
            return Ok(false);
        }
        let resource = id.map_or_else(|| "forward".to_owned(), |id| format!("forward/{id}"));
        let facts = Facts { resource: Some(resource), ..Facts::default() };
        let entry = by.entry(Action::ForwardReplay).with(facts);
        audit::record(&self.core, self.organization, &entry).await?;
        let last = self.core.store.last_event(self.organization).await?;
        for endpoint in endpoints {
            self.replay_endpoint(endpoint, since, last).await?;
        }
        self.wake();
        Ok(true)
    }

    async fn replay_endpoint(
        &self,
        endpoint: &ForwardEndpoint,
        since: Option<UnixMs>,
        last: EventId,
    ) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let (stored, mut standing) = self.standing(endpoint).await?;
            standing.resume();
            if let Some(since) = since {
                standing.cursor = standing.cursor.min(EventId::before_all_of(since));
                standing.again.retain(|attempt| attempt.event <= standing.cursor);
                standing.replayed_until = Some(last);
            }
            let after = store::encode(&standing);
            if self.store_standing(endpoint, stored.as_deref(), &after).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// How far `endpoint` is, and that as it is stored.
    async fn standing(&self, endpoint: &ForwardEndpoint) -> Result<(Option<String>, Standing), store::Error> {
        let stored = self.core.store.document(self.organization, Kind::Forward, &endpoint.id).await?;
        let standing = match &stored {
            Some(stored) => store::decode("the standing of an endpoint", stored)?,
            None => Standing::beginning_at(EventId::before_all_of(endpoint.since)),
        };
        Ok((stored, standing))
    }

    /// Stores how far `endpoint` is in the place of `before`; whether that was there.
    async fn store_standing(
        &self,
        endpoint: &ForwardEndpoint,
        before: Option<&str>,
        after: &str,
    ) -> Result<bool, store::Error> {
        let (store, kind) = (&self.core.store, Kind::Forward);
        store.change_document(self.organization, kind, &endpoint.id, before, Some(after), None).await
    }
}

fn needs_form(account: &Account, event: ForwardEvent) -> bool {
    account.settings.forward.iter().any(|endpoint| endpoint.needs_form(event))
}

fn retry_delay(tried_for: Duration) -> Duration {
    let delay = tried_for.clamp(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
    delay.mul_f64(rand::rng().random_range(0.5..1.0))
}
