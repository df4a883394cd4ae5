//! The service is asked to stop while requests are on their way.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use textledger::domain::Role;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use super::overload::post;
use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{AUTH_TOKEN, On, TestService, callback},
    },
};

on_both_stores! {
    what_is_on_its_way_is_answered_before_the_service_stops
    a_request_that_is_half_written_is_waited_for_while_others_are_served
    a_second_signal_ends_the_wait
    a_stream_ends_as_it_should
}

const STATUS: &str = "/webhooks/twilio/status";

/// Clients that post as fast as they are answered, half of them over one connection as long as it is kept.
const CLIENTS: usize = 64;

/// Callbacks that are answered before the service is asked to stop.
const BEFORE: usize = 1_000;

/// A client's connection.
struct Connection(BufReader<TcpStream>);

/// An answer's status, and whether its connection ends with it.
type Answer = (u16, bool);

impl Connection {
    async fn open(service: &TestService) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(service.address()).await?)))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let (mut status, mut ends, mut body) = (None, false, Vec::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match (status, line.split_once(": ")) {
                (None, _) => status = line.get(9..12).and_then(|status| status.parse().ok()),
                (_, Some(("connection", "close"))) => ends = true,
                (_, Some(("content-length", length))) => body = vec![0; length.parse().unwrap()],
                (Some(status), None) => {
                    self.0.read_exact(&mut body).await?;
                    return Ok((status, ends));
                }
                _ => {}
            }
        }
    }
}

/// What became of a client's callbacks.
#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    unanswered: Vec<io::Error>,
}

/// Posts callbacks until no connection is taken any more.
async fn post_until_refused(
    service: Arc<TestService>,
    client: usize,
    keeps: bool,
    answered: Arc<AtomicUsize>,
) -> Told {
    let (mut told, mut kept) = (Told::default(), None);
    for number in 0.. {
        let sid = format!("SM{client:016x}{number:016x}");
        let request = post(&service, STATUS, AUTH_TOKEN, &callback(&sid, "sent"));
        let mut connection = match kept.take() {
            Some(kept) => kept,
            None => match Connection::open(&service).await {
                Ok(opened) => opened,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
                Err(error) => panic!("neither taken nor refused: {error}"),
            },
        };
        let answer = match connection.write(&request).await {
            Ok(()) => connection.answer().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok((status, ends)) => {
                assert_eq!(status, 204);
                answered.fetch_add(1, Ordering::Relaxed);
                told.acknowledged.push(sid);
                kept = (keeps && !ends).then_some(connection);
            }
            Err(error) => told.unanswered.push(error),
        }
    }
    told
}

async fn what_is_on_its_way_is_answered_before_the_service_stops(on: On) {
    let service = Arc::new(TestService::start_with(on, &[("TEXTLEDGER_LOG", "warn")]).await);
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(post_until_refused(service.clone(), client, client % 2 == 0, answered.clone()));
    }
    let has_begun = async || (answered.load(Ordering::Relaxed) >= BEFORE).then_some(());
    eventually("callbacks are answered", has_begun).await;
    service.signal("TERM");
    let told = clients.join_all().await;
    let unanswered: Vec<&io::Error> = told.iter().flat_map(|told| &told.unanswered).collect();
    assert!(unanswered.is_empty(), "{} without an answer: {unanswered:?}", unanswered.len());
    let mut service = Arc::into_inner(service).unwrap();
    assert_eq!(service.ended().await, Some(0));
    service.start_again();
    let events = service.all_events().await;
    let stored: HashSet<&str> = events.iter().map(|event| event["sid"].as_str().unwrap()).collect();
    let missing =
        told.iter().flat_map(|told| &told.acknowledged).filter(|sid| !stored.contains(sid.as_str()));
    assert_eq!(missing.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_of_an_embedded_store_is_not_looked_through_after_a_kill() {
    let mut service = TestService::start(On::Embedded).await;
    let was_looked_through =
        |service: &TestService| service.log().contains("the embedded store was not closed");
    // Killed after a callback, and right after a start, which writes too.
    for number in 0..2 {
        let sid = format!("SM{number:032x}");
        assert_eq!(service.webhook(STATUS, &callback(&sid, "sent")).await.status(), 204);
        for _ in 0..2 {
            service.kill();
            service.start_again();
            assert!(!was_looked_through(&service), "{}", service.log());
        }
        assert_eq!(service.message_status(&sid).await.0, 200);
    }
}

/// A connection on which a callback is half written, and the other half.
async fn half_written(service: &TestService) -> (Connection, Vec<u8>) {
    let sid = format!("SM{:032x}", 1);
    let mut first = post(service, STATUS, AUTH_TOKEN, &callback(&sid, "sent"));
    let rest = first.split_off(40);
    let mut connection = Connection::open(service).await.unwrap();
    connection.write(&first).await.unwrap();
    (connection, rest)
}

/// Asks `service` to stop, and waits until it says that it does.
async fn begin_to_stop(service: &TestService) {
    service.signal("TERM");
    eventually("it says that it stops", async || {
        let (status, ready) = service.readiness().await;
        ((status, &ready["service"]) == (503, &json!("stopping"))).then_some(())
    })
    .await;
}

async fn a_request_that_is_half_written_is_waited_for_while_others_are_served(on: On) {
    let mut service = TestService::start(on).await;
    assert_eq!(service.readiness().await.1["service"], "ok");
    let (mut half_written, rest) = half_written(&service).await;
    begin_to_stop(&service).await;
    let mut newcomer = Connection::open(&service).await.unwrap();
    let sid = format!("SM{:032x}", 2);
    newcomer.write(&post(&service, STATUS, AUTH_TOKEN, &callback(&sid, "sent"))).await.unwrap();
    assert_eq!(newcomer.answer().await.unwrap(), (204, true));
    half_written.write(&rest).await.unwrap();
    assert_eq!(half_written.answer().await.unwrap(), (204, true));
    assert_eq!(service.ended().await, Some(0));
}

async fn a_second_signal_ends_the_wait(on: On) {
    let mut service = TestService::start(on).await;
    let _half_written = half_written(&service).await;
    begin_to_stop(&service).await;
    assert_eq!(service.stop().await, Some(1));
}

async fn a_stream_ends_as_it_should(on: On) {
    let mut service = TestService::start(on).await;
    let live = service.get(Role::Viewer, "/api/sms/events").header("Accept", "text/event-stream");
    let mut live = live.send().await.unwrap();
    service.signal("TERM");
    while live.chunk().await.expect("the stream has an end").is_some() {}
    assert_eq!(service.ended().await, Some(0));
}
