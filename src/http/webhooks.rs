//! What Twilio posts: status callbacks, incoming messages, and events of both and of numbers with another owner.

use actix_web::{HttpResponse, http::StatusCode, web};
use futures_util::StreamExt;

use super::{
    State,
    signed_events::SignedEvents,
    signed_form::{AtInbound, AtStatus, CallbackTags, Signed},
};
use crate::{
    app::{
        consents::reassigned::Reassignment,
        forwards::payload::Answerable,
        incoming::{
            intake::{Accepted, IntakeError},
            reply::{Receipt, Received},
        },
    },
    domain::{ForwardEvent, Organization, Source, StatusChange, UnixMs, consent::Answer, delivery::Recorded},
    metrics::{Route, WebhookResult},
    twilio::{
        MessageSid,
        address::mask,
        twiml::{self, Reply},
        webhook::{EventContent, MessagingWebhook, StreamEvent},
    },
};

/// Statuses of one batch of events that are stored at the same time.
const EVENTS_AT_ONCE: usize = 16;

/// `POST /webhooks/twilio/status` (GET too).
pub async fn status(state: web::Data<State>, signed: AtStatus) -> HttpResponse {
    take(&state, Route::Status, signed.0).await
}

/// `POST /webhooks/twilio/inbound` (GET too).
pub async fn inbound(state: web::Data<State>, signed: AtInbound) -> HttpResponse {
    take(&state, Route::Inbound, signed.0).await
}

/// Takes what was posted to `route` as what it is. A status: 204 once the change is safe, also for a repetition. A message:
/// TwiML once message and consent are safe.
async fn take(state: &State, route: Route, signed: Signed) -> HttpResponse {
    let Signed { organization, ours, webhook, form, is_told } = signed;
    match webhook {
        MessagingWebhook::Status(callback) => {
            let statuses = &state.app.statuses;
            let (relayed, posted) = (form.clone().filter(|_| ours.relay), form.filter(|_| is_told));
            let change =
                statuses.status_change(*callback, ours.id, ours.batch, relayed, posted, Source::Callback);
            match take_status(state, route, &organization, change).await {
                Ok(()) => HttpResponse::new(StatusCode::NO_CONTENT),
                Err(NotTakenLogged) => HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
        MessagingWebhook::Incoming(message) => {
            let receipt = state.app.incoming.receipt(&message, form, state.app.now_ms());
            let (reading, form) = (receipt.reading.clone(), receipt.form.clone());
            let message = Answerable { sid: message.message_sid, from: message.from, to: message.to, form };
            match take_reply(state, route, &organization, receipt).await {
                Ok(Taken { answer, is_new }) => {
                    let words = state.app.incoming.of(&organization).words(answer, &reading);
                    // A repetition has no answer but ours: what the application says is said once.
                    let forwards = state.app.forwards.of(&organization);
                    let theirs = if is_new { forwards.answer(&message).await } else { None };
                    let ours = || words.map_or(Reply::Silence, Reply::Message).to_xml();
                    let xml = theirs.unwrap_or_else(ours);
                    HttpResponse::Ok().content_type(twiml::CONTENT_TYPE).body(xml)
                }
                Err(NotTakenLogged) => HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    }
}

/// `POST /webhooks/twilio/events`: 204 once all events are safe. Twilio posts the whole batch again after anything
/// else; what was stored of it by then is not stored twice.
pub async fn events(state: web::Data<State>, signed: SignedEvents) -> HttpResponse {
    let SignedEvents { organization, batch } = signed;
    // What changes consent in its order, then the statuses, which have none.
    let changes_consent = |event: &StreamEvent| match &event.content {
        EventContent::Incoming(_) | EventContent::Reassigned { .. } => true,
        EventContent::Status { .. } | EventContent::Other | EventContent::Unreadable(_) => false,
    };
    let (ordered, others): (Vec<StreamEvent>, Vec<StreamEvent>) =
        batch.events.into_iter().partition(changes_consent);
    let mut all_taken = true;
    for event in ordered {
        all_taken &= take_event(&state, &organization, event).await.is_ok();
    }
    let mut taken = futures_util::stream::iter(others)
        .map(|event| take_event(&state, &organization, event))
        .buffer_unordered(EVENTS_AT_ONCE);
    while let Some(result) = taken.next().await {
        all_taken &= result.is_ok();
    }
    let status = if all_taken { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::new(status)
}

async fn take_event(
    state: &State,
    organization: &Organization,
    event: StreamEvent,
) -> Result<(), NotTakenLogged> {
    let metrics = state.app.metrics();
    let now = state.app.now_ms();
    // Later than we hear of it, it cannot have happened.
    let at = event.timestamp.and_then(UnixMs::from_timestamp).map_or(now, |at| at.min(now));
    let wants = |event| state.app.forwards.of(organization).needs_form(event);
    match event.content {
        EventContent::Status { status, status_callback_url } => {
            let query = status_callback_url.as_deref().and_then(|url| url.split(['?', '#']).nth(1));
            let ours = query.map(CallbackTags::of).unwrap_or_default();
            let form = || status.to_parameters();
            let (relayed, posted) = (ours.relay.then(form), wants(ForwardEvent::Status).then(form));
            let statuses = &state.app.statuses;
            let change =
                statuses.status_change(*status, ours.id, ours.batch, relayed, posted, Source::EventStream);
            take_status(state, Route::Events, organization, change).await
        }
        EventContent::Incoming(message) => {
            let form = wants(ForwardEvent::Inbound).then(|| message.to_parameters());
            let receipt = state.app.incoming.receipt(&message, form, at).heard_late();
            take_reply(state, Route::Events, organization, receipt).await.map(drop)
        }
        EventContent::Reassigned { number } => {
            let told = Reassignment { phone: number.bare().clone(), at, event_id: event.id };
            take_reassignment(state, organization, told).await
        }
        EventContent::Other => {
            metrics.unknown_event();
            Ok(())
        }
        EventContent::Unreadable(error) => {
            metrics.webhook(Route::Events, WebhookResult::Invalid);
            tracing::warn!(%organization, event_id = event.id, %error, "an event cannot be read");
            Ok(())
        }
    }
}

/// What was told is neither in the store nor in the spool, and the log says why.
struct NotTakenLogged;

async fn take_status(
    state: &State,
    route: Route,
    organization: &Organization,
    change: StatusChange,
) -> Result<(), NotTakenLogged> {
    let (sid, id, status, error_code) =
        (change.sid.clone(), change.id, change.status.clone(), change.error_code);
    let (to, source) = (change.to.as_deref().map(mask), change.source.as_str());
    let result = match state.app.incoming.of(organization).take_status(change).await {
        Ok(Accepted::Stored(Recorded::Moved)) => WebhookResult::Accepted,
        Ok(Accepted::Stored(Recorded::Late)) => WebhookResult::Late,
        Ok(Accepted::Stored(Recorded::Duplicate)) => WebhookResult::Duplicate,
        Ok(Accepted::Spooled) => WebhookResult::Spooled,
        Err(error) => return Err(not_taken(state, route, Some(&sid), &error)),
    };
    state.app.metrics().webhook(route, result);
    tracing::debug!(
        %organization, message_sid = %sid, id = id.map(tracing::field::display), %status, error_code, to, source,
        result = result.as_str(), "status"
    );
    Ok(())
}

/// A reply that is safe.
struct Taken {
    /// What to say to it.
    answer: Answer,
    /// Whether it is in the store, for the first time.
    is_new: bool,
}

/// Takes a reply.
async fn take_reply(
    state: &State,
    route: Route,
    organization: &Organization,
    receipt: Receipt,
) -> Result<Taken, NotTakenLogged> {
    let entry = receipt.entry.clone();
    let unseen = state.app.incoming.answer_unseen(&receipt);
    let taken = state.app.incoming.of(organization).take_reply(receipt).await;
    let (received, result) = match taken {
        Ok(Accepted::Stored(received)) => {
            let result = if received.duplicate { WebhookResult::Duplicate } else { WebhookResult::Accepted };
            (received, result)
        }
        Ok(Accepted::Spooled) => {
            (Received { answer: unseen, consent: None, duplicate: false }, WebhookResult::Spooled)
        }
        Err(error) => return Err(not_taken(state, route, Some(&entry.sid), &error)),
    };
    state.app.metrics().webhook(route, result);
    let consent = received.consent.as_ref();
    tracing::info!(
        %organization, message_sid = %entry.sid, channel = %entry.channel, from = mask(&entry.from),
        media = entry.media, consent = consent.map(|entry| entry.state.as_str()),
        source = consent.map(|entry| entry.source.as_str()), result = result.as_str(), "message received"
    );
    Ok(Taken { answer: received.answer, is_new: result == WebhookResult::Accepted })
}

async fn take_reassignment(
    state: &State,
    organization: &Organization,
    told: Reassignment,
) -> Result<(), NotTakenLogged> {
    let (phone, event_id) = (mask(&told.phone), told.event_id.clone());
    let result = match state.app.incoming.of(organization).take_reassignment(told).await {
        Ok(Accepted::Stored(true)) => WebhookResult::Accepted,
        Ok(Accepted::Stored(false)) => WebhookResult::Duplicate,
        Ok(Accepted::Spooled) => WebhookResult::Spooled,
        Err(error) => return Err(not_taken(state, Route::Events, None, &error)),
    };
    state.app.metrics().webhook(Route::Events, result);
    tracing::info!(%organization, phone, event_id, result = result.as_str(), "a number has another owner");
    Ok(())
}

/// Nothing was acknowledged: 503, which Twilio is asked to retry (`rp=5xx`).
fn not_taken(
    state: &State,
    route: Route,
    message_sid: Option<&MessageSid>,
    error: &IntakeError,
) -> NotTakenLogged {
    state.app.metrics().webhook(route, WebhookResult::Overloaded);
    let message_sid = message_sid.map(MessageSid::as_str);
    match error {
        // Many at once: a line each would make it worse. The metric counts them, and the spool says what is wrong with it.
        IntakeError::Overloaded(_) | IntakeError::Spool(_) => {
            tracing::debug!(message_sid, %error, "webhook turned away")
        }
        IntakeError::Store(_) => tracing::error!(message_sid, %error, "webhook could not be stored"),
    }
    NotTakenLogged
}
