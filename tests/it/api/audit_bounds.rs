//! Who did what, beside what goes on: what changes nothing is not written down, nobody of a low role fills the record, what a
//! later version wrote is shown, and a change that cannot be written down is not made.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::{app::consents::preferences::OWN_CHANGES_MAX, domain::Role};

use super::on_both_stores;
use crate::support::{
    eventually, later, now,
    redis_server::RedisServer,
    service::{
        ACCOUNT_SID, On, PUBLIC_URL, SENDER_KEY, TestService, answer, api_keys, reply, token, token_of,
    },
    twilio::World,
};

on_both_stores! {
    what_changes_nothing_is_not_written_down
    a_placeholder_that_stands_for_no_message_fills_no_record
    a_user_changes_their_own_preferences_so_often_a_day_and_may_always_turn_them_off
    a_person_opts_in_by_a_link_so_often_a_day_and_may_always_opt_out
    what_a_later_version_has_written_is_shown_as_it_stands
    a_message_of_a_later_version_does_not_hide_those_beside_it
}

const NUMBER: &str = "+14155550177";

/// The entries that an administrator sees.
async fn entries(service: &TestService) -> Vec<Value> {
    let (status, page) = answer(service.get(Role::Admin, "/api/sms/audit?limit=499")).await;
    assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
    page["entries"].as_array().unwrap().clone()
}

async fn actions(service: &TestService) -> Vec<String> {
    entries(service).await.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

/// Changes the own preferences of whose `token` it is.
async fn prefer(service: &TestService, token: &str, body: &Value) -> (u16, Value) {
    answer(service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(token).json(body)).await
}

async fn what_changes_nothing_is_not_written_down(on: On) {
    let service = TestService::start(on).await;
    let admin = |method: Method, path: &str| service.anonymous(method, path).bearer_auth(token(Role::Admin));
    let sid = "SM00000000000000000000000000000077";
    let form = reply(sid, "+14155550179", "ok stop");
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let bulk = json!({ "phone_numbers": ["+14155550180"], "message": "hello", "send_at": in_an_hour });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let (_, key) =
        answer(service.post(Role::Admin, "/api/sms/api-keys", &json!({ "name": "crm", "role": "viewer" })))
            .await;
    let batch = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let key = format!("/api/sms/api-keys/{}", key["sid"].as_str().unwrap());
    let review = format!("/api/sms/consent/reviews/{sid}");
    let ada = token_of("ada", Some(NUMBER));
    let own =
        |body: Value| service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(&ada).json(&body);
    let by_person = reply("SM00000000000000000000000000000078", "+14155550178", "STOP");
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &by_person).await.status(), 200);
    let stop = json!({ "phone_number": "+14155550178", "channel": "sms", "state": "opted_out" });
    let chosen = json!({ "phone_number": NUMBER, "sms_enabled": true, "whatsapp_enabled": false });
    let mut written = actions(&service).await;
    for (request, is_written, then) in [
        (own(json!({})), false, 200),
        (own(chosen.clone()), true, 200),
        (own(chosen), false, 200),
        (own(json!({ "sms_enabled": false })), true, 200),
        (own(json!({ "sms_enabled": false })), false, 200),
        (admin(Method::PUT, "/api/sms/preferences/ada").json(&json!({ "sms_enabled": false })), false, 200),
        (admin(Method::PUT, "/api/sms/preferences/ada").json(&json!({ "sms_enabled": true })), true, 200),
        // The person has said so in their own words, which say more.
        (service.post(Role::Sender, "/api/sms/consent", &stop), false, 200),
        (service.post(Role::Admin, &review, &json!({ "decision": "dismiss" })), true, 200),
        (service.post(Role::Admin, &review, &json!({ "decision": "dismiss" })), false, 200),
        (admin(Method::DELETE, &batch), true, 200),
        (admin(Method::DELETE, &batch), false, 200),
        (admin(Method::DELETE, &key), true, 204),
        (admin(Method::DELETE, &key), false, 404),
    ] {
        let request = request.build().unwrap();
        let asked = format!("{} {}", request.method(), request.url());
        let (status, answered) =
            answer(reqwest::RequestBuilder::from_parts(reqwest::Client::new(), request)).await;
        assert_eq!(status, then, "{asked}: {answered}");
        let all = actions(&service).await;
        assert_eq!(all.len() - written.len(), usize::from(is_written), "{asked}: {all:?}");
        written = all;
    }
    let canceled = entries(&service).await.into_iter().find(|entry| entry["action"] == "batch.cancel");
    assert_eq!(canceled.unwrap()["detail"], json!({ "canceled": 1 }));
    // Saving what is saved seals it anew.
    let settings = json!({ "display_name": "ACME" });
    for fields in ["display_name", ""] {
        let (status, answered) = answer(service.post(Role::Admin, "/api/sms/settings", &settings)).await;
        assert_eq!(status, 200, "{answered}");
        assert_eq!(entries(&service).await.last().unwrap()["detail"]["fields"], fields);
    }
}

async fn a_placeholder_that_stands_for_no_message_fills_no_record(on: On) {
    let keys = api_keys();
    let world = World::start_with(on, &[("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let service = &world.service;
    let call = |method: Method, sid: &str| {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json");
        service.anonymous(method, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
    };
    let ask = async |sid: &str| {
        for request in [
            call(Method::DELETE, sid),
            call(Method::POST, sid).form(&[("Status", "canceled")]),
            call(Method::POST, sid).form(&[("Body", "")]),
        ] {
            let (status, answered) = answer(request).await;
            assert_eq!(status, 404, "{answered}");
        }
    };
    ask(&format!("SM{:032x}", 7)).await;
    assert_eq!(actions(service).await, [""; 0]);
    // Only Twilio knows what it has, and what it is asked for is written down before.
    ask("SM70000000000000000000000000000007").await;
    assert_eq!(actions(service).await, ["message.delete", "message.cancel", "message.update"]);
}

async fn a_user_changes_their_own_preferences_so_often_a_day_and_may_always_turn_them_off(on: On) {
    let service = TestService::start(on).await;
    let ada = token_of("ada", Some(NUMBER));
    let number = json!({ "phone_number": NUMBER, "sms_enabled": false });
    assert_eq!(prefer(&service, &ada, &number).await.0, 200);
    let sms = |enabled: bool| json!({ "sms_enabled": enabled });
    for _ in 1..OWN_CHANGES_MAX {
        for enabled in [true, false] {
            assert_eq!(prefer(&service, &ada, &sms(enabled)).await.0, 200);
        }
    }
    let before = entries(&service).await.len();
    let refused = service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(&ada).json(&sms(true));
    let refused = refused.send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["Retry-After"]),
        (429, &"86400".parse().unwrap())
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "rate_limited");
    for _ in 0..3 {
        let (status, preferences) = prefer(&service, &ada, &sms(false)).await;
        assert_eq!((status, &preferences["sms_enabled"]), (200, &json!(false)));
    }
    assert_eq!(entries(&service).await.len(), before, "the record grows no more");
    // Others are not touched by it, and an administrator helps.
    let ben = token_of("ben", Some("+14155550178"));
    assert_eq!(prefer(&service, &ben, &sms(true)).await.0, 200);
    let helped = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(helped.json(&sms(true))).await.0, 200);
    // Once more off, which the administrator's help has made possible: also beside what is refused.
    let both = json!({ "sms_enabled": false, "whatsapp_enabled": true });
    assert_eq!(prefer(&service, &ada, &both).await.0, 429);
    let seen = service.anonymous(Method::GET, "/api/sms/preferences").bearer_auth(&ada);
    let (_, seen) = answer(seen).await;
    assert_eq!((&seen["sms_enabled"], &seen["whatsapp_enabled"]), (&json!(false), &json!(false)), "{seen}");
}

async fn a_person_opts_in_by_a_link_so_often_a_day_and_may_always_opt_out(on: On) {
    let service = TestService::start(on).await;
    let body = json!({ "phone_number": NUMBER });
    let (_, link) = answer(service.post(Role::Sender, "/api/sms/consent/links", &body)).await;
    let path = link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let press = async |choice: &str| {
        let pressed = browser.post(service.url(&path)).form(&[("choice", choice)]).send().await;
        pressed.unwrap().status().as_u16()
    };
    for _ in 0..OWN_CHANGES_MAX {
        assert_eq!(press("start_sms").await, 303);
        assert_eq!(press("start_sms").await, 303, "what is so already counts for nothing");
        assert_eq!(press("stop_sms").await, 303);
    }
    assert_eq!(press("start_sms").await, 429);
    assert_eq!(press("stop_all").await, 303);
    let written = entries(&service).await.len();
    assert_eq!(press("start_sms").await, 429);
    assert_eq!(press("stop_all").await, 303);
    assert_eq!(entries(&service).await.len(), written);
    let (_, consent) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{NUMBER}"))).await;
    assert_eq!(consent["channels"]["sms"]["state"], "opted_out");
}

async fn what_a_later_version_has_written_is_shown_as_it_stands(on: On) {
    let mut service = TestService::start(on).await;
    let link = json!({ "phone_number": NUMBER });
    let make = async |service: &TestService| {
        assert_eq!(answer(service.post(Role::Sender, "/api/sms/consent/links", &link)).await.0, 201);
    };
    make(&service).await;
    service.stop().await;
    let stored = json!({
        "agent": "robot:r2", "action": "template.approve", "subject": { "template": "t1" },
        "facts": { "ballots": [7] }, "request_id": "r9",
    });
    let stored = stored.to_string();
    match on {
        On::Embedded => later::add_entry_to_file(&service.folder().join("data"), &stored),
        On::Redis => {
            let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
            later::add_entry_to_redis(&RedisServer::shared().url(), prefix, &stored);
        }
    }
    service.start_again();
    make(&service).await;
    let all = entries(&service).await;
    assert_eq!(actions(&service).await, ["consent.link", "template.approve", "consent.link"]);
    let shown = &all[1];
    let expected = json!(["robot:r2", "template:t1", { "ballots": [7] }, "r9"]);
    assert_eq!(json!([shown["actor"], shown["subject"], shown["detail"], shown["request_id"]]), expected);
    let (_, page) = answer(service.get(Role::Admin, "/api/sms/audit?actor=robot:r2")).await;
    assert_eq!(page["entries"], json!([shown]));
    let (_, page) = answer(service.get(Role::Admin, "/api/sms/audit?action=consent.link")).await;
    assert_eq!(page["entries"], json!([all[0], all[2]]));
    service.stop().await;
    let printed = service.run(&["audit"], &[]).await;
    let printed = String::from_utf8(printed.stdout).unwrap();
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed, all);
}

async fn a_message_of_a_later_version_does_not_hide_those_beside_it(on: On) {
    let mut service = TestService::start(on).await;
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let to = ["+14155550177", "+14155550178", "+14155550179"];
    let bulk = json!({ "phone_numbers": to, "message": "hello", "send_at": in_an_hour });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let batch = format!("/api/sms/batches/{}/messages", batch["batch_id"].as_str().unwrap());
    let listed = async |service: &TestService, path: &str| {
        let (status, page) = answer(service.get(Role::Viewer, path)).await;
        assert_eq!(status, 200, "{path}: {page}");
        page["messages"].as_array().unwrap().clone()
    };
    let all = listed(&service, &batch).await;
    let id = all[1]["id"].as_str().unwrap();
    service.stop().await;
    match on {
        On::Embedded => later::hold_in_file(&service.folder().join("data"), id),
        On::Redis => {
            let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
            later::hold_in_redis(&RedisServer::shared().url(), prefix, id);
        }
    }
    service.start_again();
    for path in [batch.as_str(), "/api/sms/messages"] {
        let mut shown: Vec<String> = listed(&service, path)
            .await
            .iter()
            .map(|message| message["to"].as_str().unwrap().to_owned())
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, [to[0], to[2]], "{path}");
    }
    assert!(service.log().contains("a record cannot be read"));
    assert_eq!(service.message_status(id).await.0, 503, "it is there");
}

/// As below. Settings are another step of the store than their entry, and Twilio is no step of it at all: the entry comes
/// before either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_saved_or_asked_of_twilio_that_cannot_be_written_down() {
    let keys = api_keys();
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let service = &world.service;
    let call = |method: Method, rest: &str| {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages{rest}.json");
        service.anonymous(method, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
    };
    let send = async |further: &[(&str, &str)]| {
        let form = [&[("To", NUMBER), ("Body", "hello")], further].concat();
        let (status, sent) = answer(call(Method::POST, "").form(&form)).await;
        assert_eq!(status, 201, "{sent}");
        format!("/{}", sent["sid"].as_str().unwrap())
    };
    let sent = send(&[("From", "+15005550006")]).await;
    let at = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let service_sid = "MGcccccccccccccccccccccccccccccccc";
    let waits =
        send(&[("MessagingServiceSid", service_sid), ("ScheduleType", "fixed"), ("SendAt", &at)]).await;
    world.settle().await;
    let before = actions(service).await;
    let settings =
        |name: &str| service.post(Role::Admin, "/api/sms/settings", &json!({ "display_name": name }));
    let mut redis = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
    let aside = format!("{key}:aside");
    ::redis::cmd("RENAME").arg(&key).arg(&aside).query_async::<()>(&mut redis).await.unwrap();
    ::redis::cmd("SET").arg(&key).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    assert_eq!(answer(settings("ACME")).await.0, 503);
    let cancel = || call(Method::POST, &waits).form(&[("Status", "canceled")]);
    let redact = || call(Method::POST, &sent).form(&[("Body", "")]);
    for request in [cancel(), redact(), call(Method::DELETE, &sent)] {
        assert_eq!(answer(request).await.0, 503);
    }
    let (_, shown) = answer(service.get(Role::Admin, "/api/sms/settings")).await;
    assert_eq!(shown["display_name"], Value::Null);
    assert_eq!(answer(call(Method::GET, &waits)).await.1["status"], "scheduled");
    assert_eq!(answer(call(Method::GET, &sent)).await.1["body"], "hello");

    ::redis::cmd("RENAME").arg(&aside).arg(&key).query_async::<()>(&mut redis).await.unwrap();
    for (request, status) in
        [(settings("ACME"), 200), (cancel(), 200), (redact(), 200), (call(Method::DELETE, &sent), 204)]
    {
        assert_eq!(answer(request).await.0, status);
    }
    let done = ["settings.change", "message.cancel", "message.update", "message.delete"];
    eventually("all are told", async || {
        let all = actions(service).await;
        (all.len() == before.len() + done.len()).then(|| assert_eq!(all[before.len()..], done))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_cools_down_from_a_message_that_could_not_be_written_down() {
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_RECIPIENT_COOLDOWN", "1h")]).await;
    let service = &world.service;
    let mut redis = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
    ::redis::cmd("SET").arg(&key).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    assert_eq!(service.send(NUMBER, "hello").await.0, 503);
    ::redis::cmd("DEL").arg(&key).query_async::<()>(&mut redis).await.unwrap();
    let (status, sent) = service.send(NUMBER, "hello").await;
    assert_eq!(status, 201, "{sent}");
    let (status, held) = service.send(NUMBER, "hello").await;
    assert_eq!((status, &held["reason"]), (202, &json!("cooldown")), "{held}");
}

/// Something to which Redis adds no entry lies in the place of the audit: each change fails as if the store had failed
/// between the change and its entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_written_down_is_not_made_and_a_repetition_makes_both() {
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]).await;
    let service = &world.service;
    let sid = "SM00000000000000000000000000000077";
    assert_eq!(
        service.webhook("/webhooks/twilio/inbound", &reply(sid, "+14155550179", "ok stop")).await.status(),
        200
    );
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let bulk = json!({ "phone_numbers": ["+14155550180"], "message": "hello", "send_at": in_an_hour });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    let batch = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let review = format!("/api/sms/consent/reviews/{sid}");
    let ada = token_of("ada", Some(NUMBER));
    let requests = || {
        let admin =
            |method: Method, path: &str| service.anonymous(method, path).bearer_auth(token(Role::Admin));
        let stop = json!({ "phone_number": NUMBER, "channel": "whatsapp", "state": "opted_out" });
        [
            ("consent.change", service.post(Role::Admin, "/api/sms/consent", &stop)),
            (
                "preferences.change",
                service
                    .anonymous(Method::PUT, "/api/sms/preferences")
                    .bearer_auth(&ada)
                    .json(&json!({ "phone_number": NUMBER, "sms_enabled": false })),
            ),
            ("review.decide", service.post(Role::Admin, &review, &json!({ "decision": "opt_out" }))),
            ("batch.cancel", admin(Method::DELETE, &batch)),
        ]
    };
    let mut redis = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
    let aside = format!("{key}:aside");
    ::redis::cmd("RENAME").arg(&key).arg(&aside).query_async::<()>(&mut redis).await.unwrap();
    ::redis::cmd("SET").arg(&key).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    for (action, request) in requests() {
        let (status, problem) = answer(request).await;
        assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{action}: {problem}");
    }
    // Nothing of it was changed.
    let (_, consent) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{NUMBER}"))).await;
    assert_eq!(consent["channels"]["whatsapp"]["state"], "unknown", "{consent}");
    assert_eq!(consent["channels"]["sms"]["state"], "unknown", "{consent}");
    let own = service.anonymous(Method::GET, "/api/sms/preferences").bearer_auth(&ada);
    assert_eq!(answer(own).await.1["phone_number"], Value::Null);
    let (_, reviews) = answer(service.get(Role::Viewer, "/api/sms/consent/reviews")).await;
    assert_eq!(reviews["reviews"].as_array().unwrap().len(), 1, "{reviews}");
    assert_eq!(answer(service.get(Role::Viewer, &batch)).await.1["state"], "running");

    ::redis::cmd("RENAME").arg(&aside).arg(&key).query_async::<()>(&mut redis).await.unwrap();
    let before = actions(service).await;
    for (action, request) in requests() {
        let (status, answered) = answer(request).await;
        assert_eq!(status, 200, "{action}: {answered}");
    }
    let done = eventually("all are told", async || {
        let all = actions(service).await;
        (all.len() == before.len() + 4).then(|| all[before.len()..].to_vec())
    })
    .await;
    assert_eq!(done, requests().map(|(action, _)| action));
}
