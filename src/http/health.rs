//! Whether the service lives, and whether it can work.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;
use crate::{
    domain::UnixMs,
    metrics::{self, Reader},
    spool::Size,
};

/// `GET /healthz`: alive.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// `GET /readyz`: 200 if the store takes writes and has everything that Twilio told, else 503; and 503 once the service is asked to
/// stop.
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    let store = state.app.store().ping().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "not ready");
    }
    let spooled = state.app.incoming.spooled();
    let is_stopping = state.stop.is_cancelled();
    let ready = store.is_ok() && spooled.entries == 0 && !is_stopping;
    let mut response = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({
        "service": if is_stopping { "stopping" } else { "ok" },
        "store": if store.is_ok() { "ok" } else { "unavailable" },
        "spool": { "entries": spooled.entries, "bytes": spooled.bytes, "oldest_s": oldest_s(&state, spooled) },
    }))
}

/// `GET /metrics` at the main address: what is counted and measured, without the accounts' names.
pub async fn metrics_for_strangers(state: web::Data<State>) -> HttpResponse {
    metrics(&state, Reader::Stranger)
}

/// `GET /metrics` at its own address: everything that is counted and measured.
pub async fn metrics_for_operators(state: web::Data<State>) -> HttpResponse {
    metrics(&state, Reader::Operator)
}

fn metrics(state: &State, reader: Reader) -> HttpResponse {
    let (metrics, spooled) = (state.app.metrics(), state.app.incoming.spooled());
    metrics.spool(spooled.entries, spooled.bytes, oldest_s(state, spooled).unwrap_or(0));
    metrics.jwks_age(state.authenticator.public_keys_age().unwrap_or_default().as_secs());
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics.write(reader))
}

/// The age of the oldest webhook in the spool.
fn oldest_s(state: &State, spooled: Size) -> Option<u64> {
    spooled.oldest_ms.map(|oldest| state.app.now_ms().since(UnixMs::new(oldest)).as_secs())
}
