//! Every key in Redis, spelled once.
//!
//! With prefix `tl`, organization `default`, partition `0`:
//!
//! | key | type | what | written by | read by |
//! | --- | --- | --- | --- | --- |
//! | `tl:{default:0}:deliveries` | stream | an entry per accepted status change | `record_status` | dashboards, `events` |
//! | `tl:{default:0}:inbound` | stream | an entry per message received | `record_inbound` | dashboards, `events` |
//! | `tl:{default:0}:consents` | stream | an entry per opt-out or opt-in | `record_inbound`, `change_consent` | dashboards, `events` |
//! | `tl:{default:0}:raw` | hash | deliveries entry -> its unknown parameters, form-encoded | `record_status` | `events`, `message` |
//! | `tl:{default:0}:msg:<xyz>` | hash | message SID -> where it stands ([`super::record`]) | `record_status` | the same, `message` |
//! | `tl:{default:0}:consent:<person>` | string | consent, JSON | `record_inbound`, `change_consent` | the same, `create_outbound` |
//! | `tl:{default:0}:received:<sid>` | string | an inbound message's answer, JSON | `record_inbound` | the same |
//! | `tl:{default:0}:out:<id>` | hash | `outbound`, `state` (JSON), `rank` | `create_outbound`, `resolve_outbound` | the same, `outbound` |
//! | `tl:{default:0}:tasks` | sorted set | task -> when it is due | `record_status`, `plan`, `claim_tasks` | `claim_tasks` |
//! | `tl:ping` | string | written to see whether Redis takes writes | `ping` | nobody |
//! | `tl:partitions` | string | partitions per organization | the first start | every later one |
//!
//! What stands between braces is the hash tag: all keys that one script touches share a slot of a cluster. A
//! message's keys are in the partition of its SID, so is the task to ask for it; inbound, consent and outbound in that of the person's number.
//!
//! Messages share hashes: `<xyz>` is the last three digits of the SID. A message then costs a field of some 70 bytes
//! instead of a key of some 200, and Redis keeps hashes of up to 512 such fields as packed lists.

use crate::{
    domain::{MessageId, Organization, Stream, Task},
    twilio::MessageSid,
};

/// The keys of one store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    partitions: u16,
}

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

    pub(super) fn stream(&self, organization: &Organization, partition: Partition, stream: Stream) -> String {
        self.key(organization, partition, stream.as_str())
    }

    pub(super) fn raw(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "raw")
    }

    pub(super) fn tasks(&self, organization: &Organization, partition: Partition) -> String {
        self.key(organization, partition, "tasks")
    }

    /// The partition that `task` is planned in: that of its message, or the first.
    pub(super) fn partition_of_task(&self, task: &Task) -> Partition {
        match task {
            Task::Ask { sid, .. } => self.partition(sid.as_str()),
            Task::List => 0,
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

    pub(super) fn consent(&self, organization: &Organization, person: &str) -> String {
        self.key(organization, self.partition(person), &format!("consent:{person}"))
    }

    pub(super) fn received(&self, organization: &Organization, person: &str, sid: &MessageSid) -> String {
        self.key(organization, self.partition(person), &format!("received:{sid}"))
    }

    /// `None` for an id that names a partition which this store does not have.
    pub(super) fn outbound(&self, organization: &Organization, id: &MessageId) -> Option<String> {
        let partition = id.partition();
        (partition < self.partitions).then(|| self.key(organization, partition, &format!("out:{id}")))
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
