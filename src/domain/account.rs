//! An organization's account at Twilio, as it is set up: by the environment, the configuration file or an administrator.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::{ForwardEndpoint, Identity, OwnReplies};
use crate::twilio::{
    AccountSid, Address, Channel, Credentials, MessagingServiceSid, credentials::ApiKey, signature::Keyring,
};

/// Everything that can be set for an account. `Debug` shows no secret; what is serialized holds all of them, and is made
/// only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountSettings {
    /// Its SID.
    pub account_sid: AccountSid,
    /// Its auth token, which signs webhooks, and calls to Twilio where there is no API key.
    #[serde(serialize_with = "expose")]
    pub auth_token: SecretString,
    /// A second token that webhooks may be signed with, during a rotation.
    #[serde(default, serialize_with = "expose_option")]
    pub auth_token_secondary: Option<SecretString>,
    /// The API key (`SK…`) that signs calls to Twilio in place of the token.
    #[serde(default)]
    pub api_key: Option<NamedSecret>,
    /// Twilio's shared keys, which may sign webhooks too.
    #[serde(default)]
    pub shared_keys: Vec<NamedSecret>,
    /// Refuses webhooks that are signed with an auth token.
    #[serde(default)]
    pub require_shared_key: bool,
    /// The sender of SMS and MMS, unless a send names one.
    #[serde(default)]
    pub phone_number: Option<Address>,
    /// The sender over WhatsApp, unless a send names one.
    #[serde(default)]
    pub whatsapp_number: Option<Address>,
    /// The messaging service that chooses the sender, unless a send names one or the other.
    #[serde(default)]
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// Who sends, as people know them.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Where people can ask.
    #[serde(default)]
    pub help_contact: Option<String>,
    /// What people are told, in the organization's own words.
    #[serde(default)]
    pub replies: OwnReplies,
    /// Where the application is told of what happens.
    #[serde(default)]
    pub forward: Vec<ForwardEndpoint>,
}

/// A secret with a public id: an API key or a shared key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedSecret {
    /// The name.
    pub id: String,
    /// The secret.
    #[serde(serialize_with = "expose")]
    pub secret: SecretString,
}

impl AccountSettings {
    /// What calls to Twilio are signed with.
    pub fn credentials(&self) -> Credentials {
        let api_key = self.api_key.as_ref();
        let api_key = api_key.map(|key| ApiKey { sid: key.id.clone(), secret: key.secret.clone() });
        Credentials { api_key, ..self.token_credentials() }
    }

    /// The account and its token, without the API key.
    pub fn token_credentials(&self) -> Credentials {
        Credentials::with_auth_token(self.account_sid.clone(), self.auth_token.clone())
    }

    /// What Twilio may sign its webhooks with.
    pub fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::new(&self.auth_token);
        if let Some(secondary) = &self.auth_token_secondary {
            keyring = keyring.with_secondary(secondary);
        }
        for key in &self.shared_keys {
            keyring = keyring.with_shared_key(&key.id, &key.secret);
        }
        if self.require_shared_key { keyring.requiring_shared_key() } else { keyring }
    }

    /// Who the account's messages come from; what is not set here is as `configured` for the installation.
    pub fn identity(&self, configured: &Identity) -> Identity {
        let either =
            |own: &Option<String>, configured: &Option<String>| own.as_ref().or(configured.as_ref()).cloned();
        Identity {
            name: either(&self.display_name, &configured.name),
            help_contact: either(&self.help_contact, &configured.help_contact),
        }
    }

    /// The sender over `channel`, if one is set.
    pub fn sender(&self, channel: Channel) -> Option<&Address> {
        match channel {
            Channel::Whatsapp => self.whatsapp_number.as_ref(),
            Channel::Sms | Channel::Rcs => self.phone_number.as_ref(),
        }
    }

    /// The organization's own numbers.
    pub fn numbers(&self) -> impl Iterator<Item = &Address> {
        self.phone_number.iter().chain(&self.whatsapp_number)
    }

    /// Whether `other` verifies the same webhooks.
    pub fn verifies_like(&self, other: &Self) -> bool {
        is_same_account(&self.account_sid, &other.account_sid)
            && is_same(&self.auth_token, &other.auth_token)
            && is_same_option(self.auth_token_secondary.as_ref(), other.auth_token_secondary.as_ref())
            && is_same_list(&self.shared_keys, &other.shared_keys)
            && self.require_shared_key == other.require_shared_key
    }

    /// Whether whoever has proven that `other`'s account is theirs has proven it of this one: it is the same account, with the
    /// same auth token.
    pub fn has_credentials_of(&self, other: &Self) -> bool {
        is_same_account(&self.account_sid, &other.account_sid) && is_same(&self.auth_token, &other.auth_token)
    }

    /// The fields, by their names in the API, in which `self` is not what `before` was.
    pub fn changed_from(&self, before: Option<&Self>) -> Vec<&'static str> {
        let Some(before) = before else { return self.fields() };
        let api_key = (self.api_key.as_ref(), before.api_key.as_ref());
        let (api_key_sid, api_key_secret) = match api_key {
            (Some(now), Some(before)) => (now.id == before.id, is_same(&now.secret, &before.secret)),
            (now, before) => (now.is_none() && before.is_none(), now.is_none() && before.is_none()),
        };
        let is_kept = [
            ("account_sid", self.account_sid == before.account_sid),
            ("auth_token", is_same(&self.auth_token, &before.auth_token)),
            (
                "auth_token_secondary",
                is_same_option(self.auth_token_secondary.as_ref(), before.auth_token_secondary.as_ref()),
            ),
            ("phone_number", self.phone_number == before.phone_number),
            ("whatsapp_number", self.whatsapp_number == before.whatsapp_number),
            ("messaging_service_sid", self.messaging_service_sid == before.messaging_service_sid),
            ("api_key_sid", api_key_sid),
            ("api_key_secret", api_key_secret),
            ("shared_keys", is_same_list(&self.shared_keys, &before.shared_keys)),
            ("require_shared_key", self.require_shared_key == before.require_shared_key),
            ("display_name", self.display_name == before.display_name),
            ("help_contact", self.help_contact == before.help_contact),
            ("language", self.replies.language == before.replies.language),
            ("reply_texts", self.replies.texts == before.replies.texts),
            ("forward", is_same_forward(&self.forward, &before.forward)),
        ];
        is_kept.into_iter().filter(|(_, is_kept)| !is_kept).map(|(name, _)| name).collect()
    }

    /// The fields that are set.
    fn fields(&self) -> Vec<&'static str> {
        let is_set = [
            ("account_sid", true),
            ("auth_token", true),
            ("auth_token_secondary", self.auth_token_secondary.is_some()),
            ("phone_number", self.phone_number.is_some()),
            ("whatsapp_number", self.whatsapp_number.is_some()),
            ("messaging_service_sid", self.messaging_service_sid.is_some()),
            ("api_key_sid", self.api_key.is_some()),
            ("api_key_secret", self.api_key.is_some()),
            ("shared_keys", !self.shared_keys.is_empty()),
            ("require_shared_key", self.require_shared_key),
            ("display_name", self.display_name.is_some()),
            ("help_contact", self.help_contact.is_some()),
            ("language", self.replies.language.is_some()),
            ("reply_texts", !self.replies.texts.is_empty()),
            ("forward", !self.forward.is_empty()),
        ];
        is_set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }
}

/// Whether both name one account: Twilio does not look at a SID's letter case.
pub fn is_same_account(one: &AccountSid, other: &AccountSid) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn is_same_option(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn is_same_list(one: &[NamedSecret], other: &[NamedSecret]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.id == other.id && is_same(&one.secret, &other.secret))
}

fn is_same_forward(one: &[ForwardEndpoint], other: &[ForwardEndpoint]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_like(other))
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn expose_option<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose_secret()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AccountSettings {
        let secret = |id: &str| NamedSecret { id: id.to_owned(), secret: "hunter2".into() };
        AccountSettings {
            account_sid: AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap(),
            auth_token: "hunter2".into(),
            auth_token_secondary: Some("hunter3".into()),
            api_key: Some(secret("SK1")),
            shared_keys: vec![secret("webhooks_sharedkey_1")],
            require_shared_key: true,
            phone_number: Some(Address::parse("+15005550006").unwrap()),
            whatsapp_number: Some(Address::parse("whatsapp:+15005550006").unwrap()),
            messaging_service_sid: None,
            display_name: Some("Acme".to_owned()),
            help_contact: None,
            replies: OwnReplies::default(),
            forward: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_down_reads_back_and_nothing_secret_is_shown() {
        let settings = settings();
        let written = serde_json::to_string(&settings).unwrap();
        let read: AccountSettings = serde_json::from_str(&written).unwrap();
        assert!(read.changed_from(Some(&settings)).is_empty() && read.verifies_like(&settings));
        assert!(!format!("{settings:?}").contains("hunter"));
        // What an older version wrote has fewer fields.
        let old = format!(r#"{{"account_sid":"{}","auth_token":"x"}}"#, settings.account_sid);
        assert!(serde_json::from_str::<AccountSettings>(&old).unwrap().shared_keys.is_empty());
    }

    #[test]
    fn changes_are_told_by_field() {
        let before = settings();
        let mut after = before.clone();
        assert_eq!(after.changed_from(None).len(), 10);
        after.api_key = None;
        after.auth_token_secondary = None;
        after.shared_keys[0].secret = "hunter4".into();
        let changed = ["auth_token_secondary", "api_key_sid", "api_key_secret", "shared_keys"];
        assert_eq!(after.changed_from(Some(&before)), changed);
        assert!(!after.verifies_like(&before));
        let sender = AccountSettings { phone_number: None, api_key: None, ..before.clone() };
        assert!(sender.verifies_like(&before));
    }

    #[test]
    fn what_an_account_does_not_say_of_its_sender_is_as_configured() {
        let configured = Identity { name: Some("Host".into()), help_contact: Some("host.example".into()) };
        let identity = settings().identity(&configured);
        assert_eq!(
            (identity.name.as_deref(), identity.help_contact.as_deref()),
            (Some("Acme"), Some("host.example"))
        );
    }
}
