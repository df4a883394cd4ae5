//! The dashboard.

use serde_json::json;
use textledger::domain::Role;

use super::picture;
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

/// Lists of reviews that are asked for from now on are never answered.
const HANG_LISTS: &str = "void (window.fetch = ((real) => (path, options) => \
     path === '/api/sms/consent/reviews' ? new Promise(() => {}) : real(path, options))(window.fetch))";

async fn signed_in(world: &World, role: Role) -> Browser {
    let mut browser = Browser::open("en").await;
    browser.visit(&world.service.url(&format!("/#token={}", token(role)))).await;
    browser
}

async fn replies_are_reviewed_on_the_dashboard(on: On) {
    let world = World::start(on).await;
    let (service, other) = (&world.service, "+14155550101");
    world.write(PERSON, "wrong number <b>Bob</b>").await;
    let mut page = signed_in(&world, Role::Admin).await;
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(
        page.value("document.querySelector('#reviews blockquote').textContent").await,
        "wrong number <b>Bob</b>"
    );
    assert_eq!(
        page.value(BUTTONS).await,
        json!([format!("Opt out: {PERSON}"), format!("Dismiss: {PERSON}")])
    );
    // A further one is there as it comes, and the first stays the same row, with the focus where it was.
    page.value("void (window.firstRow = document.querySelector('#reviews li'))").await;
    page.value("document.querySelector('#reviews button').focus()").await;
    world.write(other, "ok stop").await;
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 2").await;
    assert_eq!(page.value("document.querySelector('#reviews li') === window.firstRow").await, true);
    assert_eq!(
        page.value("document.activeElement.getAttribute('aria-label')").await,
        format!("Opt out: {PERSON}")
    );
    picture(&mut page, "reviews").await;

    let (_, held) = service.send(PERSON, "hello").await;
    assert_eq!(held["status"], "held");
    page.value("document.querySelectorAll('#reviews button')[1].click()").await;
    page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert!(
        page.value("document.querySelector('#review-state').textContent")
            .await
            .as_str()
            .unwrap()
            .contains(PERSON)
    );
    assert_eq!(page.value("document.activeElement.id").await, "reviews-title");
    assert_eq!(service.send(PERSON, "again").await.0, 201);

    // Who may send finds an opt-out, and does not dismiss; who may read reads.
    let mut of_sender = signed_in(&world, Role::Sender).await;
    of_sender.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(of_sender.value(BUTTONS).await, json!([format!("Opt out: {other}")]));
    let mut of_viewer = signed_in(&world, Role::Viewer).await;
    of_viewer.becomes_true("document.querySelectorAll('#reviews blockquote').length === 1").await;
    assert_eq!(of_viewer.value(BUTTONS).await, json!([]));
    of_sender.value("document.querySelector('#reviews button').click()").await;
    for page in [&mut of_sender, &mut of_viewer, &mut page] {
        page.becomes_true("document.querySelectorAll('#reviews blockquote').length === 0").await;
    }
    let (status, problem) = service.send(other, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));

    // A list that does not come does not hold up what happens.
    of_viewer.value(HANG_LISTS).await;
    let shown = |state: &str| format!("document.querySelectorAll('#events .{state}').length");
    let opted_out = of_viewer.value(&shown("opted_out")).await;
    let opted_in = of_viewer.value(&shown("opted_in")).await;
    world.write(PERSON, "STOP").await;
    of_viewer.becomes_true(&format!("{} > {opted_out}", shown("opted_out"))).await;
    world.write(PERSON, "START").await;
    of_viewer.becomes_true(&format!("{} > {opted_in}", shown("opted_in"))).await;
}
