//! API keys of the configuration: whose they are, and what nobody else's they reach.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    on_both_stores,
    settings::{OTHER_ACCOUNT, OTHER_TOKEN, SETTINGS, account},
};
use crate::support::{
    now,
    service::{ACCOUNT_SID, OUR_NUMBER, On, PERSON, TestService, answer},
};

on_both_stores! {
    a_configured_key_signs_in_to_its_organization_and_to_no_other
}

const KEY_OF_ACME: &str = "the key of acme";
const KEY_OF_DEFAULT: &str = "the key of default";
const KEYS: &str = "/api/sms/api-keys";

async fn request(
    service: &TestService,
    key: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let request = service.anonymous(method, path).bearer_auth(key);
    answer(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

async fn a_configured_key_signs_in_to_its_organization_and_to_no_other(on: On) {
    let hash = |key: &str| hex::encode(Sha256::digest(key));
    // One name for both: they are told apart by their organizations.
    let keys = format!("crm:admin:{}:acme,crm:admin:{}", hash(KEY_OF_ACME), hash(KEY_OF_DEFAULT));
    let service = TestService::start_with(on, &[("TEXTLEDGER_API_KEYS", &keys)]).await;
    let get = async |key: &str, path: &str| request(&service, key, Method::GET, path, None).await;
    let post = async |key: &str, path: &str, body: &Value| {
        request(&service, key, Method::POST, path, Some(body)).await
    };
    assert_eq!(get(KEY_OF_DEFAULT, SETTINGS).await.1["account_sid"], ACCOUNT_SID);
    assert_eq!(get(KEY_OF_ACME, SETTINGS).await.1["configured"], false);
    let told = service.log();
    assert!(told.contains("a configured API key signs in to an organization that has no account"), "{told}");

    // Such a key sets up its organization.
    let (status, saved) = post(KEY_OF_ACME, SETTINGS, &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    assert_eq!((status, &saved["account_sid"]), (200, &json!(OTHER_ACCOUNT)), "{saved}");
    assert_eq!(get(KEY_OF_DEFAULT, SETTINGS).await.1["account_sid"], ACCOUNT_SID);
    assert_eq!(service.get_in("acme", SETTINGS).await.1["account_sid"], OTHER_ACCOUNT);

    let later = (now() + Duration::from_secs(60 * 60)).to_string();
    // What one makes the other does not see.
    for (key, other, organization) in
        [(KEY_OF_ACME, KEY_OF_DEFAULT, "acme"), (KEY_OF_DEFAULT, KEY_OF_ACME, "default")]
    {
        let message =
            json!({ "to_number": PERSON, "message": format!("of {organization}"), "send_at": later });
        let (status, sent) = post(key, "/api/sms/send", &message).await;
        assert_eq!(status, 202, "{sent}");
        let path = format!("/api/sms/message-status/{}", sent["id"].as_str().unwrap());
        assert_eq!((get(key, &path).await.0, get(other, &path).await.0), (200, 404), "{organization}");
        let (status, made) = post(key, KEYS, &json!({ "name": organization, "role": "viewer" })).await;
        assert_eq!(status, 201, "{made}");
        let (_, listed) = service.get_in(organization, KEYS).await;
        let names: Vec<_> =
            listed["api_keys"].as_array().unwrap().iter().map(|key| key["name"].clone()).collect();
        assert_eq!(names, [organization]);
        let (_, audit) = service.get_in(organization, "/api/sms/audit").await;
        let actors: Vec<_> =
            audit["entries"].as_array().unwrap().iter().map(|entry| entry["actor"].clone()).collect();
        assert!(!actors.is_empty() && actors.iter().all(|actor| actor == "api_key:crm"), "{audit}");
    }

    // Nor does it pass for another account's at the drop-in. Whether Twilio takes the message is another matter.
    let turned_away = r#"textledger_sign_ins_refused_total{cause="wrong_account"}"#;
    for (key, account_sid, expected) in [
        (KEY_OF_ACME, OTHER_ACCOUNT, 0),
        (KEY_OF_DEFAULT, ACCOUNT_SID, 0),
        (KEY_OF_ACME, ACCOUNT_SID, 1),
        (KEY_OF_DEFAULT, OTHER_ACCOUNT, 2),
    ] {
        let path = format!("/2010-04-01/Accounts/{account_sid}/Messages.json");
        let form = [("To", PERSON), ("From", OUR_NUMBER), ("Body", "hello")];
        let request = service.anonymous(Method::POST, &path).basic_auth(account_sid, Some(key)).form(&form);
        let (status, answered) = answer(request).await;
        assert!(expected == 0 || status == 401, "{key} at {account_sid}: {answered}");
        assert_eq!(service.metric(turned_away).await, expected, "{key} at {account_sid}: {answered}");
    }
}
