//! The dashboard, in a real browser.

use serde_json::json;
use textledger::domain::Role;

use crate::{
    api::on_both_stores,
    support::{
        browser::Browser,
        service::{On, PERSON, token},
        twilio::World,
    },
};

on_both_stores! {
    replies_are_reviewed_on_the_dashboard
}

/// The names of the buttons, as a screen reader reads them.
const BUTTONS: &str =
    "Array.from(document.querySelectorAll('#reviews button'), (button) => button.getAttribute('aria-label'))";

fn signed_in(world: &World, role: Role) -> Browser {
    Browser::open(&world.service.url(&format!("/#token={}", token(role))))
}

async fn replies_are_reviewed_on_the_dashboard(on: On) {
    let world = World::start(on).await;
    let (service, other) = (&world.service, "+14155550101");
    world.write(PERSON, "wrong number <b>Bob</b>").await;
    let mut page = signed_in(&world, Role::Admin);
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(
        page.value("document.querySelector('#reviews blockquote').textContent"),
        "wrong number <b>Bob</b>"
    );
    assert_eq!(page.value(BUTTONS), json!([format!("Opt out: {PERSON}"), format!("Dismiss: {PERSON}")]));
    // A further one is there as it comes.
    world.write(other, "ok stop").await;
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 2").await;
    if let Some(folder) = std::env::var_os("SCREENSHOTS") {
        page.screenshot(&std::path::Path::new(&folder).join("reviews.png"));
    }

    let (_, held) = service.send(PERSON, "hello").await;
    assert_eq!(held["status"], "held");
    page.value("document.querySelectorAll('#reviews button')[1].click()");
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert!(
        page.value("document.querySelector('#review-state').textContent").as_str().unwrap().contains(PERSON)
    );
    assert_eq!(page.value("document.activeElement.id"), "reviews-title");
    assert_eq!(service.send(PERSON, "again").await.0, 201);

    // Who may send finds an opt-out, and does not dismiss; who may read reads.
    let mut of_sender = signed_in(&world, Role::Sender);
    of_sender.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(of_sender.value(BUTTONS), json!([format!("Opt out: {other}")]));
    let mut of_viewer = signed_in(&world, Role::Viewer);
    of_viewer.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(of_viewer.value(BUTTONS), json!([]));
    of_sender.value("document.querySelector('#reviews button').click()");
    for page in [&mut of_sender, &mut of_viewer, &mut page] {
        page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 0").await;
    }
    let (status, problem) = service.send(other, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
}
