//! Where state and streams are kept: the contract that every store keeps, in the domain's words.
//!
//! # Promises
//!
//! - **Durable.** When an operation returns `Ok`, what it wrote survives a crash of this process; on the embedded
//!   store also a crash of the machine, on Redis as far as the server's own persistence goes.
//! - **Atomic.** Each operation happens whole or not at all, and no other operation sees half of it.
//! - **Ordered.** Entries of one organization have growing [`EventId`]s. An entry that has been read by
//!   [`Events::events`] is never preceded by one that is added later.
//! - **Deduplicated.** A status of a message with the same error, and an inbound message of the same SID, is
//!   recorded once, for as long as the message is kept.
//! - **Once at a time.** A task, or a message that waits, that one caller has claimed is claimed by no other until the
//!   time that it named.
//! - **Compare and set.** What depends on consent names the version that it was decided on. If consent has changed
//!   since, nothing is written and the caller decides again. So do the steps of a message, and documents.
//! - **Apart.** Where several records are read in one call, each is a [`Row`]: one that cannot be read hides none beside it, and
//!   whoever asked is told of it. What a decision rests on is no such row: consent that cannot be read is an [`Error`], never
//!   taken for consent of which nothing is known.
//! - **Recognised.** Where a store is known ([`Recognition`]), no message leaves on another one, nor on one that has forgotten a
//!   change of consent which this process has seen, and nothing that Twilio told is recorded there: [`Error::NotKnown`].
//! - **Append-only.** What is in the audit stays there as it is: no operation changes an entry or takes one away.
//!
//! Each noun has a trait in a file of its name, with what it promises beside these; a store has files of the same names.
//!
//! The suite in `tests/it/conformance` holds every store to this list.

pub mod audit;
pub mod consents;
pub mod counts;
pub mod deliveries;
pub mod documents;
pub mod embedded;
pub mod erasure;
pub mod events;
mod known;
pub mod known_copy;
pub mod outbox;
pub mod persons;
mod pseudonyms;
pub mod recognition;
pub mod redis;
pub mod retention;
pub mod tasks;

use async_trait::async_trait;
use serde_json::error::Category;

pub use self::{
    audit::Audit,
    consents::{ConsentUpdate, ConsentVersion, Consents, InboundRecorded, KnownConsent},
    counts::{Counted, Counts},
    deliveries::{Deliveries, Message, StatusRecorded},
    documents::{DocumentChange, Documents, Kind},
    erasure::Erasure,
    events::{EVENTS_PAGE_MAX, Events},
    known::{Changes, Known, KnownStore, in_all},
    outbox::{Gate, NewOutbound, Outbox, Passed, Queued, Step, StoredOutbound},
    persons::Persons,
    recognition::{Former, Mark, Mismatch, Recognition, StoreId},
    retention::{Forget, Removed, Retention},
    tasks::Tasks,
};

use crate::domain::Person;

/// The most persons or changes that one call of [`Consents::persons`], [`Consents::consents`],
/// [`Consents::consent_changes`] or [`Deliveries::deliveries`] handles.
pub const PAGE_MAX: usize = 500;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, did not answer in time, or could not write. Whether the operation happened is not
    /// known; every operation may be repeated.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] anyhow::Error),
    /// It holds something that this version cannot read.
    #[error("the store holds what cannot be read: {0}")]
    Unreadable(String),
    /// It is not the one that this installation knew; nothing was written.
    #[error("the store is not the one that this installation knew: {0}")]
    NotKnown(Box<Mismatch>),
}

/// A record of several that cannot be read by this version: damaged, or written by a later one during an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{record}: {error}")]
pub struct Unreadable {
    /// Which one, in words and without anything personal.
    pub record: String,
    /// What is wrong with it.
    pub error: String,
}

/// One of several records: one that cannot be read takes none of those with it that are read beside it.
pub type Row<T> = Result<T, Unreadable>;

impl Unreadable {
    /// Parts a `record` that cannot be read from a store that failed.
    pub(crate) fn part<T>(record: impl FnOnce() -> String, read: Result<T, Error>) -> Result<Row<T>, Error> {
        match read {
            Err(Error::Unreadable(error)) => Ok(Err(Self { record: record(), error })),
            read => read.map(Ok),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        Error::Unreadable(unreadable.to_string())
    }
}

/// What is wrong with the file that a store is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// The last write failed, and none has succeeded since.
    Unwritable,
    /// A read came upon a part that is not as it was written, since this process has it.
    Damaged,
}

impl FileFault {
    /// The word in metrics, and of damage in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            FileFault::Unwritable => "unwritable",
            FileFault::Damaged => "damaged",
        }
    }
}

/// See the [module](self) for the promises.
#[async_trait]
pub trait Store:
    Deliveries
    + Consents
    + Persons
    + Events
    + Outbox
    + Tasks
    + Documents
    + Counts
    + Audit
    + Retention
    + Erasure
    + Recognition
    + Send
    + Sync
    + 'static
{
    /// The partition that `person`'s data is in: the first part of a new message's id.
    fn partition(&self, person: &Person) -> u16;

    /// Whether the store can be written to just now.
    async fn ping(&self) -> Result<(), Error>;

    /// The length of the file that the store is in on this machine, in bytes; `None` if it is elsewhere.
    fn file_bytes(&self) -> Option<u64> {
        None
    }

    /// What is wrong with that file, as far as it has been noticed.
    fn file_fault(&self) -> Option<FileFault> {
        None
    }

    /// How many reads came upon a damaged part of that file since this process has it.
    fn damaged_reads(&self) -> u64 {
        0
    }

    /// Ends what is kept open. Everything that is asked of the store afterwards fails.
    async fn close(&self) {}

    /// Returns when this process can use the store no more, with what to do about it. A store that comes back by itself never
    /// returns.
    async fn lost(&self) -> anyhow::Error {
        std::future::pending().await
    }
}

/// Writes a value down as the stores keep it: what they make themselves, and the documents that services keep in them.
pub fn encode<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is stored has string keys and no failing serializer")
}

/// Reads what [`encode`] wrote; `what` it is stands in the error.
pub fn decode<T: serde::de::DeserializeOwned>(what: &str, stored: impl AsRef<[u8]>) -> Result<T, Error> {
    serde_json::from_slice(stored.as_ref())
        .map_err(|error| Error::Unreadable(format!("{what}: {}", fault(&error))))
}

/// What is wrong with stored JSON, and where. The error's own text may quote what is stored, which belongs in no log.
pub(crate) fn fault(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Data => "it is of another form",
        Category::Eof => "it ends early",
        Category::Io | Category::Syntax => "it is no JSON",
    };
    format!("{kind} at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OutboundState, consent::ConsentChange};

    #[test]
    fn an_error_tells_where_stored_json_is_wrong_and_quotes_nothing_of_it() {
        let error = |stored: &str| decode::<ConsentChange>("a change", stored).unwrap_err().to_string();
        let secret = "my s3cret";
        for stored in [format!("\"{secret}\""), format!("{{\"at\": \"{secret}\"}}"), format!("{{\"{secret}")]
        {
            assert!(!error(&stored).contains("s3cret"), "{}", error(&stored));
        }
        let state =
            decode::<OutboundState>("a state", format!("{{\"{secret}\": 1}}")).unwrap_err().to_string();
        assert_eq!(
            state,
            "the store holds what cannot be read: a state: it is of another form at line 1, column 16"
        );
        assert!(error("no JSON").ends_with("a change: it is no JSON at line 1, column 2"));
        assert!(error("{").ends_with("a change: it ends early at line 1, column 1"));
    }
}
