//! Whether the service lives, and whether it can work.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::State;

/// `GET /healthz`: alive.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// `GET /readyz`: 200 if the store takes writes, else 503.
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    let store = state.app.store().ping().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "not ready");
    }
    let mut response = if store.is_ok() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({
        "store": if store.is_ok() { "ok" } else { "unavailable" },
        "spool": { "entries": 0, "oldest_s": null },
    }))
}
