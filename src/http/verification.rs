//! Whether a request is Twilio's: read once, within bounds, and verified over its raw bytes.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{
        Method, StatusCode,
        header::{CONTENT_TYPE, HeaderName},
    },
    web,
};
use bytes::Bytes;

use super::{
    State,
    connections::{self, Proof},
    payload_kind::PayloadKind,
    refusals::RefusedRequest,
};
use crate::{
    app::accounts::Account,
    metrics::{Route, WebhookResult},
    twilio::{
        AccountSid, Form,
        signature::{self, Request, SETTINGS_HEADER, SIGNATURE_HEADER},
        webhook::InvalidWebhook,
    },
};

/// The longest form that Twilio may post, in bytes; its own are a few thousand.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive. Twilio gives up sooner.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Accounts whose keys are tried for a request that names none.
const ACCOUNTS_TRIED_MAX: usize = 64;

/// The media type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// Why a webhook request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It names no account of ours.
    #[error("the signature is refused: {0}")]
    NoAccount(&'static str),
    /// No signature, or a wrong one.
    #[error("the signature is refused: {0}")]
    Refused(#[from] signature::Refusal),
    /// Signed, but not a request we can read.
    #[error("the request is invalid: {0}")]
    Invalid(#[from] InvalidWebhook),
    /// Longer than may be.
    #[error("the body is too long")]
    TooLarge,
    /// Of another content type.
    #[error("the content type is not {0}")]
    UnsupportedMediaType(&'static str),
    /// The body ended early.
    #[error("the body could not be read")]
    Unreadable,
    /// The body took longer than [`BODY_TIME_MAX`].
    #[error("the body did not arrive in time")]
    TooSlow,
}

impl Rejection {
    fn result(&self) -> WebhookResult {
        match self {
            Rejection::NoAccount(_) | Rejection::Refused(_) => WebhookResult::Refused,
            Rejection::Invalid(_)
            | Rejection::TooLarge
            | Rejection::UnsupportedMediaType(_)
            | Rejection::Unreadable
            | Rejection::TooSlow => WebhookResult::Invalid,
        }
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match self {
            Rejection::NoAccount(_) | Rejection::Refused(_) => StatusCode::FORBIDDEN,
            Rejection::Invalid(_) | Rejection::Unreadable => StatusCode::BAD_REQUEST,
            Rejection::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Rejection::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    fn error_response(&self) -> HttpResponse {
        // Whoever has no signature learns nothing about why.
        HttpResponse::new(self.status_code())
    }
}

/// A request, read and not yet verified.
pub struct Unverified {
    state: web::Data<State>,
    request: HttpRequest,
    /// The body; empty for a GET.
    pub body: Bytes,
    /// How much of the request is signed besides its URL.
    pub kind: PayloadKind,
}

impl Unverified {
    /// Whether one of the accounts has signed the URL of `request`: all that is signed of a body that is no form. So much
    /// is known before the body is read.
    pub fn is_url_signed(request: &HttpRequest) -> bool {
        let state = request.app_data::<web::Data<State>>().expect("the application is built with its state");
        let url_alone = Self {
            state: state.clone(),
            request: request.clone(),
            body: Bytes::new(),
            kind: PayloadKind::Get,
        };
        url_alone.account_that_signed(&Form::default()).is_some()
    }

    /// Reads a request whose body has at most `bytes_max` bytes. A GET has none; a POST has one of a type that `accepts`
    /// names a kind for. Others are refused, and the log says that `wanted` was.
    pub async fn read(
        request: HttpRequest,
        payload: impl Future<Output = Result<web::Payload, actix_web::Error>>,
        bytes_max: usize,
        accepts: impl Fn(&str) -> Option<PayloadKind>,
        wanted: &'static str,
    ) -> Result<Self, Rejection> {
        let state = request.app_data::<web::Data<State>>().expect("the application is built with its state");
        let state = state.clone();
        if request.method() == Method::GET {
            return Ok(Self { state, request, body: Bytes::new(), kind: PayloadKind::Get });
        }
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let kind = accepts(&essence.to_ascii_lowercase()).ok_or(Rejection::UnsupportedMediaType(wanted))?;
        let payload = payload.await.map_err(|_| Rejection::Unreadable)?;
        let body = tokio::time::timeout(BODY_TIME_MAX, payload.to_bytes_limited(bytes_max));
        let body = body.await.map_err(|_| Rejection::TooSlow)?.map_err(|_| Rejection::TooLarge)?;
        let body = body.map_err(|_| Rejection::Unreadable)?;
        Ok(Self { state, request, body, kind })
    }

    /// The parameters that are signed: those of the query of a GET, those of the body of a form.
    pub fn form(&self) -> Form<'_> {
        match self.kind {
            PayloadKind::Get => Form::parse(self.request.query_string().as_bytes()),
            PayloadKind::Form => Form::parse(&self.body),
            PayloadKind::Body => Form::default(),
        }
    }

    /// What the handlers share.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The query as it was received.
    pub fn query(&self) -> &str {
        self.request.query_string()
    }

    /// The account that `claimed` names, if it is one of ours and has signed the request.
    pub fn verify(&self, form: &Form<'_>, claimed: Option<&str>) -> Result<Arc<Account>, Rejection> {
        let claimed = claimed.ok_or("no AccountSid");
        let account = claimed.and_then(|claimed| {
            let sid = AccountSid::parse(claimed).ok();
            sid.and_then(|sid| self.state.app.accounts.by_sid(&sid)).ok_or("unknown AccountSid")
        });
        self.verify_as(account, form)
    }

    /// Refuses a request that can be read as another person's: its signature would hold for that reading as well.
    pub fn require_one_reading(&self, form: &Form<'_>) -> Result<(), Rejection> {
        let url = self.state.public_url.of(self.target());
        let request = Request { url: &url, content: self.kind.content(form, &self.body) };
        match signature::ambiguous_parameter(request) {
            Some(name) => Err(InvalidWebhook::Ambiguous(name).into()),
            None => Ok(()),
        }
    }

    /// The one of all accounts that has signed the request, which names none.
    pub fn verify_as_any(&self, form: &Form<'_>) -> Result<Arc<Account>, Rejection> {
        self.verify_as(self.account_that_signed(form).ok_or("no AccountSid"), form)
    }

    /// The one of all accounts, if any, that has signed the request. What nobody has signed costs nothing.
    pub fn account_that_signed(&self, form: &Form<'_>) -> Option<Arc<Account>> {
        self.header(SIGNATURE_HEADER)?;
        let accounts = self.state.app.accounts.all();
        let mut tried = accounts.iter().take(ACCOUNTS_TRIED_MAX);
        tried.find(|account| self.key_of(account, form).is_ok()).cloned()
    }

    /// `account`, if it has signed the request. Whatever is refused is handed over, to be explained.
    fn verify_as(
        &self,
        account: Result<Arc<Account>, &'static str>,
        form: &Form<'_>,
    ) -> Result<Arc<Account>, Rejection> {
        let (account, rejection) = match account {
            Err(reason) => (None, Rejection::NoAccount(reason)),
            Ok(account) => match self.key_of(&account, form) {
                Err(refusal) => (Some(account), Rejection::Refused(refusal)),
                Ok(key) => {
                    let account_sid = account.credentials.account_sid.as_str();
                    connections::prove(&self.request, Proof::Twilio);
                    self.state.app.metrics().signature(account_sid, key.to_string());
                    return Ok(account);
                }
            },
        };
        self.state.refusals.report(self.refused(account, &rejection));
        Err(rejection)
    }

    /// Which key of `account` signed the request.
    fn key_of(&self, account: &Account, form: &Form<'_>) -> Result<signature::KeyName, signature::Refusal> {
        let url = self.state.public_url.of(self.target());
        let request = Request { url: &url, content: self.kind.content(form, &self.body) };
        let signature = self.header(SIGNATURE_HEADER).unwrap_or_default();
        let settings = self.header(SETTINGS_HEADER).unwrap_or_default();
        account.keyring.verify(request, signature, settings).map(|(key, _)| key)
    }

    fn target(&self) -> &str {
        self.request.uri().path_and_query().map_or("/", |target| target.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        self.request.headers().get(name)?.to_str().ok()
    }

    fn refused(&self, account: Option<Arc<Account>>, rejection: &Rejection) -> RefusedRequest {
        let header = |name: &str| self.header(name).map(str::to_owned);
        RefusedRequest {
            at: self.state.app.now_ms(),
            account,
            reason: rejection.to_string(),
            peer: self.request.peer_addr().map(|peer| peer.ip().to_string()),
            path: self.request.path().to_owned(),
            method: self.request.method().to_string(),
            target: self.target().to_owned(),
            signature: header(SIGNATURE_HEADER).unwrap_or_default(),
            settings: header(SETTINGS_HEADER).unwrap_or_default(),
            host: header("host"),
            forwarded_host: header("x-forwarded-host"),
            forwarded_port: header("x-forwarded-port"),
            forwarded_prefix: header("x-forwarded-prefix"),
            kind: self.kind,
            body: self.body.clone(),
        }
    }
}

/// Counts what was not taken, and says so in the log. A refused signature is logged by whoever explains it.
pub fn note(request: &HttpRequest, route: Route, rejection: &Rejection) {
    let state = request.app_data::<web::Data<State>>().expect("the application is built with its state");
    state.app.metrics().webhook(route, rejection.result());
    if rejection.result() != WebhookResult::Refused {
        tracing::warn!(
            path = request.path(),
            status = rejection.status_code().as_u16(),
            peer = request.peer_addr().map(|peer| peer.ip().to_string()),
            reason = %rejection,
            "webhook not taken"
        );
    }
}
