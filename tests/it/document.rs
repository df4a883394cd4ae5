//! The API's document is what is committed, and the page that shows it asks nobody else.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::support::service::{On, TestService};

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
    let routes = routes.split('"').filter(|text| text.starts_with("/api/sms"));
    let missing: Vec<&str> = routes.filter(|route| document["paths"].get(*route).is_none()).collect();
    assert_eq!(missing, Vec::<&str>::new());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert_eq!(operation["tags"], serde_json::json!(["SMS & WhatsApp"]), "{method} {path}");
            assert!(operation["responses"].get("401").is_some(), "{method} {path}");
        }
    }
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
