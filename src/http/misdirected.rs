//! Webhooks that are configured onto a wrong URL.
//!
//! A message at the URL of status callbacks, or the reverse, is taken as what it is. What comes to a path where nothing is
//! taken is lost, so it is told as well. Both are counted, and told in the log and among the refused webhooks: a mistake
//! at most once in [`TOLD_AGAIN_AFTER`], since every message of a sender repeats it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use tokio::time::Instant;

use super::{
    State,
    payload_kind::PayloadKind,
    problem::Problem,
    refusals::{RefusalView, shown_host},
    time,
    verification::{FORM, FORM_BYTES_MAX, Unverified},
};
use crate::{app::accounts::Account, metrics::Misdirection};

/// How long a mistake that was told is not told again.
pub const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Mistakes that are remembered as told; with one more, all are told again.
const TOLD_MAX: usize = 1_000;

/// What a misdirected webhook is called where refusals have a cause.
const CAUSE: &str = "wrong_url";

/// The mistakes that were told lately: whose account, at which path.
#[derive(Default)]
pub struct Told(Mutex<HashMap<(String, String), Instant>>);

impl Told {
    /// Whether the mistake is to be told now; then it counts as told.
    fn is_due(&self, account_sid: &str, path: &str) -> bool {
        let now = Instant::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mistake = (account_sid.to_owned(), path.to_owned());
        if told.get(&mistake).is_some_and(|&at| now < at + TOLD_AGAIN_AFTER) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(mistake, now);
        true
    }
}

/// Tells of a signed request of `account` that came to a wrong URL.
pub fn tell(state: &State, request: &HttpRequest, account: &Account, mistake: Misdirection) {
    state.app.metrics().misdirected(mistake);
    let account_sid = account.credentials.account_sid.as_str();
    if !state.misdirected.is_due(account_sid, request.path()) {
        return;
    }
    let url = |name: &str| state.public_url.of(&format!("/webhooks/twilio/{name}"));
    let (reason, detail, mend) = match mistake {
        Misdirection::IncomingMessage => (
            "an incoming message at the URL of status callbacks",
            "it was taken as an incoming message, and consent obeys it",
            format!(
                "in Twilio's console, enter {} where a number or messaging service says \"A message comes in\"",
                url("inbound")
            ),
        ),
        Misdirection::StatusCallback => (
            "a status callback at the URL of incoming messages",
            "it was taken as a status callback",
            format!("in Twilio's console, enter {} as the status callback URL", url("status")),
        ),
        Misdirection::UnknownPath => (
            "a signed webhook at a path where nothing is taken",
            "it was answered with 404 and is lost",
            format!(
                "in Twilio's console, enter {} for incoming messages, {} for status callbacks or {} for Event Streams, \
                 without anything behind it",
                url("inbound"),
                url("status"),
                url("events")
            ),
        ),
    };
    let peer = request.peer_addr().map(|peer| peer.ip().to_string());
    tracing::warn!(path = request.path(), account_sid, peer, reason, detail, mend, "webhook misdirected");
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    state.refusals.keep_misdirected(
        account.organization.clone(),
        RefusalView {
            at: time(state.app.now_ms()),
            method: request.method().to_string(),
            path: request.path().to_owned(),
            account_sid: Some(account_sid.to_owned()),
            peer,
            host: host.map(shown_host),
            reason: reason.to_owned(),
            cause: Some(CAUSE.to_owned()),
            detail: Some(detail.to_owned()),
            mend: Some(mend),
        },
    );
}

/// Any other path below `/webhooks/`: 404, and told if Twilio has signed the request.
pub async fn unknown_path(
    state: web::Data<State>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let kind_of = |essence: &str| match essence {
        FORM => Some(PayloadKind::Form),
        other => PayloadKind::of_json(other),
    };
    let payload = std::future::ready(Ok(payload));
    if let Ok(unverified) =
        Unverified::read(request.clone(), payload, |_| Ok(FORM_BYTES_MAX), kind_of, FORM).await
        && let Some(account) = unverified.any_signer()
    {
        tell(&state, &request, &account, Misdirection::UnknownPath);
    }
    Problem::not_found("this path").error_response()
}
