//! One message as the simulator has it: its resource in the API's JSON, and the parameters of its callbacks.
//!
//! Sources: <https://www.twilio.com/docs/messaging/api/message-resource>,
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::{
    errors::delivery_error_text,
    post::{Attempt, Parameters},
};
use crate::twilio::{AccountSid, Address, Channel, MediaSid, MessageSid, MessageStatus, MessagingServiceSid};

/// The version of the API, as it stands in paths, resources and webhooks.
pub const API_VERSION: &str = "2010-04-01";

/// Which way a message goes, and what started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a person.
    Inbound,
    /// To a person, created through the API.
    OutboundApi,
    /// To a person, in the answer to an incoming message.
    OutboundReply,
}

impl Direction {
    /// The direction in Twilio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::OutboundApi => "outbound-api",
            Direction::OutboundReply => "outbound-reply",
        }
    }
}

/// A status callback that was due: what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The status it told.
    pub status: MessageStatus,
    /// Its `I-Twilio-Idempotency-Token`; `None` if it was lost on purpose and never posted.
    pub idempotency_token: Option<String>,
    /// Each time it was posted, and how that ended.
    pub attempts: Vec<Attempt>,
}

impl Callback {
    fn to_json(&self) -> Value {
        json!({
            "status": self.status.as_str(),
            "lost": self.idempotency_token.is_none(),
            "idempotency_token": self.idempotency_token,
            "attempts": self.attempts.iter().map(Attempt::to_json).collect::<Vec<_>>(),
        })
    }
}

/// A message. `Debug` shows neither its text nor whole numbers.
#[derive(Clone)]
pub struct Message {
    /// Its name.
    pub sid: MessageSid,
    /// Which way it goes.
    pub direction: Direction,
    /// The recipient.
    pub to: Address,
    /// The sender; `None` until one of the messaging service's is chosen.
    pub from: Option<Address>,
    /// The messaging service it was given to.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// The text.
    pub body: String,
    /// Media files.
    pub num_media: usize,
    /// Those of them that were deleted.
    pub deleted_media: Vec<MediaSid>,
    /// Segments; 0 until the sender is chosen.
    pub num_segments: usize,
    /// Where it stands.
    pub status: MessageStatus,
    /// Why it did not arrive.
    pub error_code: Option<u32>,
    /// When it was accepted or received.
    pub date_created: Timestamp,
    /// When it last changed.
    pub date_updated: Timestamp,
    /// When it was sent.
    pub date_sent: Option<Timestamp>,
    /// What it costs, once that is settled.
    pub price: Option<Price>,
    /// Where its callbacks go, as given, connection overrides included.
    pub status_callback: Option<String>,
    /// The callbacks that are through, in the order in which they ended.
    pub callbacks: Vec<Callback>,
}

/// What a message costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// In hundred-thousandths of a US dollar.
    amount: usize,
    /// From when on it is told.
    told_at: Timestamp,
}

impl Price {
    /// What a segment of an SMS costs, in hundred-thousandths of a US dollar.
    const SEGMENT: usize = 790;
    /// What an MMS costs.
    const MMS: usize = 2_000;
    /// What a WhatsApp message costs.
    const WHATSAPP: usize = 500;

    /// The price of `message`, which is told from `told_at` on.
    pub fn of(message: &Message, told_at: Timestamp) -> Self {
        let amount = match message.to.channel() {
            Channel::Whatsapp => Self::WHATSAPP,
            Channel::Sms | Channel::Rcs if message.num_media > 0 => Self::MMS,
            Channel::Sms | Channel::Rcs => Self::SEGMENT * message.num_segments,
        };
        Self { amount, told_at }
    }

    /// As the API writes it: what is paid is negative.
    fn to_text(self) -> String {
        format!("-{}.{:05}", self.amount / 100_000, self.amount % 100_000)
    }
}

impl Message {
    /// The resource, as the API answers it.
    pub fn to_json(&self, account_sid: &AccountSid) -> Value {
        let sid = &self.sid;
        let uri = format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{sid}");
        let price = self.price.filter(|price| price.told_at <= super::now());
        json!({
            "account_sid": account_sid.as_str(),
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc_2822(self.date_created),
            "date_sent": self.date_sent.map(rfc_2822),
            "date_updated": rfc_2822(self.date_updated),
            "direction": self.direction.as_str(),
            "error_code": self.error_code,
            "error_message": self.error_code.and_then(delivery_error_text),
            "from": self.from.as_ref().map(Address::to_twilio),
            "messaging_service_sid": self.messaging_service_sid.as_ref().map(|sid| sid.as_str()),
            "num_media": self.num_media.to_string(),
            "num_segments": self.num_segments.to_string(),
            "price": price.map(Price::to_text),
            "price_unit": "USD",
            "sid": sid.as_str(),
            "status": self.status.as_str(),
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": self.to.to_twilio(),
            "uri": format!("{uri}.json"),
        })
    }

    /// The resource with what only the simulator tells: where the callbacks go, and what came of each.
    pub fn to_control_json(&self, account_sid: &AccountSid) -> Value {
        let mut json = self.to_json(account_sid);
        json["status_callback"] = json!(self.status_callback);
        json["callbacks"] = self.callbacks.iter().map(Callback::to_json).collect();
        json
    }

    /// The parameters of the callback that tells the present status; which they are depends on channel and status.
    pub fn callback_parameters(&self, account_sid: &AccountSid, channel_install_sid: &str) -> Parameters {
        use MessageStatus::{Delivered, Failed, Read, Undelivered};

        let sid = self.sid.as_str();
        let status = self.status.as_str();
        let mut parameters = Vec::with_capacity(16);
        let mut add = |name: &str, value: &str| parameters.push((name.to_owned(), value.to_owned()));

        let channel = self.to.channel();
        if channel == Channel::Sms {
            if matches!(self.status, Delivered | Undelivered) {
                add("RawDlrDoneDate", &self.date_updated.strftime("%y%m%d%H%M").to_string());
            }
        } else {
            if matches!(self.status, Delivered | Undelivered | Read) {
                add("EventType", &status.to_uppercase());
            }
            if self.status != Read {
                add("ChannelInstallSid", channel_install_sid);
                add("StructuredMessage", "false");
            }
            if self.status == MessageStatus::Sent {
                add("Body", &self.body);
            }
            if let (Undelivered | Failed, Some(code)) = (&self.status, self.error_code) {
                add("ChannelStatusMessage", delivery_error_text(code).unwrap_or("Channel provider error"));
            }
            add("ChannelPrefix", channel.as_str());
            add("ChannelToAddress", &masked_to(self.to.bare()));
        }
        add("ApiVersion", API_VERSION);
        add("MessageStatus", status);
        add("SmsSid", sid);
        add("SmsStatus", status);
        add("To", &self.to.to_twilio());
        if let Some(from) = &self.from {
            add("From", &from.to_twilio());
        }
        add("MessageSid", sid);
        add("AccountSid", account_sid.as_str());
        if let Some(code) = self.error_code {
            add("ErrorCode", &code.to_string());
        }
        // Real read callbacks have been seen without it, though a service sent the message.
        if let (Some(service), true) = (&self.messaging_service_sid, self.status != Read) {
            add("MessagingServiceSid", service.as_str());
        }
        parameters
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("sid", &self.sid)
            .field("direction", &self.direction)
            .field("to", &self.to)
            .field("from", &self.from)
            .field("status", &self.status)
            .field("error_code", &self.error_code)
            .field("callbacks", &self.callbacks)
            .finish_non_exhaustive()
    }
}

/// A date as the API writes it: `Thu, 24 Aug 2023 05:01:45 +0000`.
pub fn rfc_2822(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

/// An address with its last four characters crossed out, as channels give it: `+1415555XXXX`.
fn masked_to(bare: &str) -> String {
    let shown = bare.chars().count().saturating_sub(4);
    bare.chars().take(shown).chain("XXXX".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(to: &str, status: MessageStatus, error_code: Option<u32>) -> Message {
        let at: Timestamp = "2023-08-24T05:01:45Z".parse().unwrap();
        let to = Address::parse(to).unwrap();
        Message {
            sid: MessageSid::parse(&format!("SM{}", "b".repeat(32))).unwrap(),
            direction: Direction::OutboundApi,
            from: Some(Address::new(to.channel(), "+15005550006").unwrap()),
            to,
            messaging_service_sid: Some(
                MessagingServiceSid::parse(&format!("MG{}", "c".repeat(32))).unwrap(),
            ),
            body: "Hello".into(),
            num_media: 0,
            deleted_media: Vec::new(),
            num_segments: 1,
            status,
            error_code,
            date_created: at,
            date_updated: at,
            date_sent: None,
            price: None,
            status_callback: None,
            callbacks: Vec::new(),
        }
    }

    fn account_sid() -> AccountSid {
        AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap()
    }

    fn callback(message: &Message) -> Parameters {
        let mut parameters = message.callback_parameters(&account_sid(), "XE1");
        parameters.sort();
        parameters
    }

    fn names(parameters: &Parameters) -> Vec<&str> {
        parameters.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_resource_has_twilios_fields_and_types() {
        let json = message("+14155550003", MessageStatus::Undelivered, Some(30003)).to_json(&account_sid());
        assert_eq!(json["num_segments"], "1");
        assert_eq!(json["num_media"], "0");
        assert_eq!(json["error_code"], 30003);
        assert_eq!(json["error_message"], "Unreachable destination handset");
        assert_eq!(json["date_created"], "Thu, 24 Aug 2023 05:01:45 +0000");
        assert_eq!(json["date_sent"], Value::Null);
        assert_eq!(json["price"], Value::Null);
        assert_eq!(json["direction"], "outbound-api");
        let path = format!("/2010-04-01/Accounts/{}/Messages/SM{}", account_sid(), "b".repeat(32));
        assert_eq!(json["uri"], format!("{path}.json"));
        assert_eq!(json["subresource_uris"]["media"], format!("{path}/Media.json"));
    }

    #[test]
    fn a_text_messages_final_callback_has_the_carriers_date() {
        let parameters = callback(&message("+14155550003", MessageStatus::Undelivered, Some(30003)));
        let expected = [
            ("AccountSid", account_sid().to_string()),
            ("ApiVersion", "2010-04-01".into()),
            ("ErrorCode", "30003".into()),
            ("From", "+15005550006".into()),
            ("MessageSid", format!("SM{}", "b".repeat(32))),
            ("MessageStatus", "undelivered".into()),
            ("MessagingServiceSid", format!("MG{}", "c".repeat(32))),
            ("RawDlrDoneDate", "2308240501".into()),
            ("SmsSid", format!("SM{}", "b".repeat(32))),
            ("SmsStatus", "undelivered".into()),
            ("To", "+14155550003".into()),
        ];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_text_messages_other_callbacks_have_no_date() {
        let parameters = callback(&message("+14155550100", MessageStatus::Sent, None));
        let expected = [
            "AccountSid",
            "ApiVersion",
            "From",
            "MessageSid",
            "MessageStatus",
            "MessagingServiceSid",
            "SmsSid",
            "SmsStatus",
            "To",
        ];
        assert_eq!(names(&parameters), expected);
    }

    #[test]
    fn a_read_callback_is_as_observed() {
        let parameters = callback(&message("whatsapp:+14155550100", MessageStatus::Read, None));
        let expected = [
            ("AccountSid", account_sid().to_string()),
            ("ApiVersion", "2010-04-01".into()),
            ("ChannelPrefix", "whatsapp".into()),
            ("ChannelToAddress", "+1415555XXXX".into()),
            ("EventType", "READ".into()),
            ("From", "whatsapp:+15005550006".into()),
            ("MessageSid", format!("SM{}", "b".repeat(32))),
            ("MessageStatus", "read".into()),
            ("SmsSid", format!("SM{}", "b".repeat(32))),
            ("SmsStatus", "read".into()),
            ("To", "whatsapp:+14155550100".into()),
        ];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_channels_failure_has_its_own_text() {
        let parameters = callback(&message("whatsapp:+14155563016", MessageStatus::Undelivered, Some(63016)));
        let get = |wanted: &str| {
            parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        assert_eq!(get("EventType"), Some("UNDELIVERED"));
        assert_eq!(get("ErrorCode"), Some("63016"));
        assert_eq!(get("ChannelInstallSid"), Some("XE1"));
        assert!(get("ChannelStatusMessage").unwrap().contains("outside the allowed window"));
        assert_eq!(get("RawDlrDoneDate"), None);
    }

    #[test]
    fn nothing_private_is_shown() {
        let shown = format!("{:?}", message("+14155552671", MessageStatus::Sent, None));
        assert!(!shown.contains("Hello") && !shown.contains("5552671"), "{shown}");
    }
}
