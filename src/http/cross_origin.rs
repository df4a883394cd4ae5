//! Pages of other sites in somebody's browser.
//!
//! A browser sends a simple request for any page, and adds the credentials that it remembers: the name and password of the
//! drop-in, for one. So what a page of another site asks for is refused, unless the operator has named its origin. Such a
//! page may also read the application's side, which a browser allows only if we say so (CORS).
//!
//! Source: <https://fetch.spec.whatwg.org/#http-cors-protocol>, <https://www.w3.org/TR/fetch-metadata/>.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError,
    dev::ServiceRequest,
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};

use super::{
    API, State,
    dropin::{self, ApiError},
    problem::{Code, Problem},
};

/// By which a browser tells whose page asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a page may ask with, and what it may read of an answer, besides what it always may.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, idempotency-key, last-event-id, x-request-id"),
    ),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

/// What a page may read of an answer's headers.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, x-request-id");

/// What is answered in place of the route: a refusal, or what a browser asks before it asks for a page.
pub fn answer(request: &ServiceRequest) -> Option<HttpResponse> {
    // As routes see it: a path has many spellings, and `request.path()` is the one that came.
    let path = request.match_info().as_str();
    let is_dropin = path.starts_with(dropin::PATH);
    if !is_dropin && !path.starts_with(API) {
        return None;
    }
    if let Some(origin) = allowed_origin(request.request()) {
        let asks_first = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        return (asks_first && !is_dropin).then(|| preflight(origin));
    }
    let site = request.headers().get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if is_dropin {
        // No page has a reason to call it; a browser too old to tell the site names the origin.
        let is_of_a_page = request.headers().contains_key(header::ORIGIN)
            || site.is_some_and(|site| site != b"none" && site != b"same-origin");
        return is_of_a_page.then(|| ApiError::cross_origin().error_response());
    }
    (site == Some(b"cross-site")).then(|| {
        let problem = Problem::new(
            Code::CrossOrigin,
            "a page of another site asks",
            "call from a server, or let the operator name the page's origin in TEXTLEDGER_CORS_ORIGINS",
        );
        problem.error_response()
    })
}

/// Lets the page that asked read the answer, if its origin is allowed.
pub fn let_read(request: &HttpRequest, headers: &mut HeaderMap) {
    if !request.match_info().as_str().starts_with(API) {
        return;
    }
    if let Some(origin) = allowed_origin(request) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

fn preflight(origin: &HeaderValue) -> HttpResponse {
    let mut response: HttpResponseBuilder = HttpResponse::NoContent();
    PREFLIGHT.into_iter().for_each(|named| {
        response.insert_header(named);
    });
    response.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
    response.insert_header((header::VARY, "Origin")).finish()
}

/// The origin of the page that asks, if the operator has named it.
fn allowed_origin(request: &HttpRequest) -> Option<&HeaderValue> {
    let origin = request.headers().get(header::ORIGIN)?;
    let state = request.app_data::<web::Data<State>>()?;
    state.cors_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then_some(origin)
}
