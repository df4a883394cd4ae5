//! The suite on the embedded store.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use async_trait::async_trait;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use serde_json::Value;
use textledger::{
    clock::{ManualClock, SystemClock},
    domain::{EventId, Organization, Outbound, Task, UnixMs},
    store::{
        Deliveries as _, Events as _, Outbox as _, Store,
        embedded::{EmbeddedStore, FILE_NAME, OpenError},
    },
    twilio::MessageSid,
};

use super::{
    outbox::that_waits,
    suite::{AT, DUE, Harness, LATER, SOON, claimed_messages, ms, outbound, sid, status},
};
use crate::support::{flows::due_flows, former::Former, later, service::master_keys};

struct Embedded(tempfile::TempDir);

#[async_trait]
impl Harness for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(self.0.path()))
    }

    fn write(&self, former: &Former) {
        former.write_to_file(self.0.path());
    }

    fn write_entry(&self, stored: &str) {
        later::add_entry_to_file(self.0.path(), stored);
    }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap().sealed_with(master_keys())
}

/// A file in which Twilio is to be asked for the messages `1` and `2`.
async fn with_two_to_ask_for() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for tail in ["1", "2"] {
        store.record_status(&Organization::default(), status(tail, "sent")).await.unwrap();
    }
    folder
}

async fn fresh() -> Embedded {
    Embedded(tempfile::tempdir().unwrap())
}

super::conformance!(fresh());

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let second = EmbeddedStore::open(folder.path(), Arc::new(SystemClock));
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[test]
fn the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let mode = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_emptied_file_is_not_taken_for_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, "").unwrap();
    let opened = EmbeddedStore::open(folder.path(), Arc::new(SystemClock));
    assert!(matches!(opened, Err(OpenError::Empty { .. })));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}

#[test]
fn a_crash_while_the_file_is_made_leaves_nothing_that_keeps_the_next_start_from_making_it() {
    let folder = tempfile::tempdir().unwrap();
    // redb writes the length of its file first, and what tells that it is one of its own last.
    let draft = folder.path().join("textledger.0123456789abcdef.draft");
    std::fs::write(&draft, [0; 4_096]).unwrap();
    for _ in 0..2 {
        EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [FILE_NAME]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_set_the_events_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(UnixMs::new(1_000)));
    let organization = Organization::default();
    let store = EmbeddedStore::open(folder.path(), clock.clone()).unwrap().sealed_with(master_keys());
    store.record_status(&organization, status("a", "queued")).await.unwrap();
    clock.set(UnixMs::new(500));
    store.record_status(&organization, status("a", "sent")).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(folder.path(), clock.clone()).unwrap().sealed_with(master_keys());
    store.record_status(&organization, status("a", "delivered")).await.unwrap();
    clock.set(UnixMs::new(2_000));
    store.record_status(&organization, status("a", "read")).await.unwrap();
    let events = store.events(&organization, EventId::START, 10).await.unwrap();
    let places: Vec<_> = events.iter().map(|(id, _)| (id.ms.get(), id.seq)).collect();
    assert_eq!(places, [(1_000, 0), (1_000, 1), (1_000, 2), (2_000, 0)]);
}

/// A file of version 0.1.0 has queues, and no note of when their flows are due.
#[tokio::test]
async fn messages_that_version_0_1_0_queued_are_found_when_they_are_due() {
    let folder = tempfile::tempdir().unwrap();
    let organization = Organization::default();
    let open = || open(folder.path());
    let store = open();
    let urgent = Outbound { category: Some("emergency".to_owned()), ..outbound(&store, 1) };
    let flows = [urgent.flow(), outbound(&store, 2).flow()];
    for (outbound, due) in [(urgent, AT), (outbound(&store, 2), AT), (outbound(&store, 3), AT - ms(9))] {
        store.create_outbound(&organization, &that_waits(outbound, due), None).await.unwrap();
    }
    drop(store);
    let noted = TableDefinition::<(&str, bool, u64, &str), ()>::new("due_flows");
    let database = redb::Database::open(folder.path().join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.delete_table(noted).unwrap());
    transaction.commit().unwrap();
    drop(database);
    let store = open();
    assert_eq!(due_flows(&store, &organization, AT - ms(10)).await, []);
    assert_eq!(due_flows(&store, &organization, AT - ms(9)).await, flows[1..]);
    assert_eq!(due_flows(&store, &organization, AT).await, flows);
}

/// In a file of version 0.1.0 it stands beside a message when to ask for it, and not in its row.
#[tokio::test]
async fn messages_that_version_0_1_0_planned_to_ask_for_are_asked_for_until_they_are_at_their_end() {
    let folder = with_two_to_ask_for().await;
    let organization = Organization::default();
    let open = || open(folder.path());
    for tail in ["1", "2"] {
        change_message(folder.path(), &sid(tail), |row, planned| {
            let at = row.as_object_mut().unwrap().remove("ask_at").unwrap().as_u64().unwrap();
            let since = &row["seen"][0]["entry"][0];
            let task = Task::Ask { sid: sid(tail), since: UnixMs::new(since.as_u64().unwrap()) };
            planned.insert(("default", task.to_string().as_str()), at).unwrap();
            row.to_string()
        });
    }
    let store = open();
    store.record_status(&organization, status("2", "delivered")).await.unwrap();
    assert_eq!(claimed_messages(&store, SOON, LATER).await, []);
    assert_eq!(claimed_messages(&store, DUE, LATER).await, [sid("1")]);
    assert_eq!(claimed_messages(&store, LATER - ms(1), LATER).await, []);
    store.record_status(&organization, status("1", "delivered")).await.unwrap();
    assert_eq!(claimed_messages(&store, LATER, LATER + ms(1)).await, []);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_claimed_once_each_time_and_hides_no_other() {
    let folder = with_two_to_ask_for().await;
    let organization = Organization::default();
    let open = || open(folder.path());
    let mut whole = String::new();
    change_message(folder.path(), &sid("1"), |row, _| {
        whole = row.to_string();
        "of a later version".to_owned()
    });
    let store = open();
    let claimed = async |store: &EmbeddedStore, now, until| {
        let mut claimed = claimed_messages(store, now, until).await;
        claimed.sort();
        claimed
    };
    assert_eq!(claimed(&store, DUE, LATER).await, [sid("1"), sid("2")]);
    assert_eq!(claimed(&store, LATER - ms(1), LATER).await, []);
    assert_eq!(claimed(&store, LATER, LATER + ms(1)).await, [sid("1"), sid("2")]);
    drop(store);
    // Whoever has written it reads it again.
    change_message(folder.path(), &sid("1"), |_, _| whole.clone());
    let store = open();
    store.record_status(&organization, status("1", "delivered")).await.unwrap();
    assert_eq!(claimed(&store, LATER + ms(9), LATER + ms(10)).await, [sid("2")]);
    drop(store);
    change_message(folder.path(), &sid("1"), |row, planned| {
        assert!(planned.is_empty().unwrap());
        row.to_string()
    });
}

/// Has `change` make another row of that of the message `sid`, in a file that nobody has open, beside which it may plan tasks.
fn change_message(
    folder: &Path,
    sid: &MessageSid,
    change: impl FnOnce(&mut Value, &mut redb::Table<'_, (&str, &str), u64>) -> String,
) {
    let messages = TableDefinition::<(&str, &str), &[u8]>::new("messages");
    let planned = TableDefinition::<(&str, &str), u64>::new("planned");
    let database = redb::Database::open(folder.join(FILE_NAME)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut messages = transaction.open_table(messages).unwrap();
        let mut planned = transaction.open_table(planned).unwrap();
        let key = ("default", sid.as_str());
        let row = messages.get(key).unwrap().unwrap().value().to_vec();
        let mut row = serde_json::from_slice(&row).unwrap_or_default();
        let changed = change(&mut row, &mut planned);
        messages.insert(key, changed.as_bytes()).unwrap();
    }
    transaction.commit().unwrap();
}
