//! Posting a webhook as Twilio does: signed, with the timeouts and retries that the URL's fragment asks for.
//!
//! Sources: <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>,
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::Instant};

use super::overrides::{Overrides, RetryOn};
use crate::twilio::{
    Form,
    signature::{SIGNATURE_HEADER, SigningKey, sign},
};

/// Webhooks on their way at once. More wait for their turn.
pub const CONCURRENT_MAX: usize = 512;
/// What is read of an answer; Twilio refuses longer ones (11750).
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Different pairs of timeouts for which connections are kept.
const CLIENTS_MAX: usize = 64;
const REDIRECTS_MAX: usize = 10;
/// Connections are given up before a server is likely to close them.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(4);
const USER_AGENT: &str = "TwilioProxy/1.1";
const IDEMPOTENCY_HEADER: &str = "I-Twilio-Idempotency-Token";
const FORM_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The parameters of a webhook, decoded, in the order in which they are posted.
pub type Parameters = Vec<(String, String)>;

/// Posts webhooks in the name of one account.
pub struct Poster {
    key: SigningKey,
    clients: Mutex<HashMap<(Duration, Duration), Client>>,
    permits: Semaphore,
}

/// One attempt to post a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt to post a webhook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was an answer with this HTTP status.
    Answered(u16),
    /// There was no connection, or no TLS over it.
    NotConnected,
    /// The answer did not come in time.
    TimedOut,
    /// The connection broke, or the answer was no HTTP.
    Broken,
}

impl Outcome {
    /// `answered`, `not_connected`, `timed_out` or `broken`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Answered(_) => "answered",
            Outcome::NotConnected => "not_connected",
            Outcome::TimedOut => "timed_out",
            Outcome::Broken => "broken",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered(status) => write!(f, "answered {status}"),
            _ => f.write_str(self.as_str()),
        }
    }
}

impl Attempt {
    pub(super) fn to_json(&self) -> Value {
        let (status, error) = match self.outcome {
            Outcome::Answered(status) => (Some(status), None),
            failure => (None, Some(failure.as_str())),
        };
        json!({ "at": format!("{:.3}", self.at), "status": status, "error": error })
    }
}

/// What was answered to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`, as it was sent.
    pub content_type: Option<String>,
    /// The body, up to [`ANSWER_BYTES_MAX`].
    pub body: String,
}

impl Poster {
    /// Posts what `key` signs.
    pub fn new(key: SigningKey) -> Self {
        Self { key, clients: Mutex::default(), permits: Semaphore::new(CONCURRENT_MAX) }
    }

    /// Posts `parameters` to `url`, again if its fragment asks for it. Gives every attempt, and the last one's answer.
    ///
    /// What is signed is `url` without fragment and user, byte for byte. What is sent differs where an HTTP client has
    /// no choice (`'` in a query becomes `%27`, for instance), which is so at Twilio too.
    pub async fn post(
        &self,
        url: &str,
        parameters: &Parameters,
        idempotency_token: &str,
    ) -> (Vec<Attempt>, Option<Answer>) {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let (url, overrides) = Overrides::split(url);
        let form = Form::from_iter(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let request = Request {
            url,
            body: form.encode(),
            signature: sign(&self.key, &without_userinfo(url), &form),
            idempotency_token,
        };
        let deadline = Instant::now() + overrides.total_timeout;
        let mut attempts = Vec::new();
        loop {
            let at = super::now();
            let (outcome, answer) = match self.client(&overrides) {
                Some(client) => request.send(&client, deadline).await,
                None => (Outcome::NotConnected, None),
            };
            attempts.push(Attempt { at, outcome });
            let retries = attempts.len() as u64 - 1;
            let has_time = Instant::now() < deadline;
            if retries >= overrides.retries || !has_time || !wants_retry(overrides.retry_on, outcome) {
                return (attempts, answer);
            }
        }
    }

    /// The client that waits as long as `overrides` say: connections are kept per client.
    fn client(&self, overrides: &Overrides) -> Option<Client> {
        let timeouts = (overrides.connect_timeout, overrides.read_timeout);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&timeouts) {
            return Some(client.clone());
        }
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        let built = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(overrides.connect_timeout)
            .read_timeout(overrides.read_timeout)
            .redirect(redirect::Policy::custom(follow))
            .retry(reqwest::retry::never())
            .pool_idle_timeout(CONNECTION_IDLE_MAX)
            // Webhooks go to the machine or network that the simulator runs in; a proxy could not reach them.
            .no_proxy()
            .build();
        match built {
            Ok(client) => {
                clients.insert(timeouts, client.clone());
                Some(client)
            }
            Err(error) => {
                tracing::error!(%error, "no HTTP client for webhooks");
                None
            }
        }
    }
}

struct Request<'a> {
    url: &'a str,
    body: String,
    signature: String,
    idempotency_token: &'a str,
}

impl Request<'_> {
    async fn send(&self, client: &Client, deadline: Instant) -> (Outcome, Option<Answer>) {
        let Ok(url) = Url::parse(self.url) else { return (Outcome::NotConnected, None) };
        let sent = client
            .post(url)
            .timeout(deadline.saturating_duration_since(Instant::now()))
            .header(header::CONTENT_TYPE, FORM_TYPE)
            .header(header::ACCEPT, "*/*")
            .header(SIGNATURE_HEADER, &self.signature)
            .header(IDEMPOTENCY_HEADER, self.idempotency_token)
            .body(self.body.clone())
            .send()
            .await;
        match sent {
            Ok(response) => {
                let answer = read(response).await;
                (Outcome::Answered(answer.status), Some(answer))
            }
            Err(error) if error.is_connect() => (Outcome::NotConnected, None),
            Err(error) if error.is_timeout() => (Outcome::TimedOut, None),
            Err(_) => (Outcome::Broken, None),
        }
    }
}

/// Reads an answer as far as it comes: after a part of it Twilio does not try again.
async fn read(mut response: Response) -> Answer {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_BYTES_MAX {
            body.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    Answer {
        status: response.status().as_u16(),
        content_type,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// Twilio follows 301, 302, 303 and 307, and no other redirect (11216).
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.status() == StatusCode::PERMANENT_REDIRECT || attempt.previous().len() > REDIRECTS_MAX {
        attempt.stop()
    } else {
        attempt.follow()
    }
}

fn wants_retry(retry_on: RetryOn, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered(status) => match status {
            400..=499 => retry_on.client_error,
            500.. => retry_on.server_error,
            _ => false,
        },
        Outcome::NotConnected => retry_on.connect,
        Outcome::TimedOut => retry_on.read,
        Outcome::Broken => retry_on.broken,
    }
}

/// `url` without `user:password@`, which Twilio does not sign for messages.
fn without_userinfo(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}{}", &url[..start], &url[start + at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_not_signed() {
        for (url, signed) in [
            ("https://user:p@ss@a.example/x?y=@", "https://a.example/x?y=@"),
            ("https://user@a.example", "https://a.example"),
            ("https://a.example:8443/@?b", "https://a.example:8443/@?b"),
            ("https://a.example?b=c@d", "https://a.example?b=c@d"),
        ] {
            assert_eq!(without_userinfo(url), signed);
        }
    }

    #[test]
    fn only_the_failures_asked_for_are_tried_again() {
        let server_error = RetryOn { server_error: true, ..RetryOn::default() };
        assert!(wants_retry(server_error, Outcome::Answered(503)));
        assert!(!wants_retry(server_error, Outcome::Answered(429)));
        assert!(!wants_retry(server_error, Outcome::Answered(204)));
        assert!(!wants_retry(server_error, Outcome::NotConnected));
        assert!(!wants_retry(Overrides::default().retry_on, Outcome::Answered(500)));
        assert!(wants_retry(Overrides::default().retry_on, Outcome::NotConnected));
    }
}
