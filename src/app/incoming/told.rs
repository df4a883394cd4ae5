//! What Twilio told, as it is spooled: sealed, since it tells who wrote to whom, and may hold what Twilio said in words.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{Incoming, reply::Receipt};
use crate::{
    app::consents::reassigned::Reassignment,
    domain::{Organization, Person, StatusChange},
    sealing, store,
    twilio::address::mask,
};

/// What records of the spool are sealed for.
const SPOOL_CONTEXT: &str = "spool";

/// Something that Twilio told, as it is spooled.
#[derive(Serialize, Deserialize)]
pub(super) struct SpoolRecord {
    pub(super) organization: Organization,
    pub(super) told: SpooledItem,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpooledItem {
    Status(StatusChange),
    Reply(Receipt),
    Reassigned(Reassignment),
}

impl SpoolRecord {
    /// What it is known by: the SID of a message, or the id of an event if it has one.
    pub(super) fn name(&self) -> &str {
        match &self.told {
            SpooledItem::Status(change) => change.sid.as_str(),
            SpooledItem::Reply(receipt) => receipt.entry.sid.as_str(),
            SpooledItem::Reassigned(told) => told.event_id.as_deref().unwrap_or("reassigned"),
        }
    }

    /// Whose consent it may change, if it is a person's own word or the news that a number has another owner.
    pub(super) fn person(&self) -> Option<Person> {
        match &self.told {
            SpooledItem::Status(_) => None,
            SpooledItem::Reply(receipt) => Some(Person::of(&receipt.entry.from)),
            SpooledItem::Reassigned(told) => Some(Person::of(&told.phone)),
        }
    }

    /// Whether it says that two names are one person's, so that what is told under either has one order.
    pub(super) fn joins_names(&self) -> bool {
        matches!(&self.told, SpooledItem::Reply(receipt) if receipt.names.is_some())
    }

    /// The person, masked, for the log.
    pub(super) fn masked_person(&self) -> Option<String> {
        self.person().map(|person| mask(person.address()))
    }
}

impl Incoming {
    /// A record as it is spooled.
    pub(super) fn seal_record(&self, record: &SpoolRecord) -> String {
        let text = serde_json::to_vec(record).expect("what is told has string keys");
        self.core.keys.seal(SPOOL_CONTEXT, &text)
    }

    /// Reads a record of the spool; version 0.1.0 left them in clear.
    pub(super) fn open_record(&self, record: &str) -> anyhow::Result<SpoolRecord> {
        let unreadable = |error: serde_json::Error| anyhow::anyhow!(store::fault(&error));
        if !sealing::has_form(record) {
            return serde_json::from_str(record).map_err(unreadable);
        }
        let text = self.core.keys.open(SPOOL_CONTEXT, record)?;
        serde_json::from_slice(text.expose_secret()).map_err(unreadable)
    }

    /// Stores what a record of the spool tells.
    pub(super) async fn apply(&self, record: &SpoolRecord) -> Result<(), store::Error> {
        let organization = &record.organization;
        match &record.told {
            SpooledItem::Status(change) => {
                self.statuses.of(organization).record_status(change.clone()).await.map(drop)
            }
            SpooledItem::Reply(receipt) => {
                self.of(organization).record_inbound(&receipt.clone().heard_late()).await.map(drop)
            }
            SpooledItem::Reassigned(told) => {
                self.consents.of(organization).opt_out_reassigned(told).await.map(drop)
            }
        }
    }
}
