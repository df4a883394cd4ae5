//! What is too old, on the command line.

use textledger::domain::Role;

use super::text;
use crate::{
    api::on_both_stores,
    support::service::{On, TestService, answer, callback},
};

on_both_stores! {
    the_command_tells_the_same_through_the_store_and_through_the_service
}

async fn the_command_tells_the_same_through_the_store_and_through_the_service(on: On) {
    let mut service = TestService::start(on).await;
    let sid = "SM00000000000000000000000000000001";
    assert_eq!(service.webhook("/webhooks/twilio/status", &callback(sid, "sent")).await.status(), 204);
    let url = service.url("");
    let nothing = "messages 0\ndeliveries 0\ninbound 0\nconsents 0\n";
    let told = async |service: &TestService, arguments: &[&str]| {
        let output = service.run(&[&["retention", "--dry-run"], arguments].concat(), &[]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert_eq!(told(&service, &["--url", &url]).await, nothing);
    let (status, shown) = answer(service.get(Role::Admin, "/api/sms/retention")).await;
    assert_eq!(
        (status, &shown["days"], &shown["would_remove"]["messages"]),
        (200, &30.into(), &0.into()),
        "{shown}"
    );
    let wrong = service.run(&["retention"], &[]).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    service.stop().await;
    assert_eq!(told(&service, &[]).await, nothing);
}
