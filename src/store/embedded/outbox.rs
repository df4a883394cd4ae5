//! Messages on their way out, in the embedded store.

use async_trait::async_trait;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{
    EmbeddedStore,
    consents::resolved,
    tables::{CONSENTS, DUE_FLOWS, HISTORY, HISTORY_OF, OUTBOUND, QUEUE_SIZES, QUEUED, Tables},
    unavailable,
};
use crate::{
    domain::{
        Flow, HistoryId, MessageId, MessageRef, Organization, Outbound, OutboundState, Person, PseudonymKey,
        UnixMs,
    },
    store::{
        Error, Gate, NewOutbound, Outbox, Passed, Queued, Row as Read, Step, StoredOutbound, Unreadable,
        decode, encode,
        outbox::{DUE_FLOWS_MAX, DueFlows, OUTBOUNDS_MAX, read_id},
    },
};

/// A message as its row holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) outbound: Outbound,
    pub(super) state: OutboundState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// How much room it takes while it is queued.
    #[serde(default)]
    pub(super) bytes: u64,
}

/// How many messages of `organization` are queued, counted one by one: for a file of a version that did not count them,
/// nor the bytes that they take.
fn counted(
    queued: &impl ReadableTable<(&'static str, &'static str), u64>,
    organization: &str,
) -> Result<Queued, Error> {
    let mut messages = 0;
    for row in queued.range((organization, "")..).map_err(unavailable)? {
        if row.map_err(unavailable)?.0.value().0 != organization {
            break;
        }
        messages += 1;
    }
    Ok(Queued { messages, bytes: 0 })
}

/// When the first message of `flow` has to be looked at.
fn first_of(
    queue: &impl ReadableTable<(&'static str, &'static str, u64, &'static str), ()>,
    organization: &str,
    flow: &str,
) -> Result<Option<u64>, Error> {
    let of_flow = (organization, flow, 0, "")..=(organization, flow, u64::MAX, LAST_ID);
    let first = queue.range(of_flow).map_err(unavailable)?.next().transpose().map_err(unavailable)?;
    Ok(first.map(|(key, _)| key.value().2))
}

/// Behind every id.
const LAST_ID: &str = "\u{10ffff}";

/// The name in [`super::tables::PACE`] of the time at which a person was last sent to.
pub(super) fn last_sent(name: &str) -> String {
    format!("person {name}")
}

/// The two parts of a row of the history: the message's name and, if it was sent elsewhere, the person in whose history it is.
pub(super) fn parts(row: &str) -> (&str, Option<&str>) {
    match row.split_once(' ') {
        Some((name, person)) => (name, Some(person)),
        None => (row, None),
    }
}

impl Tables<'_> {
    /// Forgets when the person called `name` was last sent to.
    pub(super) fn forget_last_sent(&mut self, organization: &str, name: &str) -> Result<(), Error> {
        self.pace.remove((organization, last_sent(name).as_str())).map_err(unavailable)?;
        Ok(())
    }

    pub(super) fn row(&self, organization: &str, id: &MessageId) -> Result<Option<Row>, Error> {
        let stored = self.outbound.get((organization, id.as_str())).map_err(unavailable)?;
        stored.map(|stored| decode("an outbound message", stored.value())).transpose()
    }

    /// Stores a message; a resolved one without its content.
    fn put_row(&mut self, organization: &str, mut row: Row) -> Result<(), Error> {
        if row.state.is_resolved() {
            row.content = None;
        }
        self.outbound
            .insert((organization, row.outbound.id.as_str()), encode(&row).as_bytes())
            .map_err(unavailable)?;
        Ok(())
    }

    /// What `gate` says to a message. Who passes has been sent to at that moment.
    fn pass(
        &mut self,
        organization: &Organization,
        gate: &Gate,
        key: &PseudonymKey,
    ) -> Result<Passed, Error> {
        if !self.is_current(organization, &gate.consent, key)? {
            return Ok(Passed::ConsentChanged);
        }
        let (organization, person) = (organization.as_str(), gate.consent.person());
        if gate.cooldown.is_zero() {
            return Ok(Passed::Yes);
        }
        let name = last_sent(person.as_str());
        let key = (organization, name.as_str());
        let last = self.pace.get(key).map_err(unavailable)?.map(|last| UnixMs::new(last.value()));
        if let Some(until) = last.map(|last| last + gate.cooldown).filter(|until| *until > gate.now) {
            return Ok(Passed::CoolingDown { until });
        }
        self.pace.insert(key, gate.now.get()).map_err(unavailable)?;
        Ok(Passed::Yes)
    }

    /// Says when `id`, which takes `bytes` while it is queued, is to be looked at, if at all.
    pub(super) fn queue(
        &mut self,
        organization: &str,
        flow: &Flow,
        id: &str,
        bytes: u64,
        due: Option<UnixMs>,
    ) -> Result<(), Error> {
        let known = self.queue_sizes.get(organization).map_err(unavailable)?.map(|known| known.value());
        let (messages, all_bytes) = match known {
            Some(known) => known,
            None => (counted(&self.queued, organization)?.messages, 0),
        };
        let (flow, urgent) = (flow.to_string(), flow.urgent);
        let first_before = first_of(&self.queue, organization, &flow)?;
        let key = (organization, id);
        let before = match due {
            Some(due) => self.queued.insert(key, due.get()).map_err(unavailable)?,
            None => self.queued.remove(key).map_err(unavailable)?,
        };
        let before = before.map(|before| before.value());
        let (messages, all_bytes) = match (before, due) {
            (None, Some(_)) => (messages + 1, all_bytes + bytes),
            // Not below zero: of what an earlier version had queued the bytes were not counted.
            (Some(_), None) => (messages.saturating_sub(1), all_bytes.saturating_sub(bytes)),
            (Some(_), Some(_)) | (None, None) => (messages, all_bytes),
        };
        if known != Some((messages, all_bytes)) {
            self.queue_sizes.insert(organization, (messages, all_bytes)).map_err(unavailable)?;
        }
        if let Some(before) = before {
            self.queue.remove((organization, flow.as_str(), before, id)).map_err(unavailable)?;
        }
        if let Some(due) = due {
            self.queue.insert((organization, flow.as_str(), due.get(), id), ()).map_err(unavailable)?;
        }
        let first = first_of(&self.queue, organization, &flow)?;
        if first != first_before {
            if let Some(before) = first_before {
                self.due_flows.remove((organization, urgent, before, flow.as_str())).map_err(unavailable)?;
            }
            if let Some(first) = first {
                self.due_flows
                    .insert((organization, urgent, first, flow.as_str()), ())
                    .map_err(unavailable)?;
            }
        }
        Ok(())
    }

    /// Enters a message in the history, behind the newest one, and among those to `person` if it is known to whom it
    /// is.
    pub(super) fn enter(
        &mut self,
        organization: &str,
        person: Option<&Person>,
        message: &MessageRef,
    ) -> Result<(), Error> {
        let newest = self.history.range((organization, 0, 0)..=(organization, u64::MAX, u64::MAX));
        let newest = newest.map_err(unavailable)?.next_back().transpose().map_err(unavailable)?;
        let (ms, seq) = newest.map_or((0, 0), |(key, _)| (key.value().1, key.value().2));
        let now = self.now.get();
        let (ms, seq) = if now > ms { (now, 0) } else { (ms, seq + 1) };
        let name = message.to_string();
        let person = person.map(|person| resolved(&self.consents, organization, person)).transpose()?;
        if let Some(person) = &person {
            self.history_of
                .insert((organization, person.as_str(), ms, seq), name.as_str())
                .map_err(unavailable)?;
        }
        let row = match (message, &person) {
            (MessageRef::Sid(_), Some(person)) => format!("{name} {}", person.as_str()),
            // Of one that was asked for here, that tells.
            (MessageRef::Id(_), _) | (_, None) => name,
        };
        self.history.insert((organization, ms, seq), row.as_str()).map_err(unavailable)?;
        Ok(())
    }

    /// To whom the message `id` is, and where it stands.
    pub(super) fn outbound_row(
        &self,
        organization: &str,
        id: &MessageId,
    ) -> Result<Option<(Person, OutboundState)>, Error> {
        Ok(self.row(organization, id)?.map(|row| (row.outbound.recipient(), row.state)))
    }

    fn create(&mut self, organization: &str, new: NewOutbound) -> Result<(), Error> {
        let NewOutbound { outbound, state, content, bytes, due, entry } = new;
        if let Some(entry) = entry {
            self.add_entry(organization, &entry)?;
        }
        self.enter(organization, Some(&outbound.recipient()), &MessageRef::Id(outbound.id))?;
        if !state.is_resolved() {
            self.queue(organization, &outbound.flow(), outbound.id.as_str(), bytes, Some(due))?;
        }
        self.put_row(organization, Row { outbound, state, content, bytes })
    }
}

#[async_trait]
impl Outbox for EmbeddedStore {
    async fn create_outbound(
        &self,
        organization: &Organization,
        new: &NewOutbound,
        gate: Option<&Gate>,
    ) -> Result<Passed, Error> {
        let (whose, new, gate) = (organization.clone(), new.clone(), gate.cloned());
        let key = self.pseudonyms.key(self).await?;
        self.write_known(organization, move |tables| {
            let organization = whose.as_str();
            if tables.row(organization, &new.outbound.id)?.is_some() {
                return Ok(Passed::StateChanged);
            }
            if let Some(gate) = &gate {
                let passed = tables.pass(&whose, gate, &key)?;
                if passed != Passed::Yes {
                    return Ok(passed);
                }
            }
            tables.create(organization, new)?;
            Ok(Passed::Yes)
        })
        .await
    }

    async fn enqueue(&self, organization: &Organization, new: &[NewOutbound]) -> Result<(), Error> {
        let (whose, new) = (organization.clone(), new.to_vec());
        self.write_known(organization, move |tables| {
            for new in new {
                if tables.row(whose.as_str(), &new.outbound.id)?.is_none() {
                    tables.create(whose.as_str(), new)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn step_outbound(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        step: &Step,
    ) -> Result<Passed, Error> {
        let (whose, id, step) = (organization.clone(), outbound.id, step.clone());
        let key = self.pseudonyms.key(self).await?;
        self.write_known(organization, move |tables| {
            let organization = whose.as_str();
            let Some(row) = tables.row(organization, &id)? else { return Ok(Passed::StateChanged) };
            if row.state != step.from {
                return Ok(Passed::StateChanged);
            }
            if let Some(gate) = &step.gate {
                let passed = tables.pass(&whose, gate, &key)?;
                if passed != Passed::Yes {
                    return Ok(passed);
                }
            }
            if let Some(entry) = &step.entry {
                tables.add_entry(organization, entry)?;
            }
            tables.queue(organization, &row.outbound.flow(), id.as_str(), row.bytes, step.due)?;
            tables.put_row(organization, Row { state: step.to, ..row })?;
            Ok(Passed::Yes)
        })
        .await
    }

    async fn resolve_outbound(
        &self,
        organization: &Organization,
        id: &MessageId,
        state: &OutboundState,
    ) -> Result<(), Error> {
        let (organization, id, state) = (organization.clone(), *id, state.clone());
        self.write(move |tables| {
            if let Some(row) = tables.row(organization.as_str(), &id)?
                && state.rank() > row.state.rank()
            {
                tables.put_row(organization.as_str(), Row { state, ..row })?;
            }
            Ok(())
        })
        .await
    }

    async fn outbound_rows(
        &self,
        organization: &Organization,
        ids: &[MessageId],
    ) -> Result<Vec<Read<Option<StoredOutbound>>>, Error> {
        let organization = organization.clone();
        let ids: Vec<MessageId> = ids.iter().take(OUTBOUNDS_MAX).copied().collect();
        self.read(move |transaction| {
            let table = transaction.open_table(OUTBOUND).map_err(unavailable)?;
            let stored = |id: &MessageId| {
                let stored = table.get((organization.as_str(), id.as_str())).map_err(unavailable)?;
                let row = stored.map(|stored| decode("an outbound message", stored.value())).transpose();
                let stored =
                    |Row { outbound, state, content, .. }| StoredOutbound { outbound, state, content };
                Unreadable::part(|| format!("message {id}"), row.map(|row| row.map(stored)))
            };
            ids.iter().map(stored).collect()
        })
        .await
    }

    async fn due_flows(
        &self,
        organization: &Organization,
        now: UnixMs,
        urgent: bool,
        skip: usize,
    ) -> Result<DueFlows, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let table = transaction.open_table(DUE_FLOWS).map_err(unavailable)?;
            let of = organization.as_str();
            let due = (of, urgent, 0, "")..(of, urgent, now.get().saturating_add(1), "");
            let page = table.range(due).map_err(unavailable)?.skip(skip).take(DUE_FLOWS_MAX);
            let names = page.map(|row| Ok(row.map_err(unavailable)?.0.value().3.as_bytes().to_owned()));
            Ok(DueFlows::of(vec![names.collect::<Result<_, Error>>()?], skip))
        })
        .await
    }

    async fn claim_outbounds(
        &self,
        organization: &Organization,
        flow: &Flow,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Read<MessageId>>, Error> {
        let (organization, flow) = (organization.clone(), flow.clone());
        self.write(move |tables| {
            let (organization, name) = (organization.as_str(), flow.to_string());
            let range = (organization, name.as_str(), 0, "")
                ..(organization, name.as_str(), now.get().saturating_add(1), "");
            let due = tables.queue.range(range).map_err(unavailable)?.take(limit.min(OUTBOUNDS_MAX));
            let ids = due.map(|row| Ok(row.map_err(unavailable)?.0.value().3.to_owned()));
            let ids: Vec<String> = ids.collect::<Result<_, Error>>()?;
            for id in &ids {
                // It stays queued, and so does the room that it takes.
                tables.queue(organization, &flow, id, 0, Some(until))?;
            }
            Ok(ids.iter().map(|id| read_id(id.as_bytes(), &flow)).collect())
        })
        .await
    }

    async fn put_off(
        &self,
        organization: &Organization,
        flow: &Flow,
        id: &MessageId,
        until: UnixMs,
    ) -> Result<(), Error> {
        let (organization, flow, id) = (organization.clone(), flow.clone(), *id);
        self.write(move |tables| {
            let organization = organization.as_str();
            if tables.queued.get((organization, id.as_str())).map_err(unavailable)?.is_none() {
                return Ok(());
            }
            tables.queue(organization, &flow, id.as_str(), 0, Some(until))
        })
        .await
    }

    async fn queued(&self, organization: &Organization) -> Result<Queued, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let sizes = transaction.open_table(QUEUE_SIZES).map_err(unavailable)?;
            match sizes.get(organization.as_str()).map_err(unavailable)? {
                Some(size) => {
                    let (messages, bytes) = size.value();
                    Ok(Queued { messages, bytes })
                }
                None => counted(&transaction.open_table(QUEUED).map_err(unavailable)?, organization.as_str()),
            }
        })
        .await
    }

    async fn dequeue(&self, organization: &Organization, flow: &Flow, id: &MessageId) -> Result<(), Error> {
        let (organization, flow, id) = (organization.clone(), flow.clone(), *id);
        self.write(move |tables| match tables.row(organization.as_str(), &id)? {
            Some(row) if !row.state.is_resolved() => Ok(()),
            row => {
                let bytes = row.map_or(0, |row| row.bytes);
                tables.queue(organization.as_str(), &flow, id.as_str(), bytes, None)
            }
        })
        .await
    }

    async fn history(
        &self,
        organization: &Organization,
        person: Option<&Person>,
        before: HistoryId,
        limit: usize,
    ) -> Result<Vec<(HistoryId, MessageRef)>, Error> {
        let (organization, person) = (organization.clone(), person.cloned());
        let limit = limit.min(OUTBOUNDS_MAX);
        let entry = |ms: u64, seq: u64, name: &str| {
            let message =
                name.parse().map_err(|_| Error::Unreadable(format!("a message's name: {name:?}")))?;
            Ok((HistoryId { ms: UnixMs::new(ms), seq, partition: 0 }, message))
        };
        self.read(move |transaction| {
            let of = organization.as_str();
            // A place in a later partition is behind everything of its instant here.
            let end = if before.partition > 0 { before.seq.saturating_add(1) } else { before.seq };
            match &person {
                None => {
                    let table = transaction.open_table(HISTORY).map_err(unavailable)?;
                    let rows = table.range((of, 0, 0)..(of, before.ms.get(), end)).map_err(unavailable)?;
                    let rows = rows.rev().take(limit).map(|row| {
                        let (key, row) = row.map_err(unavailable)?;
                        entry(key.value().1, key.value().2, parts(row.value()).0)
                    });
                    rows.collect()
                }
                Some(person) => {
                    let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
                    let table = transaction.open_table(HISTORY_OF).map_err(unavailable)?;
                    let person = resolved(&consents, of, person)?;
                    let person = person.as_str();
                    let range = (of, person, 0, 0)..(of, person, before.ms.get(), end);
                    let rows = table.range(range).map_err(unavailable)?;
                    let rows = rows.rev().take(limit).map(|row| {
                        let (key, name) = row.map_err(unavailable)?;
                        entry(key.value().2, key.value().3, name.value())
                    });
                    rows.collect()
                }
            }
        })
        .await
    }
}
