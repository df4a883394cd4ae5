//! The states of a message on its way out.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::{domain::UnixMs, twilio::MessageSid};

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
    /// Until somebody has decided on a reply of the recipient's that may be an opt-out.
    Review,
    /// Because it is one of a burst of first messages to neighbouring numbers.
    SuspiciousTraffic,
    /// To be tried again: Twilio did not process it.
    Retry,
    /// For another message to arrive, which makes it needless.
    Fallback,
}

/// Where a message stands on its way to Twilio.
///
/// What a callback proves replaces every state of a lower rank, never the other way round: an answer that was lost does
/// not undo the callback that proved acceptance. All other changes lead from one exact state to another, by
/// [`rule::decide`](super::rule::decide).
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
        /// How often Twilio's list was searched for it since, and did not have it.
        #[serde(rename = "looks")]
        searches: u32,
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
        /// Why.
        code: Refusal,
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
