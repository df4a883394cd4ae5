//! A master, two replicas and three sentinels, for the tests alone.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    DEADLINE,
    redis_server::{RedisServer, free_port},
};

/// What the sentinels call the master.
pub const NAME: &str = "ledger";

/// Sentinels, and those of them that have to agree that a master is gone.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// After how long without a word a server counts as gone, and how long a failover may take.
const DOWN_AFTER_MS: u32 = 1_000;
const FAILOVER_TIME_MAX_MS: u32 = 5_000;

/// The servers, in places that stay, and the sentinels.
pub struct RedisSentinels {
    servers: Vec<(u16, Option<RedisServer>)>,
    sentinels: Vec<RedisServer>,
    folder: tempfile::TempDir,
}

impl RedisSentinels {
    /// Starts them, and waits until the sentinels know the replicas and each other.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut group = Self { servers: Vec::new(), sentinels: Vec::new(), folder };
        for place in 0..3 {
            group.servers.push((free_port(), None));
            group.start_again(place);
        }
        let master_port = group.servers[0].0;
        for place in 1..3 {
            group.server(place).follow(master_port).await;
        }
        group.wait("the replicas follow", |group| {
            group.server(0).replication().matches("state=online").count() == 2
        });
        for number in 0..SENTINELS {
            let port = free_port();
            let settings = group.folder.path().join(format!("sentinel-{number}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master_port} {QUORUM}\n\
                 sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {NAME} {FAILOVER_TIME_MAX_MS}\n"
            );
            std::fs::write(&settings, text).unwrap();
            group.sentinels.push(RedisServer::start_sentinel(port, &settings));
        }
        group.wait("the sentinels know each other", Self::is_whole);
        group
    }

    /// Whether every sentinel knows a master that answers, two replicas that are well and the other sentinels.
    pub fn is_whole(&self) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let client = redis::Client::open(sentinel.url()).unwrap();
            let mut connection = client.get_connection().unwrap();
            let info: String = redis::cmd("INFO").arg("sentinel").query(&mut connection).unwrap();
            let replicas: Vec<std::collections::HashMap<String, String>> =
                redis::cmd("SENTINEL").arg("REPLICAS").arg(NAME).query(&mut connection).unwrap();
            let are_well = replicas
                .iter()
                .all(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok");
            info.contains("status=ok") && info.contains("slaves=2,sentinels=3") && are_well
        }) && self.server(self.master()).replication().matches("state=online").count() == 2
    }

    /// Waits until `holds`.
    pub fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + 2 * DEADLINE;
        while !holds(self) {
            assert!(Instant::now() < give_up, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The place of the server that the sentinels call the master.
    pub fn master(&self) -> usize {
        let client = redis::Client::open(self.sentinels[0].url()).unwrap();
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
        let (_, port): (String, u16) = ask.query(&mut client.get_connection().unwrap()).unwrap();
        self.servers.iter().position(|(known, _)| *known == port).unwrap()
    }

    /// The server at `place`.
    pub fn server(&self, place: usize) -> &RedisServer {
        self.servers[place].1.as_ref().expect("the server runs")
    }

    /// Ends the server at `place`, as a crash does.
    pub fn end(&mut self, place: usize) {
        self.servers[place].1 = None;
    }

    /// Starts the server at `place`, empty: it is made a replica.
    pub fn start_again(&mut self, place: usize) {
        let folder = self.server_folder(place);
        let port = self.servers[place].0;
        self.servers[place].1 =
            Some(RedisServer::start_at(&[], port, &folder, &["--repl-diskless-sync-delay", "0"]));
    }

    fn server_folder(&self, place: usize) -> PathBuf {
        let folder = self.folder.path().join(place.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Has another server made the master, as for an upgrade.
    pub async fn fail_over(&self) {
        self.sentinels[0].ask(redis::cmd("SENTINEL").arg("FAILOVER").arg(NAME)).await;
    }

    /// Ends a sentinel; the others are enough.
    pub fn end_a_sentinel(&mut self) {
        drop(self.sentinels.pop());
    }

    /// Stops the first sentinel where it stands.
    pub fn pause_a_sentinel(&self) {
        self.sentinels[0].pause();
    }

    /// The URL, as the service takes it.
    pub fn url(&self) -> String {
        let places: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        format!("redis-sentinel://{}/{NAME}", places.join(","))
    }
}
