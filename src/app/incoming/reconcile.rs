//! Asks Twilio for what it has not told us: callbacks get lost, and Twilio does not repeat them.
//!
//! A message that has no final status is asked for at growing distances from its first one. Once a day the account's
//! messages are listed besides, which also finds messages, and replies, of which nothing was heard at all. Both are
//! tasks in the store: an instance claims those that are due, so several share the work, and one that crashes leaves
//! them to the others.

use std::time::Duration;

use futures_util::StreamExt;
use rand::RngExt;

use super::Incoming;
use crate::{
    app::{Scope, accounts::Account, outgoing::send::SendError},
    domain::{
        ForwardEvent, MessageRef, Source, StatusChange, Task, TaskLine, UnixMs,
        delivery::{self, Recorded},
        task::next_ask,
    },
    metrics::PollResult,
    store,
    twilio::{
        IncomingMessage, MessageSid,
        client::{self, Outcome},
        resource::{self, ListMessages, MessagePage},
    },
};

/// Tasks that are claimed at once.
const CLAIMED_MAX: usize = 64;

/// Messages that are asked for at the same time: far below what Twilio lets an account do at once.
const ASKED_AT_ONCE: usize = 8;

/// How long a claim holds: longer than everything that is done on one.
const CLAIM_TIME: Duration = Duration::from_secs(10 * 60);

/// When a task is tried again that failed on Twilio's side.
const RETRY_DELAY: Duration = Duration::from_secs(60);

/// When messages are listed again of which some could not be recorded, as what is stored of them cannot be read. It is done
/// no more when they are older than a listing reaches.
const UNREADABLE_DELAY: Duration = Duration::from_secs(60 * 60);

/// The shortest pause after Twilio said that it gets too many requests.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How often one page of a listing is asked for.
const PAGE_TRIES_MAX: u32 = 5;

/// Messages of a page that are recorded at the same time.
const RECORDED_AT_ONCE: usize = 16;

/// Pages of one listing: a million messages.
const PAGES_MAX: usize = 1_000;

/// How much further back than the listing before it one reaches: a message may change for so long.
const LIST_OVERLAP: Duration = Duration::from_secs(12 * 60 * 60);

/// What one round of asking came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Messages that were asked for.
    pub asked: usize,
    /// There may be more that are due.
    pub more: bool,
    /// The listing is due, and since when; it is claimed, and left to `list`, since it may take long.
    pub listing: Option<UnixMs>,
    /// Twilio wants fewer requests, or none: how long to leave it alone.
    pub pause: Option<Duration>,
}

impl Incoming {
    /// How often an account's messages are listed: as often as the last time at which a message is asked for.
    fn list_every(&self) -> Option<Duration> {
        self.core.settings.reconcile_after.last().copied()
    }
}

impl Scope<'_, Incoming> {
    /// Makes sure that the listing of the organization's messages is planned.
    pub async fn plan_listing(&self) -> Result<(), store::Error> {
        match self.list_every() {
            Some(every) => {
                self.core.store.schedule(self.organization, &Task::List, self.core.now_ms() + every).await
            }
            None => Ok(()),
        }
    }

    /// Asks for the organization's messages that are due to be asked for, some of them at least. What it costs depends on
    /// those alone.
    pub async fn reconcile(&self) -> Result<Round, store::Error> {
        let Some(account) = self.accounts.find(self.organization) else { return Ok(Round::default()) };
        let now = self.core.now_ms();
        let claimed = self
            .core
            .store
            .claim(self.organization, TaskLine::Twilio, now, now + CLAIM_TIME, CLAIMED_MAX)
            .await?;
        let mut round = Round { more: claimed.len() == CLAIMED_MAX, ..Round::default() };
        let claimed = claimed
            .into_iter()
            .filter_map(|(task, due_at)| Some((self.core.readable(self.organization, task)?, due_at)));
        let mut asked = futures_util::stream::iter(claimed)
            .map(|(task, due_at)| {
                let account = &account;
                async move {
                    match &task {
                        Task::Ask { sid, since } => (None, self.ask(account, &task, sid, *since).await),
                        Task::List => (Some(due_at), Ok(None)),
                        // It stands in another line.
                        Task::Relay { .. } | Task::ExpireReview { .. } => (None, Ok(None)),
                    }
                }
            })
            .buffer_unordered(ASKED_AT_ONCE);
        let mut failed = None;
        while let Some((listing, pause)) = asked.next().await {
            round.asked += usize::from(listing.is_none());
            round.listing = round.listing.or(listing);
            match pause {
                Ok(pause) => round.pause = round.pause.max(pause),
                // The others are under way, and are not dropped for this one.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(round), Err)
    }

    /// Asks what became of one message. Returns how long to leave Twilio alone, if it wants that.
    async fn ask(
        &self,
        account: &Account,
        task: &Task,
        sid: &MessageSid,
        since: UnixMs,
    ) -> Result<Option<Duration>, store::Error> {
        let organization = &account.organization;
        let asked = self.twilio.fetch_message(&account.credentials, sid).await;
        let (again, result, pause) = match asked {
            Ok(Some(message)) => {
                let learned = self.record_or_tell(&message).await?;
                let is_final = message.status.as_ref().is_some_and(delivery::is_final);
                let again = next_ask(since, self.core.now_ms(), &self.core.settings.reconcile_after);
                match learned {
                    Some(true) => (again.filter(|_| !is_final), PollResult::Learned, None),
                    Some(false) => (again.filter(|_| !is_final), PollResult::Known, None),
                    None => (again, PollResult::Failed, None),
                }
            }
            // Deleted, or not there yet: Twilio's parts do not learn of a message all at once.
            Ok(None) => {
                let again = next_ask(since, self.core.now_ms(), &self.core.settings.reconcile_after);
                (again, PollResult::Gone, None)
            }
            Err(error) => {
                tracing::warn!(%organization, message_sid = %sid, %error, "a message could not be asked for");
                let again = self.core.now_ms() + RETRY_DELAY;
                (Some(again), PollResult::Failed, pause_after(&error))
            }
        };
        self.core.metrics.poll(result);
        self.core.store.reschedule(organization, task, again).await?;
        Ok(pause)
    }

    /// Asks Twilio what became of one message, and records it. A message that Twilio does not have is left as it is.
    pub async fn refresh(&self, name: &MessageRef) -> Result<(), SendError> {
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let sid = match name {
            MessageRef::Sid(sid) => Some(sid.clone()),
            MessageRef::Id(id) => {
                let message = self.reads.of(self.organization).message_by_id(id).await?;
                message.and_then(|message| message.message_sid)
            }
        };
        let Some(sid) = sid else { return Ok(()) };
        match self.twilio.fetch_message(&account.credentials, &sid).await {
            Ok(Some(message)) => drop(self.record_polled(&message).await?),
            Ok(None) => {}
            Err(error) => return Err(SendError::Twilio(error)),
        }
        Ok(())
    }

    /// Lists the organization's messages since the listing before the one that was due at `due_at`, which the caller
    /// has claimed. Returns how long to leave Twilio alone, if it wants that.
    pub async fn list(&self, due_at: UnixMs) -> Result<Option<Duration>, store::Error> {
        let Some(account) = self.accounts.find(self.organization) else { return Ok(None) };
        let every = self.list_every().unwrap_or_default();
        let since = due_at - (every + LIST_OVERLAP);
        let list = ListMessages { date_sent_on_or_after: date_of(since), ..ListMessages::default() };
        let (mut pages, mut messages, mut learned, mut unreadable) = (0, 0, 0, 0);
        let mut page: Option<MessagePage> = None;
        loop {
            let next = match self.next_page(&account, &list, page.as_ref()).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(organization = %self.organization, %error, pages, "the listing of messages broke off");
                    let again = self.core.now_ms() + RETRY_DELAY;
                    self.core.store.reschedule(self.organization, &Task::List, Some(again)).await?;
                    return Ok(pause_after(&error));
                }
            };
            let Some(next) = next else { break };
            messages += next.messages.len();
            let mut recorded = futures_util::stream::iter(0..next.messages.len())
                .map(|index| self.record_or_tell(&next.messages[index]))
                .buffered(RECORDED_AT_ONCE);
            while let Some(recorded) = recorded.next().await {
                match recorded? {
                    Some(is_news) => learned += usize::from(is_news),
                    None => unreadable += 1,
                }
            }
            drop(recorded);
            pages += 1;
            if pages == PAGES_MAX {
                tracing::warn!(organization = %self.organization, pages, "a listing ends before its end: too many messages");
                break;
            }
            // Still at it.
            let until = self.core.now_ms() + CLAIM_TIME;
            self.core.store.reschedule(self.organization, &Task::List, Some(until)).await?;
            page = Some(next);
        }
        tracing::info!(organization = %self.organization, pages, messages, learned, "messages listed at Twilio");
        self.core.metrics.listing();
        let next = if unreadable == 0 { every } else { every.min(UNREADABLE_DELAY) };
        let again = self.core.now_ms() + next;
        self.core.store.reschedule(self.organization, &Task::List, Some(again)).await?;
        Ok(None)
    }
}

impl Incoming {
    /// The page behind `page`, or the first; asked for again while Twilio is busy.
    async fn next_page(
        &self,
        account: &Account,
        list: &ListMessages,
        page: Option<&MessagePage>,
    ) -> Result<Option<MessagePage>, client::Error> {
        let mut tries = 1;
        loop {
            let result = match page {
                None => self.twilio.list_messages(&account.credentials, list).await.map(Some),
                Some(page) => self.twilio.next_page(&account.credentials, page).await,
            };
            match result {
                // Reading twice does no harm, so an answer that was lost is asked for again too.
                Err(error) if error.outcome() != Outcome::Refused && tries < PAGE_TRIES_MAX => {
                    let pause = PAUSE_MIN * 2_u32.pow(tries - 1);
                    let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
                    tokio::time::sleep(error.retry_after().unwrap_or(jittered)).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }
}

impl Scope<'_, Incoming> {
    /// Records what Twilio has of a message; whether that was news.
    pub(in crate::app) async fn record_polled(
        &self,
        message: &resource::Message,
    ) -> Result<bool, store::Error> {
        if message.direction.as_deref() == Some("inbound") {
            return self.record_polled_inbound(message).await;
        }
        if message.status.is_none() {
            return Ok(false);
        }
        let mut change = self.statuses.change_of_copy(message, None, Source::Poll);
        self.relay_if_news(message, &mut change).await?;
        Ok(self.statuses.of(self.organization).record_status(change).await? == Recorded::Moved)
    }

    /// The same; `None` if that rests on a record that cannot be read, of which the operator is told.
    async fn record_or_tell(&self, message: &resource::Message) -> Result<Option<bool>, store::Error> {
        let recorded = self.record_polled(message).await;
        let record = || format!("what the status of {} rests on", message.sid);
        self.core.if_readable(self.organization, record, recorded)
    }

    /// Sees to it that the caller's own URL is told of a status that nothing else has told us. One that was recorded
    /// before has been told before.
    async fn relay_if_news(
        &self,
        message: &resource::Message,
        change: &mut StatusChange,
    ) -> Result<(), store::Error> {
        let known =
            self.core.store.deliveries(self.organization, std::slice::from_ref(&change.sid)).await?.pop();
        let Some(known) = known.flatten() else { return Ok(()) };
        if let Some(id) = known.id
            && known.judge(change) != Recorded::Duplicate
            && let Some(stored) = self.core.store.outbound(self.organization, &id).await?
        {
            change.id = Some(id);
            change.relay = self.relays.relay_of_answer(&stored.outbound, message);
        }
        Ok(())
    }

    /// Records a message received whose webhook was lost: it may be a STOP.
    async fn record_polled_inbound(&self, message: &resource::Message) -> Result<bool, store::Error> {
        let (Some(from), Some(to)) = (message.from.clone(), message.to.clone()) else { return Ok(false) };
        let account = self.accounts.find(self.organization);
        let account_sid = message.account_sid.clone().or(account.map(|a| a.credentials.account_sid.clone()));
        let Some(account_sid) = account_sid else { return Ok(false) };
        let sent = message.date_sent.or(message.date_created);
        let at = sent.and_then(UnixMs::from_timestamp).unwrap_or_else(|| self.core.now_ms());
        let received = IncomingMessage {
            body: message.body.clone().unwrap_or_default(),
            num_media: message.num_media.unwrap_or(0),
            ..IncomingMessage::bare(account_sid, message.sid.clone(), from, to)
        };
        let forwards = self.forwards.of(self.organization);
        let form = forwards.needs_form(ForwardEvent::Inbound).then(|| received.to_parameters());
        let receipt = self.receipt(&received, form, at).heard_late();
        Ok(!self.record_inbound(&receipt).await?.duplicate)
    }
}

/// How long to leave Twilio alone after `error`, if at all.
fn pause_after(error: &client::Error) -> Option<Duration> {
    match (error, error.outcome()) {
        // Until somebody mends them, every further request would be one too many.
        (client::Error::CredentialsRejected(_), _) => Some(RETRY_DELAY),
        (_, Outcome::NotProcessed) => Some(error.retry_after().unwrap_or(PAUSE_MIN).max(PAUSE_MIN)),
        (_, Outcome::Refused | Outcome::Ambiguous) => None,
    }
}

fn date_of(at: UnixMs) -> Option<jiff::civil::Date> {
    Some(at.to_timestamp()?.to_zoned(jiff::tz::TimeZone::UTC).date())
}
