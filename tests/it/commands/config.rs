//! What `textledger config` prints, and what is said of a variable that is misspelt.

use std::process::{Command, Output};

use super::{text, textledger};
use crate::support::service::{On, TestService};

/// The value of a setting and where it came from, as `config --effective` prints it.
fn line<'a>(shown: &'a str, key: &str) -> &'a str {
    let line = shown.lines().find(|line| line.trim_start_matches("# ").starts_with(key));
    line.unwrap_or_else(|| panic!("{key} in {shown}"))
}

fn config_in(folder: &tempfile::TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_textledger"));
    command.arg("config").args(arguments).env_clear().envs(environment.iter().copied());
    command.current_dir(folder).output().unwrap()
}

#[test]
fn the_printed_settings_are_a_file_that_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let printed = config_in(&folder, &[], &[]);
    assert!(printed.status.success());
    std::fs::write(folder.path().join("all.toml"), &printed.stdout).unwrap();
    let with = config_in(&folder, &["--effective", "--config", "all.toml"], &[]);
    let without = config_in(&folder, &["--effective"], &[]);
    assert!(with.status.success(), "{}", text(&with.stderr));
    assert_eq!(text(&with.stdout), text(&without.stdout));
    // What one would change first.
    let changed = text(&printed.stdout)
        .replace("# textledger_listen = \"127.0.0.1:8080\"", "textledger_listen = \"127.0.0.1:1\"");
    std::fs::write(folder.path().join("all.toml"), changed).unwrap();
    let changed = config_in(&folder, &["--effective", "--config", "all.toml"], &[]);
    assert_eq!(
        line(text(&changed.stdout), "textledger_listen"),
        "textledger_listen = \"127.0.0.1:1\"  # file"
    );
}

#[test]
fn what_is_in_force_says_where_it_came_from_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("t.toml"),
        r#"
            textledger_key_prefix = "file"
            textledger_mps = 7
            [[accounts]]
            organization = "acme"
            account_sid = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
            auth_token = "hunter2hunter2"
        "#,
    )
    .unwrap();
    let environment = [
        ("TEXTLEDGER_CONFIG", "t.toml"),
        ("TEXTLEDGER_MPS", "9"),
        ("REDIS_URL", "redis://ada:hunter2@127.0.0.1:6379"),
        ("TEXTLEDGER_MASTER_KEY", "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ="),
        ("TWILIO_ACCOUNT_SID", "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("TWILIO_AUTH_TOKEN", "hunter2hunter2"),
        ("TEXTLEDGER_LISTNE", "x"),
    ];
    let output = config_in(&folder, &["--effective"], &environment);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (key, expected) in [
        ("textledger_listen =", "textledger_listen = \"127.0.0.1:8080\"  # default"),
        ("textledger_public_url", "textledger_public_url = \"http://127.0.0.1:8080\"  # default"),
        ("textledger_key_prefix", "textledger_key_prefix = \"file\"  # file"),
        ("textledger_mps", "textledger_mps = \"9\"  # environment"),
        ("textledger_store =", "textledger_store = \"redis://ada:********@127.0.0.1:6379\"  # REDIS_URL"),
        ("twilio_auth_token =", "twilio_auth_token = \"********\"  # environment"),
        (
            "textledger_jwt_secret",
            "textledger_jwt_secret = \"********\"  # secret file ./data/jwt_secret, made at the first start",
        ),
        ("textledger_quiet_hours", "# textledger_quiet_hours: none (default)"),
        ("account of acme", "# account of acme: ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
    ] {
        assert_eq!(line(shown, key), expected);
    }
    assert!(shown.contains("TEXTLEDGER_LISTNE is not a setting"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
    assert!(toml::from_str::<toml::Table>(shown).is_ok(), "{shown}");
}

#[test]
fn nothing_is_made_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    assert!(config_in(&folder, &["--effective"], &[]).status.success());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert!(textledger(&["config"], &[("TEXTLEDGER_LISTEN", "nowhere")]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_variable_is_warned_of_at_the_start_and_by_check() {
    let misspelt =
        [("TEXTLEDGER_LISTNE", "127.0.0.1:1"), ("TWILIO_ACOUNT_SID", "AC1"), ("TWILIO_REGION", "ie1")];
    let service = TestService::start_with(On::Embedded, &misspelt).await;
    let checked = service.run(&["check"], &[]).await;
    let log = service.log();
    for said in [log.as_str(), text(&checked.stdout)] {
        for wanted in [
            "TEXTLEDGER_LISTNE is not a setting and has no effect; did you mean TEXTLEDGER_LISTEN?",
            "TWILIO_ACOUNT_SID is not a setting and has no effect; did you mean TWILIO_ACCOUNT_SID?",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!said.contains("TWILIO_REGION"), "{said}");
    }
}
