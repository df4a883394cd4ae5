//! Bits of the embedded store's file flip: what is in them is lost, and told, and nothing else.

use std::fs;

use serde_json::{Value, json};
use textledger::{domain::Role, store::embedded::FILE_NAME};

use crate::{
    api::events::Listener,
    support::{
        damage::flip_bits,
        service::{On, PERSON, TestService, answer, callback, reply},
    },
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
    let (status, readiness) = service.readiness().await;
    assert_eq!((status, &readiness["store"], &readiness["sends"]), (200, &json!("damaged"), &json!("ok")));
    assert_eq!(service.metric("textledger_store_fault{fault=\"damaged\"}").await, 1);
    assert_eq!(service.metric("textledger_store_damaged_reads").await, 3);
    assert_eq!(service.events().await.len(), 3);
}

/// A stopped service with a hundred events, of which the page of the one numbered `damaged` is damaged; with the SIDs of their messages.
async fn over_damaged_event(damaged: usize) -> (TestService, Vec<String>) {
    let mut service = TestService::start(On::Embedded).await;
    let sids: Vec<String> = (0..100).map(|number| format!("SM{number:032x}")).collect();
    for sid in &sids {
        assert_eq!(service.webhook(STATUS, &callback(sid, "sent")).await.status(), 204);
    }
    assert_eq!(service.stop().await, Some(0));
    flip_bits(&service.folder().join("data"), &[r#"{"delivery":{"#, &sids[damaged]]);
    (service, sids)
}

/// Nothing can be added there, nor be known what comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_newest_event_is_damaged_does_not_start_and_says_what_to_do() {
    let (service, _) = over_damaged_event(99).await;
    let ended = service.run(&["serve"], &[]).await;
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("if it is damaged, restore a backup of it"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_on_a_damaged_page_hide_none_that_are_not() {
    // On the first page, and on one in the middle.
    for damaged in [0, 50] {
        let (mut service, sids) = over_damaged_event(damaged).await;
        service.start_again();

        let mut told: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/sms/events?limit=7{cursor}");
            let (status, page) = answer(service.get(Role::Viewer, &path)).await;
            assert_eq!(status, 200, "{page}");
            told.extend(page["events"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert!(told.is_sorted_by_key(|event| event["event_id"].as_str().unwrap().to_owned()), "{told:?}");
        let (unreadable, read): (Vec<&Value>, Vec<&Value>) =
            told.iter().partition(|event| event["type"] == "unreadable");
        assert_eq!(unreadable.len(), 1, "{told:?}");
        let read: Vec<usize> = read
            .iter()
            .map(|event| sids.iter().position(|sid| event["sid"] == json!(sid)).unwrap())
            .collect();
        // A page holds some 15 entries, and all others are told.
        let missing: Vec<usize> = (0..sids.len()).filter(|number| !read.contains(number)).collect();
        assert!(missing.contains(&damaged) && (2..40).contains(&missing.len()), "{missing:?}");
        assert_eq!(missing.len(), missing[missing.len() - 1] - missing[0] + 1, "{missing:?}");
        assert_eq!(told.iter().position(|event| event == unreadable[0]), Some(missing[0]));
        assert!(service.log().contains("the embedded store's file is damaged"));

        let mut listener = Listener::open(&service, "?from=start", None).await;
        assert_eq!(listener.take(told.len()).await, told);
    }
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
