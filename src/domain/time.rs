//! Points in time. How long something takes is a [`Duration`].

use std::{
    fmt,
    num::ParseIntError,
    ops::{Add, AddAssign, Sub},
    str::FromStr,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01 00:00 UTC, which is also how it is written. Nothing is before 1970,
/// and parts of milliseconds are cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(u64);

impl UnixMs {
    /// The first: 1970-01-01 00:00 UTC.
    pub const EPOCH: UnixMs = UnixMs(0);

    /// The last.
    pub const MAX: UnixMs = UnixMs(u64::MAX);

    /// The point `ms` milliseconds after 1970-01-01 00:00 UTC.
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 00:00 UTC.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// How long after `earlier` it is; zero if it is not.
    pub const fn since(self, earlier: UnixMs) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The last multiple of `step`, counted from 1970, that is not after it.
    pub const fn floor(self, step: Duration) -> Self {
        Self(self.0 - self.0 % millis(step))
    }

    /// The first multiple of `step`, counted from 1970, that is not before it.
    pub const fn ceil(self, step: Duration) -> Self {
        Self(self.0.div_ceil(millis(step)).saturating_mul(millis(step)))
    }

    /// It and every `step` after it, before `end`.
    pub fn steps(self, step: Duration, end: UnixMs) -> impl Iterator<Item = UnixMs> {
        std::iter::successors(Some(self), move |at| Some(*at + step)).take_while(move |at| *at < end)
    }

    /// The point that `timestamp` names; `None` before 1970.
    pub fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        timestamp.as_millisecond().try_into().ok().map(Self)
    }

    /// The point as a timestamp; `None` beyond the year 9999.
    pub fn to_timestamp(self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.0.try_into().ok()?).ok()
    }
}

/// A duration in whole milliseconds, as many as there can be at the most.
const fn millis(duration: Duration) -> u64 {
    let ms = duration.as_millis();
    if ms > u64::MAX as u128 { u64::MAX } else { ms as u64 }
}

impl Add<Duration> for UnixMs {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl AddAssign<Duration> for UnixMs {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for UnixMs {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UnixMs {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Durations as stored documents write them: in whole milliseconds. For `#[serde(with)]`.
pub(super) mod duration_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the milliseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::millis(*duration).serialize(serializer)
    }

    /// Reads what [`serialize`] writes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calculation_stays_within_the_points_that_there_are() {
        let at = UnixMs::new(1_500);
        let second = Duration::from_secs(1);
        assert_eq!((at + second, at - second), (UnixMs::new(2_500), UnixMs::new(500)));
        assert_eq!((at - 2 * second, UnixMs::MAX + second), (UnixMs::EPOCH, UnixMs::MAX));
        assert_eq!(
            (at.since(UnixMs::EPOCH), UnixMs::EPOCH.since(at)),
            (Duration::from_millis(1_500), Duration::ZERO)
        );
        assert_eq!(at + Duration::MAX, UnixMs::MAX);
    }

    #[test]
    fn steps_begin_at_multiples_and_stop_before_their_end() {
        let second = Duration::from_secs(1);
        let at = UnixMs::new(1_500);
        assert_eq!((at.floor(second).get(), at.ceil(second).get()), (1_000, 2_000));
        assert_eq!(
            (at.floor(second).floor(second).get(), at.ceil(second).ceil(second).get()),
            (1_000, 2_000)
        );
        let steps: Vec<u64> = at.steps(second, UnixMs::new(3_500)).map(UnixMs::get).collect();
        assert_eq!(steps, [1_500, 2_500]);
        assert_eq!(at.steps(second, at).count(), 0);
    }

    #[test]
    fn a_point_in_time_is_written_as_its_milliseconds() {
        let at = UnixMs::new(1_764_000_000_000);
        assert_eq!(at.to_string(), "1764000000000");
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!(serde_json::to_string(&at).unwrap(), "1764000000000");
        assert_eq!(at.to_timestamp().and_then(UnixMs::from_timestamp), Some(at));
        assert_eq!((UnixMs::MAX.to_timestamp(), UnixMs::from_timestamp(Timestamp::MIN)), (None, None));
    }
}
