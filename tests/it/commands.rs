//! The command line, as a person or a script uses it.

mod audit;
mod backup;
mod check;
mod config;
mod consent;
mod key;
mod retention;
mod terminal;
mod traffic;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    service::{AUTH_TOKEN, MASTER_KEY, On, PUBLIC_URL, TestService},
    twilio::World,
};

/// The usual port may be taken.
const ANY_PORT: (&str, &str) = ("TEXTLEDGER_LISTEN", "127.0.0.1:0");

fn textledger(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_textledger"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).current_dir(folder.path());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_command_explains_itself() {
    for arguments in [
        vec!["--help"],
        vec!["serve", "--help"],
        vec!["demo", "--help"],
        vec!["simulator", "--help"],
        vec!["check", "--help"],
        vec!["config", "--help"],
        vec!["token", "--help"],
        vec!["key", "--help"],
        vec!["key", "create", "--help"],
        vec!["api-key", "revoke", "--help"],
        vec!["backup", "--help"],
        vec!["restore", "--help"],
        vec!["consent", "--help"],
        vec!["audit", "--help"],
        vec!["consent", "import", "--help"],
        vec!["consent", "export", "--help"],
        vec!["consent", "link", "--help"],
    ] {
        let output = textledger(&arguments, &[]);
        assert!(output.status.success(), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage: textledger"), "{arguments:?}");
    }
}

#[test]
fn bad_usage_and_configuration_exit_with_2_and_say_what_to_do() {
    for (arguments, environment, said) in [
        (vec!["serv"], vec![], "serve"),
        (vec!["token"], vec![], "--role"),
        (vec!["token", "--role", "king"], vec![], "admin, master"),
        (vec!["token", "--role", "admin", "--ttl", "soon"], vec![], "1h"),
        (vec!["serve"], vec![("TEXTLEDGER_LISTEN", "nowhere")], "127.0.0.1:8080"),
        (vec!["serve"], vec![("TEXTLEDGER_LOG", "=nonsense=")], "TEXTLEDGER_LOG"),
        (vec!["serve", "--config", "missing.toml"], vec![], "missing.toml"),
        (vec!["serve"], vec![ANY_PORT, ("TEXTLEDGER_JWKS_FILE", "missing.json")], "missing.json"),
        (vec!["serve"], vec![ANY_PORT, ("TEXTLEDGER_JWKS_FILE", "/dev/null")], "JSON Web Key Set"),
        (vec!["serve"], vec![ANY_PORT, ("TEXTLEDGER_JWKS_URL", "http://id.example.com/keys")], "https://"),
        (vec!["serve"], vec![("TEXTLEDGER_JWT_MAX_AGE", "long")], "12h"),
        (vec!["serve"], vec![("TEXTLEDGER_JWT_SECRET", "short")], "at least 32 bytes"),
        (vec!["serve"], vec![("TEXTLEDGER_JWT_SECRET_FILE", "missing")], "TEXTLEDGER_JWT_SECRET_FILE"),
        (vec!["serve"], vec![("TWILIO_AUTH_TOKEN_FILE", "/dev/null")], "empty"),
        (vec!["key"], vec![], "create"),
        (vec!["key", "create", "--role", "king"], vec![], "admin, master"),
        (vec!["key", "create", "--role", "viewer", "--expires", "soon"], vec![], "1h"),
        (vec!["key", "create", "--role", "viewer", "--name", " "], vec![], "1 to 100 characters"),
        (vec!["key", "revoke", "SK1"], vec![], "32 hexadecimal digits"),
        (vec!["key", "rotate", "SKaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "--overlap", "8d"], vec![], "7d"),
        (vec!["demo", "--config", "x.toml"], vec![], "demo"),
        (vec!["simulator", "--webhook-url", "nowhere", "--listen", "127.0.0.1:0"], vec![], "webhook"),
        (vec!["simulator", "--listen", "nowhere"], vec![], "--listen"),
        (vec!["config", "--effective"], vec![("TEXTLEDGER_LISTEN", "nowhere")], "127.0.0.1:8080"),
        (vec!["config", "--config", "x.toml"], vec![], "--effective"),
        (vec!["backup"], vec![], "FILE"),
        (vec!["backup", "missing/backup"], vec![], "missing/backup"),
        (vec!["restore", "missing"], vec![], "cannot read missing"),
        (vec!["consent"], vec![], "import"),
        (vec!["consent", "import"], vec![], "FILE"),
        (vec!["consent", "import", "missing.csv"], vec![], "missing.csv"),
        (vec!["consent", "import", "/dev/null"], vec![], "phone_number"),
        (vec!["consent", "import", "/dev/null", "--url", "nowhere"], vec![], "http://127.0.0.1:8080"),
        (vec!["consent", "import", "/dev/null", "--org", "a b"], vec![], "organization"),
        (vec!["consent", "export", "--output", "missing/consent.csv"], vec![], "missing/consent.csv"),
        (vec!["consent", "link", "+14155552671"], vec![], "TEXTLEDGER_PUBLIC_URL"),
        (vec!["consent", "link", "nobody"], vec![], "+14155552671"),
        (vec!["consent", "link", "+14155552671", "--language", "nl"], vec![], "en, es, fr, pt, de"),
    ] {
        let output = textledger(&arguments, &environment);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_fails_at_the_start_exits_with_1_and_the_mend() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = textledger(&["serve"], &[("TEXTLEDGER_LISTEN", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("TEXTLEDGER_LISTEN"));
    let nobody = crate::support::redis_server::free_port();
    let store = format!("redis://:hunter2@127.0.0.1:{nobody}");
    let output =
        textledger(&["serve"], &[("TEXTLEDGER_LISTEN", "127.0.0.1:0"), ("TEXTLEDGER_STORE", &store)]);
    let errors = text(&output.stderr);
    // Every instance has to have the same one.
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("TEXTLEDGER_MASTER_KEY") && errors.contains("openssl rand"), "{errors}");
    let environment = [
        ("TEXTLEDGER_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_STORE", &store),
        ("TEXTLEDGER_MASTER_KEY", MASTER_KEY),
    ];
    let output = textledger(&["serve"], &environment);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("TEXTLEDGER_STORE") && !errors.contains("hunter2"), "{errors}");
}

#[test]
fn a_token_is_minted_with_the_services_secret() {
    let secret = ("TEXTLEDGER_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    let output = textledger(&["token", "--role", "viewer", "--user", "u1"], &[secret]);
    let token = text(&output.stdout).trim();
    assert!(output.status.success() && token.split('.').count() == 3, "{token}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn a_token_of_a_secret_that_was_just_made_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let minted = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_textledger"));
        let output = command.args(["token", "--role", "viewer"]).env_clear().current_dir(&folder).output();
        output.unwrap()
    };
    let first = minted();
    let (token, said) = (text(&first.stdout).trim(), text(&first.stderr));
    assert!(first.status.success() && token.split('.').count() == 3, "{token}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let made = folder.path().canonicalize().unwrap().join("data/jwt_secret");
    for wanted in ["a new one was made", made.to_str().unwrap(), "will not accept", "TEXTLEDGER_JWT_SECRET"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // From then on it is the secret of whatever runs in this folder.
    assert!(minted().stderr.is_empty());
}

#[test]
fn the_demo_shows_the_main_job_and_ends_when_asked() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_textledger"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let shown: Vec<String> = lines.by_ref().take_while(|line| line != "Ctrl-C ends it.").collect();
    let asked = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(asked.success());
    lines.by_ref().for_each(drop);
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = shown.join("\n");
    for wanted in [
        "delivered",
        "undelivered",
        "error 30003",
        "read",
        "opted_out",
        "opted_in",
        "recipient_opted_out",
        "403",
        "/#token=",
        "6 sent",
    ] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert_eq!(shown.matches("curl -s").count(), 3);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn the_demo_ends_by_itself_where_a_script_wants_it() {
    let output = textledger(&["demo", "--listen", "127.0.0.1:0", "--exit-after", "1"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// The three lines that the demo prints work as they are pasted into a shell.
#[test]
fn the_demos_curl_lines_work_as_pasted() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_textledger"))
        .args(["demo", "--listen", "127.0.0.1:0", "--exit-after", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let curls: Vec<String> = lines.by_ref().filter(|line| line.starts_with("curl ")).take(3).collect();
    let paste = |line: &str| -> Value {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {}", text(&output.stdout)))
    };
    assert_eq!(paste(&curls[0])["to"], "+14155550123");
    assert_eq!(paste(&curls[1])["status"], 200);
    assert_eq!(paste(&curls[0])["code"], "recipient_opted_out");
    assert_eq!(paste(&curls[2])["events"][0]["to"], "+14155550123");
    // Once nobody reads, the demo ends by itself and without a fuss, as under `head`.
    drop(lines);
    paste(&curls[1]);
    assert_eq!(demo.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_has_a_line_for_each_part_and_its_mend() {
    let world = World::start(On::Redis).await;
    let service = &world.service;
    let url = service.url("");
    let own_url = ("TEXTLEDGER_PUBLIC_URL", url.as_str());
    let checked = async |arguments: &[&str], further: &[(&str, &str)]| {
        let output = service.run(&[&["check"], arguments].concat(), further).await;
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (code, lines) = checked(&["--public"], &[own_url]).await;
    assert_eq!(code, Some(0), "{lines}");
    for line in ["configuration:", "store: takes writes", "spool:", "Simulated account", "as it was signed"] {
        assert!(
            lines.lines().any(|found| found.starts_with("ok ") && found.contains(line)),
            "{line}: {lines}"
        );
    }
    assert!(lines.contains("warning  public URL:"), "{lines}");
    let events = service.events().await;
    assert!(events.is_empty(), "{events:?}");

    for (further, mend) in [
        (("TWILIO_AUTH_TOKEN", "wrong"), "check SID and token"),
        (("TEXTLEDGER_STORE", "redis://127.0.0.1:9"), "that Redis runs"),
        (("TEXTLEDGER_SPOOL_DIR", "/dev/null/spool"), "set TEXTLEDGER_SPOOL_DIR"),
        (("TWILIO_ACCOUNT_SID", ""), "set TWILIO_ACCOUNT_SID"),
    ] {
        let without_token =
            ("TWILIO_AUTH_TOKEN", if further.0 == "TWILIO_ACCOUNT_SID" { "" } else { AUTH_TOKEN });
        let (code, lines) = checked(&[], &[own_url, without_token, further]).await;
        assert_eq!(code, Some(1), "{further:?}: {lines}");
        assert!(
            lines.lines().any(|line| line.starts_with("FAILED ") && line.contains(mend)),
            "{further:?}: {lines}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_the_numbers_and_services_to_which_people_write_without_our_hearing_of_it() {
    let world = World::start(On::Redis).await;
    let (service, own) = (&world.service, "+15005550006");
    let (url, here) = (service.url(""), service.url("/webhooks/twilio/inbound"));
    let checked = async |senders: Option<Value>, further: &[(&str, &str)]| {
        if let Some(senders) = senders {
            world.twilio.set_senders(serde_json::from_value(senders).unwrap());
        }
        let environment = [&[("TEXTLEDGER_PUBLIC_URL", url.as_str())], further].concat();
        let output = service.run(&["check"], &environment).await;
        let lines = text(&output.stdout).lines().filter(|line| line.contains(" webhooks of default: "));
        (output.status.code(), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    // One line for each of `expected`, and no other.
    let assert_lines = |lines: &[String], expected: &[(&str, &str, &str)]| {
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (verdict, who, what) in expected {
            let is_it =
                |line: &String| line.starts_with(verdict) && line.contains(who) && line.contains(what);
            assert!(lines.iter().any(is_it), "{who}: {lines:?}");
        }
        assert!(!lines.concat().contains("secret"), "{lines:?}");
    };
    let (code, lines) = checked(None, &[]).await;
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");
    assert!(lines[0].starts_with("ok ") && lines[0].ends_with("1 number, 1 WhatsApp sender"), "{lines:?}");

    // Enough of them for a second page, which all but the last post here.
    let numbers = (0..=100).map(|number| (format!("+1500556{number:04}"), Some(here.clone())));
    let elsewhere = Some("https://someone:secret@other.example/secret?key=secret".to_owned());
    let status_url = service.url("/webhooks/twilio/status");
    let application = format!("AP{}", "a".repeat(32));
    let numbers = numbers.chain([
        ("+15005560100".to_owned(), elsewhere.clone()),
        ("+15005560101".to_owned(), Some(status_url.clone())),
        ("12345".to_owned(), Some(here.clone())),
        ("24680".to_owned(), elsewhere),
        ("24681".to_owned(), None),
        (own.to_owned(), None),
    ]);
    let in_service = |digits: &str, leaves_it: bool, url: Option<&str>, senders: &[&str]| {
        json!({
            "sid": format!("MG{}", digits.repeat(16)), "friendly_name": "shop", "inbound_request_url": url,
            "use_inbound_webhook_on_number": leaves_it, "senders": senders,
        })
    };
    let by_whatsapp = format!("whatsapp:{own}");
    let senders = json!({
        "numbers": numbers.collect::<std::collections::BTreeMap<_, _>>(),
        "whatsapp_senders": { &by_whatsapp: here },
        "services": [
            in_service("01", false, None, &["+15005560010"]),
            in_service("02", true, None, &["+15005560020"]),
            in_service("03", false, Some(&here), &["+15005560030", "24681"]),
            in_service("04", false, None, &[]),
        ],
    });
    let (code, lines) = checked(Some(senders), &[]).await;
    assert_eq!(code, Some(1));
    let expected = [
        ("FAILED", "to +15005550006 is posted nowhere", "a STOP is not heard of here"),
        ("warning", "to +15005560100 is posted to https://other.example/…,", here.as_str()),
        ("warning", "to +15005560101 is posted to the URL of status callbacks", status_url.as_str()),
        ("warning", "to 24680 is posted to https://other.example/…,", here.as_str()),
        ("warning", "to the messaging service \"shop\" (MG0101", "is posted nowhere"),
    ];
    assert_lines(&lines, &expected);

    // What decides for our own senders may be an application, or be out of sight.
    let senders = json!({ "numbers": { own: application } });
    let (code, lines) = checked(Some(senders), &[]).await;
    assert_eq!(code, Some(0));
    let expected = [
        ("warning", "to +15005550006 goes where the TwiML application", application.as_str()),
        ("warning", by_whatsapp.as_str(), "is none of the account's senders that take messages"),
    ];
    assert_lines(&lines, &expected);

    // A service decides for our own number; it is ours if we send by it, even without senders.
    let beside_ours = |services: &[Value]| {
        let whatsapp_senders = json!({ &by_whatsapp: here });
        json!({ "numbers": { own: here }, "whatsapp_senders": whatsapp_senders, "services": services })
    };
    let services = [in_service("01", false, None, &[own]), in_service("02", false, None, &[])];
    let (code, lines) = checked(Some(beside_ours(&services)), &[]).await;
    assert_eq!(code, Some(1));
    assert_lines(&lines, &[("FAILED", "to the messaging service \"shop\" (MG0101", "is posted nowhere")]);
    let configured = format!("MG{}", "02".repeat(16));
    let further = [("TWILIO_MESSAGING_SERVICE_SID", configured.as_str())];
    let (code, lines) = checked(Some(beside_ours(&services[1..])), &further).await;
    assert_eq!(code, Some(1));
    assert_lines(&lines, &[("FAILED", "to the messaging service \"shop\" (MG0202", "is posted nowhere")]);

    // The lists of a service of this name are not found, so that it may decide for our number, or may not.
    let mut senders = beside_ours(&[json!({ "sid": "MG/none" })]);
    senders["numbers"][own] = Value::Null;
    let (code, lines) = checked(Some(senders), &[]).await;
    assert_eq!(code, Some(0));
    let expected = [
        ("warning", "to +15005550006 is posted nowhere", here.as_str()),
        ("warning", "phone numbers of the messaging service MG/none cannot be listed", here.as_str()),
        ("warning", "short codes of the messaging service MG/none cannot be listed", here.as_str()),
        ("warning", "senders of the messaging service MG/none cannot be listed", here.as_str()),
    ];
    assert_lines(&lines, &expected);

    let output = service.run(&["check"], &[("TEXTLEDGER_PUBLIC_URL", "")]).await;
    assert!(text(&output.stdout).contains("webhooks of default: not looked at"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_through_the_public_url_says_what_happens_on_the_way() {
    // What tokens have to say besides, those of the command say too.
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_JWT_AUDIENCE", "textledger")];
    let service = TestService::start_with(On::Embedded, &settings).await;
    // The service takes itself to be elsewhere: as behind a proxy of another name.
    let url = service.url("");
    let checked = async |further: &[(&str, &str)]| {
        let output = service.run(&["check", "--public"], further).await;
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (code, lines) = checked(&[("TEXTLEDGER_PUBLIC_URL", &url)]).await;
    assert_eq!(code, Some(1));
    assert!(lines.contains(&format!("set TEXTLEDGER_PUBLIC_URL to {url},")), "{lines}");
    let elsewhere = format!("{url}/elsewhere");
    let (_, lines) = checked(&[("TEXTLEDGER_PUBLIC_URL", &elsewhere)]).await;
    assert!(lines.contains("is not passed on to textledger"), "{lines}");
    let (_, lines) = checked(&[("TEXTLEDGER_PUBLIC_URL", "http://127.0.0.1:9")]).await;
    assert!(lines.contains("cannot be reached"), "{lines}");
    assert!(!lines.contains(AUTH_TOKEN));
}
