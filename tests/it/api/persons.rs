//! One person is one, however the address is spelled.

use serde_json::{Value, json};
use textledger::domain::{
    Consent, Role, UnixMs,
    consent::{ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
};

use super::on_both_stores;
use crate::support::{
    eventually,
    former::Former,
    redis_server::RedisServer,
    service::{On, TestService, answer},
    twilio::World,
};

on_both_stores! {
    a_stop_from_the_number_that_whatsapp_uses_holds_for_the_number_that_is_dialled
    a_number_is_read_as_it_is_copied
    addresses_are_sent_to_and_shown_as_they_were_given
    a_stop_that_an_earlier_version_kept_under_a_spelling_is_obeyed
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
