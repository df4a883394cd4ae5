//! Messages as Twilio told of them, in Redis.

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{
    RedisStore,
    counts::counts_end,
    failed,
    outbox::{history_name, place_text},
    read, record, scripts, stream, unlisted,
};
use crate::{
    domain::{
        BatchId, Delivery, Event, EventId, HistoryId, MessageId, MessageRef, Organization, Person,
        StatusChange, Stream, TaskLine, UnixMs,
        delivery::{self, Recorded},
        stats::{self, Counter, Unit},
    },
    store::{Deliveries, Error, Message, PAGE_MAX, StatusRecorded},
    twilio::{BareAddress, MessageSid},
};

impl RedisStore {
    /// Enters a message among its recipient's, whose partition is another than the message's. Done again with the same time, it
    /// changes nothing.
    pub(super) async fn enter_for_person(
        &self,
        organization: &Organization,
        person: &Person,
        message: &MessageRef,
        at: UnixMs,
    ) -> Result<(), Error> {
        let place = place_text(elsewhere(at, message));
        let key = self.keys.history_of(organization, person);
        let mut command = redis::cmd("ZADD");
        command.arg(&key).arg(0);
        command.arg(format!("{}:{place}{message}", history_name(person.as_str())));
        self.put(&key, &command).await
    }
}

/// The place of a message in the history of a recipient whose partition is another. It is not that in the whole history: the
/// message's name stands for the sequence.
pub(super) fn elsewhere(at: UnixMs, message: &MessageRef) -> HistoryId {
    let digest = crc16::State::<crc16::XMODEM>::calculate(message.to_string().as_bytes());
    HistoryId { ms: at, seq: u64::from(digest), partition: 0 }
}

#[async_trait]
impl Deliveries for RedisStore {
    async fn record_status(
        &self,
        organization: &Organization,
        change: StatusChange,
    ) -> Result<StatusRecorded, Error> {
        let partition = self.keys.partition(change.sid.as_str());
        let mut keys = vec![
            ("messages", self.keys.messages(organization, partition, &change.sid)),
            ("deliveries", self.keys.stream(organization, partition, Stream::Deliveries)),
            ("raw", self.keys.raw(organization, partition)),
            ("tasks", self.keys.tasks(organization, partition, TaskLine::Twilio)),
            ("history", self.keys.history(organization, partition)),
            ("minute_counts", self.counts_key(organization, partition, Unit::Minute, change.at)),
            ("hour_counts", self.counts_key(organization, partition, Unit::Hour, change.at)),
        ];
        let recipient = match &change.to {
            Some(to) => Some(self.resolve(organization, &Person::of(to)).await?),
            None => None,
        };
        let recipient = recipient.as_ref();
        if let Some(person) = recipient.filter(|person| self.keys.partition(person.as_str()) == partition) {
            keys.push(("recipients", self.keys.history_of(organization, person)));
        }
        let unknown = serde_urlencoded::to_string(&change.raw)
            .map_err(|error| Error::Unreadable(format!("unknown parameters: {error}")))?;
        let rank = delivery::rank(&change.status).to_string();
        let error_code = change.error_code.map(|code| code.to_string()).unwrap_or_default();
        let at = change.at.to_string();
        let ask_at = change.ask_at.map(|at| at.to_string()).unwrap_or_default();
        let is_final = if delivery::is_final(&change.status) { "1" } else { "0" };
        let [minute_ends, hour_ends] = Unit::ALL.map(|unit| counts_end(unit, change.at));
        let latency = if stats::is_delivery(&change.status) { stats::DELIVERED } else { "" };
        let counters: Vec<String> = Counter::of_status(&change).iter().map(Counter::name).collect();
        let word = record::word(&change.status);
        let token = record::token(&change.status, change.error_code);
        let mut arguments = vec![
            ("sid", change.sid.as_str()),
            ("id", change.id.as_ref().map_or("", MessageId::as_str)),
            ("rank", &rank),
            ("word", &word),
            ("token", &token),
            ("unknown", &unknown),
            ("status", change.status.as_str()),
            ("channel", change.channel.as_str()),
            ("to", change.to.as_ref().map_or("", BareAddress::as_str)),
            ("from", change.from.as_ref().map_or("", BareAddress::as_str)),
            ("error_code", &error_code),
            ("batch", change.batch.as_ref().map_or("", BatchId::as_str)),
            ("source", change.source.as_str()),
            ("at", &at),
            ("ask_at", &ask_at),
            ("is_final", is_final),
            ("minute_ends", &minute_ends),
            ("hour_ends", &hour_ends),
            ("latency", latency),
            ("recipient", recipient.map_or("", |person| history_name(person.as_str()))),
        ];
        arguments.extend(counters.iter().map(|counter| ("counters", counter.as_str())));
        let answer: String =
            read(self.write_in(organization, partition, &scripts::RECORD_STATUS, &keys, &arguments).await?)?;
        let words: Vec<&str> = answer.split(' ').collect();
        let recorded = match words.first() {
            Some(&"moved") => Recorded::Moved,
            Some(&"late") => Recorded::Late,
            Some(&"duplicate") => Recorded::Duplicate,
            _ => return Err(unlisted(&words)),
        };
        let entered_at = words.iter().skip_while(|word| **word != "recipient_elsewhere").nth(1);
        if let (Some(person), Some(entered_at)) = (recipient, entered_at) {
            let at = entered_at.parse().map_err(|_| unlisted(&words))?;
            self.enter_for_person(organization, person, &MessageRef::Sid(change.sid), UnixMs::new(at))
                .await?;
        }
        Ok(StatusRecorded { recorded, learned_id: words.contains(&"learned_id") })
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
            let answer = self.connection()?.send(&command).await.map_err(failed)?;
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
}
