//! Every message in the order in which it was asked for, or first heard of.

use std::{fmt, str::FromStr};

use super::{MessageId, UnixMs};
use crate::twilio::MessageSid;

/// What names a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MessageRef {
    /// One that was sent through us.
    Id(MessageId),
    /// One that was sent elsewhere through the same account.
    Sid(MessageSid),
}

impl fmt::Display for MessageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageRef::Id(id) => id.fmt(f),
            MessageRef::Sid(sid) => sid.fmt(f),
        }
    }
}

/// A text that names no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a message SID nor an id of ours")]
pub struct InvalidMessageRef;

impl FromStr for MessageRef {
    type Err = InvalidMessageRef;

    fn from_str(text: &str) -> Result<Self, InvalidMessageRef> {
        match text.parse() {
            Ok(id) => Ok(MessageRef::Id(id)),
            Err(_) => MessageSid::parse(text).map(MessageRef::Sid).map_err(|_| InvalidMessageRef),
        }
    }
}

/// A place in the history, written `<ms>-<seq>-<partition>`. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryId {
    /// The store's clock when the message was entered.
    pub ms: UnixMs,
    /// Tells messages of one millisecond apart.
    pub seq: u64,
    /// The partition that holds the entry.
    pub partition: u16,
}

impl HistoryId {
    /// Behind every message.
    pub const END: HistoryId = HistoryId { ms: UnixMs::MAX, seq: u64::MAX, partition: u16::MAX };

    /// Before everything entered at `ms` or later.
    pub fn at(ms: UnixMs) -> Self {
        Self { ms, seq: 0, partition: 0 }
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.ms, self.seq, self.partition)
    }
}

/// A text that is no place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: give back next_cursor as it came")]
pub struct InvalidHistoryId;

impl FromStr for HistoryId {
    type Err = InvalidHistoryId;

    fn from_str(text: &str) -> Result<Self, InvalidHistoryId> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(InvalidHistoryId);
        let id = Self {
            ms: part()?.parse().map_err(|_| InvalidHistoryId)?,
            seq: part()?.parse().map_err(|_| InvalidHistoryId)?,
            partition: part()?.parse().map_err(|_| InvalidHistoryId)?,
        };
        if parts.next().is_none() { Ok(id) } else { Err(InvalidHistoryId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_and_a_name_read_back() {
        let id = HistoryId { ms: UnixMs::new(1_764_000_000_000), seq: 3, partition: 12 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id < HistoryId::END && HistoryId::at(id.ms) < id);
        for wrong in ["", "1", "1-2", "1-2-", "1-2-x", "1-2-3-4", "1-2-70000", "-1-2-3"] {
            assert!(wrong.parse::<HistoryId>().is_err(), "{wrong}");
        }
        for name in ["0123456789abcdef", "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(name.parse::<MessageRef>().unwrap().to_string(), name);
        }
        assert!("message".parse::<MessageRef>().is_err());
    }
}
