//! The only way to a form's handler: a request of Twilio's, read once, verified, typed.
//!
//! Body and signature belong together, so one extractor takes both: it bounds the body, finds the account by the
//! `AccountSid` that the request claims, verifies the signature over the raw bytes against that account's keys and
//! the configured public URL, and only then reads the form, if it can be read in one way only. What does not verify
//! leaves no trace but a log line and a place among the last refusals.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

use super::{
    misdirected,
    payload_kind::PayloadKind,
    verification::{self, FORM, FORM_BYTES_MAX, Rejection, Unverified},
};
use crate::{
    domain::{BatchId, ForwardEvent, MessageId, Organization},
    metrics::{Misdirection, Route},
    twilio::{
        Form,
        webhook::{MessagingWebhook, WebhookKind},
    },
};

/// A verified webhook of messaging.
pub struct Signed {
    /// The organization that the account belongs to.
    pub organization: Organization,
    /// How we call the message, from the URL that Twilio was given.
    pub ours: CallbackTags,
    /// What Twilio posted.
    pub webhook: MessagingWebhook,
    /// The same as it came, if the caller's own URL or the application is to be told of it so.
    pub form: Option<Vec<(String, String)>>,
    /// Whether the application is.
    pub is_told: bool,
}

/// What was posted to the URL of status callbacks.
pub struct AtStatus(pub Signed);

/// What was posted to the URL of incoming messages.
pub struct AtInbound(pub Signed);

/// A webhook's route, and what belongs there.
#[derive(Clone, Copy)]
struct Place {
    route: Route,
    expected: WebhookKind,
    /// What is wrong about anything else that is posted there.
    mistake: Misdirection,
}

const STATUS: Place =
    Place { route: Route::Status, expected: WebhookKind::Status, mistake: Misdirection::IncomingMessage };

const INBOUND: Place =
    Place { route: Route::Inbound, expected: WebhookKind::Incoming, mistake: Misdirection::StatusCallback };

impl FromRequest for AtStatus {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signed = signed(request, payload, STATUS);
        Box::pin(async { signed.await.map(Self) })
    }
}

impl FromRequest for AtInbound {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signed = signed(request, payload, INBOUND);
        Box::pin(async { signed.await.map(Self) })
    }
}

/// Reads and verifies what was posted to `place`.
fn signed(
    request: &HttpRequest,
    payload: &mut Payload,
    place: Place,
) -> impl Future<Output = Result<Signed, Rejection>> + use<> {
    let request = request.clone();
    let payload = web::Payload::from_request(&request, payload);
    async move {
        let accepts = |essence: &str| (essence == FORM).then_some(PayloadKind::Form);
        let read = Unverified::read(request.clone(), payload, |_| Ok(FORM_BYTES_MAX), accepts, FORM).await;
        let signed = read.and_then(|unverified| {
            let form = unverified.form();
            let account = unverified.verify(&form, form.get("AccountSid").as_deref())?;
            unverified.require_one_reading(&form)?;
            let webhook = MessagingWebhook::parse(&form, place.expected)?;
            if webhook.kind() != place.expected {
                misdirected::tell(unverified.state(), &request, &account, place.mistake);
            }
            let ours = CallbackTags::of(unverified.query());
            let told = match &webhook {
                MessagingWebhook::Status(_) => ForwardEvent::Status,
                MessagingWebhook::Incoming(_) => ForwardEvent::Inbound,
            };
            let is_told = account.settings.forward.iter().any(|endpoint| endpoint.needs_form(told));
            let posted = (ours.relay || is_told).then(|| pairs(&form));
            Ok(Signed { organization: account.organization.clone(), ours, webhook, form: posted, is_told })
        });
        signed.inspect_err(|rejection| verification::note(&request, place.route, rejection))
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
