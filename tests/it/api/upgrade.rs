//! A store that version 0.1.0 filled, under this version: `fixtures/store-0.1.0`, which its `fill` made.

use std::{fs, path::Path};

use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::{
    eventually,
    redis_server::RedisServer,
    service::{On, TestService, answer, token_of},
    twilio::World,
};

on_both_stores! {
    whoever_said_no_to_version_0_1_0_is_not_sent_to_under_any_spelling
    what_version_0_1_0_kept_of_messages_people_and_users_is_there
}

/// A service over a copy of the store, and the server that it is in if that is Redis.
async fn start(on: On) -> (World, Option<RedisServer>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-0.1.0");
    let (server, store) = match on {
        On::Embedded => {
            fs::copy(fixture.join("embedded.redb"), folder.path().join("textledger.redb")).unwrap();
            (None, format!("embedded:{}", folder.path().display()))
        }
        On::Redis => {
            let server = RedisServer::start_with_dump(&fixture.join("redis.rdb"));
            let url = server.url();
            (Some(server), url)
        }
    };
    let mut settings = vec![("TEXTLEDGER_STORE", store.as_str()), ("TEXTLEDGER_KEY_PREFIX", "tl")];
    if matches!(on, On::Redis) {
        settings.push(("TEXTLEDGER_PARTITIONS", "4"));
    }
    (World::start_with(on, &settings).await, server, folder)
}

async fn get(service: &TestService, path: &str) -> Value {
    let (status, body) = answer(service.get(Role::Admin, path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The status of a send, and the code by which it was refused.
async fn send(service: &TestService, path: &str, to: &str) -> (u16, Value) {
    let body = json!({ "to_number": to, "message": "hello" });
    let (status, body) = answer(service.post(Role::Sender, path, &body)).await;
    (status, body["code"].clone())
}

const SMS: &str = "/api/sms/send";
const WHATSAPP: &str = "/api/sms/whatsapp/send";

/// People of countries in which WhatsApp has another number than is dialled, who stopped; the last of them before a line of
/// a file had them opted in under the other spelling.
const STOPPED_OVER_WHATSAPP: [(&str, &str); 4] = [
    ("+5511987654321", "+551187654321"),
    ("+525512345678", "+5215512345678"),
    ("+541123456789", "+5491123456789"),
    ("+5521987654321", "+552187654321"),
];

async fn whoever_said_no_to_version_0_1_0_is_not_sent_to_under_any_spelling(on: On) {
    let (mut world, _server, _folder) = start(on).await;
    let refused = (409, json!("recipient_opted_out"));
    // Once as the first start leaves it, and once as the second does.
    for _ in 0..2 {
        let service = &world.service;
        for (dialled, by_whatsapp) in STOPPED_OVER_WHATSAPP {
            for address in [dialled, by_whatsapp] {
                assert_eq!(send(service, WHATSAPP, address).await, refused, "{address}");
                let known = get(service, &format!("/api/sms/consent/{address}")).await;
                assert_eq!(known["channels"]["whatsapp"]["state"], "opted_out", "{known}");
                assert_eq!(known["channels"]["whatsapp"]["source"], "keyword", "{known}");
            }
        }
        // What waited for the number that is dialled, and has been due for long.
        let waited = async || {
            let page = get(service, "/api/sms/messages?to=%2B5511987654321&limit=500").await;
            let messages = page["messages"].as_array().unwrap().clone();
            let waited = messages.into_iter().rfind(|message| message["message_sid"].is_null()).unwrap();
            (waited["status"] == "refused").then_some(())
        };
        eventually("the message that waited is refused", waited).await;
        for number in ["+14155550101", "+14155550102", "+14155550103", "+14155550104"] {
            assert_eq!(send(service, SMS, number).await, refused, "{number}");
        }
        assert_eq!(world.twilio.messages().len(), 0);
        world.service.stop().await;
        world.service.start_again();
    }
    let moved = "persons whom an earlier version knew by another spelling";
    assert_eq!(world.service.log().matches(moved).count(), 1);

    // Only what the person says undoes it: for 0102 consent was there, and Twilio's block was not lifted.
    world.write("+14155550102", "START").await;
    world.write("whatsapp:+5215512345678", "START").await;
    assert_eq!(send(&world.service, SMS, "+14155550102").await.0, 201);
    assert_eq!(send(&world.service, WHATSAPP, "+525512345678").await.0, 201);
}

async fn what_version_0_1_0_kept_of_messages_people_and_users_is_there(on: On) {
    let (world, _server, _folder) = start(on).await;
    let service = &world.service;
    for (dialled, by_whatsapp) in STOPPED_OVER_WHATSAPP {
        let messages = if dialled.starts_with("+5521") { 0 } else { 2 };
        for address in [dialled, by_whatsapp] {
            let address = address.replace('+', "%2B");
            let page = get(service, &format!("/api/sms/messages?to={address}&status=read")).await;
            let listed = page["messages"].as_array().unwrap();
            assert_eq!(listed.len(), messages, "{address}: {page}");
            // Nobody noted who asked for them.
            assert!(listed.iter().all(|message| message["actor"].is_null()), "{page}");
        }
    }
    let history = get(service, "/api/sms/consent/+5521987654321/history").await;
    let sources: Vec<_> =
        history["changes"].as_array().unwrap().iter().map(|change| &change["source"]).collect();
    assert_eq!(sources, ["import", "keyword"], "{history}");
    let by_phone = get(service, "/api/sms/consent/+14155550104/history").await;
    assert_eq!(by_phone["changes"][0]["evidence"], "by phone", "{by_phone}");

    assert_eq!(get(service, "/api/sms/audit").await["entries"], json!([]));

    let kinds = ["delivery", "inbound", "consent"];
    let events = service.all_events().await;
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    // Six messages over WhatsApp with four statuses each, two by SMS with three; replies; changes of consent.
    assert_eq!(kinds.map(of), [6 * 4 + 2 * 3, 8, 11], "{events:?}");

    let ada = token_of("ada", None);
    let own = reqwest::Client::new().get(service.url("/api/sms/preferences")).bearer_auth(&ada);
    let (status, preferences) = answer(own).await;
    assert_eq!((status, &preferences["phone_number"]), (200, &json!("+14155550105")), "{preferences}");
    assert_eq!(
        (&preferences["sms_enabled"], &preferences["whatsapp_enabled"]),
        (&json!(true), &json!(false))
    );
    // It is one user's alone, although 0.1.0 let two have it.
    let wanted = json!({ "sms_enabled": true, "whatsapp_enabled": true, "phone_number": "+14155550105" });
    let mut statuses = Vec::new();
    for user in ["ada", "bob"] {
        let vouched_for = token_of(user, Some("+14155550105"));
        let put = reqwest::Client::new().put(service.url("/api/sms/preferences")).bearer_auth(vouched_for);
        statuses.push(answer(put.json(&wanted)).await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}
