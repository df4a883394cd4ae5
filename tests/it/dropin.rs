//! The drop-in for Twilio's own libraries, over its HTTP: what waits, what is refused, and what is told to the caller's own
//! StatusCallback URL. That the libraries themselves cannot tell it from Twilio is in `sdk`.

mod credentials;
mod relay;
mod sealed;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    api::on_both_stores,
    sdk::{installed, run_script},
    simulator::receiver::Receiver,
    support::{
        eventually,
        service::{ACCOUNT_SID, OUR_NUMBER, On, PERSON, SENDER_KEY, TestService, answer, api_keys},
        twilio::World,
    },
};

on_both_stores! {
    what_is_scheduled_waits_here_and_keeps_its_name_when_it_has_left
    what_the_recipients_pause_holds_back_is_accepted_and_leaves_later
    what_the_days_limit_refuses_is_too_many_requests
    a_key_is_done_once
}

/// A messaging service of the account.
const SERVICE: &str = "MGcccccccccccccccccccccccccccccccc";

/// What the SIDs of messages begin with that Twilio has not named yet.
const STAND_IN: &str = "SM000000000000";

/// Starts a service and Twilio; callers may be told on this machine.
async fn world(on: On, settings: &[(&str, &str)]) -> World {
    let keys = api_keys();
    let ours = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_RELAY_PRIVATE", "true")];
    World::start_with(on, &[&ours, settings].concat()).await
}

/// The same for a story, which has to end by [`World::finish`].
async fn story(on: On, settings: &[(&str, &str)]) -> World {
    let keys = api_keys();
    let ours = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_RELAY_PRIVATE", "true")];
    World::story(on, &[&ours, settings].concat()).await
}

/// A request to `rest` of the account's messages, as a library makes it.
fn call(service: &TestService, method: Method, rest: &str) -> RequestBuilder {
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages{rest}.json");
    service.anonymous(method, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
}

/// Creates a message to [`PERSON`], unless it is given another recipient or text.
async fn create(service: &TestService, further: &[(&str, &str)]) -> (u16, Value) {
    let usual = [("To", PERSON), ("Body", "hello")];
    let left_out = usual.iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    let form: Vec<(&str, &str)> = left_out.chain(further).copied().collect();
    answer(call(service, Method::POST, "").form(&form)).await
}

async fn fetch(service: &TestService, sid: &str) -> (u16, Value) {
    answer(call(service, Method::GET, &format!("/{sid}"))).await
}

/// Parameters that schedule a message `seconds` ahead.
fn in_seconds(seconds: i64) -> Vec<(&'static str, String)> {
    let at = now() + jiff::SignedDuration::from_secs(seconds);
    vec![
        ("MessagingServiceSid", SERVICE.to_owned()),
        ("ScheduleType", "fixed".to_owned()),
        ("SendAt", at.to_string()),
    ]
}

#[expect(clippy::disallowed_methods, reason = "the service, another process, goes by the system's clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

async fn schedule(service: &TestService, seconds: i64, further: &[(&str, &str)]) -> String {
    let scheduled = in_seconds(seconds);
    let scheduled: Vec<(&str, &str)> =
        scheduled.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, message) = create(service, &[&scheduled, further].concat()).await;
    assert_eq!((status, &message["status"]), (201, &json!("scheduled")), "{message}");
    let sid = message["sid"].as_str().unwrap().to_owned();
    assert!(sid.starts_with(STAND_IN), "{sid}");
    sid
}

async fn what_is_scheduled_waits_here_and_keeps_its_name_when_it_has_left(on: On) {
    let world = story(on, &[]).await;
    let sid = schedule(&world.service, 2, &[]).await;
    let (status, message) = fetch(&world.service, &sid).await;
    assert_eq!((status, &message["status"], &message["body"]), (200, &json!("scheduled"), &json!("hello")));
    assert_eq!(world.accepted_for(PERSON), 0);
    let delivered = eventually("it is delivered", async || {
        let (status, message) = fetch(&world.service, &sid).await;
        assert_eq!((status, &message["sid"]), (200, &json!(sid)));
        (message["status"] == "delivered").then_some(message)
    })
    .await;
    assert_eq!(world.accepted_for(PERSON), 1);
    let uri = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json");
    assert_eq!(delivered["uri"], json!(uri));
    // What Twilio has by now is changed there, under the name that the caller knows.
    let redact = call(&world.service, Method::POST, &format!("/{sid}")).form(&[("Body", "")]);
    let (status, message) = answer(redact).await;
    assert_eq!((status, &message["sid"], &message["body"]), (200, &json!(sid), &json!("")));
    let cancel = call(&world.service, Method::POST, &format!("/{sid}")).form(&[("Status", "canceled")]);
    assert_eq!(answer(cancel).await.1["code"], 30409);
    assert_eq!(answer(call(&world.service, Method::DELETE, &format!("/{sid}"))).await, (204, Value::Null));
    assert_eq!(fetch(&world.service, &sid).await.1["code"], 20404);
    world.finish(&[]).await;
}

async fn what_the_recipients_pause_holds_back_is_accepted_and_leaves_later(on: On) {
    let world = story(on, &[("TEXTLEDGER_RECIPIENT_COOLDOWN", "3s")]).await;
    let from = ("From", OUR_NUMBER);
    let (status, first) = create(&world.service, &[from]).await;
    assert_eq!((status, &first["status"]), (201, &json!("queued")));
    let (status, held) = create(&world.service, &[from]).await;
    assert_eq!((status, &held["status"]), (201, &json!("accepted")), "{held}");
    let held = held["sid"].as_str().unwrap();
    assert!(held.starts_with(STAND_IN));
    assert_eq!(world.accepted_for(PERSON), 1);
    eventually("what was held is delivered", async || {
        (fetch(&world.service, held).await.1["status"] == "delivered").then_some(())
    })
    .await;
    assert_eq!(world.accepted_for(PERSON), 2);
    world.finish(&[]).await;
}

async fn what_the_days_limit_refuses_is_too_many_requests(on: On) {
    let world = story(on, &[("TEXTLEDGER_DAILY_LIMIT", "1")]).await;
    assert_eq!(create(&world.service, &[("From", OUR_NUMBER)]).await.0, 201);
    let (status, refused) = create(&world.service, &[("From", OUR_NUMBER)]).await;
    assert_eq!((status, &refused["code"], &refused["status"]), (429, &json!(20429), &json!(429)));
    assert!(refused["message"].as_str().unwrap().contains("limit of messages per day"), "{refused}");
    assert_eq!(world.accepted_for(PERSON), 1);
    world.finish(&[]).await;
}

async fn a_key_is_done_once(on: On) {
    let world = story(on, &[]).await;
    let send = async |body: &str| {
        let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", body)];
        answer(call(&world.service, Method::POST, "").header("Idempotency-Key", "one").form(&form)).await
    };
    let first = send("hello").await;
    assert_eq!(first.0, 201);
    assert_eq!(send("hello").await, first);
    assert_eq!(send("other").await.0, 422);
    assert_eq!(world.accepted_for(PERSON), 1);
    world.finish(&[]).await;
}

/// In the place of Twilio stands one that answers what no simulator would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_do_not_know_goes_through_in_both_directions() {
    let twilio = Receiver::answering(|_, request| async move {
        let sid = format!("SM{}", "b".repeat(32));
        let message = json!({
            "sid": sid, "status": "accepted", "to": PERSON, "from": null, "tags": {"campaign": "x"}, "new": [1],
        });
        let refusal = json!({
            "code": 99999, "message": "no +14155550100 today", "more_info": "there", "status": 418, "details": {},
        });
        match request.get("Body").as_deref() {
            Some("refuse") => actix_web::HttpResponse::ImATeapot().json(refusal),
            Some("break") => actix_web::HttpResponse::BadRequest().body("<html>"),
            _ => actix_web::HttpResponse::Created().json(message),
        }
    });
    let keys = api_keys();
    let base_url = twilio.url("");
    let settings = [
        ("TWILIO_API_BASE_URL", base_url.as_str()),
        ("TEXTLEDGER_API_KEYS", &keys),
        ("TEXTLEDGER_PUBLIC_URL", "https://sms.example.com"),
    ];
    let service = TestService::start_with(On::Embedded, &settings).await;
    let further = [
        ("From", OUR_NUMBER),
        ("SmartEncoded", "true"),
        ("PersistentAction", "a"),
        ("PersistentAction", "b"),
        ("RiskCheck", "disable"),
        ("StatusCallback", "https://app.example.com/status?a=b#rc=2"),
    ];
    let (status, message) = create(&service, &further).await;
    assert_eq!((status, &message["tags"], &message["new"]), (201, &json!({"campaign": "x"}), &json!([1])));
    let sent = &twilio.received()[0].body;
    assert!(
        sent.ends_with("SmartEncoded=true&PersistentAction=a&PersistentAction=b&RiskCheck=disable"),
        "{sent}"
    );
    let ours = twilio.received()[0].get("StatusCallback").unwrap();
    assert!(ours.starts_with("https://sms.example.com/webhooks/twilio/status?id="), "{ours}");
    assert!(ours.contains("&relay=1#"), "{ours}");

    let send = async |body: &str| create(&service, &[("From", OUR_NUMBER), ("Body", body)]).await;
    let expected = json!({
        "code": 99999, "message": "no +14155550100 today", "more_info": "there", "status": 418, "details": {},
    });
    assert_eq!(send("refuse").await, (418, expected));
    let (status, refusal) = send("break").await;
    assert_eq!((status, &refusal["code"], &refusal["status"]), (400, &json!(20400), &json!(400)));
    // Their text is the caller's, and not the log's.
    assert!(!service.log().contains("+14155550100"));
}

/// What Twilio's libraries cannot send, and others may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_calls_are_refused_in_twilios_json() {
    let world = world(On::Embedded, &[]).await;
    let service = &world.service;
    let account = format!("/2010-04-01/Accounts/{ACCOUNT_SID}");
    for (method, path, expected) in [
        (Method::GET, format!("{account}/Messages"), (404, 20404)),
        (Method::GET, format!("{account}/Calls.json"), (404, 20404)),
        (Method::POST, format!("{account}.json"), (404, 20404)),
        (Method::GET, format!("{account}/Messages/SM{}/Media/ME1.json", "0".repeat(32)), (404, 20404)),
        (Method::PUT, format!("{account}/Messages/SM{}/Media.json", "0".repeat(32)), (405, 20004)),
        (Method::GET, format!("{account}/Messages/SM1.json"), (404, 20404)),
        (Method::GET, format!("{account}/Messages/..%2F..%2FCalls.json"), (404, 20404)),
        (Method::PUT, format!("{account}/Messages.json"), (405, 20004)),
        (Method::PATCH, format!("{account}/Messages/SM{}.json", "0".repeat(32)), (405, 20004)),
        (Method::POST, format!("{account}/Messages.json"), (400, 21604)),
    ] {
        let request = service.anonymous(method.clone(), &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
        let (status, error) = answer(request).await;
        assert_eq!((status, error["code"].as_i64().unwrap()), expected, "{method} {path}");
        let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "message", "more_info", "status"], "{path}");
    }
    let long = "a".repeat(70_000);
    let too_long =
        call(service, Method::POST, "").form(&[("To", PERSON), ("From", OUR_NUMBER), ("Body", &long)]);
    assert_eq!(answer(too_long).await.0, 413);
    for header in ["Basic", "Basic !", "Basic YTpi", "Bearer x", "Basic /w=="] {
        let path = format!("{account}/Messages.json");
        let request = service.anonymous(Method::GET, &path).header("Authorization", header);
        let (status, error) = answer(request).await;
        assert_eq!((status, &error["code"]), (401, &json!(20003)), "{header}");
    }
    // The bearer's own door does not open with a basic password.
    let request = service.anonymous(Method::GET, "/api/sms/events").basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
    assert_eq!(answer(request).await.0, 401);
}

/// Runs the official validator of signatures over what was received.
async fn assert_valid_for_twilios_library(receiver: &Receiver, token: &str) {
    let requests: Vec<Value> = receiver
        .received()
        .iter()
        .map(|request| {
            json!({
                "url": receiver.url(&request.target),
                "signature": request.header("X-Twilio-Signature"),
                "body": request.body,
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.json");
    std::fs::write(&file, json!(requests).to_string()).unwrap();
    let arguments = [token, file.to_str().unwrap()];
    run_script(installed("venv/bin/python"), "validate.py", &arguments).await;
}
