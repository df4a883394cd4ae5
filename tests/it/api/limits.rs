//! How much an organization may ask for, where to, and what is held because it looks like fraud.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::task::JoinSet;

use super::on_both_stores;
use crate::support::{
    eventually,
    service::{ACCOUNT_SID, OUR_NUMBER, On, SENDER_KEY, TestService, answer, api_keys, token},
    twilio::World,
};

on_both_stores! {
    a_full_queue_refuses_what_would_have_to_wait_and_nothing_else
    the_texts_of_what_waits_take_room
    requests_at_once_do_not_share_the_same_room
    a_batch_or_a_notice_beyond_the_days_limit_is_refused_whole
    a_caller_past_its_own_limit_takes_nothing_of_the_others
    what_the_organization_has_no_room_for_is_not_counted_as_the_callers
    messages_go_to_the_countries_of_the_senders_unless_others_are_listed
    a_sender_that_is_named_and_the_default_region_allow_their_own_countries
    numbers_of_dear_kinds_are_refused_in_every_way_of_sending
    a_burst_of_first_messages_to_neighbouring_numbers_is_held_and_told
}

/// So fast that no test waits for it.
const FAST: (&str, &str) = ("TEXTLEDGER_MPS", "2000");

/// Long after these tests, and within the year for which a message can be scheduled.
fn later() -> String {
    (crate::support::now() + jiff::SignedDuration::from_hours(24 * 300)).to_string()
}

fn person(number: usize) -> String {
    format!("+1415555{number:04}")
}

async fn post(service: &TestService, path: &str, body: Value) -> (u16, Value) {
    answer(service.post(Role::Sender, &format!("/api/sms/{path}"), &body)).await
}

/// Schedules a message, and returns the status and the code of the problem.
async fn schedule(service: &TestService, number: usize, text: &str) -> (u16, Value) {
    let body = json!({ "to_number": person(number), "message": text, "send_at": later() });
    let (status, answer) = post(service, "send", body).await;
    (status, answer["code"].clone())
}

/// A send through the drop-in: the HTTP status and Twilio's code.
async fn drop_in(service: &TestService, form: &[(&str, &str)]) -> (u16, Value) {
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json");
    let request = service.anonymous(Method::POST, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
    let (status, answer) = answer(request.form(form)).await;
    (status, answer["code"].clone())
}

fn is_full() -> (u16, Value) {
    (429, json!("queue_full"))
}

async fn a_full_queue_refuses_what_would_have_to_wait_and_nothing_else(on: On) {
    let keys = api_keys();
    let settings = [FAST, ("TEXTLEDGER_QUEUE_MAX", "3"), ("TEXTLEDGER_API_KEYS", &keys)];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let bulk = |count: usize| {
        let to: Vec<String> = (0..count).map(person).collect();
        json!({ "phone_numbers": to, "message": "hello", "send_at": later() })
    };
    let (status, problem) = post(service, "send-bulk", bulk(4)).await;
    assert_eq!((status, problem["code"].clone()), is_full(), "a batch that does not fit is not accepted");
    let (status, batch) = post(service, "send-bulk", bulk(2)).await;
    assert_eq!(status, 202, "nothing of the first batch is stored: {batch}");
    assert_eq!(schedule(service, 7, "hello").await.0, 202);

    let (status, problem) =
        post(service, "send", json!({ "to_number": person(8), "message": "hello", "send_at": later() }))
            .await;
    assert_eq!((status, problem["code"].clone()), is_full());
    assert!(problem["mend"].as_str().unwrap().contains("TEXTLEDGER_QUEUE_MAX"), "{problem}");
    let (at, service_sid) = (later(), "MGcccccccccccccccccccccccccccccccc");
    let scheduled = [
        ("To", "+14155550009"),
        ("Body", "hello"),
        ("MessagingServiceSid", service_sid),
        ("ScheduleType", "fixed"),
        ("SendAt", &at),
    ];
    assert_eq!(drop_in(service, &scheduled).await, (429, json!(20429)));
    let notice = json!({ "user_ids": ["ada"], "message": "hello", "category": "general" });
    let preferences = json!({ "phone_number": person(5), "sms_enabled": true });
    let request = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(request.json(&preferences)).await.0, 200);
    let (status, problem) = post(service, "notify", notice).await;
    assert_eq!((status, problem["code"].clone()), is_full());
    // What leaves at once does not wait.
    assert_eq!(service.send(&person(6), "hello").await.0, 201);

    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let canceled = service.anonymous(Method::DELETE, &path).bearer_auth(token(Role::Sender));
    assert_eq!(answer(canceled).await.1["counts"]["canceled"], 2);
    for expected in [202, 202, 429] {
        assert_eq!(schedule(service, 7, "hello").await.0, expected);
    }
    eventually("the metrics tell how much waits", async || {
        let metrics = service.anonymous(Method::GET, "/metrics").send().await.ok()?.text().await.ok()?;
        metrics.contains("textledger_queued_messages ").then_some(())
    })
    .await;
}

async fn the_texts_of_what_waits_take_room(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_QUEUE_BYTES_MAX", "4000")]).await;
    let text = "x".repeat(1_000);
    assert_eq!(schedule(&world.service, 1, &text).await.0, 202);
    assert_eq!(schedule(&world.service, 2, &text).await.0, 202);
    assert_eq!(schedule(&world.service, 3, &text).await, is_full());
    // The text of a batch is kept once, however many get it.
    let to: Vec<String> = (10..60).map(person).collect();
    let body = json!({ "phone_numbers": to, "message": "short", "send_at": later() });
    assert_eq!(post(&world.service, "send-bulk", body).await.0, 202);
    assert_eq!(schedule(&world.service, 4, "short").await.0, 202, "there is room beside the batch");
}

async fn requests_at_once_do_not_share_the_same_room(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_QUEUE_MAX", "5")]).await;
    let mut requests = JoinSet::new();
    for number in 0..20 {
        let body = json!({ "to_number": person(number), "message": "hello", "send_at": later() });
        requests.spawn(answer(world.service.post(Role::Sender, "/api/sms/send", &body)));
    }
    let accepted = requests.join_all().await.iter().filter(|(status, _)| *status == 202).count();
    assert!(accepted <= 5, "{accepted} were accepted");
    let mut total = accepted;
    while schedule(&world.service, 100 + total, "hello").await.0 == 202 {
        total += 1;
    }
    assert_eq!(total, 5);
}

async fn a_batch_or_a_notice_beyond_the_days_limit_is_refused_whole(on: On) {
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_DAILY_LIMIT", "3")]).await;
    let service = &world.service;
    let bulk = |count: usize, further: Value| {
        let to: Vec<String> = (0..count).map(person).collect();
        let mut body = json!({ "phone_numbers": to, "message": "hello" });
        body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        body
    };
    let (status, problem) = post(service, "send-bulk", bulk(4, json!({}))).await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    assert!(problem["detail"].as_str().unwrap().contains("3 are left"), "{problem}");
    // Each day is filled by what is due on it.
    assert_eq!(post(service, "send-bulk", bulk(2, json!({ "send_at": later() }))).await.0, 202);
    let (status, problem) = post(service, "send-bulk", bulk(2, json!({ "send_at": later() }))).await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    assert!(problem["detail"].as_str().unwrap().contains("1 are left"), "{problem}");
    assert_eq!(schedule(service, 9, "hello").await.0, 202);
    assert_eq!(schedule(service, 9, "hello").await, (429, json!("daily_limit_reached")));
    assert_eq!(post(service, "send-bulk", bulk(3, json!({}))).await.0, 202);
    eventually("the batch arrives", async || (world.twilio.messages().len() == 3).then_some(())).await;
    assert_eq!(service.send(&person(9), "hello").await.0, 429);
}

async fn a_caller_past_its_own_limit_takes_nothing_of_the_others(on: On) {
    let keys = api_keys();
    let settings = [
        FAST,
        ("TEXTLEDGER_DAILY_LIMIT", "4"),
        ("TEXTLEDGER_DAILY_LIMIT_PER_KEY", "2"),
        ("TEXTLEDGER_API_KEYS", &keys),
    ];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let by_key = async |number: usize| {
        let to = person(number);
        drop_in(service, &[("To", to.as_str()), ("From", OUR_NUMBER), ("Body", "hello")]).await.0
    };
    for expected in [201, 201, 429, 429, 429] {
        assert_eq!(by_key(1).await, expected);
    }
    let body = json!({ "phone_numbers": [person(2), person(3), person(4)], "message": "hello" });
    let (status, problem) = post(service, "send-bulk", body).await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    for expected in [201, 201, 429] {
        assert_eq!(service.send(&person(5), "hello").await.0, expected);
    }
}

async fn what_the_organization_has_no_room_for_is_not_counted_as_the_callers(on: On) {
    let keys = api_keys();
    let settings = [
        FAST,
        ("TEXTLEDGER_DAILY_LIMIT", "3"),
        ("TEXTLEDGER_DAILY_LIMIT_PER_KEY", "2"),
        ("TEXTLEDGER_API_KEYS", &keys),
    ];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    for number in [1, 2] {
        let to = person(number);
        let form = [("To", to.as_str()), ("From", OUR_NUMBER), ("Body", "hello")];
        assert_eq!(drop_in(service, &form).await.0, 201);
    }
    let body = json!({ "phone_numbers": [person(3), person(4)], "message": "hello" });
    let (status, problem) = post(service, "send-bulk", body).await;
    assert_eq!((status, &problem["code"]), (429, &json!("daily_limit_reached")));
    assert!(problem["detail"].as_str().unwrap().contains("1 are left"), "{problem}");
    assert_eq!(service.send(&person(3), "hello").await.0, 201);
}

async fn messages_go_to_the_countries_of_the_senders_unless_others_are_listed(on: On) {
    let keys = api_keys();
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_API_KEYS", &keys)]).await;
    let service = &world.service;
    let (british, jamaican) = ("+447400123456", "+18765550100");
    for abroad in [british, jamaican] {
        let (status, problem) = service.send(abroad, "hello").await;
        assert_eq!((status, &problem["code"]), (422, &json!("country_not_allowed")), "{problem}");
        assert!(problem["mend"].as_str().unwrap().contains("TEXTLEDGER_COUNTRIES"), "{problem}");
        let form = [("To", abroad), ("From", OUR_NUMBER), ("Body", "hello")];
        assert_eq!(drop_in(service, &form).await, (400, json!(21408)));
    }
    assert_eq!(service.send("+16135550100", "hello").await.0, 201);
    let body = json!({ "phone_numbers": [person(1), british], "message": "hello" });
    let (status, accepted) = post(service, "send-bulk", body.clone()).await;
    assert_eq!((status, &accepted["accepted"]), (202, &json!(1)));
    assert_eq!(accepted["rejected"][0]["code"], "country_not_allowed", "{accepted}");
    assert_eq!(accepted["rejected"][0]["to_number"], british);
    let (status, accepted) = post(service, "whatsapp/send-bulk", body).await;
    assert_eq!((status, &accepted["accepted"]), (202, &json!(2)), "{accepted}");
    let preferences = json!({ "phone_number": british, "sms_enabled": true });
    let request = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(request.json(&preferences)).await.0, 200);
    let notice = json!({ "user_ids": ["ada"], "message": "hello", "category": "general" });
    let (_, notified) = post(service, "notify", notice).await;
    let skipped = notified["results"][0]["skipped"].as_array().unwrap();
    assert!(skipped.iter().any(|skipped| skipped["code"] == "country_not_allowed"), "{notified}");
    // Nobody here knows which senders a messaging service has.
    let service_sid = "MGcccccccccccccccccccccccccccccccc";
    let form = [("To", british), ("MessagingServiceSid", service_sid), ("Body", "hello")];
    assert_eq!(drop_in(service, &form).await.0, 201);
    // Who has opted out is told as that.
    world.write(british, "STOP").await;
    assert_eq!(service.send(british, "hello").await.1["code"], "recipient_opted_out");
    assert_eq!(world.accepted_for(british), 1);

    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_COUNTRIES", "GB")]).await;
    assert_eq!(world.service.send(british, "hello").await.0, 201);
    assert_eq!(world.service.send(&person(1), "hello").await.1["code"], "country_not_allowed");
    let whatsapp = json!({ "to_number": person(1), "message": "hello" });
    let (_, problem) = post(&world.service, "whatsapp/send", whatsapp).await;
    assert_eq!(problem["code"], "country_not_allowed");
}

async fn a_sender_that_is_named_and_the_default_region_allow_their_own_countries(on: On) {
    let (british, german) = ("+447400123456", "+4915123456789");
    let world = World::start_with(on, &[FAST]).await;
    let body = json!({ "to_number": british, "message": "hello", "from_number": "+447400654321" });
    let (status, sent) = post(&world.service, "send", body).await;
    assert_eq!(status, 201, "{sent}");
    assert_eq!(world.service.send(british, "hello").await.1["code"], "country_not_allowed");
    let world = World::start_with(on, &[FAST, ("TEXTLEDGER_DEFAULT_REGION", "GB")]).await;
    assert_eq!(world.service.send(british, "hello").await.0, 201);
    assert_eq!(world.service.send(&person(1), "hello").await.0, 201);
    assert_eq!(world.service.send(german, "hello").await.1["code"], "country_not_allowed");
}

async fn numbers_of_dear_kinds_are_refused_in_every_way_of_sending(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_COUNTRIES", "all"), ("TEXTLEDGER_API_KEYS", &keys)];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let premium = "+19005550100";
    for dear in [premium, "+8816123456789", "+449098790000"] {
        let (status, problem) = service.send(dear, "hello").await;
        assert_eq!((status, &problem["code"]), (422, &json!("number_type_not_allowed")), "{dear}");
    }
    let form = [("To", premium), ("From", OUR_NUMBER), ("Body", "hello")];
    assert_eq!(drop_in(service, &form).await, (400, json!(21614)));
    let body = json!({ "phone_numbers": [premium], "message": "hello" });
    let (_, accepted) = post(service, "send-bulk", body).await;
    assert_eq!(accepted["rejected"][0]["code"], "number_type_not_allowed", "{accepted}");
    let code = service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(token(Role::User));
    let (status, problem) = answer(code.json(&json!({ "phone_number": premium }))).await;
    assert_eq!((status, &problem["code"]), (422, &json!("number_type_not_allowed")), "{problem}");
    assert!(world.twilio.messages().is_empty());
}

async fn a_burst_of_first_messages_to_neighbouring_numbers_is_held_and_told(on: On) {
    let settings = [FAST, ("TEXTLEDGER_PUMPING_GUARD", "3/24h")];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    world.write(&person(100), "START").await;
    for number in 0..3 {
        assert_eq!(service.send(&person(number), "code").await.0, 201);
    }
    let (status, held) = service.send(&person(3), "code").await;
    let is_held = (202, &json!("held"), &json!("suspicious_traffic"));
    assert_eq!((status, &held["status"], &held["reason"]), is_held);
    let (status, again) = service.send(&person(3), "code").await;
    assert_eq!((status, &again["status"], &again["reason"]), is_held, "asked for twice");
    let (_, message) = service.message_status(held["id"].as_str().unwrap()).await;
    assert_eq!((&message["status"], &message["reason"]), (&json!("held"), &json!("suspicious_traffic")));
    assert_eq!(service.send(&person(4), "code").await.0, 202);
    // People who are known, other blocks, WhatsApp and emergencies are not held.
    assert_eq!(service.send(&person(0), "again").await.0, 201);
    assert_eq!(service.send(&person(100), "welcome").await.0, 201);
    assert_eq!(service.send(&person(5_000), "code").await.0, 201);
    let emergency = json!({ "to_number": person(6), "message": "fire", "category": "emergency" });
    assert_eq!(post(service, "send", emergency).await.0, 201);
    let whatsapp = json!({ "to_number": person(7), "message": "hello" });
    assert_eq!(post(service, "whatsapp/send", whatsapp).await.0, 201);

    let log = service.log();
    assert_eq!(log.matches(r#""event":"suspicious_traffic""#).count(), 1, "told once");
    assert!(log.contains(r#""prefix":"+141555…""#), "no person's number");
    let metrics = service.anonymous(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("textledger_suspicious_messages_total 3"), "{metrics}");
}
