//! Numbers to which nothing is sent, since their messages have failed for the number's own fault.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, PersonPath, Read, kinds,
        operations::{self, ReadProblems},
        words,
    },
    problem::Problem,
    time, to_its_end,
};
use crate::{
    app::consents::suppressions::Suppression,
    domain::consent::{ConsentChannel, Failure},
    phone,
    twilio::error_code::ErrorCode,
};

/// Numbers in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 50;

/// The most numbers in a page.
const LIMIT_MAX: u32 = 500;

/// The query of `GET /api/sms/suppressions`.
struct ListQuery {
    limit: u32,
    cursor: Option<String>,
}

impl Declared for ListQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let limit =
            fields.with_default("limit", "Numbers in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        let cursor = fields.optional("cursor", "`next_cursor` of the page before.", kinds::any_text());
        Ok(Self { limit: limit?, cursor: cursor? })
    }
}

contract::parameters!(Query: ListQuery);

/// The numbers to which nothing is sent.
///
/// A number's messages have failed on a channel, several in a row, with an error that is the number's own fault, such as 30005. A send
/// to it is refused with `recipient_unreachable` until a message arrives there, comes from there, or somebody lifts it.
#[utoipa::path(
    get, path = "/api/sms/suppressions", tags = [operations::TAG, operations::CONSENT], operation_id = "listSuppressions",
    params(ListQuery),
    responses(ReadProblems, (status = 200, body = SuppressionsPage, description = "the numbers, by their text")),
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let ListQuery { limit, cursor } = contract::query(&request, &state.context())?;
    let consents = state.app.consents.of(&caller.organization);
    let (suppressions, next_cursor) = consents.suppressions(cursor.as_deref(), limit as usize).await?;
    let suppressions = suppressions.into_iter().map(SuppressionView::from).collect();
    Ok(HttpResponse::Ok().json(SuppressionsPage { suppressions, next_cursor }))
}

/// Sends to a number again.
///
/// On every channel. The count of failures begins anew.
#[utoipa::path(
    delete, path = "/api/sms/suppressions/{phone}", tags = [operations::TAG, operations::CONSENT],
    operation_id = "liftSuppression", params(PersonPath),
    responses(ReadProblems, (status = 204, description = "it is sent to again, or was not suppressed")),
)]
pub async fn lift(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let path: PersonPath = contract::path(&request)?;
    let region = state.app.settings().default_region;
    let phone = phone::person(&path.phone, region).map_err(Problem::invalid_phone_number)?;
    to_its_end(async move {
        let consents = state.app.consents.of(&caller.organization);
        consents.lift_suppression(&phone, &caller.origin()).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

/// A number to which nothing is sent on a channel.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppression)]
struct SuppressionView {
    #[schema(example = "+14155552671")]
    phone_number: String,
    #[schema(value_type = words::ConsentChannel)]
    channel: ConsentChannel,
    #[schema(format = DateTime)]
    since: String,
    /// Twilio's code for the latest failure.
    #[schema(example = 30005)]
    code: u32,
    title: &'static str,
    meaning: &'static str,
    /// What to do about it.
    mend: &'static str,
    /// The messages that have failed, the latest ten of them, oldest first.
    failures: Vec<FailureView>,
}

/// A message that has failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SuppressionFailure)]
struct FailureView {
    code: u32,
    #[schema(format = DateTime)]
    at: String,
    /// Twilio's SID, or textledger's own id.
    message: String,
}

/// A page of such numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppressions)]
struct SuppressionsPage {
    suppressions: Vec<SuppressionView>,
    /// Null at the end.
    next_cursor: Option<String>,
}

impl From<Suppression> for SuppressionView {
    fn from(suppression: Suppression) -> Self {
        let code = suppression.failures.last().map_or(0, |failure| failure.code);
        let described = ErrorCode::new(code).describe_or_unknown();
        Self {
            phone_number: suppression.phone.into(),
            channel: suppression.channel,
            since: time(suppression.since),
            code,
            title: described.title,
            meaning: described.meaning,
            mend: described.mend,
            failures: suppression.failures.into_iter().map(FailureView::from).collect(),
        }
    }
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, at: time(failure.at), message: failure.message }
    }
}
