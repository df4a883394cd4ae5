//! The settings that limit what callers may send and ask: how much, how fast, to whom.

use std::{ops::RangeInclusive, time::Duration};

use super::{Reader, bytes, duration};
use crate::domain::{
    pace::{InvalidPace, Pace},
    pumping::{Burst, PumpingGuard},
};

/// Which bursts of first messages are held unless it is set.
const BURST_ABROAD: Burst = Burst { messages: 20, window: Duration::from_secs(10 * 60) };

/// How long an answer may be lost before its message counts as not taken.
const LOST_ANSWER_AFTER: RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(24 * 60 * 60);

/// The most messages that may have to fail until nothing more is sent to their number.
const SUPPRESS_AFTER_MAX: usize = 100;

/// In how much time first messages may be counted.
const BURST_WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

impl Reader {
    pub(super) fn cooldown(&mut self) -> Duration {
        let wanted = "a time such as 90s or 10m, or 0s for none";
        self.read_or_default("TEXTLEDGER_RECIPIENT_COOLDOWN", wanted, duration)
    }

    pub(super) fn lost_answer_after(&mut self) -> Duration {
        let wanted = "a time from 2s to 24h, such as 10m";
        self.read_or_default("TEXTLEDGER_LOST_ANSWER_AFTER", wanted, |text| {
            duration(text).filter(|after| LOST_ANSWER_AFTER.contains(after))
        })
    }

    pub(super) fn suppress_after(&mut self) -> Option<usize> {
        let wanted = "a number of messages from 1 to 100, or never";
        self.read_or_default("TEXTLEDGER_SUPPRESS_AFTER", wanted, |text| match text {
            "never" => Some(None),
            text => text.parse().ok().filter(|count| (1..=SUPPRESS_AFTER_MAX).contains(count)).map(Some),
        })
    }

    pub(super) fn daily_limit(&mut self, name: &str) -> Option<u64> {
        let wanted = "a whole number of messages, from 1 on";
        let limit = self.parsed(name, wanted);
        if limit == Some(0) {
            self.fault(name, wanted);
        }
        limit
    }

    pub(super) fn queue_max(&mut self) -> u64 {
        let wanted = "a whole number of messages, from 1 on";
        self.read_or_default("TEXTLEDGER_QUEUE_MAX", wanted, |text| {
            text.parse().ok().filter(|&messages| messages > 0)
        })
    }

    pub(super) fn queue_bytes_max(&mut self) -> u64 {
        let wanted = "a size such as 256 MiB, 1 GB or a number of bytes";
        self.read_or_default("TEXTLEDGER_QUEUE_BYTES_MAX", wanted, |text| {
            bytes(text).filter(|&bytes| bytes > 0)
        })
    }

    pub(super) fn pumping(&mut self) -> PumpingGuard {
        let wanted = "off, or first messages and a time up to 24h, such as 20/10m";
        let burst = |text: &str| {
            let (messages, window) = text.split_once('/')?;
            let window = duration(window.trim()).filter(|window| BURST_WINDOWS.contains(window))?;
            let messages = messages.trim().parse().ok().filter(|&messages: &u64| messages > 0)?;
            Some(Burst { messages, window })
        };
        match self.text("TEXTLEDGER_PUMPING_GUARD").as_deref() {
            None => PumpingGuard::Abroad(BURST_ABROAD),
            Some("off") => PumpingGuard::Off,
            Some(text) => match burst(text) {
                Some(burst) => PumpingGuard::Everywhere(burst),
                None => {
                    self.fault("TEXTLEDGER_PUMPING_GUARD", wanted);
                    PumpingGuard::Off
                }
            },
        }
    }

    pub(super) fn pace(&mut self) -> Pace {
        let wanted = InvalidPace.to_string();
        self.parsed("TEXTLEDGER_MPS", &wanted).unwrap_or_default()
    }

    pub(super) fn api_rate(&mut self) -> u32 {
        let wanted = "requests per second and caller, from 1 to 1000000";
        let rate = self.parsed_or_default("TEXTLEDGER_API_RATE", wanted);
        if !(1..=1_000_000).contains(&rate) {
            self.fault("TEXTLEDGER_API_RATE", wanted);
        }
        rate
    }

    pub(super) fn unsigned_rate(&mut self) -> u32 {
        let wanted = "requests per second and peer, from 1 to 1000000";
        let rate = self.parsed_or_default("TEXTLEDGER_UNSIGNED_RATE", wanted);
        if !(1..=1_000_000).contains(&rate) {
            self.fault("TEXTLEDGER_UNSIGNED_RATE", wanted);
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(name: &'static str, value: &str) -> Result<Config, String> {
        Config::read([(name, value.to_owned())].into(), "").map_err(|faults| faults.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = Config::read([].into(), "").unwrap();
        assert_eq!((config.cooldown, config.daily_limit), (Duration::ZERO, None));
        assert_eq!((config.queue_max, config.queue_bytes_max), (100_000, 256 << 20));
        assert_eq!(config.pumping, PumpingGuard::Abroad(BURST_ABROAD));
    }

    #[test]
    fn limits_are_read_with_their_units() {
        let cooldown = read("TEXTLEDGER_RECIPIENT_COOLDOWN", "90s").unwrap().cooldown;
        assert_eq!(cooldown, Duration::from_secs(90));
        assert_eq!(read("TEXTLEDGER_DAILY_LIMIT_PER_KEY", "7").unwrap().daily_limit_per_key, Some(7));
        assert_eq!(read("TEXTLEDGER_QUEUE_BYTES_MAX", "2 MiB").unwrap().queue_bytes_max, 2 << 20);
        let burst = Burst { messages: 5, window: Duration::from_secs(60) };
        for (text, guard) in [("5/1m", PumpingGuard::Everywhere(burst)), ("off", PumpingGuard::Off)] {
            assert_eq!(read("TEXTLEDGER_PUMPING_GUARD", text).unwrap().pumping, guard);
        }
    }

    #[test]
    fn a_limit_that_would_let_nothing_through_or_cannot_be_read_is_a_fault() {
        for (name, wrong) in [
            ("TEXTLEDGER_RECIPIENT_COOLDOWN", "soon"),
            ("TEXTLEDGER_DAILY_LIMIT", "0"),
            ("TEXTLEDGER_DAILY_LIMIT_PER_KEY", "-1"),
            ("TEXTLEDGER_QUEUE_MAX", "0"),
            ("TEXTLEDGER_QUEUE_BYTES_MAX", "0 MiB"),
            ("TEXTLEDGER_PUMPING_GUARD", "0/10m"),
            ("TEXTLEDGER_PUMPING_GUARD", "20/25h"),
            ("TEXTLEDGER_MPS", "fast"),
            ("TEXTLEDGER_API_RATE", "0"),
            ("TEXTLEDGER_UNSIGNED_RATE", "1000001"),
        ] {
            let faults = read(name, wrong).unwrap_err();
            assert!(faults.starts_with(&format!("{name} must be ")), "{name}={wrong}: {faults}");
        }
    }
}
