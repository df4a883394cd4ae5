//! What users want: their own preferences for everybody, those of others for administrators.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Declared, Fields, Read, Request, kinds,
        operations::{self, ReadProblems, SendProblems, WriteProblems},
        words::{self, Words},
    },
    problem::{Code, Problem},
    time, to_its_end,
};
use crate::{
    app::{
        consents::{
            preferences::{ChangeError, Preferences, PreferencesChange},
            record::Author,
        },
        outgoing::number_code::CodeSent,
    },
    domain::{
        Actor, PrincipalKind,
        audit::{Action, Facts, Subject},
        consent::ConsentState,
    },
    phone,
    twilio::BareAddress,
};

/// Preferences as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
struct PreferencesView {
    user_id: String,
    phone_number: Option<String>,
    sms_enabled: bool,
    whatsapp_enabled: bool,
    consent: PreferencesConsent,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

/// What is known of the number's consent: why a channel may be off although nobody turned it off here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencesConsent)]
struct PreferencesConsent {
    #[schema(value_type = words::ConsentState)]
    sms: ConsentState,
    #[schema(value_type = words::ConsentState)]
    whatsapp: ConsentState,
}

impl From<Preferences> for PreferencesView {
    fn from(preferences: Preferences) -> Self {
        Self {
            user_id: preferences.user_id,
            phone_number: preferences.phone_number.map(Into::into),
            sms_enabled: preferences.sms_enabled,
            whatsapp_enabled: preferences.whatsapp_enabled,
            consent: PreferencesConsent {
                sms: preferences.consent.sms.state,
                whatsapp: preferences.consent.whatsapp.state,
            },
            updated_at: preferences.updated_at.map(time),
        }
    }
}

/// A change that waits for the code that has been sent to the new number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NumberConfirmation)]
struct ConfirmationView {
    #[schema(value_type = words::Confirmation)]
    confirmation: &'static str,
    phone_number: String,
    /// Until when the code is good.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When the code leaves, if quiet hours or the like hold it back.
    #[schema(format = DateTime)]
    held_until: Option<String>,
}

impl ConfirmationView {
    fn of(phone_number: BareAddress, CodeSent { until, held_until }: CodeSent) -> Self {
        let confirmation =
            if held_until.is_some() { words::Confirmation::Held } else { words::Confirmation::Sent };
        Self {
            confirmation: confirmation.as_str(),
            phone_number: phone_number.into(),
            expires_at: time(until),
            held_until: held_until.map(time),
        }
    }
}

/// A request to change preferences.
pub struct PreferencesRequest {
    sms_enabled: Option<bool>,
    whatsapp_enabled: Option<bool>,
    phone_number: Option<Option<String>>,
}

impl Request for PreferencesRequest {
    const NAME: &'static str = "PreferencesRequest";
    const MEANING: &'static str = "Preferences to change; what is left out stays.";

    fn example() -> Option<Value> {
        Some(json!({ "sms_enabled": true, "whatsapp_enabled": true }))
    }
}

impl Declared for PreferencesRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let sms_enabled = fields.optional("sms_enabled", "SMS on or off.", kinds::switch());
        let whatsapp_enabled = fields.optional("whatsapp_enabled", "WhatsApp on or off.", kinds::switch());
        let phone_number =
            fields.change("phone_number", "The number; null for none.", kinds::typed_phone_number());
        Ok(Self {
            sms_enabled: sms_enabled?,
            whatsapp_enabled: whatsapp_enabled?,
            phone_number: phone_number?,
        })
    }
}

/// A request to confirm a number.
pub struct ConfirmationRequest {
    code: String,
}

impl Request for ConfirmationRequest {
    const NAME: &'static str = "ConfirmationRequest";
    const MEANING: &'static str = "The code that the number was sent.";

    fn example() -> Option<Value> {
        Some(json!({ "code": "123456" }))
    }
}

impl Declared for ConfirmationRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let code = fields.required("code", "The six digits.", kinds::text(6..=6));
        Ok(Self { code: code? })
    }
}

/// Whose preferences are meant.
struct UserPath {
    user_id: String,
}

impl Declared for UserPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let user_id = fields.required("user_id", "The user.", kinds::user_id());
        Ok(Self { user_id: user_id? })
    }
}

contract::request_body!(PreferencesRequest, ConfirmationRequest);
contract::parameters!(Path: UserPath);

/// The caller's own preferences.
///
/// The caller is the `sub` of the token.
#[utoipa::path(
    get, path = "/api/sms/preferences", tags = [operations::TAG, operations::PREFERENCES], operation_id = "getOwnPreferences",
    responses(ReadProblems, (status = 200, body = PreferencesView, description = "the preferences")),
)]
pub async fn own(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    show(&state, &caller, own_name(&caller)?).await
}

/// The preferences of a user.
///
/// A user who never chose has SMS on, WhatsApp off, and no number.
#[utoipa::path(
    get, path = "/api/sms/preferences/{user_id}", tags = [operations::TAG, operations::PREFERENCES], operation_id = "getPreferences",
    params(UserPath),
    responses(ReadProblems, (status = 200, body = PreferencesView, description = "the preferences")),
)]
pub async fn of_user(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let UserPath { user_id } = contract::path(&request)?;
    show(&state, &caller, &user_id).await
}

/// Changes the caller's own preferences.
///
/// What is left out stays. A channel cannot be turned on for a number whose owner has opted out of it. A new number is
/// the caller's if the token's claim `phone_number` says so, or if an administrator calls. Else a code is sent to it, the
/// answer is 202, and the whole change waits for `POST /api/sms/preferences/confirm`. Who is no administrator may turn channels
/// on and give a number 20 times within a day; turning a channel off always works.
#[utoipa::path(
    put, path = "/api/sms/preferences", tags = [operations::TAG, operations::PREFERENCES], operation_id = "changeOwnPreferences",
    request_body = PreferencesRequest,
    responses(
        SendProblems,
        (status = 200, body = PreferencesView, description = "the preferences"),
        (status = 202, body = ConfirmationView, description = "nothing has changed yet: a code was sent to the number"),
    ),
)]
pub async fn change_own(
    state: web::Data<State>,
    caller: Caller,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let user = own_name(&caller)?.to_owned();
    change(state, caller, user, body).await
}

/// Confirms the number that the caller wants.
///
/// The change of preferences that waited for the code is made. A code is good for ten minutes and may be told five times;
/// three are sent within an hour, for one user and to one number.
#[utoipa::path(
    post, path = "/api/sms/preferences/confirm", tags = [operations::TAG, operations::PREFERENCES], operation_id = "confirmNumber",
    request_body = ConfirmationRequest,
    responses(WriteProblems, (status = 200, body = PreferencesView, description = "the preferences")),
)]
pub async fn confirm(state: web::Data<State>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    let user = own_name(&caller)?.to_owned();
    let ConfirmationRequest { code } = body.read(&state.context())?;
    to_its_end(async move {
        let outgoing = state.app.outgoing.of(&caller.organization);
        let entry = caller.origin().entry(Action::PreferencesConfirm).about(Subject::User(user.clone()));
        let preferences = outgoing.confirm_number(&user, &code, author(&caller), entry).await?;
        Ok(HttpResponse::Ok().json(PreferencesView::from(preferences)))
    })
    .await
}

/// Changes the preferences of a user.
///
/// What is left out stays. A channel cannot be turned on for a number whose owner has opted out of it.
#[utoipa::path(
    put, path = "/api/sms/preferences/{user_id}", tags = [operations::TAG, operations::PREFERENCES], operation_id = "changePreferences",
    params(UserPath),
    request_body = PreferencesRequest,
    responses(WriteProblems, (status = 200, body = PreferencesView, description = "the preferences")),
)]
pub async fn change_of_user(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let UserPath { user_id } = contract::path(&request)?;
    change(state, caller, user_id, body).await
}

async fn show(state: &State, caller: &Caller, user: &str) -> Result<HttpResponse, Problem> {
    let preferences = state.app.consents.of(&caller.organization).preferences(user).await?;
    Ok(HttpResponse::Ok().json(PreferencesView::from(preferences)))
}

async fn change(
    state: web::Data<State>,
    caller: Caller,
    user: String,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let context = state.context();
    let PreferencesRequest { sms_enabled, whatsapp_enabled, phone_number } = body.read(&context)?;
    let normalize =
        |typed: String| phone::normalize(&typed, context.region).map_err(Problem::invalid_phone_number);
    let phone_number = phone_number.map(|typed| typed.map(normalize).transpose()).transpose()?;
    let change = PreferencesChange { phone_number, sms_enabled, whatsapp_enabled };
    let own_number =
        caller.own_number.as_ref().and_then(|number| phone::normalize(number, context.region).ok());
    to_its_end(async move {
        let consents = state.app.consents.of(&caller.organization);
        let facts = Facts {
            sms_enabled: change.sms_enabled,
            whatsapp_enabled: change.whatsapp_enabled,
            ..Facts::default()
        };
        let entry = caller.origin().entry(Action::PreferencesChange).about(Subject::User(user.clone()));
        let entry = entry.with(facts);
        let changed =
            consents.change_preferences(&user, &change, author(&caller), own_number.as_ref(), &entry).await;
        let preferences = match (changed, &change.phone_number) {
            (Err(ChangeError::NumberUnconfirmed), Some(Some(number))) => {
                return ask_for_code(&state, &caller, &user, number, &change).await;
            }
            (changed, _) => changed?,
        };
        Ok(HttpResponse::Ok().json(PreferencesView::from(preferences)))
    })
    .await
}

async fn ask_for_code(
    state: &State,
    caller: &Caller,
    user: &str,
    number: &BareAddress,
    change: &PreferencesChange,
) -> Result<HttpResponse, Problem> {
    let outgoing = state.app.outgoing.of(&caller.organization);
    let sent = outgoing.send_number_code(user, number, change, &caller.origin()).await?;
    Ok(HttpResponse::Accepted().json(ConfirmationView::of(number.clone(), sent)))
}

fn author(caller: &Caller) -> Author<'_> {
    Author { actor: Actor::of_preferences(caller.role), name: Some(caller.name()) }
}

/// The caller's own name: a user's, who alone has preferences.
fn own_name(caller: &Caller) -> Result<&str, Problem> {
    if caller.principal.kind == PrincipalKind::User {
        return Ok(caller.name());
    }
    Err(Problem::new(
        Code::Forbidden,
        "an API key has no preferences of its own",
        "use the user's own token; or name the user: /api/sms/preferences/{user_id}, for administrators",
    ))
}
