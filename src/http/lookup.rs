//! What a number is, without asking anybody; or, for money, with Twilio's word on its line.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    auth::{Caller, Right},
    openapi::{self, ReadProblems, TwilioProblems},
    problem::Problem,
    query,
};
use crate::{
    phone::{self, Described},
    twilio::resource::Line,
};

/// The query of `GET /api/sms/lookup/{phone}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// Asks Twilio Lookup, which it bills.
    #[serde(default)]
    carrier: bool,
}

/// A number as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Number)]
struct Shown {
    phone_number: String,
    national_format: Option<String>,
    country: Option<String>,
    calling_code: Option<u16>,
    /// `mobile`, `landline`, `fixed_or_mobile`, `toll_free` and so on, by the number alone; by Twilio with `carrier`.
    #[serde(rename = "type")]
    kind: Option<String>,
    valid: bool,
    #[schema(value_type = Option<openapi::Line>)]
    carrier: Option<Line>,
}

/// A number's normal form, country and type.
///
/// Without `carrier` nobody is asked, and nothing is billed.
#[utoipa::path(
    get, path = "/api/sms/lookup/{phone}", tags = [openapi::TAG, openapi::NUMBERS], operation_id = "lookUp",
    params(("phone" = String, Path, description = "a number in E.164, or of the default region", example = "+14155552671"), Query),
    responses(ReadProblems, TwilioProblems, (status = 200, body = Shown, description = "what it is")),
)]
pub async fn lookup(
    state: web::Data<State>,
    caller: Caller,
    typed: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let query: Query = query::read(&request)?;
    let region = state.app.settings().default_region;
    let number = phone::normalize(&typed, region).map_err(Problem::invalid_phone_number)?;
    let Described { country, calling_code, national_format, kind, is_valid } = phone::describe(&number);
    let carrier = if query.carrier {
        // Twilio bills every question.
        caller.require(Right::Send)?;
        Some(state.app.accounts.of(&caller.organization).look_up(&number).await?)
    } else {
        None
    };
    let kind = carrier.as_ref().and_then(|line| line.kind.clone()).or(kind);
    Ok(HttpResponse::Ok().json(Shown {
        phone_number: number.into(),
        national_format,
        country,
        calling_code,
        kind,
        valid: is_valid,
        carrier,
    }))
}
