//! Whether the service lives, and whether it can work.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{
    State,
    contract::{self, Declared, Fields, Read, kinds, words::Readiness},
    problem::Problem,
};
use crate::{
    domain::UnixMs,
    metrics::{self, Reader},
    spool::Size,
};

/// `GET /healthz`: alive.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// The query of `GET /readyz`.
struct ReadyQuery {
    readiness: Option<Readiness>,
}

impl Declared for ReadyQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "What it has to be ready for; webhooks, if this is left out.";
        Ok(Self { readiness: fields.optional("for", meaning, kinds::word::<Readiness>())? })
    }
}

/// `GET /readyz`: 200 while webhooks can be taken, into the store or into the spool, else 503; `?for=sends` is 200 while messages
/// can be sent. Both are 503 once the service is asked to stop.
pub async fn readyz(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let query: ReadyQuery = contract::query(&request, &state.context())?;
    let store = state.app.store().ping().await;
    if let Err(error) = &store {
        tracing::warn!(%error, "the store takes no writes");
    }
    state.app.incoming.probe_spool().await;
    let spooled = state.app.incoming.spooled();
    let is_stopping = state.stop.is_cancelled();
    let takes_webhooks = store.is_ok() || state.app.incoming.spool_takes().await;
    let sends = store.is_ok() && state.app.incoming.is_clear() && !is_stopping;
    let is_ready = match query.readiness {
        Some(Readiness::Sends) => sends,
        None => takes_webhooks && !is_stopping,
    };
    let word = |is_ok| if is_ok { "ok" } else { "refused" };
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    Ok(response.json(json!({
        "webhooks": word(takes_webhooks),
        "sends": word(sends),
        "store": if store.is_ok() { "ok" } else { "unavailable" },
        "spool": {
            "state": state.app.incoming.spool_fault().unwrap_or("ok"), "entries": spooled.entries, "bytes": spooled.bytes,
            "oldest_s": oldest_s(&state, spooled),
        },
        "service": if is_stopping { "stopping" } else { "ok" },
    })))
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
    let (metrics, incoming) = (state.app.metrics(), &state.app.incoming);
    let spooled = incoming.spooled();
    metrics.spool(spooled.entries, spooled.bytes, oldest_s(state, spooled).unwrap_or(0));
    metrics.spool_faults(incoming.spool_fault(), incoming.spool_lost());
    metrics.jwks_age(state.authenticator.public_keys_age().unwrap_or_default().as_secs());
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics.write(reader))
}

/// The age of the oldest webhook in the spool.
fn oldest_s(state: &State, spooled: Size) -> Option<u64> {
    spooled.oldest_ms.map(|oldest| state.app.now_ms().since(UnixMs::new(oldest)).as_secs())
}
