//! What users want: their own preferences for everybody, those of others for administrators.

use std::convert::Infallible;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    fields::Fields,
    openapi::{self, ReadProblems, WriteProblems},
    problem::{Problem, opted_out},
    time,
};
use crate::{
    app::consents::preferences::{Change, ChangeError, Preferences},
    domain::consent::ConsentState,
    phone,
};

/// The longest name of a user, in characters.
const USER_CHARACTERS_MAX: usize = 255;

/// Preferences as the API shows them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
struct Shown {
    user_id: String,
    phone_number: Option<String>,
    sms_enabled: bool,
    whatsapp_enabled: bool,
    consent: Consents,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
}

/// What is known of the number's consent: why a channel may be off although nobody turned it off here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencesConsent)]
struct Consents {
    #[schema(value_type = openapi::ConsentState)]
    sms: ConsentState,
    #[schema(value_type = openapi::ConsentState)]
    whatsapp: ConsentState,
}

impl From<Preferences> for Shown {
    fn from(preferences: Preferences) -> Self {
        Self {
            user_id: preferences.user_id,
            phone_number: preferences.phone_number.map(Into::into),
            sms_enabled: preferences.sms_enabled,
            whatsapp_enabled: preferences.whatsapp_enabled,
            consent: Consents {
                sms: preferences.consent.sms.state,
                whatsapp: preferences.consent.whatsapp.state,
            },
            updated_at: preferences.updated_at.map(time),
        }
    }
}

/// The caller's own preferences.
///
/// The caller is the `sub` of the token.
#[utoipa::path(
    get, path = "/api/sms/preferences", tags = [openapi::TAG, openapi::PREFERENCES], operation_id = "getOwnPreferences",
    responses(ReadProblems, (status = 200, body = Shown, description = "the preferences")),
)]
pub async fn own(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    show(&state, &caller, &caller.user).await
}

/// The preferences of a user.
///
/// A user who never chose has SMS on, WhatsApp off, and no number.
#[utoipa::path(
    get, path = "/api/sms/preferences/{user_id}", tags = [openapi::TAG, openapi::PREFERENCES], operation_id = "getPreferences",
    params(("user_id" = String, Path, description = "the user", example = "ada")),
    responses(ReadProblems, (status = 200, body = Shown, description = "the preferences")),
)]
pub async fn of_user(
    state: web::Data<State>,
    caller: Caller,
    user: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    show(&state, &caller, &user).await
}

/// Changes the caller's own preferences.
///
/// What is left out stays. A channel cannot be turned on for a number whose owner has opted out of it.
#[utoipa::path(
    put, path = "/api/sms/preferences", tags = [openapi::TAG, openapi::PREFERENCES], operation_id = "changeOwnPreferences",
    request_body = openapi::PreferencesRequest,
    responses(WriteProblems, (status = 200, body = Shown, description = "the preferences")),
)]
pub async fn change_own(
    state: web::Data<State>,
    caller: Caller,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    change(&state, &caller, &caller.user, fields).await
}

/// Changes the preferences of a user.
///
/// What is left out stays. A channel cannot be turned on for a number whose owner has opted out of it.
#[utoipa::path(
    put, path = "/api/sms/preferences/{user_id}", tags = [openapi::TAG, openapi::PREFERENCES], operation_id = "changePreferences",
    params(("user_id" = String, Path, description = "the user", example = "ada")),
    request_body = openapi::PreferencesRequest,
    responses(WriteProblems, (status = 200, body = Shown, description = "the preferences")),
)]
pub async fn change_of_user(
    state: web::Data<State>,
    caller: Caller,
    user: web::Path<String>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    change(&state, &caller, &user, fields).await
}

async fn show(state: &State, caller: &Caller, user: &str) -> Result<HttpResponse, Problem> {
    let user = known_name(user)?;
    let preferences = state.app.consents.of(&caller.organization).preferences(user).await?;
    Ok(HttpResponse::Ok().json(Shown::from(preferences)))
}

async fn change(
    state: &State,
    caller: &Caller,
    user: &str,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let user = known_name(user)?;
    let typed = fields.take_change("phone_number", |text| Ok::<_, Infallible>(text.to_owned()));
    let mut change = Change {
        phone_number: None,
        sms_enabled: fields.take_switch("sms_enabled"),
        whatsapp_enabled: fields.take_switch("whatsapp_enabled"),
    };
    fields.finish()?;
    let region = state.app.settings().default_region;
    change.phone_number = match typed {
        None => None,
        Some(None) => Some(None),
        Some(Some(typed)) => {
            Some(Some(phone::normalize(&typed, region).map_err(Problem::invalid_phone_number)?))
        }
    };
    let changed =
        state.app.consents.of(&caller.organization).change_preferences(user, &change, &caller.user).await;
    let preferences = changed.map_err(|error| match error {
        ChangeError::OptedOut { by, channel } => opted_out(by, channel),
        ChangeError::Store(error) => error.into(),
    })?;
    tracing::info!(
        event = "audit", action = "preferences.changed", organization = %caller.organization, actor = caller.user,
        user, sms_enabled = change.sms_enabled, whatsapp_enabled = change.whatsapp_enabled,
        number_changed = change.phone_number.is_some(), "preferences changed"
    );
    Ok(HttpResponse::Ok().json(Shown::from(preferences)))
}

/// A user's name is the platform's business; here it only has to fit.
fn known_name(user: &str) -> Result<&str, Problem> {
    if (1..=USER_CHARACTERS_MAX).contains(&user.chars().count()) {
        Ok(user)
    } else {
        Err(Problem::invalid_field("user_id", format!("must have 1 to {USER_CHARACTERS_MAX} characters")))
    }
}
