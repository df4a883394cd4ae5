//! How many status callbacks the service takes, at what cost, and what the floors under it are.
//!
//! Pre-signed callbacks go over keep-alive connections to the real program, on the embedded store and on Redis; every
//! one must be answered 204, and afterwards the streams must hold as many entries as were acknowledged. In the same
//! run two floors are measured: a bare actix-web handler that reads the body and answers 204, and the script alone
//! over a pipelined connection. `docs/benchmarks.md` says what the figures mean.

mod bare;
mod bulk;
mod driver;
mod forward;
mod processes;
mod report;
mod requests;
mod script;
mod soak;

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use self::{
    driver::Load,
    processes::{RedisServer, Service},
    report::{FLOODING, OnDisk, Report, Row},
    requests::Callbacks,
};

/// STOPs in the flood.
const STOPS: u64 = 50;

/// cargo bench --bench load -- [OPTIONS]
#[derive(Parser)]
struct Options {
    /// Messages; each has two callbacks, sent and delivered.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Keep-alive connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// A tenth of the messages: to see that all works, not to measure.
    #[arg(long)]
    quick: bool,
    /// Also measure Redis with `appendfsync always`.
    #[arg(long)]
    fsync: bool,
    /// The embedded store alone.
    #[arg(long)]
    embedded: bool,
    /// Steady traffic of every kind for so many minutes, over Redis and over the embedded store, and nothing else.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    soak: Option<u64>,
    /// Only what it costs to tell the application of every callback.
    #[arg(long)]
    forward: bool,
    /// Be the bare handler. Used by the driver itself.
    #[arg(long, hide = true)]
    bare_handler: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.bare_handler {
        return bare::serve();
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&options))
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    if let Some(minutes) = options.soak {
        return soak::run(Duration::from_secs(60 * minutes)).await;
    }
    let messages = if options.quick { options.messages / 10 } else { options.messages };
    eprintln!("signing {} callbacks of {messages} messages", 2 * messages);
    let callbacks = Callbacks::sign(messages);
    let load = Load { callbacks: &callbacks, connections: options.connections };
    if options.forward {
        return forward::run(&load).await;
    }
    let mut report = Report::new(messages);
    if !options.embedded {
        measure_redis_and_floors(options, &load, &mut report).await?;
    }

    eprintln!("the service over the embedded store");
    let mut service = Service::start("embedded:data")?;
    let row = load.run(service.address(), &[("service", service.id())]).await?;
    let kept = service.count_deliveries().await?;
    ensure!(kept == callbacks.len(), "{} callbacks were acknowledged and {kept} are kept", callbacks.len());
    report.embedded = Some(row);
    report.on_disk = Some(OnDisk {
        memory_mib: processes::peak_memory_kib(service.id())? as f64 / 1_024.0,
        written_bytes: processes::written_bytes(service.id())? as f64 / callbacks.len() as f64,
        start_after_kill: service.start_after_kill()?,
    });
    drop(service);

    eprintln!("batches");
    report.bulk_embedded = Some(bulk::accept(&Service::start("embedded:data")?).await?);

    println!("{report}");
    Ok(())
}

async fn measure_redis_and_floors(
    options: &Options,
    load: &Load<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let messages = report.messages;
    eprintln!("floor: a bare handler");
    let bare = processes::bare_handler()?;
    report.bare = Some(load.run(bare.address(), &[("handler", bare.id())]).await?);
    drop(bare);

    eprintln!("floor: the script alone");
    let redis = RedisServer::start(&[]).await?;
    report.script = Some(script::run(&redis, messages).await?);
    report.sent_through_us_bytes = Some(script::memory_of_own_messages(messages).await?);
    drop(redis);

    eprintln!("the service over Redis");
    let redis = RedisServer::start(&[]).await?;
    report.redis = Some(over_redis(load, &redis).await?);
    report.message_bytes = Some(redis.grown_bytes().await? as f64 / messages as f64);
    drop(redis);

    if options.fsync {
        eprintln!("the service over Redis with appendfsync always");
        let redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await?;
        report.redis_fsync = Some(over_redis(load, &redis).await?);
    }

    eprintln!("STOP in a flood");
    let redis = RedisServer::start(&[]).await?;
    let service = Service::start(&redis.url())?;
    let flood = Load { callbacks: load.callbacks, connections: FLOODING };
    report.flood = Some(flood.run_with_stops(service.address(), &requests::stops(STOPS)).await?);
    drop((service, redis));

    eprintln!("batches over Redis");
    let redis = RedisServer::start(&[]).await?;
    report.bulk_redis = Some(bulk::accept(&Service::start(&redis.url())?).await?);
    Ok(())
}

async fn over_redis(load: &Load<'_>, redis: &RedisServer) -> anyhow::Result<Row> {
    let service = Service::start(&redis.url())?;
    let row = load.run(service.address(), &[("service", service.id()), ("redis", redis.id())]).await?;
    let kept = redis.count_deliveries().await.context("the deliveries stream cannot be counted")?;
    let acknowledged = load.callbacks.len();
    ensure!(kept == acknowledged, "{acknowledged} callbacks were acknowledged and {kept} are kept");
    Ok(row)
}
