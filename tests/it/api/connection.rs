//! The test of the connection to Twilio: which credentials hold, and what to do about those that do not.

use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    service::{ACCOUNT_SID, On, TestService, answer},
    twilio::{API_KEY_SECRET, API_KEY_SID, World},
};

const SETTINGS: &str = "/api/sms/settings";
const TEST: &str = "/api/sms/test-connection";

on_both_stores! {
    good_credentials_show_the_account
    each_credential_that_fails_is_named_with_its_mend
    without_an_account_there_is_nothing_to_test
}

async fn tested(service: &TestService) -> Value {
    let (status, tested) = answer(service.post(Role::Admin, TEST, &json!({}))).await;
    assert_eq!(status, 200, "{tested}");
    tested
}

async fn good_credentials_show_the_account(on: On) {
    let world = World::start(on).await;
    let shown = tested(&world.service).await;
    assert_eq!(
        (&shown["success"], &shown["message"]),
        (&json!(true), &json!("Twilio connection successful"))
    );
    assert_eq!(
        (&shown["authenticated_by"], &shown["account"]["status"]),
        (&json!("auth_token"), &json!("active"))
    );
    assert!(shown["account"]["friendly_name"].is_string() && shown["account"]["type"].is_string(), "{shown}");
    let with_key = json!({ "api_key_sid": API_KEY_SID, "api_key_secret": API_KEY_SECRET });
    assert_eq!(world.service.post_in("default", SETTINGS, &with_key).await.0, 200);
    let shown = tested(&world.service).await;
    assert_eq!((&shown["success"], &shown["authenticated_by"]), (&json!(true), &json!("api_key")));
    assert!(world.twilio.messages().is_empty());
}

async fn each_credential_that_fails_is_named_with_its_mend(on: On) {
    let mut world = World::start(on).await;
    let wrong = "wrong-wrong-wrong-wrong-wrong-32";
    let with_key = json!({ "api_key_sid": API_KEY_SID, "api_key_secret": wrong });
    assert_eq!(world.service.post_in("default", SETTINGS, &with_key).await.0, 200);
    let refused = tested(&world.service).await;
    assert_eq!((&refused["success"], &refused["twilio_code"]), (&json!(false), &json!(20003)));
    assert!(refused["message"].as_str().unwrap().starts_with("with the API key: "), "{refused}");
    assert!(refused["account"].is_null() && refused["mend"].is_string());

    // A key alone is not enough: the token verifies what Twilio posts.
    let right_key = json!({ "api_key_secret": API_KEY_SECRET });
    assert_eq!(world.service.post_in("default", SETTINGS, &right_key).await.0, 200);
    assert_eq!(tested(&world.service).await["success"], true);
    let wrong_token = json!({ "auth_token": wrong });
    let (status, problem) = world.service.post_in("default", SETTINGS, &wrong_token).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("auth_token")), "{problem}");
    assert!(!problem.to_string().contains(wrong), "{problem}");
    assert_eq!(tested(&world.service).await["success"], true);

    // Nobody listens there.
    world.service.kill();
    world.service.set("TWILIO_API_BASE_URL", "http://127.0.0.1:9");
    world.service.start_again();
    assert_eq!(
        world.service.post_in("default", SETTINGS, &wrong_token).await.1["verification"],
        "unverified"
    );
    let unreachable = tested(&world.service).await;
    assert_eq!((&unreachable["success"], &unreachable["twilio_code"]), (&json!(false), &json!(null)));
    assert!(unreachable["mend"].as_str().unwrap().contains("TWILIO_API_BASE_URL"), "{unreachable}");

    // What was saved then is what is tested once Twilio is back, though it is not in force.
    world.service.kill();
    world.service.set("TWILIO_API_BASE_URL", &world.twilio.base_url());
    world.service.start_again();
    let refused = tested(&world.service).await;
    assert!(refused["message"].as_str().unwrap().starts_with("with the auth token: "), "{refused}");
    assert!(!refused.to_string().contains(wrong), "{refused}");
}

async fn without_an_account_there_is_nothing_to_test(on: On) {
    let service = TestService::start(on).await;
    let (status, problem) = service.post_in("acme", TEST, &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("twilio_not_configured")));
    assert!(problem["mend"].as_str().unwrap().contains("/api/sms/settings"), "{problem}");
    assert_eq!(service.get_in("default", SETTINGS).await.1["account_sid"], ACCOUNT_SID);
}
