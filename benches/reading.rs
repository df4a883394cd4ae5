//! What it costs to read what a reply means.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use textledger::twilio::{Channel, reply::ReplyReader};

const REPLIES: &[(&str, &str)] = &[
    ("a keyword", "STOP"),
    ("an answer", "Yes, see you at 5. Thank you!"),
    ("a request", "I'm not interested, please don't contact me again"),
    ("a request in German", "Bitte schreiben Sie mir nicht mehr"),
    ("a request in Japanese", "今後連絡しないでください"),
    (
        "a long request",
        "Hello, I have asked you several times already. I never signed up for this, and I do not want to receive any \
         more messages from you. Please remove my number from your list. Thank you, Dana Whitfield",
    ),
    ("a reaction", "Liked “Acme: 20% off today! Reply STOP to opt out”"),
];

fn reading(criterion: &mut Criterion) {
    let reader = ReplyReader::default();
    let mut group = criterion.benchmark_group("reading");
    for (name, text) in REPLIES {
        group.bench_function(*name, |bencher| bencher.iter(|| reader.read(black_box(text), Channel::Sms)));
    }
    // Nothing that a person can send takes long: these are made to.
    for (name, text) in [
        (
            "1,600 characters of prose",
            "I never said that you should stop by at the shop on my way. ".repeat(27),
        ),
        ("1,600 characters without a clause", "no more messages please do not ".repeat(52)),
        ("1,600 characters of Chinese", "不要再给我发短信了".repeat(177)),
        ("1,600 characters of keywords", "stop ".repeat(320)),
        ("800 lines of one letter", "a\n".repeat(800)),
        ("1,600 quotation marks", "“”\"«»".repeat(320)),
        ("1,600 ligatures of eighteen letters", "ﷺ".repeat(1600)),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| reader.read(black_box(&text), Channel::Sms)));
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
