//! The store on one machine: one file, written by one thread.
//!
//! redb: a copy-on-write B-tree whose commit is one fsync and whose file is whole after a crash at any point; pure
//! Rust, a stable file format, readers that never wait for the writer. A log-structured engine would write faster;
//! group commit makes the difference small, and one file with transactions over several tables is simpler to trust.
//!
//! **Group commit.** Writes are jobs for the writer thread. It takes one, then as many more as wait, runs them in
//! one transaction, commits, and only then answers them all. So a write waits for at most two fsyncs, and many
//! share one.

mod documents;
mod outbox;

use std::{
    fs,
    ops::Bound,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    ConsentUpdate, ConsentVersion, EVENTS_PAGE_MAX, Error, InboundRecorded, KnownConsent, Message, PAGE_MAX,
    StatusRecorded, Store, decode, encode,
};
use crate::{
    clock::Clock,
    domain::{
        Delivery, Event, EventId, MessageRef, Organization, StatusChange, Stream, Task, TaskLine, UnixMs,
        consent::{Answer, ConsentChange},
        delivery::{self, Recorded},
        event::InboundEntry,
        stats::{self, Counter, Counts, Latency, Unit},
    },
    twilio::MessageSid,
};

/// The database's file, in the store's folder.
pub const FILE_NAME: &str = "textledger.redb";

/// Writes that may wait for the writer thread; one more waits outside.
const QUEUE_MAX: usize = 4_096;

/// Old counts that are let go of with each new one.
const COUNTS_DROPPED: usize = 4;

/// Writes that share one commit at the most, so that the first of them does not wait long.
const BATCH_MAX: usize = 512;

/// Names an organization's row.
type Key = (&'static str, &'static str);

/// Declares the tables: their names, and the same tables as one write transaction sees them.
macro_rules! tables {
    ($($(#[$doc:meta])* $constant:ident, $field:ident: $key:ty => $value:ty;)+) => {
        $($(#[$doc])* const $constant: TableDefinition<$key, $value> = TableDefinition::new(stringify!($field));)+

        /// The tables as one write transaction sees them.
        struct Tables<'txn> {
            $($field: Table<'txn, $key, $value>,)+
            /// The newest entry, committed or not.
            last_event: (u64, u64),
            now_ms: u64,
        }

        impl<'txn> Tables<'txn> {
            /// Opens the tables, and makes those that are not there yet.
            fn open(
                transaction: &'txn WriteTransaction,
                last_event: (u64, u64),
                now_ms: u64,
            ) -> Result<Self, redb::TableError> {
                Ok(Self { $($field: transaction.open_table($constant)?,)+ last_event, now_ms })
            }
        }
    };
}

tables! {
    /// (organization, message SID) -> [`Delivery`].
    MESSAGES, messages: Key => &'static [u8];
    /// (organization, milliseconds, sequence) -> [`Event`]: the three streams, merged.
    EVENTS, events: (&'static str, u64, u64) => &'static [u8];
    /// (organization, person) -> [`crate::domain::Consent`].
    CONSENTS, consents: Key => &'static str;
    /// (organization, person, number) -> [`ConsentChange`].
    CHANGES, changes: (&'static str, &'static str, u64) => &'static [u8];
    /// (organization, message id) -> the message asked for, and what became of it.
    OUTBOUND, outbound: Key => &'static [u8];
    /// (organization, flow, milliseconds, message id): who has to be looked at when.
    QUEUE, queue: (&'static str, &'static str, u64, &'static str) => ();
    /// (organization, message id) -> milliseconds: the same, the other way round.
    QUEUED, queued: Key => u64;
    /// (organization, sender) -> microseconds since 1970: until when its time to send has been given away.
    PACE, pace: Key => u64;
    /// (organization, milliseconds, sequence) -> message: all, in the order in which they were entered.
    HISTORY, history: (&'static str, u64, u64) => &'static str;
    /// (organization, person, milliseconds, sequence) -> message: the same, per recipient.
    HISTORY_OF, history_of: (&'static str, &'static str, u64, u64) => &'static str;
    /// (organization, inbound message SID) -> [`Answer`].
    RECEIVED, received: Key => &'static [u8];
    /// (organization, line, milliseconds, task): what is due when.
    DUE, due: (&'static str, &'static str, u64, &'static str) => ();
    /// (organization, task) -> milliseconds: the same, the other way round.
    PLANNED, planned: Key => u64;
    /// (organization, kind, name) -> (milliseconds at which it ends or [`documents::FOR_EVER`], text).
    DOCUMENTS, documents: (&'static str, &'static str, &'static str) => (u64, &'static str);
    /// (milliseconds, organization, kind, name): which documents end when.
    ENDING, ending: (u64, &'static str, &'static str, &'static str) => ();
    /// (organization, length of the time in milliseconds, when it began, counter) -> count.
    COUNTS, counts: (&'static str, u64, u64, &'static str) => u64;
}

/// The embedded store. Dropping it ends the writer thread after the writes it has taken.
pub struct EmbeddedStore {
    database: Arc<Database>,
    writes: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    last_event: watch::Receiver<(u64, u64)>,
    clock: Arc<dyn Clock>,
}

/// A write: runs inside the transaction and returns how to answer once it is known whether the commit succeeded.
type Job = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Respond, Error> + Send>;
type Respond = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl EmbeddedStore {
    /// Opens the store in `folder`, or creates it there.
    ///
    /// Fails if the folder or file cannot be written, or another process has it open.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        fs::create_dir_all(folder).map_err(|error| OpenError::Folder { path: folder.to_owned(), error })?;
        let path = folder.join(FILE_NAME);
        // Made here, since it holds people's numbers: for its owner alone.
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| OpenError::Folder { path: folder.to_owned(), error })?;
        let database = match Database::create(&path) {
            Ok(database) => Arc::new(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse { path }),
            Err(error) => return Err(OpenError::Database { path, error: Box::new(error.into()) }),
        };
        let last =
            prepare(&database).map_err(|error| OpenError::Database { path, error: Box::new(error) })?;
        let (writes, queue) = mpsc::channel(QUEUE_MAX);
        let (announce, last_event) = watch::channel(last);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let (database, clock) = (database.clone(), clock.clone());
                move || write_loop(&database, queue, &announce, clock.as_ref())
            })
            .map_err(|error| OpenError::Folder { path: folder.to_owned(), error })?;
        Ok(Self { database, writes: Some(writes), writer: Some(writer), last_event, clock })
    }

    /// Runs `job` in the next transaction and returns its result once that is on disk.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        // The caller may have gone away before it is answered; the write stands all the same.
        let job: Job = Box::new(move |tables| match job(tables) {
            Err(Error::Unavailable(error)) => {
                let failure = Error::Unavailable(anyhow::anyhow!("{error:#}"));
                drop(answer.send(Err(Error::Unavailable(error))));
                Err(failure)
            }
            result => Ok(Box::new(move |committed| drop(answer.send(committed.and(result))))),
        });
        let stopped = || Error::Unavailable(anyhow::anyhow!("the store's writer has stopped"));
        let writes = self.writes.as_ref().ok_or_else(stopped)?;
        writes.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs `job` on what is committed now, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let database = self.database.clone();
        tokio::task::spawn_blocking(move || job(&database.begin_read().map_err(unavailable)?))
            .await
            .map_err(unavailable)?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been reported by the panic hook already.
            drop(writer.join());
        }
    }
}

/// Why the embedded store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or its thread not started.
    #[error("cannot use the folder {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another textledger", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot open {}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<redb::Error>,
    },
}

/// Makes sure that the tables exist, and returns the newest entry.
fn prepare(database: &Database) -> Result<(u64, u64), redb::Error> {
    let transaction = database.begin_write()?;
    let last = {
        let events = Tables::open(&transaction, (0, 0), 0)?.events;
        let mut newest = (0, 0);
        // Entries are ordered by organization first, so the newest of each is looked at.
        let mut end: Option<(String, u64, u64)> = None;
        loop {
            let before = match &end {
                None => events.last()?,
                Some((organization, ..)) => {
                    events.range(..(organization.as_str(), 0, 0))?.next_back().transpose()?
                }
            };
            let Some((key, _)) = before else { break };
            let (organization, ms, seq) = key.value();
            newest = newest.max((ms, seq));
            end = Some((organization.to_owned(), ms, seq));
        }
        newest
    };
    transaction.commit()?;
    Ok(last)
}

/// The writer thread: runs until every sender is gone and the queue is empty.
fn write_loop(
    database: &Database,
    mut queue: mpsc::Receiver<Job>,
    announce: &watch::Sender<(u64, u64)>,
    clock: &dyn Clock,
) {
    let mut responds = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = queue.blocking_recv() {
        let result = write_batch(database, first, &mut queue, *announce.borrow(), clock, &mut responds);
        match result {
            Ok(last) => {
                announce.send_if_modified(|known| std::mem::replace(known, last) != last);
                for respond in responds.drain(..) {
                    respond(Ok(()));
                }
            }
            Err(error) => {
                tracing::error!(%error, writes = responds.len(), "the embedded store could not commit");
                let text = error.to_string();
                for respond in responds.drain(..) {
                    respond(Err(Error::Unavailable(anyhow::anyhow!(text.clone()))));
                }
            }
        }
    }
}

/// Runs `first` and what waits behind it in one transaction. A job that cannot write fails the batch, because its
/// tables may be half written; one that finds something unreadable has written nothing and fails alone.
fn write_batch(
    database: &Database,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    last_event: (u64, u64),
    clock: &dyn Clock,
    responds: &mut Vec<Respond>,
) -> Result<(u64, u64), Error> {
    let transaction = database.begin_write().map_err(unavailable)?;
    let last = {
        let mut tables = Tables::open(&transaction, last_event, clock.now_ms()).map_err(unavailable)?;
        responds.push(first(&mut tables)?);
        while responds.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            responds.push(job(&mut tables)?);
        }
        tables.last_event
    };
    transaction.commit().map_err(unavailable)?;
    Ok(last)
}

impl Tables<'_> {
    /// The place of the next entry: never before the newest one, even if the clock was set back.
    fn next_entry(&self, stream: Stream) -> EventId {
        let (ms, seq) = self.last_event;
        let (ms, seq) = if self.now_ms > ms { (self.now_ms, 0) } else { (ms, seq + 1) };
        EventId { ms, seq, stream, partition: 0 }
    }

    fn add_event(&mut self, organization: &str, event: &Event) -> Result<(), Error> {
        let id = self.next_entry(event.stream());
        self.events.insert((organization, id.ms, id.seq), encode(event).as_bytes()).map_err(unavailable)?;
        self.last_event = (id.ms, id.seq);
        Ok(())
    }

    fn record_status(&mut self, organization: &str, change: StatusChange) -> Result<StatusRecorded, Error> {
        let sid = change.sid.clone();
        let key = (organization, sid.as_str());
        let mut delivery: Delivery = match self.messages.get(key).map_err(unavailable)? {
            Some(stored) => decode("a message", stored.value())?,
            None => Delivery::default(),
        };
        let recorded = delivery.judge(&change);
        let (id, was_unnamed) = (change.id, delivery.id.is_none());
        let place = self.next_entry(Stream::Deliveries);
        let (is_final, ask_at) = (delivery::is_final(&change.status), change.ask_at);
        let (at, mut counted) = (change.at, Counter::of_status(&change));
        if stats::is_delivery(&change.status)
            && let Some(first) = delivery.seen.first()
        {
            counted.push(Counter::Delivered(Latency::of(place.ms - first.entry.0)));
        }
        if let Some(entry) = delivery.record(change, place) {
            if delivery.seen.len() == 1 && delivery.id.is_none() {
                self.enter(organization, &entry.to, &MessageRef::Sid(sid.clone()))?;
            }
            if recorded == Recorded::Moved {
                self.add_counts(organization, at, &counted)?;
            }
            self.add_event(organization, &Event::Delivery(entry))?;
            self.messages.insert(key, encode(&delivery).as_bytes()).map_err(unavailable)?;
            let ask = Task::Ask { sid: sid.clone(), since: delivery.seen[0].entry.0 };
            match (delivery.seen.len(), ask_at) {
                (1, Some(at)) if !is_final => self.plan(organization, &ask, Some(at))?,
                (2.., _) if is_final && recorded == Recorded::Moved => self.plan(organization, &ask, None)?,
                _ => {}
            }
            Ok(StatusRecorded { recorded, learned_id: was_unnamed && id.is_some() })
        } else {
            if was_unnamed && id.is_some() {
                delivery.id = id;
                self.messages.insert(key, encode(&delivery).as_bytes()).map_err(unavailable)?;
            }
            Ok(StatusRecorded { recorded, learned_id: id.is_some() && delivery.id == id })
        }
    }

    /// When `task` is planned for.
    fn planned(&self, organization: &str, task: &Task) -> Result<Option<UnixMs>, Error> {
        let planned = self.planned.get((organization, task.to_string().as_str())).map_err(unavailable)?;
        Ok(planned.map(|at| at.value()))
    }

    /// Plans `task` for `at`, or for no time, whatever it was planned for.
    fn plan(&mut self, organization: &str, task: &Task, at: Option<UnixMs>) -> Result<(), Error> {
        let (line, task) = (task.line().as_str(), task.to_string());
        let key = (organization, task.as_str());
        let before = match at {
            Some(at) => self.planned.insert(key, at).map_err(unavailable)?,
            None => self.planned.remove(key).map_err(unavailable)?,
        };
        let before = before.map(|before| before.value());
        if let Some(before) = before {
            self.due.remove((organization, line, before, task.as_str())).map_err(unavailable)?;
        }
        if let Some(at) = at {
            self.due.insert((organization, line, at, task.as_str()), ()).map_err(unavailable)?;
        }
        Ok(())
    }

    fn claim(
        &mut self,
        organization: &str,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error> {
        let line = line.as_str();
        let due =
            self.due.range((organization, line, 0, "")..(organization, line, now.saturating_add(1), ""));
        let due = due.map_err(unavailable)?.take(limit).map(|row| {
            let (key, _) = row.map_err(unavailable)?;
            let (_, _, at, task) = key.value();
            let task = task.parse().map_err(|_| Error::Unreadable(format!("a task: {task:?}")))?;
            Ok((task, at))
        });
        let claimed: Vec<(Task, UnixMs)> = due.collect::<Result<_, Error>>()?;
        for (task, _) in &claimed {
            self.plan(organization, task, Some(until))?;
        }
        Ok(claimed)
    }

    fn consent(&self, organization: &str, person: &str) -> Result<KnownConsent, Error> {
        let stored = self.consents.get((organization, person)).map_err(unavailable)?;
        ConsentVersion::decode(stored.map(|stored| stored.value().to_owned()))
    }

    fn change_consent(&mut self, organization: &str, update: ConsentUpdate) -> Result<bool, Error> {
        let person = update.entry.phone.clone();
        if self.consent(organization, &person)?.version != update.expected {
            return Ok(false);
        }
        self.consents
            .insert((organization, person.as_str()), encode(&update.consent).as_str())
            .map_err(unavailable)?;
        if let Some(change) = update.change() {
            let last = self
                .changes
                .range((organization, person.as_str(), 0)..=(organization, person.as_str(), u64::MAX));
            let last = last.map_err(unavailable)?.next_back().transpose().map_err(unavailable)?;
            let number = last.map_or(0, |(key, _)| key.value().2 + 1);
            self.changes
                .insert((organization, person.as_str(), number), encode(&change).as_bytes())
                .map_err(unavailable)?;
        }
        if let Some(counter) = Counter::of_consent(&update.entry) {
            self.add_counts(organization, update.entry.at, &[counter])?;
        }
        self.add_event(organization, &Event::Consent(update.entry))?;
        Ok(true)
    }

    /// Counts one of each of `counters` at `at`, and lets go of the oldest counts, a few at a time.
    fn add_counts(&mut self, organization: &str, at: UnixMs, counters: &[Counter]) -> Result<(), Error> {
        for unit in Unit::ALL {
            let start = unit.start(at);
            for counter in counters {
                let name = counter.name();
                let key = (organization, unit.ms(), start, name.as_str());
                let before = self.counts.get(key).map_err(unavailable)?.map(|count| count.value());
                self.counts.insert(key, before.unwrap_or(0) + 1).map_err(unavailable)?;
                if before.is_some() {
                    continue;
                }
                let ended = start.saturating_sub(unit.kept_ms());
                let range = (organization, unit.ms(), 0, "")..(organization, unit.ms(), ended, "");
                let old = self.counts.range(range.clone()).map_err(unavailable)?.take(COUNTS_DROPPED);
                if old.count() > 0 {
                    let mut dropped = self.counts.extract_from_if(range, |_, _| true).map_err(unavailable)?;
                    for _ in 0..COUNTS_DROPPED {
                        dropped.next().transpose().map_err(unavailable)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn record_inbound(
        &mut self,
        organization: &str,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let sid = entry.sid.clone();
        let key = (organization, sid.as_str());
        if let Some(stored) = self.received.get(key).map_err(unavailable)? {
            return Ok(InboundRecorded::Duplicate(decode("an inbound message", stored.value())?));
        }
        if let Some(update) = &consent
            && self.consent(organization, &update.entry.phone)?.version != update.expected
        {
            return Ok(InboundRecorded::ConsentChanged);
        }
        self.received.insert(key, encode(&answer).as_bytes()).map_err(unavailable)?;
        self.add_event(organization, &Event::Inbound(entry))?;
        if let Some(update) = consent {
            self.change_consent(organization, update)?;
        }
        Ok(InboundRecorded::Stored)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<StatusRecorded, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.record_status(organization.as_str(), change)).await
    }

    async fn message(&self, organization: &Organization, sid: &MessageSid) -> Result<Option<Message>, Error> {
        let (organization, sid) = (organization.clone(), sid.clone());
        self.read(move |transaction| {
            let messages = transaction.open_table(MESSAGES).map_err(unavailable)?;
            let Some(stored) = messages.get((organization.as_str(), sid.as_str())).map_err(unavailable)?
            else {
                return Ok(None);
            };
            let delivery: Delivery = decode("a message", stored.value())?;
            let events = transaction.open_table(EVENTS).map_err(unavailable)?;
            let mut entries = Vec::with_capacity(delivery.seen.len());
            for seen in &delivery.seen {
                let key = (organization.as_str(), seen.entry.0, seen.entry.1);
                if let Some(stored) = events.get(key).map_err(unavailable)?
                    && let Event::Delivery(entry) = decode("an event", stored.value())?
                {
                    entries.push(entry);
                }
            }
            Ok(Some(Message { delivery, entries }))
        })
        .await
    }

    async fn record_inbound(
        &self,
        organization: &Organization,
        entry: InboundEntry,
        consent: Option<ConsentUpdate>,
        answer: Answer,
    ) -> Result<InboundRecorded, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.record_inbound(organization.as_str(), entry, consent, answer)).await
    }

    async fn deliveries(
        &self,
        organization: &Organization,
        sids: &[MessageSid],
    ) -> Result<Vec<Option<Delivery>>, Error> {
        let (organization, sids) = (organization.clone(), sids.to_vec());
        self.read(move |transaction| {
            let messages = transaction.open_table(MESSAGES).map_err(unavailable)?;
            let delivery = |sid: &MessageSid| {
                let stored = messages.get((organization.as_str(), sid.as_str())).map_err(unavailable)?;
                stored.map(|stored| decode("a message", stored.value())).transpose()
            };
            sids.iter().take(PAGE_MAX).map(delivery).collect()
        })
        .await
    }

    async fn consents(
        &self,
        organization: &Organization,
        persons: &[&str],
    ) -> Result<Vec<KnownConsent>, Error> {
        let organization = organization.clone();
        let persons: Vec<String> = persons.iter().take(PAGE_MAX).map(|&person| person.to_owned()).collect();
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let known = |person: &String| {
                let stored = consents.get((organization.as_str(), person.as_str())).map_err(unavailable)?;
                ConsentVersion::decode(stored.map(|stored| stored.value().to_owned()))
            };
            persons.iter().map(known).collect()
        })
        .await
    }

    async fn consent_changes(
        &self,
        organization: &Organization,
        person: &str,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<ConsentChange>, Error> {
        let (organization, person) = (organization.clone(), person.to_owned());
        self.read(move |transaction| {
            let changes = transaction.open_table(CHANGES).map_err(unavailable)?;
            let (organization, person) = (organization.as_str(), person.as_str());
            let range = (organization, person, skip as u64)..=(organization, person, u64::MAX);
            let rows = changes.range(range).map_err(unavailable)?.take(limit.min(PAGE_MAX));
            rows.map(|row| decode("a change of consent", row.map_err(unavailable)?.1.value())).collect()
        })
        .await
    }

    async fn persons(
        &self,
        organization: &Organization,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let (organization, after) = (organization.clone(), after.to_owned());
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let organization = organization.as_str();
            let range = (Bound::Excluded((organization, after.as_str())), Bound::Unbounded);
            let rows = consents.range::<(&str, &str)>(range).map_err(unavailable)?;
            let mut persons = Vec::new();
            for row in rows.take(limit.min(PAGE_MAX)) {
                let (key, _) = row.map_err(unavailable)?;
                let (of, person) = key.value();
                if of != organization {
                    break;
                }
                persons.push(person.to_owned());
            }
            Ok(persons)
        })
        .await
    }

    async fn change_consent(
        &self,
        organization: &Organization,
        update: ConsentUpdate,
    ) -> Result<bool, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.change_consent(organization.as_str(), update)).await
    }

    fn partition(&self, _person: &str) -> u16 {
        0
    }

    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Event)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let organization = organization.as_str();
            let events = transaction.open_table(EVENTS).map_err(unavailable)?;
            let first = (organization, after.ms, after.seq.saturating_add(1));
            let last = (organization, u64::MAX, u64::MAX);
            events
                .range(first..=last)
                .map_err(unavailable)?
                .take(limit.min(EVENTS_PAGE_MAX))
                .map(|row| {
                    let (key, stored) = row.map_err(unavailable)?;
                    let (_, ms, seq) = key.value();
                    let event: Event = decode("an event", stored.value())?;
                    Ok((EventId { ms, seq, stream: event.stream(), partition: 0 }, event))
                })
                .collect()
        })
        .await
    }

    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let organization = organization.as_str();
            let events = transaction.open_table(EVENTS).map_err(unavailable)?;
            let mut range = events
                .range((organization, 0, 0)..=(organization, u64::MAX, u64::MAX))
                .map_err(unavailable)?;
            Ok(match range.next_back() {
                Some(row) => {
                    let (key, stored) = row.map_err(unavailable)?;
                    let (_, ms, seq) = key.value();
                    let event: Event = decode("an event", stored.value())?;
                    EventId { ms, seq, stream: event.stream(), partition: 0 }
                }
                None => EventId::START,
            })
        })
        .await
    }

    async fn wait_for_events(
        &self,
        organization: &Organization,
        after: EventId,
        timeout: Duration,
    ) -> Result<(), Error> {
        let mut any_entry = self.last_event.clone();
        any_entry.mark_unchanged();
        if self.last_event(organization).await? > after {
            return Ok(());
        }
        match tokio::time::timeout(timeout, any_entry.changed()).await {
            Ok(Err(_)) => Err(Error::Unavailable(anyhow::anyhow!("the store's writer has stopped"))),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    async fn plan(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error> {
        let (organization, task) = (organization.clone(), task.clone());
        self.write(move |tables| match tables.planned(organization.as_str(), &task)? {
            Some(_) => Ok(()),
            None => tables.plan(organization.as_str(), &task, Some(at)),
        })
        .await
    }

    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.claim(organization.as_str(), line, now, until, limit)).await
    }

    async fn plan_anew(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let (organization, task) = (organization.clone(), task.clone());
        self.write(move |tables| match tables.planned(organization.as_str(), &task)? {
            Some(_) => tables.plan(organization.as_str(), &task, at),
            None => Ok(()),
        })
        .await
    }

    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, Counts)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let counts = transaction.open_table(COUNTS).map_err(unavailable)?;
            let organization = organization.as_str();
            let range = (organization, unit.ms(), from, "")..(organization, unit.ms(), until, "");
            let mut times: Vec<(UnixMs, Counts)> = Vec::new();
            for row in counts.range(range).map_err(unavailable)? {
                let (key, count) = row.map_err(unavailable)?;
                let (_, _, start, name) = key.value();
                if times.last().is_none_or(|(last, _)| *last != start) {
                    times.push((start, Counts::new()));
                }
                if let (Some((_, counts)), Some(counter)) = (times.last_mut(), Counter::parse(name)) {
                    counts.insert(counter, count.value());
                }
            }
            Ok(times)
        })
        .await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await
    }
}

/// A failure of the database is one of the store, whatever its cause.
fn unavailable(error: impl Into<anyhow::Error>) -> Error {
    Error::Unavailable(error.into())
}
