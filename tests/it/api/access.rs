//! Who may call what, and how the service says no.

use reqwest::Method;
use serde_json::{Value, json};
use textledger::http::auth::Role;

use super::on_both_stores;
use crate::support::service::{On, TestService, answer, token};

on_both_stores! {
    the_matrix_of_roles_and_routes
    faulty_requests_name_every_fault
    health_is_told_without_a_token
}

const SEND: &str = "/api/sms/send";
const SEND_WHATSAPP: &str = "/api/sms/whatsapp/send";
const STATUS: &str = "/api/sms/message-status/SM00000000000000000000000000000001";
const EVENTS: &str = "/api/sms/events";

async fn the_matrix_of_roles_and_routes(on: On) {
    let service = TestService::start(on).await;
    for (method, path) in
        [(Method::POST, SEND), (Method::POST, SEND_WHATSAPP), (Method::GET, STATUS), (Method::GET, EVENTS)]
    {
        for header in [None, Some("Bearer nonsense"), Some("Basic YTpi"), Some("Bearer "), Some("Bearer")] {
            let request = service.anonymous(method.clone(), path);
            let request = match header {
                Some(header) => request.header("Authorization", header),
                None => request,
            };
            let response = request.json(&json!({})).send().await.unwrap();
            assert_eq!(response.status(), 401, "{method} {path} {header:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
        for role in Role::ALL {
            let request = service.anonymous(method.clone(), path).bearer_auth(token(role));
            let (status, problem) = answer(request.json(&json!({}))).await;
            let may = match role {
                Role::Admin | Role::Master | Role::Developer | Role::Sender => true,
                Role::Viewer => method == Method::GET,
                Role::User => false,
            };
            assert_eq!(status == 403, !may, "{role:?} {method} {path}: {problem}");
            assert_eq!(problem["code"] == "forbidden", !may);
        }
    }
}

async fn faulty_requests_name_every_fault(on: On) {
    let service = TestService::start(on).await;
    let post = |body: &Value| answer(service.post(Role::Sender, SEND, body));
    let (status, problem) = post(&json!({
        "to_number": 1, "messsage": "x", "validity_period": 0, "media_url": [1], "content_sid": "HX",
        "messaging_service_sid": "MG1", "from_number": "+12",
    }))
    .await;
    assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")));
    let mut fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    fields.dedup();
    assert_eq!(
        fields,
        [
            "content_sid",
            "from_number",
            "media_url",
            "message",
            "messaging_service_sid",
            "messsage",
            "to_number",
            "validity_period"
        ]
    );
    for number in ["4155550100", "+0", "hello", "+1415555010000000"] {
        let (status, problem) = post(&json!({ "to_number": number, "message": "x" })).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_phone_number")), "{number}");
        assert!(problem["mend"].as_str().unwrap().contains("E.164"));
    }
    let (status, problem) = post(&json!({ "to_number": "+14155550100", "message": "x".repeat(1_601) })).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("message")));
    let raw = |content_type: &'static str, body: Vec<u8>| {
        let request = service.anonymous(Method::POST, SEND).bearer_auth(token(Role::Sender));
        answer(request.header("Content-Type", content_type).body(body))
    };
    assert_eq!(raw("application/json", b"{".to_vec()).await.0, 400);
    assert_eq!(raw("application/json", b"[]".to_vec()).await.0, 400);
    assert_eq!(raw("application/json", b"{\"message\":\"\xff\"}".to_vec()).await.0, 400);
    assert_eq!(raw("text/plain", b"{}".to_vec()).await.0, 415);
    assert_eq!(raw("application/json", vec![b' '; 1024 * 1024 + 1]).await.0, 413);
    let get = |path: &'static str| answer(service.get(Role::Viewer, path));
    for path in [
        "/api/sms/events?limit=0",
        "/api/sms/events?limit=x",
        "/api/sms/events?cursor=x",
        "/api/sms/events?x=1",
    ] {
        assert_eq!(get(path).await.0, 422, "{path}");
    }
    assert_eq!(get("/api/sms/message-status/x").await.0, 404);
    assert_eq!(get("/api/sms/nothing").await.0, 404);
    let (status, problem) = answer(service.anonymous(Method::DELETE, EVENTS)).await;
    assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")));
}

async fn health_is_told_without_a_token(on: On) {
    let service = TestService::start(on).await;
    assert_eq!(answer(service.anonymous(Method::GET, "/healthz")).await.0, 200);
    let (status, ready) = answer(service.anonymous(Method::GET, "/readyz")).await;
    assert_eq!((status, &ready["store"]), (200, &json!("ok")));
}
