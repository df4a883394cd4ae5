//! What is taken away again, in the embedded store.

use std::ops::Bound;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    consents::resolved,
    outbox::parts,
    tables::{HISTORY, TRIMMED, Tables},
    unavailable,
};
use crate::{
    domain::{Event, EventId, HistoryId, MessageRef, Organization, OutboundState, Person, Stream, UnixMs},
    store::{
        Error, Row, Unreadable, decode,
        retention::{FORGOTTEN_MAX, Forget, Removed, Retention, TRIMMED_MAX},
    },
    twilio::{BareAddress, MessageSid},
};

/// Messages that are forgotten in one transaction: others wait for it no longer than for a few webhooks.
const FORGOTTEN_AT_ONCE: usize = 10;

/// The name of a message, as a row of the history has it.
fn read_name(name: &str) -> Row<MessageRef> {
    name.parse().map_err(|_| Unreadable {
        record: "a place in the history".to_owned(),
        error: "it names no message".to_owned(),
    })
}

impl Tables<'_> {
    /// Forgets one message; `None` if it stays.
    fn forget_message(
        &mut self,
        organization: &str,
        (place, message): &(HistoryId, MessageRef),
        which: Forget,
    ) -> Result<Option<Removed>, Error> {
        let name = message.to_string();
        let (sid, person) = match message {
            MessageRef::Id(id) => match self.outbound_row(organization, id)? {
                Some((_, state)) if !state.is_resolved() => return Ok(None),
                Some((recipient, OutboundState::Accepted { message_sid, .. })) => {
                    (Some(message_sid), Some(recipient))
                }
                Some((recipient, _)) => (None, Some(recipient)),
                None => (None, None),
            },
            MessageRef::Sid(sid) => {
                let entered = self.entered(organization, *place)?.filter(|(entered, _)| *entered == name);
                let person = match entered.and_then(|(_, person)| person) {
                    Some(person) => Some(person),
                    None => {
                        let kept = self.recipients.get((organization, sid.as_str())).map_err(unavailable)?;
                        kept.map(|kept| kept.value().to_owned())
                    }
                };
                let person = person.and_then(|person| person.parse::<BareAddress>().ok());
                (Some(sid.clone()), person.map(Person::from))
            }
        };
        // Read before anything is taken away: what cannot be read leaves the message as it is.
        let person = match person {
            Some(person) => Some(resolved(&self.consents, organization, &person)?),
            None => None,
        };
        let mut removed = Removed::messages(1);
        if let Some(sid) = &sid {
            match self.forget_delivery(organization, sid, which)? {
                Some(entries) => removed += Removed::entries(Stream::Deliveries, entries),
                None => return Ok(None),
            }
            self.recipients.remove((organization, sid.as_str())).map_err(unavailable)?;
        }
        if let MessageRef::Id(id) = message {
            self.outbound.remove((organization, id.as_str())).map_err(unavailable)?;
        }
        let (ms, seq) = (place.ms.get(), place.seq);
        if let Some(person) = person {
            self.history_of.remove((organization, person.as_str(), ms, seq)).map_err(unavailable)?;
        }
        if self.entered(organization, *place)?.is_some_and(|(entered, _)| entered == name) {
            self.history.remove((organization, ms, seq)).map_err(unavailable)?;
        }
        Ok(Some(removed))
    }

    /// The name of the message that was entered in the history at `place`, and the person to whom it was if it was sent elsewhere.
    fn entered(
        &self,
        organization: &str,
        place: HistoryId,
    ) -> Result<Option<(String, Option<String>)>, Error> {
        let row = self.history.get((organization, place.ms.get(), place.seq)).map_err(unavailable)?;
        Ok(row.map(|row| {
            let (name, person) = parts(row.value());
            (name.to_owned(), person.map(str::to_owned))
        }))
    }

    /// Forgets what Twilio told of a message; how many entries of the streams that were, `None` if it stays.
    fn forget_delivery(
        &mut self,
        organization: &str,
        sid: &MessageSid,
        which: Forget,
    ) -> Result<Option<u64>, Error> {
        let Some(mut row) = self.message_row(organization, sid)? else { return Ok(Some(0)) };
        let heard = row.delivery.seen.iter().map(|seen| seen.entry).max().unwrap_or_default();
        if let Forget::HeardBefore(before) = which {
            if heard.0 >= before || self.planned(organization, &row.ask(sid))?.is_some() {
                return Ok(None);
            }
            self.note_trimmed(organization, heard)?;
        }
        let mut entries = 0;
        for seen in &row.delivery.seen {
            let entry = (organization, seen.entry.0.get(), seen.entry.1);
            entries += u64::from(self.events.remove(entry).map_err(unavailable)?.is_some());
        }
        self.plan_ask(organization, sid, &mut row, None)?;
        self.messages.remove((organization, sid.as_str())).map_err(unavailable)?;
        Ok(Some(entries))
    }

    /// Takes away the oldest entries of the streams, some of them; whether there may be more.
    fn trim_events(&mut self, organization: &str, before: UnixMs) -> Result<(Removed, bool), Error> {
        let old = self.events.range((organization, 0, 0)..(organization, before.get(), 0));
        let old = old.map_err(unavailable)?.take(TRIMMED_MAX).map(|row| {
            let (key, stored) = row.map_err(unavailable)?;
            let (_, ms, seq) = key.value();
            // One that cannot be read goes by its age like any other.
            Ok(((UnixMs::new(ms), seq), decode::<Event>("an event", stored.value()).ok()))
        });
        let old: Vec<_> = old.collect::<Result<_, Error>>()?;
        let mut removed = Removed::default();
        if let Some((last, _)) = old.last() {
            self.note_trimmed(organization, *last)?;
        }
        for ((ms, seq), event) in &old {
            let stream = event.as_ref().map_or(Stream::Deliveries, Event::stream);
            // A message that goes takes its other entries with it.
            if self.events.remove((organization, ms.get(), *seq)).map_err(unavailable)?.is_some() {
                removed += Removed::entries(stream, 1);
            }
            match event {
                Some(Event::Delivery(entry)) => {
                    match self.forget_delivery(organization, &entry.sid, Forget::HeardBefore(before)) {
                        Ok(others) => {
                            removed += Removed::entries(Stream::Deliveries, others.unwrap_or_default());
                        }
                        // It stays, and holds up nothing.
                        Err(Error::Unreadable(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                Some(Event::Inbound(entry)) => {
                    self.received.remove((organization, entry.sid.as_str())).map_err(unavailable)?;
                }
                Some(Event::Consent(_)) | None => {}
            }
        }
        Ok((removed, old.len() == TRIMMED_MAX))
    }

    /// Notes that entries are taken away up to `entry`.
    fn note_trimmed(&mut self, organization: &str, (ms, seq): (UnixMs, u64)) -> Result<(), Error> {
        let entry = (ms.get(), seq);
        let known = self.trimmed.get(organization).map_err(unavailable)?.map(|known| known.value());
        if known < Some(entry) {
            self.trimmed.insert(organization, entry).map_err(unavailable)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Retention for EmbeddedStore {
    async fn oldest_messages(
        &self,
        organization: &Organization,
        after: HistoryId,
        before: UnixMs,
        limit: usize,
    ) -> Result<Vec<(HistoryId, Row<MessageRef>)>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let organization = organization.as_str();
            let history = transaction.open_table(HISTORY).map_err(unavailable)?;
            if after.ms >= before {
                return Ok(Vec::new());
            }
            let first = Bound::Excluded((organization, after.ms.get(), after.seq));
            let end = Bound::Excluded((organization, before.get(), 0));
            let rows = history.range::<(&str, u64, u64)>((first, end)).map_err(unavailable)?;
            let rows = rows.take(limit.min(FORGOTTEN_MAX)).map(|row| {
                let (key, row) = row.map_err(unavailable)?;
                let (_, ms, seq) = key.value();
                let place = HistoryId { ms: UnixMs::new(ms), seq, partition: 0 };
                Ok((place, read_name(parts(row.value()).0)))
            });
            rows.collect()
        })
        .await
    }

    async fn forget_messages(
        &self,
        organization: &Organization,
        messages: &[(HistoryId, MessageRef)],
        which: Forget,
    ) -> Result<Removed, Error> {
        let mut all = Removed::default();
        for some in messages[..messages.len().min(FORGOTTEN_MAX)].chunks(FORGOTTEN_AT_ONCE) {
            let (organization, some) = (organization.clone(), some.to_vec());
            all += self
                .write(move |tables| {
                    let mut removed = Removed::default();
                    for message in &some {
                        match tables.forget_message(organization.as_str(), message, which) {
                            Ok(one) => removed += one.unwrap_or_default(),
                            Err(Error::Unreadable(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok(removed)
                })
                .await?;
        }
        Ok(all)
    }

    async fn trim_events(
        &self,
        organization: &Organization,
        before: UnixMs,
    ) -> Result<(Removed, bool), Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.trim_events(organization.as_str(), before)).await
    }

    async fn lost_events(
        &self,
        organization: &Organization,
        after: EventId,
    ) -> Result<Option<EventId>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let trimmed = transaction.open_table(TRIMMED).map_err(unavailable)?;
            let last = trimmed.get(organization.as_str()).map_err(unavailable)?.map(|last| last.value());
            let last = last.filter(|last| *last > (after.ms.get(), after.seq));
            // Of which stream it was orders nothing here.
            Ok(last.map(|(ms, seq)| EventId {
                ms: UnixMs::new(ms),
                seq,
                stream: Stream::Deliveries,
                partition: 0,
            }))
        })
        .await
    }
}
