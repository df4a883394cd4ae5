//! Log lines that others can cause, in numbers that they cannot.
//!
//! Whoever sends a thousand requests that are refused would otherwise write a thousand lines, fill the disk, and bury the
//! line that matters. So each cause of a line has its own allowance a minute, and what is left out is counted:
//!
//! ```
//! # use textledger::sampling::Sampled;
//! #[derive(Clone, Copy, PartialEq, Eq, Hash)]
//! enum Cause {
//!     BadToken,
//! }
//!
//! let refusals = Sampled::new(10);
//! if let Some(left_out) = refusals.note(Cause::BadToken) {
//!     tracing::warn!(left_out, "sign-in refused");
//! }
//! ```

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the allowance is for.
const PERIOD: Duration = Duration::from_secs(60);

/// Causes that are told apart at the same time. There are a few words of them; should they be other people's words, this
/// bounds the memory that they take.
const CAUSES_MAX: usize = 1_000;

/// Decides which lines are logged: of each cause, the first so many in every minute.
#[derive(Debug)]
pub struct Sampled<K> {
    per_minute: u32,
    minutes: Mutex<HashMap<K, Minute>>,
}

/// The minute that a cause is in.
#[derive(Debug)]
struct Minute {
    began: Instant,
    logged: u32,
    left_out: u64,
}

impl<K: Eq + Hash> Sampled<K> {
    /// At most `per_minute` lines of each cause in a minute.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, minutes: Mutex::default() }
    }

    /// Notes that there is a line to log because of `cause`. If it is to be logged: how many of the same cause have been
    /// left out since the last one that was. `None` if it is left out.
    pub fn note(&self, cause: K) -> Option<u64> {
        self.note_at(cause, Instant::now())
    }

    fn note_at(&self, cause: K, now: Instant) -> Option<u64> {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        if minutes.len() >= CAUSES_MAX && !minutes.contains_key(&cause) {
            minutes.retain(|_, minute| now.duration_since(minute.began) < PERIOD);
            if minutes.len() >= CAUSES_MAX {
                return None;
            }
        }
        let minute = minutes.entry(cause).or_insert(Minute { began: now, logged: 0, left_out: 0 });
        if now.duration_since(minute.began) >= PERIOD {
            (minute.began, minute.logged) = (now, 0);
        }
        if minute.logged == self.per_minute {
            minute.left_out += 1;
            return None;
        }
        minute.logged += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_lines_in_a_minute_and_the_next_one_tells_what_was_left_out() {
        let (sampled, now) = (Sampled::new(2), Instant::now());
        let noted: Vec<_> = (0..5).map(|_| sampled.note_at("noise", now)).collect();
        assert_eq!(noted, [Some(0), Some(0), None, None, None]);
        assert_eq!(sampled.note_at("other", now), Some(0));
        let almost = now + PERIOD - Duration::from_millis(1);
        assert_eq!(sampled.note_at("noise", almost), None);
        assert_eq!(sampled.note_at("noise", now + PERIOD), Some(4));
        assert_eq!(sampled.note_at("noise", now + PERIOD), Some(0));
        assert_eq!(sampled.note_at("noise", now + PERIOD), None);
    }

    #[test]
    fn causes_that_others_invent_take_bounded_room_and_do_not_begin_the_known_ones_anew() {
        let (sampled, now) = (Sampled::new(1), Instant::now());
        assert_eq!(sampled.note_at(0, now), Some(0));
        for cause in 1..2 * CAUSES_MAX {
            sampled.note_at(cause, now);
        }
        assert_eq!(sampled.minutes.lock().unwrap().len(), CAUSES_MAX);
        assert_eq!(sampled.note_at(0, now), None);
        assert_eq!(sampled.note_at(2 * CAUSES_MAX, now + PERIOD), Some(0));
        assert_eq!(sampled.minutes.lock().unwrap().len(), 1);
    }
}
