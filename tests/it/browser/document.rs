//! The page of the API's document.

use super::picture;
use crate::{
    api::on_both_stores,
    support::{
        browser::Browser,
        service::{On, TestService},
    },
};

on_both_stores! {
    the_document_is_shown_under_a_policy_that_lets_nothing_else_run
}

async fn the_document_is_shown_under_a_policy_that_lets_nothing_else_run(on: On) {
    let service = TestService::start(on).await;
    let mut page = Browser::open("en").await;
    page.before_each_page(
        "window.violations = []; addEventListener('securitypolicyviolation', \
         (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));",
    )
    .await;
    page.visit(&service.url("/api/docs/")).await;
    page.becomes_true("document.querySelectorAll('.opblock').length > 20").await;
    page.value("void document.querySelector('.opblock button').click()").await;
    page.becomes_true("document.querySelectorAll('.opblock-body').length > 0").await;
    picture(&mut page, "document").await;
    assert_eq!(page.value("window.violations.join(', ')").await, "");
    // The policy is in force.
    page.value(
        "void (document.body.appendChild(document.createElement('script')).textContent = 'window.ran = 1')",
    )
    .await;
    page.becomes_true("window.violations.length > 0 && window.ran === undefined").await;
}
