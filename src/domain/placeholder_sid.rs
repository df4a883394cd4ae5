//! The placeholder for the SID of a message that Twilio has not given one yet: our own id in the shape of a message
//! SID.
//!
//! Twilio's SIDs are random, so one that begins with twelve zeros is as good as never among them (one in 2^48).

use super::MessageId;
use crate::twilio::MessageSid;

/// What such a SID begins with; the 80 bits of the id follow.
const PREFIX: &str = "SM000000000000";

/// The placeholder for the SID of the message `id`.
pub fn placeholder_sid(id: &MessageId) -> MessageSid {
    let sid = format!("{PREFIX}{:020x}", id.to_bits());
    MessageSid::parse(&sid).expect("SM and 32 hexadecimal digits")
}

/// The id of the message whose placeholder `sid` is; `None` for a SID of Twilio's own.
pub fn id_of_placeholder(sid: &MessageSid) -> Option<MessageId> {
    let digits = sid.as_str().strip_prefix(PREFIX)?;
    MessageId::from_bits(u128::from_str_radix(digits, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_reads_back_and_no_other_sid_does() {
        for (partition, random) in [(0, 0), (1, 1), (16_383, u128::MAX), (77, 12_345)] {
            let id = MessageId::new(partition, random);
            let sid = placeholder_sid(&id);
            assert_eq!(id_of_placeholder(&sid), Some(id), "{sid}");
        }
        for other in ["SM00000000000100000000000000000000", "MM00000000000000000000000000000000"] {
            assert_eq!(id_of_placeholder(&MessageSid::parse(other).unwrap()), None, "{other}");
        }
        // The first of 80 bits is that of no partition.
        let none = MessageSid::parse("SM000000000000ffffffffffffffffffff").unwrap();
        assert_eq!(id_of_placeholder(&none), None);
    }
}
