//! One person under two names.

use textledger::{
    domain::{
        Consent, HistoryId, MessageId, MessageRef, UnixMs,
        consent::{ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
    },
    store::{ConsentUpdate, ConsentVersion, Gate, Passed, Store},
    twilio::{Address, BareAddress},
};

use super::suite::{AT, Harness, bare, being_sent, ms, organization, outbound, whose};
use crate::support::{former::Former, now};

const DIALLED: &str = "+5511987654321";
const BY_WHATSAPP: &str = "+551187654321";

/// That the person has become `state` at `at`, by `source`.
fn change(address: &BareAddress, state: ConsentState, source: ConsentSource, at: UnixMs) -> ConsentChange {
    let channel = ConsentChannel::Whatsapp;
    let entry = ConsentEntry { phone: address.clone(), channel, state, source, sid: None, at };
    ConsentChange { entry, evidence: None, actor: None }
}

/// The consent after `change`.
fn consent(change: &ConsentChange) -> Consent {
    let ConsentEntry { phone, channel, state, source, at, .. } = &change.entry;
    Consent::default().recorded(phone, *channel, *state, *source, *at).0
}

/// Records `change` on top of `expected`.
async fn record(store: &dyn Store, expected: ConsentVersion, change: ConsentChange) -> bool {
    let update = ConsentUpdate {
        expected,
        consent: consent(&change),
        entry: change.entry,
        evidence: None,
        actor: None,
    };
    store.change_consent(&organization(), update).await.unwrap()
}

async fn state(store: &dyn Store, address: &str) -> ConsentState {
    store.consent(&organization(), &whose(address)).await.unwrap().consent.whatsapp.state
}

async fn history(store: &dyn Store, address: &str) -> Vec<MessageRef> {
    let page = store.history(&organization(), Some(&whose(address)), HistoryId::END, 99).await.unwrap();
    page.into_iter().map(|(_, message)| message).collect()
}

pub async fn what_was_kept_under_a_spelling_moves_to_the_person(harness: &dyn Harness) {
    let now = UnixMs::from_timestamp(now()).unwrap();
    let stop = change(&bare(BY_WHATSAPP), ConsentState::OptedOut, ConsentSource::Keyword, AT);
    let ids = [1, 2, 3].map(|number| MessageId::new(0, number));
    harness.write(&Former {
        spelling: BY_WHATSAPP,
        consent: Some(consent(&stop)),
        changes: vec![stop.clone()],
        history: vec![(AT, ids[0]), (AT + ms(1), ids[1])],
        last: Some(now),
    });
    harness.write(&Former {
        spelling: "+5215512345678",
        consent: None,
        changes: Vec::new(),
        history: vec![(AT + ms(2), ids[2])],
        last: None,
    });
    let store = harness.open().await;
    let store = store.as_ref();
    let import = change(&bare(DIALLED), ConsentState::OptedIn, ConsentSource::Import, AT + ms(5));
    assert!(record(store, ConsentVersion::of_nothing(whose(DIALLED)), import.clone()).await);
    let decided_before = store.consent(&organization(), &whose(DIALLED)).await.unwrap().version;

    let mut spellings = store.former_spellings(&organization()).await.unwrap();
    spellings.sort_unstable();
    assert_eq!(spellings, ["+5215512345678", BY_WHATSAPP].map(bare));
    // Done twice, as after a crash.
    for spelling in spellings.iter().chain(&spellings) {
        store.unite(&organization(), spelling).await.unwrap();
    }
    assert_eq!(state(store, DIALLED).await, ConsentState::OptedOut);
    let changes = store.consent_changes(&organization(), &whose(DIALLED), 0, 9).await.unwrap();
    assert_eq!(changes, [stop, import.clone()]);
    assert_eq!(store.persons(&organization(), None, 9).await.unwrap(), [whose(DIALLED)]);
    assert_eq!(history(store, DIALLED).await, [MessageRef::Id(ids[1]), MessageRef::Id(ids[0])]);
    assert_eq!(history(store, "+525512345678").await, [MessageRef::Id(ids[2])]);
    assert_eq!(state(store, "+525512345678").await, ConsentState::Unknown);
    assert_eq!(store.former_spellings(&organization()).await.unwrap(), []);

    assert!(!record(store, decided_before, import).await);
    let mut new = being_sent(&outbound(store, 9));
    new.outbound.id = MessageId::new(store.partition(&whose(DIALLED)), 9);
    new.outbound.to = Address::parse(&format!("whatsapp:{DIALLED}")).unwrap();
    let known = store.consent(&organization(), &whose(DIALLED)).await.unwrap();
    let gate = Gate { consent: known.version, cooldown: ms(60_000), now: now + ms(1) };
    let passed = store.create_outbound(&organization(), &new, Some(&gate)).await.unwrap();
    assert_eq!(passed, Passed::CoolingDown { until: now + ms(60_000) });
}
