//! What is taken away again, in Redis.
//!
//! Where a message stands is in the partition of its SID, as are its entries; what was asked for is in that of the recipient. The
//! place in the history leads from one to the other and goes last: after a crash in between, doing it again does the rest.
//!
//! Up to where entries were taken away is known to Redis: a stream keeps the newest id of those that were deleted. What others trim
//! with XTRIM it does not note, but it counts what was ever added, and we what we took away: the script `lost` compares them.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, future::try_join_all};
use redis::Value;

use super::{
    RedisStore,
    deliveries::elsewhere,
    failed,
    outbox::{RESOLVED_RANK, entry_of_all, history_name, place_text},
    read, scripts, stream,
};
use crate::{
    domain::{
        Event, EventId, HistoryId, MessageRef, Organization, OutboundState, Person, Stream, TaskLine, UnixMs,
    },
    store::{
        Error, Outbox, Row,
        retention::{FORGOTTEN_MAX, Forget, Removed, Retention, TRIMMED_MAX},
    },
    twilio::{BareAddress, MessageSid},
};

/// Messages whose deliveries one script forgets: meanwhile nobody else is served.
const DELIVERIES_AT_ONCE: usize = 10;

/// Messages that are forgotten at the same time.
const MESSAGES_AT_ONCE: usize = 4;

/// Entries of a recipient's history that are looked through in one go.
const LOOKED_THROUGH_AT_ONCE: usize = 500;

/// How far the times may be apart at which one message was entered in two histories: by two clocks, or with a webhook that waited
/// in the spool.
const ENTERED_APART: Duration = Duration::from_secs(60);

/// Entries of the history of that time that are looked through for a message.
const HISTORY_LOOKED_THROUGH_MAX: usize = 1_000;

/// A message that is to be forgotten, as far as it is known.
struct Known {
    /// As what Twilio knows it.
    sid: Option<MessageSid>,
    recipient: Option<Person>,
    /// When it was asked for.
    asked_at: Option<UnixMs>,
}

impl RedisStore {
    /// Forgets one message.
    async fn forget_message(
        &self,
        organization: &Organization,
        place: HistoryId,
        message: &MessageRef,
        which: Forget,
    ) -> Result<Removed, Error> {
        let partition = match message {
            MessageRef::Id(id) => id.partition(),
            MessageRef::Sid(sid) => self.keys.partition(sid.as_str()),
        };
        let place = self.place_in_all(organization, partition, place, message).await?;
        let Some(known) = self.known_message(organization, partition, place, message).await? else {
            return Ok(Removed::default());
        };
        let mut removed = Removed::default();
        if let Some(sid) = &known.sid {
            let taken = self.forget_deliveries(organization, std::slice::from_ref(sid), which).await?;
            match taken.first().map(|&entries| u64::try_from(entries)) {
                Some(Ok(entries)) => removed += Removed::entries(Stream::Deliveries, entries),
                Some(Err(_)) | None => return Ok(removed),
            }
        }
        if let Some(recipient) = &known.recipient {
            let person = self.resolve(organization, recipient).await?;
            self.leave_history_of(organization, &person, place, known.asked_at, message).await?;
        }
        let mut keys = vec![("history", self.keys.history(organization, partition))];
        if let MessageRef::Id(id) = message {
            keys.extend(self.keys.outbound(organization, id).map(|key| ("message", key)));
        }
        let arguments = [
            ("place", format!("{}-{}", place.ms, place.seq)),
            ("name", message.to_string()),
            ("resolved_rank", RESOLVED_RANK.to_string()),
        ];
        let is_gone: bool = read(self.write(&scripts::FORGET_MESSAGE, &keys, &arguments).await?)?;
        removed += Removed::messages(is_gone.into());
        Ok(removed)
    }

    /// What is known of a message, `None` if it is to stay.
    async fn known_message(
        &self,
        organization: &Organization,
        partition: u16,
        place: HistoryId,
        message: &MessageRef,
    ) -> Result<Option<Known>, Error> {
        let sid = match message {
            MessageRef::Sid(sid) => sid.clone(),
            MessageRef::Id(id) => {
                let stored = match self.outbound_rows(organization, &[*id]).await?.pop() {
                    Some(Ok(Some(stored))) => stored,
                    Some(Ok(None)) | None => {
                        return Ok(Some(Known { sid: None, recipient: None, asked_at: None }));
                    }
                    Some(Err(_)) => return Ok(None),
                };
                let sid = match &stored.state {
                    OutboundState::Accepted { message_sid, .. } => Some(message_sid.clone()),
                    state if state.is_resolved() => None,
                    _ => return Ok(None),
                };
                let (recipient, asked_at) = (stored.outbound.recipient(), stored.outbound.created_at);
                return Ok(Some(Known { sid, recipient: Some(recipient), asked_at: Some(asked_at) }));
            }
        };
        let mut command = redis::cmd("XRANGE");
        let entry = format!("{}-{}", place.ms, place.seq);
        command.arg(self.keys.history(organization, partition)).arg(&entry).arg(&entry);
        let entries = stream::entries(self.get::<Value>(&command).await?)?;
        let to = entries.iter().flat_map(|(_, fields)| fields).find(|(name, _)| name == b"to");
        let to = to.and_then(|(_, to)| str::from_utf8(to).ok()?.parse::<BareAddress>().ok());
        let to = match to {
            Some(to) => Some(to),
            // An earlier version has entered it.
            None => self.recipient_by_entries(organization, &sid).await?,
        };
        Ok(Some(Known { sid: Some(sid), recipient: to.as_ref().map(Person::of), asked_at: None }))
    }

    /// To whom a message was, as its entries tell, if they are still there and can be read.
    async fn recipient_by_entries(
        &self,
        organization: &Organization,
        sid: &MessageSid,
    ) -> Result<Option<BareAddress>, Error> {
        match crate::store::Deliveries::message(self, organization, sid).await {
            Ok(message) => {
                Ok(message.and_then(|message| message.entries.into_iter().find_map(|entry| entry.to)))
            }
            Err(Error::Unreadable(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where `message` is in the whole history, if `place` is only that in its recipient's. One that is not found near it goes by
    /// its age: its entry leads to nothing until then.
    async fn place_in_all(
        &self,
        organization: &Organization,
        partition: u16,
        place: HistoryId,
        message: &MessageRef,
    ) -> Result<HistoryId, Error> {
        let history = self.keys.history(organization, partition);
        let is_it = |entry: &stream::Entry| {
            let (place, found) = entry_of_all(entry, partition).ok()?;
            (found.as_ref() == Ok(message)).then_some(place)
        };
        let mut command = redis::cmd("XRANGE");
        let entry = format!("{}-{}", place.ms, place.seq);
        command.arg(&history).arg(&entry).arg(&entry);
        if let Some(found) = stream::entries(self.get(&command).await?)?.iter().find_map(is_it) {
            return Ok(found);
        }
        let mut command = redis::cmd("XRANGE");
        command.arg(&history).arg((place.ms - ENTERED_APART).get()).arg((place.ms + ENTERED_APART).get());
        command.arg("COUNT").arg(HISTORY_LOOKED_THROUGH_MAX);
        let near = stream::entries(self.get(&command).await?)?;
        Ok(near.iter().find_map(is_it).unwrap_or(place))
    }

    /// Takes a message out of the history of `person`.
    async fn leave_history_of(
        &self,
        organization: &Organization,
        person: &Person,
        place: HistoryId,
        asked_at: Option<UnixMs>,
        message: &MessageRef,
    ) -> Result<(), Error> {
        let key = self.keys.history_of(organization, person);
        let name = history_name(person.as_str());
        let places = [Some(place), asked_at.map(|at| elsewhere(at, message))];
        let likely =
            places.into_iter().flatten().map(|place| format!("{name}:{}{message}", place_text(place)));
        let mut command = redis::cmd("ZREM");
        command.arg(&key).arg(likely.collect::<Vec<_>>());
        if self.get::<u64>(&command).await? > 0 {
            return Ok(());
        }
        // It was entered there by another clock. No later than the other entry, but for what the clocks are apart.
        let end = format!("({name}:{}", place_text(HistoryId::at(place.ms + ENTERED_APART)));
        let mut first = format!("[{name}:");
        let tail = format!(":{message}");
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(&key).arg(&first).arg(&end).arg("LIMIT").arg(0).arg(LOOKED_THROUGH_AT_ONCE);
            let members: Vec<String> = self.get(&command).await?;
            let Some(last) = members.last() else { return Ok(()) };
            if let Some(member) = members.iter().find(|member| member.ends_with(&tail)) {
                return self.get::<Value>(redis::cmd("ZREM").arg(&key).arg(member)).await.map(drop);
            }
            first = format!("({last}");
        }
    }

    /// Forgets what Twilio told of the messages `sids`: how many entries of each that were, -1 for those that stay.
    async fn forget_deliveries(
        &self,
        organization: &Organization,
        sids: &[MessageSid],
        which: Forget,
    ) -> Result<Vec<i64>, Error> {
        let mut in_partition = HashMap::<u16, Vec<usize>>::new();
        for (index, sid) in sids.iter().enumerate() {
            in_partition.entry(self.keys.partition(sid.as_str())).or_default().push(index);
        }
        let heard_before = match which {
            Forget::HeardBefore(before) => before.to_string(),
            Forget::Any => String::new(),
        };
        let mut taken = vec![0; sids.len()];
        for (partition, indexes) in in_partition {
            for some in indexes.chunks(DELIVERIES_AT_ONCE) {
                let mut keys = vec![
                    ("deliveries", self.keys.stream(organization, partition, Stream::Deliveries)),
                    ("raw", self.keys.raw(organization, partition)),
                    ("tasks", self.keys.tasks(organization, partition, TaskLine::Twilio)),
                    ("trimmed", self.keys.trimmed(organization, partition)),
                ];
                let mut arguments = vec![("heard_before", heard_before.as_str())];
                for sid in some.iter().map(|index| &sids[*index]) {
                    keys.push(("messages", self.keys.messages(organization, partition, sid)));
                    arguments.push(("sids", sid.as_str()));
                }
                let answer: Vec<i64> =
                    read(self.write(&scripts::FORGET_DELIVERIES, &keys, &arguments).await?)?;
                for (index, entries) in some.iter().zip(answer) {
                    taken[*index] = entries;
                }
            }
        }
        Ok(taken)
    }

    /// Takes away the oldest entries of one stream; whether there may be more.
    async fn trim(
        &self,
        organization: &Organization,
        partition: u16,
        stream: Stream,
        before: UnixMs,
    ) -> Result<(Removed, bool), Error> {
        // Redis refuses to end before the first id that there can be.
        if before == UnixMs::EPOCH {
            return Ok((Removed::default(), false));
        }
        let key = self.keys.stream(organization, partition, stream);
        let mut command = redis::cmd("XRANGE");
        command.arg(&key).arg("-").arg(format!("({before}-0")).arg("COUNT").arg(TRIMMED_MAX);
        let entries = stream::entries(self.get(&command).await?)?;
        if entries.is_empty() {
            return Ok((Removed::default(), false));
        }
        let mut received = Vec::new();
        // One that cannot be read goes by its age like any other.
        let events = entries.iter().map(|(id, fields)| stream::event(stream, id, fields).ok());
        let mut sids = Vec::new();
        for event in events.flatten() {
            match event {
                Event::Delivery(entry) if !sids.contains(&entry.sid) => sids.push(entry.sid),
                Event::Inbound(entry) => {
                    received.push(self.keys.received_in(organization, partition, entry.sid.as_str()));
                }
                Event::Delivery(_) | Event::Consent(_) => {}
            }
        }
        let mut removed = Removed::default();
        if stream == Stream::Deliveries {
            for taken in self.forget_deliveries(organization, &sids, Forget::HeardBefore(before)).await? {
                removed += Removed::entries(stream, taken.try_into().unwrap_or_default());
            }
        }
        let may_be_more = entries.len() == TRIMMED_MAX;
        let ids = entries.into_iter().map(|(id, _)| id).collect();
        let trimmed = self.take_away(organization, partition, stream, ids, received).await?;
        removed += Removed::entries(stream, trimmed);
        Ok((removed, may_be_more))
    }

    /// Takes away entries of one stream, at most [`TRIMMED_MAX`], and what the messages `received` were answered: how many entries
    /// those were.
    pub(super) async fn take_away(
        &self,
        organization: &Organization,
        partition: u16,
        stream: Stream,
        entries: Vec<String>,
        received: Vec<String>,
    ) -> Result<u64, Error> {
        let mut keys = vec![
            ("stream", self.keys.stream(organization, partition, stream)),
            ("raw", self.keys.raw(organization, partition)),
            ("trimmed", self.keys.trimmed(organization, partition)),
        ];
        keys.extend(received.into_iter().map(|key| ("received", key)));
        let has_raw = u8::from(stream == Stream::Deliveries);
        let mut arguments = vec![("name", stream.as_str().to_owned()), ("has_raw", has_raw.to_string())];
        arguments.extend(entries.into_iter().map(|id| ("entries", id)));
        read(self.write(&scripts::TRIM, &keys, &arguments).await?)
    }

    /// Up to where entries were taken away of one stream, if that is behind `after` and before what is left.
    async fn lost(
        &self,
        organization: &Organization,
        partition: u16,
        stream: Stream,
        after: EventId,
    ) -> Result<Option<EventId>, Error> {
        let keys = [
            ("stream", self.keys.stream(organization, partition, stream)),
            ("trimmed", self.keys.trimmed(organization, partition)),
        ];
        let arguments = [("name", stream.as_str())];
        // What it notes can be found anew: it waits for no replica.
        let answer = scripts::LOST.run(self.connection()?, None, &keys, &arguments).await.map_err(failed)?;
        let answer: Vec<String> = read(answer)?;
        let [deleted, trimmed, first] = answer.as_slice() else { return Ok(None) };
        let event = |id: &str| {
            let (ms, seq) = stream::entry_id(id)?;
            Ok::<_, Error>(EventId { ms, seq, stream, partition })
        };
        // Behind the first that is left, somebody was erased from between what is kept.
        let is_before_all = first.is_empty() || after < event(first)?;
        let up_to = event(trimmed)?.max(event(deleted)?);
        Ok((is_before_all && after < up_to).then_some(up_to))
    }
}

#[async_trait]
impl Retention for RedisStore {
    async fn oldest_messages(
        &self,
        organization: &Organization,
        after: HistoryId,
        before: UnixMs,
        limit: usize,
    ) -> Result<Vec<(HistoryId, Row<MessageRef>)>, Error> {
        let limit = limit.min(FORGOTTEN_MAX);
        if before == UnixMs::EPOCH {
            return Ok(Vec::new());
        }
        let partitions = self.keys.partition_numbers().map(|partition| async move {
            let exclusive = if after.partition < partition { "" } else { "(" };
            let mut command = redis::cmd("XRANGE");
            command.arg(self.keys.history(organization, partition));
            command.arg(format!("{exclusive}{}-{}", after.ms, after.seq)).arg(format!("({before}-0"));
            command.arg("COUNT").arg(limit);
            let entries = stream::entries(self.get(&command).await?)?;
            entries.iter().map(|entry| entry_of_all(entry, partition)).collect::<Result<Vec<_>, _>>()
        });
        let mut entries = try_join_all(partitions).await?.concat();
        entries.sort_unstable_by_key(|(place, _)| *place);
        entries.truncate(limit);
        Ok(entries)
    }

    async fn forget_messages(
        &self,
        organization: &Organization,
        messages: &[(HistoryId, MessageRef)],
        which: Forget,
    ) -> Result<Removed, Error> {
        let messages = &messages[..messages.len().min(FORGOTTEN_MAX)];
        futures_util::stream::iter(messages.to_vec())
            .map(|(place, message)| async move {
                self.forget_message(organization, place, &message, which).await
            })
            .buffer_unordered(MESSAGES_AT_ONCE)
            .try_fold(Removed::default(), |mut all, one| {
                all += one;
                std::future::ready(Ok(all))
            })
            .await
    }

    async fn trim_events(
        &self,
        organization: &Organization,
        before: UnixMs,
    ) -> Result<(Removed, bool), Error> {
        let (mut all, mut more) = (Removed::default(), false);
        for partition in self.keys.partition_numbers() {
            for stream in Stream::ALL {
                let (removed, may_be_more) = self.trim(organization, partition, stream, before).await?;
                all += removed;
                more |= may_be_more;
            }
        }
        Ok((all, more))
    }

    async fn lost_events(
        &self,
        organization: &Organization,
        after: EventId,
    ) -> Result<Option<EventId>, Error> {
        let streams = self
            .keys
            .partition_numbers()
            .flat_map(|partition| Stream::ALL.into_iter().map(move |stream| (partition, stream)))
            .map(|(partition, stream)| self.lost(organization, partition, stream, after));
        Ok(try_join_all(streams).await?.into_iter().flatten().max())
    }
}
