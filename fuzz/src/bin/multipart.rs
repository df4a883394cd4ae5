//! Forms in parts: whatever is read is a form, parts that are written out are read as they were, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::twilio::{Form, multipart::to_url_encoded};

/// A boundary that no seed has in a value.
const BOUNDARY: &str = "edge";

fuzz_target!(|data: &[u8]| {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    if let Some(text) = to_url_encoded(&content_type, data.to_vec().into()) {
        let form = Form::parse(text.as_bytes());
        assert_eq!(form.encode(), text, "what is read is a form");
    }
    // The first line as what a client declares.
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (declared, body) = data.split_at(end);
    to_url_encoded(&String::from_utf8_lossy(declared), body.to_vec().into());
    reads_as_it_was(&Form::parse(data));
});

fn reads_as_it_was(form: &Form<'_>) {
    let is_plain = |name: &[u8]| name.iter().all(u8::is_ascii_alphanumeric) && !name.is_empty();
    let mut parts = Vec::new();
    let mut written: Vec<(&[u8], &[u8])> = Vec::new();
    for (name, value) in form.iter().filter(|(name, _)| is_plain(name)) {
        if value.windows(BOUNDARY.len()).any(|piece| piece == BOUNDARY.as_bytes()) {
            continue;
        }
        parts
            .extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"").as_bytes());
        parts.extend_from_slice(name);
        parts.extend_from_slice(b"\"\r\n\r\n");
        parts.extend_from_slice(value);
        parts.extend_from_slice(b"\r\n");
        written.push((name, value));
    }
    parts.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let read = to_url_encoded(&format!("multipart/form-data; boundary={BOUNDARY}"), parts.into());
    let expected = written.into_iter().collect::<Form>().encode();
    assert_eq!(read.as_deref(), Some(expected.as_str()));
}
