//! Sends one message, or says when it will be sent.
//!
//! The message is stored before Twilio is called, in the step that asks for consent, and its outcome after. The
//! StatusCallback URL carries our id: a callback that overtakes Twilio's answer, or follows a crash, finds its
//! message. A call whose answer is lost is never made again here: the message is `unknown`, and [`super::dispatch`]
//! finds out what became of it.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{
    App, DECISIONS_MAX, SEND_TIME_MAX,
    accounts::Account,
    contended,
    content::Content,
    dispatch::{Call, LOST_AFTER},
    limits::COOLDOWN_HELD_MAX,
    query,
};
use crate::{
    domain::{Hold, MessageId, Organization, Outbound, OutboundState, UnixMs, consent::OptedOut},
    store::{self, Gate, NewOutbound, Passed, Step},
    twilio::{
        Address, Channel, MessageSid, MessageStatus, MessagingServiceSid, client, error_code::ErrorCode,
        resource,
    },
};

/// How long a send that Twilio did not process is tried again within the request.
const RETRY_TIME_MAX: Duration = Duration::from_secs(10);

/// The first pause before trying again; each further one may be twice as long.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);

/// The status of a message that Twilio may have or not.
const UNKNOWN: &str = "unknown";

/// How far ahead a message can be scheduled.
pub const SCHEDULE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How far in the past a scheduled time may be, for clocks that differ: such a message is sent at once.
pub const SCHEDULE_PAST_MAX: Duration = Duration::from_secs(60);

/// What to send. `Debug` is left out: it holds a message's text.
#[derive(Clone)]
pub struct Send {
    /// The recipient, whose channel is the message's.
    pub to: Address,
    /// The sender, on the same channel.
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
    /// Where the caller wants to be told of each status, by Twilio's own rules.
    pub status_callback: Option<String>,
    /// The id that the message gets, if it is settled already: then an earlier try of the same request may have stored it.
    pub id: Option<MessageId>,
}

/// A message that Twilio has, or may have, or will have.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Our id.
    pub id: MessageId,
    /// Twilio's; `None` if it waits, or Twilio's answer was lost.
    pub message_sid: Option<MessageSid>,
    /// The recipient.
    pub to: Address,
    /// The sender, once it is known.
    pub from: Option<Address>,
    /// Twilio's status; `held`, `scheduled` or `waiting` if it waits, `unknown` if Twilio's answer was lost.
    pub status: String,
    /// Segments, as we count them.
    pub segments: u32,
    /// When it was asked for.
    pub created_at: UnixMs,
    /// Until when it waits, and why.
    pub held: Option<(UnixMs, Hold)>,
    /// Twilio's own answer, if it gave one.
    pub resource: Option<Box<resource::Message>>,
}

impl Sent {
    /// What became of a message to `to` that an earlier try of the same request has stored.
    fn of(message: query::Message, id: MessageId, to: Address) -> Self {
        let from = message.from.as_deref().and_then(|from| Address::new(message.channel, from).ok());
        let outbound = message.outbound.as_ref();
        Self {
            id,
            message_sid: message.message_sid,
            to,
            from,
            // It may be on its way.
            status: if message.status == "sending" { UNKNOWN.to_owned() } else { message.status },
            segments: outbound.map_or(1, |outbound| outbound.segments),
            created_at: outbound.map_or(0, |outbound| outbound.created_at),
            held: message.held,
            resource: None,
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The organization has no account at Twilio.
    #[error("no Twilio account is configured")]
    NotConfigured,
    /// Neither the send nor the configuration names a sender for this channel.
    #[error("no sender is configured for {0}")]
    NoSender(Channel),
    /// The recipient must not be sent to.
    #[error("the recipient has opted out")]
    OptedOut {
        /// Who refuses.
        by: OptedOut,
        /// On which channel.
        channel: Channel,
        /// Twilio's code, if it was Twilio who told us.
        twilio_code: Option<u32>,
    },
    /// The recipient was sent to a short time ago, and may not be again for longer than a message is held.
    #[error("the recipient was sent to a short time ago")]
    CoolingDown {
        /// Until when.
        until: UnixMs,
    },
    /// The organization has sent as many messages today as it may.
    #[error("the limit of messages per day is reached")]
    DailyLimit,
    /// An earlier try of the same request has been refused.
    #[error("{reason}")]
    RefusedBefore {
        /// The stable code.
        code: String,
        /// Why.
        reason: String,
        /// Twilio's code, if it was Twilio who refused.
        twilio_code: Option<u32>,
    },
    /// Twilio does not have the message.
    #[error(transparent)]
    Twilio(client::Error),
    /// Twilio told us something that the store does not have yet: an opt-out, perhaps.
    #[error("the store does not have everything yet that Twilio told us")]
    CatchingUp,
    /// The store failed before Twilio was called.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A message that has passed, or has been put into the queue.
enum Stored {
    Sending(OutboundState),
    Waiting(UnixMs, Hold),
    /// An earlier try of the same request has stored it.
    Before,
}

impl App {
    /// Sends one message. `Ok` means that Twilio has it, may have it, or will get it; an error, that it does not and
    /// will not.
    pub async fn send(&self, organization: &Organization, send: Send) -> Result<Sent, SendError> {
        if !self.intake.is_clear() {
            return Err(SendError::CatchingUp);
        }
        if let Some(id) = send.id
            && let Some(sent) = self.sent_before(organization, id, &send.to).await?
        {
            return Ok(sent);
        }
        let account = self.accounts.of(organization).ok_or(SendError::NotConfigured)?;
        let (from, messaging_service_sid) =
            sender(&account, send.to.channel(), send.from, send.messaging_service_sid)?;
        let mut outbound = Outbound {
            id: send.id.unwrap_or_else(|| self.new_id(&send.to)),
            to: send.to,
            from,
            messaging_service_sid,
            body_length: send.content.body_length(),
            segments: send.content.segments(),
            media: send.content.media_url.len(),
            category: send.category,
            user_id: send.user_id,
            batch: None,
            status_callback: send.status_callback,
            fallback: None,
            created_at: self.now_ms(),
        };
        let (call, sending) =
            match self.store_send(organization, &mut outbound, &send.content, send.send_at).await? {
                Stored::Waiting(until, reason) => return Ok(waiting(outbound, until, reason)),
                Stored::Before => {
                    let sent = self.sent_before(organization, outbound.id, &outbound.to).await?;
                    return sent.ok_or_else(|| contended().into());
                }
                Stored::Sending(state) => {
                    (Call { account: &account, outbound: &outbound, content: &send.content }, state)
                }
            };
        let result = match self.call_again_while_not_processed(&call).await {
            Ok(result) => result,
            Err(by) => {
                let to = self.refusal("recipient_opted_out", "the recipient has opted out", None);
                let step = Step { from: sending, to, due: None, gate: None };
                self.store.step_outbound(organization, &outbound, &step).await?;
                return Err(SendError::OptedOut { by, channel: outbound.to.channel(), twilio_code: None });
            }
        };
        // The message has left, or has not: that the outcome could not be stored must not make the caller send it
        // again. Its callbacks carry the id and will tell, and so will the queue.
        let stored = self.store_outcome(&call, &sending, &result).await;
        if let Err(error) = &stored {
            tracing::error!(id = %outbound.id, %error, "the outcome of a send could not be stored");
        }
        let (message_sid, status, from, resource) = match result {
            Ok(message) => (
                Some(message.sid.clone()),
                message.status.as_ref().unwrap_or(&MessageStatus::Queued).to_string(),
                message.from.clone().or(outbound.from),
                Some(Box::new(message)),
            ),
            // What is not stored as refused is looked for by the queue, and sent from there.
            Err(error) if error.outcome() == client::Outcome::Ambiguous || stored.is_err() => {
                (None, UNKNOWN.to_owned(), outbound.from, None)
            }
            Err(error) => return Err(refused(error, &outbound)),
        };
        Ok(Sent {
            id: outbound.id,
            message_sid,
            to: outbound.to,
            from,
            status,
            segments: outbound.segments,
            created_at: outbound.created_at,
            held: None,
            resource,
        })
    }

    /// Stores the message, in the same step as its recipient's consent is found to allow it: about to be handed to
    /// Twilio, or to wait until it may be.
    async fn store_send(
        &self,
        organization: &Organization,
        outbound: &mut Outbound,
        content: &Content,
        send_at: Option<UnixMs>,
    ) -> Result<Stored, SendError> {
        let channel = outbound.to.channel();
        let (limits, now) = (&self.settings.limits, self.now_ms());
        let mut hold = match send_at.filter(|&at| at > now) {
            Some(at) => Some((at, Hold::Scheduled)),
            None => limits.hold(outbound, now),
        };
        for _ in 0..DECISIONS_MAX {
            let known = self.store.consent(organization, outbound.to.bare()).await?;
            if let Some(by) = known.consent.refusal(channel) {
                return Err(SendError::OptedOut { by, channel, twilio_code: None });
            }
            let (state, due, cooldown) = match hold {
                Some((until, reason)) => {
                    (OutboundState::Waiting { until, reason, tries: 0 }, until, Duration::ZERO)
                }
                None => {
                    let sending = OutboundState::Sending { since: now, tries: 1 };
                    (sending, now + LOST_AFTER.as_millis() as UnixMs, limits.cooldown(outbound))
                }
            };
            let sealed = content.seal_for(&outbound.id, &self.keys);
            let new = NewOutbound { outbound: outbound.clone(), state, content: Some(sealed), due };
            let gate = Gate { consent: known.version, cooldown, now };
            match self.store.create_outbound(organization, &new, Some(&gate)).await? {
                Passed::Yes => return self.passed(organization, outbound, new.state, hold).await,
                Passed::CoolingDown { until } if until - now > COOLDOWN_HELD_MAX.as_millis() as UnixMs => {
                    return Err(SendError::CoolingDown { until });
                }
                Passed::CoolingDown { until } => hold = Some((until, Hold::Cooldown)),
                // An id is drawn from so many that it is nobody else's: it is this message that is there, by a command
                // that the store's client has repeated, or by another try of the same request.
                Passed::StateChanged => match self.store.outbound(organization, &outbound.id).await? {
                    Some(stored) if stored.outbound == *outbound && stored.state == new.state => {
                        return self.passed(organization, outbound, new.state, hold).await;
                    }
                    Some(_) => return Ok(Stored::Before),
                    None => return Err(contended().into()),
                },
                Passed::ConsentChanged => {}
            }
        }
        Err(contended().into())
    }

    /// A message has been stored. One that is about to leave is counted: beyond the day's limit it does not.
    async fn passed(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        state: OutboundState,
        hold: Option<(UnixMs, Hold)>,
    ) -> Result<Stored, SendError> {
        if let Some((until, reason)) = hold {
            return Ok(Stored::Waiting(until, reason));
        }
        if self.count_of_the_day(organization).await? {
            return Ok(Stored::Sending(state));
        }
        let to = self.refusal_by_daily_limit();
        let step = Step { from: state, to, due: None, gate: None };
        self.store.step_outbound(organization, outbound, &step).await?;
        Err(SendError::DailyLimit)
    }

    /// What became of the message `id`, if an earlier try of the same request has stored it. One that was refused then
    /// is refused again.
    async fn sent_before(
        &self,
        organization: &Organization,
        id: MessageId,
        to: &Address,
    ) -> Result<Option<Sent>, SendError> {
        let Some(message) = self.message_by_id(organization, &id).await? else { return Ok(None) };
        if let Some(stored) = self.store.outbound(organization, &id).await?
            && let OutboundState::Refused { code, reason, twilio_code, .. } = stored.state
        {
            return Err(SendError::RefusedBefore { code, reason, twilio_code });
        }
        Ok(Some(Sent::of(message, id, to.clone())))
    }

    /// Calls Twilio, again only if it is known that it has done nothing with the message, and the recipient may still be
    /// sent to: what Twilio said last, or who has opted the recipient out between two calls.
    async fn call_again_while_not_processed(
        &self,
        call: &Call<'_>,
    ) -> Result<Result<resource::Message, client::Error>, OptedOut> {
        debug_assert!(RETRY_TIME_MAX < SEND_TIME_MAX);
        let give_up = Instant::now() + RETRY_TIME_MAX;
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let error = match self.call_twilio(call).await {
                Err(error) if error.outcome() == client::Outcome::NotProcessed => error,
                result => return Ok(result),
            };
            let jittered = delay.mul_f64(rand::rng().random_range(0.5..1.0));
            let pause = error.retry_after().unwrap_or(jittered);
            if Instant::now() + pause >= give_up {
                return Ok(Err(error));
            }
            tokio::time::sleep(pause).await;
            delay *= 2;
            let (organization, to) = (&call.account.organization, &call.outbound.to);
            match self.store.consent(organization, to.bare()).await {
                Ok(known) if self.intake.is_clear() => {
                    if let Some(by) = known.consent.refusal(to.channel()) {
                        return Err(by);
                    }
                }
                // What the person may have said meanwhile is not known.
                _ => return Ok(Err(error)),
            }
        }
    }
}

/// Who sends: what the call names, else the organization's sender for the channel, else its messaging service.
pub(super) fn sender(
    account: &Account,
    channel: Channel,
    from: Option<Address>,
    messaging_service_sid: Option<MessagingServiceSid>,
) -> Result<(Option<Address>, Option<MessagingServiceSid>), SendError> {
    if from.is_some() || messaging_service_sid.is_some() {
        return Ok((from, messaging_service_sid));
    }
    match (account.settings.sender(channel), &account.settings.messaging_service_sid) {
        (Some(from), _) => Ok((Some(from.clone()), None)),
        (None, Some(service)) => Ok((None, Some(service.clone()))),
        (None, None) => Err(SendError::NoSender(channel)),
    }
}

/// What a caller is told of a message that waits.
fn waiting(outbound: Outbound, until: UnixMs, reason: Hold) -> Sent {
    Sent {
        id: outbound.id,
        message_sid: None,
        to: outbound.to,
        from: outbound.from,
        status: waiting_status(reason).to_owned(),
        segments: outbound.segments,
        created_at: outbound.created_at,
        held: Some((until, reason)),
        resource: None,
    }
}

/// How a message that waits is called.
pub(super) fn waiting_status(reason: Hold) -> &'static str {
    match reason {
        Hold::Scheduled => "scheduled",
        Hold::QuietHours | Hold::Cooldown => "held",
        Hold::Turn | Hold::Retry | Hold::Fallback => "waiting",
    }
}

/// What a caller is told of a refusal.
fn refused(error: client::Error, outbound: &Outbound) -> SendError {
    match error.twilio_code() {
        Some(code) if ErrorCode::new(code).is_opt_out() => SendError::OptedOut {
            by: OptedOut::ByTwilio,
            channel: outbound.to.channel(),
            twilio_code: Some(code),
        },
        _ => SendError::Twilio(error),
    }
}
