//! What it costs to find a rare status in the history: `cargo bench --bench history`.
//!
//! All messages were sent through us and delivered but the oldest one, which failed: all are looked through for it, page after
//! page, as a caller asks for them.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use futures_util::future::try_join_all;
use support::{NOW, Redis, keys, outbound};
use textledger::{
    app::reads::messages::MessageFilter,
    clock::SystemClock,
    config::Config,
    domain::{Organization, OutboundState, Source, StatusChange},
    startup,
    store::{NewOutbound, Store, embedded::EmbeddedStore},
    twilio::{Address, MessageSid, MessageStatus},
};

const STORED: u128 = 40_000;
const PAGE: usize = 50;

/// Messages that are stored at the same time.
const STORED_AT_ONCE: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("| store | messages | pages | ms | messages/s |");
    println!("| --- | --- | --- | --- | --- |");
    let folder = tempfile::tempdir()?;
    report(
        "embedded",
        Arc::new(EmbeddedStore::open(folder.path(), Arc::new(SystemClock))?.sealed_with(keys())),
    )
    .await?;
    let redis = Redis::start(folder.path())?;
    report("Redis", Arc::new(redis.store().await?)).await
}

async fn report(name: &str, store: Arc<dyn Store>) -> anyhow::Result<()> {
    let organization = Organization::default();
    store_message(store.as_ref(), &organization, 0).await?;
    let numbers: Vec<u128> = (1..STORED).collect();
    for numbers in numbers.chunks(STORED_AT_ONCE) {
        let stored = numbers.iter().map(|&number| store_message(store.as_ref(), &organization, number));
        try_join_all(stored).await?;
    }
    let config = Config::read(BTreeMap::new(), "")?;
    let app = startup::assemble(&config, "", store, None, Arc::new(SystemClock))?;
    let filter = MessageFilter { status: Some("failed".to_owned()), ..MessageFilter::default() };
    let (mut found, mut pages, mut cursor) = (0, 0, None);
    let start = Instant::now();
    loop {
        let page = app.reads.of(&organization).history(&filter, cursor, PAGE).await?;
        (found, pages, cursor) = (found + page.messages.len(), pages + 1, page.next);
        if cursor.is_none() {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(found, 1);
    println!("| {name} | {STORED} | {pages} | {:.0} | {:.0} |", seconds * 1e3, STORED as f64 / seconds);
    Ok(())
}

/// Stores a message that was sent through us, and what Twilio told of it.
async fn store_message(store: &dyn Store, organization: &Organization, number: u128) -> anyhow::Result<()> {
    let sid = MessageSid::parse(&format!("SM{number:032x}"))?;
    let from = Address::parse("+15005550006")?;
    let outbound = outbound(number, from.clone());
    let (id, to) = (outbound.id, outbound.to.clone());
    let state = OutboundState::Accepted { at: NOW, message_sid: sid.clone() };
    let new = NewOutbound { outbound, state, content: None, bytes: 0, due: NOW, entry: None };
    store.enqueue(organization, &[new]).await?;
    let last = if number == 0 { MessageStatus::Failed } else { MessageStatus::Delivered };
    for status in [MessageStatus::Queued, MessageStatus::Sent, last] {
        let change = StatusChange {
            sid: sid.clone(),
            id: Some(id),
            status,
            error_code: None,
            channel: to.channel(),
            to: Some(to.bare().clone()),
            from: Some(from.bare().clone()),
            batch: None,
            source: Source::Callback,
            at: NOW,
            ask_at: None,
            raw: Vec::new(),
            relay: None,
            posted: None,
        };
        store.record_status(organization, change).await?;
    }
    Ok(())
}
