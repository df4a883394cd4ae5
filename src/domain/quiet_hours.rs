//! When people must be left alone: by the clock of where they are, which is known from their number.
//!
//! A number is not always of one place: `+1 800` is of all North America. It is quiet there as long as it is quiet in
//! any of its zones, so that nobody is woken. Where the zones lie so far apart that one of them always sleeps, the hours
//! of the middle one count: half of the zones are ahead of it, half behind. A number of no known prefix is taken to be in
//! UTC.

mod zones;

use std::{fmt, str::FromStr};

use jiff::{Timestamp, tz::TimeZone};

use super::UnixMs;
use crate::twilio::BareAddress;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// How far ahead a moment is looked for at which all of a number's zones are awake. Every day has the same hours, so two
/// days tell, whatever a clock change does to one of them.
const SEARCH_MS: i64 = 2 * DAY_MS;

/// The hours of the day in which nothing is sent, from the first to the second, over midnight where that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from: TimeOfDay,
    until: TimeOfDay,
}

/// A text that names no quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two different times of the day, such as 21:00-08:00")]
pub struct InvalidQuietHours;

impl FromStr for QuietHours {
    type Err = InvalidQuietHours;

    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let (from, until) = text.split_once('-').ok_or(InvalidQuietHours)?;
        let (from, until) = (TimeOfDay::parse(from.trim()), TimeOfDay::parse(until.trim()));
        match (from, until) {
            (Some(from), Some(until)) if from != until => Ok(Self { from, until }),
            _ => Err(InvalidQuietHours),
        }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.until)
    }
}

/// Minutes since midnight, by the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeOfDay(i64);

impl TimeOfDay {
    fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str, below: u8| {
            let is_written =
                (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u8>().ok().filter(|&number| is_written && number < below)
        };
        let minutes = number(minutes, 60).filter(|_| minutes.len() == 2)?;
        Some(Self(i64::from(number(hours, 24)?) * 60 + i64::from(minutes)))
    }

    fn ms(self) -> i64 {
        self.0 * MINUTE_MS
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl QuietHours {
    /// The instant from which a message may leave for `number`, which is in E.164; `None` if it may leave at `now`.
    pub fn until(&self, number: &BareAddress, now: UnixMs) -> Option<UnixMs> {
        UnixMs::from_timestamp(self.end_in_all(zones::of(number), now.to_timestamp()?)?)
    }

    /// The next instant after `now` at which it begins to be quiet for `number`, in one of its zones; `None` if there is none
    /// within a day. Where it is quiet in one of them already, another one's beginning counts.
    pub fn next_start(&self, number: &BareAddress, now: UnixMs) -> Option<UnixMs> {
        let now = now.to_timestamp()?;
        let starts = zones::of(number).iter().filter_map(|zone| self.start_in(zone, now));
        UnixMs::from_timestamp(starts.min()?)
    }

    /// The next instant after `at` at which it begins to be quiet in `zone`, by the offset that holds there at that instant.
    fn start_in(&self, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        let start_by = |offset_ms: i64| {
            let local_ms = (at.as_millisecond() + offset_ms).rem_euclid(DAY_MS);
            let left_ms = match (self.from.ms() - local_ms).rem_euclid(DAY_MS) {
                0 => DAY_MS,
                left_ms => left_ms,
            };
            Timestamp::from_millisecond(at.as_millisecond() + left_ms).ok()
        };
        let offset_ms = |at: Timestamp| i64::from(zone.to_offset(at).seconds()) * 1_000;
        let by_this_offset = start_by(offset_ms(at))?;
        // A change of the clock on the way moves it.
        start_by(offset_ms(by_this_offset))
    }

    /// The first instant after `now` at which it is quiet in none of the zones; `None` if that is `now`.
    fn end_in_all(&self, zones: &[TimeZone], now: Timestamp) -> Option<Timestamp> {
        let mut at = now;
        // From each step to the next it is quiet in one zone at least.
        while let Some(end) = zones.iter().filter_map(|zone| self.end_in(zone, at)).max() {
            if end.as_millisecond() - now.as_millisecond() > SEARCH_MS {
                return self.end_in(&middle(zones, now), now);
            }
            at = end;
        }
        (at > now).then_some(at)
    }

    /// The first instant after `at` at which it is not quiet in `zone`; `None` if that is `at`.
    fn end_in(&self, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        let mut end = at;
        loop {
            let offset_ms = i64::from(zone.to_offset(end).seconds()) * 1_000;
            let local_ms = (end.as_millisecond() + offset_ms).rem_euclid(DAY_MS);
            if !self.contains(local_ms) {
                return (end > at).then_some(end);
            }
            let left_ms = (self.until.ms() - local_ms).rem_euclid(DAY_MS);
            let by_this_offset = Timestamp::from_millisecond(end.as_millisecond() + left_ms).ok()?;
            // A change of the clock on the way may skip the end, put it off, or bring it twice.
            let change = zone.following(end).next().map(|change| change.timestamp());
            end = change.map_or(by_this_offset, |change| change.min(by_this_offset));
        }
    }

    fn contains(&self, local_ms: i64) -> bool {
        let (from, until) = (self.from.ms(), self.until.ms());
        if from < until { (from..until).contains(&local_ms) } else { !(until..from).contains(&local_ms) }
    }
}

/// The zone with as many others ahead of it as behind; of two in the middle, the one ahead.
fn middle(zones: &[TimeZone], now: Timestamp) -> TimeZone {
    let mut zones: Vec<_> = zones.iter().collect();
    zones.sort_by_key(|zone| zone.to_offset(now));
    zones[zones.len() / 2].clone()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAN_FRANCISCO: &str = "+14155550100";
    const BERLIN: &str = "+4930901820";
    const SATELLITE: &str = "+870123456789";
    const TOLL_FREE: &str = "+18005550100";
    const RUSSIAN_MOBILE: &str = "+79161234567";

    /// The instant until which it is quiet, in RFC 3339 as the times are given.
    fn until(hours: &str, number: &str, now: &str) -> Option<String> {
        let hours: QuietHours = hours.parse().unwrap();
        let now: Timestamp = now.parse().unwrap();
        let end = hours.until(&number.parse().unwrap(), UnixMs::from_timestamp(now).unwrap())?;
        Some(end.to_timestamp().unwrap().to_string())
    }

    #[track_caller]
    fn expect(hours: &str, number: &str, now: &str, end: Option<&str>) {
        assert_eq!(until(hours, number, now).as_deref(), end, "{hours} {number} {now}");
    }

    #[test]
    fn hours_are_two_times_that_differ() {
        for (text, written) in
            [("21:00-08:00", "21:00-08:00"), ("9:30 - 23:59", "09:30-23:59"), ("00:00-06:00", "00:00-06:00")]
        {
            assert_eq!(text.parse::<QuietHours>().unwrap().to_string(), written);
        }
        for wrong in
            ["", "21:00", "21-08", "21:00-21:00", "9:00-09:00", "24:00-08:00", "21:60-08:00", "21:0-08:00"]
        {
            assert_eq!(wrong.parse::<QuietHours>(), Err(InvalidQuietHours), "{wrong}");
        }
        for wrong in
            ["+1:00-08:00", "-1:00-08:00", "021:00-08:00", "21:00-08:00-09:00", "21:00–08:00", "é:00-1:00"]
        {
            assert_eq!(wrong.parse::<QuietHours>(), Err(InvalidQuietHours), "{wrong}");
        }
    }

    #[test]
    fn the_recipients_own_clock_counts() {
        let night = "21:00-08:00";
        // 20:59:59.999 and 21:00 in San Francisco, then 07:59:59.999 and 08:00.
        expect(night, SAN_FRANCISCO, "2026-01-15T04:59:59.999Z", None);
        expect(night, SAN_FRANCISCO, "2026-01-15T05:00:00Z", Some("2026-01-15T16:00:00Z"));
        expect(night, SAN_FRANCISCO, "2026-01-15T15:59:59.999Z", Some("2026-01-15T16:00:00Z"));
        expect(night, SAN_FRANCISCO, "2026-01-15T16:00:00Z", None);
        expect(night, BERLIN, "2026-01-15T16:00:00Z", None);
        expect(night, BERLIN, "2026-01-15T05:00:00Z", Some("2026-01-15T07:00:00Z"));
        expect(night, BERLIN, "2026-07-15T05:00:00Z", Some("2026-07-15T06:00:00Z"));
        expect(night, SATELLITE, "2026-01-15T05:00:00Z", Some("2026-01-15T08:00:00Z"));
    }

    #[test]
    fn the_next_beginning_is_by_the_recipients_clock() {
        let start = |hours: &str, number: &str, now: &str| {
            let now = UnixMs::from_timestamp(now.parse().unwrap()).unwrap();
            let start = hours.parse::<QuietHours>().unwrap().next_start(&number.parse().unwrap(), now);
            start.unwrap().to_timestamp().unwrap().to_string()
        };
        // 20:56 in San Francisco, and 21:00 sharp.
        assert_eq!(start("21:00-08:00", SAN_FRANCISCO, "2026-01-15T04:56:00Z"), "2026-01-15T05:00:00Z");
        assert_eq!(start("21:00-08:00", SAN_FRANCISCO, "2026-01-15T05:00:00Z"), "2026-01-16T05:00:00Z");
        // The clock is set forward on the way, and back.
        assert_eq!(start("21:00-08:00", BERLIN, "2026-03-28T22:00:00Z"), "2026-03-29T19:00:00Z");
        assert_eq!(start("21:00-08:00", BERLIN, "2026-10-24T22:00:00Z"), "2026-10-25T20:00:00Z");
        // It begins first in Kamchatka.
        assert_eq!(start("21:00-08:00", RUSSIAN_MOBILE, "2026-01-15T08:59:00Z"), "2026-01-15T09:00:00Z");
    }

    #[test]
    fn hours_within_a_day_do_not_cross_midnight() {
        let noon = "12:00-14:00";
        expect(noon, BERLIN, "2026-01-15T10:59:59Z", None);
        expect(noon, BERLIN, "2026-01-15T11:00:00Z", Some("2026-01-15T13:00:00Z"));
        expect(noon, BERLIN, "2026-01-15T13:00:00Z", None);
        expect(noon, BERLIN, "2026-01-15T23:30:00Z", None);
    }

    #[test]
    fn clocks_that_are_changed_in_the_night_are_followed() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29 at 01:00Z, and from 03:00 to 02:00 on 2026-10-25 at 01:00Z.
        expect("21:00-08:00", BERLIN, "2026-03-28T22:00:00Z", Some("2026-03-29T06:00:00Z"));
        expect("21:00-08:00", BERLIN, "2026-10-24T22:00:00Z", Some("2026-10-25T07:00:00Z"));
        // The end is skipped: the clock shows 03:00 at once.
        expect("21:00-02:30", BERLIN, "2026-03-28T22:00:00Z", Some("2026-03-29T01:00:00Z"));
        // The beginning is skipped.
        expect("02:30-04:00", BERLIN, "2026-03-29T00:59:59Z", None);
        expect("02:30-04:00", BERLIN, "2026-03-29T01:00:00Z", Some("2026-03-29T02:00:00Z"));
        // The end comes twice: awake from 02:30 to 03:00, and quiet again from the second 02:00 on.
        expect("21:00-02:30", BERLIN, "2026-10-24T22:00:00Z", Some("2026-10-25T00:30:00Z"));
        expect("21:00-02:30", BERLIN, "2026-10-25T01:00:00Z", Some("2026-10-25T01:30:00Z"));
        // The end falls on the change, by which the clock is set back into the quiet hours.
        expect("21:00-03:00", BERLIN, "2026-10-24T22:00:00Z", Some("2026-10-25T02:00:00Z"));
    }

    #[test]
    fn a_number_of_several_zones_is_quiet_while_one_of_them_is() {
        // It is 08:00 in Kaliningrad at 06:00Z, and 21:00 in Kamchatka at 09:00Z.
        expect("21:00-08:00", RUSSIAN_MOBILE, "2026-01-15T05:59:00Z", Some("2026-01-15T06:00:00Z"));
        expect("21:00-08:00", RUSSIAN_MOBILE, "2026-01-15T08:59:00Z", None);
        expect("21:00-08:00", RUSSIAN_MOBILE, "2026-01-15T09:00:00Z", Some("2026-01-16T06:00:00Z"));
    }

    #[test]
    fn where_one_zone_always_sleeps_the_middle_one_counts() {
        // North America from Guam to Newfoundland; in the middle is Eastern time.
        expect("18:00-10:00", TOLL_FREE, "2026-01-15T14:59:00Z", Some("2026-01-15T15:00:00Z"));
        expect("18:00-10:00", TOLL_FREE, "2026-01-15T15:00:00Z", None);
        expect("18:00-10:00", TOLL_FREE, "2026-01-15T23:00:00Z", Some("2026-01-16T15:00:00Z"));
        // Shorter hours leave a moment at which all are awake: 08:00 in Guam, 18:30 in Newfoundland.
        expect("21:00-08:00", TOLL_FREE, "2026-01-15T13:00:00Z", Some("2026-01-15T22:00:00Z"));
    }

    #[test]
    fn times_beyond_the_calendar_are_never_quiet() {
        let hours: QuietHours = "21:00-08:00".parse().unwrap();
        assert_eq!(hours.until(&BERLIN.parse().unwrap(), UnixMs::MAX), None);
        assert_eq!(hours.until(&BERLIN.parse().unwrap(), UnixMs::new(i64::MAX as u64)), None);
    }

    proptest! {
        /// Looked at minute by minute: quiet in one of the zones until the end, and then in none.
        #[test]
        fn any_number_at_any_time_is_held_exactly_as_long_as_it_is_quiet(
            prefix in prop::sample::select(zones::prefixes()),
            (from, until) in (0..1_440_i64, 0..1_440_i64).prop_filter("they differ", |(from, until)| from != until),
            now_min in 0..70 * 525_960_i64,
        ) {
            let hours = QuietHours { from: TimeOfDay(from), until: TimeOfDay(until) };
            let number = format!("+{prefix}0000");
            let is_quiet = |zone: &TimeZone, minute: i64| {
                let at = Timestamp::from_second(minute * 60).unwrap().to_zoned(zone.clone());
                let time = i64::from(at.hour()) * 60 + i64::from(at.minute());
                if from < until { from <= time && time < until } else { time >= from || time < until }
            };
            let zones = zones::of(&number);
            let is_held = |minute: i64| zones.iter().any(|zone| is_quiet(zone, minute));
            let end = hours.until(&number.parse().unwrap(), UnixMs::new(now_min as u64 * 60_000));
            let end_min = end.map_or(now_min, |end| end.get() as i64 / 60_000);
            prop_assert_eq!(end.is_none(), end_min == now_min);
            if is_held(end_min) {
                // Only where there is no better one.
                prop_assert!((now_min..now_min + 2 * 1_440).all(is_held));
                let now = Timestamp::from_second(now_min * 60).unwrap();
                prop_assert!(!is_quiet(&middle(zones, now), end_min));
            } else {
                prop_assert!((now_min..end_min).all(is_held));
            }
        }
    }
}
