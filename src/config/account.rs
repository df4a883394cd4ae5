//! The accounts at Twilio: that of the environment, and the tables `[[accounts]]` of the file.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::Reader;
use crate::{
    domain::{
        AccountSettings, NamedSecret, Organization, OwnReplies,
        account::is_same_account,
        identity::{HELP_CONTACT_CHARACTERS_MAX, NAME_CHARACTERS_MAX},
    },
    phone,
    twilio::{AccountSid, Address, Channel, MessagingServiceSid},
};

/// An organization and its account at Twilio. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct TwilioAccount {
    /// Whose it is.
    pub organization: Organization,
    /// The account.
    pub settings: AccountSettings,
}

/// An account as it is written down, in the names of the settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    organization: Organization,
    account_sid: String,
    #[serde(deserialize_with = "secret")]
    auth_token: SecretString,
    #[serde(default, deserialize_with = "some_secret")]
    auth_token_secondary: Option<SecretString>,
    #[serde(default, deserialize_with = "shared_keys")]
    shared_keys: Vec<SharedKey>,
    #[serde(default)]
    require_shared_key: bool,
    phone_number: Option<String>,
    whatsapp_number: Option<String>,
    messaging_service_sid: Option<String>,
    display_name: Option<String>,
    help_contact: Option<String>,
}

/// A shared key of Twilio's, as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedKey {
    id: String,
    #[serde(deserialize_with = "secret")]
    secret: SecretString,
}

/// Reads a secret. What is no text is a fault that does not show it: a token of digits alone may lack its quotes.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(secret) => Ok(secret.into()),
        _ => Err(D::Error::custom("a secret must be a text in quotes")),
    }
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    secret(deserializer).map(Some)
}

/// Reads shared keys. What is no table is a fault that does not show it: it may be `id:secret`, as in the environment.
fn shared_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SharedKey>, D::Error> {
    let wanted = || D::Error::custom("shared_keys must be a list of { id = \"...\", secret = \"...\" }");
    let toml::Value::Array(keys) = toml::Value::deserialize(deserializer)? else { return Err(wanted()) };
    let key = |key: toml::Value| {
        if key.is_table() { key.try_into().map_err(D::Error::custom) } else { Err(wanted()) }
    };
    keys.into_iter().map(key).collect()
}

impl Reader {
    /// Every account that is configured, checked: an organization has one account, an account one organization.
    pub(super) fn accounts(&mut self) -> Vec<TwilioAccount> {
        let tables = self.given.accounts.take().unwrap_or_default();
        let named = tables.into_iter().map(|table| {
            let place = format!("configuration file, accounts of {}: ", table.organization);
            (place, table)
        });
        let of_environment = self.account_of_environment().map(|table| (String::new(), table));
        let written: Vec<_> = of_environment.into_iter().chain(named).collect();
        let mut accounts: Vec<TwilioAccount> = Vec::new();
        for (place, table) in written {
            let Some(account) = self.account(&place, table) else { continue };
            if accounts.iter().any(|other| other.organization == account.organization) {
                self.faults.push(format!(
                    "{place}the organization {} has two accounts: leave one out",
                    account.organization
                ));
            }
            let sid = &account.settings.account_sid;
            if accounts.iter().any(|other| is_same_account(&other.settings.account_sid, sid)) {
                self.faults
                    .push(format!("{place}the account {sid} belongs to another organization: leave one out"));
            }
            accounts.push(account);
        }
        accounts
    }

    fn account_of_environment(&mut self) -> Option<Table> {
        let (account_sid, auth_token) = (self.text("TWILIO_ACCOUNT_SID"), self.secret("TWILIO_AUTH_TOKEN"));
        match (&account_sid, &auth_token) {
            (Some(_), None) => self.fault("TWILIO_AUTH_TOKEN", "given with TWILIO_ACCOUNT_SID"),
            (None, Some(_)) => self.fault("TWILIO_ACCOUNT_SID", "given with TWILIO_AUTH_TOKEN"),
            _ => {}
        }
        let shared_keys = self.shared_keys();
        let require_shared_key = self.switch("TWILIO_REQUIRE_SHARED_KEY");
        Some(Table {
            organization: Organization::default(),
            account_sid: account_sid?,
            auth_token: auth_token.unwrap_or_default(),
            auth_token_secondary: self.secret("TWILIO_AUTH_TOKEN_SECONDARY"),
            shared_keys,
            require_shared_key,
            phone_number: self.text("TWILIO_PHONE_NUMBER"),
            whatsapp_number: self.text("TWILIO_WHATSAPP_NUMBER"),
            messaging_service_sid: self.text("TWILIO_MESSAGING_SERVICE_SID"),
            // Those of the environment are the whole installation's.
            display_name: None,
            help_contact: None,
        })
    }

    fn shared_keys(&mut self) -> Vec<SharedKey> {
        let listed = self.secret("TWILIO_SHARED_KEYS").unwrap_or_default();
        let entries = listed.expose_secret().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let keys: Option<Vec<SharedKey>> = entries
            .map(|entry| {
                let (id, secret) = entry.split_once(':').filter(|(_, secret)| !secret.is_empty())?;
                Some(SharedKey { id: id.to_owned(), secret: secret.into() })
            })
            .collect();
        keys.unwrap_or_else(|| {
            self.fault("TWILIO_SHARED_KEYS", "a list of id:secret");
            Vec::new()
        })
    }

    fn account(&mut self, place: &str, table: Table) -> Option<TwilioAccount> {
        let account_sid = AccountSid::parse(&table.account_sid).ok();
        if account_sid.is_none() {
            self.fault(&format!("{place}TWILIO_ACCOUNT_SID"), "an account SID: AC and 32 hexadecimal digits");
        }
        let phone_number = self.sender(place, "TWILIO_PHONE_NUMBER", Channel::Sms, table.phone_number);
        let whatsapp_number =
            self.sender(place, "TWILIO_WHATSAPP_NUMBER", Channel::Whatsapp, table.whatsapp_number);
        let messaging_service_sid = table.messaging_service_sid.and_then(|sid| {
            let sid = MessagingServiceSid::parse(&sid).ok();
            if sid.is_none() {
                self.fault(&format!("{place}TWILIO_MESSAGING_SERVICE_SID"), "MG and 32 hexadecimal digits");
            }
            sid
        });
        let display_name =
            self.checked_line(&format!("{place}display_name"), NAME_CHARACTERS_MAX, table.display_name);
        let help_contact = self.checked_line(
            &format!("{place}help_contact"),
            HELP_CONTACT_CHARACTERS_MAX,
            table.help_contact,
        );
        // Whatever is signed with nothing would be verified by an empty secret. The environment's is none if it is empty.
        let shared = table.shared_keys.iter().map(|key| ("TWILIO_SHARED_KEYS", &key.secret));
        let secondary = table.auth_token_secondary.iter().map(|token| ("TWILIO_AUTH_TOKEN_SECONDARY", token));
        let secrets = [("TWILIO_AUTH_TOKEN", &table.auth_token)].into_iter().chain(secondary).chain(shared);
        let is_empty = |secret: &SecretString| secret.expose_secret().trim().is_empty();
        let empty = secrets.filter(|(_, secret)| !place.is_empty() && is_empty(secret));
        for name in empty.map(|(name, _)| name).collect::<Vec<_>>() {
            self.fault(&format!("{place}{name}"), "a secret that is not empty");
        }
        if table.require_shared_key && table.shared_keys.is_empty() {
            self.fault(&format!("{place}TWILIO_SHARED_KEYS"), "given with TWILIO_REQUIRE_SHARED_KEY");
        }
        let shared_keys =
            table.shared_keys.into_iter().map(|SharedKey { id, secret }| NamedSecret { id, secret });
        Some(TwilioAccount {
            organization: table.organization,
            settings: AccountSettings {
                account_sid: account_sid?,
                auth_token: table.auth_token,
                auth_token_secondary: table.auth_token_secondary,
                api_key: None,
                shared_keys: shared_keys.collect(),
                require_shared_key: table.require_shared_key,
                phone_number,
                whatsapp_number,
                messaging_service_sid,
                display_name,
                help_contact,
                replies: OwnReplies::default(),
                forward: Vec::new(),
            },
        })
    }

    fn sender(
        &mut self,
        place: &str,
        name: &str,
        channel: Channel,
        typed: Option<String>,
    ) -> Option<Address> {
        let address = phone::sender(channel, &typed?, None).ok();
        if address.is_none() {
            self.fault(&format!("{place}{name}"), "a number such as +15005550006");
        }
        address
    }
}
