//! Twilio's API as an application that uses Twilio's own libraries knows it: it changes its base URL, and nothing else. A send
//! goes through ours and obeys consent, limits and idempotency; everything else about messages goes on to Twilio, but for those
//! that Twilio does not have yet. What is about something else goes on for whoever has the account's own auth token.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource>.

mod account;
mod caller;
pub(super) mod errors;
mod form_body;
mod local_message;
mod media;
mod params;
mod passthrough;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, middleware::from_fn, web};
use serde_json::json;

pub use self::errors::ApiError;
use self::{caller::SdkCaller, form_body::FormBody};
use super::{
    State,
    auth::Right,
    idempotency::{IdempotencyKey, Outcome, once},
    problem::Problem,
    sign_in, to_its_end,
};
use crate::{
    app::outgoing::{
        local_message::LocalMessage,
        send::{Send, SendError, Sent},
    },
    domain::{
        Organization, OutboundState,
        audit::{Action, Entry, Subject},
        placeholder_sid::id_of_placeholder,
    },
    twilio::{
        AccountSid, MessageSid,
        client::{Method, Passed},
    },
};

/// What the paths begin with.
pub const PATH: &str = "/2010-04-01";

/// The routes: one scope, so that whatever is not here is answered as Twilio answers it.
pub fn routes(config: &mut web::ServiceConfig) {
    let method_not_allowed = || web::to(async || Err::<HttpResponse, _>(ApiError::method_not_allowed()));
    config.service(
        web::scope(PATH)
            .wrap(from_fn(sign_in::watch))
            .service(
                web::resource("/Accounts/{account_sid}/Messages.json")
                    .route(web::post().to(create))
                    .route(web::get().to(list))
                    .default_service(method_not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}.json")
                    .route(web::get().to(fetch))
                    .route(web::post().to(update))
                    .route(web::delete().to(delete))
                    .default_service(method_not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}/Media.json")
                    .route(web::get().to(media::list))
                    .default_service(method_not_allowed()),
            )
            .service(
                web::resource("/Accounts/{account_sid}/Messages/{message_sid}/Media/{media_sid}")
                    .route(web::get().to(media::fetch))
                    .route(web::delete().to(media::delete))
                    .default_service(method_not_allowed()),
            )
            .route("/Accounts.json", web::get().to(account::list))
            .route("/Accounts/{account_sid}.json", web::get().to(account::fetch))
            .default_service(web::to(passthrough::any)),
    );
}

/// `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`: 201 if Twilio has the message, may have it, or will get it.
async fn create(
    state: web::Data<State>,
    caller: SdkCaller,
    key: Result<IdempotencyKey, Problem>,
    body: FormBody,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Send)?;
    let digest = body.digest();
    let settings = state.app.settings();
    let mut send = params::read(&body.form(), settings, state.app.now_ms(), &caller.caller.origin())?;
    let SdkCaller { caller, account_sid, .. } = caller;
    let organization = caller.organization.clone();
    once(state.clone(), &caller, "twilio/messages", key?, digest, async move |seed| {
        send.id = seed.map(|seed| seed.message_id(state.app.store().as_ref(), &send.to, ""));
        let sent = send_logged(&state, &organization, send).await?;
        let resource = sent.resource.as_deref().and_then(|resource| resource.raw.as_ref());
        match resource {
            Some(raw) => Ok(Outcome::new(StatusCode::CREATED, &raw.0)),
            None => Ok(Outcome::new(
                StatusCode::CREATED,
                &unnamed(&state, &organization, &account_sid, &sent).await,
            )),
        }
    })
    .await
}

async fn send_logged(state: &State, organization: &Organization, send: Send) -> Result<Sent, SendError> {
    let (to, media) = (send.to.to_string(), send.content.media_url.len());
    let result = state.app.outgoing.of(organization).send(send).await;
    match &result {
        Ok(sent) => tracing::info!(
            %organization, id = %sent.id, to, media,
            message_sid = sent.message_sid.as_ref().map(tracing::field::display), status = sent.status,
            segments = sent.segments, "message sent"
        ),
        Err(error) => tracing::warn!(%organization, to, media, %error, "message not sent"),
    }
    result
}

/// What the caller is shown of a message of which Twilio's own answer is not there. Nothing may fail here: the message is
/// stored, and a caller that is told of a failure asks for it again.
async fn unnamed(
    state: &State,
    organization: &Organization,
    account_sid: &AccountSid,
    sent: &Sent,
) -> serde_json::Value {
    let message = match state.app.outgoing.of(organization).local_message(&sent.id).await {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%organization, id = %sent.id, %error, "a message that was stored cannot be read");
            None
        }
    };
    match message {
        Some(message) => {
            let name = state.app.outgoing.of(organization).name_for_caller(&message).await;
            local_message::json(account_sid, &name, &message, state.app.now_ms())
        }
        None => local_message::json_of_sent(account_sid, sent),
    }
}

/// `GET …/Messages.json`: Twilio's own list. What waits in our queue is not in it.
async fn list(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    pass(&state, &caller, Passed { message: None, method: Method::Get, query: request.query_string() }).await
}

/// `GET …/Messages/{Sid}.json`.
async fn fetch(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Read)?;
    let found = find(&state, &caller, &request).await?;
    if let Found::Ours { message, sid } = &found
        && !matches!(message.state, OutboundState::Accepted { .. })
    {
        return Ok(HttpResponse::Ok().json(local_message::json(
            &caller.account_sid,
            sid,
            message,
            state.app.now_ms(),
        )));
    }
    on(&state, &caller, &found, Method::Get, request.query_string()).await
}

/// `POST …/Messages/{Sid}.json`: calls off what waits; everything else is Twilio's to do.
async fn update(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
    body: FormBody,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Send)?;
    to_its_end(async move {
        let found = find(&state, &caller, &request).await?;
        let form = body.form();
        let is_canceled = form.get("Status").as_deref() == Some("canceled");
        let action = if is_canceled { Action::MessageCancel } else { Action::MessageUpdate };
        if let Found::Ours { message, sid } = &found
            && !matches!(message.state, OutboundState::Accepted { .. })
        {
            if !is_canceled {
                return Err(ApiError::not_finished());
            }
            let (id, entry) = (message.outbound.id, entry(&caller, action, &found));
            if !state.app.outgoing.of(&caller.caller.organization).call_off(&id, &entry).await? {
                return Err(ApiError::not_cancelable());
            }
            let now = state.app.now_ms();
            let (outbound, content) = (message.outbound.clone(), message.content.clone());
            let canceled = LocalMessage { outbound, state: OutboundState::Canceled { at: now }, content };
            return Ok(HttpResponse::Ok().json(local_message::json(
                &caller.account_sid,
                sid,
                &canceled,
                now,
            )));
        }
        record(&state, &caller, action, &found).await?;
        let method = Method::Post { form: form.encode() };
        on(&state, &caller, &found, method, request.query_string()).await
    })
    .await
}

/// `DELETE …/Messages/{Sid}.json`: Twilio forgets the message. Our own record of it stays.
async fn delete(
    state: web::Data<State>,
    caller: SdkCaller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    caller.require(Right::Send)?;
    to_its_end(async move {
        let found = find(&state, &caller, &request).await?;
        if let Found::Ours { message, .. } = &found
            && !matches!(message.state, OutboundState::Accepted { .. })
        {
            return Err(ApiError::not_finished());
        }
        record(&state, &caller, Action::MessageDelete, &found).await?;
        on(&state, &caller, &found, Method::Delete, request.query_string()).await
    })
    .await
}

/// Writes down that the caller asks Twilio for `action`, before Twilio is called: what it has done cannot be taken back if
/// the store then fails. Whether Twilio did it is for Twilio to say.
async fn record(state: &State, caller: &SdkCaller, action: Action, found: &Found) -> Result<(), ApiError> {
    let entry = entry(caller, action, found);
    Ok(state.app.audit.of(&caller.caller.organization).record(entry).await?)
}

/// That the caller asks for `action` on a message.
fn entry(caller: &SdkCaller, action: Action, found: &Found) -> Entry {
    let subject = match found {
        Found::Twilios(sid) => Subject::MessageSid(sid.clone()),
        Found::Ours { message, .. } => Subject::Message(message.outbound.id),
    };
    caller.caller.origin().entry(action).about(subject)
}

/// Whose a message of a path is.
enum Found {
    /// Twilio's, by this SID.
    Twilios(MessageSid),
    /// One that was asked for here, by its placeholder SID.
    Ours { message: Box<LocalMessage>, sid: MessageSid },
}

/// Finds the message of the path. A placeholder of which nothing is known here says nothing to Twilio either: it is answered
/// before anything is asked for, or whoever makes some up could fill the audit.
async fn find(state: &State, caller: &SdkCaller, request: &HttpRequest) -> Result<Found, ApiError> {
    let not_found = || ApiError::not_found(request.path());
    let sid = request.match_info().query("message_sid");
    let sid = MessageSid::parse(sid).map_err(|_| not_found())?;
    let Some(id) = id_of_placeholder(&sid) else { return Ok(Found::Twilios(sid)) };
    let message = state.app.outgoing.of(&caller.caller.organization).local_message(&id).await?;
    let message = Box::new(message.ok_or_else(not_found)?);
    Ok(Found::Ours { message, sid })
}

/// Has Twilio do `method` with a message that it has. It keeps the name that the caller knows.
async fn on(
    state: &State,
    caller: &SdkCaller,
    found: &Found,
    method: Method,
    query: &str,
) -> Result<HttpResponse, ApiError> {
    let (sid, known_as) = match found {
        Found::Twilios(sid) => (sid, sid),
        Found::Ours { message, sid: known_as } => match &message.state {
            OutboundState::Accepted { message_sid, .. } => (message_sid, known_as),
            _ => (known_as, known_as),
        },
    };
    let call = Passed { message: Some(sid), method, query };
    let (status, mut raw) = state.app.passthrough.of(&caller.caller.organization).pass(&call).await?;
    if sid != known_as {
        for name in ["sid", "uri"] {
            if let Some(text) = raw.0.get(name).and_then(|text| text.as_str()) {
                raw.0[name] = json!(text.replace(sid.as_str(), known_as.as_str()));
            }
        }
    }
    Ok(answer(status, &raw.0))
}

async fn pass(state: &State, caller: &SdkCaller, call: Passed<'_>) -> Result<HttpResponse, ApiError> {
    let (status, raw) = state.app.passthrough.of(&caller.caller.organization).pass(&call).await?;
    Ok(answer(status, &raw.0))
}

/// Twilio's answer, handed on.
fn answer(status: u16, json: &serde_json::Value) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if json.is_null() { response.finish() } else { response.json(json) }
}
