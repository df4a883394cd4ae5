//! A real `redis-server` on a free port, for the tests alone.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::DEADLINE;

/// Ends the server when its standard input closes, which happens even if the tests are killed.
const GUARDIAN: &str = r#"redis-server --bind 127.0.0.1 --port "$0" --save "" --appendonly "$2" --appendfsync always \
  --dir "$1" >/dev/null & server=$!; trap 'kill -9 $server 2>/dev/null; [ "$2" = yes ] || rm -rf "$1"' EXIT; cat >/dev/null"#;

/// A running server; dropping it ends it, as a crash does.
pub struct RedisServer {
    port: u16,
    guardian: Child,
}

impl RedisServer {
    /// Starts a server on a free port, which keeps everything in memory, and waits until it answers.
    pub fn start() -> Self {
        Self::launch(free_port(), tempfile::tempdir().unwrap().keep(), "no")
    }

    /// Starts a server on a free port that has on disk what it acknowledges, in `folder`.
    pub fn start_durable(folder: &Path) -> Self {
        Self::launch(free_port(), folder.to_owned(), "yes")
    }

    /// Starts a replica of the server at `port`.
    pub async fn start_replica_of(port: u16) -> Self {
        let replica = Self::start();
        let mut connection = replica.connect().await;
        let _: String =
            redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query_async(&mut connection).await.unwrap();
        replica
    }

    /// Starts a server in the place of one that was, with what that had on disk.
    pub fn start_in_place_of(port: u16, folder: &Path) -> Self {
        Self::launch(port, folder.to_owned(), "yes")
    }

    fn launch(port: u16, folder: PathBuf, durable: &str) -> Self {
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, &port.to_string()])
            .arg(&folder)
            .arg(durable)
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

    /// Stops the process where it stands: it takes connections and answers nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        // The brackets keep the pattern from matching the shell that looks for it.
        let script = format!("pkill -{name} -f 'redis-serve[r] 127.0.0.1:{}'", self.port);
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Makes everything due that is planned under the key prefix `prefix`.
    pub async fn make_due(&self, prefix: &str) {
        let key = format!("{prefix}:{{default:0}}:tasks");
        let mut connection = self.connect().await;
        let tasks: Vec<String> =
            redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await.unwrap();
        for task in tasks.iter().filter(|task| *task != "list") {
            let _: u64 =
                redis::cmd("ZADD").arg(&key).arg(1).arg(task).query_async(&mut connection).await.unwrap();
        }
    }

    /// A connection of its own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        self.guardian.wait().ok();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
