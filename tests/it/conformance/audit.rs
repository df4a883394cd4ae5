//! Who did what: nothing of it is lost, doubled or moved.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use textledger::{
    domain::{
        MessageId, Organization, Principal, UnixMs,
        audit::{Action, Entry, Origin, Place, RecordedEntry, Subject, place_before},
    },
    store::{
        ConsentUpdate, ConsentVersion, DocumentChange, Gate, Kind, NewOutbound, Passed, Store,
        audit::ENTRIES_MAX, encode,
    },
};
use tokio::task::JoinSet;

use super::suite::{AT, Harness, PERSON, being_sent, opt_out, organization, outbound, whose};
use crate::support::now;

/// Before everything.
const START: Place = Place { ms: UnixMs::EPOCH, seq: 0, partition: 0 };

/// Pages of writers that a reader reads behind: each writer adds so many entries.
const ADDED: usize = 60;

/// That `user` asked for a message.
pub fn asked(user: impl Into<String>, id: MessageId) -> Entry {
    Origin::new(&Principal::user(user), None).entry(Action::MessageSend).about(Subject::Message(id))
}

fn by(user: impl Into<String>) -> Entry {
    Origin::new(&Principal::user(user), Some("r1".to_owned())).entry(Action::ConsentExport)
}

/// `entry` as it is read.
pub fn read(entry: &Entry) -> RecordedEntry {
    RecordedEntry::read(encode(entry).as_bytes())
}

/// All entries, read `limit` at a time.
async fn all(store: &dyn Store, organization: &Organization, limit: usize) -> Vec<(Place, RecordedEntry)> {
    let (mut all, mut after) = (Vec::new(), START);
    loop {
        let page = store.entries(organization, after, limit).await.unwrap();
        assert!(page.len() <= limit);
        match page.last() {
            Some((last, _)) => after = *last,
            None => return all,
        }
        all.extend(page);
    }
}

pub async fn who_did_what_is_told_in_its_order_and_page_by_page(harness: &dyn Harness) {
    let added: Vec<Entry> = (0..23).map(|number| by(format!("user-{number}"))).collect();
    let expected: Vec<_> = added.iter().map(self::read).collect();
    let store = harness.open().await;
    assert_eq!(store.entries(&organization(), START, 10).await.unwrap(), []);
    for entry in &added {
        store.add_entry(&organization(), entry).await.unwrap();
    }
    let other = Organization::parse("other").unwrap();
    store.add_entry(&other, &by("stranger")).await.unwrap();
    drop(store);

    let store = harness.open().await;
    let read = all(&*store, &organization(), 10).await;
    assert!(read.is_sorted_by(|(a, _), (b, _)| a < b), "{read:?}");
    assert_eq!(read.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(all(&*store, &other, 10).await.len(), 1);
    // From a time on, and never from before it.
    let (seventh, _) = &read[6];
    let since = store.entries(&organization(), place_before(seventh.ms), ENTRIES_MAX).await.unwrap();
    let expected: Vec<_> = read.iter().filter(|(place, _)| place.ms >= seventh.ms).cloned().collect();
    assert_eq!(since, expected);
}

/// Adds an entry.
pub async fn add(store: &dyn Store) {
    store.add_entry(&organization(), &by("ada")).await.unwrap();
}

/// How many entries are there.
pub async fn added(store: &dyn Store) -> u64 {
    all(store, &organization(), 10).await.len() as u64
}

pub async fn a_message_and_who_asked_for_it_are_stored_together_or_not_at_all(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let new = |number: u128| {
        let outbound = outbound(store, number);
        NewOutbound { entry: Some(asked("ada", outbound.id)), ..being_sent(&outbound) }
    };
    let create = async |new: &NewOutbound, consent: ConsentVersion, cooldown: Duration| {
        let gate = Gate { consent, cooldown, now: UnixMs::from_timestamp(now()).unwrap() };
        store.create_outbound(&organization(), new, Some(&gate)).await.unwrap()
    };
    let stale = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    assert!(store.change_consent(&organization(), opt_out(stale.clone())).await.unwrap());
    let known = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    assert_eq!(create(&new(1), stale, Duration::ZERO).await, Passed::ConsentChanged);
    assert_eq!(all(store, &organization(), 10).await, []);

    let pause = Duration::from_secs(60);
    assert_eq!(create(&new(1), known.clone(), pause).await, Passed::Yes);
    assert!(matches!(create(&new(2), known.clone(), pause).await, Passed::CoolingDown { .. }));
    // The same request again, as after a crash.
    assert_eq!(create(&new(1), known, pause).await, Passed::StateChanged);
    let waiting = [new(3), NewOutbound { entry: None, ..new(4) }];
    store.enqueue(&organization(), &waiting).await.unwrap();
    store.enqueue(&organization(), &waiting).await.unwrap();
    let expected = [1, 3].map(|number| asked("ada", outbound(store, number).id));
    assert_eq!(told(store).await, expected.each_ref().map(read));
}

/// All entries, without their places.
async fn told(store: &dyn Store) -> Vec<RecordedEntry> {
    all(store, &organization(), 10).await.into_iter().map(|(_, entry)| entry).collect()
}

pub async fn a_change_and_its_entry_are_stored_together_or_not_at_all(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let version = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    let [first, second, third, fourth] = ["ada", "ben", "cyd", "dan"].map(by);
    let update =
        |entry: &Entry| ConsentUpdate { audit_entry: Some(entry.clone()), ..opt_out(version.clone()) };
    assert!(store.change_consent(&organization(), update(&first)).await.unwrap());
    assert!(!store.change_consent(&organization(), update(&second)).await.unwrap());
    assert_eq!(told(store).await, [read(&first)]);

    let change = |kind, name| DocumentChange { kind, name, before: None, after: Some("x") };
    let kept_together = [change(Kind::Preferences, "ada"), change(Kind::NumberOwner, "+14155550100")];
    let make = async |changes: &[DocumentChange<'_>], entry: &Entry| {
        store.change_with_entry(&organization(), changes, None, Some(entry)).await.unwrap()
    };
    assert!(make(&kept_together, &second).await);
    assert!(!make(&kept_together, &third).await);
    assert!(!make(&[kept_together[0], change(Kind::Preferences, "ben")], &third).await);
    // A document of another kind is elsewhere, and so is its entry.
    assert!(make(&[change(Kind::Review, "SM1")], &third).await);
    assert!(make(&[change(Kind::Review, "SM2")], &fourth).await);
    // In several partitions, what is done within a millisecond has no order.
    let mut told = told(store).await;
    told.sort_unstable_by(|a, b| a.agent.cmp(&b.agent));
    assert_eq!(told, [first, second, third, fourth].each_ref().map(read));
}

pub async fn what_a_later_version_has_written_hides_no_entry(harness: &dyn Harness) {
    let mine = by("ada");
    let store = harness.open().await;
    store.add_entry(&organization(), &mine).await.unwrap();
    drop(store);
    let later = r#"{"agent":"robot:r2","action":"template.approve","subject":{"template":"t1"},"facts":{"ballots":[7]}}"#;
    for stored in [later, "no JSON"] {
        harness.write_entry(stored);
    }
    let store = harness.open().await;
    store.add_entry(&organization(), &mine).await.unwrap();
    let expected =
        [read(&mine), RecordedEntry::read(later.as_bytes()), RecordedEntry::default(), read(&mine)];
    assert_eq!(told(store.as_ref()).await, expected);
    assert_eq!(expected[1].subject.as_deref(), Some("template:t1"));
}

pub async fn nothing_that_is_done_at_once_is_lost_or_told_twice(harness: &dyn Harness) {
    let store = harness.open().await;
    written_at_once(vec![store.clone(), store]).await;
}

/// Two writers by each of `instances`, of entries alone and of messages with theirs, and a reader who pages behind them by
/// its cursor: it meets every entry once, in the order in which they are at the end.
pub async fn written_at_once(instances: Vec<Arc<dyn Store>>) {
    let mut writers = JoinSet::new();
    for (instance, store) in instances.iter().cloned().enumerate() {
        let adding = store.clone();
        writers.spawn(async move {
            for number in 0..ADDED {
                let entry = by(format!("{instance}-{number}"));
                adding.add_entry(&organization(), &entry).await.unwrap();
            }
        });
        writers.spawn(async move {
            for number in 0..ADDED {
                let outbound = outbound(&*store, (instance * ADDED + number) as u128);
                let entry = Some(asked(format!("{instance}+{number}"), outbound.id));
                let new = NewOutbound { entry, due: AT, ..being_sent(&outbound) };
                assert_eq!(store.create_outbound(&organization(), &new, None).await.unwrap(), Passed::Yes);
            }
        });
    }
    let reader = instances[0].clone();
    let expected = 2 * ADDED * instances.len();
    let (mut met, mut after) = (Vec::new(), START);
    let mut is_over = false;
    while !is_over || met.len() < expected {
        // What is written when the last page is asked for belongs to it.
        let was_over = is_over;
        let page = reader.entries(&organization(), after, 7).await.unwrap();
        if let Some((last, _)) = page.last() {
            after = *last;
        }
        assert!(!was_over || !page.is_empty(), "{} of {expected} entries were met", met.len());
        met.extend(page);
        is_over = writers.is_empty() || {
            while writers.try_join_next().transpose().unwrap().is_some() {}
            writers.is_empty()
        };
    }
    assert_eq!(met, all(&*reader, &organization(), ENTRIES_MAX).await);
    let names: BTreeSet<String> = met.iter().map(|(_, entry)| entry.agent.clone()).collect();
    assert_eq!((names.len(), met.len()), (expected, expected));
}
