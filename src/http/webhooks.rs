//! What Twilio posts: status callbacks and incoming messages.

use actix_web::{HttpResponse, http::StatusCode, web};

use super::{State, signed_form::Signed};
use crate::{
    domain::{consent::Answer, delivery::Recorded},
    store,
    twilio::{
        address::mask,
        twiml::{self, Reply},
        webhook::{IncomingMessage, StatusCallback},
    },
};

/// `POST /webhooks/twilio/status` (GET too): 204 once the change is stored, also for a repetition.
pub async fn status(state: web::Data<State>, signed: Signed<StatusCallback>) -> HttpResponse {
    let Signed { organization, id, content: callback } = signed;
    let (sid, status, error_code) =
        (callback.message_sid.clone(), callback.status.clone(), callback.error_code);
    let to = callback.to.as_ref().map(ToString::to_string);
    match state.app.record_status(&organization, callback, id).await {
        Ok(recorded) => {
            let outcome = match recorded {
                Recorded::Moved => "accepted",
                Recorded::Late => "late",
                Recorded::Duplicate => "duplicate",
            };
            tracing::debug!(
                %organization, message_sid = %sid, id = id.map(tracing::field::display), %status, error_code, to,
                outcome, "status callback"
            );
            HttpResponse::new(StatusCode::NO_CONTENT)
        }
        Err(error) => unavailable("status callback", &sid.to_string(), &error),
    }
}

/// `POST /webhooks/twilio/inbound` (GET too): TwiML once message and consent are stored.
pub async fn inbound(state: web::Data<State>, signed: Signed<IncomingMessage>) -> HttpResponse {
    let Signed { organization, content: message, .. } = signed;
    match state.app.record_inbound(&organization, &message).await {
        Ok(received) => {
            let consent = received.consent.as_ref();
            tracing::info!(
                %organization, message_sid = %message.message_sid, channel = %message.channel,
                from = mask(message.from.bare()), media = message.num_media,
                consent = consent.map(|entry| entry.state.as_str()),
                source = consent.map(|entry| entry.source.as_str()),
                duplicate = received.duplicate, "message received"
            );
            let replies = &state.replies;
            let reply = match received.answer {
                Answer::Nothing => Reply::Silence,
                Answer::OptedOut => Reply::Message(replies.opted_out.clone()),
                Answer::OptedIn => Reply::Message(replies.opted_in.clone()),
                Answer::Help => Reply::Message(replies.help.clone()),
            };
            HttpResponse::Ok().content_type(twiml::CONTENT_TYPE).body(reply.to_xml())
        }
        Err(error) => unavailable("incoming message", &message.message_sid.to_string(), &error),
    }
}

/// 503, which Twilio is asked to retry (`rp=5xx`): nothing was acknowledged.
fn unavailable(what: &str, message_sid: &str, error: &store::Error) -> HttpResponse {
    tracing::error!(message_sid, %error, "{what} could not be stored");
    HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE)
}
