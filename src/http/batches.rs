//! How far batches are.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, Read, kinds,
        operations::{self, ReadProblems},
        words,
    },
    messages::{LIMIT_MAX, MessageView, MessagesPage},
    problem::Problem,
    time, to_its_end,
};
use crate::{
    app::outgoing::bulk::{BatchPage, BatchState, Progress},
    domain::{
        BatchId,
        audit::{Action, Subject},
    },
};

/// Messages in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The states that are always counted, so that a reader need not guess what a missing one means.
const STATES: [&str; 6] = ["waiting", "held", "sending", "unknown", "refused", "canceled"];

/// A batch as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
struct BatchView {
    #[schema(value_type = String, example = "b00000000000000000abc")]
    batch_id: BatchId,
    /// Who asked for it, `user:` or `api_key:` and the name; null if it was not noted.
    #[schema(example = "user:ada")]
    actor: Option<String>,
    #[schema(value_type = words::BatchState)]
    state: BatchState,
    /// Messages that were accepted.
    total: usize,
    /// Messages by where they are: `waiting`, `scheduled`, `held`, `sending`, `unknown`, `refused`, `canceled`, and
    /// Twilio's statuses; `unreadable` those of which this version cannot read it.
    counts: BTreeMap<String, usize>,
    /// When the first left.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When nothing was left to be done.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// Messages that left per second so far.
    rate_per_s: Option<f64>,
    #[schema(format = DateTime)]
    estimated_finish_at: Option<String>,
}

impl From<Progress> for BatchView {
    fn from(progress: Progress) -> Self {
        let mut counts = progress.counts;
        for state in STATES {
            counts.entry(state.to_owned()).or_default();
        }
        Self {
            batch_id: progress.id,
            actor: progress.actor.as_ref().map(ToString::to_string),
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

/// How far a batch is.
///
/// `state` is `done` when nothing is left to be done for any message of the batch.
#[utoipa::path(
    get, path = "/api/sms/batches/{batch_id}", tags = [operations::TAG, operations::BATCHES], operation_id = "getBatch",
    params(BatchPath),
    responses(ReadProblems, (status = 200, body = BatchView, description = "how far it is")),
)]
pub async fn progress(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let progress = state.app.outgoing.of(&caller.organization).progress(&batch_of(&request)?).await?;
    Ok(HttpResponse::Ok().json(BatchView::from(progress.ok_or_else(not_found)?)))
}

/// Calls off what has not left of a batch.
///
/// What Twilio has is not touched. Calling it off again changes nothing.
#[utoipa::path(
    delete, path = "/api/sms/batches/{batch_id}", tags = [operations::TAG, operations::BATCHES], operation_id = "cancelBatch",
    params(BatchPath),
    responses(ReadProblems, (status = 200, body = BatchView, description = "what has become of it")),
)]
pub async fn cancel(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let id = batch_of(&request)?;
    to_its_end(async move {
        let outgoing = state.app.outgoing.of(&caller.organization);
        let entry = caller.origin().entry(Action::BatchCancel).about(Subject::Batch(id.clone()));
        let progress = outgoing.cancel_batch(&id, entry).await?.ok_or_else(not_found)?;
        Ok(HttpResponse::Ok().json(BatchView::from(progress)))
    })
    .await
}

/// Which batch is meant.
struct BatchPath {
    batch_id: String,
}

impl Declared for BatchPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let batch_id = fields.required("batch_id", "The batch.", kinds::any_text());
        Ok(Self { batch_id: batch_id? })
    }
}

/// The query of `GET /api/sms/batches/{batch_id}/messages`.
struct BatchQuery {
    skip: usize,
    limit: u32,
}

impl Declared for BatchQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let skip = fields.optional("cursor", "`next_cursor` of the page before.", kinds::offset(5));
        let limit =
            fields.with_default("limit", "Messages in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        Ok(Self { skip: skip?.unwrap_or_default(), limit: limit? })
    }
}

contract::parameters!(Path: BatchPath);
contract::parameters!(Query: BatchQuery);

/// Each recipient of a batch, in the order of the request.
///
/// A page at a time: ask again with `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/batches/{batch_id}/messages", tags = [operations::TAG, operations::BATCHES], operation_id = "listBatchMessages",
    params(BatchPath, BatchQuery),
    responses(ReadProblems, (status = 200, body = MessagesPage, description = "messages, in the order of the request")),
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let id = batch_of(&request)?;
    let BatchQuery { skip, limit } = contract::query(&request, &state.context())?;
    let limit = limit as usize;
    let page = state.app.outgoing.of(&caller.organization).batch_messages(&id, skip, limit).await?;
    let BatchPage { messages, unreadable, next } = page.ok_or_else(not_found)?;
    let messages = messages.iter().map(MessageView::from).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(MessagesPage { messages, unreadable, next_cursor }))
}

fn batch_of(request: &HttpRequest) -> Result<BatchId, Problem> {
    let path: BatchPath = contract::path(request)?;
    path.batch_id.parse().map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::not_found("this batch")
}
