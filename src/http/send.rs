//! Sending: one message, or one text to many.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    fields::Fields,
    idempotency::{IdempotencyKey, Outcome, once},
    openapi::{self, IdempotencyHeader, SendProblems},
    problem::{Code, Problem},
    time,
};
use crate::{
    app::outgoing::{
        bulk::{self, Bulk, RECIPIENTS_MAX},
        content::Content,
        send::{SCHEDULE_MAX, SCHEDULE_PAST_MAX, Send},
    },
    domain::{BatchId, Hold, MessageId, UnixMs},
    phone,
    public_host::check_media_url,
    twilio::{Address, Channel, MessageSid, MessagingServiceSid, segments, sid::ContentSid},
};

/// The most media files with one message. Source: <https://www.twilio.com/docs/messaging/api/message-resource>.
const MEDIA_MAX: usize = 10;

/// The longest a message may wait at Twilio, in seconds.
const VALIDITY_PERIOD_S_MAX: u32 = 36_000;

/// The longest category, and the longest user id, in characters.
const NAME_CHARACTERS_MAX: usize = 255;

/// Sends an SMS or MMS.
///
/// The message is stored before Twilio is called, so that it is never sent twice. With 201 Twilio has it; with 202 it
/// waits (see `reason`), or Twilio's answer was lost and is looked for.
#[utoipa::path(
    post, path = "/api/sms/send", tags = [openapi::TAG, openapi::SENDING], operation_id = "sendSms", params(IdempotencyHeader),
    request_body = openapi::SendRequest,
    responses(SendProblems, (status = 201, body = Sent, description = "Twilio has it"),
        (status = 202, body = Sent, description = "it waits, or Twilio's answer was lost")),
)]
pub async fn send(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    send_over(Channel::Sms, "send", state, caller, key, fields).await
}

/// Sends a message over WhatsApp.
///
/// As the send by SMS. Outside of a conversation window of 24 hours Twilio takes only templates: give `content_sid`.
#[utoipa::path(
    post, path = "/api/sms/whatsapp/send", tags = [openapi::TAG, openapi::SENDING], operation_id = "sendWhatsapp", params(IdempotencyHeader),
    request_body = openapi::SendRequest,
    responses(SendProblems, (status = 201, body = Sent, description = "Twilio has it"),
        (status = 202, body = Sent, description = "it waits, or Twilio's answer was lost")),
)]
pub async fn send_whatsapp(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    send_over(Channel::Whatsapp, "whatsapp/send", state, caller, key, fields).await
}

/// Sends one SMS or MMS to many.
///
/// Each number is sent to once. The answer comes when the messages are stored; they leave from the queue at the pace
/// that the sender is allowed, and the batch tells how far they are.
#[utoipa::path(
    post, path = "/api/sms/send-bulk", tags = [openapi::TAG, openapi::SENDING], operation_id = "sendBulkSms", params(IdempotencyHeader),
    request_body = openapi::BulkRequest,
    responses(SendProblems, (status = 202, body = BulkAccepted, description = "it leaves from the queue")),
)]
pub async fn send_bulk(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    send_bulk_over(Channel::Sms, "send-bulk", state, caller, key, fields).await
}

/// Sends one message to many over WhatsApp.
///
/// As the batch by SMS. Outside of a conversation window of 24 hours Twilio takes only templates: give `content_sid`.
#[utoipa::path(
    post, path = "/api/sms/whatsapp/send-bulk", tags = [openapi::TAG, openapi::SENDING], operation_id = "sendBulkWhatsapp", params(IdempotencyHeader),
    request_body = openapi::BulkRequest,
    responses(SendProblems, (status = 202, body = BulkAccepted, description = "it leaves from the queue")),
)]
pub async fn send_bulk_whatsapp(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    send_bulk_over(Channel::Whatsapp, "whatsapp/send-bulk", state, caller, key, fields).await
}

async fn send_over(
    channel: Channel,
    route: &'static str,
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let fingerprint = fields.fingerprint();
    let mut send = read_send(channel, fields, state.app.settings().default_region, state.app.now_ms())?;
    let organization = caller.organization.clone();
    once(state.clone(), &caller, route, key, fingerprint, async move |seed| {
        send.id = seed.map(|seed| seed.message_id(state.app.store().as_ref(), &send.to, ""));
        let (to, media) = (send.to.to_string(), send.content.media_url.len());
        let result = state.app.outgoing.of(&organization).send(send).await;
        match &result {
            Ok(sent) => tracing::info!(
                %organization, id = %sent.id, to, media,
                message_sid = sent.message_sid.as_ref().map(tracing::field::display), status = sent.status,
                segments = sent.segments, "message sent"
            ),
            Err(error) => tracing::warn!(%organization, to, media, %error, "message not sent"),
        }
        let sent = result?;
        let status = if sent.message_sid.is_some() { StatusCode::CREATED } else { StatusCode::ACCEPTED };
        let body = Sent {
            id: sent.id,
            message_sid: sent.message_sid,
            to: sent.to.bare().as_str().to_owned(),
            from: sent.from.map(|from| from.bare().as_str().to_owned()),
            channel,
            status: sent.status,
            held_until: sent.held.map(|(until, _)| time(until)),
            reason: sent.held.map(|(_, reason)| reason),
            segments: sent.segments,
            created_at: time(sent.created_at),
        };
        Ok(Outcome::new(status, &body))
    })
    .await
}

/// A message that Twilio has, or will get.
#[derive(Debug, Serialize, ToSchema)]
struct Sent {
    /// textledger's own id.
    #[schema(value_type = String, example = "0000000000000abc")]
    id: MessageId,
    /// Null if the message waits, or Twilio's answer was lost.
    #[schema(value_type = Option<String>, example = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    message_sid: Option<MessageSid>,
    to: String,
    from: Option<String>,
    #[schema(value_type = openapi::Channel)]
    channel: Channel,
    /// Twilio's status; `scheduled`, `held` or `unknown` with 202.
    #[schema(example = "queued")]
    status: String,
    #[schema(format = DateTime)]
    held_until: Option<String>,
    #[schema(value_type = Option<openapi::Reason>)]
    reason: Option<Hold>,
    /// As we count them: Twilio's own count decides the bill.
    segments: u32,
    #[schema(format = DateTime)]
    created_at: String,
}

/// A batch that was accepted.
#[derive(Debug, Serialize, ToSchema)]
struct BulkAccepted {
    #[schema(value_type = String, example = "b00000000000000000abc")]
    batch_id: BatchId,
    /// Recipients of the request, each once.
    total: usize,
    accepted: usize,
    rejected: Vec<Rejected>,
}

/// A recipient that is not sent to.
#[derive(Debug, Serialize, ToSchema)]
struct Rejected {
    to_number: String,
    /// `invalid_phone_number` or `recipient_opted_out`.
    code: &'static str,
    detail: String,
}

async fn send_bulk_over(
    channel: Channel,
    route: &'static str,
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let fingerprint = fields.fingerprint();
    let region = state.app.settings().default_region;
    let typed = fields.take_list("phone_numbers", RECIPIENTS_MAX);
    if typed.is_empty() {
        fields.fault("phone_numbers", format!("must hold 1 to {RECIPIENTS_MAX} numbers"));
    }
    let options = read_options(channel, &mut fields, state.app.now_ms());
    fields.finish()?;
    let (mut to, mut rejected) = (Vec::with_capacity(typed.len()), Vec::new());
    for typed in typed {
        match recipient(channel, &typed, region) {
            Ok(address) => to.push(address),
            Err(error) => rejected.push(Rejected {
                code: Code::InvalidPhoneNumber.as_str(),
                detail: error.to_string(),
                to_number: typed.chars().take(NAME_CHARACTERS_MAX).collect(),
            }),
        }
    }
    let organization = caller.organization.clone();
    once(state.clone(), &caller, route, key, fingerprint, async move |seed| {
        let to = bulk::each_once(to);
        let total = to.len() + rejected.len();
        let accepted = state
            .app
            .outgoing
            .of(&organization)
            .send_bulk(Bulk {
                to,
                channel,
                from: options.from,
                messaging_service_sid: options.messaging_service_sid,
                content: options.content,
                send_at: options.send_at,
                category: options.category,
                user_id: options.user_id,
                id: seed.map(|seed| seed.batch_id()),
            })
            .await?;
        rejected.extend(accepted.opted_out.iter().map(|recipient| Rejected {
            to_number: recipient.bare().as_str().to_owned(),
            code: Code::RecipientOptedOut.as_str(),
            detail: format!("the recipient has opted out of {channel}"),
        }));
        tracing::info!(
            %organization, batch = %accepted.id, total, accepted = accepted.accepted, rejected = rejected.len(),
            "batch accepted"
        );
        let (batch_id, accepted) = (accepted.id, accepted.accepted);
        let body = BulkAccepted { batch_id, total, accepted, rejected };
        Ok(Outcome::new(StatusCode::ACCEPTED, &body))
    })
    .await
}

/// What one message and many have in common.
struct Options {
    from: Option<Address>,
    messaging_service_sid: Option<MessagingServiceSid>,
    content: Content,
    send_at: Option<UnixMs>,
    category: Option<String>,
    user_id: Option<String>,
}

/// Reads a send, reporting every fault at once; a number that is none has a problem of its own.
fn read_send(
    channel: Channel,
    mut fields: Fields,
    region: Option<phone::Region>,
    now: UnixMs,
) -> Result<Send, Problem> {
    let to = fields.require_text("to_number");
    let options = read_options(channel, &mut fields, now);
    fields.finish()?;
    let to = recipient(channel, &to, region).map_err(Problem::invalid_phone_number)?;
    Ok(Send {
        to,
        from: options.from,
        messaging_service_sid: options.messaging_service_sid,
        content: options.content,
        send_at: options.send_at,
        category: options.category,
        user_id: options.user_id,
        status_callback: None,
        id: None,
    })
}

fn read_options(channel: Channel, fields: &mut Fields, now: UnixMs) -> Options {
    let from = fields.take("from_number", |text| sender(channel, text));
    Options {
        from,
        messaging_service_sid: fields.take("messaging_service_sid", MessagingServiceSid::parse),
        content: Content {
            validity_period_s: fields.take_number("validity_period", 1..=VALIDITY_PERIOD_S_MAX),
            ..read_content(fields)
        },
        send_at: read_send_at(fields, now),
        category: read_name(fields, "category"),
        user_id: read_name(fields, "user_id"),
    }
}

/// Reads what is to be sent: a text, media, a template.
pub(super) fn read_content(fields: &mut Fields) -> Content {
    let content_sid = fields.take("content_sid", ContentSid::parse);
    let content_variables = fields.take_json("content_variables");
    let media_url = fields.take_texts("media_url", MEDIA_MAX);
    let body = fields.take_text("message").filter(|body| !body.is_empty());
    if body.is_none() && content_sid.is_none() && media_url.is_empty() {
        fields.fault("message", "must be given, unless media_url or content_sid is");
    }
    let length = body.as_deref().map_or(0, |body| body.chars().count());
    if length > segments::BODY_CHARACTERS_MAX {
        let max = segments::BODY_CHARACTERS_MAX;
        fields.fault("message", format!("has {length} characters, of at most {max}"));
    }
    if content_variables.is_some() && content_sid.is_none() {
        fields.fault("content_variables", "needs content_sid");
    }
    if let Some(refusal) = media_url.iter().find_map(|url| check_media_url(url).err()) {
        fields.fault("media_url", refusal.to_string());
    }
    Content { body, media_url, content_sid, content_variables, validity_period_s: None, other: Vec::new() }
}

/// When the message is to leave: a time that has just passed is now, an older one a mistake.
fn read_send_at(fields: &mut Fields, now: UnixMs) -> Option<UnixMs> {
    let at = fields.take_time("send_at")?;
    if at + SCHEDULE_PAST_MAX < now {
        fields.fault("send_at", "must not be in the past");
    }
    if at > now + SCHEDULE_MAX {
        fields.fault("send_at", format!("must be within {} days", SCHEDULE_MAX.as_secs() / 86_400));
    }
    Some(at)
}

fn read_name(fields: &mut Fields, field: &str) -> Option<String> {
    let name = fields.take_text(field)?;
    if name.chars().count() > NAME_CHARACTERS_MAX {
        fields.fault(field, format!("must have at most {NAME_CHARACTERS_MAX} characters"));
    }
    Some(name).filter(|name| !name.is_empty())
}

/// A recipient: a number, over WhatsApp with or without the channel's prefix.
fn recipient(
    channel: Channel,
    typed: &str,
    region: Option<phone::Region>,
) -> Result<Address, phone::InvalidPhoneNumber> {
    let bare = typed.strip_prefix("whatsapp:").filter(|_| channel == Channel::Whatsapp).unwrap_or(typed);
    Ok(phone::normalize(bare, region)?.on(channel))
}

/// A sender: a number, or over SMS a short code or an alphanumeric name too.
fn sender(channel: Channel, text: &str) -> Result<Address, String> {
    let bare = text.strip_prefix("whatsapp:").filter(|_| channel == Channel::Whatsapp).unwrap_or(text);
    let address = Address::new(channel, bare.trim()).map_err(|error| error.to_string())?;
    if address.bare().starts_with('+') && !address.is_e164() {
        return Err("is not a number in E.164 form, such as +15005550006".to_owned());
    }
    Ok(address)
}
