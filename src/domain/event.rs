//! The ordered record of every change: three streams, one entry a change.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{UnixMs, consent::ConsentEntry, delivery::DeliveryEntry, empty_text};
use crate::twilio::{BareAddress, Channel, MessageSid};

/// One of an organization's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Messages received.
    Inbound,
    /// Opt-outs and opt-ins.
    Consents,
    /// Status changes of messages sent.
    Deliveries,
}

impl Stream {
    /// All of them, in the order in which entries of one instant are read.
    pub const ALL: [Stream; 3] = [Stream::Inbound, Stream::Consents, Stream::Deliveries];

    /// The last part of the stream's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Inbound => "inbound",
            Stream::Consents => "consents",
            Stream::Deliveries => "deliveries",
        }
    }

    fn letter(self) -> char {
        match self {
            Stream::Inbound => 'i',
            Stream::Consents => 'c',
            Stream::Deliveries => 'd',
        }
    }
}

/// Where an entry stands in the merged order of all streams, written `<ms>-<seq>-<stream letter><partition>`:
/// a Redis stream entry's id, and the stream it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId {
    /// The store's clock when the entry was added.
    pub ms: UnixMs,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
    /// The stream.
    pub stream: Stream,
    /// The partition of that stream.
    pub partition: u16,
}

impl EventId {
    /// Before every entry.
    pub const START: EventId = EventId { ms: UnixMs::EPOCH, seq: 0, stream: Stream::Inbound, partition: 0 };

    /// Before every entry that was added at `ms` or later, and behind all others.
    pub fn before_all_of(ms: UnixMs) -> Self {
        EventId { ms, ..Self::START }.predecessor()
    }

    /// The id right before this one, whether there is such an entry or not: what comes after it begins with this one.
    pub fn predecessor(self) -> Self {
        let last = EventId { stream: Stream::Deliveries, partition: u16::MAX, ..self };
        match (self.stream, self.partition) {
            (_, partition @ 1..) => EventId { partition: partition - 1, ..self },
            (Stream::Deliveries, 0) => EventId { stream: Stream::Consents, ..last },
            (Stream::Consents, 0) => EventId { stream: Stream::Inbound, ..last },
            (Stream::Inbound, 0) => match (self.seq, self.ms) {
                (0, UnixMs::EPOCH) => self,
                (0, ms) => EventId { ms: ms - Duration::from_millis(1), seq: u64::MAX, ..last },
                (seq, _) => EventId { seq: seq - 1, ..last },
            },
        }
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidEventId;

    fn try_from(text: String) -> Result<Self, InvalidEventId> {
        text.parse()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}{}", self.ms, self.seq, self.stream.letter(), self.partition)
    }
}

/// A text that is no event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event id: expected the form 1764000000000-0-d0")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (ms, rest) = text.split_once('-').ok_or(InvalidEventId)?;
        let (seq, place) = rest.split_once('-').ok_or(InvalidEventId)?;
        let stream = Stream::ALL
            .into_iter()
            .find(|stream| place.starts_with(stream.letter()))
            .ok_or(InvalidEventId)?;
        Ok(EventId {
            ms: ms.parse().map_err(|_| InvalidEventId)?,
            seq: seq.parse().map_err(|_| InvalidEventId)?,
            stream,
            partition: place[1..].parse().map_err(|_| InvalidEventId)?,
        })
    }
}

/// An entry of the inbound stream: a message that a person sent. Its text is not kept here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundEntry {
    /// The message.
    pub sid: MessageSid,
    /// Where it came from.
    pub channel: Channel,
    /// The person, without the channel's prefix.
    pub from: BareAddress,
    /// Our sender, without the channel's prefix.
    pub to: BareAddress,
    /// Characters of text.
    pub body_length: usize,
    /// The keyword it was read as, if it is one.
    #[serde(with = "empty_text")]
    pub keyword: Option<String>,
    /// How many media files came with it.
    pub media: u32,
    /// When it arrived.
    pub at: UnixMs,
}

/// An entry of any stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A message's status changed.
    Delivery(DeliveryEntry),
    /// A message was received.
    Inbound(InboundEntry),
    /// A person opted out or in.
    Consent(ConsentEntry),
}

impl Event {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Event::Delivery(_) => Stream::Deliveries,
            Event::Inbound(_) => Stream::Inbound,
            Event::Consent(_) => Stream::Consents,
        }
    }

    /// The type by which the API names it: `delivery`, `inbound` or `consent`.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Delivery(_) => "delivery",
            Event::Inbound(_) => "inbound",
            Event::Consent(_) => "consent",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_id_reads_back_and_orders_by_time() {
        let id =
            EventId { ms: UnixMs::new(1_764_000_000_000), seq: 3, stream: Stream::Deliveries, partition: 12 };
        assert_eq!(id.to_string(), "1764000000000-3-d12");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            EventId { seq: 2, ..id } < id && EventId { ms: UnixMs::new(1), ..id } < id && EventId::START < id
        );
        for wrong in ["", "1", "1-2", "1-2-", "1-2-x0", "1-2-d", "1-2-d70000", "-1-2-d0", "1-2-é"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_comes_after_the_predecessor_of_an_id_begins_with_that_id() {
        let id = |text: &str| text.parse::<EventId>().unwrap();
        for (of, expected) in [
            ("5-3-d12", "5-3-d11"),
            ("5-3-d0", "5-3-c65535"),
            ("5-3-c0", "5-3-i65535"),
            ("5-3-i0", "5-2-d65535"),
            ("5-0-i0", "4-18446744073709551615-d65535"),
            ("0-0-i0", "0-0-i0"),
        ] {
            assert_eq!(id(of).predecessor(), id(expected), "{of}");
            assert!(id(expected) < id(of) || of == expected);
        }
        assert!(EventId::before_all_of(UnixMs::new(5)) < id("5-0-i0"));
    }

    #[test]
    fn an_event_is_stored_in_the_form_of_version_0_1_0() {
        let sid = "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let delivery = json!({
            "sid": sid, "id": "0123456789abcdef", "status": "sent", "previous": null, "late": false,
            "channel": "whatsapp", "to": "+14155550100", "from": "", "error_code": null,
            "batch": "b00000000000000000000", "source": "callback", "at": 1_764_000_000_000_u64,
        });
        let inbound = json!({
            "sid": sid, "channel": "sms", "from": "CO.8997", "to": "12345", "body_length": 4, "keyword": "",
            "media": 0, "at": 1_764_000_000_000_u64,
        });
        let consent = json!({
            "phone": "+14155550100", "channel": "all", "state": "opted_out", "source": "keyword", "sid": null,
            "at": 1_764_000_000_000_u64,
        });
        let all =
            [json!({ "delivery": delivery }), json!({ "inbound": inbound }), json!({ "consent": consent })];
        for stored in all {
            let event: Event = serde_json::from_value(stored.clone()).unwrap();
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
        }
    }
}
