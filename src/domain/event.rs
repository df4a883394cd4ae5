//! The ordered record of every change: three streams, one entry a change, in the contract's fields.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    UnixMs,
    consent::{ConsentEntry, ConsentSource},
    delivery::DeliveryEntry,
};
use crate::twilio::{Channel, MessageSid};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    pub const START: EventId = EventId { ms: 0, seq: 0, stream: Stream::Inbound, partition: 0 };
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
    pub from: String,
    /// Our sender, without the channel's prefix.
    pub to: String,
    /// Characters of text.
    pub body_length: usize,
    /// The keyword it was read as, empty if none.
    pub keyword: String,
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

    /// The stream entry's fields in the contract's order, an empty text where there is nothing.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let sid = |sid: &Option<MessageSid>| sid.as_ref().map(ToString::to_string).unwrap_or_default();
        match self {
            Event::Delivery(entry) => vec![
                ("sid", entry.sid.to_string()),
                ("id", entry.id.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("status", entry.status.to_string()),
                ("previous", entry.previous.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("late", u8::from(entry.late).to_string()),
                ("channel", entry.channel.to_string()),
                ("to", entry.to.clone()),
                ("from", entry.from.clone()),
                ("error_code", entry.error_code.map(|code| code.to_string()).unwrap_or_default()),
                ("batch", entry.batch.clone().unwrap_or_default()),
                ("source", entry.source.as_str().to_owned()),
                ("at", entry.at.to_string()),
            ],
            Event::Inbound(entry) => vec![
                ("sid", entry.sid.to_string()),
                ("channel", entry.channel.to_string()),
                ("from", entry.from.clone()),
                ("to", entry.to.clone()),
                ("body_length", entry.body_length.to_string()),
                ("keyword", entry.keyword.clone()),
                ("media", entry.media.to_string()),
                ("at", entry.at.to_string()),
            ],
            Event::Consent(entry) => vec![
                ("phone", entry.phone.clone()),
                ("channel", entry.channel.as_str().to_owned()),
                ("state", entry.state.as_str().to_owned()),
                ("source", ConsentSource::as_str(entry.source).to_owned()),
                ("sid", sid(&entry.sid)),
                ("at", entry.at.to_string()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_reads_back_and_orders_by_time() {
        let id = EventId { ms: 1_764_000_000_000, seq: 3, stream: Stream::Deliveries, partition: 12 };
        assert_eq!(id.to_string(), "1764000000000-3-d12");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(EventId { seq: 2, ..id } < id && EventId { ms: 1, ..id } < id && EventId::START < id);
        for wrong in ["", "1", "1-2", "1-2-", "1-2-x0", "1-2-d", "1-2-d70000", "-1-2-d0", "1-2-é"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
