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
    /// Until the account is in order: Twilio takes nothing from it.
    Account,
}

/// What became of a message that was one of a burst of first messages to neighbouring numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suspicion {
    /// It has been held as that since then, and is judged again before it leaves.
    Since(UnixMs),
    /// An administrator has let it go: it is not held again, and refused only if that is decided later.
    Released,
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
        /// What the guard against pumping has said of it, if that has ever held it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suspicion: Option<Suspicion>,
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
        /// How often Twilio's list was searched for it since, late enough to count, and did not have it.
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

    /// Whether the message counts as a first one when nothing else holds it back, and may be held as one of a burst. One that
    /// Twilio was called with has been counted before. What an administrator refuses is refused all the same.
    pub fn is_to_be_counted(&self) -> bool {
        match self {
            OutboundState::Waiting { tries, suspicion, .. } => {
                *tries == 0 && *suspicion != Some(Suspicion::Released)
            }
            _ => false,
        }
    }

    /// Whether the message is held as one of a burst.
    pub fn is_held_as_suspicious(&self) -> bool {
        matches!(self, OutboundState::Waiting { reason: Hold::SuspiciousTraffic, .. })
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wait_that_an_older_version_stored_reads_well_and_is_written_as_it_was() {
        let stored = json!({ "state": "waiting", "until": 7, "reason": "suspicious_traffic", "tries": 0 });
        let until = UnixMs::new(7);
        let wait = |suspicion| OutboundState::Waiting {
            until,
            reason: Hold::SuspiciousTraffic,
            tries: 0,
            suspicion,
        };
        assert_eq!(serde_json::from_value::<OutboundState>(stored.clone()).unwrap(), wait(None));
        assert_eq!(serde_json::to_value(wait(None)).unwrap(), stored);
        for suspicion in [Suspicion::Since(until), Suspicion::Released] {
            let written = serde_json::to_string(&wait(Some(suspicion))).unwrap();
            assert_eq!(serde_json::from_str::<OutboundState>(&written).unwrap(), wait(Some(suspicion)));
        }
    }
}
