//! What is told to the caller's own StatusCallback URL, by way of Twilio, the service, and a receiver that checks it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::HttpResponse;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;
use textledger::twilio::signature::{Algorithm, SigningKey};

use super::{assert_valid_for_twilios_library, call, create, fetch, schedule, story};
use crate::{
    api::on_both_stores,
    simulator::receiver::{Received, Receiver},
    support::{
        eventually,
        service::{ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, On, PERSON, answer},
        twilio::World,
    },
};

on_both_stores! {
    the_callers_url_is_told_each_status_once_and_signed
    a_relay_outlives_a_receiver_that_fails_and_a_service_that_is_killed
    a_lost_callback_is_told_when_the_status_is_learned_otherwise
    what_ends_in_our_queue_is_told_under_the_name_that_the_caller_knows
}

fn key() -> SigningKey {
    SigningKey::new(Algorithm::HmacSha1, &SecretString::from(AUTH_TOKEN))
}

/// Sends a message with the receiver's URL, and returns its SID.
async fn send(world: &World, url: &str, further: &[(&str, &str)]) -> String {
    let parameters = [&[("From", OUR_NUMBER), ("StatusCallback", url)], further].concat();
    let (status, message) = create(&world.service, &parameters).await;
    assert_eq!(status, 201, "{message}");
    message["sid"].as_str().unwrap().to_owned()
}

/// The statuses that Twilio has told of a message.
fn told_by_twilio(world: &World, sid: &str) -> Vec<String> {
    let message = world.twilio.messages().into_iter().find(|message| message.sid.as_str() == sid).unwrap();
    message.callbacks.iter().map(|callback| callback.status.to_string()).collect()
}

fn sorted(mut statuses: Vec<String>) -> Vec<String> {
    statuses.sort();
    statuses
}

async fn the_callers_url_is_told_each_status_once_and_signed(on: On) {
    let world = story(on, &[]).await;
    world.fault(json!({ "duplicate_callback": 1 })).await;
    let receiver = Receiver::start();
    // What of a URL is spelled in several ways is signed as it was given.
    let url = receiver.url("/status?order=a%20b+c&x='y'#rc=3&rp=all");
    let sid = send(&world, &url, &[]).await;
    let failing = send(&world, &receiver.url("/other"), &[("To", "+14155530003")]).await;
    world.settle().await;
    let told = told_by_twilio(&world, &sid).len() + told_by_twilio(&world, &failing).len();
    let distinct = |sid: &str| told_by_twilio(&world, sid).into_iter().collect::<BTreeSet<_>>().len();
    let expected = distinct(&sid) + distinct(&failing);
    assert!(told > expected, "Twilio has repeated nothing");
    eventually("all statuses are relayed", async || (receiver.received().len() >= expected).then_some(()))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), expected, "{:?}", receiver.statuses());

    let of = |sid: &str| -> Vec<Received> {
        let received = receiver.received().into_iter();
        received.filter(|request| request.get("MessageSid").as_deref() == Some(sid)).collect()
    };
    let delivered = of(&sid).into_iter().find(|request| request.status() == "delivered").unwrap();
    for (name, value) in [
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("From", OUR_NUMBER),
        ("SmsSid", &sid),
        ("SmsStatus", "delivered"),
        ("To", PERSON),
    ] {
        assert_eq!(delivered.get(name).as_deref(), Some(value), "{name}");
    }
    // As it came from Twilio, with what we do not read.
    assert!(delivered.get("RawDlrDoneDate").is_some());
    assert_eq!((delivered.method.as_str(), delivered.target.split('?').next()), ("POST", Some("/status")));
    let undelivered = of(&failing).into_iter().find(|request| request.status() == "undelivered").unwrap();
    assert_eq!(undelivered.get("ErrorCode").as_deref(), Some("30003"));
    assert_eq!(world.service.metric("textledger_relays_total{result=\"told\"}").await, expected as u64);
    let plain = receiver.received().into_iter().filter(|request| request.target == "/other").count();
    assert_eq!(plain, distinct(&failing));
    if matches!(on, On::Embedded) {
        let plain = Receiver::start();
        send(&world, &plain.url("/status?order=a%20b&x=1"), &[("To", "+14155550199")]).await;
        eventually("it is told", async || plain.statuses().contains(&"delivered".to_owned()).then_some(()))
            .await;
        plain.assert_signed(&key());
        assert_valid_for_twilios_library(&plain, AUTH_TOKEN).await;
    }
    world.finish(&[]).await;
}

async fn a_relay_outlives_a_receiver_that_fails_and_a_service_that_is_killed(on: On) {
    let mut world = story(on, &[]).await;
    let is_up = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::answering({
        let is_up = is_up.clone();
        move |_, _| {
            let status = if is_up.load(Ordering::Relaxed) { 204 } else { 503 };
            async move { HttpResponse::build(status.try_into().unwrap()).finish() }
        }
    });
    let sid = send(&world, &receiver.url("/status"), &[]).await;
    world.settle().await;
    let expected = told_by_twilio(&world, &sid);
    // Each is planned anew by then: the claim of one that the kill cuts off would have to run out first.
    eventually("the receiver is asked in vain", async || {
        (world.service.metric("textledger_relays_total{result=\"again\"}").await >= expected.len() as u64)
            .then_some(())
    })
    .await;
    world.service.kill();
    let before = receiver.received().len();
    is_up.store(true, Ordering::Relaxed);
    world.service.start_again();
    let taken = eventually("all statuses are relayed", async || {
        let taken: Vec<Received> = receiver.received().split_off(before);
        (taken.len() >= expected.len()).then_some(taken)
    })
    .await;
    let taken: Vec<String> = taken.iter().map(Received::status).collect();
    assert_eq!(sorted(taken), sorted(expected));
    receiver.assert_signed(&key());
    world.finish(&[]).await;
}

/// A callback that never came is told when the reconciler, Event Streams or the caller's own fetch bring its status.
async fn a_lost_callback_is_told_when_the_status_is_learned_otherwise(on: On) {
    let world = story(on, &[]).await;
    world.fault(json!({ "lose_callback": 1 })).await;
    let receiver = Receiver::start();
    let fetched = send(&world, &receiver.url("/fetched"), &[]).await;
    let streamed = send(&world, &receiver.url("/streamed"), &[]).await;
    world.settle().await;
    assert_eq!(receiver.statuses(), [""; 0]);
    let (_, message) = fetch(&world.service, &fetched).await;
    assert_eq!(message["status"], "delivered");
    fetch(&world.service, &fetched).await;
    let messages = world.twilio.messages();
    let message = messages.iter().find(|message| message.sid.as_str() == streamed).unwrap();
    let event = json!({
        "specversion": "1.0", "id": "EZ1", "source": "/x", "time": "2026-01-31T09:00:00Z",
        "type": "com.twilio.messaging.message.delivered",
        "data": {
            "accountSid": ACCOUNT_SID, "messageSid": streamed, "messageStatus": "delivered",
            "to": PERSON, "from": OUR_NUMBER, "statusCallBackUrl": message.status_callback,
        },
    });
    for _ in 0..2 {
        assert_eq!(world.service.post_events(&event).await.status(), 204);
    }
    eventually("both are told", async || (receiver.received().len() >= 2).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut told: Vec<_> = receiver
        .received()
        .iter()
        .map(|request| (request.target.clone(), request.status(), request.get("MessageSid").unwrap()))
        .collect();
    told.sort();
    let delivered = || "delivered".to_owned();
    assert_eq!(
        told,
        [("/fetched".into(), delivered(), fetched), ("/streamed".into(), delivered(), streamed)]
    );
    receiver.assert_signed(&key());
    world.finish(&[]).await;
}

async fn what_ends_in_our_queue_is_told_under_the_name_that_the_caller_knows(on: On) {
    let world = story(on, &[]).await;
    let receiver = Receiver::start();
    let url = receiver.url("/status");
    let callback = [("StatusCallback", url.as_str())];
    let canceled = schedule(&world.service, 3_600, &callback).await;
    let blocked = schedule(&world.service, 3_600, &[&callback[..], &[("To", "+14155550111")]].concat()).await;
    let leaves = schedule(&world.service, 1, &callback).await;
    let cancel = call(&world.service, Method::POST, &format!("/{canceled}")).form(&[("Status", "canceled")]);
    assert_eq!(answer(cancel).await.1["status"], "canceled");
    let told = async |sid: &str, status: &str| {
        eventually(status, async || {
            receiver.received().into_iter().find(|request| {
                request.get("MessageSid").as_deref() == Some(sid) && request.status() == status
            })
        })
        .await
    };
    assert_eq!(told(&canceled, "canceled").await.get("To").as_deref(), Some(PERSON));
    told(&leaves, "delivered").await;
    assert_eq!(world.write("+14155550111", "STOP").await.0, 200);
    assert_eq!(told(&blocked, "failed").await.get("ErrorCode").as_deref(), Some("21610"));
    assert!(receiver.received().iter().all(|request| request.get("MessageSid") == request.get("SmsSid")));
    receiver.assert_signed(&key());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_refuses_or_leads_elsewhere_is_asked_once() {
    let world = story(On::Embedded, &[]).await;
    let elsewhere = Receiver::start();
    let target = elsewhere.url("/stolen");
    let receiver = Receiver::answering(move |_, request| {
        let target = target.clone();
        async move {
            match request.target.as_str() {
                "/moved" => HttpResponse::TemporaryRedirect().insert_header(("location", target)).finish(),
                _ => HttpResponse::NotFound().finish(),
            }
        }
    });
    let gone = send(&world, &receiver.url("/gone"), &[]).await;
    let moved = send(&world, &receiver.url("/moved"), &[]).await;
    world.settle().await;
    let expected = told_by_twilio(&world, &gone).len() + told_by_twilio(&world, &moved).len();
    eventually("all are told", async || (receiver.received().len() >= expected).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(receiver.received().len(), expected);
    assert_eq!(elsewhere.received().len(), 0);
    assert_eq!(world.service.metric("textledger_relays_total{result=\"refused\"}").await, expected as u64);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_to_inner_networks_unless_that_is_allowed() {
    let mut world = story(On::Embedded, &[]).await;
    let receiver = Receiver::answering(|_, _| async { HttpResponse::ServiceUnavailable().finish() });
    let sid = send(&world, &receiver.url("/status"), &[]).await;
    world.settle().await;
    let expected = told_by_twilio(&world, &sid).len() as u64;
    let again = "textledger_relays_total{result=\"again\"}";
    eventually("they are to be told again", async || {
        (world.service.metric(again).await >= expected).then_some(())
    })
    .await;
    world.service.kill();
    world.service.set("TEXTLEDGER_RELAY_PRIVATE", "false");
    world.service.start_again();
    let before = receiver.received().len();
    // Stored while it was allowed, and not told any more.
    let sample = "textledger_relays_total{result=\"refused\"}";
    eventually("they are refused", async || (world.service.metric(sample).await >= expected).then_some(()))
        .await;
    assert_eq!(receiver.received().len(), before);
    for url in [
        receiver.url("/status").as_str(),
        "http://localhost/status",
        "http://10.0.0.1/status",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/status",
        "http://0x7f000001/status",
        "https://redis.internal/",
        "ftp://example.com/",
    ] {
        let (status, error) = create(&world.service, &[("From", OUR_NUMBER), ("StatusCallback", url)]).await;
        assert_eq!((status, &error["code"]), (400, &json!(21609)), "{url}");
    }
    world.finish(&[]).await;
}
