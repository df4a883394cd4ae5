//! A message on its way out: what was asked for, and what became of the call to Twilio.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::UnixMs;
use crate::twilio::{Address, MessageSid, MessagingServiceSid};

/// Crockford's base 32 in lower case: no letter that is mistaken for a digit.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How many partitions an organization can have: as many as a Redis Cluster has slots.
pub const PARTITIONS_MAX: u16 = 16_384;

/// Our own id of a message: 16 letters and digits. The first three name the partition that its recipient's data is
/// in, so that an id alone finds its message; the other thirteen are 65 random bits.
///
/// It rides in the StatusCallback URL, so that a callback finds its message before the answer to the create call
/// does. Letters and digits only: Twilio has signed other characters in two ways (twilio-node issue 1059).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId([u8; 16]);

/// A text that is no message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: expected 16 letters and digits")]
pub struct InvalidMessageId;

impl MessageId {
    /// The id made of `partition`, below [`PARTITIONS_MAX`], and the lower 65 bits of `random`.
    pub fn new(partition: u16, random: u128) -> Self {
        debug_assert!(partition < PARTITIONS_MAX);
        Self::of_bits((u128::from(partition) << 65) | (random & ((1 << 65) - 1)))
    }

    /// The id of which `bits` are the 80 bits; `None` if it is none.
    pub fn from_bits(bits: u128) -> Option<Self> {
        let id = Self::of_bits(bits);
        (bits >> 80 == 0 && id.partition() < PARTITIONS_MAX).then_some(id)
    }

    fn of_bits(mut bits: u128) -> Self {
        let mut text = [0; 16];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(text)
    }

    /// The id as its 80 bits.
    pub fn to_bits(&self) -> u128 {
        bits_of(&self.0)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id holds only ASCII digits")
    }

    /// The partition of the recipient's data.
    pub fn partition(&self) -> u16 {
        bits_of(&self.0[..3]) as u16
    }
}

/// The bits that digits of an id stand for, five each.
fn bits_of(digits: &[u8]) -> u128 {
    digits.iter().fold(0, |bits, digit| {
        let value = DIGITS.iter().position(|own| own == digit).expect("an id holds only its own digits");
        (bits << 5) | value as u128
    })
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        let digits: [u8; 16] = text.as_bytes().try_into().map_err(|_| InvalidMessageId)?;
        let id = Self(digits);
        if digits.iter().all(|digit| DIGITS.contains(digit)) && id.partition() < PARTITIONS_MAX {
            Ok(id)
        } else {
            Err(InvalidMessageId)
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for MessageId {
    type Error = InvalidMessageId;

    fn try_from(text: String) -> Result<Self, InvalidMessageId> {
        text.parse()
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> String {
        id.as_str().to_owned()
    }
}

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
    pub status_callback: Option<String>,
    /// Its part in a pair of which the second leaves only if the first does not arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
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
        /// How long the first may take to arrive, in milliseconds.
        after_ms: UnixMs,
    },
}

/// The category that neither cooldown nor quiet hours hold back, and that goes before all others.
pub const EMERGENCY: &str = "emergency";

impl Outbound {
    /// Whether it goes before all others, and is held back by nothing but consent.
    pub fn is_emergency(&self) -> bool {
        self.category.as_deref() == Some(EMERGENCY)
    }

    /// The messages that it waits in line with.
    pub fn flow(&self) -> Flow {
        let sender = match (&self.from, &self.messaging_service_sid) {
            (Some(from), _) => from.to_twilio(),
            (None, Some(service)) => service.to_string(),
            (None, None) => String::new(),
        };
        Flow { sender, urgent: self.is_emergency() }
    }
}

/// Messages that wait for the same sender and are equally urgent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// The sender's address as Twilio writes it, or the messaging service.
    pub sender: String,
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
        f.write_str(&self.sender)
    }
}

impl From<&str> for Flow {
    fn from(name: &str) -> Self {
        match name.strip_prefix(URGENT) {
            Some(sender) => Self { sender: sender.to_owned(), urgent: true },
            None => Self { sender: name.to_owned(), urgent: false },
        }
    }
}

/// Names a batch: `b` and 20 letters and digits, of which 100 bits are random. Letters and digits only, as in
/// [`MessageId`], since it rides in the StatusCallback URL too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(String);

/// A text that is no batch id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a batch id: expected b and 20 letters and digits")]
pub struct InvalidBatchId;

impl BatchId {
    /// Letters and digits behind the `b`.
    const DIGITS: usize = 20;

    /// The id made of the lower 100 bits of `random`.
    pub fn new(random: u128) -> Self {
        let digit = |place: usize| DIGITS[(random >> (5 * place) & 31) as usize] as char;
        Self(std::iter::once('b').chain((0..Self::DIGITS).map(digit)).collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BatchId {
    type Err = InvalidBatchId;

    fn from_str(text: &str) -> Result<Self, InvalidBatchId> {
        let digits = text.strip_prefix('b').ok_or(InvalidBatchId)?.as_bytes();
        if digits.len() == Self::DIGITS && digits.iter().all(|digit| DIGITS.contains(digit)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidBatchId)
        }
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for BatchId {
    type Error = InvalidBatchId;

    fn try_from(text: String) -> Result<Self, InvalidBatchId> {
        text.parse()
    }
}

impl From<BatchId> for String {
    fn from(id: BatchId) -> String {
        id.0
    }
}

/// Why a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// For its turn.
    Turn,
    /// For the time that it was asked for.
    Scheduled,
    /// Until the recipient's quiet hours are over.
    QuietHours,
    /// Until the recipient may be sent to again.
    Cooldown,
    /// To be tried again: Twilio did not process it.
    Retry,
    /// For another message to arrive, which makes it needless.
    Fallback,
}

/// What became of a message on its way to Twilio.
///
/// What is told from outside replaces what has a lower rank, never the other way round: an answer that was lost does
/// not undo the callback that proved acceptance. The dispatcher's own steps go from one exact state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum OutboundState {
    /// In our queue: Twilio has not been called, or has not processed the call.
    Waiting {
        /// Not before this.
        until: UnixMs,
        /// Why.
        reason: Hold,
        /// Calls that were made.
        tries: u32,
    },
    /// Stored; the call to Twilio may have begun.
    Sending {
        /// Since when.
        since: UnixMs,
        /// Calls that were made, this one too.
        tries: u32,
    },
    /// Twilio's answer was lost: it may have the message or not.
    Unknown {
        /// When the call began.
        since: UnixMs,
        /// Calls that were made.
        tries: u32,
        /// How often Twilio was asked for it since.
        looks: u32,
    },
    /// Called off before it left.
    Canceled {
        /// When.
        at: UnixMs,
    },
    /// Twilio does not have the message, and will not get it.
    Refused {
        /// When.
        at: UnixMs,
        /// The stable code by which the API names it.
        code: String,
        /// What Twilio or the network said, without numbers or text.
        reason: String,
        /// Twilio's code for it.
        twilio_code: Option<u32>,
    },
    /// Twilio has the message.
    Accepted {
        /// Since when, as far as we know.
        at: UnixMs,
        /// As which.
        message_sid: MessageSid,
    },
}

impl OutboundState {
    /// A state takes the place of one with a lower rank.
    pub fn rank(&self) -> u8 {
        match self {
            OutboundState::Waiting { .. } => 0,
            OutboundState::Sending { .. } => 1,
            OutboundState::Unknown { .. } => 2,
            OutboundState::Canceled { .. } | OutboundState::Refused { .. } => 3,
            OutboundState::Accepted { .. } => 4,
        }
    }

    /// Whether it is known what became of the message: nothing is left to be done.
    pub fn is_resolved(&self) -> bool {
        self.rank() >= 3
    }

    /// When it came to its end on our side.
    pub fn resolved_at(&self) -> Option<UnixMs> {
        match self {
            OutboundState::Canceled { at }
            | OutboundState::Refused { at, .. }
            | OutboundState::Accepted { at, .. } => Some(*at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_partition_and_reads_back() {
        for (partition, random) in [(0, 0), (1, u128::MAX), (16_383, u128::MAX), (77, 12_345)] {
            let id = MessageId::new(partition, random);
            assert_eq!(id.partition(), partition);
            assert_eq!(id.as_str().parse(), Ok(id));
            assert_eq!(MessageId::from_bits(id.to_bits()), Some(id));
        }
        for wrong in ["", "0123456789abcde", "0123456789ABCDEF", "z123456789abcdef", "0123456789abcdéé"] {
            assert!(wrong.parse::<MessageId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_batch_and_a_flow_read_back() {
        for random in [0, 1, u128::MAX] {
            let id = BatchId::new(random);
            assert_eq!(id.as_str().parse(), Ok(id));
        }
        for wrong in ["", "b", "a00000000000000000000", "b0000000000000000000U", "b000000000000000000000"] {
            assert!(wrong.parse::<BatchId>().is_err(), "{wrong}");
        }
        for urgent in [false, true] {
            let flow = Flow { sender: "whatsapp:+15005550006".to_owned(), urgent };
            assert_eq!(Flow::from(flow.to_string().as_str()), flow);
        }
    }
}
