//! Replies that may be an opt-out: those that wait for somebody to read them, and what is decided.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    consent::ConsentView,
    contract::{
        self, Body, Declared, Fields, Read, Request, kinds,
        operations::{self, ReadProblems, WriteProblems},
        words,
    },
    problem::Problem,
    time, to_its_end,
};
use crate::{
    app::consents::reviews::{Review, ReviewError, ReviewPlace, Reviews, Verdict},
    domain::{
        audit::{Action, Facts, Subject},
        consent::ConsentChannel,
    },
    twilio::MessageSid,
};

/// Reviews in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The most reviews in a page.
const LIMIT_MAX: u32 = 500;

/// A reply that waits for a decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Review)]
struct ReviewView {
    #[schema(value_type = String)]
    message_sid: MessageSid,
    phone_number: String,
    /// The channel that is held back.
    #[schema(value_type = words::ConsentChannel)]
    channel: ConsentChannel,
    /// What the person wrote; null if no key of `TEXTLEDGER_MASTER_KEY` opens it.
    words: Option<String>,
    /// The rule by which it is doubtful, as docs/replies.md lists them.
    #[schema(example = "slip")]
    rule: &'static str,
    /// The language that it was read in, in two letters.
    #[schema(example = "en")]
    language: Option<&'static str>,
    #[schema(format = DateTime)]
    at: String,
    /// When it becomes an opt-out.
    #[schema(format = DateTime)]
    decide_by: String,
}

impl From<Review> for ReviewView {
    fn from(review: Review) -> Self {
        Self {
            message_sid: review.message_sid,
            phone_number: review.phone.into(),
            channel: review.channel,
            words: review.words,
            rule: review.rule.name(),
            language: review.language.map(|language| language.code()),
            at: time(review.at),
            decide_by: time(review.decide_by),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Reviews)]
struct ReviewsPage {
    reviews: Vec<ReviewView>,
    /// How many replies may wait among these as well and cannot be read by this version.
    unreadable: usize,
    next_cursor: Option<String>,
}

/// The query of `GET /api/sms/consent/reviews`.
struct ReviewsQuery {
    cursor: Option<ReviewPlace>,
    limit: u32,
}

impl Declared for ReviewsQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let cursor = fields.optional("cursor", "`next_cursor` of the page before.", kinds::cursor());
        let limit =
            fields.with_default("limit", "Reviews in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        Ok(Self { cursor: cursor?, limit: limit? })
    }
}

contract::parameters!(Query: ReviewsQuery);

/// Replies that may be an opt-out and wait for a decision.
///
/// Oldest first, with their words. Nothing but the category `emergency` is sent to these persons on these channels until
/// somebody decides; at `decide_by` a reply becomes an opt-out. A page at a time: ask again with `next_cursor` as `cursor`
/// until it is null.
#[utoipa::path(
    get, path = "/api/sms/consent/reviews", tags = [operations::TAG, operations::CONSENT], operation_id = "listReviews",
    params(ReviewsQuery),
    responses(ReadProblems, (status = 200, body = ReviewsPage, description = "the open reviews")),
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let ReviewsQuery { cursor, limit } = contract::query(&request, &state.context())?;
    let consents = state.app.consents.of(&caller.organization);
    let Reviews { reviews, unreadable, next } = consents.reviews(cursor.as_ref(), limit as usize).await?;
    let reviews = reviews.into_iter().map(ReviewView::from).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(ReviewsPage { reviews, unreadable, next_cursor }))
}

/// A path that names a reply.
struct ReviewPath {
    name: String,
}

impl Declared for ReviewPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let name = fields.required("message_sid", "Twilio's SID of the reply.", kinds::any_text());
        Ok(Self { name: name? })
    }
}

contract::parameters!(Path: ReviewPath);

/// A decision on a reply.
pub struct ReviewRequest {
    decision: words::ReviewDecision,
}

impl Request for ReviewRequest {
    const NAME: &'static str = "ReviewRequest";
    const MEANING: &'static str = "A decision on a reply.";

    fn example() -> Option<Value> {
        Some(json!({ "decision": "opt_out" }))
    }
}

impl Declared for ReviewRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "What the reply was.";
        let decision = fields.required("decision", meaning, kinds::word::<words::ReviewDecision>());
        Ok(Self { decision: decision? })
    }
}

contract::request_body!(ReviewRequest);

/// Decides on a reply.
///
/// Everyone who may send may decide that it was an opt-out, which is then the person's own word; only an administrator
/// dismisses it, after which what was held leaves. Deciding the same again changes nothing; something else is refused with
/// `review_decided`.
#[utoipa::path(
    post, path = "/api/sms/consent/reviews/{message_sid}", tags = [operations::TAG, operations::CONSENT], operation_id = "decideReview",
    params(ReviewPath), request_body = ReviewRequest,
    responses(WriteProblems, (status = 200, body = ConsentView, description = "what is known of the person now")),
)]
pub async fn decide(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let ReviewPath { name } = contract::path(&request)?;
    let ReviewRequest { decision } = body.read(&state.context())?;
    let verdict = match decision {
        words::ReviewDecision::OptOut => Verdict::OptOut,
        words::ReviewDecision::Dismiss => {
            caller.require(Right::Administer)?;
            Verdict::Dismiss
        }
    };
    let message_sid = MessageSid::parse(&name).map_err(|_| ReviewError::Unknown)?;
    to_its_end(async move {
        let consents = state.app.consents.of(&caller.organization);
        let facts = Facts { decision: Some(words::Words::as_str(decision).to_owned()), ..Facts::default() };
        let entry = caller.origin().entry(Action::ReviewDecide).with(facts);
        let entry = entry.about(Subject::MessageSid(message_sid.clone()));
        let (phone, consent) = consents.decide_review(&message_sid, verdict, caller.name(), &entry).await?;
        Ok(HttpResponse::Ok().json(ConsentView::of(phone.into(), consent)))
    })
    .await
}
