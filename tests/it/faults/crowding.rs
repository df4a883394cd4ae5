//! Callers and strangers take all that they can get; Twilio's callbacks arrive all the same.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::json;
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
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{AUTH_TOKEN, On, TestService, callback, token_in},
    },
};

on_both_stores! {
    callbacks_arrive_whatever_others_do
    idle_connections_do_not_take_a_processes_last_files
}

const STATUS: &str = "/webhooks/twilio/status";

/// How long Twilio waits for the answer to a webhook, by the connection overrides we ask for, and a second.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it is between two callbacks of one kind.
const CALLBACK_INTERVAL: Duration = Duration::from_millis(10);

/// Callbacks of one kind that have to be answered while an attack goes on.
const CALLBACKS: usize = 50;

/// Connections of one address that nothing is asked on.
const IDLE: usize = 1_015;

/// Live streams of one listener.
const STREAMS: usize = 1_003;

/// Accounts that a request without a valid signature may be of.
const ACCOUNTS: usize = 64;

/// Requests of an attack that are under way at the same time.
const AT_ONCE: usize = 4;

/// What somebody does to take more than their share.
#[derive(Debug, Clone, Copy)]
enum Attack {
    IdleConnections,
    EventStreams,
    UnknownFields,
    UnsignedEvents,
    GuessedKeys,
}

const ATTACKS: [Attack; 5] = [
    Attack::IdleConnections,
    Attack::EventStreams,
    Attack::UnknownFields,
    Attack::UnsignedEvents,
    Attack::GuessedKeys,
];

impl Attack {
    /// Goes on until it is stopped. `begun` is told once it has all that it can get.
    async fn run(self, service: Arc<TestService>, begun: CancellationToken) {
        match self {
            Attack::IdleConnections => {
                hold(&service, IDLE, begun, b"").await;
            }
            Attack::EventStreams => {
                let viewer = token_in("other", Role::Viewer);
                let request = format!(
                    "GET /api/sms/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\
                     Authorization: Bearer {viewer}\r\n\r\n"
                );
                hold(&service, STREAMS, begun, request.as_bytes()).await;
            }
            Attack::UnknownFields => {
                let fields: serde_json::Map<_, _> =
                    (0..60_000).map(|number| (format!("field{number:05}"), json!(1))).collect();
                let (body, user) = (json!(fields).to_string(), token_in("other", Role::User));
                begun.cancel();
                repeat(|| {
                    let request = service.anonymous(Method::PUT, "/api/sms/preferences").bearer_auth(&user);
                    request.header("Content-Type", "application/json").body(body.clone())
                })
                .await;
            }
            Attack::UnsignedEvents => {
                let target = format!("/webhooks/twilio/events?x={}", "%41".repeat(2_500));
                begun.cancel();
                repeat(|| {
                    let request =
                        service.anonymous(Method::POST, &target).header(SIGNATURE_HEADER, "nonsense");
                    request.header("Content-Type", "application/json").body("[]")
                })
                .await;
            }
            Attack::GuessedKeys => {
                begun.cancel();
                repeat(|| service.anonymous(Method::GET, "/api/sms/events").bearer_auth("a guess")).await;
            }
        }
    }
}

/// Opens connections, asks `request` on each, and holds what the service lets it.
async fn hold(service: &TestService, count: usize, begun: CancellationToken, request: &[u8]) {
    let mut held = Vec::new();
    for _ in 0..count {
        // One that is closed meanwhile is one that others have.
        if let Ok(mut connection) = TcpStream::connect(service.address()).await {
            connection.write_all(request).await.ok();
            held.push(connection);
        }
    }
    begun.cancel();
    std::future::pending().await
}

/// Asks again and again, whatever is answered.
async fn repeat(request: impl Fn() -> reqwest::RequestBuilder) {
    let lane = async || -> () {
        loop {
            if request().send().await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    futures_util::future::join_all((0..AT_ONCE).map(|_| lane())).await;
}

/// Callbacks of one kind: where they go, and how.
struct Flow {
    name: &'static str,
    address: String,
    http: Client,
    /// Part of the SIDs, so that no two are equal.
    number: usize,
    sent: usize,
}

impl Flow {
    fn new(number: usize, name: &'static str, address: &str, keeps_connections: bool) -> Self {
        let idle = if keeps_connections { usize::MAX } else { 0 };
        let http = Client::builder().pool_max_idle_per_host(idle).timeout(CLIENT_TIMEOUT).build().unwrap();
        Self { name, address: address.to_owned(), http, number, sent: 0 }
    }

    /// Sends callbacks at a steady rate, and returns how long the slowest took.
    async fn send(&mut self, public_url: &str) -> Duration {
        let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
        let mut pace = tokio::time::interval(CALLBACK_INTERVAL);
        let mut slowest = Duration::ZERO;
        for _ in 0..CALLBACKS {
            pace.tick().await;
            let sid = format!("SM{:016x}{:016x}", self.number, self.sent);
            let form: Form = callback(&sid, "sent").into_iter().collect();
            let signature = signature::sign(&key, &format!("{public_url}{STATUS}"), &form);
            let request = self.http.post(format!("http://{}{STATUS}", self.address)).body(form.encode());
            let request = request.header("Content-Type", "application/x-www-form-urlencoded");
            let start = Instant::now();
            let answer = request.header(SIGNATURE_HEADER, signature).send().await;
            slowest = slowest.max(start.elapsed());
            let status = answer.unwrap_or_else(|error| panic!("{}: {sid}: {error:?}", self.name)).status();
            assert_eq!(status, 204, "{}: {sid}", self.name);
            self.sent += 1;
        }
        slowest
    }
}

/// Sends callbacks of all kinds while `attacks` go on.
async fn withstand(service: &Arc<TestService>, flows: &mut [Flow], name: &str, attacks: &[Attack]) {
    let mut going_on = JoinSet::new();
    for attack in attacks {
        let begun = CancellationToken::new();
        going_on.spawn(attack.run(service.clone(), begun.clone()));
        begun.cancelled().await;
    }
    let public_url = service.public_url.clone();
    let slowest = futures_util::future::join_all(
        flows.iter_mut().map(async |flow| (flow.name, flow.send(&public_url).await)),
    )
    .await;
    for (flow, slowest) in slowest {
        println!(
            "{name}: the slowest of {CALLBACKS} callbacks {flow}: {:.1} ms",
            slowest.as_secs_f64() * 1e3
        );
    }
    going_on.shutdown().await;
}

async fn callbacks_arrive_whatever_others_do(on: On) {
    open_files::raise_limit();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let accounts = (1..ACCOUNTS).map(|number| {
        format!(
            "[[accounts]]\norganization = \"o{number}\"\naccount_sid = \"AC{number:032x}\"\n\
             auth_token = \"{number:032x}\"\n"
        )
    });
    std::fs::write(&file, accounts.collect::<String>()).unwrap();
    let settings = [
        ("TEXTLEDGER_CONFIG", file.to_str().unwrap()),
        ("TEXTLEDGER_WEBHOOK_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_METRICS_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_API_RATE", "100"),
        ("TEXTLEDGER_LOG", "warn"),
    ];
    let service = Arc::new(TestService::start_with(on, &settings).await);
    let mut flows = [
        Flow::new(0, "at the address for webhooks", service.webhook_address(), false),
        Flow::new(1, "at the main address", service.address(), false),
        Flow::new(2, "at the main address over kept connections", service.address(), true),
    ];
    withstand(&service, &mut flows, "nothing else", &[]).await;
    for attack in ATTACKS {
        withstand(&service, &mut flows, &format!("{attack:?}"), &[attack]).await;
    }
    withstand(&service, &mut flows, "all at once", &ATTACKS).await;
    let accepted = r#"textledger_webhook_requests_total{route="status",result="accepted"}"#;
    let sent: usize = flows.iter().map(|flow| flow.sent).sum();
    assert_eq!(service.metric(accepted).await, sent as u64);
    // Nothing of the attacks is left over.
    eventually("all streams are closed", async || {
        (service.metric("textledger_event_streams").await == 0).then_some(())
    })
    .await;
    let events = eventually("the callers' rate allows to look", async || {
        let page = service.get(Role::Viewer, "/api/sms/events?limit=500").send().await.ok()?;
        page.status().is_success().then_some(())
    });
    events.await;
    assert_eq!(service.all_events().await.len(), sent);
}

async fn idle_connections_do_not_take_a_processes_last_files(on: On) {
    open_files::raise_limit();
    let settings = [
        ("TEXTLEDGER_WEBHOOK_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_METRICS_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_WORKERS", "2"),
        ("TEXTLEDGER_LOG", "info"),
    ];
    let service = Arc::new(TestService::start_limited(on, Some(1_024), &settings).await);
    assert!(service.log().contains("the limit of open files is low"), "{}", service.log());
    let mut flows = [
        Flow::new(0, "at the address for webhooks", service.webhook_address(), false),
        Flow::new(1, "at the main address", service.address(), false),
    ];
    let attacks = [Attack::IdleConnections, Attack::EventStreams];
    withstand(&service, &mut flows, "at 1,024 files", &attacks).await;
    let closed = |cause| format!(r#"textledger_connections_closed_total{{listener="api",cause="{cause}"}}"#);
    assert!(service.metric(&closed("all")).await > 0);
    let told = service.log().matches("a connection was closed for want of room").count();
    assert_eq!(told, 1, "{}", service.log());
    // The oldest of a stranger's connections were closed; the newest is as good as any.
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(service.address()).await.unwrap());
    }
    assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
    let newest = idle.last_mut().unwrap();
    newest.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    newest.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}
