//! Takes messages that wait, one by one, to their end.
//!
//! A claimed message is in one of three states. One that waits is taken through its gate (consent, quiet hours, the
//! recipient's pause, the day's limit) and handed to Twilio. One that is being sent has lost its process, and one that is
//! unknown has lost Twilio's answer: in both cases Twilio is asked whether it has the message, twice, before it is sent
//! again. Every step compares what is stored with what it was decided on, so that two who come to the same message do
//! not both act, and a callback that proves acceptance in between wins.

mod look;
mod pair;

use std::{sync::Arc, time::Duration};

use look::LOOK_DELAY;
use rand::RngExt;

use super::{App, DECISIONS_MAX, accounts::Account, contended, content::Content};
use crate::{
    domain::{
        Flow, HistoryId, Hold, MessageId, MessageRef, Organization, Outbound, OutboundState, Source,
        StatusChange, UnixMs,
        consent::{ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
    },
    store::{self, Gate, Passed, Step, StoredOutbound, outbox::OUTBOUNDS_MAX},
    twilio::{
        MessageStatus,
        client::{self, Outcome},
        resource,
    },
};

/// After how long a message that is being sent must have lost its process: more than a call to Twilio can take, with all
/// its tries.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How long a claimed message is left alone. If what is done with it takes longer, somebody else may come to it too, and
/// the steps of one of the two are not taken.
pub const CLAIM_TIME: Duration = Duration::from_secs(15);

/// How often a message is handed to Twilio before it is given up: with the pauses in between for some ten hours, as long
/// as Twilio itself keeps a message that it cannot hand on.
const TRIES_MAX: u32 = 160;

/// The first pause before a message that Twilio did not process is tried again; each further one may be twice as long.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5 * 60);

/// When a message is looked at again whose account is missing, or whose credentials are rejected.
const UNUSABLE_DELAY: Duration = Duration::from_secs(60);

/// The last messages to a person among which those are sought that wait.
const WAITING_LOOKED_THROUGH_MAX: usize = OUTBOUNDS_MAX;

/// How long a message may wait for the batch that it belongs to: its acceptance was broken off, and may be repeated under
/// its key for a day.
const BATCH_MISSING_MAX: Duration = Duration::from_secs(25 * 60 * 60);

/// How long it takes at least and at most from one look for such a batch to the next, in milliseconds: most are there a
/// moment later.
const BATCH_DELAY: std::ops::RangeInclusive<u64> = 250..=600_000;

/// A message that is handed to Twilio.
pub(super) struct Call<'a> {
    /// Through whom.
    pub(super) account: &'a Account,
    /// What was asked for.
    pub(super) outbound: &'a Outbound,
    /// What Twilio is given.
    pub(super) content: &'a Content,
}

/// What became of a claimed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatched {
    /// Twilio was called with it.
    Called,
    /// Nothing left; it waits, is resolved, or somebody else has it.
    Kept,
    /// Twilio wants to be left alone for so long.
    Busy(Duration),
}

impl App {
    /// The flows of `organization` in which messages are due.
    pub async fn due_flows(&self, organization: &Organization) -> Result<Vec<Flow>, store::Error> {
        self.store.due_flows(organization, self.now_ms()).await
    }

    /// Takes up to `limit` messages of `flow` that are due. Nobody else gets them for [`CLAIM_TIME`].
    pub async fn claim_due(
        &self,
        organization: &Organization,
        flow: &Flow,
        limit: usize,
    ) -> Result<Vec<StoredOutbound>, store::Error> {
        let now = self.now_ms();
        let until = now + CLAIM_TIME.as_millis() as UnixMs;
        let ids = self.store.claim_outbounds(organization, flow, now, until, limit).await?;
        let mut claimed = Vec::with_capacity(ids.len());
        for (id, stored) in ids.iter().zip(self.store.outbounds(organization, &ids).await?) {
            match stored {
                Some(stored) if !stored.state.is_resolved() => claimed.push(stored),
                _ => self.store.dequeue(organization, flow, id).await?,
            }
        }
        Ok(claimed)
    }

    /// When messages of `segments` may leave through `sender`, one behind the other: when the first of them may.
    pub async fn reserve_pace(
        &self,
        organization: &Organization,
        sender: &str,
        segments: u32,
    ) -> Result<UnixMs, store::Error> {
        let cost = match segments {
            0 => Duration::ZERO,
            segments => self.settings.limits.time_of(sender, segments),
        };
        self.store.reserve_pace(organization, sender, self.now_ms(), cost).await
    }

    /// Does what is to be done next with a claimed message.
    pub async fn dispatch(
        &self,
        organization: &Organization,
        stored: &StoredOutbound,
    ) -> Result<Dispatched, store::Error> {
        let outbound = &stored.outbound;
        let Some(account) = self.accounts.of(organization) else {
            return self.postpone(organization, stored, UNUSABLE_DELAY).await;
        };
        let content = match self.content_of(organization, stored).await {
            Ok(Some(content)) => content,
            Ok(None) => return self.without_content(organization, stored).await,
            // Nobody else's message waits for the key that opens this one.
            Err(error @ store::Error::Unreadable(_)) => {
                tracing::error!(%organization, id = %outbound.id, %error, "a message that waits cannot be opened");
                return self.postpone(organization, stored, UNUSABLE_DELAY).await;
            }
            Err(error) => return Err(error),
        };
        let call = Call { account: &account, outbound, content: &content };
        match stored.state {
            OutboundState::Waiting { tries, .. } => self.leave(&call, &stored.state, tries).await,
            OutboundState::Sending { since, tries } => {
                let unknown = OutboundState::Unknown { since, tries, looks: 0 };
                self.look(&call, &stored.state, unknown).await
            }
            OutboundState::Unknown { .. } => self.look(&call, &stored.state, stored.state.clone()).await,
            OutboundState::Canceled { .. }
            | OutboundState::Refused { .. }
            | OutboundState::Accepted { .. } => {
                self.store.dequeue(organization, &outbound.flow(), &outbound.id).await?;
                Ok(Dispatched::Kept)
            }
        }
    }

    /// What Twilio is to be given; `None` if that is nowhere (any more).
    pub(super) async fn content_of(
        &self,
        organization: &Organization,
        stored: &StoredOutbound,
    ) -> Result<Option<Arc<Content>>, store::Error> {
        match (&stored.content, &stored.outbound.batch) {
            (Some(sealed), _) => {
                Content::open_for(&stored.outbound.id, sealed, &self.keys).map(Arc::new).map(Some)
            }
            (None, Some(batch)) => self.content_of_batch(organization, batch).await,
            (None, None) => Ok(None),
        }
    }

    /// A message whose batch is not there: its acceptance is still under way, or was broken off.
    async fn without_content(
        &self,
        organization: &Organization,
        stored: &StoredOutbound,
    ) -> Result<Dispatched, store::Error> {
        let waited = self.now_ms().saturating_sub(stored.outbound.created_at);
        if u128::from(waited) < BATCH_MISSING_MAX.as_millis() {
            let delay = (waited / 2).clamp(*BATCH_DELAY.start(), *BATCH_DELAY.end());
            return self.postpone(organization, stored, Duration::from_millis(delay)).await;
        }
        let reason = "it was never accepted: its batch was broken off";
        let to = self.refusal("not_accepted", reason, None);
        self.step(organization, stored, &stored.state, to, None).await?;
        Ok(Dispatched::Kept)
    }

    /// Looks at the message again after `delay`, and changes nothing about it.
    async fn postpone(
        &self,
        organization: &Organization,
        stored: &StoredOutbound,
        delay: Duration,
    ) -> Result<Dispatched, store::Error> {
        let due = self.now_ms() + delay.as_millis() as UnixMs;
        self.step(organization, stored, &stored.state, stored.state.clone(), Some(due)).await?;
        Ok(Dispatched::Kept)
    }

    async fn step(
        &self,
        organization: &Organization,
        stored: &StoredOutbound,
        from: &OutboundState,
        to: OutboundState,
        due: Option<UnixMs>,
    ) -> Result<Passed, store::Error> {
        self.plan_relay_of_own_end(organization, &stored.outbound, &to).await?;
        let step = Step { from: from.clone(), to, due, gate: None };
        self.store.step_outbound(organization, &stored.outbound, &step).await
    }

    /// Takes a message that waits through its gate, and hands it to Twilio.
    async fn leave(
        &self,
        call: &Call<'_>,
        state: &OutboundState,
        tries: u32,
    ) -> Result<Dispatched, store::Error> {
        let (organization, outbound) = (&call.account.organization, call.outbound);
        let channel = outbound.to.channel();
        let limits = &self.settings.limits;
        // An opt-out may be in the spool.
        if !self.intake.is_clear() {
            return Ok(Dispatched::Kept);
        }
        // Asked at every try: the first of a pair may have arrived while the second was held for something else.
        if let Some(step) = self.fallback_step(organization, outbound, state, tries).await? {
            self.store.step_outbound(organization, outbound, &step).await?;
            return Ok(Dispatched::Kept);
        }
        if let Some(batch) = &outbound.batch
            && self.is_canceled(organization, batch).await?
        {
            let to = OutboundState::Canceled { at: self.now_ms() };
            let step = Step { from: state.clone(), to, due: None, gate: None };
            self.store.step_outbound(organization, outbound, &step).await?;
            return Ok(Dispatched::Kept);
        }
        for _ in 0..DECISIONS_MAX {
            let now = self.now_ms();
            let known = self.store.consent(organization, outbound.to.bare()).await?;
            let mut gate = None;
            let (to, due) = if known.consent.refusal(channel).is_some() {
                (self.refusal("recipient_opted_out", "the recipient has opted out", None), None)
            } else if let Some((until, reason)) = limits.hold(outbound, now) {
                (OutboundState::Waiting { until, reason, tries }, Some(until))
            } else {
                // A message that is tried again has had its turn with the recipient.
                let cooldown = if tries > 0 { Duration::ZERO } else { limits.cooldown(outbound) };
                gate = Some(Gate { consent: known.version, cooldown, now });
                let sending = OutboundState::Sending { since: now, tries: tries + 1 };
                (sending, Some(now + LOST_AFTER.as_millis() as UnixMs))
            };
            let leaves = gate.is_some();
            self.plan_relay_of_own_end(organization, outbound, &to).await?;
            let step = Step { from: state.clone(), to, due, gate };
            match self.store.step_outbound(organization, outbound, &step).await? {
                Passed::Yes if leaves => {
                    // Counted once it has passed everything else; beyond the day's limit it goes no further.
                    if tries == 0 && !self.count_of_the_day(organization).await? {
                        let to = self.refusal_by_daily_limit();
                        self.plan_relay_of_own_end(organization, outbound, &to).await?;
                        let step = Step { from: step.to, to, due: None, gate: None };
                        self.store.step_outbound(organization, outbound, &step).await?;
                        return Ok(Dispatched::Kept);
                    }
                    return self.call_once(call, step.to).await;
                }
                Passed::Yes | Passed::StateChanged => return Ok(Dispatched::Kept),
                Passed::CoolingDown { until } => {
                    let to = OutboundState::Waiting { until, reason: Hold::Cooldown, tries };
                    let step = Step { from: state.clone(), to, due: Some(until), gate: None };
                    self.store.step_outbound(organization, outbound, &step).await?;
                    return Ok(Dispatched::Kept);
                }
                Passed::ConsentChanged => {}
            }
        }
        Err(contended())
    }

    /// Calls Twilio once, and stores what became of it: a message that Twilio did not process waits to be tried again.
    async fn call_once(&self, call: &Call<'_>, sending: OutboundState) -> Result<Dispatched, store::Error> {
        let result = self.call_twilio(call).await;
        let tries = match sending {
            OutboundState::Sending { tries, .. } => tries,
            _ => 0,
        };
        match &result {
            Err(error) if self.is_tried_again(error) && tries < TRIES_MAX => {
                let delay = error.retry_after().unwrap_or_else(|| retry_delay(tries));
                let until = self.now_ms() + delay.as_millis() as UnixMs;
                let to = OutboundState::Waiting { until, reason: Hold::Retry, tries };
                let step = Step { from: sending, to, due: Some(until), gate: None };
                self.store.step_outbound(&call.account.organization, call.outbound, &step).await?;
                Ok(Dispatched::Busy(delay.min(RETRY_DELAY_MIN * 2)))
            }
            _ => {
                if let Err(error) = &result
                    && error.outcome() != Outcome::Ambiguous
                {
                    // Nobody waits for an answer any more who could be told of it.
                    let end = self.refusal_of(error);
                    self.plan_relay_of_own_end(&call.account.organization, call.outbound, &end).await?;
                }
                self.store_outcome(call, &sending, &result).await?;
                Ok(Dispatched::Called)
            }
        }
    }

    /// Whether a message whose call ended in `error` is tried again without asking: Twilio has not processed it, and
    /// may another time.
    fn is_tried_again(&self, error: &client::Error) -> bool {
        error.outcome() == Outcome::NotProcessed || matches!(error, client::Error::CredentialsRejected(_))
    }

    /// Hands a message to Twilio.
    pub(super) async fn call_twilio(&self, call: &Call<'_>) -> Result<resource::Message, client::Error> {
        let create = call.content.call(call.outbound, self.status_callback_url(call.outbound));
        self.twilio.create_message(&call.account.credentials, &create).await
    }

    /// The URL by which a callback finds its message, and what goes with it.
    fn status_callback_url(&self, outbound: &Outbound) -> String {
        let overrides = &self.settings.callback_overrides;
        let fragment = if overrides.is_empty() { String::new() } else { format!("#{overrides}") };
        let batch = outbound.batch.as_ref().map(|batch| format!("&batch={batch}")).unwrap_or_default();
        let relay = if outbound.status_callback.is_some() { "&relay=1" } else { "" };
        let (public_url, id) = (&self.settings.public_url, outbound.id);
        format!("{public_url}/webhooks/twilio/status?id={id}{batch}{relay}{fragment}")
    }

    /// Stores what became of a call that is not made again, for a message that is stored as `sending`.
    pub(super) async fn store_outcome(
        &self,
        call: &Call<'_>,
        sending: &OutboundState,
        result: &Result<resource::Message, client::Error>,
    ) -> Result<(), store::Error> {
        let (organization, outbound) = (&call.account.organization, call.outbound);
        let (to, due) = match result {
            Ok(message) => {
                self.record_status(organization, self.accepted(outbound, message, Source::Api)).await?;
                (OutboundState::Accepted { at: self.now_ms(), message_sid: message.sid.clone() }, None)
            }
            Err(error) if error.outcome() == Outcome::Ambiguous => {
                let (since, tries) = match sending {
                    OutboundState::Sending { since, tries } => (*since, *tries),
                    _ => (self.now_ms(), 1),
                };
                let due = self.now_ms() + LOOK_DELAY.as_millis() as UnixMs;
                (OutboundState::Unknown { since, tries, looks: 0 }, Some(due))
            }
            Err(error) => (self.refusal_of(error), None),
        };
        let step = Step { from: sending.clone(), to: to.clone(), due, gate: None };
        if self.store.step_outbound(organization, outbound, &step).await? == Passed::StateChanged {
            // A callback was faster, and what it proved stays; but nobody has to look at it again.
            self.store.dequeue(organization, &outbound.flow(), &outbound.id).await?;
        }
        if let Err(error) = result
            && let Some(source) = error.twilio_code().and_then(ConsentSource::of_error)
        {
            self.opt_out_by_error(organization, &outbound.to, source, None).await?;
        }
        Ok(())
    }

    /// What Twilio's own word of a message says of ours.
    fn accepted(&self, outbound: &Outbound, message: &resource::Message, source: Source) -> StatusChange {
        let from = message.from.as_ref().or(outbound.from.as_ref());
        StatusChange {
            sid: message.sid.clone(),
            id: Some(outbound.id),
            status: message.status.clone().unwrap_or(MessageStatus::Queued),
            error_code: message.error_code.filter(|&code| code != 0),
            channel: outbound.to.channel(),
            to: outbound.to.bare().to_owned(),
            from: from.map(|from| from.bare().to_owned()).unwrap_or_default(),
            batch: outbound.batch.as_ref().map(ToString::to_string),
            source,
            at: self.now_ms(),
            ask_at: self.first_asked_at(self.now_ms()),
            raw: Vec::new(),
            // The answer to the call itself is the caller's already, or brings nothing but "queued".
            relay: if source == Source::Api { None } else { self.relay_of_answer(outbound, message) },
        }
    }

    pub(super) fn refusal_by_daily_limit(&self) -> OutboundState {
        self.refusal("daily_limit_reached", "the limit of messages per day is reached", None)
    }

    fn refusal_of(&self, error: &client::Error) -> OutboundState {
        self.refusal(code_of(error), &error.to_string(), error.twilio_code())
    }

    pub(super) fn refusal(&self, code: &str, reason: &str, twilio_code: Option<u32>) -> OutboundState {
        OutboundState::Refused {
            at: self.now_ms(),
            code: code.to_owned(),
            reason: reason.to_owned(),
            twilio_code,
        }
    }

    /// Refuses what waits for a person who has just opted out, so that nobody finds it waiting. That nothing leaves is
    /// not up to this: every message asks for consent at its gate.
    pub(super) async fn refuse_waiting_after(&self, organization: &Organization, entry: &ConsentEntry) {
        if entry.state == ConsentState::OptedOut
            && let Err(error) = self.refuse_waiting(organization, entry).await
        {
            tracing::warn!(%organization, %error, "what waits for a person who opted out is refused later");
        }
    }

    async fn refuse_waiting(
        &self,
        organization: &Organization,
        entry: &ConsentEntry,
    ) -> Result<(), store::Error> {
        let recent = self
            .store
            .history(organization, Some(&entry.phone), HistoryId::END, WAITING_LOOKED_THROUGH_MAX)
            .await?;
        let ids: Vec<MessageId> = recent
            .into_iter()
            .filter_map(|(_, message)| match message {
                MessageRef::Id(id) => Some(id),
                MessageRef::Sid(_) => None,
            })
            .collect();
        for stored in self.store.outbounds(organization, &ids).await?.into_iter().flatten() {
            let channel = ConsentChannel::from(stored.outbound.to.channel());
            let silenced = entry.channel == ConsentChannel::All || entry.channel == channel;
            if silenced && matches!(stored.state, OutboundState::Waiting { .. }) {
                let to = self.refusal("recipient_opted_out", "the recipient has opted out", None);
                self.step(organization, &stored, &stored.state, to, None).await?;
            }
        }
        Ok(())
    }
}

/// How long a pause may be before the next try: full jitter over a doubling delay.
fn retry_delay(tries: u32) -> Duration {
    let delay = RETRY_DELAY_MIN.saturating_mul(1 << tries.min(16)).min(RETRY_DELAY_MAX);
    delay.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// The stable code of a refusal of Twilio's, or of a failure to reach it.
fn code_of(error: &client::Error) -> &'static str {
    match error {
        client::Error::Unreachable { .. } => "twilio_unreachable",
        client::Error::RateLimited(_) => "rate_limited_by_twilio",
        client::Error::CredentialsRejected(_) => "twilio_credentials_rejected",
        _ => "twilio_refused",
    }
}
