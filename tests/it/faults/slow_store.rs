//! A Redis that answers, and takes longer than Twilio waits.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{On, PUBLIC_URL, TestService, callback, reply},
    slow_redis::SlowAddress,
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

const PERSON: &str = "+14155550143";

/// How long Redis takes for an answer: half of it to one and a half of it.
const ANSWER_TIME: Duration = Duration::from_millis(1_200);

/// How long Twilio waits, by the connection overrides that it is asked for.
const TWILIO_WAITS: Duration = Duration::from_secs(4);

/// Callbacks of a flood, and the pause between two: more than get through in that time.
const FLOOD: u32 = 1_500;
const PAUSE: Duration = Duration::from_millis(3);

async fn start(address: &SlowAddress) -> Arc<TestService> {
    let url = address.url();
    let settings = [
        ("TEXTLEDGER_STORE", url.as_str()),
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TEXTLEDGER_LOG", "info"),
    ];
    Arc::new(TestService::start_with(On::Redis, &settings).await)
}

fn sid(number: u32) -> String {
    format!("SM{number:032x}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_redis_does_not_take_in_time_is_spooled_and_nothing_is_turned_away() {
    let redis = RedisServer::start();
    let address = SlowAddress::of(&redis).await;
    let service = start(&address).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(FLOOD), "sent")).await.status(), 204);
    address.answer_within(ANSWER_TIME);
    let mut flood = JoinSet::new();
    for number in 0..FLOOD {
        let service = service.clone();
        flood.spawn(async move {
            let begun = Instant::now();
            let answer = match number == FLOOD / 2 {
                true => service.try_webhook(INBOUND, &reply(&sid(number), PERSON, "STOP")).await,
                false => service.try_webhook(STATUS, &callback(&sid(number), "sent")).await,
            };
            (answer, begun.elapsed())
        });
        tokio::time::sleep(PAUSE).await;
    }
    let answers = flood.join_all().await;
    let turned_away = answers.iter().filter(|(answer, _)| !matches!(answer, Some(200 | 204))).count();
    let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
    assert!(turned_away == 0 && slowest < TWILIO_WAITS, "{turned_away} of {FLOOD} turned away, {slowest:?}");
    let mut faults = 0;
    for fault in ["slow", "away"] {
        faults += service.metric(&format!("textledger_store_fault{{fault=\"{fault}\"}}")).await;
    }
    assert_eq!(faults, 1);
    address.answer_within(Duration::ZERO);
    eventually("the spool is empty", async || {
        (service.metric("textledger_spool_entries").await == 0).then_some(())
    })
    .await;
    let ended = async || service.log().contains("has everything that was spooled").then_some(());
    eventually("the operator is told", ended).await;
    let told: Vec<String> = service
        .all_events()
        .await
        .iter()
        .filter(|event| event["type"] != "consent")
        .map(|event| event["sid"].as_str().unwrap().to_owned())
        .collect();
    let different: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), different.len()), (FLOOD as usize + 1, FLOOD as usize + 1));
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
    let log = service.log();
    assert_eq!(
        log.matches("the store is slow").count() + log.matches("the store is away").count(),
        1,
        "{log}"
    );
}
