//! Stories in which hours and days pass: the service is given a clock that a test sets, and waits for nothing.

mod forward;
mod keys;
mod unreadable;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use textledger::{
    clock::{Clock, ManualClock},
    domain::{Organization, Role, UnixMs},
    http::auth::{self, Claims},
    simulator::{self, Handle},
    startup::Service,
    twilio::AccountSid,
};

use crate::{
    api::on_both_stores,
    support::{
        DEADLINE, eventually,
        leftovers::{self, Ending},
        redis_server::RedisServer,
        service::{ACCOUNT_SID, AUTH_TOKEN, JWT_SECRET, MASTER_KEY, OUR_NUMBER, On, answer, token},
    },
};

on_both_stores! {
    quiet_hours_hold_a_message_until_the_morning
    a_person_is_left_alone_for_the_cooldown_and_no_longer
    the_daily_limit_begins_anew_at_midnight
    what_is_scheduled_counts_on_its_day_and_only_once
    a_burst_is_let_go_at_an_ordinary_pace
    what_is_scheduled_far_ahead_is_held_for_a_day_like_others
    a_decision_on_a_block_ends_by_itself
    by_default_bursts_to_other_countries_are_held_and_at_home_none_is
    a_scheduled_message_leaves_at_its_time_unless_the_person_stops_before
    a_message_whose_answer_was_lost_is_sent_again_only_after_two_searches
    help_is_answered_three_times_an_hour
    a_reply_on_which_nobody_decides_becomes_an_opt_out
    a_deadline_that_passes_while_the_service_is_down_is_kept
    what_is_scheduled_is_held_when_its_time_comes_under_review
    a_live_stream_ends_with_its_token
}

/// 2026-01-15 06:00 UTC: ten in the evening in California.
const EVENING: UnixMs = UnixMs::new(1_768_456_800_000);

const HOUR: Duration = Duration::from_secs(3_600);

const MINUTE: Duration = Duration::from_secs(60);

const MILLISECOND: Duration = Duration::from_millis(1);

/// A person in California.
const PERSON: &str = "+14155550100";

/// A service in this process, whose clock stands where it is put, and the Twilio that it talks to.
struct Story {
    service: Service,
    url: String,
    clock: Arc<ManualClock>,
    twilio: Handle,
    http: Client,
    ending: Ending,
    /// Holds the embedded store.
    _folder: tempfile::TempDir,
}

impl Story {
    async fn begin(on: On, settings: &[(&str, &str)]) -> Self {
        let account = AccountSid::parse(ACCOUNT_SID).unwrap();
        let twilio =
            simulator::Config { seed: Some(1), ..simulator::Config::new(account, AUTH_TOKEN.into()) };
        let twilio = simulator::start(twilio).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let base_url = twilio.base_url();
        let (data, spool) = (folder.path().join("data"), folder.path().join("spool"));
        let (store, prefix) = match on {
            On::Embedded => (format!("embedded:{}", data.display()), "tl".to_owned()),
            On::Redis => (RedisServer::shared().url(), RedisServer::fresh_prefix()),
        };
        let given = [
            ("TEXTLEDGER_LISTEN", "127.0.0.1:0"),
            ("TEXTLEDGER_STORE", &store),
            ("TEXTLEDGER_KEY_PREFIX", &prefix),
            ("TEXTLEDGER_DATA_DIR", data.to_str().unwrap()),
            ("TEXTLEDGER_SPOOL_DIR", spool.to_str().unwrap()),
            ("TEXTLEDGER_JWT_SECRET", JWT_SECRET),
            ("TEXTLEDGER_MASTER_KEY", MASTER_KEY),
            ("TEXTLEDGER_API_RATE", "100000"),
            ("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
            ("TWILIO_AUTH_TOKEN", AUTH_TOKEN),
            ("TWILIO_PHONE_NUMBER", OUR_NUMBER),
            ("TWILIO_API_BASE_URL", &base_url),
        ];
        let given = given.iter().chain(settings).copied();
        let clock = Arc::new(ManualClock::new(EVENING));
        let ending = Ending::of(given.clone(), clock.clone());
        let service = Service::start(leftovers::config(given), clock.clone()).await.unwrap();
        let url = format!("http://{}", service.address);
        twilio.set_webhook_url(&format!("{url}/webhooks/twilio/inbound"));
        eventually("the service is ready", async || {
            let ready = Client::new().get(format!("{url}/readyz?for=sends")).send().await.ok()?;
            ready.status().is_success().then_some(())
        })
        .await;
        Self { service, url, clock, twilio, http: Client::new(), ending, _folder: folder }
    }

    /// Lets time pass.
    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.now_ms() + time);
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.http.post(format!("{}{path}", self.url)).bearer_auth(token(Role::Sender)).json(&body))
            .await
    }

    async fn send(&self, further: Value) -> (u16, Value) {
        let mut body = json!({ "to_number": PERSON, "message": "hello" });
        body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        self.post("/api/sms/send", body).await
    }

    async fn status(&self, sent: &Value) -> String {
        let path = format!("{}/api/sms/message-status/{}", self.url, sent["id"].as_str().unwrap());
        let (_, message) = answer(self.http.get(path).bearer_auth(token(Role::Viewer))).await;
        message["status"].as_str().unwrap_or_default().to_owned()
    }

    async fn becomes(&self, sent: &Value, status: &str) {
        eventually(&format!("the message is {status}"), async || {
            (self.status(sent).await == status).then_some(())
        })
        .await;
    }

    /// Has the dispatcher look at everything that is due, which it does several times a second: a message to somebody
    /// else, sent by way of the queue, comes to its end after that.
    async fn the_queue_is_looked_at(&self) {
        let body = json!({ "phone_numbers": ["+12125550100"], "message": "next", "category": "emergency" });
        let (status, accepted) = self.post("/api/sms/send-bulk", body).await;
        assert_eq!(status, 202, "{accepted}");
        let path = format!("{}/api/sms/batches/{}", self.url, accepted["batch_id"].as_str().unwrap());
        eventually("the queue was looked at", async || {
            let (_, batch) = answer(self.http.get(&path).bearer_auth(token(Role::Viewer))).await;
            (batch["state"] == "done").then_some(())
        })
        .await;
    }

    /// Has somebody write to us, and returns what the webhook answered.
    async fn write(&self, from: &str, to: &str, text: &str) -> String {
        let url = format!("{}/simulator/inbound", self.twilio.base_url());
        let (status, told) =
            answer(self.http.post(url).json(&json!({ "from": from, "to": to, "body": text }))).await;
        assert_eq!((status, &told["status"]), (200, &json!(200)), "{told}");
        told["body"].as_str().unwrap_or_default().to_owned()
    }

    /// Messages to the person that Twilio has.
    fn arrived(&self) -> usize {
        self.twilio.messages().iter().filter(|message| message.to.to_twilio() == PERSON).count()
    }

    /// Stops the service, lets time pass, and starts it again on the same data.
    async fn away_for(self, time: Duration) -> Self {
        let clock = self.clock.clone();
        self.away_while(async |_, _| clock.set(clock.now_ms() + time)).await
    }

    /// Stops the service, does something with its store (under this prefix, or in this folder), and starts it again.
    async fn away_while(self, something: impl AsyncFnOnce(&str, &Path)) -> Self {
        self.service.stop().await.unwrap();
        something(&self.ending.config().key_prefix, &self._folder.path().join("data")).await;
        let open = async || Service::start(self.ending.config().clone(), self.clock.clone()).await.ok();
        let service = eventually("the store is free", open).await;
        let url = format!("http://{}", service.address);
        self.twilio.set_webhook_url(&format!("{url}/webhooks/twilio/inbound"));
        Self { service, url, ..self }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) =
            answer(self.http.get(format!("{}{path}", self.url)).bearer_auth(token(Role::Viewer))).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The person's consent for SMS.
    async fn sms_consent(&self) -> Value {
        self.get(&format!("/api/sms/consent/{PERSON}")).await["channels"]["sms"].clone()
    }

    /// Ends the story: nothing may be left to be done but what it names, the ids of messages that still wait.
    async fn finish(mut self, left: &[&str]) {
        self.ending.settled(&self.url, left).await;
        self.service.stop().await.unwrap();
        self.ending.reached(left).await;
    }
}

async fn quiet_hours_hold_a_message_until_the_morning(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_QUIET_HOURS", "21:00-08:00")]).await;
    let (status, held) = story.send(json!({})).await;
    assert_eq!((status, &held["reason"]), (202, &json!("quiet_hours")));
    assert_eq!(held["held_until"], "2026-01-15T16:00:00.000Z");
    story.pass(HOUR * 9);
    story.the_queue_is_looked_at().await;
    assert_eq!((story.status(&held).await.as_str(), story.arrived()), ("held", 0));
    story.pass(HOUR);
    story.becomes(&held, "delivered").await;
    assert_eq!(story.arrived(), 1);
    story.finish(&[]).await;
}

async fn a_person_is_left_alone_for_the_cooldown_and_no_longer(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_RECIPIENT_COOLDOWN", "6h")]).await;
    assert_eq!(story.send(json!({})).await.0, 201);
    story.pass(HOUR);
    let (status, held) = story.send(json!({})).await;
    assert_eq!((status, &held["held_until"]), (202, &json!("2026-01-15T12:00:00.000Z")));
    story.pass(HOUR * 5 - MILLISECOND);
    story.the_queue_is_looked_at().await;
    assert_eq!((story.status(&held).await.as_str(), story.arrived()), ("held", 1));
    story.pass(MILLISECOND);
    story.becomes(&held, "delivered").await;
    // Another one waits for this one's pause, and not for the first one's.
    let (_, next) = story.send(json!({})).await;
    assert_eq!(next["held_until"], "2026-01-15T18:00:00.000Z");
    story.finish(&[next["id"].as_str().unwrap()]).await;
}

async fn the_daily_limit_begins_anew_at_midnight(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_DAILY_LIMIT", "2")]).await;
    for expected in [201, 201, 429] {
        assert_eq!(story.send(json!({})).await.0, expected);
    }
    story.pass(HOUR * 18 - MILLISECOND);
    assert_eq!(story.send(json!({})).await.0, 429);
    story.pass(MILLISECOND);
    assert_eq!(story.send(json!({})).await.0, 201);
    story.finish(&[]).await;
}

async fn what_is_scheduled_counts_on_its_day_and_only_once(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_DAILY_LIMIT", "2")]).await;
    let tomorrow = json!({ "send_at": "2026-01-16T06:00:00Z" });
    let (status, first) = story.send(tomorrow.clone()).await;
    assert_eq!(status, 202);
    assert_eq!(story.send(tomorrow.clone()).await.0, 202);
    assert_eq!(story.send(tomorrow).await.0, 429);
    for expected in [201, 201, 429] {
        assert_eq!(story.send(json!({})).await.0, expected);
    }
    story.pass(HOUR * 24);
    story.becomes(&first, "delivered").await;
    eventually("both leave", async || (story.arrived() == 4).then_some(())).await;
    assert_eq!(story.send(json!({})).await.0, 429);
    story.finish(&[]).await;
}

async fn a_burst_is_let_go_at_an_ordinary_pace(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_PUMPING_GUARD", "1/10m")]).await;
    let to = async |number: u32| story.send(json!({ "to_number": format!("+1415555{number:04}") })).await;
    assert_eq!(to(1).await.0, 201);
    let mut held = Vec::new();
    for number in [2, 3] {
        let (status, message) = to(number).await;
        assert_eq!((status, &message["reason"]), (202, &json!("suspicious_traffic")));
        assert_eq!(message["held_until"], "2026-01-15T07:00:00.000Z");
        held.push(message);
    }
    // In each further hour as many leave as are ordinary, and the others are held again.
    for expected in [2, 3] {
        story.pass(HOUR - MILLISECOND);
        story.the_queue_is_looked_at().await;
        let sent = async || {
            let to = |number| format!("+1415555{number:04}");
            let is_of_burst = |to_twilio: String| (1..4).any(|number| to(number) == to_twilio);
            let messages = story.twilio.messages();
            messages.iter().filter(|message| is_of_burst(message.to.to_twilio())).count()
        };
        assert_eq!(sent().await, expected - 1);
        story.pass(MILLISECOND);
        eventually("one leaves", async || (sent().await == expected).then_some(())).await;
        story.the_queue_is_looked_at().await;
        assert_eq!(sent().await, expected);
    }
    for message in &held {
        story.becomes(message, "delivered").await;
    }
    story.finish(&[]).await;
}

async fn what_is_scheduled_far_ahead_is_held_for_a_day_like_others(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_PUMPING_GUARD", "1/10m")]).await;
    let to = |number: u32| json!({ "to_number": format!("+1415555{number:04}") });
    let mut scheduled = to(2);
    scheduled["send_at"] = json!("2026-01-25T06:05:00Z");
    let (status, message) = story.send(scheduled).await;
    assert_eq!((status, &message["status"]), (202, &json!("scheduled")));
    story.pass(HOUR * 24 * 10 + MINUTE * 5 - MILLISECOND);
    assert_eq!(story.send(to(1)).await.0, 201);
    story.pass(MILLISECOND);
    story.becomes(&message, "held").await;
    // An hour later it is not one of a burst any more.
    story.pass(HOUR);
    story.becomes(&message, "delivered").await;
    story.finish(&[]).await;
}

async fn a_decision_on_a_block_ends_by_itself(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_PUMPING_GUARD", "1/10m")]).await;
    let to = async |number: u32| story.send(json!({ "to_number": format!("+1415555{number:04}") })).await.0;
    let decide = async |decision: &str| {
        let request = story.http.post(format!("{}/api/sms/suspicious-traffic/+14155550", story.url));
        let body = json!({ "decision": decision, "for_s": 600 });
        assert_eq!(answer(request.bearer_auth(token(Role::Admin)).json(&body)).await.0, 200);
    };
    assert_eq!(to(1).await, 201);
    decide("refuse").await;
    assert_eq!(to(2).await, 429);
    story.pass(MINUTE * 10 - MILLISECOND);
    assert_eq!(to(2).await, 429);
    story.pass(MILLISECOND);
    assert_eq!([to(2).await, to(3).await], [201, 202]);
    decide("release").await;
    assert_eq!([to(4).await, to(5).await], [201, 201]);
    story.pass(MINUTE * 10);
    assert_eq!([to(6).await, to(7).await], [201, 202]);
    decide("release").await;
    story.finish(&[]).await;
}

async fn by_default_bursts_to_other_countries_are_held_and_at_home_none_is(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_COUNTRIES", "all")]).await;
    let to = async |number: String| story.send(json!({ "to_number": number })).await.0;
    for number in 0..20 {
        assert_eq!(to(format!("+4474001230{number:02}")).await, 201);
    }
    assert_eq!(to("+447400123050".to_owned()).await, 202);
    for number in 0..25 {
        assert_eq!(to(format!("+14155551{number:03}")).await, 201);
    }
    story.pass(HOUR);
    eventually("what was held leaves", async || (story.twilio.messages().len() == 46).then_some(())).await;
    story.finish(&[]).await;
}

async fn a_scheduled_message_leaves_at_its_time_unless_the_person_stops_before(on: On) {
    let story = Story::begin(on, &[]).await;
    let at = json!({ "send_at": "2026-03-01T09:00:00Z" });
    let (status, first) = story.send(at.clone()).await;
    assert_eq!((status, &first["status"]), (202, &json!("scheduled")));
    story.clock.set(UnixMs::new(1_772_355_599_000));
    story.the_queue_is_looked_at().await;
    assert_eq!(story.status(&first).await, "scheduled");
    story.pass(Duration::from_secs(1));
    story.becomes(&first, "delivered").await;
    let (_, second) = story.send(json!({ "send_at": "2026-12-24T09:00:00Z" })).await;
    story.write(PERSON, OUR_NUMBER, "STOP").await;
    story.clock.set(UnixMs::new(1_798_102_800_000));
    story.becomes(&second, "refused").await;
    assert_eq!(story.arrived(), 1);
    story.finish(&[]).await;
}

async fn a_message_whose_answer_was_lost_is_sent_again_only_after_two_searches(on: On) {
    let story = Story::begin(on, &[]).await;
    let faults = format!("{}/simulator/faults", story.twilio.base_url());
    let fault = async |faults_now: Value| {
        let set = story.http.post(&faults).json(&faults_now).send().await.unwrap();
        assert!(set.status().is_success());
    };
    fault(json!({ "server_error": 1 })).await;
    let (status, lost) = story.send(json!({})).await;
    assert_eq!((status, &lost["status"]), (202, &json!("unknown")));
    fault(json!({})).await;
    // Two searches, ten seconds apart, come before it is sent again.
    story.pass(Duration::from_secs(20) - MILLISECOND);
    story.the_queue_is_looked_at().await;
    assert_eq!((story.status(&lost).await.as_str(), story.arrived()), ("unknown", 0));
    eventually("it is sent again", async || {
        story.pass(Duration::from_secs(1));
        (story.status(&lost).await == "delivered").then_some(())
    })
    .await;
    assert_eq!(story.arrived(), 1);
    story.finish(&[]).await;
}

async fn help_is_answered_three_times_an_hour(on: On) {
    let story = Story::begin(on, &[]).await;
    let ask = async || story.write(PERSON, "12345", "HELP").await.contains("<Message>");
    assert!(ask().await);
    story.pass(HOUR / 2);
    assert!(ask().await && ask().await);
    assert!(!ask().await);
    // The first one's hour is over, the others' are not.
    story.pass(HOUR / 2);
    assert!(ask().await);
    assert!(!ask().await);
    story.finish(&[]).await;
}

/// Words that may ask for an end.
const DOUBTFUL: &str = "ok stop";

async fn a_reply_on_which_nobody_decides_becomes_an_opt_out(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_REVIEW_DEADLINE", "10h")]).await;
    story.write(PERSON, OUR_NUMBER, DOUBTFUL).await;
    story.pass(HOUR);
    story.write(PERSON, OUR_NUMBER, DOUBTFUL).await;
    let (status, held) = story.send(json!({})).await;
    assert_eq!((status, &held["reason"]), (202, &json!("review")));
    assert_eq!(held["held_until"], "2026-01-15T16:00:00.000Z", "when the first of them ends");
    let review = story.get("/api/sms/consent/reviews").await["reviews"][0].clone();
    assert_eq!(review["decide_by"], held["held_until"]);
    story.pass(HOUR * 9 - MILLISECOND);
    story.the_queue_is_looked_at().await;
    assert_eq!(story.status(&held).await, "held");
    story.pass(MILLISECOND);
    story.becomes(&held, "refused").await;
    assert_eq!(story.arrived(), 0);
    let sms = story.sms_consent().await;
    assert_eq!((&sms["state"], &sms["source"]), (&json!("opted_out"), &json!("review_expired")));
    assert_eq!(sms["message_sid"], review["message_sid"]);
    assert_eq!(story.get("/api/sms/consent/reviews").await["reviews"], json!([]));
    let history = story.get(&format!("/api/sms/consent/{PERSON}/history")).await;
    assert_eq!(history["changes"].as_array().unwrap().len(), 1, "{history}");
    let events = story.get("/api/sms/events").await;
    let last = events["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["state"], &last["source"]), (&json!("opted_out"), &json!("review_expired")), "{last}");
    let path = format!("/api/sms/consent/reviews/{}", review["message_sid"].as_str().unwrap());
    let (status, problem) = story.post(&path, json!({ "decision": "opt_out" })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("review_decided")), "{problem}");
    story.write(PERSON, OUR_NUMBER, "START").await;
    let (status, sent) = story.send(json!({})).await;
    assert_eq!(status, 201);
    story.becomes(&sent, "delivered").await;
    // The deadline of the second reply comes, and nothing is left that it could end.
    story.pass(HOUR);
    story.the_queue_is_looked_at().await;
    assert_eq!(story.sms_consent().await["state"], "opted_in");
    story.finish(&[]).await;
}

async fn a_deadline_that_passes_while_the_service_is_down_is_kept(on: On) {
    let story = Story::begin(on, &[]).await;
    story.write(PERSON, OUR_NUMBER, DOUBTFUL).await;
    let (_, held) = story.send(json!({})).await;
    let story = story.away_for(HOUR * 48).await;
    // Time alone lifts nothing: it is held, or refused already.
    assert_ne!(story.send(json!({})).await.0, 201);
    // Whatever looked at it before the opt-out was recorded looks again shortly.
    eventually("the message is refused", async || {
        story.pass(MILLISECOND * 100);
        (story.status(&held).await == "refused").then_some(())
    })
    .await;
    assert_eq!(story.sms_consent().await["source"], "review_expired");
    assert_eq!(story.arrived(), 0);
    story.pass(HOUR);
    story.finish(&[]).await;
}

async fn what_is_scheduled_is_held_when_its_time_comes_under_review(on: On) {
    let story = Story::begin(on, &[]).await;
    let (status, sent) = story.send(json!({ "send_at": "2026-01-15T07:00:00Z" })).await;
    assert_eq!((status, &sent["status"]), (202, &json!("scheduled")));
    story.write(PERSON, OUR_NUMBER, DOUBTFUL).await;
    story.pass(HOUR);
    story.becomes(&sent, "held").await;
    story.pass(HOUR * 23);
    story.becomes(&sent, "refused").await;
    assert_eq!(story.arrived(), 0);
    story.finish(&[]).await;
}

/// A stream went on for half a minute after its token had ended.
async fn a_live_stream_ends_with_its_token(on: On) {
    let story = Story::begin(on, &[]).await;
    let exp = story.clock.now_ms() + HOUR;
    let claims = Claims::new("ada", Role::Viewer, Organization::default(), exp.get() / 1_000);
    let token = auth::mint(&JWT_SECRET.into(), &claims);
    let request = story.http.get(format!("{}/api/sms/events", story.url)).bearer_auth(token);
    let response = request.header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    let mut next = async || tokio::time::timeout(DEADLINE, stream.next()).await.expect("something in time");
    story.clock.set(UnixMs::new(claims.exp * 1_000) - MILLISECOND);
    story.write(PERSON, OUR_NUMBER, "hello").await;
    let told = next().await.expect("the stream goes on").unwrap();
    assert!(told.starts_with(b"event: inbound"), "{told:?}");
    // Clocks may differ by five seconds.
    story.pass(Duration::from_secs(5) + MILLISECOND);
    let told = next().await.expect("the stream says why it ends").unwrap();
    assert_eq!(told, ": the token has ended\n\n");
    assert!(next().await.is_none());
    story.finish(&[]).await;
}
