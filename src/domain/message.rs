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
        let mut bits = (u128::from(partition) << 65) | (random & ((1 << 65) - 1));
        let mut text = [0; 16];
        for place in text.iter_mut().rev() {
            *place = DIGITS[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id holds only ASCII digits")
    }

    /// The partition of the recipient's data.
    pub fn partition(&self) -> u16 {
        self.0[..3].iter().fold(0, |partition, digit| {
            let value = DIGITS.iter().position(|d| d == digit).expect("an id holds only its own digits");
            (partition << 5) | value as u16
        })
    }
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

/// A message that was asked for. Its text is not kept, only its length.
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
    /// When it was asked for.
    pub created_at: UnixMs,
}

/// What became of the call to Twilio. A later state replaces an earlier one, never the other way round: an answer
/// that was lost does not undo the callback that proved acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum OutboundState {
    /// Stored; the call to Twilio may have begun.
    Sending,
    /// Twilio's answer was lost: it may have the message or not.
    Unknown,
    /// Twilio does not have the message.
    Refused {
        /// What Twilio or the network said, without numbers or text.
        reason: String,
        /// Twilio's code for it.
        twilio_code: Option<u32>,
    },
    /// Twilio has the message.
    Accepted {
        /// As which.
        message_sid: MessageSid,
    },
}

impl OutboundState {
    /// A state takes the place of one with a lower rank.
    pub fn rank(&self) -> u8 {
        match self {
            OutboundState::Sending => 0,
            OutboundState::Unknown => 1,
            OutboundState::Refused { .. } => 2,
            OutboundState::Accepted { .. } => 3,
        }
    }

    /// Whether it is known what became of the call.
    pub fn is_resolved(&self) -> bool {
        self.rank() >= 2
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
        }
        for wrong in ["", "0123456789abcde", "0123456789ABCDEF", "z123456789abcdef", "0123456789abcdéé"] {
            assert!(wrong.parse::<MessageId>().is_err(), "{wrong}");
        }
    }
}
