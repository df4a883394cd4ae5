//! Event Streams: nothing panics, and what is a list is as long as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::twilio::webhook::{EventBatch, EventContent};

fuzz_target!(|body: &[u8]| {
    let Ok(batch) = EventBatch::parse(body) else { return };
    assert!(batch.events.len() <= body.len());
    for event in &batch.events {
        match &event.content {
            EventContent::Status { status, .. } => {
                assert_eq!(event.account_sid.as_ref(), Some(&status.account_sid));
            }
            EventContent::Incoming(message) => {
                assert_eq!(event.account_sid.as_ref(), Some(&message.account_sid));
            }
            EventContent::Other | EventContent::Unreadable(_) => {}
        }
    }
});
