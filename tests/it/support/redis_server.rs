//! A real `redis-server` on a free port, for the tests alone.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::DEADLINE;

/// Ends the server when its standard input closes, which happens even if the tests are killed.
const GUARDIAN: &str = r#"folder="$1" durable="$2"; shift 2
redis-server --bind 127.0.0.1 --port "$0" --save "" --appendonly "$durable" --appendfsync always --dir "$folder" "$@" \
  >/dev/null & server=$!
trap 'kill -9 $server 2>/dev/null; [ "$durable" = yes ] || rm -rf "$folder"' EXIT; cat >/dev/null"#;

/// A running server; dropping it ends it, as a crash does.
pub struct RedisServer {
    port: u16,
    guardian: Child,
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
        let mut connection = replica.connect().await;
        let _: String =
            redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query_async(&mut connection).await.unwrap();
        replica
    }

    /// Starts a server in the place of one that was, with what that had on disk.
    pub fn start_in_place_of(port: u16, folder: &Path) -> Self {
        Self::launch(port, folder.to_owned(), "yes", &[])
    }

    fn launch(port: u16, folder: PathBuf, durable: &str, further: &[&str]) -> Self {
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, &port.to_string()])
            .arg(&folder)
            .arg(durable)
            .args(further)
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

/// A cluster of three nodes, for all tests that share it; each takes a key prefix of its own.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// The cluster, made when it is first asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];
        let bus_ports = SLOTS.map(|_| free_port());
        let nodes: Vec<RedisServer> = bus_ports
            .iter()
            .map(|bus_port| {
                let bus_port = bus_port.to_string();
                let further = ["--cluster-enabled", "yes", "--cluster-port", &bus_port];
                let folder = tempfile::tempdir().unwrap().keep();
                RedisServer::launch(free_port(), folder, "no", &further)
            })
            .collect();
        let ask = |node: &RedisServer, command: &redis::Cmd| -> redis::Value {
            let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
            command.query(&mut connection).unwrap()
        };
        for (node, (first, last)) in nodes.iter().zip(SLOTS) {
            ask(node, redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last));
        }
        for (node, bus_port) in nodes.iter().zip(bus_ports).skip(1) {
            let meet =
                redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(node.port).arg(bus_port).to_owned();
            ask(&nodes[0], &meet);
        }
        let give_up = Instant::now() + DEADLINE;
        let is_well = |node: &RedisServer| {
            let info: String = redis::from_redis_value(ask(node, redis::cmd("CLUSTER").arg("INFO"))).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !nodes.iter().all(is_well) {
            assert!(Instant::now() < give_up, "the cluster does not come together");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { nodes }
    }

    /// Its URL, as the service takes it.
    pub fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", nodes.join(","))
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
