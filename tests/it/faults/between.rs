//! A store that fails in the middle of a request: between two of its steps, or for one of its keys alone.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use crate::{
    api::on_both_stores,
    support::{
        damage::{Record, damage},
        eventually, now,
        redis_server::RedisServer,
        service::{MASTER_KEY, On, TestService, answer, token},
        twilio::World,
    },
};

on_both_stores! {
    an_answer_whose_master_key_is_gone_is_not_sent_anew
    an_import_that_breaks_off_is_in_the_audit
}

const NUMBER: &str = "+14155550177";

/// Another key than that of the tests.
const NEXT_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

async fn an_answer_whose_master_key_is_gone_is_not_sent_anew(on: On) {
    let mut world = World::start_with(on, &[]).await;
    let send = async |service: &TestService| {
        let body = json!({ "to_number": NUMBER, "message": "hello" });
        answer(service.post(Role::Sender, "/api/sms/send", &body).header("Idempotency-Key", "one")).await
    };
    let restart = async |service: &mut TestService, keys: &str| {
        service.stop().await;
        service.set("TEXTLEDGER_MASTER_KEY", keys);
        service.start_again();
    };
    let first = send(&world.service).await;
    assert_eq!(first.0, 201, "{first:?}");
    restart(&mut world.service, NEXT_KEY).await;
    let (status, problem) = send(&world.service).await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
    assert_eq!(problem["detail"], "what is stored cannot be read");
    assert!(problem["mend"].as_str().unwrap().contains("the same Idempotency-Key"), "{problem}");
    assert!(world.service.log().contains("TEXTLEDGER_MASTER_KEY"), "the operator is told which setting");
    restart(&mut world.service, &format!("{NEXT_KEY},{MASTER_KEY}")).await;
    assert_eq!(send(&world.service).await, first);
    assert_eq!(world.accepted_for(NUMBER), 1);
}

/// More persons than are imported at the same time, so that the last comes after some are done: the import fails with it.
async fn an_import_that_breaks_off_is_in_the_audit(on: On) {
    let mut service = TestService::start(on).await;
    let persons: Vec<String> = (100..170).map(|number| format!("+14155550{number}")).collect();
    damage(&mut service, on, &[Record::Consent(persons.last().unwrap())]).await;
    let lines: String = persons.iter().map(|person| format!("{person},sms,opted_out\n")).collect();
    let request = service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
    let file = format!("phone_number,channel,state\n{lines}nobody,sms,opted_out\n");
    let (status, problem) = answer(request.header("Content-Type", "text/csv").body(file)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
    let changed = service.events().await.len();
    assert!((1..70).contains(&changed), "some are imported: {changed}");
    let (_, audit) = answer(service.get(Role::Admin, "/api/sms/audit")).await;
    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<_> = entries.iter().map(|entry| [&entry["action"], &entry["actor"]]).collect();
    assert_eq!(told, [["consent.import_begin", "user:tester"]], "{audit}");
    assert_eq!(entries[0]["detail"], json!({ "lines": 70, "rejected": 1 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_or_a_notice_that_cannot_be_counted_for_the_day_is_not_accepted() {
    let settings = [("TEXTLEDGER_DAILY_LIMIT", "10"), ("TEXTLEDGER_MPS", "2000")];
    let world = World::start_with(On::Redis, &settings).await;
    let service = &world.service;
    let prefers = service.anonymous(Method::PUT, "/api/sms/preferences/ada");
    let prefers = prefers.bearer_auth(token(Role::Admin)).json(&json!({ "phone_number": NUMBER }));
    assert_eq!(answer(prefers).await.0, 200);
    let mut redis = RedisServer::shared().connect().await;
    let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
    let today = now().as_second() / (24 * 60 * 60);
    // Something in which Redis counts nothing; tomorrow's too, should it be midnight now.
    let counters =
        [today, today + 1].map(|day| format!("{prefix}:{{default:0}}:counter:messages of day {day}"));
    for counter in &counters {
        ::redis::cmd("RPUSH").arg(counter).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    }
    // One message is stored before it is counted. An error would have its caller send it again, so it leaves, and is told.
    assert_eq!(service.send(NUMBER, "hello").await.0, 201);
    assert!(service.log().contains("a message could not be counted for its day, and leaves"));
    let asked: [(&str, Value); 2] = [
        ("send-bulk", json!({ "phone_numbers": [NUMBER], "message": "hello" })),
        ("notify", json!({ "user_ids": ["ada"], "message": "hello", "category": "general" })),
    ];
    let ask = async |path: &str, body: &Value| {
        let request = service.post(Role::Sender, &format!("/api/sms/{path}"), body);
        answer(request.header("Idempotency-Key", path)).await
    };
    for (path, body) in &asked {
        let (status, problem) = ask(path, body).await;
        assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{path}: {problem}");
    }
    world.settle().await;
    assert_eq!(world.accepted_for(NUMBER), 1);
    for counter in &counters {
        ::redis::cmd("DEL").arg(counter).query_async::<()>(&mut redis).await.unwrap();
    }
    for (path, body) in &asked {
        let (status, answered) = ask(path, body).await;
        assert_eq!(status, 202, "{path}: {answered}");
    }
    eventually("both leave once", async || (world.accepted_for(NUMBER) == 3).then_some(())).await;
    let mut counted = 0;
    for counter in &counters {
        let count: Option<u64> = ::redis::cmd("GET").arg(counter).query_async(&mut redis).await.unwrap();
        counted += count.unwrap_or_default();
    }
    assert_eq!(counted, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_acceptance_broke_off_is_counted_once() {
    let settings =
        [("TEXTLEDGER_DAILY_LIMIT", "2"), ("TEXTLEDGER_QUEUE_MAX", "2"), ("TEXTLEDGER_MPS", "2000")];
    let world = World::start_with(On::Redis, &settings).await;
    let service = &world.service;
    let mut redis = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
    ::redis::cmd("SET").arg(&key).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    let body = json!({ "phone_numbers": [NUMBER, "+14155550178"], "message": "hello" });
    let ask = async || {
        let request = service.post(Role::Sender, "/api/sms/send-bulk", &body);
        answer(request.header("Idempotency-Key", "one")).await
    };
    // Its messages are stored, and its entry is not.
    assert_eq!(ask().await.0, 503);
    ::redis::cmd("DEL").arg(&key).query_async::<()>(&mut redis).await.unwrap();
    let (status, batch) = ask().await;
    assert_eq!((status, &batch["accepted"]), (202, &json!(2)), "{batch}");
    eventually("it leaves", async || (world.accepted_for(NUMBER) == 1).then_some(())).await;
}
