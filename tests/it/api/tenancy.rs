//! Nobody reads or changes what another organization has, by whichever route of the document.

use std::collections::BTreeMap;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use textledger::domain::{MessageId, Role, placeholder_sid::placeholder_sid};

use super::{events::Listener, on_both_stores};
use crate::support::{
    now,
    service::{ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, On, TestService, answer, token_in},
    twilio::World,
};

on_both_stores! {
    no_route_shows_or_changes_what_another_organization_has
    a_library_of_twilios_reaches_its_own_organization_alone
    an_idempotency_key_is_the_organizations_own
    no_stream_tells_what_happens_in_another_organization
}

const VICTIM: &str = "default";
const STRANGER: &str = "globex";
const STRANGERS_ACCOUNT: &str = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const PERSON: &str = "+14155550171";
const DOUBTFUL: &str = "+14155550172";
const KEY: &str = "a key of the victim";
const USER: &str = "a-user-of-the-victim";
const EVIDENCE: &str = "signed on paper on the first of May";
const HELD_PREFIX: &str = "+4477009";
const DOUBTFUL_WORDS: &str = "ok stop";

/// What the victim has, by what it is called in paths; and whatever would tell of it.
struct Belongings {
    message: String,
    batch: String,
    review: String,
    key: String,
    marks: Vec<String>,
}

impl Belongings {
    async fn made(world: &World) -> Self {
        let service = &world.service;
        let post = async |path: &str, body: Value| {
            let (status, answer) = service.post_in(VICTIM, path, &body).await;
            assert!(status < 300, "{path}: {answer}");
            answer
        };
        let sent =
            post("/api/sms/send", json!({ "to_number": PERSON, "message": "x", "user_id": USER })).await;
        let tomorrow = (now() + jiff::SignedDuration::from_hours(20)).to_string();
        let bulk = json!({ "phone_numbers": [PERSON, DOUBTFUL], "message": "x", "send_at": tomorrow });
        let batch = post("/api/sms/send-bulk", bulk).await;
        let consent = json!({
            "phone_number": PERSON, "channel": "sms", "state": "opted_in", "evidence": EVIDENCE,
        });
        post("/api/sms/consent", consent).await;
        let preferences = Client::new().put(service.url(&format!("/api/sms/preferences/{USER}")));
        let preferences = preferences.json(&json!({ "phone_number": PERSON, "sms_enabled": true }));
        let (status, answered) = answer(preferences.bearer_auth(token_in(VICTIM, Role::Admin))).await;
        assert!(status < 300, "{answered}");
        assert_eq!(world.write(DOUBTFUL, DOUBTFUL_WORDS).await.0, 200);
        world.settle().await;
        // A refusal that names the victim's account.
        let form = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM1&MessageStatus=sent");
        service.raw_webhook("/webhooks/twilio/status", Some("wrong"), form.into_bytes()).await;
        let key = post("/api/sms/api-keys", json!({ "name": KEY, "role": "sender" })).await;
        post(&format!("/api/sms/suspicious-traffic/{HELD_PREFIX}"), json!({ "decision": "refuse" })).await;
        let (_, reviews) = service.get_in(VICTIM, "/api/sms/consent/reviews").await;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
        let [message, batch, review, key] =
            [&sent["id"], &batch["batch_id"], &reviews["reviews"][0]["message_sid"], &key["sid"]].map(text);
        let others = [PERSON, DOUBTFUL, USER, KEY, EVIDENCE, HELD_PREFIX, DOUBTFUL_WORDS, ACCOUNT_SID]
            .map(str::to_owned);
        let marks = [message.clone(), text(&sent["message_sid"]), batch.clone(), review.clone(), key.clone()];
        Self { message, batch, review, key, marks: marks.into_iter().chain(others).collect() }
    }

    /// `path` with the victim's own names in it.
    fn path(&self, path: &str) -> String {
        let message_sid = if path.contains("/reviews/") { &self.review } else { &self.message };
        let path = path
            .replace("{batch_id}", &self.batch)
            .replace("{message_sid}", message_sid)
            .replace("{phone}", PERSON)
            .replace("{user_id}", USER)
            .replace("{sid}", &self.key)
            .replace("{prefix}", HELD_PREFIX);
        assert!(!path.contains('{'), "{path} has a parameter that this test gives no value: add one");
        path
    }

    /// What a parameter `name` of the query of `path` is given: whatever a stranger may hope to be shown more by.
    async fn values(&self, service: &TestService, path: &str, name: &str) -> Vec<String> {
        let values: &[&str] = match name {
            // Where the victim's own page ends, and its first event.
            "cursor" => {
                let (_, page) = service.get_in(VICTIM, &format!("{path}?limit=1")).await;
                let (_, events) = service.get_in(VICTIM, "/api/sms/events?limit=1").await;
                let places = [&page["next_cursor"], &events["events"][0]["event_id"]];
                let is_event = path == "/api/sms/events";
                let places = places.into_iter().take(if is_event { 2 } else { 1 });
                return places.filter_map(Value::as_str).map(str::to_owned).collect();
            }
            "limit" => &["1", "100"],
            "actor" => &["user:tester"],
            "action" => &["message.send", "api_key.create"],
            "since" => &["2020-01-01T00:00:00Z"],
            "until" => &["2100-01-01T00:00:00Z"],
            "from" => &["start"],
            "type" => &["delivery", "inbound", "consent"],
            "message_sid" => &[&self.message, &self.review],
            "batch_id" => &[&self.batch],
            "to" => &[PERSON, DOUBTFUL],
            "status" => &["delivered", "scheduled"],
            "channel" => &["sms"],
            "carrier" | "refresh" => &["true"],
            "window" => &["1h"],
            "bucket" => &["1m"],
            _ => panic!("{name} is a parameter of {path} that this test gives no value: add one"),
        };
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    /// A body that a request of `method` to `path` is given: one that would do harm to the victim if it could.
    fn body(&self, method: &Method, path: &str) -> Value {
        match (method.as_str(), path) {
            ("GET" | "DELETE", _) | ("POST", "/api/sms/test-connection") => Value::Null,
            ("POST", "/api/sms/send" | "/api/sms/whatsapp/send") => {
                json!({ "to_number": PERSON, "message": "x", "user_id": USER })
            }
            ("POST", "/api/sms/send-bulk" | "/api/sms/whatsapp/send-bulk") => {
                json!({ "phone_numbers": [PERSON], "message": "x" })
            }
            ("POST", "/api/sms/notify") => json!({ "user_ids": [USER], "message": "x" }),
            ("POST", "/api/sms/consent") => {
                json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_out" })
            }
            ("POST", "/api/sms/consent/import") => {
                json!(format!(
                    "phone_number,channel,state,source,at\n{PERSON},sms,opted_out,import,2026-01-01T00:00:00Z\n"
                ))
            }
            ("POST", "/api/sms/consent/links") => json!({ "phone_number": PERSON }),
            ("POST", "/api/sms/consent/reviews/{message_sid}") => json!({ "decision": "opt_out" }),
            ("POST", "/api/sms/api-keys") => json!({ "name": "k", "role": "viewer" }),
            ("POST", "/api/sms/api-keys/{sid}/rotate") => json!({}),
            ("POST", "/api/sms/suspicious-traffic/{prefix}") => json!({ "decision": "release" }),
            ("POST", "/api/sms/forward/replay") => json!({ "since": "2026-01-01T00:00:00Z" }),
            ("POST", "/api/sms/preferences/confirm") => json!({ "code": "123456" }),
            ("PUT", "/api/sms/preferences" | "/api/sms/preferences/{user_id}") => {
                json!({ "sms_enabled": false })
            }
            ("POST", "/api/sms/settings") => json!({ "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN }),
            _ => panic!("{method} {path} is a route that this test knows no body of: add one"),
        }
    }
}

/// An operation of the document.
struct Operation {
    method: Method,
    path: String,
    /// The parameters of its query.
    query: Vec<String>,
}

impl Operation {
    fn is_reading(&self) -> bool {
        self.method == Method::GET
    }
}

/// Every operation of the document.
async fn operations(service: &TestService) -> Vec<Operation> {
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            let query = of_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.clone(), query });
        }
    }
    operations
}

fn request(service: &TestService, method: &Method, path: &str, body: &Value) -> RequestBuilder {
    let request = service.anonymous(method.clone(), path);
    match body {
        Value::Null => request,
        Value::String(csv) => request.header("Content-Type", "text/csv").body(csv.clone()),
        body => request.json(body),
    }
}

/// Everything that the victim is shown of what it has.
async fn shown(
    service: &TestService,
    operations: &[Operation],
    own: &Belongings,
) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for Operation { method, path, .. } in operations.iter().filter(|operation| operation.is_reading()) {
        let request = request(service, method, &own.path(path), &Value::Null);
        let response = request.bearer_auth(token_in(VICTIM, Role::Admin)).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        let text = response.text().await.unwrap();
        let text = match serde_json::from_str::<Value>(&text) {
            Ok(mut answer) if path == "/api/sms/stats" => answer["totals"].take().to_string(),
            // That the victim looks at its own export is written down too.
            Ok(answer) if path == "/api/sms/audit" => {
                let entries = answer["entries"].as_array().unwrap().iter();
                let others = entries.filter(|entry| entry["action"] != "consent.export");
                others.map(Value::to_string).collect()
            }
            _ => text,
        };
        shown.insert(path.clone(), text);
    }
    shown
}

/// A service of two organizations, each with an account of its own.
async fn world(on: On) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let account = format!(
        "[[accounts]]\norganization = \"{STRANGER}\"\naccount_sid = \"{STRANGERS_ACCOUNT}\"\nauth_token = \"{AUTH_TOKEN}\"\n\
         phone_number = \"{OUR_NUMBER}\"\n"
    );
    std::fs::write(&file, account).unwrap();
    let settings = [("TEXTLEDGER_CONFIG", file.to_str().unwrap())];
    (World::start_with(on, &settings).await, folder)
}

async fn no_route_shows_or_changes_what_another_organization_has(on: On) {
    let (world, _folder) = world(on).await;
    let service = &world.service;
    let own = Belongings::made(&world).await;
    let operations = operations(service).await;
    let before = shown(service, &operations, &own).await;
    for mark in &own.marks {
        assert!(before.values().any(|text| text.contains(mark)), "the victim itself is not shown {mark}");
    }
    // First what only reads: then the stranger has nothing yet that it could be told of.
    let (reading, writing): (Vec<_>, Vec<_>) =
        operations.iter().partition(|operation| operation.is_reading());
    for Operation { method, path, query } in reading.into_iter().chain(writing) {
        let (asked, body) = (own.path(path), own.body(method, path));
        let mut queries = vec![String::new()];
        for name in query {
            let values = own.values(service, &asked, name).await;
            queries.extend(values.into_iter().map(|value| format!("{name}={value}")));
        }
        for (role, query) in Role::ALL.iter().flat_map(|role| queries.iter().map(move |query| (*role, query)))
        {
            let asking = request(service, method, &format!("{asked}?{}", query.replace('+', "%2B")), &body);
            let response = asking.bearer_auth(token_in(STRANGER, role)).send().await.unwrap();
            let status = response.status();
            let told = response.text().await.unwrap();
            let what = format!("{role:?} {method} {asked} {query}");
            assert!(status.as_u16() < 500 || status == 502, "{what}: {status} {told}");
            assert!(
                status != 422 || body != Value::Null,
                "{what} is no request that this test can make: {told}"
            );
            // What the request itself says may be said again.
            let said = format!("{asked} {query} {body}");
            for mark in own.marks.iter().filter(|mark| !said.contains(*mark)) {
                assert!(!told.contains(mark), "{what} tells {mark}: {told}");
            }
        }
    }
    let after = shown(service, &operations, &own).await;
    for (path, text) in &before {
        assert_eq!(*text, after[path], "{path} is not what it was");
    }
}

async fn a_library_of_twilios_reaches_its_own_organization_alone(on: On) {
    let (world, _folder) = world(on).await;
    let own = Belongings::made(&world).await;
    let messages = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages");
    let paths = [format!("{messages}.json"), format!("{messages}/{}.json", own.message)];
    for method in [Method::GET, Method::POST, Method::DELETE] {
        for path in &paths {
            for user in [ACCOUNT_SID, STRANGERS_ACCOUNT] {
                let asking = world.service.anonymous(method.clone(), path);
                let asking = asking.basic_auth(user, Some(token_in(STRANGER, Role::Admin)));
                let (status, told) = answer(asking.form(&[("To", PERSON), ("Body", "x")])).await;
                // A list takes no DELETE, whoever asks.
                let expected = if method == Method::DELETE && *path == paths[0] { 405 } else { 401 };
                assert_eq!(status, expected, "{method} {path} as {user}: {told}");
            }
        }
    }
    // Its own account has nothing of the victim's, by whichever name.
    let service = &world.service;
    let wanted = json!({ "name": "library", "role": "admin" });
    let (status, key) = service.post_in(STRANGER, "/api/sms/api-keys", &wanted).await;
    assert_eq!(status, 201, "{key}");
    let path = format!("/api/sms/batches/{}/messages", own.batch);
    let (_, waiting) = service.get_in(VICTIM, &path).await;
    let waiting: MessageId = waiting["messages"][0]["id"].as_str().unwrap().parse().unwrap();
    let placeholder = placeholder_sid(&waiting).to_string();
    for name in own.marks[..2].iter().chain([&placeholder]) {
        let path = format!("/2010-04-01/Accounts/{STRANGERS_ACCOUNT}/Messages/{name}.json");
        for (method, form) in [
            (Method::GET, ("", "")),
            (Method::POST, ("Body", "")),
            (Method::POST, ("Status", "canceled")),
            (Method::DELETE, ("", "")),
        ] {
            for password in [token_in(STRANGER, Role::Admin), key["secret"].as_str().unwrap().to_owned()] {
                let asking = service.anonymous(method.clone(), &path);
                let asking = asking.basic_auth(STRANGERS_ACCOUNT, Some(password)).form(&[form]);
                let (status, told) = answer(asking).await;
                // Twilio's own names are for Twilio to judge, and here it knows no message of that account.
                let expected = if *name == own.marks[1] { 401 } else { 404 };
                assert_eq!(status, expected, "{method} {path} {form:?}: {told}");
                let telling = own.marks.iter().find(|mark| told.to_string().contains(*mark) && *mark != name);
                assert_eq!(telling, None, "{method} {path} {form:?}: {told}");
            }
        }
    }
    let (_, batch) = service.get_in(VICTIM, &format!("/api/sms/batches/{}", own.batch)).await;
    assert_eq!(batch["counts"]["canceled"], 0, "{batch}");
    assert_eq!((world.accepted_for(PERSON), world.bodies_for(PERSON)), (1, vec!["x".to_owned()]));
}

async fn an_idempotency_key_is_the_organizations_own(on: On) {
    let (world, _folder) = world(on).await;
    let tomorrow = (now() + jiff::SignedDuration::from_hours(20)).to_string();
    let body = json!({ "phone_numbers": [PERSON], "message": "x", "send_at": tomorrow });
    let send = async |organization: &str| {
        let request = world.service.anonymous(Method::POST, "/api/sms/send-bulk").json(&body);
        let request = request.bearer_auth(token_in(organization, Role::Sender));
        let (status, sent) = answer(request.header("Idempotency-Key", "one")).await;
        assert_eq!((status, &sent["accepted"]), (202, &json!(1)), "{sent}");
        sent["batch_id"].as_str().unwrap().to_owned()
    };
    let (victims, strangers) = (send(VICTIM).await, send(STRANGER).await);
    assert_ne!(victims, strangers);
    let path = format!("/api/sms/batches/{victims}");
    let statuses = [VICTIM, STRANGER].map(|organization| world.service.get_in(organization, &path));
    let statuses = futures_util::future::join_all(statuses).await;
    assert_eq!([statuses[0].0, statuses[1].0], [200, 404]);
    assert_eq!([send(VICTIM).await, send(STRANGER).await], [victims, strangers]);
}

async fn no_stream_tells_what_happens_in_another_organization(on: On) {
    let service = TestService::start(on).await;
    let opts_in = async |organization: &str, phone: &str| {
        let consent =
            json!({ "phone_number": phone, "channel": "sms", "state": "opted_in", "evidence": EVIDENCE });
        let (status, answered) = service.post_in(organization, "/api/sms/consent", &consent).await;
        assert!(status < 300, "{answered}");
    };
    let (strangers, strangers_second) = ("+14155550181", "+14155550182");
    opts_in(VICTIM, PERSON).await;
    let mut listeners = Vec::new();
    let (_, page) = service.get_in(VICTIM, "/api/sms/events").await;
    let place = page["events"][0]["event_id"].as_str().unwrap();
    // From the beginning, from now on, and from a place of the victim's.
    for (query, last_event_id) in [("?from=start", None), ("", None), ("", Some(place))] {
        listeners.push(Listener::open_in(STRANGER, &service, query, last_event_id).await);
    }
    let mut victims = Listener::open_in(VICTIM, &service, "", None).await;
    opts_in(STRANGER, strangers).await;
    opts_in(VICTIM, DOUBTFUL).await;
    opts_in(STRANGER, strangers_second).await;
    let persons = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["phone"].as_str().unwrap().to_owned()).collect()
    };
    for listener in &mut listeners {
        assert_eq!(persons(&listener.take(2).await), [strangers, strangers_second]);
    }
    assert_eq!(persons(&victims.take(1).await), [DOUBTFUL]);
}
