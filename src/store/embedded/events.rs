//! The streams, read as one order of all events, in the embedded store.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    EmbeddedStore,
    tables::{EVENTS, Tables},
    unavailable,
};
use crate::{
    domain::{Event, EventId, Organization, Stream, UnixMs},
    store::{EVENTS_PAGE_MAX, Error, Events, Row, Unreadable, decode, encode},
};

impl Tables<'_> {
    /// The place of the next entry: never before the newest one, even if the clock was set back.
    pub(super) fn next_entry(&self, stream: Stream) -> EventId {
        let (ms, seq) = self.last_event;
        let (ms, seq) = if self.now > ms { (self.now, 0) } else { (ms, seq + 1) };
        EventId { ms, seq, stream, partition: 0 }
    }

    pub(super) fn add_event(&mut self, organization: &str, event: &Event) -> Result<(), Error> {
        let id = self.next_entry(event.stream());
        self.events
            .insert((organization, id.ms.get(), id.seq), encode(event).as_bytes())
            .map_err(unavailable)?;
        self.last_event = (id.ms, id.seq);
        Ok(())
    }
}

/// Reads the entry of this place. Of one that cannot be read it is not known in which stream it is, which orders nothing here.
fn read_event(ms: UnixMs, seq: u64, stored: &[u8]) -> Result<(EventId, Row<Event>), Error> {
    let read: Result<Event, Error> = decode("an event", stored);
    let stream = read.as_ref().map_or(Stream::Deliveries, Event::stream);
    let id = EventId { ms, seq, stream, partition: 0 };
    Ok((id, Unreadable::part(|| format!("event {id}"), read)?))
}

#[async_trait]
impl Events for EmbeddedStore {
    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Row<Event>)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let organization = organization.as_str();
            let events = transaction.open_table(EVENTS).map_err(unavailable)?;
            let first = (organization, after.ms.get(), after.seq.saturating_add(1));
            let last = (organization, u64::MAX, u64::MAX);
            events
                .range(first..=last)
                .map_err(unavailable)?
                .take(limit.min(EVENTS_PAGE_MAX))
                .map(|row| {
                    let (key, stored) = row.map_err(unavailable)?;
                    let (_, ms, seq) = key.value();
                    read_event(UnixMs::new(ms), seq, stored.value())
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
                    read_event(UnixMs::new(ms), seq, stored.value())?.0
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
}
