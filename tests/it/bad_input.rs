//! Bytes that no client should send, straight into the socket: nothing answers 5xx, nothing panics, memory stays bounded,
//! and whoever comes next is served.

use std::time::Duration;

use textledger::{
    domain::Role,
    http::FORM_BYTES_MAX,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    DEADLINE,
    service::{AUTH_TOKEN, On, TestService, answer, callback, token},
};

const STATUS: &str = "/webhooks/twilio/status";

/// How much memory the service may take on for the flood below, in kilobytes: some ten times what it carries at once.
const GROWTH_MAX_KB: u64 = 200 * 1024;

/// How much memory the service may take on for a second flood like the first, in kilobytes: what is freed is used again.
const GROWTH_AGAIN_MAX_KB: u64 = 32 * 1024;

/// Connections that each begin a body and do not finish it.
const FLOOD: usize = 300;

/// Between two bytes of a client that sends one at a time. Far less than any bound of the service's.
const DRIP_INTERVAL: Duration = Duration::from_millis(100);

/// Every route, and what it is posted or asked with.
const ROUTES: [(&str, &str); 11] = [
    ("POST", "/webhooks/twilio/status"),
    ("POST", "/webhooks/twilio/inbound"),
    ("POST", "/webhooks/twilio/events"),
    ("POST", "/api/sms/send"),
    ("POST", "/api/sms/whatsapp/send"),
    ("GET", "/api/sms/message-status/SM00000000000000000000000000000001"),
    ("GET", "/api/sms/events"),
    ("GET", "/webhooks/twilio/status"),
    ("GET", "/healthz"),
    ("POST", "/"),
    ("DELETE", "/nowhere"),
];

/// Sends `bytes`, half-closes, and returns what comes back until the service closes or nothing more comes.
async fn exchange(service: &TestService, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    // The service may have heard enough, and close before everything is written.
    stream.write_all(bytes).await.ok();
    stream.shutdown().await.ok();
    let mut answered = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answered)).await.expect("the service closes").ok();
    answered
}

/// Sends `head` and then `drop` again and again until the service closes, and returns what comes back.
async fn drip(service: &TestService, head: &[u8], drop: &[u8]) -> Vec<u8> {
    let (mut reading, mut writing) = TcpStream::connect(service.address()).await.unwrap().into_split();
    writing.write_all(head).await.unwrap();
    let mut answered = Vec::new();
    let dripping = async {
        let mut interval = tokio::time::interval(DRIP_INTERVAL);
        loop {
            interval.tick().await;
            if writing.write_all(drop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let end = async {
        tokio::select! {
            read = reading.read_to_end(&mut answered) => { read.ok(); }
            () = dripping => {}
        }
    };
    tokio::time::timeout(DEADLINE, end).await.expect("the service closes");
    answered
}

/// The head of a request to a route, without the blank line at its end.
fn head(method: &str, target: &str) -> String {
    let content_type = match target {
        "/webhooks/twilio/status" | "/webhooks/twilio/inbound" => "application/x-www-form-urlencoded",
        _ => "application/json",
    };
    let token = token(Role::Admin);
    format!(
        "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nAuthorization: Bearer {token}\r\n"
    )
}

/// The statuses of the answers in `answered`.
fn statuses(answered: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answered);
    let heads = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12));
    heads.filter_map(|status| status.parse().ok()).collect()
}

/// What must hold whatever was sent before.
async fn still_serves(service: &TestService, after: &str) {
    let sid = "SM00000000000000000000000000000001";
    assert_eq!(service.try_webhook(STATUS, &callback(sid, "sent")).await, Some(204), "after {after}");
    assert_eq!(answer(service.anonymous(reqwest::Method::GET, "/healthz")).await.0, 200, "after {after}");
    assert!(!service.log().contains("panicked"), "after {after}: {}", service.log());
}

fn post(head: &str, body: &str) -> Vec<u8> {
    format!("POST {STATUS} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n{head}\r\n{body}")
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_answered_with_4xx_or_not_at_all() {
    let service = TestService::start(On::Embedded).await;
    let many_headers = "X-A: b\r\n".repeat(2_000);
    let long_header = format!("X-A: {}\r\n", "b".repeat(200_000));
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300_000));
    let garbage: Vec<u8> = (0..=255_u8).cycle().take(10_000).collect();
    let valid = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let big_chunk =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "a".repeat(70_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a blank line", b"\r\n\r\n".to_vec()),
        ("garbage", garbage.clone()),
        ("NUL bytes", vec![0; 5_000]),
        ("HTTP/0.9", b"GET /\r\n".to_vec()),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\nHost: a\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec()),
        ("an unknown method", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("a target of no UTF-8", b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("a header of no UTF-8", b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nAuthorization: \xff\r\n\r\n".to_vec()),
        ("a header name with a blank", b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n".to_vec()),
        ("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n".to_vec()),
        ("an absolute target", b"GET http://evil.example/webhooks/twilio/status?AccountSid=AC1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("odd escapes", b"GET /%00/%zz/..%2f../%?AccountSid=%&x=%4 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("many headers", format!("GET / HTTP/1.1\r\n{many_headers}\r\n").into_bytes()),
        ("a long header", format!("GET / HTTP/1.1\r\n{long_header}\r\n").into_bytes()),
        ("a long target", long_target.into_bytes()),
        ("a bad chunk size", post("Transfer-Encoding: chunked\r\n", "xyz\r\nabc\r\n0\r\n\r\n")),
        ("a huge chunk size", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n")),
        ("a negative chunk size", post("Transfer-Encoding: chunked\r\n", "-1\r\nabc\r\n0\r\n\r\n")),
        ("a chunk that is cut short", post("Transfer-Encoding: chunked\r\n", "ff\r\nabc")),
        ("a chunk extension", post("Transfer-Encoding: chunked\r\n", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(100_000)))),
        ("a chunk too many", [&post("", "")[..post("", "").len() - 2], big_chunk.as_bytes()].concat()),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n", "a=bc")),
        ("length and chunks", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\na=b\r\n0\r\n\r\n")),
        ("a negative length", post("Content-Length: -1\r\n", "a=b")),
        ("a huge length", post("Content-Length: 99999999999999999999\r\n", "a=b")),
        ("a length too long", post("Content-Length: 1000000\r\n", "a=b")),
        ("a body cut short", post("Content-Length: 100\r\n", "AccountSid=AC")),
        ("an unknown coding", post("Transfer-Encoding: gzip, chunked\r\n", "3\r\na=b\r\n0\r\n\r\n")),
        ("expectations", post("Content-Length: 3\r\nExpect: 100-continue\r\n", "a=b")),
        ("garbage behind a request", [valid.as_bytes(), &garbage].concat()),
        ("requests behind each other", valid.repeat(500).into_bytes()),
        ("a body nobody asked for", b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        ("events of garbage", format!("POST /webhooks/twilio/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{}", "[".repeat(100_000)).into_bytes()),
    ];
    for (what, bytes) in cases {
        let answered = exchange(&service, &bytes).await;
        let statuses = statuses(&answered);
        assert!(statuses.iter().all(|status| *status < 500), "{what}: {statuses:?}");
        if what == "requests behind each other" {
            assert_eq!(statuses, vec![200; 500]);
        }
        still_serves(&service, what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_body_is_no_fault_of_any_routes() {
    let service = TestService::start(On::Embedded).await;
    let long_extension =
        format!("Transfer-Encoding: chunked\r\n\r\n3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(10_000));
    let bodies: [(&str, &[u8]); 14] = [
        ("garbage", b"Content-Length: 8\r\n\r\n\x00\xff%%&=\r\n"),
        ("no length", b"\r\nAccountSid=AC1"),
        ("an empty body", b"Content-Length: 0\r\n\r\n"),
        ("a body cut short", b"Content-Length: 100\r\n\r\nAccountSid="),
        ("two lengths", b"Content-Length: 3\r\nContent-Length: 4\r\n\r\na=bc"),
        ("a length of no number", b"Content-Length: +3\r\n\r\na=b"),
        ("a negative length", b"Content-Length: -1\r\n\r\na=b"),
        (
            "length and chunks",
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
        ),
        ("no chunk size", b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n"),
        ("a huge chunk size", b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("a chunk without its end", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n"),
        ("no last chunk", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("trailers", b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Twilio-Signature: a\r\n\r\n"),
        ("a long chunk extension", long_extension.as_bytes()),
    ];
    for (method, target) in ROUTES {
        for (what, body) in bodies {
            let answered = exchange(&service, &[head(method, target).as_bytes(), body].concat()).await;
            let statuses = statuses(&answered);
            assert!(statuses.iter().all(|status| *status < 500), "{method} {target}, {what}: {statuses:?}");
        }
        still_serves(&service, target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_behind_a_signed_webhook_does_not_spoil_it() {
    let service = TestService::start(On::Embedded).await;
    let sid = "SM00000000000000000000000000000002";
    let webhook = signed(&service, &callback(sid, "delivered"));
    let garbage: Vec<u8> = (128..=255_u8).cycle().take(10_000).collect();
    let answered = exchange(&service, &[&webhook, &webhook, &garbage[..], &webhook].concat()).await;
    assert_eq!(statuses(&answered), [204, 204, 400]);
    assert_eq!(service.message_status(sid).await.1["status"], "delivered");
    still_serves(&service, "garbage").await;
}

/// A webhook as Twilio posts it, as bytes.
fn signed(service: &TestService, form: &[(&str, &str)]) -> Vec<u8> {
    let form: Form<'_> = form.iter().map(|(name, value)| (*name, *value)).collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let signature = signature::sign(&key, &format!("{}{STATUS}", service.public_url), &form);
    let body = form.encode();
    let length = body.len();
    post(&format!("{SIGNATURE_HEADER}: {signature}\r\nContent-Length: {length}\r\n"), &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_spoken_to_badly_says_what_is_wrong() {
    let service = TestService::start(On::Embedded).await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{\"to_number\":1}",
        b"{\"to_number\":\"\\ud800\"}",
        b"{\"a\":1,\"a\":2}",
        deep.as_bytes(),
        &[b'a'; 2_000_000],
    ] {
        let request = service
            .anonymous(reqwest::Method::POST, "/api/sms/send")
            .bearer_auth(token(Role::Sender))
            .header("content-type", "application/json")
            .body(body.to_vec());
        let (status, problem) = answer(request).await;
        assert!((400..500).contains(&status), "{status}");
        assert!(problem["mend"].is_string() || status == 413, "{problem}");
    }
    for target in [
        "/api/sms/message-status/%00",
        "/api/sms/message-status/%ff",
        "/api/sms/events?cursor=%ff&limit=-1",
        "/api/sms/events?limit=99999999999999999999",
        "/api/sms/events?type=%00",
        "/api/sms/webhook-refusals?x=%zz",
    ] {
        let (status, _) = answer(service.get(Role::Admin, target)).await;
        assert!(status < 500, "{target}: {status}");
    }
    still_serves(&service, "bad calls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_given_up_and_a_long_one_refused() {
    let service = TestService::start(On::Embedded).await;
    let mut slow = TcpStream::connect(service.address()).await.unwrap();
    slow.write_all(&post("Content-Length: 1000\r\n", "AccountSid=")).await.unwrap();
    let mut slow_head = TcpStream::connect(service.address()).await.unwrap();
    slow_head.write_all(b"POST /webhooks/twi").await.unwrap();
    // Meanwhile others are served.
    still_serves(&service, "a slow body began").await;
    let long = "a".repeat(FORM_BYTES_MAX + 1);
    let head = format!("Content-Length: {}\r\n", long.len());
    assert_eq!(statuses(&exchange(&service, &post(&head, &long)).await), [413]);
    let chunked = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    assert_eq!(statuses(&exchange(&service, &post("Transfer-Encoding: chunked\r\n", &chunked)).await), [413]);
    for stream in [&mut slow, &mut slow_head] {
        let mut answered = Vec::new();
        let read = stream.read_to_end(&mut answered);
        tokio::time::timeout(DEADLINE, read).await.expect("the service gives up").ok();
        assert_eq!(statuses(&answered), [408]);
    }
    still_serves(&service, "slow requests").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_at_a_time_is_given_up_on_every_route() {
    let service = TestService::start(On::Embedded).await;
    let given_up = async |what: String, head: String, drop: &[u8], expected: Option<u16>| {
        let statuses = statuses(&drip(&service, head.as_bytes(), drop).await);
        assert!(statuses.iter().all(|status| (200..500).contains(status)), "{what}: {statuses:?}");
        assert!(expected.is_none_or(|expected| statuses == [expected]), "{what}: {statuses:?}");
    };
    let bodies = ROUTES.map(|(method, target)| {
        // A body that a route reads is waited for; one that it does not read is not.
        let is_read = method == "POST" && target != "/";
        let head = head(method, target) + "Content-Length: 50000\r\n\r\n";
        given_up(format!("{method} {target}"), head, b"a", is_read.then_some(408))
    });
    let heads = [
        ("a target", "GET /", &b"a"[..]),
        ("a header", "GET / HTTP/1.1\r\nA: ", b"a"),
        ("lines", "", b"\r\n"),
    ]
    .map(|(what, head, drop)| given_up(what.to_owned(), head.to_owned(), drop, Some(408)));
    let meanwhile = still_serves(&service, "slow requests began");
    tokio::join!(futures_util::future::join_all(bodies), futures_util::future::join_all(heads), meanwhile);
    still_serves(&service, "slow requests").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_silent_connections_are_in_nobodys_way() {
    let service = TestService::start(On::Embedded).await;
    let mut silent = Vec::new();
    for _ in 0..FLOOD {
        silent.push(TcpStream::connect(service.address()).await.unwrap());
    }
    still_serves(&service, "the connections are open").await;
    drop(silent);
    still_serves(&service, "the connections are closed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bodies_that_never_end_takes_bounded_memory() {
    let service = TestService::start(On::Embedded).await;
    still_serves(&service, "the start").await;
    let before = service.memory_kb();
    flood(&service).await;
    let first = service.memory_kb();
    let grown = first.saturating_sub(before);
    assert!(grown < GROWTH_MAX_KB, "{grown} kB");
    flood(&service).await;
    let grown = service.memory_kb().saturating_sub(first);
    assert!(grown < GROWTH_AGAIN_MAX_KB, "{grown} kB once more");
}

/// Holds [`FLOOD`] bodies that lack their last byte, and then ends them all: each was whole in memory, and is refused.
async fn flood(service: &TestService) {
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let address = service.address().to_owned();
        flood.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("Content-Length: {FORM_BYTES_MAX}\r\nConnection: close\r\n");
            stream.write_all(&post(&head, &"a".repeat(FORM_BYTES_MAX - 1))).await.unwrap();
            stream
        });
    }
    let streams = flood.join_all().await;
    still_serves(service, "the flood began").await;
    for mut stream in streams {
        stream.write_all(b"a").await.ok();
        let mut answered = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answered)).await.expect("it is answered").ok();
        // Whoever had to wait for the others for too long was given up.
        assert!(matches!(statuses(&answered)[..], [403 | 408]), "{:?}", statuses(&answered));
    }
    still_serves(service, "the flood").await;
}
