//! What the document says, held against what the service does: Schemathesis makes requests of it, good ones and bad ones,
//! and looks at every answer. `scripts/test` installs it.

use std::process::Stdio;

use serde_json::{Value, json};
use textledger::domain::Role;

use crate::{
    sdk::installed,
    support::{
        service::{OUR_NUMBER, On, TestService, answer, token},
        twilio::World,
    },
};

/// Requests of each kind that are made of a route.
const EXAMPLES_MAX: &str = "40";

/// Where the account is changed.
const SETTINGS: &str = "/api/sms/settings";

/// The live stream has no end.
const ACCEPT: &str = "Accept: application/json";

/// What fits the schema can still be refused: for what fields are together, by Twilio, for a person's opt-out.
const NOT_CHECKED: &str = "positive_data_acceptance";

/// The document, with values for a send that the simulated Twilio accepts. Otherwise nearly all would be refused for their
/// numbers, and a fault in another field that the service let pass would go unseen.
async fn document(service: &TestService) -> Value {
    let (_, mut document) = answer(service.anonymous(reqwest::Method::GET, "/api/openapi.json")).await;
    let number = json!(r"^\+1415555[0-9]{4}$");
    let schemas = &mut document["components"]["schemas"];
    for (schema, field) in [("SendRequest", "to_number"), ("ConsentRequest", "phone_number")] {
        schemas[schema]["properties"][field]["pattern"] = number.clone();
    }
    schemas["BulkRequest"]["properties"]["phone_numbers"]["items"]["pattern"] = number;
    schemas["SendRequest"]["properties"]["from_number"]["examples"] = json!([OUR_NUMBER]);
    document
}

/// Runs Schemathesis over what `which` says, and returns what it says.
async fn run(service: &TestService, which: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, document(service).await.to_string()).unwrap();
    let output = tokio::process::Command::new(installed("venv/bin/schemathesis"))
        .current_dir(folder.path())
        .arg("run")
        .arg(&path)
        .args(["--url", &service.url("")])
        .args(["--header", &format!("Authorization: Bearer {}", token(Role::Admin)), "--header", ACCEPT])
        .args(["--exclude-checks", NOT_CHECKED])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES_MAX])
        .args(["--seed", "1", "--generation-deterministic"])
        .args(["--continue-on-failure", "--no-color"])
        .args(which)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_one_that_the_document_describes() {
    let world = World::start(On::Embedded).await;
    // What is saved replaces the account, so that nothing would reach Twilio any more.
    let said =
        run(&world.service, &["--exclude-path", SETTINGS]).await.unwrap_or_else(|said| panic!("{said}"));
    assert!(!world.twilio.messages().is_empty(), "no send was good enough to reach Twilio: {said}");
    run(&world.service, &["--include-path", SETTINGS]).await.unwrap_or_else(|said| panic!("{said}"));
}
