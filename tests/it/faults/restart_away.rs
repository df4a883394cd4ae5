//! A start while Redis is away: what Twilio posts for an account that is saved, and not configured, is neither lost nor refused.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::json;

use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{ACCOUNT_SID, AUTH_TOKEN, On, PUBLIC_URL, TestService, callback},
};

const STATUS: &str = "/webhooks/twilio/status";

const SAVED: &str = "ACdddddddddddddddddddddddddddddddd";
const SAVED_TOKEN: &str = "dddddddddddddddddddddddddddddddd";
const ROTATED_TOKEN: &str = "99999999999999999999999999999999";
const STRANGER: &str = "ACeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

/// A service whose default organization has saved another token than is configured, and another one an account.
async fn start(redis: &RedisServer) -> TestService {
    let url = redis.url();
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_with(On::Redis, &settings).await;
    for (organization, account_sid, auth_token) in
        [("acme", SAVED, SAVED_TOKEN), ("default", ACCOUNT_SID, ROTATED_TOKEN)]
    {
        let account = json!({ "account_sid": account_sid, "auth_token": auth_token });
        let (status, saved) = service.post_in(organization, "/api/sms/settings", &account).await;
        assert_eq!(status, 200, "{saved}");
    }
    service
}

fn copy(service: &TestService) -> PathBuf {
    service.folder().join("data/settings")
}

/// Posts a status of the account `sid`, signed with `token`; returns the answer's status.
async fn post(service: &TestService, sid: &str, token: &str, number: u32) -> u16 {
    let message = format!("SM{number:032x}");
    let form = callback(&message, "sent").into_iter();
    let form: Vec<_> =
        form.map(|(name, value)| (name, if value == ACCOUNT_SID { sid } else { value })).collect();
    service.webhook_signed_with(token, STATUS, &form).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_are_saved_are_known_from_a_sealed_copy() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, mut service) = (redis.port(), start(&redis).await);
    let has_both = async || {
        let both = post(&service, SAVED, SAVED_TOKEN, 1).await == 204
            && post(&service, ACCOUNT_SID, ROTATED_TOKEN, 2).await == 204;
        both.then_some(())
    };
    eventually("both are in force", has_both).await;
    let sealed = fs::read_to_string(copy(&service)).unwrap();
    assert!(
        ![SAVED, SAVED_TOKEN, ROTATED_TOKEN, "acme"].iter().any(|secret| sealed.contains(secret)),
        "{sealed}"
    );
    assert_eq!(fs::metadata(copy(&service)).unwrap().permissions().mode() & 0o777, 0o600);
    drop(redis);
    service.kill();
    service.start_again();
    assert_eq!(post(&service, SAVED, SAVED_TOKEN, 3).await, 204);
    assert_eq!(post(&service, ACCOUNT_SID, ROTATED_TOKEN, 4).await, 204);
    // The token of the configuration is not the one in force; nor is it known here whether it is again.
    assert_eq!(post(&service, ACCOUNT_SID, AUTH_TOKEN, 5).await, 503);
    assert_eq!(post(&service, STRANGER, AUTH_TOKEN, 6).await, 503);
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    eventually("the spool is empty", async || (service.ready().await == 200).then_some(())).await;
    let refused = async || (post(&service, STRANGER, AUTH_TOKEN, 6).await == 403).then_some(());
    eventually("the accounts are read", refused).await;
    assert_eq!(post(&service, ACCOUNT_SID, AUTH_TOKEN, 5).await, 403);
    let (status, stored) = service.get_in("acme", &format!("/api/sms/message-status/SM{:032x}", 3)).await;
    assert_eq!(status, 200, "{stored}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_copy_twilio_is_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let mut service = start(&redis).await;
    drop(redis);
    service.kill();
    fs::remove_file(copy(&service)).unwrap();
    service.start_again();
    assert_eq!(post(&service, SAVED, SAVED_TOKEN, 1).await, 503);
    assert_eq!(post(&service, ACCOUNT_SID, ROTATED_TOKEN, 2).await, 503);
    // That of the configuration is known, and nothing says here that another one is saved.
    assert_eq!(post(&service, ACCOUNT_SID, AUTH_TOKEN, 3).await, 204);
    assert!(service.log().contains("no copy is here"));
    // One that cannot be opened is no better, and the service starts all the same.
    service.kill();
    fs::write(copy(&service), "no copy").unwrap();
    service.start_again();
    assert_eq!(post(&service, SAVED, SAVED_TOKEN, 1).await, 503);
}
