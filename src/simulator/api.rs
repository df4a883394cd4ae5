//! The parts of `api.twilio.com`, `messaging.twilio.com` and `lookups.twilio.com` that are simulated: messages, the account
//! itself and its senders, what a number is.
//!
//! Sources: <https://www.twilio.com/docs/messaging/api/message-resource>,
//! <https://www.twilio.com/docs/usage/twilios-response>.

use std::{
    fmt, io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Instant,
};

use actix_web::{
    Error, FromRequest, HttpRequest, HttpResponse, ResponseError, Route,
    body::{BodySize, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::{Next, from_fn},
    web::{self, Bytes, Data, ServiceConfig},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{
    OtherAccounts,
    create::Draft,
    errors::ApiError,
    exchange::Exchange,
    list, lookup, media,
    message::{API_VERSION, rfc_2822},
    senders::List,
    update::Change,
};
use crate::twilio::{AccountSid, Form, credentials::ApiKey, multipart};

/// The token that no account has, however many there are.
const REFUSED_TOKEN: &str = "ffffffffffffffffffffffffffffffff";

/// What the API's handlers share.
pub struct Api {
    exchange: std::sync::Arc<Exchange>,
    auth_token: SecretString,
    api_keys: Vec<ApiKey>,
    other_accounts: OtherAccounts,
    strict: bool,
    started: jiff::Timestamp,
    concurrent: AtomicUsize,
}

impl Api {
    /// The API of the account of `exchange`; see [`super::Config`] for the rest.
    pub fn new(
        exchange: std::sync::Arc<Exchange>,
        auth_token: SecretString,
        api_keys: Vec<ApiKey>,
        other_accounts: OtherAccounts,
        strict: bool,
    ) -> Self {
        let concurrent = AtomicUsize::new(0);
        let started = super::now();
        Self { exchange, auth_token, api_keys, other_accounts, strict, started, concurrent }
    }

    fn account_sid(&self) -> &AccountSid {
        self.exchange.account_sid()
    }

    /// Whether a request with these credentials may see the account: its own token, or one of its API keys.
    fn admits(&self, user: &str, password: &str) -> bool {
        let is = |name: &str, secret: &SecretString| name == user && is_secret(secret, password);
        is(self.account_sid().as_str(), &self.auth_token)
            || self.api_keys.iter().any(|key| is(&key.sid, &key.secret))
    }
}

impl OtherAccounts {
    /// Whether there is the account `sid`, and `token` is its own.
    fn admits(&self, sid: &AccountSid, token: &str) -> bool {
        match self {
            OtherAccounts::Known(known) => {
                known.iter().any(|(known, secret)| known == sid && is_secret(secret, token))
            }
            OtherAccounts::Any => token != REFUSED_TOKEN,
        }
    }
}

fn is_secret(secret: &SecretString, given: &str) -> bool {
    secret.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
}

/// The routes.
pub fn configure(config: &mut ServiceConfig) {
    let not_allowed = || web::to(async || refuse(&ApiError::method_not_allowed()));
    config.service(
        web::scope("/2010-04-01")
            .wrap(from_fn(envelope))
            .service(
                web::resource("/Accounts/{account_sid}/Messages.json")
                    .route(web::post().to(create))
                    .route(web::get().to(list))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}.json")
                    .route(web::get().to(fetch))
                    .route(web::post().to(update))
                    .route(web::delete().to(delete))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}/Media.json")
                    .route(web::get().to(media_list))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}/Media/{media_sid}")
                    .route(web::get().to(media_file))
                    .route(web::delete().to(media_file))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts.json").route(web::get().to(accounts)).default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}.json")
                    .route(web::get().to(account))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/IncomingPhoneNumbers.json")
                    .route(list_senders(|_| List::Numbers))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/SMS/ShortCodes.json")
                    .route(list_senders(|_| List::ShortCodes))
                    .default_service(not_allowed()),
            )
            .default_service(web::to(not_found)),
    );
    config.service(
        web::scope("/v1")
            .wrap(from_fn(envelope))
            .service(
                web::resource("/Services")
                    .route(list_senders(|_| List::Services))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Services/{service_sid}/PhoneNumbers")
                    .route(list_senders(|sid| List::ServiceNumbers(sid)))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Services/{service_sid}/ShortCodes")
                    .route(list_senders(|sid| List::ServiceShortCodes(sid)))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Services/{service_sid}/ChannelSenders")
                    .route(list_senders(|sid| List::ServiceChannelSenders(sid)))
                    .default_service(not_allowed()),
            )
            .default_service(web::to(not_found)),
    );
    config.service(
        web::scope("/v2")
            .wrap(from_fn(envelope))
            .service(
                web::resource("/PhoneNumbers/{number}")
                    .route(web::get().to(look_up))
                    .default_service(not_allowed()),
            )
            .service(
                web::resource("/Channels/Senders")
                    .route(list_senders(|_| List::WhatsappSenders))
                    .default_service(not_allowed()),
            )
            .default_service(web::to(not_found)),
    );
}

/// Proof that no fault befell a request, and that it has the account's credentials: what fails does not look at these.
struct Caller;

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Self::of(request))
    }
}

impl Caller {
    fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let api = request.app_data::<Data<Api>>().expect("the server is started with it");
        api.exchange.model().draw_refusal()?;
        // Lookup names no account in its path: the credentials do.
        let named = request.match_info().get("account_sid");
        let is_own_account = named.is_none_or(|named| named == api.account_sid().as_str());
        let is_admitted = basic_auth(request).is_some_and(|(user, password)| api.admits(&user, &password));
        if !is_own_account || !is_admitted {
            return Err(ApiError::not_authenticated());
        }
        Ok(Self)
    }
}

fn basic_auth(request: &HttpRequest) -> Option<(String, String)> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded =
        STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

async fn create(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, ApiError> {
    let body = form_of(&request, body)?;
    let draft = Draft::read(&Form::parse(&body), api.strict, super::now())?;
    let (message, drop_response) = api.exchange.create(draft)?;
    if drop_response {
        return Ok(HttpResponse::Created().body(Severed));
    }
    Ok(HttpResponse::Created().json(message.to_json(api.account_sid())))
}

async fn fetch(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let mut model = api.exchange.model();
    if model.draw_not_found() {
        return Err(ApiError::not_found(request.path()));
    }
    let message = model.message(&path.1).ok_or_else(|| ApiError::not_found(request.path()))?;
    Ok(HttpResponse::Ok().json(message.to_json(api.account_sid())))
}

/// The body of a request: a form in either of the two encodings that Twilio takes.
fn form_of(request: &HttpRequest, body: Bytes) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_multipart = |content_type: &&str| {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(multipart::MEDIA_TYPE)
    };
    match content_type.filter(is_multipart) {
        Some(content_type) => {
            let form = multipart::to_url_encoded(content_type, body);
            form.map(Bytes::from).ok_or_else(|| ApiError::bad_request(20400, "The body could not be read"))
        }
        None => Ok(body),
    }
}

async fn media_list(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let model = api.exchange.model();
    let message = model.message(&path.1).ok_or_else(|| ApiError::not_found(request.path()))?;
    Ok(HttpResponse::Ok().json(media::list(message, api.account_sid(), request.path())))
}

async fn media_file(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (_, message_sid, name) = path.into_inner();
    let not_found = || ApiError::not_found(request.path());
    let mut model = api.exchange.model();
    let message = model.message(&message_sid).ok_or_else(not_found)?;
    let (sid, wants_json) = name.strip_suffix(".json").map_or((name.as_str(), false), |sid| (sid, true));
    let file = media::find(message, sid).ok_or_else(not_found)?;
    if request.method() == Method::DELETE {
        model.delete_media(&message_sid, &file);
        return Ok(HttpResponse::NoContent().finish());
    }
    if wants_json {
        return Ok(HttpResponse::Ok().json(media::resource(message, &file, api.account_sid())));
    }
    let location = format!("{}{}/{file}", base_url(&request), media::FILES);
    Ok(HttpResponse::TemporaryRedirect().insert_header((header::LOCATION, location)).finish())
}

async fn update(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    body: Bytes,
) -> Result<HttpResponse, ApiError> {
    let body = form_of(&request, body)?;
    let change = Change::read(&Form::parse(&body))?;
    let message = api.exchange.change(&path.1, request.path(), change)?;
    Ok(HttpResponse::Ok().json(message.to_json(api.account_sid())))
}

async fn delete(
    _: Caller,
    api: Data<Api>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    api.exchange.delete(&path.1, request.path())?;
    Ok(HttpResponse::NoContent().finish())
}

async fn look_up(
    _: Caller,
    request: HttpRequest,
    number: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(lookup::answer(&number, request.query_string(), &base_url(&request))?))
}

fn base_url(request: &HttpRequest) -> String {
    format!("http://{}", request.connection_info().host())
}

/// Answers a list of the account's senders; of a service's, if the path names one.
fn list_senders(list: fn(&str) -> List<'_>) -> Route {
    web::get().to(move |_: Caller, api: Data<Api>, request: HttpRequest| async move {
        let list = list(request.match_info().get("service_sid").unwrap_or_default());
        let senders = api.exchange.senders();
        let page = senders.answer(list, api.account_sid(), request.query_string(), &base_url(&request))?;
        Ok::<_, ApiError>(HttpResponse::Ok().json(page))
    })
}

async fn list(_: Caller, api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = list::Query::read(request.query_string())?;
    Ok(HttpResponse::Ok().json(query.answer(&api.exchange.model(), api.account_sid(), super::now())))
}

/// An account, without its `auth_token`: what Twilio gives away there, a stand-in need not.
///
/// Others than the simulator's own can be looked at as well, if they are among the [`OtherAccounts`].
async fn account(request: HttpRequest, api: Data<Api>) -> Result<HttpResponse, ApiError> {
    let named = AccountSid::parse(request.match_info().query("account_sid")).ok();
    let other = named.filter(|named| named != api.account_sid());
    let sid = match &other {
        Some(other) => {
            api.exchange.model().draw_refusal()?;
            let admitted = |(user, token): (String, String)| {
                user == other.as_str() && api.other_accounts.admits(other, &token)
            };
            if !basic_auth(&request).is_some_and(admitted) {
                return Err(ApiError::not_authenticated());
            }
            other
        }
        None => {
            Caller::of(&request)?;
            api.account_sid()
        }
    };
    Ok(HttpResponse::Ok().json(api.account_json(sid)))
}

/// The list of accounts: there are no subaccounts.
async fn accounts(_: Caller, api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let uri = format!("{}?PageSize=50&Page=0", request.path());
    Ok(HttpResponse::Ok().json(json!({
        "accounts": [api.account_json(api.account_sid())], "page": 0, "page_size": 50, "start": 0, "end": 0,
        "uri": uri, "first_page_uri": uri, "next_page_uri": null, "previous_page_uri": null,
    })))
}

impl Api {
    fn account_json(&self, sid: &AccountSid) -> Value {
        let is_suspended = self.exchange.model().faults().suspended >= 1.0;
        let uri = format!("/{API_VERSION}/Accounts/{sid}");
        json!({
            "sid": sid.as_str(),
            "friendly_name": "Simulated account",
            "status": if is_suspended { "suspended" } else { "active" },
            "type": "Full",
            "owner_account_sid": sid.as_str(),
            "date_created": rfc_2822(self.started),
            "date_updated": rfc_2822(self.started),
            "uri": format!("{uri}.json"),
            "subresource_uris": { "messages": format!("{uri}/Messages.json") },
        })
    }
}

/// What is answered where there is nothing.
pub async fn not_found(request: HttpRequest) -> HttpResponse {
    refuse(&ApiError::not_found(request.path()))
}

/// The answer that says `error`.
pub fn refuse(error: &ApiError) -> HttpResponse {
    let status = StatusCode::from_u16(error.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"Twilio API\""));
    }
    response.json(error.to_json())
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.code, self.http_status)
    }
}

impl ResponseError for ApiError {
    fn error_response(&self) -> HttpResponse {
        refuse(self)
    }
}

/// Keeps the answer back as long as the faults say, and gives it Twilio's headers.
async fn envelope(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let api = request.app_data::<Data<Api>>().expect("the server is started with it").clone();
    let concurrent = Concurrent::enter(&api.concurrent);
    let start = Instant::now();
    let (request_id, latency) = {
        let mut model = api.exchange.model();
        (model.new_request_id(), model.faults().latency)
    };
    let mut response = next.call(request).await?;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let headers = [
        ("twilio-request-id", request_id),
        ("twilio-concurrent-requests", concurrent.count.to_string()),
        ("twilio-request-duration", format!("{:.3}", start.elapsed().as_secs_f64())),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).expect("it is digits and letters");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}

/// Counts a request among those that are being answered, until it is dropped.
struct Concurrent<'a> {
    counter: &'a AtomicUsize,
    count: usize,
}

impl<'a> Concurrent<'a> {
    fn enter(counter: &'a AtomicUsize) -> Self {
        Self { counter, count: counter.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Concurrent<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that fails before its first byte. The server gives the connection up then, with the head of the answer
/// still in its buffer, so that the client sees the connection close and nothing else.
struct Severed;

impl MessageBody for Severed {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        Poll::Ready(Some(Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the answer is dropped on purpose",
        ))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_the_accounts_that_were_told_each_with_its_own_token() {
        let sid = |digit: &str| AccountSid::parse(&format!("AC{}", digit.repeat(32))).unwrap();
        let known = OtherAccounts::Known(vec![(sid("a"), "one".into()), (sid("b"), "two".into())]);
        assert!(known.admits(&sid("a"), "one") && known.admits(&sid("b"), "two"));
        assert!(!known.admits(&sid("a"), "two") && !known.admits(&sid("c"), "one"));
        assert!(OtherAccounts::Any.admits(&sid("c"), "one"));
        assert!(!OtherAccounts::Any.admits(&sid("c"), REFUSED_TOKEN));
    }
}
