//! What `textledger check` says of saved accounts, configured keys and the platform's public keys.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use serde_json::{Value, json};

use super::{text, textledger};
use crate::support::{
    damage::{self, Record, flip_bits},
    eventually,
    service::{ACCOUNT_SID, AUTH_TOKEN, On, TestService, callback, reply},
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";
const SETTINGS: &str = "/api/sms/settings";

/// A token that the simulated Twilio takes for no account.
const REFUSED_TOKEN: &str = "ffffffffffffffffffffffffffffffff";

/// The public key of RFC 8037, appendix A.2.
fn public_key(kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": kid })
}

/// The line that begins with `kind` and holds `part`.
fn line<'a>(lines: &'a str, kind: &str, part: &str) -> &'a str {
    let found = lines.lines().find(|line| line.starts_with(kind) && line.contains(part));
    found.unwrap_or_else(|| panic!("no {kind} {part}: {lines}"))
}

async fn save(service: &TestService, organization: &str, token: &str) -> Value {
    let body = json!({ "account_sid": ACCOUNT_SID, "auth_token": token });
    let (status, settings) = service.post_in(organization, SETTINGS, &body).await;
    assert_eq!(status, 200, "{settings}");
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_lists_saved_accounts_and_what_to_do_about_those_that_are_not_in_force() {
    let world = World::start_with(On::Redis, &[("TWILIO_ACCOUNT_SID", ""), ("TWILIO_AUTH_TOKEN", "")]).await;
    let service = &world.service;
    let hash = "0123456789abcdef".repeat(4);
    let keys = format!("crm:viewer:{hash}:acme,erp:viewer:{}", hash.replace("0", "1"));
    let checked = async || {
        let output = service.run(&["check"], &[("TEXTLEDGER_API_KEYS", &keys)]).await;
        (output.status.code(), text(&output.stdout).to_owned())
    };
    save(service, "default", AUTH_TOKEN).await;
    world.fault(json!({ "server_error": 1 })).await;
    assert_eq!(save(service, "acme", REFUSED_TOKEN).await["verification"], "unverified");
    let (_, lines) = checked().await;
    let unverified = line(&lines, "warning", "saved settings of acme:");
    assert!(unverified.contains(ACCOUNT_SID) && unverified.contains("is unverified"), "{unverified}");
    assert!(unverified.contains("save the settings once more"), "{unverified}");
    line(&lines, "ok", &format!("saved settings of default: {ACCOUNT_SID} is verified and in force"));
    let key = line(&lines, "warning", "API key");
    assert!(key.contains("API key crm") && key.contains("acme, which has no account"), "{key}");
    assert!(!lines.contains("API key erp") && !lines.contains(&hash), "{lines}");

    world.fault(json!({})).await;
    eventually("acme is refused", async || {
        let (_, settings) = service.get_in("acme", SETTINGS).await;
        (settings["verification"] == "refused").then_some(())
    })
    .await;
    let (code, lines) = checked().await;
    // What one organization has saved wrongly is a fault of its own, and none of the installation.
    assert_eq!(code, Some(0), "{lines}");
    let refused = line(&lines, "warning", "saved settings of acme:");
    assert!(refused.contains("is refused") && refused.contains("save the account and its auth token anew"));
    for secret in [AUTH_TOKEN, REFUSED_TOKEN] {
        assert!(!lines.contains(secret), "{lines}");
    }
}

/// Answers one request after the other with `body`, and tells the URL.
fn publish(body: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let body = body.to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            assert_ne!(connection.read(&mut [0; 4096]).unwrap(), 0);
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn check_fetches_the_platforms_public_keys_and_names_those_that_check_tokens() {
    let checked = |setting: (&str, &str)| {
        let output = textledger(&["check"], &[setting]);
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let mut for_encryption = public_key("old\u{1b}[31m");
    for_encryption["use"] = "enc".into();
    let good = json!({ "keys": [public_key("current"), for_encryption] });
    let none = json!({ "keys": [for_encryption] });
    let (_, lines) = checked(("TEXTLEDGER_JWKS_URL", &publish(&good)));
    let known = line(&lines, "ok", "public keys:");
    assert!(known.contains("current (EdDSA)") && !known.contains("old"), "{known}");
    let unused = line(&lines, "warning", "public keys: old");
    assert!(
        unused.contains("its use is not sig") && unused.contains("have the platform publish"),
        "{unused}"
    );
    assert!(!lines.contains('\u{1b}'), "{lines}");

    let (code, lines) = checked(("TEXTLEDGER_JWKS_URL", &publish(&none)));
    assert_eq!(code, Some(1), "{lines}");
    assert!(line(&lines, "FAILED", "public keys:").contains("none that checks tokens"), "{lines}");
    for away in ["http://127.0.0.1:9/secret-path", &publish(&json!("no set"))] {
        let (code, lines) = checked(("TEXTLEDGER_JWKS_URL", away));
        assert_eq!(code, Some(1), "{lines}");
        assert!(line(&lines, "FAILED", "public keys:").contains("TEXTLEDGER_JWKS_URL is right"), "{lines}");
        assert!(!lines.contains("secret-path"), "{lines}");
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, good.to_string()).unwrap();
    let (_, lines) = checked(("TEXTLEDGER_JWKS_FILE", file.to_str().unwrap()));
    assert!(line(&lines, "ok", "public keys:").contains("current (EdDSA)"), "{lines}");
    line(&lines, "warning", "public keys: old");
    let (_, lines) = checked(("TEXTLEDGER_LOG", "info"));
    assert!(!lines.contains("public keys:"), "{lines}");
}

/// `textledger check --deep`: its exit code and what it says of `part`.
async fn deep(service: &TestService, part: &str) -> (Option<i32>, String) {
    let output = service.run(&["check", "--deep"], &[]).await;
    let lines = text(&output.stdout).to_owned();
    let found: Vec<&str> = lines.lines().filter(|line| line.contains(&format!("{part}: "))).collect();
    (output.status.code(), found.join("\n"))
}

async fn hear(service: &TestService) {
    for number in 0..40 {
        let sid = format!("SM{number:032x}");
        assert_eq!(service.webhook(STATUS, &callback(&sid, "sent")).await.status(), 204);
    }
    let stop = reply("SM00000000000000000000000000000099", "+14155550123", "STOP");
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &stop).await.status(), 200);
}

/// Forty messages and their entries, a message received, an opt-out and its entry.
const STORED: &str = "83 events, messages and changes of consent can be read";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_deep_reads_everything_that_is_stored_in_redis() {
    let world = World::start(On::Redis).await;
    let service = &world.service;
    hear(service).await;
    assert_eq!(deep(service, "records").await, (Some(0), format!("ok       records: {STORED}")));
    assert_eq!(deep(service, "file").await.1, "");
    let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
    damage::write(On::Redis, prefix, service.folder(), &[Record::Event]).await;
    let (code, found) = deep(service, "records").await;
    assert_eq!(code, Some(1));
    assert!(found.starts_with("FAILED   records: 1 of 84 cannot be read: default, event "), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_deep_reads_everything_that_is_stored_in_the_file() {
    let mut world = World::start(On::Embedded).await;
    let service = &mut world.service;
    hear(service).await;
    let (code, file) = deep(service, "file").await;
    assert_eq!(code, Some(1));
    assert!(file.starts_with("FAILED   file: ") && file.contains("stop it"), "{file}");
    assert!(deep(service, "records").await.1.starts_with("warning  records: "));
    service.kill();
    let (code, file) = deep(service, "file").await;
    assert!(code == Some(0) && file.starts_with("ok       file: its "), "{file}");
    service.start_again();
    service.stop().await;
    let (code, file) = deep(service, "file").await;
    assert!(code == Some(0) && file.starts_with("ok       file: its "), "{file}");
    assert_eq!(deep(service, "records").await.1, format!("ok       records: {STORED}"));

    flip_bits(&service.folder().join("data"), &[r#"{"delivery":{"#, "SM00000000000000000000000000000000"]);
    let (code, file) = deep(service, "file").await;
    assert_eq!(code, Some(1));
    assert!(file.starts_with("FAILED   file: ") && file.contains("restore a backup of it"), "{file}");
    let (_, records) = deep(service, "records").await;
    assert!(records.contains("cannot be read: default, events "), "{records}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_compact_keeps_everything_and_wants_no_service_beside_it() {
    let mut service = TestService::start(On::Embedded).await;
    hear(&service).await;
    let events = service.events().await;
    let output = service.run(&["store", "compact"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("in use by a running service: stop it before"));
    service.stop().await;
    let output = service.run(&["store", "compact"], &[]).await;
    let told = text(&output.stdout);
    assert!(output.status.success() && told.contains(" MB before, ") && told.contains(" MB after"), "{told}");
    service.start_again();
    assert_eq!(service.events().await, events);
    assert!(service.metric("textledger_store_file_bytes").await > 10_000);
    service.stop().await;
    let elsewhere = service.folder().join("none");
    let store = format!("embedded:{}", elsewhere.display());
    let output = service.run(&["store", "compact"], &[("TEXTLEDGER_STORE", &store)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no store in"), "{}", text(&output.stderr));
    assert!(!elsewhere.exists());
    let output = service.run(&["store", "compact"], &[("TEXTLEDGER_STORE", "redis://127.0.0.1:1")]).await;
    assert_eq!(output.status.code(), Some(2));
}
