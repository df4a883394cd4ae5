//! The suite on the embedded store.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use async_trait::async_trait;
use redb::TableDefinition;
use textledger::{
    clock::{ManualClock, SystemClock},
    domain::{EventId, Organization, Outbound, UnixMs},
    store::{
        Deliveries as _, Events as _, Outbox as _, Store,
        embedded::{EmbeddedStore, FILE_NAME, OpenError},
    },
};

use super::{
    outbox::that_waits,
    suite::{AT, Harness, ms, outbound, status},
};
use crate::support::{flows::due_flows, former::Former, later, service::master_keys};

struct Embedded(tempfile::TempDir);

#[async_trait]
impl Harness for Embedded {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(
            EmbeddedStore::open(self.0.path(), Arc::new(SystemClock)).unwrap().sealed_with(master_keys()),
        )
    }

    fn write(&self, former: &Former) {
        former.write_to_file(self.0.path());
    }

    fn write_entry(&self, stored: &str) {
        later::add_entry_to_file(self.0.path(), stored);
    }
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
    let open =
        || EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap().sealed_with(master_keys());
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
