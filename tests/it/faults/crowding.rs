//! Callers and strangers take all that they can get; Twilio's callbacks arrive all the same.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use textledger::{
    domain::Role,
    open_files,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::{self, Runtime},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::on_both_stores,
    support::{
        eventually, now,
        service::{ACCOUNT_SID, AUTH_TOKEN, On, TestService, callback, reply, token_in},
    },
};

on_both_stores! {
    callbacks_arrive_whatever_others_do
    connections_do_not_take_a_processes_last_files
    thousands_of_connections_of_one_address_do_not_keep_callbacks_out
}

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Within which the contract promises an answer to every callback, whatever others do.
const PROMISED: Duration = Duration::from_secs(1);

/// How many of a hundred callbacks may be late all the same, where attackers ask for all of the two cores that they share with
/// the service.
const LATE_PERCENT_MAX: usize = 2;

/// How often it is looked whether this machine itself stands still, as one that shares a processor with others does now and
/// then: nobody could answer meanwhile. A thread that mostly sleeps is not kept waiting for long by those that work, so a
/// longer pause between two looks is the machine's.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The variable that says that nothing else runs on this machine, as in `scripts/test`. Where other tests share the processor
/// with the service, a callback that is late shows nothing: it is counted, and only one that is lost fails the test.
const IS_ALONE: &str = "TESTS_ARE_ALONE";

/// How long Twilio waits for the answer to a webhook, by the connection overrides we ask for, and a second. What has no answer
/// by then is lost.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often Twilio sends a callback again, by the same overrides: after an answer of 5xx, or when a connection fails. A kept
/// connection may be closed just as the next request comes on it.
const REPETITIONS: usize = 5;

/// How long it is between two callbacks of one kind.
const CALLBACK_INTERVAL: Duration = Duration::from_millis(10);

/// Callbacks of one kind that have to be answered in a row while an attack goes on.
const CALLBACKS: usize = 50;

/// Such rows within which an attack has to come as far as it can.
const ROUNDS_MAX: usize = 40;

/// Connections of one address that nothing is asked on.
const IDLE: usize = 1_015;

/// Live streams of one listener.
const STREAMS: usize = 1_003;

/// The connections of one address that callbacks of version 0.1.0 were lost with, at [`MANY_FILES`].
const CROWD: usize = 8_300;
const MANY_FILES: usize = 20_000;

/// Files of the tests themselves, besides those of a crowd.
const FILES_OF_TESTS: usize = 1_000;

/// Accounts that a request without a valid signature may be of.
const ACCOUNTS: usize = 64;

/// Requests of an attack that are under way at the same time.
const AT_ONCE: usize = 4;

/// Connections on which signed requests are repeated and no answer is read, and how many requests are written at a time.
const UNREAD: usize = 32;
const REPEATED: usize = 16;

/// What the system keeps of unread answers for a client that asks for little.
const UNREAD_BYTES: u32 = 4_096;

/// Between two bytes on a connection that says little: often enough to seem busy at all times.
const DRIP_INTERVAL: Duration = Duration::from_millis(10);
const DRIPS_AT_A_TIME: usize = 50;

/// Between two connections of one who opens them for others to be closed.
const NEWCOMER_INTERVAL: Duration = Duration::from_millis(2);

/// How much of a batch is scheduled at a time, and how many messages may wait.
const RECIPIENTS: usize = 5_000;
const QUEUE_MAX: &str = "20000";

/// How long a file of consent is, a little less than it may be.
const IMPORT_BYTES: usize = 15 << 20;

/// A token that the simulated Twilio takes for no account.
const INVENTED_TOKEN: &str = "ffffffffffffffffffffffffffffffff";

/// The base64 of a signature that nobody made.
const NOBODYS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What somebody does to take more than their share.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Attack {
    IdleConnections,
    EventStreams,
    UnknownFields,
    UnsignedEvents,
    UnsignedStatuses,
    LargeBodies,
    GuessedKeys,
    RefusedRoles,
    ScheduledBulks,
    ClaimedAccounts,
    ProvenConnections,
    UnreadAnswers,
    SlowBodies,
    SlowRequests,
    Reconnections,
    FaultyBulks,
    FaultyImports,
    CostlyReads,
    OthersReplies,
}

use Attack::*;

const ATTACKS: [Attack; 15] = [
    IdleConnections,
    EventStreams,
    UnknownFields,
    UnsignedEvents,
    UnsignedStatuses,
    LargeBodies,
    GuessedKeys,
    RefusedRoles,
    ScheduledBulks,
    ClaimedAccounts,
    ProvenConnections,
    UnreadAnswers,
    SlowBodies,
    SlowRequests,
    Reconnections,
];

/// What an organization may ask for, and makes as costly as it can: each alone, as with all the others it is more than two cores
/// can do.
const COSTLY: [Attack; 4] = [FaultyBulks, FaultyImports, CostlyReads, OthersReplies];

/// Those that need nothing but connections.
const OF_CONNECTIONS: [Attack; 5] =
    [IdleConnections, ProvenConnections, UnreadAnswers, SlowBodies, Reconnections];

/// Where an attack goes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Door {
    Main,
    Webhooks,
}

impl Attack {
    /// Whether it can be made at the address for webhooks, too.
    fn is_of_webhooks(self) -> bool {
        OF_CONNECTIONS.contains(&self) || matches!(self, UnsignedEvents | UnsignedStatuses | LargeBodies)
    }

    /// An answer by which one knows that it was what it claims to be: the status, and the code of a problem.
    fn expected(self) -> Option<&'static str> {
        match self {
            UnknownFields => Some("413 payload_too_large"),
            LargeBodies => Some("413"),
            UnsignedEvents | UnsignedStatuses => Some("403"),
            GuessedKeys => Some("429 rate_limited"),
            RefusedRoles => Some("403 forbidden"),
            ScheduledBulks => Some("429 queue_full"),
            ClaimedAccounts | FaultyBulks => Some("422 validation_failed"),
            FaultyImports | CostlyReads | OthersReplies => Some("200"),
            _ => None,
        }
    }
}

/// Somebody who attacks.
#[derive(Clone)]
struct Attacker {
    attack: Attack,
    address: SocketAddr,
    public_url: String,
    http: Client,
    /// A signed request that they have seen.
    seen: Arc<Vec<u8>>,
    /// Cancelled once they have all that they can get.
    begun: CancellationToken,
    answers: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Attacker {
    fn new(service: &TestService, seen: Arc<Vec<u8>>, attack: Attack, door: Door) -> Self {
        let address = match door {
            Door::Main => service.address(),
            Door::Webhooks => service.webhook_address(),
        };
        Self {
            attack,
            address: address.parse().unwrap(),
            public_url: service.public_url.clone(),
            http: Client::builder().timeout(CLIENT_TIMEOUT).build().unwrap(),
            seen,
            begun: CancellationToken::new(),
            answers: Arc::default(),
        }
    }

    /// Goes on until it is stopped.
    async fn attack(self) {
        match self.attack {
            IdleConnections => {
                let _held = self.hold(IDLE, b"").await;
                self.begun.cancel();
                std::future::pending::<()>().await;
            }
            EventStreams => {
                let viewer = token_in("other", Role::Viewer);
                let request = format!(
                    "GET /api/sms/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\
                     Authorization: Bearer {viewer}\r\n\r\n"
                );
                let _held = self.hold(STREAMS, request.as_bytes()).await;
                self.begun.cancel();
                std::future::pending::<()>().await;
            }
            UnknownFields => {
                let fields: serde_json::Map<_, _> =
                    (0..60_000).map(|number| (format!("field{number:05}"), json!(1))).collect();
                let (body, user) = (json!(fields).to_string(), token_in("other", Role::User));
                self.repeat(|_| {
                    let request = self.request(Method::PUT, "/api/sms/preferences").bearer_auth(&user);
                    request.header("Content-Type", JSON).body(body.clone())
                })
                .await;
            }
            UnsignedEvents => {
                let target = format!("/webhooks/twilio/events?x={}", "%41".repeat(2_500));
                self.repeat(|_| {
                    let request = self.request(Method::POST, &target).header(SIGNATURE_HEADER, NOBODYS);
                    request.header("Content-Type", JSON).body("[]")
                })
                .await;
            }
            UnsignedStatuses => self.repeat(|number| self.unsigned_status(number)).await,
            LargeBodies => {
                let body = "a".repeat(1_000_000);
                self.repeat(|_| {
                    let request = self.request(Method::POST, STATUS).header(SIGNATURE_HEADER, NOBODYS);
                    request.header("Content-Type", FORM).body(body.clone())
                })
                .await;
            }
            GuessedKeys => {
                self.repeat(|number| {
                    self.request(Method::GET, "/api/sms/events").bearer_auth(format!("guess {number}"))
                })
                .await;
            }
            RefusedRoles => {
                let viewer = token_in("other", Role::Viewer);
                self.repeat(|_| {
                    self.request(Method::POST, "/api/sms/send").bearer_auth(&viewer).json(&json!({}))
                })
                .await;
            }
            ScheduledBulks => {
                let sender = token_in("o1", Role::Sender);
                let to: Vec<String> = (0..RECIPIENTS).map(|number| format!("+1415555{number:04}")).collect();
                let later = now() + jiff::SignedDuration::from_hours(24 * 300);
                let batch = json!({ "phone_numbers": to, "message": "hello", "send_at": later.to_string() });
                self.repeat_batch(&sender, &batch).await;
            }
            ClaimedAccounts => {
                let admin = token_in("claimer", Role::Admin);
                self.repeat(|number| {
                    // Every other claim is of the account whose callbacks flow.
                    let sid = if number.is_multiple_of(2) {
                        ACCOUNT_SID.to_owned()
                    } else {
                        format!("AC{number:032x}")
                    };
                    let claim = json!({ "account_sid": sid, "auth_token": INVENTED_TOKEN });
                    self.request(Method::POST, "/api/sms/settings").bearer_auth(&admin).json(&claim)
                })
                .await;
            }
            ProvenConnections => {
                let held = self.hold(IDLE, &self.seen).await;
                self.begun.cancel();
                self.drip(held, &self.seen).await;
            }
            UnreadAnswers => {
                let requests = self.seen.repeat(REPEATED);
                let lane = async || -> () {
                    loop {
                        if let Some(mut connection) = self.connect().await {
                            while connection.write_all(&requests).await.is_ok() {}
                        }
                    }
                };
                self.begun.cancel();
                futures_util::future::join_all((0..UNREAD).map(|_| lane())).await;
            }
            SlowBodies => {
                let head = format!(
                    "POST {STATUS} HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\nContent-Length: 50000\r\n\r\n"
                );
                let held = self.hold(IDLE, head.as_bytes()).await;
                self.begun.cancel();
                self.drip(held, head.as_bytes()).await;
            }
            SlowRequests => {
                let sender = token_in("other", Role::Sender);
                let head = format!(
                    "POST /api/sms/send HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nAuthorization: Bearer {sender}\r\n\
                     Content-Length: 50000\r\n\r\n"
                );
                let held = self.hold(IDLE, head.as_bytes()).await;
                self.begun.cancel();
                tokio::join!(self.drip(held, head.as_bytes()), self.come());
            }
            FaultyBulks => {
                let sender = token_in("other", Role::Sender);
                let wrong: Vec<String> = (0..50_000).map(|number| format!("nobody {number}")).collect();
                let batch = json!({ "phone_numbers": wrong, "message": "hello" });
                self.repeat_batch(&sender, &batch).await;
            }
            FaultyImports => {
                let admin = token_in("other", Role::Admin);
                let line = "nobody,sms,opted_out\n";
                let lines = line.repeat(IMPORT_BYTES / line.len());
                let body = bytes::Bytes::from(format!("phone_number,channel,state\n{lines}"));
                self.repeat(|_| {
                    let request = self.request(Method::POST, "/api/sms/consent/import").bearer_auth(&admin);
                    request.header("Content-Type", "text/csv").body(body.clone())
                })
                .await;
            }
            CostlyReads => {
                // Of the organization that has most to be looked through.
                let admin = token_in("o1", Role::Admin);
                let reads =
                    ["messages?status=failed", "stats?window=24h", "consent/export", "messages?limit=500"];
                self.repeat(|number| {
                    let target = format!("/api/sms/{}", reads[number % reads.len()]);
                    self.request(Method::GET, &target).bearer_auth(&admin)
                })
                .await;
            }
            OthersReplies => {
                // By an organization that has an account of its own, whose token is its number.
                let (account_sid, token) = (format!("AC{:032x}", 2), format!("{:032x}", 2));
                let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
                self.repeat(|number| {
                    let (sid, person) =
                        (format!("SM{number:032x}"), format!("+1415555{:04}", number % 10_000));
                    let mut form = reply(&sid, &person, "thank you");
                    form.retain(|(name, _)| *name != "AccountSid");
                    form.push(("AccountSid", &account_sid));
                    let form: Form = form.into_iter().collect();
                    let signature = signature::sign(&key, &format!("{}{INBOUND}", self.public_url), &form);
                    let request = self.request(Method::POST, INBOUND).header(SIGNATURE_HEADER, signature);
                    request.header("Content-Type", FORM).body(form.encode())
                })
                .await;
            }
            Reconnections => {
                self.begun.cancel();
                let lane = async || -> () {
                    loop {
                        if let Some(connection) = self.connect().await {
                            // Without it the attacker would soon have no ports left, and nobody else either.
                            connection.set_zero_linger().unwrap();
                        }
                        tokio::task::yield_now().await;
                    }
                };
                futures_util::future::join_all((0..AT_ONCE).map(|_| lane())).await;
            }
        }
    }

    fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{target}", self.address))
    }

    /// One that is refused for another reason each time.
    fn unsigned_status(&self, number: usize) -> RequestBuilder {
        let of_stranger = format!("AC{number:032x}");
        let account_sid = if number.is_multiple_of(2) { ACCOUNT_SID } else { &of_stranger };
        let key = SigningKey::new(Algorithm::HmacSha1, &"another's token".into());
        let form: Form =
            callback(account_sid, "sent").into_iter().chain([("AccountSid", account_sid)]).collect();
        let target = format!("{STATUS}?number={number}");
        let signature = signature::sign(&key, &format!("http://{}{target}", self.address), &form);
        let request = self.request(Method::POST, &target).header("Content-Type", FORM);
        match number % 4 {
            0 => request.body(form.encode()),
            1 => request.header(SIGNATURE_HEADER, NOBODYS).body(form.encode()),
            2 => request.header(SIGNATURE_HEADER, signature).body(form.encode()),
            _ => request
                .header(SIGNATURE_HEADER, signature)
                .header("X-Forwarded-Host", "evil.example")
                .body(""),
        }
    }

    /// Asks for `batch` again and again.
    async fn repeat_batch(&self, sender: &str, batch: &Value) {
        let body = batch.to_string();
        self.repeat(|_| {
            let request = self.request(Method::POST, "/api/sms/send-bulk").bearer_auth(sender);
            request.header("Content-Type", JSON).body(body.clone())
        })
        .await;
    }

    /// Asks again and again, whatever is answered.
    async fn repeat(&self, request: impl Fn(usize) -> RequestBuilder) {
        self.begun.cancel();
        let lane = async |lane: usize| -> () {
            for number in (lane..).step_by(AT_ONCE) {
                match request(number).send().await {
                    Ok(answer) => {
                        let status = answer.status().as_u16();
                        let problem: Value = answer.json().await.unwrap_or_default();
                        let answer = format!("{status} {}", problem["code"].as_str().unwrap_or_default());
                        *self.answers.lock().unwrap().entry(answer.trim_end().to_owned()).or_default() += 1;
                    }
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        futures_util::future::join_all((0..AT_ONCE).map(lane)).await;
    }

    /// A connection that keeps little of what it is answered.
    async fn connect(&self) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_recv_buffer_size(UNREAD_BYTES).ok()?;
        socket.connect(self.address).await.ok()
    }

    /// Opens connections, asks `request` on each, and holds what the service lets them.
    async fn hold(&self, count: usize, request: &[u8]) -> Vec<TcpStream> {
        let mut held = Vec::new();
        for _ in 0..count {
            // One that is closed meanwhile is one that others have.
            if let Some(mut connection) = self.connect().await {
                connection.write_all(request).await.ok();
                held.push(connection);
            }
        }
        held
    }

    /// Writes a byte now and then on each of `held`, and `request` on a new one in the place of each that was closed.
    async fn drip(&self, mut held: Vec<TcpStream>, request: &[u8]) {
        let mut pace = tokio::time::interval(DRIP_INTERVAL);
        loop {
            for some in held.chunks_mut(DRIPS_AT_A_TIME) {
                pace.tick().await;
                for connection in some {
                    if connection.try_write(b"P").is_err()
                        && let Some(mut another) = self.connect().await
                    {
                        another.write_all(request).await.ok();
                        *connection = another;
                    }
                }
            }
        }
    }

    /// Opens a connection every now and then, and keeps as many of the newest as it can.
    async fn come(&self) {
        let (mut pace, mut newcomers) = (tokio::time::interval(NEWCOMER_INTERVAL), VecDeque::new());
        loop {
            pace.tick().await;
            newcomers.extend(self.connect().await);
            newcomers.drain(..newcomers.len().saturating_sub(IDLE));
        }
    }

    fn has_come_as_far_as_it_can(&self) -> bool {
        let answers = self.answers.lock().unwrap();
        self.attack.expected().is_none_or(|expected| answers.contains_key(expected))
    }
}

/// When this machine stood still, as far as it has been looked.
struct Pauses {
    looked_until: Instant,
    pauses: Vec<(Instant, Instant)>,
}

static PAUSES: LazyLock<Arc<Mutex<Pauses>>> = LazyLock::new(|| {
    let pauses = Arc::new(Mutex::new(Pauses { looked_until: Instant::now(), pauses: Vec::new() }));
    let seen = pauses.clone();
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK_INTERVAL);
            let (now, mut seen) = (Instant::now(), seen.lock().unwrap());
            let before = std::mem::replace(&mut seen.looked_until, now);
            if now - before >= PAUSE_MIN {
                seen.pauses.push((before, now));
            }
        }
    });
    pauses
});

/// How long of the time from `start` to `end` the machine stood still.
fn stood_still((start, end): (Instant, Instant)) -> Duration {
    loop {
        let seen = PAUSES.lock().unwrap();
        if seen.looked_until >= end {
            let within = |(from, until): &(Instant, Instant)| {
                (*until).min(end).saturating_duration_since((*from).max(start))
            };
            return seen.pauses.iter().map(within).sum();
        }
        drop(seen);
        thread::yield_now();
    }
}

/// Callbacks of one kind: where they go, and how.
struct Flow {
    name: &'static str,
    address: String,
    http: Client,
    /// Part of the SIDs, so that no two are equal.
    number: usize,
    sent: usize,
    /// How long the slowest took since that was asked last.
    slowest: Duration,
    /// From when to when it took those that were answered later than [`PROMISED`].
    late: Vec<(Instant, Instant)>,
    /// How often one was sent again.
    repeated: usize,
}

impl Flow {
    fn new(number: usize, name: &'static str, address: &str, keeps_connections: bool) -> Self {
        let idle = if keeps_connections { usize::MAX } else { 0 };
        let http = Client::builder().pool_max_idle_per_host(idle).timeout(CLIENT_TIMEOUT).build().unwrap();
        let address = address.to_owned();
        Self { name, address, http, number, sent: 0, slowest: Duration::ZERO, late: Vec::new(), repeated: 0 }
    }

    /// All kinds.
    fn all(service: &TestService) -> [Self; 3] {
        [
            Self::new(0, "at the address for webhooks", service.webhook_address(), false),
            Self::new(1, "at the main address", service.address(), false),
            Self::new(2, "at the main address over kept connections", service.address(), true),
        ]
    }

    /// Sends callbacks at a steady rate. Each of them is answered.
    async fn send(mut self, public_url: String, meanwhile: String) -> Self {
        let mut pace = tokio::time::interval(CALLBACK_INTERVAL);
        for _ in 0..CALLBACKS {
            pace.tick().await;
            let sid = format!("SM{:016x}{:016x}", self.number, self.sent);
            let (signature, body) = signed(&public_url, &sid);
            let request = self.http.post(format!("http://{}{STATUS}", self.address)).body(body);
            let request = request.header("Content-Type", FORM).header(SIGNATURE_HEADER, signature);
            let start = Instant::now();
            let mut answers = Vec::new();
            while !answers.iter().any(|answer| matches!(answer, Ok(StatusCode::NO_CONTENT))) {
                let what = format!("{meanwhile}: a callback {} after {:?}", self.name, start.elapsed());
                assert!(answers.len() <= REPETITIONS, "{what}: {answers:?}");
                let answer = request.try_clone().expect("the body is a text").send().await;
                answers.push(answer.map(|answer| answer.status()));
            }
            let end = Instant::now();
            self.slowest = self.slowest.max(end - start);
            if end - start > PROMISED {
                self.late.push((start, end));
            }
            self.repeated += answers.len() - 1;
            self.sent += 1;
        }
        self
    }
}

/// The signature and the body of a callback.
fn signed(public_url: &str, sid: &str) -> (String, String) {
    let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
    let form: Form = callback(sid, "sent").into_iter().collect();
    (signature::sign(&key, &format!("{public_url}{STATUS}"), &form), form.encode())
}

/// A service, the callbacks that it gets, and a signed request that others have seen.
struct Stage {
    service: TestService,
    /// A thread of the callbacks' own, so that none waits for what attackers do on those of the test.
    callbacks: Option<Runtime>,
    flows: Vec<Flow>,
    seen: Arc<Vec<u8>>,
}

impl Stage {
    async fn new(service: TestService) -> Self {
        let flows = Flow::all(&service).into();
        let (signature, body) = signed(&service.public_url, "SMffffffffffffffffffffffffffffffff");
        let seen = format!(
            "POST {STATUS} HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM}\r\n{SIGNATURE_HEADER}: {signature}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut twilio = TcpStream::connect(service.address()).await.unwrap();
        twilio.write_all(seen.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        twilio.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 204");
        let callbacks = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { service, callbacks: Some(callbacks), flows, seen: Arc::new(seen.into_bytes()) }
    }

    /// Sends callbacks of all kinds while `attacks` go on, until each of these has come as far as it can.
    async fn withstand(&mut self, attacks: &[(Attack, Door)]) {
        let name = match attacks {
            [] => "nothing else".to_owned(),
            [(attack, door)] => format!("{attack:?} at {door:?}"),
            many => format!("{} attacks at once", many.len()),
        };
        LazyLock::force(&PAUSES);
        let mut going_on = JoinSet::new();
        let mut attackers = Vec::new();
        for (attack, door) in attacks {
            let attacker = Attacker::new(&self.service, self.seen.clone(), *attack, *door);
            going_on.spawn(attacker.clone().attack());
            attacker.begun.cancelled().await;
            attackers.push(attacker);
        }
        let public_url = self.service.public_url.clone();
        let before = self.sent();
        for round in 1.. {
            let callbacks = self.callbacks.as_ref().expect("they end with the stage");
            let flows = self.flows.drain(..);
            let sending = flows.map(|flow| callbacks.spawn(flow.send(public_url.clone(), name.clone())));
            let sending = sending.collect::<Vec<_>>();
            for flow in futures_util::future::join_all(sending).await {
                self.flows.push(flow.expect("each callback is answered"));
            }
            let left = attackers.iter().find(|attacker| !attacker.has_come_as_far_as_it_can());
            let Some(left) = left else { break };
            let answers = left.answers.lock().unwrap();
            assert!(round < ROUNDS_MAX, "{name}: {:?} was answered {answers:?}", left.attack);
        }
        going_on.shutdown().await;
        let slowest = |flow: &mut Flow| {
            let slowest = std::mem::take(&mut flow.slowest);
            format!("{:.0} ms {}", slowest.as_secs_f64() * 1e3, flow.name)
        };
        let slowest: Vec<String> = self.flows.iter_mut().map(slowest).collect();
        println!("{name}: the slowest callback took {}", slowest.join(", "));
        for attacker in attackers.iter().filter(|attacker| attacker.attack.expected().is_some()) {
            println!("    {:?}: {:?}", attacker.attack, attacker.answers.lock().unwrap());
        }
        let is_of_main = attacks.iter().all(|(_, door)| *door == Door::Main);
        for flow in self.flows.iter_mut().filter(|flow| flow.repeated > 0) {
            let repeated = std::mem::take(&mut flow.repeated);
            println!("    callbacks were sent again {repeated} times {}", flow.name);
            // What goes on at the main address costs nobody a connection there.
            let is_apart = flow.address == self.service.webhook_address();
            assert!(!is_of_main || !is_apart, "{name}: callbacks had to be sent again {}", flow.name);
        }
        let slow: Vec<_> = self.flows.iter_mut().flat_map(|flow| std::mem::take(&mut flow.late)).collect();
        let late = |time: &&(Instant, Instant)| time.1 - time.0 > PROMISED + stood_still(**time);
        let late = slow.iter().filter(late).count();
        if !slow.is_empty() {
            let slow = slow.len();
            println!(
                "    {slow} took more than {PROMISED:?}, {late} of them while the machine did not stand still"
            );
        }
        let (is_alone, answered) = (std::env::var_os(IS_ALONE).is_some(), self.sent() - before);
        let is_kept = late * 100 <= answered * LATE_PERCENT_MAX;
        assert!(is_kept || !is_alone, "{name}: {late} of {answered} callbacks took more than {PROMISED:?}");
    }

    /// Withstands each of `attacks` alone, at each address where it is one, and then all at once.
    async fn withstand_all(&mut self, attacks: &[Attack]) {
        let at = |door| move |attack: &Attack| (*attack, door);
        let mut doors: Vec<(Attack, Door)> = attacks.iter().map(at(Door::Main)).collect();
        doors.extend(attacks.iter().filter(|attack| attack.is_of_webhooks()).map(at(Door::Webhooks)));
        for attack in &doors {
            self.withstand(&[*attack]).await;
        }
        let is_of_main = |(_, door): &&(Attack, Door)| *door == Door::Main;
        let of_main: Vec<_> = doors.iter().filter(is_of_main).copied().collect();
        self.withstand(&of_main).await;
        self.withstand(&doors).await;
    }

    /// Callbacks that were answered.
    fn sent(&self) -> usize {
        self.flows.iter().map(|flow| flow.sent).sum()
    }

    /// All callbacks are there once, and nothing else is.
    async fn has_lost_nothing(&self) {
        // That which others have seen is one of them.
        let sent = 1 + self.sent();
        let counted = async |result: &str| {
            let name = format!(r#"textledger_webhook_requests_total{{route="status",result="{result}"}}"#);
            self.service.metric(&name).await as usize
        };
        // One that was cut off while it was stored is counted when it is sent again.
        let (accepted, repeated) = (counted("accepted").await, counted("duplicate").await);
        assert!(accepted <= sent && sent <= accepted + repeated, "{accepted} and {repeated} of {sent}");
        eventually("all streams are closed", async || {
            (self.service.metric("textledger_event_streams").await == 0).then_some(())
        })
        .await;
        assert_eq!(self.service.all_events().await.len(), sent);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which a test must not do.
        self.callbacks.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// The settings of a service that is attacked.
const SETTINGS: [(&str, &str); 5] = [
    ("TEXTLEDGER_WEBHOOK_LISTEN", "127.0.0.1:0"),
    ("TEXTLEDGER_METRICS_LISTEN", "127.0.0.1:0"),
    ("TEXTLEDGER_API_RATE", "100"),
    ("TEXTLEDGER_QUEUE_MAX", QUEUE_MAX),
    ("TEXTLEDGER_LOG", "warn"),
];

/// One of these tests at a time: each takes as much of the machine as it can get.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn callbacks_arrive_whatever_others_do(on: On) {
    let _alone = ALONE.lock().await;
    open_files::raise_limit();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let accounts = (1..ACCOUNTS).map(|number| {
        format!(
            "[[accounts]]\norganization = \"o{number}\"\naccount_sid = \"AC{number:032x}\"\n\
             auth_token = \"{number:032x}\"\nphone_number = \"+1500555{number:04}\"\n"
        )
    });
    std::fs::write(&file, accounts.collect::<String>()).unwrap();
    let settings = [&SETTINGS[..], &[("TEXTLEDGER_CONFIG", file.to_str().unwrap())]].concat();
    let mut stage = Stage::new(TestService::start_with(on, &settings).await).await;
    stage.withstand(&[]).await;
    for attack in COSTLY {
        stage.withstand(&[(attack, Door::Main)]).await;
    }
    stage.withstand_all(&ATTACKS).await;
    stage.has_lost_nothing().await;
}

async fn connections_do_not_take_a_processes_last_files(on: On) {
    let _alone = ALONE.lock().await;
    open_files::raise_limit();
    let settings = [&SETTINGS[..], &[("TEXTLEDGER_WORKERS", "2")]].concat();
    let mut stage = Stage::new(TestService::start_limited(on, Some(1_024), &settings).await).await;
    let low = "the limit of open files is low";
    assert!(stage.service.log().contains(low), "{}", stage.service.log());
    stage.withstand(&[(IdleConnections, Door::Main), (EventStreams, Door::Main)]).await;
    let closed = |cause| format!(r#"textledger_connections_closed_total{{listener="api",cause="{cause}"}}"#);
    assert!(stage.service.metric(&closed("all")).await > 0);
    let told = stage.service.log().matches("a connection was closed for want of room").count();
    assert_eq!(told, 1, "{}", stage.service.log());
    // The oldest of a stranger's connections were closed; the newest is as good as any.
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(stage.service.address()).await.unwrap());
    }
    assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
    let newest = idle.last_mut().unwrap();
    newest.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    newest.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    drop(idle);
    // Without copies of signed requests: with so few files they are soon on all connections, and each is kept for its answer.
    let at =
        |door| [IdleConnections, ProvenConnections, SlowBodies, Reconnections].map(|attack| (attack, door));
    stage.withstand(&at(Door::Main)).await;
    // Alone, it leaves none but callers' requests and the connections that were opened last.
    stage.withstand(&[(SlowRequests, Door::Main)]).await;
    stage.withstand(&[at(Door::Main), at(Door::Webhooks)].concat()).await;
    stage.has_lost_nothing().await;
}

async fn thousands_of_connections_of_one_address_do_not_keep_callbacks_out(on: On) {
    let _alone = ALONE.lock().await;
    let files = open_files::raise_limit().min(MANY_FILES);
    let crowd = CROWD.min(files.saturating_sub(FILES_OF_TESTS));
    println!("{crowd} connections of one address at {files} files");
    // Once as many of a stranger's as are allowed at first, and once all: as behind a proxy whose bound was lifted.
    for per_peer in ["1024", "1000000"] {
        let settings = [&SETTINGS[..], &[("TEXTLEDGER_CONNECTIONS_PER_PEER", per_peer)]].concat();
        let mut stage = Stage::new(TestService::start_limited(on, Some(files), &settings).await).await;
        let attacker = Attacker::new(&stage.service, stage.seen.clone(), IdleConnections, Door::Main);
        let held = attacker.hold(crowd, b"").await;
        stage.withstand(&[]).await;
        stage.withstand(&[(Reconnections, Door::Main), (SlowBodies, Door::Main)]).await;
        drop(held);
        stage.has_lost_nothing().await;
    }
}
