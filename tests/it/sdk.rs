//! Twilio's own libraries against the simulator, and against the service, changed in nothing but the host (and, for the
//! service, the credentials). `scripts/test` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use textledger::{
    simulator::{self, Config},
    twilio::AccountSid,
};

use tokio::process::Command;

use crate::support::{
    service::{ACCOUNT_SID, AUTH_TOKEN, On, SENDER_KEY, VIEWER_KEY, api_keys},
    twilio::World,
};

/// How long a script may take: much longer than any does.
pub const SCRIPT_TIME_MAX: Duration = Duration::from_secs(300);

/// Where `scripts/test` puts the libraries.
pub fn installed(path: &str) -> PathBuf {
    let installed = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/sdk")).join(path);
    assert!(installed.exists(), "{} is missing: run scripts/test, which installs it", installed.display());
    installed
}

/// Runs a script, and wants it to say that all went well.
pub async fn run_script(program: PathBuf, script: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .arg(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk")).join(script))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(SCRIPT_TIME_MAX, output).await.expect("the script comes to its end").unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim_end().ends_with("ok"), "{said}{complained}");
}

/// The folder that node's `require` finds the library from.
pub fn node_folder() -> String {
    installed("node/node_modules/twilio").join("../..").display().to_string()
}

/// Runs a script with a simulator's URL and its account behind `arguments`.
async fn run(program: PathBuf, script: &str, arguments: &[&str]) {
    let account = AccountSid::parse(ACCOUNT_SID).unwrap();
    let config = Config { seed: Some(1), ..Config::new(account, AUTH_TOKEN.into()) };
    let twilio = simulator::start(config).await.unwrap();
    let base_url = twilio.base_url();
    let arguments = [arguments, &[&base_url, ACCOUNT_SID, AUTH_TOKEN]].concat();
    run_script(program, script, &arguments).await;
}

/// Runs a script against a service with a simulator behind it: the URLs of both, the account, a sender's API key, a
/// viewer's, and a sender's of the store behind `arguments`.
async fn run_through_service(program: PathBuf, script: &str, arguments: &[&str]) {
    let world = World::start_with(On::Embedded, &[("TEXTLEDGER_API_KEYS", &api_keys())]).await;
    let (service, twilio) = (world.service.url(""), world.twilio.base_url());
    let request = json!({ "name": "library", "role": "sender" });
    let (_, key) = world.service.post_in("default", "/api/sms/api-keys", &request).await;
    let (sid, secret) = (key["sid"].as_str().unwrap(), key["secret"].as_str().unwrap());
    let further = [&service, &twilio, ACCOUNT_SID, AUTH_TOKEN, SENDER_KEY, VIEWER_KEY, sid, secret];
    run_script(program, script, &[arguments, &further].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_python_can_not_tell_the_simulator_from_twilio() {
    run(installed("venv/bin/python"), "simulator.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_node_can_not_tell_the_simulator_from_twilio() {
    run(PathBuf::from("node"), "simulator.mjs", &[&node_folder()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_python_can_not_tell_the_service_from_twilio() {
    run_through_service(installed("venv/bin/python"), "dropin.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_node_can_not_tell_the_service_from_twilio() {
    run_through_service(PathBuf::from("node"), "dropin.mjs", &[&node_folder()]).await;
}

/// The snippet in `language` of the documentation of the drop-in, with the service's URL in place of the one it names.
fn snippet(language: &str, service: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/twilio-setup.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, block) = document.split_once(&format!("```{language}\n")).expect("the document has the snippet");
    let (block, _) = block.split_once("```").expect("the snippet ends");
    block.replace("http://127.0.0.1:8080", service)
}

/// Runs `code`, and wants it to print the SID of a message that the simulator has.
async fn sends(program: PathBuf, code: String, world: &World) {
    let option = if program == Path::new("node") { "-e" } else { "-c" };
    let command = Command::new(program).arg(option).arg(code).current_dir(node_folder()).output();
    let output = tokio::time::timeout(SCRIPT_TIME_MAX, command).await.expect("it comes to its end").unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let sids: Vec<String> = world.twilio.messages().iter().map(|message| message.sid.to_string()).collect();
    assert!(sids.contains(&said.trim().to_owned()), "{sids:?}: {said}{complained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_lines_for_the_libraries_send_a_message() {
    let world = World::start_with(On::Embedded, &[("TEXTLEDGER_API_KEYS", &api_keys())]).await;
    let service = world.service.url("");
    let python = format!(
        "account_sid, api_key = {ACCOUNT_SID:?}, {SENDER_KEY:?}\n{}\nprint(message.sid)",
        snippet("python", &service)
    );
    sends(installed("venv/bin/python"), python, &world).await;
    let node = format!(
        "const [accountSid, apiKey] = [{ACCOUNT_SID:?}, {SENDER_KEY:?}];\n(async () => {{\n{}\n\
         console.log(message.sid);\n}})();",
        snippet("js", &service)
    );
    sends(PathBuf::from("node"), node, &world).await;
}
