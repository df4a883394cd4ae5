//! More arrives than can be stored at once: people's words first, and nobody pays for another's flood.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use textledger::{
    app::lanes::IN_FLIGHT_MAX,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::task::JoinSet;

use crate::support::service::{ACCOUNT_SID, AUTH_TOKEN, On, PERSON, TestService, callback, reply};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

/// Connections that flood at the same time: far more than the service stores at once.
const FLOODING: usize = 3 * IN_FLIGHT_MAX;

/// Callbacks of the whole flood.
const FLOOD: usize = 12 * FLOODING;

/// How many callbacks of a flood may be answered between the moment at which a request of another kind is sent and its
/// answer: those that were in flight, those whose answers were under way on every connection, and a turn each.
const OVERTAKEN_MAX: usize = IN_FLIGHT_MAX + 2 * FLOODING;

/// Floods the service with intermediate statuses of the organization `default`, and does `meanwhile` in the middle.
async fn flooded<T>(service: Arc<TestService>, meanwhile: impl AsyncFnOnce(&AtomicUsize) -> T) -> T {
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for _ in 0..FLOODING {
        let (service, asked, answered) = (service.clone(), asked.clone(), answered.clone());
        flood.spawn(async move {
            loop {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                if number >= FLOOD {
                    return;
                }
                let sid = format!("SM{number:032x}");
                assert_eq!(service.try_webhook(STATUS, &callback(&sid, "sent")).await, Some(204));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while answered.load(Ordering::Relaxed) < FLOOD / 4 {
        tokio::task::yield_now().await;
    }
    let result = meanwhile(&answered).await;
    assert!(answered.load(Ordering::Relaxed) < FLOOD, "the flood was over too soon");
    flood.join_all().await;
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_flood_counts_at_once() {
    let service = Arc::new(TestService::start_with(On::Redis, &[("TEXTLEDGER_LOG", "warn")]).await);
    let overtaken = flooded(service.clone(), async |answered: &AtomicUsize| {
        let before = answered.load(Ordering::Relaxed);
        let stop = reply("SM99999999999999999999999999999999", PERSON, "STOP");
        assert_eq!(service.try_webhook(INBOUND, &stop).await, Some(200));
        // From here on no send to that person begins.
        let overtaken = answered.load(Ordering::Relaxed) - before;
        assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
        overtaken
    });
    let overtaken = overtaken.await;
    assert!(overtaken <= OVERTAKEN_MAX, "{overtaken} callbacks were answered before the STOP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organizations_flood_does_not_delay_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let (sid, token) = ("ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
    let account =
        format!("[[accounts]]\norganization = \"acme\"\naccount_sid = \"{sid}\"\nauth_token = \"{token}\"\n");
    std::fs::write(&file, account).unwrap();
    let settings = [("TEXTLEDGER_CONFIG", file.to_str().unwrap()), ("TEXTLEDGER_LOG", "warn")];
    let service = Arc::new(TestService::start_with(On::Redis, &settings).await);
    let overtaken = flooded(service.clone(), async |answered: &AtomicUsize| {
        let message = format!("SM{}", "9".repeat(32));
        let form: Form = callback(&message, "sent")
            .into_iter()
            .map(|(name, value)| (name, if value == ACCOUNT_SID { sid } else { value }))
            .collect();
        let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
        let signature = signature::sign(&key, &format!("{}{STATUS}", service.public_url), &form);
        let request = service
            .anonymous(reqwest::Method::POST, STATUS)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(SIGNATURE_HEADER, signature)
            .body(form.encode());
        let before = answered.load(Ordering::Relaxed);
        assert_eq!(request.send().await.unwrap().status(), 204);
        answered.load(Ordering::Relaxed) - before
    });
    let overtaken = overtaken.await;
    assert!(overtaken <= OVERTAKEN_MAX, "{overtaken} callbacks of the other were answered first");
    assert_ne!(AUTH_TOKEN, token);
}
