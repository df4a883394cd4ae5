//! Who did what: every request that changes something leaves its entry, every one that is refused leaves none, and no entry
//! says more than it may.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{
        ACCOUNT_SID, AUTH_TOKEN, On, PUBLIC_URL, SENDER_KEY, TestService, answer, api_keys, callback, token,
        token_in, token_of,
    },
    twilio::World,
};

on_both_stores! {
    every_route_that_changes_something_leaves_its_entry_and_none_if_it_is_refused
    what_libraries_of_twilios_and_persons_do_is_written_down_too
    no_entry_holds_a_secret_a_text_or_a_whole_number
    the_record_is_read_page_by_page_and_by_who_did_what_and_when
    a_message_and_a_batch_tell_who_asked_for_them
    a_request_that_is_repeated_under_its_key_is_written_down_once
    a_batch_and_a_notice_that_reach_nobody_are_not_written_down
}

const AUDIT: &str = "/api/sms/audit";

/// What nobody may find in the record.
const TEXT: &str = "a text that is for its recipient alone";
const SECRET: &str = "a-secondary-token-of-32-characters";
const NUMBER: &str = "+14155550177";
const NUMBER_OF_ADA: &str = "+14155550178";
const DEAD_NUMBER: &str = "+14155550189";
const EVIDENCE: &str = "said so at the counter";

/// The entries that an administrator sees.
async fn entries(service: &TestService, query: &str) -> Vec<Value> {
    let (status, page) = answer(service.get(Role::Admin, &format!("{AUDIT}{query}"))).await;
    assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
    page["entries"].as_array().unwrap().clone()
}

/// Action and actor of each.
fn told(entries: &[Value]) -> Vec<(&str, &str)> {
    let told =
        entries.iter().map(|entry| (entry["action"].as_str().unwrap(), entry["actor"].as_str().unwrap()));
    told.collect()
}

/// What a request to a route comes to.
enum Leaves {
    /// An entry of this action, by this actor.
    Entry(&'static str, &'static str),
    /// One of the first action before it is begun, and one of the second at its end.
    BeginAndEnd([&'static str; 2], &'static str),
    /// None: nothing is changed, here or elsewhere.
    Nothing,
}

/// A request to a route that takes it.
struct Asked {
    route: (&'static str, &'static str),
    request: RequestBuilder,
    leaves: Leaves,
}

/// A world in which every route has something to do: a batch that waits, a reply under review, and a
/// number to which nothing is sent.
struct Prepared {
    world: World,
    batch: String,
    reply: String,
    key: String,
}

async fn prepare(on: On) -> Prepared {
    let keys = api_keys();
    let settings = [
        ("TEXTLEDGER_API_KEYS", keys.as_str()),
        // Links need one; that no status callback arrives by it changes nothing here.
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TEXTLEDGER_MPS", "2000"),
    ];
    let world = World::start_with(on, &settings).await;
    let bulk = json!({
        "phone_numbers": [NUMBER], "message": TEXT, "send_at": in_an_hour(),
    });
    let (status, batch) = answer(world.service.post(Role::Sender, "/api/sms/send-bulk", &bulk)).await;
    assert_eq!(status, 202, "{batch}");
    let batch = batch["batch_id"].as_str().unwrap().to_owned();
    let reply = "SM00000000000000000000000000000077".to_owned();
    let form = crate::support::service::reply(&reply, "+14155550179", "ok stop");
    assert_eq!(world.service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    for number in 0..3 {
        let sid = format!("SM{number:032}");
        let mut form = [callback(&sid, "undelivered"), vec![("ErrorCode", "30005")]].concat();
        form.iter_mut().filter(|(name, _)| *name == "To").for_each(|(_, to)| *to = DEAD_NUMBER);
        assert_eq!(world.service.webhook("/webhooks/twilio/status", &form).await.status(), 204);
    }
    let wanted = json!({ "name": "crm", "role": "sender" });
    let (status, key) = answer(world.service.post(Role::Admin, "/api/sms/api-keys", &wanted)).await;
    assert_eq!(status, 201, "{key}");
    let key = key["sid"].as_str().unwrap().to_owned();
    Prepared { world, batch, reply, key }
}

fn in_an_hour() -> String {
    (crate::support::now() + jiff::SignedDuration::from_hours(1)).to_string()
}

/// The code in the last message to Ada.
fn code(world: &World) -> String {
    world.bodies_for(NUMBER_OF_ADA).last().unwrap()[..6].to_owned()
}

/// A good request to each route of the document that is not a GET; each of them is made in this order.
fn requests(Prepared { world, batch, reply, key }: &Prepared) -> Vec<Asked> {
    let service = &world.service;
    let mut asked = Vec::new();
    let mut ask = |method: &'static str, path: &'static str, body: Value, leaves: Leaves| {
        let filled = path
            .replace("{batch_id}", batch)
            .replace("{message_sid}", reply)
            .replace("{user_id}", "ben")
            .replace("{sid}", key)
            .replace("{phone}", DEAD_NUMBER)
            .replace("{prefix}", "+4479111");
        let request = service.anonymous(method.to_uppercase().parse().unwrap(), &filled);
        let own = path.starts_with("/api/sms/preferences") && !path.contains('{');
        let bearer = if own { token_of("ada", None) } else { token(Role::Admin) };
        let request =
            request.bearer_auth(bearer).header("X-Request-Id", format!("to {path}").replace(' ', "-"));
        let request = match body {
            Value::String(csv) => request.header("Content-Type", "text/csv").body(csv),
            body => request.json(&body),
        };
        asked.push(Asked { route: (method, path), request, leaves });
    };
    let tester = "user:tester";
    let message = json!({ "to_number": NUMBER, "message": TEXT });
    let many = json!({ "phone_numbers": [NUMBER, "+14155550180"], "message": TEXT });
    ask("post", "/api/sms/send", message.clone(), Leaves::Entry("message.send", tester));
    ask("post", "/api/sms/whatsapp/send", message, Leaves::Entry("message.send", tester));
    ask("post", "/api/sms/send-bulk", many.clone(), Leaves::Entry("batch.create", tester));
    ask("post", "/api/sms/whatsapp/send-bulk", many, Leaves::Entry("batch.create", tester));
    ask("delete", "/api/sms/batches/{batch_id}", json!({}), Leaves::Entry("batch.cancel", tester));
    let preferences = json!({ "phone_number": "+14155550181", "sms_enabled": true });
    ask("put", "/api/sms/preferences/{user_id}", preferences, Leaves::Entry("preferences.change", tester));
    let notice = json!({ "user_ids": ["ben"], "message": TEXT, "category": "general" });
    ask("post", "/api/sms/notify", notice, Leaves::Entry("notify", tester));
    let number = json!({ "phone_number": NUMBER_OF_ADA });
    ask("put", "/api/sms/preferences", number, Leaves::Entry("preferences.send_code", "user:ada"));
    ask(
        "post",
        "/api/sms/preferences/confirm",
        json!({ "code": "" }),
        Leaves::Entry("preferences.confirm", "user:ada"),
    );
    let wish =
        json!({ "phone_number": NUMBER, "channel": "sms", "state": "opted_out", "evidence": EVIDENCE });
    ask("post", "/api/sms/consent", wish, Leaves::Entry("consent.change", tester));
    let file = format!("phone_number,channel,state,evidence\n{NUMBER},whatsapp,opted_in,{EVIDENCE}\n");
    ask(
        "post",
        "/api/sms/consent/import",
        file.into(),
        Leaves::BeginAndEnd(["consent.import_begin", "consent.import"], tester),
    );
    let link = json!({ "phone_number": NUMBER });
    ask("post", "/api/sms/consent/links", link, Leaves::Entry("consent.link", tester));
    ask(
        "post",
        "/api/sms/consent/reviews/{message_sid}",
        json!({ "decision": "dismiss" }),
        Leaves::Entry("review.decide", tester),
    );
    let decision = json!({ "decision": "release" });
    ask("post", "/api/sms/suspicious-traffic/{prefix}", decision, Leaves::Entry("traffic.release", tester));
    ask("post", "/api/sms/test-connection", json!({}), Leaves::Nothing);
    let endpoint = json!({ "url": "https://app.invalid/hook", "events": ["consent"], "format": "standard" });
    let settings = json!({ "auth_token_secondary": SECRET, "forward": [endpoint] });
    ask("post", "/api/sms/settings", settings, Leaves::Entry("settings.change", tester));
    ask("post", "/api/sms/forward/replay", json!({}), Leaves::Entry("forward.replay", tester));
    let made = json!({ "name": "crm", "role": "sender" });
    ask("post", "/api/sms/api-keys", made, Leaves::Entry("api_key.create", tester));
    ask("post", "/api/sms/api-keys/{sid}/rotate", json!({}), Leaves::Entry("api_key.rotate", tester));
    ask("delete", "/api/sms/api-keys/{sid}", json!({}), Leaves::Entry("api_key.revoke", tester));
    ask("delete", "/api/sms/suppressions/{phone}", json!({}), Leaves::Entry("suppression.lift", tester));
    ask("delete", "/api/sms/persons/{phone}", json!({}), Leaves::Entry("person.erase", tester));
    asked
}

/// Makes every request, and returns how many entries there are then.
async fn ask_for_everything(prepared: &Prepared) -> usize {
    let service = &prepared.world.service;
    let mut before = entries(service, "").await.len();
    for Asked { route: (method, path), request, leaves } in requests(prepared) {
        // The code is known once it has been sent.
        let request = match path {
            "/api/sms/preferences/confirm" => request.json(&json!({ "code": code(&prepared.world) })),
            _ => request,
        };
        let (status, body) = answer(request).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        let all = entries(service, "").await;
        let new = told(&all[before..]);
        let expected = match leaves {
            Leaves::Entry(action, actor) => vec![(action, actor)],
            Leaves::BeginAndEnd(actions, actor) => actions.map(|action| (action, actor)).to_vec(),
            Leaves::Nothing => Vec::new(),
        };
        assert_eq!(new, expected, "{method} {path}");
        for (entry, (action, actor)) in all[before..].iter().zip(expected) {
            let request_id = format!("to-{path}");
            assert_eq!(entry["request_id"], request_id, "{method} {path}");
            let line = service.log().lines().any(|line| {
                let is_of = |word: &str| line.contains(&format!("\"{word}\""));
                is_of("audit") && is_of(action) && is_of(actor) && line.contains(&request_id)
            });
            assert!(line, "{method} {path}: no line in the log");
        }
        before = all.len();
    }
    before
}

async fn every_route_that_changes_something_leaves_its_entry_and_none_if_it_is_refused(on: On) {
    let prepared = prepare(on).await;
    let service = &prepared.world.service;
    let (_, document) = answer(service.anonymous(Method::GET, "/api/openapi.json")).await;
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let changing = operations.as_object().unwrap().keys().filter(|method| *method != "get");
        documented.extend(changing.map(|method| (method.as_str(), path.as_str())));
    }
    let all = requests(&prepared);
    assert_eq!(documented, all.iter().map(|asked| asked.route).collect(), "a route has no rule here");

    // Nobody, somebody with too low a role, and somebody whose request is wrong.
    let before = entries(service, "").await.len();
    for Asked { route: (method, path), .. } in all {
        let Prepared { batch, reply, key, .. } = &prepared;
        let filled = path
            .replace("{batch_id}", batch)
            .replace("{message_sid}", reply)
            .replace("{sid}", key)
            .replace("{phone}", "+14155550189")
            .replace("{prefix}", "+4479111");
        let request = || service.anonymous(method.to_uppercase().parse().unwrap(), &filled);
        let wrong = json!({ "no_such_field": TEXT });
        assert_eq!(answer(request().json(&wrong)).await.0, 401, "{method} {path}");
        let viewer = request().bearer_auth(token(Role::Viewer));
        let (status, _) = answer(viewer.json(&wrong)).await;
        assert!(matches!(status, 403 | 422), "{method} {path}: {status}");
        if !matches!(method, "delete") && path != "/api/sms/test-connection" {
            let (status, problem) = answer(request().bearer_auth(token(Role::Admin)).json(&wrong)).await;
            assert!(matches!(status, 415 | 422), "{method} {path}: {problem}");
        }
    }
    let (status, _) = answer(
        service
            .anonymous(Method::DELETE, "/api/sms/batches/b00000000000000000abc")
            .bearer_auth(token(Role::Admin)),
    )
    .await;
    assert_eq!(status, 404);
    assert_eq!(entries(service, "").await.len(), before, "what was refused left an entry");

    ask_for_everything(&prepared).await;

    // Nor does a message that its recipient's consent forbids.
    let before = entries(service, "").await.len();
    assert_eq!(service.send(NUMBER, TEXT).await.0, 409);
    assert_eq!(entries(service, "").await.len(), before);
}

async fn what_libraries_of_twilios_and_persons_do_is_written_down_too(on: On) {
    let keys = api_keys();
    let world = World::start_with(on, &[("TEXTLEDGER_API_KEYS", keys.as_str())]).await;
    let call = |method: Method, rest: &str| {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages{rest}.json");
        world.service.anonymous(method, &path).basic_auth(ACCOUNT_SID, Some(SENDER_KEY))
    };
    let form = [("To", NUMBER), ("From", "+15005550006"), ("Body", TEXT)];
    let (status, sent) = answer(call(Method::POST, "").form(&form)).await;
    assert_eq!(status, 201, "{sent}");
    let at = in_an_hour();
    let later = [
        ("To", NUMBER),
        ("MessagingServiceSid", "MGcccccccccccccccccccccccccccccccc"),
        ("Body", TEXT),
        ("ScheduleType", "fixed"),
        ("SendAt", at.as_str()),
    ];
    let (status, waits) = answer(call(Method::POST, "").form(&later)).await;
    assert_eq!(status, 201, "{waits}");
    let of = |message: &Value| format!("/{}", message["sid"].as_str().unwrap());
    let canceled = call(Method::POST, &of(&waits)).form(&[("Status", "canceled")]);
    assert_eq!(answer(canceled).await.0, 200);
    world.settle().await;
    let redacted = call(Method::POST, &of(&sent)).form(&[("Body", "")]);
    assert_eq!(answer(redacted).await.0, 200);
    assert_eq!(answer(call(Method::DELETE, &of(&sent))).await.0, 204);
    // Twilio says no; that it was asked is written down before it is known.
    assert_eq!(answer(call(Method::DELETE, "/SM70000000000000000000000000000001")).await.0, 404);
    assert_eq!(answer(call(Method::POST, "").form(&[("To", "nobody")])).await.0, 400);
    let app = "api_key:app";
    let sends = [("message.send", app), ("message.send", app)];
    let [canceled, updated, deleted] = ["message.cancel", "message.update", "message.delete"];
    let others = [canceled, updated, deleted, deleted].map(|action| (action, app));
    assert_eq!(told(&entries(&world.service, "").await), [&sends[..], &others].concat());

    let service = TestService::start(on).await;
    let body = json!({ "phone_number": NUMBER });
    let (_, link) = answer(service.post(Role::Sender, "/api/sms/consent/links", &body)).await;
    let path = link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap();
    for _ in 0..2 {
        let choice = service.anonymous(Method::POST, path).form(&[("choice", "stop_all")]);
        assert!(choice.send().await.unwrap().status().is_success());
    }
    // The second time they said nothing new.
    let all = entries(&service, "").await;
    assert_eq!(told(&all), [("consent.link", "user:tester"), ("consent.change", "person")]);
    let said = json!({ "channel": "all", "state": "opted_out", "source": "link" });
    assert_eq!((&all[1]["detail"], &all[1]["subject"]), (&said, &json!("+1415***0177")));
}

async fn no_entry_holds_a_secret_a_text_or_a_whole_number(on: On) {
    let prepared = prepare(on).await;
    let service = &prepared.world.service;
    let count = ask_for_everything(&prepared).await;
    let shown = entries(service, "").await;
    assert_eq!(shown.len(), count);
    // As the store has them, where it can be looked into from outside.
    let stored = match on {
        On::Embedded => String::new(),
        On::Redis => {
            let mut connection = RedisServer::shared().connect().await;
            let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
            let stored: Vec<(String, Vec<String>)> =
                ::redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(&mut connection).await.unwrap();
            assert_eq!(stored.len(), count);
            stored.into_iter().flat_map(|(_, fields)| fields).collect()
        }
    };
    let all = format!("{stored} {}", Value::from(shown));
    let log: String = service.log().lines().filter(|line| line.contains("\"audit\"")).collect();
    let code = format!("\"{}\"", code(&prepared.world));
    let numbers = [NUMBER, NUMBER_OF_ADA, "+14155550179", "+14155550180", "+14155550181"];
    for hidden in [TEXT, SECRET, AUTH_TOKEN, EVIDENCE, SENDER_KEY, &code].into_iter().chain(numbers) {
        assert!(!all.contains(hidden), "{hidden} is in the record: {all}");
        assert!(!log.contains(hidden), "{hidden} is in the log: {log}");
        // Nor without the plus.
        assert!(!all.contains(hidden.trim_start_matches('+')), "{hidden}");
    }
    assert!(all.contains("auth_token_secondary"), "which field was changed is told: {all}");
}

async fn the_record_is_read_page_by_page_and_by_who_did_what_and_when(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    for number in 0..5 {
        assert_eq!(service.send(&format!("+1415555020{number}"), TEXT).await.0, 201);
    }
    let stop = json!({ "phone_number": NUMBER, "channel": "all", "state": "opted_out" });
    let by_ada =
        |role| service.anonymous(Method::POST, "/api/sms/consent").bearer_auth(token(role)).json(&stop);
    assert_eq!(answer(by_ada(Role::Admin)).await.0, 200);
    let all = entries(service, "").await;
    let actions: Vec<_> = all.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, [vec!["message.send"; 5], vec!["consent.change"]].concat());
    let expected = json!({ "channel": "all", "state": "opted_out", "source": "api" });
    assert_eq!((&all[5]["detail"], &all[5]["subject"]), (&expected, &json!("+1415***0177")));

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = answer(service.get(Role::Admin, &format!("{AUDIT}?limit=2{cursor}"))).await;
        assert_eq!(status, 200, "{page}");
        paged.extend(page["entries"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    let after = all[3]["id"].as_str().unwrap();
    assert_eq!(entries(service, &format!("?cursor={after}")).await, all[4..]);
    assert_eq!(entries(service, "?action=consent.change").await, all[5..]);
    assert_eq!(entries(service, "?actor=user:tester&action=message.send").await, all[..5]);
    assert_eq!(entries(service, "?actor=api_key:tester").await, Vec::<Value>::new());
    let at = all[5]["at"].as_str().unwrap();
    let since = entries(service, &format!("?since={at}")).await;
    let until = entries(service, &format!("?until={at}")).await;
    assert_eq!([until, since.clone()].concat(), all);
    assert!(since.contains(&all[5]));
    for (query, field) in [("?action=x", "action"), ("?cursor=x", "cursor"), ("?limit=500", "limit")] {
        let (status, problem) = answer(service.get(Role::Admin, &format!("{AUDIT}{query}"))).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)));
    }
    // Behind the greatest place that can be written there is nothing.
    let end = format!("?cursor={0}-{0}-0", u64::MAX);
    assert_eq!(entries(service, &end).await, Vec::<Value>::new());
    // Another organization's administrator sees their own.
    assert_eq!(service.get_in("other", AUDIT).await.1["entries"], json!([]));
    let other = service.anonymous(Method::GET, &format!("{AUDIT}?cursor={after}"));
    let (_, page) = answer(other.bearer_auth(token_in("other", Role::Admin))).await;
    assert_eq!(page["entries"], json!([]));
}

async fn a_message_and_a_batch_tell_who_asked_for_them(on: On) {
    let keys = api_keys();
    let settings = [("TEXTLEDGER_API_KEYS", keys.as_str()), ("TEXTLEDGER_MPS", "2000")];
    let world = World::start_with(on, &settings).await;
    let service = &world.service;
    let (_, sent) = service.send(NUMBER, TEXT).await;
    let bulk = service.anonymous(Method::POST, "/api/sms/send-bulk").bearer_auth(SENDER_KEY);
    let (_, batch) = answer(bulk.json(&json!({ "phone_numbers": ["+14155550180"], "message": TEXT }))).await;
    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let elsewhere = world.send_elsewhere("+14155550182").await;
    eventually("all are known", async || {
        let (_, page) = answer(service.get(Role::Viewer, &format!("{path}/messages"))).await;
        (page["messages"][0]["status"] == "delivered").then_some(())
    })
    .await;
    let (_, progress) = answer(service.get(Role::Viewer, &path)).await;
    assert_eq!(progress["actor"], "api_key:app");
    let (_, page) = answer(service.get(Role::Viewer, &format!("{path}/messages"))).await;
    assert_eq!(page["messages"][0]["actor"], "api_key:app");
    assert_eq!(service.message_status(sent["id"].as_str().unwrap()).await.1["actor"], "user:tester");
    let (_, history) = answer(service.get(Role::Viewer, "/api/sms/messages")).await;
    let listed = history["messages"].as_array().unwrap().iter();
    let to_number = listed.filter(|message| message["to"] == NUMBER).map(|message| &message["actor"]);
    assert_eq!(to_number.collect::<Vec<_>>(), ["user:tester"]);
    let (status, found) = service.message_status(&elsewhere).await;
    assert!(status == 404 || found["actor"].is_null(), "{found}");
}

/// Ada is to be told things by SMS.
async fn wish_of_ada(service: &TestService) {
    let wish = json!({ "phone_number": NUMBER_OF_ADA, "sms_enabled": true });
    let request = service.anonymous(Method::PUT, "/api/sms/preferences/ada").bearer_auth(token(Role::Admin));
    assert_eq!(answer(request.json(&wish)).await.0, 200);
}

async fn a_batch_and_a_notice_that_reach_nobody_are_not_written_down(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_MPS", "2000")]).await;
    let service = &world.service;
    wish_of_ada(service).await;
    for number in [NUMBER, NUMBER_OF_ADA] {
        world.write(number, "STOP").await;
    }
    let before = entries(service, "").await;
    let many = json!({ "phone_numbers": [NUMBER, NUMBER_OF_ADA], "message": TEXT });
    let notice = json!({ "user_ids": ["ada", "nobody"], "message": TEXT, "category": "general" });
    for (path, body) in [("/api/sms/send-bulk", &many), ("/api/sms/notify", &notice)] {
        for _ in 0..2 {
            let (status, told) = answer(service.post(Role::Sender, path, body)).await;
            assert_eq!(status, 202, "{told}");
            assert_eq!(entries(service, "").await, before, "{path}: {told}");
        }
    }
    // One of them is enough.
    world.write(NUMBER_OF_ADA, "START").await;
    let before = entries(service, "").await.len();
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/send-bulk", &many)).await.0, 202);
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/notify", &notice)).await.0, 202);
    let all = entries(service, "").await;
    let [batch, told] = &all[before..] else { panic!("{all:?}") };
    assert_eq!((&batch["action"], &told["action"]), (&json!("batch.create"), &json!("notify")));
}

async fn a_request_that_is_repeated_under_its_key_is_written_down_once(on: On) {
    let world = World::start_with(on, &[("TEXTLEDGER_MPS", "2000")]).await;
    let service = &world.service;
    wish_of_ada(service).await;
    for (path, body) in [
        ("/api/sms/send", json!({ "to_number": NUMBER, "message": TEXT })),
        ("/api/sms/send-bulk", json!({ "phone_numbers": [NUMBER], "message": TEXT })),
        ("/api/sms/notify", json!({ "user_ids": ["ada"], "message": TEXT, "category": "general" })),
    ] {
        let before = entries(service, "").await.len();
        for _ in 0..3 {
            let request = service.post(Role::Sender, path, &body).header("Idempotency-Key", "one");
            assert!(matches!(answer(request).await.0, 201 | 202));
        }
        assert_eq!(entries(service, "").await.len(), before + 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_down_is_not_acknowledged_and_nothing_of_it_leaves() {
    let world = World::start_with(On::Redis, &[("TEXTLEDGER_MPS", "2000")]).await;
    let service = &world.service;
    wish_of_ada(service).await;
    let mut redis = RedisServer::shared().connect().await;
    let key = format!("{}:{{default:0}}:audit", service.setting("TEXTLEDGER_KEY_PREFIX"));
    // Something to which Redis adds no entry.
    ::redis::cmd("SET").arg(&key).arg("in the way").query_async::<()>(&mut redis).await.unwrap();
    let asked = [
        ("/api/sms/consent", json!({ "phone_number": NUMBER, "channel": "whatsapp", "state": "opted_out" })),
        ("/api/sms/send-bulk", json!({ "phone_numbers": [NUMBER], "message": TEXT })),
        ("/api/sms/notify", json!({ "user_ids": ["ada"], "message": TEXT, "category": "general" })),
    ];
    for (path, body) in &asked {
        let request = service.post(Role::Admin, path, body).header("Idempotency-Key", "one");
        let (status, problem) = answer(request).await;
        assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{path}: {problem}");
    }
    ::redis::cmd("DEL").arg(&key).query_async::<()>(&mut redis).await.unwrap();
    for (path, body) in &asked {
        let request = service.post(Role::Admin, path, body).header("Idempotency-Key", "one");
        assert!(matches!(answer(request).await.0, 200 | 202), "{path}");
    }
    let tester = "user:tester";
    let expected = [("consent.change", tester), ("batch.create", tester), ("notify", tester)];
    assert_eq!(told(&entries(service, "").await), expected);
    eventually("the batch leaves, once", async || (world.accepted_for(NUMBER) > 0).then_some(())).await;
    assert_eq!(world.accepted_for(NUMBER), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_caller_hangs_up_is_written_down_too() {
    let server = RedisServer::start();
    let service = TestService::start_with(On::Redis, &[("TEXTLEDGER_STORE", &server.url())]).await;
    // The change is held up in the middle, for longer than its caller waits.
    let mut redis = server.connect().await;
    let pause = ::redis::cmd("CLIENT").arg("PAUSE").arg(1_000).arg("WRITE").to_owned();
    pause.query_async::<()>(&mut redis).await.unwrap();
    let stop = json!({ "phone_number": NUMBER, "channel": "sms", "state": "opted_out" });
    let request = service.post(Role::Admin, "/api/sms/consent", &stop);
    let gone = request.timeout(std::time::Duration::from_millis(200)).send().await;
    assert!(gone.is_err_and(|error| error.is_timeout()));
    let entry = eventually("the change is written down", async || entries(&service, "").await.pop()).await;
    assert_eq!(told(&[entry]), [("consent.change", "user:tester")]);
}
