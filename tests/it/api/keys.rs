//! Keys that come and go, and the explanation of what none of them signed.

use std::fmt::Write;

use serde_json::json;
use textledger::{
    domain::Role,
    twilio::{
        Form,
        signature::{self, Algorithm, SETTINGS_HEADER, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::task::JoinSet;

use super::on_both_stores;
use crate::support::{
    eventually,
    service::{ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, On, PERSON, PUBLIC_URL, TestService, answer, callback},
};

const STATUS: &str = "/webhooks/twilio/status";
const SID: &str = "SM00000000000000000000000000000001";
const NEXT_TOKEN: &str = "fedcba9876543210fedcba9876543210";
const OTHER_ACCOUNT: &str = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OTHER_TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

on_both_stores! {
    a_rotation_under_load_refuses_nothing
    a_file_without_accounts_takes_none_away_unless_it_says_so
    a_shared_key_signs_and_may_be_required
    every_planted_cause_is_named_and_only_to_administrators
    a_path_prefix_may_be_taken_off_or_left_on
}

/// A service whose accounts are in a file, of which `accounts` is the end.
async fn start(on: On, accounts: &str) -> TestService {
    let folder = tempfile::tempdir().unwrap().keep();
    let file = folder.join("textledger.toml");
    std::fs::write(&file, accounts).unwrap();
    let none = [("TWILIO_ACCOUNT_SID", ""), ("TWILIO_AUTH_TOKEN", "")];
    let file = ("TEXTLEDGER_CONFIG", file.to_str().unwrap());
    TestService::start_with(on, &[none[0], none[1], file, ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]).await
}

/// The account `organization` of `account_sid` with what `keys` says.
fn account(organization: &str, account_sid: &str, keys: &[(&str, &str)]) -> String {
    let mut table = format!(
        "[[accounts]]\norganization = \"{organization}\"\naccount_sid = \"{account_sid}\"\nphone_number = \"{OUR_NUMBER}\"\n"
    );
    for (name, value) in keys {
        writeln!(table, "{name} = {value}").unwrap();
    }
    table
}

fn quoted(token: &str) -> String {
    format!("\"{token}\"")
}

/// Has the service read its accounts again, and waits until it has.
async fn reload(service: &TestService, accounts: &str) {
    let before = service.log().matches("were read again").count();
    std::fs::write(service.setting("TEXTLEDGER_CONFIG"), accounts).unwrap();
    service.signal("HUP");
    let reloaded = || service.log().matches("were read again").count() > before;
    eventually("the accounts are read again", async || reloaded().then_some(())).await;
}

async fn a_rotation_under_load_refuses_nothing(on: On) {
    let (old, next) = (quoted(AUTH_TOKEN), quoted(NEXT_TOKEN));
    let own = |keys: &[(&str, &str)]| account("default", ACCOUNT_SID, keys);
    let service = start(on, &own(&[("auth_token", &old)])).await;
    let round = async |token: &'static str, first: u32| {
        let mut posts = JoinSet::new();
        for number in first..first + 100 {
            let form = callback(SID, "sent").into_iter().map(|(name, value)| (name, value.to_owned()));
            let sid = format!("SM{number:032x}");
            let form: Vec<(&str, String)> = form
                .map(|(name, value)| {
                    (name, if name.ends_with("Sid") && name != "AccountSid" { sid.clone() } else { value })
                })
                .collect();
            let request = signed(&service, token, &form);
            posts.spawn(async move { request.send().await.unwrap().status().as_u16() });
        }
        posts.join_all().await
    };
    // Each step of the rotation while callbacks arrive, signed as Twilio signs at that moment.
    let all_taken = |answers: Vec<u16>| assert!(answers.iter().all(|status| *status == 204), "{answers:?}");
    let (answers, ()) = tokio::join!(round(AUTH_TOKEN, 0), async {
        reload(&service, &own(&[("auth_token", &old), ("auth_token_secondary", &next)])).await;
    });
    all_taken(answers);
    // Promoted: what was under way is signed with either.
    let (answers, more) = tokio::join!(round(AUTH_TOKEN, 100), round(NEXT_TOKEN, 200));
    all_taken([answers, more].concat());
    let (answers, ()) = tokio::join!(round(NEXT_TOKEN, 300), async {
        reload(&service, &own(&[("auth_token", &next), ("auth_token_secondary", &old)])).await;
    });
    all_taken(answers);
    let uses = async |key: &str| {
        let sample = format!(r#"textledger_signatures_total{{key="{key}"}}"#);
        service.metric(&sample).await
    };
    let secondary = uses("auth_token_secondary").await;
    all_taken(round(NEXT_TOKEN, 400).await);
    assert_eq!(uses("auth_token_secondary").await, secondary, "the old token is dead");
    assert_eq!(uses("auth_token").await + secondary, 500);
    let (answers, ()) = tokio::join!(round(NEXT_TOKEN, 500), async {
        reload(&service, &own(&[("auth_token", &next)])).await;
    });
    all_taken(answers);
    let accepted = r#"textledger_webhook_requests_total{route="status",result="accepted"}"#;
    assert_eq!(service.metric(accepted).await, 600);
    // The old one is refused from now on, and the administrator is told which it was.
    assert!(round(AUTH_TOKEN, 600).await.iter().all(|status| *status == 403));
    let refusals = eventually("the refusal is explained", async || {
        let refusals = service.refusals().await;
        refusals.iter().any(|refusal| refusal["cause"] == "removed_key").then_some(refusals)
    });
    assert!(refusals.await.len() <= 100);
    // A file with faults changes nothing.
    std::fs::write(service.setting("TEXTLEDGER_CONFIG"), "[[accounts]]\norganization = 1").unwrap();
    service.signal("HUP");
    let told = || service.log().contains("nothing was changed");
    eventually("the fault is told", async || told().then_some(())).await;
    all_taken(round(NEXT_TOKEN, 700).await);
}

async fn a_file_without_accounts_takes_none_away_unless_it_says_so(on: On) {
    let service = start(on, &account("default", ACCOUNT_SID, &[("auth_token", &quoted(AUTH_TOKEN))])).await;
    let status = async |message: &str| {
        service.webhook_signed_with(AUTH_TOKEN, STATUS, &callback(message, "sent")).await.status()
    };
    for (number, emptied) in ["", "textledger_key_prefix = \"tl\"\n"].into_iter().enumerate() {
        std::fs::write(service.setting("TEXTLEDGER_CONFIG"), emptied).unwrap();
        service.signal("HUP");
        let told = || service.log().matches("no account at Twilio any more").count() > number;
        eventually("it is told", async || told().then_some(())).await;
        assert_eq!(status(&format!("SM{number:032x}")).await, 204);
    }
    reload(&service, "accounts = []\n").await;
    assert_eq!(status("SMffffffffffffffffffffffffffffffff").await, 403);
}

fn signed(service: &TestService, token: &str, form: &[(&str, String)]) -> reqwest::RequestBuilder {
    let form: Form = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
    let signature = signature::sign(&key, &format!("{}{STATUS}", service.public_url), &form);
    service
        .anonymous(reqwest::Method::POST, STATUS)
        .header("content-type", "application/x-www-form-urlencoded")
        .header(SIGNATURE_HEADER, signature)
        .body(form.encode())
}

async fn a_shared_key_signs_and_may_be_required(on: On) {
    let keys = r#"[{ id = "webhooks_sharedkey_1", secret = "a shared secret" }]"#;
    let token = quoted(AUTH_TOKEN);
    let with = |required: &str| {
        account(
            "default",
            ACCOUNT_SID,
            &[("auth_token", &token), ("shared_keys", keys), ("require_shared_key", required)],
        )
    };
    let service = start(on, &with("false")).await;
    let post = async |secret: &str, algorithm: Algorithm, settings: &str| {
        let form: Form = callback(SID, "sent").into_iter().collect();
        let key = SigningKey::new(algorithm, &secret.into());
        let signature = signature::sign(&key, &format!("{}{STATUS}", service.public_url), &form);
        let request = service
            .anonymous(reqwest::Method::POST, STATUS)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(SIGNATURE_HEADER, signature)
            .header(SETTINGS_HEADER, settings)
            .body(form.encode());
        answer(request).await.0
    };
    let shared = "a shared secret";
    let sha256 = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256";
    assert_eq!(post(shared, Algorithm::HmacSha256, sha256).await, 204);
    assert_eq!(post(shared, Algorithm::HmacSha1, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1").await, 204);
    assert_eq!(post(AUTH_TOKEN, Algorithm::HmacSha1, "").await, 204);
    assert_eq!(post(shared, Algorithm::HmacSha256, "key=webhooks_sharedkey_1,algorithm=HMAC_MD5").await, 403);
    assert_eq!(
        post(shared, Algorithm::HmacSha256, "key=webhooks_sharedkey_2,algorithm=HMAC_SHA256").await,
        403
    );
    assert_eq!(post(AUTH_TOKEN, Algorithm::HmacSha256, sha256).await, 403);
    reload(&service, &with("true")).await;
    assert_eq!(post(shared, Algorithm::HmacSha256, sha256).await, 204);
    assert_eq!(post(AUTH_TOKEN, Algorithm::HmacSha1, "").await, 403);
    assert_eq!(post(AUTH_TOKEN, Algorithm::HmacSha1, "key=webhooks_sharedkey_1").await, 403);
    eventually("the refusal is explained", async || {
        let refusals = service.refusals().await;
        refusals.iter().any(|refusal| refusal["cause"] == "other_key").then_some(())
    })
    .await;
}

async fn every_planted_cause_is_named_and_only_to_administrators(on: On) {
    let accounts = [
        account("default", ACCOUNT_SID, &[("auth_token", &quoted(AUTH_TOKEN))]),
        account(
            "other",
            OTHER_ACCOUNT,
            &[("auth_token", &quoted("unused")), ("auth_token_secondary", &quoted(OTHER_TOKEN))],
        ),
    ];
    let service = start(on, &accounts.concat()).await;
    let url = format!("{PUBLIC_URL}{STATUS}");
    let whole = callback(SID, "sent");
    let with = |name: &'static str, value: &'static str| {
        let mut form = whole.clone();
        form.push((name, value));
        form
    };
    let query = "?b=1&a=x%20y&id=0000000000000abc";
    type Planted<'a> =
        (&'a str, &'a str, String, Vec<(&'a str, &'a str)>, &'a str, Vec<(&'a str, &'a str)>, &'a str);
    let planted: Vec<Planted<'_>> = vec![
        (
            "scheme",
            AUTH_TOKEN,
            url.replace("https", "http"),
            whole.clone(),
            "",
            whole.clone(),
            "http://sms.example.com",
        ),
        (
            "host",
            AUTH_TOKEN,
            url.replace("sms.example.com", "tunnel.example.net"),
            whole.clone(),
            "",
            whole.clone(),
            "https://tunnel.example.net/textledger",
        ),
        (
            "port",
            AUTH_TOKEN,
            url.replace(".com", ".com:8443"),
            whole.clone(),
            "",
            whole.clone(),
            "https://sms.example.com:8443",
        ),
        (
            "path_prefix",
            AUTH_TOKEN,
            url.replace("/textledger", ""),
            whole.clone(),
            "",
            whole.clone(),
            "to https://sms.example.com,",
        ),
        (
            "trailing_slash",
            AUTH_TOKEN,
            format!("{url}/"),
            whole.clone(),
            "",
            whole.clone(),
            "let no proxy change its end",
        ),
        (
            "query_order",
            AUTH_TOKEN,
            format!("{url}?a=x%20y&b=1&id=0000000000000abc"),
            whole.clone(),
            query,
            whole.clone(),
            "sorting",
        ),
        (
            "query_encoding",
            AUTH_TOKEN,
            format!("{url}?b=1&a=x+y&id=0000000000000abc"),
            whole.clone(),
            query,
            whole.clone(),
            "byte for byte",
        ),
        (
            "value_trimmed",
            AUTH_TOKEN,
            url.clone(),
            with("ErrorMessage", "why "),
            "",
            with("ErrorMessage", "why"),
            "trimming",
        ),
        (
            "blank_parameter_dropped",
            AUTH_TOKEN,
            url.clone(),
            with("ToCity", ""),
            "",
            whole.clone(),
            "without a value",
        ),
        ("key_of_another_account", OTHER_TOKEN, url.clone(), whole.clone(), "", whole.clone(), "subaccount"),
    ];
    for (cause, token, signed_url, signed_form, query, form, mend) in &planted {
        let key = SigningKey::new(Algorithm::HmacSha1, &(*token).into());
        let signature = signature::sign(&key, signed_url, &signed_form.iter().copied().collect());
        let form: Form = form.iter().copied().collect();
        let mut request = service
            .anonymous(reqwest::Method::POST, &format!("{STATUS}{query}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(SIGNATURE_HEADER, signature)
            .body(form.encode());
        match *cause {
            "host" => request = request.header("x-forwarded-host", "tunnel.example.net"),
            "port" => request = request.header("x-forwarded-port", "8443"),
            _ => {}
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{cause}");
        assert!(response.bytes().await.unwrap().is_empty(), "{cause} is told to the caller");
        let refusal = eventually(cause, async || {
            let refusals = service.refusals().await;
            refusals.into_iter().find(|refusal| refusal["cause"] == *cause)
        });
        let refusal = refusal.await;
        assert!(refusal["mend"].as_str().unwrap().contains(mend), "{refusal}");
        assert_eq!(refusal["account_sid"], ACCOUNT_SID);
    }
    let refusals = service.refusals().await;
    let causes: Vec<_> = refusals.iter().rev().map(|refusal| refusal["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, planted.iter().map(|planted| planted.0).collect::<Vec<_>>());
    assert_eq!(refusals.last().unwrap()["detail"], json!(format!("Twilio signed {}", planted[0].2)));
    let (log, shown) = (service.log(), json!(refusals).to_string());
    for secret in [AUTH_TOKEN, OTHER_TOKEN, PERSON] {
        assert!(!log.contains(secret) && !shown.contains(secret), "{secret}");
    }
    assert!(service.events().await.is_empty());
    assert_eq!(answer(service.get(Role::Sender, "/api/sms/webhook-refusals")).await.0, 403);
    assert_eq!(answer(service.anonymous(reqwest::Method::GET, "/api/sms/webhook-refusals")).await.0, 401);
}

async fn a_path_prefix_may_be_taken_off_or_left_on(on: On) {
    let service = TestService::start(on).await;
    let form: Form = callback(SID, "sent").into_iter().collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let signature = signature::sign(&key, &format!("{PUBLIC_URL}{STATUS}"), &form);
    for target in [STATUS.to_owned(), format!("/textledger{STATUS}")] {
        let answer = service.raw_webhook(&target, Some(&signature), form.encode().into_bytes()).await;
        assert_eq!(answer.status(), 204, "{target}");
    }
    assert_eq!(
        service.raw_webhook(&format!("/other{STATUS}"), Some(&signature), Vec::new()).await.status(),
        404
    );
}
