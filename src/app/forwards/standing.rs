//! How far an endpoint has been told.

use serde::{Deserialize, Serialize};

use crate::domain::{EventId, UnixMs};

/// An event that is told, or told again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// The event.
    pub(super) event: EventId,
    /// When it was first told.
    pub(super) since: UnixMs,
    /// When it is told next.
    pub(super) at: UnixMs,
}

/// How far an endpoint has been told, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// All up to this event have been told, but those in `again`.
    pub(super) cursor: EventId,
    /// Events before it that were not taken.
    #[serde(default)]
    pub(super) again: Vec<Attempt>,
    /// Up to which event a replay goes: what has been told of it is told again.
    #[serde(default)]
    pub(super) replayed_until: Option<EventId>,
    /// Until when somebody tells it.
    #[serde(default)]
    pub(super) claimed_until: UnixMs,
    /// Since when it takes nothing.
    #[serde(default)]
    pub(super) failing_since: Option<UnixMs>,
    /// When it is tried again, if it takes nothing.
    #[serde(default)]
    pub(super) next_try: UnixMs,
    /// What it answered last that was no success.
    #[serde(default)]
    pub(super) last_failure: Option<String>,
    /// When it was paused.
    #[serde(default)]
    pub(super) paused_at: Option<UnixMs>,
}

impl Standing {
    /// Of an endpoint that is told what comes after `cursor`.
    pub(super) fn beginning_at(cursor: EventId) -> Self {
        Self {
            cursor,
            again: Vec::new(),
            replayed_until: None,
            claimed_until: UnixMs::EPOCH,
            failing_since: None,
            next_try: UnixMs::EPOCH,
            last_failure: None,
            paused_at: None,
        }
    }

    /// Whether something may be told now.
    pub(super) fn may_try(&self, now: UnixMs) -> bool {
        self.paused_at.is_none()
            && self.claimed_until <= now
            && (self.failing_since.is_none() || self.next_try <= now)
    }

    /// Takes out up to `max` events that are to be told again at `now`, those that have waited longest first.
    pub(super) fn take_due(&mut self, now: UnixMs, max: usize) -> Vec<Attempt> {
        self.again.sort_by_key(|attempt| attempt.at);
        // Half of the room is left to what has not been told yet.
        let due = self.again.iter().take_while(|attempt| attempt.at <= now).count().min(max.div_ceil(2));
        self.again.drain(..due).collect()
    }

    /// As of an endpoint that has not failed.
    pub(super) fn resume(&mut self) {
        (self.failing_since, self.paused_at, self.last_failure) = (None, None, None);
        (self.next_try, self.claimed_until) = (UnixMs::EPOCH, UnixMs::EPOCH);
        for attempt in &mut self.again {
            attempt.at = UnixMs::EPOCH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_told_again_leaves_room_for_what_is_new() {
        let ms = UnixMs::new;
        let mut standing = Standing::beginning_at(EventId::before_all_of(ms(100)));
        for at in [30, 10, 20, 50] {
            let event = EventId::before_all_of(ms(at));
            standing.again.push(Attempt { event, since: ms(1), at: ms(at) });
        }
        let due: Vec<_> = standing.take_due(ms(40), 4).into_iter().map(|attempt| attempt.at).collect();
        assert_eq!(due, [ms(10), ms(20)]);
        assert_eq!(standing.again.len(), 2);
    }

    #[test]
    fn an_endpoint_that_failed_waits_for_its_time_and_one_that_is_paused_for_ever() {
        let ms = UnixMs::new;
        let mut standing = Standing::beginning_at(EventId::START);
        assert!(standing.may_try(ms(1)));
        standing.claimed_until = ms(5);
        assert!(!standing.may_try(ms(4)) && standing.may_try(ms(5)));
        (standing.failing_since, standing.next_try) = (Some(ms(5)), ms(9));
        assert!(!standing.may_try(ms(8)) && standing.may_try(ms(9)));
        standing.paused_at = Some(ms(9));
        assert!(!standing.may_try(UnixMs::MAX));
        standing.resume();
        assert!(standing.may_try(ms(1)));
    }
}
