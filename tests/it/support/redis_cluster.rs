//! A real cluster of Redis, for the tests alone.

use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{
    DEADLINE,
    made_up_time::MadeUpTime,
    redis_server::{RedisServer, free_port},
};

/// The slots of a cluster's masters.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

/// After how long without a word a cluster's node counts as gone.
const NODE_TIMEOUT_MS: &str = "2000";

/// The same where days pass at once: three weeks.
const FAR_TIMEOUT_MS: &str = "1800000000";

/// A node: its place stays when it has ended.
struct Node {
    port: u16,
    bus_port: u16,
    folder: PathBuf,
    environment: Vec<String>,
    further: Vec<String>,
    server: Option<RedisServer>,
}

/// A cluster of three masters. One that tests share has no replicas, and each of them takes a key prefix of its own.
pub struct RedisCluster {
    nodes: Vec<Node>,
    /// The folders of the nodes.
    _folder: tempfile::TempDir,
}

impl Node {
    fn start(&mut self) {
        let bus_port = self.bus_port.to_string();
        let further = ["--cluster-enabled", "yes", "--cluster-port", &bus_port];
        let further = [&further[..], &["--cluster-node-timeout", NODE_TIMEOUT_MS]].concat();
        let own: Vec<&str> = self.further.iter().map(String::as_str).collect();
        let further = [&further[..], &own].concat();
        self.server = Some(RedisServer::start_at(&self.environment, self.port, &self.folder, &further));
    }

    fn server(&self) -> &RedisServer {
        self.server.as_ref().expect("the node runs")
    }

    fn ask(&self, command: &redis::Cmd) -> redis::Value {
        let client = redis::Client::open(self.server().url()).unwrap();
        command.query(&mut client.get_connection().unwrap()).unwrap()
    }

    fn told(&self, command: &redis::Cmd) -> String {
        redis::from_redis_value(self.ask(command)).unwrap()
    }

    /// A replica that has everything.
    fn is_followed(&self) -> bool {
        self.server().replication().contains("state=online")
    }
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl RedisCluster {
    /// The cluster, made when it is first asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[], 0, |_| Vec::new()))
    }

    /// One whose first master has a replica, which takes its place within seconds.
    pub fn start_with_replica() -> Self {
        Self::start(&[], 1, |_| Vec::new())
    }

    /// One whose masters have a replica each.
    pub fn start_replicated() -> Self {
        Self::start(&[], SLOTS.len(), |_| Vec::new())
    }

    /// One without replicas whose nodes have further settings, by the port of each.
    pub fn start_with(further: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start(&[], 0, further)
    }

    /// One without replicas whose clocks show what `time` does.
    pub fn start_in(time: &MadeUpTime) -> Self {
        // Where days pass at once, no node is gone for that.
        let further = ["--cluster-node-timeout", FAR_TIMEOUT_MS].map(str::to_owned);
        time.pass_during(|| Self::start(&time.environment(), 0, |_| further.to_vec()))
    }

    fn start(environment: &[String], replicas: usize, further: impl Fn(u16) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = (0..SLOTS.len() + replicas)
            .map(|number| {
                let port = free_port();
                let folder = folder.path().join(number.to_string());
                std::fs::create_dir(&folder).unwrap();
                let (bus_port, environment, further) = (free_port(), environment.to_vec(), further(port));
                Node { port, bus_port, folder, environment, further, server: None }
            })
            .collect();
        nodes.iter_mut().for_each(Node::start);
        for (node, (first, last)) in nodes.iter().zip(SLOTS) {
            node.ask(redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last));
        }
        for node in nodes.iter().skip(1) {
            let mut meet = redis::cmd("CLUSTER");
            nodes[0].ask(meet.arg("MEET").arg("127.0.0.1").arg(node.port).arg(node.bus_port));
        }
        let known = format!("cluster_known_nodes:{}\r", nodes.len());
        let is_well = |node: &Node| {
            let info = node.told(redis::cmd("CLUSTER").arg("INFO"));
            info.contains("cluster_state:ok") && info.contains(&known)
        };
        wait("the cluster does not come together", || nodes.iter().all(is_well));
        for (master, replica) in nodes.iter().zip(&nodes[SLOTS.len()..]) {
            let id = master.told(redis::cmd("CLUSTER").arg("MYID"));
            replica.ask(redis::cmd("CLUSTER").arg("REPLICATE").arg(id));
            wait("the replica does not follow", || master.is_followed());
        }
        Self { nodes, _folder: folder }
    }

    /// Ends the first master, as a crash does.
    pub fn end_master(&mut self) {
        self.nodes[0].server = None;
    }

    /// Ends one of the masters, as a crash does, and returns its place.
    pub fn end_a_master(&mut self, turn: usize) -> usize {
        let masters = self.masters();
        let place = masters[turn % masters.len()];
        self.nodes[place].server = None;
        place
    }

    /// Stops one of the masters where it stands, and returns its place.
    pub fn pause_a_master(&self, turn: usize) -> usize {
        let masters = self.masters();
        let place = masters[turn % masters.len()];
        self.nodes[place].server().pause();
        place
    }

    /// Lets the node at `place` go on.
    pub fn resume(&self, place: usize) {
        self.nodes[place].server().resume();
    }

    /// Starts the node at `place` again, with what it knows of the cluster.
    pub fn start_again(&mut self, place: usize) {
        self.nodes[place].start();
    }

    /// The places of the masters that answer.
    pub fn masters(&self) -> Vec<usize> {
        let is_master =
            |node: &Node| node.server.as_ref().and_then(RedisServer::role).as_deref() == Some("master");
        (0..self.nodes.len()).filter(|place| is_master(&self.nodes[*place])).collect()
    }

    /// Whether every slot has a master, and every master a replica that has everything.
    pub fn is_whole(&self) -> bool {
        let masters = self.masters();
        masters.len() == SLOTS.len() && masters.iter().all(|place| self.nodes[*place].is_followed())
    }

    /// Its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().map(Node::server)
    }

    /// A connection to the node at `place`.
    pub fn node(&self, place: usize) -> &RedisServer {
        self.nodes[place].server()
    }

    /// The places of all nodes.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.nodes.len()
    }

    /// Its URL, as the service takes it.
    pub fn url(&self) -> String {
        self.url_with("redis-cluster", "", |port| port)
    }

    /// The same with another scheme, with `login` before the first node, and with other ports.
    pub fn url_with(&self, scheme: &str, login: &str, port: impl Fn(u16) -> u16) -> String {
        let nodes: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node.port))).collect();
        format!("{scheme}://{login}{}", nodes.join(","))
    }
}
