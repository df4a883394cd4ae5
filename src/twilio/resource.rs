//! Twilio's REST resources as this crate reads and writes them: messages, lists of messages, accounts.
//!
//! What is read is taken with an open hand: a field that is missing, null or of another type than documented is
//! `None`, an unknown one is ignored. Only a message without a readable SID is no message.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource>.

use std::{borrow::Cow, fmt};

use jiff::{Timestamp, civil::Date, fmt::rfc2822};
use serde_json::Value;

use super::{
    AccountSid, Address, ContentSid, MessageSid, MessageStatus, MessagingServiceSid, address::mask_numbers,
    raw::Raw,
};

/// The most messages asked for in one page: fifty of the largest fit in the client's bound on an answer.
pub const PAGE_SIZE_MAX: u16 = 50;

/// A message to create. One of `from` and `messaging_service_sid`, and one of `body`, `media_url` and
/// `content_sid`, must be given; Twilio checks. `Debug` shows neither the text nor whole numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateMessage {
    /// The recipient.
    pub to: Address,
    /// The sender; with a messaging service it must be in the service's pool.
    pub from: Option<Address>,
    /// The service that chooses the sender.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// The text, up to 1600 characters.
    pub body: Option<String>,
    /// Up to ten public URLs.
    pub media_url: Vec<String>,
    /// A content template, which replaces body and media.
    pub content_sid: Option<ContentSid>,
    /// The template's variables: a JSON object, as text.
    pub content_variables: Option<String>,
    /// Seconds the message may wait at Twilio, 1 to 36,000; Twilio's default is 36,000.
    pub validity_period_s: Option<u32>,
    /// Where Twilio posts each change of status, up to 4000 characters, connection overrides (`#…`) included.
    pub status_callback: Option<String>,
    /// Further parameters, by Twilio's names, in their order.
    pub other: Vec<(String, String)>,
}

impl CreateMessage {
    /// A message to `to` with everything else left out.
    pub fn to(to: Address) -> Self {
        Self {
            to,
            from: None,
            messaging_service_sid: None,
            body: None,
            media_url: Vec::new(),
            content_sid: None,
            content_variables: None,
            validity_period_s: None,
            status_callback: None,
            other: Vec::new(),
        }
    }

    /// The message as the parameters of Twilio's form, `MediaUrl` once per URL.
    pub fn to_form(&self) -> Vec<(&str, Cow<'_, str>)> {
        let mut form = vec![("To", Cow::Owned(self.to.to_twilio()))];
        let optional = [
            ("From", self.from.as_ref().map(|from| Cow::Owned(from.to_twilio()))),
            ("MessagingServiceSid", self.messaging_service_sid.as_ref().map(|sid| sid.as_str().into())),
            ("Body", self.body.as_deref().map(Cow::Borrowed)),
            ("ContentSid", self.content_sid.as_ref().map(|sid| sid.as_str().into())),
            ("ContentVariables", self.content_variables.as_deref().map(Cow::Borrowed)),
            ("ValidityPeriod", self.validity_period_s.map(|seconds| seconds.to_string().into())),
            ("StatusCallback", self.status_callback.as_deref().map(Cow::Borrowed)),
        ];
        form.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        form.extend(self.media_url.iter().map(|url| ("MediaUrl", Cow::Borrowed(url.as_str()))));
        form.extend(self.other.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str()))));
        form
    }
}

impl fmt::Debug for CreateMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateMessage")
            .field("to", &self.to)
            .field("from", &self.from)
            .field("messaging_service_sid", &self.messaging_service_sid)
            .field("body_length", &self.body.as_deref().map(characters))
            .field("media", &self.media_url.len())
            .field("content_sid", &self.content_sid)
            .field("validity_period_s", &self.validity_period_s)
            .finish_non_exhaustive()
    }
}

/// Which messages to list, newest first; what is left out does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListMessages {
    /// Only those to this address.
    pub to: Option<Address>,
    /// Only those from this address.
    pub from: Option<Address>,
    /// Only those sent on this day (UTC) or later. Twilio does not say whether a message that still waits, and
    /// so has no sending date yet, passes this filter.
    pub date_sent_on_or_after: Option<Date>,
    /// Messages per page, 1 to [`PAGE_SIZE_MAX`], and that by default; other numbers move to the nearer end.
    pub page_size: Option<u16>,
}

impl ListMessages {
    /// The filter as the parameters of Twilio's query. `DateSent>` is a name: what is asked is `DateSent>=…`.
    pub fn to_query(&self) -> Vec<(&'static str, String)> {
        let page_size = self.page_size.unwrap_or(PAGE_SIZE_MAX).clamp(1, PAGE_SIZE_MAX);
        let optional = [
            ("To", self.to.as_ref().map(Address::to_twilio)),
            ("From", self.from.as_ref().map(Address::to_twilio)),
            ("DateSent>", self.date_sent_on_or_after.map(|date| date.to_string())),
            ("PageSize", Some(page_size.to_string())),
        ];
        optional.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What Twilio knows of a number's line. Source: <https://www.twilio.com/docs/lookup/v2-api/line-type-intelligence>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// `mobile`, `landline`, `fixedVoip`, `nonFixedVoip`, `tollFree` and so on.
    pub kind: Option<String>,
    /// Who runs it.
    pub carrier_name: Option<String>,
    /// The country of a mobile network.
    pub mobile_country_code: Option<String>,
    /// The mobile network.
    pub mobile_network_code: Option<String>,
    /// Why Twilio does not know.
    pub error_code: Option<u32>,
}

impl Line {
    /// Reads the answer of Lookup v2.
    pub fn from_json(json: &Value) -> Option<Self> {
        text(json, "phone_number")?;
        let line = &json["line_type_intelligence"];
        Some(Self {
            kind: owned_text(line, "type"),
            carrier_name: owned_text(line, "carrier_name"),
            mobile_country_code: owned_text(line, "mobile_country_code"),
            mobile_network_code: owned_text(line, "mobile_network_code"),
            error_code: number(line, "error_code"),
        })
    }
}

/// A message as Twilio has it. `Debug` shows neither the text nor whole numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub sid: MessageSid,
    /// The account it belongs to.
    pub account_sid: Option<AccountSid>,
    /// The service it went through.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// Its status at the time of the answer.
    pub status: Option<MessageStatus>,
    /// `inbound`, `outbound-api`, `outbound-call` or `outbound-reply`.
    pub direction: Option<String>,
    /// The recipient.
    pub to: Option<Address>,
    /// The sender; `None` until a messaging service has chosen one.
    pub from: Option<Address>,
    /// The text.
    pub body: Option<String>,
    /// Segments Twilio counts, and bills; 0 at first with a messaging service.
    pub num_segments: Option<u32>,
    /// Media files.
    pub num_media: Option<u32>,
    /// The price so far, as Twilio writes it (`-0.00750`).
    pub price: Option<String>,
    /// The price's currency, ISO 4217.
    pub price_unit: Option<String>,
    /// Why it failed.
    pub error_code: Option<u32>,
    /// Twilio's text for the error code.
    pub error_message: Option<String>,
    /// When Twilio took it.
    pub date_created: Option<Timestamp>,
    /// When it was sent; for an inbound message, received.
    pub date_sent: Option<Timestamp>,
    /// When it last changed.
    pub date_updated: Option<Timestamp>,
    /// The whole answer that it was read from, if that is to be handed on.
    pub raw: Option<Raw>,
}

impl Message {
    /// Reads the resource; `None` if it has no message SID.
    pub fn from_json(json: &Value) -> Option<Self> {
        Some(Self {
            sid: MessageSid::parse(text(json, "sid")?).ok()?,
            account_sid: text(json, "account_sid").and_then(|sid| AccountSid::parse(sid).ok()),
            messaging_service_sid: text(json, "messaging_service_sid")
                .and_then(|sid| MessagingServiceSid::parse(sid).ok()),
            status: text(json, "status").map(MessageStatus::parse),
            direction: owned_text(json, "direction"),
            to: text(json, "to").and_then(|to| Address::parse(to).ok()),
            from: text(json, "from").and_then(|from| Address::parse(from).ok()),
            body: owned_text(json, "body"),
            num_segments: number(json, "num_segments"),
            num_media: number(json, "num_media"),
            price: owned_text(json, "price"),
            price_unit: owned_text(json, "price_unit"),
            error_code: number(json, "error_code"),
            error_message: owned_text(json, "error_message"),
            date_created: date(json, "date_created"),
            date_sent: date(json, "date_sent"),
            date_updated: date(json, "date_updated"),
            raw: None,
        })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("sid", &self.sid)
            .field("status", &self.status)
            .field("direction", &self.direction)
            .field("to", &self.to)
            .field("from", &self.from)
            .field("body_length", &self.body.as_deref().map(characters))
            .field("num_segments", &self.num_segments)
            .field("error_code", &self.error_code)
            .field("error_message", &self.error_message.as_deref().map(mask_numbers))
            .field("date_created", &self.date_created)
            .field("date_sent", &self.date_sent)
            .finish_non_exhaustive()
    }
}

/// Part of a list of messages. `Debug` shows neither texts nor whole numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages, newest first. Failed attempts to create one are among them.
    pub messages: Vec<Message>,
    next_page_uri: Option<String>,
}

impl MessagePage {
    /// Reads a page of the list at `list_path`. `Err` says what is wrong: it is no list, a message in it is
    /// unreadable, or its next page is not a page of the same list, be it on another path or another host.
    pub fn from_json(json: &Value, list_path: &str) -> Result<Self, &'static str> {
        let messages = json.get("messages").and_then(Value::as_array).ok_or("it is no list of messages")?;
        let messages: Option<Vec<Message>> = messages.iter().map(Message::from_json).collect();
        let next_page_uri = owned_text(json, "next_page_uri");
        if !next_page_uri.as_deref().is_none_or(|uri| is_page_of(list_path, uri)) {
            return Err("its next page is not a page of the same list");
        }
        Ok(Self { messages: messages.ok_or("a message in the list has no SID")?, next_page_uri })
    }

    /// Path and query of the page after this one.
    pub fn next_page_uri(&self) -> Option<&str> {
        self.next_page_uri.as_deref()
    }
}

impl fmt::Debug for MessagePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URI holds the numbers that were asked for.
        f.debug_struct("MessagePage")
            .field("messages", &self.messages)
            .field("has_next_page", &self.next_page_uri.is_some())
            .finish()
    }
}

/// An account, as far as it tells whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name its owner gave it.
    pub friendly_name: Option<String>,
    /// `active`, `suspended` or `closed`.
    pub status: Option<String>,
    /// `Trial` or `Full`; Twilio's `type`.
    pub kind: Option<String>,
}

impl Account {
    /// Reads the resource; `None` if it is no JSON object.
    pub fn from_json(json: &Value) -> Option<Self> {
        json.is_object().then(|| Self {
            friendly_name: owned_text(json, "friendly_name"),
            status: owned_text(json, "status"),
            kind: owned_text(json, "type"),
        })
    }
}

/// Whether `uri` is `list_path` with another query, and so can lead nowhere else.
fn is_page_of(list_path: &str, uri: &str) -> bool {
    uri.strip_prefix(list_path).is_some_and(|rest| rest.starts_with('?'))
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str()
}

fn owned_text(json: &Value, name: &str) -> Option<String> {
    text(json, name).map(str::to_owned)
}

/// A number that Twilio writes as a number in some places and as text in others.
pub(super) fn number(json: &Value, name: &str) -> Option<u32> {
    match json.get(name)? {
        Value::Number(number) => number.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn date(json: &Value, name: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text(json, name)?).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    const LIST_PATH: &str = "/2010-04-01/Accounts/AC1/Messages.json";

    fn sid() -> String {
        format!("SM{}", "b".repeat(32))
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn only_what_is_given_is_sent() {
        let create = CreateMessage::to(address("+14155550100"));
        assert_eq!(create.to_form(), [("To", Cow::from("+14155550100"))]);
    }

    #[test]
    fn everything_given_is_sent_under_twilio_s_names() {
        let service = format!("MG{}", "c".repeat(32));
        let content = format!("HX{}", "d".repeat(32));
        let create = CreateMessage {
            to: address("whatsapp:+14155550100"),
            from: Some(address("whatsapp:+15005550006")),
            messaging_service_sid: Some(MessagingServiceSid::parse(&service).unwrap()),
            body: Some("Hello".into()),
            media_url: vec!["https://a.example/1".into(), "https://a.example/2".into()],
            content_sid: Some(ContentSid::parse(&content).unwrap()),
            content_variables: Some(r#"{"1":"x"}"#.into()),
            validity_period_s: Some(60),
            status_callback: Some("https://b.example/?id=1#rc=5".into()),
            other: vec![("SmartEncoded".into(), "true".into())],
        };
        let expected = [
            ("To", "whatsapp:+14155550100"),
            ("From", "whatsapp:+15005550006"),
            ("MessagingServiceSid", &service),
            ("Body", "Hello"),
            ("ContentSid", &content),
            ("ContentVariables", r#"{"1":"x"}"#),
            ("ValidityPeriod", "60"),
            ("StatusCallback", "https://b.example/?id=1#rc=5"),
            ("MediaUrl", "https://a.example/1"),
            ("MediaUrl", "https://a.example/2"),
            ("SmartEncoded", "true"),
        ];
        assert_eq!(create.to_form(), expected.map(|(name, value)| (name, Cow::from(value))));
    }

    #[test]
    fn a_list_is_restricted_by_what_is_given() {
        assert_eq!(ListMessages::default().to_query(), [("PageSize", "50".to_owned())]);
        let list = ListMessages {
            to: Some(address("+14155550100")),
            from: Some(address("whatsapp:+15005550006")),
            date_sent_on_or_after: Some(date(2026, 3, 9)),
            page_size: Some(1000),
        };
        let expected = [
            ("To", "+14155550100"),
            ("From", "whatsapp:+15005550006"),
            ("DateSent>", "2026-03-09"),
            ("PageSize", "50"),
        ];
        assert_eq!(list.to_query(), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(
            ListMessages { page_size: Some(0), ..Default::default() }.to_query(),
            [("PageSize", "1".into())]
        );
    }

    #[test]
    fn a_message_is_read_with_twilio_s_types() {
        let message = Message::from_json(&json!({
            "sid": sid(), "account_sid": format!("AC{}", "a".repeat(32)), "messaging_service_sid": null,
            "status": "undelivered", "direction": "outbound-api", "to": "+14155550100", "from": "+15005550006",
            "body": "Hi", "num_segments": "2", "num_media": "0", "price": "-0.00750", "price_unit": "USD",
            "error_code": 30003, "error_message": "Unreachable destination handset",
            "date_created": "Thu, 24 Aug 2023 05:01:45 +0000", "date_sent": null, "date_updated": null,
            "uri": "/…", "subresource_uris": { "media": "/…" }, "tags": { "new": true },
        }))
        .unwrap();
        assert_eq!(message.status, Some(MessageStatus::Undelivered));
        assert_eq!(message.num_segments, Some(2));
        assert_eq!(message.error_code, Some(30003));
        assert_eq!(message.date_created, Some("2023-08-24T05:01:45Z".parse().unwrap()));
        assert_eq!(message.date_sent, None);
        assert_eq!(message.messaging_service_sid, None);
        assert_eq!(message.to, Some(address("+14155550100")));
    }

    #[test]
    fn a_message_of_which_only_the_sid_is_as_documented_is_still_read() {
        let strange = json!({
            "sid": sid(), "account_sid": 7, "status": "teleported", "to": null, "from": {}, "num_segments": 3,
            "error_code": "30008", "date_created": "2023-08-24", "price": 0.5, "body": [],
        });
        let message = Message::from_json(&strange).unwrap();
        assert_eq!(message.status, Some(MessageStatus::Other("teleported".into())));
        assert_eq!((message.num_segments, message.error_code), (Some(3), Some(30008)));
        assert_eq!((message.to, message.from, message.date_created), (None, None, None));

        assert!(Message::from_json(&json!({ "sid": sid() })).is_some());
        for no_message in [json!({}), json!(null), json!([]), json!({ "sid": "SM1" }), json!({ "sid": null })]
        {
            assert_eq!(Message::from_json(&no_message), None);
        }
    }

    #[test]
    fn a_next_page_must_be_of_the_same_list() {
        let page = |uri: Value| {
            MessagePage::from_json(
                &json!({ "messages": [{ "sid": sid() }], "next_page_uri": uri }),
                LIST_PATH,
            )
        };
        assert_eq!(page(json!(null)).unwrap().next_page_uri(), None);
        let next = format!("{LIST_PATH}?PageSize=50&Page=1&PageToken=PASM1");
        assert_eq!(page(json!(next)).unwrap().next_page_uri(), Some(next.as_str()));
        for elsewhere in [
            format!("https://evil.example{LIST_PATH}?Page=1"),
            format!("//evil.example{LIST_PATH}?Page=1"),
            format!("@evil.example{LIST_PATH}?Page=1"),
            ".evil.example/".to_owned(),
            LIST_PATH.to_owned(),
            format!("{LIST_PATH}/../../AC2/Messages.json?Page=1"),
            "/2010-04-01/Accounts/AC2/Messages.json?Page=1".to_owned(),
            String::new(),
        ] {
            assert!(page(json!(elsewhere)).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn a_list_with_an_unreadable_message_is_refused_whole() {
        // Leaving one out could make the caller send it a second time.
        let page = json!({ "messages": [{ "sid": sid() }, { "sid": "?" }] });
        assert!(MessagePage::from_json(&page, LIST_PATH).is_err());
        assert!(MessagePage::from_json(&json!({ "code": 1 }), LIST_PATH).is_err());
    }

    #[test]
    fn neither_texts_nor_whole_numbers_are_shown() {
        let json = json!({
            "sid": sid(), "to": "+14155550100", "from": "+15005550006", "body": "the secret word",
            "error_message": "The 'To' number +14155550100 is not valid.",
        });
        let create = CreateMessage {
            from: Some(address("+15005550006")),
            body: Some("the secret word".into()),
            content_variables: Some("the secret word".into()),
            status_callback: Some("https://example.com/?to=+14155550100".into()),
            ..CreateMessage::to(address("+14155550100"))
        };
        let next = format!("{LIST_PATH}?To=%2B14155550100");
        let page = json!({ "messages": [json], "next_page_uri": next });
        let page = MessagePage::from_json(&page, LIST_PATH).unwrap();
        for shown in [format!("{create:?}"), format!("{page:?}")] {
            for hidden in ["14155550100", "15005550006", "secret"] {
                assert!(!shown.contains(hidden), "{shown}");
            }
        }
    }
}
