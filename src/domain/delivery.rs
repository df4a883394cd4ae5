//! How far one message has come, whatever the order in which Twilio tells it.
//!
//! Callbacks arrive late, twice and out of order, and carry no time of their own. So statuses have ranks, and a
//! status moves a message only upwards. Of two statuses of one rank the first stays: Twilio does not report two of
//! them for one message, and if it did, the first is what has already been shown.

use serde::{Deserialize, Serialize};

use super::{BatchId, EventId, MessageId, UnixMs, empty_text};
use crate::twilio::{BareAddress, Channel, MessageSid, MessageStatus};

/// How far along a status is: accepted and scheduled 1, queued 2, sending 3, sent 4, undelivered, failed and
/// canceled 5, delivered 6, read 7. A status without a rank (0) is recorded and moves nothing.
pub fn rank(status: &MessageStatus) -> u8 {
    match status {
        MessageStatus::Accepted | MessageStatus::Scheduled => 1,
        MessageStatus::Queued => 2,
        MessageStatus::Sending => 3,
        MessageStatus::Sent => 4,
        MessageStatus::Undelivered | MessageStatus::Failed | MessageStatus::Canceled => 5,
        MessageStatus::Delivered => 6,
        MessageStatus::Read => 7,
        MessageStatus::Receiving
        | MessageStatus::Received
        | MessageStatus::PartiallyDelivered
        | MessageStatus::Other(_) => 0,
    }
}

/// Whether nothing but a better status can follow: from rank 5 on.
pub fn is_final(status: &MessageStatus) -> bool {
    rank(status) >= 5
}

/// Who told us of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The answer to our own call.
    Api,
    /// A status callback.
    Callback,
    /// We asked.
    Poll,
    /// Twilio Event Streams.
    EventStream,
}

impl Source {
    /// All of them.
    pub const ALL: [Source; 4] = [Source::Api, Source::Callback, Source::Poll, Source::EventStream];

    /// The word in the stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::Callback => "callback",
            Source::Poll => "poll",
            Source::EventStream => "event_stream",
        }
    }

    /// Reads what [`Source::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Source::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

/// Something Twilio said of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The message.
    pub sid: MessageSid,
    /// Our own id of it, if it was sent through us.
    pub id: Option<MessageId>,
    /// What it has become.
    pub status: MessageStatus,
    /// Twilio's error, with a failed or undelivered one.
    pub error_code: Option<u32>,
    /// Where it travels.
    pub channel: Channel,
    /// The recipient, without the channel's prefix; `None` if Twilio did not say.
    #[serde(with = "empty_text")]
    pub to: Option<BareAddress>,
    /// The sender, without the channel's prefix; `None` while Twilio has not chosen one.
    #[serde(with = "empty_text")]
    pub from: Option<BareAddress>,
    /// The batch it was sent in.
    pub batch: Option<BatchId>,
    /// Who told us.
    pub source: Source,
    /// When we were told.
    pub at: UnixMs,
    /// When to ask Twilio what became of it, if this is the first that is heard of it and nothing final follows;
    /// `None` for never.
    pub ask_at: Option<UnixMs>,
    /// Parameters that are not known by name, in their order.
    pub raw: Vec<(String, String)>,
    /// The parameters with which the caller's own URL is to be told of it, sealed; `None` if nobody is to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// The parameters with which Twilio told of it, sealed; `None` if the application is not told of it in that form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<String>,
}

/// An entry of the deliveries stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryEntry {
    /// The message.
    pub sid: MessageSid,
    /// Our own id of it, if it was sent through us.
    pub id: Option<MessageId>,
    /// What Twilio said it had become.
    pub status: MessageStatus,
    /// The status before; the one that stays, if `late`.
    pub previous: Option<MessageStatus>,
    /// Whether the message did not move.
    pub late: bool,
    /// Where it travels.
    pub channel: Channel,
    /// The recipient, without the channel's prefix; `None` if Twilio did not say.
    #[serde(with = "empty_text")]
    pub to: Option<BareAddress>,
    /// The sender, without the channel's prefix; `None` while Twilio has not chosen one.
    #[serde(with = "empty_text")]
    pub from: Option<BareAddress>,
    /// Twilio's error.
    pub error_code: Option<u32>,
    /// The batch it was sent in.
    pub batch: Option<BatchId>,
    /// Who told us.
    pub source: Source,
    /// When we were told.
    pub at: UnixMs,
    /// Parameters that are not known by name, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raw: Vec<(String, String)>,
}

/// What became of a [`StatusChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It moved the message.
    Moved,
    /// It was recorded; the message stays where it was.
    Late,
    /// This status with this error was recorded before; nothing was written.
    Duplicate,
}

/// What the stores keep of one message: where it stands, and which entries of the deliveries stream tell how it
/// came there. The entries hold everything else; no fact is stored twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// Our own id of it, if it was sent through us.
    pub id: Option<MessageId>,
    /// Where it stands; `None` while only statuses without a rank were seen.
    pub status: Option<MessageStatus>,
    /// Every status recorded, in order of arrival.
    pub seen: Vec<Seen>,
}

/// One recorded status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The status.
    pub status: MessageStatus,
    /// Its error.
    pub error_code: Option<u32>,
    /// The entry: milliseconds and sequence.
    pub entry: (UnixMs, u64),
}

impl Delivery {
    /// What `change` would do to this message.
    pub fn judge(&self, change: &StatusChange) -> Recorded {
        let recorded = |seen: &Seen| seen.status == change.status && seen.error_code == change.error_code;
        if self.seen.iter().any(recorded) {
            Recorded::Duplicate
        } else if rank(&change.status) > self.status.as_ref().map_or(0, rank) {
            Recorded::Moved
        } else {
            Recorded::Late
        }
    }

    /// Takes `change` over as `judge` found it, recorded in the entry `entry`, and returns that entry.
    /// A duplicate leaves everything as it is.
    pub fn record(&mut self, change: StatusChange, entry: EventId) -> Option<DeliveryEntry> {
        let recorded = self.judge(&change);
        if recorded == Recorded::Duplicate {
            return None;
        }
        let previous = self.status.clone();
        if recorded == Recorded::Moved {
            self.status = Some(change.status.clone());
        }
        self.id = self.id.take().or(change.id);
        self.seen.push(Seen {
            status: change.status.clone(),
            error_code: change.error_code,
            entry: (entry.ms, entry.seq),
        });
        Some(DeliveryEntry {
            sid: change.sid,
            id: self.id,
            status: change.status,
            previous,
            late: recorded == Recorded::Late,
            channel: change.channel,
            to: change.to,
            from: change.from,
            error_code: change.error_code,
            batch: change.batch,
            source: change.source,
            at: change.at,
            raw: change.raw,
        })
    }
}
