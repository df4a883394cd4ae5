//! Random histories, run against a store and against a model that is too simple to be wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use textledger::{
    domain::{
        Consent, Event, EventId, MessageId, Organization, Outbound, OutboundState, StatusChange, UnixMs,
        consent::{Answer, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        delivery::Recorded,
        event::InboundEntry,
    },
    store::{ConsentUpdate, Gate, InboundRecorded, KnownConsent, Passed, Store},
    twilio::{Address, Channel},
};

use super::suite::{Harness, bare, being_sent, sid, status, whose};

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

pub async fn random_histories_of_statuses_agree_with_the_model(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
    for number in 0..harness.histories() {
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
        .filter_map(|(_, event)| match event.unwrap() {
            Event::Delivery(entry) => {
                Some((entry.sid.to_string(), entry.status.to_string(), entry.error_code))
            }
            Event::Inbound(_) | Event::Consent(_) => None,
        })
        .collect();
    entries.sort_unstable();
    entries
}

/// What happens between us and one of three people. A step that is late was decided on the consent that was known
/// when the history began.
#[derive(Debug, Clone)]
enum Step {
    /// A message of this number, which asks for a state or for nothing.
    Write { person: usize, message: u8, asks: Option<ConsentState>, late: bool },
    /// An administrator's change.
    Change { person: usize, to: ConsentState, late: bool },
    /// A send of this number.
    Send { person: usize, number: u8, late: bool },
    /// What became of the send of this number.
    Resolve { person: usize, number: u8, state: OutboundState },
}

const PEOPLE: [&str; 3] = ["+5511987654321", "+14155550101", "CO.8997"];

/// The address of `person` at the occasion of that number: whoever has two spellings uses them in turn.
fn address(person: usize, occasion: u8) -> &'static str {
    if person == 0 && occasion % 2 == 1 { "+551187654321" } else { PEOPLE[person] }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = 0..PEOPLE.len();
    let state = prop::sample::select(vec![ConsentState::OptedIn, ConsentState::OptedOut]);
    let became = prop::sample::select(vec![
        OutboundState::Sending { since: UnixMs::new(2), tries: 1 },
        OutboundState::Unknown { since: UnixMs::new(1), tries: 1, searches: 0 },
        OutboundState::Canceled { at: UnixMs::new(3) },
        OutboundState::Accepted { at: UnixMs::new(4), message_sid: sid("9") },
    ]);
    let late = prop::bool::weighted(0.3);
    let step = prop_oneof![
        (person.clone(), 0..6_u8, prop::option::of(state.clone()), late)
            .prop_map(|(person, message, asks, late)| Step::Write { person, message, asks, late }),
        (person.clone(), state, late).prop_map(|(person, to, late)| Step::Change { person, to, late }),
        (person.clone(), 0..6_u8, late).prop_map(|(person, number, late)| Step::Send {
            person,
            number,
            late
        }),
        (person, 0..6_u8, became).prop_map(|(person, number, state)| Step::Resolve { person, number, state }),
    ];
    prop::collection::vec(step, 1..50)
}

/// What the model knows: per person the state, per message the answer, per send what became of it.
#[derive(Default)]
struct People {
    states: [ConsentState; PEOPLE.len()],
    answers: BTreeMap<(usize, u8), Answer>,
    sends: BTreeMap<(usize, u8), OutboundState>,
    entries: usize,
}

pub async fn random_histories_of_consent_agree_with_the_model(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
    for number in 0..harness.histories() {
        let organization = Organization::parse(&format!("people-{number}")).unwrap();
        let history = steps().new_tree(&mut runner).unwrap().current();
        let mut people = People::default();
        let mut first = Vec::new();
        for person in PEOPLE {
            first.push(store.consent(&organization, &whose(person)).await.unwrap());
        }
        for (at, step) in history.iter().enumerate() {
            take(&store, &organization, &mut people, &first, step).await;
            let entries = store.events(&organization, EventId::START, 1_000).await.unwrap().len();
            assert_eq!(entries, people.entries, "after step {at} of {history:?}");
            for (person, state) in PEOPLE.iter().zip(people.states) {
                let known = store.consent(&organization, &whose(person)).await.unwrap();
                assert_eq!(known.consent.sms.state, state, "{person} after step {at} of {history:?}");
            }
        }
    }
}

async fn take(
    store: &Arc<dyn Store>,
    organization: &Organization,
    people: &mut People,
    first: &[KnownConsent],
    step: &Step,
) {
    let known = async |person: usize, late: bool| {
        if late {
            first[person].clone()
        } else {
            store.consent(organization, &whose(PEOPLE[person])).await.unwrap()
        }
    };
    // Consent that was never asked for is the same whenever it is read; every change makes another version of it.
    let is_current =
        |people: &People, person: usize, late: bool| !late || people.states[person] == ConsentState::Unknown;
    match step.clone() {
        Step::Write { person, message, asks, late } => {
            let answer = asks.map_or(Answer::Nothing, |_| Answer::OptedIn);
            let basis = known(person, late).await;
            let update = asks.map(|to| update(person, &basis, to, people.entries));
            let entry = InboundEntry {
                sid: sid(&format!("{person}{message}")),
                channel: Channel::Sms,
                from: bare(address(person, message)),
                to: bare("+15005550006"),
                body_length: 1,
                keyword: None,
                media: 0,
                at: UnixMs::new(1),
            };
            let expected = match (people.answers.get(&(person, message)), asks) {
                (Some(answer), _) => InboundRecorded::Duplicate(*answer),
                (None, Some(_)) if !is_current(people, person, late) => InboundRecorded::ConsentChanged,
                (None, _) => InboundRecorded::Stored,
            };
            let stored = store
                .record_inbound(organization, entry, &whose(PEOPLE[person]), update, answer)
                .await
                .unwrap();
            assert_eq!(stored, expected, "{step:?}");
            if stored == InboundRecorded::Stored {
                people.answers.insert((person, message), answer);
                people.states[person] = asks.unwrap_or(people.states[person]);
                people.entries += 1 + usize::from(asks.is_some());
            }
        }
        Step::Change { person, to, late } => {
            let basis = known(person, late).await;
            let changed =
                store.change_consent(organization, update(person, &basis, to, people.entries)).await.unwrap();
            assert_eq!(changed, is_current(people, person, late), "{step:?}");
            if changed {
                people.states[person] = to;
                people.entries += 1;
            }
        }
        Step::Send { person, number, late } => {
            let version = known(person, late).await.version;
            let new = being_sent(&outbound(store, person, number));
            let gate = Gate { consent: version, cooldown: Duration::ZERO, now: UnixMs::new(1) };
            let created = store.create_outbound(organization, &new, Some(&gate)).await.unwrap();
            let free = !people.sends.contains_key(&(person, number));
            let expected = match (free, is_current(people, person, late)) {
                (true, true) => Passed::Yes,
                (true, false) => Passed::ConsentChanged,
                (false, _) => Passed::StateChanged,
            };
            assert_eq!(created, expected, "{step:?}");
            if created == Passed::Yes {
                people.sends.insert((person, number), new.state);
            }
        }
        Step::Resolve { person, number, state } => {
            let outbound = outbound(store, person, number);
            store.resolve_outbound(organization, &outbound.id, &state).await.unwrap();
            if let Some(known) = people.sends.get_mut(&(person, number)) {
                let surer = [known.clone(), state].into_iter().rev().max_by_key(OutboundState::rank).unwrap();
                *known = surer;
            }
            let stored = store.outbound(organization, &outbound.id).await.unwrap();
            assert_eq!(
                stored.map(|stored| stored.state),
                people.sends.get(&(person, number)).cloned(),
                "{step:?}"
            );
        }
    }
}

/// A change to `to` that differs from every other, so that it makes a version of its own.
fn update(person: usize, basis: &KnownConsent, to: ConsentState, number: usize) -> ConsentUpdate {
    let mut consent = Consent::default();
    consent.sms.state = to;
    consent.sms.at = Some(UnixMs::new(number as u64));
    let entry = ConsentEntry {
        phone: bare(address(person, number as u8)),
        channel: ConsentChannel::Sms,
        state: to,
        source: ConsentSource::Keyword,
        sid: None,
        at: UnixMs::new(1),
    };
    ConsentUpdate {
        expected: basis.version.clone(),
        consent,
        entry,
        evidence: None,
        actor: None,
        audit_entry: None,
    }
}

fn outbound(store: &Arc<dyn Store>, person: usize, number: u8) -> Outbound {
    let id = u128::from(number) << 8 | person as u128;
    Outbound {
        id: MessageId::new(store.partition(&whose(PEOPLE[person])), id),
        to: Address::new(Channel::Sms, address(person, number)).unwrap(),
        from: None,
        messaging_service_sid: None,
        body_length: 1,
        segments: 1,
        media: 0,
        category: None,
        user_id: None,
        batch: None,
        status_callback: None,
        fallback: None,
        actor: None,
        created_at: UnixMs::new(1),
    }
}
