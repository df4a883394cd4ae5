//! The store in Redis 7 or later, one server or a cluster.
//!
//! Streams are Redis streams with the contract's keys and fields, one entry per change, so that a dashboard may read
//! them with nothing but a Redis client. Every change is one script: it compares what it was given with what is
//! stored, writes, and appends to the stream, in one atomic step and one round trip. The rules stay in
//! [`domain`](crate::domain): a script compares two numbers or two texts, and knows no status and no keyword.
//!
//! [`keys`] spells every key; `lua/` holds a script a file; [`record`] is the form in which a message is kept.

mod connection;
mod documents;
mod keys;
mod outbox;
mod record;
mod scripts;
mod stream;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, future::try_join_all};
use redis::{FromRedisValue, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};
use thread_local::ThreadLocal;
use tokio::sync::Mutex;

use self::{
    connection::{Connection, Server},
    keys::Keys,
    scripts::Script,
};
use super::{
    ConsentUpdate, ConsentVersion, EVENTS_PAGE_MAX, Error, InboundRecorded, KnownConsent, Message, PAGE_MAX,
    StatusRecorded, Store, decode, encode,
};
use crate::{
    domain::{
        Delivery, Event, EventId, MessageId, Organization, StatusChange, Stream, Task, TaskLine, UnixMs,
        consent::{Answer, ConsentChange},
        delivery::{self, Recorded},
        event::InboundEntry,
        message_id::PARTITIONS_MAX,
        stats::{self, Counter, Counts, Unit},
    },
    twilio::MessageSid,
};

/// How far the clocks of a cluster's nodes may be apart without an event being handed out before an earlier one.
const CLUSTER_CLOCK_SKEW_MAX: Duration = Duration::from_millis(500);

/// How often a cluster is asked for new entries, since no command can wait for several slots.
const CLUSTER_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How much longer than asked the server's answer to a wait may take before the connection counts as lost.
const WAIT_GRACE: Duration = Duration::from_secs(2);

/// How long replicas may take to hold a write.
const REPLICAS_TIME_MAX: Duration = Duration::from_secs(1);

/// How long to wait when entries of the present millisecond were held back.
const HELD_BACK_DELAY: Duration = Duration::from_millis(1);

/// Times whose counts are read at once.
const COUNTS_AT_ONCE: usize = 64;

/// The Redis store.
pub struct RedisStore {
    server: Server,
    /// One for each thread that serves requests.
    connections: ThreadLocal<Connection>,
    keys: Keys,
    /// Replicas that must hold a write before it counts.
    replicas_ack: u16,
    /// The number of partitions has been compared with that of the first start. Nothing is read or written before.
    prepared: AtomicBool,
    /// Waits at the server for new entries; made on first use, and again after a failure.
    waiting: Mutex<Option<MultiplexedConnection>>,
}

/// Why the Redis store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error("not a Redis URL: {0}")]
    Url(RedisError),
    /// The server cannot be reached, or is not ready.
    #[error("cannot reach Redis: {0}")]
    Away(RedisError),
    /// The server refuses us: a wrong password, for example.
    #[error("Redis refuses: {0}")]
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

/// One read of the streams: entries in order, and whether some were held back.
struct Page {
    events: Vec<(EventId, Event)>,
    held_back: bool,
}

impl RedisStore {
    /// The store at the server or cluster at `url`, under the key prefix `prefix`, with `partitions` (1 to
    /// [`PARTITIONS_MAX`]) partitions per organization, which is fixed by the first start.
    ///
    /// A server that cannot be reached now is no failure: the store is unavailable until [`Store::ping`] finds it.
    pub async fn open(url: &str, prefix: &str, partitions: u16) -> Result<Self, OpenError> {
        assert!((1..=PARTITIONS_MAX).contains(&partitions), "the configuration bounds the partitions");
        let store = Self {
            server: Server::parse(url).map_err(OpenError::Url)?,
            connections: ThreadLocal::new(),
            keys: Keys::new(prefix, partitions),
            replicas_ack: 0,
            prepared: AtomicBool::new(false),
            waiting: Mutex::new(None),
        };
        match store.prepare().await {
            Err(OpenError::Away(_)) | Ok(()) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// The same store, in which a write counts once `replicas` replicas hold it. A cluster has no such thing.
    pub fn held_by(mut self, replicas: u16) -> Self {
        self.replicas_ack = replicas;
        self
    }

    /// Fixes the number of partitions, or finds it fixed.
    async fn prepare(&self) -> Result<(), OpenError> {
        let configured = self.keys.partition_numbers().end;
        let mut fix = redis::cmd("SET");
        fix.arg(self.keys.partitions()).arg(configured).arg("NX").arg("GET");
        let connection = self.connections.get_or_try(|| self.server.connect()).map_err(OpenError::Refused)?;
        let stored = connection.send(&fix).await.map_err(|error| match is_away(&error) {
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

    /// This thread's connection.
    fn connection(&self) -> Result<&Connection, Error> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(Error::Unavailable(anyhow::anyhow!("Redis has not been reached yet")));
        }
        self.connections.get_or_try(|| self.server.connect()).map_err(unavailable)
    }

    /// Runs a script that writes, and waits until as many replicas have it as were asked for. An error may mean that it
    /// is written and not held by enough of them.
    async fn write<A: AsRef<[u8]>>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[A],
    ) -> Result<Value, Error> {
        // Replicas are waited for on the connection that wrote.
        let connection = self.connection()?;
        let answer = script.run(connection, keys, arguments).await.map_err(unavailable)?;
        self.wait_for_replicas(connection).await?;
        Ok(answer)
    }

    async fn wait_for_replicas(&self, connection: &Connection) -> Result<(), Error> {
        if self.replicas_ack == 0 {
            return Ok(());
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.replicas_ack).arg(REPLICAS_TIME_MAX.as_millis() as u64);
        let held: u16 = read(connection.send(&wait).await.map_err(unavailable)?)?;
        if held >= self.replicas_ack {
            return Ok(());
        }
        let wanted = self.replicas_ack;
        Err(Error::Unavailable(anyhow::anyhow!("{held} of {wanted} replicas hold what was written")))
    }

    async fn get<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Error> {
        read(self.connection()?.send(command).await.map_err(unavailable)?)
    }

    /// The unknown parameters of the entry `id` of a partition's deliveries.
    async fn raw(
        &self,
        organization: &Organization,
        partition: u16,
        id: &str,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.raw(organization, partition)).arg(id);
        let stored: Option<String> = self.get(&command).await?;
        let parameters = stored.unwrap_or_default();
        serde_urlencoded::from_str(&parameters)
            .map_err(|error| Error::Unreadable(format!("the parameters of {id}: {error}")))
    }

    /// Which of an organization's partitions hold unknown parameters at all: nearly always none.
    async fn has_raw(&self, organization: &Organization, partition: u16) -> Result<bool, Error> {
        let mut command = redis::cmd("EXISTS");
        command.arg(self.keys.raw(organization, partition));
        self.get(&command).await
    }

    /// Reads the three streams of every partition behind `after`, up to the present millisecond.
    async fn page(&self, organization: &Organization, after: EventId, limit: usize) -> Result<Page, Error> {
        let horizon = self.horizon_ms().await?;
        let places = self
            .keys
            .partition_numbers()
            .flat_map(|partition| Stream::ALL.into_iter().map(move |stream| (stream, partition)));
        let reads = places.map(|(stream, partition)| async move {
            let mut command = redis::cmd("XRANGE");
            command.arg(self.keys.stream(organization, partition, stream));
            command.arg(stream::start(after, stream, partition)).arg("+").arg("COUNT").arg(limit);
            let answer = self.connection()?.send(&command).await.map_err(unavailable)?;
            Ok::<_, Error>((stream, partition, stream::entries(answer)?))
        });
        let mut found = Vec::new();
        let mut held_back = false;
        for (stream, partition, entries) in try_join_all(reads).await? {
            for (id, fields) in entries {
                let (ms, seq) = stream::entry_id(&id)?;
                if ms < horizon {
                    found.push((EventId { ms, seq, stream, partition }, id, fields));
                } else {
                    held_back = true;
                }
            }
        }
        found.sort_unstable_by_key(|(id, ..)| *id);
        found.truncate(limit);
        let mut events = Vec::with_capacity(found.len());
        for (id, entry, fields) in found {
            events.push((id, stream::event(id.stream, &entry, &fields)?));
        }
        self.add_raw(organization, &mut events).await?;
        Ok(Page { events, held_back })
    }

    /// Adds the unknown parameters, where a partition has any.
    async fn add_raw(
        &self,
        organization: &Organization,
        events: &mut [(EventId, Event)],
    ) -> Result<(), Error> {
        for partition in self.keys.partition_numbers() {
            if !events.iter().any(|(id, _)| id.partition == partition)
                || !self.has_raw(organization, partition).await?
            {
                continue;
            }
            for (id, event) in events.iter_mut() {
                if let Event::Delivery(entry) = event
                    && id.partition == partition
                {
                    let id = format!("{}-{}", id.ms, id.seq);
                    entry.raw = self.raw(organization, partition, &id).await?;
                }
            }
        }
        Ok(())
    }

    /// Entries of this millisecond and later ones may still be preceded by another.
    async fn horizon_ms(&self) -> Result<u64, Error> {
        let (seconds, microseconds): (u64, u64) = self.get(&redis::cmd("TIME")).await?;
        let now_ms = seconds * 1_000 + microseconds / 1_000;
        Ok(match self.server {
            Server::Single(_) => now_ms,
            Server::Cluster(_) => now_ms.saturating_sub(CLUSTER_CLOCK_SKEW_MAX.as_millis() as u64),
        })
    }
}

impl RedisStore {
    fn counts_key(&self, organization: &Organization, partition: u16, unit: Unit, at: UnixMs) -> String {
        self.keys.counts(organization, partition, unit, unit.start(at))
    }

    /// The keys of `change_consent.lua`.
    fn consent_keys(&self, organization: &Organization, person: &str, at: UnixMs) -> [String; 6] {
        let partition = self.keys.partition(person);
        [
            self.keys.of_person(organization, "consent", person),
            self.keys.stream(organization, partition, Stream::Consents),
            self.keys.of_person(organization, "changes", person),
            self.keys.persons(organization, partition),
            self.counts_key(organization, partition, Unit::Minute, at),
            self.counts_key(organization, partition, Unit::Hour, at),
        ]
    }

    /// The first `limit` members behind `after` of sorted sets, one in each partition, whose members are in the order of
    /// their text.
    async fn names(
        &self,
        key: impl Fn(u16) -> String,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let after = if after.is_empty() { "-".to_owned() } else { format!("({after}") };
        let partitions = self.keys.partition_numbers().map(|partition| {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(key(partition)).arg(&after).arg("+").arg("LIMIT").arg(0).arg(limit);
            async move { self.get::<Vec<String>>(&command).await }
        });
        let mut names = try_join_all(partitions).await?.concat();
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }
}

/// When the counts end that are made at `at`: milliseconds since 1970.
fn counts_end(unit: Unit, at: UnixMs) -> String {
    (unit.start(at) + unit.kept_ms()).to_string()
}

/// The arguments of a change of consent, without the entry's fields and values.
fn consent_arguments(update: &ConsentUpdate) -> [String; 7] {
    let [minute_ends, hour_ends] = Unit::ALL.map(|unit| counts_end(unit, update.entry.at));
    [
        update.expected.0.clone(),
        encode(&update.consent),
        update.entry.phone.clone(),
        update.change().map(|change| encode(&change)).unwrap_or_default(),
        Counter::of_consent(&update.entry).map(|counter| counter.name()).unwrap_or_default(),
        minute_ends,
        hour_ends,
    ]
}

#[async_trait]
impl Store for RedisStore {
    async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<StatusRecorded, Error> {
        let partition = self.keys.partition(change.sid.as_str());
        let mut keys = vec![
            self.keys.messages(organization, partition, &change.sid),
            self.keys.stream(organization, partition, Stream::Deliveries),
            self.keys.raw(organization, partition),
            self.keys.tasks(organization, partition, TaskLine::Twilio),
            self.keys.history(organization, partition),
            self.counts_key(organization, partition, Unit::Minute, change.at),
            self.counts_key(organization, partition, Unit::Hour, change.at),
        ];
        if self.keys.partition(&change.to) == partition {
            keys.push(self.keys.history_of(organization, &change.to));
        }
        let raw = serde_urlencoded::to_string(&change.raw)
            .map_err(|error| Error::Unreadable(format!("unknown parameters: {error}")))?;
        let rank = delivery::rank(&change.status).to_string();
        let error_code = change.error_code.map(|code| code.to_string()).unwrap_or_default();
        let at = change.at.to_string();
        let ask_at = change.ask_at.map(|at| at.to_string()).unwrap_or_default();
        let is_final = if delivery::is_final(&change.status) { "1" } else { "0" };
        let ends = Unit::ALL.map(|unit| counts_end(unit, change.at));
        let latency = if stats::is_delivery(&change.status) { stats::DELIVERED } else { "" };
        let counters: Vec<String> = Counter::of_status(&change).iter().map(Counter::name).collect();
        let word = record::word(&change.status);
        let token = record::token(&change.status, change.error_code);
        let mut arguments = vec![
            change.sid.as_str(),
            change.id.as_ref().map_or("", MessageId::as_str),
            &rank,
            &word,
            &token,
            &raw,
            change.status.as_str(),
            change.channel.as_str(),
            &change.to,
            &change.from,
            &error_code,
            change.batch.as_deref().unwrap_or_default(),
            change.source.as_str(),
            &at,
            &ask_at,
            is_final,
            &ends[0],
            &ends[1],
            latency,
            outbox::history_name(&change.to),
        ];
        arguments.extend(counters.iter().map(String::as_str));
        let result: u8 = read(self.write(&scripts::RECORD_STATUS, &keys, &arguments).await?)?;
        let recorded = match result & 3 {
            0 => Recorded::Duplicate,
            1 => Recorded::Moved,
            _ => Recorded::Late,
        };
        if result & 8 != 0 {
            self.enter_for_person(organization, &change).await?;
        }
        Ok(StatusRecorded { recorded, learned_id: result & 4 != 0 })
    }

    async fn message(&self, organization: &Organization, sid: &MessageSid) -> Result<Option<Message>, Error> {
        let partition = self.keys.partition(sid.as_str());
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.messages(organization, partition, sid)).arg(sid.as_str());
        let Some(stored) = self.get::<Option<String>>(&command).await? else { return Ok(None) };
        let delivery = record::parse(&stored)?;
        let stream = self.keys.stream(organization, partition, Stream::Deliveries);
        let mut found = Vec::with_capacity(delivery.seen.len());
        for seen in &delivery.seen {
            let (ms, seq) = seen.entry;
            let mut command = redis::cmd("XRANGE");
            command.arg(&stream).arg(format!("{ms}-{seq}")).arg(format!("{ms}-{seq}"));
            let answer = self.connection()?.send(&command).await.map_err(unavailable)?;
            for (id, fields) in stream::entries(answer)? {
                let place = EventId { ms, seq, stream: Stream::Deliveries, partition };
                found.push((place, stream::event(Stream::Deliveries, &id, &fields)?));
            }
        }
        self.add_raw(organization, &mut found).await?;
        let entries = found.into_iter().filter_map(|(_, event)| match event {
            Event::Delivery(entry) => Some(entry),
            Event::Inbound(_) | Event::Consent(_) => None,
        });
        Ok(Some(Message { delivery, entries: entries.collect() }))
    }

    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let person = entry.from.clone();
        let at = consent.as_ref().map_or(entry.at, |update| update.entry.at);
        let mut keys = vec![
            self.keys.received(organization, &person, &entry.sid),
            self.keys.stream(organization, self.keys.partition(&person), Stream::Inbound),
        ];
        keys.extend(self.consent_keys(organization, &person, at));
        let inbound = flat_fields(&Event::Inbound(entry));
        let (changes, change, consents) = match consent {
            Some(update) => ("1", consent_arguments(&update), flat_fields(&Event::Consent(update.entry))),
            None => ("0", Default::default(), Vec::new()),
        };
        let mut arguments = vec![encode(&answer), changes.to_owned()];
        arguments.extend(change);
        arguments.push(inbound.len().to_string());
        arguments.extend(inbound);
        arguments.extend(consents);
        let stored: String = read(self.write(&scripts::RECORD_INBOUND, &keys, &arguments).await?)?;
        Ok(match stored.as_str() {
            "1" => InboundRecorded::Stored,
            "0" => InboundRecorded::ConsentChanged,
            answered => InboundRecorded::Duplicate(decode("an inbound message", answered.as_bytes())?),
        })
    }

    async fn deliveries(
        &self,
        organization: &Organization,
        sids: &[MessageSid],
    ) -> Result<Vec<Option<Delivery>>, Error> {
        let deliveries = sids.iter().take(PAGE_MAX).map(|sid| async move {
            let partition = self.keys.partition(sid.as_str());
            let mut command = redis::cmd("HGET");
            command.arg(self.keys.messages(organization, partition, sid)).arg(sid.as_str());
            let stored: Option<String> = self.get(&command).await?;
            stored.map(|stored| record::parse(&stored)).transpose()
        });
        try_join_all(deliveries).await
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&str],
    ) -> Result<Vec<KnownConsent>, Error> {
        let consents = persons.iter().take(PAGE_MAX).map(|person| async move {
            let mut command = redis::cmd("GET");
            command.arg(self.keys.of_person(organization, "consent", person));
            ConsentVersion::decode(self.get(&command).await?)
        });
        try_join_all(consents).await
    }

    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &str,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, Error> {
        let limit = limit.min(PAGE_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.of_person(organization, "changes", person)).arg(skip).arg(skip + limit - 1);
        let stored: Vec<String> = self.get(&command).await?;
        stored.iter().map(|change| decode("a change of consent", change.as_bytes())).collect()
    }

    async fn persons(
        &self,
        organization: &Organization,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let keys = |partition| self.keys.persons(organization, partition);
        self.names(keys, after, limit.min(PAGE_MAX)).await
    }

    async fn change_consent(
        &self,
        organization: &Organization,
        update: ConsentUpdate,
    ) -> Result<bool, Error> {
        let keys = self.consent_keys(organization, &update.entry.phone, update.entry.at);
        let mut arguments = consent_arguments(&update).to_vec();
        arguments.extend(flat_fields(&Event::Consent(update.entry)));
        read(self.write(&scripts::CHANGE_CONSENT, &keys, &arguments).await?)
    }

    fn partition(&self, person: &str) -> u16 {
        self.keys.partition(person)
    }

    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Event)>, Error> {
        let limit = limit.min(EVENTS_PAGE_MAX);
        let page = self.page(organization, after, limit).await?;
        if !page.held_back || page.events.len() == limit {
            return Ok(page.events);
        }
        // What was written just before this call belongs to its answer.
        let delay = match self.server {
            Server::Single(_) => HELD_BACK_DELAY,
            Server::Cluster(_) => HELD_BACK_DELAY + CLUSTER_CLOCK_SKEW_MAX,
        };
        tokio::time::sleep(delay).await;
        Ok(self.page(organization, after, limit).await?.events)
    }

    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error> {
        let mut newest = EventId::START;
        for partition in self.keys.partition_numbers() {
            for stream in Stream::ALL {
                let mut command = redis::cmd("XREVRANGE");
                command.arg(self.keys.stream(organization, partition, stream));
                command.arg("+").arg("-").arg("COUNT").arg(1);
                let answer = self.connection()?.send(&command).await.map_err(unavailable)?;
                for (id, _) in stream::entries(answer)? {
                    let (ms, seq) = stream::entry_id(&id)?;
                    newest = newest.max(EventId { ms, seq, stream, partition });
                }
            }
        }
        Ok(newest)
    }

    async fn wait_for_events(
        &self,
        organization: &Organization,
        after: EventId,
        timeout: Duration,
    ) -> Result<(), Error> {
        let mut waiting = self.waiting.lock().await;
        if waiting.is_none() {
            *waiting = self.server.connect_to_wait().await.map_err(unavailable)?;
        }
        let Some(connection) = waiting.as_mut() else {
            tokio::time::sleep(CLUSTER_POLL_INTERVAL.min(timeout)).await;
            return Ok(());
        };
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(timeout.as_millis() as u64).arg("STREAMS");
        let mut ids = Vec::new();
        for partition in self.keys.partition_numbers() {
            for stream in Stream::ALL {
                command.arg(self.keys.stream(organization, partition, stream));
                let here = EventId { stream, partition, ..after };
                // XREAD takes what is behind an id; an entry of the same instant in a later stream is not.
                ids.push(match here > after {
                    true if after.seq > 0 => format!("{}-{}", after.ms, after.seq - 1),
                    true => format!("{}-{}", after.ms.saturating_sub(1), u64::MAX),
                    false => format!("{}-{}", after.ms, after.seq),
                });
            }
        }
        command.arg(ids);
        let answer =
            tokio::time::timeout(timeout + WAIT_GRACE, command.query_async::<Value>(connection)).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                *waiting = None;
                Err(unavailable(error))
            }
            Err(error) => {
                *waiting = None;
                Err(Error::Unavailable(error.into()))
            }
        }
    }

    async fn plan(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error> {
        let mut command = redis::cmd("ZADD");
        command.arg(self.keys.tasks(organization, self.keys.partition_of_task(task), task.line()));
        command.arg("NX").arg(at).arg(task.to_string());
        self.get::<Value>(&command).await.map(drop)
    }

    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error> {
        let mut claimed = Vec::new();
        for partition in self.keys.partition_numbers() {
            let wanted = limit - claimed.len();
            if wanted == 0 {
                break;
            }
            let keys = [self.keys.tasks(organization, partition, line)];
            let arguments = [now.to_string(), until.to_string(), wanted.to_string()];
            let answer = self.write(&scripts::CLAIM, &keys, &arguments).await?;
            let due: Vec<(String, f64)> = read(answer)?;
            for (task, at) in due {
                let task = task.parse().map_err(|_| Error::Unreadable(format!("a task: {task:?}")))?;
                claimed.push((task, at as UnixMs));
            }
        }
        Ok(claimed)
    }

    async fn plan_anew(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let key = self.keys.tasks(organization, self.keys.partition_of_task(task), task.line());
        let command = match at {
            Some(at) => redis::cmd("ZADD").arg(key).arg("XX").arg(at).arg(task.to_string()).to_owned(),
            None => redis::cmd("ZREM").arg(key).arg(task.to_string()).to_owned(),
        };
        self.get::<Value>(&command).await.map(drop)
    }

    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, Counts)>, Error> {
        let first = from.div_ceil(unit.ms()) * unit.ms();
        let times = (first..until).step_by(unit.ms() as usize).map(|start| async move {
            let partitions = self.keys.partition_numbers().map(|partition| {
                let mut command = redis::cmd("HGETALL");
                command.arg(self.keys.counts(organization, partition, unit, start));
                async move { self.get::<Vec<(String, u64)>>(&command).await }
            });
            Ok::<_, Error>((start, try_join_all(partitions).await?))
        });
        let mut counted = Vec::new();
        let mut times = futures_util::stream::iter(times).buffered(COUNTS_AT_ONCE);
        while let Some(time) = times.try_next().await? {
            let (start, partitions) = time;
            let mut counts = Counts::new();
            for (name, count) in partitions.into_iter().flatten() {
                if let Some(counter) = Counter::parse(&name) {
                    *counts.entry(counter).or_default() += count;
                }
            }
            if !counts.is_empty() {
                counted.push((start, counts));
            }
        }
        Ok(counted)
    }

    async fn ping(&self) -> Result<(), Error> {
        if !self.prepared.load(Ordering::Acquire) {
            self.prepare().await.map_err(|error| Error::Unavailable(error.into()))?;
        }
        // A write, since a replica or a full server answers PING all the same.
        let mut command = redis::cmd("SET");
        command.arg(self.keys.ping()).arg(1).arg("EX").arg(60);
        let connection = self.connection()?;
        connection.send(&command).await.map_err(unavailable)?;
        self.wait_for_replicas(connection).await
    }
}

/// An entry's names and values in turn, as XADD takes them.
fn flat_fields(event: &Event) -> Vec<String> {
    event.fields().into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn read<T: FromRedisValue>(answer: Value) -> Result<T, Error> {
    redis::from_redis_value(answer).map_err(|error| Error::Unreadable(format!("an answer of Redis: {error}")))
}

/// Whether the server is not there for now, rather than against us.
fn is_away(error: &RedisError) -> bool {
    let is_loading = error.kind() == ServerErrorKind::BusyLoading.into();
    is_loading
        || error.is_io_error()
        || error.is_timeout()
        || error.is_connection_refusal()
        || error.is_connection_dropped()
}

/// A failure of Redis is one of the store, whatever its cause.
fn unavailable(error: RedisError) -> Error {
    Error::Unavailable(error.into())
}
