//! Every key in Redis, spelled once.
//!
//! With prefix `tl`, organization `default`, partition `0`:
//!
//! | key | type | what | written by | read by |
//! | --- | --- | --- | --- | --- |
//! | `tl:{default:0}:deliveries` | stream | an entry per accepted status change | `record_status`; `forget_deliveries`, `trim` | dashboards, `events` |
//! | `tl:{default:0}:inbound` | stream | an entry per message received | `record_inbound`; `trim` | dashboards, `events` |
//! | `tl:{default:0}:consents` | stream | an entry per opt-out or opt-in | `record_inbound`, `change_consent`; `trim` | dashboards, `events` |
//! | `tl:{default:0}:raw` | hash | deliveries entry -> its unknown parameters, form-encoded | `record_status`; `forget_deliveries`, `trim` | `events`, `message` |
//! | `tl:{default:0}:trimmed` | hash | of each stream how many entries were taken away by us (`own`) and by `others`, and `up_to` which id others did | `forget_deliveries`, `trim`, `lost` | `lost` |
//! | `tl:{default:0}:msg:<xyz>` | hash | message SID -> where it stands ([`super::record`]) | `record_status`; `forget_deliveries` | the same, `message` |
//! | `tl:{default:0}:known` | hash | the identity of the `store` that the partition is of, and how many `changes` of consent there have been in it | `change_consent`, `record_inbound`, `replace_person`, `change_mark` | the same, and whatever lets a message leave or records what Twilio told (`known.lua`) |
//! | `tl:{default:0}:consent:<person>` | string | consent, or of which person it is another name; JSON | `record_inbound`, `change_consent`, `replace_consent`, `replace_person`, `erase_consent` | the same, `read_consent`, `step_outbound`, `pass_gate` |
//! | `tl:{default:0}:erased:<pseudonym>` | string | consent that is still to be obeyed of an erased person, JSON | `erase_consent` | those of `consent`, which take it away with the next one |
//! | `tl:{default:0}:names:<person>` | set | the other names that lead to a person | `link`, `erase_name` | `other_names` |
//! | `tl:{default:0}:changes:<person>` | list | every change of consent, JSON | `record_inbound`, `change_consent`, `replace_person` | `consent_changes` |
//! | `tl:{default:0}:persons` | sorted set | everybody whose consent ever changed | `record_inbound`, `change_consent`, `replace_person` | `persons` |
//! | `tl:{default:0}:received:<sid>` | string | an inbound message's answer, JSON | `record_inbound`; `trim` | the same |
//! | `tl:{default:0}:out:<id>` | hash | `outbound`, `state` (JSON), `rank`, the last `call` that changed them, until it is resolved `content` (sealed), and the `bytes` that it takes while it is queued | `step_outbound`, `resolve_outbound`; `forget_message` | the same, `outbounds` |
//! | `tl:{default:0}:queue:<flow>` | sorted set | message id -> when to look at it | `step_outbound`, `claim_outbounds`, `dequeue` | the same, `adopt_flow` |
//! | `tl:{default:0}:due` | sorted set | flow -> when to look at its first message | `step_outbound`, `claim_outbounds`, `dequeue`, `adopt_flow` | `due_flows` |
//! | `tl:{default:0}:due:urgent` | sorted set | the same of urgent flows | the same | the same |
//! | `tl:{default:0}:flows` | set | flows in which version 0.1.0 queued messages | 0.1.0 | `adopt_flow` |
//! | `tl:{default:0}:queued` | hash | how many `messages` are queued in all flows, and the sum of their `bytes` | `step_outbound`, `dequeue`; `claim_outbounds`, `adopt_flow` forget it | `queued` |
//! | `tl:{default:0}:last:<person>` | string | when the person was last sent to, for as long as that matters | `step_outbound`, `pass_gate` | the same |
//! | `tl:{default:0}:pace:<sender>` | string | until when its time to send is given away | `reserve_pace` | the same |
//! | `tl:{default:0}:history` | stream | an entry per message, by id or SID; one of a message that was sent elsewhere names the recipient too | `step_outbound`, `record_status`; `forget_message` | `history`, `oldest_messages` |
//! | `tl:{default:0}:history:<xyz>` | sorted set | the same by recipient, in the order of the text | `step_outbound`, `record_status`; `forget_messages` | `history` |
//! | `tl:{default:0}:tasks` | sorted set | task -> when it is due | `record_status`, `schedule`, `claim` | `claim` |
//! | `tl:{default:0}:relays` | sorted set | statuses to be relayed -> when | `schedule`, `reschedule`, `claim` | `claim` |
//! | `tl:{default:0}:reviews` | sorted set | replies under review -> when they become opt-outs | `schedule`, `reschedule`, `claim` | `claim` |
//! | `tl:{default:0}:count:<time>` | hash | counter -> count in the minute `m…` or hour `h…`; ends by itself | `record_status`, `change_consent`, `record_inbound` | `counts` |
//! | `tl:{default:0}:doc:<kind>:<name>` | string | a document | `change_documents` | `document` |
//! | `tl:{default:0}:docs:<kind>` | sorted set | the names of a kind that is listed | `change_documents`, `forget_names` | `documents` |
//! | `tl:{default:0}:audit` | stream | who did what, JSON | `step_outbound`, `change_consent`, `change_documents`, `add_entry` | `entries` |
//! | `tl:{default:0}:counter:<name>` | string | a counter; ends by itself | `count` | the same |
//! | `tl:{default:0}:call:<random>` | string | that a call has done its work, in case it is repeated; ends by itself | `add_entry`, `count`, `pass_gate`, `reserve_pace` | the same |
//! | `tl:{*:0}:mark` | hash | `store`: what the store says of itself, JSON | `change_mark` | every look at the store |
//! | `tl:{default:0}:ping` | string | written behind a write that replicas must hold, in the same slot; ends by itself | every write with `TEXTLEDGER_REPLICAS_ACK` | nobody |
//! | `tl:ping` | string | written to see whether Redis takes writes; ends by itself | `ping` | nobody |
//! | `tl:partitions` | string | partitions per organization | the first start | every later one |
//!
//! What stands between braces is the hash tag: all keys that one script touches share a slot of a cluster. A message's
//! keys are in the partition of its SID, so is the task to ask for it; everything about a person, with the messages asked
//! for and their queue, in that of the person's address, which is one whatever spelling was used; documents and counters
//! in that of their name, but documents of which several are changed in one step in the first. What the audit says of a
//! message, a person or a document is in the partition of that, everything else that it says in the first. What belongs to the
//! installation is kept for an organization called `*`, which no other can be called.
//!
//! Messages share hashes: `<xyz>` is the last three digits of the SID. A message then costs a field of some 70 bytes
//! instead of a key of some 200, and Redis keeps hashes of up to 512 such fields as packed lists. Recipients share their
//! histories for the same reason, by a digest of the number.

use std::collections::BTreeSet;

use crate::{
    domain::{
        Flow, MessageId, Organization, Person, Pseudonym, Sender, Stream, Task, TaskLine, UnixMs, stats::Unit,
    },
    store::Kind,
    twilio::MessageSid,
};

/// The keys of one store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    partitions: u16,
}

/// Bits of a recipient's digest that are not used for its history's key: they choose the partition.
const HISTORY_BUCKET_SHIFT: u32 = 4;

/// Where documents are kept of which several are changed in one step.
const KEPT_TOGETHER: Partition = 0;

/// A partition's number, below the store's `partitions`.
pub(super) type Partition = u16;

impl Keys {
    pub(super) fn new(prefix: &str, partitions: u16) -> Self {
        Self { prefix: prefix.to_owned(), partitions }
    }

    pub(super) fn partition_numbers(&self) -> std::ops::Range<Partition> {
        0..self.partitions
    }

    /// The partition of a message or person: CRC16 as Redis Cluster computes it, modulo the number of partitions.
    pub(super) fn partition(&self, of: &str) -> Partition {
        crc16::State::<crc16::XMODEM>::calculate(of.as_bytes()) % self.partitions
    }

    pub(super) fn partitions(&self) -> String {
        format!("{}:partitions", self.prefix)
    }

    pub(super) fn ping(&self) -> String {
        format!("{}:ping", self.prefix)
    }

    /// What may be written behind a write at `key`, in the same slot, and changes nothing for anybody.
    pub(super) fn mark(&self, key: &str) -> String {
        let tag = key.find('{').zip(key.find('}')).and_then(|(first, last)| key.get(first..=last));
        tag.map_or_else(|| self.ping(), |tag| format!("{}:{tag}:ping", self.prefix))
    }

    pub(super) fn stream(&self, organization: &Organization, partition: Partition, stream: Stream) -> String {
        self.key(organization, partition, stream.as_str())
    }

    pub(super) fn raw(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "raw")
    }

    pub(super) fn trimmed(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "trimmed")
    }

    pub(super) fn tasks(&self, organization: &Organization, partition: Partition, line: TaskLine) -> String {
        self.key(organization, partition, line.as_str())
    }

    /// The partition that `task` is planned in: that of its message or document, or the first.
    pub(super) fn partition_of_task(&self, task: &Task) -> Partition {
        match task {
            Task::Ask { sid, .. } | Task::ExpireReview { sid } => self.partition(sid.as_str()),
            Task::List => 0,
            Task::Relay { name } => self.partition(name),
        }
    }

    pub(super) fn messages(
        &self,
        organization: &Organization,
        partition: Partition,
        sid: &MessageSid,
    ) -> String {
        let sid = sid.as_str();
        self.key(organization, partition, &format!("msg:{}", sid[sid.len() - 3..].to_ascii_lowercase()))
    }

    pub(super) fn received(&self, organization: &Organization, person: &Person, sid: &MessageSid) -> String {
        self.received_in(organization, self.partition(person.as_str()), sid.as_str())
    }

    /// The same where the partition is known and the person is not.
    pub(super) fn received_in(&self, organization: &Organization, partition: Partition, sid: &str) -> String {
        self.key(organization, partition, &format!("received:{sid}"))
    }

    /// `None` for an id that names a partition which this store does not have.
    pub(super) fn outbound(&self, organization: &Organization, id: &MessageId) -> Option<String> {
        let partition = id.partition();
        (partition < self.partitions).then(|| self.key(organization, partition, &format!("out:{id}")))
    }

    /// Which messages `person` was sent. Many recipients share a key: one for each would take more than what is in it.
    pub(super) fn history_of(&self, organization: &Organization, person: &Person) -> String {
        self.history_under(organization, person.as_str())
    }

    /// The same under a name that may be a former one.
    pub(super) fn history_under(&self, organization: &Organization, name: &str) -> String {
        let bucket = crc16::State::<crc16::XMODEM>::calculate(name.as_bytes()) >> HISTORY_BUCKET_SHIFT;
        self.history_bucket(organization, self.partition(name), bucket)
    }

    /// All the keys that recipients share in a partition.
    pub(super) fn histories(&self, organization: &Organization, partition: Partition) -> BTreeSet<String> {
        // A digest chooses both the partition and the key.
        let digests = (partition..=u16::MAX).step_by(usize::from(self.partitions));
        let buckets = digests.map(|digest| digest >> HISTORY_BUCKET_SHIFT);
        buckets.map(|bucket| self.history_bucket(organization, partition, bucket)).collect()
    }

    fn history_bucket(&self, organization: &Organization, partition: Partition, bucket: u16) -> String {
        self.key(organization, partition, &format!("history:{bucket:03x}"))
    }

    /// A key of `person`: `kind` is `consent`, `changes` or `last`.
    pub(super) fn of_person(&self, organization: &Organization, kind: &str, person: &Person) -> String {
        self.under(organization, kind, person.as_str())
    }

    /// The same under a name that may be a former one.
    pub(super) fn under(&self, organization: &Organization, kind: &str, name: &str) -> String {
        self.under_in(organization, self.partition(name), kind, name)
    }

    /// The same in another partition, where nothing is kept under it: for a script that names the key and does not use it.
    pub(super) fn under_in(
        &self,
        organization: &Organization,
        partition: Partition,
        kind: &str,
        name: &str,
    ) -> String {
        self.key(organization, partition, &format!("{kind}:{name}"))
    }

    /// Where what is still to be obeyed of the erased person of that pseudonym is kept: `partition` is that of their name.
    pub(super) fn erased(
        &self,
        organization: &Organization,
        partition: Partition,
        pseudonym: &Pseudonym,
    ) -> String {
        self.key(organization, partition, &format!("erased:{}", pseudonym.as_str()))
    }

    pub(super) fn persons(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "persons")
    }

    /// Of which store a partition is, and how often consent has changed in it.
    pub(super) fn known(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "known")
    }

    /// What the store says of itself: beside the documents of the installation, so that those are never of another store.
    pub(super) fn store_mark(&self) -> String {
        self.key(&Organization::installation(), KEPT_TOGETHER, "mark")
    }

    pub(super) fn history(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "history")
    }

    pub(super) fn audit(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "audit")
    }

    /// Where version 0.1.0 lists the flows in which messages are queued.
    pub(super) fn former_flows(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "flows")
    }

    /// When the first messages of flows are due.
    pub(super) fn due(&self, organization: &Organization, partition: Partition, urgent: bool) -> String {
        self.key(organization, partition, if urgent { "due:urgent" } else { "due" })
    }

    pub(super) fn queue(&self, organization: &Organization, partition: Partition, flow: &Flow) -> String {
        self.queue_of(organization, partition, &flow.to_string())
    }

    /// The queue of the flow that is called `name`.
    pub(super) fn queue_of(&self, organization: &Organization, partition: Partition, name: &str) -> String {
        self.key(organization, partition, &format!("queue:{name}"))
    }

    pub(super) fn queued(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "queued")
    }

    pub(super) fn pace(&self, organization: &Organization, sender: &Sender) -> String {
        let sender = sender.to_twilio();
        self.key(organization, self.partition(&sender), &format!("pace:{sender}"))
    }

    /// The counts of the time that begins at `start`.
    pub(super) fn counts(
        &self,
        organization: &Organization,
        partition: Partition,
        unit: Unit,
        start: UnixMs,
    ) -> String {
        let letter = match unit {
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        self.key(
            organization,
            partition,
            &format!("count:{letter}{}", start.as_secs() / unit.length().as_secs()),
        )
    }

    pub(super) fn document(&self, organization: &Organization, kind: Kind, name: &str) -> String {
        let partition = self.partition_of_document(kind, name);
        self.key(organization, partition, &format!("doc:{}:{name}", kind.as_str()))
    }

    /// The partition of a document: that of its name, but the first for kinds of which several are changed in one step.
    pub(super) fn partition_of_document(&self, kind: Kind, name: &str) -> Partition {
        if kind.is_kept_together() { KEPT_TOGETHER } else { self.partition(name) }
    }

    /// Where version 0.1.0 kept a document, if that is another place than today's.
    pub(super) fn former_document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
    ) -> Option<String> {
        let former = self.partition(name);
        let is_elsewhere = former != self.partition_of_document(kind, name);
        is_elsewhere.then(|| self.key(organization, former, &format!("doc:{}:{name}", kind.as_str())))
    }

    pub(super) fn documents(&self, organization: &Organization, partition: Partition, kind: Kind) -> String {
        self.key(organization, partition, &format!("docs:{}", kind.as_str()))
    }

    pub(super) fn counter(&self, organization: &Organization, name: &str) -> String {
        self.key(organization, self.partition(name), &format!("counter:{name}"))
    }

    /// A key for one call of a script that must not do its work twice.
    pub(super) fn call(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, &format!("call:{}", Self::random()))
    }

    /// A name for one call that must not do its work twice.
    pub(super) fn random() -> String {
        format!("{:032x}", rand::random::<u128>())
    }

    fn key(&self, organization: &Organization, partition: Partition, rest: &str) -> String {
        format!("{}:{{{organization}:{partition}}}:{rest}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_have_the_keys_of_the_contract() {
        let keys = Keys::new("tl", 1);
        let organization = Organization::default();
        for (stream, key) in [
            (Stream::Deliveries, "tl:{default:0}:deliveries"),
            (Stream::Inbound, "tl:{default:0}:inbound"),
            (Stream::Consents, "tl:{default:0}:consents"),
        ] {
            assert_eq!(keys.stream(&organization, 0, stream), key);
        }
    }

    #[test]
    fn a_partition_is_the_crc16_of_the_sid() {
        // The check value of CRC-16/XMODEM, which Redis Cluster's key slots use.
        assert_eq!(Keys::new("tl", PARTITIONS).partition("123456789"), 0x31c3 % PARTITIONS);
        const PARTITIONS: u16 = 16;
    }
}
