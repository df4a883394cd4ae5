//! Accounts that administrators save: shown without secrets, used at once and everywhere, kept apart.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::task::JoinSet;

use super::on_both_stores;
use crate::support::{
    eventually, now,
    redis_server::RedisServer,
    service::{
        ACCOUNT_SID, AUTH_TOKEN, MASTER_KEY, OUR_NUMBER, On, PERSON, PUBLIC_URL, TestService, answer,
        callback,
    },
    twilio::{API_KEY_SECRET, API_KEY_SID, World},
};

pub(super) const SETTINGS: &str = "/api/sms/settings";
const STATUS: &str = "/webhooks/twilio/status";
const SID: &str = "SM00000000000000000000000000000001";
pub(super) const OTHER_ACCOUNT: &str = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub(super) const OTHER_TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const SHARED_SECRET: &str = "a-shared-secret-that-nobody-sees";

/// A configuration without an account.
pub(super) const NO_ACCOUNT: [(&str, &str); 4] = [
    ("TWILIO_ACCOUNT_SID", ""),
    ("TWILIO_AUTH_TOKEN", ""),
    ("TWILIO_PHONE_NUMBER", ""),
    ("TWILIO_WHATSAPP_NUMBER", ""),
];

on_both_stores! {
    saved_settings_are_used_at_once_and_after_a_restart
    no_secret_is_shown_or_logged
    what_is_left_out_stays_and_null_clears
    saved_settings_win_over_the_environment_also_when_it_is_read_again
    everything_that_is_wrong_is_told
    only_administrators_see_and_change_them
    an_account_belongs_to_one_organization
    of_many_that_want_one_account_one_gets_it
    administrators_at_once_lose_nothing
    an_api_key_signs_calls_in_place_of_the_token
    the_master_key_is_rotated_without_a_loss
}

pub(super) fn account(account_sid: &str, auth_token: &str) -> Value {
    json!({ "account_sid": account_sid, "auth_token": auth_token, "phone_number": OUR_NUMBER })
}

async fn saved(service: &TestService, organization: &str, body: &Value) -> Value {
    let (status, settings) = service.post_in(organization, SETTINGS, body).await;
    assert_eq!(status, 200, "{settings}");
    settings
}

/// The status of the answer to a callback that `token` signed.
pub(super) async fn webhook(service: &TestService, account_sid: &str, token: &str, sid: &str) -> u16 {
    let form: Vec<_> = callback(sid, "sent")
        .into_iter()
        .map(|(name, value)| (name, if name == "AccountSid" { account_sid } else { value }))
        .collect();
    service.webhook_signed_with(token, STATUS, &form).await.status().as_u16()
}

async fn saved_settings_are_used_at_once_and_after_a_restart(on: On) {
    let mut world = World::start_with(on, &NO_ACCOUNT).await;
    let service = &world.service;
    let (status, none) = service.get_in("default", SETTINGS).await;
    assert_eq!(status, 200);
    let url = |path: &str| format!("{}/webhooks/twilio/{path}", service.public_url);
    let expected = json!({
        "configured": false, "source": null, "verification": null, "verification_detail": null, "account_sid": null, "auth_token_set": false, "auth_token_last4": null,
        "auth_token_secondary_set": false, "phone_number": null, "whatsapp_number": null,
        "messaging_service_sid": null, "api_key_sid": null, "shared_key_ids": [], "require_shared_key": false,
        "display_name": null, "help_contact": null, "language": "en", "reply_texts": {}, "forward": [],
        "webhook_urls": { "status": url("status"), "inbound": url("inbound"), "events": url("events") },
    });
    assert_eq!(none, expected);
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("twilio_not_configured")));
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);

    let answered = saved(service, "default", &account(ACCOUNT_SID, AUTH_TOKEN)).await;
    assert_eq!((&answered["configured"], &answered["source"]), (&json!(true), &json!("saved")));
    assert_eq!(
        (&answered["verification"], &answered["verification_detail"]),
        (&json!("verified"), &json!(null))
    );
    assert_eq!(
        (&answered["account_sid"], &answered["auth_token_last4"]),
        (&json!(ACCOUNT_SID), &json!("cdef"))
    );
    assert_eq!(service.get_in("default", SETTINGS).await, (200, answered.clone()));
    assert_eq!(service.send(PERSON, "hello").await.0, 201);
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    assert_eq!(service.get_in("acme", SETTINGS).await.1["configured"], false);

    world.service.kill();
    world.service.start_again();
    let service = &world.service;
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    assert_eq!(service.send(PERSON, "hello again").await.0, 201);
    assert_eq!(service.get_in("default", SETTINGS).await, (200, answered));
}

/// Settings that hold every kind of secret.
fn full() -> Value {
    json!({
        "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "auth_token_secondary": OTHER_TOKEN,
        "phone_number": "+1 (500) 555-0006", "whatsapp_number": "whatsapp:+15005550006",
        "messaging_service_sid": "MGcccccccccccccccccccccccccccccccc",
        "api_key_sid": API_KEY_SID, "api_key_secret": API_KEY_SECRET,
        "shared_keys": [{ "id": "webhooks_sharedkey_1", "secret": SHARED_SECRET }],
        "require_shared_key": true,
        "display_name": " Café <Rhône> & Co ", "help_contact": "help@acme.example",
    })
}

async fn no_secret_is_shown_or_logged(on: On) {
    let service = TestService::start_with(on, &NO_ACCOUNT).await;
    let mut answers = vec![saved(&service, "default", &full()).await];
    let settings = &answers[0];
    assert_eq!(
        (&settings["phone_number"], &settings["whatsapp_number"]),
        (&json!(OUR_NUMBER), &json!(OUR_NUMBER))
    );
    assert_eq!(settings["shared_key_ids"], json!(["webhooks_sharedkey_1"]));
    assert_eq!(
        (&settings["auth_token_secondary_set"], &settings["require_shared_key"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(settings["api_key_sid"], API_KEY_SID);
    answers.push(service.get_in("default", SETTINGS).await.1);
    // Wrong in every way, and taken by another: a problem repeats no secret either.
    let wrong = json!({
        "account_sid": OTHER_TOKEN, "auth_token": format!("{AUTH_TOKEN}\n"), "api_key_sid": API_KEY_SECRET,
        "shared_keys": [{ "id": "1", "secret": format!("{SHARED_SECRET} ") }], "phone_number": OTHER_TOKEN,
    });
    answers.push(service.post_in("default", SETTINGS, &wrong).await.1);
    answers.push(service.post_in("acme", SETTINGS, &full()).await.1);
    assert_eq!((&answers[2]["status"], &answers[3]["code"]), (&json!(422), &json!("account_in_use")));
    let (log, shown) = (service.log(), json!(answers).to_string());
    for secret in [AUTH_TOKEN, OTHER_TOKEN, API_KEY_SECRET, SHARED_SECRET] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let audit: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("settings.change"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(audit.len(), 1, "{log}");
    let written = audit[0].to_string();
    for word in ["audit", "tester", "default", "auth_token_secondary", "api_key_secret", "shared_keys"] {
        assert!(written.contains(word), "{written}");
    }
}

async fn what_is_left_out_stays_and_null_clears(on: On) {
    let service = TestService::start_with(on, &NO_ACCOUNT).await;
    let all = saved(&service, "default", &full()).await;
    assert_eq!(all["display_name"], "Café <Rhône> & Co");
    assert_eq!(saved(&service, "default", &json!({})).await, all);
    let cleared = json!({
        "auth_token_secondary": null, "phone_number": null, "whatsapp_number": null, "messaging_service_sid": null,
        "api_key_sid": null, "shared_keys": null, "require_shared_key": false, "display_name": "", "help_contact": null,
    });
    let cleared = saved(&service, "default", &cleared).await;
    let mut expected = all.clone();
    for name in [
        "phone_number",
        "whatsapp_number",
        "messaging_service_sid",
        "api_key_sid",
        "display_name",
        "help_contact",
    ] {
        expected[name] = Value::Null;
    }
    for name in ["auth_token_secondary_set", "require_shared_key"] {
        expected[name] = json!(false);
    }
    expected["shared_key_ids"] = json!([]);
    assert_eq!(cleared, expected);
    // Rotation: the next token waits, is promoted, and the old one goes.
    let rotated = json!({ "auth_token": OTHER_TOKEN, "auth_token_secondary": AUTH_TOKEN });
    assert_eq!(saved(&service, "default", &rotated).await["auth_token_last4"], "e1f0");
    for (index, token) in [AUTH_TOKEN, OTHER_TOKEN].iter().enumerate() {
        assert_eq!(webhook(&service, ACCOUNT_SID, token, &format!("SM{index:032}")).await, 204);
    }
    saved(&service, "default", &json!({ "auth_token_secondary": null })).await;
    assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);
    let removed = async || {
        service.refusals().await.iter().any(|refusal| refusal["cause"] == "removed_key").then_some(())
    };
    eventually("the refusal is explained by the key that was", removed).await;
}

async fn saved_settings_win_over_the_environment_also_when_it_is_read_again(on: On) {
    let service = TestService::start(on).await;
    let (_, configured) = service.get_in("default", SETTINGS).await;
    assert_eq!(
        (&configured["source"], &configured["account_sid"]),
        (&json!("environment"), &json!(ACCOUNT_SID))
    );
    assert_eq!(
        (&configured["auth_token_last4"], &configured["phone_number"]),
        (&json!("cdef"), &json!(OUR_NUMBER))
    );
    // No change is none, and leaves the account to the environment.
    assert_eq!(saved(&service, "default", &json!({})).await, configured);
    // The first change begins with what is configured.
    let changed = saved(&service, "default", &json!({ "auth_token_secondary": OTHER_TOKEN })).await;
    assert_eq!((&changed["source"], &changed["phone_number"]), (&json!("saved"), &json!(OUR_NUMBER)));
    assert_eq!(webhook(&service, ACCOUNT_SID, OTHER_TOKEN, SID).await, 204);
    saved(
        &service,
        "default",
        &account(OTHER_ACCOUNT, OTHER_TOKEN).merged(&json!({ "auth_token_secondary": null })),
    )
    .await;
    service.signal("HUP");
    let reread = || service.log().contains("were read again").then_some(());
    eventually("the accounts are read again", async || reread()).await;
    assert_eq!(webhook(&service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
    assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);
}

/// Puts one object's fields over another's.
trait Merged {
    fn merged(self, over: &Value) -> Value;
}

impl Merged for Value {
    fn merged(mut self, over: &Value) -> Value {
        for (name, value) in over.as_object().unwrap() {
            self[name] = value.clone();
        }
        self
    }
}

async fn everything_that_is_wrong_is_told(on: On) {
    let service = TestService::start_with(on, &NO_ACCOUNT).await;
    let fields = async |body: Value| {
        let (status, problem) = service.post_in("default", SETTINGS, &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{problem}");
        let errors = problem["errors"].as_array().unwrap();
        let mut fields: Vec<_> =
            errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(json!({})).await, ["account_sid", "auth_token"]);
    let wrong = json!({
        "account_sid": "AC1", "auth_token": "", "auth_token_secondary": 1, "phone_number": "+0", "whatsapp_number": "12345",
        "messaging_service_sid": ACCOUNT_SID, "api_key_sid": "SK1", "shared_keys": [{ "id": "a,b", "secret": "s" }],
        "require_shared_key": "yes", "authtoken": "x",
    });
    let all = [
        "account_sid",
        "api_key_secret",
        "api_key_sid",
        "auth_token",
        "auth_token_secondary",
        "authtoken",
        "messaging_service_sid",
        "phone_number",
        "require_shared_key",
        "shared_keys",
        "whatsapp_number",
    ];
    let found = fields(wrong).await;
    assert!(found.iter().all(|field| all.contains(&field.as_str())), "{found:?}");
    assert!(
        all.iter().all(|field| found.iter().any(|found| found == field) || *field == "api_key_secret"),
        "{found:?}"
    );
    let with = |further: Value| account(ACCOUNT_SID, AUTH_TOKEN).merged(&further);
    assert_eq!(fields(with(json!({ "api_key_sid": API_KEY_SID }))).await, ["api_key_secret"]);
    assert_eq!(fields(with(json!({ "require_shared_key": true }))).await, ["require_shared_key"]);
    assert_eq!(fields(with(json!({ "account_sid": null }))).await, ["account_sid"]);
    let twice = json!([{ "id": "k", "secret": "s" }, { "id": "k", "secret": "t" }]);
    assert_eq!(fields(with(json!({ "shared_keys": twice }))).await, ["shared_keys"]);
    assert_eq!(service.get_in("default", SETTINGS).await.1["configured"], false);

    saved(&service, "default", &account(ACCOUNT_SID, AUTH_TOKEN)).await;
    // The token that is kept would be of another account.
    assert_eq!(fields(json!({ "account_sid": OTHER_ACCOUNT })).await, ["auth_token"]);
    assert_eq!(service.get_in("default", SETTINGS).await.1["account_sid"], ACCOUNT_SID);
}

async fn only_administrators_see_and_change_them(on: On) {
    let service = TestService::start(on).await;
    for role in Role::ALL {
        let is_admin = matches!(role, Role::Admin | Role::Master | Role::Developer);
        let expected = if is_admin { 200 } else { 403 };
        assert_eq!(answer(service.get(role, SETTINGS)).await.0, expected, "{role:?}");
        assert_eq!(answer(service.post(role, SETTINGS, &json!({}))).await.0, expected, "{role:?}");
    }
    assert_eq!(answer(service.anonymous(reqwest::Method::GET, SETTINGS)).await.0, 401);
}

async fn an_account_belongs_to_one_organization(on: On) {
    let service = TestService::start(on).await;
    let taken = async |organization: &str, account_sid: &str| {
        let (status, problem) =
            service.post_in(organization, SETTINGS, &account(account_sid, AUTH_TOKEN)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")), "{problem}");
        // Whose it is concerns nobody else.
        assert!(
            !problem.to_string().contains("globex") && !problem.to_string().contains("default"),
            "{problem}"
        );
    };
    // The environment's account is the default organization's, saved or not, in whatever letters.
    let upper = format!("AC{}", ACCOUNT_SID[2..].to_uppercase());
    taken("acme", ACCOUNT_SID).await;
    taken("acme", &upper).await;
    saved(&service, "globex", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    taken("acme", OTHER_ACCOUNT).await;
    taken("default", OTHER_ACCOUNT).await;
    assert_eq!(service.get_in("acme", SETTINGS).await.1["configured"], false);
    assert_eq!(webhook(&service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
    // The organization that moves on sets its former account free.
    let third = "ACcccccccccccccccccccccccccccccccc";
    saved(&service, "globex", &account(third, AUTH_TOKEN)).await;
    saved(&service, "acme", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    taken("globex", OTHER_ACCOUNT).await;
    taken("acme", third).await;
    assert_eq!(service.get_in("globex", SETTINGS).await.1["account_sid"], third);
}

async fn of_many_that_want_one_account_one_gets_it(on: On) {
    let service = std::sync::Arc::new(TestService::start(on).await);
    for round in 0..10 {
        let sid = format!("AC{round:032}");
        let mut wanting = JoinSet::new();
        for organization in 0..8 {
            let (service, body) = (service.clone(), account(&sid, AUTH_TOKEN));
            let organization = format!("organization-{organization}");
            wanting.spawn(async move { service.post_in(&organization, SETTINGS, &body).await.0 });
        }
        let mut answers = wanting.join_all().await;
        answers.sort_unstable();
        let served = answers.iter().filter(|status| **status == 200).count();
        assert_eq!((served, &answers[1..]), (1, &[409; 7][..]), "{answers:?}");
        let mut having = 0;
        for organization in 0..8 {
            let (_, settings) = service.get_in(&format!("organization-{organization}"), SETTINGS).await;
            having += usize::from(settings["account_sid"] == json!(sid));
        }
        assert_eq!(having, 1);
    }
}

async fn administrators_at_once_lose_nothing(on: On) {
    let service = std::sync::Arc::new(TestService::start_with(on, &NO_ACCOUNT).await);
    saved(&service, "default", &account(ACCOUNT_SID, AUTH_TOKEN)).await;
    let changes = [
        json!({ "auth_token_secondary": OTHER_TOKEN }),
        json!({ "whatsapp_number": OUR_NUMBER }),
        json!({ "api_key_sid": API_KEY_SID, "api_key_secret": API_KEY_SECRET }),
        json!({ "shared_keys": [{ "id": "k", "secret": SHARED_SECRET }] }),
    ];
    let mut saving = JoinSet::new();
    for change in changes {
        let service = service.clone();
        saving.spawn(async move { saved(&service, "default", &change).await });
    }
    saving.join_all().await;
    let (_, settings) = service.get_in("default", SETTINGS).await;
    assert_eq!(settings["auth_token_secondary_set"], true);
    assert_eq!(
        (&settings["whatsapp_number"], &settings["api_key_sid"]),
        (&json!(OUR_NUMBER), &json!(API_KEY_SID))
    );
    assert_eq!(settings["shared_key_ids"], json!(["k"]));
}

async fn an_api_key_signs_calls_in_place_of_the_token(on: On) {
    let world = World::start_with(on, &NO_ACCOUNT).await;
    let body = account(ACCOUNT_SID, AUTH_TOKEN);
    let key =
        |secret: &str| body.clone().merged(&json!({ "api_key_sid": API_KEY_SID, "api_key_secret": secret }));
    // The token is right, and still nothing leaves.
    saved(&world.service, "default", &key("another-secret")).await;
    let (status, problem) = world.service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (502, &json!("twilio_credentials_rejected")));
    saved(&world.service, "default", &key(API_KEY_SECRET)).await;
    assert_eq!(world.service.send(PERSON, "hello").await.0, 201);
}

async fn the_master_key_is_rotated_without_a_loss(on: On) {
    let next = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let mut world = World::start_with(on, &NO_ACCOUNT).await;
    let service = &mut world.service;
    let restart = |service: &mut TestService, keys: &str| {
        service.kill();
        service.set("TEXTLEDGER_MASTER_KEY", keys);
        service.start_again();
    };
    saved(service, "default", &account(ACCOUNT_SID, AUTH_TOKEN)).await;
    let soon = (now() + Duration::from_secs(2)).to_string();
    let scheduled = json!({ "to_number": PERSON, "message": "sealed with the former key", "send_at": soon });
    let (status, answered) = answer(service.post(Role::Admin, "/api/sms/send", &scheduled)).await;
    assert_eq!(status, 202, "{answered}");

    // Both: the former one opens what is there, the first seals what is saved.
    restart(service, &format!("{next},{MASTER_KEY}"));
    assert_eq!(service.send("+14155550177", "hello").await.0, 201);
    let checked = service.run(&["check"], &[]).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    if matches!(on, On::Redis) {
        assert!(
            said.contains("warning  master key: a former one sealed the saved settings of default"),
            "{said}"
        );
    }
    let twilio = &world.twilio;
    eventually("what was sealed with the former key is sent", async || {
        let sent = twilio.messages().into_iter().any(|message| message.body == "sealed with the former key");
        sent.then_some(())
    })
    .await;
    saved(service, "default", &json!({})).await;

    // The former one can go.
    restart(service, next);
    assert_eq!(service.get_in("default", SETTINGS).await.1["source"], "saved");
    assert_eq!(service.send("+14155550178", "hello").await.0, 201);
    assert_eq!(webhook(service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
}

/// Every secret of [`full`], searched for in what a store keeps on disk.
fn assert_no_secret_in(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let kept = fs::read(&path).unwrap();
            bytes += kept.len();
            for secret in [AUTH_TOKEN, OTHER_TOKEN, API_KEY_SECRET, SHARED_SECRET] {
                let found = kept.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    }
    assert!(bytes > 1_000, "there is hardly anything in {}", folder.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_in_the_embedded_stores_file() {
    let mut service = TestService::start_with(On::Embedded, &NO_ACCOUNT).await;
    saved(&service, "default", &full()).await;
    service.stop().await;
    assert_no_secret_in(&service.folder().join("data"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_in_what_redis_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let url = redis.url();
    let store = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_with(On::Redis, &[&NO_ACCOUNT[..], &store].concat()).await;
    saved(&service, "default", &full()).await;
    assert_no_secret_in(folder.path());
}

/// Another instance of `service`, over the same Redis.
pub(super) async fn beside(service: &TestService) -> TestService {
    let same = ["TEXTLEDGER_KEY_PREFIX", "TEXTLEDGER_STORE", "TWILIO_API_BASE_URL", "TEXTLEDGER_PUBLIC_URL"];
    let same: Vec<(&str, &str)> = same.iter().map(|name| (*name, service.setting(name))).collect();
    TestService::start_with(On::Redis, &[&NO_ACCOUNT[..], &same].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_follows() {
    let public = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let world = World::start_with(On::Redis, &[&NO_ACCOUNT[..], &public].concat()).await;
    let one = &world.service;
    let two = beside(one).await;
    assert_eq!(webhook(&two, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);
    let follows = async |service: &TestService, account_sid: &str, token: &str| {
        let taken = async || (webhook(service, account_sid, token, SID).await == 204).then_some(());
        eventually("the other instance follows", taken).await;
    };

    saved(one, "default", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    follows(&two, OTHER_ACCOUNT, OTHER_TOKEN).await;
    assert_eq!(two.send(PERSON, "hello").await.1["code"], "twilio_credentials_rejected");
    // And the other way about.
    saved(&two, "default", &account(ACCOUNT_SID, AUTH_TOKEN)).await;
    follows(one, ACCOUNT_SID, AUTH_TOKEN).await;
    assert_eq!(one.send(PERSON, "hello").await.0, 201);
    assert_eq!(webhook(one, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 403);
    assert_eq!(one.get_in("default", SETTINGS).await, two.get_in("default", SETTINGS).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_be_opened_stop_their_organization_alone() {
    let mut service = TestService::start_with(On::Redis, &[("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]).await;
    let third = "ACcccccccccccccccccccccccccccccccc";
    saved(&service, "acme", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    saved(&service, "default", &account(third, AUTH_TOKEN)).await;
    // As if another key had sealed them.
    let name = format!("{}:{{*:0}}:doc:settings:default", service.setting("TEXTLEDGER_KEY_PREFIX"));
    let mut connection = RedisServer::shared().connect().await;
    let there: bool = ::redis::cmd("EXISTS").arg(&name).query_async(&mut connection).await.unwrap();
    assert!(there);
    let _: () = ::redis::cmd("SET").arg(&name).arg("not sealed").query_async(&mut connection).await.unwrap();
    service.kill();
    service.start_again();

    assert!(service.log().contains("put the former key back into TEXTLEDGER_MASTER_KEY"));
    let (status, problem) = service.get_in("default", SETTINGS).await;
    assert_eq!((status, &problem["code"]), (503, &json!("settings_unreadable")));
    assert!(problem["mend"].as_str().unwrap().contains("TEXTLEDGER_MASTER_KEY"));
    assert_eq!(service.post_in("default", SETTINGS, &json!({ "phone_number": OUR_NUMBER })).await.0, 503);
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "twilio_not_configured");
    // Neither is the environment's account used, which may be another.
    assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 403);
    assert_eq!(webhook(&service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
    // Nobody gets the account that may be in there, and its owner saves it anew.
    assert_eq!(service.post_in("globex", SETTINGS, &account(third, AUTH_TOKEN)).await.0, 409);
    saved(&service, "default", &account(third, AUTH_TOKEN)).await;
    assert_eq!(webhook(&service, third, AUTH_TOKEN, SID).await, 204);
}

/// Version 0.1.0 stored who claimed an account, in the order in which they came; a claim counted for as long as its
/// organization's settings named the account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_claims_of_version_0_1_0_are_understood() {
    let service = TestService::start_with(On::Redis, &NO_ACCOUNT).await;
    saved(&service, "acme", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    let name = format!(
        "{}:{{*:0}}:doc:account:{}",
        service.setting("TEXTLEDGER_KEY_PREFIX"),
        OTHER_ACCOUNT.to_uppercase()
    );
    let mut connection = RedisServer::shared().connect().await;
    let owner: String = ::redis::cmd("GET").arg(&name).query_async(&mut connection).await.unwrap();
    assert_eq!(owner, r#"{"owner":"acme"}"#);
    let claims =
        json!({ "claimants": ["globex", "acme", "default"], "draw": 18_446_744_073_709_551_615_u64 });
    let () =
        ::redis::cmd("SET").arg(&name).arg(claims.to_string()).query_async(&mut connection).await.unwrap();
    // The first claimant whose settings name it has it; whoever claimed before that has none.
    for organization in ["globex", "default", "initech"] {
        let (status, problem) =
            service.post_in(organization, SETTINGS, &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("account_in_use")), "{organization}");
    }
    saved(&service, "acme", &json!({ "auth_token_secondary": AUTH_TOKEN })).await;
    let owner: String = ::redis::cmd("GET").arg(&name).query_async(&mut connection).await.unwrap();
    assert_eq!(owner, r#"{"owner":"acme"}"#);
    // A claim of one that has moved on holds nothing.
    saved(
        &service,
        "acme",
        &account(ACCOUNT_SID, AUTH_TOKEN).merged(&json!({ "auth_token_secondary": null })),
    )
    .await;
    let () =
        ::redis::cmd("SET").arg(&name).arg(claims.to_string()).query_async(&mut connection).await.unwrap();
    saved(&service, "default", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    assert_eq!(webhook(&service, OTHER_ACCOUNT, OTHER_TOKEN, SID).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_at_the_start_is_read_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start_durable(folder.path());
    let (port, url) = (redis.port(), redis.url());
    let settings = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let mut service = TestService::start_with(On::Redis, &settings).await;
    saved(&service, "acme", &account(OTHER_ACCOUNT, OTHER_TOKEN)).await;
    service.kill();
    drop(redis);
    service.start_again();
    // The configured account takes webhooks, which are spooled.
    assert_eq!(webhook(&service, ACCOUNT_SID, AUTH_TOKEN, SID).await, 204);
    assert_eq!(service.get_in("acme", SETTINGS).await.1["code"], "store_unavailable");
    let _redis = RedisServer::start_in_place_of(port, folder.path());
    eventually("the saved settings are used", async || {
        (webhook(&service, OTHER_ACCOUNT, OTHER_TOKEN, "SM00000000000000000000000000000002").await == 204)
            .then_some(())
    })
    .await;
}
