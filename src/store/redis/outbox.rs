//! Messages on their way out, in Redis.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use rand::RngExt;
use redis::Value;

use super::{CALL_KNOWN, RedisStore, keys::Keys, read, scripts, stream, unlisted};
use crate::{
    domain::{Flow, HistoryId, MessageId, MessageRef, Organization, Outbound, OutboundState, Person, UnixMs},
    store::{
        Error, Gate, NewOutbound, Outbox, Passed, Queued, Row, Step, StoredOutbound, Unreadable, decode,
        encode,
        outbox::{DUE_FLOWS_MAX, DueFlows, OUTBOUNDS_MAX, read_id},
    },
};

/// The lowest rank of a state in which nothing is left to be done.
pub(super) const RESOLVED_RANK: u8 = 3;

/// What `step_outbound.lua` stores of a new message beside its state; of all that, a step has only an entry.
#[derive(Default)]
struct New {
    outbound: String,
    content: String,
    bytes: u64,
    entry: String,
}

impl RedisStore {
    /// Runs `step_outbound.lua`; `from` is `None` for a new message.
    #[allow(clippy::too_many_arguments, reason = "they are the script's")]
    async fn step(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        from: Option<&OutboundState>,
        to: &OutboundState,
        due: Option<UnixMs>,
        gate: Option<&Gate>,
        new: New,
    ) -> Result<Passed, Error> {
        let Some(key) = self.keys.outbound(organization, &outbound.id) else {
            return Ok(Passed::StateChanged);
        };
        let (partition, flow) = (outbound.id.partition(), outbound.flow());
        let person = match (gate, from) {
            (Some(gate), _) => gate.consent.person().clone(),
            (None, None) => self.resolve(organization, &outbound.recipient()).await?,
            (None, Some(_)) => outbound.recipient(),
        };
        // A script reaches one partition. The recipient's is another if the message is to a user id whose number is
        // known, or has waited since a version that went by spellings.
        let is_here = self.keys.partition(person.as_str()) == partition;
        if let Some(gate) = gate.filter(|_| !is_here) {
            let passed = self.pass_elsewhere(organization, gate).await?;
            if passed != Passed::Yes {
                return Ok(passed);
            }
        }
        let gate = gate.filter(|_| is_here);
        if from.is_none() && !is_here {
            // First, since nobody repeats it if we end in between. Who lists the recipient's messages passes over one that is not
            // stored.
            let message = MessageRef::Id(outbound.id);
            self.enter_for_person(organization, &person, &message, outbound.created_at).await?;
        }
        let of_person = |kind: &str| self.keys.under_in(organization, partition, kind, person.as_str());
        let [noted, noted_urgent] = self.due_keys(organization, partition);
        let mut keys = vec![
            ("message", key),
            ("queue", self.keys.queue(organization, partition, &flow)),
            ("consent", of_person("consent")),
            ("erased", self.erased_key_in(organization, partition, person.as_str()).await?),
            ("last", of_person("last")),
            noted,
            noted_urgent,
            ("queued", self.keys.queued(organization, partition)),
            ("history", self.keys.history(organization, partition)),
            ("audit", self.keys.audit(organization, partition)),
        ];
        if is_here {
            keys.push(("recipients", self.keys.history_of(organization, &person)));
        }
        let [decided_on, now, cooldown] = gate.map(gate_arguments).unwrap_or_default();
        let arguments = [
            ("before", from.map(encode).unwrap_or_default()),
            ("after", encode(to)),
            ("rank", to.rank().to_string()),
            ("is_resolved", u8::from(to.is_resolved()).to_string()),
            ("id", outbound.id.to_string()),
            ("at", due.filter(|_| !to.is_resolved()).map(|due| due.to_string()).unwrap_or_default()),
            ("decided_on", decided_on),
            ("now", now),
            ("cooldown", cooldown),
            ("outbound", new.outbound),
            ("content", new.content),
            ("bytes", new.bytes.to_string()),
            ("flow", flow.to_string()),
            ("recipient", history_name(person.as_str()).to_owned()),
            ("entry", new.entry),
            ("call", Keys::random()),
        ];
        let words: Vec<String> =
            read(self.write_in(organization, partition, &scripts::STEP_OUTBOUND, &keys, &arguments).await?)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["stored"] => Ok(Passed::Yes),
            ["state_changed"] => Ok(Passed::StateChanged),
            ["consent_changed"] => Ok(Passed::ConsentChanged),
            ["cooling_down", until] => cooling_down(until),
            _ => Err(unlisted(&words)),
        }
    }

    /// The keys `due` and `urgent` of every script that changes the queue of a flow.
    fn due_keys(&self, organization: &Organization, partition: u16) -> [(&'static str, String); 2] {
        [("due", false), ("urgent", true)]
            .map(|(name, urgent)| (name, self.keys.due(organization, partition, urgent)))
    }

    /// Notes when flows are due in which version 0.1.0 had queued messages before the upgrade.
    async fn adopt_flows(&self, organization: &Organization, partition: u16) -> Result<(), Error> {
        let flows = self.keys.former_flows(organization, partition);
        let mut command = redis::cmd("SRANDMEMBER");
        command.arg(&flows).arg(DUE_FLOWS_MAX);
        let names: Vec<String> = self.get(&command).await?;
        let adopted = names.into_iter().map(|name| {
            let [due, urgent] = self.due_keys(organization, partition);
            let queue = self.keys.queue_of(organization, partition, &name);
            let queued = ("queued", self.keys.queued(organization, partition));
            let keys = [("queue", queue), due, urgent, queued, ("flows", flows.clone())];
            async move { self.write(&scripts::ADOPT_FLOW, &keys, &[("flow", name)]).await }
        });
        try_join_all(adopted).await.map(drop)
    }

    /// Asks a gate in the partition of the recipient. What passes there begins to leave at that moment, although it is
    /// stored a moment later: a STOP in between finds it on its way.
    async fn pass_elsewhere(&self, organization: &Organization, gate: &Gate) -> Result<Passed, Error> {
        let person = gate.consent.person();
        let keys = [
            ("consent", self.keys.of_person(organization, "consent", person)),
            ("erased", self.erased_key(organization, person.as_str()).await?),
            ("last", self.keys.of_person(organization, "last", person)),
            ("call", self.keys.call(organization, self.keys.partition(person.as_str()))),
        ];
        let [decided_on, now, cooldown] = gate_arguments(gate);
        let kept = CALL_KNOWN.as_millis().to_string();
        let arguments =
            [("decided_on", decided_on), ("now", now), ("cooldown", cooldown), ("call_kept", kept)];
        let partition = self.keys.partition(person.as_str());
        let passed = self.write_in(organization, partition, &scripts::PASS_GATE, &keys, &arguments).await?;
        let words: Vec<String> = read(passed)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["passed"] => Ok(Passed::Yes),
            ["consent_changed"] => Ok(Passed::ConsentChanged),
            ["cooling_down", until] => cooling_down(until),
            _ => Err(unlisted(&words)),
        }
    }
}

/// The arguments `decided_on`, `now` and `cooldown` of both scripts that ask a gate.
fn gate_arguments(gate: &Gate) -> [String; 3] {
    let decided_on = gate.consent.stored.clone().unwrap_or_default();
    [decided_on, gate.now.to_string(), gate.cooldown.as_millis().to_string()]
}

fn cooling_down(until: &str) -> Result<Passed, Error> {
    let until = until.parse().map_err(|_| unlisted(&["cooling_down", until]))?;
    Ok(Passed::CoolingDown { until })
}

/// Reads what is stored of a message. One without its state, or without what was asked for, is damaged and not absent: absent
/// ones are taken out of the queue.
fn read_outbound(
    (outbound, state, content): (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>),
) -> Result<Option<StoredOutbound>, Error> {
    match (outbound, state) {
        (None, None) => Ok(None),
        (Some(outbound), Some(state)) => Ok(Some(StoredOutbound {
            outbound: decode("an outbound message", outbound)?,
            state: decode("an outbound message's state", state)?,
            content,
        })),
        (Some(_), None) => Err(Error::Unreadable("an outbound message without a state".to_owned())),
        (None, Some(_)) => Err(Error::Unreadable("the state of no outbound message".to_owned())),
    }
}

/// A recipient in the history of recipients, where each byte is there once for every message.
pub(super) fn history_name(person: &str) -> &str {
    person.strip_prefix('+').unwrap_or(person)
}

/// A place among a recipient's messages: texts are ordered as the places are.
pub(super) fn place_text(place: HistoryId) -> String {
    format!("{:011x}{:05x}:", place.ms.get(), place.seq)
}

/// Reads what stands in a recipient's history.
fn entry_of_person(member: &str, person: &str, partition: u16) -> Option<(HistoryId, MessageRef)> {
    let (place, message) = member.strip_prefix(person)?.strip_prefix(':')?.split_once(':')?;
    let (ms, seq) = place.split_at_checked(11)?;
    let ms = UnixMs::new(u64::from_str_radix(ms, 16).ok()?);
    let seq = u64::from_str_radix(seq, 16).ok()?;
    Some((HistoryId { ms, seq, partition }, message.parse().ok()?))
}

/// Reads an entry of the whole history.
pub(super) fn entry_of_all(
    (id, fields): &stream::Entry,
    partition: u16,
) -> Result<(HistoryId, Row<MessageRef>), Error> {
    let (ms, seq) = stream::entry_id(id)?;
    let message = fields.first().and_then(|(_, message)| str::from_utf8(message).ok()?.parse().ok());
    let unreadable =
        || Unreadable { record: format!("entry {id} of a history"), error: "it names no message".to_owned() };
    Ok((HistoryId { ms, seq, partition }, message.ok_or_else(unreadable)))
}

#[async_trait]
impl Outbox for RedisStore {
    async fn create_outbound(
        &self,
        organization: &Organization,
        new: &NewOutbound,
        gate: Option<&Gate>,
    ) -> Result<Passed, Error> {
        let stored = New {
            outbound: encode(&new.outbound),
            content: new.content.clone().unwrap_or_default(),
            bytes: new.bytes,
            entry: new.entry.as_ref().map(encode).unwrap_or_default(),
        };
        self.step(organization, &new.outbound, None, &new.state, Some(new.due), gate, stored).await
    }

    async fn enqueue(&self, organization: &Organization, new: &[NewOutbound]) -> Result<(), Error> {
        let created = new.iter().map(|new| self.create_outbound(organization, new, None));
        try_join_all(created).await.map(drop)
    }

    async fn step_outbound(
        &self,
        organization: &Organization,
        outbound: &Outbound,
        step: &Step,
    ) -> Result<Passed, Error> {
        let Step { from, to, due, gate, entry } = step;
        let stored = New { entry: entry.as_ref().map(encode).unwrap_or_default(), ..New::default() };
        self.step(organization, outbound, Some(from), to, *due, gate.as_ref(), stored).await
    }

    async fn resolve_outbound(
        &self,
        organization: &Organization,
        id: &MessageId,
        state: &OutboundState,
    ) -> Result<(), Error> {
        let Some(key) = self.keys.outbound(organization, id) else { return Ok(()) };
        let arguments = [
            ("state", encode(state)),
            ("rank", state.rank().to_string()),
            ("is_resolved", u8::from(state.is_resolved()).to_string()),
        ];
        self.write(&scripts::RESOLVE_OUTBOUND, &[("message", key)], &arguments).await.map(drop)
    }

    async fn outbound_rows(
        &self,
        organization: &Organization,
        ids: &[MessageId],
    ) -> Result<Vec<Row<Option<StoredOutbound>>>, Error> {
        let stored = ids.iter().take(OUTBOUNDS_MAX).map(|id| async move {
            let Some(key) = self.keys.outbound(organization, id) else { return Ok(Ok(None)) };
            let mut command = redis::cmd("HMGET");
            command.arg(key).arg("outbound").arg("state").arg("content");
            let read = self.get(&command).await.and_then(read_outbound);
            Unreadable::part(|| format!("message {id}"), read)
        });
        try_join_all(stored).await
    }

    async fn due_flows(
        &self,
        organization: &Organization,
        now: UnixMs,
        urgent: bool,
        skip: usize,
    ) -> Result<DueFlows, Error> {
        let partitions = self.keys.partition_numbers().map(|partition| async move {
            self.adopt_flows(organization, partition).await?;
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(self.keys.due(organization, partition, urgent)).arg("-inf").arg(now.get());
            command.arg("LIMIT").arg(skip).arg(DUE_FLOWS_MAX);
            self.get::<Vec<Vec<u8>>>(&command).await
        });
        Ok(DueFlows::of(try_join_all(partitions).await?, skip))
    }

    async fn claim_outbounds(
        &self,
        organization: &Organization,
        flow: &Flow,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Row<MessageId>>, Error> {
        let limit = limit.min(OUTBOUNDS_MAX);
        let partitions = self.keys.partition_numbers().end;
        // Each partition has its turn to be the first.
        let first: u16 = rand::rng().random_range(0..partitions);
        let share = (2 * limit).div_ceil(usize::from(partitions));
        let mut claimed = Vec::new();
        for partition in (first..partitions).chain(0..first) {
            let wanted = share.min(limit - claimed.len());
            if wanted == 0 {
                break;
            }
            let [due, urgent] = self.due_keys(organization, partition);
            let queue = ("queue", self.keys.queue(organization, partition, flow));
            let keys = [queue, due, urgent, ("queued", self.keys.queued(organization, partition))];
            let arguments = [
                ("now", now.to_string()),
                ("taken_until", until.to_string()),
                ("limit", wanted.to_string()),
                ("flow", flow.to_string()),
            ];
            let ids: Vec<Vec<u8>> = read(self.write(&scripts::CLAIM_OUTBOUNDS, &keys, &arguments).await?)?;
            claimed.extend(ids.iter().map(|id| read_id(id, flow)));
        }
        Ok(claimed)
    }

    async fn put_off(
        &self,
        organization: &Organization,
        flow: &Flow,
        id: &MessageId,
        until: UnixMs,
    ) -> Result<(), Error> {
        // What is noted of the flow stays too early, until somebody looks at the flow: a claim notes it anew.
        let key = self.keys.queue(organization, id.partition(), flow);
        let mut command = redis::cmd("ZADD");
        command.arg(&key).arg("XX").arg(until.get()).arg(id.as_str());
        self.put(&key, &command).await
    }

    async fn queued(&self, organization: &Organization) -> Result<Queued, Error> {
        let partitions = self.keys.partition_numbers().map(|partition| async move {
            let mut command = redis::cmd("HMGET");
            command.arg(self.keys.queued(organization, partition)).arg("messages").arg("bytes");
            let (messages, bytes): (Option<u64>, Option<u64>) = self.get(&command).await?;
            let (messages, bytes) = (messages.unwrap_or_default(), bytes.unwrap_or_default());
            Ok::<_, Error>(Queued { messages, bytes })
        });
        let partitions = try_join_all(partitions).await?;
        let sum = |sum: Queued, part: Queued| Queued {
            messages: sum.messages + part.messages,
            bytes: sum.bytes + part.bytes,
        };
        Ok(partitions.into_iter().fold(Queued::default(), sum))
    }

    async fn dequeue(&self, organization: &Organization, flow: &Flow, id: &MessageId) -> Result<(), Error> {
        let Some(key) = self.keys.outbound(organization, id) else { return Ok(()) };
        let partition = id.partition();
        let [due, urgent] = self.due_keys(organization, partition);
        let keys = [
            ("message", key),
            ("queue", self.keys.queue(organization, partition, flow)),
            due,
            urgent,
            ("queued", self.keys.queued(organization, partition)),
        ];
        let arguments = [
            ("id", id.to_string()),
            ("resolved_rank", RESOLVED_RANK.to_string()),
            ("flow", flow.to_string()),
        ];
        self.write(&scripts::DEQUEUE, &keys, &arguments).await.map(drop)
    }

    async fn history(
        &self,
        organization: &Organization,
        person: Option<&Person>,
        before: HistoryId,
        limit: usize,
    ) -> Result<Vec<(HistoryId, MessageRef)>, Error> {
        let limit = limit.min(OUTBOUNDS_MAX);
        if before == HistoryId::at(UnixMs::EPOCH) {
            return Ok(Vec::new());
        }
        if let Some(person) = person {
            let person = self.resolve(organization, person).await?;
            let name = history_name(person.as_str());
            let end = match before {
                // What comes behind a colon.
                HistoryId::END => format!("({name};"),
                before => format!("({name}:{}", place_text(before)),
            };
            let mut command = redis::cmd("ZREVRANGEBYLEX");
            command.arg(self.keys.history_of(organization, &person));
            command.arg(end).arg(format!("[{name}:")).arg("LIMIT").arg(0).arg(limit);
            let members: Vec<String> = self.get(&command).await?;
            let partition = self.keys.partition(person.as_str());
            let entries = members.iter().map(|member| {
                entry_of_person(member, name, partition)
                    .ok_or_else(|| Error::Unreadable("a place in a history of a recipient".to_owned()))
            });
            return entries.collect();
        }
        let partitions = self.keys.partition_numbers().map(|partition| async move {
            let exclusive = if before.partition > partition { "" } else { "(" };
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.history(organization, partition));
            command.arg(format!("{exclusive}{}-{}", before.ms, before.seq)).arg("-");
            command.arg("COUNT").arg(limit);
            let answer = self.get::<Value>(&command).await?;
            let entries = stream::entries(answer)?.into_iter().map(|entry| {
                let (place, message) = entry_of_all(&entry, partition)?;
                Ok::<_, Error>((place, message?))
            });
            entries.collect::<Result<Vec<_>, _>>()
        });
        let mut entries = try_join_all(partitions).await?.concat();
        entries.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        entries.truncate(limit);
        Ok(entries)
    }
}
