//! Messages as Twilio told of them, in the embedded store.

use async_trait::async_trait;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{
    EmbeddedStore,
    tables::{EVENTS, MESSAGES, Tables},
    unavailable,
};
use crate::{
    domain::{
        Delivery, Event, MessageRef, Organization, Person, StatusChange, Stream, Task, UnixMs,
        delivery::{self, Recorded},
        stats::{self, Counter, Latency},
    },
    store::{Deliveries, Error, Message, PAGE_MAX, StatusRecorded, decode, encode},
    twilio::MessageSid,
};

/// A message's row: where it stands, and what else changes with that. SIDs are random, so that nearly every row that is written is on
/// a page of its own, which is written whole: a second table by SID would double what a callback writes.
///
/// Rows of version 0.1.0 are of the [`Delivery`] alone, with the rest in the table `planned`.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct MessageRow {
    #[serde(flatten)]
    pub(super) delivery: Delivery,
    /// When Twilio is to be asked what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ask_at: Option<UnixMs>,
}

impl MessageRow {
    /// The task of asking Twilio for it.
    pub(super) fn ask(&self, sid: &MessageSid) -> Task {
        let since = self.delivery.seen.first().map(|seen| seen.entry.0).unwrap_or_default();
        Task::Ask { sid: sid.clone(), since }
    }
}

impl Tables<'_> {
    /// What is kept of the message `sid`.
    pub(super) fn message_row(
        &self,
        organization: &str,
        sid: &MessageSid,
    ) -> Result<Option<MessageRow>, Error> {
        let stored = self.messages.get((organization, sid.as_str())).map_err(unavailable)?;
        stored.map(|stored| decode("a message", stored.value())).transpose()
    }

    /// Keeps `row` of the message `sid`.
    pub(super) fn put_message_row(
        &mut self,
        organization: &str,
        sid: &MessageSid,
        row: &MessageRow,
    ) -> Result<(), Error> {
        let key = (organization, sid.as_str());
        self.messages.insert(key, encode(row).as_bytes()).map_err(unavailable)?;
        Ok(())
    }

    fn record_status(&mut self, organization: &str, change: StatusChange) -> Result<StatusRecorded, Error> {
        let sid = change.sid.clone();
        let mut row = self.message_row(organization, &sid)?.unwrap_or_default();
        let delivery = &mut row.delivery;
        let recorded = delivery.judge(&change);
        let (id, was_unnamed) = (change.id, delivery.id.is_none());
        let place = self.next_entry(Stream::Deliveries);
        let (is_final, ask_at) = (delivery::is_final(&change.status), change.ask_at);
        let (at, mut counted) = (change.at, Counter::of_status(&change));
        if stats::is_delivery(&change.status)
            && let Some(first) = delivery.seen.first()
        {
            counted.push(Counter::Delivered(Latency::of(place.ms.since(first.entry.0))));
        }
        if let Some(entry) = delivery.record(change, place) {
            let statuses = delivery.seen.len();
            if statuses == 1 && delivery.id.is_none() {
                let recipient = entry.to.as_ref().map(Person::of);
                self.enter(organization, recipient.as_ref(), &MessageRef::Sid(sid.clone()))?;
            }
            if recorded == Recorded::Moved {
                self.add_counts(organization, at, &counted)?;
            }
            self.add_event(organization, &Event::Delivery(entry))?;
            match (statuses, ask_at) {
                (1, Some(at)) if !is_final => self.plan_ask(organization, &sid, &mut row, Some(at))?,
                (2.., _) if is_final && recorded == Recorded::Moved => {
                    self.plan_ask(organization, &sid, &mut row, None)?
                }
                _ => {}
            }
            self.put_message_row(organization, &sid, &row)?;
            Ok(StatusRecorded { recorded, learned_id: was_unnamed && id.is_some() })
        } else {
            let learned_id = id.is_some() && (was_unnamed || delivery.id == id);
            if was_unnamed && id.is_some() {
                delivery.id = id;
                self.put_message_row(organization, &sid, &row)?;
            }
            Ok(StatusRecorded { recorded, learned_id })
        }
    }
}

#[async_trait]
impl Deliveries for EmbeddedStore {
    async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<StatusRecorded, Error> {
        let whose = organization.clone();
        self.write_known(organization, move |tables| tables.record_status(whose.as_str(), change)).await
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
                let key = (organization.as_str(), seen.entry.0.get(), seen.entry.1);
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
}
