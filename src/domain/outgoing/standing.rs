//! The one word for where a message stands, wherever it is shown.

use super::{Hold, OutboundState, times};
use crate::{domain::UnixMs, twilio::MessageStatus};

/// Where a message stands, as history, batches and answers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In our queue, for its turn or to be tried again.
    Waiting,
    /// In our queue until the time it was asked for.
    Scheduled,
    /// In our queue until the recipient may be sent to.
    Held,
    /// The call to Twilio is under way.
    Sending,
    /// Twilio may have it or not: its answer was lost.
    Unknown,
    /// Called off before it left.
    Canceled,
    /// Not sent, and it will not be.
    Refused,
    /// Twilio has it: its status is Twilio's to tell.
    Accepted,
}

impl OutboundState {
    /// Where the message stands at `now`. A call that is under way for longer than one can be has lost its answer.
    pub fn standing(&self, now: UnixMs) -> Standing {
        match self {
            OutboundState::Waiting { reason, .. } => reason.standing(),
            OutboundState::Sending { since, .. } if !times::is_call_over(*since, now) => Standing::Sending,
            OutboundState::Sending { .. } | OutboundState::Unknown { .. } => Standing::Unknown,
            OutboundState::Canceled { .. } => Standing::Canceled,
            OutboundState::Refused { .. } => Standing::Refused,
            OutboundState::Accepted { .. } => Standing::Accepted,
        }
    }
}

impl Hold {
    /// Where a message stands that waits for this.
    pub fn standing(self) -> Standing {
        match self {
            Hold::Scheduled => Standing::Scheduled,
            Hold::QuietHours | Hold::Cooldown | Hold::Review | Hold::SuspiciousTraffic => Standing::Held,
            Hold::Turn | Hold::Retry | Hold::Fallback | Hold::Account => Standing::Waiting,
        }
    }
}

impl Standing {
    /// Our word for it. Of a message that Twilio has and of which nothing more is known, Twilio's first one.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Scheduled => "scheduled",
            Standing::Held => "held",
            Standing::Sending => "sending",
            Standing::Unknown => "unknown",
            Standing::Canceled => "canceled",
            Standing::Refused => "refused",
            Standing::Accepted => "queued",
        }
    }

    /// The word that is shown: Twilio's status, once Twilio has told of one.
    pub fn shown(self, at_twilio: Option<&MessageStatus>) -> String {
        at_twilio.map_or_else(|| self.as_str().to_owned(), ToString::to_string)
    }

    /// The status that Twilio's own API would show. Twilio says `accepted` until it has chosen a sender.
    ///
    /// Source: <https://www.twilio.com/docs/messaging/api/message-resource#message-status-values>.
    pub fn as_twilio(self, has_sender: bool) -> MessageStatus {
        match self {
            Standing::Scheduled => MessageStatus::Scheduled,
            Standing::Waiting | Standing::Held => MessageStatus::Accepted,
            Standing::Sending | Standing::Unknown if !has_sender => MessageStatus::Accepted,
            Standing::Sending | Standing::Unknown | Standing::Accepted => MessageStatus::Queued,
            Standing::Canceled => MessageStatus::Canceled,
            Standing::Refused => MessageStatus::Failed,
        }
    }
}
