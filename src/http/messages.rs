//! Sending, and what became of it.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde_json::{Map, Value, json};

use super::{
    State,
    auth::{Caller, Right},
    fields::Fields,
    problem::Problem,
    time,
};
use crate::{
    app::{content::Content, query::Message, send::Send},
    domain::{BatchId, MessageId},
    phone,
    twilio::{
        Address, Channel, MessageSid, MessageStatus, MessagingServiceSid, error_code::ErrorCode, segments,
        sid::ContentSid,
    },
};

/// The most media files with one message. Source: <https://www.twilio.com/docs/messaging/api/message-resource>.
const MEDIA_MAX: usize = 10;

/// The longest a message may wait at Twilio, in seconds.
const VALIDITY_PERIOD_S_MAX: u32 = 36_000;

/// `POST /api/sms/send`.
pub async fn send(state: web::Data<State>, caller: Caller, fields: Fields) -> Result<HttpResponse, Problem> {
    send_over(Channel::Sms, state, caller, fields).await
}

/// `POST /api/sms/whatsapp/send`.
pub async fn send_whatsapp(
    state: web::Data<State>,
    caller: Caller,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    send_over(Channel::Whatsapp, state, caller, fields).await
}

async fn send_over(
    channel: Channel,
    state: web::Data<State>,
    caller: Caller,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let send = read_send(channel, fields, state.app.settings().default_region)?;
    let (to, media) = (send.to.to_string(), send.content.media_url.len());
    // A caller that hangs up must not stop a call to Twilio half-way.
    let result = {
        let (state, organization) = (state.clone(), caller.organization.clone());
        actix_web::rt::spawn(async move { state.app.send(&organization, send).await }).await
    };
    let result = result.expect("sending does not panic and is not aborted");
    match &result {
        Ok(sent) => tracing::info!(
            organization = %caller.organization, id = %sent.id, to, media,
            message_sid = sent.message_sid.as_ref().map(tracing::field::display), status = sent.status,
            segments = sent.segments, "message sent"
        ),
        Err(error) => {
            tracing::warn!(organization = %caller.organization, to, media, %error, "message not sent")
        }
    }
    let sent = result?;
    let status = if sent.message_sid.is_some() { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok(HttpResponse::build(status).json(json!({
        "id": sent.id,
        "message_sid": sent.message_sid,
        "to": sent.to.bare(),
        "from": sent.from.as_ref().map(Address::bare),
        "channel": channel,
        "status": sent.status,
        "segments": sent.segments,
        "created_at": time(sent.created_at),
    })))
}

/// Reads a send, reporting every fault at once; a number that is none has a problem of its own.
fn read_send(channel: Channel, mut fields: Fields, region: Option<phone::Region>) -> Result<Send, Problem> {
    let to = fields.require_text("to_number");
    let number = |text: &str| {
        let typed = text.strip_prefix("whatsapp:").filter(|_| channel == Channel::Whatsapp);
        phone::normalize(typed.unwrap_or(text), region)
    };
    let from = fields.take("from_number", |text| sender(channel, text));
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
    if media_url.iter().any(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        fields.fault("media_url", "must hold URLs that start with https://");
    }
    let send = Send {
        // Replaced below; a faulty number is reported after the other fields.
        to: Address::new(channel, "+10000000").expect("a constant address"),
        from,
        messaging_service_sid: fields.take("messaging_service_sid", MessagingServiceSid::parse),
        content: Content {
            body,
            media_url,
            content_sid,
            content_variables,
            validity_period_s: fields.take_number("validity_period", 1..=VALIDITY_PERIOD_S_MAX),
        },
        send_at: None,
        category: fields.take_text("category"),
        user_id: fields.take_text("user_id"),
        status_callback: None,
        id: None,
    };
    fields.finish()?;
    let to = number(&to).map_err(Problem::invalid_phone_number)?;
    let to = Address::new(channel, &to).expect("an E.164 number is an address");
    Ok(Send { to, ..send })
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

/// `GET /api/sms/message-status/{message_sid}`, by Twilio's SID or our id.
pub async fn message_status(
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let organization = &caller.organization;
    let message = if let Ok(sid) = MessageSid::parse(&name) {
        state.app.message(organization, &sid).await?
    } else if let Ok(id) = name.parse::<MessageId>() {
        state.app.message_by_id(organization, &id).await?
    } else {
        None
    };
    let message = message.ok_or_else(|| Problem::not_found("this message"))?;
    let mut json = message_json(&message);
    let timeline = message.timeline.0.iter().map(|entry| {
        json!({
            "status": entry.status,
            "at": time(entry.at),
            "source": entry.source.as_str(),
            "late": entry.late,
            "error_code": entry.error_code,
        })
    });
    json.insert("timeline".to_owned(), timeline.collect());
    Ok(HttpResponse::Ok().json(json))
}

/// A message as the API shows it.
fn message_json(message: &Message) -> Map<String, Value> {
    let time_of = |status: &MessageStatus| message.timeline.time_of(status).map(time);
    let mut times = Map::new();
    for entry in &message.timeline.0 {
        times.entry(entry.status.as_str()).or_insert_with(|| time(entry.at).into());
    }
    let error = message.error_code.map(|code| {
        let described = ErrorCode::new(code).describe();
        json!({
            "code": code,
            "title": described.map(|described| described.title),
            "meaning": described.map(|described| described.meaning),
            "mend": described.map(|described| described.mend),
        })
    });
    let outbound = message.outbound.as_ref();
    let json = json!({
        "id": message.id,
        "message_sid": message.message_sid,
        "direction": "outbound",
        "type": message.channel,
        "to": message.to,
        "from": message.from,
        "status": message.status,
        "final": message.is_final,
        "error": error,
        "times": times,
        "sent_at": time_of(&MessageStatus::Sent),
        "delivered_at": time_of(&MessageStatus::Delivered),
        "segments": outbound.map(|outbound| outbound.segments),
        "user_id": outbound.and_then(|outbound| outbound.user_id.as_deref()),
        "category": outbound.and_then(|outbound| outbound.category.as_deref()),
        "batch_id": outbound
            .and_then(|outbound| outbound.batch.as_ref())
            .map(BatchId::as_str)
            .or_else(|| message.timeline.0.iter().find_map(|entry| entry.batch.as_deref())),
    });
    match json {
        Value::Object(object) => object,
        _ => unreachable!("an object was written"),
    }
}
