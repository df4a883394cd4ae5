//! Redis goes away while Twilio goes on: nothing acknowledged is lost or doubled, and nobody who said STOP is written to.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{
    eventually, eventually_within,
    redis_server::RedisServer,
    service::{OUR_NUMBER, On, PUBLIC_URL, TestService, answer, callback, reply},
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

/// How long Redis stays away under load.
const OUTAGE: Duration = Duration::from_secs(30);

/// Posts at the same time.
const POSTERS: u32 = 8;

/// How long it may take until what Redis hung in is resolved: a request has lost its process after a minute.
const HUNG_MAX: Duration = Duration::from_secs(120);

/// The pause of a poster between two messages, so that the load lasts as long as the outage and stays small.
const PACE: Duration = Duration::from_millis(100);

async fn start(redis: &RedisServer) -> TestService {
    let settings = [("TEXTLEDGER_STORE", redis.url()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL.to_owned())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestService::start_with(On::Redis, &settings).await
}

/// Waits until the service has found Redis and brought everything there.
async fn caught_up(service: &TestService) {
    eventually("the spool is empty", async || (service.ready().await == 200).then_some(())).await;
}

/// How often each of `events` is there, by SID and what it tells.
fn counted(events: &[Value]) -> BTreeMap<(String, String), usize> {
    let mut counted = BTreeMap::new();
    for event in events.iter().filter(|event| event["type"] != "consent") {
        let told = event["status"].as_str().unwrap_or("received");
        *counted.entry((event["sid"].as_str().unwrap().to_owned(), told.to_owned())).or_default() += 1;
    }
    counted
}

fn sid(number: u32) -> String {
    format!("SM{number:032x}")
}

fn person(number: u32) -> String {
    format!("+1415555{number:04}")
}

/// Posts until `stop`: for each message three callbacks, and now and then a STOP. Returns what was acknowledged.
async fn post(service: Arc<TestService>, poster: u32, stop: Arc<AtomicBool>) -> Vec<(String, String)> {
    let mut acknowledged = Vec::new();
    let mut number = poster;
    while !stop.load(Ordering::Relaxed) {
        let sid = sid(number);
        for status in ["queued", "sent", "delivered"] {
            let answer = service.try_webhook(STATUS, &callback(&sid, status)).await;
            assert_eq!(answer, Some(204), "{sid} {status}");
            acknowledged.push((sid.clone(), status.to_owned()));
        }
        if number % 40 == poster {
            let (reply_sid, person) = (format!("MM{number:032x}"), person(number % 10_000));
            assert_eq!(service.try_webhook(INBOUND, &reply(&reply_sid, &person, "STOP")).await, Some(200));
            acknowledged.push((reply_sid, "received".to_owned()));
        }
        number += POSTERS;
        tokio::time::sleep(PACE).await;
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stopped_for_30_s_under_load_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, service) = (redis.port(), Arc::new(start(&redis).await));
    let stop = Arc::new(AtomicBool::new(false));
    let mut posters = JoinSet::new();
    for poster in 0..POSTERS {
        posters.spawn(post(service.clone(), poster, stop.clone()));
    }
    let stored = r#"textledger_webhook_requests_total{route="status",result="accepted"}"#;
    eventually("callbacks are stored", async || (service.metric(stored).await > 50).then_some(())).await;
    drop(redis);
    let spooled = r#"textledger_webhook_requests_total{route="status",result="spooled"}"#;
    eventually("callbacks are spooled", async || (service.metric(spooled).await > 50).then_some(())).await;
    let (status, readiness) = service.readiness().await;
    assert_eq!((status, &readiness["webhooks"], &readiness["sends"]), (200, &json!("ok"), &json!("refused")));
    assert_eq!((service.ready().await, &readiness["store"]), (503, &json!("unavailable")));
    assert!(readiness["spool"]["entries"].as_u64().unwrap() > 50 && readiness["spool"]["oldest_s"].is_u64());
    let (status, problem) = service.send("+14155559999", "hello").await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")));
    tokio::time::sleep(OUTAGE).await;
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    let before = service.metric(stored).await;
    let flows = async || (service.metric(stored).await > before + 50).then_some(());
    eventually("callbacks are stored again", flows).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<_> = posters.join_all().await.into_iter().flatten().collect();
    caught_up(&service).await;

    let mut expected: BTreeMap<(String, String), usize> = BTreeMap::new();
    for told in acknowledged {
        *expected.entry(told).or_default() += 1;
    }
    assert!(expected.values().all(|count| *count == 1) && expected.len() > 1_000, "{}", expected.len());
    assert_eq!(counted(&service.all_events().await), expected);
    for (sid, _) in expected.keys().filter(|(_, told)| told == "received") {
        let number = u32::from_str_radix(&sid[2..], 16).unwrap();
        let (status, problem) = service.send(&person(number % 10_000), "hello").await;
        assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    }
    assert_eq!(service.metric("textledger_spool_entries").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spooled_survives_a_kill_and_a_torn_record() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, mut service) = (redis.port(), start(&redis).await);
    assert_eq!(service.webhook(STATUS, &callback(&sid(0), "sent")).await.status(), 204);
    drop(redis);
    let whatsapp = "whatsapp:+14155550177";
    let mut expected = BTreeMap::from([((sid(0), "sent".to_owned()), 1)]);
    for number in 1..=20 {
        assert_eq!(service.webhook(STATUS, &callback(&sid(number), "delivered")).await.status(), 204);
        expected.insert((sid(number), "delivered".to_owned()), 1);
    }
    for (number, from, text) in
        [(100, whatsapp, "ARRÊT"), (101, "+14155550178", "STOP"), (102, "+14155550178", "START")]
    {
        let answer = service.webhook(INBOUND, &reply(&sid(number), from, text)).await;
        assert_eq!(answer.status(), 200);
        let body = answer.text().await.unwrap();
        // Over WhatsApp nobody else confirms it, and it is true already. The language does not depend on the store.
        assert_eq!(body.contains("Votre désabonnement"), from == whatsapp, "{body}");
        expected.insert((sid(number), "received".to_owned()), 1);
    }
    service.kill();
    tear(&service.folder().join("spool/0"));
    // Redis is still away. It has been seen from here before, so that this is no reason not to start.
    service.start_again();
    let (status, readiness) = service.readiness().await;
    assert_eq!((status, &readiness["spool"]["entries"]), (200, &json!(23)));
    assert_eq!(service.webhook(STATUS, &callback(&sid(21), "delivered")).await.status(), 204);
    expected.insert((sid(21), "delivered".to_owned()), 1);
    // What Twilio posts again is stored once.
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "delivered")).await.status(), 204);

    let _redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    assert_eq!(counted(&service.all_events().await), expected);
    let bare = whatsapp.strip_prefix("whatsapp:").unwrap();
    let whatsapp = json!({ "to_number": bare, "message": "hello" });
    let refused = service.post(textledger::domain::Role::Sender, "/api/sms/whatsapp/send", &whatsapp);
    assert_eq!(crate::support::service::answer(refused).await.1["code"], "recipient_opted_out");
    // STOP and START in their order: only Twilio, which nobody plays here, is in the way.
    assert_ne!(service.send("+14155550178", "hello").await.1["code"], "recipient_opted_out");
    assert!(service.log().contains("a crash cut short"), "{}", service.log());
    let left = std::fs::read_dir(service.folder().join("spool/0")).unwrap().count();
    assert_eq!(left, 2, "the lock, and whose it is");
}

/// Leaves the files of a spool as a crash in the middle of a write does.
fn tear(spool: &Path) {
    for entry in std::fs::read_dir(spool).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "spool") {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(br#"0badcafe 1764000000000 {"organization":"def"#).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_turns_away_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_SPOOL_MAX", "1 MiB")];
    let service = TestService::start_with(On::Redis, &settings).await;
    let port = redis.port();
    drop(redis);
    // A record holds what is not known by name, so that a few fill the spool.
    let long = "x".repeat(60_000);
    let mut answers = Vec::new();
    for number in 0..20 {
        let sid = sid(number);
        let mut form = callback(&sid, "sent");
        form.push(("NewIn2027", &long));
        answers.push(service.webhook(STATUS, &form).await.status().as_u16());
    }
    let taken = answers.iter().filter(|status| **status == 204).count();
    assert!((10..20).contains(&taken) && answers[taken..].iter().all(|status| *status == 503), "{answers:?}");
    let overloaded = r#"textledger_webhook_requests_total{route="status",result="overloaded"}"#;
    assert_eq!(service.metric(overloaded).await as usize, 20 - taken);
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    assert_eq!(service.all_events().await.len(), taken);
    assert_eq!(service.webhook(STATUS, &callback(&sid(99), "sent")).await.status(), 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_ready_for_webhooks_while_the_spool_has_room_for_them() {
    let redis = RedisServer::start();
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_SPOOL_MAX", "4096")];
    let service = TestService::start_with(On::Redis, &settings).await;
    drop(redis);
    let readiness = async || {
        let (status, readiness) = service.readiness().await;
        (status, readiness["webhooks"].clone(), readiness["sends"].clone(), service.ready().await)
    };
    assert_eq!(readiness().await, (200, json!("ok"), json!("refused"), 503));
    let mut number = 0;
    while service.webhook(STATUS, &callback(&sid(number), "sent")).await.status() == 204 {
        number += 1;
    }
    assert!(number > 0);
    assert_eq!(readiness().await, (503, json!("refused"), json!("refused"), 503));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_away_too() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let service = start(&redis).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(0), "sent")).await.status(), 204);
    redis.pause();
    // Longer than the store may take and shorter than Twilio waits, whoever comes first; at once from then on.
    for number in 1..20 {
        assert_eq!(service.webhook(STATUS, &callback(&sid(number), "sent")).await.status(), 204);
    }
    assert_eq!(service.webhook(INBOUND, &reply(&sid(50), OUR_NUMBER, "hello")).await.status(), 200);
    let away = "textledger_store_fault{fault=\"away\"}";
    // The webhooks themselves may see no more than that it is slow. Whoever brings what was spooled finds that it does not answer.
    eventually("the store is known to be away", async || (service.metric(away).await == 1).then_some(()))
        .await;
    assert_eq!(service.readiness().await.1["store"], "unavailable");
    redis.resume();
    caught_up(&service).await;
    // For some seconds after it has answered late it counts as slow.
    eventually("the store is as it was", async || {
        let said = (service.metric(away).await, service.readiness().await.1["store"].clone());
        (said == (0, json!("ok"))).then_some(())
    })
    .await;
    assert_eq!(counted(&service.all_events().await).values().sum::<usize>(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_with_a_key_is_done_once_wherever_redis_hangs_in_it() {
    const PERSONS: u32 = 40;
    /// The first of those who are sent to only once Redis hangs.
    const LATE: u32 = 35;
    let redis = RedisServer::start();
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_STORE", &redis.url())]).await;
    world.fault(json!({ "latency_ms": 100 })).await;
    let send = async |number: u32| {
        let body = json!({ "to_number": person(number), "message": "hello" });
        let request = world.service.post(Role::Sender, "/api/sms/send", &body);
        answer(request.header("Idempotency-Key", format!("order {number}"))).await
    };
    let hangs = CancellationToken::new();
    // One after the other, so that the pause finds each of them somewhere else; the last ones in it, for on a slow machine it may
    // find none of the others.
    let first = futures_util::future::join_all((0..PERSONS).map(async |number| {
        if number < LATE {
            tokio::time::sleep(Duration::from_millis(5) * number).await;
        } else {
            hangs.cancelled().await;
        }
        send(number).await
    }));
    let pause = async {
        let left = async || (world.accepted_for(&person(PERSONS / 3)) > 0).then_some(());
        eventually("some have left", left).await;
        redis.pause();
        hangs.cancel();
    };
    let (first, ()) = tokio::join!(first, pause);
    redis.resume();
    caught_up(&world.service).await;
    assert!(first.iter().any(|(status, _)| *status == 503), "{first:?}");
    for (number, (status, answered)) in (0..).zip(&first) {
        let repeated = eventually_within(HUNG_MAX, "the key is free", async || {
            Some(send(number).await).filter(|(status, _)| matches!(status, 201 | 202))
        });
        let (_, repeated) = repeated.await;
        if matches!(status, 201 | 202) {
            assert_eq!(repeated["id"], answered["id"]);
        }
        let id = repeated["id"].as_str().unwrap();
        let delivered =
            async || (world.service.message_status(id).await.1["status"] == "delivered").then_some(());
        eventually_within(HUNG_MAX, "it is delivered", delivered).await;
        assert_eq!(world.accepted_for(&person(number)), 1, "{}", person(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_replicas_that_were_asked_for_redis_is_away() {
    let redis = RedisServer::start();
    let replica = RedisServer::start_replica_of(redis.port()).await;
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_REPLICAS_ACK", "1")];
    // Until the replica has followed, a start finds no store.
    redis.followed().await;
    let service = TestService::start_with(On::Redis, &settings).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    let spooled = r#"textledger_webhook_requests_total{route="status",result="spooled"}"#;
    assert_eq!(service.metric(spooled).await, 0);
    drop(replica);
    assert_eq!(service.webhook(STATUS, &callback(&sid(2), "sent")).await.status(), 204);
    assert_eq!((service.metric(spooled).await, service.ready().await), (1, 503));
    let _replica = RedisServer::start_replica_of(redis.port()).await;
    caught_up(&service).await;
    assert_eq!(counted(&service.all_events().await).into_values().collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubtful_reply_that_was_spooled_is_reviewed_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, mut service) = (redis.port(), start(&redis).await);
    assert_eq!(service.webhook(STATUS, &callback(&sid(0), "sent")).await.status(), 204);
    drop(redis);
    let (who, words) = ("+14155550179", "ok stop");
    assert_eq!(service.webhook(INBOUND, &reply(&sid(7), who, words)).await.status(), 200);
    service.kill();
    let spooled = everything_in(&service.folder().join("spool"));
    assert!(!spooled.is_empty() && !spooled.contains(words), "the words are sealed");
    service.start_again();
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    let (_, page) = answer(service.get(Role::Viewer, "/api/sms/consent/reviews")).await;
    assert_eq!(
        (&page["reviews"][0]["message_sid"], &page["reviews"][0]["words"]),
        (&json!(sid(7)), &json!(words))
    );
    let (status, sent) = service.send(who, "hello").await;
    assert_eq!((status, &sent["reason"]), (202, &json!("review")), "{sent}");
    assert!(!service.log().contains(words));
}

/// The text of all files in `folder`.
fn everything_in(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap().flat_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![path]
        }
    });
    files
        .filter(|path| path.is_file())
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
        .collect()
}
