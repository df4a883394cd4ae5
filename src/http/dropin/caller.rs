//! Who calls with a library of Twilio's: HTTP basic authentication, an account SID and what here stands in for its token.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::LocalBoxFuture;

use super::errors::ApiError;
use crate::{
    http::{
        State,
        auth::{self, Caller, Right, admit},
    },
    metrics::SignInRefusal,
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
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<State>>().ok_or_else(ApiError::not_authenticated)?;
            let (caller, account_sid) = match authenticate(state, &request).await {
                Ok((caller, account_sid)) => (Ok(caller), Some(account_sid)),
                Err(refusal) => (Err(refusal), None),
            };
            let caller = admit(state, &request, caller)?;
            let account_sid = account_sid.ok_or_else(ApiError::not_authenticated)?;
            Ok(Self { caller, account_sid })
        })
    }
}

/// The password is an API key or a token, whose organization has the account of the path. The user name is the account's
/// SID, or the SID of the API key, as with Twilio's own keys. Twilio answers another account's SID as it answers a wrong
/// token, so that nobody learns which accounts there are.
async fn authenticate(state: &State, request: &HttpRequest) -> Result<(Caller, AccountSid), SignInRefusal> {
    let (user, password) = basic(request).ok_or(SignInRefusal::NoCredentials)?;
    let caller = auth::authenticate(state, &password).await?;
    let account = state.app.accounts.find(&caller.organization).ok_or(SignInRefusal::WrongAccount)?;
    let account_sid = account.credentials.account_sid.clone();
    let is_key = caller.secret.is_some() && user == caller.name();
    let is_its_own = is_key || user == account_sid.as_str();
    if is_its_own && request.match_info().query("account_sid") == account_sid.as_str() {
        Ok((caller, account_sid))
    } else {
        Err(SignInRefusal::WrongAccount)
    }
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
