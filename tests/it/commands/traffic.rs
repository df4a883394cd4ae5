//! What is held as a burst of first messages, on the command line.

use super::text;
use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{On, TestService},
        twilio::World,
    },
};

on_both_stores! {
    what_is_held_is_listed_and_released_through_the_service_and_refused_in_the_store
}

/// Runs `textledger traffic` beside a service: exit code, lines of output, errors.
async fn traffic(service: &TestService, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let output = service.run(&[&["traffic"], arguments].concat(), &[]).await;
    let lines = text(&output.stdout).lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(&output.stderr).to_owned())
}

async fn what_is_held_is_listed_and_released_through_the_service_and_refused_in_the_store(on: On) {
    let mut world = World::start_with(on, &[("TEXTLEDGER_PUMPING_GUARD", "1/24h")]).await;
    let service = &mut world.service;
    let mut held = Vec::new();
    for (number, expected) in [(1, 201), (2, 202), (3, 202), (5_001, 201), (5_002, 202)] {
        let (status, sent) = service.send(&format!("+1415555{number:04}"), "code").await;
        assert_eq!(status, expected, "{sent}");
        held.push(sent["id"].as_str().unwrap().to_owned());
    }
    let url = service.url("");
    let (code, listed, errors) = traffic(service, &["list", "--url", &url]).await;
    assert_eq!((code, listed.len()), (Some(0), 2), "{errors}");
    assert!(listed[0].starts_with("+14155550 held 2 since "), "{listed:?}");
    assert!(listed[0].ends_with(" user:tester: 2"), "{listed:?}");
    let (code, said, errors) = traffic(service, &["release", "+14155550", "--url", &url]).await;
    assert_eq!(
        (code, said.as_slice()),
        (Some(0), &["+14155550 is released; of what was held leave: 2".to_owned()][..]),
        "{errors}"
    );
    for id in &held[1..3] {
        let delivered = async || (service.message_status(id).await.1["status"] == "delivered").then_some(());
        eventually("what was held is delivered", delivered).await;
    }
    // What is in the store is there without a service, too.
    if matches!(on, On::Embedded) {
        service.stop().await;
    }
    let (code, said, errors) = traffic(service, &["refuse", "+14155555", "--for", "7d"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(said, ["+14155555 is refused; of what was held are refused: 1"]);
    let (_, listed, _) = traffic(service, &["list"]).await;
    assert!(listed[0].starts_with("+14155550 release until "), "{listed:?}");
    assert!(
        listed[1].starts_with("+14155555 refuse until ") && listed[1].contains(" by command:"),
        "{listed:?}"
    );
    assert_eq!(traffic(service, &["judge", "+14155550"]).await.0, Some(0));
    let (_, listed, _) = traffic(service, &["list"]).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let (code, _, errors) = traffic(service, &["release", "14155550"]).await;
    assert!(code == Some(2) && errors.contains("+ and 1 to 14 digits"), "{errors}");
    // The same bound with a service and without one.
    for lasts in ["31d", "2592001s", "0s"] {
        let (code, _, errors) = traffic(service, &["release", "+14155550", "--for", lasts]).await;
        assert!(code == Some(2) && errors.contains("at most 30d"), "{errors}");
    }
    if matches!(on, On::Embedded) {
        service.start_again();
    }
    eventually("the refusal holds in the service", async || {
        (service.message_status(&held[4]).await.1["status"] == "refused").then_some(())
    })
    .await;
}
