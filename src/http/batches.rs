//! How far batches are.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    State,
    auth::{Caller, Right},
    messages::{self, fault, message_json},
    problem::Problem,
    time,
};
use crate::{
    app::bulk::{BatchState, Progress},
    domain::BatchId,
};

/// Messages in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: usize = 100;

/// The states that are always counted, so that a reader need not guess what a missing one means.
const STATES: [&str; 6] = ["waiting", "held", "sending", "unknown", "refused", "canceled"];

/// A batch as the API shows it.
#[derive(Debug, Serialize)]
struct Batch {
    batch_id: BatchId,
    state: BatchState,
    total: usize,
    counts: BTreeMap<String, usize>,
    started_at: Option<String>,
    finished_at: Option<String>,
    rate_per_s: Option<f64>,
    estimated_finish_at: Option<String>,
}

impl From<Progress> for Batch {
    fn from(progress: Progress) -> Self {
        let mut counts = progress.counts;
        for state in STATES {
            counts.entry(state.to_owned()).or_default();
        }
        Self {
            batch_id: progress.id,
            state: progress.state,
            total: progress.total,
            counts,
            started_at: progress.started_at.map(time),
            finished_at: progress.finished_at.map(time),
            // Hundredths are enough to look at.
            rate_per_s: progress.rate_per_s.map(|rate| (rate * 100.0).round() / 100.0),
            estimated_finish_at: progress.estimated_finish_at.map(time),
        }
    }
}

/// `GET /api/sms/batches/{batch_id}`.
pub async fn progress(
    state: web::Data<State>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let progress = state.app.progress(&caller.organization, &read_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(Batch::from(progress.ok_or_else(not_found)?)))
}

/// `DELETE /api/sms/batches/{batch_id}`: calls off what has not left.
pub async fn cancel(
    state: web::Data<State>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let id = read_id(&id)?;
    let progress = state.app.cancel_batch(&caller.organization, &id).await?.ok_or_else(not_found)?;
    let canceled = progress.counts.get("canceled").copied().unwrap_or(0);
    tracing::info!(organization = %caller.organization, batch = %id, canceled, user = caller.user, "batch canceled");
    Ok(HttpResponse::Ok().json(Batch::from(progress)))
}

/// The query of `GET /api/sms/batches/{batch_id}/messages`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    cursor: Option<usize>,
    limit: Option<usize>,
}

/// `GET /api/sms/batches/{batch_id}/messages`: each recipient, in the order of the request.
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let id = read_id(&id)?;
    let query = web::Query::<Query>::from_query(request.query_string());
    let query = query.map_err(|error| fault("query", error.to_string()))?.into_inner();
    let (skip, limit) = (query.cursor.unwrap_or(0), query.limit.unwrap_or(LIMIT_DEFAULT));
    if !(1..=messages::LIMIT_MAX).contains(&limit) {
        let max = messages::LIMIT_MAX;
        return Err(fault("limit", format!("must be a whole number from 1 to {max}")));
    }
    // One more than wanted tells whether there is a next page.
    let found = state.app.batch_messages(&caller.organization, &id, skip, limit + 1).await?;
    let found = found.ok_or_else(not_found)?;
    let next_cursor = (found.len() > limit).then(|| (skip + limit).to_string());
    let found: Vec<Value> = found.iter().take(limit).map(|message| message_json(message).into()).collect();
    Ok(HttpResponse::Ok().json(json!({ "messages": found, "next_cursor": next_cursor })))
}

fn read_id(text: &str) -> Result<BatchId, Problem> {
    text.parse().map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::not_found("this batch")
}
