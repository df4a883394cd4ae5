//! The only way to the handler of Event Streams: a batch of events, read once, verified, typed.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::future::LocalBoxFuture;

use super::{
    payload_kind::PayloadKind,
    verification::{self, FORM_BYTES_MAX, Rejection, Unverified},
};
use crate::{
    domain::Organization,
    metrics::Route,
    twilio::{
        Form,
        webhook::{EventBatch, EventContent, InvalidWebhook},
    },
};

/// The longest batch that Twilio may post, in bytes. A sink may batch, so it is far longer than one form.
pub const EVENTS_BYTES_MAX: usize = 1024 * 1024;

/// A verified batch of events, all of one account.
pub struct SignedEvents {
    /// The organization that the account belongs to.
    pub organization: Organization,
    /// What Twilio posted.
    pub batch: EventBatch,
}

impl FromRequest for SignedEvents {
    type Error = Rejection;
    type Future = LocalBoxFuture<'static, Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = web::Payload::from_request(&request, payload);
        Box::pin(async move {
            // Who has signed nothing is not given more room than for a form.
            let room = |beginning: &Unverified| {
                Ok(if beginning.has_signed_url()? { EVENTS_BYTES_MAX } else { FORM_BYTES_MAX })
            };
            let read =
                Unverified::read(request.clone(), payload, room, PayloadKind::of_json, "application/json");
            let signed = read.await.and_then(|unverified| verified(&unverified));
            signed.inspect_err(|rejection| verification::note(&request, Route::Events, rejection))
        })
    }
}

fn verified(unverified: &Unverified) -> Result<SignedEvents, Rejection> {
    let nothing = Form::default();
    // Read before it is verified, for the account that it names: by whose keys it is then verified.
    let batch = EventBatch::parse(&unverified.body);
    let events = batch.as_ref().map(|batch| batch.events.as_slice()).unwrap_or_default();
    let mut named = events.iter().filter_map(|event| event.account_sid.as_ref());
    let account = match named.next() {
        Some(first) if named.all(|other| other == first) => {
            unverified.verify(&nothing, Some(first.as_str()))?
        }
        Some(_) => unverified.verify(&nothing, Some("several"))?,
        None => unverified.verify_as_any(&nothing)?,
    };
    let batch = batch?;
    // Asked to try again, Twilio would post it for hours; so only what holds nothing at all is refused.
    let unreadable = |content: &EventContent| match content {
        EventContent::Unreadable(error) => Some(*error),
        _ => None,
    };
    let faults: Vec<InvalidWebhook> =
        batch.events.iter().filter_map(|event| unreadable(&event.content)).collect();
    match faults.first() {
        Some(fault) if faults.len() == batch.events.len() => Err(Rejection::Invalid(*fault)),
        _ => Ok(SignedEvents { organization: account.organization.clone(), batch }),
    }
}
