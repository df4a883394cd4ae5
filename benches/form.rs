//! What it costs to read a webhook's body, as pairs and as a type.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use textledger::twilio::{Form, IncomingMessage, StatusCallback};

const STATUS_CALLBACK: &[u8] = include_bytes!("../fixtures/twilio/status_callback/sms_delivered.form");
const INCOMING_MESSAGE: &[u8] = include_bytes!("../fixtures/twilio/incoming_message/whatsapp_button.form");
const PARAMETERS_MAX: u32 = 10_000;

fn form(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("form");
    for (name, body) in [("a status callback", STATUS_CALLBACK), ("an incoming message", INCOMING_MESSAGE)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| Form::parse(black_box(body)).len());
        });
    }
    let many: Vec<_> = (0..PARAMETERS_MAX).map(|number| format!("Name{number}=%2B1415555{number}")).collect();
    let many = many.join("&");
    group.throughput(Throughput::Bytes(many.len() as u64));
    group.bench_function("parse 10,000 parameters", |bencher| {
        bencher.iter(|| Form::parse(black_box(many.as_bytes())).len());
    });
    let escaped = "%F0%9F%91%8D".repeat(5461);
    group.throughput(Throughput::Bytes(escaped.len() as u64));
    group.bench_function("parse 64 KiB of escapes", |bencher| {
        bencher.iter(|| Form::parse(black_box(escaped.as_bytes())).len());
    });
    group.finish();

    let mut group = criterion.benchmark_group("webhook");
    let form = Form::parse(STATUS_CALLBACK);
    group.bench_function("read a status callback", |bencher| {
        bencher.iter(|| StatusCallback::parse(black_box(&form)).expect("it is a status callback"));
    });
    let form = Form::parse(INCOMING_MESSAGE);
    group.bench_function("read an incoming message", |bencher| {
        bencher.iter(|| IncomingMessage::parse(black_box(&form)).expect("it is an incoming message"));
    });
}

criterion_group!(benches, form);
criterion_main!(benches);
