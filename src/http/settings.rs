//! An organization's account at Twilio, seen and changed by its administrators. No secret leaves by here.

use actix_web::web;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    fields::Fields,
    openapi::{self, ReadProblems, WriteProblems},
    problem::{FieldError, Problem},
};
use crate::{
    app::accounts::{
        change::{Change, Fault},
        saved::Source,
    },
    domain::{AccountSettings, NamedSecret},
    phone,
    twilio::{AccountSid, Address, BareAddress, Channel, MessagingServiceSid},
};

/// The longest secret that is taken, in bytes; Twilio's own have 32 characters.
const SECRET_BYTES_MAX: usize = 256;

/// The shortest token of which the last characters are shown.
const SHOWN_TOKEN_CHARACTERS_MIN: usize = 16;

/// The characters at a token's end that are shown.
const SHOWN_CHARACTERS: usize = 4;

/// The most shared keys of an account.
const SHARED_KEYS_MAX: usize = 10;

/// The longest id of a shared key, in bytes.
const SHARED_KEY_ID_BYTES_MAX: usize = 64;

/// The hexadecimal digits of a SID.
const SID_DIGITS: usize = 32;

/// The digits of a short code.
const SHORT_CODE_DIGITS: std::ops::RangeInclusive<usize> = 3..=6;

/// The most characters of an alphanumeric sender. Source: <https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id>.
const ALPHANUMERIC_CHARACTERS_MAX: usize = 11;

/// The settings as they are shown: all of them but the secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub struct SettingsAnswer {
    configured: bool,
    /// `saved`, or `environment` for those of the environment or the configuration file.
    source: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    account_sid: Option<AccountSid>,
    auth_token_set: bool,
    auth_token_last4: Option<String>,
    auth_token_secondary_set: bool,
    phone_number: Option<String>,
    whatsapp_number: Option<String>,
    #[schema(value_type = Option<String>)]
    messaging_service_sid: Option<MessagingServiceSid>,
    api_key_sid: Option<String>,
    shared_key_ids: Vec<String>,
    require_shared_key: bool,
    webhook_urls: WebhookUrls,
}

/// What Twilio is to be given, so that it reaches this service.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookUrls {
    status: String,
    inbound: String,
    events: String,
}

/// The organization's account at Twilio, without its secrets.
///
/// With the URLs that Twilio has to be given.
#[utoipa::path(
    get, path = "/api/sms/settings", tags = [openapi::TAG, openapi::SETUP], operation_id = "getSettings",
    responses(ReadProblems, (status = 200, body = SettingsAnswer, description = "the settings")),
)]
pub async fn show(state: web::Data<State>, caller: Caller) -> Result<web::Json<SettingsAnswer>, Problem> {
    caller.require(Right::Administer)?;
    let settings = state.app.accounts.of(&caller.organization).settings().await?;
    let settings = settings.as_ref().map(|(source, settings)| (*source, settings));
    Ok(web::Json(answer(&state, settings)))
}

/// Changes the account at Twilio.
///
/// What is left out stays, and null clears. Every instance uses the new settings within a second.
#[utoipa::path(
    post, path = "/api/sms/settings", tags = [openapi::TAG, openapi::SETUP], operation_id = "changeSettings",
    request_body = openapi::SettingsRequest,
    responses(WriteProblems, (status = 200, body = SettingsAnswer, description = "the settings")),
)]
pub async fn save(
    state: web::Data<State>,
    caller: Caller,
    fields: Fields,
) -> Result<web::Json<SettingsAnswer>, Problem> {
    caller.require(Right::Administer)?;
    // Nothing to change does not make the configured account a saved one, which it would not follow any more.
    if fields.is_empty()
        && matches!(
            state.app.accounts.of(&caller.organization).settings().await?,
            Some((Source::Environment, _))
        )
    {
        return show(state, caller).await;
    }
    let change = read_change(fields, state.app.settings().default_region);
    // A caller that hangs up must not leave a claim on an account behind that no settings go by.
    let saving = {
        let state = state.clone();
        actix_web::rt::spawn(async move {
            state.app.accounts.of(&caller.organization).save(&caller.user, &change).await
        })
    };
    let settings = saving.await.expect("saving does not panic and is not aborted")?;
    Ok(web::Json(answer(&state, Some((Source::Saved, &settings)))))
}

fn answer(state: &State, settings: Option<(Source, &AccountSettings)>) -> SettingsAnswer {
    let (source, settings) = settings.unzip();
    let url = |path: &str| format!("{}/webhooks/twilio/{path}", state.app.settings().public_url);
    let bare = |address: &Address| address.bare().as_str().to_owned();
    SettingsAnswer {
        configured: settings.is_some(),
        source: source.map(Source::as_str),
        account_sid: settings.map(|settings| settings.account_sid.clone()),
        auth_token_set: settings.is_some(),
        auth_token_last4: settings.and_then(|settings| last_characters(&settings.auth_token)),
        auth_token_secondary_set: settings.is_some_and(|settings| settings.auth_token_secondary.is_some()),
        phone_number: settings.and_then(|settings| settings.phone_number.as_ref().map(bare)),
        whatsapp_number: settings.and_then(|settings| settings.whatsapp_number.as_ref().map(bare)),
        messaging_service_sid: settings.and_then(|settings| settings.messaging_service_sid.clone()),
        api_key_sid: settings.and_then(|settings| settings.api_key.as_ref().map(|key| key.id.clone())),
        shared_key_ids: settings
            .map(|settings| settings.shared_keys.iter().map(|key| key.id.clone()).collect())
            .unwrap_or_default(),
        require_shared_key: settings.is_some_and(|settings| settings.require_shared_key),
        webhook_urls: WebhookUrls { status: url("status"), inbound: url("inbound"), events: url("events") },
    }
}

/// The end of a token by which people tell theirs apart; nothing of one so short that little would be left to guess.
fn last_characters(token: &SecretString) -> Option<String> {
    let characters = token.expose_secret().chars().count();
    let hidden = characters - SHOWN_CHARACTERS.min(characters);
    (characters >= SHOWN_TOKEN_CHARACTERS_MIN).then(|| token.expose_secret().chars().skip(hidden).collect())
}

/// Reads a change. What is wrong with it is in it, to be told together with what does not fit the settings that are there.
fn read_change(mut fields: Fields, region: Option<phone::Region>) -> Change {
    let account_sid = fields.take_change("account_sid", AccountSid::parse);
    let auth_token = fields.take_change("auth_token", secret);
    let api_key_secret = fields.take_change("api_key_secret", secret);
    let kept = [
        ("account_sid", matches!(account_sid, Some(None))),
        ("auth_token", matches!(auth_token, Some(None))),
        ("api_key_secret", matches!(api_key_secret, Some(None))),
    ];
    let api_key_sid = fields.take_change("api_key_sid", api_key_sid);
    for (field, is_null) in kept {
        // The secret of a key goes with the key.
        let is_gone = field == "api_key_secret" && matches!(api_key_sid, Some(None));
        if is_null && !is_gone {
            fields.fault(field, "cannot be cleared; leave it out to keep it");
        }
    }
    let change = Change {
        account_sid: account_sid.flatten(),
        auth_token: auth_token.flatten(),
        auth_token_secondary: fields.take_change("auth_token_secondary", secret),
        phone_number: fields.take_change("phone_number", |text| sender(Channel::Sms, text, region)),
        whatsapp_number: fields
            .take_change("whatsapp_number", |text| sender(Channel::Whatsapp, text, region)),
        messaging_service_sid: fields.take_change("messaging_service_sid", MessagingServiceSid::parse),
        api_key_sid,
        api_key_secret: api_key_secret.flatten(),
        shared_keys: shared_keys(&mut fields),
        require_shared_key: fields.take_switch("require_shared_key"),
        faults: Vec::new(),
    };
    let faults = fields.into_faults();
    let faults = faults.into_iter().map(|FieldError { field, detail }| Fault { field, detail });
    Change { faults: faults.collect(), ..change }
}

fn secret(text: &str) -> Result<SecretString, String> {
    let is_one =
        (1..=SECRET_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one {
        Ok(text.into())
    } else {
        Err(format!("must be 1 to {SECRET_BYTES_MAX} printable ASCII characters without blanks"))
    }
}

fn api_key_sid(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("SK").filter(|digits| digits.len() == SID_DIGITS);
    match digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not an API key's SID: expected SK and 32 hexadecimal digits"),
    }
}

/// A sender: a number, or over SMS a short code or an alphanumeric name too.
fn sender(channel: Channel, text: &str, region: Option<phone::Region>) -> Result<Address, String> {
    let typed =
        text.strip_prefix("whatsapp:").filter(|_| channel == Channel::Whatsapp).unwrap_or(text).trim();
    let is_digits = typed.bytes().all(|byte| byte.is_ascii_digit());
    let is_short_code = is_digits && SHORT_CODE_DIGITS.contains(&typed.len());
    let is_name = typed.len() <= ALPHANUMERIC_CHARACTERS_MAX
        && typed.bytes().any(|byte| byte.is_ascii_alphabetic())
        && typed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" +-_&".contains(&byte));
    let bare = if channel == Channel::Sms && (is_short_code || is_name) {
        typed.parse::<BareAddress>().map_err(|error| error.to_string())?
    } else {
        phone::normalize(typed, region)
            .map_err(|error| format!("{error}: expected a number such as +15005550006"))?
    };
    Ok(bare.on(channel))
}

fn shared_keys(fields: &mut Fields) -> Option<Vec<NamedSecret>> {
    let keys = match fields.take_value("shared_keys")? {
        Value::Null => return Some(Vec::new()),
        Value::Array(keys) if keys.len() <= SHARED_KEYS_MAX => keys,
        _ => {
            fields.fault("shared_keys", format!("must be a list of at most {SHARED_KEYS_MAX} keys"));
            return None;
        }
    };
    let mut read: Vec<NamedSecret> = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        match shared_key(key) {
            Ok(key) if read.iter().any(|other| other.id == key.id) => {
                fields.fault("shared_keys", format!("the key {index} has the id of another one"));
            }
            Ok(key) => read.push(key),
            Err(detail) => fields.fault("shared_keys", format!("the key {index} {detail}")),
        }
    }
    Some(read)
}

fn shared_key(key: &Value) -> Result<NamedSecret, String> {
    let key = key.as_object().filter(|key| key.len() == 2);
    let text = |name: &str| key.and_then(|key| key.get(name)?.as_str());
    let (Some(id), Some(text)) = (text("id"), text("secret")) else {
        return Err("must be an object of an id and a secret, both texts".to_owned());
    };
    // The id travels in a header, between commas and behind an equals sign.
    let is_id = (1..=SHARED_KEY_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b",=".contains(&byte));
    if !is_id {
        return Err(format!("must have an id of 1 to {SHARED_KEY_ID_BYTES_MAX} letters, digits and dashes"));
    }
    let secret = secret(text).map_err(|detail| format!("has a secret that {detail}"))?;
    Ok(NamedSecret { id: id.to_owned(), secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_shown_if_enough_of_it_stays_hidden() {
        assert_eq!(last_characters(&"0123456789abcdef".into()).as_deref(), Some("cdef"));
        for short in ["", "abc", "0123456789abcde"] {
            assert_eq!(last_characters(&short.into()), None);
        }
    }

    #[test]
    fn a_sender_is_a_number_a_short_code_or_a_name() {
        let us = "US".parse().ok();
        let sms =
            |text: &str, region| sender(Channel::Sms, text, region).map(|sender| sender.bare().to_owned());
        assert_eq!(sms(" +1 (500) 555-0006", None).as_deref(), Ok("+15005550006"));
        assert_eq!(sms("(415) 555-2671", us).as_deref(), Ok("+14155552671"));
        assert_eq!(sms("12345", us).as_deref(), Ok("12345"));
        assert_eq!(sms("My Shop", None).as_deref(), Ok("My Shop"));
        for wrong in
            ["", "+12", "4155552671", "12", "A shop with a long name", "whatsapp:+15005550006", "x\ny"]
        {
            assert!(sms(wrong, None).is_err(), "{wrong}");
        }
        let whatsapp = |text| sender(Channel::Whatsapp, text, None).map(|sender| sender.to_twilio());
        assert_eq!(whatsapp("whatsapp:+15005550006").as_deref(), Ok("whatsapp:+15005550006"));
        assert_eq!(whatsapp("+15005550006").as_deref(), Ok("whatsapp:+15005550006"));
        assert!(whatsapp("12345").is_err() && whatsapp("My Shop").is_err());
    }
}
