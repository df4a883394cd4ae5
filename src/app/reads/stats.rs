//! What happened lately, in numbers: read from counts that are kept per minute and hour, whatever has been sent.

use std::{collections::BTreeMap, time::Duration};

use super::Reads;
use crate::{
    app::Scope,
    domain::{
        UnixMs,
        stats::{Counter, Counts, Latency, Unit},
    },
    store,
};

/// The longest window that is told minute by minute.
const MINUTES_WINDOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is counted for a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// When it begins.
    pub from: UnixMs,
    /// When it ends.
    pub until: UnixMs,
    /// Messages that moved to each status.
    pub totals: BTreeMap<String, u64>,
    /// The same by channel.
    pub channels: BTreeMap<String, BTreeMap<String, u64>>,
    /// Of the messages that came to an end, the part that was delivered; `None` if none came to one. A message that is
    /// read was delivered before and counts once.
    pub delivery_rate: Option<f64>,
    /// Persons who opted out.
    pub opt_outs: u64,
    /// Persons who opted in.
    pub opt_ins: u64,
    /// How long deliveries took: half of them took no longer.
    pub p50: Option<Duration>,
    /// 95 of 100 took no longer.
    pub p95: Option<Duration>,
    /// Errors of Twilio's, the most frequent first.
    pub errors: Vec<(u32, u64)>,
    /// Each part of the window, oldest first: when it begins, and the messages that moved to each status in it.
    pub series: Vec<(UnixMs, BTreeMap<String, u64>)>,
}

/// The unit in which `window` is told.
pub fn unit_of(window: Duration) -> Unit {
    if window <= MINUTES_WINDOW_MAX { Unit::Minute } else { Unit::Hour }
}

impl Scope<'_, Reads> {
    /// What is counted for the last `window`, in parts of `bucket`: a multiple of the window's unit.
    pub async fn stats(&self, window: Duration, bucket: Duration) -> Result<Stats, store::Error> {
        let unit = unit_of(window);
        // The present minute or hour is the last one.
        let until = unit.start(self.core.now_ms()) + unit.length();
        let parts = window.as_millis().div_ceil(bucket.as_millis()) as u32;
        let from = until - bucket * parts;
        let counted = self.core.store.counts(self.organization, unit, from, until).await?;
        Ok(sum(from, until, bucket, &counted))
    }
}

fn sum(from: UnixMs, until: UnixMs, bucket: Duration, counted: &[(UnixMs, Counts)]) -> Stats {
    let mut series: Vec<(UnixMs, BTreeMap<String, u64>)> =
        from.steps(bucket, until).map(|at| (at, BTreeMap::new())).collect();
    let (mut totals, mut channels) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<String, u64>>::new());
    let (mut errors, mut latencies) = (BTreeMap::new(), BTreeMap::new());
    let (mut opt_outs, mut opt_ins) = (0, 0);
    for (at, counts) in counted {
        for (counter, count) in counts {
            match counter {
                Counter::Status { status, channel } => {
                    *totals.entry(status.clone()).or_insert(0) += count;
                    *channels.entry(channel.clone()).or_default().entry(status.clone()).or_insert(0) += count;
                    let part = at.since(from).as_millis() / bucket.as_millis();
                    if let Some((_, counts)) = series.get_mut(part as usize) {
                        *counts.entry(status.clone()).or_insert(0) += count;
                    }
                }
                Counter::Error(code) => *errors.entry(*code).or_insert(0) += count,
                Counter::OptOut => opt_outs += count,
                Counter::OptIn => opt_ins += count,
                Counter::Delivered(latency) => *latencies.entry(*latency).or_insert(0) += count,
            }
        }
    }
    let total = |status: &str| totals.get(status).copied().unwrap_or(0);
    let (delivered, lost) = (total("delivered"), total("undelivered") + total("failed"));
    let mut errors: Vec<(u32, u64)> = errors.into_iter().collect();
    errors.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
    Stats {
        from,
        until,
        delivery_rate: (delivered + lost > 0).then(|| delivered as f64 / (delivered + lost) as f64),
        opt_outs,
        opt_ins,
        p50: percentile(&latencies, 50),
        p95: percentile(&latencies, 95),
        errors,
        series,
        totals,
        channels,
    }
}

/// The time that `hundredths` of the deliveries took at the most.
fn percentile(latencies: &BTreeMap<Latency, u64>, hundredths: u64) -> Option<Duration> {
    let all: u64 = latencies.values().sum();
    let mut wanted = (all * hundredths).div_ceil(100);
    for (latency, count) in latencies {
        if wanted <= *count {
            return Some(latency.middle()).filter(|_| all > 0);
        }
        wanted -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_counted_gives_zeros_and_nothing_divided() {
        let minute = Duration::from_secs(60);
        let stats = sum(UnixMs::EPOCH, UnixMs::EPOCH + 3 * minute, minute, &[]);
        assert_eq!((stats.delivery_rate, stats.p50, stats.p95), (None, None, None));
        assert_eq!(stats.series.iter().map(|(at, _)| at.get()).collect::<Vec<_>>(), [0, 60_000, 120_000]);
    }

    proptest! {
        #[test]
        fn a_percentile_is_near_that_of_the_sorted_list(mut times in prop::collection::vec(1..10_000_000_u64, 1..300)) {
            let mut latencies = BTreeMap::new();
            for ms in &times {
                *latencies.entry(Latency::of(Duration::from_millis(*ms))).or_insert(0) += 1;
            }
            times.sort_unstable();
            for hundredths in [50, 95] {
                let exact = times[(times.len() * hundredths).div_ceil(100) - 1];
                let near = Latency::of(Duration::from_millis(exact)).middle();
                prop_assert_eq!(percentile(&latencies, hundredths as u64), Some(near));
            }
        }
    }
}
