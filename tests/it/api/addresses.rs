//! Addresses besides the main one: for webhooks alone, and for metrics alone.

use reqwest::{Client, Method};
use textledger::twilio::{
    Form,
    signature::{self, Algorithm, SigningKey},
};

use super::on_both_stores;
use crate::support::service::{
    ACCOUNT_SID, AUTH_TOKEN, On, PERSON, PUBLIC_URL, TestService, answer, callback, reply,
};

on_both_stores! {
    the_address_for_webhooks_takes_what_twilio_posts_and_nothing_else
    metrics_are_at_their_own_address_and_accounts_are_told_apart_there_alone
}

async fn the_address_for_webhooks_takes_what_twilio_posts_and_nothing_else(on: On) {
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_WEBHOOK_LISTEN", "127.0.0.1:0")];
    let mut service = TestService::start_with(on, &settings).await;
    let main = service.address().to_owned();
    service.talk_to(service.webhook_address().to_owned());
    let (status, inbound) = ("/webhooks/twilio/status", "/webhooks/twilio/inbound");
    let sid = |number: u32| format!("SM{number:032x}");
    assert_eq!(service.webhook(status, &callback(&sid(1), "sent")).await.status(), 204);
    assert_eq!(service.webhook(inbound, &reply(&sid(2), PERSON, "hello")).await.status(), 200);
    assert_eq!(service.post_events(&serde_json::json!([])).await.status(), 204);
    // Below the public URL's path too, for proxies that leave it on.
    let third = sid(3);
    let form: Form = callback(&third, "sent").into_iter().collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let signature = signature::sign(&key, &format!("{PUBLIC_URL}{status}"), &form);
    let below = format!("/textledger{status}");
    let taken = service.raw_webhook(&below, Some(&signature), form.encode().into_bytes()).await;
    assert_eq!(taken.status(), 204);
    assert_eq!(service.raw_webhook(status, Some("nonsense"), b"AccountSid=AC1".to_vec()).await.status(), 403);
    // One that is configured onto a wrong URL is told of here as there.
    assert_eq!(service.webhook("/webhooks/twilio/stat", &callback(&sid(4), "sent")).await.status(), 404);
    let misdirected = r#"textledger_misdirected_webhooks_total{mistake="unknown_path"}"#;
    for path in ["/", "/healthz", "/metrics", "/api/sms/events", "/api/docs/", "/consent/x", "/2010-04-01/x"]
    {
        let answer = service.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert!(answer.bytes().await.unwrap().is_empty(), "{path}");
    }
    service.talk_to(main);
    assert_eq!(service.metric(misdirected).await, 1);
    assert_eq!(service.webhook(status, &callback(&sid(1), "delivered")).await.status(), 204);
    assert_eq!(service.stop().await, Some(0));
}

async fn metrics_are_at_their_own_address_and_accounts_are_told_apart_there_alone(on: On) {
    let signed = async |service: &TestService| {
        let form = callback("SM00000000000000000000000000000001", "sent");
        assert_eq!(service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    };
    let service = TestService::start(on).await;
    signed(&service).await;
    let open = service.anonymous(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(open.contains(r#"textledger_signatures_total{key="auth_token"} 1"#), "{open}");
    assert!(!open.contains(ACCOUNT_SID), "{open}");

    let service = TestService::start_with(on, &[("TEXTLEDGER_METRICS_LISTEN", "127.0.0.1:0")]).await;
    signed(&service).await;
    assert_eq!(answer(service.anonymous(Method::GET, "/metrics")).await.0, 404);
    let of_account =
        format!(r#"textledger_signatures_total{{account_sid="{ACCOUNT_SID}",key="auth_token"}}"#);
    assert_eq!(service.metric(&of_account).await, 1);
    let elsewhere = Client::new().get(format!("http://{}/healthz", service.metrics_address())).send().await;
    assert_eq!(elsewhere.unwrap().status(), 404);
}
