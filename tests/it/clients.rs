//! The tools that people use with an OpenAPI document, on ours: what lints it finds no error, and what makes clients of it
//! makes clients that work. `scripts/test` installs them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    sdk::{SCRIPT_TIME_MAX, installed, run_script},
    support::{
        service::{On, SENDER_KEY, api_keys},
        twilio::World,
    },
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// What the linter by spectral goes by.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/spectral.yaml");

/// A client is checked as strictly as the applications that use it.
const TYPE_CHECK: [&str; 8] =
    ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"];

/// A tool for Node.
fn node_tool(name: &str) -> PathBuf {
    installed("openapi/node_modules/.bin").join(name)
}

/// Runs a tool to its end, which is to be a good one.
async fn run(program: PathBuf, folder: &Path, arguments: &[&str]) {
    let tools = installed("openapi-venv/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        // openapi-python-client formats by a tool beside it.
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(SCRIPT_TIME_MAX, output).await.expect("the tool comes to its end").unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{}: {said}", program.display());
}

/// An empty folder.
fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_linters_find_no_error_in_the_document() {
    let folder = folder();
    run(node_tool("redocly"), folder.path(), &["lint", "--extends=recommended", DOCUMENT]).await;
    run(node_tool("spectral"), folder.path(), &["lint", "--ruleset", RULES, DOCUMENT]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_types_and_the_client_for_typescript_compile() {
    let folder = folder();
    let path = folder.path();
    run(node_tool("openapi-typescript"), path, &[DOCUMENT, "--output", "types.ts"]).await;
    run(node_tool("openapi-ts"), path, &["--input", DOCUMENT, "--output", "client", "--silent"]).await;
    let check =
        [&TYPE_CHECK[..], &["--lib", "es2022,dom,dom.iterable", "types.ts", "client/index.ts"]].concat();
    run(node_tool("tsc"), path, &check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_sends_reads_the_status_and_follows_a_batch_to_its_end() {
    let folder = folder();
    let generate = ["generate", "--path", DOCUMENT, "--output-path", "textledger_client", "--meta", "none"];
    run(installed("openapi-venv/bin/openapi-python-client"), folder.path(), &generate).await;
    let world = World::start_with(On::Embedded, &[("TEXTLEDGER_API_KEYS", &api_keys())]).await;
    let arguments = [&folder.path().display().to_string(), &world.service.url(""), SENDER_KEY];
    run_script(installed("openapi-venv/bin/python"), "client.py", &arguments).await;
}
