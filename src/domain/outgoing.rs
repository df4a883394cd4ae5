//! A message on its way out: what was asked for.
//!
//! What may become of it is decided by one rule, [`rule::decide`]: the state it is in and a fact make a [`Move`].
//! [`State`](OutboundState) is where it stands, [`Refusal`] why it is not sent, [`Standing`] the word that is shown
//! for it, [`times`] how long each step may take.

mod refusal;
pub mod rule;
mod sealed_url;
mod standing;
mod state;
pub mod times;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    refusal::{NotAllowed, Refusal},
    rule::{Fact, Move},
    sealed_url::SealedUrl,
    standing::Standing,
    state::{Hold, OutboundState, Suspicion},
};
use super::{
    BatchId, MessageId, Person, Principal, UnixMs, category,
    consent::{Block, Route},
    time::duration_ms,
};
use crate::twilio::{Address, MessagingServiceSid, address::InvalidAddress};

/// A message that was asked for. Its text is not kept here, only its length: what Twilio is to be given waits, sealed,
/// beside it, and goes when it is known what became of the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbound {
    /// Our id.
    pub id: MessageId,
    /// The recipient.
    pub to: Address,
    /// The sender, if one was named.
    pub from: Option<Address>,
    /// The messaging service that chooses the sender, if one was named.
    pub messaging_service_sid: Option<MessagingServiceSid>,
    /// Characters of text.
    pub body_length: usize,
    /// Segments as we count them; Twilio's own count decides the bill.
    pub segments: u32,
    /// How many media files go with it.
    pub media: usize,
    /// What it is about, in the caller's words.
    pub category: Option<String>,
    /// The caller's user it is for.
    pub user_id: Option<String>,
    /// The batch it was asked for in.
    #[serde(default)]
    pub batch: Option<BatchId>,
    /// Where the caller wants to be told of each status, by Twilio's own rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_callback: Option<SealedUrl>,
    /// Its part in a pair of which the second leaves only if the first does not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Who asked for it; `None` if a version did that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Principal>,
    /// When it was asked for.
    pub created_at: UnixMs,
}

/// A message's part in a pair of which the second leaves only if the first does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "role")]
pub enum Fallback {
    /// The first.
    First {
        /// The second.
        second: MessageId,
    },
    /// The second.
    Second {
        /// The first.
        first: MessageId,
        /// How long the first may take to arrive.
        #[serde(rename = "after_ms", with = "duration_ms")]
        after: Duration,
    },
}

impl Outbound {
    /// Whether it goes before all others, and is held back by nothing but consent.
    pub fn is_emergency(&self) -> bool {
        self.category.as_deref() == Some(category::EMERGENCY)
    }

    /// How it goes out.
    pub fn route(&self) -> Route<'_> {
        Route {
            channel: self.to.channel(),
            from: self.from.as_ref().map(Address::bare),
            service: self.messaging_service_sid.as_ref(),
            category: self.category.as_deref(),
        }
    }

    /// The block that an error says Twilio keeps, if it refuses this message because of one.
    pub fn block(&self) -> Block {
        Block {
            sender: self.from.as_ref().map(|from| from.bare().clone()),
            service: self.messaging_service_sid.clone(),
        }
    }

    /// Whom it is sent by, if anybody is named.
    pub fn sender(&self) -> Option<Sender> {
        let service = self.messaging_service_sid.clone().map(Sender::Service);
        self.from.clone().map(Sender::Address).or(service)
    }

    /// Whom it is to.
    pub fn recipient(&self) -> Person {
        Person::of(self.to.bare())
    }

    /// The messages that it waits in line with.
    pub fn flow(&self) -> Flow {
        Flow { sender: self.sender(), urgent: self.is_emergency() }
    }
}

/// Who sends a message, or chooses who does. Messages of one sender wait for one another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// An address of ours.
    Address(Address),
    /// A messaging service, which has addresses to choose from.
    Service(MessagingServiceSid),
}

impl Sender {
    /// The sender as Twilio writes it, which is its name in stores.
    pub fn to_twilio(&self) -> String {
        match self {
            Sender::Address(address) => address.to_twilio(),
            Sender::Service(service) => service.to_string(),
        }
    }
}

impl FromStr for Sender {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match MessagingServiceSid::parse(text) {
            Ok(service) => Ok(Sender::Service(service)),
            Err(_) => Address::parse(text).map(Sender::Address),
        }
    }
}

/// Messages that wait for the same sender and are equally urgent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// The sender; `None` if neither an address nor a messaging service was named.
    pub sender: Option<Sender>,
    /// Whether they go before the sender's others.
    pub urgent: bool,
}

/// What stands before the sender in the name of an urgent flow.
const URGENT: char = '!';

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.urgent {
            write!(f, "{URGENT}")?;
        }
        self.sender.as_ref().map_or(Ok(()), |sender| f.write_str(&sender.to_twilio()))
    }
}

impl FromStr for Flow {
    type Err = InvalidAddress;

    fn from_str(name: &str) -> Result<Self, InvalidAddress> {
        let sender = name.strip_prefix(URGENT).unwrap_or(name);
        let urgent = sender.len() < name.len();
        let sender = Some(sender).filter(|sender| !sender.is_empty()).map(str::parse).transpose()?;
        Ok(Self { sender, urgent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_reads_back() {
        let service = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        for sender in [Some("whatsapp:+15005550006"), Some(service), Some("ACME"), None] {
            for urgent in [false, true] {
                let flow = Flow { sender: sender.map(|sender| sender.parse().unwrap()), urgent };
                assert_eq!(flow.to_string().parse(), Ok(flow));
            }
        }
        assert!(matches!(service.parse(), Ok(Sender::Service(_))));
    }

    #[test]
    fn a_second_message_is_stored_with_its_patience_in_milliseconds() {
        let id = MessageId::new(0, 1);
        let second = Fallback::Second { first: id, after: Duration::from_secs(60) };
        let stored = serde_json::json!({ "role": "second", "first": id, "after_ms": 60_000 });
        assert_eq!(serde_json::to_value(second).unwrap(), stored);
        assert_eq!(serde_json::from_value::<Fallback>(stored).unwrap(), second);
    }
}
