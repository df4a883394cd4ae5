//! What a message is called that Twilio has not named yet, where a name of Twilio's kind is expected: our own id in the
//! shape of a message SID.
//!
//! Twilio's SIDs are random, so one that begins with twelve zeros is as good as never among them (one in 2^48).

use super::MessageId;
use crate::twilio::MessageSid;

/// What such a SID begins with; the 80 bits of the id follow.
const PREFIX: &str = "SM000000000000";

/// The SID that stands in for the one that Twilio has not given yet to the message `id`.
pub fn stand_in(id: &MessageId) -> MessageSid {
    let sid = format!("{PREFIX}{:020x}", id.to_bits());
    MessageSid::parse(&sid).expect("SM and 32 hexadecimal digits")
}

/// The id of the message that `sid` stands in for; `None` for a SID of Twilio's own.
pub fn stood_in_for(sid: &MessageSid) -> Option<MessageId> {
    let digits = sid.as_str().strip_prefix(PREFIX)?;
    MessageId::from_bits(u128::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_reads_back_and_no_other_sid_does() {
        for (partition, random) in [(0, 0), (1, 1), (16_383, u128::MAX), (77, 12_345)] {
            let id = MessageId::new(partition, random);
            let sid = stand_in(&id);
            assert_eq!(stood_in_for(&sid), Some(id), "{sid}");
        }
        for other in ["SM00000000000100000000000000000000", "MM00000000000000000000000000000000"] {
            assert_eq!(stood_in_for(&MessageSid::parse(other).unwrap()), None, "{other}");
        }
        // The first of 80 bits is that of no partition.
        let none = MessageSid::parse("SM000000000000ffffffffffffffffffff").unwrap();
        assert_eq!(stood_in_for(&none), None);
    }
}
