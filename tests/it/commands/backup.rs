//! Backups of the embedded store, and what is made of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
    sync::{Mutex, PoisonError},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use textledger::{domain::Role, store::embedded::FILE_NAME};

use super::{text, textledger};
use crate::support::{
    damage::flip_bits,
    eventually, now,
    redis_server::RedisServer,
    service::{
        ACCOUNT_SID, AUTH_TOKEN, MASTER_KEY, OUR_NUMBER, On, PERSON, TestService, answer, callback, reply,
    },
    twilio::World,
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

/// Callers that post callbacks at the same time, and as many that send.
const CALLERS: usize = 8;

/// Callbacks and messages that are acknowledged before a backup begins, and again while it is looked at.
const ACKNOWLEDGED: usize = 200;

/// Runs a command with the settings of `service` and `further` ones: exit code, output, errors.
async fn run(
    service: &TestService,
    arguments: &[&str],
    further: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = service.run(arguments, further).await;
    (status.code(), text(&stdout).to_owned(), text(&stderr).to_owned())
}

/// Backs up the store of `service` into `file` of its folder, and returns the backup.
async fn back_up(service: &TestService, file: &str) -> Vec<u8> {
    let (code, said, errors) = run(service, &["backup", file], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    let path = service.folder().join(file);
    let bytes = fs::read(&path).unwrap();
    assert!(said.starts_with(&format!("{file}: ")), "{said}");
    assert!(said.contains(&format!(" rows, {} bytes", bytes.len())), "{said}");
    assert!(said.contains("the master key is not in it: keep TEXTLEDGER_MASTER_KEY"), "{said}");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    bytes
}

/// Restores `file` into the folder `data` beside that of `service`.
async fn restore(service: &TestService, file: &str, data: &Path) -> (Option<i32>, String, String) {
    run(service, &["restore", file], &[("TEXTLEDGER_STORE", &format!("embedded:{}", data.display()))]).await
}

fn sid(caller: usize, number: usize) -> String {
    format!("SM{caller:016x}{number:016x}")
}

async fn consent_and_settings(service: &TestService) -> [Value; 2] {
    let (status, consent) = answer(service.get(Role::Admin, &format!("/api/sms/consent/{PERSON}"))).await;
    assert_eq!(status, 200, "{consent}");
    let (status, settings) = answer(service.get(Role::Admin, "/api/sms/settings")).await;
    assert_eq!(status, 200, "{settings}");
    [consent, settings]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_while_callbacks_and_sends_flow_holds_all_that_was_acknowledged_before() {
    let mut world = World::start(On::Embedded).await;
    let service = &world.service;
    let account = json!({ "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "phone_number": OUR_NUMBER });
    assert_eq!(answer(service.post(Role::Admin, "/api/sms/settings", &account)).await.0, 200);
    assert_eq!(service.webhook(INBOUND, &reply(&sid(99, 0), PERSON, "STOP")).await.status(), 200);
    let in_an_hour = (now() + jiff::SignedDuration::from_hours(1)).to_string();
    let scheduled = json!({ "to_number": "+14155550102", "message": "later", "send_at": in_an_hour });
    let (status, scheduled) = answer(service.post(Role::Sender, "/api/sms/send", &scheduled)).await;
    assert_eq!(status, 202, "{scheduled}");
    let scheduled = scheduled["id"].as_str().unwrap();

    let acknowledged = Mutex::new(Vec::new());
    let known = || acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let acknowledge = |name: String| acknowledged.lock().unwrap().push(name);
    let callbacks = join_all((0..CALLERS).map(|caller| async move {
        for number in 0.. {
            let sid = sid(caller, number);
            assert_eq!(service.webhook(STATUS, &callback(&sid, "sent")).await.status(), 204);
            acknowledge(sid);
        }
    }));
    let sends = join_all((0..CALLERS).map(|caller| async move {
        for number in 0.. {
            let (status, sent) = service.send(&format!("+1650{}55{number:04}", caller + 2), "hello").await;
            assert!(matches!(status, 201 | 202), "{sent}");
            acknowledge(sent["id"].as_str().unwrap().to_owned());
        }
    }));
    let more_than = async |before: usize| {
        eventually("more is acknowledged", async || (known().len() > before + ACKNOWLEDGED).then_some(()))
            .await;
    };
    let backup = async {
        more_than(0).await;
        let before = known();
        back_up(service, "backup").await;
        more_than(known().len()).await;
        before
    };
    let before = tokio::select! {
        before = backup => before,
        _ = callbacks => unreachable!("callbacks flow on"),
        _ = sends => unreachable!("sends flow on"),
    };
    let known_before = consent_and_settings(service).await;

    assert_eq!(world.service.stop().await, Some(0));
    let data = world.service.folder().join("restored");
    let (code, said, errors) = restore(&world.service, "backup", &data).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.contains("rows are in") && said.contains("those of them that have left"), "{said}");
    world.service.set("TEXTLEDGER_STORE", &format!("embedded:{}", data.display()));
    world.service.start_again();

    let service = &world.service;
    for name in &before {
        let (status, message) = service.message_status(name).await;
        assert_eq!(status, 200, "{name}: {message}");
    }
    assert!(service.all_events().await.len() >= before.len());
    assert_eq!(consent_and_settings(service).await, known_before);
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    let (_, message) = service.message_status(scheduled).await;
    assert_eq!((&message["status"], &message["final"]), (&json!("scheduled"), &json!(false)), "{message}");
    assert_eq!(service.webhook(STATUS, &callback(&sid(0, 0), "delivered")).await.status(), 204);
    assert_eq!(service.ready().await, 200);
    // What is sealed opens: the account's token signs what Twilio posts.
    assert_eq!(service.send("+14155550103", "hello").await.0, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_of_the_same_store_are_the_same_whether_it_runs_or_not() {
    let mut service = TestService::start(On::Embedded).await;
    for number in 0..50 {
        assert_eq!(service.webhook(STATUS, &callback(&sid(0, number), "sent")).await.status(), 204);
    }
    let first = back_up(&service, "first").await;
    let second = back_up(&service, "second").await;
    assert!(first == second, "the second backup differs");
    let (code, said, errors) = run(&service, &["backup", "first"], &[]).await;
    assert_eq!((code, said.as_str()), (Some(2), ""), "{errors}");
    assert!(errors.contains("first is there already"), "{errors}");
    assert!(fs::read(service.folder().join("first")).unwrap() == first);

    // A killed process leaves its socket, which the next one takes the place of.
    service.kill();
    assert!(service.folder().join("data/textledger.sock").exists());
    assert!(back_up(&service, "of a stopped one").await == first);
    service.start_again();
    assert!(back_up(&service, "of the next process").await == first);
    assert_eq!(service.stop().await, Some(0));
    assert!(!service.folder().join("data/textledger.sock").exists());

    let data = service.folder().join("restored");
    let (code, _, errors) = restore(&service, "first", &data).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let store = format!("embedded:{}", data.display());
    let (code, _, errors) = run(&service, &["backup", "of it"], &[("TEXTLEDGER_STORE", &store)]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(fs::read(service.folder().join("of it")).unwrap() == first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_restored_is_refused_and_nothing_is_made() {
    let mut service = TestService::start(On::Embedded).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(0, 0), "sent")).await.status(), 204);
    let backup = back_up(&service, "backup").await;
    let stored = service.folder().join("data");
    for is_running in [true, false] {
        let (code, said, errors) = restore(&service, "backup", &stored).await;
        assert_eq!((code, said.as_str()), (Some(1), ""), "{is_running}: {errors}");
        assert!(
            errors.contains("textledger.redb is there") && errors.contains("stop the service"),
            "{errors}"
        );
        if is_running {
            assert_eq!(service.stop().await, Some(0));
        }
    }
    let data = service.folder().join("restored");
    let mut flipped = backup.clone();
    flipped[backup.len() / 2] ^= 0x10;
    let mut later = backup.clone();
    later[21] = 2;
    for (bytes, said) in [
        (&b"phone_number,channel,state\n"[..], "no backup of textledger"),
        (b"", "no backup of textledger"),
        (&backup[..backup.len() - 1], "broken off"),
        (&backup[..30], "broken off"),
        (&flipped, "broken off, or was changed"),
        (&later, "format 2"),
    ] {
        fs::write(service.folder().join("other"), bytes).unwrap();
        let (code, output, errors) = restore(&service, "other", &data).await;
        assert_eq!((code, output.as_str()), (Some(1), ""), "{said}: {errors}");
        assert!(errors.contains("cannot restore other: ") && errors.contains(said), "{said}: {errors}");
        assert!(!data.join(FILE_NAME).exists());
    }
    service.start_again();
    assert_eq!(service.message_status(&sid(0, 0)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_gives_no_backup_and_says_why() {
    let mut service = TestService::start(On::Embedded).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(0, 0), "sent")).await.status(), 204);
    assert_eq!(service.stop().await, Some(0));
    flip_bits(&service.folder().join("data"), &[&format!("default{}", sid(0, 0)), r#""status":"sent""#]);
    let (code, _, errors) = run(&service, &["backup", "backup"], &[]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("restore a former backup"), "{errors}");
    service.start_again();
    let (code, _, errors) = run(&service, &["backup", "backup"], &[]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("did not come to its end") && errors.contains("the service's log"), "{errors}");
    // The command ends when the socket is closed, and that may be before the line is written.
    let told = async || service.log().contains("a backup could not be made").then_some(());
    eventually("the service tells of it", told).await;
    assert_eq!(service.ready().await, 200);
    assert!(!service.folder().join("backup").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_too_long_a_path_for_a_socket_is_told_and_keeps_no_service_from_running() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a-folder-with-a-long-name".repeat(5));
    let store = format!("embedded:{}", data.display());
    let mut service = TestService::start_with(On::Embedded, &[("TEXTLEDGER_STORE", &store)]).await;
    assert_eq!(service.webhook(STATUS, &callback(&sid(0, 0), "sent")).await.status(), 204);
    let log = service.log();
    let told = log.lines().find(|line| line.contains("no backup can be made while the service runs"));
    assert!(told.is_some_and(|line| line.contains("shorter path")), "{log}");
    let (code, _, errors) = run(&service, &["backup", "backup"], &[]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("hands out no backup") && errors.contains("its log says why"), "{errors}");
    assert_eq!(service.stop().await, Some(0));
    back_up(&service, "backup").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_that_is_missing_is_told_before_the_service_makes_another() {
    let mut service = TestService::start(On::Embedded).await;
    assert_eq!(service.stop().await, Some(0));
    back_up(&service, "backup").await;
    let backup = service.folder().join("backup");
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().display());
    let settings = [("TEXTLEDGER_STORE", store.as_str())];
    let restored = textledger(&["restore", backup.to_str().unwrap()], &settings);
    assert!(restored.status.success());
    let key = folder.path().join("master_key");
    let told = text(&restored.stderr);
    assert!(told.contains(key.to_str().unwrap()) && told.contains("TEXTLEDGER_MASTER_KEY"), "{told}");

    fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
    fs::write(&key, MASTER_KEY).unwrap();
    let restored = textledger(&["restore", backup.to_str().unwrap()], &settings);
    assert!(restored.status.success() && restored.stderr.is_empty(), "{}", text(&restored.stderr));
    let made = textledger(&["backup", folder.path().join("again").to_str().unwrap()], &settings);
    assert!(text(&made.stdout).contains(&format!("keep {} too", key.display())), "{}", text(&made.stdout));
}

#[test]
fn redis_is_backed_up_as_redis_is_and_a_folder_without_a_store_is_not_made_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let file = folder.path().join("file").display().to_string();
    let (url, other) = (RedisServer::shared().url(), folder.path().join("other").display().to_string());
    let redis = [("TEXTLEDGER_STORE", url.as_str()), ("TEXTLEDGER_MASTER_KEY", MASTER_KEY)];
    for arguments in [["backup", other.as_str()], ["restore", file.as_str()]] {
        let refused = textledger(&arguments, &redis);
        let errors = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{errors}");
        assert!(errors.contains("as Redis is") && errors.contains("docs/operations.md"), "{errors}");
    }
    let nowhere = folder.path().join("nowhere");
    let store = format!("embedded:{}", nowhere.display());
    let refused = textledger(&["backup", &other], &[("TEXTLEDGER_STORE", &store)]);
    let errors = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("there is no store in") && errors.contains("TEXTLEDGER_STORE"), "{errors}");
    assert!(!nowhere.exists() && !Path::new(&other).exists());
}
