//! Who may call what, and how the service says no.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    service::{ACCOUNT_SID, On, SENDER_KEY, TestService, VIEWER_KEY, answer, api_keys, callback, token},
    twilio::World,
};

on_both_stores! {
    the_matrix_of_roles_and_routes
    the_matrix_of_roles_and_what_libraries_of_twilios_ask
    a_caller_that_calls_too_often_is_told_when_to_call_again
    every_request_has_an_id
    faulty_requests_name_every_fault
    health_is_told_without_a_token
}

const SEND: &str = "/api/sms/send";
const EVENTS: &str = "/api/sms/events";

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq)]
enum For {
    /// Everybody with a token: what it is about is the caller's own.
    Users,
    Viewers,
    Senders,
    Administrators,
}

impl For {
    fn includes(self, role: Role) -> bool {
        let is_administrator = matches!(role, Role::Admin | Role::Master | Role::Developer);
        match self {
            For::Users => true,
            For::Viewers => role != Role::User,
            For::Senders => is_administrator || role == Role::Sender,
            For::Administrators => is_administrator,
        }
    }
}

/// Every operation of the document.
const ROUTES: [(&str, &str, For); 43] = [
    ("delete", "/api/sms/api-keys/{sid}", For::Administrators),
    ("delete", "/api/sms/batches/{batch_id}", For::Senders),
    ("delete", "/api/sms/persons/{phone}", For::Administrators),
    ("delete", "/api/sms/suppressions/{phone}", For::Senders),
    ("get", "/api/sms/api-keys", For::Administrators),
    ("get", "/api/sms/audit", For::Administrators),
    ("get", "/api/sms/batches/{batch_id}", For::Viewers),
    ("get", "/api/sms/batches/{batch_id}/messages", For::Viewers),
    ("get", "/api/sms/consent/export", For::Administrators),
    ("get", "/api/sms/consent/reviews", For::Viewers),
    ("get", "/api/sms/consent/{phone}", For::Viewers),
    ("get", "/api/sms/consent/{phone}/history", For::Viewers),
    ("get", "/api/sms/events", For::Viewers),
    ("get", "/api/sms/forward", For::Administrators),
    ("get", "/api/sms/lookup/{phone}", For::Viewers),
    ("get", "/api/sms/message-status/{message_sid}", For::Viewers),
    ("get", "/api/sms/messages", For::Viewers),
    ("get", "/api/sms/preferences", For::Users),
    ("get", "/api/sms/preferences/{user_id}", For::Administrators),
    ("get", "/api/sms/retention", For::Administrators),
    ("get", "/api/sms/settings", For::Administrators),
    ("get", "/api/sms/stats", For::Viewers),
    ("get", "/api/sms/suppressions", For::Viewers),
    ("get", "/api/sms/suspicious-traffic", For::Administrators),
    ("get", "/api/sms/webhook-refusals", For::Administrators),
    ("post", "/api/sms/api-keys", For::Administrators),
    ("post", "/api/sms/api-keys/{sid}/rotate", For::Administrators),
    ("post", "/api/sms/consent", For::Senders),
    ("post", "/api/sms/consent/import", For::Administrators),
    ("post", "/api/sms/consent/links", For::Senders),
    ("post", "/api/sms/consent/reviews/{message_sid}", For::Senders),
    ("post", "/api/sms/forward/replay", For::Administrators),
    ("post", "/api/sms/notify", For::Senders),
    ("post", "/api/sms/preferences/confirm", For::Users),
    ("post", "/api/sms/send", For::Senders),
    ("post", "/api/sms/send-bulk", For::Senders),
    ("post", "/api/sms/settings", For::Administrators),
    ("post", "/api/sms/suspicious-traffic/{prefix}", For::Administrators),
    ("post", "/api/sms/test-connection", For::Administrators),
    ("post", "/api/sms/whatsapp/send", For::Senders),
    ("post", "/api/sms/whatsapp/send-bulk", For::Senders),
    ("put", "/api/sms/preferences", For::Users),
    ("put", "/api/sms/preferences/{user_id}", For::Administrators),
];

async fn the_matrix_of_roles_and_routes(on: On) {
    let service = TestService::start(on).await;
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut documented = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().keys();
        documented.extend(methods.map(|method| (method.as_str(), path.as_str())));
    }
    documented.sort_unstable();
    assert_eq!(documented, ROUTES.map(|(method, path, _)| (method, path)));

    for (method, path, whose) in ROUTES {
        let method: Method = method.to_uppercase().parse().unwrap();
        let path = path.replace("{phone}", "+14155550100").replace(['{', '}'], "");
        for header in [None, Some("Bearer nonsense"), Some("Basic YTpi"), Some("Bearer "), Some("Bearer")] {
            let request = service.anonymous(method.clone(), &path);
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
            let request = service.anonymous(method.clone(), &path).bearer_auth(token(role));
            let (status, problem) = answer(request.json(&json!({}))).await;
            let may = whose.includes(role);
            assert_eq!(status == 403, !may, "{role:?} {method} {path}: {problem}");
            assert_eq!(problem["code"] == "forbidden", !may);
            assert!(status < 500, "{role:?} {method} {path}: {problem}");
        }
    }
}

async fn the_matrix_of_roles_and_what_libraries_of_twilios_ask(on: On) {
    let world = World::start(on).await;
    let messages = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages");
    let (all, one) =
        (format!("{messages}.json"), format!("{messages}/SM70000000000000000000000000000001.json"));
    for (method, path, whose) in [
        (Method::GET, &all, For::Viewers),
        (Method::POST, &all, For::Senders),
        (Method::GET, &one, For::Viewers),
        (Method::POST, &one, For::Senders),
        (Method::DELETE, &one, For::Senders),
    ] {
        for role in Role::ALL {
            let request = world.service.anonymous(method.clone(), path);
            let request = request.basic_auth(ACCOUNT_SID, Some(token(role)));
            let (status, answered) = answer(request.form(&[("Body", "")])).await;
            let may = whose.includes(role);
            assert_eq!(status == 403, !may, "{role:?} {method} {path}: {answered}");
            assert_eq!(answered["code"] == 20003, !may, "{role:?} {method} {path}: {answered}");
            assert!(status < 500, "{role:?} {method} {path}: {answered}");
        }
    }
}

async fn a_caller_that_calls_too_often_is_told_when_to_call_again(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_RATE", "1"), ("TEXTLEDGER_API_KEYS", keys.as_str())];
    let service = TestService::start_with(on, &settings).await;
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json");
    let by_library = |key| service.anonymous(Method::POST, &path).basic_auth(ACCOUNT_SID, Some(key));
    let callers: [&dyn Fn() -> RequestBuilder; 3] = [
        &|| service.get(Role::Viewer, EVENTS),
        // Keys are not guessed quickly either.
        &|| service.anonymous(Method::GET, EVENTS).bearer_auth("a guess"),
        &|| by_library(SENDER_KEY),
    ];
    for call in callers {
        let mut refused = Vec::new();
        for _ in 0..20 {
            let response = call().send().await.unwrap();
            if response.status() == 429 {
                let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=2).contains(&wait), "{wait}");
                refused.push(response.json::<Value>().await.unwrap()["code"].clone());
            }
        }
        assert!((1..=15).contains(&refused.len()), "{refused:?}");
        let expected = refused.iter().all(|code| *code == "rate_limited" || *code == 20429);
        assert!(expected, "{refused:?}");
    }
    // Whoever else calls is not concerned, nor is what Twilio posts.
    let other = service.anonymous(Method::GET, EVENTS).bearer_auth(VIEWER_KEY);
    assert_eq!(answer(other).await.0, 200);
    for _ in 0..20 {
        let form = callback("SM00000000000000000000000000000001", "sent");
        assert_eq!(service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    }
}

async fn every_request_has_an_id(on: On) {
    let service = TestService::start(on).await;
    let id = async |request: RequestBuilder| {
        let response = request.send().await.unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    let own = service.get(Role::Viewer, EVENTS).header("X-Request-Id", "the-callers-own-7");
    assert_eq!(id(own).await, "the-callers-own-7");
    let mut given = vec![
        id(service.get(Role::Viewer, EVENTS)).await,
        id(service.anonymous(Method::GET, EVENTS)).await,
        id(service.get(Role::Viewer, "/api/sms/message-status/x")).await,
        // What would forge a line of the log, or fill it, is not taken over.
        id(service.get(Role::Viewer, EVENTS).header("X-Request-Id", "two words")).await,
        id(service.get(Role::Viewer, EVENTS).header("X-Request-Id", "x".repeat(129))).await,
    ];
    assert!(
        given.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{given:?}"
    );
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 5);
    // It is in the log, beside what happened.
    let change = service.post(
        Role::Sender,
        "/api/sms/consent",
        &json!({
            "phone_number": "+14155550100", "channel": "sms", "state": "opted_out",
        }),
    );
    assert_eq!(id(change.header("X-Request-Id", "change-of-consent")).await, "change-of-consent");
    let log = service.log();
    let audit = log.lines().find(|line| line.contains("change-of-consent") && line.contains("audit"));
    let audit: Value = serde_json::from_str(audit.unwrap_or_else(|| panic!("{log}"))).unwrap();
    assert!(!audit.to_string().contains("+14155550100"), "{audit}");
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
    let twice = br#"{"to_number":"+14155550100","message":"x","to_number":"+14155550101"}"#;
    let (status, problem) = raw("application/json", twice.to_vec()).await;
    let faults = json!([{ "field": "to_number", "detail": "is given twice" }]);
    assert_eq!((status, &problem["errors"]), (422, &faults));
    assert_eq!(raw("application/json", b"{\"message\":\"\xff\"}".to_vec()).await.0, 400);
    assert_eq!(raw("text/plain", b"{}".to_vec()).await.0, 415);
    assert_eq!(raw("application/json", vec![b' '; 1024 * 1024 + 1]).await.0, 413);
    let get = |path: &'static str| answer(service.get(Role::Viewer, path));
    for (path, field) in [
        ("/api/sms/events?limit=0", "limit"),
        ("/api/sms/events?limit=x", "limit"),
        ("/api/sms/events?cursor=x", "cursor"),
        ("/api/sms/events?type=x", "type"),
        ("/api/sms/events?x=1", "x"),
        ("/api/sms/events?limit=1&limit=2", "limit"),
        ("/api/sms/messages?channel=fax", "channel"),
        ("/api/sms/message-status/x?refresh=perhaps", "refresh"),
    ] {
        let (status, problem) = get(path).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{path}");
    }
    let (status, problem) = get("/api/sms/messages?channel=fax&limit=0&since=now&until=1&x=1").await;
    let named = |problem: &Value| {
        let errors = problem["errors"].as_array().unwrap().iter();
        errors.map(|error| error["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((status, named(&problem).join(" ").as_str()), (422, "channel since until limit x"));
    let many: serde_json::Map<String, Value> =
        (0..60).map(|number| (format!("field{number}"), json!(1))).collect();
    let (status, problem) = post(&many.into()).await;
    assert_eq!((status, named(&problem).len()), (422, 50));
    assert!(problem["detail"].as_str().unwrap().ends_with(" and further ones"), "{problem}");
    assert_eq!(get("/api/sms/message-status/x").await.0, 404);
    assert_eq!(get("/api/sms/nothing").await.0, 404);
    assert_eq!(answer(service.anonymous(Method::GET, "/api/sms/nothing")).await.0, 401);
    assert_eq!(answer(service.anonymous(Method::GET, "/nothing")).await.0, 404);
    let (status, problem) = answer(service.anonymous(Method::DELETE, EVENTS)).await;
    assert_eq!((status, &problem["code"]), (405, &json!("method_not_allowed")));
    let wrong = service.anonymous(Method::PATCH, "/api/sms/preferences").send().await.unwrap();
    assert_eq!(
        (wrong.status().as_u16(), &wrong.headers()["allow"]),
        (405, &"GET, HEAD, PUT".parse().unwrap())
    );
}

async fn health_is_told_without_a_token(on: On) {
    let service = TestService::start(on).await;
    assert_eq!(answer(service.anonymous(Method::GET, "/healthz")).await.0, 200);
    let (status, ready) = answer(service.anonymous(Method::GET, "/readyz")).await;
    let well = json!({
        "webhooks": "ok", "sends": "ok", "store": "ok", "not_known": null, "service": "ok",
        "spool": { "state": "ok", "entries": 0, "bytes": 0, "oldest_s": null, "aside": 0 },
    });
    assert_eq!((status, ready), (200, well));
    assert_eq!(answer(service.anonymous(Method::GET, "/readyz?for=sends")).await.0, 200);
    for (query, field) in [("for=tea", "for"), ("for=sends&for=sends", "for"), ("force=1", "force")] {
        let (status, problem) = answer(service.anonymous(Method::GET, &format!("/readyz?{query}"))).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{query}");
    }
    let head = service.anonymous(Method::HEAD, "/healthz").send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
    // An endless stream has no end for HEAD to wait for.
    let live = service.anonymous(Method::HEAD, EVENTS).bearer_auth(token(Role::Viewer));
    let live = live.header("Accept", "text/event-stream").send().await.unwrap();
    assert_eq!((live.status().as_u16(), live.bytes().await.unwrap().len()), (200, 0));
}
