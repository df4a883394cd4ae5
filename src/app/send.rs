//! Hands one message to Twilio, and says honestly what became of it.
//!
//! The message is stored before Twilio is called, in the step that asks for consent, and its outcome after. The
//! StatusCallback URL carries our id: a callback that overtakes Twilio's answer, or follows a crash, finds its
//! message. A call whose answer is lost is never made again here; the message is `unknown` until a callback tells.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{App, DECISIONS_MAX, accounts::Account, contended};
use crate::{
    domain::{
        MessageId, Organization, Outbound, OutboundState, Source, StatusChange, UnixMs,
        consent::{ConsentSource, OptedOut},
    },
    store::{self, OutboundCreated},
    twilio::{
        Address, Channel, ContentSid, MessageSid, MessageStatus, MessagingServiceSid,
        client::{self, Outcome},
        error_code::ErrorCode,
        resource::{self, CreateMessage},
        segments,
    },
};

/// How long a send that Twilio did not process is tried again within the request.
const RETRY_TIME_MAX: Duration = Duration::from_secs(10);

/// The first pause before trying again; each further one may be twice as long.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);

/// What to send. `Debug` is left out: it holds a message's text.
#[derive(Clone)]
pub struct Send {
    /// The recipient, whose channel is the message's.
    pub to: Address,
    /// The sender, on the same channel.
    pub from: Option<Address>,
    /// The messaging service that chooses the sender.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// The text.
    pub body: Option<String>,
    /// URLs of media that Twilio fetches.
    pub media_url: Vec<String>,
    /// A content template.
    pub content_sid: Option<ContentSid>,
    /// The template's variables: a JSON object, as text.
    pub content_variables: Option<String>,
    /// Seconds the message may wait at Twilio.
    pub validity_period_s: Option<u32>,
    /// What it is about.
    pub category: Option<String>,
    /// The caller's user it is for.
    pub user_id: Option<String>,
}

/// A message that Twilio has, or may have.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Our id.
    pub id: MessageId,
    /// Twilio's; `None` if its answer was lost.
    pub message_sid: Option<MessageSid>,
    /// The recipient.
    pub to: Address,
    /// The sender, once it is known.
    pub from: Option<Address>,
    /// Twilio's status, or `unknown` if its answer was lost.
    pub status: String,
    /// Segments, as we count them.
    pub segments: u32,
    /// When it was asked for.
    pub created_at: UnixMs,
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

impl App {
    /// Sends one message. `Ok` means that Twilio has it, or may have it; an error, that it does not.
    pub async fn send(&self, organization: &Organization, send: Send) -> Result<Sent, SendError> {
        if !self.intake.is_clear() {
            return Err(SendError::CatchingUp);
        }
        let account = self.accounts.of(organization).ok_or(SendError::NotConfigured)?;
        let (from, messaging_service_sid) = sender(&account, &send)?;
        let mut outbound = Outbound {
            id: self.new_id(&send.to),
            to: send.to,
            from,
            messaging_service_sid,
            body_length: send.body.as_deref().map_or(0, |body| body.chars().count()),
            segments: send.body.as_deref().map_or(1, |body| segments::count(body).segments as u32),
            media: send.media_url.len(),
            category: send.category,
            user_id: send.user_id,
            created_at: self.now_ms(),
        };
        self.store_intent(organization, &mut outbound).await?;
        let create = CreateMessage {
            to: outbound.to.clone(),
            from: outbound.from.clone(),
            messaging_service_sid: outbound.messaging_service_sid.clone(),
            body: send.body,
            media_url: send.media_url,
            content_sid: send.content_sid,
            content_variables: send.content_variables,
            validity_period_s: send.validity_period_s,
            status_callback: Some(self.status_callback_url(&outbound.id)),
        };
        let result = self.call_twilio(&account, &create).await;
        let (message_sid, status, from) = match &result {
            Ok(message) => (
                Some(message.sid.clone()),
                status_of(message),
                message.from.clone().or(outbound.from.clone()),
            ),
            Err(error) if error.outcome() == Outcome::Ambiguous => {
                (None, "unknown".to_owned(), outbound.from.clone())
            }
            Err(_) => (None, String::new(), None),
        };
        // The message has left, or has not: that the outcome could not be stored must not make the caller send it
        // again. Its callbacks carry the id and will tell.
        if let Err(error) = self.store_outcome(organization, &outbound, &result).await {
            tracing::error!(id = %outbound.id, %error, "the outcome of a send could not be stored");
        }
        match result {
            Err(error) if error.outcome() != Outcome::Ambiguous => Err(refused(error, &outbound)),
            _ => Ok(Sent {
                id: outbound.id,
                message_sid,
                to: outbound.to,
                from,
                status,
                segments: outbound.segments,
                created_at: outbound.created_at,
            }),
        }
    }

    /// The URL by which a callback finds the message `id`.
    fn status_callback_url(&self, id: &MessageId) -> String {
        let overrides = &self.settings.callback_overrides;
        let fragment = if overrides.is_empty() { String::new() } else { format!("#{overrides}") };
        format!("{}/webhooks/twilio/status?id={id}{fragment}", self.settings.public_url)
    }

    /// Stores the message, in the same step as its recipient's consent is found to allow it.
    async fn store_intent(
        &self,
        organization: &Organization,
        outbound: &mut Outbound,
    ) -> Result<(), SendError> {
        let channel = outbound.to.channel();
        for _ in 0..DECISIONS_MAX {
            let known = self.store.consent(organization, outbound.to.bare()).await?;
            if let Some(by) = known.consent.refusal(channel) {
                return Err(SendError::OptedOut { by, channel, twilio_code: None });
            }
            match self.store.create_outbound(organization, outbound, &known.version).await? {
                OutboundCreated::Created => return Ok(()),
                OutboundCreated::Conflict => outbound.id = self.new_id(&outbound.to),
            }
        }
        Err(contended().into())
    }

    /// Calls Twilio, again only if it is known that it has done nothing with the message.
    async fn call_twilio(
        &self,
        account: &Account,
        create: &CreateMessage,
    ) -> Result<resource::Message, client::Error> {
        let give_up = Instant::now() + RETRY_TIME_MAX;
        let mut delay = RETRY_DELAY_MIN;
        loop {
            let error = match self.twilio.create_message(&account.credentials, create).await {
                Err(error) if error.outcome() == Outcome::NotProcessed => error,
                result => return result,
            };
            let jittered = delay.mul_f64(rand::rng().random_range(0.5..1.0));
            let pause = error.retry_after().unwrap_or(jittered);
            if Instant::now() + pause >= give_up {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            delay *= 2;
        }
    }

    async fn store_outcome(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        result: &Result<resource::Message, client::Error>,
    ) -> Result<(), store::Error> {
        let state = match result {
            Ok(message) => {
                let change = StatusChange {
                    sid: message.sid.clone(),
                    id: Some(outbound.id),
                    status: message.status.clone().unwrap_or(MessageStatus::Queued),
                    error_code: message.error_code,
                    channel: outbound.to.channel(),
                    to: outbound.to.bare().to_owned(),
                    from: message
                        .from
                        .as_ref()
                        .or(outbound.from.as_ref())
                        .map(|from| from.bare().to_owned())
                        .unwrap_or_default(),
                    batch: None,
                    source: Source::Api,
                    at: self.now_ms(),
                    ask_at: self.first_asked_at(self.now_ms()),
                    raw: Vec::new(),
                };
                self.store.record_status(organization, change).await?;
                OutboundState::Accepted { message_sid: message.sid.clone() }
            }
            Err(error) if error.outcome() == Outcome::Ambiguous => OutboundState::Unknown,
            Err(error) => {
                OutboundState::Refused { reason: error.to_string(), twilio_code: error.twilio_code() }
            }
        };
        self.store.resolve_outbound(organization, &outbound.id, &state).await?;
        if let Err(error) = result
            && let Some(source) = error.twilio_code().and_then(ConsentSource::of_error)
        {
            self.opt_out_by_error(organization, &outbound.to, source, None).await?;
        }
        Ok(())
    }
}

/// Who sends: what the call names, else the organization's sender for the channel, else its messaging service.
fn sender(
    account: &Account,
    send: &Send,
) -> Result<(Option<Address>, Option<MessagingServiceSid>), SendError> {
    if send.from.is_some() || send.messaging_service_sid.is_some() {
        return Ok((send.from.clone(), send.messaging_service_sid.clone()));
    }
    let channel = send.to.channel();
    match (account.sender(channel), &account.messaging_service_sid) {
        (Some(from), _) => Ok((Some(from.clone()), None)),
        (None, Some(service)) => Ok((None, Some(service.clone()))),
        (None, None) => Err(SendError::NoSender(channel)),
    }
}

fn status_of(message: &resource::Message) -> String {
    message.status.as_ref().unwrap_or(&MessageStatus::Queued).to_string()
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
