//! One person under two names.

use std::time::Duration;

use textledger::{
    domain::{
        Consent, HistoryId, MessageId, MessageRef, OutboundState, UnixMs,
        consent::{Answer, ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        event::InboundEntry,
    },
    store::{ConsentUpdate, ConsentVersion, Gate, InboundRecorded, NewOutbound, Passed, Step, Store},
    twilio::{Address, BareAddress, Channel},
};

use super::suite::{AT, Harness, bare, being_sent, changes_of, ms, organization, outbound, sid, whose};
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
        audit_entry: None,
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
    let changes = changes_of(store, &whose(DIALLED), 0, 9).await;
    assert_eq!(changes, [stop, import.clone()]);
    assert_eq!(store.persons(&organization(), None, 9).await.unwrap(), [whose(DIALLED)]);
    assert_eq!(history(store, DIALLED).await, [MessageRef::Id(ids[1]), MessageRef::Id(ids[0])]);
    assert_eq!(history(store, "+525512345678").await, [MessageRef::Id(ids[2])]);
    assert_eq!(state(store, "+525512345678").await, ConsentState::Unknown);
    assert_eq!(store.former_spellings(&organization()).await.unwrap(), []);

    assert!(!record(store, decided_before, import).await);
    let known = version(store, DIALLED).await;
    let passed = create(store, &to(store, DIALLED, 9), known, ms(60_000), now + ms(1)).await;
    assert_eq!(passed, Passed::CoolingDown { until: now + ms(60_000) });
}

const USER: &str = "US.444555666";
const NUMBER: &str = "+14155552703";

/// A WhatsApp message to `address`, about to leave, under the id that it has whatever is known of the person.
fn to(store: &dyn Store, address: &str, number: u128) -> NewOutbound {
    let mut new = being_sent(&outbound(store, number));
    new.outbound.id = MessageId::new(store.partition(&whose(address)), number);
    new.outbound.to = Address::parse(&format!("whatsapp:{address}")).unwrap();
    new
}

async fn version(store: &dyn Store, address: &str) -> ConsentVersion {
    store.consent(&organization(), &whose(address)).await.unwrap().version
}

async fn create(
    store: &dyn Store,
    new: &NewOutbound,
    consent: ConsentVersion,
    cooldown: Duration,
    now: UnixMs,
) -> Passed {
    let gate = Gate { consent, cooldown, now };
    store.create_outbound(&organization(), new, Some(&gate)).await.unwrap()
}

pub async fn a_user_id_and_a_number_become_one_person(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let now = UnixMs::from_timestamp(now()).unwrap();
    let opt_in = change(&bare(NUMBER), ConsentState::OptedIn, ConsentSource::Import, AT + ms(5));
    assert!(record(store, version(store, NUMBER).await, opt_in.clone()).await);
    let stop = change(&bare(USER), ConsentState::OptedOut, ConsentSource::Keyword, AT);
    assert!(record(store, version(store, USER).await, stop.clone()).await);
    let waits = to(store, USER, 1);
    store.enqueue(&organization(), std::slice::from_ref(&waits)).await.unwrap();
    let entry = InboundEntry {
        sid: sid("1"),
        channel: Channel::Whatsapp,
        from: bare(USER),
        to: bare("+15005550006"),
        body_length: 4,
        keyword: None,
        media: 0,
        at: AT,
    };
    let (user, number) = (whose(USER), whose(NUMBER));
    store.record_inbound(&organization(), entry.clone(), &user, None, Answer::Help).await.unwrap();
    let decided_before = (version(store, USER).await, version(store, NUMBER).await);

    // Done twice, as after a crash.
    store.link(&organization(), &user, &number).await.unwrap();
    store.link(&organization(), &user, &number).await.unwrap();
    for address in [USER, NUMBER] {
        assert_eq!(state(store, address).await, ConsentState::OptedOut, "{address}");
        assert_eq!(version(store, address).await.person(), &number);
        let changes = changes_of(store, &whose(address), 0, 9).await;
        assert_eq!(changes, [stop.clone(), opt_in.clone()]);
        assert_eq!(history(store, address).await, [MessageRef::Id(waits.outbound.id)]);
    }
    assert_eq!(store.persons(&organization(), None, 9).await.unwrap(), [whose(NUMBER)]);
    let again = store.record_inbound(&organization(), entry, &number, None, Answer::Nothing).await.unwrap();
    assert_eq!(again, InboundRecorded::Duplicate(Answer::Help));

    // What was decided before the link changes nothing and lets nothing leave.
    assert!(!record(store, decided_before.0.clone(), opt_in.clone()).await);
    assert!(!record(store, decided_before.1.clone(), opt_in.clone()).await);
    let stale = create(store, &to(store, USER, 2), decided_before.0, Duration::ZERO, now).await;
    assert_eq!(stale, Passed::ConsentChanged);

    // One consent and one pause from now on, whichever name is used.
    let start = change(&bare(USER), ConsentState::OptedIn, ConsentSource::Keyword, AT + ms(9));
    assert!(record(store, version(store, USER).await, start).await);
    let known = version(store, USER).await;
    assert_eq!(create(store, &to(store, USER, 3), known.clone(), ms(60_000), now).await, Passed::Yes);
    let until = now + ms(60_000);
    for address in [USER, NUMBER] {
        let passed = create(store, &to(store, address, 4), known.clone(), ms(60_000), now + ms(1)).await;
        assert_eq!(passed, Passed::CoolingDown { until }, "{address}");
    }
    let stop = change(&bare(NUMBER), ConsentState::OptedOut, ConsentSource::Keyword, AT + ms(20));
    assert!(record(store, version(store, NUMBER).await, stop).await);
    let step = Step {
        from: waits.state.clone(),
        to: OutboundState::Sending { since: now, tries: 2 },
        due: Some(now),
        gate: Some(Gate { consent: known, cooldown: Duration::ZERO, now }),
        entry: None,
    };
    let passed = store.step_outbound(&organization(), &waits.outbound, &step).await.unwrap();
    assert_eq!(passed, Passed::ConsentChanged);
    assert_eq!(history(store, NUMBER).await.len(), 2);

    // The person takes the user id along to another number, and the no with it.
    store.link(&organization(), &user, &whose("+14155552799")).await.unwrap();
    assert_eq!(state(store, "+14155552799").await, ConsentState::OptedOut);
    assert_eq!(version(store, USER).await.person(), &whose("+14155552799"));
    assert_eq!(state(store, NUMBER).await, ConsentState::OptedOut);
}
