//! What it costs to claim what is due, by how much is stored: `cargo bench --bench tasks`.
//!
//! As many tasks are due each time, 64; beside them 1,000 or 100,000 are planned for later. In the same way the flows are
//! looked for in which messages are due. The cost must not follow.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use support::{NOW, Redis, outbound};
use textledger::{
    clock::SystemClock,
    domain::{Hold, Organization, OutboundState, Task, TaskLine, UnixMs},
    store::{NewOutbound, Store, embedded::EmbeddedStore, outbox::OUTBOUNDS_MAX},
    twilio::{Address, MessageSid},
};

const DUE: usize = 64;
const STORED: [usize; 2] = [1_000, 100_000];
const ROUNDS: u32 = 200;

/// Tasks that are planned at the same time.
const PLANNED_AT_ONCE: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("| store | planned | claiming {DUE} that are due, µs | finding {DUE} flows that are due, µs |");
    println!("| --- | --- | --- | --- |");
    for stored in STORED {
        let folder = tempfile::tempdir()?;
        let store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock))?;
        report("embedded", &store, stored).await?;
    }
    for stored in STORED {
        let folder = tempfile::tempdir()?;
        let redis = Redis::start(folder.path())?;
        let store = redis.store().await?;
        report("Redis", &store, stored).await?;
    }
    Ok(())
}

async fn report(name: &str, store: &dyn Store, stored: usize) -> anyhow::Result<()> {
    let (claimed, found) = (claim(store, stored).await?, find_flows(store, stored).await?);
    println!("| {name} | {stored} | {claimed:.0} | {found:.0} |");
    Ok(())
}

/// Queues `stored` messages, each in a flow of its own, of which [`DUE`] are due, and returns what it takes to find those
/// flows, in µs.
async fn find_flows(store: &dyn Store, stored: usize) -> anyhow::Result<f64> {
    let organization = Organization::default();
    let numbers: Vec<usize> = (0..stored).collect();
    for numbers in numbers.chunks(OUTBOUNDS_MAX) {
        let queued: Vec<NewOutbound> = numbers
            .iter()
            .map(|&number| {
                let later = Duration::from_secs(900) + Duration::from_millis(number as u64);
                queued(number as u128, if number < DUE { NOW } else { NOW + later })
            })
            .collect();
        store.enqueue(&organization, &queued).await?;
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let found = store.due_flows(&organization, NOW, false, 0).await?;
        assert_eq!(found.flows.len(), DUE);
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
}

/// A message that waits until `due`, by a sender of its own.
fn queued(number: u128, due: UnixMs) -> NewOutbound {
    let from = Address::parse(&format!("S{number}")).expect("it has the shape of an address");
    let outbound = outbound(number, from);
    let state = OutboundState::Waiting { until: due, reason: Hold::Turn, tries: 0, suspicion: None };
    NewOutbound { outbound, state, content: None, bytes: 6, due, entry: None }
}

/// Plans `stored` tasks, of which [`DUE`] are due, and returns what one claim of those takes, in µs.
async fn claim(store: &dyn Store, stored: usize) -> anyhow::Result<f64> {
    let organization = Organization::default();
    let numbers: Vec<usize> = (0..stored).collect();
    for numbers in numbers.chunks(PLANNED_AT_ONCE) {
        let planned = numbers.iter().map(|&number| {
            let organization = &organization;
            async move {
                let sid = MessageSid::parse(&format!("SM{number:032x}")).expect("it has the shape of a SID");
                let later = Duration::from_secs(900) + Duration::from_millis(number as u64);
                let at = if number < DUE { NOW } else { NOW + later };
                store.schedule(organization, &Task::Ask { sid, since: NOW }, at).await
            }
        });
        futures_util::future::try_join_all(planned).await?;
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        // Claimed until the time at which they are due, they are due again.
        let claimed = store.claim(&organization, TaskLine::Twilio, NOW, NOW, 1_000).await?;
        assert_eq!(claimed.len(), DUE);
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
}
