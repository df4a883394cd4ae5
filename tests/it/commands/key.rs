//! API keys on the command line, and where secrets come from.

use std::fs;

use reqwest::Method;
use serde_json::Value;
use textledger::domain::Role;

use super::{text, textledger};
use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{JWT_SECRET, On, TestService, answer, token},
    },
};

on_both_stores! {
    keys_are_made_listed_rotated_and_revoked_by_command
    a_token_says_what_the_service_demands
}

/// Runs `textledger key` beside a service: exit code, lines of output, errors.
async fn key(service: &TestService, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let output = service.run(&[&["key"], arguments].concat(), &[]).await;
    let lines = text(&output.stdout).lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(&output.stderr).to_owned())
}

async fn read_with(service: &TestService, bearer: &str) -> u16 {
    answer(service.anonymous(Method::GET, "/api/sms/events").bearer_auth(bearer)).await.0
}

async fn keys_are_made_listed_rotated_and_revoked_by_command(on: On) {
    let mut service = TestService::start(on).await;
    let url = service.url("");
    let create = ["create", "--role", "viewer", "--name", "reports", "--expires-in", "90d", "--org", "acme"];
    let (code, made, errors) = key(&service, &[&create[..], &["--url", &url]].concat()).await;
    assert_eq!((code, made.len()), (Some(0), 2), "{errors}");
    let (sid, first) = (made[0].as_str(), made[1].as_str());
    assert!(sid.starts_with("SK") && first.starts_with("tl_"), "{made:?}");
    assert_eq!(read_with(&service, first).await, 200);

    let rotate = ["rotate", sid, "--overlap", "1h", "--org", "acme", "--url", &url];
    let (code, rotated, errors) = key(&service, &rotate).await;
    assert_eq!((code, rotated[0].as_str()), (Some(0), sid), "{errors}");
    assert_eq!([read_with(&service, first).await, read_with(&service, &rotated[1]).await], [200, 200]);
    let (code, listed, errors) = key(&service, &["list", "--org", "acme", "--url", &url]).await;
    assert_eq!((code, listed.len()), (Some(0), 1), "{errors}");
    assert!(
        listed[0].starts_with(&format!("{sid} viewer ")) && listed[0].ends_with(" reports"),
        "{listed:?}"
    );
    // What is in the store is there without a service, too.
    if matches!(on, On::Embedded) {
        service.stop().await;
    }
    let create = ["create", "--role", "sender", "--org", "acme", "--daily-limit", "500", "--expires", "1h"];
    let (code, made_here, errors) = key(&service, &create).await;
    assert_eq!((code, made_here.len()), (Some(0), 2), "{errors}");
    let listed = key(&service, &["list", "--org", "acme"]).await.1;
    let of_key = listed.iter().find(|line| line.starts_with(&made_here[0])).unwrap();
    assert_eq!((listed.len(), of_key.contains(" at most 500 a day ")), (2, true), "{listed:?}");
    assert_eq!(key(&service, &["revoke", sid, "--org", "acme"]).await.0, Some(0));
    let (code, _, errors) = key(&service, &["revoke", sid, "--org", "acme"]).await;
    assert!(code == Some(1) && errors.contains("not known"), "{errors}");
    let output = service.run(&["audit", "--org", "acme"], &[]).await;
    let written = text(&output.stdout);
    let entries = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let done: Vec<(String, String)> = entries
        .map(|entry| {
            let word = |name: &str| entry[name].as_str().unwrap().to_owned();
            // The user of this machine follows.
            (word("action"), word("actor").split(':').next().unwrap().to_owned())
        })
        .collect();
    let expected = [("create", "user"), ("rotate", "user"), ("create", "command"), ("revoke", "command")];
    assert_eq!(done, expected.map(|(action, actor)| (format!("api_key.{action}"), actor.to_owned())));
    for secret in [first, &rotated[1], &made_here[1]] {
        assert!(!written.contains(secret), "the record has a secret");
    }
    if matches!(on, On::Embedded) {
        service.start_again();
    }
    assert_eq!(read_with(&service, &made_here[1]).await, 200);
    let refused = async || (read_with(&service, first).await == 401).then_some(());
    eventually("it is revoked", refused).await;
}

async fn a_token_says_what_the_service_demands(on: On) {
    let demands = [
        ("TEXTLEDGER_JWT_ISSUER", "https://id.example.com"),
        ("TEXTLEDGER_JWT_AUDIENCE", "textledger"),
        ("TEXTLEDGER_JWT_REQUIRE_ORG", "true"),
        ("TEXTLEDGER_JWT_MAX_AGE", "2h"),
    ];
    let service = TestService::start_with(on, &demands).await;
    let minted = async |further: &[&str]| {
        let output = service.run(&[&["token", "--role", "admin"], further].concat(), &[]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(read_with(&service, &minted(&[]).await).await, 200);
    assert_eq!(read_with(&service, &minted(&["--ttl", "3h"]).await).await, 401);
    assert_eq!(read_with(&service, &token(Role::Admin)).await, 401);
    let url = service.url("");
    assert_eq!(key(&service, &["list", "--url", &url]).await.0, Some(0));
}

#[test]
fn a_secret_in_the_data_folder_is_as_long_as_any() {
    for (file, texts) in
        [("jwt_secret", ["", "x", "0123456789abcdef0123456789abcde"]), ("master_key", ["", "x", "AAAA"])]
    {
        for text_of_file in texts {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(file), text_of_file).unwrap();
            let store = format!("embedded:{}", folder.path().display());
            let environment = [("TEXTLEDGER_LISTEN", "127.0.0.1:0"), ("TEXTLEDGER_STORE", store.as_str())];
            let output = textledger(&["serve"], &environment);
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{file} {text_of_file:?}: {errors}");
            assert!(errors.contains(file) && errors.contains("set TEXTLEDGER_"), "{errors}");
        }
    }
}

#[test]
fn a_secret_is_as_long_as_any_wherever_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let [secret_file, config_file] = ["secret", "textledger.toml"].map(|name| folder.path().join(name));
    let store = format!("embedded:{}", folder.path().display());
    for name in ["TEXTLEDGER_JWT_SECRET", "TEXTLEDGER_MASTER_KEY"] {
        for short in ["x", "0123456789abcdef0123456789abcde"] {
            fs::write(&secret_file, short).unwrap();
            let file = secret_file.to_str().unwrap();
            for (variable, value, line) in [
                (name.to_owned(), short, String::new()),
                (format!("{name}_FILE"), file, String::new()),
                ("TEXTLEDGER_LOG".to_owned(), "info", format!("{} = \"{short}\"\n", name.to_lowercase())),
                ("TEXTLEDGER_LOG".to_owned(), "info", format!("{}_file = \"{file}\"\n", name.to_lowercase())),
            ] {
                fs::write(&config_file, &line).unwrap();
                let environment = [
                    ("TEXTLEDGER_LISTEN", "127.0.0.1:0"),
                    ("TEXTLEDGER_STORE", store.as_str()),
                    ("TEXTLEDGER_CONFIG", config_file.to_str().unwrap()),
                    (&variable, value),
                ];
                let output = textledger(&["serve"], &environment);
                let errors = text(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{variable} {line:?}: {errors}");
                assert!(errors.contains(name) && errors.contains("32 bytes"), "{errors}");
                assert!(short == "x" || !errors.contains(short), "the error quotes a secret");
            }
        }
    }
}

#[tokio::test]
async fn a_secret_comes_from_the_file_that_is_named_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, format!("{JWT_SECRET}\n")).unwrap();
    let file = ("TEXTLEDGER_JWT_SECRET_FILE", path.to_str().unwrap());
    let service = TestService::start_with(On::Embedded, &[("TEXTLEDGER_JWT_SECRET", ""), file]).await;
    assert_eq!(read_with(&service, &token(Role::Viewer)).await, 200);
    let output = textledger(&["token", "--role", "viewer"], &[file, ("TEXTLEDGER_JWT_SECRET", JWT_SECRET)]);
    let errors = text(&output.stderr);
    assert!(output.status.code() == Some(2) && errors.contains("leave one of them out"), "{errors}");
}
