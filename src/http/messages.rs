//! What became of messages: one, or those of the history.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    State,
    auth::{Caller, Right},
    problem::{FieldError, Problem},
    time,
};
use crate::{
    app::query::{Filter, Message},
    domain::{BatchId, HistoryId, MessageId, UnixMs},
    phone,
    twilio::{Channel, MessageSid, MessageStatus, error_code::ErrorCode},
};

/// Messages in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: usize = 50;

/// The most messages in a page.
pub const LIMIT_MAX: usize = 500;

/// The query of `GET /api/sms/messages`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    status: Option<String>,
    to: Option<String>,
    channel: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /api/sms/messages`: the history, newest first.
pub async fn history(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let query = web::Query::<Query>::from_query(request.query_string());
    let query = query.map_err(|error| fault("query", error.to_string()))?.into_inner();
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(fault("limit", format!("must be a whole number from 1 to {LIMIT_MAX}")));
    }
    let region = state.app.settings().default_region;
    let filter = Filter {
        status: query.status,
        to: query.to.as_deref().map(|to| person(to, region)),
        channel: query.channel.as_deref().map(channel).transpose()?,
        since: query.since.as_deref().map(|at| read_time("since", at)).transpose()?,
        until: query.until.as_deref().map(|at| read_time("until", at)).transpose()?,
    };
    let cursor = query.cursor.as_deref().map(str::parse::<HistoryId>).transpose();
    let cursor = cursor.map_err(|error| fault("cursor", error.to_string()))?;
    let (messages, next) = state.app.history(&caller.organization, &filter, cursor, limit).await?;
    let messages: Vec<Value> = messages.iter().map(|message| message_json(message).into()).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(json!({ "messages": messages, "next_cursor": next_cursor })))
}

pub(super) fn fault(field: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_fields(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
}

/// A recipient as the history names it: a number in E.164, else the address as it was given.
fn person(typed: &str, region: Option<phone::Region>) -> String {
    // A form-encoded query turns a `+` that is not escaped into a blank.
    let bare = typed.strip_prefix("whatsapp:").unwrap_or(typed);
    let plus = bare.strip_prefix(' ').map(|digits| format!("+{digits}"));
    let bare = plus.as_deref().unwrap_or(bare);
    phone::normalize(bare, region).unwrap_or_else(|_| bare.to_owned())
}

fn channel(text: &str) -> Result<Channel, Problem> {
    Channel::parse(text).ok_or_else(|| fault("channel", "must be sms, whatsapp or rcs"))
}

fn read_time(field: &str, text: &str) -> Result<UnixMs, Problem> {
    let time = text.parse::<jiff::Timestamp>().ok();
    time.and_then(|time| UnixMs::try_from(time.as_millisecond()).ok())
        .ok_or_else(|| fault(field, "must be a time in RFC 3339, such as 2026-01-31T09:00:00Z"))
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
pub(super) fn message_json(message: &Message) -> Map<String, Value> {
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
    // What we refused ourselves has no code of Twilio's.
    let error = error.or_else(|| {
        let (code, reason) = message.refusal.as_ref()?;
        Some(json!({ "code": Value::Null, "title": code, "meaning": reason, "mend": Value::Null }))
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
        "held_until": message.held.map(|(until, _)| time(until)),
        "reason": message.held.map(|(_, reason)| reason),
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
