//! What is too old, for administrators.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::operations::{self, ReadProblems},
    problem::Problem,
};
use crate::store::Removed;

/// What is older than things are kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Retention)]
struct RetentionView {
    /// How many days things are kept.
    days: u64,
    would_remove: RemovedView,
}

/// How much would be taken away now, by kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Removed)]
struct RemovedView {
    /// Messages of which nothing was heard for so long, and for which nothing is left to be done.
    messages: u64,
    /// Events of status changes.
    deliveries: u64,
    /// Events of messages received.
    inbound: u64,
    /// Events of opt-outs and opt-ins; what is known of consent stays.
    consents: u64,
}

impl From<Removed> for RemovedView {
    fn from(Removed { messages, deliveries, inbound, consents }: Removed) -> Self {
        Self { messages, deliveries, inbound, consents }
    }
}

/// What is too old.
///
/// What the retention would take away now, by kind. Nothing is changed. It is counted one by one, which takes its time where much
/// is too old.
#[utoipa::path(
    get, path = "/api/sms/retention", tags = [operations::TAG, operations::SETUP], operation_id = "getRetention",
    responses(ReadProblems, (status = 200, body = RetentionView, description = "what would be taken away now")),
)]
pub async fn dry_run(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let would_remove = state.app.retention.of(&caller.organization).would_remove().await?.into();
    let days = state.app.settings().retention.as_secs() / (24 * 60 * 60);
    Ok(HttpResponse::Ok().json(RetentionView { days, would_remove }))
}
