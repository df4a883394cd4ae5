//! What a store, a spool and a log hold in clear: phone numbers and ids, and nothing that anybody wrote or keeps secret.
//!
//! A whole story is played in which everything that is personal or secret carries a mark of its own; then every byte that
//! is kept is searched for all marks.

use std::{fs, path::Path, sync::Arc};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use textledger::{
    clock::SystemClock,
    domain::{Organization, Role},
    http::auth::{self, Claims},
    spool::{Lane, Spool},
    startup,
    store::Kind,
};

use crate::{
    api::on_both_stores,
    simulator::receiver::Receiver,
    support::{
        eventually, leftovers, now,
        redis_server::RedisServer,
        service::{
            ACCOUNT_SID, AUTH_TOKEN, JWT_SECRET, OUR_NUMBER, On, PERSON, PUBLIC_URL, SENDER_KEY, TestService,
            answer, api_keys, callback, reply, token,
        },
        twilio::{API_KEY_SECRET, API_KEY_SID, World},
    },
};

on_both_stores! {
    nothing_that_was_written_or_is_secret_is_kept_in_clear
    what_version_0_1_0_answered_is_answered_again
}

/// What must not be found, by what it is. Each stands in no other one.
const MARKS: [(&str, &str); 14] = [
    ("a text sent", "zircon1text"),
    ("a text sent with a key", "zircon2text"),
    ("a text of the drop-in", "zircon3text"),
    ("a text scheduled", "zircon4text"),
    ("a text of a batch", "zircon5text"),
    ("a doubtful reply", "zircon6reply"),
    ("an ordinary reply", "zircon7reply"),
    ("a URL of media", "zircon8media"),
    ("the user of a callback's URL", "zircon9user"),
    ("the password of a callback's URL", "zircon10password"),
    ("the query of a callback's URL", "zircon11query"),
    ("the secret of a shared key", "zircon12-shared-secret-of-a-key"),
    ("the name that a person gives themselves", "zircon13name"),
    ("a text of an answer of Twilio's", "zircon14text"),
];

/// The mark of what is called `what`.
fn mark(what: &str) -> &'static str {
    MARKS.iter().find(|(name, _)| *name == what).unwrap_or_else(|| panic!("{what}")).1
}

/// Secrets of the service, of its callers and of the account.
fn secrets() -> Vec<(&'static str, String)> {
    let signature = token(Role::Sender).rsplit_once('.').unwrap().1.to_owned();
    vec![
        ("the auth token", AUTH_TOKEN.to_owned()),
        ("the API key's secret", API_KEY_SECRET.to_owned()),
        ("the secret of tokens", JWT_SECRET.to_owned()),
        ("a caller's key", SENDER_KEY.to_owned()),
        ("a caller's token", signature),
    ]
}

/// Fails if a mark or a secret is in what is kept at `place`.
fn assert_sealed(place: &str, kept: &[u8]) {
    let marks = MARKS.iter().map(|(what, mark)| (*what, (*mark).to_owned()));
    let found: Vec<_> = marks.chain(secrets()).filter(|(_, mark)| contains(kept, mark)).collect();
    assert!(found.is_empty(), "{place} holds {found:?} in clear");
}

fn contains(kept: &[u8], text: &str) -> bool {
    kept.windows(text.len()).any(|window| window == text.as_bytes())
}

/// All bytes of the files below `folder`.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { bytes_below(&path) } else { fs::read(&path).unwrap() });
    }
    bytes
}

/// What the store of `service` holds: the files of an embedded one, or every key of Redis with all that is in it.
async fn kept_by(service: &TestService, on: On) -> Vec<u8> {
    match on {
        On::Embedded => bytes_below(&service.folder().join("data")),
        On::Redis => RedisServer::shared().everything(service.setting("TEXTLEDGER_KEY_PREFIX")).await,
    }
}

/// A POST to the drop-in, as a library of Twilio's makes it.
async fn create(service: &TestService, form: &[(&str, &str)], key: &str) -> Value {
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json");
    let request = service.anonymous(Method::POST, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
    let (status, message) = answer(request.header("Idempotency-Key", key).form(form)).await;
    assert_eq!(status, 201, "{message}");
    message
}

/// A POST by an administrator that has to be answered with one of `expected`.
async fn post(service: &TestService, path: &str, body: &Value, key: &str, expected: u16) -> Value {
    let request = service.post(Role::Admin, path, body).header("Idempotency-Key", key);
    let (status, answered) = answer(request).await;
    assert_eq!(status, expected, "{path}: {answered}");
    answered
}

async fn nothing_that_was_written_or_is_secret_is_kept_in_clear(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_RELAY_PRIVATE", "true")];
    let mut world = World::start_with(on, &settings).await;
    let receiver = Receiver::start();
    play(&world, &receiver).await;

    let service = &mut world.service;
    let log = service.log();
    // The embedded store writes its file when it is left in peace at the latest.
    assert_eq!(service.stop().await, Some(0));
    let kept = kept_by(service, on).await;
    for allowed in [PERSON, OUR_NUMBER, "delivered"] {
        assert!(contains(&kept, allowed), "the search does not find {allowed}");
    }
    assert_sealed("the store", &kept);
    assert_sealed("the log", log.as_bytes());
    // A short text can be tried out against a plain digest.
    let body = json!({ "to_number": "+14155550101", "message": mark("a text sent with a key") });
    assert!(!contains(&kept, &hex::encode(Sha256::digest(body.to_string()))), "the digest of a body is kept");
    assert!(!log.contains(PERSON), "a number is in the log");
}

/// Everything that a service is told and asked for, each with its mark.
async fn play(world: &World, receiver: &Receiver) {
    let service = &world.service;
    let account = json!({
        "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "phone_number": OUR_NUMBER,
        "api_key_sid": API_KEY_SID, "api_key_secret": API_KEY_SECRET,
        "shared_keys": [{ "id": "k", "secret": mark("the secret of a shared key") }],
    });
    post(service, "/api/sms/settings", &account, "settings", 200).await;

    let text = |what: &str, to: &str| json!({ "to_number": to, "message": mark(what) });
    let in_an_hour = (now() + std::time::Duration::from_secs(3_600)).to_string();
    assert_eq!(service.send(PERSON, mark("a text sent")).await.0, 201);
    post(service, "/api/sms/send", &text("a text sent with a key", "+14155550101"), "one", 201).await;
    let mut scheduled = text("a text scheduled", "+14155550102");
    scheduled["send_at"] = json!(in_an_hour);
    post(service, "/api/sms/send", &scheduled, "two", 202).await;
    let batch = json!({
        "phone_numbers": ["+14155550103", "+14155550104"], "message": mark("a text of a batch"),
        "send_at": in_an_hour,
    });
    post(service, "/api/sms/send-bulk", &batch, "three", 202).await;

    let (user, password) = (mark("the user of a callback's URL"), mark("the password of a callback's URL"));
    let url = receiver.url(&format!("/status?key={}", mark("the query of a callback's URL")));
    let url = url.replace("http://", &format!("http://{user}:{password}@"));
    let media = format!("https://example.com/{}.png", mark("a URL of media"));
    let form = [
        ("To", PERSON),
        ("From", OUR_NUMBER),
        ("Body", mark("a text of the drop-in")),
        ("MediaUrl", &media),
        ("StatusCallback", &url),
    ];
    let message = create(service, &form, "four").await;
    // The repetition gets the first answer, which is sealed until then.
    assert_eq!(create(service, &form, "four").await, message);
    let at = [("ScheduleType", "fixed"), ("SendAt", in_an_hour.as_str())];
    let service_sid = [("MessagingServiceSid", "MGcccccccccccccccccccccccccccccccc")];
    create(service, &[&form[..], &at, &service_sid].concat(), "five").await;
    eventually("the caller's URL is told", async || {
        receiver.received().iter().any(|told| told.status() == "delivered").then_some(())
    })
    .await;

    let doubtful = format!("please stop {} maybe", mark("a doubtful reply"));
    for (number, words) in [(1, doubtful.as_str()), (2, mark("an ordinary reply"))] {
        let (sid, from) = (format!("SM{number:032}"), format!("+1415555020{number}"));
        let mut form = reply(&sid, &from, words);
        form.push(("ProfileName", mark("the name that a person gives themselves")));
        assert_eq!(service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    }
    let mut told = callback("SM00000000000000000000000000000009", "sent");
    told.push(("Body", mark("a text of an answer of Twilio's")));
    assert_eq!(service.webhook("/webhooks/twilio/status", &told).await.status(), 204);
    let preferences = json!({ "phone_number": "+14155550105", "sms_enabled": true });
    let put = service.anonymous(Method::PUT, "/api/sms/preferences/zircon").bearer_auth(token(Role::Admin));
    assert_eq!(answer(put.json(&preferences)).await.0, 200);
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_tells_nobody_who_wrote_to_whom() {
    let redis = RedisServer::start();
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_with(On::Redis, &settings).await;
    redis.pause();
    let mut told = callback("SM00000000000000000000000000000001", "sent");
    told.push(("NewParameter", mark("a text of an answer of Twilio's")));
    assert_eq!(service.webhook("/webhooks/twilio/status", &told).await.status(), 204);
    let said = reply("SM00000000000000000000000000000002", PERSON, mark("an ordinary reply"));
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &said).await.status(), 200);
    let spool = bytes_below(&service.folder().join("spool"));
    assert!(spool.len() > 500, "nothing is spooled");
    assert_sealed("the spool", &spool);
    for number in [PERSON, OUR_NUMBER] {
        assert!(!contains(&spool, number), "the spool holds {number} in clear");
    }
    redis.resume();
    eventually("what was spooled is applied", async || (service.ready().await == 200).then_some(())).await;
    let sids: Vec<_> = service.events().await.iter().map(|event| event["type"].clone()).collect();
    assert!(sids.contains(&json!("delivery")) && sids.contains(&json!("inbound")), "{sids:?}");
}

/// Version 0.1.0 left the records of its spool in clear: an upgrade applies them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_version_0_1_0_spooled_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let sid = "SM00000000000000000000000000000003";
    let record = json!({
        "organization": "default",
        "told": { "status": {
            "sid": sid, "id": null, "status": "delivered", "error_code": null, "channel": "sms", "to": PERSON,
            "from": OUR_NUMBER, "batch": null, "source": "callback", "at": 1_764_000_000_000_u64, "ask_at": null,
            "raw": [],
        } },
    });
    let spool = Spool::open(folder.path(), 1 << 20).unwrap();
    spool.append(Lane::Statuses, 1_764_000_000_000, &record.to_string()).await.unwrap();
    drop(spool);
    let spool = [("TEXTLEDGER_SPOOL_DIR", folder.path().to_str().unwrap())];
    let service = TestService::start_with(On::Redis, &spool).await;
    eventually("the record is applied", async || {
        let (status, message) = service.message_status(sid).await;
        (status == 200 && message["status"] == "delivered").then_some(())
    })
    .await;
}

/// Version 0.1.0 stored a request under its caller's bare name, and its answer in clear: whoever repeats it after an upgrade
/// gets that answer, and sends nothing.
async fn what_version_0_1_0_answered_is_answered_again(on: On) {
    let keys = api_keys();
    let mut world = World::start_with(on, &[("TEXTLEDGER_API_KEYS", &keys)]).await;
    let body = json!({ "to_number": PERSON, "message": "hello" });
    let answered = json!({ "id": "0123456789abcdef" });
    let by_key = |name: &str, route: &str, key: &str| {
        let mut digest = Sha256::new();
        for part in [name, route, key] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        hex::encode(digest.finalize())
    };
    let stored = json!({
        "fingerprint": hex::encode(Sha256::digest(body.to_string())), "seed": 7, "since": 1_764_000_000_000_u64,
        "answer": { "status": 201, "body": answered.to_string() },
    });
    let service = &mut world.service;
    assert_eq!(service.stop().await, Some(0));
    let config = leftovers::config(service.settings());
    let store = startup::open_store(&config, Arc::new(SystemClock)).await.unwrap();
    for name in ["tester", "app"] {
        let (organization, name) = (Organization::default(), by_key(name, "send", "former"));
        let text = stored.to_string();
        let put = store.change_document(&organization, Kind::Request, &name, None, Some(&text), None);
        assert!(put.await.unwrap());
    }
    drop(store);
    service.start_again();

    let send = async |token: &str, key: &str, body: &Value| {
        let request = service.anonymous(Method::POST, "/api/sms/send").bearer_auth(token).json(body);
        answer(request.header("Idempotency-Key", key)).await
    };
    let user = token(Role::Sender);
    for token in [user.as_str(), SENDER_KEY] {
        assert_eq!(send(token, "former", &body).await, (201, answered.clone()));
        let (status, problem) = send(token, "former", &json!({ "to_number": PERSON, "message": "no" })).await;
        assert_eq!((status, &problem["code"]), (422, &json!("idempotency_key_reused")));
    }
    assert!(world.twilio.messages().is_empty());
    // What this version stores is another caller's business, even if that is called what the first one is in full.
    let (status, first) = send(&user, "latter", &body).await;
    assert_eq!(status, 201, "{first}");
    let claims = Claims::new("user:tester", Role::Sender, Organization::default(), 4_000_000_000);
    let (status, other) = send(&auth::mint(&JWT_SECRET.into(), &claims), "latter", &body).await;
    assert!(status == 201 && other["id"] != first["id"], "{other}");
    assert_eq!(send(&user, "latter", &body).await, (201, first));
}
