//! Who calls with a library of Twilio's: HTTP basic authentication, an account SID and what here stands in for its token.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::errors::ApiError;
use crate::{
    http::{
        State,
        auth::{Caller, Right, known},
    },
    twilio::AccountSid,
};

/// A caller, and the account that their organization sends through: that of the path, and of their credentials.
pub struct SdkCaller {
    /// Who calls.
    pub caller: Caller,
    /// Their organization's account.
    pub account_sid: AccountSid,
}

impl SdkCaller {
    /// Refuses a caller whose role is not enough.
    pub fn require(&self, right: Right) -> Result<(), ApiError> {
        self.caller.require(right).map_err(|_| ApiError::forbidden(self.caller.role))
    }
}

impl FromRequest for SdkCaller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (caller, account_sid) = authenticate(request).unzip();
        let caller = known(request, caller).map_err(ApiError::from);
        ready(caller.and_then(|caller| {
            let account_sid = account_sid.ok_or_else(ApiError::not_authenticated)?;
            Ok(Self { caller, account_sid })
        }))
    }
}

/// The user name is the account's SID, the password an API key (or a token), whose organization has that account. Twilio
/// answers another account's SID as it answers a wrong token, so that nobody learns which accounts there are.
fn authenticate(request: &HttpRequest) -> Option<(Caller, AccountSid)> {
    let (user, password) = basic(request)?;
    let state = request.app_data::<web::Data<State>>()?;
    let caller = state.authenticator.authenticate(&password)?;
    let account_sid = state.app.accounts.find(&caller.organization)?.credentials.account_sid.clone();
    let named = [user.as_str(), request.match_info().query("account_sid")];
    named.iter().all(|sid| *sid == account_sid.as_str()).then_some((caller, account_sid))
}

fn basic(request: &HttpRequest) -> Option<(String, String)> {
    let (scheme, credentials) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
