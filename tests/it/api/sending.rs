//! Sending through a simulated Twilio: what it accepts, refuses, limits, loses.

use serde_json::json;
use textledger::{domain::Role, twilio::MessageStatus};

use super::on_both_stores;
use crate::support::{
    eventually,
    service::{On, TestService, answer},
    twilio::World,
};

on_both_stores! {
    a_message_is_followed_from_send_to_delivered
    a_whatsapp_message_goes_on_to_read
    everything_that_is_asked_for_reaches_twilio
    what_twilio_refuses_is_a_problem_with_its_code
    a_lost_answer_is_unknown_until_a_callback_tells
    a_limited_rate_is_waited_for
    a_stop_between_two_tries_is_obeyed
    callbacks_out_of_order_and_twice_end_the_same
    stop_refuses_and_start_allows
    a_send_without_an_account_says_what_to_do
}

async fn a_message_is_followed_from_send_to_delivered(on: On) {
    let world = World::start(on).await;
    let (status, sent) = world.service.send("+1 (415) 555-0100", "hello").await;
    assert_eq!(status, 201, "{sent}");
    assert_eq!(sent["status"], "queued");
    assert_eq!((&sent["to"], &sent["from"]), (&json!("+14155550100"), &json!("+15005550006")));
    assert_eq!((&sent["channel"], &sent["segments"]), (&json!("sms"), &json!(1)));
    world.settle().await;
    for name in ["id", "message_sid"] {
        let (_, message) = world.service.message_status(sent[name].as_str().unwrap()).await;
        assert_eq!(message["status"], "delivered");
        assert_eq!((&message["id"], &message["message_sid"]), (&sent["id"], &sent["message_sid"]));
        assert_eq!((&message["segments"], &message["direction"]), (&json!(1), &json!("outbound")));
        let timeline: Vec<_> = message["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["status"].as_str().unwrap(), entry["source"].as_str().unwrap()))
            .collect();
        assert_eq!(timeline, [("queued", "api"), ("sent", "callback"), ("delivered", "callback")]);
    }
    let callback = world.twilio.messages()[0].status_callback.clone().unwrap();
    let id = sent["id"].as_str().unwrap();
    assert_eq!(
        callback,
        format!(
            "{}/webhooks/twilio/status?id={id}#rc=5&rp=5xx,ct,rt&ct=2000&rt=4000",
            world.service.public_url
        )
    );
}

async fn a_whatsapp_message_goes_on_to_read(on: On) {
    let world = World::start(on).await;
    let body = json!({ "to_number": "whatsapp:+14155550100", "message": "hello", "category": "general", "user_id": "u1" });
    let (status, sent) = answer(world.service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await;
    assert_eq!((status, &sent["channel"]), (201, &json!("whatsapp")));
    assert_eq!(sent["to"], "+14155550100");
    world.settle().await;
    let (_, message) = world.service.message_status(sent["id"].as_str().unwrap()).await;
    assert_eq!((&message["status"], &message["type"]), (&json!("read"), &json!("whatsapp")));
    assert_eq!((&message["category"], &message["user_id"]), (&json!("general"), &json!("u1")));
}

async fn everything_that_is_asked_for_reaches_twilio(on: On) {
    let world = World::start(on).await;
    let service = format!("MG{}", "c".repeat(32));
    let body = json!({
        "to_number": "+14155550100", "message": "look", "messaging_service_sid": service,
        "media_url": ["https://example.com/a.png", "https://example.com/b.png"], "validity_period": 600,
    });
    let (status, sent) = answer(world.service.post(Role::Sender, "/api/sms/send", &body)).await;
    assert_eq!((status, &sent["status"], &sent["from"]), (201, &json!("accepted"), &json!(null)));
    let message = &world.twilio.messages()[0];
    assert_eq!((message.body.as_str(), message.num_media), ("look", 2));
    assert_eq!(message.messaging_service_sid.as_ref().map(|sid| sid.as_str()), Some(service.as_str()));
    world.settle().await;
    let (_, message) = world.service.message_status(sent["message_sid"].as_str().unwrap()).await;
    let statuses: Vec<_> = message["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["accepted", "queued", "sent", "delivered"]);
}

async fn what_twilio_refuses_is_a_problem_with_its_code(on: On) {
    let world = World::start(on).await;
    for (to, status, code, twilio_code) in [
        ("+15005550001", 422, "invalid_phone_number", 21_211),
        ("+15005550002", 422, "twilio_refused", 21_612),
        ("+15005550003", 422, "geo_permission", 21_408),
        ("+15005550009", 422, "invalid_phone_number", 21_614),
    ] {
        let (answered, problem) = world.service.send(to, "hello").await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(problem["twilio_code"], twilio_code);
        assert!(problem["mend"].as_str().is_some_and(|mend| !mend.is_empty()));
    }
    // 21610 is an opt-out, also for the next send, which Twilio is not asked for any more.
    for _ in 0..2 {
        let (status, problem) = world.service.send("+15005550004", "hello").await;
        assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    }
    let consents = world.service.events().await;
    let consent = consents.iter().find(|event| event["type"] == "consent").unwrap();
    assert_eq!((&consent["source"], &consent["state"]), (&json!("twilio_21610"), &json!("opted_out")));
    // Delivery fails with the code that the number asks for, explained.
    let (_, sent) = world.service.send("+14155530003", "hello").await;
    world.settle().await;
    let (_, message) = world.service.message_status(sent["message_sid"].as_str().unwrap()).await;
    assert_eq!((&message["status"], &message["final"]), (&json!("undelivered"), &json!(true)));
    assert_eq!(message["error"]["code"], 30_003);
    assert!(message["error"]["meaning"].is_string() && message["error"]["mend"].is_string());
}

async fn a_lost_answer_is_unknown_until_a_callback_tells(on: On) {
    let world = World::start(on).await;
    world.fault(json!({ "accept_then_drop_response": 1.0, "delivery_ms": 300 })).await;
    let (status, sent) = world.service.send("+14155550100", "hello").await;
    assert_eq!((status, &sent["status"], &sent["message_sid"]), (202, &json!("unknown"), &json!(null)));
    world.settle().await;
    let (_, message) = world.service.message_status(sent["id"].as_str().unwrap()).await;
    assert_eq!(message["status"], "delivered");
    assert_eq!(world.accepted_for("+14155550100"), 1, "never sent twice");
}

async fn a_limited_rate_is_waited_for(on: On) {
    let world = World::start(on).await;
    world.fault(json!({ "rate_limit": 0.7, "seed": 7 })).await;
    for number in 0..4 {
        let (status, sent) = world.service.send(&format!("+1415555010{number}"), "hello").await;
        assert_eq!(status, 201, "{sent}");
    }
    world.settle().await;
    assert_eq!(world.twilio.messages().len(), 4);
}

async fn a_stop_between_two_tries_is_obeyed(on: On) {
    let world = World::start(on).await;
    world.fault(json!({ "rate_limit": 1.0, "seed": 7 })).await;
    let person = "+14155550100";
    let stop = async {
        let is_stored = async || {
            let history = world.service.get(Role::Viewer, "/api/sms/messages?to=%2B14155550100");
            let (_, history) = answer(history).await;
            (history["messages"].as_array()?.len() == 1).then_some(())
        };
        eventually("the send is under way", is_stored).await;
        world.write(person, "STOP").await;
        world.fault(json!({})).await;
    };
    let ((status, problem), ()) = tokio::join!(world.service.send(person, "hello"), stop);
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")), "{problem}");
    assert_eq!(world.accepted_for(person), 0);
}

async fn callbacks_out_of_order_and_twice_end_the_same(on: On) {
    let world = World::start(on).await;
    world.fault(json!({ "reorder_callbacks": 1.0, "duplicate_callback": 1.0, "seed": 3 })).await;
    let mut sids = Vec::new();
    for number in 0..10 {
        let (status, sent) = world.service.send(&format!("+1415555010{number}"), "hello").await;
        assert_eq!(status, 201);
        sids.push(sent["message_sid"].as_str().unwrap().to_owned());
    }
    world.settle().await;
    for sid in sids {
        let (_, message) = world.service.message_status(&sid).await;
        assert_eq!(message["status"], "delivered");
        assert_eq!(message["timeline"].as_array().unwrap().len(), 3, "{message}");
    }
    let delivered = world.twilio.messages().iter().all(|message| message.status == MessageStatus::Delivered);
    assert!(delivered);
}

async fn stop_refuses_and_start_allows(on: On) {
    let world = World::start(on).await;
    let person = "+14155550100";
    assert_eq!(world.service.send(person, "hello").await.0, 201);
    assert!(world.write(person, "Stop").await.1.contains("<Response"));
    let (status, problem) = world.service.send(person, "hello?").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    assert!(problem["mend"].as_str().unwrap().contains("START"));
    // JOIN is consent on our side only: Twilio still blocks.
    world.write(person, "JOIN").await;
    assert_eq!(world.service.send(person, "hello?").await.1["code"], "recipient_opted_out");
    // WhatsApp is another channel.
    let body = json!({ "to_number": person, "message": "hello" });
    assert_eq!(answer(world.service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await.0, 201);
    world.write(person, "START").await;
    assert_eq!(world.service.send(person, "hello again").await.0, 201);
    assert_eq!(world.accepted_for(person), 2);
}

async fn a_send_without_an_account_says_what_to_do(on: On) {
    let service = TestService::start_with(on, &[("TWILIO_ACCOUNT_SID", ""), ("TWILIO_AUTH_TOKEN", "")]).await;
    let (status, problem) = service.send("+14155550100", "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("twilio_not_configured")));
    assert!(problem["mend"].as_str().unwrap().contains("TWILIO_ACCOUNT_SID"));
    eventually("the start is logged", async || service.log().contains("no Twilio account").then_some(()))
        .await;
}
