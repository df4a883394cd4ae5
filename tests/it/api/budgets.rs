//! What a request may cost, and what strangers can learn from what they are told.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Map, Value, json};
use textledger::{
    domain::Role,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::on_both_stores;
use crate::support::{
    DEADLINE, eventually,
    service::{
        ACCOUNT_SID, AUTH_TOKEN, On, PUBLIC_URL, SENDER_KEY, TestService, answer, api_keys, callback, token,
        token_in,
    },
};

on_both_stores! {
    a_body_is_bounded_by_what_its_route_is_for
    imports_that_send_nothing_keep_only_further_imports_out
    a_url_that_is_too_long_is_refused_at_every_door
    a_url_that_is_too_long_to_be_read_ends_its_connection_and_is_counted
    what_names_no_account_is_looked_into_within_a_budget
    strangers_do_not_push_out_what_is_explained
    noise_that_names_one_account_keeps_nothing_of_another_from_being_explained
    whose_key_signed_for_another_organization_is_told_to_the_operator_alone
    a_stranger_learns_by_no_time_which_accounts_there_are
    every_answer_has_security_headers
    pages_of_other_sites_are_refused_unless_their_origin_is_named
    the_drop_in_takes_declared_forms_alone
    no_webhook_of_the_services_own_is_a_status_callback
}

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";
const EVENTS: &str = "/webhooks/twilio/events";
const MESSAGES: &str = "/2010-04-01/Accounts/ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/Messages.json";
const SID: &str = "SM00000000000000000000000000000001";
const STRANGER: &str = "AC0123456789abcdef0123456789abcdef";

/// The base64 of a signature that nobody made.
const NOBODYS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

const KIB: usize = 1024;

/// An object of some `bytes` in which nothing is right.
fn unknown_fields(bytes: usize) -> Value {
    let fields: Map<String, Value> =
        (0..bytes / 16).map(|number| (format!("field{number:06}"), json!(1))).collect();
    fields.into()
}

async fn a_body_is_bounded_by_what_its_route_is_for(on: On) {
    let service = TestService::start(on).await;
    let put = |role: Role, body: &Value| {
        let request = service.anonymous(Method::PUT, "/api/sms/preferences");
        request.bearer_auth(token(role)).json(body)
    };
    let (status, problem) = answer(put(Role::User, &unknown_fields(900 * KIB))).await;
    assert_eq!((status, &problem["code"]), (413, &json!("payload_too_large")));
    assert!(problem["detail"].as_str().unwrap().contains("16384"), "{problem}");
    let (status, problem) = answer(put(Role::User, &unknown_fields(15 * KIB))).await;
    assert_eq!((status, problem["errors"].as_array().unwrap().len()), (422, 50));
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation["requestBody"]["content"]["application/json"].is_null() {
                continue;
            }
            let (small, large) = bounds(path);
            let named = path
                .replace("{message_sid}", "SM00000000000000000000000000000001")
                .replace("{sid}", "SK00000000000000000000000000000001")
                .replace("{user_id}", "ada")
                .replace("{prefix}", "+4477009");
            let ask = |kib: usize| {
                let request = service.anonymous(method.to_uppercase().parse().unwrap(), &named);
                answer(request.bearer_auth(token(Role::Admin)).json(&unknown_fields(kib * KIB)))
            };
            let begun = Instant::now();
            let (status, problem) = ask(small).await;
            assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{path}: {problem}");
            assert_eq!(problem["errors"].as_array().unwrap().len(), 50, "{path}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{path} took {:?}", begun.elapsed());
            let (status, problem) = ask(large).await;
            assert_eq!((status, &problem["code"]), (413, &json!("payload_too_large")), "{path}");
        }
    }
}

/// How much in KiB a body of `path` may have, and how much it may not.
fn bounds(path: &str) -> (usize, usize) {
    match path {
        "/api/sms/send" | "/api/sms/whatsapp/send" | "/api/sms/settings" => (60, 80),
        "/api/sms/send-bulk" | "/api/sms/whatsapp/send-bulk" | "/api/sms/notify" => (900, 1_300),
        _ => (15, 17),
    }
}

/// Two of them took all of the line in which batches wait, too.
async fn imports_that_send_nothing_keep_only_further_imports_out(on: On) {
    let service = TestService::start(on).await;
    let head = format!(
        "POST /api/sms/consent/import HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        token(Role::Admin),
        16 * KIB * KIB
    );
    let mut silent = Vec::new();
    for _ in 0..9 {
        let mut import = TcpStream::connect(service.address()).await.unwrap();
        import.write_all(head.as_bytes()).await.unwrap();
        silent.push(import);
    }
    let answers = silent.iter_mut().map(|import| {
        Box::pin(async move {
            let mut head = [0; 12];
            import.read_exact(&mut head).await.map(|_| head)
        })
    });
    let (answered, ..) = select_all(answers).await;
    assert_eq!(&answered.unwrap(), b"HTTP/1.1 429");
    let import = async |organization: &str| {
        let import = service.anonymous(Method::POST, "/api/sms/consent/import");
        let import =
            import.bearer_auth(token_in(organization, Role::Admin)).header("Content-Type", "text/csv");
        let response = import.body("phone_number,channel,state\n").send().await.unwrap();
        let wait = response.headers().get("Retry-After").map(|wait| wait.to_str().unwrap().to_owned());
        (response.status().as_u16(), wait, response.json::<Value>().await.unwrap())
    };
    let (status, wait, problem) = import("default").await;
    assert_eq!((status, wait.as_deref()), (429, Some("2")));
    assert_eq!(problem["code"], json!("rate_limited"));
    assert_eq!(import("other").await.0, 200);
    for path in ["/api/sms/send-bulk", "/api/sms/whatsapp/send-bulk", "/api/sms/notify"] {
        let (status, problem) = answer(service.post(Role::Sender, path, &json!({}))).await;
        assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{path}");
    }
    drop(silent);
    eventually("they have ended", async || (import("default").await.0 == 200).then_some(())).await;
}

async fn a_url_that_is_too_long_is_refused_at_every_door(on: On) {
    let service = TestService::start(on).await;
    let ask = |method: Method, path: &str, bytes: usize| {
        let target = format!("{path}?{}", "a".repeat(bytes - path.len() - 1));
        service.anonymous(method, &target).basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
    };
    let (at_most, beyond) = (8 * KIB, 8 * KIB + 1);
    for path in ["/", "/healthz", "/metrics", "/nowhere", "/api/sms/messages", "/api/docs/", "/consent/x"] {
        assert_ne!(ask(Method::GET, path, at_most).send().await.unwrap().status(), 414, "{path}");
        let (status, problem) = answer(ask(Method::GET, path, beyond)).await;
        assert_eq!((status, &problem["code"]), (414, &json!("uri_too_long")), "{path}");
    }
    let (status, error) = answer(ask(Method::POST, MESSAGES, beyond)).await;
    assert_eq!((status, &error["code"], &error["status"]), (414, &json!(20414), &json!(414)));
    for path in
        [STATUS, "/webhooks/twilio/inbound", EVENTS, "/webhooks/x", "/textledger/webhooks/twilio/status"]
    {
        let response = ask(Method::POST, path, beyond).send().await.unwrap();
        assert_eq!(response.status(), 414, "{path}");
        assert!(response.bytes().await.unwrap().is_empty(), "{path}");
    }
}

/// Beyond what the HTTP library reads: of a URL 64 KiB, of a head 128 KiB.
async fn a_url_that_is_too_long_to_be_read_ends_its_connection_and_is_counted(on: On) {
    let settings = [("TEXTLEDGER_WEBHOOK_LISTEN", "127.0.0.1:0"), ("TEXTLEDGER_LOG", "info")];
    let service = TestService::start_with(on, &settings).await;
    for (address, listener) in [(service.address(), "api"), (service.webhook_address(), "webhooks")] {
        for (bytes, status, cause) in
            [(70 * KIB, "400", "url"), (127 * KIB, "400", "url"), (200 * KIB, "431", "head")]
        {
            let counter =
                format!(r#"textledger_unreadable_requests_total{{listener="{listener}",cause="{cause}"}}"#);
            let before = service.metric(&counter).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("POST {STATUS}?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes));
            // Nothing is read beyond the bound.
            stream.write_all(request.as_bytes()).await.ok();
            let mut answered = Vec::new();
            let read = stream.read_to_end(&mut answered);
            tokio::time::timeout(DEADLINE, read).await.expect("the service closes").ok();
            let answered = String::from_utf8_lossy(&answered);
            let is_refused = answered.starts_with(&format!("HTTP/1.1 {status} "));
            assert!(is_refused || answered.is_empty(), "{bytes}: {answered}");
            assert!(is_refused || cause == "head", "what was read whole is answered");
            assert_eq!(service.metric(&counter).await, before + 1, "{listener} {bytes}");
        }
        assert_eq!(service.webhook(STATUS, &callback(SID, "sent")).await.status(), 204);
    }
    let log = service.log();
    assert!(log.contains("a request could not be read") && !log.contains("stream error"), "{log}");
}

/// Posts events with a hash of their own and `query` behind it, signed with `token`.
fn events(service: &TestService, token: &str, events: &Value, query: &str) -> RequestBuilder {
    let body = events.to_string().into_bytes();
    let target = format!("{EVENTS}?bodySHA256={}{query}", signature::body_sha256_hex(&body));
    let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
    let signature = signature::sign(&key, &format!("{}{target}", service.public_url), &Form::default());
    let request = service.anonymous(Method::POST, &target).header(SIGNATURE_HEADER, signature);
    request.header("content-type", "application/json").body(body)
}

async fn what_names_no_account_is_looked_into_within_a_budget(on: On) {
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_UNSIGNED_RATE", "1")];
    let service = TestService::start_with(on, &settings).await;
    let nameless = json!({ "type": "com.twilio.eventstreams.test-event", "id": "EZ1", "data": {} });
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    let mut refused = Vec::new();
    for _ in 0..20 {
        refused.push(status(events(&service, "nobody's", &nameless, "")).await);
    }
    assert_eq!((refused[0], refused[19]), (403, 429), "{refused:?}");
    // What Twilio signs is taken, whoever has used up the budget of the proxy that they share.
    let long = "x".repeat(2 * KIB);
    let named = |number: usize| {
        json!({
            "type": "com.twilio.voice.call.completed", "id": format!("EZ{number}"),
            "data": { "accountSid": ACCOUNT_SID, "padding": long },
        })
    };
    let batch: Value = (0..60).map(named).collect();
    assert!(batch.to_string().len() > 100 * KIB);
    for _ in 0..5 {
        assert_eq!(status(events(&service, "nobody's", &nameless, "")).await, 429);
        assert_eq!(status(events(&service, AUTH_TOKEN, &nameless, "")).await, 204);
        assert_eq!(status(events(&service, AUTH_TOKEN, &named(1), "&note=it's")).await, 204);
        assert_eq!(status(events(&service, AUTH_TOKEN, &batch, "")).await, 204);
        assert_eq!(service.webhook(STATUS, &callback(SID, "sent")).await.status(), 204);
    }
    // A long batch that nobody has signed is not read to its end.
    assert_eq!(status(events(&service, "nobody's", &batch, "")).await, 413);
    assert!(service.log().contains("name no account"), "{}", service.log());
}

async fn strangers_do_not_push_out_what_is_explained(on: On) {
    let service = TestService::start(on).await;
    let form: Form = callback(SID, "sent").into_iter().collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let http = PUBLIC_URL.replace("https", "http");
    let signature = signature::sign(&key, &format!("{http}{STATUS}"), &form);
    service.raw_webhook(STATUS, Some(&signature), form.encode().into_bytes()).await;
    let explained = async || {
        let refusals = service.refusals().await;
        refusals.into_iter().find(|refusal| refusal["cause"] == "scheme")
    };
    eventually("the refusal is explained", explained).await;
    for number in 0..150 {
        let of_stranger = format!("AccountSid=AC{number:032x}").into_bytes();
        for (signature, body) in [
            (None, form.encode().into_bytes()),
            (Some(NOBODYS), form.encode().into_bytes()),
            (Some(NOBODYS), of_stranger),
            (Some(NOBODYS), Vec::new()),
        ] {
            assert_eq!(service.raw_webhook(STATUS, signature, body).await.status(), 403);
        }
    }
    assert!(explained().await.is_some(), "noise has pushed it out");
    assert!(service.refusals().await.len() <= 4 * 25 + 1);
    let refused = service.log().matches("webhook refused").count();
    assert!((4..=100).contains(&refused), "{refused} lines");
}

async fn noise_that_names_one_account_keeps_nothing_of_another_from_being_explained(on: On) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let token = "the other's own token";
    let accounts = format!(
        "[[accounts]]\norganization = \"acme\"\naccount_sid = \"{STRANGER}\"\nauth_token = \"{token}\"\n"
    );
    std::fs::write(&file, accounts).unwrap();
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_CONFIG", file.to_str().unwrap())];
    let service = TestService::start_with(on, &settings).await;
    let noise: Form = callback(SID, "sent").into_iter().collect();
    for _ in 0..300 {
        let posted = service.raw_webhook(STATUS, Some(NOBODYS), noise.encode().into_bytes()).await;
        assert_eq!(posted.status(), 403);
    }
    let form: Form =
        [("AccountSid", STRANGER), ("MessageSid", SID), ("MessageStatus", "sent")].into_iter().collect();
    let http = PUBLIC_URL.replace("https", "http");
    let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
    let signature = signature::sign(&key, &format!("{http}{STATUS}"), &form);
    let posted = service.raw_webhook(STATUS, Some(&signature), form.encode().into_bytes()).await;
    assert_eq!(posted.status(), 403);
    eventually("it is explained", async || {
        let (_, told) = service.get_in("acme", "/api/sms/webhook-refusals").await;
        (told["refusals"][0]["cause"] == "scheme").then_some(())
    })
    .await;
}

async fn whose_key_signed_for_another_organization_is_told_to_the_operator_alone(on: On) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let accounts = format!(
        "[[accounts]]\norganization = \"acme\"\naccount_sid = \"{STRANGER}\"\nauth_token = \"the other's own token\"\n"
    );
    std::fs::write(&file, accounts).unwrap();
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_CONFIG", file.to_str().unwrap())];
    let service = TestService::start_with(on, &settings).await;
    let posted = service.webhook_signed_with("the other's own token", STATUS, &callback(SID, "sent")).await;
    assert_eq!(posted.status(), 403);
    let refusal = eventually("the refusal is explained", async || {
        let refusals = service.refusals().await;
        refusals.into_iter().find(|refusal| refusal["cause"] == "key_of_another_account")
    });
    let shown = refusal.await.to_string();
    assert!(!shown.contains(STRANGER) && !shown.contains("acme"), "{shown}");
    assert!(service.log().contains(STRANGER));
}

/// What a stranger posts about the account `sid`, in as much as it takes for its work to be seen.
fn noise_about(service: &TestService, route: &str, sid: &str) -> RequestBuilder {
    let padding = "a".repeat(60_000);
    let (content_type, body) = match route {
        EVENTS => {
            let data = json!({ "accountSid": sid, "padding": padding });
            let event = json!({ "type": "com.twilio.messaging.message.sent", "id": "EZ1", "data": data });
            ("application/json", json!([event]).to_string())
        }
        _ => ("application/x-www-form-urlencoded", format!("AccountSid={sid}&Body={padding}")),
    };
    // A URL that is spelled in many ways.
    let request = service.anonymous(Method::POST, &format!("{route}?a=it's%40noon%3A+b"));
    request.header(SIGNATURE_HEADER, NOBODYS).header("content-type", content_type).body(body)
}

/// The least time in which one of `number` such requests is refused.
async fn least_time(service: &TestService, route: &str, sid: &str, number: usize) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..number {
        let request = noise_about(service, route, sid);
        let begun = Instant::now();
        let response = request.send().await.unwrap();
        least = least.min(begun.elapsed());
        assert_eq!(response.status(), 403, "{route}");
    }
    least
}

async fn a_stranger_learns_by_no_time_which_accounts_there_are(on: On) {
    let settings = [
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TWILIO_AUTH_TOKEN_SECONDARY", "0123456789abcdef0123456789abcdef"),
        ("TEXTLEDGER_UNSIGNED_RATE", "100000"),
    ];
    let service = TestService::start_with(on, &settings).await;
    for route in [STATUS, INBOUND, EVENTS] {
        let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
        for _ in 0..10 {
            known = known.min(least_time(&service, route, ACCOUNT_SID, 10).await);
            unknown = unknown.min(least_time(&service, route, STRANGER, 10).await);
        }
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        assert!((0.75..1.33).contains(&ratio), "{route}: known {known:?}, unknown {unknown:?}");
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn every_answer_has_security_headers(on: On) {
    let service = TestService::start(on).await;
    let has_headers = |response: &Response, what: &str| {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(header(response, name), value, "{what}: {name}");
        }
        let features = header(response, "permissions-policy");
        for feature in ["camera", "geolocation", "microphone", "payment"] {
            assert!(features.contains(&format!("{feature}=()")), "{what}: {features}");
        }
        let policy = header(response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
        assert!(!header(response, "cache-control").is_empty(), "{what}");
    };
    for (method, path) in [
        (Method::GET, "/healthz"),
        (Method::GET, "/metrics"),
        (Method::GET, "/api/openapi.json"),
        (Method::GET, "/api/docs/"),
        (Method::GET, "/api/docs/swagger-ui-bundle.js"),
        (Method::GET, "/"),
        (Method::GET, "/consent/x"),
        (Method::GET, "/nowhere"),
        (Method::DELETE, "/healthz"),
        (Method::POST, STATUS),
        (Method::POST, MESSAGES),
        (Method::GET, "/2010-04-01/nowhere"),
    ] {
        has_headers(&service.anonymous(method, path).send().await.unwrap(), path);
    }
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let (what, path) = (format!("{method} {path}"), path.replace(['{', '}'], ""));
            let request =
                || service.anonymous(method.to_uppercase().parse().unwrap(), &path).json(&json!({}));
            for request in [request(), request().bearer_auth(token(Role::Admin))] {
                let response = request.send().await.unwrap();
                has_headers(&response, &what);
                assert_eq!(header(&response, "cache-control"), "no-store", "{what}");
                asked += 1;
            }
        }
    }
    assert!(asked > 60, "{asked}");
}

async fn pages_of_other_sites_are_refused_unless_their_origin_is_named(on: On) {
    let keys = api_keys();
    let friend = "https://app.example.com";
    let settings = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_CORS_ORIGINS", friend)];
    let service = TestService::start_with(on, &settings).await;
    let (origin, site) = ("origin", "sec-fetch-site");
    let dropin = || {
        let request = service.anonymous(Method::POST, MESSAGES).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
        request.form(&[("Body", "hello")])
    };
    for (name, value) in
        [(origin, "https://evil.example"), (origin, "null"), (site, "cross-site"), (site, "same-site")]
    {
        let (status, error) = answer(dropin().header(name, value)).await;
        assert_eq!((status, &error["code"]), (403, &json!(20403)), "{name}: {value}");
    }
    for (name, value) in [(site, "none"), (origin, friend)] {
        assert_eq!(answer(dropin().header(name, value)).await.0, 400, "{name}: {value}");
    }
    let history = || service.get(Role::Viewer, "/api/sms/messages");
    let (status, problem) =
        answer(history().header(site, "cross-site").header(origin, "https://evil.example")).await;
    assert_eq!((status, &problem["code"]), (403, &json!("cross_origin")));
    // However the path is spelled, if a route takes it.
    let spelled = service.anonymous(Method::POST, &MESSAGES.replacen('2', "%32", 1));
    let spelled = spelled.basic_auth(ACCOUNT_SID, Some(SENDER_KEY)).form(&[("Body", "hello")]);
    let (status, error) = answer(spelled.header(site, "cross-site")).await;
    assert_eq!((status, &error["code"]), (403, &json!(20403)));
    let spelled = service.get(Role::Viewer, "/%61pi/sms/messages");
    let (status, problem) = answer(spelled.header(site, "cross-site")).await;
    assert_eq!((status, &problem["code"]), (403, &json!("cross_origin")));
    let own = history().header(site, "same-origin").header(origin, PUBLIC_URL).send().await.unwrap();
    assert_eq!((own.status().as_u16(), header(&own, "access-control-allow-origin")), (200, ""));
    let friendly = history().header(site, "cross-site").header(origin, friend).send().await.unwrap();
    assert_eq!((friendly.status().as_u16(), header(&friendly, "access-control-allow-origin")), (200, friend));
    assert_eq!(header(&friendly, "vary"), "Origin");
    let preflight = |origin: &str| {
        let request = service.anonymous(Method::OPTIONS, "/api/sms/send").header("origin", origin);
        request.header("access-control-request-method", "POST")
    };
    let allowed = preflight(friend).send().await.unwrap();
    assert_eq!((allowed.status().as_u16(), header(&allowed, "access-control-allow-origin")), (204, friend));
    assert!(header(&allowed, "access-control-allow-headers").contains("authorization"));
    let refused = preflight("https://evil.example").send().await.unwrap();
    assert_eq!(header(&refused, "access-control-allow-origin"), "");
    // What is signed is Twilio's, wherever it says that it comes from.
    let form: Form = callback(SID, "sent").into_iter().collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let signature = signature::sign(&key, &format!("{}{STATUS}", service.public_url), &form);
    let webhook = service.anonymous(Method::POST, STATUS).header(SIGNATURE_HEADER, signature);
    let webhook = webhook.header("content-type", "application/x-www-form-urlencoded").body(form.encode());
    let webhook = webhook.header(origin, "https://evil.example").header(site, "cross-site");
    assert_eq!(webhook.send().await.unwrap().status(), 204);
}

async fn the_drop_in_takes_declared_forms_alone(on: On) {
    let keys = api_keys();
    let service = TestService::start_with(on, &[("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let post = |content_type: Option<&str>, body: &str| {
        let request = service.anonymous(Method::POST, MESSAGES).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
        let request = request.body(body.to_owned());
        match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        }
    };
    // The number is no number, so that nothing leaves: 21211 says that the form was read.
    let form = "To=nobody&From=%2B15005550006&Body=hello";
    let parts = ["To\"\r\n\r\nnobody", "From\"\r\n\r\n+15005550006", "Body\"\r\n\r\nhello"];
    let parts = parts.map(|part| format!("--edge\r\nContent-Disposition: form-data; name=\"{part}\r\n"));
    let parts = format!("{}--edge--\r\n", parts.concat());
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", form),
        ("Application/X-WWW-Form-URLencoded; charset=UTF-8", form),
        ("multipart/form-data; boundary=edge", &parts),
        ("multipart/form-data; boundary=\"edge\"", &parts),
    ] {
        let (status, error) = answer(post(Some(content_type), body)).await;
        assert_eq!((status, &error["code"]), (400, &json!(21211)), "{content_type}: {error}");
    }
    for content_type in [Some("text/plain"), Some("application/json"), Some(""), None] {
        let (status, error) = answer(post(content_type, form)).await;
        assert_eq!((status, &error["code"]), (415, &json!(20415)), "{content_type:?}");
    }
    for (content_type, body) in
        [("multipart/form-data", parts.as_str()), ("multipart/form-data; boundary=edge", form)]
    {
        assert_eq!(answer(post(Some(content_type), body)).await.0, 400, "{content_type}");
    }
    let long = parts.replace("hello", &"a".repeat(70 * KIB));
    assert_eq!(answer(post(Some("multipart/form-data; boundary=edge"), &long)).await.0, 413);
}

async fn no_webhook_of_the_services_own_is_a_status_callback(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)];
    let service = TestService::start_with(on, &settings).await;
    for url in [
        format!("{PUBLIC_URL}{STATUS}"),
        "https://SMS.example.com:443/textledger/webhooks/twilio/inbound?a=b#rc=5".to_owned(),
        "http://user:secret@sms.example.com./%77ebhooks/twilio/events".to_owned(),
    ] {
        let form =
            [("To", "+14155550100"), ("From", "+15005550006"), ("Body", "hello"), ("StatusCallback", &url)];
        let request = service.anonymous(Method::POST, MESSAGES).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
        let (status, error) = answer(request.form(&form)).await;
        assert_eq!((status, &error["code"]), (400, &json!(21609)), "{url}");
        assert!(error["message"].as_str().unwrap().contains("own webhooks"), "{error}");
    }
}
