//! Event Streams: Twilio's second, durable way to tell what became of a message and what was received.
//!
//! A webhook sink is posted CloudEvents 1.0 in JSON, one or a list, signed over the URL with its `bodySHA256`. Events
//! come at least once, in any order, and are tried again for hours; `id` tells repetitions apart, but what they say of a
//! message is deduplicated by its SID and status, so that callbacks may be on too.
//!
//! Sources: <https://www.twilio.com/docs/events/webhook-quickstart>,
//! <https://www.twilio.com/docs/events/event-types/messaging>,
//! <https://www.twilio.com/docs/events/event-types/messaging/compliance-toolkit>, <https://github.com/cloudevents/spec>.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{IncomingMessage, InvalidWebhook, OptOutType, StatusCallback, channel_of};
use crate::twilio::{AccountSid, Address, MessageSid, MessageStatus, MessagingServiceSid};

/// What the types of messages that were sent begin with; the status follows.
const STATUS_TYPE: &str = "com.twilio.messaging.message.";

/// The type of a message that was received.
const INBOUND_TYPE: &str = "com.twilio.messaging.inbound-message.received";

/// The type of an event that tells of a number with another owner.
const REASSIGNED_TYPE: &str = "com.twilio.messaging.reassigned-number.detected";

/// What `consent_operation` begins with if Twilio has opted the number out.
const OPT_OUT: &str = "opt-out";

/// What is documented of a status event's data and is not read.
const PASSED_OVER: &[&str] = &[
    "accountSid",
    "apiVersion",
    "body",
    "errorCode",
    "errorMessage",
    "eventName",
    "from",
    "mcc",
    "messageSid",
    "messageStatus",
    "messagingServiceSid",
    "mnc",
    "numberOfSegments",
    "rawDlrDoneDate",
    "statusCallBackUrl",
    "timestamp",
    "to",
];

/// What one post to the sink holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The events, in the order in which they were sent.
    pub events: Vec<StreamEvent>,
}

/// One CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEvent {
    /// Its id (`EZ…`), the same when it is sent again.
    pub id: Option<String>,
    /// The account it tells of.
    pub account_sid: Option<AccountSid>,
    /// When what it tells happened, as Twilio says.
    pub timestamp: Option<Timestamp>,
    /// What it tells.
    pub content: EventContent,
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventContent {
    /// What became of a message that was sent.
    Status {
        /// In the words of a callback.
        status: Box<StatusCallback>,
        /// Where Twilio was asked to post callbacks: for our own messages it holds our id.
        status_callback_url: Option<String>,
    },
    /// A message that was received.
    Incoming(Box<IncomingMessage>),
    /// A number has another owner than the one who agreed to messages, and Twilio has opted it out.
    Reassigned {
        /// The number.
        number: Address,
    },
    /// Something else that the sink is subscribed to.
    Other,
    /// An event of messaging that cannot be read.
    Unreadable(InvalidWebhook),
}

impl EventBatch {
    /// Reads the body of a post. It fails if that is no JSON, or neither an object nor a list of objects; a single
    /// event that cannot be read does not stop the others.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidWebhook> {
        let events = match serde_json::from_slice(body) {
            Ok(Value::Object(event)) => vec![event],
            Ok(Value::Array(list)) => list
                .into_iter()
                .map(|event| match event {
                    Value::Object(event) => Ok(event),
                    _ => Err(InvalidWebhook::NoEvents),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(InvalidWebhook::NoEvents),
        };
        Ok(Self { events: events.iter().map(StreamEvent::read).collect() })
    }

    /// The account that the first event tells of, if `beginning` holds all of that event: so much of a body is enough to
    /// know whose keys have to have signed it.
    pub fn first_account(beginning: &[u8]) -> Option<AccountSid> {
        let beginning = beginning.trim_ascii_start();
        let beginning = beginning.strip_prefix(b"[").unwrap_or(beginning);
        let mut events = serde_json::Deserializer::from_slice(beginning).into_iter::<Map<String, Value>>();
        let first = events.next()?.ok()?;
        Data(first.get("data")?.as_object()?).account_sid().ok()
    }
}

impl StreamEvent {
    fn read(event: &Map<String, Value>) -> Self {
        let nothing = Map::new();
        let data = Data(event.get("data").and_then(Value::as_object).unwrap_or(&nothing));
        let content = match event.get("type").and_then(Value::as_str) {
            None => Err(InvalidWebhook::Missing("type")),
            Some(INBOUND_TYPE) => data.incoming().map(|message| EventContent::Incoming(Box::new(message))),
            Some(REASSIGNED_TYPE) => data.reassigned(),
            Some(kind) => match kind.strip_prefix(STATUS_TYPE) {
                Some(status) => data.status(status).map(|callback| EventContent::Status {
                    status: Box::new(callback),
                    status_callback_url: data.text("statusCallBackUrl"),
                }),
                None => Ok(EventContent::Other),
            },
        };
        Self {
            id: event.get("id").and_then(Value::as_str).map(str::to_owned),
            account_sid: data.account_sid().ok(),
            timestamp: data
                .text("timestamp")
                .or_else(|| event.get("time")?.as_str().map(str::to_owned))
                .and_then(|text| text.parse().ok()),
            content: content.unwrap_or_else(EventContent::Unreadable),
        }
    }
}

/// An event's data.
struct Data<'a>(&'a Map<String, Value>);

impl Data<'_> {
    /// The value of `name`: a text as it is, a number written down; nothing else, and no empty text.
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn required<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, InvalidWebhook> {
        let text = self.text(name).ok_or(InvalidWebhook::Missing(name))?;
        parse(&text).ok_or(InvalidWebhook::Malformed(name))
    }

    fn address(&self, name: &str) -> Option<Address> {
        Address::parse(&self.text(name)?).ok()
    }

    /// The account, which events of the Compliance Toolkit spell in their own way.
    fn account_sid(&self) -> Result<AccountSid, InvalidWebhook> {
        let read = |name| self.required(name, |text| AccountSid::parse(text).ok());
        read("accountSid").or_else(|missing| read("account_sid").map_err(|_| missing))
    }

    fn messaging_service_sid(&self) -> Option<MessagingServiceSid> {
        MessagingServiceSid::parse(&self.text("messagingServiceSid")?).ok()
    }

    /// The status that the data name, else the one that ends the event's type.
    fn status(&self, of_type: &str) -> Result<StatusCallback, InvalidWebhook> {
        let (to, from) = (self.address("to"), self.address("from"));
        let number = |name| self.text(name).and_then(|text| text.parse().ok());
        Ok(StatusCallback {
            account_sid: self.account_sid()?,
            message_sid: self.required("messageSid", |text| MessageSid::parse(text).ok())?,
            status: MessageStatus::parse(self.text("messageStatus").as_deref().unwrap_or(of_type)),
            error_code: number("errorCode").filter(|&code| code != 0),
            error_message: self.text("errorMessage"),
            channel_status_code: None,
            channel_status_message: None,
            channel: channel_of(from.iter().chain(&to)),
            to,
            from,
            messaging_service_sid: self.messaging_service_sid(),
            raw_dlr_done_date: self.text("rawDlrDoneDate"),
            other: self.other(),
        })
    }

    fn incoming(&self) -> Result<IncomingMessage, InvalidWebhook> {
        let address = |text: &str| Address::parse(text).ok();
        let number = |name| self.text(name).and_then(|text| text.parse().ok());
        let message_sid = self.required("messageSid", |text| MessageSid::parse(text).ok())?;
        let (from, to) = (self.required("from", address)?, self.required("to", address)?);
        Ok(IncomingMessage {
            body: self.text("body").unwrap_or_default(),
            num_media: number("numMedia").unwrap_or(0),
            num_segments: number("numSegments").unwrap_or(1),
            messaging_service_sid: self.messaging_service_sid(),
            opt_out_type: self.text("optOutType").and_then(|text| OptOutType::parse(&text)),
            external_user_id: self.text("externalUserId"),
            username: self.text("username"),
            ..IncomingMessage::bare(self.account_sid()?, message_sid, from, to)
        })
    }

    /// A number that has another owner; nothing if Twilio let it stay opted in.
    fn reassigned(&self) -> Result<EventContent, InvalidWebhook> {
        let is_opted_out =
            self.text("consent_operation").is_some_and(|operation| operation.starts_with(OPT_OUT));
        if !is_opted_out {
            return Ok(EventContent::Other);
        }
        let number = self.required("to_number", |text| Address::parse(text).ok())?;
        Ok(EventContent::Reassigned { number })
    }

    /// Data that are new, as far as they are texts or numbers.
    fn other(&self) -> Vec<(String, String)> {
        let names = self.0.keys().filter(|name| !PASSED_OVER.contains(&name.as_str()));
        names.filter_map(|name| Some((name.clone(), self.text(name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::twilio::Channel;

    const ACCOUNT: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const MESSAGE: &str = "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn parse(body: &Value) -> Vec<StreamEvent> {
        EventBatch::parse(body.to_string().as_bytes()).unwrap().events
    }

    fn undelivered() -> Value {
        json!({
            "specversion": "1.0", "type": "com.twilio.messaging.message.undelivered", "id": "EZ1",
            "source": "/2010-04-01/Accounts/AC/Messages/SM.json", "time": "2026-11-22T12:30:00.000Z",
            "data": {
                "messageSid": MESSAGE, "accountSid": ACCOUNT, "timestamp": "2026-11-22T12:30:00.000Z",
                "messageStatus": "UNDELIVERED", "errorCode": 30003, "to": "+14155550100", "from": "+15005550006",
                "statusCallBackUrl": "https://sms.example.com/webhooks/twilio/status?id=0000000000000abc",
                "mcc": "310", "rcsAgent": "brand",
            },
        })
    }

    #[test]
    fn one_event_and_a_list_are_read_alike() {
        let one = parse(&undelivered());
        assert_eq!(one, parse(&json!([undelivered()])));
        let EventContent::Status { status, status_callback_url } = &one[0].content else { panic!("{one:?}") };
        assert_eq!(status.status, MessageStatus::Undelivered);
        assert_eq!((status.error_code, status.channel), (Some(30003), Channel::Sms));
        assert_eq!(status.other, [("rcsAgent".to_owned(), "brand".to_owned())]);
        assert_eq!(one[0].timestamp, "2026-11-22T12:30:00Z".parse().ok());
        assert!(status_callback_url.as_deref().unwrap().ends_with("?id=0000000000000abc"));
        assert_eq!(
            (one[0].id.as_deref(), one[0].account_sid.as_ref().unwrap().as_str()),
            (Some("EZ1"), ACCOUNT)
        );
    }

    #[test]
    fn the_type_tells_the_status_where_the_data_do_not() {
        let mut event = undelivered();
        let data = event["data"].as_object_mut().unwrap();
        data.remove("messageStatus");
        data.insert("errorCode".into(), Value::Null);
        let events = parse(&event);
        let EventContent::Status { status, .. } = &events[0].content else { panic!("{events:?}") };
        assert_eq!((&status.status, status.error_code), (&MessageStatus::Undelivered, None));
    }

    #[test]
    fn the_beginning_of_a_batch_names_its_account() {
        let event = undelivered().to_string();
        let account = |beginning: &str| EventBatch::first_account(beginning.as_bytes());
        for beginning in [event.clone(), format!(" [ {event}"), format!("[{event},{{\"data\":")] {
            assert_eq!(account(&beginning).unwrap().as_str(), ACCOUNT, "{beginning}");
        }
        for beginning in ["", "[", "[]", "{}", "[[", "x", &event[..event.len() - 1]] {
            assert_eq!(account(beginning), None, "{beginning}");
        }
    }

    #[test]
    fn a_message_received_is_one() {
        let events = parse(&json!([{
            "type": INBOUND_TYPE, "id": "EZ2",
            "data": {
                "messageSid": MESSAGE, "accountSid": ACCOUNT, "from": "whatsapp:+14155550100",
                "to": "whatsapp:+15005550006", "body": "Stop", "numMedia": 0, "optOutType": "STOP",
            },
        }]));
        let EventContent::Incoming(message) = &events[0].content else { panic!("{events:?}") };
        assert_eq!((message.channel, message.body.as_str()), (Channel::Whatsapp, "Stop"));
        assert_eq!(message.opt_out_type, Some(OptOutType::Stop));
    }

    #[test]
    fn a_number_with_another_owner_is_told_if_twilio_opted_it_out() {
        let event = |operation: &str| {
            let event = json!({
                "specversion": "1.0", "type": REASSIGNED_TYPE, "source": "AB1", "id": "NO1",
                "data": {
                    "event_id": "1c70", "timestamp": "2026-09-21T00:00:00Z", "account_sid": ACCOUNT,
                    "from_number": "+15005550006", "to_number": "+14155550100", "is_reassigned": true,
                    "last_verified_date": "2026-08-01", "consent_operation": operation,
                    "consent_updated_at": "2026-09-21T00:00:00Z",
                },
            });
            parse(&event).remove(0)
        };
        let told = event("opt-out-created");
        assert_eq!(told.account_sid.unwrap().as_str(), ACCOUNT);
        assert_eq!(told.timestamp, "2026-09-21T00:00:00Z".parse().ok());
        let number = Address::parse("+14155550100").unwrap();
        assert_eq!(told.content, EventContent::Reassigned { number: number.clone() });
        assert_eq!(event("opt-out").content, EventContent::Reassigned { number });
        for operation in ["", "none", "opt-in-kept"] {
            assert_eq!(event(operation).content, EventContent::Other);
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_stop_the_rest() {
        let events = parse(&json!([
            { "specversion": "1.0", "id": "EZ1" },
            { "type": "com.twilio.voice.status-callback.call.completed", "data": { "accountSid": ACCOUNT } },
            { "type": "com.twilio.messaging.message.sent", "data": { "accountSid": ACCOUNT, "messageSid": "x" } },
            undelivered(),
        ]));
        assert_eq!(events[0].content, EventContent::Unreadable(InvalidWebhook::Missing("type")));
        assert_eq!(events[1].content, EventContent::Other);
        assert_eq!(events[2].content, EventContent::Unreadable(InvalidWebhook::Malformed("messageSid")));
        assert!(matches!(events[3].content, EventContent::Status { .. }));
        for wrong in ["", "{", "1", "null", "\"a\"", "[1]", "[[]]"] {
            assert_eq!(EventBatch::parse(wrong.as_bytes()), Err(InvalidWebhook::NoEvents), "{wrong}");
        }
        assert_eq!(EventBatch::parse(b"[]").unwrap().events, []);
    }
}
