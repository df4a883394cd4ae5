//! The figures, as a table and as the ratios that are aimed at.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use textledger::app::outgoing::bulk::RECIPIENTS_MAX;

use crate::bulk::Accepted;

/// One measured load.
pub struct Row {
    /// Callbacks a second.
    pub rate: f64,
    /// Microseconds from request to answer.
    pub latency: Option<Histogram<u64>>,
    /// The driver's own processor time per callback, in microseconds.
    pub driver_us: f64,
    /// Processor time per callback, in microseconds, of each process that was watched.
    pub costs_us: Vec<(&'static str, f64)>,
}

impl Row {
    fn cost(&self, name: &str) -> f64 {
        self.costs_us.iter().find(|(process, _)| *process == name).map_or(f64::NAN, |(_, cost)| *cost)
    }
}

/// The service over the embedded store, and its file.
#[derive(Clone, Copy)]
pub struct OnDisk {
    /// The most memory that the service ever had, all events read once, in MiB.
    pub memory_mib: f64,
    /// Written to disk per callback, in bytes.
    pub written_bytes: f64,
    /// Until it listens, after it was killed.
    pub start_after_kill: Duration,
}

/// Everything that one run measured.
pub struct Report {
    /// Messages, of which each has two callbacks.
    pub messages: usize,
    /// The bare handler.
    pub bare: Option<Row>,
    /// The script alone.
    pub script: Option<Row>,
    /// The service over Redis.
    pub redis: Option<Row>,
    /// The same, with every write on disk.
    pub redis_fsync: Option<Row>,
    /// The service over the embedded store.
    pub embedded: Option<Row>,
    /// What it costs to keep everything on disk.
    pub on_disk: Option<OnDisk>,
    /// The service over Redis under a flood, and the STOPs in it: microseconds from request to answer.
    pub flood: Option<(Row, Histogram<u64>)>,
    /// A batch, over Redis.
    pub bulk_redis: Option<Accepted>,
    /// The same, over the embedded store.
    pub bulk_embedded: Option<Accepted>,
    /// Redis's memory per message with two callbacks.
    pub message_bytes: Option<f64>,
    /// Redis's memory per message that was sent through us.
    pub sent_through_us_bytes: Option<f64>,
}

impl Report {
    /// Nothing measured yet, of `messages` messages.
    pub fn new(messages: usize) -> Self {
        Self {
            messages,
            bare: None,
            script: None,
            redis: None,
            redis_fsync: None,
            embedded: None,
            on_disk: None,
            flood: None,
            bulk_redis: None,
            bulk_embedded: None,
            message_bytes: None,
            sent_through_us_bytes: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} messages, two callbacks each; µs are processor time per callback\n", self.messages)?;
        writeln!(
            f,
            "| load | callbacks/s | p50 ms | p90 ms | p99 ms | p99.9 ms | service µs | Redis µs | driver µs |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for (name, row) in [
            ("bare handler", &self.bare),
            ("script alone, pipelined", &self.script),
            ("service over Redis", &self.redis),
            ("service over Redis, appendfsync always", &self.redis_fsync),
            ("service over the embedded store", &self.embedded),
        ] {
            let Some(row) = row else { continue };
            write!(f, "| {name} | {:.0} |", row.rate)?;
            for quantile in [0.5, 0.9, 0.99, 0.999] {
                match &row.latency {
                    Some(latency) => write!(f, " {:.2} |", latency.value_at_quantile(quantile) as f64 / 1e3)?,
                    None => write!(f, " |")?,
                }
            }
            let service = row.cost("service").max(row.cost("handler"));
            for cost in [service, row.cost("redis"), row.driver_us] {
                match cost.is_nan() {
                    true => write!(f, " |")?,
                    false => write!(f, " {cost:.1} |")?,
                }
            }
            writeln!(f)?;
        }
        if let Some((row, stops)) = &self.flood {
            let ms = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
            writeln!(f, "\n| in a flood over {FLOODING} connections | p50 ms | p99 ms | longest ms |")?;
            writeln!(f, "| --- | --- | --- | --- |")?;
            for (name, latency) in
                [("STOP", Some(stops)), ("the flood's own callbacks", row.latency.as_ref())]
            {
                let Some(latency) = latency else { continue };
                let (p50, p99, longest) = (ms(latency, 0.5), ms(latency, 0.99), ms(latency, 1.0));
                writeln!(f, "| {name} | {p50:.1} | {p99:.1} | {longest:.1} |")?;
            }
        }
        if let Some(OnDisk { memory_mib, written_bytes, start_after_kill }) = self.on_disk {
            writeln!(f, "\n| over the embedded store | |\n| --- | --- |")?;
            writeln!(f, "| the service's memory at the most, MiB | {memory_mib:.0} |")?;
            writeln!(f, "| written to disk per callback, kB | {:.1} |", written_bytes / 1e3)?;
            writeln!(
                f,
                "| until it listens again after a kill, s | {:.2} |",
                start_after_kill.as_secs_f64()
            )?;
        }
        writeln!(f, "\n| a batch of {RECIPIENTS_MAX} | accepted after ms | service ms | memory MiB |")?;
        writeln!(f, "| --- | --- | --- | --- |")?;
        for (name, batch) in
            [("over Redis", &self.bulk_redis), ("over the embedded store", &self.bulk_embedded)]
        {
            let Some(Accepted { ms, service_ms, memory_mib }) = batch else { continue };
            writeln!(f, "| {name} | {ms:.0} | {service_ms:.0} | {memory_mib:.0} |")?;
        }
        self.ratios(f)
    }
}

/// Connections of the flood: far more than the service stores at once.
pub const FLOODING: usize = 1_024;

impl Report {
    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(bare), Some(script), Some(redis), Some(embedded)) =
            (&self.bare, &self.script, &self.redis, &self.embedded)
        else {
            return Ok(());
        };
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let allowed = cores * 1e6 / (bare.cost("handler") + script.cost("redis") + bare.driver_us);
        writeln!(f, "\n| ratio | measured | aim |\n| --- | --- | --- |")?;
        for (name, ratio, aim) in [
            (
                "service µs over Redis / bare handler µs",
                redis.cost("service") / bare.cost("handler"),
                "at most 2.5",
            ),
            (
                "Redis µs under the service / script alone",
                redis.cost("redis") / script.cost("redis"),
                "at most 1.3",
            ),
            ("rate over Redis / what floors and driver allow", redis.rate / allowed, "at least 0.6"),
            ("rate embedded / rate over Redis", embedded.rate / redis.rate, "at least 0.33"),
        ] {
            writeln!(f, "| {name} | {ratio:.2} | {aim} |")?;
        }
        for (name, bytes, aim) in [
            ("Redis bytes per message, two callbacks", self.message_bytes, "at most 400"),
            ("Redis bytes per message sent through us, three entries", self.sent_through_us_bytes, ""),
        ] {
            if let Some(bytes) = bytes {
                writeln!(f, "| {name} | {bytes:.0} | {aim} |")?;
            }
        }
        Ok(())
    }
}
