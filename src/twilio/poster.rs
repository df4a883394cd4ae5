//! Posts what Twilio would post, to whom Twilio would post it: a status callback to the URL that a caller gave, a message to the
//! application. To the application other things too, on the same connections.
//!
//! It makes one call, follows no redirect and uses no proxy, so that nobody but the host that the caller named is reached.
//!
//! Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.

use std::{sync::Arc, time::Duration};

use reqwest::{RequestBuilder, Response, dns::Resolve, header, redirect};

use super::{
    Form,
    signature::{SIGNATURE_HEADER, SigningKey, sign_for_messaging},
};

/// How long to wait for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a whole call may take.
pub const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next call.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(30);

/// The header that is the same in every repetition of one request.
const TOKEN_HEADER: &str = "I-Twilio-Idempotency-Token";

const FORM_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

const USER_AGENT: &str = concat!("textledger/", env!("CARGO_PKG_VERSION"));

/// The longest answer that is read, in bytes: Twilio takes no longer document.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const JSON_TYPE: &str = "application/json";

/// What was answered. `Debug` is left out: it is what somebody is told.
pub struct Answer {
    /// Its content type.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// Posts forms, signed. It keeps connections; clones share them.
#[derive(Debug, Clone)]
pub struct Poster {
    http: reqwest::Client,
}

/// What came of a call. No text holds the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It was answered with this HTTP status.
    Answered(u16),
    /// There was no connection, or none to an address that may be called.
    NotConnected,
    /// The answer did not come in time.
    TimedOut,
    /// The connection broke, or the answer was no HTTP.
    Broken,
    /// The URL cannot be called at all.
    Unusable,
}

impl Posted {
    /// Whether the receiver has it.
    pub fn is_taken(self) -> bool {
        matches!(self, Posted::Answered(200..=299))
    }

    /// Whether another try may end otherwise: the receiver was not there, failed, or had too much to do.
    pub fn may_change(self) -> bool {
        match self {
            Posted::Answered(status) => matches!(status, 408 | 429 | 500..=599),
            Posted::NotConnected | Posted::TimedOut | Posted::Broken => true,
            Posted::Unusable => false,
        }
    }
}

impl std::fmt::Display for Posted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Posted::Answered(status) => return write!(f, "answered {status}"),
            Posted::NotConnected => "not connected",
            Posted::TimedOut => "timed out",
            Posted::Broken => "broken",
            Posted::Unusable => "unusable URL",
        })
    }
}

impl Poster {
    /// One that finds hosts by `resolver`, or as the system does.
    pub fn new(resolver: Option<Arc<dyn Resolve>>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(POST_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(CONNECTION_IDLE_MAX)
            .no_proxy();
        let http = match resolver {
            Some(resolver) => http.dns_resolver(resolver),
            None => http,
        };
        Ok(Self { http: http.build()? })
    }

    /// Posts `form` to `url`, signed with `key` for exactly that URL. `token` names the request: it is the same each time
    /// that the request is made again.
    pub async fn post(&self, key: &SigningKey, url: &str, form: &Form<'_>, token: &str) -> Posted {
        posted(self.form(key, url, form, token).send().await).0
    }

    /// The same, and reads what is answered, within `timeout`.
    pub async fn post_and_read(
        &self,
        key: &SigningKey,
        url: &str,
        form: &Form<'_>,
        token: &str,
        timeout: Duration,
    ) -> (Posted, Option<Answer>) {
        let (posted, response) = posted(self.form(key, url, form, token).timeout(timeout).send().await);
        let Some(response) = response.filter(|_| posted.is_taken()) else { return (posted, None) };
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        (posted, read_text(response).await.map(|body| Answer { content_type, body }))
    }

    /// Posts `body`, which is JSON, to `url` with `headers`.
    pub async fn post_json(&self, url: &str, headers: &[(&'static str, String)], body: String) -> Posted {
        let request = self.http.post(url).header(header::CONTENT_TYPE, JSON_TYPE);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        posted(request.body(body).send().await).0
    }

    fn form(&self, key: &SigningKey, url: &str, form: &Form<'_>, token: &str) -> RequestBuilder {
        self.http
            .post(url)
            .header(header::CONTENT_TYPE, FORM_TYPE)
            .header(header::ACCEPT, "*/*")
            .header(SIGNATURE_HEADER, sign_for_messaging(key, url, form))
            .header(TOKEN_HEADER, token)
            .body(form.encode())
    }
}

/// What came of a call, and the answer if there was one.
fn posted(sent: Result<Response, reqwest::Error>) -> (Posted, Option<Response>) {
    match sent {
        Ok(response) => (Posted::Answered(response.status().as_u16()), Some(response)),
        Err(error) if error.is_builder() => (Posted::Unusable, None),
        Err(error) if error.is_connect() => (Posted::NotConnected, None),
        Err(error) if error.is_timeout() => (Posted::TimedOut, None),
        Err(_) => (Posted::Broken, None),
    }
}

/// The text of an answer; `None` if it is too long, no text, or broken off.
async fn read_text(mut response: Response) -> Option<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_end_otherwise_is_tried_again_and_nothing_else() {
        for (status, taken, again) in [
            (200, true, false),
            (204, true, false),
            (302, false, false),
            (400, false, false),
            (403, false, false),
            (404, false, false),
            (408, false, true),
            (410, false, false),
            (429, false, true),
            (500, false, true),
            (503, false, true),
        ] {
            let posted = Posted::Answered(status);
            assert_eq!((posted.is_taken(), posted.may_change()), (taken, again), "{status}");
        }
        for (posted, again) in [
            (Posted::NotConnected, true),
            (Posted::TimedOut, true),
            (Posted::Broken, true),
            (Posted::Unusable, false),
        ] {
            assert_eq!((posted.is_taken(), posted.may_change()), (false, again), "{posted}");
        }
    }
}
