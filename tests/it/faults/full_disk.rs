//! The disk of the embedded store is full for a while.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use textledger::{domain::Role, store::embedded::FILE_NAME};

use crate::support::{
    eventually, eventually_within,
    service::{On, PUBLIC_URL, TestService, answer, callback},
};

const STATUS: &str = "/webhooks/twilio/status";

/// Recipients of a batch that the file has to grow for.
const RECIPIENTS: u32 = 3_000;

/// How long the service may take until it works again.
const BACK_MAX: Duration = Duration::from_secs(30);

/// The metric of the file that cannot be written.
const UNWRITABLE: &str = "textledger_store_fault{fault=\"unwritable\"}";

fn sid(number: u32) -> String {
    format!("SM{number:032x}")
}

async fn send_batch(service: &TestService, send_at: &str) -> (u16, Value) {
    let to: Vec<String> = (0..RECIPIENTS).map(|number| format!("+1415555{number:04}")).collect();
    let body = json!({ "phone_numbers": to, "message": "hello", "send_at": send_at });
    answer(service.post(Role::Sender, "/api/sms/send-bulk", &body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_full_and_is_free_again_needs_no_restart() {
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_limited(On::Embedded, Some(4_096), &settings).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "sent")).await.status(), 204);
    let send_at = (crate::support::now() + jiff::SignedDuration::from_hours(1)).to_string();

    let file = service.folder().join("data").join(FILE_NAME);
    service.limit_file_size(Some(fs::metadata(file).unwrap().len()));
    for _ in 0..2 {
        let (status, problem) = send_batch(&service, &send_at).await;
        assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")));
        let readable = async || (service.message_status(&sid(1)).await.0 == 200).then_some(());
        eventually("what is stored can be read", readable).await;
        // There is no spool beside this store.
        let (status, readiness) = service.readiness().await;
        let refused = json!("refused");
        assert_eq!((status, &readiness["webhooks"], &readiness["sends"]), (503, &refused, &refused));
        assert_eq!(service.metric(UNWRITABLE).await, 1);
    }

    service.limit_file_size(None);
    let sent = async || (send_batch(&service, &send_at).await.0 == 202).then_some(());
    eventually_within(BACK_MAX, "a batch is taken again", sent).await;
    assert_eq!(service.readiness().await.1["store"], "ok");
    assert_eq!(service.metric(UNWRITABLE).await, 0);
    assert_eq!(service.webhook(STATUS, &callback(&sid(1), "delivered")).await.status(), 204);
    let (_, message) = service.message_status(&sid(1)).await;
    assert_eq!(message["status"], "delivered");
    let log = service.log();
    assert!(log.contains("the embedded store could not commit") && log.contains("File too large"), "{log}");
    assert!(log.contains("the embedded store writes again"), "{log}");
    assert!(!log.contains("writer has stopped"), "{log}");
}
