//! A name for every request of the application's side, so that what a caller saw is found in the log.

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};
use rand::RngExt;
use tracing::Instrument;

/// The header that carries it, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a caller's own that is taken over, in characters.
pub const CHARACTERS_MAX: usize = 128;

/// The id, as the request carries it to its handler.
struct RequestId(String);

/// The id of `request`; `None` where requests have none.
pub fn of(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<RequestId>().map(|id| id.0.clone())
}

/// Answers with the request's id, and has it in every line that is logged on the way.
pub async fn carry(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let given = request.headers().get(X_REQUEST_ID).filter(|value| is_usable(value)).cloned();
    let id = given.unwrap_or_else(new);
    let name = id.to_str().unwrap_or_default();
    request.extensions_mut().insert(RequestId(name.to_owned()));
    let span = tracing::info_span!("request", request_id = name);
    let mut response = next.call(request).instrument(span).await?;
    response.headers_mut().insert(X_REQUEST_ID, id);
    Ok(response)
}

/// Whether a caller's own id may stand in a log: visible ASCII, and not too long.
fn is_usable(value: &HeaderValue) -> bool {
    (1..=CHARACTERS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new() -> HeaderValue {
    let id = hex::encode(rand::rng().random::<[u8; 16]>());
    HeaderValue::try_from(id).expect("hexadecimal digits are a header's value")
}
