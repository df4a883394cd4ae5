//! Where Twilio posts what people write: the settings of an account's phone numbers, messaging services and WhatsApp
//! senders.
//!
//! Sources: <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>,
//! <https://www.twilio.com/docs/messaging/api/service-resource> (`use_inbound_webhook_on_number`),
//! <https://www.twilio.com/docs/whatsapp/api/senders>.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{Client, Error, product_url, send};
use crate::twilio::Credentials;

/// Entries that are asked for at once. Twilio answers them in less than [`super::ANSWER_BYTES_MAX`].
const PAGE_SIZE: usize = 100;

/// The most pages of one list that are read: five thousand numbers.
const PAGES_MAX: usize = 50;

/// Who receives messages from people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// A phone number, in E.164.
    Number(String),
    /// A WhatsApp sender, with its prefix.
    WhatsappSender(String),
    /// A messaging service, for all of its senders.
    Service {
        /// Its name at Twilio.
        sid: String,
        /// Its name for people.
        name: String,
    },
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Number(address) | Receiver::WhatsappSender(address) => f.write_str(address),
            Receiver::Service { sid, name } if name.is_empty() => write!(f, "the messaging service {sid}"),
            Receiver::Service { sid, name } => write!(f, "the messaging service {name:?} ({sid})"),
        }
    }
}

/// What Twilio does with a message from a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// It is posted to this URL.
    Posted(String),
    /// A TwiML application of this SID says where it goes.
    Application(String),
    /// It is dropped, or only listed.
    Nowhere,
}

/// A receiver, and what Twilio does with messages to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Who.
    pub receiver: Receiver,
    /// What.
    pub inbound: Inbound,
}

impl Client {
    /// Every receiver of the account that has a setting of its own which counts: not a number for which its messaging
    /// service decides, and not a service that leaves it to its numbers.
    pub async fn list_inbound(&self, credentials: &Credentials) -> Result<Vec<Configured>, Error> {
        let messaging = product_url(&self.base_url, "messaging");
        let account = &credentials.account_sid;
        let (mut found, mut decided_by_service) = (Vec::new(), BTreeSet::new());
        for service in self
            .list(credentials, &messaging, &format!("/v1/Services?PageSize={PAGE_SIZE}"), "services")
            .await?
        {
            let sid = text(&service["sid"]).unwrap_or_default();
            if service["use_inbound_webhook_on_number"] == true {
                continue;
            }
            let mut senders = Vec::new();
            for (list, key, field) in
                [("PhoneNumbers", "phone_numbers", "phone_number"), ("ChannelSenders", "senders", "sender")]
            {
                let path = format!("/v1/Services/{sid}/{list}?PageSize={PAGE_SIZE}");
                let entries = self.list(credentials, &messaging, &path, key).await?;
                senders.extend(entries.iter().filter_map(|entry| text(&entry[field])));
            }
            if senders.is_empty() {
                continue;
            }
            decided_by_service.extend(senders);
            let name = text(&service["friendly_name"]).unwrap_or_default();
            let inbound = Inbound::of(&service["inbound_request_url"], &Value::Null);
            found.push(Configured { receiver: Receiver::Service { sid, name }, inbound });
        }
        let path = format!("/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}");
        for number in self.list(credentials, &self.base_url, &path, "incoming_phone_numbers").await? {
            let is_mute = number["capabilities"]["sms"] == false;
            if let Some(address) = text(&number["phone_number"])
                && !is_mute
                && !decided_by_service.contains(&address)
            {
                let inbound = Inbound::of(&number["sms_url"], &number["sms_application_sid"]);
                found.push(Configured { receiver: Receiver::Number(address), inbound });
            }
        }
        let path = format!("/v2/Channels/Senders?Channel=whatsapp&PageSize={PAGE_SIZE}");
        for sender in self.list(credentials, &messaging, &path, "senders").await? {
            if let Some(address) = text(&sender["sender_id"])
                && !decided_by_service.contains(&address)
            {
                let inbound = Inbound::of(&sender["webhook"]["callback_url"], &Value::Null);
                found.push(Configured { receiver: Receiver::WhatsappSender(address), inbound });
            }
        }
        Ok(found)
    }

    /// The entries of the list at `path` of the host `base_url`, which stand under `key` in its pages.
    async fn list(
        &self,
        credentials: &Credentials,
        base_url: &str,
        path: &str,
        key: &str,
    ) -> Result<Vec<Value>, Error> {
        let (mut entries, mut path) = (Vec::new(), path.to_owned());
        for _ in 0..PAGES_MAX {
            let mut answer = send(credentials, self.http.get(format!("{base_url}{path}"))).await?;
            let Value::Array(page) = answer.json[key].take() else {
                return Err(answer.unreadable("it is no list"));
            };
            entries.extend(page);
            let next =
                text(&answer.json["next_page_uri"]).or_else(|| text(&answer.json["meta"]["next_page_url"]));
            let Some(next) = next else { return Ok(entries) };
            let next = next.strip_prefix(base_url).unwrap_or(&next);
            if !next.starts_with('/') || next.starts_with("//") {
                return Err(answer.unreadable("its next page is on another host"));
            }
            path = next.to_owned();
        }
        Ok(entries)
    }
}

impl Inbound {
    /// What the URL and the SID of a TwiML application come to, of which the application wins.
    fn of(url: &Value, application: &Value) -> Self {
        match (text(application), text(url)) {
            (Some(sid), _) => Inbound::Application(sid),
            (None, Some(url)) => Inbound::Posted(url),
            (None, None) => Inbound::Nowhere,
        }
    }
}

/// A text that is there and not empty.
fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
