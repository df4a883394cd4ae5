//! The store in Redis 7 or later, one server or a cluster.
//!
//! Streams are Redis streams with the contract's keys and fields, one entry per change, so that a dashboard may read
//! them with nothing but a Redis client. Every change is one script: it compares what it was given with what is
//! stored, writes, and appends to the stream, in one atomic step and one round trip; [`persons`] tells of the one change
//! that takes two. The rules stay in [`domain`](crate::domain): a script compares two numbers or two texts, and knows no
//! status and no keyword.
//!
//! [`keys`] spells every key; `lua/` holds a script a file; [`record`] is the form in which a message is kept.

mod audit;
mod connection;
mod consents;
mod counts;
mod deliveries;
mod documents;
mod erasure;
mod events;
mod keys;
mod outbox;
mod persons;
mod recognition;
mod record;
mod refusal;
mod replicas;
mod retention;
mod scripts;
mod sentinels;
mod server;
mod stream;
mod tasks;

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value};
use thread_local::ThreadLocal;
use tokio::sync::Mutex;

use self::{
    connection::{Connection, is_away, unworkable},
    keys::{Keys, Partition},
    refusal::explained,
    replicas::Replicas,
    scripts::Script,
    server::Server,
};
use super::{Error, Known, Store, StoreId, pseudonyms::Pseudonyms};
use crate::{
    domain::{Organization, Person, message_id::PARTITIONS_MAX},
    redis_address::{InvalidAddress, RedisAddress},
    sealing::MasterKeys,
};

/// How long a script knows its own call again that is repeated on another connection: longer than all tries take.
const CALL_KNOWN: Duration = Duration::from_secs(30);

/// The Redis store.
pub struct RedisStore {
    server: Arc<Server>,
    /// One for each thread that serves requests.
    connections: ThreadLocal<Connection>,
    keys: Keys,
    /// By which erased persons are still known.
    pseudonyms: Pseudonyms,
    /// How many replicas must hold a write before it counts.
    replicas: u16,
    /// The number of partitions has been compared with that of the first start. Nothing is read or written before.
    prepared: AtomicBool,
    /// Waits at the server for new entries, for one reader at a time.
    waiting: Mutex<Connection>,
    known: Known,
    /// When partitions were last found to be of the known store, one by one.
    recognized_at: std::sync::Mutex<HashMap<(Organization, Partition), Instant>>,
}

/// Why the Redis store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error("not a Redis URL: {0}")]
    Url(#[from] InvalidAddress),
    /// The certificates cannot be used.
    #[error("the certificates for Redis cannot be used: {0}")]
    Certificates(RedisError),
    /// The server cannot be reached, or is not ready.
    #[error("cannot reach Redis: {}", explained(.0))]
    Away(RedisError),
    /// The server refuses us: a wrong password, for example.
    #[error("Redis refuses: {}", explained(.0))]
    Refused(RedisError),
    /// The number of partitions is not the one of the first start.
    #[error("this store was created with {stored} partitions, not {configured}")]
    Partitions {
        /// The number at the first start.
        stored: String,
        /// The number now.
        configured: u16,
    },
}

impl RedisStore {
    /// The store at `url`, as [`RedisAddress::parse`] reads it; else as [`RedisStore::open_at`].
    pub async fn open(url: &str, prefix: &str, partitions: u16) -> Result<Self, OpenError> {
        Self::open_at(&RedisAddress::parse(url)?, prefix, partitions).await
    }

    /// The store at `address`, under the key prefix `prefix`, with `partitions` (1 to [`PARTITIONS_MAX`]) partitions per
    /// organization, which is fixed by the first start.
    ///
    /// A server that cannot be reached now is no failure: the store is unavailable until [`Store::ping`] finds it.
    pub async fn open_at(address: &RedisAddress, prefix: &str, partitions: u16) -> Result<Self, OpenError> {
        assert!((1..=PARTITIONS_MAX).contains(&partitions), "the configuration bounds the partitions");
        let server = Arc::new(Server::new(address).map_err(OpenError::Certificates)?);
        let store = Self {
            waiting: Mutex::new(Connection::new(server.clone())),
            server,
            connections: ThreadLocal::new(),
            keys: Keys::new(prefix, partitions),
            pseudonyms: Pseudonyms::default(),
            replicas: 0,
            prepared: AtomicBool::new(false),
            known: Known::default(),
            recognized_at: std::sync::Mutex::default(),
        };
        match store.prepare().await {
            Err(OpenError::Away(_)) | Ok(()) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// The same store, in which a write counts once `replicas` replicas hold it.
    pub fn held_by(mut self, replicas: u16) -> Self {
        self.replicas = replicas;
        self
    }

    /// The same store, in which what is secret is sealed with `keys`. Nobody's consent is read without them.
    pub fn sealed_with(mut self, keys: impl Into<Option<MasterKeys>>) -> Self {
        self.pseudonyms = Pseudonyms::new(keys.into());
        self
    }

    /// Those that must hold what is written at `key` or beside it.
    fn replicas(&self, key: &str) -> Option<Replicas> {
        (self.replicas > 0).then(|| Replicas::new(self.replicas, self.keys.mark(key)))
    }

    /// Fixes the number of partitions, or finds it fixed.
    async fn prepare(&self) -> Result<(), OpenError> {
        let configured = self.keys.partition_numbers().end;
        let mut fix = redis::cmd("SET");
        fix.arg(self.keys.partitions()).arg(configured).arg("NX").arg("GET");
        let stored = self.thread_connection().send(&fix).await.map_err(|error| match is_away(&error) {
            true => OpenError::Away(error),
            false => OpenError::Refused(error),
        })?;
        let stored: Option<String> = redis::from_redis_value(stored).unwrap_or_default();
        match stored {
            Some(stored) if stored != configured.to_string() => {
                Err(OpenError::Partitions { stored, configured })
            }
            _ => {
                self.prepared.store(true, Ordering::Release);
                Ok(())
            }
        }
    }

    /// The key under which what is still to be obeyed of the person called `name` stays once they are erased.
    async fn erased_key(&self, organization: &Organization, name: &str) -> Result<String, Error> {
        self.erased_key_in(organization, self.keys.partition(name), name).await
    }

    /// The same in another partition, where nothing is kept under it: for a script that names the key and does not use it.
    async fn erased_key_in(
        &self,
        organization: &Organization,
        partition: u16,
        name: &str,
    ) -> Result<String, Error> {
        let pseudonym = self.pseudonyms.key(self).await?.pseudonym(organization, name);
        Ok(self.keys.erased(organization, partition, &pseudonym))
    }

    /// What is kept of a person's consent under their `name`, and under their pseudonym.
    async fn stored_consent(
        &self,
        organization: &Organization,
        name: &str,
    ) -> Result<(Option<String>, Option<String>), Error> {
        let keys = [
            ("consent", self.keys.under(organization, "consent", name)),
            ("erased", self.erased_key(organization, name).await?),
        ];
        let stored = scripts::READ_CONSENT.run::<&str>(self.connection()?, None, &keys, &[]).await;
        read(stored.map_err(failed)?)
    }

    /// This thread's connection, once the store is prepared.
    fn connection(&self) -> Result<&Connection, Error> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(failed(not_reached()));
        }
        Ok(self.thread_connection())
    }

    fn thread_connection(&self) -> &Connection {
        self.connections.get_or(|| Connection::new(self.server.clone()))
    }

    /// Runs a script that writes, and waits until as many replicas have it as were asked for. An error may mean that it
    /// is written and not held by enough of them. Nothing is written into a store that is not the known one.
    async fn write<A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> Result<Value, Error> {
        self.known.check()?;
        self.run(script, keys, arguments).await.map_err(failed)
    }

    /// Sends a command that writes at `key`, and waits like [`Self::write`].
    async fn put(&self, key: &str, command: &Cmd) -> Result<(), Error> {
        self.known.check()?;
        let replicas = self.replicas(key);
        self.connection()?.write(command, replicas.as_ref()).await.map(drop).map_err(failed)
    }

    /// The same for a script that compares its partition of `organization` with what is known of the store.
    async fn write_in<A: AsRef<[u8]>>(
        &self,
        organization: &Organization,
        partition: Partition,
        script: &Script,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> Result<Value, Error> {
        self.known.check()?;
        let mut with_known = vec![("known", self.keys.known(organization, partition))];
        with_known.extend_from_slice(keys);
        let mut is_recognized = false;
        loop {
            let seen = self.known.seen(organization, partition);
            let store = seen.store.as_ref().map_or("", StoreId::as_str);
            let changes = seen.changes.to_string();
            let mut with_seen: Vec<(&str, &[u8])> =
                vec![("store", store.as_bytes()), ("seen", changes.as_bytes())];
            with_seen.extend(arguments.iter().map(|(name, argument)| (*name, argument.as_ref())));
            match self.run(script, &with_known, &with_seen).await {
                Err(error) if error.code() == Some(recognition::NOT_KNOWN) && !is_recognized => {
                    self.recognize(organization, partition).await?;
                    is_recognized = true;
                }
                answer => return answer.map_err(failed),
            }
        }
    }

    async fn run<A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> RedisResult<Value> {
        let connection = self.connection().map_err(|_| not_reached())?;
        let replicas = keys.first().and_then(|(_, key)| self.replicas(key));
        script.run(connection, replicas.as_ref(), keys, arguments).await
    }

    async fn get<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Error> {
        read(self.connection()?.send(command).await.map_err(failed)?)
    }

    /// The first `limit` members, behind `after` or from the beginning, of sorted sets, one in each partition, whose
    /// members are in the order of their text.
    async fn names(
        &self,
        key: impl Fn(u16) -> String,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let after = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let partitions = self.keys.partition_numbers().map(|partition| {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(key(partition)).arg(&after).arg("+").arg("LIMIT").arg(0).arg(limit);
            async move { self.get::<Vec<String>>(&command).await }
        });
        let mut names = try_join_all(partitions).await?.concat();
        names.sort_unstable();
        // A document that is kept together with others may be listed where version 0.1.0 kept it, and where it is.
        names.dedup();
        names.truncate(limit);
        Ok(names)
    }
}

#[async_trait]
impl Store for RedisStore {
    fn partition(&self, person: &Person) -> u16 {
        self.keys.partition(person.as_str())
    }

    async fn ping(&self) -> Result<(), Error> {
        if !self.prepared.load(Ordering::Acquire) {
            self.prepare().await.map_err(|error| Error::Unavailable(error.into()))?;
        }
        // A write, since a replica or a full server answers PING all the same.
        let key = self.keys.ping();
        let mut command = redis::cmd("SET");
        command.arg(&key).arg(1).arg("EX").arg(60);
        self.connection()?.write(&command, self.replicas(&key).as_ref()).await.map(drop).map_err(failed)
    }
}

fn not_reached() -> RedisError {
    io::Error::new(io::ErrorKind::NotConnected, "Redis has not been reached yet").into()
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, Error> {
    // The error's own text would quote what is stored.
    let unreadable = |_| Error::Unreadable("an answer of Redis is of another type".to_owned());
    redis::from_redis_value(answer).map_err(unreadable)
}

/// A script answered with words that it does not list.
fn unlisted(words: &[&str]) -> Error {
    Error::Unreadable(format!("the words of a script: {words:?}"))
}

/// A failure of Redis is the store's; or that of the record that was asked for, if it is one that Redis cannot work with.
fn failed(error: RedisError) -> Error {
    match unworkable(&error) {
        Some(why) => Error::Unreadable(why),
        None => {
            let explained = explained(&error);
            Error::Unavailable(anyhow::Error::new(error).context(explained))
        }
    }
}
