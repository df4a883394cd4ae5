//! What became of messages: one, or those of the history.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, Read, kinds,
        operations::{self, ReadProblems, TwilioProblems},
        words,
    },
    problem::{Problem, mend_of_refusal},
    time,
};
use crate::{
    app::reads::messages::{ListedMessages, Message, MessageFilter},
    domain::{HistoryId, Hold, MessageId, Source},
    twilio::{
        self, Channel, MessageSid,
        error_code::{ErrorCode, ErrorDescription},
    },
};

/// Messages in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 50;

/// The most messages in a page.
pub const LIMIT_MAX: u32 = 500;

/// The query of `GET /api/sms/messages`.
struct HistoryQuery {
    filter: MessageFilter,
    limit: u32,
    cursor: Option<HistoryId>,
}

impl Declared for HistoryQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let status = fields.optional("status", "Only those with this status.", kinds::any_text());
        let to = fields.optional("to", "Only those to this number.", kinds::person());
        let channel =
            fields.optional("channel", "Only those on this channel.", kinds::word::<words::Channel>());
        let since =
            fields.optional("since", "Only those asked for at this time (RFC 3339) or later.", kinds::time());
        let until =
            fields.optional("until", "Only those asked for before this time (RFC 3339).", kinds::time());
        let limit =
            fields.with_default("limit", "Messages in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        let cursor = fields.optional("cursor", "`next_cursor` of the page before.", kinds::cursor());
        let filter = MessageFilter {
            status: status?,
            to: to?,
            channel: channel?.map(Channel::from),
            since: since?,
            until: until?,
        };
        Ok(Self { filter, limit: limit?, cursor: cursor? })
    }
}

/// The history, newest first.
///
/// Filters are combined. A page at a time: ask again with `next_cursor` as `cursor` until it is null, even behind a page that is empty.
#[utoipa::path(
    get, path = "/api/sms/messages", tags = [operations::TAG, operations::MESSAGES], operation_id = "listMessages", params(HistoryQuery),
    responses(ReadProblems, (status = 200, body = MessagesPage, description = "messages, newest first")),
)]
pub async fn history(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let HistoryQuery { filter, limit, cursor } = contract::query(&request, &state.context())?;
    let reads = state.app.reads.of(&caller.organization);
    let ListedMessages { messages, unreadable, next } =
        reads.history(&filter, cursor, limit as usize).await?;
    let messages = messages.iter().map(MessageView::from).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(MessagesPage { messages, unreadable, next_cursor }))
}

/// Which message is meant.
struct MessagePath {
    name: String,
}

impl Declared for MessagePath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let name = fields.required("message_sid", "Twilio's SID, or textledger's own id.", kinds::any_text());
        Ok(Self { name: name? })
    }
}

/// The query of `GET /api/sms/message-status/{message_sid}`.
struct StatusQuery {
    refresh: bool,
}

impl Declared for StatusQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let refresh =
            fields.with_default("refresh", "Asks Twilio before it answers.", false, kinds::switch());
        Ok(Self { refresh: refresh? })
    }
}

contract::parameters!(Path: MessagePath);
contract::parameters!(Query: HistoryQuery, StatusQuery);

/// One message, by Twilio's SID or by textledger's own id.
///
/// With everything that was heard of it, in order of arrival.
#[utoipa::path(
    get, path = "/api/sms/message-status/{message_sid}", tags = [operations::TAG, operations::MESSAGES], operation_id = "getMessageStatus",
    params(MessagePath, StatusQuery),
    responses(ReadProblems, TwilioProblems, (status = 200, body = MessageStatus, description = "the message")),
)]
pub async fn message_status(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let MessagePath { name } = contract::path(&request)?;
    let query: StatusQuery = contract::query(&request, &state.context())?;
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
    Ok(HttpResponse::Ok().json(MessageStatus { message: MessageView::from(&message), timeline }))
}

/// A message as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(super) struct MessageView {
    /// textledger's own id; null for a message sent elsewhere through the account.
    #[schema(value_type = Option<String>, example = "0000000000000abc")]
    id: Option<MessageId>,
    /// Twilio's SID; null until Twilio has the message.
    #[schema(value_type = Option<String>, example = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    message_sid: Option<MessageSid>,
    #[schema(example = "outbound")]
    direction: &'static str,
    #[serde(rename = "type")]
    #[schema(value_type = words::Channel)]
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
    #[schema(value_type = Option<words::Reason>)]
    reason: Option<Hold>,
    segments: Option<u32>,
    user_id: Option<String>,
    category: Option<String>,
    batch_id: Option<String>,
    /// Who asked for it, `user:` or `api_key:` and the name; null if it was not asked for here, or not noted.
    #[schema(example = "user:ada")]
    actor: Option<String>,
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
    /// What Twilio said beside the code, if anything.
    error_message: Option<String>,
    /// The code of the channel itself, such as WhatsApp's, if it gave one.
    channel_status_code: Option<String>,
    /// What the channel itself said, if anything.
    channel_status_message: Option<String>,
}

/// A message and everything that was heard of it.
#[derive(Debug, Serialize, ToSchema)]
struct MessageStatus {
    #[serde(flatten)]
    message: MessageView,
    /// Every status recorded, in order of arrival.
    timeline: Vec<TimelineEntry>,
}

/// A status that was heard of.
#[derive(Debug, Serialize, ToSchema)]
struct TimelineEntry {
    status: String,
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = words::StatusSource)]
    source: Source,
    /// It did not move the message.
    late: bool,
    error_code: Option<u32>,
}

/// Messages, and where to go on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Messages)]
pub(super) struct MessagesPage {
    pub(super) messages: Vec<MessageView>,
    /// How many messages belong to this page as well, whatever the filters say of them, and cannot be read by this version.
    pub(super) unreadable: usize,
    /// Null at the end.
    pub(super) next_cursor: Option<String>,
}

impl From<&Message> for MessageView {
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
                error_message: message.said("ErrorMessage"),
                channel_status_code: message.said("ChannelStatusCode"),
                channel_status_message: message.said("ChannelStatusMessage"),
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
                error_message: None,
                channel_status_code: None,
                channel_status_message: None,
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
            actor: outbound.and_then(|outbound| outbound.actor.as_ref()).map(ToString::to_string),
        }
    }
}
