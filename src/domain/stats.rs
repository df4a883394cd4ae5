//! What is counted, so that the last hour is seen at a glance.
//!
//! A counter is a word and what it is about: a status on a channel, an error, an opt-out, a time to delivery. Each is
//! kept per minute and per hour.

use std::{collections::BTreeMap, time::Duration};

use super::{
    StatusChange, UnixMs,
    consent::{ConsentEntry, ConsentState},
};
use crate::twilio::MessageStatus;

/// Counters and what they came to.
pub type Counts = BTreeMap<Counter, u64>;

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Messages that moved to a status, on a channel.
    Status {
        /// The status.
        status: String,
        /// The channel.
        channel: String,
    },
    /// Messages that failed with an error of Twilio's.
    Error(u32),
    /// Persons who opted out.
    OptOut,
    /// Persons who opted in.
    OptIn,
    /// Messages delivered, by how long that took: [`Latency`].
    Delivered(Latency),
}

/// How long a delivery took, in steps of a quarter of a doubling: step `n` is from 2^(n/4) ms to 2^((n+1)/4) ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Latency(pub u32);

impl Latency {
    /// Steps in a doubling.
    const STEPS: f64 = 4.0;

    /// The step that `time` falls into.
    pub fn of(time: Duration) -> Self {
        Self(((time.as_millis().max(1) as f64).log2() * Self::STEPS).floor() as u32)
    }

    /// The middle of the step, in whole milliseconds: at most 10 % from what was measured.
    pub fn middle(self) -> Duration {
        Duration::from_millis(2_f64.powf((f64::from(self.0) + 0.5) / Self::STEPS).round() as u64)
    }
}

/// What stands before the step in the name of [`Counter::Delivered`]; a store that learns the time only while it writes
/// puts the step behind it by itself.
pub const DELIVERED: &str = "t";

impl Counter {
    /// The name under which a store keeps it.
    pub fn name(&self) -> String {
        match self {
            Counter::Status { status, channel } => format!("s {channel} {status}"),
            Counter::Error(code) => format!("e {code}"),
            Counter::OptOut => "o".to_owned(),
            Counter::OptIn => "i".to_owned(),
            Counter::Delivered(latency) => format!("{DELIVERED} {}", latency.0),
        }
    }

    /// Reads what [`Counter::name`] writes.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.split_once(' ') {
            None if name == "o" => Counter::OptOut,
            None if name == "i" => Counter::OptIn,
            Some(("s", rest)) => {
                let (channel, status) = rest.split_once(' ')?;
                Counter::Status { status: status.to_owned(), channel: channel.to_owned() }
            }
            Some(("e", code)) => Counter::Error(code.parse().ok()?),
            Some((DELIVERED, step)) => Counter::Delivered(Latency(step.parse().ok()?)),
            _ => return None,
        })
    }

    /// What a status counts for that moves its message; the time to delivery is counted besides if
    /// [`is_delivery`].
    pub fn of_status(change: &StatusChange) -> Vec<Self> {
        let status =
            Counter::Status { status: change.status.to_string(), channel: change.channel.to_string() };
        std::iter::once(status).chain(change.error_code.map(Counter::Error)).collect()
    }

    /// What a change of consent counts for.
    pub fn of_consent(entry: &ConsentEntry) -> Option<Self> {
        match entry.state {
            ConsentState::OptedOut => Some(Counter::OptOut),
            ConsentState::OptedIn => Some(Counter::OptIn),
            ConsentState::Unknown | ConsentState::Review => None,
        }
    }
}

/// Whether a status that moves its message ends the time to delivery.
pub fn is_delivery(status: &MessageStatus) -> bool {
    *status == MessageStatus::Delivered
}

/// The times by which is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A minute; kept for some days.
    Minute,
    /// An hour; kept for longer than a year.
    Hour,
}

impl Unit {
    /// Both.
    pub const ALL: [Unit; 2] = [Unit::Minute, Unit::Hour];

    /// How long it is.
    pub const fn length(self) -> Duration {
        match self {
            Unit::Minute => Duration::from_secs(60),
            Unit::Hour => Duration::from_secs(60 * 60),
        }
    }

    /// How long its counts are kept.
    pub const fn kept(self) -> Duration {
        const DAY_S: u64 = 24 * 60 * 60;
        match self {
            Unit::Minute => Duration::from_secs(8 * DAY_S),
            Unit::Hour => Duration::from_secs(400 * DAY_S),
        }
    }

    /// When the time began that `at` is in.
    pub fn start(self, at: UnixMs) -> UnixMs {
        at.floor(self.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_reads_back() {
        let status = Counter::Status { status: "delivered".to_owned(), channel: "sms".to_owned() };
        let all =
            [status, Counter::Error(30003), Counter::OptOut, Counter::OptIn, Counter::Delivered(Latency(41))];
        for counter in all {
            assert_eq!(Counter::parse(&counter.name()), Some(counter));
        }
        for wrong in ["", "x", "s", "s sms", "e x", "t"] {
            assert_eq!(Counter::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_latency_is_near_what_was_measured() {
        for ms in [1, 2, 3, 10, 99, 450, 1_000, 12_345, 600_000, 86_400_000] {
            let time = Duration::from_millis(ms);
            let near = Latency::of(time).middle().div_duration_f64(time);
            assert!((0.84..=1.19).contains(&near) || ms < 4, "{ms}: {near}");
        }
        assert_eq!(Latency::of(Duration::ZERO), Latency::of(Duration::from_millis(1)));
    }
}
