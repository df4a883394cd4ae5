//! Who did what, on the command line.

use serde_json::Value;
use textledger::domain::Role;

use super::text;
use crate::{
    api::on_both_stores,
    support::service::{On, TestService, answer},
};

on_both_stores! {
    the_command_prints_what_the_api_shows_through_the_store_and_through_the_service
}

async fn printed(service: &TestService, arguments: &[&str]) -> Vec<Value> {
    let output = service.run(&[&["audit"], arguments].concat(), &[]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn the_command_prints_what_the_api_shows_through_the_store_and_through_the_service(on: On) {
    let mut service = TestService::start(on).await;
    std::fs::write(
        service.folder().join("in.csv"),
        "phone_number,channel,state\n+14155550100,sms,opted_out\n",
    )
    .unwrap();
    let url = service.url("");
    let import = ["consent", "import", "in.csv", "--url", &url, "--actor", "ada"];
    assert!(service.run(&import, &[]).await.status.success());
    let link = serde_json::json!({ "phone_number": "+14155550100" });
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/consent/links", &link)).await.0, 201);
    let (_, page) = answer(service.get(Role::Admin, "/api/sms/audit")).await;
    let shown = page["entries"].as_array().unwrap().clone();
    let actions: Vec<_> = shown.iter().map(|entry| [&entry["action"], &entry["actor"]]).collect();
    let imported = [["consent.import_begin", "user:ada"], ["consent.import", "user:ada"]];
    assert_eq!(actions, [&imported[..], &[["consent.link", "user:tester"]]].concat());
    assert_eq!(printed(&service, &["--url", &url]).await, shown);
    assert_eq!(printed(&service, &["--url", &url, "--actor", "user:ada"]).await, shown[..2]);
    assert_eq!(printed(&service, &["--url", &url, "--org", "other"]).await, Vec::<Value>::new());

    // What is done beside the service is written down by the command.
    service.stop().await;
    assert_eq!(printed(&service, &[]).await, shown);
    let file = "phone_number,channel,state\n+14155550100,sms,opted_out\nnobody,sms,opted_out\n";
    std::fs::write(service.folder().join("in.csv"), file).unwrap();
    let imported = service.run(&["consent", "import", "in.csv", "--actor", "ben"], &[]).await;
    assert_eq!(imported.status.code(), Some(1), "a line was left out, which the entries claim nothing of");
    let all = printed(&service, &[]).await;
    assert_eq!(all[..3], shown);
    assert_eq!([&all[3]["action"], &all[3]["actor"]], ["consent.import_begin", "command:ben"]);
    assert_eq!(all[3]["detail"], serde_json::json!({ "lines": 1 }));
    assert_eq!([&all[4]["action"], &all[4]["actor"]], ["consent.import", "command:ben"]);
    let done = serde_json::json!({ "imported": 0, "unchanged": 1, "kept": 0 });
    assert_eq!(all[4]["detail"], done);
    let since = all[3]["at"].as_str().unwrap();
    assert_eq!(printed(&service, &["--since", since, "--actor", "command:ben"]).await, all[3..]);
    let wrong = service.run(&["audit", "--since", "yesterday"], &[]).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}
