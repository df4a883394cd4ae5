//! One server or a cluster, behind the same few calls. Connections heal by themselves.
//!
//! The requests of a thread share a [`Link`]: a connection from when it is first asked for until it is left. A link is left,
//! and the next request makes another, to whatever the name of Redis leads to by then,
//!
//! - when it has **ended**: Redis closed it, or something on the way did. The command is repeated at once, which every
//!   operation of the store allows: nobody notices;
//! - when it leads to **no master** any more. A name that has moved to another server leaves the connections to the former one
//!   as they were, and a thread that only reads would never know: all links of the process are left. The command, which has
//!   done nothing there, is repeated;
//! - when **no answer** comes in time, whatever it is that hangs. The command's own time is used up: it is not repeated.
//!
//! A link that cannot be made fails all who wait for it, and who asks soon after.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::sync::OnceCell;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the connection to one node of a cluster may take, so that one that is gone leaves time for the others.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an answer may take. Twilio waits 4 s for ours, by the connection overrides we ask for.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that may wait to be written to the connection; one more waits outside.
const PIPELINE_MAX: usize = 1_024;

/// The shortest time between two attempts to connect that fail.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time for which a link is kept that still stands, but leads to no master or gets no answers.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// Links that a command is tried on. The second may have ended like the first, before anybody noticed.
const TRIES_MAX: u32 = 3;

/// After how long without a word it is looked whether the other side is still there, how often, and at what pace. It keeps
/// whatever is on the way from forgetting the connection, too.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long replicas may take to hold a write.
const REPLICAS_TIME_MAX: Duration = Duration::from_secs(1);

/// Where Redis is.
pub(super) struct Server {
    address: Address,
    /// Links that were begun before are left: one of them led to no master.
    renewed: Mutex<Instant>,
}

enum Address {
    /// One server.
    Single(Box<Client>),
    /// The nodes of a cluster by which it is found.
    Cluster(Box<ClusterClient>),
}

/// Shared by the requests of one thread: commands of many of them travel together, and no other thread is woken.
pub(super) struct Connection {
    server: Arc<Server>,
    current: Mutex<Option<Arc<Link>>>,
}

/// One connection, made when it is first needed on the runtime of whoever needs it.
struct Link {
    begun: Instant,
    wire: OnceCell<RedisResult<Wire>>,
}

#[derive(Clone)]
enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Replicas that have to hold what a command has written before it counts. A cluster has no such thing.
pub(super) struct Replicas {
    count: u16,
    mark: Cmd,
}

/// What is asked of Redis, and how long the answer may take.
struct Request<'a> {
    command: &'a Cmd,
    replicas: Option<&'a Replicas>,
    time_max: Duration,
}

/// Why a link is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Ended,
    NoMaster,
    NoAnswer,
}

impl Server {
    /// Reads `redis://…`, `rediss://…` or `redis-cluster://host:port,host:port`.
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        let tcp = TcpSettings::default().set_keepalive(keepalive);
        let address = match url.strip_prefix("redis-cluster://") {
            None => {
                let info: ConnectionInfo = url.into_connection_info()?;
                Address::Single(Box::new(Client::open(info.set_tcp_settings(tcp))?))
            }
            Some(nodes) => {
                let nodes = nodes.split(',').map(|node| format!("redis://{node}"));
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(NODE_CONNECT_TIMEOUT)
                    .response_timeout(RESPONSE_TIMEOUT)
                    .tcp_settings(tcp)
                    .build()?;
                Address::Cluster(Box::new(client))
            }
        };
        Ok(Self { address, renewed: Mutex::new(Instant::now()) })
    }

    /// Whether it is a cluster, where no command can wait for several slots.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// Makes a connection. One that is closed in the middle of it is made again: connections that are ended at Redis's side
    /// are so all at once, those under way with the others.
    async fn connect(&self) -> RedisResult<Wire> {
        match self.try_connect().await {
            Err(error) if error.is_connection_dropped() && !error.is_connection_refusal() => {
                self.try_connect().await
            }
            made => made,
        }
    }

    async fn try_connect(&self) -> RedisResult<Wire> {
        match &self.address {
            Address::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT))
                    .set_pipeline_buffer_size(PIPELINE_MAX);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Wire::Single)
            }
            Address::Cluster(client) => {
                let connect = client.get_async_connection_with_config(ClusterConfig::new());
                match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                    Ok(made) => made.map(Wire::Cluster),
                    Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                }
            }
        }
    }

    /// Has all links left that have been begun before now, unless some were just left so. Returns whether one that was `begun`
    /// then is among those that are left.
    fn renew(&self, begun: Instant) -> bool {
        let mut renewed = self.renewed();
        if begun >= *renewed && renewed.elapsed() >= RENEWAL_INTERVAL {
            *renewed = Instant::now();
        }
        begun < *renewed
    }

    fn renewed(&self) -> MutexGuard<'_, Instant> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Link {
    fn default() -> Self {
        Self { begun: Instant::now(), wire: OnceCell::new() }
    }
}

impl Link {
    /// Its connection, which the first one who asks makes for all.
    async fn wire(&self, server: &Server) -> RedisResult<Wire> {
        self.wire.get_or_init(|| server.connect()).await.clone()
    }

    /// Whether the next request is to make another.
    fn is_over(&self, server: &Server) -> bool {
        let has_failed = matches!(self.wire.get(), Some(Err(_)));
        self.begun < *server.renewed() || (has_failed && self.begun.elapsed() >= RETRY_INTERVAL)
    }
}

impl Connection {
    /// One that is made with its first command.
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server, current: Mutex::new(None) }
    }

    /// Sends `command`.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.ask(&Request { command, replicas: None, time_max: RESPONSE_TIMEOUT }).await
    }

    /// Sends `command`, and waits until `replicas`, if any are given, hold what it has written, now or when it was sent
    /// before. An error may mean that it is written and not held by enough of them.
    pub(super) async fn write(&self, command: &Cmd, replicas: Option<&Replicas>) -> RedisResult<Value> {
        self.ask(&Request { command, replicas, time_max: RESPONSE_TIMEOUT }).await
    }

    /// Sends `command`, which waits at the server, and everything that is sent after it with it. The answer may take
    /// `time_max`.
    pub(super) async fn wait(&self, command: &Cmd, time_max: Duration) -> RedisResult<Value> {
        self.ask(&Request { command, replicas: None, time_max }).await
    }

    async fn ask(&self, request: &Request<'_>) -> RedisResult<Value> {
        let mut tries = 0;
        loop {
            let link = self.link();
            let wire = link.wire(&self.server).await?;
            let error = match request.send(wire).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries += 1;
            match Failure::of(&error) {
                Some(failure) if self.leave(&link, failure) && tries < TRIES_MAX => {}
                _ => return Err(error),
            }
        }
    }

    fn link(&self) -> Arc<Link> {
        let mut current = self.current();
        let link = current.take().filter(|link| !link.is_over(&self.server)).unwrap_or_default();
        current.insert(link).clone()
    }

    /// Leaves `link` for `failure`, if it is time to. Returns whether the command that failed may be repeated on another.
    fn leave(&self, link: &Arc<Link>, failure: Failure) -> bool {
        match failure {
            Failure::NoMaster => self.server.renew(link.begun),
            Failure::NoAnswer if link.begun.elapsed() < RENEWAL_INTERVAL => false,
            Failure::Ended | Failure::NoAnswer => {
                // Of all that were under way on it the first to fail leaves it.
                self.current().take_if(|current| Arc::ptr_eq(current, link));
                failure == Failure::Ended
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request<'_> {
    async fn send(&self, wire: Wire) -> RedisResult<Value> {
        match (wire, self.replicas) {
            (Wire::Single(mut connection), None) => {
                connection.set_response_timeout(self.time_max);
                self.command.query_async(&mut connection).await
            }
            (Wire::Single(mut connection), Some(replicas)) => {
                replicas.write(self.command, &mut connection).await
            }
            (Wire::Cluster(mut connection), _) => self.command.query_async(&mut connection).await,
        }
    }
}

impl Replicas {
    /// As many as `count`. `mark` is a command that always writes something.
    pub(super) fn new(count: u16, mark: Cmd) -> Self {
        Self { count, mark }
    }

    /// `WAIT` goes by what its own connection has written last. A command that finds everything written, by a former
    /// connection maybe, writes nothing: so the mark is written behind it, and who holds that holds all before.
    async fn write(&self, command: &Cmd, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.count).arg(REPLICAS_TIME_MAX.as_millis() as u64);
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.add_command(command.clone()).add_command(self.mark.clone()).add_command(wait);
        let answers = connection.send_packed_commands(&pipeline, 0, 3).await?;
        let (answer, _, held): (Value, Value, u16) =
            redis::from_redis_value(Value::Array(answers).extract_error()?)?;
        if held >= self.count {
            return Ok(answer);
        }
        let missing = format!("{held} of {} replicas hold what was written", self.count);
        Err(redis::make_extension_error("NOREPLICAS".to_owned(), Some(missing)))
    }
}

impl Failure {
    /// What `error` means for the link that it came by; nothing if that is as good as before.
    fn of(error: &RedisError) -> Option<Self> {
        use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
        match error.kind() {
            ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly) => Some(Failure::NoMaster),
            ErrorKind::ClusterConnectionNotFound => Some(Failure::NoMaster),
            // Whoever waited at a master that became a replica.
            ErrorKind::Extension if error.code() == Some("UNBLOCKED") => Some(Failure::NoMaster),
            ErrorKind::Io if error.is_timeout() => Some(Failure::NoAnswer),
            ErrorKind::Io | ErrorKind::Parse => Some(Failure::Ended),
            _ => None,
        }
    }
}

/// Whether the server is not there for now, rather than against us.
pub(super) fn is_away(error: &RedisError) -> bool {
    Failure::of(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `line` as Redis says it.
    fn said(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn what_only_a_master_does_is_asked_of_another_server_if_this_one_is_none() {
        for line in [
            "READONLY You can't write against a read only replica.",
            "READONLY You can't write against a read only replica. script: 1f, on @user_script:12.",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "LOADING Redis is loading the dataset in memory",
            "CLUSTERDOWN The cluster is down",
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        ] {
            assert_eq!(Failure::of(&said(line)), Some(Failure::NoMaster), "{line}");
        }
    }

    #[test]
    fn a_connection_that_is_closed_in_whatever_way_has_ended_and_one_that_is_silent_has_not() {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, Other, UnexpectedEof,
        };
        for kind in [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, Other, UnexpectedEof] {
            assert_eq!(Failure::of(&io::Error::from(kind).into()), Some(Failure::Ended), "{kind}");
        }
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::TimedOut).into()), Some(Failure::NoAnswer));
    }

    #[test]
    fn what_is_wrong_with_a_command_is_nothing_of_the_connection() {
        for line in [
            "ERR unknown command",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOSCRIPT No matching script. Please use EVAL.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "NOPERM User x has no permissions to run the 'get' command",
        ] {
            assert_eq!(Failure::of(&said(line)), None, "{line}");
        }
    }

    #[test]
    fn links_that_lead_to_no_master_are_left_once_in_a_while() {
        let server = Server::parse("redis://127.0.0.1:1").unwrap();
        let begun = Instant::now();
        assert!(!server.renew(begun), "some were just left so");
        *server.renewed() = begun.checked_sub(2 * RENEWAL_INTERVAL).unwrap();
        assert!(server.renew(begun));
        assert!(server.renew(begun), "it is left already");
        assert!(!server.renew(Instant::now()));
    }
}
