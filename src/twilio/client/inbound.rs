//! Where Twilio posts what people write: the settings of an account's phone numbers, short codes, messaging
//! services and WhatsApp senders.
//!
//! Sources: <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>,
//! <https://www.twilio.com/docs/messaging/api/short-code-resource>,
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
    /// A phone number, in E.164, or a short code.
    Number(String),
    /// A WhatsApp sender, with its prefix.
    WhatsappSender(String),
    /// A messaging service, for all of its senders.
    Service {
        /// Its name at Twilio.
        sid: String,
        /// Its name for people.
        name: String,
        /// Its senders, as far as they could be listed.
        senders: BTreeSet<String>,
    },
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Number(address) | Receiver::WhatsappSender(address) => f.write_str(address),
            Receiver::Service { sid, name, .. } if name.is_empty() => {
                write!(f, "the messaging service {sid}")
            }
            Receiver::Service { sid, name, .. } => write!(f, "the messaging service {name:?} ({sid})"),
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

/// A list in which Twilio has receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// The account's phone numbers.
    Numbers,
    /// Its short codes.
    ShortCodes,
    /// Its WhatsApp senders.
    WhatsappSenders,
    /// Its messaging services.
    Services,
    /// Some of a service's senders.
    OfService {
        /// The service's name at Twilio.
        sid: String,
        /// Which of its senders.
        which: &'static str,
    },
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            List::Numbers => f.write_str("the account's phone numbers"),
            List::ShortCodes => f.write_str("the account's short codes"),
            List::WhatsappSenders => f.write_str("the account's WhatsApp senders"),
            List::Services => f.write_str("the account's messaging services"),
            List::OfService { sid, which } => write!(f, "the {which} of the messaging service {sid}"),
        }
    }
}

/// The receivers of an account, as far as they could be listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// Every receiver that has a setting of its own which counts: not a sender for which its messaging
    /// service decides, and not a service that leaves it to its senders.
    pub configured: Vec<Configured>,
    /// The addresses of all senders that take messages.
    pub known: BTreeSet<String>,
    /// The lists that could not be read, and why.
    pub unread: Vec<(List, Error)>,
}

impl Listed {
    /// The entries of `list`; none if it could not be read, which is noted. An API key may be good for some
    /// of the lists alone, and what these say holds without the others.
    fn take(&mut self, list: List, entries: Result<Vec<Value>, Error>) -> Vec<Value> {
        entries.unwrap_or_else(|error| {
            self.unread.push((list, error));
            Vec::new()
        })
    }

    /// Adds a sender, unless it is known already: then its messaging service decides for it.
    fn add(&mut self, address: String, receiver: fn(String) -> Receiver, inbound: Inbound) {
        if self.known.insert(address.clone()) {
            self.configured.push(Configured { receiver: receiver(address), inbound });
        }
    }
}

impl Client {
    /// The receivers of the account, and what becomes of messages to them. The services come first, since
    /// they decide for their senders.
    pub async fn list_inbound(&self, credentials: &Credentials) -> Listed {
        let mut listed = Listed::default();
        self.add_services(credentials, &mut listed).await;

        let account = format!("/2010-04-01/Accounts/{}", credentials.account_sid);
        let path = format!("{account}/IncomingPhoneNumbers.json?PageSize={PAGE_SIZE}");
        let numbers = self.list(credentials, &self.base_url, &path, "incoming_phone_numbers").await;
        for number in listed.take(List::Numbers, numbers) {
            let is_mute = number["capabilities"]["sms"] == false;
            if let Some(address) = text(&number["phone_number"])
                && !is_mute
            {
                let inbound = Inbound::of(&number["sms_url"], &number["sms_application_sid"]);
                listed.add(address, Receiver::Number, inbound);
            }
        }

        let path = format!("{account}/SMS/ShortCodes.json?PageSize={PAGE_SIZE}");
        let short_codes = self.list(credentials, &self.base_url, &path, "short_codes").await;
        for short_code in listed.take(List::ShortCodes, short_codes) {
            if let Some(address) = text(&short_code["short_code"]) {
                let inbound = Inbound::of(&short_code["sms_url"], &Value::Null);
                listed.add(address, Receiver::Number, inbound);
            }
        }

        let messaging = product_url(&self.base_url, "messaging");
        let path = format!("/v2/Channels/Senders?Channel=whatsapp&PageSize={PAGE_SIZE}");
        let senders = self.list(credentials, &messaging, &path, "senders").await;
        for sender in listed.take(List::WhatsappSenders, senders) {
            if let Some(address) = text(&sender["sender_id"]) {
                let inbound = Inbound::of(&sender["webhook"]["callback_url"], &Value::Null);
                listed.add(address, Receiver::WhatsappSender, inbound);
            }
        }
        listed
    }

    /// Adds the messaging services that do not leave it to their senders, and these senders as known.
    async fn add_services(&self, credentials: &Credentials, listed: &mut Listed) {
        let messaging = product_url(&self.base_url, "messaging");
        let path = format!("/v1/Services?PageSize={PAGE_SIZE}");
        let services = self.list(credentials, &messaging, &path, "services").await;
        for service in listed.take(List::Services, services) {
            let sid = text(&service["sid"]).unwrap_or_default();
            if service["use_inbound_webhook_on_number"] == true {
                continue;
            }
            let mut senders = BTreeSet::new();
            for (list, key, field, which) in [
                ("PhoneNumbers", "phone_numbers", "phone_number", "phone numbers"),
                ("ShortCodes", "short_codes", "short_code", "short codes"),
                ("ChannelSenders", "senders", "sender", "WhatsApp and RCS senders"),
            ] {
                let path = format!("/v1/Services/{sid}/{list}?PageSize={PAGE_SIZE}");
                let entries = self.list(credentials, &messaging, &path, key).await;
                let entries = listed.take(List::OfService { sid: sid.clone(), which }, entries);
                senders.extend(entries.iter().filter_map(|entry| text(&entry[field])));
            }
            listed.known.extend(senders.iter().cloned());
            let name = text(&service["friendly_name"]).unwrap_or_default();
            let inbound = Inbound::of(&service["inbound_request_url"], &Value::Null);
            listed
                .configured
                .push(Configured { receiver: Receiver::Service { sid, name, senders }, inbound });
        }
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
        let mut pages_left = PAGES_MAX;
        loop {
            let mut answer = send(credentials, self.http.get(format!("{base_url}{path}"))).await?;
            let Some(Value::Array(page)) = answer.json.get_mut(key).map(Value::take) else {
                return Err(answer.unreadable("it is no list"));
            };
            entries.extend(page);
            let next =
                text(&answer.json["next_page_uri"]).or_else(|| text(&answer.json["meta"]["next_page_url"]));
            let Some(next) = next else { return Ok(entries) };
            // A list that was cut would say of what is missing that all is well.
            pages_left -= 1;
            if pages_left == 0 {
                return Err(answer.unreadable("the list is longer than is read"));
            }
            let next = next.strip_prefix(base_url).unwrap_or(&next);
            if !next.starts_with('/') || next.starts_with("//") {
                return Err(answer.unreadable("its next page is on another host"));
            }
            path = next.to_owned();
        }
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
