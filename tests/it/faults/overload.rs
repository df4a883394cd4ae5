//! More arrives than can be stored at once: people's words first, and nobody pays for another's flood.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use textledger::{
    app::incoming::admission::IN_FLIGHT_MAX,
    open_files,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::support::{
    DEADLINE,
    service::{ACCOUNT_SID, AUTH_TOKEN, On, PERSON, TestService, callback, reply},
};

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";

/// Connections that flood at the same time: far more than the service stores at once.
const FLOODING: usize = 3 * IN_FLIGHT_MAX;

/// Callbacks of the whole flood.
const FLOOD: usize = 12 * FLOODING;

/// How many callbacks of a flood may be answered between the moment at which a request of another kind is sent and its
/// answer: those that were being stored, and three turns of the connections, one to be read, one to ask for consent, one
/// to be stored.
const OVERTAKEN_MAX: usize = IN_FLIGHT_MAX + 3 * FLOODING;

/// Connections that are opened while the service does nothing: a few less than one peer may have.
const BURST: usize = 1_000;

/// A connection on which one request is asked by a thread of its own, so that what is counted meanwhile is the service's
/// doing and not that of the client's own queue.
struct Bystander(TcpStream);

impl Bystander {
    fn of(service: &TestService) -> Self {
        Self(TcpStream::connect(service.address()).unwrap())
    }

    /// Asks, and returns the answer's status and how many of the flood were answered meanwhile.
    async fn ask(mut self, request: Vec<u8>, answered: Arc<AtomicUsize>) -> (String, usize) {
        tokio::task::spawn_blocking(move || {
            let before = answered.load(Ordering::Relaxed);
            self.0.write_all(&request).unwrap();
            let mut head = [0; 12];
            self.0.read_exact(&mut head).unwrap();
            let overtaken = answered.load(Ordering::Relaxed) - before;
            (String::from_utf8_lossy(&head[9..]).into_owned(), overtaken)
        })
        .await
        .unwrap()
    }
}

/// A signed POST, written down.
pub fn post(service: &TestService, target: &str, token: &str, form: &[(&str, &str)]) -> Vec<u8> {
    let form: Form = form.iter().copied().collect();
    let key = SigningKey::new(Algorithm::HmacSha1, &token.into());
    let signature = signature::sign(&key, &format!("{}{target}", service.public_url), &form);
    let body = form.encode();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         {SIGNATURE_HEADER}: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Floods the service with intermediate statuses of the organization `default`, and does `meanwhile` in the middle.
async fn flooded<T>(service: Arc<TestService>, meanwhile: impl AsyncFnOnce(Arc<AtomicUsize>) -> T) -> T {
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for _ in 0..FLOODING {
        let (service, asked, answered) = (service.clone(), asked.clone(), answered.clone());
        flood.spawn(async move {
            loop {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                if number >= FLOOD {
                    return;
                }
                let sid = format!("SM{number:032x}");
                assert_eq!(service.try_webhook(STATUS, &callback(&sid, "sent")).await, Some(204));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while answered.load(Ordering::Relaxed) < FLOOD / 4 {
        tokio::task::yield_now().await;
    }
    let result = meanwhile(answered.clone()).await;
    assert!(answered.load(Ordering::Relaxed) < FLOOD, "the flood was over too soon");
    flood.join_all().await;
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_flood_counts_at_once() {
    let service = Arc::new(TestService::start_with(On::Redis, &[("TEXTLEDGER_LOG", "warn")]).await);
    let person = Bystander::of(&service);
    let stop = reply("SM99999999999999999999999999999999", PERSON, "STOP");
    let stop = post(&service, INBOUND, AUTH_TOKEN, &stop);
    let overtaken = flooded(service.clone(), async |answered| {
        let (status, overtaken) = person.ask(stop, answered).await;
        assert_eq!(status, "200");
        // From here on no send to that person begins.
        assert_eq!(service.send(PERSON, "hello").await.1["code"], "recipient_opted_out");
        overtaken
    });
    let overtaken = overtaken.await;
    assert!(overtaken <= OVERTAKEN_MAX, "{overtaken} callbacks were answered before the STOP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organizations_flood_does_not_delay_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("textledger.toml");
    let (sid, token) = ("ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    let account =
        format!("[[accounts]]\norganization = \"acme\"\naccount_sid = \"{sid}\"\nauth_token = \"{token}\"\n");
    std::fs::write(&file, account).unwrap();
    let settings = [("TEXTLEDGER_CONFIG", file.to_str().unwrap()), ("TEXTLEDGER_LOG", "warn")];
    let service = Arc::new(TestService::start_with(On::Redis, &settings).await);
    let other = Bystander::of(&service);
    let message = format!("SM{}", "9".repeat(32));
    let form: Vec<(&str, &str)> = callback(&message, "sent")
        .into_iter()
        .map(|(name, value)| (name, if value == ACCOUNT_SID { sid } else { value }))
        .collect();
    let request = post(&service, STATUS, token, &form);
    let overtaken = flooded(service.clone(), async |answered| {
        let (status, overtaken) = other.ask(request, answered).await;
        assert_eq!(status, "204");
        overtaken
    });
    let overtaken = overtaken.await;
    assert!(overtaken <= OVERTAKEN_MAX, "{overtaken} callbacks of the other were answered first");
}

/// The system sends the first packet of a connection again after a second, as long as a callback may take: none may be dropped.
#[tokio::test]
async fn connections_that_come_while_the_service_stands_still_wait_for_it() {
    open_files::raise_limit();
    let service = TestService::start_with(On::Embedded, &[("TEXTLEDGER_LOG", "warn")]).await;
    service.signal("STOP");
    let address = service.address();
    let connect = |_| tokio::net::TcpStream::connect(address);
    let opened = futures_util::future::join_all((0..BURST).map(connect));
    let opened = tokio::time::timeout(DEADLINE, opened).await.expect("the system completes all connections");
    service.signal("CONT");
    for connection in opened {
        let mut connection = connection.unwrap();
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        connection.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
}
