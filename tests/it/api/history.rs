//! The list of messages finds what is rare among thousands.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    now,
    service::{On, PERSON, TestService, answer, callback},
};

on_both_stores! {
    a_rare_status_is_found_among_thousands_in_one_page
    what_changes_between_two_pages_is_neither_lost_nor_told_twice
}

/// Messages of which one has the rare status.
const GROUP: usize = 1_000;
const GROUPS: usize = 4;

/// Callbacks that are posted at the same time.
const AT_ONCE: usize = 32;

fn sid(number: usize) -> String {
    format!("SM{number:032x}")
}

async fn post(service: &TestService, number: usize, status: &str) {
    let form = sid(number);
    assert_eq!(service.try_webhook("/webhooks/twilio/status", &callback(&form, status)).await, Some(204));
}

async fn post_all(service: &TestService, numbers: impl Iterator<Item = usize>, status: &str) {
    stream::iter(numbers).for_each_concurrent(AT_ONCE, |number| post(service, number, status)).await;
}

/// A service that knows of thousands of messages: the first one of each group is undelivered, the others are sent.
async fn with_thousands(on: On) -> TestService {
    let service = TestService::start_with(on, &[("TEXTLEDGER_LOG", "warn")]).await;
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let body = json!({ "to_number": PERSON, "message": "hello", "send_at": in_an_hour });
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/send", &body)).await.0, 202);
    for first in (0..GROUPS).map(|group| group * GROUP) {
        post(&service, first, "undelivered").await;
        post_all(&service, first + 1..first + GROUP, "sent").await;
    }
    service
}

/// The SIDs of a page, and its cursor.
async fn page(service: &TestService, query: &str) -> (Vec<String>, Option<String>) {
    let (status, page) = answer(service.get(Role::Viewer, &format!("/api/sms/messages?{query}"))).await;
    assert_eq!((status, &page["unreadable"]), (200, &json!(0)), "{page}");
    let sid = |message: &Value| message["message_sid"].as_str().unwrap_or("none yet").to_owned();
    let sids = page["messages"].as_array().unwrap().iter().map(sid).collect();
    (sids, page["next_cursor"].as_str().map(str::to_owned))
}

/// The SIDs of `numbers`.
fn sids<const COUNT: usize>(numbers: [usize; COUNT]) -> Vec<String> {
    numbers.map(sid).to_vec()
}

async fn a_rare_status_is_found_among_thousands_in_one_page(on: On) {
    let service = with_thousands(on).await;
    let undelivered = sids([3 * GROUP, 2 * GROUP, GROUP, 0]);
    assert_eq!(page(&service, "status=undelivered").await, (undelivered, None));
    // The oldest of all, of which only we know.
    assert_eq!(page(&service, "status=scheduled").await, (vec!["none yet".to_owned()], None));
    assert_eq!(page(&service, "status=read").await, (Vec::new(), None));
    let (sent, next) = page(&service, "status=sent&limit=500").await;
    assert!(sent.len() == 500 && next.is_some());
}

async fn what_changes_between_two_pages_is_neither_lost_nor_told_twice(on: On) {
    let service = with_thousands(on).await;
    let (found, next) = page(&service, "status=undelivered&limit=2").await;
    assert_eq!(found, sids([3 * GROUP, 2 * GROUP]));
    // One of those that come moves on, another one comes to it, and so does one that was passed already.
    post(&service, GROUP, "delivered").await;
    post_all(&service, [7, 2 * GROUP + 7].into_iter(), "undelivered").await;
    let next = format!("status=undelivered&limit=2&cursor={}", next.unwrap());
    // While it is looked for, most of what is beside it moves.
    let beside = post_all(&service, GROUP + 1..2 * GROUP, "delivered");
    let (page_behind, ()) = tokio::join!(page(&service, &next), beside);
    assert_eq!(page_behind, (sids([7, 0]), None));
    let all = sids([3 * GROUP, 2 * GROUP + 7, 2 * GROUP, 7, 0]);
    assert_eq!(page(&service, "status=undelivered").await, (all, None));
    // Those that have a common status, page by page: each once.
    let (mut delivered, mut cursor) = (Vec::new(), String::new());
    loop {
        let (found, next) = page(&service, &format!("status=delivered&limit=300{cursor}")).await;
        delivered.extend(found);
        match next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    delivered.sort();
    let expected: Vec<String> = (GROUP..2 * GROUP).map(sid).collect();
    assert_eq!(delivered, expected);
}
