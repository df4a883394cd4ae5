//! What waits to be told to a caller's own URL is sealed, and so is the URL: what becomes of it when the master key changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use actix_web::HttpResponse;
use serde_json::{Value, json};
use textledger::{
    clock::{Clock, SystemClock},
    domain::{Organization, Task, TaskLine},
    startup,
    store::Kind,
};

use super::{call, create, schedule, world};
use crate::{
    api::on_both_stores,
    simulator::receiver::{Received, Receiver},
    support::{
        eventually, leftovers,
        service::{MASTER_KEY, OUR_NUMBER, On, PERSON, TestService, answer},
        twilio::World,
    },
};

on_both_stores! {
    what_no_key_opens_any_more_is_told_to_nobody_and_given_up_after_a_day
    what_waits_is_opened_with_the_former_key_and_what_is_new_needs_it_not
}

const NEXT_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// More relays than a story here makes.
const MANY: usize = 100;

/// A receiver that answers 503 until it is up.
fn receiver() -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(503));
    let receiver = Receiver::answering({
        let status = status.clone();
        move |_, _| {
            let status = status.load(Ordering::Relaxed);
            async move { HttpResponse::build(status.try_into().unwrap()).finish() }
        }
    });
    (receiver, status)
}

/// Starts the service again with other master keys.
async fn restart(service: &mut TestService, keys: &str) {
    // What is killed leaves claims behind, which hold for a minute.
    assert_eq!(service.stop().await, Some(0));
    service.set("TEXTLEDGER_MASTER_KEY", keys);
    service.start_again();
}

/// Waits until the relays that came to `result` are `count` since the start.
async fn relays(service: &TestService, result: &str, count: u64) {
    let sample = format!("textledger_relays_total{{result=\"{result}\"}}");
    eventually(result, async || (service.metric(&sample).await >= count).then_some(())).await;
}

/// Waits until the receiver is told that `sid` was delivered.
async fn delivered(receiver: &Receiver, sid: &str) {
    let is_told = |request: &Received| {
        request.get("MessageSid").as_deref() == Some(sid) && request.status() == "delivered"
    };
    eventually("it is told", async || receiver.received().iter().any(is_told).then_some(())).await;
}

/// Sends a message that asks for callbacks at the receiver, which does not take them, and returns how many there are to be.
async fn send_in_vain(world: &World, receiver: &Receiver) -> u64 {
    let url = receiver.url("/status");
    let (status, message) = create(&world.service, &[("From", OUR_NUMBER), ("StatusCallback", &url)]).await;
    assert_eq!(status, 201, "{message}");
    world.settle().await;
    let messages = world.twilio.messages();
    let told = messages.iter().map(|message| message.callbacks.len()).sum::<usize>() as u64;
    relays(&world.service, "again", told).await;
    told
}

async fn what_no_key_opens_any_more_is_told_to_nobody_and_given_up_after_a_day(on: On) {
    let mut world = world(on, &[]).await;
    let (receiver, status) = receiver();
    let told = send_in_vain(&world, &receiver).await;
    restart(&mut world.service, NEXT_KEY).await;
    status.store(204, Ordering::Relaxed);
    let before = receiver.received().len();
    relays(&world.service, "again", told).await;
    assert_eq!(receiver.received().len(), before);
    let log = world.service.log();
    let line =
        log.lines().find(|line| line.contains("a status callback cannot be opened, and is tried again"));
    let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert!(line["error"].as_str().unwrap().contains("TEXTLEDGER_MASTER_KEY: add it there"), "{line}");

    assert_eq!(world.service.stop().await, Some(0));
    assert_eq!(tasks(&world.service, Some(DAY)).await as u64, told);
    world.service.start_again();
    relays(&world.service, "given_up", told).await;
    let log = world.service.log();
    let given_up =
        log.lines().filter(|line| line.contains("could not be relayed for a day, and is given up"));
    let given_up: Vec<Value> = given_up.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(given_up.len() as u64, told);
    for line in given_up {
        assert_eq!((&line["level"], &line["organization"]), (&json!("ERROR"), &json!("default")));
        assert_eq!(line["id"].as_str().map(str::len), Some(16), "{line}");
    }
    assert_eq!(receiver.received().len(), before);
    // Nothing is left to be tried, and the next one is told as ever.
    assert_eq!(world.service.stop().await, Some(0));
    assert_eq!(tasks(&world.service, None).await, 0);
    world.service.start_again();
    let url = receiver.url("/status");
    create(&world.service, &[("From", OUR_NUMBER), ("StatusCallback", &url)]).await;
    eventually("it is told", async || receiver.statuses().contains(&"delivered".to_owned()).then_some(()))
        .await;
}

/// How many relays are left in the store of a service that is stopped. All are due at once then, and as old as is said, if
/// anything is.
async fn tasks(service: &TestService, age: Option<Duration>) -> usize {
    let config = leftovers::config(service.settings());
    let open = async || startup::open_store(&config, Arc::new(SystemClock)).await.ok();
    let store = eventually("the store is free", open).await;
    let (organization, now) = (Organization::default(), SystemClock.now_ms());
    let line = TaskLine::Callers;
    let claimed = store.claim(&organization, line, now + DAY * 30, now, MANY).await.unwrap();
    for (task, _) in &claimed {
        let (Ok(Task::Relay { name }), Some(age)) = (task, age) else { continue };
        let before = store.document(&organization, Kind::Relay, name).await.unwrap().unwrap();
        let mut relay: Value = serde_json::from_str(&before).unwrap();
        let since = &mut relay["status"]["since"];
        *since = json!(since.as_u64().unwrap() - u64::try_from(age.as_millis()).unwrap());
        let (before, after) = (Some(before.as_str()), relay.to_string());
        let change = store.change_document(&organization, Kind::Relay, name, before, Some(&after), None);
        assert!(change.await.unwrap());
    }
    claimed.len()
}

async fn what_waits_is_opened_with_the_former_key_and_what_is_new_needs_it_not(on: On) {
    let mut world = world(on, &[]).await;
    let (receiver, status) = receiver();
    let told = send_in_vain(&world, &receiver).await;
    let url = receiver.url("/status");
    let scheduled = schedule(&world.service, 5, &[("StatusCallback", &url), ("Body", "from before")]).await;
    let with_key = async |service: &TestService| {
        let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", "once")];
        let request = call(service, reqwest::Method::POST, "").header("Idempotency-Key", "one").form(&form);
        answer(request).await
    };
    let answered = with_key(&world.service).await;

    restart(&mut world.service, &format!("{NEXT_KEY},{MASTER_KEY}")).await;
    status.store(204, Ordering::Relaxed);
    relays(&world.service, "told", told).await;
    delivered(&receiver, &scheduled).await;
    assert!(world.bodies_for(PERSON).contains(&"from before".to_owned()));
    assert_eq!(with_key(&world.service).await, answered);
    assert!(!world.service.log().contains("cannot be opened"));

    // What was sealed meanwhile does not need the former one.
    status.store(503, Ordering::Relaxed);
    let before = receiver.received().len();
    let (_, message) = create(&world.service, &[("From", OUR_NUMBER), ("StatusCallback", &url)]).await;
    world.settle().await;
    eventually("the receiver is asked", async || (receiver.received().len() > before).then_some(())).await;
    restart(&mut world.service, NEXT_KEY).await;
    status.store(204, Ordering::Relaxed);
    delivered(&receiver, message["sid"].as_str().unwrap()).await;
    assert!(!world.service.log().contains("cannot be opened"));
}
