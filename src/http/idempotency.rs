//! `Idempotency-Key`: a POST that sends is done once, however often it is made.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, http::StatusCode, web};

use tracing::Instrument;

use super::{
    State,
    auth::Caller,
    contract::{self, Declared, Fields, Read, kinds},
    problem::{Code, Problem},
};
use crate::app::idempotency::{Answer, End, Request, Seed, Turn};

/// The header.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The longest key, in characters.
const KEY_CHARACTERS_MAX: usize = 255;

/// The key of a request, if it has one.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(Option<String>);

impl Declared for IdempotencyKey {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let key = fields.optional(
            IDEMPOTENCY_KEY,
            "The same key and body within 24 hours give the first answer again, and send nothing.",
            kinds::visible_ascii(1..=KEY_CHARACTERS_MAX),
        );
        key.map(Self)
    }
}

contract::parameters!(Header: IdempotencyKey);

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(contract::header(request, IDEMPOTENCY_KEY))
    }
}

/// What a request that sends can fail with.
pub trait Failure {
    /// Whether it is the store that failed, so that something may have been stored and may leave.
    fn is_of_store(&self) -> bool;
}

impl Failure for Problem {
    fn is_of_store(&self) -> bool {
        matches!(self.code(), Code::StoreUnavailable | Code::StoreNotKnown)
    }
}

/// What a request that sends has come to.
pub struct Outcome {
    /// The HTTP status.
    pub status: StatusCode,
    /// The JSON.
    pub body: String,
}

impl Outcome {
    /// `body` as JSON.
    pub fn new(status: StatusCode, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers have string keys and no failing serializer");
        Self { status, body }
    }
}

/// Does `work` once per key; without a key, at once. A caller that hangs up does not stop it half-way.
///
/// `digest` is that of the body, `route` names what is asked for. What failed may be tried again under its key: nothing
/// was sent; or, where the store failed, a repetition goes on with what is stored.
pub async fn once<W, F, E>(
    state: web::Data<State>,
    caller: &Caller,
    route: &'static str,
    key: IdempotencyKey,
    digest: String,
    work: W,
) -> Result<HttpResponse, E>
where
    W: FnOnce(Option<Seed>) -> F + 'static,
    F: Future<Output = Result<Outcome, E>> + 'static,
    E: From<Problem> + Failure + 'static,
{
    let Some(key) = key.0 else {
        let outcome = actix_web::rt::spawn(work(None).in_current_span()).await;
        return outcome.expect("the work does not panic and is not aborted").map(answer);
    };
    let request = Request {
        organization: caller.organization.clone(),
        caller: caller.principal.clone(),
        route,
        key,
        digest,
    };
    let begun = match state.app.idempotency.begin(&request).await.map_err(Problem::from)? {
        Turn::First(begun) => begun,
        Turn::Answered(Answer { status, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            return Ok(answer(Outcome { status, body }));
        }
        Turn::OtherBody => {
            return Err(Problem::new(
                Code::IdempotencyKeyReused,
                "this key was used with another body",
                "give every request a key of its own, and repeat one with the same body",
            )
            .into());
        }
        Turn::InProgress => {
            return Err(Problem::new(
                Code::IdempotencyInProgress,
                "the first request with this key is still being done",
                "repeat the request in some seconds, with the same key",
            )
            .into());
        }
    };
    let done = async move {
        let outcome = work(Some(begun.seed)).await;
        let end = match &outcome {
            Ok(Outcome { status, body }) => {
                End::Answered(Answer { status: status.as_u16(), body: body.clone() })
            }
            Err(error) if error.is_of_store() => End::Broken,
            Err(_) => End::NothingDone,
        };
        if let Err(error) = state.app.idempotency.end(&request, &begun, end).await {
            // A repetition finds what was sent by the ids that were settled at the beginning.
            tracing::error!(%error, "the answer to a request with a key could not be stored");
        }
        outcome
    };
    let done = actix_web::rt::spawn(done.in_current_span());
    done.await.expect("the work does not panic and is not aborted").map(answer)
}

fn answer(outcome: Outcome) -> HttpResponse {
    HttpResponse::build(outcome.status).content_type("application/json").body(outcome.body)
}
