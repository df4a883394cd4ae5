//! What it costs to verify and to compute a signature.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use textledger::twilio::{
    Form,
    signature::{Algorithm, Content, Request, SigningKey, body_sha256_hex, sign, verify},
};

const STATUS_CALLBACK: &[u8] = include_bytes!("../fixtures/twilio/status_callback/sms_delivered.form");
const URL: &str = "https://hooks.example.com/twilio/status?message=01890a5d-ac96-774b-bcce-b302099a8057";
const TOKEN: &[u8] = b"0123456789abcdef0123456789abcdef";
const UNSIGNED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const KIB_64: usize = 64 << 10;

fn signature(criterion: &mut Criterion) {
    let sha1 = [SigningKey::from_bytes(Algorithm::HmacSha1, TOKEN)];
    let sha256 = [SigningKey::from_bytes(Algorithm::HmacSha256, TOKEN)];
    let form = Form::parse(STATUS_CALLBACK);
    let typical = Request { url: URL, content: Content::Form(&form) };
    let mut group = criterion.benchmark_group("signature");

    group.bench_function("sign a status callback", |bencher| {
        bencher.iter(|| sign(&sha1[0], black_box(URL), &form));
    });
    for keys in [&sha1, &sha256] {
        let signature = sign(&keys[0], URL, &form);
        group.bench_function(format!("verify a status callback, {}", keys[0].algorithm()), |bencher| {
            bencher.iter(|| verify(keys, black_box(typical), &signature).expect("it is signed"));
        });
    }
    let signature = sign(&sha1[0], URL, &form);
    group.bench_function("parse and verify a status callback", |bencher| {
        bencher.iter(|| {
            let form = Form::parse(black_box(STATUS_CALLBACK));
            verify(&sha1, Request { url: URL, content: Content::Form(&form) }, &signature)
                .expect("it is signed")
        });
    });
    group.bench_function("refuse a status callback", |bencher| {
        bencher.iter(|| verify(&sha1, black_box(typical), UNSIGNED).expect_err("it is not signed"));
    });

    group.throughput(Throughput::Bytes(KIB_64 as u64));
    let body = [b"Body=", "x".repeat(KIB_64 - 5).as_bytes()].concat();
    let form = Form::parse(&body);
    let signature = sign(&sha1[0], URL, &form);
    group.bench_function("verify a form of 64 KiB", |bencher| {
        let request = Request { url: URL, content: Content::Form(&form) };
        bencher.iter(|| verify(&sha1, black_box(request), &signature).expect("it is signed"));
    });
    let body = vec![b' '; KIB_64];
    let url = format!("{URL}&bodySHA256={}", body_sha256_hex(&body));
    let signature = sign(&sha1[0], &url, &Form::default());
    group.bench_function("verify a JSON body of 64 KiB", |bencher| {
        let request = Request { url: &url, content: Content::Body(&body) };
        bencher.iter(|| verify(&sha1, black_box(request), &signature).expect("it is signed"));
    });
    let body = (0..10_000).rev().map(|number| format!("{number}=")).collect::<Vec<_>>().join("&");
    let form = Form::parse(body.as_bytes());
    let signature = sign(&sha1[0], URL, &form);
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("verify 10,000 parameters", |bencher| {
        let request = Request { url: URL, content: Content::Form(&form) };
        bencher.iter(|| verify(&sha1, black_box(request), &signature).expect("it is signed"));
    });
}

criterion_group!(benches, signature);
criterion_main!(benches);
