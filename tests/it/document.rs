//! The API's document is what is committed, and the page that shows it asks nobody else.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use textledger::domain::Role;

use crate::{
    api::on_both_stores,
    support::{
        service::{On, PUBLIC_URL, TestService, answer, reply, token},
        twilio::World,
    },
};

/// Writes the document anew instead of comparing it, if set.
const WRITE: &str = "WRITE_OPENAPI";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_the_one_that_is_committed() {
    let service = TestService::start(On::Embedded).await;
    let served = service.anonymous(Method::GET, "/api/openapi.json").send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    let served = served.text().await.unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        served == committed,
        "openapi.json is not what is served: renew it by {WRITE}=1 cargo test document"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_of_the_application_is_in_the_document() {
    let service = TestService::start(On::Embedded).await;
    let served = service.anonymous(Method::GET, "/api/openapi.json").send().await.unwrap();
    let document: Value = served.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let routes = std::fs::read_to_string("src/http/mod.rs").unwrap();
    let routes = routes.split('"').filter(|text| text.starts_with("/api/sms/"));
    let missing: Vec<&str> = routes.filter(|route| document["paths"].get(*route).is_none()).collect();
    assert_eq!(missing, Vec::<&str>::new());
    // Every method of a path, too: asked with another one, it names those that it has.
    let none: Method = "PROPFIND".parse().unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let named = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let target = named.collect::<Vec<_>>().join("/");
        let refused =
            service.anonymous(none.clone(), &target).bearer_auth(token(Role::Admin)).send().await.unwrap();
        assert_eq!(refused.status(), 405, "{path}");
        let mut allowed: Vec<String> =
            refused.headers()["allow"].to_str().unwrap().split(", ").map(str::to_lowercase).collect();
        allowed.retain(|method| method != "head");
        allowed.sort_unstable();
        let mut documented: Vec<&String> = methods.as_object().unwrap().keys().collect();
        documented.sort_unstable();
        assert_eq!(documented, allowed.iter().collect::<Vec<_>>(), "{path}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert_eq!(operation["tags"][0], "SMS & WhatsApp", "{method} {path}");
            assert!(operation["tags"][1].is_string(), "{method} {path} is about no subject");
            assert!(operation["responses"].get("401").is_some(), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reference_leads_somewhere_and_every_operation_has_a_name_and_a_text() {
    let service = TestService::start(On::Embedded).await;
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
                    assert!(target.is_some(), "{reference} leads nowhere");
                    references += 1;
                }
                open.extend(object.values());
            }
            Value::Array(values) => open.extend(values),
            _ => {}
        }
    }
    assert!(references > 100, "{references}");
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} is the name of two operations");
            for text in ["summary", "description"] {
                assert!(!operation[text].as_str().unwrap_or_default().is_empty(), "{method} {path}: {text}");
            }
        }
    }
    let variants =
        document["components"]["schemas"]["Event"]["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(variants.keys().collect::<Vec<_>>(), ["consent", "delivery", "inbound", "unreadable"]);
}

on_both_stores! {
    every_example_works_as_it_stands
}

/// Requests as the document's reader pastes them, in the order in which each finds what it is about: those that make
/// something first, and what calls it off last.
async fn every_example_works_as_it_stands(on: On) {
    // A link for a person begins with the public URL.
    let world = World::start_with(on, &[("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]).await;
    let service = &world.service;
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        operations.extend(methods.as_object().unwrap().iter().map(|(method, told)| (method, path, told)));
    }
    let rank = |method: &str| ["put", "post", "get", "delete"].iter().position(|known| *known == method);
    operations.sort_by_key(|(method, ..)| rank(method));
    let (mut batch_id, mut message_sid, mut key_sid) = (String::new(), String::new(), String::new());
    let doubtful = reply("SMdddddddddddddddddddddddddddddddd", "+14155550199", "ok stop");
    assert_eq!(service.webhook("/webhooks/twilio/inbound", &doubtful).await.status(), 200);
    let (_, page) = answer(service.get(Role::Viewer, "/api/sms/consent/reviews")).await;
    let reply_sid = page["reviews"][0]["message_sid"].as_str().unwrap().to_owned();
    for (method, path, told) in operations {
        let sid = if told["operationId"] == "decideReview" { &reply_sid } else { &message_sid };
        let mut target = path.replace("{batch_id}", &batch_id).replace("{message_sid}", sid);
        target = target.replace("{sid}", &key_sid);
        for parameter in told["parameters"].as_array().into_iter().flatten() {
            let example = parameter["schema"]["examples"][0].as_str();
            if let (Some(name), Some(example)) = (parameter["name"].as_str(), example) {
                target = target.replace(&format!("{{{name}}}"), example);
            }
        }
        let request = service.anonymous(method.to_uppercase().parse().unwrap(), &target);
        let request = request.bearer_auth(token(Role::Admin));
        let content = &told["requestBody"]["content"];
        let request = if let Some(csv) = content["text/csv"]["example"].as_str() {
            request.header("Content-Type", "text/csv").body(csv.to_owned())
        } else if let Some(schema) = content["application/json"]["schema"]["$ref"].as_str() {
            let schema = document.pointer(schema.trim_start_matches('#')).unwrap();
            assert!(schema["example"].is_object(), "{method} {path}");
            request.json(&schema["example"])
        } else {
            assert!(content.is_null(), "{method} {path} has a body without an example");
            request
        };
        let (status, answered) = answer(request).await;
        if told["operationId"] == "confirmNumber" {
            // No code that is printed can be the one that was sent.
            assert_eq!((status, &answered["code"]), (422, &"number_not_confirmed".into()));
            continue;
        }
        assert!((200..300).contains(&status), "{method} {target}: {status} {answered}");
        if let Some(sid) = answered["sid"].as_str() {
            sid.clone_into(&mut key_sid);
        }
        if let Some(id) = answered["batch_id"].as_str() {
            id.clone_into(&mut batch_id);
        }
        if let Some(sid) = answered["message_sid"].as_str() {
            sid.clone_into(&mut message_sid);
        }
    }
    assert!(!batch_id.is_empty() && !message_sid.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_that_shows_the_document_loads_nothing_from_elsewhere() {
    let service = TestService::start(On::Embedded).await;
    let get = async |path: &str| {
        let answer = service.anonymous(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    };
    let page = get("/api/docs").await;
    let loaded: Vec<&str> =
        page.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")).collect();
    assert!(loaded.len() >= 4, "{page}");
    for file in loaded {
        assert!(!file.contains("//"), "{file}");
        get(&format!("/api/docs/{}", file.trim_start_matches("./"))).await;
    }
    assert!(get("/api/docs/swagger-initializer.js").await.contains("/api/openapi.json"));
}
