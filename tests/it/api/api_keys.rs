//! API keys that administrators make: their whole life, on one instance and on two; and what guessing one costs.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    DEADLINE, eventually, eventually_within, now,
    redis_server::RedisServer,
    service::{
        ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, On, TestService, VIEWER_KEY, answer, api_keys, token, token_in,
    },
    twilio::World,
};

on_both_stores! {
    a_key_lives_from_its_making_until_it_is_revoked
    a_key_may_do_what_its_role_may_in_its_organization
    a_rotated_secret_is_good_for_the_overlap_and_a_key_until_it_expires
    a_key_signs_in_to_the_drop_in_as_twilios_own_do
    an_organization_has_as_many_keys_as_it_may
    guessing_is_seen_and_slowed_down_and_nobody_else_is_turned_away
    wrong_requests_for_keys_name_every_fault
    a_live_stream_ends_when_its_key_is_revoked
    a_key_has_a_daily_limit_of_its_own_on_every_instance
}

const KEYS: &str = "/api/sms/api-keys";
const EVENTS: &str = "/api/sms/events";

/// How long a key that was revoked on one instance may still be good on another.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Makes a key of `organization`, and returns its SID and secret.
async fn made(service: &TestService, organization: &str, request: Value) -> (String, String) {
    let (status, made) = service.post_in(organization, KEYS, &request).await;
    assert_eq!(status, 201, "{made}");
    (made["sid"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// The status of a request for events with `secret`.
async fn read_with(service: &TestService, secret: &str) -> u16 {
    answer(service.anonymous(Method::GET, EVENTS).bearer_auth(secret)).await.0
}

async fn revoke(service: &TestService, sid: &str) -> u16 {
    let request = service.anonymous(Method::DELETE, &format!("{KEYS}/{sid}"));
    answer(request.bearer_auth(token(Role::Admin))).await.0
}

async fn listed(service: &TestService, organization: &str) -> Vec<Value> {
    let (status, page) = service.get_in(organization, KEYS).await;
    assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
    page["api_keys"].as_array().unwrap().clone()
}

async fn a_key_lives_from_its_making_until_it_is_revoked(on: On) {
    let mut service = TestService::start(on).await;
    let (status, key) = service.post_in("default", KEYS, &json!({ "name": "crm", "role": "viewer" })).await;
    assert_eq!(status, 201, "{key}");
    let (sid, secret) = (key["sid"].as_str().unwrap().to_owned(), key["secret"].as_str().unwrap().to_owned());
    assert!(sid.len() == 34 && sid.starts_with("SK"), "{sid}");
    assert_eq!(
        (&key["name"], &key["role"], &key["expires_at"]),
        (&json!("crm"), &json!("viewer"), &Value::Null)
    );
    assert_eq!(read_with(&service, &secret).await, 200);

    let used = eventually("the use is written down", async || {
        let key = listed(&service, "default").await.remove(0);
        key["last_used_at"].is_string().then_some(key)
    })
    .await;
    assert_eq!((&used["sid"], &used["created_by"]), (&json!(sid), &json!("user:tester")));
    assert_eq!((&used["revoked_at"], used.get("secret"), used.get("hash")), (&Value::Null, None, None));
    // It is the organization's own, and outlives the process.
    assert_eq!(listed(&service, "acme").await, [] as [Value; 0]);
    let elsewhere = service.anonymous(Method::DELETE, &format!("{KEYS}/{sid}"));
    let elsewhere = elsewhere.bearer_auth(token_in("acme", Role::Admin));
    assert_eq!(answer(elsewhere).await.0, 404);
    service.stop().await;
    service.start_again();
    assert_eq!(read_with(&service, &secret).await, 200);

    assert_eq!(revoke(&service, &sid).await, 204);
    assert_eq!(read_with(&service, &secret).await, 401);
    assert_eq!((revoke(&service, &sid).await, revoke(&service, "SK").await), (404, 404));
    assert_eq!(service.post_in("default", &format!("{KEYS}/{sid}/rotate"), &json!({})).await.0, 404);
    assert!(listed(&service, "default").await[0]["revoked_at"].is_string());

    let log = service.log();
    for action in ["api_key.create", "api_key.revoke"] {
        let line = log.lines().find(|line| line.contains(action)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("user:tester") && line.contains(&sid), "{line}");
    }
    assert!(!log.contains(&secret));
}

async fn a_key_may_do_what_its_role_may_in_its_organization(on: On) {
    let service = TestService::start(on).await;
    for role in Role::ALL {
        let (sid, secret) = made(&service, "acme", json!({ "name": "app", "role": role.as_str() })).await;
        let is_administrator = matches!(role, Role::Admin | Role::Master | Role::Developer);
        let (reads, sends) = (role != Role::User, is_administrator || role == Role::Sender);
        assert_eq!(read_with(&service, &secret).await, if reads { 200 } else { 403 }, "{role:?}");
        let send = service.anonymous(Method::POST, "/api/sms/send").bearer_auth(&secret).json(&json!({}));
        assert_eq!(answer(send).await.0, if sends { 422 } else { 403 }, "{role:?}");
        let keys = service.anonymous(Method::GET, KEYS).bearer_auth(&secret);
        let (status, page) = answer(keys).await;
        assert_eq!(status, if is_administrator { 200 } else { 403 }, "{role:?}");
        let sids = page["api_keys"].as_array().into_iter().flatten().map(|key| key["sid"].as_str());
        assert_eq!(sids.into_iter().any(|listed| listed == Some(&sid)), is_administrator);
        // Preferences are a user's, and a key is none.
        let own = service.anonymous(Method::GET, "/api/sms/preferences").bearer_auth(&secret);
        let (status, problem) = answer(own).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    }
    assert!(service.metric("textledger_roles_refused_total").await > 0);
    assert!(service.log().contains("a caller's role was not enough"));
}

async fn a_rotated_secret_is_good_for_the_overlap_and_a_key_until_it_expires(on: On) {
    let service = TestService::start(on).await;
    let (sid, first) = made(&service, "default", json!({ "name": "app", "role": "viewer" })).await;
    let rotate = async |overlap_s: u32| {
        let path = format!("{KEYS}/{sid}/rotate");
        let (status, key) = service.post_in("default", &path, &json!({ "overlap_s": overlap_s })).await;
        assert_eq!((status, key["sid"].as_str()), (200, Some(sid.as_str())), "{key}");
        key["secret"].as_str().unwrap().to_owned()
    };
    let second = rotate(600).await;
    assert_eq!([read_with(&service, &first).await, read_with(&service, &second).await], [200, 200]);
    let third = rotate(1).await;
    assert_eq!([read_with(&service, &first).await, read_with(&service, &third).await], [401, 200]);
    eventually("the overlap ends", async || (read_with(&service, &second).await == 401).then_some(())).await;
    let fourth = rotate(0).await;
    assert_eq!([read_with(&service, &third).await, read_with(&service, &fourth).await], [401, 200]);

    let soon = (now() + jiff::SignedDuration::from_secs(2)).to_string();
    let request = json!({ "name": "short", "role": "viewer", "expires_at": soon });
    let (_, secret) = made(&service, "default", request).await;
    assert_eq!(read_with(&service, &secret).await, 200);
    eventually("it expires", async || (read_with(&service, &secret).await == 401).then_some(())).await;
    assert!(service.metric(r#"textledger_sign_ins_refused_total{cause="ended_key"}"#).await >= 2);
}

async fn a_key_signs_in_to_the_drop_in_as_twilios_own_do(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let (sid, secret) = made(service, "default", json!({ "name": "app", "role": "sender" })).await;
    let (other_sid, _) = made(service, "default", json!({ "name": "other", "role": "sender" })).await;
    let (foreign_sid, foreign) = made(service, "acme", json!({ "name": "app", "role": "admin" })).await;
    let create = async |account: &str, user: &str, password: &str| {
        let path = format!("/2010-04-01/Accounts/{account}/Messages.json");
        let form = [("To", "+14155550100"), ("From", OUR_NUMBER), ("Body", "hello")];
        answer(service.anonymous(Method::POST, &path).basic_auth(user, Some(password)).form(&form)).await
    };
    for user in [sid.as_str(), ACCOUNT_SID] {
        let (status, message) = create(ACCOUNT_SID, user, &secret).await;
        assert_eq!(status, 201, "{user}: {message}");
    }
    let other_account = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    for (account, user, password) in [
        (ACCOUNT_SID, other_sid.as_str(), secret.as_str()),
        (ACCOUNT_SID, "", &secret),
        (ACCOUNT_SID, &sid, AUTH_TOKEN),
        (ACCOUNT_SID, &foreign_sid, &foreign),
        (ACCOUNT_SID, ACCOUNT_SID, &foreign),
        (other_account, &sid, &secret),
        (other_account, &foreign_sid, &foreign),
    ] {
        let (status, error) = create(account, user, password).await;
        assert_eq!((status, &error["code"]), (401, &json!(20003)), "{account} {user}");
    }
    assert!(service.metric(r#"textledger_sign_ins_refused_total{cause="wrong_account"}"#).await >= 4);
    assert_eq!(revoke(service, &sid).await, 204);
    assert_eq!(create(ACCOUNT_SID, &sid, &secret).await.0, 401);
}

async fn a_key_has_a_daily_limit_of_its_own_on_every_instance(on: On) {
    let settings = [("TEXTLEDGER_MPS", "2000"), ("TEXTLEDGER_DAILY_LIMIT_PER_KEY", "3")];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let request = json!({ "name": "alerts", "role": "sender", "daily_limit": 2 });
    let (few, secret_of_few) = made(service, "default", request).await;
    let request = json!({ "name": "shop", "role": "sender", "daily_limit": 5 });
    let (_, secret_of_many) = made(service, "default", request).await;
    let (usual, secret_of_usual) = made(service, "default", json!({ "name": "crm", "role": "sender" })).await;
    let listed = listed(service, "default").await;
    let limit = |sid: &str| &listed.iter().find(|key| key["sid"] == sid).unwrap()["daily_limit"];
    assert_eq!((limit(&few), limit(&usual)), (&json!(2), &Value::Null));
    let send = async |service: &TestService, secret: &str, number: usize| {
        let body = json!({ "to_number": format!("+1415555{number:04}"), "message": "hello" });
        let request = service.anonymous(Method::POST, "/api/sms/send").bearer_auth(secret);
        let (status, answer) = answer(request.json(&body)).await;
        (status, answer["code"].clone())
    };
    let beyond = (429, json!("daily_limit_reached"));
    for (secret, limit) in [(&secret_of_few, 2), (&secret_of_usual, 3), (&secret_of_many, 5)] {
        for number in 0..limit {
            assert_eq!(send(service, secret, number).await.0, 201, "{number} of {limit}");
        }
        assert_eq!(send(service, secret, 9).await, beyond);
    }
    // A rotation raises it, and one that says nothing of it leaves it.
    let rotate = async |body: Value| {
        let (status, rotated) = service.post_in("default", &format!("{KEYS}/{few}/rotate"), &body).await;
        assert_eq!((status, &rotated["daily_limit"]), (200, &json!(3)), "{rotated}");
        rotated["secret"].as_str().unwrap().to_owned()
    };
    rotate(json!({ "daily_limit": 3 })).await;
    let secret = rotate(json!({})).await;
    let body = json!({ "phone_numbers": ["+14155550001", "+14155550002"], "message": "hello" });
    let bulk = service.anonymous(Method::POST, "/api/sms/send-bulk").bearer_auth(&secret).json(&body);
    assert_eq!(answer(bulk).await.1["code"], "daily_limit_reached", "a batch counts whole");
    if matches!(on, On::Redis) {
        let shared = ["TEXTLEDGER_STORE", "TEXTLEDGER_KEY_PREFIX", "TWILIO_API_BASE_URL"];
        let shared: Vec<_> = shared.iter().map(|name| (*name, service.setting(name))).collect();
        let other = TestService::start_with(on, &[&shared[..], &settings].concat()).await;
        assert_eq!(send(&other, &secret, 7).await.0, 201);
        assert_eq!(send(&other, &secret, 7).await, beyond);
        assert_eq!(send(service, &secret, 7).await, beyond);
    }
    let wrong = json!({ "name": "x", "role": "sender", "daily_limit": 0 });
    let (status, problem) = service.post_in("default", KEYS, &wrong).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("daily_limit")));
}

async fn an_organization_has_as_many_keys_as_it_may(on: On) {
    let service = TestService::start(on).await;
    let request = json!({ "name": "app", "role": "viewer" });
    let mut sids = Vec::new();
    for _ in 0..100 {
        sids.push(made(&service, "default", request.clone()).await.0);
    }
    let (status, problem) = service.post_in("default", KEYS, &request).await;
    assert_eq!((status, &problem["code"]), (409, &json!("too_many_api_keys")));
    // Those of others do not count, nor do those that have ended; a page leads to the next.
    made(&service, "acme", request.clone()).await;
    assert_eq!(revoke(&service, &sids[0]).await, 204);
    made(&service, "default", request).await;
    let (mut seen, mut path) = (0, format!("{KEYS}?limit=40"));
    loop {
        let (_, page) = service.get_in("default", &path).await;
        seen += page["api_keys"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("{KEYS}?limit=40&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, 101);
}

async fn guessing_is_seen_and_slowed_down_and_nobody_else_is_turned_away(on: On) {
    let keys = api_keys();
    let service = TestService::start_with(on, &[("TEXTLEDGER_API_KEYS", &keys)]).await;
    let (sid, secret) = made(&service, "default", json!({ "name": "app", "role": "viewer" })).await;
    let of_key = format!("tl_{}_{}", &sid[2..], "0".repeat(64));
    let guesses: [&dyn Fn() -> RequestBuilder; 4] = [
        &|| service.anonymous(Method::GET, EVENTS).bearer_auth("a guess"),
        &|| service.anonymous(Method::GET, EVENTS).bearer_auth(&of_key),
        &|| service.anonymous(Method::GET, EVENTS).bearer_auth("a.b.c"),
        &|| {
            let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json");
            service.anonymous(Method::POST, &path).basic_auth(ACCOUNT_SID, Some("a guess"))
        },
    ];
    let mut slowed = 0;
    for number in 0..400 {
        let response = guesses[number % guesses.len()]().send().await.unwrap();
        match response.status().as_u16() {
            401 => {}
            429 => {
                let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=64).contains(&wait), "{wait}");
                slowed += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(slowed >= 50, "{slowed}");
    // From the same address, meanwhile.
    assert_eq!(read_with(&service, &secret).await, 200);
    assert_eq!(read_with(&service, &token(Role::Viewer)).await, 200);
    assert_eq!(read_with(&service, VIEWER_KEY).await, 200);
    let of = async |cause: &str| {
        service.metric(&format!("textledger_sign_ins_refused_total{{cause=\"{cause}\"}}")).await
    };
    assert_eq!((of("unknown_key").await, of("bad_token").await), (300, 100));
    let log = service.log();
    let lines = log.lines().filter(|line| line.contains("a sign-in was refused")).count();
    assert!((1..=40).contains(&lines), "{lines}");
    assert!(!log.contains("a guess") && !log.contains(&of_key));
}

async fn wrong_requests_for_keys_name_every_fault(on: On) {
    let service = TestService::start(on).await;
    let past = "2020-01-01T00:00:00Z";
    for (request, fields) in [
        (json!({}), "name role"),
        (
            json!({ "name": " ", "role": "king", "expires_at": past, "secret": "x" }),
            "expires_at name role secret",
        ),
        (json!({ "name": "x".repeat(101), "role": "viewer" }), "name"),
        (json!({ "name": "a\nb", "role": "viewer" }), "name"),
        (json!({ "name": "x", "role": "viewer", "expires_at": "9999-01-01T00:00:00Z" }), "expires_at"),
    ] {
        let (status, problem) = service.post_in("default", KEYS, &request).await;
        let mut named: Vec<&str> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        named.sort_unstable();
        assert_eq!((status, named.join(" ").as_str()), (422, fields), "{problem}");
    }
    let rotate = format!("{KEYS}/SK{}/rotate", "a".repeat(32));
    assert_eq!(service.post_in("default", &rotate, &json!({ "overlap_s": 604_801 })).await.0, 422);
    assert_eq!(service.post_in("default", &rotate, &json!({})).await.0, 404);
}

async fn a_live_stream_ends_when_its_key_is_revoked(on: On) {
    let service = TestService::start(on).await;
    let (sid, secret) = made(&service, "default", json!({ "name": "app", "role": "viewer" })).await;
    let stream = service.anonymous(Method::GET, EVENTS).bearer_auth(&secret);
    let stream = stream.header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(revoke(&service, &sid).await, 204);
    let rest = tokio::time::timeout(DEADLINE, stream.bytes()).await.expect("the stream ends").unwrap();
    assert!(rest.ends_with(b"ended\n\n"), "{rest:?}");
}

/// Another instance of `service`, over the same Redis.
async fn beside(service: &TestService) -> TestService {
    let same = ["TEXTLEDGER_KEY_PREFIX", "TEXTLEDGER_STORE"].map(|name| (name, service.setting(name)));
    TestService::start_with(On::Redis, &same).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_takes_a_new_secret_at_once_and_refuses_an_ended_one_within_a_second() {
    let one = TestService::start(On::Redis).await;
    let two = beside(&one).await;
    let is_refused = async |secret: &str| {
        let refused = async || (read_with(&two, secret).await == 401).then_some(());
        eventually_within(REVOKED_WITHIN, "the other instance refuses it", refused).await;
    };
    for overlap_s in [60, 0, 60, 0] {
        let (sid, secret) = made(&one, "default", json!({ "name": "app", "role": "viewer" })).await;
        assert_eq!(read_with(&two, &secret).await, 200);
        let rotate = format!("{KEYS}/{sid}/rotate");
        let (_, rotated) = one.post_in("default", &rotate, &json!({ "overlap_s": overlap_s })).await;
        let rotated = rotated["secret"].as_str().unwrap();
        assert_eq!(read_with(&two, rotated).await, 200);
        if overlap_s == 0 {
            is_refused(&secret).await;
            assert_eq!(read_with(&two, rotated).await, 200);
        }
        assert_eq!(revoke(&one, &sid).await, 204);
        is_refused(&secret).await;
        is_refused(rotated).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_keys_stay_good_while_the_store_is_away_and_unknown_ones_are_not_called_wrong() {
    let redis = RedisServer::start();
    let service = TestService::start_with(On::Redis, &[("TEXTLEDGER_STORE", &redis.url())]).await;
    let (sid, secret) = made(&service, "default", json!({ "name": "app", "role": "admin" })).await;
    drop(redis);
    // What is answered without the store.
    let refusals = async |bearer: &str| {
        answer(service.anonymous(Method::GET, "/api/sms/webhook-refusals").bearer_auth(bearer)).await
    };
    assert_eq!(refusals(&secret).await.0, 200);
    assert_eq!(refusals(&token(Role::Admin)).await.0, 200);
    let unknown =
        [format!("tl_{}_{}", "0".repeat(32), "0".repeat(64)), format!("tl_{}_{}", &sid[2..], "0".repeat(64))];
    for unknown in unknown {
        let (status, problem) = refusals(&unknown).await;
        assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")));
    }
    assert_eq!(refusals("no key of ours").await.0, 401);
}
