//! The streams: a page at a time, or live as server-sent events that resume where they broke off.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, ACCEPT},
    },
    web,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use utoipa::ToSchema;

use super::{
    State,
    auth::{self, Caller, Right},
    connections,
    contract::{
        self, Declared, Fields, Read, kinds,
        operations::{self, GoneProblems, ReadProblems},
        words::{self, EventType, EventsFrom, Words},
    },
    problem::{Code, Problem},
    time,
};
use crate::{
    domain::{
        BatchId, Event, EventId, MessageId, Organization, Person, Source,
        consent::{ConsentChannel, ConsentSource, ConsentState},
    },
    store::{self, Row},
    twilio::{Channel, MessageSid},
};

/// Events in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The most events in a page.
const LIMIT_MAX: u32 = 500;

/// Entries that one page looks through for those that pass its filter; a page may end early and still have a next.
const LOOKED_THROUGH_MAX: usize = 10 * store::EVENTS_PAGE_MAX;

/// Events that may wait for a slow listener's socket.
const SOCKET_QUEUE_MAX: usize = 64;

/// How often a silent connection is told that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often it is asked whether a listener may still read.
const STILL_ALLOWED_INTERVAL: Duration = Duration::from_secs(1);

/// The type of an event that cannot be read.
const UNREADABLE: &str = "unreadable";

/// The event that tells a listener that others have been taken away before they were read.
const HISTORY_LOST: &str = "history-lost";

/// How a listener names the last event that it has seen.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// The query of `GET /api/sms/events`.
struct EventsQuery {
    after: Option<EventId>,
    limit: u32,
    from: Option<EventsFrom>,
    filter: EventFilter,
}

impl Declared for EventsQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let after = fields.optional(
            "cursor",
            "`next_cursor`, or an `event_id`: what came after it.",
            kinds::cursor(),
        );
        let limit =
            fields.with_default("limit", "Events in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        let from = fields.optional(
            "from",
            "`start` begins at the oldest event that is kept.",
            kinds::word::<EventsFrom>(),
        );
        let kind = fields.optional("type", "Only events of this type.", kinds::word::<EventType>());
        let message_sid = fields.optional("message_sid", "Only events of this message.", kinds::any_text());
        let batch_id = fields.optional("batch_id", "Only events of this batch.", kinds::any_text());
        let to = fields.optional("to", "Only events of messages to this number.", kinds::person());
        let filter = EventFilter { kind: kind?, message_sid: message_sid?, batch_id: batch_id?, to: to? };
        Ok(Self { after: after?, limit: limit?, from: from?, filter })
    }
}

contract::parameters!(Query: EventsQuery);

/// Which events are wanted.
struct EventFilter {
    kind: Option<EventType>,
    message_sid: Option<String>,
    batch_id: Option<String>,
    to: Option<Person>,
}

/// What happened: status changes, received messages, opt-outs.
///
/// A page of JSON, oldest first; or with `Accept: text/event-stream` live as server-sent events, whose `data` is an event
/// as it stands in a page, and which `Last-Event-ID` resumes. Events that are older than they are kept are taken away: where some
/// were that a cursor would lead to, the page is refused with `history_lost`, and a live stream begins with an event
/// `history-lost`, tells in its `data` after which and until which events some are missing, and goes on with the oldest kept.
#[utoipa::path(
    get, path = "/api/sms/events", tags = [operations::TAG, operations::EVENTS], operation_id = "listEvents", params(EventsQuery),
    responses(ReadProblems, GoneProblems, (status = 200, body = EventsPage, description = "events, oldest first")),
)]
pub async fn events(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let query: EventsQuery = contract::query(&request, &state.context())?;
    let live = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let live = live.is_some_and(|accept| accept.contains("text/event-stream"));
    // What nobody reads has no end either.
    let live = live && request.method() != Method::HEAD;
    let resumed = request.headers().get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let after = match resumed.filter(|_| live) {
        Some(text) => {
            let id = text.parse::<EventId>();
            Some(id.map_err(|error| Problem::invalid_field("cursor", error.to_string()))?)
        }
        None => query.after,
    };
    if live {
        let after = after.or_else(|| query.from.map(|EventsFrom::Start| EventId::START));
        listen(state, &request, caller, after, query.filter).await
    } else {
        let after = after.unwrap_or(EventId::START);
        page(&state, &caller.organization, after, query.limit as usize, &query.filter).await
    }
}

async fn page(
    state: &State,
    organization: &Organization,
    mut after: EventId,
    limit: usize,
    filter: &EventFilter,
) -> Result<HttpResponse, Problem> {
    let cursor = after;
    let mut events = Vec::new();
    let mut looked_through = 0;
    let mut more = true;
    while more && events.len() < limit && looked_through < LOOKED_THROUGH_MAX {
        // One more than wanted tells whether there is a next page.
        let wanted = limit - events.len() + 1;
        let found = state.app.store().events(organization, after, wanted).await?;
        more = found.len() == wanted;
        looked_through += found.len();
        for (id, event) in found {
            if events.len() == limit {
                break;
            }
            after = id;
            if filter.passes(&event) {
                events.push(EventView::of(state, organization, id, &event));
            }
        }
    }
    if let Some(until) = lost(state, organization, cursor).await? {
        let detail =
            format!("events after {cursor}, up to {until}, have been taken away because of their age");
        let mend = "start again without a cursor: the first page begins at the oldest event that is kept";
        return Err(Problem::new(Code::HistoryLost, detail, mend));
    }
    let next_cursor = more.then(|| after.to_string());
    Ok(HttpResponse::Ok().json(EventsPage { events, next_cursor }))
}

/// Up to where events have been taken away that a reader who has read up to `after` has not seen. Asked after a page was read, so that
/// none is overlooked that is taken away meanwhile.
async fn lost(
    state: &State,
    organization: &Organization,
    after: EventId,
) -> Result<Option<EventId>, store::Error> {
    match after {
        // Whoever begins at the oldest that is kept misses none.
        EventId::START => Ok(None),
        after => state.app.store().lost_events(organization, after).await,
    }
}

/// Answers with a stream that first tells what came after `after`, then what comes.
async fn listen(
    state: web::Data<State>,
    request: &HttpRequest,
    caller: Caller,
    after: Option<EventId>,
    filter: EventFilter,
) -> Result<HttpResponse, Problem> {
    let open = state.streams.open(&caller)?;
    let hung_up = connections::hung_up(request);
    let organization = caller.organization.clone();
    let mut live = state.tailer.subscribe(&organization).await?;
    let start = match after {
        Some(id) => id,
        None => state.app.store().last_event(&organization).await?,
    };
    let (socket, queue) = mpsc::channel::<Bytes>(SOCKET_QUEUE_MAX);
    let stop = state.stop.clone();
    actix_web::rt::spawn(async move {
        let told = async {
            let mut position = start;
            loop {
                catch_up(&state, &organization, &mut position, &filter, &socket).await?;
                loop {
                    match tokio::time::timeout(HEARTBEAT, live.recv()).await {
                        Ok(Ok(shared)) => {
                            let (id, event) = shared.as_ref();
                            if *id > position {
                                position = *id;
                                tell(&state, &organization, &socket, &filter, *id, event).await?;
                            }
                        }
                        Ok(Err(RecvError::Lagged(_))) => break,
                        Ok(Err(RecvError::Closed)) => return None::<()>,
                        Err(_) => socket.send(Bytes::from_static(b": alive\n\n")).await.ok()?,
                    }
                }
            }
        };
        tokio::select! {
            _ = told => {}
            () = stop.cancelled() => {}
            // A write would fail only with the next event.
            () = hung_up.cancelled() => {}
            () = socket.closed() => {}
            () = no_longer_allowed(&state, &caller) => {
                // The last word, if the listener still reads.
                let _ = socket.try_send(Bytes::from_static(b": the token has ended\n\n"));
            }
        }
        drop(open);
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(ReceiverStream::new(queue).map(Ok::<_, Infallible>)))
}

/// Returns when `caller` may no longer read: at the end of their token, or soon after they lost the right.
async fn no_longer_allowed(state: &State, caller: &Caller) {
    while auth::still_allowed(state, caller, Right::Read) {
        let left = caller.expires_at.map(|end| end.since(state.app.now_ms()));
        tokio::time::sleep(left.map_or(STILL_ALLOWED_INTERVAL, |left| left.min(STILL_ALLOWED_INTERVAL)))
            .await;
    }
}

/// Tells everything that the store has behind `position`. `None` when the listener is gone or the store fails: the
/// connection ends, and the listener comes back with its last id.
async fn catch_up(
    state: &State,
    organization: &Organization,
    position: &mut EventId,
    filter: &EventFilter,
    socket: &mpsc::Sender<Bytes>,
) -> Option<()> {
    loop {
        let page = state.app.store().events(organization, *position, store::EVENTS_PAGE_MAX).await;
        let ends = |error: &store::Error| tracing::warn!(%error, "a live stream ends");
        let page = page.inspect_err(ends).ok()?;
        if let Some(until) = lost(state, organization, *position).await.inspect_err(ends).ok()? {
            // Without an id of its own: whoever loses the connection now is told again.
            let data =
                json!({ "type": HISTORY_LOST, "after": position.to_string(), "until": until.to_string() });
            socket.send(Bytes::from(format!("event: {HISTORY_LOST}\ndata: {data}\n\n"))).await.ok()?;
        }
        let caught_up = page.len() < store::EVENTS_PAGE_MAX;
        for (id, event) in page {
            *position = id;
            tell(state, organization, socket, filter, id, &event).await?;
        }
        if caught_up {
            return Some(());
        }
    }
}

async fn tell(
    state: &State,
    organization: &Organization,
    socket: &mpsc::Sender<Bytes>,
    filter: &EventFilter,
    id: EventId,
    event: &Row<Event>,
) -> Option<()> {
    if !filter.passes(event) {
        return Some(());
    }
    let view = EventView::of(state, organization, id, event);
    let data = serde_json::to_string(&view).expect("an event has string keys");
    let kind = event.as_ref().map_or(UNREADABLE, Event::kind);
    let text = format!("event: {kind}\nid: {id}\ndata: {data}\n\n");
    socket.send(Bytes::from(text)).await.ok()
}

impl EventFilter {
    /// Whether `event` is wanted. One that cannot be read may be.
    fn passes(&self, event: &Row<Event>) -> bool {
        let Ok(event) = event else { return true };
        let (sid, batch, to) = match event {
            Event::Delivery(entry) => {
                (Some(entry.sid.as_str()), entry.batch.as_ref().map(BatchId::as_str), entry.to.as_ref())
            }
            Event::Inbound(entry) => (Some(entry.sid.as_str()), None, Some(&entry.to)),
            Event::Consent(entry) => (entry.sid.as_ref().map(|sid| sid.as_str()), None, None),
        };
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        self.kind.is_none_or(|kind| kind.as_str() == event.kind())
            && is(&self.message_sid, sid)
            && is(&self.batch_id, batch)
            && self.to.as_ref().is_none_or(|wanted| to.map(Person::of).as_ref() == Some(wanted))
    }
}

/// An event as the API shows it: the stream's fields, typed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = Event)]
enum EventView {
    /// A message's status changed.
    Delivery {
        event_id: String,
        #[schema(value_type = String)]
        sid: MessageSid,
        #[schema(value_type = Option<String>)]
        id: Option<MessageId>,
        status: String,
        previous: Option<String>,
        /// The message did not move.
        late: bool,
        #[schema(value_type = words::Channel)]
        channel: Channel,
        to: String,
        from: Option<String>,
        error_code: Option<u32>,
        batch: Option<String>,
        #[schema(value_type = words::StatusSource)]
        source: Source,
        #[schema(format = DateTime)]
        at: String,
        /// Parameters of Twilio's that are not known by name.
        #[schema(value_type = Option<std::collections::HashMap<String, Value>>)]
        raw: Option<Value>,
    },
    /// A message was received.
    Inbound {
        event_id: String,
        #[schema(value_type = String)]
        sid: MessageSid,
        #[schema(value_type = words::Channel)]
        channel: Channel,
        from: String,
        to: String,
        /// Characters of text; the text itself is not kept.
        body_length: usize,
        keyword: Option<String>,
        media: u32,
        #[schema(format = DateTime)]
        at: String,
    },
    /// A person opted out or in, or asks for review.
    Consent {
        event_id: String,
        phone: String,
        #[schema(value_type = words::ConsentChannel)]
        channel: ConsentChannel,
        #[schema(value_type = words::ConsentEventState)]
        state: ConsentState,
        #[schema(value_type = String, example = "keyword")]
        source: ConsentSource,
        #[schema(value_type = Option<String>)]
        sid: Option<MessageSid>,
        #[schema(format = DateTime)]
        at: String,
    },
    /// Something happened that cannot be read by this version; most often an instance of a later one has written it. When it
    /// happened is in its `event_id` alone, and no filter leaves it out.
    Unreadable { event_id: String },
}

/// A page of events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Events)]
struct EventsPage {
    events: Vec<EventView>,
    /// Null at the end.
    next_cursor: Option<String>,
}

/// An event as the API shows it.
pub fn event_json(id: EventId, event: &Event) -> Value {
    json!(EventView::of_event(id, event))
}

impl EventView {
    /// Of one that cannot be read, the operator is told.
    fn of(state: &State, organization: &Organization, id: EventId, event: &Row<Event>) -> Self {
        match event {
            Ok(event) => Self::of_event(id, event),
            Err(unreadable) => {
                state.app.tell_unreadable(organization, unreadable);
                EventView::Unreadable { event_id: id.to_string() }
            }
        }
    }

    fn of_event(id: EventId, event: &Event) -> Self {
        let event_id = id.to_string();
        match event {
            Event::Delivery(entry) => EventView::Delivery {
                event_id,
                sid: entry.sid.clone(),
                id: entry.id,
                status: entry.status.to_string(),
                previous: entry.previous.as_ref().map(ToString::to_string),
                late: entry.late,
                channel: entry.channel,
                to: entry.to.clone().map(Into::into).unwrap_or_default(),
                from: entry.from.clone().map(Into::into),
                error_code: entry.error_code,
                batch: entry.batch.as_ref().map(ToString::to_string),
                source: entry.source,
                at: time(entry.at),
                raw: (!entry.raw.is_empty()).then(|| raw_json(&entry.raw)),
            },
            Event::Inbound(entry) => EventView::Inbound {
                event_id,
                sid: entry.sid.clone(),
                channel: entry.channel,
                from: entry.from.clone().into(),
                to: entry.to.clone().into(),
                body_length: entry.body_length,
                keyword: entry.keyword.clone(),
                media: entry.media,
                at: time(entry.at),
            },
            Event::Consent(entry) => EventView::Consent {
                event_id,
                phone: entry.phone.clone().into(),
                channel: entry.channel,
                state: entry.state,
                source: entry.source,
                sid: entry.sid.clone(),
                at: time(entry.at),
            },
        }
    }
}

/// Unknown parameters as an object; one that was given more than once has a list.
fn raw_json(raw: &[(String, String)]) -> Value {
    let mut object = Map::new();
    for (name, value) in raw {
        match object.get_mut(name) {
            None => drop(object.insert(name.clone(), value.clone().into())),
            Some(Value::Array(values)) => values.push(value.clone().into()),
            Some(first) => *first = json!([first, value]),
        }
    }
    object.into()
}
