//! One record in Redis cannot be read: what concerns it is put aside, and everything else goes on.

use std::fs;

use redis::cmd;
use serde_json::json;
use textledger::domain::Role;

use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{On, PUBLIC_URL, TestService, answer, callback, reply},
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

const PERSON: &str = "+14155550144";
const OTHER: &str = "+14155550145";

/// How many webhooks are put aside now.
const ASIDE: &str = "textledger_spool_aside";

async fn start(redis: &RedisServer) -> TestService {
    let url = redis.url();
    let settings = [
        ("TEXTLEDGER_STORE", url.as_str()),
        ("TEXTLEDGER_KEY_PREFIX", "aside"),
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TEXTLEDGER_LOG", "info"),
    ];
    TestService::start_with(On::Redis, &settings).await
}

fn sid(number: u32) -> String {
    format!("SM{number:032x}")
}

fn consent_of(person: &str) -> String {
    format!("aside:{{default:0}}:consent:{person}")
}

/// Puts a value of another type in the place of `key`.
async fn break_record(redis: &RedisServer, key: &str) {
    let mut connection = redis.connect().await;
    let _: () = cmd("DEL").arg(key).query_async(&mut connection).await.unwrap();
    let _: () = cmd("LPUSH").arg(key).arg("no record").query_async(&mut connection).await.unwrap();
}

async fn remove(redis: &RedisServer, key: &str) {
    let _: () = cmd("DEL").arg(key).query_async(&mut redis.connect().await).await.unwrap();
}

async fn caught_up(service: &TestService) {
    eventually("the spool is empty", async || (service.ready().await == 200).then_some(())).await;
}

/// Whether a message to `person` gets as far as the call to Twilio, whom nobody plays here.
async fn is_sent_to(service: &TestService, person: &str) -> bool {
    let (_, answer) = service.send(person, "hello").await;
    !matches!(answer["code"].as_str(), Some("store_unavailable" | "recipient_opted_out"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_concerns_its_person_alone() {
    let redis = RedisServer::start();
    let mut service = start(&redis).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    break_record(&redis, &consent_of(PERSON)).await;
    assert_eq!(service.webhook(INBOUND, &reply(&sid(2), PERSON, "STOP")).await.status(), 200);
    // The others notice nothing.
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "delivered")).await.status(), 204);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(3), OTHER, "hello")).await.status(), 200);
    assert_eq!((service.ready().await, service.metric("textledger_spool_entries").await), (200, 0));
    assert!(is_sent_to(&service, OTHER).await && !is_sent_to(&service, PERSON).await);
    assert_eq!(service.metric(ASIDE).await, 1);
    assert_eq!(service.metric("textledger_spool_put_aside_total").await, 1);
    let log = service.log();
    let line = log.lines().find(|line| line.contains("is put aside")).unwrap();
    assert!(line.contains(&sid(2)) && !line.contains(PERSON) && !log.contains("STOP"), "{line}");
    let check = String::from_utf8(service.run(&["check"], &[]).await.stdout).unwrap();
    assert!(check.contains("warning  spool: 1 webhooks are put aside") && check.contains(&sid(2)), "{check}");
    // Nor is it forgotten by who starts again, when somebody has made the record readable who knows nothing of the STOP.
    remove(&redis, &consent_of(PERSON)).await;
    assert!(!is_sent_to(&service, PERSON).await, "it may be a STOP");
    break_record(&redis, &consent_of(PERSON)).await;
    service.kill();
    service.start_again();
    caught_up(&service).await;
    assert!(is_sent_to(&service, OTHER).await && !is_sent_to(&service, PERSON).await);
    remove(&redis, &consent_of(PERSON)).await;
    service.kill();
    service.start_again();
    let stored = async || (service.metric(ASIDE).await == 0).then_some(());
    eventually("it is tried again at the start", stored).await;
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert_eq!(fs::read_dir(service.folder().join("spool/aside")).unwrap().count(), 0);
    assert!(service.log().contains("what was put aside is stored"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spooled_webhook_whose_record_cannot_be_read_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, mut service) = (redis.port(), start(&redis).await);
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    break_record(&redis, &consent_of(PERSON)).await;
    let key = format!("aside:{{default:0}}:received:{}", sid(4));
    break_record(&redis, &key).await;
    let messages = "aside:{default:0}:msg:005".to_owned();
    break_record(&redis, &messages).await;
    drop(redis);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(2), PERSON, "STOP")).await.status(), 200);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(3), OTHER, "STOP")).await.status(), 200);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(4), OTHER, "START")).await.status(), 200);
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "delivered")).await.status(), 204);
    assert_eq!(service.webhook(STATUS, &callback(&sid(5), "sent")).await.status(), 204);
    let redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    assert_eq!(service.metric(ASIDE).await, 3);
    assert_eq!(service.message_status(&sid(1)).await.1["status"], "delivered");
    let (_, consent) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{OTHER}"))).await;
    assert_eq!(consent["channels"]["sms"]["state"], "opted_out", "{consent}");
    // The record is whole again, and what was put aside is stored with the next start.
    remove(&redis, &messages).await;
    service.kill();
    service.start_again();
    let stored = async || (service.metric(ASIDE).await == 2).then_some(());
    eventually("one of them is stored", stored).await;
    assert_eq!(service.message_status(&sid(5)).await.1["status"], "sent");
}
