//! Twilio's own libraries against the simulator, changed in nothing but the host. `scripts/test` installs them.

use std::{path::PathBuf, process::Stdio};

use textledger::{
    simulator::{self, Config},
    twilio::AccountSid,
};

use crate::support::service::{ACCOUNT_SID, AUTH_TOKEN};

/// Where `scripts/test` puts the libraries.
fn installed(path: &str) -> PathBuf {
    let installed = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/sdk")).join(path);
    assert!(installed.exists(), "{} is missing: run scripts/test, which installs it", installed.display());
    installed
}

/// Runs a script with the simulator's URL and its account behind `arguments`, and wants it to say that all went well.
async fn run(program: PathBuf, script: &str, arguments: &[PathBuf]) {
    let account = AccountSid::parse(ACCOUNT_SID).unwrap();
    let config = Config { seed: Some(1), ..Config::new(account, AUTH_TOKEN.into()) };
    let twilio = simulator::start(config).await.unwrap();
    let output = tokio::process::Command::new(program)
        .arg(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk")).join(script))
        .args(arguments)
        .args([&twilio.base_url(), ACCOUNT_SID, AUTH_TOKEN])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim_end().ends_with("ok"), "{said}{complained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_python_can_not_tell_the_simulator_from_twilio() {
    run(installed("venv/bin/python"), "simulator.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_for_node_can_not_tell_the_simulator_from_twilio() {
    let folder = installed("node/node_modules/twilio").join("../..");
    run(PathBuf::from("node"), "simulator.mjs", &[folder]).await;
}
