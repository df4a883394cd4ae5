//! The rule of a message on its way out: the state it is in and a fact make a move, or nothing.
//!
//! The rule is pure: what is known is handed in as a [`Fact`], time and chance as a [`Moment`]. Whoever applies it makes
//! the move in one step of the store, which compares the state that the move was decided on, and calls Twilio only after
//! a move to `sending` has been stored. So everything that must never happen is shown here, over all states and facts:
//!
//! - a message leaves only by a move to `sending`, and there is none while its recipient's consent refuses, a reply of
//!   theirs is under review, or nothing may be sent to the number;
//! - a message whose answer was lost is sent again only after [`times::SEARCHES_MIN`] searches have not found it that were late
//!   enough to count;
//! - what is the account's fault spends no message: it waits on, however often it was tried;
//! - nothing moves a message out of an end, and every way comes to one;
//! - an end that nobody is waiting for in a request is told to the caller's own URL, if there is one.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Fallback, Hold, NotAllowed, Outbound, OutboundState, Refusal, Suspicion, times};
use crate::{
    domain::{
        UnixMs,
        consent::NoConsent,
        pumping::{Traffic, Verdict},
    },
    twilio::MessageSid,
};

/// When and by whom a move is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The present time.
    pub now: UnixMs,
    /// Chance, from 0.5 to 1: the part of a pause that is waited.
    pub jitter: f64,
    /// A request waits for the outcome: its answer tells the caller, and it makes its own further tries.
    pub is_awaited: bool,
    /// How long after its call began a message whose answer was lost counts as not taken, if it is not found.
    pub lost_answer_after: Duration,
}

/// What is known about whether a message may leave now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Why the recipient's consent refuses it, if it does.
    pub no_consent: Option<NoConsent>,
    /// Why nothing may be sent to the number, if nothing may.
    pub not_allowed: Option<NotAllowed>,
    /// Since when nothing is sent to the number on this channel, as it took no message, if nothing is.
    pub suppressed_since: Option<UnixMs>,
    /// What the guard against pumping says of it. That is asked last, of what would leave otherwise, since asking counts.
    pub traffic: Traffic,
    /// Until when it is held back by a reply of the recipient's that may be an opt-out and is under review, if it is. A
    /// review past its time is still open.
    pub under_review_until: Option<UnixMs>,
    /// Until when the recipient's quiet hours last, if they hold it back.
    pub quiet_until: Option<UnixMs>,
    /// The least time between two messages to the recipient.
    pub cooldown: Duration,
    /// Until when that time lasts, if the step has found that it does.
    pub cooling_until: Option<UnixMs>,
    /// Its batch was called off.
    pub batch_is_canceled: bool,
    /// What became of the first message of its pair, if this is the second.
    pub first: Option<First>,
}

impl Circumstances {
    /// Why it must not leave at all, if it must not.
    pub fn refusal(&self) -> Option<Refusal> {
        let unreachable = self.suppressed_since.map(|_| Refusal::RecipientUnreachable);
        self.no_consent.map(Refusal::from).or(self.not_allowed.map(Refusal::from)).or(unreachable)
    }
}

/// What became of the first message of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It has not left, or nobody knows whether it has: its time to arrive has not begun.
    Pending,
    /// Twilio has it, since then, and it may still arrive.
    Accepted(UnixMs),
    /// It arrived.
    Arrived,
    /// It will not arrive.
    Failed,
    /// It was called off.
    Canceled,
}

/// Something that is known of a message and may move it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// It was asked for, for the time `send_at` or at once.
    Asked {
        /// Not before this.
        send_at: Option<UnixMs>,
        /// Whether it may leave.
        circumstances: Circumstances,
    },
    /// It was asked for, and put into the queue.
    Queued {
        /// When its turn comes.
        due: UnixMs,
        /// Why it waits until then.
        reason: Hold,
    },
    /// Its time has come.
    Due(Circumstances),
    /// Its request calls Twilio again, since Twilio has not processed the last call.
    CalledAgain(Circumstances),
    /// It was stored, and is beyond the limit of the day on which it is due.
    BeyondDailyLimit,
    /// How the call to Twilio ended.
    Answered(Answer),
    /// What a search of Twilio's list came to.
    Searched(Search),
    /// Somebody calls it off.
    CalledOff,
    /// Its recipient has just opted out.
    OptedOut,
    /// No reply of its recipient's is under review any more.
    ReviewClosed,
    /// An administrator has decided on the numbers that it is held as one of a burst to.
    TrafficDecided(Verdict),
    /// Nothing can be done with it now: its account is missing, or no key opens its content.
    Unusable,
    /// The batch that holds its content is not there.
    BatchMissing,
    /// The first of its pair cannot arrive.
    FirstFailed,
}

/// How a call to Twilio ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Twilio has the message.
    Accepted(MessageSid),
    /// Twilio may have the message.
    Lost,
    /// Twilio has not processed the call, and may do so another time.
    NotProcessed {
        /// What stands in the end, if there is no other time.
        refused: Refused,
        /// How long Twilio wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// Twilio refused the message, and would again.
    Refused(Refused),
    /// Twilio refused it for what is the account's fault, and would refuse all others as well.
    AccountAtFault(Refused),
}

/// A refusal, with what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub code: Refusal,
    /// What Twilio or the network said, without numbers or text.
    pub reason: String,
    /// Twilio's code for it.
    pub twilio_code: Option<u32>,
}

/// What a search of Twilio's list came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The message is there.
    Found(MessageSid),
    /// It is not there.
    Nothing,
    /// Twilio could not be asked; how long to leave it alone.
    Failed(Duration),
}

/// What is to be done: everything in one step of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The state afterwards.
    pub to: OutboundState,
    /// When somebody has to look at the message next; `None` exactly if it has come to its end.
    pub due: Option<UnixMs>,
    /// What the step has to compare besides the state.
    pub gate: Option<Gate>,
    /// The caller's own URL has to be told of this end, and that has to be planned before the step.
    pub tell: bool,
}

/// What a step compares, so that nothing leaves on a consent that has changed since it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// The least time since the last message to the recipient.
    pub cooldown: Duration,
}

impl Refused {
    /// A refusal of our own.
    pub fn ours(code: Refusal) -> Self {
        Self { code, reason: code.reason().to_owned(), twilio_code: None }
    }
}

/// What `fact` does to `outbound`, which is in the state `from`, or new; `None` if it does nothing.
pub fn decide(
    outbound: &Outbound,
    from: Option<&OutboundState>,
    fact: Fact,
    moment: &Moment,
) -> Option<Move> {
    let suspicion = match from {
        Some(OutboundState::Waiting { suspicion, .. }) => *suspicion,
        _ => None,
    };
    let decision = Decision { outbound, moment, suspicion };
    match from {
        None => decision.of_new(fact),
        Some(from) if from.is_resolved() => None,
        Some(from) => decision.of_known(from, fact),
    }
}

/// The state of a message of which a callback, or Twilio's list, has proved that Twilio has it. It replaces every state
/// of a lower rank, whatever happens to the message meanwhile.
pub fn proven(message_sid: MessageSid, at: UnixMs) -> OutboundState {
    OutboundState::Accepted { at, message_sid }
}

#[derive(Clone, Copy)]
struct Decision<'a> {
    outbound: &'a Outbound,
    moment: &'a Moment,
    /// What stays known of a message that waits on.
    suspicion: Option<Suspicion>,
}

impl Decision<'_> {
    fn of_new(&self, fact: Fact) -> Option<Move> {
        let now = self.moment.now;
        match fact {
            Fact::Queued { due, reason } => Some(self.wait(due, reason, 0)),
            Fact::Asked { send_at, circumstances } => {
                if let Some(refusal) = circumstances.refusal() {
                    return Some(self.refuse(Refused::ours(refusal)));
                }
                let Circumstances {
                    under_review_until, quiet_until, cooling_until, cooldown, traffic, ..
                } = circumstances;
                let send_at = send_at.filter(|&at| at > now);
                Some(match (send_at, under_review_until, quiet_until, cooling_until) {
                    (Some(at), ..) => self.wait_at_gate(at, Hold::Scheduled),
                    (None, Some(until), ..) => self.wait_for_review(until, 0),
                    (None, None, Some(until), _) => self.wait_at_gate(until, Hold::QuietHours),
                    (None, None, None, Some(until)) if until > now + times::COOLDOWN_HELD_MAX => {
                        self.refuse(Refused::ours(Refusal::RecipientCoolingDown))
                    }
                    (None, None, None, Some(until)) => self.wait_at_gate(until, Hold::Cooldown),
                    (None, None, None, None) => match self.instead_of_suspicious(0, traffic) {
                        Some(end) if end.to.is_resolved() => end,
                        Some(held) => self.at_gate(held),
                        None => self.leave(0, cooldown),
                    },
                })
            }
            _ => None,
        }
    }

    fn of_known(&self, from: &OutboundState, fact: Fact) -> Option<Move> {
        use OutboundState::{Sending, Unknown, Waiting};
        let now = self.moment.now;
        match (from, fact) {
            (_, Fact::Unusable) => Some(self.look_again(from, times::UNUSABLE_DELAY)),
            (_, Fact::BatchMissing) => Some(self.wait_for_batch(from)),
            (Waiting { tries, .. }, Fact::Due(circumstances)) => Some(self.due(*tries, &circumstances)),
            (Waiting { .. }, Fact::CalledOff) => Some(self.cancel()),
            (Waiting { .. }, Fact::OptedOut) => Some(self.refuse(Refused::ours(Refusal::RecipientOptedOut))),
            (Waiting { reason: Hold::Review, tries, .. }, Fact::ReviewClosed) => {
                Some(self.wait(now, Hold::Turn, *tries))
            }
            (Waiting { reason: Hold::SuspiciousTraffic, tries, .. }, Fact::TrafficDecided(verdict)) => {
                Some(match verdict {
                    Verdict::Release => self.released().wait(now, Hold::Turn, *tries),
                    Verdict::Refuse => self.refuse(Refused::ours(Refusal::SuspiciousTraffic)),
                })
            }
            (Waiting { reason: Hold::Fallback, tries, .. }, Fact::FirstFailed) => {
                Some(self.wait(now, Hold::Fallback, *tries))
            }
            (Waiting { .. } | Sending { .. }, Fact::BeyondDailyLimit) => {
                Some(self.refuse(Refused::ours(Refusal::DailyLimitReached)))
            }
            (Sending { tries, .. }, Fact::CalledAgain(circumstances)) => {
                Some(match (circumstances.refusal(), circumstances.under_review_until) {
                    (Some(refusal), _) => self.refuse(Refused::ours(refusal)),
                    (None, Some(until)) => self.wait_for_review(until, *tries),
                    (None, None) if circumstances.traffic == Traffic::Refused => {
                        self.refuse(Refused::ours(Refusal::SuspiciousTraffic))
                    }
                    // It has had its turn with the recipient.
                    (None, None) => self.leave(*tries, Duration::ZERO),
                })
            }
            (Sending { since, tries }, Fact::Answered(answer)) => Some(self.answered(*since, *tries, answer)),
            // While the call may still be under way, a search that finds nothing proves nothing.
            (Sending { since, .. }, Fact::Searched(_)) if !times::is_call_over(*since, now) => None,
            (Sending { since, tries }, Fact::Searched(search)) => {
                Some(self.searched(*since, *tries, 0, search))
            }
            (Unknown { since, tries, searches }, Fact::Searched(search)) => {
                Some(self.searched(*since, *tries, *searches, search))
            }
            _ => None,
        }
    }

    fn due(&self, tries: u32, circumstances: &Circumstances) -> Move {
        if let Some(instead) = self.instead_of_second(tries, circumstances.first) {
            return instead;
        }
        if circumstances.batch_is_canceled {
            return self.cancel();
        }
        if let Some(refusal) = circumstances.refusal() {
            return self.refuse(Refused::ours(refusal));
        }
        if let Some(until) = circumstances.under_review_until {
            return self.wait_for_review(until, tries);
        }
        if let Some(until) = circumstances.quiet_until {
            return self.wait(until, Hold::QuietHours, tries);
        }
        if let Some(until) = circumstances.cooling_until {
            return self.wait(until, Hold::Cooldown, tries);
        }
        if let Some(instead) = self.instead_of_suspicious(tries, circumstances.traffic) {
            return instead;
        }
        // A message that is tried again has had its turn with the recipient.
        self.leave(tries, if tries > 0 { Duration::ZERO } else { circumstances.cooldown })
    }

    /// What is done with a message that nothing but the guard against pumping holds back; `None` if it may leave.
    fn instead_of_suspicious(&self, tries: u32, traffic: Traffic) -> Option<Move> {
        let now = self.moment.now;
        let since = match self.suspicion {
            Some(Suspicion::Since(since)) => since,
            // Or it is held by a version that did not note it.
            Some(Suspicion::Released) | None => now,
        };
        match traffic {
            Traffic::Ordinary => None,
            Traffic::Suspicious if now.since(since) < times::SUSPICIOUS_HELD_MAX => {
                let held = Self { suspicion: Some(Suspicion::Since(since)), ..*self };
                Some(held.wait(now + times::SUSPICIOUS_DELAY, Hold::SuspiciousTraffic, tries))
            }
            Traffic::Suspicious | Traffic::Refused => {
                Some(self.refuse(Refused::ours(Refusal::SuspiciousTraffic)))
            }
        }
    }

    /// The decision on a message that is not held again.
    fn released(&self) -> Self {
        Self { suspicion: Some(Suspicion::Released), ..*self }
    }

    /// When a message is looked at again that is held back by a review which ends at `until`, or should have ended.
    fn review_end(&self, until: UnixMs) -> UnixMs {
        until.max(self.moment.now + times::REVIEW_OVERDUE_DELAY)
    }

    /// What is done with the second message of a pair instead of sending it; `None` if its time has come.
    fn instead_of_second(&self, tries: u32, first: Option<First>) -> Option<Move> {
        let Some(Fallback::Second { after, .. }) = self.outbound.fallback else { return None };
        let now = self.moment.now;
        match first? {
            First::Arrived | First::Canceled => Some(self.cancel()),
            First::Failed => None,
            First::Pending => {
                let delay = after.max(times::FALLBACK_DELAY_MIN);
                Some(self.wait(now + delay, Hold::Fallback, tries))
            }
            First::Accepted(at) => {
                let until = at + after;
                (until > now).then(|| self.wait(until, Hold::Fallback, tries))
            }
        }
    }

    fn answered(&self, since: UnixMs, tries: u32, answer: Answer) -> Move {
        let Moment { now, jitter, is_awaited, .. } = *self.moment;
        match answer {
            Answer::Accepted(message_sid) => self.end(proven(message_sid, now), false),
            Answer::Lost => Move {
                to: OutboundState::Unknown { since, tries, searches: 0 },
                due: Some(times::next_search(since, now, 0, self.moment.lost_answer_after)),
                gate: None,
                tell: false,
            },
            Answer::NotProcessed { retry_after, .. } if !is_awaited && tries < times::TRIES_MAX => {
                let delay = retry_after.unwrap_or_else(|| times::retry_delay(tries, jitter));
                self.wait(now + delay, Hold::Retry, tries)
            }
            // It keeps one try at least, so that it is not given up by the next one that fails for another reason.
            Answer::AccountAtFault(_) if !is_awaited => {
                self.wait(now + times::ACCOUNT_DELAY, Hold::Account, tries.min(times::TRIES_MAX - 1))
            }
            Answer::NotProcessed { refused, .. }
            | Answer::Refused(refused)
            | Answer::AccountAtFault(refused) => self.refuse(refused),
        }
    }

    fn searched(&self, since: UnixMs, tries: u32, searches: u32, search: Search) -> Move {
        let Moment { now, jitter, lost_answer_after, .. } = *self.moment;
        let unknown = |searches, due| Move {
            to: OutboundState::Unknown { since, tries, searches },
            due: Some(due),
            gate: None,
            tell: false,
        };
        let counts = now.since(since) >= times::counted_search(searches, lost_answer_after);
        let counted = searches + u32::from(counts);
        match search {
            Search::Found(message_sid) => self.end(proven(message_sid, now), false),
            Search::Failed(pause) => unknown(searches, now + pause),
            Search::Nothing if !counts || counted < times::SEARCHES_MIN => {
                unknown(counted, times::next_search(since, now, counted, lost_answer_after))
            }
            Search::Nothing if tries >= times::TRIES_MAX => {
                self.refuse(Refused::ours(Refusal::TwilioUnreachable))
            }
            Search::Nothing => self.wait(now + times::retry_delay(tries, jitter), Hold::Retry, tries),
        }
    }

    fn wait_for_batch(&self, from: &OutboundState) -> Move {
        let waited = self.moment.now.since(self.outbound.created_at);
        if waited < times::BATCH_MISSING_MAX {
            self.look_again(from, (waited / 2).clamp(times::BATCH_DELAY_MIN, times::BATCH_DELAY_MAX))
        } else {
            self.refuse(Refused::ours(Refusal::NotAccepted))
        }
    }

    /// The only move by which a message leaves.
    fn leave(&self, tries: u32, cooldown: Duration) -> Move {
        let now = self.moment.now;
        Move {
            to: OutboundState::Sending { since: now, tries: tries + 1 },
            due: Some(now + times::LOST_AFTER),
            gate: Some(Gate { cooldown }),
            tell: false,
        }
    }

    fn wait(&self, until: UnixMs, reason: Hold, tries: u32) -> Move {
        let to = OutboundState::Waiting { until, reason, tries, suspicion: self.suspicion };
        Move { to, due: Some(until), gate: None, tell: false }
    }

    /// A new message that waits: it was promised on a consent, which must not have changed.
    fn wait_at_gate(&self, until: UnixMs, reason: Hold) -> Move {
        self.at_gate(self.wait(until, reason, 0))
    }

    /// Held until a review ends. Whoever decides on it lets go what they find held, so that none may be held on a consent of before.
    fn wait_for_review(&self, until: UnixMs, tries: u32) -> Move {
        self.at_gate(self.wait(self.review_end(until), Hold::Review, tries))
    }

    /// The same move, on a consent that must not have changed.
    fn at_gate(&self, made: Move) -> Move {
        Move { gate: Some(Gate { cooldown: Duration::ZERO }), ..made }
    }

    /// The same state, looked at again after `delay`.
    fn look_again(&self, from: &OutboundState, delay: Duration) -> Move {
        Move { to: from.clone(), due: Some(self.moment.now + delay), gate: None, tell: false }
    }

    fn cancel(&self) -> Move {
        self.end(OutboundState::Canceled { at: self.moment.now }, true)
    }

    fn refuse(&self, refused: Refused) -> Move {
        let Refused { code, reason, twilio_code } = refused;
        self.end(OutboundState::Refused { at: self.moment.now, code, reason, twilio_code }, true)
    }

    /// An end. Of those that are ours Twilio tells nobody, so that we have to, unless a request's answer does.
    fn end(&self, to: OutboundState, is_ours: bool) -> Move {
        let tell = is_ours && !self.moment.is_awaited && self.outbound.status_callback.is_some();
        Move { to, due: None, gate: None, tell }
    }
}
