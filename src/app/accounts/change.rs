//! What an administrator wants changed, and the settings that this makes of what was.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    domain::{
        AccountSettings, ForwardEndpoint, ForwardEvent, ForwardFormat, NamedSecret, OwnReplies, ReplyTexts,
        UnixMs,
        account::is_same_account,
        forward::{FormerSecret, SigningSecret},
    },
    twilio::{AccountSid, Address, MessagingServiceSid, reply::Language},
};

/// A change of an organization's settings. Of each field the outer `None` keeps what was; an inner one clears it.
/// `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
    /// The account's SID.
    pub account_sid: Option<AccountSid>,
    /// Its auth token.
    pub auth_token: Option<SecretString>,
    /// A second token that webhooks may be signed with.
    pub auth_token_secondary: Option<Option<SecretString>>,
    /// The sender of SMS and MMS.
    pub phone_number: Option<Option<Address>>,
    /// The sender over WhatsApp.
    pub whatsapp_number: Option<Option<Address>>,
    /// The messaging service that chooses a sender.
    pub messaging_service_sid: Option<Option<MessagingServiceSid>>,
    /// The SID of the API key that signs calls to Twilio.
    pub api_key_sid: Option<Option<String>>,
    /// Its secret.
    pub api_key_secret: Option<SecretString>,
    /// Twilio's shared keys, all of them.
    pub shared_keys: Option<Vec<NamedSecret>>,
    /// Whether auth tokens sign no webhooks.
    pub require_shared_key: Option<bool>,
    /// Who sends, as people know them.
    pub display_name: Option<Option<String>>,
    /// Where people can ask.
    pub help_contact: Option<Option<String>>,
    /// The language of answers to words that people of all languages use.
    pub language: Option<Option<Language>>,
    /// The texts of answers by language, all of them.
    pub reply_texts: Option<BTreeMap<Language, ReplyTexts>>,
    /// Where the application is told of what happens, all of it.
    pub forward: Option<Vec<EndpointRequest>>,
    /// What was found wrong with it while it was read, to be told together with what is found here.
    pub faults: Vec<Fault>,
}

/// An endpoint as an administrator asks for it.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    /// The URL; of one that is known, also as it is shown.
    pub url: SecretString,
    /// What it is told of.
    pub events: BTreeSet<ForwardEvent>,
    /// How.
    pub format: ForwardFormat,
    /// Whether its TwiML is the answer.
    pub reply: bool,
    /// Whether it gets another secret. The former signs besides for [`FORMER_SECRET_KEPT`].
    pub rotate_secret: bool,
}

/// How long a former secret signs besides the one that replaced it.
pub const FORMER_SECRET_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Random bytes of a secret: as many as <https://www.standardwebhooks.com> asks for at the least.
const SECRET_BYTES: usize = 24;

/// Random bytes of an endpoint's id.
const ID_BYTES: usize = 8;

/// The endpoints after a change of `before`. Whatever has the URL of one that was there, or its URL as it is shown, is that one.
fn endpoints(
    asked: Option<&[EndpointRequest]>,
    before: Option<&Vec<ForwardEndpoint>>,
    now: UnixMs,
) -> Vec<ForwardEndpoint> {
    let before = before.map(Vec::as_slice).unwrap_or_default();
    let Some(asked) = asked else { return before.to_vec() };
    let made = asked.iter().map(|asked| {
        let url = asked.url.expose_secret();
        let known = before.iter().find(|known| known.url.expose_secret() == url || known.shown_url() == url);
        let mut endpoint = ForwardEndpoint {
            id: known.map_or_else(new_id, |known| known.id.clone()),
            url: known.map_or(&asked.url, |known| &known.url).clone(),
            events: asked.events.clone(),
            format: asked.format,
            reply: asked.reply,
            secret: known.and_then(|known| known.secret.clone()),
            former_secret: known.and_then(|known| known.former_secret.clone()),
            since: known.map_or(now, |known| known.since),
            is_secret_new: false,
        };
        if asked.format == ForwardFormat::Standard && (endpoint.secret.is_none() || asked.rotate_secret) {
            let former = endpoint.secret.replace(new_secret());
            endpoint.former_secret =
                former.map(|secret| FormerSecret { secret, until: now + FORMER_SECRET_KEPT });
            endpoint.is_secret_new = true;
        }
        endpoint
    });
    made.collect()
}

fn new_id() -> String {
    hex::encode(rand::random::<[u8; ID_BYTES]>())
}

fn new_secret() -> SigningSecret {
    SigningSecret(format!("whsec_{}", STANDARD.encode(rand::random::<[u8; SECRET_BYTES]>())).into())
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, by its name in the API.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// What is said of a secret that would be kept beside another account's SID.
const OF_FORMER_ACCOUNT: &str = "belongs to the former account: give the new account's, or null";

impl SettingsChange {
    /// Whether it says whose the account is: it names the account or its token.
    pub(super) fn names_account(&self) -> bool {
        self.account_sid.is_some() || self.auth_token.is_some()
    }

    /// Whether it makes settings of nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.account_sid.is_some() && self.auth_token.is_some()
    }

    /// The settings after this change of `before`, or everything that is wrong with them.
    pub(super) fn apply(
        &self,
        before: Option<&AccountSettings>,
        now: UnixMs,
    ) -> Result<AccountSettings, Vec<Fault>> {
        let mut faults = Faults(self.faults.clone());
        let account_sid = self.account_sid.as_ref().or(before.map(|before| &before.account_sid));
        if account_sid.is_none() {
            faults.add("account_sid", "must be given");
        }
        let is_other_account = match (before, account_sid) {
            (Some(before), Some(sid)) => !is_same_account(&before.account_sid, sid),
            _ => false,
        };
        let kept = before.filter(|_| !is_other_account);
        let auth_token = self.auth_token.as_ref().or(kept.map(|kept| &kept.auth_token));
        if auth_token.is_none() {
            let detail = if is_other_account {
                "must be given with another account_sid: the saved one belongs to the former account"
            } else {
                "must be given"
            };
            faults.add("auth_token", detail);
        }
        let secondary = before.and_then(|before| before.auth_token_secondary.as_ref());
        if is_other_account && secondary.is_some() && self.auth_token_secondary.is_none() {
            faults.add("auth_token_secondary", OF_FORMER_ACCOUNT);
        }
        let shared_keys = before.map(|before| before.shared_keys.as_slice()).unwrap_or_default();
        if is_other_account && !shared_keys.is_empty() && self.shared_keys.is_none() {
            faults.add("shared_keys", OF_FORMER_ACCOUNT);
        }
        let shared_keys = self.shared_keys.as_deref().unwrap_or(shared_keys).to_vec();
        let required = before.is_some_and(|before| before.require_shared_key);
        let require_shared_key = self.require_shared_key.unwrap_or(required);
        if require_shared_key && shared_keys.is_empty() {
            faults.add("require_shared_key", "needs shared_keys");
        }
        let api_key = before.and_then(|before| before.api_key.as_ref());
        let api_key = self.api_key(api_key, is_other_account, &mut faults);
        match (account_sid, auth_token) {
            (Some(account_sid), Some(auth_token)) if faults.0.is_empty() => Ok(AccountSettings {
                account_sid: account_sid.clone(),
                auth_token: auth_token.clone(),
                auth_token_secondary: self.auth_token_secondary.clone().unwrap_or_else(|| secondary.cloned()),
                api_key,
                shared_keys,
                require_shared_key,
                phone_number: kept_unless(&self.phone_number, before.map(|before| &before.phone_number)),
                whatsapp_number: kept_unless(
                    &self.whatsapp_number,
                    before.map(|before| &before.whatsapp_number),
                ),
                messaging_service_sid: kept_unless(
                    &self.messaging_service_sid,
                    before.map(|before| &before.messaging_service_sid),
                ),
                display_name: kept_unless(&self.display_name, before.map(|before| &before.display_name)),
                help_contact: kept_unless(&self.help_contact, before.map(|before| &before.help_contact)),
                replies: self.replies(before.map(|before| &before.replies)),
                forward: endpoints(self.forward.as_deref(), before.map(|before| &before.forward), now),
            }),
            _ => Err(faults.0),
        }
    }

    fn replies(&self, before: Option<&OwnReplies>) -> OwnReplies {
        let texts = self.reply_texts.as_ref().or(before.map(|before| &before.texts));
        OwnReplies {
            language: kept_unless(&self.language, before.map(|before| &before.language)),
            texts: texts.cloned().unwrap_or_default(),
        }
    }

    fn api_key(
        &self,
        before: Option<&NamedSecret>,
        is_other_account: bool,
        faults: &mut Faults,
    ) -> Option<NamedSecret> {
        let id = match (&self.api_key_sid, before) {
            (Some(None), _) => {
                if self.api_key_secret.is_some() {
                    faults.add("api_key_secret", "cannot be given without api_key_sid");
                }
                return None;
            }
            (Some(Some(id)), _) => id.clone(),
            (None, Some(before)) => {
                if is_other_account {
                    faults.add("api_key_sid", OF_FORMER_ACCOUNT);
                }
                before.id.clone()
            }
            (None, None) => {
                if self.api_key_secret.is_some() {
                    faults.add("api_key_sid", "must be given with api_key_secret");
                }
                return None;
            }
        };
        let kept = before.filter(|before| before.id == id && !is_other_account);
        let secret = self.api_key_secret.as_ref().or(kept.map(|kept| &kept.secret));
        if secret.is_none() {
            faults.add("api_key_secret", "must be given with api_key_sid");
        }
        Some(NamedSecret { id, secret: secret?.clone() })
    }
}

/// What was, unless `change` says otherwise.
fn kept_unless<T: Clone>(change: &Option<Option<T>>, before: Option<&Option<T>>) -> Option<T> {
    change.as_ref().or(before).cloned().flatten()
}

/// Faults, one for each field: what cannot be read needs no second remark.
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: &str, detail: &str) {
        if !self.0.iter().any(|fault| fault.field == field) {
            self.0.push(Fault { field: field.to_owned(), detail: detail.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(digit: &str) -> AccountSid {
        AccountSid::parse(&format!("AC{}", digit.repeat(32))).unwrap()
    }

    fn key(id: &str) -> NamedSecret {
        NamedSecret { id: id.to_owned(), secret: "s".into() }
    }

    fn whole() -> SettingsChange {
        SettingsChange {
            account_sid: Some(sid("a")),
            auth_token: Some("t".into()),
            ..SettingsChange::default()
        }
    }

    fn fields(result: Result<AccountSettings, Vec<Fault>>) -> Vec<String> {
        result.unwrap_err().into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn of_nothing_an_account_and_its_token_make_settings() {
        assert!(whole().apply(None, UnixMs::EPOCH).is_ok());
        assert_eq!(
            fields(SettingsChange::default().apply(None, UnixMs::EPOCH)),
            ["account_sid", "auth_token"]
        );
        let fault = Fault { field: "account_sid".into(), detail: "is none".into() };
        let unread = SettingsChange {
            faults: vec![fault],
            require_shared_key: Some(true),
            ..SettingsChange::default()
        };
        assert_eq!(
            fields(unread.apply(None, UnixMs::EPOCH)),
            ["account_sid", "auth_token", "require_shared_key"]
        );
    }

    #[test]
    fn what_is_left_out_stays_and_null_clears() {
        let mut before = whole().apply(None, UnixMs::EPOCH).unwrap();
        before.auth_token_secondary = Some("u".into());
        before.phone_number = Some(Address::parse("+15005550006").unwrap());
        before.api_key = Some(key("SK1"));
        assert!(
            SettingsChange::default()
                .apply(Some(&before), UnixMs::EPOCH)
                .unwrap()
                .changed_from(Some(&before))
                .is_empty()
        );
        let cleared = SettingsChange {
            auth_token_secondary: Some(None),
            phone_number: Some(None),
            api_key_sid: Some(None),
            ..SettingsChange::default()
        };
        let after = cleared.apply(Some(&before), UnixMs::EPOCH).unwrap();
        let changed = ["auth_token_secondary", "phone_number", "api_key_sid", "api_key_secret"];
        assert_eq!(after.changed_from(Some(&before)), changed);
    }

    #[test]
    fn no_secret_of_an_account_goes_over_to_another() {
        let mut before = whole().apply(None, UnixMs::EPOCH).unwrap();
        before.auth_token_secondary = Some("u".into());
        before.api_key = Some(key("SK1"));
        before.shared_keys = vec![key("k")];
        let other = SettingsChange { account_sid: Some(sid("b")), ..SettingsChange::default() };
        let wrong = ["auth_token", "auth_token_secondary", "shared_keys", "api_key_sid", "api_key_secret"];
        assert_eq!(fields(other.apply(Some(&before), UnixMs::EPOCH)), wrong);
        let other = SettingsChange {
            auth_token: Some("t".into()),
            auth_token_secondary: Some(None),
            shared_keys: Some(Vec::new()),
            api_key_sid: Some(None),
            ..other
        };
        assert!(other.apply(Some(&before), UnixMs::EPOCH).is_ok());
        // The same account in other letters is no other account.
        let same = SettingsChange { account_sid: Some(sid("A")), ..SettingsChange::default() };
        assert!(same.apply(Some(&before), UnixMs::EPOCH).is_ok());
    }

    #[test]
    fn an_api_key_is_a_sid_and_its_secret() {
        let mut before = whole().apply(None, UnixMs::EPOCH).unwrap();
        let with = |id: Option<Option<&str>>, secret: Option<&str>| SettingsChange {
            api_key_sid: id.map(|id| id.map(str::to_owned)),
            api_key_secret: secret.map(Into::into),
            ..SettingsChange::default()
        };
        assert_eq!(
            fields(with(Some(Some("SK1")), None).apply(Some(&before), UnixMs::EPOCH)),
            ["api_key_secret"]
        );
        assert_eq!(fields(with(None, Some("s")).apply(Some(&before), UnixMs::EPOCH)), ["api_key_sid"]);
        assert_eq!(
            fields(with(Some(None), Some("s")).apply(Some(&before), UnixMs::EPOCH)),
            ["api_key_secret"]
        );
        before = with(Some(Some("SK1")), Some("s")).apply(Some(&before), UnixMs::EPOCH).unwrap();
        assert!(with(Some(Some("SK1")), None).apply(Some(&before), UnixMs::EPOCH).is_ok());
        assert_eq!(
            fields(with(Some(Some("SK2")), None).apply(Some(&before), UnixMs::EPOCH)),
            ["api_key_secret"]
        );
        let after = with(None, Some("new")).apply(Some(&before), UnixMs::EPOCH).unwrap();
        assert_eq!(after.changed_from(Some(&before)), ["api_key_secret"]);
    }
}
