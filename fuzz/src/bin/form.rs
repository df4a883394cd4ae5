//! Forms and what is read from them: nothing panics, and what is encoded is read again as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::twilio::{
    Form,
    webhook::{IncomingMessage, StatusCallback},
};

fuzz_target!(|body: &[u8]| {
    let form = Form::parse(body);
    assert!(form.len() <= body.len());
    let encoded = form.encode();
    let again = Form::parse(encoded.as_bytes());
    // What an empty piece is read as, nothing, cannot be told from no piece.
    let pairs: Vec<_> = form.iter().filter(|(name, value)| !name.is_empty() || !value.is_empty()).collect();
    let pairs_again: Vec<_> =
        again.iter().filter(|(name, value)| !name.is_empty() || !value.is_empty()).collect();
    assert_eq!(pairs, pairs_again);
    if let Ok(callback) = StatusCallback::parse(&form) {
        // Whatever is not known by name is kept, so that nothing is lost.
        assert!(callback.other.len() <= form.len());
        assert!(!callback.status.as_str().is_empty());
    }
    if let Ok(message) = IncomingMessage::parse(&form) {
        assert!(message.media.len() <= 10);
    }
});
