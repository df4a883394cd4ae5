//! Sends one message, or says when it will be sent.
//!
//! The message is stored before Twilio is called, in the step that asks for consent, and its outcome after. The
//! StatusCallback URL carries our id: a callback that overtakes Twilio's answer, or follows a crash, finds its
//! message. A call whose answer is lost is never made again here: the message is `unknown`, and [`super::lost_answer`]
//! finds out what became of it.

use std::time::Duration;

use rand::RngExt;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    Outgoing,
    advance::{Advanced, Cleared, Created, Occasion},
    call::Call,
    content::Content,
};
use crate::{
    app::{Scope, accounts::Account, callback_url, contended, reads::messages::Message},
    domain::{
        Hold, MessageId, Outbound, OutboundState, Refusal, Sender, Standing, UnixMs,
        audit::{Entry, Subject},
        consent::NoConsent,
        outgoing::{rule::Circumstances, times},
    },
    store,
    twilio::{
        Address, Channel, MessageSid, MessageStatus, MessagingServiceSid, client, error_code::ErrorCode,
        resource,
    },
};

/// The first pause before trying again; each further one may be twice as long.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);

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
    pub status_callback: Option<SecretString>,
    /// The id that the message gets, if it is settled already: then an earlier try of the same request may have stored it.
    pub id: Option<MessageId>,
    /// Who asks, and what for: stored with the message, whose name it is given unless it is about something else.
    pub entry: Entry,
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
    fn of(message: Message, id: MessageId, to: Address) -> Self {
        let from = message.from.map(|from| from.on(message.channel));
        let outbound = message.outbound.as_ref();
        let is_under_way = message.message_sid.is_none() && message.status == Standing::Sending.as_str();
        Self {
            id,
            message_sid: message.message_sid,
            to,
            from,
            status: if is_under_way { unknown() } else { message.status },
            segments: outbound.map_or(1, |outbound| outbound.segments),
            created_at: outbound.map_or(UnixMs::EPOCH, |outbound| outbound.created_at),
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
    #[error("{}", Refusal::from(*reason).reason())]
    NoConsent {
        /// Why.
        reason: NoConsent,
        /// On which channel.
        channel: Channel,
        /// By whom it would have been sent, if anybody was named.
        sender: Option<Sender>,
        /// Twilio's code, if it was Twilio who told us.
        twilio_code: Option<u32>,
    },
    /// The recipient was sent to a short time ago, and may not be again for longer than a message is held.
    #[error("the recipient was sent to a short time ago")]
    CoolingDown {
        /// Until when.
        until: UnixMs,
    },
    /// The organization has not so many messages left on the day.
    #[error(
        "the limit of messages per day is reached: {left} are left on the day, of {wanted} that are asked for"
    )]
    DailyLimit {
        /// How many were asked for.
        wanted: u64,
        /// How many are left.
        left: u64,
    },
    /// It is refused, or an earlier try of the same request was.
    #[error("{reason}")]
    Refused {
        /// Why.
        code: Refusal,
        /// What was said.
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
    /// What the person said is put aside, since it cannot be stored: it may be a STOP. Nothing was sent.
    #[error("what this person said last cannot be stored")]
    WordPutAside,
    /// The store failed before Twilio was called.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl SendError {
    /// A refusal of our own of which there is nothing more to say.
    pub(super) fn refused(code: Refusal) -> Self {
        Self::Refused { code, reason: code.reason().to_owned(), twilio_code: None }
    }
}

impl Scope<'_, Outgoing> {
    /// Sends one message. `Ok` means that Twilio has it, may have it, or will get it; an error, that it does not and
    /// will not.
    pub async fn send(&self, send: Send) -> Result<Sent, SendError> {
        self.core.store.known().check()?;
        if !self.intake.is_clear() {
            return Err(SendError::CatchingUp);
        }
        if self.intake.holds(self.organization, send.to.bare()) {
            return Err(SendError::WordPutAside);
        }
        if let Some(id) = send.id
            && let Some(sent) = self.sent_before(id, &send.to).await?
        {
            return Ok(sent);
        }
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let (from, messaging_service_sid) =
            sender(&account, send.to.channel(), send.from, send.messaging_service_sid)?;
        let id = send.id.unwrap_or_else(|| self.new_id(&send.to));
        let keys = &self.core.keys;
        let outbound = Outbound {
            id,
            to: send.to,
            from,
            messaging_service_sid,
            body_length: send.content.body_length(),
            segments: send.content.segments(),
            media: send.content.media_url.len(),
            category: send.category,
            user_id: send.user_id,
            batch: None,
            status_callback: send.status_callback.map(|url| callback_url::seal(&url, &id, keys)),
            fallback: None,
            actor: send.entry.agent.principal().cloned(),
            created_at: self.core.now_ms(),
        };
        let mut entry = send.entry;
        entry.subject.get_or_insert(Subject::Message(outbound.id));
        let sealed = send.content.seal_for(&outbound.id, keys);
        let steps = self.steps.of(self.organization);
        let cleared = match steps.create(&outbound, &sealed, send.send_at, &entry).await? {
            Created::Cleared(cleared) => cleared,
            Created::Waiting(until, reason) => return Ok(waiting(outbound, until, reason)),
            Created::Refused { code, circumstances } => {
                return Err(refused(code, &circumstances, &outbound));
            }
            Created::Before => {
                let sent = self.sent_before(outbound.id, &outbound.to).await?;
                return sent.ok_or_else(|| contended().into());
            }
        };
        let call = Call { account: &account, outbound: &outbound, content: &send.content };
        let (cleared, result) = match self.call_while_not_processed(&call, cleared).await? {
            Called::Over(cleared, result) => (cleared, *result),
            Called::Held(until, reason) => return Ok(waiting(outbound, until, reason)),
        };
        // The message has left, or has not: that the outcome could not be stored must not make the caller send it
        // again. Its callbacks carry the id and will tell, and so will the queue.
        let settled = self.settle(&call, &cleared, &result, true).await;
        if let Err(error) = &settled {
            tracing::error!(id = %outbound.id, %error, "the outcome of a send could not be stored");
        }
        let is_refused = matches!(settled, Ok(Advanced::Refused { .. }));
        let (message_sid, status, from, resource) = match result {
            Ok(message) => (
                Some(message.sid.clone()),
                message.status.as_ref().unwrap_or(&MessageStatus::Queued).to_string(),
                message.from.clone().or(outbound.from),
                Some(Box::new(message)),
            ),
            Err(error) if is_refused => return Err(refused_by_twilio(error, &outbound)),
            // What is not stored as refused is looked for by the queue, and sent from there.
            Err(_) => (None, unknown(), outbound.from, None),
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

    /// What became of the message `id`, if an earlier try of the same request has stored it. One that was refused then
    /// is refused again.
    async fn sent_before(&self, id: MessageId, to: &Address) -> Result<Option<Sent>, SendError> {
        let Some(message) = self.reads.of(self.organization).message_by_id(&id).await? else {
            return Ok(None);
        };
        if let Some(stored) = self.core.store.outbound(self.organization, &id).await?
            && let OutboundState::Refused { code, reason, twilio_code, .. } = stored.state
        {
            return Err(SendError::Refused { code, reason, twilio_code });
        }
        Ok(Some(Sent::of(message, id, to.clone())))
    }

    /// Calls Twilio, again only if it is known that it has done nothing with the message, and the recipient may still be
    /// sent to: what Twilio said last.
    async fn call_while_not_processed(
        &self,
        call: &Call<'_>,
        mut cleared: Cleared,
    ) -> Result<Called, SendError> {
        let outbound = call.outbound;
        let give_up = Instant::now() + times::REQUEST_RETRY_TIME_MAX;
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let error = match self.call_twilio(call, &cleared).await {
                Err(error) if error.outcome() == client::Outcome::NotProcessed => error,
                result => return Ok(Called::Over(cleared, Box::new(result))),
            };
            let jittered = delay.mul_f64(rand::rng().random_range(0.5..1.0));
            let pause = error.retry_after().unwrap_or(jittered);
            if Instant::now() + pause >= give_up {
                return Ok(Called::Over(cleared, Box::new(Err(error))));
            }
            tokio::time::sleep(pause).await;
            delay *= 2;
            // What the person may have said meanwhile is not known.
            if !self.intake.is_clear() {
                return Ok(Called::Over(cleared, Box::new(Err(error))));
            }
            match self
                .steps
                .of(self.organization)
                .advance(outbound, cleared.state(), Occasion::CalledAgain, true)
                .await
            {
                Ok(Advanced::Cleared(again)) => cleared = again,
                Ok(Advanced::Refused { code, circumstances }) => {
                    return Err(refused(code, &circumstances, outbound));
                }
                Ok(Advanced::Moved(OutboundState::Waiting { until, reason, .. })) => {
                    return Ok(Called::Held(until, reason));
                }
                Ok(Advanced::Moved(_) | Advanced::Unmoved) | Err(_) => {
                    return Ok(Called::Over(cleared, Box::new(Err(error))));
                }
            }
        }
    }
}

/// How the calls of one request ended.
enum Called {
    /// Twilio said so last.
    Over(Cleared, Box<Result<resource::Message, client::Error>>),
    /// Twilio did nothing with the message, and before the next call it was held back.
    Held(UnixMs, Hold),
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
        status: reason.standing().as_str().to_owned(),
        segments: outbound.segments,
        created_at: outbound.created_at,
        held: Some((until, reason)),
        resource: None,
    }
}

/// The status of a message that Twilio may have or not.
fn unknown() -> String {
    Standing::Unknown.as_str().to_owned()
}

/// What a caller is told of a refusal of our own.
fn refused(code: Refusal, circumstances: &Circumstances, outbound: &Outbound) -> SendError {
    match (code, circumstances) {
        (
            Refusal::RecipientOptedOut | Refusal::OptInRequired,
            Circumstances { no_consent: Some(reason), .. },
        ) => SendError::NoConsent {
            reason: *reason,
            channel: outbound.to.channel(),
            sender: outbound.sender(),
            twilio_code: None,
        },
        (Refusal::RecipientCoolingDown, Circumstances { cooling_until: Some(until), .. }) => {
            SendError::CoolingDown { until: *until }
        }
        (Refusal::DailyLimitReached, _) => SendError::DailyLimit { wanted: 1, left: 0 },
        (code, _) => SendError::refused(code),
    }
}

/// What a caller is told of a refusal of Twilio's.
fn refused_by_twilio(error: client::Error, outbound: &Outbound) -> SendError {
    match error.twilio_code() {
        Some(code) if ErrorCode::new(code).is_opt_out() => SendError::NoConsent {
            reason: NoConsent::BlockedByTwilio,
            channel: outbound.to.channel(),
            sender: outbound.sender(),
            twilio_code: Some(code),
        },
        _ => SendError::Twilio(error),
    }
}
