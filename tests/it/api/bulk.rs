//! One text to many: accepted at once, sent at the sender's pace, counted, called off.

use std::time::Duration;

use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    eventually, now,
    service::{On, TestService, answer, token},
    twilio::World,
};

on_both_stores! {
    a_bulk_reaches_everybody_once_and_tells_how_far_it_is
    who_cannot_be_sent_to_is_named
    what_is_under_way_when_its_batch_is_called_off_is_not_tried_again
    a_stop_in_the_middle_of_a_bulk_is_obeyed
    a_stop_refuses_what_is_scheduled
    a_batch_is_called_off
    a_scheduled_message_leaves_when_its_time_has_come
    batches_of_one_sender_take_turns_and_emergencies_go_first
    ten_thousand_are_accepted_in_one_request
    of_fifty_equal_requests_one_sends
    a_key_is_the_callers_the_routes_and_the_bodys
    a_person_is_left_alone_for_the_cooldown
    quiet_hours_hold_all_but_emergencies
    the_day_s_limit_is_kept
    the_history_pages_and_filters
}

/// So fast that no test waits for it.
const FAST: (&str, &str) = ("TEXTLEDGER_MPS", "2000");

/// One message a second, so that a test can act before the second one leaves.
const SLOW: (&str, &str) = ("TEXTLEDGER_MPS", "1");

fn person(number: usize) -> String {
    format!("+1415555{number:04}")
}

fn persons(count: usize) -> Vec<String> {
    (0..count).map(person).collect()
}

async fn send_bulk(service: &TestService, body: Value) -> Value {
    let (status, accepted) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &body)).await;
    assert_eq!(status, 202, "{accepted}");
    accepted
}

async fn batch(service: &TestService, accepted: &Value) -> Value {
    let path = format!("/api/sms/batches/{}", accepted["batch_id"].as_str().unwrap());
    let (status, batch) = answer(service.get(Role::Viewer, &path)).await;
    assert_eq!(status, 200, "{batch}");
    batch
}

async fn in_state(service: &TestService, accepted: &Value, state: &str, count: usize) -> Value {
    eventually(&format!("{count} messages are {state}"), async || {
        let batch = batch(service, accepted).await;
        (batch["counts"][state] == count).then_some(batch)
    })
    .await
}

async fn cancel(service: &TestService, accepted: &Value) -> (u16, Value) {
    let path = format!("/api/sms/batches/{}", accepted["batch_id"].as_str().unwrap());
    answer(service.anonymous(reqwest::Method::DELETE, &path).bearer_auth(token(Role::Sender))).await
}

async fn a_bulk_reaches_everybody_once_and_tells_how_far_it_is(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let to = persons(40);
    let twice: Vec<&String> = to.iter().chain(&to).collect();
    let accepted = send_bulk(&world.service, json!({ "phone_numbers": twice, "message": "hello" })).await;
    assert_eq!((&accepted["total"], &accepted["accepted"]), (&json!(40), &json!(40)));
    assert_eq!(accepted["rejected"], json!([]));
    let done = in_state(&world.service, &accepted, "delivered", 40).await;
    assert_eq!((&done["state"], &done["total"]), (&json!("done"), &json!(40)));
    for state in ["waiting", "held", "sending", "unknown", "refused", "canceled"] {
        assert_eq!(done["counts"][state], 0, "{done}");
    }
    assert!(done["started_at"].is_string() && done["finished_at"].is_string(), "{done}");
    assert!(done["estimated_finish_at"].is_null() && done["rate_per_s"].as_f64() > Some(0.0), "{done}");
    for to in &to {
        assert_eq!(world.accepted_for(to), 1, "{to}");
    }
    // Each recipient in the order of the request, page by page.
    let id = accepted["batch_id"].as_str().unwrap();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/sms/batches/{id}/messages?limit=15{cursor}");
        let (status, page) = answer(world.service.get(Role::Viewer, &path)).await;
        assert_eq!(status, 200, "{page}");
        for message in page["messages"].as_array().unwrap() {
            assert_eq!((&message["status"], &message["batch_id"]), (&json!("delivered"), &json!(id)));
            listed.push(message["to"].as_str().unwrap().to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, to);
    // The batch stands on every entry of its messages.
    let of_batch = world.service.all_events().await;
    assert!(of_batch.iter().all(|event| event["batch"] == *id), "{of_batch:?}");
}

async fn who_cannot_be_sent_to_is_named(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    world.write(&person(1), "STOP").await;
    let body = json!({ "phone_numbers": [person(0), person(1), "12", "(415) 555-0100"], "message": "hello" });
    let accepted = send_bulk(&world.service, body).await;
    assert_eq!((&accepted["total"], &accepted["accepted"]), (&json!(4), &json!(1)));
    let rejected: Vec<_> = accepted["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rejected| (rejected["to_number"].as_str().unwrap(), rejected["code"].as_str().unwrap()))
        .collect();
    let expected = [
        ("12", "invalid_phone_number"),
        ("(415) 555-0100", "invalid_phone_number"),
        (&person(1), "recipient_opted_out"),
    ];
    assert_eq!(rejected, expected);
    in_state(&world.service, &accepted, "delivered", 1).await;
    let wrong = json!({ "phone_numbers": [], "message": "", "nonsense": 1 });
    let (status, problem) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &wrong)).await;
    assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")));
    let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
    assert_eq!(fields, ["phone_numbers", "message", "nonsense"]);
}

async fn what_is_under_way_when_its_batch_is_called_off_is_not_tried_again(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    world.fault(json!({ "rate_limit": 1.0, "latency_ms": 300, "seed": 1 })).await;
    let accepted =
        send_bulk(&world.service, json!({ "phone_numbers": persons(5), "message": "hello" })).await;
    eventually("a call is under way", async || {
        (batch(&world.service, &accepted).await["counts"]["sending"].as_u64()? > 0).then_some(())
    })
    .await;
    assert_eq!(cancel(&world.service, &accepted).await.1["state"], "canceled");
    in_state(&world.service, &accepted, "canceled", 5).await;
    assert!(world.twilio.messages().is_empty());
}

async fn a_stop_in_the_middle_of_a_bulk_is_obeyed(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_MPS", "20")]).await;
    let accepted =
        send_bulk(&world.service, json!({ "phone_numbers": persons(40), "message": "hello" })).await;
    eventually("some have left", async || (world.accepted_for(&person(3)) > 0).then_some(())).await;
    let late: Vec<String> = (30..40).map(person).collect();
    for to in &late {
        assert_eq!(world.accepted_for(to), 0, "{to} is not to have its turn yet");
        world.write(to, "STOP").await;
    }
    in_state(&world.service, &accepted, "delivered", 30).await;
    let done = in_state(&world.service, &accepted, "refused", 10).await;
    assert_eq!(done["state"], "done");
    assert!(late.iter().all(|to| world.accepted_for(to) == 0));
}

async fn a_stop_refuses_what_is_scheduled(on: On) {
    let world = World::start(on).await;
    let at = now() + Duration::from_secs(3_600);
    let body = json!({ "to_number": person(1), "message": "hello", "send_at": at.to_string() });
    let (status, scheduled) = answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await;
    assert_eq!(
        (status, &scheduled["status"], &scheduled["message_sid"]),
        (202, &json!("scheduled"), &Value::Null)
    );
    assert_eq!(scheduled["reason"], "scheduled");
    let id = scheduled["id"].as_str().unwrap();
    assert_eq!(world.service.message_status(id).await.1["status"], "scheduled");
    world.write(&person(1), "STOP").await;
    let (_, message) = world.service.message_status(id).await;
    assert_eq!((&message["status"], &message["final"]), (&json!("refused"), &json!(true)));
    assert_eq!(message["error"]["title"], "recipient_opted_out");
    assert!(message["error"]["mend"].as_str().unwrap().contains("START"), "{message}");
    assert!(message["times"]["refused"].is_string(), "{message}");
    assert_eq!(world.accepted_for(&person(1)), 0);
}

async fn a_batch_is_called_off(on: On) {
    let world = World::start_with(on, &[SLOW]).await;
    let accepted =
        send_bulk(&world.service, json!({ "phone_numbers": persons(700), "message": "hello" })).await;
    eventually("the first has left", async || (world.accepted_for(&person(0)) > 0).then_some(())).await;
    let (status, canceled) = cancel(&world.service, &accepted).await;
    assert_eq!((status, &canceled["state"]), (200, &json!("canceled")));
    assert_eq!((&canceled["counts"]["waiting"], &canceled["estimated_finish_at"]), (&json!(0), &Value::Null));
    let left = 700 - canceled["counts"]["canceled"].as_u64().unwrap();
    assert!((1..10).contains(&left), "{canceled}");
    world.settle().await;
    let (_, again) = cancel(&world.service, &accepted).await;
    assert_eq!(again["counts"]["canceled"], canceled["counts"]["canceled"]);
    assert_eq!(world.twilio.messages().len() as u64, left);
    let (status, problem) = cancel(&world.service, &json!({ "batch_id": "b00000000000000000000" })).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

async fn a_scheduled_message_leaves_when_its_time_has_come(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let at = now() + Duration::from_millis(1_500);
    let body = json!({ "to_number": person(1), "message": "hello", "send_at": at.to_string() });
    let (_, scheduled) = answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await;
    let id = scheduled["id"].as_str().unwrap();
    let delivered =
        async || (world.service.message_status(id).await.1["status"] == "delivered").then_some(());
    eventually("it is delivered", delivered).await;
    let created = world.twilio.messages()[0].date_created;
    assert!(created >= at, "{created} < {at}");
    for wrong in ["yesterday", "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let body = json!({ "to_number": person(1), "message": "hello", "send_at": wrong });
        let (status, problem) = answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("send_at")), "{problem}");
    }
}

async fn batches_of_one_sender_take_turns_and_emergencies_go_first(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_MPS", "10")]).await;
    let service = &world.service;
    let first = send_bulk(service, json!({ "phone_numbers": persons(300), "message": "first" })).await;
    let later: Vec<String> = (900..930).map(person).collect();
    let second = send_bulk(service, json!({ "phone_numbers": later, "message": "second" })).await;
    let urgent: Vec<String> = (950..953).map(person).collect();
    let body = json!({ "phone_numbers": urgent, "message": "urgent", "category": "emergency" });
    let urgent = send_bulk(service, body).await;
    in_state(service, &urgent, "delivered", 3).await;
    in_state(service, &second, "delivered", 30).await;
    let waiting = batch(service, &first).await["counts"]["waiting"].as_u64().unwrap();
    assert!(waiting > 200, "the first batch had most of the time for itself: {waiting} wait");
    cancel(service, &first).await;
    let order: Vec<String> = world.twilio.messages().iter().map(|message| message.body.clone()).collect();
    let last_urgent = order.iter().rposition(|body| body == "urgent").unwrap();
    let last_second = order.iter().rposition(|body| body == "second").unwrap();
    assert!(last_urgent < last_second, "{order:?}");
}

async fn ten_thousand_are_accepted_in_one_request(on: On) {
    let world = World::start_with(on, &[SLOW]).await;
    let before = world.service.memory_kb();
    let body = json!({ "phone_numbers": persons(10_000), "message": "hello" });
    let accepted = send_bulk(&world.service, body).await;
    assert_eq!((&accepted["total"], &accepted["accepted"]), (&json!(10_000), &json!(10_000)));
    let progress = batch(&world.service, &accepted).await;
    assert!(progress["counts"]["waiting"].as_u64() > Some(9_900), "{progress}");
    let taken = world.service.memory_kb().saturating_sub(before);
    assert!(taken < 200_000, "{taken} kB");
    cancel(&world.service, &accepted).await;
    let body = json!({ "phone_numbers": persons(10_001), "message": "hello" });
    let (status, problem) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &body)).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("phone_numbers")));
}

async fn of_fifty_equal_requests_one_sends(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    world.fault(json!({ "latency_ms": 200, "seed": 1 })).await;
    let single = json!({ "to_number": person(1), "message": "hello" });
    let many = json!({ "phone_numbers": [person(2), person(3)], "message": "hello" });
    for (path, body) in [("/api/sms/send", &single), ("/api/sms/send-bulk", &many)] {
        let requests = (0..50).map(|_| {
            answer(world.service.post(Role::Sender, path, body).header("Idempotency-Key", "order 7"))
        });
        let answers = futures_util::future::join_all(requests).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert!(matches!(answers[0].0, 201 | 202), "{:?}", answers[0]);
    }
    let all_sent = async || (world.twilio.messages().len() == 3).then_some(());
    eventually("all are sent", all_sent).await;
    world.settle().await;
    assert_eq!([1, 2, 3].map(|number| world.accepted_for(&person(number))), [1, 1, 1]);
}

async fn a_key_is_the_callers_the_routes_and_the_bodys(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let send = async |role: Role, path: &str, key: &str, message: &str| {
        let body = json!({ "to_number": person(1), "message": message });
        answer(world.service.post(role, path, &body).header("Idempotency-Key", key)).await
    };
    let (_, first) = send(Role::Sender, "/api/sms/send", "k", "hello").await;
    let (status, again) = send(Role::Sender, "/api/sms/send", "k", "hello").await;
    assert_eq!((status, &again), (201, &first));
    let (status, problem) = send(Role::Sender, "/api/sms/send", "k", "other").await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
    let (_, elsewhere) = send(Role::Sender, "/api/sms/whatsapp/send", "k", "hello").await;
    let (_, other_key) = send(Role::Sender, "/api/sms/send", "l", "hello").await;
    assert_ne!(elsewhere["id"], first["id"]);
    assert_ne!(other_key["id"], first["id"]);
    let (status, _) = send(Role::Sender, "/api/sms/send", &"k".repeat(256), "hello").await;
    assert_eq!(status, 422);
    // What failed sent nothing, and may be tried again under its key.
    world.fault(json!({ "rate_limit": 1.0, "seed": 1 })).await;
    assert_eq!(send(Role::Sender, "/api/sms/send", "m", "hello").await.0, 503);
    world.fault(json!({})).await;
    assert_eq!(send(Role::Sender, "/api/sms/send", "m", "hello").await.0, 201);
}

async fn a_person_is_left_alone_for_the_cooldown(on: On) {
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_RECIPIENT_COOLDOWN", "2s")]).await;
    let (status, _) = world.service.send(&person(1), "one").await;
    assert_eq!(status, 201);
    let (status, held) = world.service.send(&person(1), "two").await;
    assert_eq!((status, &held["status"], &held["reason"]), (202, &json!("held"), &json!("cooldown")));
    assert!(held["held_until"].is_string());
    assert_eq!(world.service.send(&person(2), "one").await.0, 201);
    let body = json!({ "to_number": person(1), "message": "fire", "category": "emergency" });
    assert_eq!(answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await.0, 201);
    let arrived = async || (world.accepted_for(&person(1)) == 3).then_some(());
    eventually("the held one leaves", arrived).await;
    let of_person: Vec<_> = world
        .twilio
        .messages()
        .into_iter()
        .filter(|message| message.to.bare().as_str() == person(1))
        .collect();
    assert_eq!(of_person[2].body, "two");
    let apart = of_person[2].date_created.duration_since(of_person[0].date_created);
    assert!(apart.as_millis() >= 1_900, "{apart}");
}

async fn quiet_hours_hold_all_but_emergencies(on: On) {
    // The area code 415 is San Francisco's.
    let there = now().in_tz("America/Los_Angeles").unwrap();
    let clock = |hours: i64| (&there + jiff::Span::new().hours(hours)).strftime("%H:%M").to_string();
    let window = format!("{}-{}", clock(-1), clock(2));
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_QUIET_HOURS", &window)]).await;
    let (status, held) = world.service.send(&person(1), "hello").await;
    assert_eq!(
        (status, &held["status"], &held["reason"]),
        (202, &json!("held"), &json!("quiet_hours")),
        "{window}"
    );
    let until: jiff::Timestamp = held["held_until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.in_tz("America/Los_Angeles").unwrap().strftime("%H:%M").to_string(), clock(2));
    let body = json!({ "phone_numbers": [person(2)], "message": "hello" });
    let accepted = send_bulk(&world.service, body).await;
    in_state(&world.service, &accepted, "held", 1).await;
    let body = json!({ "to_number": person(1), "message": "fire", "category": "emergency" });
    assert_eq!(answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await.0, 201);
    assert_eq!(world.twilio.messages().len(), 1);
}

async fn the_day_s_limit_is_kept(on: On) {
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_DAILY_LIMIT", "5")]).await;
    for number in 0..3 {
        assert_eq!(world.service.send(&person(number), "hello").await.0, 201);
    }
    assert!(!world.service.log().contains("daily_limit_warning"));
    let body = json!({ "phone_numbers": persons(4), "message": "hello" });
    let (status, problem) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &body)).await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    let body = json!({ "phone_numbers": persons(2), "message": "hello" });
    let accepted = send_bulk(&world.service, body).await;
    in_state(&world.service, &accepted, "delivered", 2).await;
    assert!(world.service.log().contains("daily_limit_warning"));
    let (status, problem) = world.service.send(&person(9), "hello").await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    assert_eq!(world.twilio.messages().len(), 5);
}

async fn the_history_pages_and_filters(on: On) {
    let world = World::start_with(on, &[FAST]).await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let (_, sent) = world.service.send(&person(number % 2), "hello").await;
        ids.push(sent["id"].as_str().unwrap().to_owned());
    }
    world.write(&person(5), "STOP").await;
    assert_eq!(world.service.send("+14155530003", "fails").await.0, 201);
    let elsewhere = world.send_elsewhere(&person(1)).await;
    world.settle().await;
    let page = async |query: &str| {
        let (status, page) =
            answer(world.service.get(Role::Viewer, &format!("/api/sms/messages?{query}"))).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let all = async |query: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = page(&format!("{query}{cursor}")).await;
            found.extend(page["messages"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    let names = |messages: &[Value]| {
        let name =
            |message: &Value| message["id"].as_str().or(message["message_sid"].as_str()).unwrap().to_owned();
        messages.iter().map(name).collect::<Vec<_>>()
    };
    let found = all("limit=2").await;
    assert_eq!(found.len(), 8, "what is sent elsewhere has no callback here: {found:?}");
    assert!(!names(&found).contains(&elsewhere));
    let mut expected = ids.clone();
    expected.reverse();
    assert_eq!(names(&found)[1..], expected);
    let of_person = all("limit=1&to=%2B14155550001").await;
    assert_eq!(names(&of_person), [&ids[5], &ids[3], &ids[1]].map(String::clone));
    assert_eq!(names(&all("to=%2B14155550001&limit=500").await), names(&of_person));
    let failed = all("status=undelivered").await;
    assert_eq!((failed.len(), &failed[0]["error"]["code"]), (1, &json!(30_003)));
    assert_eq!(all("channel=whatsapp").await.len(), 0);
    assert_eq!(all("since=2099-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(all("until=2099-01-01T00:00:00Z&since=2020-01-01T00:00:00Z").await.len(), 8);
    for wrong in ["limit=0", "limit=501", "cursor=x", "channel=fax", "since=now", "nonsense=1"] {
        let (status, problem) =
            answer(world.service.get(Role::Viewer, &format!("/api/sms/messages?{wrong}"))).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{wrong}");
    }
}
