//! The tables, and the same tables as one write transaction sees them.

use std::{fs, path::Path};

use redb::{
    AccessGuard, Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use super::damage::unless_damaged;
use crate::domain::{Flow, UnixMs};

/// Names an organization's row.
type Key = (&'static str, &'static str);

/// What is done with every table alike, whatever is in it.
pub(super) trait Visitor {
    /// What makes it end early.
    type Error;

    /// Does it with `table`.
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), Self::Error>;
}

/// Declares the tables: their names, the same tables as one write transaction sees them, and a visit to all of them.
macro_rules! tables {
    ($($(#[$doc:meta])* $constant:ident, $field:ident: $key:ty => $value:ty;)+) => {
        $($(#[$doc])* pub(super) const $constant: TableDefinition<$key, $value> = TableDefinition::new(stringify!($field));)+

        /// The tables as one write transaction sees them.
        pub(super) struct Tables<'txn> {
            $(pub(super) $field: Table<'txn, $key, $value>,)+
            /// The newest entry, committed or not.
            pub(super) last_event: (UnixMs, u64),
            /// When the transaction began.
            pub(super) now: UnixMs,
        }

        impl<'txn> Tables<'txn> {
            /// Opens the tables, and makes those that are not there yet.
            pub(super) fn open(
                transaction: &'txn WriteTransaction,
                last_event: (UnixMs, u64),
                now: UnixMs,
            ) -> Result<Self, redb::TableError> {
                Ok(Self { $($field: transaction.open_table($constant)?,)+ last_event, now })
            }
        }

        /// Shows every table to `visitor`.
        pub(super) fn visit_all<V: Visitor>(visitor: &mut V) -> Result<(), V::Error> {
            $(visitor.visit($constant)?;)+
            Ok(())
        }
    };
}

tables! {
    /// (organization, message SID) -> [`super::deliveries::MessageRow`].
    MESSAGES, messages: Key => &'static [u8];
    /// (organization, milliseconds, sequence) -> [`crate::domain::Event`]: the three streams, merged.
    EVENTS, events: (&'static str, u64, u64) => &'static [u8];
    /// (organization, name) -> the [`crate::domain::Consent`] of that person, or of which person it is another name.
    CONSENTS, consents: Key => &'static str;
    /// (organization, pseudonym) -> the [`crate::domain::Consent`] that is still to be obeyed of an erased person.
    ERASED, erased: Key => &'static str;
    /// (organization, person, name): the other names that lead to a person.
    NAMES, names: (&'static str, &'static str, &'static str) => ();
    /// (organization, person, number) -> [`crate::domain::consent::ConsentChange`].
    CHANGES, changes: (&'static str, &'static str, u64) => &'static [u8];
    /// (organization, message id) -> the message asked for, and what became of it.
    OUTBOUND, outbound: Key => &'static [u8];
    /// (organization, flow, milliseconds, message id): who has to be looked at when.
    QUEUE, queue: (&'static str, &'static str, u64, &'static str) => ();
    /// (organization, message id) -> milliseconds: the same, the other way round.
    QUEUED, queued: Key => u64;
    /// (organization, urgent, milliseconds, flow): when the first message of each flow has to be looked at.
    DUE_FLOWS, due_flows: (&'static str, bool, u64, &'static str) => ();
    /// organization -> how many messages are queued, and their bytes.
    QUEUE_SIZES, queue_sizes: &'static str => (u64, u64);
    /// (organization, sender) -> microseconds since 1970: until when its time to send has been given away.
    PACE, pace: Key => u64;
    /// (organization, milliseconds, sequence) -> message, and the person to whom it was if it was sent elsewhere: all, in the order in
    /// which they were entered.
    HISTORY, history: (&'static str, u64, u64) => &'static str;
    /// (organization, person, milliseconds, sequence) -> message: the same, per recipient.
    HISTORY_OF, history_of: (&'static str, &'static str, u64, u64) => &'static str;
    /// (organization, inbound message SID) -> [`crate::domain::consent::Answer`].
    RECEIVED, received: Key => &'static [u8];
    /// (organization, line, milliseconds, task): what is due when.
    DUE, due: (&'static str, &'static str, u64, &'static str) => ();
    /// (organization, task) -> milliseconds: the same, the other way round, but for asking for a message, which its row has.
    PLANNED, planned: Key => u64;
    /// (organization, kind, name) -> (milliseconds at which it ends or [`super::documents::FOR_EVER`], text).
    DOCUMENTS, documents: (&'static str, &'static str, &'static str) => (u64, &'static str);
    /// (milliseconds, organization, kind, name): which documents end when.
    ENDING, ending: (u64, &'static str, &'static str, &'static str) => ();
    /// (organization, length of the time in milliseconds, when it began, counter) -> count.
    COUNTS, counts: (&'static str, u64, u64, &'static str) => u64;
    /// [`super::recognition::STORE`] -> [`crate::store::Mark`]: what the store says of itself.
    MARKS, marks: &'static str => &'static str;
    /// organization -> how often consent has changed.
    CONSENT_COUNTS, consent_counts: &'static str => u64;
    /// (organization, milliseconds, sequence) -> [`crate::domain::audit::Entry`]: who did what.
    AUDIT, audit: (&'static str, u64, u64) => &'static [u8];
    /// (organization, SID of a message that was sent elsewhere) -> the person in whose history it is: of messages that were entered
    /// before `history` told it.
    RECIPIENTS, recipients: Key => &'static str;
    /// organization -> up to which (milliseconds, sequence) entries of the streams have been taken away.
    TRIMMED, trimmed: &'static str => (u64, u64);
}

/// The length of a file, in bytes, up to which each commit keeps which pages are free. That is 1/16,384 of the file, written whole
/// by each: 256 KiB here, which a lone callback pays alone.
const QUICK_REPAIR_MAX: u64 = 4 << 30;

/// Begins to write into `database`, the file at `path`. Unless that is very large, the commit also keeps which pages are free: after a
/// kill the file is open at once, and else redb would go through all of it.
pub(super) fn begin_write(
    database: &Database,
    path: &Path,
) -> Result<WriteTransaction, redb::TransactionError> {
    let mut transaction = database.begin_write()?;
    let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= QUICK_REPAIR_MAX);
    transaction.set_quick_repair(is_small);
    Ok(transaction)
}

/// Makes sure that the tables exist and agree with each other, and returns the newest entry.
pub(super) fn prepare(database: &Database, path: &Path) -> Result<(UnixMs, u64), redb::Error> {
    let transaction = begin_write(database, path)?;
    note_due_flows(&mut Tables::open(&transaction, (UnixMs::EPOCH, 0), UnixMs::EPOCH)?)?;
    transaction.commit()?;
    committed_event(database)
}

/// Notes when flows are due, as the queues say: version 0.1.0 fills these and does not note it.
fn note_due_flows(tables: &mut Tables<'_>) -> Result<(), redb::Error> {
    tables.due_flows.retain(|_, ()| false)?;
    let mut end = (String::new(), String::new());
    // The first of each flow tells; then the next flow is sought.
    while let Some(row) = tables.queue.range((end.0.as_str(), end.1.as_str(), 0, "")..)?.next() {
        let (key, _) = row?;
        let (organization, flow, due, _) = key.value();
        let urgent = flow.parse::<Flow>().is_ok_and(|flow| flow.urgent);
        tables.due_flows.insert((organization, urgent, due, flow), ())?;
        end = (organization.to_owned(), format!("{flow}\0"));
    }
    Ok(())
}

/// The newest entry that is committed. Behind a damaged page none is sought: what comes next is told apart from it by the time.
pub(super) fn committed_event(database: &Database) -> Result<(UnixMs, u64), redb::Error> {
    let transaction = database.begin_read()?;
    let events = transaction.open_table(EVENTS)?;
    let mut newest = (UnixMs::EPOCH, 0);
    // Of those that have been taken away too, so that none comes in the place of another.
    for row in transaction.open_table(TRIMMED)?.iter()? {
        let (ms, seq) = row?.1.value();
        newest = newest.max((UnixMs::new(ms), seq));
    }
    // Entries are ordered by organization first, so the newest of each is looked at.
    let mut before = events.last()?.map(|(key, _)| read_key(&key));
    while let Some((organization, ms, seq)) = before {
        newest = newest.max((UnixMs::new(ms), seq));
        let next = || {
            let row = events.range(..(organization.as_str(), 0, 0))?.next_back().transpose()?;
            Ok(row.map(|(key, _)| read_key(&key)))
        };
        before = match unless_damaged(next, std::convert::identity) {
            Err(error @ redb::Error::Corrupted(_)) => {
                tracing::error!(
                    %error,
                    mend = "run textledger check --deep while no service runs, or restore a backup of the file",
                    "the embedded store's file is damaged"
                );
                None
            }
            next => next?,
        };
    }
    Ok(newest)
}

fn read_key(key: &AccessGuard<'_, (&'static str, u64, u64)>) -> (String, u64, u64) {
    let (organization, ms, seq) = key.value();
    (organization.to_owned(), ms, seq)
}
