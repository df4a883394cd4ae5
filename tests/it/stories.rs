//! Whole stories through the public port: a crash in the middle, a graceful stop, a killed store.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use textledger::domain::Role;
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{On, answer, callback, token},
        twilio::World,
    },
};

on_both_stores! {
    the_main_job_survives_a_crash_in_the_middle
    nothing_acknowledged_is_lost_when_the_service_is_killed
    a_graceful_stop_finishes_what_is_under_way
    a_graceful_stop_finishes_calls_from_the_queue
}

async fn the_main_job_survives_a_crash_in_the_middle(on: On) {
    let mut world = World::story(on, &[]).await;
    let person = "+14155550100";
    let (_, first) = world.service.send(person, "before the crash").await;
    world.settle().await;
    assert_eq!(world.write(person, "STOP").await.0, 200);
    let events = world.service.events().await;

    world.service.kill();
    world.service.start_again();

    assert_eq!(world.service.events().await, events);
    let (_, message) = world.service.message_status(first["id"].as_str().unwrap()).await;
    assert_eq!(message["status"], "delivered");
    let (status, problem) = world.service.send(person, "after the crash").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    world.write(person, "START").await;
    let (status, second) = world.service.send(person, "after START").await;
    assert_eq!(status, 201);
    world.settle().await;
    let (_, message) = world.service.message_status(second["id"].as_str().unwrap()).await;
    assert_eq!(message["status"], "delivered");
    world.finish(&[]).await;
}

/// Callbacks pour in while the service is killed with SIGKILL; each that was answered 204 is there afterwards.
async fn nothing_acknowledged_is_lost_when_the_service_is_killed(on: On) {
    let mut world = World::story(on, &[("TEXTLEDGER_LOG", "warn")]).await;
    for round in 0..3_u32 {
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let mut tasks = JoinSet::new();
        let shared = Arc::new(world);
        for lane in 0..8_u32 {
            let (world, acknowledged) = (shared.clone(), acknowledged.clone());
            tasks.spawn(async move {
                for number in 0..400_u32 {
                    let sid = format!(
                        "SM{:032x}",
                        u64::from(round) << 40 | u64::from(lane) << 20 | u64::from(number)
                    );
                    let posted = world
                        .service
                        .try_webhook("/webhooks/twilio/status", &callback(&sid, "delivered"))
                        .await;
                    match posted {
                        Some(204) => drop(acknowledged.lock().await.insert(sid)),
                        Some(other) => panic!("answered {other}"),
                        None => return,
                    }
                }
            });
        }
        let enough = async || (acknowledged.lock().await.len() >= 200).then_some(());
        eventually("callbacks are acknowledged", enough).await;
        shared.service.signal("KILL");
        tasks.join_all().await;
        world = Arc::into_inner(shared).expect("the tasks have ended");
        world.service.kill();
        world.service.start_again();
        let acknowledged = acknowledged.lock().await;
        assert!(acknowledged.len() < 8 * 400, "the service was killed too late to show anything");
        for sid in acknowledged.iter() {
            let (status, message) = world.service.message_status(sid).await;
            assert_eq!((status, &message["status"]), (200, &json!("delivered")), "{sid}");
        }
    }
    world.finish(&[]).await;
}

/// What Twilio tells while the service is away is asked for afterwards, so that nothing stays open.
async fn a_graceful_stop_finishes_what_is_under_way(on: On) {
    let mut world = World::story(on, &[("TEXTLEDGER_RECONCILE_AFTER", "1s,2s,3s,5s,10s,20s")]).await;
    world.fault(json!({ "latency_ms": 500 })).await;
    let (url, token) = (world.service.url("/api/sms/send"), token(Role::Sender));
    let under_way = tokio::spawn(async move {
        let body = json!({ "to_number": "+14155550100", "message": "slow" });
        reqwest::Client::new().post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
    });
    // hyper tells at debug when the call to Twilio begins; the answer comes half a second later.
    let begun = async || world.service.log().contains("connecting to").then_some(());
    eventually("the call to Twilio begins", begun).await;
    assert_eq!(world.service.stop().await, Some(0));
    assert_eq!(under_way.await.unwrap(), 201);
    world.service.start_again();
    let (_, message) = world.service.message_status(world.twilio.messages()[0].sid.as_str()).await;
    assert_eq!(message["type"], "sms");
    world.finish(&[]).await;
}

/// A call that was cut off would be a lost answer: its message would be `unknown` until it has been searched for, far longer
/// than a test waits.
async fn a_graceful_stop_finishes_calls_from_the_queue(on: On) {
    // What Twilio tells while the service is away is asked for afterwards.
    // All are due by when they are stored, so that one turn of the sender takes them.
    let settings = [("TEXTLEDGER_MPS", "1000"), ("TEXTLEDGER_RECONCILE_AFTER", "1s,2s,3s,5s,10s,20s")];
    let mut world = World::story(on, &settings).await;
    world.fault(json!({ "latency_ms": 3000 })).await;
    let people = ["+14155550100", "+14155550101", "+14155550102"];
    let bulk = json!({ "phone_numbers": people, "message": "slow" });
    let (status, accepted) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    assert_eq!(status, 202, "{accepted}");
    let batch = format!("/api/sms/batches/{}", accepted["batch_id"].as_str().unwrap());
    let batch = batch.as_str();
    let counts =
        async |world: &World| answer(world.service.get(Role::Viewer, batch)).await.1["counts"].clone();
    eventually("all are being sent", async || (counts(&world).await["sending"] == json!(3)).then_some(()))
        .await;
    assert_eq!(world.service.stop().await, Some(0));
    world.fault(json!({})).await;
    world.service.start_again();
    let at_once = counts(&world).await;
    assert_eq!((&at_once["sending"], &at_once["unknown"]), (&json!(0), &json!(0)), "{at_once}");
    for person in people {
        assert_eq!(world.accepted_for(person), 1, "{person}");
    }
    world.finish(&[]).await;
}
