//! An organization's account at Twilio, seen and changed by its administrators. No secret leaves by here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use actix_web::web;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Context, Declared, Fields, Read, Request, TEXTS_BYTES_MAX, kinds,
        operations::{self, ReadProblems, WriteProblems},
        words,
    },
    problem::{FieldError, Problem},
    to_its_end,
};
use crate::{
    app::{
        Settings,
        accounts::{
            change::{EndpointRequest, Fault, SettingsChange},
            saved::{KnownSettings, Source},
        },
    },
    domain::{
        ForwardEndpoint, ForwardEvent, ForwardFormat, NamedSecret, ReplyTexts,
        forward::{ENDPOINTS_MAX, SigningSecret},
        identity::{HELP_CONTACT_CHARACTERS_MAX, NAME_CHARACTERS_MAX},
        replies::Text,
    },
    public_host,
    twilio::{AccountSid, Address, Channel, MessagingServiceSid, reply::Language},
};

/// The shortest token of which the last characters are shown.
const SHOWN_TOKEN_CHARACTERS_MIN: usize = 16;

/// The characters at a token's end that are shown.
const SHOWN_CHARACTERS: usize = 4;

/// The most shared keys of an account.
const SHARED_KEYS_MAX: usize = 10;

/// The longest id of a shared key, in bytes.
const SHARED_KEY_ID_BYTES_MAX: usize = 64;

/// The most words of what an endpoint is told of: each of them once.
const FORWARD_EVENTS_MAX: usize = 3;

/// The hexadecimal digits of a SID.
const SID_DIGITS: usize = 32;

/// The settings as they are shown: all of them but the secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
pub struct SettingsAnswer {
    configured: bool,
    /// `saved`, or `environment` for those of the environment or the configuration file.
    source: Option<&'static str>,
    /// `verified` once Twilio has accepted the account's token, `unverified` while it could not be asked, `refused` if it has
    /// said no since. Only verified settings are in force.
    verification: Option<&'static str>,
    /// What `unverified` or `refused` means, and why.
    verification_detail: Option<String>,
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
    /// Who sends, as people know them: as it was saved, or else `TEXTLEDGER_SENDER_NAME`.
    display_name: Option<String>,
    /// Where people can ask: as it was saved, or else `TEXTLEDGER_HELP_CONTACT`.
    help_contact: Option<String>,
    /// The language of answers to words that people of all languages use: as it was saved, or else `TEXTLEDGER_REPLY_LANGUAGE`.
    language: Language,
    /// The organization's own texts of answers, by language.
    #[schema(value_type = BTreeMap<String, ReplyTextsView>)]
    reply_texts: BTreeMap<Language, ReplyTextsView>,
    /// Where the application is told of what happens.
    forward: Vec<EndpointView>,
    webhook_urls: WebhookUrls,
}

/// A URL of the application's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ForwardEndpoint)]
struct EndpointView {
    /// Its name, which stays for as long as the URL does.
    #[schema(example = "9f86d081884c7d65")]
    id: String,
    /// The URL, with three asterisks for a user name and password.
    url: String,
    #[schema(value_type = Vec<words::ForwardEvent>)]
    events: Vec<ForwardEvent>,
    #[schema(value_type = words::ForwardFormat)]
    format: ForwardFormat,
    reply: bool,
    /// The secret that signs what it is told, `whsec_…`, in the answer in which it is made; else null, and always in the format
    /// `twilio`, which the account's auth token signs.
    secret: Option<String>,
}

impl From<&ForwardEndpoint> for EndpointView {
    fn from(endpoint: &ForwardEndpoint) -> Self {
        let secret = endpoint.secret.as_ref().filter(|_| endpoint.is_secret_new);
        Self {
            id: endpoint.id.clone(),
            url: endpoint.shown_url(),
            events: endpoint.events.iter().copied().collect(),
            format: endpoint.format,
            reply: endpoint.reply,
            secret: secret.map(|SigningSecret(secret)| secret.expose_secret().to_owned()),
        }
    }
}

/// What people are told in one language.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplyTexts)]
pub struct ReplyTextsView {
    /// After an opt-out.
    opted_out: Option<String>,
    /// After an opt-in.
    opted_in: Option<String>,
    /// On HELP.
    help: Option<String>,
}

impl From<&ReplyTexts> for ReplyTextsView {
    fn from(texts: &ReplyTexts) -> Self {
        let written = |text: &Option<Text>| text.as_ref().map(Text::to_string);
        Self {
            opted_out: written(&texts.opted_out),
            opted_in: written(&texts.opted_in),
            help: written(&texts.help),
        }
    }
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
    get, path = "/api/sms/settings", tags = [operations::TAG, operations::SETUP], operation_id = "getSettings",
    responses(ReadProblems, (status = 200, body = SettingsAnswer, description = "the settings")),
)]
pub async fn show(state: web::Data<State>, caller: Caller) -> Result<web::Json<SettingsAnswer>, Problem> {
    caller.require(Right::Administer)?;
    let settings = state.app.accounts.of(&caller.organization).settings().await?;
    Ok(web::Json(answer(&state, settings.as_ref())))
}

/// Changes the account at Twilio.
///
/// What is left out stays, and null clears. Another account, or another auth token, is in force once Twilio has accepted it:
/// what it refuses is 422, and what it cannot be asked about is saved as `unverified` and asked about again. Every instance
/// uses the new settings within a second.
#[utoipa::path(
    post, path = "/api/sms/settings", tags = [operations::TAG, operations::SETUP], operation_id = "changeSettings",
    request_body = SettingsRequest,
    responses(WriteProblems, (status = 200, body = SettingsAnswer, description = "the settings")),
)]
pub async fn save(
    state: web::Data<State>,
    caller: Caller,
    body: Body<TEXTS_BYTES_MAX>,
) -> Result<web::Json<SettingsAnswer>, Problem> {
    caller.require(Right::Administer)?;
    // Nothing to change does not make the configured account a saved one, which it would not follow any more.
    if body.is_empty()
        && matches!(
            state.app.accounts.of(&caller.organization).settings().await?,
            Some(KnownSettings { source: Source::Environment, .. })
        )
    {
        return show(state, caller).await;
    }
    let change = check_endpoints(read_change(body, &state.context()), state.app.settings());
    // What is written down before the change is to be made, and other instances learn of it, though the caller hangs up.
    to_its_end(async move {
        let accounts = state.app.accounts.of(&caller.organization);
        let settings = accounts.save(&caller.origin(), &change).await?;
        Ok(web::Json(answer(&state, Some(&settings))))
    })
    .await
}

fn answer(state: &State, known: Option<&KnownSettings>) -> SettingsAnswer {
    let settings = known.map(|known| &known.settings);
    let url = |path: &str| format!("{}/webhooks/twilio/{path}", state.app.settings().public_url);
    let configured = &state.app.settings().identity;
    let identity = settings.map_or_else(|| configured.clone(), |settings| settings.identity(configured));
    let (installation, own) = (&state.app.settings().replies, settings.map(|settings| &settings.replies));
    let bare = |address: &Address| address.bare().as_str().to_owned();
    SettingsAnswer {
        configured: settings.is_some(),
        source: known.map(|known| known.source.as_str()),
        verification: known.map(|known| known.verification.as_str()),
        verification_detail: known.and_then(|known| known.verification.detail()),
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
        display_name: identity.name,
        help_contact: identity.help_contact,
        language: own.map_or(installation.language, |own| installation.language_of(own)),
        reply_texts: own
            .map(|own| own.texts.iter().map(|(language, texts)| (*language, texts.into())).collect())
            .unwrap_or_default(),
        forward: settings
            .map(|settings| settings.forward.iter().map(EndpointView::from).collect())
            .unwrap_or_default(),
        webhook_urls: WebhookUrls { status: url("status"), inbound: url("inbound"), events: url("events") },
    }
}

/// The end of a token by which people tell theirs apart; nothing of one so short that little would be left to guess.
fn last_characters(token: &SecretString) -> Option<String> {
    let characters = token.expose_secret().chars().count();
    let hidden = characters - SHOWN_CHARACTERS.min(characters);
    (characters >= SHOWN_TOKEN_CHARACTERS_MIN).then(|| token.expose_secret().chars().skip(hidden).collect())
}

/// A request to change the settings.
///
/// What cannot be read of it is left out, so that what does not fit the settings that are there is told together with what
/// is wrong in itself.
pub struct SettingsRequest(SettingsChange);

impl Request for SettingsRequest {
    const NAME: &'static str = "SettingsRequest";
    const MEANING: &'static str = "Settings to change; what is left out stays, null clears. The first ones need `account_sid` and `auth_token`.";

    fn example() -> Option<Value> {
        Some(json!({ "phone_number": "+15005550006" }))
    }
}

impl Declared for SettingsRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let account_sid = fields.replace("account_sid", "The account.", kinds::sid("AC", AccountSid::parse));
        let auth_token = fields.replace(
            "auth_token",
            "Its token, which verifies webhooks, and signs calls where there is no API key. Never shown again.",
            kinds::secret(),
        );
        let auth_token_secondary = fields.change(
            "auth_token_secondary",
            "A second token that webhooks may be signed with, during a rotation.",
            kinds::secret(),
        );
        let phone_number =
            fields.change("phone_number", "The sender of SMS and MMS.", kinds::sender(Channel::Sms));
        let whatsapp_number =
            fields.change("whatsapp_number", "The sender over WhatsApp.", kinds::sender(Channel::Whatsapp));
        let messaging_service_sid = fields.change(
            "messaging_service_sid",
            "The messaging service that chooses the sender.",
            kinds::sid("MG", MessagingServiceSid::parse),
        );
        let api_key_sid = fields.change(
            "api_key_sid",
            "An API key that signs calls in place of the token.",
            kinds::sid("SK", api_key_sid),
        );
        let api_key_secret = fields.change("api_key_secret", "Its secret.", kinds::secret());
        let shared_keys = fields.change(
            "shared_keys",
            "Twilio's shared keys, which sign webhooks; all of them.",
            kinds::list(0..=SHARED_KEYS_MAX, kinds::object::<SharedKeyRequest>()),
        );
        let require_shared_key = fields.optional(
            "require_shared_key",
            "Refuses webhooks that only an auth token signed.",
            kinds::switch(),
        );
        let display_name = fields.change(
            "display_name",
            "Who sends, as people know them: named in what they are told. A blank one clears it.",
            kinds::line(NAME_CHARACTERS_MAX, "Acme"),
        );
        let help_contact = fields.change(
            "help_contact",
            "Where people can ask: a phone number, a mail address or a URL. A blank one clears it.",
            kinds::line(HELP_CONTACT_CHARACTERS_MAX, "help@acme.example"),
        );
        let language = fields.change(
            "language",
            "The language of answers to words that people of all languages use, such as STOP, and to words of a language \
             without a text.",
            kinds::word::<Language>(),
        );
        let reply_texts = fields.change(
            "reply_texts",
            "What people are told where Twilio does not say it, by language; all of it.",
            kinds::object::<ReplyTextsRequest>(),
        );
        let forward = fields.change(
            "forward",
            "Where the application is told of what happens; all of it. An endpoint is known by its URL: one that was there keeps \
             its secret, and what has not been told yet.",
            kinds::list(0..=ENDPOINTS_MAX, kinds::object::<ForwardEndpointRequest>()),
        );
        // The secret of a key goes with the key.
        if matches!(api_key_secret, Ok(Some(None))) && !matches!(api_key_sid, Ok(Some(None))) {
            fields.fault("api_key_secret", "cannot be cleared; leave it out to keep it");
        }
        let shared_keys = shared_keys.unwrap_or_default().map(Option::unwrap_or_default);
        let mut ids = HashSet::new();
        if shared_keys.iter().flatten().any(|SharedKeyRequest(key)| !ids.insert(&key.id)) {
            fields.fault("shared_keys", "must have different ids");
        }
        let forward = forward.unwrap_or_default().map(Option::unwrap_or_default);
        let forward = forward.map(|endpoints| {
            endpoints.into_iter().map(|ForwardEndpointRequest(endpoint)| endpoint).collect::<Vec<_>>()
        });
        let endpoints = forward.as_deref().unwrap_or_default();
        let mut urls = HashSet::new();
        if endpoints.iter().any(|endpoint| !urls.insert(endpoint.url.expose_secret())) {
            fields.fault("forward", "must have different URLs");
        }
        if endpoints.iter().filter(|endpoint| endpoint.reply).count() > 1 {
            fields.fault("forward", "can have one endpoint that answers, with `reply`");
        }
        Ok(Self(SettingsChange {
            account_sid: account_sid.unwrap_or_default(),
            auth_token: auth_token.unwrap_or_default(),
            auth_token_secondary: auth_token_secondary.unwrap_or_default(),
            phone_number: phone_number.unwrap_or_default(),
            whatsapp_number: whatsapp_number.unwrap_or_default(),
            messaging_service_sid: messaging_service_sid.unwrap_or_default(),
            api_key_sid: api_key_sid.unwrap_or_default(),
            api_key_secret: api_key_secret.unwrap_or_default().flatten(),
            shared_keys: shared_keys.map(|keys| keys.into_iter().map(|SharedKeyRequest(key)| key).collect()),
            require_shared_key: require_shared_key.unwrap_or_default(),
            display_name: display_name.unwrap_or_default().map(Option::flatten),
            help_contact: help_contact.unwrap_or_default().map(Option::flatten),
            language: language.unwrap_or_default(),
            reply_texts: reply_texts
                .unwrap_or_default()
                .map(|texts| texts.map(|ReplyTextsRequest(texts)| texts).unwrap_or_default()),
            forward,
            faults: Vec::new(),
        }))
    }
}

/// A shared key to be saved.
struct SharedKeyRequest(NamedSecret);

impl Request for SharedKeyRequest {
    const NAME: &'static str = "SharedKeyRequest";
    const MEANING: &'static str = "A shared key.";
}

impl Declared for SharedKeyRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let id = fields.required(
            "id",
            "Its id, as it is at Twilio.",
            kinds::shared_key_id(SHARED_KEY_ID_BYTES_MAX),
        );
        let secret = fields.required("secret", "Its secret.", kinds::secret());
        Ok(Self(NamedSecret { id: id?, secret: secret? }))
    }
}

/// An endpoint to be saved.
struct ForwardEndpointRequest(EndpointRequest);

impl Request for ForwardEndpointRequest {
    const NAME: &'static str = "ForwardEndpointRequest";
    const MEANING: &'static str = "A URL of the application's that is told of what happens.";
}

impl Declared for ForwardEndpointRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let url =
            fields.required("url", "The URL: one that the public internet can reach.", kinds::secret_url());
        let events = fields.required(
            "events",
            "What it is told of.",
            kinds::list(1..=FORWARD_EVENTS_MAX, kinds::word::<words::ForwardEvent>()),
        );
        let format = fields.required("format", "In which form.", kinds::word::<words::ForwardFormat>());
        let reply = fields.with_default(
            "reply",
            "Whether the TwiML that it answers a message with, within 8 seconds, is what the writer is answered. In the format \
             `twilio`.",
            false,
            kinds::switch(),
        );
        let rotate_secret = fields.with_default(
            "rotate_secret",
            "Makes another secret. The former signs besides it for a day.",
            false,
            kinds::switch(),
        );
        let (url, events, format, reply, rotate_secret) =
            (url?, events?, ForwardFormat::from(format?), reply?, rotate_secret?);
        let events: BTreeSet<ForwardEvent> = events.into_iter().map(ForwardEvent::from).collect();
        let mut is_whole = true;
        let mut fault = |field: &'static str, detail: &str| {
            fields.fault(field, detail.to_owned());
            is_whole = false;
        };
        if format == ForwardFormat::Twilio && events.contains(&ForwardEvent::Consent) {
            fault("events", "`consent` needs the format `standard`: Twilio has no form for it");
        }
        if reply && (format != ForwardFormat::Twilio || !events.contains(&ForwardEvent::Inbound)) {
            fault("reply", "needs the format `twilio` and the event `inbound`");
        }
        if rotate_secret && format != ForwardFormat::Standard {
            fault("rotate_secret", "needs the format `standard`: the auth token signs the format `twilio`");
        }
        if is_whole {
            Ok(Self(EndpointRequest { url, events, format, reply, rotate_secret }))
        } else {
            Err(contract::Faulty)
        }
    }
}

/// The texts of all languages.
struct ReplyTextsRequest(BTreeMap<Language, ReplyTexts>);

impl Request for ReplyTextsRequest {
    const NAME: &'static str = "ReplyTextsRequest";
    const MEANING: &'static str = "What people are told, by language.";
}

impl Declared for ReplyTextsRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let read: Vec<_> = Language::ALL
            .iter()
            .map(|&language| {
                let texts = fields.optional(
                    language.code(),
                    language.name(),
                    kinds::object::<LanguageTextsRequest>(),
                );
                texts.map(|texts| Some((language, texts?.0)))
            })
            .collect();
        let texts = read.into_iter().collect::<Read<Vec<_>>>()?;
        Ok(Self(texts.into_iter().flatten().filter(|(_, texts)| !texts.is_empty()).collect()))
    }
}

/// The texts of one language.
struct LanguageTextsRequest(ReplyTexts);

impl Request for LanguageTextsRequest {
    const NAME: &'static str = "LanguageTextsRequest";
    const MEANING: &'static str = "What people are told in one language. `{name}` and `{help_contact}` are filled in; a text \
                                   that names what is not set is not used, and neither is a blank one.";
}

impl Declared for LanguageTextsRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let opted_out = fields.optional("opted_out", "After an opt-out.", kinds::reply_text());
        let opted_in = fields.optional("opted_in", "After an opt-in.", kinds::reply_text());
        let help = fields.optional("help", "On HELP.", kinds::reply_text());
        Ok(Self(ReplyTexts {
            opted_out: opted_out?.flatten(),
            opted_in: opted_in?.flatten(),
            help: help?.flatten(),
        }))
    }
}

contract::request_body!(SettingsRequest);

fn api_key_sid(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("SK").filter(|digits| digits.len() == SID_DIGITS);
    match digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not an API key's SID: expected SK and 32 hexadecimal digits"),
    }
}

/// The change that `body` asks for, with everything that is wrong with it.
fn read_change(body: Body<TEXTS_BYTES_MAX>, context: &Context) -> SettingsChange {
    let (read, faults) = body.read_with_faults(context);
    let SettingsRequest(change) = read.expect("a change is read as far as it can be");
    let faults = faults.into_listed().into_iter().map(|FieldError { field, detail }| Fault { field, detail });
    SettingsChange { faults: faults.collect(), ..change }
}

/// `change` with what is wrong with the URLs of its endpoints.
fn check_endpoints(mut change: SettingsChange, settings: &Settings) -> SettingsChange {
    for (index, endpoint) in change.forward.iter().flatten().enumerate() {
        let url = endpoint.url.expose_secret();
        let checked = public_host::check_relay_url(url, settings.relay_private)
            .and_then(|()| public_host::check_not_own_webhook(url, &settings.public_url));
        if let Err(refusal) = checked {
            let detail = format!("the entry {index}: url {refusal}");
            change.faults.push(Fault { field: "forward".to_owned(), detail });
        }
    }
    change
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
}
