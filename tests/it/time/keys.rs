//! API keys while time passes: how long a secret is good, and what was begun with it.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Response;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::{HOUR, MILLISECOND, Story};
use crate::{
    api::on_both_stores,
    support::{
        DEADLINE, eventually,
        redis_server::RedisServer,
        service::{On, answer, token},
    },
};

on_both_stores! {
    a_live_stream_ends_with_the_secret_that_it_began_with
    the_last_use_is_known_to_the_minute
}

const KEYS: &str = "/api/sms/api-keys";
const EVENTS: &str = "/api/sms/events";

/// Answered without the store.
const REFUSALS: &str = "/api/sms/webhook-refusals";

/// How long keys are good that cannot be compared with the store.
const WITHOUT_STORE: Duration = Duration::from_secs(15 * 60);

impl Story {
    async fn administer(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(token(Role::Admin));
        let (status, answered) = answer(request.json(&body)).await;
        assert!(status < 300, "{answered}");
        answered
    }

    async fn status_with(&self, path: &str, secret: &Value) -> u16 {
        let secret = secret.as_str().unwrap();
        answer(self.http.get(format!("{}{path}", self.url)).bearer_auth(secret)).await.0
    }

    /// Waits until `secret` is taken: after a leap of the clock the keys have to be compared with the store first.
    async fn is_good(&self, secret: &Value) {
        eventually("the secret is good", async || {
            let status = self.status_with(EVENTS, secret).await;
            assert_ne!(status, 401);
            (status == 200).then_some(())
        })
        .await;
    }

    async fn stream_with(&self, secret: &Value) -> Response {
        let request = self.http.get(format!("{}{EVENTS}", self.url)).bearer_auth(secret.as_str().unwrap());
        let response = request.header("Accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    }
}

/// Waits until the stream says that its secret is no longer good, and ends.
async fn ended(stream: Response) {
    let rest = tokio::time::timeout(DEADLINE, stream.bytes()).await.expect("the stream ends").unwrap();
    assert!(rest.ends_with(b": the token has ended\n\n"), "{rest:?}");
}

async fn a_live_stream_ends_with_the_secret_that_it_began_with(on: On) {
    let story = Story::begin(on, &[]).await;
    let forever = story.administer(KEYS, json!({ "name": "app", "role": "viewer" })).await;
    let ends = json!({ "name": "short", "role": "viewer", "expires_at": "2026-01-15T08:00:00Z" });
    let ends = story.administer(KEYS, ends).await;
    let with_former = story.stream_with(&forever["secret"]).await;
    let with_short = story.stream_with(&ends["secret"]).await;
    let rotate = format!("{KEYS}/{}/rotate", forever["sid"].as_str().unwrap());
    let rotated = story.administer(&rotate, json!({ "overlap_s": 3_600 })).await;
    let mut with_latter = story.stream_with(&rotated["secret"]).await.bytes_stream();
    story.pass(HOUR - MILLISECOND);
    for secret in [&forever["secret"], &rotated["secret"], &ends["secret"]] {
        story.is_good(secret).await;
    }
    story.pass(MILLISECOND);
    ended(with_former).await;
    assert_eq!(story.status_with(EVENTS, &forever["secret"]).await, 401);
    story.is_good(&ends["secret"]).await;
    story.pass(HOUR);
    ended(with_short).await;
    assert_eq!(story.status_with(EVENTS, &ends["secret"]).await, 401);
    // The one that is good goes on.
    story.write(super::PERSON, super::OUR_NUMBER, "hello").await;
    let told = tokio::time::timeout(DEADLINE, with_latter.next()).await.unwrap().unwrap().unwrap();
    assert!(told.starts_with(b"event: inbound"), "{told:?}");
    drop(with_latter);
    story.finish(&[]).await;
}

async fn the_last_use_is_known_to_the_minute(on: On) {
    let story = Story::begin(on, &[]).await;
    let key = story.administer(KEYS, json!({ "name": "app", "role": "viewer" })).await;
    let used_at = async |expected: &str| {
        eventually(&format!("it was used at {expected}"), async || {
            let request = story.http.get(format!("{}{KEYS}", story.url)).bearer_auth(token(Role::Admin));
            let (_, page) = answer(request).await;
            (page["api_keys"][0]["last_used_at"] == expected).then_some(())
        })
        .await;
    };
    assert_eq!(story.status_with(EVENTS, &key["secret"]).await, 200);
    used_at("2026-01-15T06:00:00.000Z").await;
    story.pass(Duration::from_secs(59));
    assert_eq!(story.status_with(EVENTS, &key["secret"]).await, 200);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.status_with(EVENTS, &key["secret"]).await, 200);
    used_at("2026-01-15T06:01:00.000Z").await;
    story.finish(&[]).await;
}

/// An instance that has lost the store must not go on for ever with keys that were revoked elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_compared_with_the_store_is_good_for_a_quarter_of_an_hour() {
    let redis = RedisServer::start();
    let store = redis.url();
    let story = Story::begin(On::Redis, &[("TEXTLEDGER_STORE", store.as_str())]).await;
    let key = story.administer(KEYS, json!({ "name": "app", "role": "admin" })).await;
    assert_eq!(story.status_with(REFUSALS, &key["secret"]).await, 200);
    redis.pause();
    story.pass(WITHOUT_STORE - Duration::from_secs(1));
    assert_eq!(story.status_with(REFUSALS, &key["secret"]).await, 200);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.status_with(REFUSALS, &key["secret"]).await, 503);
    redis.resume();
    let good = async || (story.status_with(REFUSALS, &key["secret"]).await == 200).then_some(());
    eventually("the keys are compared again", good).await;
    story.finish(&[]).await;
}
