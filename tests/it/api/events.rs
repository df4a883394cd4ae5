//! The streams as a dashboard reads them: pages, and server-sent events that resume.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use textledger::{
    domain::{EventId, Organization, Role},
    http::auth::{self, Claims},
};

use super::on_both_stores;
use crate::support::{
    DEADLINE,
    damage::{Record, damage},
    eventually_within,
    redis_server::RedisServer,
    service::{JWT_SECRET, On, TOKEN_EXP_S, TestService, answer, callback, reply, token, token_in},
};

on_both_stores! {
    pages_follow_each_other_without_gaps
    filters_choose_events
    a_live_stream_resumes_where_it_broke_off
    an_event_that_cannot_be_read_is_told_in_its_place_and_hides_none
    a_live_stream_without_a_place_starts_now
    live_streams_are_as_many_as_there_may_be
}

async fn pages_follow_each_other_without_gaps(on: On) {
    let service = TestService::start(on).await;
    for number in 0..7 {
        let sid = format!("SM{number:0>32}");
        assert_eq!(service.webhook("/webhooks/twilio/status", &callback(&sid, "sent")).await.status(), 204);
    }
    let all = service.events().await;
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) =
            answer(service.get(Role::Viewer, &format!("/api/sms/events?limit=3{cursor}"))).await;
        assert_eq!(status, 200);
        paged.extend(page["events"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 7);
    // Behind the last place that there can be is nothing.
    let id = all[6]["event_id"].as_str().unwrap();
    let rest: Vec<&str> = id.splitn(3, '-').skip(2).collect();
    let last = format!("{0}-{0}-{1}", u64::MAX, rest[0]);
    let (status, page) = answer(service.get(Role::Viewer, &format!("/api/sms/events?cursor={last}"))).await;
    assert_eq!((status, &page["events"]), (200, &serde_json::json!([])), "{page}");
}

async fn filters_choose_events(on: On) {
    let service = TestService::start(on).await;
    let sid = "SM00000000000000000000000000000001";
    service.webhook("/webhooks/twilio/status", &callback(sid, "sent")).await;
    service.webhook("/webhooks/twilio/status", &callback("SM00000000000000000000000000000002", "sent")).await;
    service
        .webhook(
            "/webhooks/twilio/inbound",
            &reply("SM00000000000000000000000000000003", "+14155550199", "STOP"),
        )
        .await;
    for (filter, count) in [
        ("type=delivery", 2),
        ("type=inbound", 1),
        ("type=consent", 1),
        ("message_sid=SM00000000000000000000000000000001", 1),
        ("message_sid=SM00000000000000000000000000000003", 2),
        ("to=%2B14155550100", 2),
        ("to=+1 (415) 555-0100", 2),
        ("to=%2B14155550100&type=inbound", 0),
        ("batch_id=b", 0),
    ] {
        let (_, page) = answer(service.get(Role::Viewer, &format!("/api/sms/events?{filter}"))).await;
        assert_eq!(page["events"].as_array().unwrap().len(), count, "{filter}");
    }
}

async fn a_live_stream_resumes_where_it_broke_off(on: On) {
    let service = TestService::start(on).await;
    let statuses = ["queued", "sent", "delivered", "read"];
    let post = async |from: usize, to: usize| {
        for number in from..to {
            let sid = format!("SM{:0>32}", number / 4);
            let status = statuses[number % 4];
            assert_eq!(
                service.webhook("/webhooks/twilio/status", &callback(&sid, status)).await.status(),
                204
            );
        }
    };
    post(0, 10).await;
    let mut first = Listener::open(&service, "?from=start", None).await;
    let mut heard = first.take(10).await;
    post(10, 20).await;
    heard.extend(first.take(10).await);
    drop(first);
    // While nobody listens.
    post(20, 30).await;
    let last = heard.last().unwrap()["event_id"].as_str().unwrap().to_owned();
    let mut second = Listener::open(&service, "", Some(&last)).await;
    heard.extend(second.take(10).await);
    post(30, 40).await;
    heard.extend(second.take(10).await);
    assert_eq!(heard, service.events().await);
}

async fn an_event_that_cannot_be_read_is_told_in_its_place_and_hides_none(on: On) {
    let mut service = TestService::start(on).await;
    let [first, second, third] = ["1", "2", "3"].map(|tail| format!("SM{tail:0>32}"));
    service.webhook("/webhooks/twilio/status", &callback(&first, "sent")).await;
    damage(&mut service, on, &[Record::Event]).await;
    // Beside the newest entry too, which a listener starts from.
    let mut live = Listener::open(&service, "", None).await;
    service.webhook("/webhooks/twilio/status", &callback(&second, "sent")).await;
    let heard = live.take(1).await;
    assert_eq!(heard[0]["sid"], second);
    let kinds = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let all = service.events().await;
    assert_eq!(kinds(&all), ["delivery", "unreadable", "delivery"]);
    assert_eq!(all[1].as_object().unwrap().len(), 2, "its place and its type: {}", all[1]);
    assert_eq!(Listener::open(&service, "?from=start", None).await.take(3).await, all);
    let place = all[1]["event_id"].as_str().unwrap();
    assert_eq!(Listener::open(&service, "", Some(place)).await.take(1).await, all[2..]);
    // It may be one that is asked for.
    let (_, page) = answer(service.get(Role::Viewer, "/api/sms/events?type=consent")).await;
    assert_eq!(page["events"], json!([all[1]]));
    let lines = service.log();
    let told = lines.lines().filter(|line| line.contains("a record cannot be read"));
    assert_eq!(told.count(), 1);
    service.webhook("/webhooks/twilio/status", &callback(&third, "sent")).await;
    assert_eq!(live.take(1).await[0]["sid"], third);
}

async fn a_live_stream_without_a_place_starts_now(on: On) {
    let service = TestService::start(on).await;
    service.webhook("/webhooks/twilio/status", &callback("SM00000000000000000000000000000001", "sent")).await;
    let mut listener = Listener::open(&service, "?type=delivery", None).await;
    service.webhook("/webhooks/twilio/status", &callback("SM00000000000000000000000000000002", "sent")).await;
    let heard = listener.take(1).await;
    assert_eq!(heard[0]["sid"], "SM00000000000000000000000000000002");
}

async fn live_streams_are_as_many_as_there_may_be(on: On) {
    let settings = [
        ("TEXTLEDGER_STREAMS_PER_CALLER", "2"),
        ("TEXTLEDGER_STREAMS_PER_ORGANIZATION", "3"),
        ("TEXTLEDGER_STREAMS_MAX", "4"),
    ];
    let service = TestService::start_with(on, &settings).await;
    let live = |request: reqwest::RequestBuilder| request.header("Accept", "text/event-stream");
    let first = Listener::open(&service, "", None).await;
    let _second = Listener::open(&service, "", None).await;
    let refused = live(service.get(Role::Viewer, "/api/sms/events")).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "30");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too_many_streams");
    assert!(problem["mend"].as_str().unwrap().contains("TEXTLEDGER_STREAMS_PER_CALLER"), "{problem}");
    assert_eq!(service.metric("textledger_event_streams").await, 2);
    // A page is no stream, and who has none yet may have one.
    assert_eq!(answer(service.get(Role::Viewer, "/api/sms/events")).await.0, 200);
    let other = token_in("other", Role::Viewer);
    let anonymous = || service.anonymous(reqwest::Method::GET, "/api/sms/events");
    let others = live(anonymous().bearer_auth(other)).send().await.unwrap();
    assert_eq!(others.status(), 200);
    // Nor is an organization, or are all of them, let have more by having more callers.
    let live_as = |user: &str, organization: &str| {
        let organization = Organization::parse(organization).unwrap();
        let claims = Claims::new(user, Role::Viewer, organization, TOKEN_EXP_S);
        live(anonymous().bearer_auth(auth::mint(&JWT_SECRET.into(), &claims))).send()
    };
    let third = live_as("ben", "default").await.unwrap();
    assert_eq!(third.status(), 200);
    for (user, organization, setting) in [
        ("cleo", "default", "TEXTLEDGER_STREAMS_PER_ORGANIZATION"),
        ("cleo", "acme", "TEXTLEDGER_STREAMS_MAX"),
    ] {
        let refused = live_as(user, organization).await.unwrap();
        assert_eq!(refused.status(), 429);
        let problem: Value = refused.json().await.unwrap();
        assert!(problem["mend"].as_str().unwrap().contains(setting), "{problem}");
    }
    // A listener that hangs up makes room at once, and not with the next event.
    drop(first);
    eventually_within(Duration::from_secs(5), "there is room again", async || {
        let response = live(service.get(Role::Viewer, "/api/sms/events")).send().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
}

/// What somebody trims in Redis itself is told to those who have not read it, and to nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_is_told_what_others_have_trimmed() {
    let service = TestService::start(On::Redis).await;
    let mut redis = RedisServer::shared().connect().await;
    let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
    let hear = async |number: u32| {
        let sid = format!("SM{number:0>32}");
        assert_eq!(service.webhook("/webhooks/twilio/status", &callback(&sid, "sent")).await.status(), 204);
    };
    let page = async |cursor: &str| {
        answer(service.get(Role::Viewer, &format!("/api/sms/events?cursor={cursor}"))).await
    };
    let is_lost = async |cursor: &str| {
        let (status, page) = page(cursor).await;
        assert!(status == 200 || page["code"] == "history_lost", "{page}");
        status == 410
    };
    let mut trim = async |how: &[&str]| {
        let trim =
            ::redis::cmd("XTRIM").arg(format!("{prefix}:{{default:0}}:deliveries")).arg(how).to_owned();
        trim.query_async::<u64>(&mut redis).await.unwrap()
    };
    for number in 0..5 {
        hear(number).await;
    }
    assert_eq!(
        service
            .webhook(
                "/webhooks/twilio/inbound",
                &reply("SM00000000000000000000000000000099", "+14155550123", "hi")
            )
            .await
            .status(),
        200
    );
    let ids: Vec<String> =
        service.events().await.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
    assert!(!is_lost(&ids[0]).await);

    // Of five deliveries the last two are left; the message that was received comes after them.
    assert_eq!(trim(&["MAXLEN", "2"]).await, 3);
    for (cursor, expected) in ids.iter().zip([true, true, true, false, false, false]) {
        assert_eq!(is_lost(cursor).await, expected, "{cursor} of {ids:?}");
    }
    let mut listener = Listener::open(&service, "", Some(&ids[0])).await;
    let told = listener.take_lost().await;
    assert_eq!((&told["after"], told["type"].as_str()), (&json!(ids[0]), Some("history-lost")), "{told}");
    let until: EventId = told["until"].as_str().unwrap().parse().unwrap();
    let [last_gone, first_left] = [2, 3].map(|place| ids[place].parse::<EventId>().unwrap());
    assert!(last_gone <= until && until < first_left, "{told} of {ids:?}");
    let left: Vec<Value> = listener.take(3).await.iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(left, ids[3..]);

    // All that is left goes. What comes after that is not gone.
    assert_eq!(trim(&["MAXLEN", "0"]).await, 2);
    assert!(is_lost(&ids[3]).await);
    assert!(!is_lost(&ids[4]).await);
    hear(5).await;
    assert!(is_lost(&ids[3]).await);
    let (status, rest) = page(&ids[4]).await;
    assert_eq!((status, rest["events"].as_array().unwrap().len()), (200, 2), "{rest}");

    // What goes with a person who is erased is known by its id.
    let (status, erased) = answer(
        service.anonymous(Method::DELETE, "/api/sms/persons/+14155550123").bearer_auth(token(Role::Admin)),
    )
    .await;
    assert_eq!(status, 200, "{erased}");
    assert!(is_lost(&ids[4]).await);
    assert!(!is_lost(&ids[5]).await);
}

/// A client of server-sent events.
pub struct Listener {
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Listener {
    pub async fn open(service: &TestService, query: &str, last_event_id: Option<&str>) -> Self {
        Self::open_in("default", service, query, last_event_id).await
    }

    /// The same for a viewer of `organization`.
    pub async fn open_in(
        organization: &str,
        service: &TestService,
        query: &str,
        last_event_id: Option<&str>,
    ) -> Self {
        let request = service.anonymous(reqwest::Method::GET, &format!("/api/sms/events{query}"));
        let request = request.bearer_auth(token_in(organization, Role::Viewer));
        let request = request.header("Accept", "text/event-stream");
        let request = match last_event_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.bytes_stream().boxed(), text: String::new() }
    }

    /// What the stream tells first: that events are gone.
    async fn take_lost(&mut self) -> Value {
        let end = loop {
            if let Some(end) = self.text.find("\n\n") {
                break end;
            }
            self.receive().await;
        };
        let block: String = self.text.drain(..end + 2).collect();
        let data = block.strip_prefix("event: history-lost\ndata: ").expect("it begins with what is lost");
        serde_json::from_str(data).unwrap()
    }

    async fn receive(&mut self) {
        let chunk = tokio::time::timeout(DEADLINE, self.body.next()).await;
        let chunk = chunk.expect("an event in time").expect("the stream goes on").unwrap();
        self.text.push_str(std::str::from_utf8(&chunk).unwrap());
    }

    /// The next `count` events.
    pub async fn take(&mut self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                let Some(data) = field("data: ") else { continue };
                let event: Value = serde_json::from_str(data).unwrap();
                assert_eq!(field("event: "), event["type"].as_str());
                assert_eq!(field("id: "), event["event_id"].as_str());
                events.push(event);
            }
            if events.len() < count {
                self.receive().await;
            }
        }
        assert_eq!(events.len(), count);
        events
    }
}
