//! The spool itself fails, or the process that filled it: nothing that it holds is left behind, and its operator is told.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{On, PUBLIC_URL, TestService, callback, reply},
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

const PERSON: &str = "+14155550142";

async fn start(redis: &RedisServer, spool: &Path) -> TestService {
    let (url, spool) = (redis.url(), spool.display().to_string());
    let settings = [
        ("TEXTLEDGER_STORE", url.as_str()),
        ("TEXTLEDGER_KEY_PREFIX", "spool"),
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TEXTLEDGER_SPOOL_DIR", &spool),
    ];
    TestService::start_with(On::Redis, &settings).await
}

fn sid(number: u32) -> String {
    format!("SM{number:032x}")
}

async fn caught_up(service: &TestService) {
    eventually("the spool is empty", async || (service.ready().await == 200).then_some(())).await;
}

/// How the spool of `service` is, as `/readyz` tells it.
async fn state(service: &TestService) -> Value {
    service.readiness().await.1["spool"]["state"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_takes_over_the_spool_of_one_that_died() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, spool) = (redis.port(), folder.path().join("spool"));
    let heir = start(&redis, &spool).await;
    let mut dead = start(&redis, &spool).await;
    drop(redis);
    assert_eq!(heir.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    for number in 2..5 {
        assert_eq!(dead.webhook(STATUS, &callback(&sid(number), "sent")).await.status(), 204);
    }
    assert_eq!(dead.webhook(INBOUND, &reply(&sid(9), PERSON, "STOP")).await.status(), 200);
    dead.kill();
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    let taken = async || (heir.metric("textledger_spool_taken_over_total").await == 4).then_some(());
    eventually("what the dead one left is taken over", taken).await;
    caught_up(&heir).await;
    let events = heir.all_events().await;
    let told = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((told("delivery"), told("inbound")), (4, 1), "{events:?}");
    let (status, problem) = heir.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    for own in ["0", "1"] {
        assert_eq!(fs::read_dir(spool.join(own)).unwrap().count(), 2, "the lock, and whose it is");
    }
    assert_eq!(heir.log().matches("left in the spool was taken over").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_is_removed_is_made_again_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, spool) = (redis.port(), folder.path().join("spool"));
    let service = start(&redis, &spool).await;
    fs::remove_dir_all(&spool).unwrap();
    let is_there = async || spool.join("0/lock").exists().then_some(());
    eventually("the folder is made again", is_there).await;
    drop(redis);
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    // With what is in it, which is lost with it, and with the file that is written to.
    fs::remove_dir_all(&spool).unwrap();
    assert_eq!(service.webhook(STATUS, &callback(&sid(2), "sent")).await.status(), 204);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(9), PERSON, "STOP")).await.status(), 200);
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    caught_up(&service).await;
    assert_eq!(service.metric("textledger_spool_lost").await, 1);
    assert_eq!(service.message_status(&sid(1)).await.0, 404);
    assert_eq!(service.message_status(&sid(2)).await.0, 200);
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_cannot_be_written_is_told_of_while_redis_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let spool = folder.path().join("spool");
    let service = start(&redis, &spool).await;
    assert_eq!(state(&service).await, "ok");
    fs::remove_dir_all(&spool).unwrap();
    fs::write(&spool, "no folder").unwrap();
    let is = async |wanted: &str| (state(&service).await == wanted).then_some(());
    eventually("it is noticed", async || is("unwritable").await).await;
    let fault = r#"textledger_spool_fault{fault="unwritable"}"#;
    assert_eq!(service.metric(fault).await, 1);
    // Nothing is lost as long as Redis is there.
    assert_eq!(service.ready().await, 200);
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    let check = service.run(&["check"], &[]).await;
    assert!(String::from_utf8_lossy(&check.stdout).contains("FAILED   spool"), "{check:?}");
    fs::remove_file(&spool).unwrap();
    eventually("it is noticed that it ends", async || is("ok").await).await;
    assert_eq!(service.metric(fault).await, 0);
    let log = service.log();
    assert_eq!(log.matches("the spool cannot be written").count(), 1, "{log}");
    assert_eq!(log.matches("the spool takes webhooks again").count(), 1, "{log}");
    let check = service.run(&["check"], &[]).await;
    assert!(String::from_utf8_lossy(&check.stdout).contains("ok       spool"), "{check:?}");
}
