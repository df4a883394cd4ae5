//! The media files of a message. Twilio has them, under the name that it gave the message.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/media-resource>.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{Found, SdkCaller, errors::ApiError, find, passthrough, record};
use crate::{
    domain::{OutboundState, audit::Action},
    http::{State, auth::Right},
    twilio::client::forward::Forwarded,
    twilio::{MediaSid, MessageSid},
};

/// The ending of a path whose answer is JSON.
const JSON: &str = ".json";

/// `GET …/Messages/{Sid}/Media.json`.
pub(super) async fn list(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    let found = find(&state, &caller, &request).await?;
    if at_twilio(&found).is_none() {
        // Twilio has fetched none of them yet.
        let uri = request.path();
        return Ok(HttpResponse::Ok().json(json!({
            "media_list": [], "page": 0, "page_size": 50, "start": 0, "end": 0, "uri": uri, "first_page_uri": uri,
            "next_page_uri": null, "previous_page_uri": null,
        })));
    }
    ask(&state, &caller, &request, &found, "Media.json").await
}

/// `GET …/Messages/{Sid}/Media/{Sid}.json`, and without the ending: the file itself, to which Twilio leads on.
pub(super) async fn fetch(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    let (rest, found) = (rest(&request)?, find(&state, &caller, &request).await?);
    ask(&state, &caller, &request, &found, &rest).await
}

/// `DELETE …/Messages/{Sid}/Media/{Sid}.json`.
pub(super) async fn delete(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Send)?;
    let (rest, found) = (rest(&request)?, find(&state, &caller, &request).await?);
    if at_twilio(&found).is_none() {
        return Err(ApiError::not_found(request.path()));
    }
    record(&state, &caller, Action::MessageUpdate, &found).await?;
    ask(&state, &caller, &request, &found, &rest).await
}

/// What stands in the path behind the message: a file's name, which is known to be one.
fn rest(request: &HttpRequest) -> Result<String, ApiError> {
    let name = request.match_info().query("media_sid");
    let (sid, ending) = name.strip_suffix(JSON).map_or((name, ""), |sid| (sid, JSON));
    let sid = MediaSid::parse(sid).map_err(|_| ApiError::not_found(request.path()))?;
    Ok(format!("Media/{sid}{ending}"))
}

/// The name by which Twilio has the message, if it has it, and the one that the caller knows.
fn at_twilio(found: &Found) -> Option<(&MessageSid, &MessageSid)> {
    match found {
        Found::Twilios(sid) => Some((sid, sid)),
        Found::Ours { message, sid: known_as } => match &message.state {
            OutboundState::Accepted { message_sid, .. } => Some((message_sid, known_as)),
            _ => None,
        },
    }
}

/// Asks Twilio, with the caller's own token or on their behalf; the message keeps the name that the caller knows.
async fn ask(
    state: &State,
    caller: &SdkCaller,
    request: &HttpRequest,
    found: &Found,
    rest: &str,
) -> Result<HttpResponse, ApiError> {
    let (sid, known_as) = at_twilio(found).ok_or_else(|| ApiError::not_found(request.path()))?;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}/Accounts/{}/Messages/{sid}/{rest}{query}", super::PATH, caller.account_sid);
    let call = Forwarded {
        method: request.method().as_str(),
        path_and_query: &path,
        headers: passthrough::headers(request),
        body: Vec::new(),
    };
    let passthrough = state.app.passthrough.of(&caller.caller.organization);
    let mut answer = passthrough.forward(caller.own_token.as_ref(), call).await?;
    if sid != known_as && rest.ends_with(JSON) {
        let text = String::from_utf8_lossy(&answer.body);
        answer.body = text.replace(sid.as_str(), known_as.as_str()).into_bytes();
    }
    Ok(passthrough::answer(answer))
}
