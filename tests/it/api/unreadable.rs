//! Records that cannot be read: each takes nothing with it that is beside it, no answer looks whole that is not, and nobody is
//! sent to whose consent cannot be read.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    damage::{Record, damage},
    eventually, now,
    service::{On, TestService, answer, reply, token},
    twilio::World,
};

on_both_stores! {
    a_batch_is_counted_and_called_off_around_a_message_that_cannot_be_read
    a_list_of_messages_tells_how_many_of_them_cannot_be_read
    nobody_is_sent_to_whose_consent_cannot_be_read
    what_waits_for_somebody_whose_consent_cannot_be_read_is_put_off_and_told_once
    a_poll_whose_message_cannot_be_read_is_told_once_and_made_again
    a_history_goes_on_behind_a_change_that_cannot_be_read
    reviews_are_listed_and_decided_beside_one_that_cannot_be_read
    api_keys_are_listed_beside_one_that_cannot_be_read_which_nobody_takes_for_ended
}

const NUMBER: &str = "+14155550177";
const OTHER_NUMBER: &str = "+14155550178";
const METRIC: &str = "textledger_unreadable_records_total";

fn admin(service: &TestService, method: Method, path: &str) -> reqwest::RequestBuilder {
    service.anonymous(method, path).bearer_auth(token(Role::Admin))
}

async fn shown(service: &TestService, path: &str) -> Value {
    let (status, shown) = answer(service.get(Role::Admin, path)).await;
    assert_eq!(status, 200, "{path}: {shown}");
    shown
}

/// How often the log tells of the record.
fn told(service: &TestService, record: &str) -> usize {
    let is_of = |line: &&str| line.contains("a record cannot be read") && line.contains(record);
    service.log().lines().filter(is_of).count()
}

async fn a_batch_is_counted_and_called_off_around_a_message_that_cannot_be_read(on: On) {
    let mut service = TestService::start(on).await;
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let to = [NUMBER, OTHER_NUMBER, "+14155550179"];
    let bulk = json!({ "phone_numbers": to, "message": "hello", "send_at": in_an_hour });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let batch = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let messages = shown(&service, &format!("{batch}/messages")).await;
    let id = messages["messages"][1]["id"].as_str().unwrap().to_owned();
    damage(&mut service, on, &[Record::Message(&id)]).await;
    // Page by page nothing is shown twice, and nothing left out.
    let page = shown(&service, &format!("{batch}/messages?limit=2")).await;
    let first = (&page["messages"][0]["id"], &page["messages"][1]["id"]);
    assert_eq!(first, (&messages["messages"][0]["id"], &Value::Null), "{page}");
    assert_eq!((&page["unreadable"], &page["next_cursor"]), (&json!(1), &json!("2")));
    let page = shown(&service, &format!("{batch}/messages?limit=2&cursor=2")).await;
    assert_eq!(page["messages"][0]["id"], messages["messages"][2]["id"], "{page}");
    assert_eq!((&page["unreadable"], &page["next_cursor"]), (&json!(0), &Value::Null));
    let before = shown(&service, &batch).await;
    let counts = |batch: &Value, state: &str| json!([batch["counts"][state], batch["counts"]["unreadable"]]);
    assert_eq!(counts(&before, "scheduled"), json!([2, 1]), "{before}");
    assert_eq!((&before["state"], &before["total"]), (&json!("running"), &json!(3)));
    let (status, after) = answer(admin(&service, Method::DELETE, &batch)).await;
    assert_eq!(status, 200, "{after}");
    assert_eq!(counts(&after, "canceled"), json!([2, 1]), "{after}");
    assert_eq!(after["state"], "canceled");
    let audit = shown(&service, "/api/sms/audit?action=batch.cancel").await;
    assert_eq!(audit["entries"][0]["detail"], json!({ "canceled": 3 }));
    assert_eq!(told(&service, &id), 1, "once, however often it is met");
    assert!(service.metric(METRIC).await >= 3);
}

async fn a_list_of_messages_tells_how_many_of_them_cannot_be_read(on: On) {
    let mut service = TestService::start(on).await;
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let mut ids = Vec::new();
    for to in [NUMBER, OTHER_NUMBER, "+14155550179"] {
        let body = json!({ "to_number": to, "message": "hello", "send_at": in_an_hour });
        let (_, sent) = answer(service.post(Role::Sender, "/api/sms/send", &body)).await;
        ids.push(sent["id"].as_str().unwrap().to_owned());
    }
    damage(&mut service, on, &[Record::Message(&ids[1])]).await;
    // Whatever is asked for: it may be one of these.
    for query in ["", "?status=scheduled", "?status=delivered", "?channel=whatsapp"] {
        let page = shown(&service, &format!("/api/sms/messages{query}")).await;
        assert_eq!((&page["unreadable"], &page["next_cursor"]), (&json!(1), &Value::Null), "{query}: {page}");
    }
    // Page by page nothing is counted twice.
    let (mut path, mut listed, mut unreadable) = ("?limit=1".to_owned(), Vec::new(), 0);
    loop {
        let page = shown(&service, &format!("/api/sms/messages{path}")).await;
        listed.extend(page["messages"].as_array().unwrap().iter().map(|message| message["id"].clone()));
        unreadable += page["unreadable"].as_u64().unwrap();
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("?limit=1&cursor={next}");
    }
    assert_eq!((listed, unreadable), (vec![json!(ids[2]), json!(ids[0])], 1));
}

async fn nobody_is_sent_to_whose_consent_cannot_be_read(on: On) {
    let mut world = World::start(on).await;
    assert_eq!(world.write(NUMBER, "STOP").await.0, 200);
    damage(&mut world.service, on, &[Record::Consent(NUMBER)]).await;
    let service = &world.service;
    let (status, problem) = service.send(NUMBER, "hello").await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
    let bulk = json!({ "phone_numbers": [NUMBER, OTHER_NUMBER], "message": "hello" });
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await.0, 503);
    assert_eq!(answer(service.get(Role::Viewer, &format!("/api/sms/consent/{NUMBER}"))).await.0, 503);
    assert_eq!(service.send(OTHER_NUMBER, "hello").await.0, 201);
    world.settle().await;
    assert_eq!(world.accepted_for(NUMBER), 0);
}

async fn what_waits_for_somebody_whose_consent_cannot_be_read_is_put_off_and_told_once(on: On) {
    let mut world = World::start(on).await;
    let soon = (now() + jiff::SignedDuration::from_secs(6)).to_string();
    for number in [NUMBER, OTHER_NUMBER] {
        let message = json!({ "to_number": number, "message": "hello", "send_at": soon });
        assert_eq!(answer(world.service.post(Role::Sender, "/api/sms/send", &message)).await.0, 202);
    }
    damage(&mut world.service, on, &[Record::Consent(NUMBER)]).await;
    let record = "to +1415***0177 rests on";
    eventually("it is told", async || (told(&world.service, record) > 0).then_some(())).await;
    eventually("the other leaves", async || (world.accepted_for(OTHER_NUMBER) > 0).then_some(())).await;
    assert_eq!((told(&world.service, record), world.accepted_for(NUMBER)), (1, 0));
    assert!(!world.service.log().contains("a message that waits is looked at again later"));
}

async fn a_poll_whose_message_cannot_be_read_is_told_once_and_made_again(on: On) {
    let times = "3s,6s,9s,12s,15s,18s,21s,24s,27s,30s";
    let mut world = World::start_with(on, &[("TEXTLEDGER_RECONCILE_AFTER", times)]).await;
    world.fault(json!({ "lose_callback": 1.0, "seed": 7 })).await;
    let (_, sent) = world.service.send(NUMBER, "hello").await;
    let id = sent["id"].as_str().unwrap().to_owned();
    world.settle().await;
    damage(&mut world.service, on, &[Record::Message(&id)]).await;
    let failed = r#"textledger_polls_total{result="failed"}"#;
    eventually("it is asked for again", async || (world.service.metric(failed).await > 1).then_some(()))
        .await;
    assert_eq!(told(&world.service, "what the status of"), 1);
}

async fn a_history_goes_on_behind_a_change_that_cannot_be_read(on: On) {
    let mut service = TestService::start(on).await;
    for (state, evidence) in [("opted_in", "one"), ("opted_out", "two"), ("opted_in", "three")] {
        let wish = json!({ "phone_number": NUMBER, "channel": "sms", "state": state, "evidence": evidence });
        assert_eq!(answer(service.post(Role::Admin, "/api/sms/consent", &wish)).await.0, 200);
    }
    damage(&mut service, on, &[Record::Change(NUMBER, 1)]).await;
    let history = format!("/api/sms/consent/{NUMBER}/history");
    let evidence = |page: &Value| {
        let changes = page["changes"].as_array().unwrap();
        changes.iter().map(|change| change["evidence"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let page = shown(&service, &history).await;
    assert_eq!((evidence(&page), &page["unreadable"]), (vec!["one".into(), "three".into()], &json!(1)));
    // Page by page nothing is shown twice, and nothing left out.
    let page = shown(&service, &format!("{history}?limit=2")).await;
    assert_eq!((evidence(&page), &page["unreadable"]), (vec!["one".into()], &json!(1)));
    let next = format!("{history}?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = shown(&service, &next).await;
    assert_eq!((evidence(&page), &page["unreadable"]), (vec!["three".into()], &json!(0)));
    assert_eq!(told(&service, "change 1 of the consent of +1415***0177"), 1);
    // A file that lacked it would lose it where the file is imported.
    assert_eq!(answer(service.get(Role::Admin, "/api/sms/consent/export")).await.0, 503);
}

async fn reviews_are_listed_and_decided_beside_one_that_cannot_be_read(on: On) {
    let mut service = TestService::start(on).await;
    let sids = [1, 2].map(|number| format!("SM{number:032x}"));
    for (sid, from) in sids.iter().zip([NUMBER, OTHER_NUMBER]) {
        let form = reply(sid, from, "ok stop");
        assert_eq!(service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    }
    damage(&mut service, on, &[Record::Review(&sids[0])]).await;
    let page = shown(&service, "/api/sms/consent/reviews").await;
    let listed: Vec<_> = page["reviews"].as_array().unwrap().iter().map(|one| &one["message_sid"]).collect();
    assert_eq!((listed, &page["unreadable"]), (vec![&json!(sids[1])], &json!(1)), "{page}");
    let decide = |sid: &str| {
        let path = format!("/api/sms/consent/reviews/{sid}");
        answer(service.post(Role::Admin, &path, &json!({ "decision": "dismiss" })))
    };
    assert_eq!(decide(&sids[0]).await.0, 503);
    assert_eq!(decide(&sids[1]).await.0, 200);
    assert_eq!(told(&service, &sids[0]), 1);
    // Its person is protected still.
    let (status, held) = service.send(NUMBER, "hello").await;
    assert_eq!((status, &held["reason"]), (202, &json!("review")), "{held}");
}

async fn api_keys_are_listed_beside_one_that_cannot_be_read_which_nobody_takes_for_ended(on: On) {
    let mut service = TestService::start(on).await;
    let make = async |service: &TestService, name: &str| {
        let wanted = json!({ "name": name, "role": "viewer" });
        let (status, key) = answer(service.post(Role::Admin, "/api/sms/api-keys", &wanted)).await;
        assert_eq!(status, 201, "{key}");
        (key["sid"].as_str().unwrap().to_owned(), key["secret"].as_str().unwrap().to_owned())
    };
    let (damaged, secret) = make(&service, "one").await;
    let (whole, _) = make(&service, "two").await;
    damage(&mut service, on, &[Record::ApiKey(&damaged)]).await;
    for _ in 0..2 {
        let page = shown(&service, "/api/sms/api-keys").await;
        let listed: Vec<_> = page["api_keys"].as_array().unwrap().iter().map(|key| &key["sid"]).collect();
        assert_eq!((listed, &page["unreadable"]), (vec![&json!(whole)], &json!(1)), "{page}");
    }
    let (revoked, problem) =
        answer(admin(&service, Method::DELETE, &format!("/api/sms/api-keys/{damaged}"))).await;
    assert_eq!((revoked, &problem["detail"]), (503, &json!("what is stored cannot be read")));
    let signed_in = service.anonymous(Method::GET, "/api/sms/messages").bearer_auth(&secret);
    assert_eq!(answer(signed_in).await.0, 401, "nobody knows what it may do");
    assert_eq!(told(&service, &damaged), 1, "once, and not with every look");
    let listed = service.run(&["key", "list", "--url", &service.url("")], &[]).await;
    let printed = String::from_utf8(listed.stdout).unwrap();
    assert!(printed.contains(&whole) && !printed.contains(&damaged), "{printed}");
    assert!(String::from_utf8(listed.stderr).unwrap().contains("1 more API key cannot be read"));
}
