//! The client of Twilio's REST API: the one file of this module that does IO.
//!
//! It makes one call per request and never repeats one: creating a message is not idempotent at Twilio, so
//! whether to try again is the caller's decision, and [`Error::outcome`] is what to decide it by.
//!
//! Sources: <https://www.twilio.com/docs/usage/api>, <https://www.twilio.com/docs/usage/twilios-response>.

pub mod forward;
pub mod inbound;

use std::{error::Error as _, fmt, time::Duration};

use jiff::fmt::rfc2822;
use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap},
    redirect,
};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{
    AccountSid, Credentials, MessageSid,
    address::mask_numbers,
    error_code::{Consequence, ErrorCode},
    raw::Raw,
    resource::{self, Account, CreateMessage, Line, ListMessages, Message, MessagePage},
};

/// How long to wait for a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a whole call may take. Twilio rarely needs a second; past this a caller waits for nothing.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The largest answer to a [`Passed`] call that is read, in bytes: a page of a thousand messages, the most that Twilio
/// lists at once, with every character of their texts escaped.
pub const PASSED_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest wait that a `Retry-After` is believed, so that no answer can park a message for a day.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The most of Twilio's own error text that is kept, in characters.
pub const ERROR_TEXT_CHARACTERS_MAX: usize = 500;

/// An idle connection is given up before a load balancer would do so: a request written onto a connection that
/// is being closed is ambiguous.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(30);
const CONNECTIONS_IDLE_MAX: usize = 64;
const FORM_TYPE: &str = "application/x-www-form-urlencoded";
const USER_AGENT: &str = concat!("textledger/", env!("CARGO_PKG_VERSION"));

/// What is wrong with an answer that should have been the account.
const NOT_THE_ACCOUNT: &str = "it is not the account";

/// The least error code of Twilio's: they have five digits. A gateway that answers in JSON may put its HTTP status there.
const CODES_MIN: u32 = 10_000;

/// What an error code of Twilio's means for the credentials: "authentication error".
const CODE_CREDENTIALS_REJECTED: u32 = 20003;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From the start until the answer is read.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, request: REQUEST_TIMEOUT }
    }
}

/// A client of one API host. It keeps connections; clones share them.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL can not be used.
    #[error(
        "the base URL of Twilio's API must be http:// or https:// and a host, without a user, query or fragment"
    )]
    BaseUrl,
    /// TLS can not be set up.
    #[error("TLS can not be set up: {}", root_cause(.0))]
    Tls(#[source] reqwest::Error),
}

impl Client {
    /// A client of the API at `base_url` (`https://api.twilio.com`, a regional edge, or a simulator).
    pub fn new(base_url: &str) -> Result<Self, BuildError> {
        Self::with_timeouts(base_url, Timeouts::default())
    }

    /// A client that waits as long as `timeouts` say.
    pub fn with_timeouts(base_url: &str, timeouts: Timeouts) -> Result<Self, BuildError> {
        let url = Url::parse(base_url).map_err(|_| BuildError::BaseUrl)?;
        let usable = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !usable {
            return Err(BuildError::BaseUrl);
        }

        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.request)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(CONNECTION_IDLE_MAX)
            .pool_max_idle_per_host(CONNECTIONS_IDLE_MAX);
        // A proxy named in the environment is obeyed, but none can reach this machine's own loopback.
        let http = if is_loopback(&url) { http.no_proxy() } else { http };
        Ok(Self {
            http: http.build().map_err(BuildError::Tls)?,
            base_url: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Creates a message. There is no idempotency key: after [`Outcome::Ambiguous`] the message may exist.
    pub async fn create_message(
        &self,
        credentials: &Credentials,
        message: &CreateMessage,
    ) -> Result<Message, Error> {
        let url = self.url(&messages_path(&credentials.account_sid));
        let answer = send(credentials, self.http.post(url).form(&message.to_form())).await?;
        let message = answer.read_message()?;
        Ok(Message { raw: Some(Raw(answer.json)), ..message })
    }

    /// Makes a call about messages for somebody else, and gives back what Twilio answers as it is: HTTP status and JSON,
    /// null if there is none. After [`Outcome::Ambiguous`] it may have been made.
    pub async fn pass(&self, credentials: &Credentials, call: &Passed<'_>) -> Result<(u16, Raw), Error> {
        let path = match call.message {
            Some(sid) => account_path(&credentials.account_sid, &format!("/Messages/{sid}.json")),
            None => messages_path(&credentials.account_sid),
        };
        let mut url = self.url(&path);
        if !call.query.is_empty() {
            url = format!("{url}?{}", call.query);
        }
        let request = match &call.method {
            Method::Get => self.http.get(url),
            Method::Delete => self.http.delete(url),
            Method::Post { form } => {
                self.http.post(url).header(header::CONTENT_TYPE, FORM_TYPE).body(form.clone())
            }
        };
        let answer = send_within(credentials, request, PASSED_ANSWER_BYTES_MAX).await?;
        Ok((answer.http_status, Raw(answer.json)))
    }

    /// The message `sid`, or `None` if the account has no such message.
    pub async fn fetch_message(
        &self,
        credentials: &Credentials,
        sid: &MessageSid,
    ) -> Result<Option<Message>, Error> {
        let url = self.url(&account_path(&credentials.account_sid, &format!("/Messages/{sid}.json")));
        match send(credentials, self.http.get(url)).await {
            Ok(answer) => answer.read_message().map(Some),
            Err(Error::Refused(refusal))
                if refusal.is_of_twilio() && refusal.http_status == StatusCode::NOT_FOUND.as_u16() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The first page of the account's messages, newest first.
    pub async fn list_messages(
        &self,
        credentials: &Credentials,
        list: &ListMessages,
    ) -> Result<MessagePage, Error> {
        let path = messages_path(&credentials.account_sid);
        let answer = send(credentials, self.http.get(self.url(&path)).query(&list.to_query())).await?;
        answer.read_page(&path)
    }

    /// The page after `page`, or `None` after the last one. `credentials` are those `page` was read with.
    pub async fn next_page(
        &self,
        credentials: &Credentials,
        page: &MessagePage,
    ) -> Result<Option<MessagePage>, Error> {
        let Some(uri) = page.next_page_uri() else { return Ok(None) };
        let answer = send(credentials, self.http.get(self.url(uri))).await?;
        answer.read_page(&messages_path(&credentials.account_sid)).map(Some)
    }

    /// The account itself: whether the credentials work, and what for.
    pub async fn fetch_account(&self, credentials: &Credentials) -> Result<Account, Error> {
        let answer = self.account(credentials).await?;
        Account::from_json(&answer.json).ok_or_else(|| answer.unreadable(NOT_THE_ACCOUNT))
    }

    /// The same as Twilio tells it, but for what is secret: the auth token, which Twilio tells to whoever has an API key too.
    pub async fn account_json(&self, credentials: &Credentials) -> Result<Raw, Error> {
        let mut json = self.account(credentials).await?.json;
        if let Some(fields) = json.as_object_mut() {
            fields.remove("auth_token");
        }
        Ok(Raw(json))
    }

    async fn account(&self, credentials: &Credentials) -> Result<Answer, Error> {
        let url = self.url(&account_path(&credentials.account_sid, ".json"));
        let answer = send(credentials, self.http.get(url)).await?;
        // Whatever stands in Twilio's place may answer 200 to anything.
        let sid = answer.json.get("sid").and_then(Value::as_str);
        let is_asked_for = sid.is_some_and(|sid| sid.eq_ignore_ascii_case(credentials.account_sid.as_str()));
        if is_asked_for { Ok(answer) } else { Err(answer.unreadable(NOT_THE_ACCOUNT)) }
    }

    /// What Twilio knows of the line of `number`, in E.164. Twilio bills every question.
    pub async fn look_up(&self, credentials: &Credentials, number: &str) -> Result<Line, Error> {
        let url = format!("{}/v2/PhoneNumbers/{number}", product_url(&self.base_url, "lookups"));
        let request = self.http.get(url).query(&[("Fields", "line_type_intelligence")]);
        let answer = send(credentials, request).await?;
        Line::from_json(&answer.json).ok_or_else(|| answer.unreadable("it is no number"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}

/// Where Twilio has the API of `product`, such as `lookups`: the host differs from this API's in the first part alone, also
/// at a regional edge. Anything else is a stand-in for Twilio, which answers for all.
fn product_url(base_url: &str, product: &str) -> String {
    match base_url.strip_prefix("https://api.") {
        Some(rest) if rest.ends_with("twilio.com") => format!("https://{product}.{rest}"),
        _ => base_url.to_owned(),
    }
}

fn account_path(account_sid: &AccountSid, rest: &str) -> String {
    format!("/2010-04-01/Accounts/{account_sid}{rest}")
}

fn messages_path(account_sid: &AccountSid) -> String {
    account_path(account_sid, "/Messages.json")
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A 2xx answer whose body is JSON.
struct Answer {
    json: Value,
    http_status: u16,
    request_id: Option<String>,
}

impl Answer {
    fn read_message(&self) -> Result<Message, Error> {
        Message::from_json(&self.json).ok_or_else(|| self.unreadable("it is no message"))
    }

    fn read_page(&self, list_path: &str) -> Result<MessagePage, Error> {
        MessagePage::from_json(&self.json, list_path).map_err(|reason| self.unreadable(reason))
    }

    fn unreadable(&self, reason: &'static str) -> Error {
        Error::Unreadable { http_status: self.http_status, reason, request_id: self.request_id.clone() }
    }
}

/// A call about messages that is made for somebody else. `Debug` is left out: the form may hold a text.
pub struct Passed<'a> {
    /// The message; `None` for all of them.
    pub message: Option<&'a MessageSid>,
    /// What is done with it.
    pub method: Method,
    /// The query, encoded.
    pub query: &'a str,
}

/// What a [`Passed`] call does.
pub enum Method {
    /// Reads.
    Get,
    /// Changes.
    Post {
        /// The parameters, form-encoded.
        form: String,
    },
    /// Deletes.
    Delete,
}

/// Makes the call and sorts its end into an answer or an [`Error`].
async fn send(credentials: &Credentials, request: RequestBuilder) -> Result<Answer, Error> {
    send_within(credentials, request, ANSWER_BYTES_MAX).await
}

/// [`send`], for an answer of up to `bytes_max`.
async fn send_within(
    credentials: &Credentials,
    request: RequestBuilder,
    bytes_max: usize,
) -> Result<Answer, Error> {
    let request =
        request.basic_auth(credentials.basic_user(), Some(credentials.basic_password().expose_secret()));
    let response = request.send().await.map_err(Error::from_transport)?;

    let status = response.status();
    let headers = response.headers().clone();
    let request_id = header_text(&headers, "twilio-request-id").map(str::to_owned);
    let body = read_body(response, bytes_max).await;

    if !status.is_success() {
        // The status has decided already: a body that is missing or broken only leaves the reason out.
        let json = body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
        return Err(Error::from_refusal(Refusal::new(status, &headers, request_id, &json)));
    }
    let answer = Answer { json: Value::Null, http_status: status.as_u16(), request_id };
    match body {
        Ok(_) if status == StatusCode::NO_CONTENT => Ok(answer),
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(json) => Ok(Answer { json, ..answer }),
            Err(_) => Err(answer.unreadable("it is no JSON")),
        },
        Err(BodyError::TooLong) => Err(answer.unreadable("it is too long")),
        Err(BodyError::Transport(error)) => Err(Error::from_transport(error)),
    }
}

enum BodyError {
    TooLong,
    Transport(reqwest::Error),
}

async fn read_body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Transport)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After`, in seconds or as a date; the latter counts from the answer's own `Date`, not from our clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = header_text(headers, "retry-after")?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let parser = rfc2822::DateTimeParser::new();
            let until = parser.parse_timestamp(text).ok()?;
            let now = parser.parse_timestamp(header_text(headers, "date")?).ok()?;
            // A date in the past asks for no wait.
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Why a call did not succeed. No text holds credentials, a whole phone number or a message's text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no connection, so nothing was sent.
    #[error("can not connect to Twilio: {reason}")]
    Unreachable {
        /// What the network, the resolver or TLS said.
        reason: String,
    },
    /// 429: Twilio did not process the request and wants fewer of them.
    #[error("Twilio limits the rate of requests: {0}")]
    RateLimited(Refusal),
    /// 401, or code 20003: the account SID, the token or the API key is wrong, or lacks the permission.
    #[error("Twilio rejects the credentials: {0}")]
    CredentialsRejected(Refusal),
    /// Another answer that says no; asking again would give the same one.
    #[error("Twilio refuses the request: {0}")]
    Refused(Refusal),
    /// 5xx: Twilio, or a gateway before it, failed while it had the request.
    #[error("Twilio failed: {0}")]
    Failed(Refusal),
    /// The time was up before the answer was read.
    #[error("Twilio did not answer in time")]
    TimedOut,
    /// The connection broke after the request may have been sent.
    #[error("the connection to Twilio broke: {reason}")]
    Interrupted {
        /// What the network said.
        reason: String,
    },
    /// Twilio answered 2xx with something else than was asked for.
    #[error("Twilio's answer {http_status} is unreadable: {reason}")]
    Unreadable {
        /// The HTTP status.
        http_status: u16,
        /// What is wrong with the answer.
        reason: &'static str,
        /// `Twilio-Request-Id`.
        request_id: Option<String>,
    },
}

/// What is known about a request that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Twilio has done nothing with it; it is safe to send it again.
    NotProcessed,
    /// Twilio has said no; sending it again would give the same answer.
    Refused,
    /// Twilio may have processed it; sending it again may do it twice.
    Ambiguous,
}

impl Error {
    /// What is known about the request, and so whether it may be sent again.
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Unreachable { .. } | Error::RateLimited(_) => Outcome::NotProcessed,
            // What Twilio refuses for a while, such as a sender whose queue is full (21611), it has not processed either.
            Error::Refused(_) if self.consequence() == Some(Consequence::TryAgain) => Outcome::NotProcessed,
            Error::CredentialsRejected(_) | Error::Refused(_) => Outcome::Refused,
            Error::Failed(_) | Error::TimedOut | Error::Interrupted { .. } | Error::Unreadable { .. } => {
                Outcome::Ambiguous
            }
        }
    }

    /// Twilio's answer, where it gave one that was not 2xx.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::RateLimited(refusal)
            | Error::CredentialsRejected(refusal)
            | Error::Refused(refusal)
            | Error::Failed(refusal) => Some(refusal),
            Error::Unreachable { .. }
            | Error::TimedOut
            | Error::Interrupted { .. }
            | Error::Unreadable { .. } => None,
        }
    }

    /// How long Twilio asks to wait, [`RETRY_AFTER_MAX`] at most.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }

    /// What is done about it, if Twilio has said no: rejected credentials are the account's fault, whatever the code.
    pub fn consequence(&self) -> Option<Consequence> {
        match self {
            Error::CredentialsRejected(_) => Some(Consequence::StopAccount),
            _ => self.twilio_code().map(|code| ErrorCode::new(code).consequence()),
        }
    }

    /// Twilio's error code, such as 21610.
    pub fn twilio_code(&self) -> Option<u32> {
        self.refusal()?.code
    }

    /// The HTTP status of Twilio's answer.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Error::Unreadable { http_status, .. } => Some(*http_status),
            _ => self.refusal().map(|refusal| refusal.http_status),
        }
    }

    /// Twilio's name for the request (`RQ…`), which its support asks for.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Error::Unreadable { request_id, .. } => request_id.as_deref(),
            _ => self.refusal()?.request_id.as_deref(),
        }
    }

    fn from_refusal(refusal: Refusal) -> Self {
        match refusal.http_status {
            401 => Error::CredentialsRejected(refusal),
            403 if refusal.code == Some(CODE_CREDENTIALS_REJECTED) => Error::CredentialsRejected(refusal),
            429 => Error::RateLimited(refusal),
            // 408 is a gateway's: it gave up on the request, and can not say how much of it went through.
            408 | 500.. => Error::Failed(refusal),
            // Also 3xx: a redirect is not followed, and means that the base URL is wrong.
            _ => Error::Refused(refusal),
        }
    }

    /// Sorts a call without a whole answer; the URL, which may hold numbers, is left out of the text.
    fn from_transport(error: reqwest::Error) -> Self {
        let reason = root_cause(&error);
        if error.is_connect() {
            Error::Unreachable { reason }
        } else if error.is_timeout() {
            Error::TimedOut
        } else {
            Error::Interrupted { reason }
        }
    }
}

/// The innermost cause, the only one whose text says more than "error sending request for url".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request could not be sent".to_owned(), ToString::to_string)
}

/// An answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub http_status: u16,
    /// Twilio's error code.
    pub code: Option<u32>,
    /// Twilio's text, numbers masked, [`ERROR_TEXT_CHARACTERS_MAX`] at most.
    pub message: Option<String>,
    /// Twilio's page about the error.
    pub more_info: Option<String>,
    /// The whole of Twilio's JSON, for the one who asked; null if it gave none.
    pub raw: Box<Raw>,
    /// `Retry-After`, [`RETRY_AFTER_MAX`] at most.
    pub retry_after: Option<Duration>,
    /// `Twilio-Request-Id`.
    pub request_id: Option<String>,
}

impl Refusal {
    /// Whether Twilio itself has said no: its errors have a code. A page of a proxy's, or of whatever else stands in Twilio's
    /// place, has none, and says nothing of accounts and messages.
    pub fn is_of_twilio(&self) -> bool {
        self.code.is_some_and(|code| code >= CODES_MIN)
    }

    fn new(status: StatusCode, headers: &HeaderMap, request_id: Option<String>, json: &Value) -> Self {
        let text = |name| json.get(name).and_then(Value::as_str).map(presentable);
        Self {
            http_status: status.as_u16(),
            code: resource::number(json, "code"),
            message: text("message"),
            more_info: text("more_info"),
            raw: Box::new(Raw(json.clone())),
            retry_after: retry_after(headers),
            request_id,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.http_status)?;
        if let Some(code) = self.code {
            write!(f, ", error {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ", {message}")?;
        }
        Ok(())
    }
}

/// Twilio's text made fit for a log: without whole numbers, which its messages echo, on one line, bounded.
fn presentable(text: &str) -> String {
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    mask_numbers(&text).chars().take(ERROR_TEXT_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future,
        sync::{Arc, Mutex},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::twilio::{Address, MessageStatus};

    /// What the server does with a request once it has read it.
    enum Reaction {
        /// Writes these bytes and keeps the connection.
        Answer(String),
        /// Writes these bytes and closes the connection.
        AnswerAndClose(String),
        /// Says nothing and keeps the connection.
        Hang,
        /// Resets the connection.
        Reset,
    }

    /// A server that reacts to each request as it was told, in order, and remembers what it was sent.
    struct Server {
        base_url: String,
        requests: Arc<Mutex<Vec<String>>>,
        connections: Arc<Mutex<usize>>,
    }

    impl Server {
        async fn start(reactions: impl IntoIterator<Item = Reaction>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Self {
                base_url: format!("http://{}", listener.local_addr().unwrap()),
                requests: Arc::default(),
                connections: Arc::default(),
            };
            let reactions = Arc::new(Mutex::new(reactions.into_iter().collect::<VecDeque<_>>()));
            let (requests, connections) = (server.requests.clone(), server.connections.clone());
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    *connections.lock().unwrap() += 1;
                    tokio::spawn(serve(stream, reactions.clone(), requests.clone()));
                }
            });
            server
        }

        fn client(&self) -> Client {
            Client::new(&self.base_url).unwrap()
        }

        fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }

        fn connections(&self) -> usize {
            *self.connections.lock().unwrap()
        }
    }

    async fn serve(
        mut stream: TcpStream,
        reactions: Arc<Mutex<VecDeque<Reaction>>>,
        requests: Arc<Mutex<Vec<String>>>,
    ) {
        while let Some(request) = read_request(&mut stream).await {
            requests.lock().unwrap().push(request);
            let reaction = reactions.lock().unwrap().pop_front().expect("a request too many");
            match reaction {
                Reaction::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                Reaction::AnswerAndClose(answer) => {
                    // The client may hang up before it has read everything.
                    let _ = stream.write_all(answer.as_bytes()).await;
                    return;
                }
                Reaction::Hang => future::pending().await,
                Reaction::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
            }
        }
    }

    /// Head and body of the next request, or `None` when the client has closed.
    async fn read_request(stream: &mut TcpStream) -> Option<String> {
        let mut request = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&request);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(0, |(_, value)| value.parse().unwrap());
                if body.len() >= length {
                    return Some(text.into_owned());
                }
            }
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn answer(status: u16, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
    }

    fn replies(status: u16, headers: &str, body: &str) -> Reaction {
        Reaction::Answer(answer(status, headers, body))
    }

    const ACCOUNT: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const MESSAGE: &str = "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn credentials() -> Credentials {
        Credentials::with_auth_token(AccountSid::parse(ACCOUNT).unwrap(), "the-token".into())
    }

    fn hello() -> CreateMessage {
        CreateMessage {
            from: Some(Address::parse("+15005550006").unwrap()),
            body: Some("Hello & good-bye".into()),
            ..CreateMessage::to(Address::parse("+14155550100").unwrap())
        }
    }

    fn message_json(status: &str) -> String {
        format!(r#"{{"sid":"{MESSAGE}","status":"{status}","num_segments":"1"}}"#)
    }

    /// The error of creating a message at a server that reacts so.
    async fn failure(reaction: Reaction) -> Error {
        let server = Server::start([reaction]).await;
        server.client().create_message(&credentials(), &hello()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_message_is_posted_as_a_form_with_basic_authentication() {
        let server = Server::start([replies(201, "", &message_json("queued"))]).await;
        let message = server.client().create_message(&credentials(), &hello()).await.unwrap();
        assert_eq!(message.sid.as_str(), MESSAGE);
        assert_eq!(message.status, Some(MessageStatus::Queued));

        let [request] = &server.requests()[..] else { panic!("not one request") };
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        let path = format!("post /2010-04-01/accounts/{}/messages.json http/1.1", ACCOUNT.to_lowercase());
        assert!(head.starts_with(&path), "{head}");
        assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
        assert!(head.contains(&format!("user-agent: {USER_AGENT}")), "{head}");
        assert!(head.contains("authorization: basic "), "{head}");
        assert_eq!(body, "To=%2B14155550100&From=%2B15005550006&Body=Hello+%26+good-bye");
    }

    #[tokio::test]
    async fn a_refusal_keeps_what_twilio_said_but_no_number() {
        let body = r#"{"code":21211,"message":"The 'To' number +14155550100 is not valid.",
            "more_info":"https://www.twilio.com/docs/errors/21211","status":400}"#;
        let error = failure(replies(400, "Twilio-Request-Id: RQ1\r\n", body)).await;
        assert!(matches!(error, Error::Refused(_)));
        assert_eq!(error.outcome(), Outcome::Refused);
        assert_eq!((error.twilio_code(), error.http_status()), (Some(21211), Some(400)));
        assert_eq!(error.request_id(), Some("RQ1"));
        let more_info = error.refusal().unwrap().more_info.as_deref();
        assert_eq!(more_info, Some("https://www.twilio.com/docs/errors/21211"));
        assert_eq!(
            error.to_string(),
            "Twilio refuses the request: HTTP 400, error 21211, The 'To' number +1415***0100 is not valid."
        );
        assert!(!format!("{error:?}").contains("14155550100"), "{error:?}");
    }

    #[tokio::test]
    async fn each_status_has_its_outcome() {
        for (status, code, outcome, credentials_rejected) in [
            (302, 0, Outcome::Refused, false),
            (400, 21610, Outcome::Refused, false),
            (400, 21611, Outcome::NotProcessed, false),
            (401, 20003, Outcome::Refused, true),
            (401, 0, Outcome::Refused, true),
            (403, 20003, Outcome::Refused, true),
            (403, 20005, Outcome::Refused, false),
            (404, 20404, Outcome::Refused, false),
            (408, 0, Outcome::Ambiguous, false),
            (409, 20409, Outcome::Refused, false),
            (429, 20429, Outcome::NotProcessed, false),
            (500, 20500, Outcome::Ambiguous, false),
            (502, 0, Outcome::Ambiguous, false),
            (503, 20503, Outcome::Ambiguous, false),
        ] {
            let headers = "Location: https://elsewhere.example/\r\n";
            let error = failure(replies(status, headers, &format!(r#"{{"code":{code}}}"#))).await;
            assert_eq!(error.outcome(), outcome, "{status} {code}");
            assert_eq!(
                matches!(error, Error::CredentialsRejected(_)),
                credentials_rejected,
                "{status} {code}"
            );
            assert_eq!(error.http_status(), Some(status));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_one_whatever_its_body() {
        for body in ["", "<html>Bad Request</html>", "[]", "null", r#"{"code":"x","message":7}"#] {
            let error = failure(replies(400, "", body)).await;
            assert_eq!((error.outcome(), error.twilio_code()), (Outcome::Refused, None), "{body}");
        }
        let cut_short = "HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n{";
        let error = failure(Reaction::AnswerAndClose(cut_short.into())).await;
        assert_eq!(error.outcome(), Outcome::Refused);
    }

    #[tokio::test]
    async fn retry_after_is_believed_up_to_a_bound() {
        for (headers, seconds) in [
            ("", None),
            ("Retry-After: 7\r\n", Some(7)),
            ("Retry-After: 86400\r\n", Some(3600)),
            ("Retry-After: soon\r\n", None),
            ("Retry-After: Thu, 24 Aug 2023 05:01:45 GMT\r\n", None),
            (
                "Date: Thu, 24 Aug 2023 05:01:00 GMT\r\nRetry-After: Thu, 24 Aug 2023 05:01:45 GMT\r\n",
                Some(45),
            ),
            (
                "Date: Thu, 24 Aug 2023 05:02:00 GMT\r\nRetry-After: Thu, 24 Aug 2023 05:01:45 GMT\r\n",
                Some(0),
            ),
        ] {
            for status in [429, 503] {
                let error = failure(replies(status, headers, "{}")).await;
                assert_eq!(error.retry_after(), seconds.map(Duration::from_secs), "{headers}");
            }
        }
    }

    #[tokio::test]
    async fn an_unreadable_success_is_ambiguous() {
        let other = r#"{"sid":"CAbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}"#;
        for body in ["", "OK", "{", "{}", "null", other] {
            let error = failure(replies(201, "Twilio-Request-Id: RQ1\r\n", body)).await;
            assert!(matches!(error, Error::Unreadable { .. }), "{body}");
            assert_eq!(error.outcome(), Outcome::Ambiguous, "{body}");
            assert_eq!((error.http_status(), error.request_id()), (Some(201), Some("RQ1")));
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let body = format!(r#"{{"sid":"{MESSAGE}","body":"{}"}}"#, "a".repeat(ANSWER_BYTES_MAX));
        let error = failure(Reaction::AnswerAndClose(answer(201, "", &body))).await;
        assert!(matches!(error, Error::Unreadable { reason: "it is too long", .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_connection_that_breaks_after_the_request_is_ambiguous() {
        let cut_short = "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{";
        for reaction in [Reaction::Reset, Reaction::AnswerAndClose(cut_short.into())] {
            let error = failure(reaction).await;
            assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
            assert_eq!(error.outcome(), Outcome::Ambiguous);
            assert!(!error.to_string().contains(ACCOUNT), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_ambiguous() {
        let head_only = "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n".to_owned();
        for reactions in [vec![Reaction::Hang], vec![Reaction::Answer(head_only), Reaction::Hang]] {
            let server = Server::start(reactions).await;
            let timeouts = Timeouts { request: Duration::from_millis(200), ..Default::default() };
            let client = Client::with_timeouts(&server.base_url, timeouts).unwrap();
            let error = client.create_message(&credentials(), &hello()).await.unwrap_err();
            assert!(matches!(error, Error::TimedOut), "{error:?}");
            assert_eq!(error.outcome(), Outcome::Ambiguous);
            assert_eq!(server.requests().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_means_that_nothing_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = Client::new(&base_url).unwrap();
        let error = client.create_message(&credentials(), &hello()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotProcessed);
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn calls_share_a_connection_also_after_an_error() {
        let server = Server::start([
            replies(201, "", &message_json("queued")),
            replies(400, "", "{}"),
            replies(200, "", &message_json("sent")),
        ])
        .await;
        let client = server.client();
        client.create_message(&credentials(), &hello()).await.unwrap();
        client.create_message(&credentials(), &hello()).await.unwrap_err();
        client.clone().fetch_message(&credentials(), &MessageSid::parse(MESSAGE).unwrap()).await.unwrap();
        assert_eq!((server.requests().len(), server.connections()), (3, 1));
    }

    #[tokio::test]
    async fn a_request_is_never_repeated_by_itself() {
        let server = Server::start([replies(201, "", &message_json("queued")), Reaction::Reset]).await;
        let client = server.client();
        client.create_message(&credentials(), &hello()).await.unwrap();
        // The second goes over the first one's connection; a third request would make the server panic.
        let error = client.create_message(&credentials(), &hello()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Ambiguous);
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn a_message_that_does_not_exist_is_none() {
        let server = Server::start([
            replies(200, "", &message_json("delivered")),
            replies(404, "", r#"{"code":20404}"#),
            replies(500, "", "{}"),
            replies(404, "", "<html>Not found</html>"),
            replies(404, "", r#"{"code":404}"#),
        ])
        .await;
        let (client, sid) = (server.client(), MessageSid::parse(MESSAGE).unwrap());
        let message = client.fetch_message(&credentials(), &sid).await.unwrap().unwrap();
        assert_eq!(message.status, Some(MessageStatus::Delivered));
        assert_eq!(client.fetch_message(&credentials(), &sid).await.unwrap(), None);
        // A page of something else is no word of Twilio's.
        for _ in 2..5 {
            assert!(client.fetch_message(&credentials(), &sid).await.is_err());
        }
        let path = format!("GET /2010-04-01/Accounts/{ACCOUNT}/Messages/{MESSAGE}.json HTTP/1.1");
        assert!(server.requests()[0].starts_with(&path));
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
        let next = format!("{path}?PageSize=2&Page=1&PageToken=PASM1");
        let message = message_json("sent");
        let first = format!(r#"{{"messages":[{message},{message}],"next_page_uri":"{next}"}}"#);
        let last = format!(r#"{{"messages":[{message}],"next_page_uri":null}}"#);
        let server = Server::start([replies(200, "", &first), replies(200, "", &last)]).await;
        let client = server.client();

        let list = ListMessages {
            to: Some(Address::parse("+14155550100").unwrap()),
            date_sent_on_or_after: Some(jiff::civil::date(2026, 3, 9)),
            page_size: Some(2),
            ..Default::default()
        };
        let page = client.list_messages(&credentials(), &list).await.unwrap();
        assert_eq!(page.messages.len(), 2);
        let page = client.next_page(&credentials(), &page).await.unwrap().unwrap();
        assert_eq!(page.messages.len(), 1);
        assert_eq!(client.next_page(&credentials(), &page).await.unwrap(), None);

        let requests = server.requests();
        let query = "To=%2B14155550100&DateSent%3E=2026-03-09&PageSize=2";
        assert!(requests[0].starts_with(&format!("GET {path}?{query} HTTP/1.1")), "{}", requests[0]);
        assert!(requests[1].starts_with(&format!("GET {next} HTTP/1.1")), "{}", requests[1]);
    }

    #[tokio::test]
    async fn a_list_that_continues_on_another_host_is_refused() {
        let next = format!("https://evil.example/2010-04-01/Accounts/{ACCOUNT}/Messages.json?Page=1");
        let page = format!(r#"{{"messages":[],"next_page_uri":"{next}"}}"#);
        let server = Server::start([replies(200, "", &page)]).await;
        let error = server.client().list_messages(&credentials(), &Default::default()).await.unwrap_err();
        assert!(matches!(error, Error::Unreadable { http_status: 200, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn an_account_is_read() {
        let other = ACCOUNT.replace('a', "b");
        let body = |sid: &str| {
            format!(r#"{{"friendly_name":"ACME","status":"active","type":"Full","sid":"{sid}"}}"#)
        };
        let bodies = [body(ACCOUNT), "[]".to_owned(), "{}".to_owned(), body(&other)];
        let server = Server::start(bodies.map(|body| replies(200, "", &body))).await;
        let client = server.client();
        let account = client.fetch_account(&credentials()).await.unwrap();
        let full = |text: &str| Some(text.to_owned());
        assert_eq!(
            account,
            Account { friendly_name: full("ACME"), status: full("active"), kind: full("Full") }
        );
        assert!(
            server.requests()[0].starts_with(&format!("GET /2010-04-01/Accounts/{ACCOUNT}.json HTTP/1.1"))
        );
        for _ in 1..4 {
            let error = client.fetch_account(&credentials()).await.unwrap_err();
            assert!(matches!(error, Error::Unreadable { http_status: 200, .. }), "{error:?}");
        }
    }

    #[test]
    fn a_base_url_is_a_scheme_and_a_host() {
        for usable in [
            "https://api.twilio.com",
            "https://api.twilio.com/",
            "http://127.0.0.1:9/",
            "http://[::1]:9/twilio",
        ] {
            assert!(Client::new(usable).is_ok(), "{usable}");
        }
        for unusable in [
            "",
            "api.twilio.com",
            "ftp://api.twilio.com",
            "https://",
            "https://user:pass@a.example",
            "https://a.example/?b",
            "https://a.example/#b",
        ] {
            let error = Client::new(unusable).unwrap_err();
            assert!(
                matches!(error, BuildError::BaseUrl) && !error.to_string().contains("pass"),
                "{unusable}"
            );
        }
    }
}
