//! What a number is, without asking anybody; or, for money, with Twilio's word on its line.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, PhonePath, Read, kinds,
        operations::{self, ReadProblems, TwilioProblems},
    },
    problem::Problem,
};
use crate::{
    phone::{self, Described},
    twilio::resource::Line,
};

/// The query of `GET /api/sms/lookup/{phone}`.
struct LookupQuery {
    carrier: bool,
}

impl Declared for LookupQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let carrier =
            fields.with_default("carrier", "Asks Twilio Lookup, which it bills.", false, kinds::switch());
        Ok(Self { carrier: carrier? })
    }
}

contract::parameters!(Query: LookupQuery);

/// A number as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Number)]
struct NumberView {
    phone_number: String,
    national_format: Option<String>,
    country: Option<String>,
    calling_code: Option<u16>,
    /// `mobile`, `landline`, `fixed_or_mobile`, `toll_free` and so on, by the number alone; by Twilio with `carrier`.
    #[serde(rename = "type")]
    kind: Option<String>,
    valid: bool,
    carrier: Option<LineView>,
}

/// What Twilio knows of a number's line.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Line)]
struct LineView {
    /// `mobile`, `landline`, `fixedVoip`, `nonFixedVoip`, `tollFree` and so on.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Who runs it.
    carrier_name: Option<String>,
    /// The country of a mobile network.
    mobile_country_code: Option<String>,
    /// The mobile network.
    mobile_network_code: Option<String>,
    /// Why Twilio does not know.
    error_code: Option<u32>,
}

impl From<Line> for LineView {
    fn from(line: Line) -> Self {
        Self {
            kind: line.kind,
            carrier_name: line.carrier_name,
            mobile_country_code: line.mobile_country_code,
            mobile_network_code: line.mobile_network_code,
            error_code: line.error_code,
        }
    }
}

/// A number's normal form, country and type.
///
/// Without `carrier` nobody is asked, and nothing is billed.
#[utoipa::path(
    get, path = "/api/sms/lookup/{phone}", tags = [operations::TAG, operations::NUMBERS], operation_id = "lookUp",
    params(PhonePath, LookupQuery),
    responses(ReadProblems, TwilioProblems, (status = 200, body = NumberView, description = "what it is")),
)]
pub async fn lookup(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let context = state.context();
    let path: PhonePath = contract::path(&request)?;
    let query: LookupQuery = contract::query(&request, &context)?;
    let number = phone::normalize(&path.phone, context.region).map_err(Problem::invalid_phone_number)?;
    let Described { country, calling_code, national_format, kind, is_valid } = phone::describe(&number);
    let carrier = if query.carrier {
        // Twilio bills every question.
        caller.require(Right::Send)?;
        Some(state.app.accounts.of(&caller.organization).look_up(&number).await?)
    } else {
        None
    };
    let kind = carrier.as_ref().and_then(|line| line.kind.clone()).or(kind);
    Ok(HttpResponse::Ok().json(NumberView {
        phone_number: number.into(),
        national_format,
        country,
        calling_code,
        kind,
        valid: is_valid,
        carrier: carrier.map(LineView::from),
    }))
}
