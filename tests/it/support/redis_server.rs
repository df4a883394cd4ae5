//! A real `redis-server` on a free port, for the tests alone.

use std::{
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{DEADLINE, eventually, made_up_time::MadeUpTime};

/// Ends the server when its standard input closes, which happens even if the tests are killed.
const GUARDIAN: &str = r#"folder="$0" stays="$1"; shift; "$@" >/dev/null & server=$!
trap 'kill -9 $server 2>/dev/null; [ "$stays" = yes ] || rm -rf "$folder"' EXIT; cat >/dev/null"#;

/// The variable that names the program that is started as Redis, such as one of Valkey.
const PROGRAM: &str = "TESTED_REDIS_SERVER";

/// A running server; dropping it ends it, as a crash does.
pub struct RedisServer {
    port: u16,
    process_id: u32,
    guardian: Child,
}

/// The program that is started as Redis.
fn program() -> String {
    std::env::var(PROGRAM).unwrap_or_else(|_| "redis-server".to_owned())
}

impl RedisServer {
    /// Starts a server on a free port, which keeps everything in memory, and waits until it answers.
    pub fn start() -> Self {
        Self::launch(free_port(), tempfile::tempdir().unwrap().keep(), "no", &[])
    }

    /// Starts a server on a free port that has on disk what it acknowledges, in `folder`.
    pub fn start_durable(folder: &Path) -> Self {
        Self::launch(free_port(), folder.to_owned(), "yes", &[])
    }

    /// Starts a server that has what was dumped into the file `dump`.
    pub fn start_with_dump(dump: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::copy(dump, folder.join("dump.rdb")).unwrap();
        Self::launch(free_port(), folder, "no", &[])
    }

    /// Starts a replica of the server at `port`.
    pub async fn start_replica_of(port: u16) -> Self {
        let replica = Self::start();
        replica.follow(port).await;
        replica
    }

    /// Makes it a replica of the server at `port`.
    pub async fn follow(&self, port: u16) {
        self.ask(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port)).await;
    }

    /// Makes it a master.
    pub async fn lead(&self) {
        self.ask(redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    }

    /// Waits until a replica holds everything.
    pub async fn followed(&self) {
        let mut connection = self.connect().await;
        eventually("the replica follows", async || {
            let _: () = redis::cmd("SET").arg("x").arg(1).query_async(&mut connection).await.unwrap();
            let held: u32 = redis::cmd("WAIT").arg(1).arg(100).query_async(&mut connection).await.unwrap();
            (held == 1).then_some(())
        })
        .await;
    }

    /// Closes the connections of everybody else but replicas.
    pub async fn close_connections(&self) {
        self.ask(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal")).await;
    }

    /// Its answer to `command`.
    pub async fn ask(&self, command: &redis::Cmd) -> redis::Value {
        command.query_async(&mut self.connect().await).await.unwrap()
    }

    /// Whether it is a `master` or a `slave`, as Redis says it; nothing if it does not answer.
    pub fn role(&self) -> Option<String> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_millis(500)).ok()?;
        connection.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let told: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection).ok()?;
        redis::from_redis_value(told.into_iter().next()?).ok()
    }

    /// What it says of its replication.
    pub fn replication(&self) -> String {
        let client = redis::Client::open(self.url()).unwrap();
        let info = client.get_connection().and_then(|mut connection| {
            redis::cmd("INFO").arg("replication").query::<String>(&mut connection)
        });
        info.unwrap_or_default()
    }

    /// Starts a server in the place of one that was, with what that had on disk.
    pub fn start_in_place_of(port: u16, folder: &Path) -> Self {
        Self::launch(port, folder.to_owned(), "yes", &[])
    }

    /// Starts a server on a free port with `further` settings as arguments.
    pub fn start_with(further: &[&str]) -> Self {
        Self::launch(free_port(), tempfile::tempdir().unwrap().keep(), "no", further)
    }

    /// Starts a server on a free port whose clock shows what `time` does.
    pub fn start_in(time: &MadeUpTime) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap().keep());
        let command = [time.environment(), Self::command(port, &folder, "no", &[])].concat();
        Self::spawn(port, &folder, "no", &command)
    }

    /// Starts a server at `port`, in an `environment` of its own, that keeps its files in `folder`, and everything else in memory.
    pub fn start_at(environment: &[String], port: u16, folder: &Path, further: &[&str]) -> Self {
        let command = [environment, &Self::command(port, folder, "no", further)].concat();
        Self::spawn(port, folder, "yes", &command)
    }

    /// Starts a sentinel at a free port with the configuration in the file `settings`.
    pub fn start_sentinel(port: u16, settings: &Path) -> Self {
        let command = [program(), settings.display().to_string(), "--sentinel".to_owned()];
        Self::spawn(port, settings.parent().unwrap(), "yes", &command)
    }

    fn launch(port: u16, folder: PathBuf, durable: &str, further: &[&str]) -> Self {
        Self::spawn(port, &folder, durable, &Self::command(port, &folder, durable, further))
    }

    fn command(port: u16, folder: &Path, durable: &str, further: &[&str]) -> Vec<String> {
        let (port, folder) = (port.to_string(), folder.display().to_string());
        let settings = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", durable];
        let settings = [&settings[..], &["--appendfsync", "always", "--dir", &folder], further].concat();
        [program()].into_iter().chain(settings.iter().map(|part| (*part).to_owned())).collect()
    }

    fn spawn(port: u16, folder: &Path, stays: &str, command: &[String]) -> Self {
        let mut guardian = Command::new("sh");
        guardian.args(["-c", GUARDIAN]).arg(folder).arg(stays).args(command).stdin(Stdio::piped());
        let guardian = guardian.spawn().expect("sh starts");
        let mut server = Self { port, process_id: 0, guardian };
        let give_up = Instant::now() + DEADLINE;
        let client = redis::Client::open(server.url()).unwrap();
        let info = || -> redis::RedisResult<String> {
            redis::cmd("INFO").arg("server").query(&mut client.get_connection()?)
        };
        let process_id =
            |info: &str| info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
        while server.process_id == 0 {
            assert!(
                Instant::now() < give_up,
                "redis-server does not answer: is it installed? (scripts/test)"
            );
            std::thread::sleep(Duration::from_millis(10));
            server.process_id = info().ok().as_deref().and_then(process_id).unwrap_or_default();
        }
        server
    }

    /// One server for all tests that share one; each takes a key prefix of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A key prefix that nobody else has.
    pub fn fresh_prefix() -> String {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        format!("s{}", TAKEN.fetch_add(1, Ordering::Relaxed))
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
        let process_id = self.process_id.to_string();
        let sent = Command::new("kill").args([format!("-{name}"), process_id]).status().unwrap();
        assert!(sent.success());
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

    /// All that stands under the key prefix `prefix`: the keys, and what is in each.
    pub async fn everything(&self, prefix: &str) -> Vec<u8> {
        let mut connection = self.connect().await;
        let pattern = format!("{prefix}:*");
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
        let mut everything = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.unwrap();
            let mut read = match kind.as_str() {
                "string" => redis::cmd("GET"),
                "hash" => redis::cmd("HGETALL"),
                "set" => redis::cmd("SMEMBERS"),
                "list" => redis::cmd("LRANGE"),
                "zset" => redis::cmd("ZRANGE"),
                "stream" => redis::cmd("XRANGE"),
                kind => panic!("{key} is a {kind}"),
            };
            read.arg(&key);
            match kind.as_str() {
                "list" | "zset" => read.arg(0).arg(-1),
                "stream" => read.arg("-").arg("+"),
                _ => &mut read,
            };
            everything.extend(key.into_bytes());
            bytes_of(&read.query_async(&mut connection).await.unwrap(), &mut everything);
        }
        everything
    }

    /// Empties it.
    pub async fn flush(&self) {
        let () = redis::cmd("FLUSHALL").query_async(&mut self.connect().await).await.unwrap();
    }

    /// A copy of all that is in it: each key, its remaining time in milliseconds, and its value as Redis serializes it.
    pub async fn copy(&self) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let mut connection = self.connect().await;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        let mut copy = Vec::new();
        for key in keys {
            let ends: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
            let value: Option<Vec<u8>> =
                redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.unwrap();
            copy.extend(value.map(|value| (key, ends.max(0) as u64, value)));
        }
        copy
    }

    /// Puts a `copy` in the place of all that is in it, at once, as a restart with another file does.
    pub async fn put_back(&self, copy: &[(Vec<u8>, u64, Vec<u8>)]) {
        let mut transaction = redis::pipe();
        transaction.atomic().cmd("FLUSHALL").ignore();
        for (key, ends, value) in copy {
            transaction.cmd("RESTORE").arg(key).arg(*ends).arg(value).ignore();
        }
        let () = transaction.query_async(&mut self.connect().await).await.unwrap();
    }

    /// A connection of its own.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

/// Adds every text in `value` to `bytes`, with a border between two.
fn bytes_of(value: &redis::Value, bytes: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(text) => bytes.extend(text),
        redis::Value::Array(values) => values.iter().for_each(|value| bytes_of(value, bytes)),
        _ => {}
    }
    bytes.push(b'\n');
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        self.guardian.wait().ok();
    }
}

/// An address that moves. Whoever connects is led to the server to which it has moved by then; whoever is connected stays
/// where they are.
pub struct MovingAddress {
    port: u16,
    server_port: Arc<AtomicU16>,
    loses_an_answer: Arc<AtomicBool>,
}

impl MovingAddress {
    /// An address of `server`.
    pub async fn of(server: &RedisServer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Self {
            port: listener.local_addr().unwrap().port(),
            server_port: Arc::new(AtomicU16::new(server.port)),
            loses_an_answer: Arc::default(),
        };
        let (server_port, loses_an_answer) = (address.server_port.clone(), address.loses_an_answer.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server_port = server_port.load(Ordering::Relaxed);
                tokio::spawn(forward(client, server_port, loses_an_answer.clone()));
            }
        });
        address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Leads to `server` from now on.
    pub fn move_to(&self, server: &RedisServer) {
        self.server_port.store(server.port, Ordering::Relaxed);
    }

    /// Closes a connection in place of its next answer.
    pub fn lose_an_answer(&self) {
        self.loses_an_answer.store(true, Ordering::Relaxed);
    }

    /// Whether the answer that was to be lost is.
    pub fn has_lost_it(&self) -> bool {
        !self.loses_an_answer.load(Ordering::Relaxed)
    }
}

async fn forward(
    mut client: TcpStream,
    server_port: u16,
    loses_an_answer: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server_port)).await?;
    let ((mut commands, mut to_client), (mut answers, mut to_server)) = (client.split(), server.split());
    let answered = async {
        let mut buffer = [0; 4_096];
        loop {
            let read = answers.read(&mut buffer).await?;
            if read == 0 || loses_an_answer.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        asked = tokio::io::copy(&mut commands, &mut to_server) => asked.map(drop),
        answered = answered => answered,
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
