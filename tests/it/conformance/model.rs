//! Random histories, run against a store and against a model that is too simple to be wrong.

use std::{collections::BTreeMap, sync::Arc};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use textledger::{
    domain::{Event, EventId, Organization, StatusChange, delivery::Recorded},
    store::Store,
};

use super::suite::{Harness, status};

/// Random histories per store.
const HISTORIES: u32 = 24;

/// Statuses in the order of the contract: a later one moves a message, one on the same line does not.
const RANKS: [&[&str]; 7] = [
    &["accepted", "scheduled"],
    &["queued"],
    &["sending"],
    &["sent"],
    &["undelivered", "failed", "canceled"],
    &["delivered"],
    &["read"],
];

/// A callback: which message, which status, which error.
type Told = (u8, &'static str, Option<u32>);

/// What the model keeps of a message: everything it was told, in order.
type Model = BTreeMap<u8, Vec<Told>>;

fn histories() -> impl Strategy<Value = Vec<Told>> {
    let known = RANKS.concat();
    let names = prop::sample::select([known.as_slice(), &["received", "teleported"]].concat());
    let errors = prop::option::weighted(0.2, prop::sample::select(vec![30_003, 30_005]));
    prop::collection::vec((0..4_u8, names, errors), 1..60)
}

fn rank(name: &str) -> usize {
    RANKS.iter().position(|names| names.contains(&name)).map_or(0, |index| index + 1)
}

/// Where a message stands that was told `told`: at the first of the highest rank.
fn standing(told: &[Told]) -> Option<&'static str> {
    let highest = told.iter().map(|(_, name, _)| rank(name)).max().filter(|rank| *rank > 0)?;
    told.iter().map(|(_, name, _)| *name).find(|name| rank(name) == highest)
}

pub async fn random_histories_agree_with_the_model(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
    for number in 0..HISTORIES {
        let organization = Organization::parse(&format!("history-{number}")).unwrap();
        let history = histories().new_tree(&mut runner).unwrap().current();
        check(&store, &organization, &history).await;
        // The same callbacks in another order: the same standing, the same set of entries.
        let shuffled = Just(history.clone()).prop_shuffle().new_tree(&mut runner).unwrap().current();
        let other = Organization::parse(&format!("shuffled-{number}")).unwrap();
        check(&store, &other, &shuffled).await;
        assert_eq!(
            entries(&store, &organization).await,
            entries(&store, &other).await,
            "{history:?} and {shuffled:?}"
        );
    }
}

async fn check(store: &Arc<dyn Store>, organization: &Organization, history: &[Told]) {
    let mut model = Model::new();
    for told in history {
        let (message, name, error_code) = *told;
        let known = model.entry(message).or_default();
        let expected = if known.contains(told) {
            Recorded::Duplicate
        } else if rank(name) > standing(known).map_or(0, rank) {
            Recorded::Moved
        } else {
            Recorded::Late
        };
        let change = StatusChange { error_code, ..status(&format!("{message:x}"), name) };
        let stored = store.record_status(organization, change).await.unwrap();
        assert_eq!(stored.recorded, expected, "{told:?} in {history:?}");
        if expected != Recorded::Duplicate {
            known.push(*told);
        }
    }
    for (message, known) in &model {
        let sid = status(&format!("{message:x}"), "").sid;
        let stored = store.message(organization, &sid).await.unwrap().unwrap();
        assert_eq!(
            stored.delivery.status.as_ref().map(|status| status.as_str()),
            standing(known),
            "{history:?}"
        );
        let entries: Vec<_> =
            stored.entries.iter().map(|entry| (entry.status.to_string(), entry.error_code)).collect();
        let told: Vec<_> = known.iter().map(|(_, name, error)| (name.to_string(), *error)).collect();
        assert_eq!(entries, told);
    }
}

/// The deliveries stream as a set: which message, which status, which error.
async fn entries(store: &Arc<dyn Store>, organization: &Organization) -> Vec<(String, String, Option<u32>)> {
    let events = store.events(organization, EventId::START, 1_000).await.unwrap();
    let mut entries: Vec<_> = events
        .into_iter()
        .filter_map(|(_, event)| match event {
            Event::Delivery(entry) => {
                Some((entry.sid.to_string(), entry.status.to_string(), entry.error_code))
            }
            Event::Inbound(_) | Event::Consent(_) => None,
        })
        .collect();
    entries.sort_unstable();
    entries
}
