//! The body of a webhook: what is read of it is what the URL standard says, is written and read again the same, and
//! becomes a type or a refusal.

#![no_main]

use std::{borrow::Cow, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use textledger::twilio::{Form, IncomingMessage, StatusCallback, reply::ReplyReader, segments};

/// How many names of an input are looked up in it, one after the other.
const NAMES_LOOKED_UP: usize = 16;

static READER: LazyLock<ReplyReader> = LazyLock::new(ReplyReader::default);

fuzz_target!(|data: &[u8]| {
    let form = Form::parse(data);
    is_what_the_standard_says(&form, data);
    is_consistent(&form, data);
    is_written_and_read_again(&form);
    becomes_a_type_or_a_refusal(&form);
});

/// Another implementation of <https://url.spec.whatwg.org/#urlencoded-parsing> reads the same.
fn is_what_the_standard_says(form: &Form<'_>, data: &[u8]) {
    let standard: Vec<_> = form_urlencoded::parse(data).collect();
    let ours: Vec<_> = form.iter().map(|(name, value)| (text(name), text(value))).collect();
    assert_eq!(ours, standard);
}

fn is_consistent(form: &Form<'_>, data: &[u8]) {
    assert_eq!(form.len(), form.iter().len());
    assert_eq!(form.is_empty(), form.iter().next().is_none());
    let decoded: usize = form.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(decoded <= data.len(), "decoding makes nothing longer");
    for (name, _) in form.iter().take(NAMES_LOOKED_UP) {
        if let Ok(name) = std::str::from_utf8(name) {
            let first = form.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value);
            assert_eq!(form.get_bytes(name), first);
            assert_eq!(form.get(name), first.map(text));
        }
    }
    assert_eq!(&form.iter().collect::<Form<'_>>(), form);
}

fn is_written_and_read_again(form: &Form<'_>) {
    let encoded = form.encode();
    let again = Form::parse(encoded.as_bytes());
    assert_eq!(&again, form);
    assert_eq!(again.encode(), encoded);
    assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()), "{encoded}");
}

fn becomes_a_type_or_a_refusal(form: &Form<'_>) {
    let encoded = form.encode();
    let again = Form::parse(encoded.as_bytes());

    let callback = StatusCallback::parse(form);
    assert_eq!(StatusCallback::parse(&again), callback);
    if let Ok(callback) = &callback {
        are_of_the_form(&callback.other, form);
        assert_ne!(callback.error_code, Some(0));
        assert!(!format!("{callback:?}").is_empty());
    }

    let message = IncomingMessage::parse(form);
    assert_eq!(IncomingMessage::parse(&again), message);
    if let Ok(message) = &message {
        are_of_the_form(&message.other, form);
        assert!(message.media.len() <= 10);
        assert!(!format!("{message:?}").is_empty());
        // What is read of its text does not depend on how it is decorated.
        let read = |text: &str| READER.read(text, message.channel);
        assert_eq!(read(&format!(" {} ", message.body.trim())), read(message.body.trim()));
        assert!(segments::count(&message.body).segments >= 1);
    }
}

/// What is kept of the rest was sent.
fn are_of_the_form(other: &[(String, String)], form: &Form<'_>) {
    for (name, value) in other {
        let sent = form.iter().any(|pair| (text(pair.0), text(pair.1)) == (name.into(), value.into()));
        assert!(sent, "{name}");
    }
}

/// `bytes` with U+FFFD in place of what is not UTF-8.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
