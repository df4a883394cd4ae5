//! What is about neither messages nor the account: it goes on to Twilio as it came, and back as Twilio answers, for whoever has
//! the account's own auth token and could ask Twilio as well. No key of ours can buy a number or place a call.
//!
//! Nothing that sends a message goes on, however its path is written: it would leave around consent.

use super::{SdkCaller, errors::ApiError, form_body::RawBody};
use crate::{
    domain::audit::{Action, Facts},
    http::{State, auth::Right},
    twilio::client::forward::{Forwarded, ForwardedAnswer},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use percent_encoding::percent_decode_str;

/// The longest name of a kind of resource that the audit tells of.
const RESOURCE_CHARACTERS_MAX: usize = 30;

/// Any path of the API that is not answered otherwise.
pub(super) async fn any(
    state: web::Data<State>,
    request: HttpRequest,
    caller: Result<SdkCaller, ApiError>,
    body: Result<RawBody, ApiError>,
) -> Result<HttpResponse, ApiError> {
    // Who says nothing of who they are is told of nothing.
    if !request.headers().contains_key(header::AUTHORIZATION) {
        return Err(ApiError::not_found(request.path()));
    }
    let caller = caller?;
    let resource = resource(request.method(), request.path());
    let (Some(_), Some(resource)) = (&caller.own_token, resource) else {
        return Err(ApiError::not_found(request.path()));
    };
    let changes = changes(request.method());
    caller.require(if changes { Right::Send } else { Right::Read })?;
    let organization = &caller.caller.organization;
    tracing::info!(%organization, resource, "a call goes through to Twilio");
    if changes {
        let facts = Facts { resource: Some(resource), ..Facts::default() };
        let entry = caller.caller.origin().entry(Action::TwilioCall).with(facts);
        state.app.audit.of(organization).record(entry).await?;
    }
    forward(&state, &caller, &request, body?).await
}

/// Makes the call of `request` with the caller's own token.
pub(super) async fn forward(
    state: &State,
    caller: &SdkCaller,
    request: &HttpRequest,
    body: RawBody,
) -> Result<HttpResponse, ApiError> {
    let call = Forwarded {
        method: request.method().as_str(),
        path_and_query: request.uri().path_and_query().map_or(request.path(), |target| target.as_str()),
        headers: headers(request),
        body: body.0.to_vec(),
    };
    let passthrough = state.app.passthrough.of(&caller.caller.organization);
    Ok(answer(passthrough.forward(caller.own_token.as_ref(), call).await?))
}

/// What of a request's headers Twilio is told.
pub(super) fn headers(request: &HttpRequest) -> Vec<(&'static str, String)> {
    let given = ["accept", "content-type"].into_iter();
    let given = given.filter_map(|name| Some((name, request.headers().get(name)?.to_str().ok()?.to_owned())));
    given.collect()
}

/// Twilio's answer, handed on.
pub(super) fn answer(answer: ForwardedAnswer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.http_status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.insert_header((name, value));
        }
    }
    response.body(answer.body)
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// The kind of resource that `path` names, with what is done: `POST Calls`. `None` for a path that is written so that it might be
/// read as another one, or that sends a message.
fn resource(method: &Method, path: &str) -> Option<String> {
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let is_odd =
        |character: char| character.is_control() || matches!(character, '%' | '\\' | '?' | '#' | ';');
    if decoded.contains(is_odd) {
        return None;
    }
    let mut segments: Vec<&str> = decoded.strip_prefix('/')?.split('/').collect();
    if segments.iter().any(|segment| segment.is_empty() || matches!(*segment, "." | "..")) {
        return None;
    }
    let last = segments.last_mut()?;
    *last = last.split_once('.').map_or(*last, |(name, _)| name);
    let sends = changes(method) && last.eq_ignore_ascii_case("Messages");
    if sends {
        return None;
    }
    let is_kind = |segment: &&str| {
        segment.len() <= RESOURCE_CHARACTERS_MAX && segment.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    let kind = segments.into_iter().rev().find(is_kind).unwrap_or_default();
    Some(format!("{method} {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "/2010-04-01/Accounts/ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn what_is_asked_for_is_told_by_its_kind() {
        let told = |method: Method, rest: &str| resource(&method, &format!("{ACCOUNT}{rest}"));
        assert_eq!(told(Method::POST, "/Calls.json").as_deref(), Some("POST Calls"));
        assert_eq!(told(Method::GET, "/Calls/CA1/Recordings.json").as_deref(), Some("GET Recordings"));
        assert_eq!(told(Method::DELETE, "/Calls/CA1.json").as_deref(), Some("DELETE Calls"));
        assert_eq!(told(Method::GET, "/Messages").as_deref(), Some("GET Messages"));
        assert_eq!(told(Method::POST, "/Messages/SM1/Feedback.json").as_deref(), Some("POST Feedback"));
        assert_eq!(told(Method::POST, ".json").as_deref(), Some("POST Accounts"));
    }

    #[test]
    fn nothing_that_sends_goes_on_however_it_is_written() {
        for rest in [
            "/Messages",
            "/Messages.json",
            "/Messages.xml",
            "/messages.JSON",
            "/SMS/Messages.json",
            "/SMS/Messages",
            "/%4dessages.json",
            "/Messages%2ejson",
            "/Messages/",
            "/Messages%2F",
            "//Messages.json",
            "/./Messages.json",
            "/Calls/../Messages.json",
            "/Calls/%2e%2e/Messages.json",
            "/Messages%00.json",
            "/Messages%2500",
            "/Messages;a.json",
            "\\Messages.json",
            "/Messages%3f",
        ] {
            assert_eq!(resource(&Method::POST, &format!("{ACCOUNT}{rest}")), None, "{rest}");
        }
    }
}
