//! The only way to a form's handler: a request of Twilio's, read once, verified, typed.
//!
//! Body and signature belong together, so one extractor takes both: it bounds the body, finds the account by the
//! `AccountSid` that the request claims, verifies the signature over the raw bytes against that account's keys and
//! the configured public URL, and only then reads the form, if it can be read in one way only. What does not verify leaves no trace but a log line and a
//! place among the last refusals.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

use super::{
    payload_kind::PayloadKind,
    verification::{self, FORM, Rejection, Unverified},
};
use crate::{
    domain::{BatchId, MessageId, Organization},
    metrics::Route,
    twilio::{
        Form,
        webhook::{IncomingMessage, InvalidWebhook, StatusCallback},
    },
};

/// The longest form that Twilio may post, in bytes; its own are a few thousand.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// A verified webhook request.
pub struct Signed<T> {
    /// The organization that the account belongs to.
    pub organization: Organization,
    /// How we call the message, from the URL that Twilio was given.
    pub ours: CallbackTags,
    /// What Twilio posted.
    pub content: T,
    /// The same as it came, if it is to be relayed.
    pub relayed: Option<Vec<(String, String)>>,
}

/// What a webhook's form is read into.
pub trait FromForm: Sized + 'static {
    /// Where it is posted to.
    const ROUTE: Route;

    /// Reads a verified form.
    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook>;
}

impl FromForm for StatusCallback {
    const ROUTE: Route = Route::Status;

    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        StatusCallback::parse(form)
    }
}

impl FromForm for IncomingMessage {
    const ROUTE: Route = Route::Inbound;

    fn from_form(form: &Form<'_>) -> Result<Self, InvalidWebhook> {
        IncomingMessage::parse(form)
    }
}

impl<T: FromForm> FromRequest for Signed<T> {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            let accepts = |essence: &str| (essence == FORM).then_some(PayloadKind::Form);
            let read = Unverified::read(request.clone(), payload, FORM_BYTES_MAX, accepts, FORM).await;
            let signed = read.and_then(|unverified| {
                let form = unverified.form();
                let account = unverified.verify(&form, form.get("AccountSid").as_deref())?;
                unverified.require_one_reading(&form)?;
                let content = T::from_form(&form)?;
                let ours = CallbackTags::of(unverified.query());
                let relayed = ours.relay.then(|| pairs(&form));
                Ok(Self { organization: account.organization.clone(), ours, content, relayed })
            });
            signed.inspect_err(|rejection| verification::note(&request, T::ROUTE, rejection))
        })
    }
}

/// How we call a message: what stands in the query of the URL that Twilio was given for its callbacks.
#[derive(Debug, Clone, Default)]
pub struct CallbackTags {
    /// Our id.
    pub id: Option<MessageId>,
    /// Its batch.
    pub batch: Option<BatchId>,
    /// Whether its caller has a StatusCallback URL of their own.
    pub relay: bool,
}

fn pairs(form: &Form<'_>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    form.iter().map(|(name, value)| (text(name), text(value))).collect()
}

impl CallbackTags {
    /// Reads `query`; what is missing or strange is `None`, since the URL may be somebody else's.
    pub fn of(query: &str) -> Self {
        let query = Form::parse(query.as_bytes());
        let (id, batch) = (query.get("id"), query.get("batch"));
        Self {
            id: id.and_then(|id| id.parse().ok()),
            batch: batch.and_then(|batch| batch.parse().ok()),
            relay: query.get("relay").is_some(),
        }
    }
}
