//! Twilio's callbacks get lost: the service asks for what it was not told.

use serde_json::json;
use textledger::simulator::Direction;

use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{On, TestService, callback},
    twilio::World,
};

/// How soon messages are asked for here; 15 minutes to a day for its users.
const SOON: (&str, &str) = ("TEXTLEDGER_RECONCILE_AFTER", "1s,2s,3s,5s");

/// Never, as far as a test is concerned.
const LATE: (&str, &str) = ("TEXTLEDGER_RECONCILE_AFTER", "1d");

crate::api::on_both_stores! {
    a_run_that_loses_30_percent_of_the_callbacks_is_healed_to_the_last_message
    the_listing_finds_what_nothing_else_told
    a_message_that_twilio_has_no_more_is_asked_for_once
}

const LEARNED: &str = r#"textledger_polls_total{result="learned"}"#;
const BY_POLL: &str = r#"textledger_statuses_total{source="poll"}"#;

/// The ids of `count` messages that were sent, each to another person.
async fn send(service: &TestService, count: u32) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let (status, sent) = service.send(&format!("+1415555{number:04}"), "hello").await;
        assert_eq!(status, 201, "{sent}");
        ids.push(sent["id"].as_str().unwrap().to_owned());
    }
    ids
}

async fn all_delivered(services: &[&TestService], ids: &[String]) {
    for (index, id) in ids.iter().enumerate() {
        let service = services[index % services.len()];
        let delivered = async || (service.message_status(id).await.1["status"] == "delivered").then_some(());
        eventually("the message is delivered", delivered).await;
    }
}

async fn a_run_that_loses_30_percent_of_the_callbacks_is_healed_to_the_last_message(on: On) {
    let world = World::story(on, &[SOON]).await;
    world.fault(json!({ "lose_callback": 0.3, "rate_limit": 0.05, "seed": 7 })).await;
    let ids = send(&world.service, 60).await;
    all_delivered(&[&world.service], &ids).await;
    // What came by polling alone is what got lost of the final callbacks.
    let learned = world.service.metric(BY_POLL).await;
    assert!((5..=35).contains(&learned), "{learned}");
    let events = world.service.all_events().await;
    let by_poll = events.iter().filter(|event| event["source"] == "poll" && event["late"] == false);
    assert_eq!(by_poll.count() as u64, learned);
    world.finish(&[]).await;
}

async fn the_listing_finds_what_nothing_else_told(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_RECONCILE_AFTER", "2s")]).await;
    world.fault(json!({ "lose_callback": 1.0, "seed": 7 })).await;
    // Sent by somebody else through the same account, with a callback that is lost.
    let elsewhere = world.send_elsewhere("+14155550300").await;
    // A person's STOP, whose webhook is lost.
    world.twilio.set_webhook_url("http://127.0.0.1:9/nobody");
    world.write("+14155550301", "STOP").await;
    let found =
        async || (world.service.message_status(&elsewhere).await.1["status"] == "delivered").then_some(());
    eventually("the message is found", found).await;
    let obeyed = async || {
        (world.service.send("+14155550301", "hello").await.1["code"] == "recipient_opted_out").then_some(())
    };
    eventually("the STOP is found", obeyed).await;
    let listed = async || (world.service.metric("textledger_listings_total").await > 0).then_some(());
    eventually("the listing is counted", listed).await;
    let of_stop = world.service.all_events().await;
    let of_stop: Vec<_> = of_stop.iter().filter(|event| event["type"] == "consent").collect();
    assert_eq!((of_stop.len(), &of_stop[0]["state"]), (1, &json!("opted_out")));
}

async fn a_message_that_twilio_has_no_more_is_asked_for_once(on: On) {
    let world = World::start_with(on, &[SOON]).await;
    let unknown = "SM00000000000000000000000000000001";
    let answer = world.service.webhook("/webhooks/twilio/status", &callback(unknown, "sent")).await;
    assert_eq!(answer.status(), 204);
    let gone = r#"textledger_polls_total{result="gone"}"#;
    eventually("it is asked for", async || (world.service.metric(gone).await > 0).then_some(())).await;
    // Another message goes through all its times; this one is not asked for again.
    let other = "SM00000000000000000000000000000002";
    assert_eq!(
        world.service.webhook("/webhooks/twilio/status", &callback(other, "sent")).await.status(),
        204
    );
    eventually("it is asked for", async || (world.service.metric(gone).await > 1).then_some(())).await;
    assert_eq!(world.service.metric(gone).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_the_work_and_do_none_of_it_twice() {
    let redis = RedisServer::start();
    let url = redis.url();
    let shared = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_KEY_PREFIX", "both")];
    let world = World::start_with(On::Redis, &[shared[0], shared[1], LATE]).await;
    world.fault(json!({ "lose_callback": 1.0, "seed": 7 })).await;
    let ids = send(&world.service, 80).await;
    world.settle().await;
    // Only now somebody asks, and everything is due at once.
    drop(redis.connect().await);
    let base_url = world.twilio.base_url();
    let settings = [shared[0], shared[1], SOON, ("TWILIO_API_BASE_URL", base_url.as_str())];
    redis.make_due("both").await;
    let (first, second) = tokio::join!(
        TestService::start_with(On::Redis, &settings),
        TestService::start_with(On::Redis, &settings)
    );
    all_delivered(&[&first, &second], &ids).await;
    let polls = async |service: &TestService| {
        let mut polls = 0;
        for result in ["learned", "known", "gone", "failed"] {
            polls += service.metric(&format!(r#"textledger_polls_total{{result="{result}"}}"#)).await;
        }
        (service.metric(LEARNED).await, polls)
    };
    let (of_first, of_second, of_world) =
        (polls(&first).await, polls(&second).await, polls(&world.service).await);
    let total = (of_first.0 + of_second.0 + of_world.0, of_first.1 + of_second.1 + of_world.1);
    assert_eq!(total, (80, 80), "{of_first:?} {of_second:?} {of_world:?}");
    let sent = world.twilio.messages();
    assert_eq!(sent.iter().filter(|message| message.direction == Direction::OutboundApi).count(), 80);
}
