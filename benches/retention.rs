//! What retention does to the embedded store's file, and to the callbacks that come meanwhile: `cargo bench --bench retention`.
//!
//! First the file is filled, and what is old taken away, round after round: it must not grow from round to round; at the end much less
//! is stored, and it is compacted. Then callbacks are recorded, beside nothing and beside retention as the service runs it, and
//! their times are compared.

mod support;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use support::{NOW, Redis, keys, outbound};
use textledger::{
    app::App,
    clock::{Clock, ManualClock, SystemClock},
    config::Config,
    domain::{Organization, OutboundState, Source, StatusChange, UnixMs},
    startup,
    store::{
        NewOutbound, Store,
        embedded::{EmbeddedStore, FILE_NAME, upkeep::compact},
    },
    twilio::{Address, MessageSid, MessageStatus},
    worker::retention,
};
use tokio_util::sync::CancellationToken;

const ROUNDS: u64 = 10;

/// Rounds after those, in which few messages are stored.
const FEW_ROUNDS: u64 = 3;

/// The time from one round to the next: things are kept for 30 days, as by default, so that those of two rounds are there.
const ROUND: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// Messages that are stored in a round, and that retention takes away beside the callbacks.
const STORED: u64 = 20_000;

/// Callbacks of which the times are compared.
const CALLBACKS: u64 = 20_000;

/// Messages, or callbacks, that are stored at the same time.
const AT_ONCE: usize = 32;

/// More than things are kept for by default.
const AGES: Duration = Duration::from_secs(40 * 24 * 60 * 60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fill_and_empty(folder.path()).await?;
    println!();
    println!("| store | beside | callbacks/s | p50 ms | p99 ms | slowest ms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(ManualClock::new(NOW));
    let store = EmbeddedStore::open(folder.path(), clock.clone())?.sealed_with(keys());
    compare("embedded", Arc::new(store), clock).await?;
    let redis = Redis::start(folder.path())?;
    // The entries are of Redis's time, which nobody can move here: only what retention takes for the time is later.
    let clock = Arc::new(ManualClock::new(SystemClock.now_ms()));
    compare("Redis", Arc::new(redis.store().await?), clock).await
}

/// Fills a file and takes away what is too old, as often as [`ROUNDS`] says; then goes on with a twentieth as many messages, until
/// nothing is left of the others, and compacts the file.
async fn fill_and_empty(folder: &Path) -> anyhow::Result<()> {
    let size = || fs::metadata(folder.join(FILE_NAME)).map(|file| file.len() as f64 / 1e6);
    let organization = Organization::default();
    let clock = Arc::new(ManualClock::new(NOW));
    println!("| round | messages | kept | with them, MB | without the old, MB | s |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let store = EmbeddedStore::open(folder, clock.clone())?.sealed_with(keys());
    let app = app(Arc::new(store), clock.clone())?;
    let (mut stored, mut kept) = (0, 0);
    for round in 0..ROUNDS + FEW_ROUNDS {
        let now = NOW + ROUND * u32::try_from(round)?;
        let messages = if round < ROUNDS { STORED } else { STORED / 20 };
        clock.set(now);
        store_all(app.store().as_ref(), &organization, stored..stored + messages, now).await?;
        stored += messages;
        let full = size()?;
        let began = Instant::now();
        let mut run = app.retention.begin();
        while !run.is_done() {
            app.retention.of(&organization).step(&mut run).await?;
        }
        kept = kept + messages - run.removed().messages;
        let seconds = began.elapsed().as_secs_f64();
        println!("| {round} | {messages} | {kept} | {full:.1} | {:.1} | {seconds:.1} |", size()?);
    }
    app.store().close().await;
    drop(app);
    let (closed, began) = (size()?, Instant::now());
    let compacted = compact(folder)?;
    println!();
    println!(
        "Closed: {closed:.1} MB; compacted: {:.1} MB, in {:.2} s",
        compacted.after as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Records callbacks beside nothing, then beside retention.
async fn compare(name: &str, store: Arc<dyn Store>, clock: Arc<ManualClock>) -> anyhow::Result<()> {
    let organization = Organization::default();
    let began = clock.now_ms();
    let app = app(store.clone(), clock.clone())?;
    store_all(store.as_ref(), &organization, 0..STORED, began).await?;
    report(name, "nothing", callbacks(store.as_ref(), &organization, STORED, began).await?);
    clock.set(began + AGES);
    let stop = CancellationToken::new();
    let cleaning = tokio::spawn({
        let (app, organization, stop) = (app.clone(), organization.clone(), stop.clone());
        async move { retention::look_through(&app, &organization, &stop).await }
    });
    let times = callbacks(store.as_ref(), &organization, STORED + CALLBACKS, began + AGES).await?;
    anyhow::ensure!(!cleaning.is_finished(), "retention was done before the callbacks");
    stop.cancel();
    cleaning.await??;
    report(name, "retention", times);
    Ok(())
}

fn app(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> anyhow::Result<Arc<App>> {
    let config = Config::read(std::collections::BTreeMap::new(), "")?;
    Ok(Arc::new(startup::assemble(&config, "", store, None, clock)?))
}

fn report(name: &str, beside: &str, (mut times, all): (Vec<Duration>, Duration)) {
    times.sort_unstable();
    let ms = |place: usize| times[place].as_secs_f64() * 1e3;
    let rate = times.len() as f64 / all.as_secs_f64();
    let (p50, p99) = (ms(times.len() / 2), ms(times.len() * 99 / 100));
    println!("| {name} | {beside} | {rate:.0} | {p50:.2} | {p99:.2} | {:.2} |", ms(times.len() - 1));
}

/// The times that callbacks took, and all of them together; of messages numbered from `first`.
async fn callbacks(
    store: &dyn Store,
    organization: &Organization,
    first: u64,
    at: UnixMs,
) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let times: Vec<anyhow::Result<Duration>> = stream::iter(first..first + CALLBACKS)
        .map(|number| async move {
            let began = Instant::now();
            store.record_status(organization, change(number, MessageStatus::Sent, at)?).await?;
            Ok(began.elapsed())
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    Ok((times.into_iter().collect::<anyhow::Result<_>>()?, began.elapsed()))
}

/// Stores messages that were sent through us and delivered.
async fn store_all(
    store: &dyn Store,
    organization: &Organization,
    numbers: std::ops::Range<u64>,
    at: UnixMs,
) -> anyhow::Result<()> {
    let stored = stream::iter(numbers).map(|number| async move {
        let mut outbound = outbound(number.into(), Address::parse("+15005550006")?);
        outbound.created_at = at;
        let message_sid = change(number, MessageStatus::Queued, at)?.sid;
        let state = OutboundState::Accepted { at, message_sid };
        let new = NewOutbound { outbound, state, content: None, bytes: 0, due: at, entry: None };
        store.enqueue(organization, &[new]).await?;
        for status in [MessageStatus::Queued, MessageStatus::Sent, MessageStatus::Delivered] {
            store.record_status(organization, change(number, status, at)?).await?;
        }
        anyhow::Ok(())
    });
    let stored: Vec<anyhow::Result<()>> = stored.buffer_unordered(AT_ONCE).collect().await;
    stored.into_iter().collect()
}

/// What Twilio tells of a message.
fn change(number: u64, status: MessageStatus, at: UnixMs) -> anyhow::Result<StatusChange> {
    let outbound = outbound(number.into(), Address::parse("+15005550006")?);
    Ok(StatusChange {
        sid: MessageSid::parse(&format!("SM{number:032x}"))?,
        id: Some(outbound.id),
        status,
        error_code: None,
        channel: outbound.to.channel(),
        to: Some(outbound.to.bare().clone()),
        from: outbound.from.map(|from| from.bare().clone()),
        batch: None,
        source: Source::Callback,
        at,
        ask_at: None,
        raw: Vec::new(),
        relay: None,
        posted: None,
    })
}
