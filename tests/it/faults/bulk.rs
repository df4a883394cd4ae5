//! A bulk survives everything that can happen to it: each recipient gets exactly one message.

use serde_json::{Value, json};
use textledger::{domain::Role, simulator::Direction};

use crate::support::{
    eventually_within,
    redis_server::RedisServer,
    service::{On, TestService, answer},
    twilio::World,
};

crate::api::on_both_stores! {
    of_a_bulk_that_is_killed_five_times_everybody_gets_one
}

/// Fast enough for a test, slow enough to be killed in the middle.
const PACE: (&str, &str) = ("TEXTLEDGER_MPS", "60");

/// Callbacks that found the service killed are asked for soon.
const SOON: (&str, &str) = ("TEXTLEDGER_RECONCILE_AFTER", "3s,6s,12s,20s");

/// How long a message may take that has to be asked for: its process was killed, its answer lost, its turn limited.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(180);

const RECIPIENTS: usize = 300;

fn persons() -> Vec<String> {
    (0..RECIPIENTS).map(|number| format!("+1415555{number:04}")).collect()
}

async fn send_bulk(service: &TestService) -> String {
    let body = json!({ "phone_numbers": persons(), "message": "hello" });
    let (status, accepted) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &body)).await;
    assert_eq!((status, &accepted["accepted"]), (202, &json!(RECIPIENTS)), "{accepted}");
    accepted["batch_id"].as_str().unwrap().to_owned()
}

fn accepted(world: &World) -> usize {
    world.twilio.messages().iter().filter(|message| message.direction == Direction::OutboundApi).count()
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    eventually_within(DEADLINE, what, async || look().await.then_some(())).await;
}

async fn batch(service: &TestService, id: &str) -> Value {
    answer(service.get(Role::Viewer, &format!("/api/sms/batches/{id}"))).await.1
}

/// Everybody has one message, and the batch says so.
async fn is_done(world: &World, service: &TestService, id: &str) {
    until("the batch is done", async || batch(service, id).await["state"] == "done").await;
    let all_delivered = async || batch(service, id).await["counts"]["delivered"] == RECIPIENTS;
    until("all are delivered", all_delivered).await;
    let wrong: Vec<(String, usize)> = persons()
        .into_iter()
        .map(|to| (to.clone(), world.accepted_for(&to)))
        .filter(|(_, count)| *count != 1)
        .collect();
    assert_eq!(wrong, [], "not exactly one message each");
}

async fn of_a_bulk_that_is_killed_five_times_everybody_gets_one(on: On) {
    let mut world = World::story(on, &[PACE, SOON]).await;
    world.fault(json!({ "accept_then_drop_response": 0.05, "rate_limit": 0.1, "seed": 11 })).await;
    let id = send_bulk(&world.service).await;
    for kill in 1..=5 {
        let some = kill * RECIPIENTS / 8;
        until("some more have left", async || accepted(&world) >= some).await;
        world.service.kill();
        world.service.start_again();
    }
    is_done(&world, &world.service, &id).await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_share_a_bulk_and_one_is_killed() {
    let redis = RedisServer::start();
    let url = redis.url();
    let shared = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_KEY_PREFIX", "both"), PACE];
    let mut world = World::start_with(On::Redis, &shared).await;
    let base_url = world.twilio.base_url();
    // The other one is told of its callbacks by its own URL.
    let settings = [&shared[..], &[("TWILIO_API_BASE_URL", base_url.as_str())]].concat();
    let other = TestService::start_with(On::Redis, &settings).await;
    world.fault(json!({ "accept_then_drop_response": 0.05, "rate_limit": 0.1, "seed": 5 })).await;
    let id = send_bulk(&other).await;
    until("some have left", async || accepted(&world) >= RECIPIENTS / 4).await;
    let by_first = world
        .twilio
        .messages()
        .iter()
        .filter_map(|message| message.status_callback.clone())
        .filter(|callback| callback.starts_with(&world.service.public_url))
        .count();
    assert!((1..accepted(&world)).contains(&by_first), "both take part: {by_first}");
    world.service.kill();
    // Callbacks that went to the one that is gone are asked for when it is back.
    until("the rest leaves", async || accepted(&world) >= RECIPIENTS).await;
    world.service.start_again();
    until("the batch is done", async || batch(&other, &id).await["state"] == "done").await;
    let counted: Vec<usize> = persons().iter().map(|to| world.accepted_for(to)).collect();
    assert_eq!(counted, [1; RECIPIENTS]);
}
