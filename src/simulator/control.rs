//! The simulator's own routes, for tests and demonstrations: what Twilio does not have.

use actix_web::{
    HttpResponse,
    web::{self, Bytes, Data, ServiceConfig},
};
use serde_json::{Value, json};

use super::{
    errors::ApiError,
    exchange::{Exchange, InboundError},
    faults::Faults,
    inbound::Inbound,
    media,
    message::Direction,
    senders::Senders,
};

/// Twilio's code for a parameter that is not as it must be.
const INVALID_PARAMETER: u32 = 20422;
/// Twilio's code for a webhook that can not be called.
const WEBHOOK_FAILED: u32 = 11200;

/// The routes.
pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/simulator/inbound", web::post().to(inbound))
        .route("/simulator/messages", web::get().to(messages))
        .route("/simulator/faults", web::post().to(faults))
        .route("/simulator/senders", web::post().to(senders))
        .route(&format!("{}/{{sid}}", media::FILES), web::get().to(file))
        .route("/simulator", web::delete().to(restart));
}

/// Posts a message from a person to the webhook: `{"status", "content_type", "body"}` as it answered.
async fn inbound(exchange: Data<Exchange>, body: Bytes) -> Result<HttpResponse, ApiError> {
    let inbound = Inbound::from_json(&read(&body)?).map_err(|error| invalid(error.to_string()))?;
    let answer = exchange.into_inner().receive(&inbound).await.map_err(|error| match error {
        InboundError::NoWebhook => invalid(error.to_string()),
        InboundError::Full => ApiError::too_many_requests(),
        InboundError::NoAnswer(_) => {
            ApiError { http_status: 502, code: WEBHOOK_FAILED, message: error.to_string() }
        }
    })?;
    Ok(HttpResponse::Ok().json(json!({
        "status": answer.status,
        "content_type": answer.content_type,
        "body": answer.body,
    })))
}

/// Every message to a person that was accepted, oldest first, with what came of its callbacks.
async fn messages(exchange: Data<Exchange>) -> HttpResponse {
    let model = exchange.model();
    let outbound = model.messages().filter(|(_, message)| message.direction != Direction::Inbound);
    let messages: Vec<Value> =
        outbound.map(|(_, message)| message.to_control_json(exchange.account_sid())).collect();
    HttpResponse::Ok().json(json!({ "messages": messages }))
}

/// Replaces all faults.
async fn faults(exchange: Data<Exchange>, body: Bytes) -> Result<HttpResponse, ApiError> {
    let faults = Faults::from_json(&read(&body)?).map_err(|error| invalid(error.to_string()))?;
    exchange.model().set_faults(faults);
    Ok(HttpResponse::NoContent().finish())
}

/// Gives the account other numbers, messaging services and WhatsApp senders, each with where messages to it go.
async fn senders(exchange: Data<Exchange>, body: Bytes) -> Result<HttpResponse, ApiError> {
    let senders: Senders = serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    exchange.set_senders(senders);
    Ok(HttpResponse::NoContent().finish())
}

/// A media file, which is the same for all: where Twilio has them, nobody is asked who they are.
async fn file() -> HttpResponse {
    HttpResponse::Ok().content_type(media::CONTENT_TYPE).body(media::FILE)
}

/// Starts over: no messages, no opt-outs, no faults, no senders that were given.
async fn restart(exchange: Data<Exchange>) -> HttpResponse {
    exchange.restart().await;
    HttpResponse::NoContent().finish()
}

fn read(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))
}

fn invalid(message: String) -> ApiError {
    ApiError::bad_request(INVALID_PARAMETER, message)
}
