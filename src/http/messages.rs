//! What became of messages: one, or those of the history.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    auth::{Caller, Right},
    openapi::{self, ReadProblems},
    problem::{Problem, mend_of_refusal},
    query, time,
};
use crate::{
    app::reads::messages::{Filter, Message},
    domain::{HistoryId, Hold, MessageId, Source},
    twilio::{
        self, Channel, MessageSid,
        error_code::{ErrorCode, ErrorDescription},
    },
};

/// Messages in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: usize = 50;

/// The most messages in a page.
pub const LIMIT_MAX: usize = 500;

/// The query of `GET /api/sms/messages`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Only those whose status is called so.
    status: Option<String>,
    /// Only those to this number.
    to: Option<String>,
    /// Only those on this channel.
    #[param(value_type = Option<openapi::Channel>)]
    channel: Option<String>,
    /// Only those asked for at this time (RFC 3339) or later.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Only those asked for before this time (RFC 3339).
    #[param(format = DateTime)]
    until: Option<String>,
    /// Messages in a page.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The history, newest first.
///
/// Filters are combined. A page at a time: ask again with `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/messages", tags = [openapi::TAG, openapi::MESSAGES], operation_id = "listMessages", params(Query),
    responses(ReadProblems, (status = 200, body = Page, description = "messages, newest first")),
)]
pub async fn history(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let query: Query = query::read(&request)?;
    let limit = query::limit(query.limit, LIMIT_DEFAULT, LIMIT_MAX)?;
    let region = state.app.settings().default_region;
    let filter = Filter {
        status: query.status,
        to: query.to.as_deref().map(|to| query::person(to, region)).transpose()?,
        channel: query.channel.as_deref().map(channel).transpose()?,
        since: query.since.as_deref().map(|at| query::time("since", at)).transpose()?,
        until: query.until.as_deref().map(|at| query::time("until", at)).transpose()?,
    };
    let cursor = query.cursor.as_deref().map(str::parse::<HistoryId>).transpose();
    let cursor = cursor.map_err(|error| Problem::invalid_field("cursor", error.to_string()))?;
    let (messages, next) = state.app.reads.of(&caller.organization).history(&filter, cursor, limit).await?;
    let messages = messages.iter().map(Shown::from).collect();
    Ok(HttpResponse::Ok().json(Page { messages, next_cursor: next.map(|next| next.to_string()) }))
}

fn channel(text: &str) -> Result<Channel, Problem> {
    Channel::parse(text).ok_or_else(|| Problem::invalid_field("channel", "must be sms, whatsapp or rcs"))
}

/// The query of `GET /api/sms/message-status/{message_sid}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// Asks Twilio before it answers.
    #[serde(default)]
    refresh: bool,
}

/// One message, by Twilio's SID or by textledger's own id.
///
/// With everything that was heard of it, in order of arrival.
#[utoipa::path(
    get, path = "/api/sms/message-status/{message_sid}", tags = [openapi::TAG, openapi::MESSAGES], operation_id = "getMessageStatus",
    params(("message_sid" = String, Path, description = "Twilio's SID, or textledger's id"), StatusQuery),
    responses(ReadProblems, openapi::TwilioProblems, (status = 200, body = MessageStatus, description = "the message")),
)]
pub async fn message_status(
    state: web::Data<State>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let query: StatusQuery = query::read(&request)?;
    let organization = &caller.organization;
    if query.refresh
        && let Ok(name) = name.parse()
    {
        state.app.incoming.of(organization).refresh(&name).await?;
    }
    let message = if let Ok(sid) = MessageSid::parse(&name) {
        state.app.reads.of(organization).message(&sid).await?
    } else if let Ok(id) = name.parse::<MessageId>() {
        state.app.reads.of(organization).message_by_id(&id).await?
    } else {
        None
    };
    let message = message.ok_or_else(|| Problem::not_found("this message"))?;
    let timeline = message.timeline.0.iter().map(|entry| TimelineEntry {
        status: entry.status.to_string(),
        at: time(entry.at),
        source: entry.source,
        late: entry.late,
        error_code: entry.error_code,
    });
    let timeline = timeline.collect();
    Ok(HttpResponse::Ok().json(MessageStatus { message: Shown::from(&message), timeline }))
}

/// A message as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(super) struct Shown {
    /// textledger's own id; null for a message sent elsewhere through the account.
    #[schema(value_type = Option<String>, example = "0000000000000abc")]
    id: Option<MessageId>,
    /// Twilio's SID; null until Twilio has the message.
    #[schema(value_type = Option<String>, example = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    message_sid: Option<MessageSid>,
    #[schema(example = "outbound")]
    direction: &'static str,
    #[serde(rename = "type")]
    #[schema(value_type = openapi::Channel)]
    channel: Channel,
    #[schema(example = "+14155552671")]
    to: String,
    from: Option<String>,
    /// Twilio's status; before Twilio has it `waiting`, `scheduled`, `held`, `sending`, `unknown`, `canceled` or
    /// `refused`.
    #[schema(example = "delivered")]
    status: String,
    /// Whether nothing but a better status can follow.
    r#final: bool,
    error: Option<MessageError>,
    /// When each status was first heard of.
    times: BTreeMap<String, String>,
    #[schema(format = DateTime)]
    sent_at: Option<String>,
    #[schema(format = DateTime)]
    delivered_at: Option<String>,
    /// Until when it waits in the queue.
    #[schema(format = DateTime)]
    held_until: Option<String>,
    /// Why it waits.
    #[schema(value_type = Option<openapi::Reason>)]
    reason: Option<Hold>,
    segments: Option<u32>,
    user_id: Option<String>,
    category: Option<String>,
    batch_id: Option<String>,
}

/// What went wrong with a message, in plain words.
#[derive(Debug, Serialize, ToSchema)]
struct MessageError {
    /// Twilio's code; null for what textledger refused itself.
    code: Option<u32>,
    title: Option<String>,
    meaning: Option<String>,
    /// What to do about it.
    mend: Option<String>,
}

/// A message and everything that was heard of it.
#[derive(Debug, Serialize, ToSchema)]
struct MessageStatus {
    #[serde(flatten)]
    message: Shown,
    /// Every status recorded, in order of arrival.
    timeline: Vec<TimelineEntry>,
}

/// A status that was heard of.
#[derive(Debug, Serialize, ToSchema)]
struct TimelineEntry {
    status: String,
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = openapi::StatusSource)]
    source: Source,
    /// It did not move the message.
    late: bool,
    error_code: Option<u32>,
}

/// Messages, and where to go on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Messages)]
pub(super) struct Page {
    pub(super) messages: Vec<Shown>,
    /// Null at the end.
    pub(super) next_cursor: Option<String>,
}

impl From<&Message> for Shown {
    fn from(message: &Message) -> Self {
        let time_of = |status: &twilio::MessageStatus| message.timeline.time_of(status).map(time);
        let mut times = BTreeMap::new();
        for entry in &message.timeline.0 {
            times.entry(entry.status.to_string()).or_insert_with(|| time(entry.at));
        }
        times.extend(message.ended_at.map(|at| (message.status.clone(), time(at))));
        let of_twilio = message.error_code.map(|code| {
            let described = ErrorCode::new(code).describe();
            let text =
                |text: fn(&ErrorDescription) -> &'static str| described.as_ref().map(text).map(str::to_owned);
            MessageError {
                code: Some(code),
                title: text(|described| described.title),
                meaning: text(|described| described.meaning),
                mend: text(|described| described.mend),
            }
        });
        // What we refused ourselves has no code of Twilio's.
        let error = of_twilio.or_else(|| {
            let (code, reason) = message.refusal.as_ref()?;
            Some(MessageError {
                code: None,
                title: Some(code.as_str().to_owned()),
                meaning: Some(reason.clone()),
                mend: Some(mend_of_refusal(*code).to_owned()),
            })
        });
        let outbound = message.outbound.as_ref();
        let batch = outbound.and_then(|outbound| outbound.batch.as_ref()).map(ToString::to_string);
        Self {
            id: message.id,
            message_sid: message.message_sid.clone(),
            direction: "outbound",
            channel: message.channel,
            to: message.to.clone().map(Into::into).unwrap_or_default(),
            from: message.from.clone().map(Into::into),
            status: message.status.clone(),
            r#final: message.is_final,
            error,
            times,
            sent_at: time_of(&twilio::MessageStatus::Sent),
            delivered_at: time_of(&twilio::MessageStatus::Delivered),
            held_until: message.held.map(|(until, _)| time(until)),
            reason: message.held.map(|(_, reason)| reason),
            segments: outbound.map(|outbound| outbound.segments),
            user_id: outbound.and_then(|outbound| outbound.user_id.clone()),
            category: outbound.and_then(|outbound| outbound.category.clone()),
            batch_id: batch.or_else(|| {
                message.timeline.0.iter().find_map(|entry| entry.batch.as_ref().map(ToString::to_string))
            }),
        }
    }
}
