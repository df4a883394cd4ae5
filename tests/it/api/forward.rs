//! What the application is told of, in both formats, and what it answers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::HttpResponse;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use textledger::{
    domain::Role,
    twilio::{
        Form,
        signature::{Algorithm, SigningKey},
    },
};

use super::on_both_stores;
use crate::{
    sdk::{installed, run_script},
    simulator::receiver::{Received, Receiver},
    support::{
        eventually, eventually_within,
        service::{AUTH_TOKEN, On, PERSON, TestService, answer, callback, reply},
    },
};

on_both_stores! {
    what_twilio_posts_reaches_the_application_as_twilio_posts_it
    what_happens_reaches_the_application_as_json_that_the_official_library_accepts
    what_the_application_answers_is_answered_but_never_after_a_stop
    an_application_that_answers_late_or_nonsense_is_told_again_and_its_writer_is_answered_by_us
    an_application_that_is_away_is_told_all_in_the_end_though_the_service_is_killed
    what_was_told_is_told_again_on_request_with_the_same_ids
    one_event_that_is_never_taken_holds_up_no_other
    a_secret_is_shown_once_and_changes_with_an_overlap
    where_nothing_is_told_is_refused
}

const SETTINGS: &str = "/api/sms/settings";
const INBOUND: &str = "/webhooks/twilio/inbound";
const STATUS: &str = "/webhooks/twilio/status";

/// Enough for what was not taken to be told again some times.
const LONG: Duration = Duration::from_secs(60);

fn sid(number: usize) -> String {
    format!("SM{number:032x}")
}

async fn service(on: On) -> TestService {
    TestService::start_with(on, &[("TEXTLEDGER_RELAY_PRIVATE", "true")]).await
}

/// Saves where the application is told, and gives back what is shown of it.
async fn forward(service: &TestService, endpoints: Value) -> Vec<Value> {
    let body = json!({ "forward": endpoints });
    let (status, settings) = answer(service.post(Role::Admin, SETTINGS, &body)).await;
    assert_eq!(status, 200, "{settings}");
    settings["forward"].as_array().unwrap().clone()
}

/// Waits until `receiver` has got `count` requests, and gives them back.
async fn received(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually_within(LONG, "the application is told", async || {
        let received = receiver.received();
        (received.len() >= count).then_some(received)
    })
    .await
}

/// Waits until all endpoints have been told all there is.
async fn told(service: &TestService) {
    eventually_within(LONG, "all is told", async || {
        let (_, listed) = answer(service.get(Role::Admin, "/api/sms/forward")).await;
        let endpoints = listed["endpoints"].as_array().unwrap();
        endpoints.iter().all(|endpoint| endpoint["waiting_since"].is_null()).then_some(())
    })
    .await;
}

fn parameters(body: &str) -> Vec<(String, String)> {
    let form = Form::parse(body.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut parameters: Vec<_> = form.iter().map(|(name, value)| (text(name), text(value))).collect();
    parameters.sort();
    parameters
}

fn sorted(form: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut form: Vec<_> =
        form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    form.sort();
    form
}

async fn what_twilio_posts_reaches_the_application_as_twilio_posts_it(on: On) {
    let service = service(on).await;
    let app = Receiver::start();
    let events = ["inbound", "status"];
    forward(&service, json!([{ "url": app.url("/hook?key=a%20b"), "events": events, "format": "twilio" }]))
        .await;
    let mut written = reply("SM00000000000000000000000000000001", PERSON, "Is it ready? é");
    written.extend([("FromCity", "SAN FRANCISCO"), ("Latitude", "37.7"), ("MessageType", "location")]);
    let answered = service.webhook(INBOUND, &written).await;
    assert_eq!(answered.status(), 200);
    assert!(answered.text().await.unwrap().ends_with("<Response/>"));
    let mut status = callback("SM00000000000000000000000000000002", "undelivered");
    status.extend([
        ("ErrorCode", "30008"),
        ("RawDlrDoneDate", "2611301200"),
        ("MessagingServiceSid", "MGcccccccccccccccccccccccccccccccc"),
    ]);
    // Twilio repeats itself, and the application is told once.
    for _ in 0..2 {
        assert_eq!(service.webhook(STATUS, &status).await.status(), 204);
        assert_eq!(service.webhook(INBOUND, &written).await.status(), 200);
    }
    told(&service).await;
    let all = received(&app, 2).await;
    assert_eq!(all.len(), 2);
    app.assert_signed(&SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into()));
    assert_eq!(parameters(&all[0].body), sorted(&written));
    assert_eq!(parameters(&all[1].body), sorted(&status));
    assert_eq!((all[0].method.as_str(), all[0].target.as_str()), ("POST", "/hook?key=a%20b"));
    assert_eq!(service.metric("textledger_forwards_total{result=\"told\"}").await, 2);
    // Neither texts nor parameters are left in the clear.
    let log = service.log();
    assert!(!log.contains("Is it ready") && !log.contains("SAN FRANCISCO"));
}

async fn what_happens_reaches_the_application_as_json_that_the_official_library_accepts(on: On) {
    let service = service(on).await;
    let app = Receiver::start();
    let all = ["inbound", "status", "consent"];
    let saved =
        forward(&service, json!([{ "url": app.url("/"), "events": all, "format": "standard" }])).await;
    let secret = saved[0]["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    service.webhook(INBOUND, &reply(&sid(1), PERSON, "STOP")).await;
    service.webhook(STATUS, &callback(&sid(2), "delivered")).await;
    let mut requests = received(&app, 3).await;
    told(&service).await;
    let shown = service.events().await;
    for request in &requests {
        let told: Value = serde_json::from_str(&request.body).unwrap();
        let mut event = shown.iter().find(|event| event["event_id"] == told["event_id"]).unwrap().clone();
        if told["type"] == "inbound" {
            event["body"] = json!("STOP");
            event["parameters"] = told["parameters"].clone();
            assert_eq!(told["parameters"]["Body"], "STOP");
            assert_eq!(request.header("webhook-id"), sid(1));
        }
        assert_eq!(told, event);
        assert_eq!(request.header("content-type"), "application/json");
    }
    let kinds: BTreeSet<String> = requests
        .iter()
        .map(|request| {
            serde_json::from_str::<Value>(&request.body).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, BTreeSet::from(["consent", "delivery", "inbound"].map(str::to_owned)));
    let requests: Vec<Value> = requests
        .drain(..)
        .map(|request| json!({ "headers": request.headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), "body": request.body }))
        .collect();
    let requests = STANDARD.encode(json!(requests).to_string());
    run_script(installed("venv/bin/python"), "standard_webhooks.py", &[secret, &requests]).await;
}

async fn what_the_application_answers_is_answered_but_never_after_a_stop(on: On) {
    let service = service(on).await;
    let said =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Message>It is ready.</Message></Response>";
    let app = Receiver::answering(move |_, request| async move {
        match request.get("Body").as_deref() {
            Some("plain") => HttpResponse::Ok().content_type("text/plain").body("Plain & simple"),
            Some("silent") => HttpResponse::NoContent().finish(),
            Some("redirect") => HttpResponse::Ok()
                .content_type("text/xml")
                .body("<Response><Redirect>https://app.example/next</Redirect></Response>"),
            _ => HttpResponse::Ok().content_type("text/xml").body(said),
        }
    });
    let endpoint =
        json!([{ "url": app.url("/sms"), "events": ["inbound"], "format": "twilio", "reply": true }]);
    forward(&service, endpoint).await;
    let write = async |number: usize, text: &str| {
        let answered = service.webhook(INBOUND, &reply(&sid(number), PERSON, text)).await;
        assert_eq!(answered.status(), 200);
        assert_eq!(answered.headers()["content-type"], "text/xml");
        answered.text().await.unwrap()
    };
    assert_eq!(write(1, "Is it ready?").await, said);
    assert!(write(2, "plain").await.contains("<Message>Plain &amp; simple</Message>"));
    assert!(write(3, "silent").await.ends_with("<Response/>"));
    assert!(write(4, "redirect").await.ends_with("<Response/>"));
    // A repetition is told the application no more, and is answered nothing.
    assert!(write(1, "Is it ready?").await.ends_with("<Response/>"));
    let ours = write(5, "STOP").await;
    assert!(!ours.contains("ready"), "{ours}");
    // Neither is anything that they write while they are opted out.
    assert!(!write(6, "Is it ready?").await.contains("ready"));
    let ours = write(7, "HELP").await;
    assert!(!ours.contains("It is ready"), "{ours}");
    write(8, "START").await;
    assert_eq!(write(9, "Is it ready?").await, said);
    told(&service).await;
    let bodies: Vec<_> = app.received().iter().map(|request| request.get("MessageSid").unwrap()).collect();
    assert_eq!(bodies, (1..=9).map(sid).collect::<Vec<_>>(), "each is told once");
}

async fn an_application_that_answers_late_or_nonsense_is_told_again_and_its_writer_is_answered_by_us(on: On) {
    let service = service(on).await;
    let app = Receiver::answering(|index, _| async move {
        match index {
            0 => HttpResponse::InternalServerError().finish(),
            _ => HttpResponse::Ok().content_type("text/html").body("<html><body>Hello</body></html>"),
        }
    });
    let endpoint =
        json!([{ "url": app.url("/sms"), "events": ["inbound"], "format": "twilio", "reply": true }]);
    forward(&service, endpoint).await;
    for number in [1, 2] {
        let answered = service.webhook(INBOUND, &reply(&sid(number), PERSON, "HELP")).await;
        let answered = answered.text().await.unwrap();
        assert!(!answered.contains("Hello"), "{answered}");
    }
    told(&service).await;
    let told: Vec<_> = app.received().iter().map(|request| request.get("MessageSid").unwrap()).collect();
    assert_eq!(told, [sid(1), sid(2), sid(1)]);
    assert!(service.log().contains("the application's answer to a message is not handed on"));
}

async fn an_application_that_is_away_is_told_all_in_the_end_though_the_service_is_killed(on: On) {
    let mut service = service(on).await;
    let is_there = Arc::new(AtomicBool::new(false));
    let app = Receiver::answering({
        let is_there = is_there.clone();
        move |_, _| {
            let is_there = is_there.load(Ordering::SeqCst);
            async move { if is_there { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() }.finish() }
        }
    });
    let all = ["inbound", "status"];
    forward(
        &service,
        json!([
            { "url": app.url("/twilio"), "events": all, "format": "twilio" },
            { "url": app.url("/standard"), "events": all, "format": "standard" },
        ]),
    )
    .await;
    for number in 0..20 {
        service.webhook(INBOUND, &reply(&sid(number), PERSON, "hello")).await;
        service.webhook(STATUS, &callback(&sid(100 + number), "sent")).await;
    }
    eventually("it is noticed that the application is away", async || {
        let (_, listed) = answer(service.get(Role::Admin, "/api/sms/forward")).await;
        let endpoints = listed["endpoints"].as_array().unwrap();
        endpoints
            .iter()
            .all(|endpoint| {
                endpoint["state"] == "failing"
                    && endpoint["last_failure"] == "answered 503"
                    && !endpoint["waiting_since"].is_null()
            })
            .then_some(())
    })
    .await;
    service.kill();
    service.start_again();
    for number in 20..30 {
        service.webhook(INBOUND, &reply(&sid(number), PERSON, "hello")).await;
    }
    is_there.store(true, Ordering::SeqCst);
    // Nobody takes an endpoint for a while that was being told when the service was killed.
    eventually_within(Duration::from_secs(120), "all is told", async || {
        let (_, listed) = answer(service.get(Role::Admin, "/api/sms/forward")).await;
        let endpoints = listed["endpoints"].as_array().unwrap();
        endpoints.iter().all(|endpoint| endpoint["waiting_since"].is_null()).then_some(())
    })
    .await;
    let received = app.received();
    let expected: BTreeSet<String> = (0..30).chain(100..120).map(sid).collect();
    let of = |target: &str| received.iter().filter(|request| request.target == target).collect::<Vec<_>>();
    let twilio: BTreeSet<_> =
        of("/twilio").iter().map(|request| request.get("MessageSid").unwrap()).collect();
    assert_eq!(twilio, expected);
    let mut ids: BTreeSet<(String, String)> = BTreeSet::new();
    for request in of("/standard") {
        let told: Value = serde_json::from_str(&request.body).unwrap();
        ids.insert((told["sid"].as_str().unwrap().to_owned(), request.header("webhook-id").to_owned()));
    }
    let told: BTreeSet<_> = ids.iter().map(|(sid, _)| sid.clone()).collect();
    assert_eq!((told, ids.len()), (expected.clone(), expected.len()), "a repetition carries the same id");
}

async fn what_was_told_is_told_again_on_request_with_the_same_ids(on: On) {
    let service = service(on).await;
    let app = Receiver::start();
    let all = ["inbound", "status"];
    let saved = forward(
        &service,
        json!([
            { "url": app.url("/answers"), "events": all, "format": "twilio", "reply": true },
        ]),
    )
    .await;
    service.webhook(INBOUND, &reply(&sid(1), PERSON, "hello")).await;
    service.webhook(STATUS, &callback(&sid(2), "sent")).await;
    told(&service).await;
    let token = |request: &Received| request.header("I-Twilio-Idempotency-Token").to_owned();
    let first: BTreeSet<_> = received(&app, 2).await.iter().map(token).collect();
    let events = service.events().await;
    let replay =
        async |body: Value| answer(service.post(Role::Admin, "/api/sms/forward/replay", &body)).await;
    let (status, standings) = replay(json!({ "since": events[0]["at"] })).await;
    assert_eq!((status, &standings["endpoints"][0]["id"]), (200, &saved[0]["id"]), "{standings}");
    let again: BTreeSet<_> = received(&app, 4).await[2..].iter().map(token).collect();
    assert_eq!(again, first);
    told(&service).await;
    // Nothing of it is told a third time, and what is new goes on.
    service.webhook(STATUS, &callback(&sid(2), "delivered")).await;
    told(&service).await;
    assert_eq!(app.received().len(), 5);
    let (status, problem) = replay(json!({ "since": events[0]["at"], "id": "nobody" })).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("id")), "{problem}");
    let (status, _) = answer(service.post(Role::Sender, "/api/sms/forward/replay", &json!({}))).await;
    assert_eq!(status, 403);
    let (_, audit) = answer(service.get(Role::Admin, "/api/sms/audit?action=forward.replay")).await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1, "{audit}");
}

async fn one_event_that_is_never_taken_holds_up_no_other(on: On) {
    let service = service(on).await;
    let app = Receiver::answering(|_, request| async move {
        match request.get("Body").as_deref() {
            Some("poison") => HttpResponse::InternalServerError().finish(),
            _ => HttpResponse::Ok().finish(),
        }
    });
    let saved =
        forward(&service, json!([{ "url": app.url("/"), "events": ["inbound"], "format": "twilio" }])).await;
    for number in 0..10 {
        let text = if number < 6 { "poison" } else { "hello" };
        service.webhook(INBOUND, &reply(&sid(number), PERSON, text)).await;
    }
    eventually_within(LONG, "the others are told", async || {
        let told: BTreeSet<_> =
            app.received().iter().map(|request| request.get("MessageSid").unwrap()).collect();
        (told.len() == 10).then_some(())
    })
    .await;
    let standing = eventually("the others are behind", async || {
        let (_, listed) = answer(service.get(Role::Admin, "/api/sms/forward")).await;
        (listed["endpoints"][0]["retrying"] == 6).then(|| listed["endpoints"][0].clone())
    })
    .await;
    assert_eq!((&standing["id"], &standing["last_failure"]), (&saved[0]["id"], &json!("answered 500")));
}

async fn a_secret_is_shown_once_and_changes_with_an_overlap(on: On) {
    let service = service(on).await;
    let app = Receiver::start();
    let url = app.url("/").replace("http://", "http://user:pass@");
    let endpoint = |further: Value| {
        let mut endpoint = json!({ "url": url, "events": ["status"], "format": "standard" });
        endpoint.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        json!([endpoint])
    };
    let first = forward(&service, endpoint(json!({}))).await.remove(0);
    let secret = first["secret"].as_str().unwrap().to_owned();
    assert!(!first["url"].as_str().unwrap().contains("pass"), "{first}");
    let (_, shown) = answer(service.get(Role::Admin, SETTINGS)).await;
    assert_eq!(shown["forward"][0]["secret"], Value::Null);
    // As it is shown it may be saved again, and is the same.
    let mut again = endpoint(json!({}));
    again[0]["url"] = shown["forward"][0]["url"].clone();
    let again = forward(&service, again).await.remove(0);
    assert_eq!((&again["id"], &again["secret"]), (&first["id"], &Value::Null));
    let rotated = forward(&service, endpoint(json!({ "rotate_secret": true }))).await.remove(0);
    let other = rotated["secret"].as_str().unwrap();
    assert!(rotated["id"] == first["id"] && other != secret);
    service.webhook(STATUS, &callback(&sid(1), "sent")).await;
    let request = received(&app, 1).await.remove(0);
    assert_eq!(request.header("webhook-signature").split(' ').count(), 2);
    let headers: std::collections::BTreeMap<_, _> = request.headers.iter().cloned().collect();
    let requests = STANDARD.encode(json!([{ "headers": headers, "body": request.body }]).to_string());
    for secret in [&secret, other] {
        run_script(installed("venv/bin/python"), "standard_webhooks.py", &[secret, &requests]).await;
    }
    let log = service.log();
    assert!(!log.contains(&secret) && !log.contains("user:pass"));
}

async fn where_nothing_is_told_is_refused(on: On) {
    let service = TestService::start(on).await;
    let endpoint = json!({ "url": "https://app.example/hook", "events": ["inbound"], "format": "twilio" });
    let with = |name: &str, value: Value| {
        let mut endpoint = endpoint.clone();
        endpoint[name] = value;
        json!([endpoint])
    };
    let own = service.url("/webhooks/twilio/inbound");
    for (endpoints, expected) in [
        (with("url", json!("http://127.0.0.1/")), "the entry 0: url"),
        (with("url", json!("http://169.254.169.254/latest")), "the entry 0: url"),
        (with("url", json!("ftp://app.example/")), "the entry 0: url"),
        (with("url", json!(own)), "the entry 0: url"),
        (with("url", json!("")), "the entry 0: url"),
        (with("events", json!([])), "the entry 0: events"),
        (with("events", json!(["consent"])), "the entry 0: events"),
        (with("events", json!(["everything"])), "the entry 0: events"),
        (with("format", json!("xml")), "the entry 0: format"),
        (with("rotate_secret", json!(true)), "the entry 0: rotate_secret"),
        (
            json!([{ "url": "https://app.example/", "events": ["status"], "format": "twilio", "reply": true }]),
            "the entry 0: reply",
        ),
        (json!([endpoint, endpoint]), "must have different URLs"),
        (json!(vec![endpoint.clone(); 11]), "10"),
    ] {
        let (status, problem) =
            answer(service.post(Role::Admin, SETTINGS, &json!({ "forward": endpoints }))).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("forward")), "{problem}");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{endpoints}: {problem}");
    }
    let (_, shown) = answer(service.get(Role::Admin, SETTINGS)).await;
    assert_eq!(shown["forward"], json!([]));
}
