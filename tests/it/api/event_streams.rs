//! Event Streams beside the callbacks.

use serde_json::{Value, json};
use textledger::domain::Role;

use super::on_both_stores;
use crate::support::service::{ACCOUNT_SID, OUR_NUMBER, On, PERSON, TestService, answer, callback, reply};

const STATUS: &str = "/webhooks/twilio/status";
const SID: &str = "SM00000000000000000000000000000001";

on_both_stores! {
    events_and_callbacks_tell_of_one_message
    an_event_finds_our_id_in_the_url_of_its_callbacks
    a_stop_that_only_events_tell_of_is_obeyed
    an_old_stop_does_not_undo_a_later_start
    what_is_heard_of_late_yields_to_the_persons_later_word_alone
    a_number_with_another_owner_is_opted_out
    what_is_not_known_or_cannot_be_read_does_not_stop_the_rest
    what_is_not_signed_is_refused
    a_long_batch_is_taken_from_twilio_alone
}

fn status(sid: &str, status: &str, error_code: Value) -> Value {
    json!({
        "specversion": "1.0", "id": format!("EZ{sid}{status}"), "source": "/2010-04-01/Accounts/AC/Messages/SM.json",
        "type": format!("com.twilio.messaging.message.{}", status.to_lowercase()),
        "datacontenttype": "application/json", "time": "2026-11-22T12:30:00.000Z",
        "dataschema": "https://events-schemas.twilio.com/Messaging.MessageStatus/8",
        "data": {
            "messageSid": sid, "accountSid": ACCOUNT_SID, "messageStatus": status, "errorCode": error_code,
            "to": PERSON, "from": OUR_NUMBER, "timestamp": "2026-11-22T12:30:00.000Z", "apiVersion": "2010-04-01",
        },
    })
}

fn received(sid: &str, text: &str, timestamp: &str) -> Value {
    json!({
        "specversion": "1.0", "id": format!("EZ{sid}"), "type": "com.twilio.messaging.inbound-message.received",
        "data": {
            "messageSid": sid, "accountSid": ACCOUNT_SID, "body": text, "from": PERSON, "to": OUR_NUMBER, "numMedia": 0,
            "timestamp": timestamp,
        },
    })
}

async fn events_and_callbacks_tell_of_one_message(on: On) {
    let service = TestService::start(on).await;
    assert_eq!(service.webhook(STATUS, &callback(SID, "sent")).await.status(), 204);
    let batch = json!([status(SID, "DELIVERED", Value::Null), status(SID, "SENT", json!(0))]);
    for _ in 0..2 {
        assert_eq!(service.post_events(&batch).await.status(), 204);
    }
    assert_eq!(service.webhook(STATUS, &callback(SID, "delivered")).await.status(), 204);
    let events = service.events().await;
    let told: Vec<_> =
        events.iter().map(|event| (event["status"].as_str(), event["source"].as_str())).collect();
    assert_eq!(told, [(Some("sent"), Some("callback")), (Some("delivered"), Some("event_stream"))]);
    for (result, count) in [("accepted", 1), ("duplicate", 3)] {
        let sample = format!(r#"textledger_webhook_requests_total{{route="events",result="{result}"}}"#);
        assert_eq!(service.metric(&sample).await, count, "{result}");
    }
}

async fn an_event_finds_our_id_in_the_url_of_its_callbacks(on: On) {
    let service = TestService::start(on).await;
    let id = "0000000000000abc";
    let mut event = status(SID, "SENT", Value::Null);
    event["data"]["statusCallBackUrl"] = json!(format!("{}{STATUS}?id={id}#rc=5&rp=5xx", service.public_url));
    assert_eq!(service.post_events(&event).await.status(), 204);
    assert_eq!(service.events().await[0]["id"], id);
}

async fn a_stop_that_only_events_tell_of_is_obeyed(on: On) {
    let service = TestService::start(on).await;
    let stop = json!([received(SID, "Stop", "2026-11-22T12:30:00Z")]);
    assert_eq!(service.post_events(&stop).await.status(), 204);
    let (status, problem) = service.send(PERSON, "hello").await;
    assert_eq!((status, &problem["code"]), (409, &json!("recipient_opted_out")));
    // The webhook that comes after all is a repetition.
    let answer = service.webhook("/webhooks/twilio/inbound", &reply(SID, PERSON, "Stop")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(service.events().await.len(), 2);
}

async fn an_old_stop_does_not_undo_a_later_start(on: On) {
    let service = TestService::start(on).await;
    let inbound = "/webhooks/twilio/inbound";
    let sid = |number: u32| format!("SM{number:032x}");
    for (number, text) in [(1, "STOP"), (2, "START")] {
        assert_eq!(service.webhook(inbound, &reply(&sid(number), PERSON, text)).await.status(), 200);
    }
    let old = received(&sid(3), "STOP", "2020-01-01T00:00:00Z");
    assert_eq!(service.post_events(&old).await.status(), 204);
    // What is sent now is not refused for consent; nothing listens where Twilio is expected.
    assert_ne!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
    let of_kind = |events: &[Value], kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let events = service.events().await;
    assert_eq!((of_kind(&events, "inbound"), of_kind(&events, "consent")), (3, 2));
    // One that may be as new as that START counts: silence is the safe side.
    let future = received(&sid(4), "STOP", "2999-01-01T00:00:00Z");
    assert_eq!(service.post_events(&future).await.status(), 204);
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
}

async fn what_is_heard_of_late_yields_to_the_persons_later_word_alone(on: On) {
    let service = TestService::start(on).await;
    // An old START does not answer what was written since.
    let doubtful = service.webhook("/webhooks/twilio/inbound", &reply(SID, PERSON, "ok stop")).await;
    assert_eq!(doubtful.status(), 200);
    let sid = |number: u32| format!("SM{number:032x}");
    let start = received(&sid(2), "START", "2020-01-01T00:00:00Z");
    assert_eq!(service.post_events(&start).await.status(), 204);
    let (status, held) = service.send(PERSON, "hello").await;
    assert_eq!((status, &held["reason"]), (202, &json!("review")), "{held}");
    // Nor does what others have recorded since outdate an old STOP.
    let record = json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in" });
    assert_eq!(answer(service.post(Role::Sender, "/api/sms/consent", &record)).await.0, 200);
    let stop = received(&sid(3), "STOP", "2020-01-02T00:00:00Z");
    assert_eq!(service.post_events(&stop).await.status(), 204);
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
}

async fn a_number_with_another_owner_is_opted_out(on: On) {
    let service = TestService::start(on).await;
    let event = |id: &str, operation: &str| {
        json!({
            "specversion": "1.0", "type": "com.twilio.messaging.reassigned-number.detected", "id": id,
            "source": "AB1", "data": {
                "event_id": "1c70", "timestamp": "2026-09-21T00:00:00Z", "account_sid": ACCOUNT_SID,
                "from_number": OUR_NUMBER, "to_number": PERSON, "is_reassigned": true,
                "last_verified_date": "2026-08-01", "consent_operation": operation,
                "consent_updated_at": "2026-09-21T00:00:00Z",
            },
        })
    };
    assert_eq!(service.post_events(&event("NO1", "opt-in-kept")).await.status(), 204);
    assert_eq!(service.events().await.len(), 0);
    assert_eq!(service.post_events(&event("NO2", "opt-out-created")).await.status(), 204);
    let (_, known) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{PERSON}"))).await;
    let (sms, whatsapp) = (&known["channels"]["sms"], &known["channels"]["whatsapp"]);
    assert_eq!((&sms["state"], &sms["source"]), (&json!("opted_out"), &json!("reassigned_number")));
    assert_eq!(whatsapp["state"], "unknown");
    assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
    // It counts as the person's own word: nobody but the new owner takes it back.
    let opt_in = json!({ "phone_number": PERSON, "channel": "sms", "state": "opted_in" });
    let (status, problem) = answer(service.post(Role::Sender, "/api/sms/consent", &opt_in)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("opted_out_by_person")));
    let start = service.webhook("/webhooks/twilio/inbound", &reply(SID, PERSON, "START")).await;
    assert_eq!(start.status(), 200);
    // A repetition does not undo what the new owner has said since.
    assert_eq!(service.post_events(&event("NO2", "opt-out-created")).await.status(), 204);
    assert_ne!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
    assert_eq!(service.events().await.iter().filter(|event| event["type"] == "consent").count(), 2);
}

async fn what_is_not_known_or_cannot_be_read_does_not_stop_the_rest(on: On) {
    let service = TestService::start(on).await;
    let mut broken = status(SID, "SENT", Value::Null);
    broken["data"]["messageSid"] = json!("SM1");
    let other = json!({
        "type": "com.twilio.voice.call.completed", "id": "EZ9", "data": { "accountSid": ACCOUNT_SID },
    });
    let batch = json!([broken, other, status(SID, "DELIVERED", Value::Null)]);
    assert_eq!(service.post_events(&batch).await.status(), 204);
    assert_eq!(service.events().await.len(), 1);
    assert_eq!(service.metric("textledger_unknown_events_total").await, 1);
    for (body, expected) in
        [(json!([]), 204), (other.clone(), 204), (broken, 400), (json!([1]), 400), (json!("x"), 400)]
    {
        assert_eq!(service.post_events(&body).await.status(), expected, "{body}");
    }
    assert_eq!(service.events().await.len(), 1);
}

async fn what_is_not_signed_is_refused(on: On) {
    let service = TestService::start(on).await;
    let post = |target: &str, content_type: &str| {
        service
            .anonymous(reqwest::Method::POST, target)
            .header("content-type", content_type)
            .header("X-Twilio-Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            .body(status(SID, "SENT", Value::Null).to_string())
    };
    let events = "/webhooks/twilio/events";
    let hashed = format!("{events}?bodySHA256={}", "0".repeat(64));
    assert_eq!(answer(post(events, "application/json")).await.0, 403);
    assert_eq!(answer(post(&hashed, "application/cloudevents+json; charset=utf-8")).await.0, 403);
    assert_eq!(answer(post(&hashed, "text/plain")).await.0, 415);
    assert_eq!(answer(service.anonymous(reqwest::Method::GET, events)).await.0, 405);
    // Two accounts in one batch: no one key can have signed for both.
    let mut other = status(SID, "SENT", Value::Null);
    other["data"]["accountSid"] = json!("AC0123456789abcdef0123456789abcdef");
    let batch = json!([status(SID, "SENT", Value::Null), other]);
    assert_eq!(service.post_events(&batch).await.status(), 403);
    assert!(service.events().await.is_empty());
    assert_eq!(answer(service.get(Role::Viewer, "/api/sms/webhook-refusals")).await.0, 403);
}

async fn a_long_batch_is_taken_from_twilio_alone(on: On) {
    let service = TestService::start(on).await;
    let sid = |number: usize| format!("SM{number:032x}");
    let batch: Vec<Value> = (0..400).map(|number| status(&sid(number), "SENT", Value::Null)).collect();
    let batch = json!(batch);
    assert!(batch.to_string().len() > 2 * 64 * 1024);
    assert_eq!(service.post_events(&batch).await.status(), 204);
    assert_eq!(service.all_events().await.len(), 400);
    let unsigned = service
        .anonymous(reqwest::Method::POST, "/webhooks/twilio/events?bodySHA256=0")
        .header("content-type", "application/json")
        .body(batch.to_string());
    assert_eq!(answer(unsigned).await.0, 413);
}
