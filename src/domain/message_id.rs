//! Our own ids of messages and of batches. Letters and digits only, since both ride in the StatusCallback URL, and Twilio
//! has signed other characters in two ways (twilio-node issue 1059).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

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

    /// The id whose 80 bits are `bits`; `None` if those are no id.
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
    fn a_batch_id_reads_back_and_nothing_else_is_one() {
        for random in [0, 1, u128::MAX] {
            let id = BatchId::new(random);
            assert_eq!(id.as_str().parse(), Ok(id));
        }
        for wrong in ["", "b", "a00000000000000000000", "b0000000000000000000U", "b000000000000000000000"] {
            assert!(wrong.parse::<BatchId>().is_err(), "{wrong}");
        }
    }
}
