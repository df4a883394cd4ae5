//! A real `redis-server` on a free port, for the tests alone.

use std::{
    io::Write,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::DEADLINE;

/// Ends the server and removes its folder when its standard input closes, which happens even if the tests are killed.
const GUARDIAN: &str = r#"redis-server --bind 127.0.0.1 --port "$0" --save "" --appendonly no --dir "$1" >/dev/null &
server=$!; trap 'kill -9 $server 2>/dev/null; rm -rf "$1"' EXIT; cat >/dev/null"#;

/// A running server; dropping it ends it.
pub struct RedisServer {
    port: u16,
    guardian: Child,
}

impl RedisServer {
    /// Starts a server on a free port and waits until it answers.
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// Starts a server on `port` and waits until it answers.
    pub fn start_on(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, &port.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let server = Self { port, guardian };
        let give_up = Instant::now() + DEADLINE;
        let client = redis::Client::open(server.url()).unwrap();
        while client.get_connection().and_then(|mut c| redis::cmd("PING").query::<String>(&mut c)).is_err() {
            assert!(
                Instant::now() < give_up,
                "redis-server does not answer: is it installed? (scripts/test)"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// One server for all tests that share one; each takes a key prefix of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of its own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.guardian.stdin.take() {
            stdin.flush().ok();
        }
        self.guardian.wait().ok();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
