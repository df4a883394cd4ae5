//! A person's data is erased, and what they have opted out of is obeyed all the same.

use std::{fs, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    eventually, now,
    redis_server::RedisServer,
    service::{On, PERSON, TestService, answer, callback, reply, token},
    twilio::World,
};

on_both_stores! {
    nothing_is_left_of_an_erased_person_but_what_they_opted_out_of
    what_an_erased_person_says_next_holds
    an_erasure_of_many_messages_is_done_in_steps
    the_forms_that_the_application_is_told_are_erased_too
}

const ADA: &str = "+14155550177";
/// What is searched for: Redis's histories have no `+`.
const DIGITS: &str = "14155550177";
const USER_ID: &str = "US.777888999";
const WORDS: &str = "zirconwords";
/// What stands in the key of every form that is kept.
const FORMS: &str = "posted";

async fn get(service: &TestService, path: &str) -> Value {
    let (status, body) = answer(service.get(Role::Admin, path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(service: &TestService, path: &str, body: &Value, expected: u16) -> Value {
    let (status, body) = answer(service.post(Role::Admin, path, body)).await;
    assert_eq!(status, expected, "{path}: {body}");
    body
}

/// Erases `person` through the running service: what the command says, after it has ended well.
async fn erase(service: &TestService, person: &str) -> String {
    let url = service.url("");
    let output = service.run(&["erase", person, "--url", url.trim_end_matches('/')], &[]).await;
    let (said, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(!errors.contains(DIGITS), "{errors}");
    said
}

/// Every row of the store of `service`.
async fn rows(service: &TestService, on: On) -> Vec<u8> {
    match on {
        On::Redis => RedisServer::shared().everything(service.setting("TEXTLEDGER_KEY_PREFIX")).await,
        On::Embedded => {
            let file = service.folder().join("rows");
            fs::remove_file(&file).ok();
            let output = service.run(&["backup", file.to_str().unwrap()], &[]).await;
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            fs::read(file).unwrap()
        }
    }
}

fn contains(kept: &[u8], text: &str) -> bool {
    kept.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn send(service: &TestService, path: &str, to: &str) -> (u16, Value) {
    let body = json!({ "to_number": to, "message": "hello" });
    let (status, body) = answer(service.post(Role::Admin, path, &body)).await;
    (status, body["code"].clone())
}

/// Everything that is kept of a person, for Ada and for somebody else.
async fn play(world: &World) {
    let service = &world.service;
    let in_an_hour = (now() + Duration::from_secs(3_600)).to_string();
    for (person, user, user_id) in [(ADA, "ada", USER_ID), (PERSON, "ben", "US.111222333")] {
        let message = json!({ "to_number": person, "message": WORDS, "user_id": user });
        post(service, "/api/sms/send", &message, 201).await;
        post(service, "/api/sms/whatsapp/send", &message, 201).await;
        let mut scheduled = message.clone();
        scheduled["send_at"] = json!(in_an_hour);
        post(service, "/api/sms/send", &scheduled, 202).await;
        let preferences = json!({ "phone_number": person, "sms_enabled": true, "whatsapp_enabled": true });
        let put = service.anonymous(Method::PUT, &format!("/api/sms/preferences/{user}"));
        assert_eq!(answer(put.bearer_auth(token(Role::Admin)).json(&preferences)).await.0, 200);
        let notice = json!({ "user_ids": [user], "message": WORDS, "category": "general" });
        post(service, "/api/sms/notify", &notice, 202).await;
        let wish = json!({
            "phone_number": person, "channel": "all", "state": "opted_in", "evidence": format!("{WORDS} of {user}"),
        });
        post(service, "/api/sms/consent", &wish, 200).await;
        world.send_elsewhere(person).await;
        // A WhatsApp message that names the user id and the number, a doubtful one, HELP, and words.
        let named = json!({
            "from": format!("whatsapp:{person}"), "to": "whatsapp:+15005550006", "body": "hello",
            "WaId": person.trim_start_matches('+'), "ExternalUserId": format!("whatsapp:{user_id}"),
        });
        assert_eq!(world.write_with(&named).await.0, 200);
        assert_eq!(world.write(&format!("whatsapp:{person}"), "ok stop").await.0, 200);
        assert_eq!(world.write(person, "HELP").await.0, 200);
        assert_eq!(world.write(person, WORDS).await.0, 200);
    }
    let batch = json!({ "phone_numbers": [ADA, PERSON], "message": WORDS, "send_at": in_an_hour });
    post(service, "/api/sms/send-bulk", &batch, 202).await;
    eventually("what has its turn has left", async || {
        let all = get(service, "/api/sms/messages?limit=500").await;
        let has_left = |message: &Value| message["status"] != "waiting" && message["status"] != "sending";
        all["messages"].as_array().unwrap().iter().all(has_left).then_some(())
    })
    .await;
    world.settle().await;
    assert_eq!(world.write(ADA, "STOP").await.0, 200);
    world.settle().await;
}

async fn nothing_is_left_of_an_erased_person_but_what_they_opted_out_of(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    play(&world).await;
    let before = rows(service, on).await;
    assert!(contains(&before, DIGITS) && contains(&before, USER_ID), "the search finds nothing");
    let others = get(service, &format!("/api/sms/messages?to={PERSON}&limit=100")).await;
    let others_consent = get(service, &format!("/api/sms/consent/{PERSON}/history")).await;

    let said = erase(service, ADA).await;
    assert!(said.contains("2 changes of consent, 1 reviews, 1 preferences, 1 other names"), "{said}");
    assert!(!said.contains(" 0 messages") && !said.contains(" 0 events"), "{said}");
    assert!(said.contains("kept under a keyed hash, to be obeyed: sms, whatsapp"), "{said}");
    let kept = rows(service, on).await;
    for mark in [DIGITS, USER_ID, "zirconwords of ada"] {
        assert!(!contains(&kept, mark), "the store holds {mark}");
    }
    assert!(contains(&kept, &PERSON[1..]), "somebody else's data is gone");
    assert!(!service.log().contains(DIGITS), "the log holds the number");

    // No answer tells of the person what was erased.
    for path in [
        "/api/sms/messages?limit=500",
        "/api/sms/events?limit=500",
        "/api/sms/audit",
        "/api/sms/consent/reviews",
    ] {
        let body = get(service, path).await.to_string();
        assert!(!body.contains(DIGITS) && !body.contains(USER_ID), "{path}: {body}");
    }
    let preferences = get(service, "/api/sms/preferences/ada").await;
    assert_eq!(preferences["phone_number"], Value::Null);
    let export = service.get(Role::Admin, "/api/sms/consent/export").send().await.unwrap();
    let export = export.text().await.unwrap();
    assert!(!export.contains(DIGITS), "{export}");
    assert_eq!(get(service, &format!("/api/sms/messages?to={ADA}")).await["messages"], json!([]));
    let entries = get(service, "/api/sms/audit?action=person.erase").await;
    assert_eq!(entries["entries"][0]["subject"], "+1415***0177", "{entries}");

    // What is told is what is obeyed.
    let consent = get(service, &format!("/api/sms/consent/{ADA}")).await;
    let sms = &consent["channels"]["sms"];
    assert_eq!((&sms["state"], &sms["source"]), (&json!("opted_out"), &json!("keyword")), "{consent}");
    assert_eq!(sms["message_sid"], Value::Null);
    assert_eq!(consent["channels"]["whatsapp"]["source"], "review_expired", "{consent}");
    let changes = get(service, &format!("/api/sms/consent/{ADA}/history")).await;
    let told: Vec<_> =
        changes["changes"].as_array().unwrap().iter().map(|change| &change["evidence"]).collect();
    assert_eq!(told, [&Value::Null, &Value::Null]);
    let sent = world.accepted_for(ADA);
    for (path, to) in
        [("/api/sms/send", ADA), ("/api/sms/whatsapp/send", ADA), ("/api/sms/whatsapp/send", USER_ID)]
    {
        assert_eq!(send(service, path, to).await, (409, json!("recipient_opted_out")), "{path} {to}");
    }
    world.settle().await;
    assert_eq!(world.accepted_for(ADA), sent);
    // A file and a colleague take nothing back.
    let file = format!("phone_number,channel,state,source\n{ADA},sms,opted_in,import\n");
    let import = service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
    let (status, imported) = answer(import.header("Content-Type", "text/csv").body(file)).await;
    assert_eq!((status, &imported["kept"]), (200, &json!(1)), "{imported}");
    assert!(!contains(&rows(service, on).await, DIGITS), "a refusal has brought the number back");

    // Everything of somebody else is as it was.
    assert_eq!(get(service, &format!("/api/sms/messages?to={PERSON}&limit=100")).await, others);
    assert_eq!(get(service, &format!("/api/sms/consent/{PERSON}/history")).await, others_consent);
    assert_eq!(get(service, "/api/sms/preferences/ben").await["phone_number"], PERSON);

    // The second time there is nothing.
    let said = erase(service, ADA).await;
    assert!(
        said.contains(
            "erased: 0 messages, 0 events, 0 changes of consent, 0 reviews, 0 preferences, 0 other names"
        ),
        "{said}"
    );
    assert!(said.contains("to be obeyed: sms, whatsapp"), "{said}");
}

async fn what_an_erased_person_says_next_holds(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    assert_eq!(send(service, "/api/sms/send", ADA).await.0, 201);
    assert_eq!(world.write(ADA, "STOP").await.0, 200);
    erase(service, ADA).await;
    // An ordinary reply is one, and no opt-in.
    assert_eq!(world.write(ADA, "hello").await.0, 200);
    assert_eq!(send(service, "/api/sms/send", ADA).await, (409, json!("recipient_opted_out")));
    assert_eq!(world.write(ADA, "START").await.0, 200);
    assert_eq!(send(service, "/api/sms/send", ADA).await.0, 201);
    let known = get(service, &format!("/api/sms/consent/{ADA}")).await;
    assert_eq!(known["channels"]["sms"]["state"], "opted_in");
    world.settle().await;
    // Who has not opted out is nobody any more once they are erased.
    let said = erase(service, ADA).await;
    assert!(!said.contains("kept"), "{said}");
    assert!(!contains(&rows(service, on).await, DIGITS));
    let known = get(service, &format!("/api/sms/consent/{ADA}")).await;
    assert_eq!(known["channels"]["sms"]["state"], "unknown");
    // Whoever types no number, or opens a store that is in use, is told what to do.
    let output = service.run(&["erase", "12"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    if let On::Embedded = on {
        let output = service.run(&["erase", ADA], &[]).await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && errors.contains("--url http://"), "{errors}");
    }
    // The key is the same after a restart.
    assert_eq!(world.write(ADA, "STOP").await.0, 200);
    erase(service, ADA).await;
    let mut world = world;
    assert_eq!(world.service.stop().await, Some(0));
    world.service.start_again();
    assert_eq!(send(&world.service, "/api/sms/send", ADA).await, (409, json!("recipient_opted_out")));
}

async fn an_erasure_of_many_messages_is_done_in_steps(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let in_an_hour = (now() + Duration::from_secs(3_600)).to_string();
    let message = json!({ "to_number": ADA, "message": WORDS, "send_at": in_an_hour });
    let messages = 2_010;
    for _ in 0..messages / 30 {
        let sends = (0..30).map(|_| post(service, "/api/sms/send", &message, 202));
        futures_util::future::join_all(sends).await;
    }
    let erase = async |cursor: &str| {
        let path = format!("/api/sms/persons/{ADA}{cursor}");
        answer(service.anonymous(Method::DELETE, &path).bearer_auth(token(Role::Admin))).await
    };
    let (status, first) = erase("").await;
    assert_eq!((status, &first["erased"]["messages"]), (200, &json!(2_000)), "{first}");
    let (status, last) = erase(&format!("?cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((status, &last["erased"]["messages"]), (200, &json!(10)), "{last}");
    assert_eq!((&last["next_cursor"], &last["on_their_way"]), (&Value::Null, &json!(0)));
    assert_eq!(get(service, "/api/sms/messages").await["messages"], json!([]));
    // Written down once, by whom it was asked for.
    let entries = get(service, "/api/sms/audit?action=person.erase").await;
    assert_eq!(entries["entries"].as_array().unwrap().len(), 1, "{entries}");
    assert_eq!(entries["entries"][0]["actor"], "user:tester");
    assert_eq!(world.accepted_for(ADA), 0);
}

async fn the_forms_that_the_application_is_told_are_erased_too(on: On) {
    let service = TestService::start_with(on, &[("TEXTLEDGER_RELAY_PRIVATE", "true")]).await;
    // Nobody listens there: what is to be told waits.
    let url = "http://127.0.0.1:9/";
    let endpoint = json!({ "url": url, "events": ["inbound", "status"], "format": "twilio" });
    post(&service, "/api/sms/settings", &json!({ "forward": [endpoint] }), 200).await;
    let (written, told) = (format!("SM{:032x}", 0xada1), format!("SM{:032x}", 0xada2));
    let mut status = callback(&told, "sent");
    status.iter_mut().filter(|(name, _)| *name == "To").for_each(|(_, to)| *to = ADA);
    assert_eq!(service.webhook("/webhooks/twilio/status", &status).await.status(), 204);
    let text = reply(&written, ADA, WORDS);
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &text).await.status(), 200);
    let failing = async || {
        let endpoints = get(&service, "/api/sms/forward").await;
        (endpoints["endpoints"][0]["state"] == "failing").then_some(())
    };
    eventually("the application is away", failing).await;
    let kept = rows(&service, on).await;
    assert!(contains(&kept, FORMS) && contains(&kept, &told) && !contains(&kept, WORDS));
    erase(&service, ADA).await;
    let kept = rows(&service, on).await;
    assert!(!contains(&kept, FORMS) && !contains(&kept, &told));
    // What waited is nothing to be told any more.
    eventually("nothing waits", async || {
        let endpoints = get(&service, "/api/sms/forward").await;
        let endpoint = &endpoints["endpoints"][0];
        (endpoint["retrying"] == 0 && endpoint["state"] == "working").then_some(())
    })
    .await;
}
