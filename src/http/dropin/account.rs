//! The account that a caller's organization sends through. Programs look at it to see whether their credentials are good.
//!
//! Source: <https://www.twilio.com/docs/iam/api/account>.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{SdkCaller, errors::ApiError, form_body::RawBody, passthrough};
use crate::http::{State, auth::Right};

/// Accounts on a page, as Twilio has them unless it is told otherwise.
const PAGE_SIZE: usize = 50;

/// `GET /2010-04-01/Accounts/{AccountSid}.json`.
pub(super) async fn fetch(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    if caller.own_token.is_some() {
        return passthrough::forward(&state, &caller, &request, RawBody::default()).await;
    }
    Ok(HttpResponse::Ok().json(account(&state, &caller).await?))
}

/// `GET /2010-04-01/Accounts.json`: without the account's own token, there is this account alone.
pub(super) async fn list(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    if caller.own_token.is_some() {
        return passthrough::forward(&state, &caller, &request, RawBody::default()).await;
    }
    let uri = format!("{}?PageSize={PAGE_SIZE}&Page=0", request.path());
    Ok(HttpResponse::Ok().json(json!({
        "accounts": [account(&state, &caller).await?],
        "page": 0,
        "page_size": PAGE_SIZE,
        "start": 0,
        "end": 0,
        "uri": uri,
        "first_page_uri": uri,
        "next_page_uri": null,
        "previous_page_uri": null,
    })))
}

async fn account(state: &State, caller: &SdkCaller) -> Result<Value, ApiError> {
    Ok(state.app.passthrough.of(&caller.caller.organization).account().await?.0)
}
