//! Who calls with a library of Twilio's: HTTP basic authentication, with the credentials that an application has for Twilio,
//! or with an account SID and what here stands in for its token.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::AUTHORIZATION, web};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::LocalBoxFuture;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::errors::ApiError;
use crate::{
    app::accounts::Account,
    domain::{Principal, Role},
    http::{
        State,
        auth::{self, Caller, Right, admit},
    },
    metrics::SignInRefusal,
    twilio::{AccountSid, Credentials},
};

/// A caller, and the account that their organization sends through: that of the path, and of their credentials.
pub struct SdkCaller {
    /// Who calls.
    pub caller: Caller,
    /// Their organization's account.
    pub account_sid: AccountSid,
    /// The account and its auth token, if they signed in with that: Twilio lets them do everything.
    pub own_token: Option<Credentials>,
}

impl SdkCaller {
    /// Refuses a caller whose role is not enough.
    pub fn require(&self, right: Right) -> Result<(), ApiError> {
        self.caller.require(right).map_err(|_| ApiError::forbidden(self.caller.role))
    }
}

/// Who has signed in.
struct SignedIn {
    caller: Caller,
    account_sid: AccountSid,
    own_token: Option<Credentials>,
}

impl FromRequest for SdkCaller {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = request.app_data::<web::Data<State>>().ok_or_else(ApiError::not_authenticated)?;
            match authenticate(state, &request).await {
                Ok(SignedIn { caller, account_sid, own_token }) => {
                    let caller = admit(state, &request, Ok(caller))?;
                    Ok(Self { caller, account_sid, own_token })
                }
                Err(refusal) => match admit(state, &request, Err(refusal)) {
                    Err(problem) => Err(problem.into()),
                    Ok(_) => Err(ApiError::not_authenticated()),
                },
            }
        })
    }
}

/// There are four ways: the account's SID and auth token, or the SID and secret of the account's own API key, as Twilio takes
/// them; and one of our keys or tokens as the password, whose organization has the account, with the account's SID or that of
/// the key as the user name.
///
/// The account is that of the path, if it names one. Twilio answers another account's SID as it answers a wrong token, so that
/// nobody learns which accounts there are.
async fn authenticate(state: &State, request: &HttpRequest) -> Result<SignedIn, SignInRefusal> {
    let (user, password) = basic(request).ok_or(SignInRefusal::NoCredentials)?;
    let named = request.match_info().get("account_sid");
    let signed_in = match with_credentials_of_twilio(state, named, &user, &password) {
        Some(signed_in) => signed_in,
        None => with_credentials_of_ours(state, &user, &password).await?,
    };
    if named.is_none_or(|named| named == signed_in.account_sid.as_str()) {
        Ok(signed_in)
    } else {
        Err(SignInRefusal::WrongAccount)
    }
}

/// Whoever has the account's own credentials: they may send and read, as with a key of ours of the role `sender`.
fn with_credentials_of_twilio(
    state: &State,
    named: Option<&str>,
    user: &str,
    password: &SecretString,
) -> Option<SignedIn> {
    if !state.app.settings().dropin_auth_token {
        return None;
    }
    let sid = AccountSid::parse(user).or_else(|_| AccountSid::parse(named.unwrap_or_default())).ok()?;
    let account = state.app.accounts.by_sid(&sid)?;
    let settings = &account.settings;
    let mut tokens = std::iter::once(&settings.auth_token).chain(&settings.auth_token_secondary);
    if user == settings.account_sid.as_str() && tokens.any(|token| is_same(token, password)) {
        let own_token = Credentials::with_auth_token(settings.account_sid.clone(), password.clone());
        return Some(signed_in(&account, user, Some(own_token)));
    }
    let key = settings.api_key.as_ref().filter(|key| key.id == user && is_same(&key.secret, password))?;
    Some(signed_in(&account, &key.id, None))
}

/// Whoever has `sid`'s secret.
fn signed_in(account: &Account, sid: &str, own_token: Option<Credentials>) -> SignedIn {
    let caller = Caller {
        principal: Principal::account(sid),
        role: Role::Sender,
        organization: account.organization.clone(),
        expires_at: None,
        secret: None,
        public_key: None,
        own_number: None,
        request_id: None,
    };
    SignedIn { caller, account_sid: account.credentials.account_sid.clone(), own_token }
}

async fn with_credentials_of_ours(
    state: &State,
    user: &str,
    password: &SecretString,
) -> Result<SignedIn, SignInRefusal> {
    let caller = auth::authenticate(state, password.expose_secret()).await?;
    let account = state.app.accounts.find(&caller.organization).ok_or(SignInRefusal::WrongAccount)?;
    let account_sid = account.credentials.account_sid.clone();
    let is_key = caller.secret.is_some() && user == caller.name();
    if is_key || user == account_sid.as_str() {
        Ok(SignedIn { caller, account_sid, own_token: None })
    } else {
        Err(SignInRefusal::WrongAccount)
    }
}

fn is_same(known: &SecretString, given: &SecretString) -> bool {
    known.expose_secret().as_bytes().ct_eq(given.expose_secret().as_bytes()).into()
}

fn basic(request: &HttpRequest) -> Option<(String, SecretString)> {
    let (scheme, credentials) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.into()))
}
