//! What a later version has written beside this one: during an upgrade, instances of both run over one store.

use std::path::Path;

use redb::{ReadableTable, TableDefinition};
use serde_json::Value;
use textledger::{
    clock::{Clock, SystemClock},
    store::embedded::FILE_NAME,
};

use super::former::connection;

/// A reason to hold a message that this version does not know.
const LATER_REASON: &str = "eclipse";

/// Adds an entry to the default organization's audit in Redis, as it stands.
pub fn add_entry_to_redis(url: &str, prefix: &str, stored: &str) {
    let key = format!("{prefix}:{{default:0}}:audit");
    let mut add = redis::cmd("XADD");
    add.arg(key).arg("*").arg("entry").arg(stored);
    add.query::<redis::Value>(connection(url).as_mut()).unwrap();
}

/// The same in the file of an embedded store that nobody has open.
pub fn add_entry_to_file(folder: &Path, stored: &str) {
    const AUDIT: TableDefinition<'_, (&str, u64, u64), &[u8]> = TableDefinition::new("audit");
    let database = redb::Database::create(folder.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut audit = transaction.open_table(AUDIT).unwrap();
        let (last_ms, last_seq) = {
            let last = audit.last().unwrap();
            last.map_or((0, 0), |(key, _)| (key.value().1, key.value().2))
        };
        // Behind what is there, and not before what is done now.
        let ms = SystemClock.now_ms().get().max(last_ms);
        audit.insert(("default", ms, last_seq + 1), stored.as_bytes()).unwrap();
    }
    transaction.commit().unwrap();
}

/// Gives the message `id`, which waits, a reason to do so that this version does not know, in Redis.
pub fn hold_in_redis(url: &str, prefix: &str, id: &str) {
    let mut connection = connection(url);
    let key = format!("{prefix}:{{default:0}}:out:{id}");
    let state: String = redis::cmd("HGET").arg(&key).arg("state").query(connection.as_mut()).unwrap();
    let mut state: Value = serde_json::from_str(&state).unwrap();
    state["reason"] = LATER_REASON.into();
    let mut put = redis::cmd("HSET");
    put.arg(&key).arg("state").arg(state.to_string());
    put.query::<redis::Value>(connection.as_mut()).unwrap();
}

/// The same in the file of an embedded store that nobody has open.
pub fn hold_in_file(folder: &Path, id: &str) {
    const OUTBOUND: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("outbound");
    let database = redb::Database::create(folder.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut outbound = transaction.open_table(OUTBOUND).unwrap();
        let key = ("default", id);
        let mut row: Value = serde_json::from_slice(outbound.get(key).unwrap().unwrap().value()).unwrap();
        row["state"]["reason"] = LATER_REASON.into();
        outbound.insert(key, row.to_string().as_bytes()).unwrap();
    }
    transaction.commit().unwrap();
}
