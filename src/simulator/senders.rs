//! The account's phone numbers, short codes, messaging services and WhatsApp senders, as far as they say
//! where messages from people go.
//!
//! Sources: <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>,
//! <https://www.twilio.com/docs/messaging/api/short-code-resource>,
//! <https://www.twilio.com/docs/messaging/api/service-resource>,
//! <https://www.twilio.com/docs/whatsapp/api/senders>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{errors::ApiError, message::API_VERSION};
use crate::twilio::{AccountSid, Form};

const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// The sender of Twilio's test credentials, which an account has that nobody has given others.
const OWN_NUMBER: &str = "+15005550006";

/// What the account has. Where messages go is a URL, or nothing; for a phone number it may be the SID of a
/// TwiML application too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Senders {
    /// Phone numbers and, without a `+`, short codes, and where messages to them go.
    pub numbers: BTreeMap<String, Option<String>>,
    /// WhatsApp senders with their prefix, and where messages to them go.
    pub whatsapp_senders: BTreeMap<String, Option<String>>,
    /// Messaging services.
    pub services: Vec<Service>,
}

/// A messaging service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name at Twilio.
    pub sid: String,
    /// Its name for people.
    #[serde(default)]
    pub friendly_name: String,
    /// Where messages to its senders go.
    #[serde(default)]
    pub inbound_request_url: Option<String>,
    /// Whether they go where each sender says instead.
    #[serde(default)]
    pub use_inbound_webhook_on_number: bool,
    /// Its numbers, short codes, and WhatsApp and RCS senders with their prefix.
    #[serde(default)]
    pub senders: Vec<String>,
}

/// A list of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List<'a> {
    /// The account's phone numbers.
    Numbers,
    /// Its short codes.
    ShortCodes,
    /// Its WhatsApp senders.
    WhatsappSenders,
    /// Its messaging services.
    Services,
    /// The phone numbers of a service.
    ServiceNumbers(&'a str),
    /// The short codes of a service.
    ServiceShortCodes(&'a str),
    /// The WhatsApp and RCS senders of a service.
    ServiceChannelSenders(&'a str),
}

impl Senders {
    /// One number that is a WhatsApp sender too; messages to both go to `webhook_url`.
    pub fn of_webhook(webhook_url: Option<String>) -> Self {
        let whatsapp = format!("whatsapp:{OWN_NUMBER}");
        Self {
            numbers: BTreeMap::from([(OWN_NUMBER.to_owned(), webhook_url.clone())]),
            whatsapp_senders: BTreeMap::from([(whatsapp, webhook_url)]),
            services: Vec::new(),
        }
    }

    /// Where a message to `sender` goes; `None` if the account has no such sender.
    pub fn webhook_of(&self, sender: &str) -> Option<Option<&str>> {
        let decides = |service: &&Service| {
            !service.use_inbound_webhook_on_number && service.senders.iter().any(|own| own == sender)
        };
        if let Some(service) = self.services.iter().find(decides) {
            return Some(service.inbound_request_url.as_deref());
        }
        let own = self.numbers.get(sender).or_else(|| self.whatsapp_senders.get(sender));
        // There are no applications here that could say where messages go.
        own.map(|url| url.as_deref().filter(|url| !is_application(url)))
    }

    /// A page of `list` for the query `query`, as the API at `base_url` answers it.
    pub fn answer(
        &self,
        list: List<'_>,
        account_sid: &AccountSid,
        query: &str,
        base_url: &str,
    ) -> Result<Value, ApiError> {
        let page = Page::read(query)?;
        let path = list.path(account_sid);
        let all = self.entries(list, account_sid).ok_or_else(|| ApiError::not_found(&path))?;
        let start = all.len().min(page.number * page.size);
        let is_more = all.len() > start + page.size;
        let entries: Vec<Value> = all.into_iter().skip(start).take(page.size).collect();
        let uri = |number: usize| format!("{path}?PageSize={}&Page={number}", page.size);
        let (first, this) = (uri(0), uri(page.number));
        let next = is_more.then(|| uri(page.number + 1));
        let previous = page.number.checked_sub(1).map(uri);
        let key = list.key();
        Ok(if matches!(list, List::Numbers | List::ShortCodes) {
            json!({
                key: entries, "page": page.number, "page_size": page.size, "start": start,
                "end": (start + page.size).saturating_sub(1), "uri": this, "first_page_uri": first,
                "next_page_uri": next, "previous_page_uri": previous,
            })
        } else {
            let url = |uri: String| format!("{base_url}{uri}");
            json!({
                key: entries,
                "meta": {
                    "key": key, "page": page.number, "page_size": page.size, "url": url(this),
                    "first_page_url": url(first), "next_page_url": next.map(url),
                    "previous_page_url": previous.map(url),
                },
            })
        })
    }

    /// What is in `list`; `None` if there is no such list.
    fn entries(&self, list: List<'_>, account_sid: &AccountSid) -> Option<Vec<Value>> {
        let of_service = |sid: &str, kind: Kind| {
            let service = self.services.iter().find(|service| service.sid == sid)?;
            Some(service.senders.iter().filter(move |sender| Kind::of(sender) == kind))
        };
        let of_account =
            |kind: Kind| self.numbers.iter().filter(move |(number, _)| Kind::of(number) == kind).zip(1_u32..);
        Some(match list {
            List::Numbers => of_account(Kind::Number)
                .map(|((number, target), count)| {
                    let target = target.as_deref().unwrap_or_default();
                    let (url, application) = if is_application(target) { ("", target) } else { (target, "") };
                    json!({
                        "sid": format!("PN{count:032x}"), "account_sid": account_sid.as_str(),
                        "phone_number": number, "friendly_name": number, "api_version": API_VERSION,
                        "capabilities": { "sms": true, "mms": true, "voice": true, "fax": false },
                        "sms_url": url, "sms_method": "POST", "sms_application_sid": application,
                        "sms_fallback_url": "", "sms_fallback_method": "POST",
                        "origin": "twilio", "status": "in-use", "beta": false,
                    })
                })
                .collect(),
            List::ShortCodes => of_account(Kind::ShortCode)
                .map(|((short_code, url), count)| {
                    json!({
                        "sid": format!("SC{count:032x}"), "account_sid": account_sid.as_str(),
                        "short_code": short_code, "friendly_name": short_code, "api_version": API_VERSION,
                        "sms_url": url.as_deref().unwrap_or_default(), "sms_method": "POST",
                        "sms_fallback_url": "", "sms_fallback_method": "POST",
                    })
                })
                .collect(),
            List::WhatsappSenders => self
                .whatsapp_senders
                .iter()
                .zip(1_u32..)
                .map(|((sender, url), count)| {
                    json!({
                        "sid": format!("XE{count:032x}"), "sender_id": sender, "status": "ONLINE",
                        "webhook": { "callback_url": url, "callback_method": "POST" },
                    })
                })
                .collect(),
            List::Services => self
                .services
                .iter()
                .map(|service| {
                    json!({
                        "sid": service.sid, "account_sid": account_sid.as_str(),
                        "friendly_name": service.friendly_name,
                        "inbound_request_url": service.inbound_request_url, "inbound_method": "POST",
                        "use_inbound_webhook_on_number": service.use_inbound_webhook_on_number,
                        "validity_period": 36_000, "sticky_sender": true, "smart_encoding": true,
                    })
                })
                .collect(),
            List::ServiceNumbers(sid) => {
                of_service(sid, Kind::Number)?.map(|number| json!({ "phone_number": number })).collect()
            }
            List::ServiceShortCodes(sid) => of_service(sid, Kind::ShortCode)?
                .map(|short_code| json!({ "short_code": short_code }))
                .collect(),
            List::ServiceChannelSenders(sid) => {
                of_service(sid, Kind::OfChannel)?.map(|sender| json!({ "sender": sender })).collect()
            }
        })
    }
}

/// What a sender is, by how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    ShortCode,
    /// A WhatsApp or RCS sender.
    OfChannel,
}

impl Kind {
    fn of(sender: &str) -> Self {
        if sender.contains(':') {
            Kind::OfChannel
        } else if sender.starts_with('+') {
            Kind::Number
        } else {
            Kind::ShortCode
        }
    }
}

/// Whether messages go where a TwiML application says, rather than to a URL.
fn is_application(target: &str) -> bool {
    target.starts_with("AP")
}

impl List<'_> {
    fn path(self, account_sid: &AccountSid) -> String {
        match self {
            List::Numbers => format!("/{API_VERSION}/Accounts/{account_sid}/IncomingPhoneNumbers.json"),
            List::ShortCodes => format!("/{API_VERSION}/Accounts/{account_sid}/SMS/ShortCodes.json"),
            List::WhatsappSenders => "/v2/Channels/Senders".to_owned(),
            List::Services => "/v1/Services".to_owned(),
            List::ServiceNumbers(sid) => format!("/v1/Services/{sid}/PhoneNumbers"),
            List::ServiceShortCodes(sid) => format!("/v1/Services/{sid}/ShortCodes"),
            List::ServiceChannelSenders(sid) => format!("/v1/Services/{sid}/ChannelSenders"),
        }
    }

    /// Under which name a page holds its entries.
    fn key(self) -> &'static str {
        match self {
            List::Numbers => "incoming_phone_numbers",
            List::Services => "services",
            List::ServiceNumbers(_) => "phone_numbers",
            List::ShortCodes | List::ServiceShortCodes(_) => "short_codes",
            List::WhatsappSenders | List::ServiceChannelSenders(_) => "senders",
        }
    }
}

/// Which part of a list is asked for.
struct Page {
    number: usize,
    size: usize,
}

impl Page {
    fn read(query: &str) -> Result<Self, ApiError> {
        let form = Form::parse(query.as_bytes());
        let number = |name: &str| match form.get(name).filter(|text| !text.is_empty()) {
            Some(text) => text
                .parse::<u32>()
                .map(|number| Some(number as usize))
                .map_err(|_| ApiError::bad_request(20422, format!("Invalid value of {name}"))),
            None => Ok(None),
        };
        Ok(Self {
            number: number("Page")?.unwrap_or(0),
            size: number("PageSize")?.unwrap_or(PAGE_SIZE_DEFAULT).clamp(1, PAGE_SIZE_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders() -> Senders {
        serde_json::from_value(json!({
            "numbers": {
                "+15005550006": "https://a.example", "+15005550007": "https://b.example",
                "+15005550010": "APaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "12345": "https://d.example", "24680": null,
            },
            "whatsapp_senders": { "whatsapp:+15005550006": null },
            "services": [
                { "sid": "MG1", "inbound_request_url": "https://c.example", "senders": ["+15005550006"] },
                { "sid": "MG2", "use_inbound_webhook_on_number": true, "senders": ["+15005550007"] },
                { "sid": "MG4", "senders": ["+15005550009", "24680", "whatsapp:+15005550009", "rcs:shop"] },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_service_decides_where_messages_go_unless_it_leaves_that_to_its_numbers() {
        let senders = senders();
        assert_eq!(senders.webhook_of("+15005550006"), Some(Some("https://c.example")));
        assert_eq!(senders.webhook_of("+15005550007"), Some(Some("https://b.example")));
        assert_eq!(senders.webhook_of("whatsapp:+15005550006"), Some(None));
        assert_eq!(senders.webhook_of("+15005550008"), None);
        assert_eq!(senders.webhook_of("12345"), Some(Some("https://d.example")));
        assert_eq!(senders.webhook_of("+15005550010"), Some(None));
    }

    #[test]
    fn each_list_has_the_senders_of_its_kind() {
        let (senders, account) = (senders(), AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap());
        for (list, field, expected) in [
            (List::Numbers, "phone_number", vec!["+15005550006", "+15005550007", "+15005550010"]),
            (List::Numbers, "sms_url", vec!["https://a.example", "https://b.example", ""]),
            (List::Numbers, "sms_application_sid", vec!["", "", "APaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
            (List::ShortCodes, "short_code", vec!["12345", "24680"]),
            (List::ShortCodes, "sms_url", vec!["https://d.example", ""]),
            (List::WhatsappSenders, "sender_id", vec!["whatsapp:+15005550006"]),
            (List::ServiceNumbers("MG4"), "phone_number", vec!["+15005550009"]),
            (List::ServiceShortCodes("MG4"), "short_code", vec!["24680"]),
            (List::ServiceChannelSenders("MG4"), "sender", vec!["whatsapp:+15005550009", "rcs:shop"]),
        ] {
            let answer = senders.answer(list, &account, "", "http://twilio.example");
            let answer = answer.unwrap_or_else(|error| panic!("{error}"));
            let entries = answer[list.key()].as_array().unwrap();
            let found: Vec<&str> = entries.iter().map(|entry| entry[field].as_str().unwrap()).collect();
            assert_eq!(found, expected, "{list:?} {field}");
            assert_eq!(answer.get("meta").is_none(), list.path(&account).starts_with("/2010"), "{list:?}");
        }
    }

    #[test]
    fn lists_are_answered_in_pages() {
        let (senders, account) = (senders(), AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap());
        let answer = |list, query: &str| senders.answer(list, &account, query, "http://twilio.example");
        let first = answer(List::Numbers, "PageSize=2").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(first["incoming_phone_numbers"][0]["phone_number"], "+15005550006");
        let next = first["next_page_uri"].as_str().unwrap().split_once('?').unwrap().1;
        let second = answer(List::Numbers, next).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(second["incoming_phone_numbers"][0]["phone_number"], "+15005550010");
        assert_eq!(second["next_page_uri"], Value::Null);
        let services = answer(List::Services, "PageSize=1").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(services["meta"]["next_page_url"], "http://twilio.example/v1/Services?PageSize=1&Page=1");
        assert_eq!(answer(List::ServiceNumbers("MG3"), "").unwrap_err().http_status, 404);
        assert_eq!(answer(List::Services, "PageSize=x").unwrap_err().http_status, 400);
    }
}
