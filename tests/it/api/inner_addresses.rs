//! No caller makes the service call this machine or an inner network, by whichever field of whichever route.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::Method;
use serde_json::{Map, Value, json};
use textledger::domain::Role;
use tokio::net::TcpListener;

use super::on_both_stores;
use crate::support::{
    service::{ACCOUNT_SID, OUR_NUMBER, On, PERSON, SENDER_KEY, answer, api_keys, token},
    twilio::World,
};

on_both_stores! {
    no_field_of_any_route_makes_the_service_call_an_inner_address
    no_spelling_of_an_inner_address_is_taken_as_a_callback_or_as_media
}

/// Hosts of this machine and of inner networks, spelled as attackers do.
const INNER_HOSTS: [&str; 44] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.000.000.001",
    "127%2e0%2e0%2e1",
    "１２７.0.0.1",
    "127。0。0。1",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "app.localhost",
    "metadata.google.internal",
    "printer.local",
    "redis",
];

/// Counts who connects to it. It listens at an address that nothing else connects to: a service that looks for a store which another
/// test has ended may still try a port that is free again.
struct Canary {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        let [second, third]: [u8; 2] = rand::random();
        let address = Ipv4Addr::new(127, second.max(1), third, 1);
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let counted = connections.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("http://{}/secret", self.address)
    }
}

/// The schema that `schema` names, or itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => document.pointer(name.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// A value that the schema may take, with `url` wherever it takes a text.
fn filled(document: &Value, schema: &Value, url: &str) -> Value {
    let schema = resolved(document, schema);
    if let Some(first) = schema["oneOf"].as_array().and_then(|forms| forms.first()) {
        return filled(document, first, url);
    }
    let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
    match kind.as_str() {
        Some("object") => {
            let members = schema["properties"].as_object().into_iter().flatten();
            let members = members.map(|(name, member)| (name.clone(), filled(document, member, url)));
            members.collect::<Map<_, _>>().into()
        }
        Some("array") => json!([filled(document, &schema["items"], url)]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => json!(url),
    }
}

/// What a field of the request `body` of `path` has to be for the rest of it to be taken.
fn good(path: &str) -> Value {
    match path {
        "/api/sms/send" | "/api/sms/whatsapp/send" => json!({ "to_number": PERSON, "message": "x" }),
        "/api/sms/send-bulk" | "/api/sms/whatsapp/send-bulk" => {
            json!({ "phone_numbers": [PERSON], "message": "x" })
        }
        "/api/sms/notify" => json!({ "user_ids": ["u"], "message": "x", "category": "general" }),
        "/api/sms/consent" => json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in" }),
        "/api/sms/consent/links" => json!({ "phone_number": PERSON }),
        "/api/sms/consent/reviews/{message_sid}" => json!({ "decision": "opt_out" }),
        "/api/sms/suspicious-traffic/{prefix}" => json!({ "decision": "release" }),
        "/api/sms/preferences/confirm" => json!({ "code": "123456" }),
        "/api/sms/api-keys" => json!({ "name": "crm", "role": "sender" }),
        _ => json!({}),
    }
}

/// The fields without which a body by `schema` is refused whatever else it says.
fn demanded(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

async fn no_field_of_any_route_makes_the_service_call_an_inner_address(on: On) {
    let (world, canary) = (World::start(on).await, Canary::start().await);
    let service = &world.service;
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let url = canary.url();
    let escaped: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let named =
                path.split('/').map(|part| if part.starts_with('{') { escaped.as_str() } else { part });
            let mut target = named.collect::<Vec<_>>().join("/");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for (number, parameter) in parameters.filter(|parameter| parameter["in"] == "query").enumerate() {
                let joint = if number == 0 { '?' } else { '&' };
                target += &format!("{joint}{}={escaped}", parameter["name"].as_str().unwrap());
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let missing = demanded(resolved(&document, schema)).find(|name| good(path).get(name).is_none());
            assert_eq!(
                missing, None,
                "{path} demands a field that this test knows no good value of: add one"
            );
            let whole = filled(&document, schema, &url);
            // One field at a time beside good ones, and all of them at once.
            let mut bodies = vec![whole.clone()];
            bodies.extend(whole.as_object().into_iter().flatten().map(|(name, value)| {
                let mut body = good(path);
                body[name] = value.clone();
                body
            }));
            for body in bodies {
                let request = service.anonymous(method.clone(), &target).bearer_auth(token(Role::Admin));
                let request = request.header("Host", canary.address.to_string()).header("Origin", &url);
                let request = request.header("X-Forwarded-Host", canary.address.to_string());
                let request =
                    request.header("Referer", &url).header("Forwarded", format!("host={}", canary.address));
                let (status, said) = answer(request.json(&body)).await;
                assert!(status < 500 || status == 502, "{method} {path} {body}: {status} {said}");
                asked += 1;
            }
        }
    }
    assert!(asked > 100, "{asked}");
    world.settle().await;
    assert_eq!(canary.connections.load(Ordering::SeqCst), 0);
    // The canary does sing.
    reqwest::get(&url).await.ok();
    assert_ne!(canary.connections.load(Ordering::SeqCst), 0);
}

async fn no_spelling_of_an_inner_address_is_taken_as_a_callback_or_as_media(on: On) {
    let keys = api_keys();
    let world = World::start_with(on, &[("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let service = &world.service;
    let messages = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json");
    let mut taken = Vec::new();
    for host in INNER_HOSTS {
        for url in [
            format!("http://{host}/x"),
            format!("https://{host}:8443/x"),
            format!("http://sms.example.com@{host}/x"),
            format!("http:\\\\{host}\\x"),
        ] {
            let form =
                [("To", PERSON), ("From", OUR_NUMBER), ("Body", "x"), ("StatusCallback", url.as_str())];
            let send = service.anonymous(Method::POST, &messages).basic_auth(ACCOUNT_SID, Some(SENDER_KEY));
            let (status, problem) = answer(send.form(&form)).await;
            if (status, &problem["code"]) != (400, &json!(21609)) {
                taken.push(format!("StatusCallback {url}: {status} {problem}"));
            }
            let body = json!({ "to_number": PERSON, "message": "x", "media_url": url });
            for path in ["/api/sms/send", "/api/sms/whatsapp/send"] {
                let (status, problem) = answer(service.post(Role::Sender, path, &body)).await;
                if status != 422 {
                    taken.push(format!("media_url {url} at {path}: {status} {problem}"));
                }
            }
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    assert_eq!(world.accepted_for(PERSON), 0);
}
