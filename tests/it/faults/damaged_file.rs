//! Bits of the embedded store's file flip: what is in them is lost, and told, and nothing else.

use std::fs;

use textledger::store::embedded::FILE_NAME;

use crate::support::{
    damage::flip_bits,
    service::{On, PERSON, TestService, callback, reply},
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

const SENT: &str = "SM00000000000000000000000000000001";
const RECEIVED: &str = "SM00000000000000000000000000000002";

/// A service over a file in which the pages that hold all of `texts` are damaged.
async fn over_damaged(texts: &[&str]) -> TestService {
    let mut service = TestService::start(On::Embedded).await;
    assert_eq!(service.webhook(STATUS, &callback(SENT, "sent")).await.status(), 204);
    assert_eq!(service.webhook(INBOUND, &reply(RECEIVED, PERSON, "hello")).await.status(), 200);
    assert_eq!(service.stop().await, Some(0));
    flip_bits(&service.folder().join("data"), texts);
    service.start_again();
    service
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_comes_upon_a_damaged_page_fails_alone_and_says_what_to_do() {
    let service = over_damaged(&[&format!("default{SENT}"), r#""status":"sent""#]).await;
    for _ in 0..3 {
        let (status, problem) = service.message_status(SENT).await;
        assert_eq!((status, &problem["code"]), (503, &"store_unavailable".into()), "{problem}");
        assert_eq!(problem["detail"], "what is stored cannot be read");
    }
    let log = service.log();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("the embedded store's file is damaged")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("restore a backup"), "{}", told[0]);

    let later = "SM00000000000000000000000000000003";
    assert_eq!(service.webhook(INBOUND, &reply(later, PERSON, "hello again")).await.status(), 200);
    assert_eq!(service.ready().await, 200);
    assert_eq!(service.events().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_comes_upon_a_damaged_page_ends_the_process_and_says_what_to_do() {
    let mut service = over_damaged(&[&format!("default{RECEIVED}")]).await;
    let later = "SM00000000000000000000000000000003";
    assert_ne!(service.try_webhook(INBOUND, &reply(later, PERSON, "hello again")).await, Some(200));
    assert_eq!(service.ended().await, Some(1));
    let log = service.log();
    let told = log.lines().find(|line| line.contains("ending: the store is lost to this process"));
    assert!(told.is_some_and(|line| line.contains("start textledger again")), "{log}");
    assert!(told.is_some_and(|line| line.contains("restore a backup")), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_file_was_emptied_does_not_start_and_says_what_to_do() {
    let mut service = TestService::start(On::Embedded).await;
    assert_eq!(service.stop().await, Some(0));
    fs::write(service.folder().join("data").join(FILE_NAME), "").unwrap();
    let ended = service.run(&["serve"], &[]).await;
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("is empty") && told.contains("restore a backup"), "{told}");
    assert!(told.contains("remove it to begin anew"), "{told}");
}
