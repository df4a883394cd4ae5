//! Sending: one message, or one text to many.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Context, Declared, Fields, LargeBody, Read, Request, TEXTS_BYTES_MAX, kinds,
        operations::{self, SendProblems},
        words,
    },
    idempotency::{IdempotencyKey, Outcome, once},
    problem::{Code, Problem},
    time,
};
use crate::{
    app::outgoing::{
        bulk::{self, Bulk, RECIPIENTS_MAX},
        content::Content,
        send::{SCHEDULE_MAX, SCHEDULE_PAST_MAX, Send},
    },
    domain::{BatchId, Hold, MessageId, Refusal, UnixMs, audit::Action},
    phone,
    twilio::{
        Address, Channel, ContentSid, MessageSid, MessagingServiceSid, limits::VALIDITY_PERIOD_S,
        segments::BODY_CHARACTERS_MAX,
    },
};

/// The longest category, and the longest user id, in characters.
const NAME_CHARACTERS_MAX: usize = 255;

/// Sends an SMS or MMS.
///
/// The message is stored before Twilio is called, so that it is never sent twice. With 201 Twilio has it; with 202 it
/// waits (see `reason`), or Twilio's answer was lost and is looked for.
#[utoipa::path(
    post, path = "/api/sms/send", tags = [operations::TAG, operations::SENDING], operation_id = "sendSms", params(IdempotencyKey),
    request_body = SendRequest,
    responses(SendProblems, (status = 201, body = Sent, description = "Twilio has it"),
        (status = 202, body = Sent, description = "it waits, or Twilio's answer was lost")),
)]
pub async fn send(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<TEXTS_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    send_over(Channel::Sms, "send", state, caller, key, body).await
}

/// Sends a message over WhatsApp.
///
/// As the send by SMS. Outside of a conversation window of 24 hours Twilio takes only templates: give `content_sid`.
#[utoipa::path(
    post, path = "/api/sms/whatsapp/send", tags = [operations::TAG, operations::SENDING], operation_id = "sendWhatsapp", params(IdempotencyKey),
    request_body = SendRequest,
    responses(SendProblems, (status = 201, body = Sent, description = "Twilio has it"),
        (status = 202, body = Sent, description = "it waits, or Twilio's answer was lost")),
)]
pub async fn send_whatsapp(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<TEXTS_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    send_over(Channel::Whatsapp, "whatsapp/send", state, caller, key, body).await
}

/// Sends one SMS or MMS to many.
///
/// Each number is sent to once. The answer comes when the messages are stored; they leave from the queue at the pace
/// that the sender is allowed, and the batch tells how far they are.
#[utoipa::path(
    post, path = "/api/sms/send-bulk", tags = [operations::TAG, operations::SENDING], operation_id = "sendBulkSms", params(IdempotencyKey),
    request_body = BulkRequest,
    responses(SendProblems, (status = 202, body = BulkAccepted, description = "it leaves from the queue")),
)]
pub async fn send_bulk(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: LargeBody,
) -> Result<HttpResponse, Problem> {
    send_bulk_over(Channel::Sms, "send-bulk", state, caller, key, body).await
}

/// Sends one message to many over WhatsApp.
///
/// As the batch by SMS. Outside of a conversation window of 24 hours Twilio takes only templates: give `content_sid`.
#[utoipa::path(
    post, path = "/api/sms/whatsapp/send-bulk", tags = [operations::TAG, operations::SENDING], operation_id = "sendBulkWhatsapp", params(IdempotencyKey),
    request_body = BulkRequest,
    responses(SendProblems, (status = 202, body = BulkAccepted, description = "it leaves from the queue")),
)]
pub async fn send_bulk_whatsapp(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: LargeBody,
) -> Result<HttpResponse, Problem> {
    send_bulk_over(Channel::Whatsapp, "whatsapp/send-bulk", state, caller, key, body).await
}

async fn send_over(
    channel: Channel,
    route: &'static str,
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: Body<TEXTS_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let digest = body.digest();
    let context = Context { channel, ..state.context() };
    let SendRequest { to_number, options } = body.read(&context)?;
    let mut send = Send {
        to: phone::recipient(channel, &to_number, context.region).map_err(Problem::invalid_phone_number)?,
        from: options.from,
        messaging_service_sid: options.messaging_service_sid,
        content: options.content,
        send_at: options.send_at,
        category: options.category,
        user_id: options.user_id,
        status_callback: None,
        id: None,
        entry: caller.origin().entry(Action::MessageSend),
    };
    let organization = caller.organization.clone();
    once(state.clone(), &caller, route, key, digest, async move |seed| {
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
    #[schema(value_type = words::Channel)]
    channel: Channel,
    /// Twilio's status; `scheduled`, `held` or `unknown` with 202.
    #[schema(example = "queued")]
    status: String,
    #[schema(format = DateTime)]
    held_until: Option<String>,
    #[schema(value_type = Option<words::Reason>)]
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
    /// `invalid_phone_number`, `recipient_opted_out`, `opt_in_required`, `country_not_allowed`, `number_type_not_allowed` or
    /// `recipient_unreachable`.
    code: &'static str,
    detail: String,
}

/// What a batch's request says.
struct ReadBulk {
    digest: String,
    to: Vec<Address>,
    rejected: Vec<Rejected>,
    options: Options,
}

fn read_bulk(body: LargeBody, context: &Context) -> Result<ReadBulk, Problem> {
    let body = body.parse()?;
    let digest = body.digest();
    let BulkRequest { phone_numbers, options } = body.read(context)?;
    let (mut to, mut rejected) = (Vec::with_capacity(phone_numbers.len()), Vec::new());
    for typed in phone_numbers {
        match phone::recipient(context.channel, &typed, context.region) {
            Ok(address) => to.push(address),
            Err(error) => rejected.push(Rejected {
                code: Code::InvalidPhoneNumber.as_str(),
                detail: error.to_string(),
                to_number: typed.chars().take(NAME_CHARACTERS_MAX).collect(),
            }),
        }
    }
    Ok(ReadBulk { digest, to: bulk::each_once(to), rejected, options })
}

async fn send_bulk_over(
    channel: Channel,
    route: &'static str,
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: LargeBody,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let queued = state.heavy.queue(&caller.organization, body.size())?;
    let context = Context { channel, ..state.context() };
    let read = queued.run(move || async move { read_bulk(body, &context) });
    let ReadBulk { digest, to, mut rejected, options } = read.await?;
    let (organization, by) = (caller.organization.clone(), caller.origin());
    once(state.clone(), &caller, route, key, digest, async move |seed| {
        let bulk = Bulk {
            to,
            channel,
            from: options.from,
            messaging_service_sid: options.messaging_service_sid,
            content: options.content,
            send_at: options.send_at,
            category: options.category,
            user_id: options.user_id,
            id: seed.map(|seed| seed.batch_id()),
            by,
        };
        let accepting = queued.run({
            let (app, organization) = (state.app.clone(), organization.clone());
            move || async move { app.outgoing.of(&organization).send_bulk(bulk).await }
        });
        let accepted = accepting.await?;
        let not_accepted = |recipients: &[Address], code: Code, detail: &str| -> Vec<Rejected> {
            let one = |recipient: &Address| Rejected {
                to_number: recipient.bare().as_str().to_owned(),
                code: code.as_str(),
                detail: detail.to_owned(),
            };
            recipients.iter().map(one).collect()
        };
        let detail = format!("the recipient has opted out of {channel}");
        rejected.extend(not_accepted(&accepted.rejected.opted_out, Code::RecipientOptedOut, &detail));
        let detail = format!("the recipient has not opted in to {channel}");
        rejected.extend(not_accepted(&accepted.rejected.not_opted_in, Code::OptInRequired, &detail));
        let bulk::Rejected { country_not_allowed, number_type_not_allowed, unreachable, .. } =
            &accepted.rejected;
        for (recipients, refusal) in [
            (country_not_allowed, Refusal::CountryNotAllowed),
            (number_type_not_allowed, Refusal::NumberTypeNotAllowed),
            (unreachable, Refusal::RecipientUnreachable),
        ] {
            rejected.extend(not_accepted(recipients, refusal.into(), refusal.reason()));
        }
        let total = accepted.accepted + rejected.len();
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

/// A request to send to one person.
pub struct SendRequest {
    to_number: String,
    options: Options,
}

impl Request for SendRequest {
    const NAME: &'static str = "SendRequest";
    const MEANING: &'static str =
        "A message to one person. One of `message`, `media_url` and `content_sid` has to be given.";

    fn example() -> Option<Value> {
        Some(json!({ "to_number": "+14155552671", "message": "Your inspection is due tomorrow." }))
    }
}

impl Declared for SendRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let to_number = fields.required(
            "to_number",
            "The recipient: E.164, or a number of the default region; over SMS a short code too, over WhatsApp a user id, with or without `whatsapp:`.",
            kinds::typed_phone_number(),
        );
        let options = options(fields);
        Ok(Self { to_number: to_number?, options: options? })
    }
}

/// A request to send to many.
pub struct BulkRequest {
    phone_numbers: Vec<String>,
    options: Options,
}

impl Request for BulkRequest {
    const NAME: &'static str = "BulkRequest";
    const MEANING: &'static str =
        "A message to many. One of `message`, `media_url` and `content_sid` has to be given.";

    fn example() -> Option<Value> {
        Some(json!({
            "phone_numbers": ["+14155552671", "+14155552672"],
            "message": "The site is closed today.",
        }))
    }
}

impl Declared for BulkRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let phone_numbers = fields.required(
            "phone_numbers",
            "The recipients; each is sent to once.",
            kinds::list(1..=RECIPIENTS_MAX, kinds::any_text()),
        );
        let options = options(fields);
        Ok(Self { phone_numbers: phone_numbers?, options: options? })
    }
}

contract::request_body!(SendRequest, BulkRequest);

/// What one message and many have in common.
struct Options {
    from: Option<Address>,
    messaging_service_sid: Option<MessagingServiceSid>,
    content: Content,
    send_at: Option<UnixMs>,
    category: Option<String>,
    user_id: Option<String>,
}

fn options(fields: &mut impl Fields) -> Read<Options> {
    let channel = fields.context().channel;
    let from =
        fields.optional("from_number", "The sender, instead of the configured one.", kinds::sender(channel));
    let messaging_service_sid = fields.optional(
        "messaging_service_sid",
        "The messaging service that chooses the sender.",
        kinds::sid("MG", MessagingServiceSid::parse),
    );
    let content = content(fields);
    let validity_period_s = fields.optional(
        "validity_period",
        "Seconds the message may wait at Twilio.",
        kinds::number(VALIDITY_PERIOD_S),
    );
    let send_at = fields.optional(
        "send_at",
        "Not before this time (RFC 3339). A time that has just passed is now.",
        kinds::time_within(SCHEDULE_PAST_MAX, SCHEDULE_MAX),
    );
    let name = || kinds::text(0..=NAME_CHARACTERS_MAX);
    let category = fields.optional(
        "category",
        "What it is about; `emergency` goes first and is held back by nothing but consent.",
        name(),
    );
    let user_id = fields.optional("user_id", "Your user it is for.", name());
    Ok(Options {
        from: from?,
        messaging_service_sid: messaging_service_sid?,
        content: Content { validity_period_s: validity_period_s?, ..content? },
        send_at: send_at?,
        category: non_empty(category?),
        user_id: non_empty(user_id?),
    })
}

/// What is to be sent: a text, media, a template.
pub(super) fn content(fields: &mut impl Fields) -> Read<Content> {
    let body = fields.optional("message", "The text.", kinds::text(0..=BODY_CHARACTERS_MAX)).map(non_empty);
    let media_url = fields.optional(
        "media_url",
        "Public https URLs of media, which Twilio fetches: one, or a list.",
        kinds::media_urls(),
    );
    let content_sid =
        fields.optional("content_sid", "A content template.", kinds::sid("HX", ContentSid::parse));
    let content_variables = fields.optional(
        "content_variables",
        "The template's variables: an object, or its JSON as text.",
        kinds::json_object(),
    );
    let has_media = contract::value(&media_url).is_some_and(|urls| !urls.is_empty());
    if contract::value(&body).is_none() && contract::value(&content_sid).is_none() && !has_media {
        fields.fault("message", "must be given, unless media_url or content_sid is");
    }
    if contract::value(&content_variables).is_some() && content_sid == Ok(None) {
        fields.fault("content_variables", "needs content_sid");
    }
    Ok(Content {
        body: body?,
        media_url: media_url?.unwrap_or_default(),
        content_sid: content_sid?,
        content_variables: content_variables?,
        validity_period_s: None,
        other: Vec::new(),
    })
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
