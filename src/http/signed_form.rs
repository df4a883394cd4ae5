//! The only way to a webhook's handler: a request of Twilio's, read once, verified, typed.
//!
//! Body and signature belong together, so one extractor takes both: it bounds the body, finds the account by the
//! `AccountSid` that the request claims, verifies the signature over the raw bytes against that account's keys and
//! the configured public URL, and only then reads the form. What does not verify leaves no trace but a log line.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError,
    dev::Payload,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    web,
};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

use super::State;
use crate::{
    domain::{MessageId, Organization},
    twilio::{
        AccountSid, Form,
        signature::{self, Content, Request, SIGNATURE_HEADER},
        webhook::{IncomingMessage, InvalidWebhook, StatusCallback},
    },
};

/// The longest body that Twilio may post, in bytes; its own are a few thousand.
pub const WEBHOOK_BYTES_MAX: usize = 64 * 1024;

/// A verified webhook request.
pub struct Signed<T> {
    /// The organization that the account belongs to.
    pub organization: Organization,
    /// Our id of the message, from the URL that Twilio was given.
    pub id: Option<MessageId>,
    /// What Twilio posted.
    pub content: T,
}

/// What a webhook's form is read into.
pub trait FromForm: Sized + 'static {
    /// Reads a verified form.
    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook>;
}

impl FromForm for StatusCallback {
    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        StatusCallback::parse(form)
    }
}

impl FromForm for IncomingMessage {
    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        IncomingMessage::parse(form)
    }
}

/// Why a webhook request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// No account of ours, no signature, or a wrong one.
    #[error("the signature is refused: {0}")]
    Refused(String),
    /// Signed, but not a request we can read.
    #[error("the form is invalid: {0}")]
    Invalid(#[from] InvalidWebhook),
    /// Over [`WEBHOOK_BYTES_MAX`].
    #[error("the body is too long")]
    TooLarge,
    /// Neither a form nor a GET.
    #[error("the content type is not application/x-www-form-urlencoded")]
    UnsupportedMediaType,
    /// The body ended early.
    #[error("the body could not be read")]
    Unreadable,
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        match self {
            Rejection::Refused(_) => StatusCode::FORBIDDEN,
            Rejection::Invalid(_) | Rejection::Unreadable => StatusCode::BAD_REQUEST,
            Rejection::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        // Whoever has no signature learns nothing about why.
        HttpResponse::new(self.status_code())
    }
}

impl<T: FromForm> FromRequest for Signed<T> {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let body = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let result = match read(&request, body).await {
                Ok(body) => verified(&request, &body),
                Err(rejection) => Err(rejection),
            };
            if let Err(rejection) = &result {
                tracing::warn!(
                    path = request.path(),
                    status = rejection.status_code().as_u16(),
                    peer = request.peer_addr().map(|peer| peer.ip().to_string()),
                    reason = %rejection,
                    "webhook refused"
                );
            }
            result
        })
    }
}

/// The body of a POST, within bounds; nothing for a GET.
async fn read(
    request: &HttpRequest,
    body: impl Future<Output = Result<web::Payload, actix_web::Error>>,
) -> Result<Bytes, Rejection> {
    if request.method() == Method::GET {
        return Ok(Bytes::new());
    }
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Rejection::UnsupportedMediaType);
    }
    let body = body.await.map_err(|_| Rejection::Unreadable)?;
    let body = body.to_bytes_limited(WEBHOOK_BYTES_MAX).await.map_err(|_| Rejection::TooLarge)?;
    body.map_err(|_| Rejection::Unreadable)
}

fn verified<T: FromForm>(request: &HttpRequest, body: &[u8]) -> Result<Signed<T>, Rejection> {
    let state = request.app_data::<web::Data<State>>().expect("the application is built with its state");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let query = request.uri().query().unwrap_or_default();
    let is_get = request.method() == Method::GET;
    let form = Form::parse(if is_get { query.as_bytes() } else { body });

    let refused = |reason: String| Rejection::Refused(reason);
    let claimed = form.get("AccountSid").ok_or_else(|| refused("no AccountSid".to_owned()))?;
    let account = AccountSid::parse(&claimed).ok().and_then(|sid| state.app.accounts().by_sid(&sid));
    let account = account.ok_or_else(|| refused("unknown AccountSid".to_owned()))?;
    let signature = request.headers().get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    let url = format!("{}{target}", state.app.settings().public_url);
    let content = if is_get { Content::Nothing } else { Content::Form(&form) };
    signature::verify(&account.signing_keys, Request { url: &url, content }, signature.unwrap_or_default())
        .map_err(|refusal| refused(refusal.to_string()))?;

    let id = Form::parse(query.as_bytes()).get("id").and_then(|id| id.parse().ok());
    Ok(Signed { organization: account.organization.clone(), id, content: T::from_form(&form)? })
}
