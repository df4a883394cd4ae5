//! One server or a cluster, behind the same few calls. Connections heal by themselves.
//!
//! The requests of a thread share a [`Link`]: a connection from when it is first asked for until it is left. A link is left,
//! and the next request makes another, to whatever the name of Redis leads to by then,
//!
//! - when it has **ended**: Redis closed it, or something on the way did. The command is repeated at once, which every
//!   operation of the store allows: nobody notices;
//! - when it leads to **no master** any more, by what the server says or by the word of its sentinels. A name that has moved to
//!   another server leaves the connections to the former one as they were, and a thread that only reads would never know: all
//!   links of the process are left. The command, which has done nothing there, is repeated;
//! - when **no answer** comes in time, whatever it is that hangs. The command's own time is used up: it is not repeated.
//!
//! A link that cannot be made fails all who wait for it, and who asks soon after.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::OnceCell;

use super::{
    replicas::Replicas,
    sentinels::no_master,
    server::{RENEWAL_INTERVAL, RESPONSE_TIMEOUT, Server, Wire, timed_out},
};

/// The shortest time between two attempts to connect that fail.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Links that a command is tried on. The second may have ended like the first, before anybody noticed.
const TRIES_MAX: u32 = 3;

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
            let error = match request.ask(&self.server, wire).await {
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
    /// Sends it. What hangs on the way is waited for no longer than an answer: a connection to a cluster may.
    async fn send(&self, wire: Wire) -> RedisResult<Value> {
        let answer = async {
            match self.replicas {
                Some(replicas) => replicas.write(self.command, wire).await,
                None => wire.send(self.command, self.time_max).await,
            }
        };
        tokio::time::timeout(self.time_max, answer).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// The same by a connection that leads to the master, if sentinels name it. An answer of a server that has ceased to be
    /// the master meanwhile is none.
    async fn ask(&self, server: &Server, wire: Wire) -> RedisResult<Value> {
        let Some(master) = wire.master() else { return self.send(wire).await };
        let gone = || no_master("the sentinels name another master");
        if !server.follows(&master).await {
            return Err(gone());
        }
        let answer = self.send(wire).await?;
        let follows = match self.replicas {
            // Replicas of a server that has just been replaced hold what it has written, until they follow the other one.
            Some(_) => server.still_follows(&master).await,
            None => server.follows(&master).await,
        };
        if follows { Ok(answer) } else { Err(gone()) }
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

/// Why Redis could not work with what is stored, if that is what `error` says: a value of another type is in the place of a
/// record, or a script came upon something in it that it does not expect. Whatever else Redis refuses concerns all records.
///
/// Of the error's own words those are left out that would repeat what was asked.
pub(super) fn unworkable(error: &RedisError) -> Option<String> {
    let words = error.detail().unwrap_or_default();
    match error.code()? {
        "WRONGTYPE" => Some("a value of another type is in its place".to_owned()),
        // Redis puts the name and the line of a script behind every error that ends it, those of commands too.
        "ERR" if UNWORKABLE.iter().any(|known| words.contains(known)) => {
            let words = words.split(", with args").next().unwrap_or_default();
            Some(format!("Redis cannot work with it: {words}"))
        }
        _ => None,
    }
}

/// What errors say that are of a record: those that end a script, and of commands on values that are no numbers.
const UNWORKABLE: [&str; 4] = ["user_script", "is not an integer", "is not a valid float", "would overflow"];

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::redis_address::RedisAddress;

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
    fn what_is_wrong_with_a_record_is_told_from_what_is_wrong_with_redis() {
        for line in [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:12.",
            "ERR user_script:31: attempt to compare nil with number script: 1f, on @user_script:31.",
            "ERR hash value is not an integer script: 1f, on @user_script:12.",
            "ERR value is not an integer or out of range",
        ] {
            assert!(unworkable(&said(line)).is_some(), "{line}");
        }
        for line in [
            "ERR unknown command 'EVALSHA', with args beginning with: '1f'",
            "ERR max number of clients reached",
            "NOSCRIPT No matching script. Please use EVAL.",
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:12.",
            "READONLY You can't write against a read only replica. script: 1f, on @user_script:12.",
            "MISCONF Redis is configured to save RDB snapshots script: 1f, on @user_script:12.",
            "NOPERM User x has no permissions to run the 'get' command",
        ] {
            assert_eq!(unworkable(&said(line)), None, "{line}");
        }
    }

    #[test]
    fn links_that_lead_to_no_master_are_left_once_in_a_while() {
        let server = Server::new(&RedisAddress::parse("redis://127.0.0.1:1").unwrap()).unwrap();
        let begun = Instant::now();
        assert!(!server.renew(begun), "some were just left so");
        *server.renewed() = begun.checked_sub(2 * RENEWAL_INTERVAL).unwrap();
        assert!(server.renew(begun));
        assert!(server.renew(begun), "it is left already");
        assert!(!server.renew(Instant::now()));
    }
}
