//! The streams, read as one order of all events, in Redis.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{RedisStore, failed, stream};
use crate::{
    domain::{Event, EventId, Organization, Stream, UnixMs},
    store::{EVENTS_PAGE_MAX, Error, Events, Row, Unreadable},
};

/// How far the clocks of a cluster's nodes may be apart without an event being handed out before an earlier one.
const CLUSTER_CLOCK_SKEW_MAX: Duration = Duration::from_millis(500);

/// How often a cluster is asked for new entries, since no command can wait for several slots.
const CLUSTER_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How much longer than asked the server's answer to a wait may take before the connection counts as lost.
const WAIT_GRACE: Duration = Duration::from_secs(2);

/// How long to wait when entries of the present millisecond were held back.
const HELD_BACK_DELAY: Duration = Duration::from_millis(1);

/// One read of the streams: entries in order, and whether some were held back.
struct Page {
    events: Vec<(EventId, Row<Event>)>,
    held_back: bool,
}

impl RedisStore {
    /// The unknown parameters of the entry `id` of a partition's deliveries.
    async fn raw(
        &self,
        organization: &Organization,
        event: &EventId,
    ) -> Result<Vec<(String, String)>, Error> {
        let id = format!("{}-{}", event.ms, event.seq);
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.raw(organization, event.partition)).arg(&id);
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
        let horizon = self.horizon().await?;
        let places = self
            .keys
            .partition_numbers()
            .flat_map(|partition| Stream::ALL.into_iter().map(move |stream| (stream, partition)));
        let reads = places.map(|(stream, partition)| async move {
            let mut command = redis::cmd("XRANGE");
            command.arg(self.keys.stream(organization, partition, stream));
            command.arg(stream::start(after, stream, partition)).arg("+").arg("COUNT").arg(limit);
            let answer = self.connection()?.send(&command).await.map_err(failed)?;
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
            let read = stream::event(id.stream, &entry, &fields);
            events.push((id, Unreadable::part(|| format!("event {id}"), read)?));
        }
        self.add_raw_to_rows(organization, &mut events).await?;
        Ok(Page { events, held_back })
    }

    /// Adds the unknown parameters to those of `events` that can be read. One whose parameters cannot be is none of these then.
    async fn add_raw_to_rows(
        &self,
        organization: &Organization,
        events: &mut [(EventId, Row<Event>)],
    ) -> Result<(), Error> {
        let partitions = self.partitions_with_raw(organization, events).await?;
        for (id, event) in events.iter_mut().filter(|(id, _)| partitions.contains(&id.partition)) {
            if let Ok(Event::Delivery(entry)) = event {
                match Unreadable::part(|| format!("event {id}"), self.raw(organization, id).await)? {
                    Ok(raw) => entry.raw = raw,
                    Err(unreadable) => *event = Err(unreadable),
                }
            }
        }
        Ok(())
    }

    /// Adds the unknown parameters, where a partition has any.
    pub(super) async fn add_raw(
        &self,
        organization: &Organization,
        events: &mut [(EventId, Event)],
    ) -> Result<(), Error> {
        let partitions = self.partitions_with_raw(organization, events).await?;
        for (id, event) in events.iter_mut().filter(|(id, _)| partitions.contains(&id.partition)) {
            if let Event::Delivery(entry) = event {
                entry.raw = self.raw(organization, id).await?;
            }
        }
        Ok(())
    }

    /// The partitions of `events` that have unknown parameters.
    async fn partitions_with_raw<T>(
        &self,
        organization: &Organization,
        events: &[(EventId, T)],
    ) -> Result<Vec<u16>, Error> {
        let mut found = Vec::new();
        for partition in self.keys.partition_numbers() {
            if events.iter().any(|(id, _)| id.partition == partition)
                && self.has_raw(organization, partition).await?
            {
                found.push(partition);
            }
        }
        Ok(found)
    }

    /// Entries of this millisecond and later ones may still be preceded by another.
    pub(super) async fn horizon(&self) -> Result<UnixMs, Error> {
        let (seconds, microseconds): (u64, u64) = self.get(&redis::cmd("TIME")).await?;
        let now = UnixMs::EPOCH + Duration::from_secs(seconds) + Duration::from_micros(microseconds);
        Ok(if self.server.is_cluster() { now - CLUSTER_CLOCK_SKEW_MAX } else { now })
    }

    /// Waits until the horizon has passed what is written now: what was written just before a page is asked for belongs to
    /// it.
    pub(super) async fn pass_horizon(&self) {
        let skew = if self.server.is_cluster() { CLUSTER_CLOCK_SKEW_MAX } else { Duration::ZERO };
        tokio::time::sleep(HELD_BACK_DELAY + skew).await;
    }
}

#[async_trait]
impl Events for RedisStore {
    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Row<Event>)>, Error> {
        let limit = limit.min(EVENTS_PAGE_MAX);
        let page = self.page(organization, after, limit).await?;
        if !page.held_back || page.events.len() == limit {
            return Ok(page.events);
        }
        self.pass_horizon().await;
        Ok(self.page(organization, after, limit).await?.events)
    }

    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error> {
        let mut newest = EventId::START;
        for partition in self.keys.partition_numbers() {
            for stream in Stream::ALL {
                let mut command = redis::cmd("XREVRANGE");
                command.arg(self.keys.stream(organization, partition, stream));
                command.arg("+").arg("-").arg("COUNT").arg(1);
                let answer = self.connection()?.send(&command).await.map_err(failed)?;
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
        if self.server.is_cluster() {
            tokio::time::sleep(CLUSTER_POLL_INTERVAL.min(timeout)).await;
            return Ok(());
        }
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
                    true => format!("{}-{}", after.ms - Duration::from_millis(1), u64::MAX),
                    false => format!("{}-{}", after.ms, after.seq),
                });
            }
        }
        command.arg(ids);
        let waiting = self.waiting.lock().await;
        waiting.wait(&command, timeout + WAIT_GRACE).await.map(drop).map_err(failed)
    }
}
