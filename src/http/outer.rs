//! What holds for every request and every answer, whatever the route: how long a URL may be, whose pages may ask, what a
//! browser may do with what it gets, and whether its connection is kept.

use std::sync::Arc;

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use super::{
    State,
    connections::Place,
    cross_origin,
    dropin::{self, ApiError},
    problem::{Code, Problem},
};

/// The longest path and query, in bytes; Twilio's own URLs have at most 4,000.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// What a page could ask a browser for and none of ours does.
const NO_FEATURES: &str = "accelerometer=(), autoplay=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                           magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// Headers for browsers, where an answer does not say otherwise itself: nothing of an answer runs, is framed or loaded by
/// another site, is taken for another type, is told to another site, uses the device, or stays in a cache.
const HEADERS: [(HeaderName, HeaderValue); 8] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (header::PERMISSIONS_POLICY, HeaderValue::from_static(NO_FEATURES)),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Refuses a URL that is too long, and pages of other sites, before anything is done with it, and adds the [`HEADERS`] to every answer.
/// While the service stops, an answer ends its connection.
pub async fn keep(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let place = request.conn_data::<Arc<Place>>().cloned();
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let answered = if target_bytes > TARGET_BYTES_MAX {
        Some(too_long(&request))
    } else {
        cross_origin::answer(&request)
    };
    let response = match answered {
        Some(answer) => Ok(request.into_response(answer).map_into_right_body()),
        None => next.call(request).await.map(|mut response| {
            let asked = response.request().clone();
            cross_origin::let_read(&asked, response.headers_mut());
            response.map_into_left_body()
        }),
    };
    if let Some(place) = place {
        place.answer_made();
    }
    let mut response = response?;
    let state = response.request().app_data::<web::Data<State>>();
    if state.is_some_and(|state| state.stop.is_cancelled()) {
        // Its client would ask again on a connection that is about to be closed.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    for (name, value) in HEADERS {
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// 414, as the caller knows failures.
fn too_long(request: &ServiceRequest) -> HttpResponse {
    let detail = format!("the URL is longer than {TARGET_BYTES_MAX} bytes");
    let prefix = request.app_data::<web::Data<State>>().map_or("", |state| state.public_url.prefix());
    let decoded = request.match_info().as_str();
    let path = decoded.strip_prefix(prefix).unwrap_or(decoded);
    if [path, decoded].iter().any(|path| path.starts_with("/webhooks/")) {
        HttpResponse::new(StatusCode::URI_TOO_LONG)
    } else if decoded.starts_with(dropin::PATH) {
        ApiError::uri_too_long(&detail).error_response()
    } else {
        Problem::new(Code::UriTooLong, detail, "send what is long in the body").error_response()
    }
}
