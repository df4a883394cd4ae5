//! Bursts of first messages to neighbouring numbers: what is held of them, and what an administrator decides.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
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
    app::outgoing::held_traffic::{HeldBlock, HeldTraffic},
    domain::pumping::{DECISION_LASTS_MAX, Decision, Prefix, Verdict},
};

/// How long a decision is in force unless the caller says it, in seconds: as long as anything is held.
const LASTS_DEFAULT_S: u32 = 24 * 60 * 60;

/// The longest, in seconds.
const LASTS_MAX_S: u32 = DECISION_LASTS_MAX.as_secs() as u32;

/// What is held and decided.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuspiciousTraffic)]
struct TrafficView {
    /// What is held, by blocks of numbers; those first of which most is held.
    blocks: Vec<BlockView>,
    /// Whether that is all; otherwise more is held than is told, or something cannot be read.
    is_complete: bool,
    /// The decisions in force.
    decisions: Vec<DecisionView>,
}

/// What is held of a block of neighbouring numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HeldBlock)]
struct BlockView {
    /// What its numbers begin with.
    #[schema(example = "+4479111")]
    prefix: String,
    /// How many messages are held.
    held: usize,
    /// Since when the first of them is.
    #[schema(format = DateTime)]
    since: String,
    /// Since when the last of them is.
    #[schema(format = DateTime)]
    last_held_at: String,
    /// Who asked for them.
    actors: Vec<ActorView>,
}

/// How many of the messages one caller has asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HeldByActor)]
struct ActorView {
    #[schema(example = "api_key:crm")]
    actor: Option<String>,
    held: usize,
}

/// A decision on first messages to a block of numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrafficDecisionInForce)]
struct DecisionView {
    /// What the numbers begin with.
    #[schema(example = "+4479111")]
    prefix: String,
    #[schema(value_type = words::TrafficDecision)]
    decision: Verdict,
    /// Until when it is in force.
    #[schema(format = DateTime)]
    until: String,
    /// Who decided.
    #[schema(example = "user:ada")]
    actor: String,
    /// When.
    #[schema(format = DateTime)]
    at: String,
}

/// What a decision has done.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrafficDecided)]
struct DecidedView {
    /// How many messages that were held are not any more, by this decision.
    moved: usize,
}

impl From<HeldBlock> for BlockView {
    fn from(HeldBlock { prefix, held, since, last_held_at, actors }: HeldBlock) -> Self {
        let (since, last_held_at) = (time(since), time(last_held_at));
        let actors = actors.into_iter();
        let actors =
            actors.map(|(actor, held)| ActorView { actor: actor.map(|actor| actor.to_string()), held });
        Self { prefix, held, since, last_held_at, actors: actors.collect() }
    }
}

impl From<Decision> for DecisionView {
    fn from(Decision { prefix, verdict, until, by, at }: Decision) -> Self {
        let prefix = prefix.into();
        Self { prefix, decision: verdict, until: time(until), actor: by.to_string(), at: time(at) }
    }
}

impl From<HeldTraffic> for TrafficView {
    fn from(HeldTraffic { blocks, is_complete, decisions }: HeldTraffic) -> Self {
        let blocks = blocks.into_iter().map(BlockView::from).collect();
        Self { blocks, is_complete, decisions: decisions.into_iter().map(DecisionView::from).collect() }
    }
}

/// A path that names a block of numbers.
struct PrefixPath {
    prefix: Prefix,
}

impl Declared for PrefixPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "What its numbers begin with: + and digits, as they are listed, or fewer or more.";
        Ok(Self { prefix: fields.required("prefix", meaning, kinds::number_prefix())? })
    }
}

contract::parameters!(Path: PrefixPath);

/// A decision on a block of numbers.
pub struct TrafficRequest {
    verdict: Option<Verdict>,
    lasts: Duration,
}

impl Request for TrafficRequest {
    const NAME: &'static str = "TrafficRequest";
    const MEANING: &'static str = "A decision on first messages to a block of numbers.";

    fn example() -> Option<Value> {
        Some(json!({ "decision": "release" }))
    }
}

impl Declared for TrafficRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "What becomes of first messages to these numbers.";
        let decision = fields.required("decision", meaning, kinds::word::<words::TrafficDecision>());
        let meaning = "For how many seconds. After that they are judged as all others.";
        let for_s = fields.with_default("for_s", meaning, LASTS_DEFAULT_S, kinds::number(1..=LASTS_MAX_S));
        let verdict = match decision? {
            words::TrafficDecision::Release => Some(Verdict::Release),
            words::TrafficDecision::Refuse => Some(Verdict::Refuse),
            words::TrafficDecision::Judge => None,
        };
        Ok(Self { verdict, lasts: Duration::from_secs(for_s?.into()) })
    }
}

contract::request_body!(TrafficRequest);

/// Bursts of first messages that are held, and what is decided on them.
///
/// A message is held if it is the first to a person, one of a burst to neighbouring numbers, and not of the category
/// `emergency`.
#[utoipa::path(
    get, path = "/api/sms/suspicious-traffic", tags = [operations::TAG, operations::SETUP],
    operation_id = "listSuspiciousTraffic",
    responses(ReadProblems, (status = 200, body = TrafficView, description = "what is held")),
)]
pub async fn list(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let traffic = state.app.outgoing.of(&caller.organization).held_traffic().await?;
    Ok(HttpResponse::Ok().json(TrafficView::from(traffic)))
}

/// Releases or refuses first messages to a block of numbers.
///
/// Those that are held leave or are refused at once, new ones for `for_s`. Of two decisions that a number begins with, the
/// one on the longer prefix holds, also for what is held. People to whom Twilio has had an SMS, or of whose consent something is
/// known, are not concerned, nor is the category `emergency`. What is refused is so whether or not the guard against pumping
/// looks at these numbers.
#[utoipa::path(
    post, path = "/api/sms/suspicious-traffic/{prefix}", tags = [operations::TAG, operations::SETUP],
    operation_id = "decideSuspiciousTraffic",
    params(PrefixPath), request_body = TrafficRequest,
    responses(WriteProblems, (status = 200, body = DecidedView, description = "what it has done")),
)]
pub async fn decide(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let PrefixPath { prefix } = contract::path(&request)?;
    let TrafficRequest { verdict, lasts } = body.read(&state.context())?;
    to_its_end(async move {
        let outgoing = state.app.outgoing.of(&caller.organization);
        let moved = outgoing.decide_on_traffic(&caller.origin(), &prefix, verdict, lasts).await?;
        Ok(HttpResponse::Ok().json(DecidedView { moved }))
    })
    .await
}
