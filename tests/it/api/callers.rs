//! Callers are told apart by what they are and what they are called, and whoever may not do something is seen.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use textledger::{
    domain::{Organization, Role},
    http::auth::{self, Claims},
};

use super::on_both_stores;
use crate::support::{
    service::{
        ACCOUNT_SID, JWT_SECRET, OUR_NUMBER, On, PERSON, SENDER_KEY, TOKEN_EXP_S, TestService, VIEWER_KEY,
        answer, api_keys, token,
    },
    twilio::World,
};

on_both_stores! {
    a_caller_whose_role_is_not_enough_is_counted_and_told_in_samples
    a_caller_that_calls_too_often_is_counted_and_told_in_samples
    an_idempotent_answer_is_given_to_nobody_who_is_only_called_the_same
    nobodys_rate_is_used_up_by_somebody_who_is_called_the_same
}

const SEND: &str = "/api/sms/send";
const EVENTS: &str = "/api/sms/events";

/// Lines a minute for each cause.
const LINES_PER_MINUTE: usize = 10;

fn messages() -> String {
    format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json")
}

/// A token of a sender called `user`.
fn token_of(user: &str) -> String {
    let claims = Claims::new(user, Role::Sender, Organization::default(), TOKEN_EXP_S);
    auth::mint(&JWT_SECRET.into(), &claims)
}

/// Makes a sender's key, and returns its SID and secret.
async fn stored_key(service: &TestService) -> (String, String) {
    let request = json!({ "name": "app", "role": "sender" });
    let (status, made) = service.post_in("default", "/api/sms/api-keys", &request).await;
    assert_eq!(status, 201, "{made}");
    (made["sid"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// The lines of the log that say `message`.
fn lines(service: &TestService, message: &str) -> Vec<Value> {
    let log = service.log();
    let lines = log.lines().filter(|line| line.contains(message));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn a_caller_whose_role_is_not_enough_is_counted_and_told_in_samples(on: On) {
    let keys = api_keys();
    let service = TestService::start_with(on, &[("TEXTLEDGER_API_KEYS", &keys)]).await;
    let (sid, secret) = stored_key(&service).await;
    let post = |path: &str| service.anonymous(Method::POST, path).json(&json!({}));
    let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", "hello")];
    let refused: [(RequestBuilder, &str, &str); 5] = [
        (post(SEND).bearer_auth(token(Role::Viewer)), "user:tester", SEND),
        (post(SEND).bearer_auth(VIEWER_KEY), "api_key:eyes", SEND),
        (post("/api/sms/settings").bearer_auth(&secret), &format!("api_key:{sid}"), "/api/sms/settings"),
        (
            service.anonymous(Method::DELETE, "/api/sms/batches/x").bearer_auth(VIEWER_KEY),
            "api_key:eyes",
            "/api/sms/batches/{batch_id}",
        ),
        (
            service
                .anonymous(Method::POST, &messages())
                .basic_auth(ACCOUNT_SID, Some(VIEWER_KEY))
                .form(&form),
            "api_key:eyes",
            "/2010-04-01/Accounts/{account_sid}/Messages.json",
        ),
    ];
    for (request, ..) in &refused {
        assert_eq!(answer(request.try_clone().unwrap()).await.0, 403);
    }
    for _ in 0..40 {
        assert_eq!(answer(refused[0].0.try_clone().unwrap()).await.0, 403);
    }
    assert_eq!(service.metric("textledger_roles_refused_total").await, 45);
    let told = lines(&service, "a caller's role was not enough");
    assert_eq!(told.len(), LINES_PER_MINUTE);
    for (line, (_, actor, route)) in told.iter().zip(&refused) {
        let said = [&line["level"], &line["actor"], &line["route"], &line["peer"]];
        assert_eq!(said, [&json!("WARN"), &json!(actor), &json!(route), &json!("127.0.0.1")], "{line}");
        assert_eq!(line["left_out"], 0);
    }
    // What is allowed is no refusal, nor is what nobody asks who is known.
    assert_eq!(answer(service.get(Role::Viewer, EVENTS)).await.0, 200);
    assert_eq!(answer(service.anonymous(Method::GET, EVENTS)).await.0, 401);
    assert_eq!(service.metric("textledger_roles_refused_total").await, 45);
    let without = r#"textledger_sign_ins_refused_total{cause="no_credentials"}"#;
    assert_eq!(service.metric(without).await, 1);
    assert!(!service.log().contains(&secret) && !service.log().contains(VIEWER_KEY));
}

async fn a_caller_that_calls_too_often_is_counted_and_told_in_samples(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_RATE", "1"), ("TEXTLEDGER_API_KEYS", keys.as_str())];
    let service = TestService::start_with(on, &settings).await;
    let mut refused = 0;
    for _ in 0..20 {
        let by_library =
            service.anonymous(Method::GET, &messages()).basic_auth(ACCOUNT_SID, Some(VIEWER_KEY));
        let by_token = service.get(Role::Viewer, &format!("{EVENTS}?limit=1"));
        for request in [by_token, by_library] {
            refused += u64::from(answer(request).await.0 == 429);
        }
    }
    assert!(refused >= 20, "{refused}");
    assert_eq!(service.metric("textledger_rate_limited_total").await, refused);
    let told = lines(&service, "a caller made too many requests");
    assert_eq!(told.len(), LINES_PER_MINUTE);
    for (actor, route) in
        [("user:tester", EVENTS), ("api_key:eyes", "/2010-04-01/Accounts/{account_sid}/Messages.json")]
    {
        let is_of = |line: &&Value| line["actor"] == actor && line["route"] == route;
        let line = told.iter().find(is_of).unwrap_or_else(|| panic!("{actor}: {told:?}"));
        assert_eq!([&line["level"], &line["peer"]], [&json!("WARN"), &json!("127.0.0.1")]);
    }
}

/// Callers of whom each is called what another one is: who they are, and how they sign in.
struct Namesakes {
    sid: String,
    secret: String,
}

impl Namesakes {
    async fn of(service: &TestService) -> Self {
        let (sid, secret) = stored_key(service).await;
        Self { sid, secret }
    }

    /// Each with what the API takes from them, and what a library of Twilio's gives: user name and password.
    fn all(&self) -> Vec<(String, String)> {
        let users = ["app", &self.sid, "api_key:app", "user:app", &format!("api_key:{}", self.sid)];
        let users = users.map(|user| (ACCOUNT_SID.to_owned(), token_of(user)));
        let keys = [(ACCOUNT_SID.to_owned(), SENDER_KEY.to_owned()), (self.sid.clone(), self.secret.clone())];
        keys.into_iter().chain(users).collect()
    }
}

async fn an_idempotent_answer_is_given_to_nobody_who_is_only_called_the_same(on: On) {
    let keys = api_keys();
    let world = World::start_with(on, &[("TEXTLEDGER_API_KEYS", &keys)]).await;
    let service = &world.service;
    let namesakes = Namesakes::of(service).await;
    let by_api = async |secret: &str| {
        let request = service.anonymous(Method::POST, SEND).bearer_auth(secret);
        let request = request.json(&json!({ "to_number": PERSON, "message": "hello" }));
        let (status, sent) = answer(request.header("Idempotency-Key", "one")).await;
        assert_eq!(status, 201, "{sent}");
        sent["message_sid"].as_str().unwrap().to_owned()
    };
    let by_library = async |user: &str, password: &str| {
        let request = service.anonymous(Method::POST, &messages()).basic_auth(user, Some(password));
        let request = request.form(&[("To", PERSON), ("From", OUR_NUMBER), ("Body", "hello")]);
        let (status, sent) = answer(request.header("Idempotency-Key", "one")).await;
        assert_eq!(status, 201, "{sent}");
        sent["sid"].as_str().unwrap().to_owned()
    };
    let mut answered = Vec::new();
    for (user, secret) in namesakes.all() {
        answered.push(by_api(&secret).await);
        answered.push(by_library(&user, &secret).await);
    }
    let mut distinct = answered.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        (distinct.len(), world.accepted_for(PERSON)),
        (answered.len(), answered.len()),
        "{answered:?}"
    );
    // Everybody gets their own answer again.
    let mut again = Vec::new();
    for (user, secret) in namesakes.all() {
        again.push(by_api(&secret).await);
        again.push(by_library(&user, &secret).await);
    }
    assert_eq!(again, answered);
    // Whoever signs in by another user name is the same caller.
    assert_eq!(by_library(ACCOUNT_SID, &namesakes.secret).await, answered[3]);
    assert_eq!(world.accepted_for(PERSON), answered.len());
}

async fn nobodys_rate_is_used_up_by_somebody_who_is_called_the_same(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_RATE", "1"), ("TEXTLEDGER_API_KEYS", keys.as_str())];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let missing = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/SM{}.json", "0".repeat(32));
    for (user, secret) in Namesakes::of(service).await.all() {
        let by_api = || service.anonymous(Method::GET, EVENTS).bearer_auth(&secret);
        let by_library = || service.anonymous(Method::GET, &missing).basic_auth(&user, Some(&secret));
        // Fresh, whoever has called too often before.
        assert_eq!((answer(by_api()).await.0, answer(by_library()).await.0), (200, 404), "{user}");
        let mut refused = [0, 0];
        for _ in 0..15 {
            refused[0] += usize::from(answer(by_api()).await.0 == 429);
            refused[1] += usize::from(answer(by_library()).await.0 == 429);
        }
        // By whichever door they come.
        assert!(refused.iter().all(|refused| *refused >= 5), "{user}: {refused:?}");
    }
}
