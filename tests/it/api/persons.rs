//! One person is one, however the address is spelled.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::{
    Consent, Role, UnixMs,
    consent::{ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
};

use super::on_both_stores;
use crate::support::{
    eventually,
    former::Former,
    now,
    redis_server::RedisServer,
    service::{On, TestService, answer, token},
    twilio::World,
};

on_both_stores! {
    a_stop_from_the_number_that_whatsapp_uses_holds_for_the_number_that_is_dialled
    a_number_is_read_as_it_is_copied
    addresses_are_sent_to_and_shown_as_they_were_given
    a_stop_that_an_earlier_version_kept_under_a_spelling_is_obeyed
    a_user_id_and_a_number_that_a_message_names_together_are_one_person
    what_waits_for_a_user_id_is_held_by_the_number
    who_is_known_by_a_user_id_or_a_short_code_alone_is_like_everybody_else
}

/// The status of a send by WhatsApp, and the code by which it was refused.
async fn send_whatsapp(service: &TestService, to: &str) -> (u16, Value) {
    let body = json!({ "to_number": to, "message": "hello" });
    let (status, body) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await;
    (status, body["code"].clone())
}

async fn get(service: &TestService, path: &str) -> Value {
    let (status, body) = answer(service.get(Role::Viewer, path)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn refused() -> (u16, Value) {
    (409, json!("recipient_opted_out"))
}

async fn a_stop_from_the_number_that_whatsapp_uses_holds_for_the_number_that_is_dialled(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    for (by_whatsapp, dialled) in [
        ("+551187654321", "+5511987654321"),
        ("+5215512345678", "+525512345678"),
        ("+5491123456789", "+541123456789"),
    ] {
        assert_eq!(send_whatsapp(service, dialled).await.0, 201, "{dialled}");
        world.write(&format!("whatsapp:{by_whatsapp}"), "STOP").await;
        for address in [by_whatsapp, dialled] {
            assert_eq!(send_whatsapp(service, address).await, refused(), "{address}");
            let known = get(service, &format!("/api/sms/consent/{address}")).await;
            assert_eq!(known["channels"]["whatsapp"]["state"], "opted_out", "{known}");
        }
        world.write(&format!("whatsapp:{dialled}"), "START").await;
        assert_eq!(send_whatsapp(service, by_whatsapp).await.0, 201, "{by_whatsapp}");
    }
}

async fn a_number_is_read_as_it_is_copied(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    world.write("+442079460958", "STOP").await;
    for typed in ["+44 (0)20 7946 0958", "\u{202a}+442079460958\u{202c}", "+44\u{ad}20\u{a0}7946 0958"] {
        let (status, problem) = service.send(typed, "hello").await;
        assert_eq!((status, problem["code"].clone()), refused(), "{typed}");
    }
}

async fn addresses_are_sent_to_and_shown_as_they_were_given(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    let numbers = ["+55 11 8765-4321", "+5511987654321", "+44 (0)20 7946 0958", "+442079460958"];
    let body = json!({ "phone_numbers": numbers, "message": "hello" });
    let (status, batch) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send-bulk", &body)).await;
    assert_eq!((status, &batch["total"], &batch["accepted"]), (202, &json!(2), &json!(2)), "{batch}");
    assert_eq!(send_whatsapp(service, "+5511987654321").await.0, 201);
    eventually("the batch leaves", async || {
        (world.accepted_for("whatsapp:+551187654321") == 1).then_some(())
    })
    .await;
    assert_eq!(world.accepted_for("whatsapp:+5511987654321"), 1);
    let page = get(service, "/api/sms/messages?to=%2B551187654321").await;
    let shown: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| &message["to"]).collect();
    assert_eq!(shown, ["+5511987654321", "+551187654321"]);
    world.write("whatsapp:+551187654321", "STOP").await;
    let changes = get(service, "/api/sms/consent/%2B5511987654321/history").await;
    assert_eq!(changes["changes"].as_array().unwrap().len(), 1);
    let events = get(service, "/api/sms/events?type=consent").await;
    assert_eq!(events["events"][0]["phone"], "+551187654321", "{events}");
    let export = service.get(Role::Admin, "/api/sms/consent/export").send().await.unwrap();
    assert!(export.text().await.unwrap().contains("\n+551187654321,whatsapp,opted_out,keyword,"));
}

async fn a_stop_that_an_earlier_version_kept_under_a_spelling_is_obeyed(on: On) {
    let entry = ConsentEntry {
        phone: "+551187654321".parse().unwrap(),
        channel: ConsentChannel::Whatsapp,
        state: ConsentState::OptedOut,
        source: ConsentSource::Keyword,
        sid: None,
        at: UnixMs::new(1_764_000_000_000),
    };
    let ConsentEntry { phone, channel, state, source, at, .. } = &entry;
    let (consent, _) = Consent::default().recorded(phone, *channel, *state, *source, *at);
    let changes = vec![ConsentChange { entry, evidence: None, actor: None }];
    let (spelling, consent) = ("+551187654321", Some(consent));
    let former = Former { spelling, consent, changes, history: Vec::new(), last: None };
    let (folder, prefix) = (tempfile::tempdir().unwrap(), RedisServer::fresh_prefix());
    let file = format!("embedded:{}", folder.path().display());
    let setting = match on {
        On::Embedded => {
            former.write_to_file(folder.path());
            ("TEXTLEDGER_STORE", file.as_str())
        }
        On::Redis => {
            former.write_to_redis(&RedisServer::shared().url(), &prefix, 1);
            ("TEXTLEDGER_KEY_PREFIX", prefix.as_str())
        }
    };
    let mut world = World::start_with(on, &[setting]).await;
    assert_eq!(send_whatsapp(&world.service, "+5511987654321").await, refused());
    let moved = "persons whom an earlier version knew by another spelling";
    assert_eq!(world.service.log().matches(moved).count(), 1);
    world.service.stop().await;
    world.service.start_again();
    assert_eq!(send_whatsapp(&world.service, "+5511987654321").await, refused());
    assert_eq!(world.service.log().matches(moved).count(), 1);
}

/// A WhatsApp message that names its writer by user id and number.
fn named_by_both(from: &str, text: &str) -> Value {
    json!({
        "from": from, "to": "whatsapp:+15005550006", "body": text, "WaId": "14155552703",
        "ExternalUserId": "whatsapp:US.444555666",
    })
}

async fn a_user_id_and_a_number_that_a_message_names_together_are_one_person(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    world.write("whatsapp:US.444555666", "STOP").await;
    assert_eq!(send_whatsapp(service, "US.444555666").await, refused());
    assert_eq!(send_whatsapp(service, "+14155552703").await.0, 201);
    // What was known of the one is known of both.
    world.write_with(&named_by_both("whatsapp:US.444555666", "hello")).await;
    for address in ["+14155552703", "US.444555666", "whatsapp:US.444555666"] {
        assert_eq!(send_whatsapp(service, address).await, refused(), "{address}");
        let known = get(service, &format!("/api/sms/consent/{address}")).await;
        assert_eq!(known["channels"]["whatsapp"]["state"], "opted_out", "{known}");
        let history = get(service, &format!("/api/sms/consent/{address}/history")).await;
        assert_eq!(history["changes"].as_array().unwrap().len(), 1, "{history}");
    }
    // And from now on it is one, whichever name a message comes under.
    world.write("whatsapp:+14155552703", "START").await;
    let to = json!({ "phone_numbers": ["US.444555666", "+14155552703"], "message": "hello" });
    let (_, batch) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send-bulk", &to)).await;
    assert_eq!((&batch["total"], &batch["accepted"]), (&json!(1), &json!(1)), "{batch}");
    let left = async || (world.accepted_for("whatsapp:US.444555666") == 1).then_some(());
    eventually("the batch leaves", left).await;
    world.write("whatsapp:US.444555666", "STOP").await;
    assert_eq!(send_whatsapp(service, "+14155552703").await, refused());
    world.write_with(&named_by_both("whatsapp:+14155552703", "START")).await;
    assert_eq!(send_whatsapp(service, "US.444555666").await.0, 201);
    assert_eq!(world.accepted_for("whatsapp:US.444555666"), 2);
    let all = get(service, "/api/sms/messages?to=US.444555666").await;
    assert_eq!(all["messages"].as_array().unwrap().len(), 3, "{all}");
}

async fn what_waits_for_a_user_id_is_held_by_the_number(on: On) {
    let settings = [("TEXTLEDGER_PARTITIONS", "16"), ("TEXTLEDGER_MPS", "2000")];
    let world = World::start_with(on, if matches!(on, On::Redis) { &settings } else { &settings[1..] }).await;
    let service = &world.service;
    let at = (now() + Duration::from_secs(3_600)).to_string();
    let body = json!({ "to_number": "US.444555666", "message": "hello", "send_at": at });
    let (status, sent) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await;
    assert_eq!((status, &sent["status"]), (202, &json!("scheduled")), "{sent}");
    assert_eq!(send_whatsapp(service, "US.444555666").await.0, 201);
    world.write_with(&named_by_both("whatsapp:US.444555666", "hello")).await;
    assert_eq!(send_whatsapp(service, "US.444555666").await.0, 201);
    world.write("whatsapp:+14155552703", "STOP").await;
    let (_, message) = service.message_status(sent["id"].as_str().unwrap()).await;
    assert_eq!(
        (&message["status"], &message["to"]),
        (&json!("refused"), &json!("US.444555666")),
        "{message}"
    );
    assert_eq!(send_whatsapp(service, "US.444555666").await, refused());
    assert_eq!(world.accepted_for("whatsapp:US.444555666"), 2);
}

async fn who_is_known_by_a_user_id_or_a_short_code_alone_is_like_everybody_else(on: On) {
    let world = World::start(on).await;
    let service = &world.service;
    for address in ["US.444555666", "12345"] {
        let record =
            json!({ "phone_number": address, "channel": "all", "state": "opted_out", "source": "api" });
        let (status, known) = answer(service.post(Role::Admin, "/api/sms/consent", &record)).await;
        assert_eq!((status, &known["phone_number"]), (200, &json!(address)), "{known}");
        let known = get(service, &format!("/api/sms/consent/{address}")).await;
        assert_eq!(known["channels"]["sms"]["state"], "opted_out", "{known}");
    }
    assert_eq!(send_whatsapp(service, "whatsapp:US.444555666").await, refused());
    assert_eq!(service.send("12345", "hello").await.1["code"], "recipient_opted_out");
    for wrong in ["US.444555666", "whatsapp:+14155552703"] {
        assert_eq!(service.send(wrong, "hello").await.1["code"], "invalid_phone_number", "{wrong}");
    }
    assert_eq!(send_whatsapp(service, "12345").await, (422, json!("invalid_phone_number")));
    let file = "phone_number,channel,state\nUS.444555666,all,opted_in\n12345,all,opted_in\n";
    let request = service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
    let (_, done) = answer(request.header("Content-Type", "text/csv").body(file)).await;
    assert_eq!((&done["imported"], &done["rejected"]), (&json!(2), &json!(0)), "{done}");
    assert_eq!(send_whatsapp(service, "US.444555666").await.0, 201);
}
