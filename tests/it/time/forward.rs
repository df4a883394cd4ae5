//! An application that is away for a day.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::HttpResponse;
use serde_json::{Value, json};
use textledger::domain::Role;

use super::{HOUR, PERSON, Story};
use crate::{
    api::on_both_stores,
    simulator::receiver::Receiver,
    support::{
        eventually,
        service::{OUR_NUMBER, On, answer, token},
    },
};

on_both_stores! {
    an_application_that_is_away_for_a_day_is_paused_and_told_all_on_request
}

const FORWARD: &str = "/api/sms/forward";

impl Story {
    async fn as_administrator(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(token(Role::Admin));
        let (status, answered) = answer(request.json(body)).await;
        assert_eq!(status, 200, "{answered}");
        answered
    }

    /// Waits until the endpoint is as `is` wants it.
    async fn endpoint(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let request = self.http.get(format!("{}{FORWARD}", self.url)).bearer_auth(token(Role::Admin));
            let (_, listed) = answer(request).await;
            Some(listed["endpoints"][0].clone()).filter(&is)
        })
        .await
    }
}

async fn an_application_that_is_away_for_a_day_is_paused_and_told_all_on_request(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_RELAY_PRIVATE", "true")]).await;
    let is_there = Arc::new(AtomicBool::new(false));
    let app = Receiver::answering({
        let is_there = is_there.clone();
        move |_, _| {
            let is_there = is_there.load(Ordering::SeqCst);
            async move { if is_there { HttpResponse::Ok() } else { HttpResponse::BadGateway() }.finish() }
        }
    });
    let endpoint = json!({ "url": app.url("/"), "events": ["inbound"], "format": "twilio" });
    story.as_administrator("/api/sms/settings", &json!({ "forward": [endpoint] })).await;
    story.write(PERSON, OUR_NUMBER, "first").await;
    story.endpoint("it fails", |endpoint| endpoint["state"] == "failing").await;
    // A day less an hour later it is still tried.
    let before = app.received().len();
    story.pass(HOUR * 23);
    eventually("it is tried again", async || (app.received().len() > before).then_some(())).await;
    story.endpoint("it still fails", |endpoint| endpoint["state"] == "failing").await;
    story.pass(HOUR);
    let paused = story.endpoint("it is paused", |endpoint| endpoint["state"] == "paused").await;
    assert_eq!(paused["last_failure"], "answered 502");
    // Nothing is told it any more, also once it is back.
    let before = app.received().len();
    is_there.store(true, Ordering::SeqCst);
    story.write(PERSON, OUR_NUMBER, "second").await;
    story.pass(HOUR);
    story.the_queue_is_looked_at().await;
    story.endpoint("it is paused", |endpoint| endpoint["state"] == "paused").await;
    assert_eq!(app.received().len(), before);
    let resumed =
        story.as_administrator("/api/sms/forward/replay", &json!({ "since": "2026-01-15T00:00:00Z" })).await;
    assert_ne!(resumed["endpoints"][0]["state"], "paused");
    story
        .endpoint("all is told", |endpoint| {
            endpoint["state"] == "working" && endpoint["waiting_since"].is_null()
        })
        .await;
    let told: Vec<_> = app.received()[before..].iter().map(|request| request.get("Body").unwrap()).collect();
    assert!(["first", "second"].iter().all(|text| told.iter().any(|told| told == text)), "{told:?}");
    story.finish(&[]).await;
}
