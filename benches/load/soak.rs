//! `--soak MINUTES`: traffic of every kind for so long, and what becomes of memory, files and latency meanwhile.
//!
//! Messages are sent through the service to the simulator, which posts their callbacks; others were sent elsewhere, and their
//! callbacks are measured; people write STOP and START; a stream is followed, and lists are read. The rates are steady and far below
//! what the machine can do, so that whatever grows is not a queue.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use reqwest::StatusCode;
use serde_json::json;
use textledger::store::embedded::FILE_NAME;
use tokio::{
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    driver::{self, CALLBACK_TAKEN, REPLY_TAKEN},
    processes::{self, RedisServer, Service},
    requests::Signer,
};

/// Samples of one soak, however long it is.
const SAMPLES: u32 = 24;

/// Callbacks a second of messages that were sent elsewhere, each connection's.
const CALLBACKS_PER_S: u32 = 25;

/// Connections on which these come.
const CONNECTIONS: u64 = 4;

/// Messages a second that are sent through the service.
const SENDS_PER_S: u32 = 10;

/// STOP and START, in turn, a second.
const REPLIES_PER_S: u32 = 2;

/// People who write them.
const PEOPLE: u64 = 1_000;

/// How often a page of messages, one of events and the statistics are read.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// What a service is made to do, and what was counted of it.
#[derive(Default)]
struct Traffic {
    /// Microseconds from a callback to its answer, since the last sample.
    callbacks: Mutex<Option<Histogram<u64>>>,
    answered: AtomicU64,
    sent: AtomicU64,
    replies: AtomicU64,
    streamed: AtomicU64,
}

/// What was seen at one moment.
struct Sample {
    minutes: f64,
    memory_mib: f64,
    files: usize,
    stored_mb: f64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
}

/// Where the data is, to see how large it is.
enum Stored<'a> {
    Redis(&'a RedisServer),
    Embedded,
}

/// Soaks a service over Redis and one over the embedded store, side by side, and prints what was seen.
pub async fn run(length: Duration) -> anyhow::Result<()> {
    let redis = RedisServer::start(&[]).await?;
    let (url, embedded) = (redis.url(), "embedded:data".to_owned());
    let (over_redis, over_embedded) = tokio::try_join!(
        soak("over Redis", &url, Stored::Redis(&redis), length),
        soak("over the embedded store", &embedded, Stored::Embedded, length),
    )?;
    print!("{over_redis}\n{over_embedded}");
    Ok(())
}

async fn soak(name: &str, store: &str, stored: Stored<'_>, length: Duration) -> anyhow::Result<String> {
    let simulator = processes::simulator()?;
    let service = Service::start_with(&[
        ("TEXTLEDGER_STORE", store),
        ("TEXTLEDGER_MPS", "1000"),
        ("TWILIO_API_BASE_URL", &format!("http://{}", simulator.address())),
    ])?;
    let traffic = Traffic::default();
    let samples = tokio::select! {
        samples = sample(name, &service, &traffic, &stored, length) => samples?,
        ended = traffic.flow(&service) => return Err(ended.err().context("the traffic ended")?),
    };
    report(name, &traffic, &samples)
}

impl Traffic {
    /// Has everything flow, until something fails.
    async fn flow(&self, service: &Service) -> anyhow::Result<()> {
        let signer = Signer::new(&service.url(""));
        let connections =
            (0..CONNECTIONS).map(|connection| self.callbacks(service.address(), &signer, connection));
        tokio::try_join!(
            futures_util::future::try_join_all(connections),
            self.sends(service),
            self.replies(service.address(), &signer),
            self.stream(service),
            read(service),
        )?;
        Ok(())
    }

    async fn callbacks(&self, address: SocketAddr, signer: &Signer, lane: u64) -> anyhow::Result<()> {
        let mut connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        let mut tick = every(Duration::from_secs(1) / CALLBACKS_PER_S);
        for number in 0_u64.. {
            let number = number * CONNECTIONS + lane;
            // Spread over the whole range, as Twilio's SIDs are.
            let sid = format!("SM{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let to = format!("+1415{:07}", number % 10_000_000);
            for status in ["sent", "delivered"] {
                tick.tick().await;
                let request = signer.callback(&sid, &to, status);
                let took = driver::exchange(&mut connection, &request, CALLBACK_TAKEN).await?;
                let mut callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
                callbacks.get_or_insert(Histogram::new(3)?).record(took)?;
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    async fn sends(&self, service: &Service) -> anyhow::Result<()> {
        let http = reqwest::Client::new();
        let mut tick = every(Duration::from_secs(1) / SENDS_PER_S);
        for number in 0_u64.. {
            tick.tick().await;
            let body = json!({ "to_number": format!("+1646{:07}", number % 10_000_000), "message": "Your order has left." });
            let request = http.post(service.url("/api/sms/send")).bearer_auth(service.token()).json(&body);
            let answer = request.send().await?;
            let status = answer.status();
            ensure!(
                status == StatusCode::CREATED,
                "a send was answered with {status}: {}",
                answer.text().await?
            );
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn replies(&self, address: SocketAddr, signer: &Signer) -> anyhow::Result<()> {
        let mut connection = TcpStream::connect(address).await?;
        let mut tick = every(Duration::from_secs(1) / REPLIES_PER_S);
        for number in 0_u64.. {
            tick.tick().await;
            let body = if (number / PEOPLE).is_multiple_of(2) { "STOP" } else { "START" };
            let request = signer.reply(number, &format!("+1628{:07}", number % PEOPLE), body);
            driver::exchange(&mut connection, &request, REPLY_TAKEN).await?;
            self.replies.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn stream(&self, service: &Service) -> anyhow::Result<()> {
        let request = reqwest::Client::new().get(service.url("/api/sms/events")).bearer_auth(service.token());
        let mut stream = request.header("Accept", "text/event-stream").send().await?.error_for_status()?;
        while let Some(chunk) = stream.chunk().await? {
            let events = chunk.windows(4).filter(|window| window == b"\nid:").count();
            self.streamed.fetch_add(events as u64, Ordering::Relaxed);
        }
        anyhow::bail!("the stream ended")
    }

    fn take_latency(&self) -> Option<Histogram<u64>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads what dashboards do.
async fn read(service: &Service) -> anyhow::Result<()> {
    let http = reqwest::Client::new();
    let mut tick = every(READ_INTERVAL);
    loop {
        for path in ["messages?limit=50", "events?limit=50", "stats?window=1h&bucket=1m"] {
            let request = http.get(service.url(&format!("/api/sms/{path}"))).bearer_auth(service.token());
            request.send().await?.error_for_status()?.bytes().await?;
        }
        tick.tick().await;
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn sample(
    name: &str,
    service: &Service,
    traffic: &Traffic,
    stored: &Stored<'_>,
    length: Duration,
) -> anyhow::Result<Vec<Sample>> {
    let (began, mut tick) = (Instant::now(), every(length / SAMPLES));
    tick.tick().await;
    let mut samples = Vec::new();
    for number in 1..=SAMPLES {
        tick.tick().await;
        let latency = traffic.take_latency().context("no callback was answered since the last sample")?;
        let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        let stored = match stored {
            Stored::Redis(redis) => redis.grown_bytes().await?,
            Stored::Embedded => fs::metadata(service.folder().join("data").join(FILE_NAME))?.len(),
        };
        let sample = Sample {
            minutes: began.elapsed().as_secs_f64() / 60.0,
            memory_mib: processes::memory_kib(service.id())? as f64 / 1_024.0,
            files: fs::read_dir(format!("/proc/{}/fd", service.id()))?.count(),
            stored_mb: stored as f64 / 1e6,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            longest_ms: ms(1.0),
        };
        eprintln!("{name}: {number} of {SAMPLES}: {:.0} MiB, p99 {:.2} ms", sample.memory_mib, sample.p99_ms);
        samples.push(sample);
    }
    Ok(samples)
}

/// A table of every third sample, and the slopes of the second half: by then caches are as full as they get.
fn report(name: &str, traffic: &Traffic, samples: &[Sample]) -> anyhow::Result<String> {
    use std::fmt::Write;

    let mut text = String::new();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    writeln!(
        text,
        "{name}: {} callbacks, {} messages sent, {} replies, {} events streamed\n",
        count(&traffic.answered),
        count(&traffic.sent),
        count(&traffic.replies),
        count(&traffic.streamed)
    )?;
    writeln!(text, "| minute | memory MiB | files | stored MB | p50 ms | p99 ms | longest ms |")?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for Sample { minutes, memory_mib, files, stored_mb, p50_ms, p99_ms, longest_ms } in
        samples.iter().skip(2).step_by(3)
    {
        writeln!(
            text,
            "| {minutes:.1} | {memory_mib:.1} | {files} | {stored_mb:.1} | {p50_ms:.2} | {p99_ms:.2} | {longest_ms:.1} |"
        )?;
    }
    let half = &samples[samples.len() / 2..];
    let slope = |value: fn(&Sample) -> f64| {
        60.0 * slope(&half.iter().map(|sample| (sample.minutes, value(sample))).collect::<Vec<_>>())
    };
    writeln!(
        text,
        "| slope per hour | {:+.1} | {:+.1} | {:+.1} | {:+.2} | {:+.2} | {:+.1} |",
        slope(|sample| sample.memory_mib),
        slope(|sample| sample.files as f64),
        slope(|sample| sample.stored_mb),
        slope(|sample| sample.p50_ms),
        slope(|sample| sample.p99_ms),
        slope(|sample| sample.longest_ms),
    )?;
    Ok(text)
}

/// The slope of the line that fits best, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    covariance / points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>()
}
