//! Recipients who are not accepted: all of them are answered, and what the store keeps of them is bounded.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    redis_server::RedisServer,
    service::{On, TestService, answer, token},
    twilio::World,
};

on_both_stores! {
    recipients_who_are_rejected_leave_next_to_nothing_in_the_store
    a_batch_is_answered_alike_again_though_its_answer_was_too_long_to_keep
    a_notice_is_repeated_without_a_double_though_its_answer_was_too_long_to_keep
    a_long_answer_is_given_again_as_it_was_while_there_is_room_for_it
}

/// Requests of the test, each under a key of its own.
const REQUESTS: usize = 4;

/// More than there is of a few batches without their recipients, and less than there is of one with them.
const BYTES_MAX: u64 = 600_000;

/// Numbers of a country to which nothing is sent: Great Britain.
fn rejected(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("+44791{number:07}")).collect()
}

async fn send_bulk(service: &TestService, key: &str, to: &[String]) -> Value {
    let body = json!({ "phone_numbers": to, "message": "hello", "send_at": in_an_hour() });
    let request = service.post(Role::Sender, "/api/sms/send-bulk", &body).header("Idempotency-Key", key);
    let (status, answer) = answer(request).await;
    assert_eq!(status, 202, "{answer}");
    answer
}

/// The same in every request of a test, since a key is good for one body.
fn in_an_hour() -> String {
    static AT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    AT.get_or_init(|| (crate::support::now() + jiff::SignedDuration::from_hours(1)).to_string()).clone()
}

/// How much the store of `service` takes.
async fn stored_bytes(service: &TestService, on: On) -> u64 {
    match on {
        On::Embedded => {
            let file = service.folder().join("data").join(textledger::store::embedded::FILE_NAME);
            std::fs::metadata(file).unwrap().len()
        }
        On::Redis => {
            let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
            RedisServer::shared().everything(prefix).await.len() as u64
        }
    }
}

async fn recipients_who_are_rejected_leave_next_to_nothing_in_the_store(on: On) {
    let service = TestService::start_with(on, &[("TEXTLEDGER_QUEUE_BYTES_MAX", "100000")]).await;
    let to = rejected(10_000);
    // What is the same for all is made by the first.
    send_bulk(&service, "first", &to[..1]).await;
    let before = stored_bytes(&service, on).await;
    for number in 0..REQUESTS {
        let accepted = send_bulk(&service, &format!("key-{number}"), &to).await;
        assert_eq!((&accepted["accepted"], &accepted["total"]), (&json!(0), &json!(10_000)));
        assert_eq!(accepted["rejected"].as_array().unwrap().len(), 10_000);
        assert_eq!(accepted["rejected"][0]["code"], "country_not_allowed");
    }
    let grown = stored_bytes(&service, on).await.saturating_sub(before);
    assert!(
        grown < BYTES_MAX,
        "{grown} bytes are stored of {REQUESTS} batches of which nothing was accepted"
    );
}

async fn a_batch_is_answered_alike_again_though_its_answer_was_too_long_to_keep(on: On) {
    let service = TestService::start_with(on, &[("TEXTLEDGER_QUEUE_BYTES_MAX", "20000")]).await;
    let (stopped, accepted) = ("+14155550177", "+14155550178");
    let wish = async |phone: &str, state: &str| {
        let body = json!({ "phone_number": phone, "channel": "sms", "state": state, "evidence": "said so" });
        assert_eq!(answer(service.post(Role::Admin, "/api/sms/consent", &body)).await.0, 200);
    };
    wish(stopped, "opted_out").await;
    let to = [rejected(300), vec![stopped.to_owned(), accepted.to_owned(), "no number".to_owned()]].concat();
    let first = send_bulk(&service, "one", &to).await;
    assert_eq!((&first["accepted"], &first["total"]), (&json!(1), &json!(303)));
    assert_eq!(send_bulk(&service, "one", &to).await, first);
    // Whoever has changed their mind since was accepted, or was not, all the same.
    wish(stopped, "opted_in").await;
    wish(accepted, "opted_out").await;
    assert_eq!(send_bulk(&service, "one", &to).await, first);
    let (_, page) = answer(service.get(Role::Admin, "/api/sms/audit?action=batch.create")).await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
    let path = format!("/api/sms/batches/{}", first["batch_id"].as_str().unwrap());
    assert_eq!(answer(service.get(Role::Viewer, &path)).await.1["total"], 1);
}

async fn prefer(service: &TestService, user: &str, wish: Value) {
    let path = format!("/api/sms/preferences/{user}");
    let request = service.anonymous(Method::PUT, &path).bearer_auth(token(Role::Admin)).json(&wish);
    assert_eq!(answer(request).await.0, 200);
}

/// Notifies three users, and more of whom nothing is known, so that the answer is a long one: always under the same key.
async fn notify(service: &TestService) -> (u16, Value) {
    let strangers = (0..100).map(|number| format!("{number:0>200}"));
    let users: Vec<String> = ["ada", "ben", "cy"].map(str::to_owned).into_iter().chain(strangers).collect();
    let notice = json!({ "user_ids": users, "message": "hello", "category": "general" });
    answer(service.post(Role::Sender, "/api/sms/notify", &notice).header("Idempotency-Key", "one")).await
}

async fn notified(service: &TestService) -> Value {
    let (status, answer) = notify(service).await;
    assert_eq!(status, 202, "{answer}");
    answer
}

async fn a_notice_is_repeated_without_a_double_though_its_answer_was_too_long_to_keep(on: On) {
    let settings = [
        ("TEXTLEDGER_QUEUE_BYTES_MAX", "10000"),
        ("TEXTLEDGER_MPS", "2000"),
        ("TEXTLEDGER_DAILY_LIMIT", "2"),
    ];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    prefer(service, "ada", json!({ "phone_number": "+14155550178" })).await;
    let first = notified(service).await;
    assert_eq!(notified(service).await, first);
    world.settle().await;
    assert_eq!(notified(service).await, first);
    // A repetition that is refused, since more people could be told by now, takes nothing from what was done before.
    for (user, number) in [("ben", "+14155550179"), ("cy", "+14155550180")] {
        prefer(service, user, json!({ "phone_number": number })).await;
    }
    let (status, refused) = notify(service).await;
    assert_eq!((status, &refused["code"]), (429, &json!("daily_limit_reached")));
    for user in ["ben", "cy"] {
        prefer(service, user, json!({ "phone_number": null })).await;
    }
    assert_eq!(notified(service).await, first);
    world.settle().await;
    assert_eq!(world.accepted_for("+14155550178"), 1);
    let (_, page) = answer(service.get(Role::Admin, "/api/sms/audit?action=notify")).await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "{page}");
}

async fn a_long_answer_is_given_again_as_it_was_while_there_is_room_for_it(on: On) {
    let world = World::start_with(on, &[]).await;
    prefer(&world.service, "ada", json!({ "phone_number": "+14155550178" })).await;
    let first = notified(&world.service).await;
    // Made anew, it would be another one.
    prefer(&world.service, "ben", json!({ "phone_number": "+14155550179" })).await;
    assert_eq!(notified(&world.service).await, first);
    world.settle().await;
    assert_eq!(world.accepted_for("+14155550179"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_which_nothing_was_accepted_is_kept_for_a_day() {
    let service = TestService::start(On::Redis).await;
    let mut redis = RedisServer::shared().connect().await;
    let mut kept_days = async |to: &[String], key: &str| {
        let batch = send_bulk(&service, key, to).await;
        let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
        let document = format!("{prefix}:{{default:0}}:doc:batch:{}", batch["batch_id"].as_str().unwrap());
        let kept: u64 = ::redis::cmd("PTTL").arg(document).query_async(&mut redis).await.unwrap();
        kept.div_ceil(24 * 60 * 60 * 1_000)
    };
    assert_eq!(kept_days(&rejected(3), "none").await, 1);
    // As long as messages are, and a week.
    assert_eq!(kept_days(&["+14155550178".to_owned()], "one").await, 38);
}
