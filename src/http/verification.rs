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
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

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
        signature::{self, Content, KeyName, Prepared, Request, SETTINGS_HEADER, SIGNATURE_HEADER},
        webhook::{EventBatch, InvalidWebhook},
    },
};

/// The longest form that Twilio may post, in bytes; its own are a few thousand.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take to arrive. Twilio gives up sooner.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Accounts whose keys are tried for a request that names none.
const ACCOUNTS_TRIED_MAX: usize = 64;

/// The longest URL that is always tried with all of their keys, in bytes. That of our events has some 150.
const URL_TRIED_BYTES_MAX: usize = 1024;

/// Why a request is refused that does not say whose it is.
const NO_ACCOUNT: Rejection = Rejection::NoAccount("no AccountSid");

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
    /// No known account has signed it, and not all can be known.
    #[error("the saved accounts cannot be read, since the store is away")]
    NotKnown,
    /// It names no account, and its peer has sent too many such.
    #[error("too many requests of this peer name no account")]
    TooMany,
}

impl Rejection {
    fn result(&self) -> WebhookResult {
        match self {
            Rejection::NoAccount(_) | Rejection::Refused(_) | Rejection::TooMany => WebhookResult::Refused,
            Rejection::Invalid(_)
            | Rejection::TooLarge
            | Rejection::UnsupportedMediaType(_)
            | Rejection::Unreadable
            | Rejection::TooSlow => WebhookResult::Invalid,
            Rejection::NotKnown => WebhookResult::Overloaded,
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
            Rejection::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Rejection::NotKnown => StatusCode::SERVICE_UNAVAILABLE,
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
    /// Reads a request. A GET has no body; a POST has one of a type that `accepts` names a kind for. Others are refused, and
    /// the log says that `wanted` was.
    ///
    /// A body has at most [`FORM_BYTES_MAX`] bytes. Should it be longer, `room` decides by its beginning how many it may have.
    pub async fn read(
        request: HttpRequest,
        payload: impl Future<Output = Result<web::Payload, actix_web::Error>>,
        room: impl FnOnce(&Self) -> Result<usize, Rejection>,
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
        let mut unverified = Self { state, request, body: Bytes::new(), kind };
        let reading = unverified.read_body(payload, room);
        tokio::time::timeout(BODY_TIME_MAX, reading).await.map_err(|_| Rejection::TooSlow)??;
        Ok(unverified)
    }

    async fn read_body(
        &mut self,
        mut payload: web::Payload,
        room: impl FnOnce(&Self) -> Result<usize, Rejection>,
    ) -> Result<(), Rejection> {
        let (mut body, mut bytes_max, mut room) = (BytesMut::new(), FORM_BYTES_MAX, Some(room));
        while let Some(chunk) = payload.next().await {
            body.extend_from_slice(&chunk.map_err(|_| Rejection::Unreadable)?);
            if body.len() > bytes_max
                && let Some(room) = room.take()
            {
                self.body = body.freeze();
                bytes_max = room(self)?;
                body = std::mem::take(&mut self.body).into();
            }
            if body.len() > bytes_max {
                return Err(Rejection::TooLarge);
            }
        }
        self.body = body.freeze();
        Ok(())
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
        let Some(claimed) = claimed else { return Err(self.refuse(None, None, NO_ACCOUNT)) };
        let url = self.url();
        match self.signer(claimed, &Prepared::new(self.signed_of(&url, form))) {
            Err(reason) => Err(self.refuse(None, Some(claimed), reason)),
            Ok((account, Err(refusal))) => Err(self.refuse(Some(account), Some(claimed), refusal.into())),
            Ok((account, Ok(key))) => Ok(self.verified(account, &key)),
        }
    }

    /// The one of all accounts that has signed the request, which names none.
    pub fn verify_as_any(&self, form: &Form<'_>) -> Result<Arc<Account>, Rejection> {
        let url = self.url();
        match self.find_signer(self.signed_of(&url, form))? {
            None => Err(self.refuse(None, None, NO_ACCOUNT)),
            Some((account, key)) => Ok(self.verified(account, &key)),
        }
    }

    /// Whether an account has signed the URL, which is all that is signed of a body that is no form: the account that the
    /// beginning of a batch of events names, else any.
    pub fn has_signed_url(&self) -> Result<bool, Rejection> {
        let url = self.url();
        let request = Request { url: &url, content: Content::Nothing };
        Ok(match EventBatch::first_account(&self.body) {
            Some(named) => {
                self.signer(named.as_str(), &Prepared::new(request)).is_ok_and(|(_, key)| key.is_ok())
            }
            None => self.find_signer(request)?.is_some(),
        })
    }

    /// The account that has signed the request, whatever it is about.
    pub fn any_signer(&self) -> Option<Arc<Account>> {
        let (form, url) = (self.form(), self.url());
        let request = self.signed_of(&url, &form);
        let claimed = match self.kind {
            PayloadKind::Get | PayloadKind::Form => form.get("AccountSid").map(|sid| sid.into_owned()),
            PayloadKind::Body => EventBatch::first_account(&self.body).map(|sid| sid.to_string()),
        };
        match claimed {
            Some(claimed) => {
                let signer = self.signer(&claimed, &Prepared::new(request)).ok();
                signer.and_then(|(account, key)| key.is_ok().then_some(account))
            }
            None if self.kind == PayloadKind::Body => {
                self.find_signer(request).ok().flatten().map(|(account, _)| account)
            }
            None => None,
        }
    }

    /// Refuses a request that can be read as another person's: its signature would hold for that reading as well.
    pub fn require_one_reading(&self, form: &Form<'_>) -> Result<(), Rejection> {
        let url = self.url();
        match signature::ambiguous_parameter(self.signed_of(&url, form)) {
            Some(name) => Err(InvalidWebhook::Ambiguous(name).into()),
            None => Ok(()),
        }
    }

    /// The account `claimed`, and by which of its keys it has signed `request`.
    fn signer(
        &self,
        claimed: &str,
        request: &Prepared<'_>,
    ) -> Result<(Arc<Account>, Result<KeyName, signature::Refusal>), Rejection> {
        let unknown = Rejection::NoAccount("unknown AccountSid");
        let Ok(sid) = AccountSid::parse(claimed) else { return Err(unknown) };
        let accounts = &self.state.app.accounts;
        let Some(account) = accounts.by_sid(&sid) else {
            // Done for nothing but the time that it takes.
            let other = accounts.other_than(&sid);
            std::hint::black_box(other.map(|other| self.key_of(&other, request).is_ok()));
            return Err(unknown);
        };
        let key = self.key_of(&account, request);
        Ok((account, key))
    }

    /// The one of all accounts, if any, that has signed `request`, and its key. What nobody has signed costs nothing.
    fn find_signer(&self, request: Request<'_>) -> Result<Option<(Arc<Account>, KeyName)>, Rejection> {
        if self.header(SIGNATURE_HEADER).is_none() {
            return Ok(None);
        }
        let accounts = self.state.app.accounts.all();
        let find = |request: &Prepared<'_>| {
            let mut tried = accounts.iter().take(ACCOUNTS_TRIED_MAX);
            tried.find_map(|account| Some((account.clone(), self.key_of(account, request).ok()?)))
        };
        if request.url.len() <= URL_TRIED_BYTES_MAX
            && let Some(found) = find(&Prepared::with_query_as_given(request))
        {
            return Ok(Some(found));
        }
        let peer = self.request.peer_addr().map(|peer| peer.ip());
        if self.state.unsigned.count(peer) {
            Ok(find(&Prepared::new(request)))
        } else {
            Err(Rejection::TooMany)
        }
    }

    /// Which key of `account` signed the request.
    fn key_of(&self, account: &Account, request: &Prepared<'_>) -> Result<KeyName, signature::Refusal> {
        let signature = self.header(SIGNATURE_HEADER).unwrap_or_default();
        let settings = self.header(SETTINGS_HEADER).unwrap_or_default();
        account.keyring.verify_prepared(request, signature, settings).map(|(key, _)| key)
    }

    /// Counts that `account` has signed, and with which key.
    fn verified(&self, account: Arc<Account>, key: &KeyName) -> Arc<Account> {
        connections::prove(&self.request, Proof::Twilio);
        self.state.app.metrics().signature(account.credentials.account_sid.as_str(), key.to_string());
        account
    }

    /// Hands a refusal over, to be explained. As long as it may be that of an account whose settings could not be read yet, it
    /// is none: Twilio is to try again.
    fn refuse(
        &self,
        account: Option<Arc<Account>>,
        claimed: Option<&str>,
        rejection: Rejection,
    ) -> Rejection {
        if !self.state.app.accounts.are_read() {
            return Rejection::NotKnown;
        }
        let pending = self.state.app.accounts.pending();
        self.state.refusals.report(self.refused(account, claimed, &rejection), &pending);
        rejection
    }

    /// The URL by which Twilio asked.
    fn url(&self) -> String {
        self.state.public_url.of(self.target())
    }

    /// What is signed of the request, whose URL is `url`.
    fn signed_of<'a>(&'a self, url: &'a str, form: &'a Form<'a>) -> Request<'a> {
        Request { url, content: self.kind.content(form, &self.body) }
    }

    fn target(&self) -> &str {
        self.request.uri().path_and_query().map_or("/", |target| target.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        self.request.headers().get(name)?.to_str().ok()
    }

    fn refused(
        &self,
        account: Option<Arc<Account>>,
        claimed: Option<&str>,
        rejection: &Rejection,
    ) -> RefusedRequest {
        let header = |name: &str| self.header(name).map(str::to_owned);
        RefusedRequest {
            at: self.state.app.now_ms(),
            account,
            claimed: claimed.and_then(|claimed| AccountSid::parse(claimed).ok()),
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
    if matches!(rejection, Rejection::NoAccount(_) | Rejection::Refused(_)) {
        return;
    }
    let status = rejection.status_code().as_u16();
    if let Some(left_out) = state.refusals.untaken.note(status) {
        tracing::warn!(
            path = request.path(),
            status,
            peer = request.peer_addr().map(|peer| peer.ip().to_string()),
            reason = %rejection,
            left_out,
            "webhook not taken"
        );
    }
}
