//! Records that no version can read, in the place of what a service has stored.

use std::{fs, path::Path};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use redis::{ConnectionLike, cmd};
use textledger::store::embedded::FILE_NAME;

use super::{
    eventually,
    former::connection,
    redis_server::RedisServer,
    service::{On, TestService},
};

/// What stands there then, where texts are kept.
const NO_RECORD: &str = "no record";

/// The same where bytes are kept: no text either.
const NO_TEXT: &[u8] = b"no record\xff";

/// The size of a page of an embedded store's file, in bytes.
const PAGE: usize = 4096;

/// The first byte of a page that holds rows.
const LEAF: u8 = 1;

/// Flips bits in each page of the embedded store in `folder`, which nobody has open, that holds rows with all of `texts`: in the
/// number of its rows, so that redb looks for them behind its end.
pub fn flip_bits(folder: &Path, texts: &[&str]) {
    let file = folder.join(FILE_NAME);
    let mut bytes = fs::read(&file).unwrap();
    let holds = |page: &[u8], text: &str| page.windows(text.len()).any(|part| part == text.as_bytes());
    let mut flipped = 0;
    for page in bytes.chunks_exact_mut(PAGE) {
        if page[0] == LEAF && texts.iter().all(|text| holds(used(page), text)) {
            page[2..4].iter_mut().for_each(|byte| *byte ^= 0xff);
            flipped += 1;
        }
    }
    assert!(flipped > 0, "no page holds {texts:?}");
    fs::write(file, bytes).unwrap();
}

/// The part of a page of rows that is used, if keys and values are of any length: behind it is what the page held before. The number
/// of rows is followed by the ends of their keys, and those by the ends of their values.
fn used(page: &[u8]) -> &[u8] {
    let rows = usize::from(u16::from_le_bytes([page[2], page[3]]));
    let last_end = 4 + 8 * rows.max(1) - 4;
    let end =
        page.get(last_end..last_end + 4).map(|end| u32::from_le_bytes(end.try_into().unwrap()) as usize);
    end.and_then(|end| page.get(..end)).unwrap_or(page)
}

/// A record of the default organization.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// The message that was asked for under this id.
    Message(&'a str),
    /// The same as it was before.
    Healed(&'a str),
    /// What is known of this person's consent.
    Consent(&'a str),
    /// A change of it, by its number.
    Change(&'a str, u64),
    /// One more event, of a consent.
    Event,
    /// The review of the reply of this SID.
    Review(&'a str),
    /// The API key of this SID.
    ApiKey(&'a str),
    /// One more task, which is due, in the line of this name.
    Task(&'a str),
    /// The same, gone again.
    NoTask(&'a str),
}

/// Puts what cannot be read in the place of `records`. The service is stopped meanwhile.
pub async fn damage(service: &mut TestService, on: On, records: &[Record<'_>]) {
    service.stop().await;
    let prefix = service.setting("TEXTLEDGER_KEY_PREFIX");
    write(on, prefix, &service.folder().join("data"), records).await;
    service.start_again();
}

/// The same in a store that nobody has open: in Redis under `prefix`, or in the file of `folder`.
pub async fn write(on: On, prefix: &str, folder: &Path, records: &[Record<'_>]) {
    match on {
        On::Redis => {
            let mut connection = connection(&RedisServer::shared().url());
            records.iter().for_each(|record| in_redis(connection.as_mut(), prefix, *record));
        }
        On::Embedded => {
            let open = async || redb::Database::create(folder.join(FILE_NAME)).ok();
            let database = eventually("the store is free", open).await;
            let transaction = database.begin_write().unwrap();
            records.iter().for_each(|record| in_file(&transaction, *record));
            transaction.commit().unwrap();
        }
    }
}

fn in_redis(connection: &mut dyn ConnectionLike, prefix: &str, record: Record<'_>) {
    let of = |organization: &str, rest: String| format!("{prefix}:{{{organization}:0}}:{rest}");
    let set = |key: String| cmd("SET").arg(key).arg(NO_RECORD).to_owned();
    let command = match record {
        Record::Message(id) | Record::Healed(id) => {
            let key = of("default", format!("out:{id}"));
            let state: Vec<u8> = cmd("HGET").arg(&key).arg("state").query(connection).unwrap();
            let state = match record {
                Record::Healed(_) => state.strip_prefix(NO_TEXT).unwrap().to_vec(),
                _ => [NO_TEXT, &state].concat(),
            };
            cmd("HSET").arg(key).arg("state").arg(state).to_owned()
        }
        Record::Consent(person) => set(of("default", format!("consent:{person}"))),
        Record::Change(person, number) => {
            cmd("LSET").arg(of("default", format!("changes:{person}"))).arg(number).arg(NO_TEXT).to_owned()
        }
        Record::Event => cmd("XADD")
            .arg(of("default", "consents".to_owned()))
            .arg("*")
            .arg("phone")
            .arg(NO_TEXT)
            .to_owned(),
        Record::Review(sid) => set(of("default", format!("doc:review:{sid}"))),
        Record::ApiKey(sid) => set(of("*", format!("doc:api_key:default/{sid}"))),
        Record::Task(line) => {
            cmd("ZADD").arg(of("default", line.to_owned())).arg(0).arg(NO_RECORD).to_owned()
        }
        Record::NoTask(line) => cmd("ZREM").arg(of("default", line.to_owned())).arg(NO_RECORD).to_owned(),
    };
    command.query::<redis::Value>(connection).unwrap();
}

fn in_file(transaction: &WriteTransaction, record: Record<'_>) {
    const OUTBOUND: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("outbound");
    const CONSENTS: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("consents");
    const CHANGES: TableDefinition<'_, (&str, &str, u64), &[u8]> = TableDefinition::new("changes");
    const EVENTS: TableDefinition<'_, (&str, u64, u64), &[u8]> = TableDefinition::new("events");
    const PLANNED: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("planned");
    const DUE: TableDefinition<'_, (&str, &str, u64, &str), ()> = TableDefinition::new("due");
    match record {
        Record::Message(id) | Record::Healed(id) => {
            let mut outbound = transaction.open_table(OUTBOUND).unwrap();
            let row = outbound.get(("default", id)).unwrap().unwrap().value().to_vec();
            let row = match record {
                Record::Healed(_) => row.strip_prefix(NO_TEXT).unwrap().to_vec(),
                _ => [NO_TEXT, &row].concat(),
            };
            outbound.insert(("default", id), row.as_slice()).unwrap();
        }
        Record::Consent(person) => {
            transaction.open_table(CONSENTS).unwrap().insert(("default", person), NO_RECORD).unwrap();
        }
        Record::Change(person, number) => {
            transaction.open_table(CHANGES).unwrap().insert(("default", person, number), NO_TEXT).unwrap();
        }
        Record::Event => {
            let mut events = transaction.open_table(EVENTS).unwrap();
            let (ms, seq) = {
                let last = events.last().unwrap();
                last.map_or((0, 0), |(key, _)| (key.value().1, key.value().2))
            };
            events.insert(("default", ms, seq + 1), NO_TEXT).unwrap();
        }
        Record::Review(sid) => document(transaction, ("default", "review", sid)),
        Record::ApiKey(sid) => document(transaction, ("*", "api_key", &format!("default/{sid}"))),
        Record::Task(line) => {
            transaction.open_table(PLANNED).unwrap().insert(("default", NO_RECORD), 0).unwrap();
            transaction.open_table(DUE).unwrap().insert(("default", line, 0, NO_RECORD), ()).unwrap();
        }
        Record::NoTask(line) => {
            let mut planned = transaction.open_table(PLANNED).unwrap();
            let at = planned.remove(("default", NO_RECORD)).unwrap().unwrap().value();
            transaction.open_table(DUE).unwrap().remove(("default", line, at, NO_RECORD)).unwrap();
        }
    }
}

fn document(transaction: &WriteTransaction, key: (&str, &str, &str)) {
    const DOCUMENTS: TableDefinition<'_, (&str, &str, &str), (u64, &str)> = TableDefinition::new("documents");
    let mut documents = transaction.open_table(DOCUMENTS).unwrap();
    let until = documents.get(key).unwrap().unwrap().value().0;
    documents.insert(key, (until, NO_RECORD)).unwrap();
}
