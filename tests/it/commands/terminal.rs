//! What strangers, callers and servers choose may hold what a terminal obeys: on a terminal it is shown.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use actix_web::HttpResponse;
use reqwest::Method;
use serde_json::{Value, json};
use textledger::{
    domain::{Organization, Role},
    http::auth::{self, Claims},
};

use super::text;
use crate::{
    api::on_both_stores,
    simulator::receiver::{Received, Receiver},
    support::{
        service::{ACCOUNT_SID, JWT_SECRET, On, PERSON, TOKEN_EXP_S, TestService, answer, reply},
        twilio::World,
    },
};

on_both_stores! {
    what_callers_and_persons_wrote_is_shown_and_not_obeyed
}

/// Sequences that clear the screen, set the title and color, also by C1, characters that go back and delete, and marks that
/// turn the direction of writing.
const OBEYED: &str =
    "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{9d}0;x\u{9c}\u{8}\r\u{7f}\u{202e}a\u{2066}b\u{200f}\u{61c}";

/// What of these a name may hold, which has one line and no control characters.
const TURNED: &str = "name\u{202e}a\u{2066}b\u{200f}\u{61c}";

/// Fails if a terminal obeys something that it is sent, or if nothing of [`TURNED`] was sent at all.
fn assert_shown(what: &[&str], sent: &str) {
    let turns =
        "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    // A terminal's lines end so.
    let sent = sent.replace("\r\n", "\n");
    let is_obeyed =
        |character: &char| (character.is_control() && *character != '\n') || turns.contains(*character);
    let obeyed: Vec<char> = sent.chars().filter(is_obeyed).collect();
    assert!(obeyed.is_empty(), "{what:?}: {obeyed:?} in {sent:?}");
    assert!(sent.contains("\\u{202e}") || sent.contains("\\u202e"), "{what:?} tells nothing: {sent}");
}

/// Has callers and a person write what a terminal obeys wherever they can.
async fn write_everywhere(service: &TestService) {
    let claims = Claims::new(TURNED, Role::Admin, Organization::default(), TOKEN_EXP_S);
    let token = auth::mint(&JWT_SECRET.into(), &claims);
    let write = async |method: Method, path: &str, body: Value| {
        let request = service.anonymous(method, path).bearer_auth(&token).json(&body);
        let (status, answered) = answer(request).await;
        assert!(status < 300, "{path}: {answered}");
    };
    let consent =
        json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in", "evidence": OBEYED });
    write(Method::POST, "/api/sms/consent", consent).await;
    write(Method::POST, "/api/sms/api-keys", json!({ "name": TURNED, "role": "viewer" })).await;
    // The second is held as one of a burst, and the decision on others is listed with who took it.
    for number in ["+14155550301", "+14155550302"] {
        write(Method::POST, "/api/sms/send", json!({ "to_number": number, "message": "x" })).await;
    }
    write(Method::POST, "/api/sms/suspicious-traffic/+4477009", json!({ "decision": "refuse" })).await;
    let user: String = form_urlencoded::byte_serialize(TURNED.as_bytes()).collect();
    let preferences = json!({ "phone_number": PERSON, "sms_enabled": true });
    write(Method::PUT, &format!("/api/sms/preferences/{user}"), preferences).await;
    for (number, words) in [(1, "STOP"), (2, "please stop maybe")] {
        let (sid, from) = (format!("SM{number:032}"), format!("+1415555020{number}"));
        let words = format!("{words} {OBEYED}");
        let mut form = reply(&sid, &from, &words);
        form.push(("ProfileName", OBEYED));
        assert_eq!(service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    }
}

async fn what_callers_and_persons_wrote_is_shown_and_not_obeyed(on: On) {
    let mut world = World::start_with(on, &[("TEXTLEDGER_PUMPING_GUARD", "1/24h")]).await;
    let service = &mut world.service;
    write_everywhere(service).await;
    let url = service.url("");
    for through in [&["--url", url.as_str()][..], &[]] {
        if through.is_empty() {
            service.stop().await;
        }
        for command in [&["audit"][..], &["key", "list"], &["consent", "export"], &["traffic", "list"]] {
            let command = [command, through].concat();
            assert_shown(&command, &service.run_on_terminal(&command, &[]).await);
        }
    }
    let file =
        format!("phone_number,channel,state,source,at,evidence\n+14155550199,sms,opted_in,,,{OBEYED}\n");
    fs::write(service.folder().join("in.csv"), file).unwrap();
    let import = ["consent", "import", "in.csv", "--actor", TURNED];
    assert_shown(&import, &service.run_on_terminal(&import, &[]).await);
    // Programs read in the audit what was written.
    let output = service.run(&["audit"], &[]).await;
    let entries = text(&output.stdout).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let actors: Vec<Value> = entries.map(|entry| entry["actor"].clone()).collect();
    assert!(actors.contains(&json!(format!("user:{TURNED}"))), "{actors:?}");
    assert!(actors.contains(&json!(format!("command:{TURNED}"))), "{actors:?}");
}

/// What another server than ours answers, which is in textledger's place, or in Twilio's.
fn answer_of_another(request: &Received) -> Value {
    let key = json!({
        "sid": OBEYED, "role": OBEYED, "created_at": OBEYED, "expires_at": OBEYED, "last_used_at": OBEYED,
        "revoked_at": OBEYED, "name": OBEYED,
    });
    let block = json!({
        "prefix": OBEYED, "held": 1, "since": OBEYED, "last_held_at": OBEYED,
        "actors": [{ "actor": OBEYED, "held": 1 }],
    });
    let decision = json!({ "prefix": "+4477009", "decision": "refuse", "until": OBEYED, "actor": OBEYED });
    json!({
        "entries": [{ "actor": OBEYED, OBEYED: OBEYED }], "api_keys": [key], "next_cursor": null,
        "blocks": [block], "is_complete": true, "decisions": [decision],
        "sid": if request.target.contains("/Accounts/") { ACCOUNT_SID } else { OBEYED },
        "friendly_name": OBEYED, "status": if request.target.contains("?") { OBEYED } else { "active" },
        "code": 20003, "message": OBEYED, "detail": OBEYED, "mend": OBEYED,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_server_answers_is_shown_and_not_obeyed() {
    let status = Arc::new(AtomicU16::new(200));
    let server = Receiver::answering({
        let status = status.clone();
        move |_, request| {
            let status = status.load(Ordering::Relaxed).try_into().unwrap();
            let body = match status == 200 && request.target.ends_with("/export") {
                true => format!("phone_number,channel,state,source,at,evidence\n{OBEYED}\n"),
                false => answer_of_another(&request).to_string(),
            };
            async move { HttpResponse::build(status).body(body) }
        }
    });
    let service = TestService::start(On::Embedded).await;
    let url = server.url("");
    let twilio = [("TWILIO_API_BASE_URL", url.as_str())];
    for answered in [200, 401, 422] {
        status.store(answered, Ordering::Relaxed);
        for command in [
            &["audit", "--url", &url][..],
            &["key", "list", "--url", &url],
            &["consent", "export", "--url", &url],
            &["traffic", "list", "--url", &url],
            &["check"],
        ] {
            assert_shown(command, &service.run_on_terminal(command, &twilio).await);
        }
    }
    let create = ["key", "create", "--role", "viewer", "--url", &url];
    assert_shown(&create, &service.run_on_terminal(&create, &twilio).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_holds_is_shown_and_not_obeyed() {
    let mut service = TestService::start(On::Embedded).await;
    service.stop().await;
    for (name, file) in [
        ("column.csv", format!("phone_number,channel,state,{TURNED}\n")),
        ("textledger.toml", format!("\"{TURNED}\" = \"x\"\n")),
    ] {
        fs::write(service.folder().join(name), file).unwrap();
    }
    for command in [&["consent", "import", "column.csv"][..], &["check", "--config", "textledger.toml"]] {
        assert_shown(command, &service.run_on_terminal(command, &[]).await);
    }
}
