//! The streams, read as one order of all events, in the embedded store.

use std::time::Duration;

use async_trait::async_trait;
use redb::ReadOnlyTable;

use super::{
    EmbeddedStore,
    damage::{is_damage, unless_damaged},
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

/// An entry and its place.
type Found = (EventId, Row<Event>);

/// Where an entry is or could be: milliseconds in the upper half, the sequence number in the lower.
type Place = u128;

fn place(ms: UnixMs, seq: u64) -> Place {
    (Place::from(ms.get()) << 64) | Place::from(seq)
}

/// The two parts of a place.
fn parts(place: Place) -> (UnixMs, u64) {
    (UnixMs::new((place >> 64) as u64), place as u64)
}

/// The entries of an organization as they stand in the file, of which a page may be damaged.
struct Stored<'a> {
    organization: &'a str,
    events: ReadOnlyTable<(&'static str, u64, u64), &'static [u8]>,
}

impl Stored<'_> {
    /// The entries from `first` on, at most `limit`. In the place of those on a damaged page is one that cannot be read; with them
    /// comes what redb says of it. `newest` is behind every entry.
    fn page(
        &self,
        mut first: Place,
        newest: Place,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<String>), Error> {
        let (mut found, damage) = self.read(first, Place::MAX, limit)?;
        let Some(damage) = damage else { return Ok((found, None)) };
        while found.len() < limit {
            if let Some((last, _)) = found.last() {
                first = first.max(place(last.ms, last.seq) + 1);
            }
            if first > newest {
                break;
            }
            let before = self.last_sound(first, newest, limit - found.len())?;
            if let Some(last) = before {
                found.extend(self.read(first, last, limit - found.len())?.0);
                first = last + 1;
            }
            if found.len() < limit && first <= newest {
                let behind = self.next_sound(first, newest)?.unwrap_or(newest + 1);
                found.push(unreadable(first, behind - 1, &damage));
            }
        }
        Ok((found, Some(damage)))
    }

    /// The last place to which all entries from `first` on can be read; `None` if not even the page of `first` can be.
    fn last_sound(&self, first: Place, newest: Place, limit: usize) -> Result<Option<Place>, Error> {
        let is_sound = |last| Ok::<_, Error>(self.read(first, last, limit)?.1.is_none());
        if !is_sound(first)? {
            return Ok(None);
        }
        if is_sound(newest)? {
            return Ok(Some(newest));
        }
        between(first, newest, is_sound).map(Some)
    }

    /// The first place behind `first`, whose page is damaged, at which a page is not; `None` if there is none up to `newest`.
    fn next_sound(&self, first: Place, newest: Place) -> Result<Option<Place>, Error> {
        let is_damaged = |place| Ok::<_, Error>(self.read(place, place, 1)?.1.is_some());
        let (mut damaged, mut step) = (first, 1);
        while damaged < newest {
            let next = damaged.saturating_add(step).min(newest);
            if !is_damaged(next)? {
                return Ok(Some(between(damaged, next, is_damaged)? + 1));
            }
            (damaged, step) = (next, step * 2);
        }
        Ok(None)
    }

    /// The entries from `first` to `last`, at most `limit`; if it came upon a damaged page those before it, and what redb says.
    fn read(&self, first: Place, last: Place, limit: usize) -> Result<(Vec<Found>, Option<String>), Error> {
        let key = |place| {
            let (ms, seq) = parts(place);
            (self.organization, ms.get(), seq)
        };
        let mut found = Vec::new();
        let read = || {
            for row in self.events.range(key(first)..=key(last)).map_err(unavailable)?.take(limit) {
                let (key, stored) = row.map_err(unavailable)?;
                let (_, ms, seq) = key.value();
                found.push(read_event(UnixMs::new(ms), seq, stored.value())?);
            }
            Ok(())
        };
        match unless_damaged(read, unavailable) {
            Ok(()) => Ok((found, None)),
            // What was returned before is whole.
            Err(Error::Unavailable(error)) if is_damage(&error) => Ok((found, Some(error.to_string()))),
            Err(error) => Err(error),
        }
    }
}

/// The last place at which `is_so`, which it is at `from` and no more at `to`. If it changes several times, one of those at which it
/// ends.
fn between(
    mut from: Place,
    mut to: Place,
    is_so: impl Fn(Place) -> Result<bool, Error>,
) -> Result<Place, Error> {
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        match is_so(middle)? {
            true => from = middle,
            false => to = middle,
        }
    }
    Ok(from)
}

/// What stands for the entries from `first` to `last`.
fn unreadable(first: Place, last: Place, damage: &str) -> Found {
    let [first, last] = [first, last].map(|place| {
        let (ms, seq) = parts(place);
        EventId { ms, seq, stream: Stream::Deliveries, partition: 0 }
    });
    let (record, error) = (format!("events {first} to {last}"), damage.to_owned());
    (last, Err(Unreadable { record, error }))
}

#[async_trait]
impl Events for EmbeddedStore {
    async fn events(
        &self,
        organization: &Organization,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<(EventId, Row<Event>)>, Error> {
        let (organization, newest) = (organization.clone(), *self.last_event.borrow());
        let first = place(after.ms, after.seq).saturating_add(1);
        let limit = limit.min(EVENTS_PAGE_MAX);
        let (found, damage) = self
            .read(move |transaction| {
                let events = transaction.open_table(EVENTS).map_err(unavailable)?;
                let stored = Stored { organization: organization.as_str(), events };
                stored.page(first, place(newest.0, newest.1), limit)
            })
            .await?;
        if let Some(damage) = damage {
            drop(self.damaged(&damage));
        }
        Ok(found)
    }

    async fn last_event(&self, organization: &Organization) -> Result<EventId, Error> {
        let (organization, (ms, seq)) = (organization.clone(), *self.last_event.borrow());
        let last = self
            .read(move |transaction| {
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
            .await;
        match last {
            // It is on a damaged page, and no later than the newest of all organizations.
            Err(Error::Unreadable(_)) => Ok(EventId { ms, seq, stream: Stream::Deliveries, partition: 0 }),
            last => last,
        }
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
