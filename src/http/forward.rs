//! How far the application has been told of what happens, and what is told it again.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Declared, Fields, Read, Request, kinds,
        operations::{self, ReadProblems, WriteProblems},
        words,
    },
    problem::Problem,
    time, to_its_end,
};
use crate::{
    app::forwards::EndpointStanding,
    domain::{ForwardEvent, ForwardFormat, UnixMs},
};

/// How it goes with an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointStanding)]
struct StandingView {
    id: String,
    /// The URL, with three asterisks for a user name and password.
    url: String,
    #[schema(value_type = Vec<words::ForwardEvent>)]
    events: Vec<ForwardEvent>,
    #[schema(value_type = words::ForwardFormat)]
    format: ForwardFormat,
    reply: bool,
    #[schema(value_type = words::EndpointState)]
    state: &'static str,
    /// Since when it takes nothing.
    #[schema(format = DateTime)]
    failing_since: Option<String>,
    /// What it answered last that was no success.
    #[schema(example = "answered 503")]
    last_failure: Option<String>,
    /// When it was paused.
    #[schema(format = DateTime)]
    paused_at: Option<String>,
    /// When the oldest event was added that it has not been told; null if it has been told all.
    #[schema(format = DateTime)]
    waiting_since: Option<String>,
    /// Events that it did not take, and that are told again.
    retrying: usize,
}

/// The application's endpoints.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointStandings)]
struct StandingsView {
    endpoints: Vec<StandingView>,
}

impl From<EndpointStanding> for StandingView {
    fn from(standing: EndpointStanding) -> Self {
        use words::{EndpointState, Words};
        let state = match (standing.paused_at, standing.failing_since) {
            (Some(_), _) => EndpointState::Paused,
            (None, Some(_)) => EndpointState::Failing,
            (None, None) => EndpointState::Working,
        };
        let endpoint = standing.endpoint;
        Self {
            url: endpoint.shown_url(),
            id: endpoint.id,
            events: endpoint.events.into_iter().collect(),
            format: endpoint.format,
            reply: endpoint.reply,
            state: state.as_str(),
            failing_since: standing.failing_since.map(time),
            last_failure: standing.last_failure,
            paused_at: standing.paused_at.map(time),
            waiting_since: standing.waiting_since.map(time),
            retrying: standing.retrying,
        }
    }
}

/// How far the application has been told.
///
/// Each endpoint of the settings' `forward`: whether it takes what it is told, and since when something waits for it.
#[utoipa::path(
    get, path = "/api/sms/forward", tags = [operations::TAG, operations::SETUP], operation_id = "listForward",
    responses(ReadProblems, (status = 200, body = StandingsView, description = "the endpoints")),
)]
pub async fn list(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    standings(&state, &caller).await
}

async fn standings(state: &State, caller: &Caller) -> Result<HttpResponse, Problem> {
    let standings = state.app.forwards.of(&caller.organization).standings().await?;
    let endpoints = standings.into_iter().map(StandingView::from).collect();
    Ok(HttpResponse::Ok().json(StandingsView { endpoints }))
}

/// What is to be told again.
struct ReplayRequest {
    since: Option<UnixMs>,
    id: Option<String>,
}

impl Request for ReplayRequest {
    const NAME: &'static str = "ReplayRequest";
    const MEANING: &'static str = "What the application is to be told again.";

    fn example() -> Option<Value> {
        Some(json!({ "since": "2026-11-01T09:00:00Z" }))
    }
}

impl Declared for ReplayRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let since = fields.optional(
            "since",
            "What has happened since then is told again, with the ids that it had. Without it, an endpoint that was paused goes on \
             where it stopped.",
            kinds::time(),
        );
        let id = fields.optional("id", "To this endpoint alone.", kinds::any_text());
        Ok(Self { since: since?, id: id? })
    }
}

contract::request_body!(ReplayRequest);

/// Tells the application again.
///
/// Ends the pause of an endpoint that was away for a day. Texts of messages are kept for two days to be told; a message whose text is
/// gone is not told again in the format `twilio`, and without its text in the format `standard`.
#[utoipa::path(
    post, path = "/api/sms/forward/replay", tags = [operations::TAG, operations::SETUP], operation_id = "replayForward",
    request_body = ReplayRequest,
    responses(WriteProblems, (status = 200, body = StandingsView, description = "the endpoints, as they are from now on")),
)]
pub async fn replay(state: web::Data<State>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let ReplayRequest { since, id } = body.read(&state.context())?;
    to_its_end(async move {
        let forwards = state.app.forwards.of(&caller.organization);
        if !forwards.replay(id.as_deref(), since, &caller.origin()).await? {
            let detail = "there is no such endpoint: GET /api/sms/forward lists them";
            return Err(Problem::invalid_field("id", detail));
        }
        standings(&state, &caller).await
    })
    .await
}
