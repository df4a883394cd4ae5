//! Calls of any kind that are made for somebody else, and answered to them as Twilio answers: bytes in, bytes out.

use reqwest::{
    Method,
    header::{self, HeaderName},
};
use secrecy::ExposeSecret;

use super::{BodyError, Client, Error, PASSED_ANSWER_BYTES_MAX, read_body};
use crate::twilio::Credentials;

/// The headers of an answer that are handed on: what the caller's library reads, and nothing about our connection to Twilio.
static HANDED_ON: [HeaderName; 10] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("twilio-concurrent-requests"),
    HeaderName::from_static("twilio-request-duration"),
    HeaderName::from_static("twilio-request-id"),
];

/// A call that is made for somebody else, as they made it. `Debug` is left out: the body may hold anything.
pub struct Forwarded<'a> {
    /// The HTTP method, such as `GET`.
    pub method: &'a str,
    /// Where, with the query: it begins with `/`.
    pub path_and_query: &'a str,
    /// `Accept` and `Content-Type`, as far as they were given.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What Twilio answered, whatever that is. `Debug` is left out: the body may hold anything.
pub struct ForwardedAnswer {
    /// The HTTP status.
    pub http_status: u16,
    /// What of its headers is handed on.
    pub headers: Vec<(&'static str, String)>,
    /// The body, [`PASSED_ANSWER_BYTES_MAX`] at most.
    pub body: Vec<u8>,
}

impl Client {
    /// Makes the call with `credentials`. Every answer is one, also a refusal; after [`super::Outcome::Ambiguous`] it may have
    /// been made.
    pub async fn forward(
        &self,
        credentials: &Credentials,
        call: Forwarded<'_>,
    ) -> Result<ForwardedAnswer, Error> {
        let method = Method::from_bytes(call.method.as_bytes()).unwrap_or_default();
        let mut request = self
            .http
            .request(method, self.url(call.path_and_query))
            .basic_auth(credentials.basic_user(), Some(credentials.basic_password().expose_secret()));
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        let response = request.send().await.map_err(Error::from_transport)?;
        let http_status = response.status().as_u16();
        let headers = HANDED_ON.iter().filter_map(|name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some((name.as_str(), value.to_owned()))
        });
        let headers = headers.collect();
        match read_body(response, PASSED_ANSWER_BYTES_MAX).await {
            Ok(body) => Ok(ForwardedAnswer { http_status, headers, body }),
            Err(BodyError::TooLong) => {
                Err(Error::Unreadable { http_status, reason: "it is too long", request_id: None })
            }
            Err(BodyError::Transport(error)) => Err(Error::from_transport(error)),
        }
    }
}
