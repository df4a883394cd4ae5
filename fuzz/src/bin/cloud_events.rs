//! The body of Event Streams: one event and a list are read alike, event by event, and no body is more than refused.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use textledger::twilio::{
    Form,
    reply::ReplyReader,
    signature::{Algorithm, Content, Refusal, Request, SigningKey, body_sha256_hex, sign, verify},
    webhook::{EventBatch, EventContent, InvalidWebhook},
};

static READER: LazyLock<ReplyReader> = LazyLock::new(ReplyReader::default);

fuzz_target!(|data: &[u8]| {
    let batch = EventBatch::parse(data);
    holds_what_the_json_holds(&batch, data);
    is_read_alike_in_a_list(&batch, data);
    if let Ok(batch) = &batch {
        is_made_of_what_was_sent(batch, data);
    }
    is_signed_by_its_hash(data);
});

fn holds_what_the_json_holds(batch: &Result<EventBatch, InvalidWebhook>, data: &[u8]) {
    let json = serde_json::from_slice::<Value>(data);
    match batch {
        Ok(batch) => match json.expect("a batch is JSON") {
            Value::Array(list) => assert_eq!(batch.events.len(), list.len()),
            other => assert_eq!((batch.events.len(), other.is_object()), (1, true)),
        },
        Err(error) => {
            assert_eq!(*error, InvalidWebhook::NoEvents);
            let holds_events = json.is_ok_and(|json| match json {
                Value::Array(list) => list.iter().all(Value::is_object),
                other => other.is_object(),
            });
            assert!(!holds_events, "a batch is refused for no reason");
        }
    }
}

fn is_read_alike_in_a_list(batch: &Result<EventBatch, InvalidWebhook>, data: &[u8]) {
    let Ok(batch) = batch else { return };
    if data.trim_ascii_start().starts_with(b"{") {
        // One level deeper JSON may be too deep.
        if let Ok(list) = EventBatch::parse(&[b"[", data, b",", data, b"]"].concat()) {
            assert_eq!(list.events[..1], batch.events);
            assert_eq!(list.events[1..], batch.events);
        }
    }
}

fn is_made_of_what_was_sent(batch: &EventBatch, data: &[u8]) {
    let json = serde_json::from_slice::<Value>(data).expect("a batch is JSON");
    let sent = json.as_array().map_or(std::slice::from_ref(&json), Vec::as_slice);
    for (event, sent) in batch.events.iter().zip(sent) {
        let kind = sent["type"].as_str();
        let account_sid = event.account_sid.as_ref().map(|sid| sid.as_str());
        assert_eq!(event.id.as_deref(), sent["id"].as_str());
        let names_account = |sid: &str| {
            ["accountSid", "account_sid"].iter().any(|name| sent["data"][name].as_str() == Some(sid))
        };
        assert!(account_sid.is_none_or(names_account));
        match &event.content {
            EventContent::Status { status, status_callback_url } => {
                assert!(kind.is_some_and(|kind| kind.starts_with("com.twilio.messaging.message.")));
                assert_eq!(Some(status.account_sid.as_str()), account_sid);
                assert_eq!(sent["data"]["messageSid"].as_str(), Some(status.message_sid.as_str()));
                assert_ne!(status.error_code, Some(0));
                let query = status_callback_url.as_deref().and_then(|url| url.split(['?', '#']).nth(1));
                query.map(|query| Form::parse(query.as_bytes()).len());
            }
            EventContent::Incoming(message) => {
                assert_eq!(kind, Some("com.twilio.messaging.inbound-message.received"));
                assert_eq!(Some(message.account_sid.as_str()), account_sid);
                assert_eq!(sent["data"]["from"].as_str(), Some(message.from.to_twilio().as_str()));
                READER.read_message(message);
            }
            EventContent::Reassigned { number } => {
                assert_eq!(kind, Some("com.twilio.messaging.reassigned-number.detected"));
                assert_eq!(sent["data"]["to_number"].as_str(), Some(number.to_twilio().as_str()));
            }
            EventContent::Other => assert!(kind.is_some()),
            EventContent::Unreadable(error) => {
                assert!(!matches!(error, InvalidWebhook::NoEvents));
            }
        }
    }
}

/// A body that is no form is verified by the hash in its URL: its own holds, and that of any other body does not.
fn is_signed_by_its_hash(data: &[u8]) {
    let keys = [SigningKey::from_bytes(Algorithm::HmacSha1, b"token")];
    let url = format!("https://sms.example.com/webhooks/twilio/events?bodySHA256={}", body_sha256_hex(data));
    let signature = sign(&keys[0], &url, &Form::default());
    let check = |body: &[u8]| verify(&keys, Request { url: &url, content: Content::Body(body) }, &signature);
    assert!(check(data).is_ok());
    assert_eq!(check(&[data, b" "].concat()), Err(Refusal::BodyHashMismatch));
    if let Some((_, shorter)) = data.split_last() {
        assert_eq!(check(shorter), Err(Refusal::BodyHashMismatch));
    }
}
