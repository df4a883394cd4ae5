//! Whether the service lives, and whether it can work.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    State,
    contract::{self, Declared, Fields, Read, kinds, words::Readiness},
    problem::Problem,
};
use crate::{
    domain::UnixMs,
    metrics::{self, Reader},
    spool::Size,
    store::{Mismatch, StoreId},
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
    let mismatch = state.app.store().known().mismatch();
    let is_usable = store.is_ok() && mismatch.is_none();
    let takes_webhooks = is_usable || state.app.incoming.spool_takes().await;
    let sends = is_usable && state.app.incoming.is_clear() && !is_stopping;
    let is_ready = match query.readiness {
        Some(Readiness::Sends) => sends,
        None => takes_webhooks && !is_stopping,
    };
    let word = |is_ok| if is_ok { "ok" } else { "refused" };
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    Ok(response.json(json!({
        "webhooks": word(takes_webhooks),
        "sends": word(sends),
        "store": match (&store, &mismatch) {
            (Err(_), _) => "unavailable",
            (Ok(()), Some(_)) => "not_known",
            // It has just been written, and until everything that was spooled is in it, it counts as away.
            (Ok(()), None) => {
                store_fault(&state).filter(|fault| ["slow", "damaged"].contains(fault)).unwrap_or("ok")
            }
        },
        "not_known": mismatch.as_ref().map(why_not_known),
        "spool": {
            "state": state.app.incoming.spool_fault().unwrap_or("ok"), "entries": spooled.entries,
            "bytes": spooled.bytes, "oldest_s": oldest_s(&state, spooled), "aside": state.app.incoming.aside(),
        },
        "service": if is_stopping { "stopping" } else { "ok" },
    })))
}

/// What is wrong with the store, in a word.
fn store_fault(state: &State) -> Option<&'static str> {
    state.app.incoming.store_fault().or_else(|| Some(state.app.store().file_fault()?.as_str()))
}

/// What is another about a store, without the organizations' names.
fn why_not_known(mismatch: &Mismatch) -> Value {
    let (known, known_changes, found, found_changes) = match mismatch {
        Mismatch::NoIdentity { known, known_changes } => (known, known_changes, None, 0),
        Mismatch::Another { known, known_changes, found, found_changes } => {
            (known, known_changes, Some(found), *found_changes)
        }
        Mismatch::FewerChanges { known, known_changes, found_changes, .. } => {
            (known, known_changes, Some(known), *found_changes)
        }
    };
    json!({
        "reason": mismatch.as_str(),
        "known": { "id": known.as_str(), "changes": known_changes },
        "found": { "id": found.map(StoreId::as_str), "changes": found_changes },
    })
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
    let store = state.app.store();
    metrics.store_file(store.file_bytes().unwrap_or(0), store.damaged_reads());
    metrics.store_known(store.known().mismatch().is_none());
    metrics.spool(spooled.entries, spooled.bytes, oldest_s(state, spooled).unwrap_or(0));
    metrics.spool_faults(incoming.spool_fault(), incoming.spool_lost());
    metrics.store_faults(incoming.aside(), store_fault(state));
    metrics.jwks_age(state.authenticator.public_keys_age().unwrap_or_default().as_secs());
    HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(metrics.write(reader))
}

/// The age of the oldest webhook in the spool.
fn oldest_s(state: &State, spooled: Size) -> Option<u64> {
    spooled.oldest_ms.map(|oldest| state.app.now_ms().since(UnixMs::new(oldest)).as_secs())
}
