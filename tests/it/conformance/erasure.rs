//! A person whose data is erased, and who is obeyed all the same.

use std::time::Duration;

use textledger::{
    domain::{
        Consent, Event, EventId, HistoryId, MessageRef, Organization, OutboundState, UnixMs,
        consent::{ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
    },
    store::{ConsentUpdate, ConsentVersion, Counted, Forget, Gate, Passed, Step, Store},
};
use tokio::task::JoinSet;

use super::{
    outbox::that_waits,
    suite::{
        AT, Harness, PERSON, bare, being_sent, changes_of, claimed_messages, ms, opt_out, organization,
        outbound, sid, status, whose,
    },
};

const USER: &str = "US.444555777";
const OTHER: &str = "+14155550199";

async fn known(store: &dyn Store, address: &str) -> (Consent, ConsentVersion) {
    let known = store.consent(&organization(), &whose(address)).await.unwrap();
    (known.consent, known.version)
}

async fn state(store: &dyn Store, address: &str) -> ConsentState {
    known(store, address).await.0.sms.state
}

/// Erases the consent of the person at `address`, and returns whether `expected` was still stored.
async fn erase(store: &dyn Store, expected: &ConsentVersion, consent: &Consent) -> bool {
    let kept = consent.kept_when_erased(AT);
    store.erase_consent(&organization(), expected, kept.as_ref()).await.unwrap()
}

async fn passes(store: &dyn Store, number: u128, consent: ConsentVersion, now: UnixMs) -> Passed {
    let gate = Gate { consent, cooldown: Duration::ZERO, now };
    store.create_outbound(&organization(), &being_sent(&outbound(store, number)), Some(&gate)).await.unwrap()
}

fn opt_in(expected: ConsentVersion) -> ConsentUpdate {
    let (consent, entry) = Consent::default().recorded(
        &bare(PERSON),
        ConsentChannel::All,
        ConsentState::OptedIn,
        ConsentSource::Keyword,
        AT,
    );
    ConsentUpdate { expected, consent, entry, evidence: None, actor: None, audit_entry: None }
}

pub async fn an_erased_opt_out_is_obeyed_until_the_person_says_otherwise(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let (organization, person) = (organization(), whose(PERSON));
    let (_, unknown) = known(store, PERSON).await;
    // Another organization, another person.
    let elsewhere = Organization::parse("elsewhere").unwrap();
    let theirs = opt_out(ConsentVersion::of_nothing(person.clone()));
    assert!(store.change_consent(&elsewhere, theirs).await.unwrap());
    let mut others = opt_out(ConsentVersion::of_nothing(whose(OTHER)));
    others.entry = ConsentEntry { phone: bare(OTHER), ..others.entry };
    assert!(store.change_consent(&organization, others).await.unwrap());

    assert!(store.change_consent(&organization, opt_out(unknown.clone())).await.unwrap());
    let (consent, opted_out) = known(store, PERSON).await;
    assert!(!erase(store, &unknown, &consent).await);
    assert!(erase(store, &opted_out, &consent).await);
    let (kept, erased) = known(store, PERSON).await;
    assert_eq!(kept, consent.kept_when_erased(AT).unwrap());
    assert_eq!(changes_of(store, &person, 0, 9).await, []);
    assert_eq!(store.persons(&organization, None, 9).await.unwrap(), [whose(OTHER)]);
    assert_eq!(store.consent(&elsewhere, &person).await.unwrap().consent.sms.state, ConsentState::OptedOut);
    assert_eq!(state(store, OTHER).await, ConsentState::OptedOut);

    // Whoever has decided on what was before writes and sends nothing.
    for stale in [&unknown, &opted_out].into_iter().filter(|stale| **stale != erased) {
        assert_eq!(passes(store, 1, stale.clone(), AT).await, Passed::ConsentChanged);
        assert!(!store.change_consent(&organization, opt_in(stale.clone())).await.unwrap());
        assert!(!store.replace_consent(&organization, stale, &Consent::default()).await.unwrap());
    }
    // It stays when it is erased again.
    assert!(erase(store, &erased, &kept).await);
    assert_eq!(known(store, PERSON).await, (kept, erased.clone()));

    // START makes the person known again, and what was kept of them is nobody's.
    assert!(store.change_consent(&organization, opt_in(erased.clone())).await.unwrap());
    let (consent, opted_in) = known(store, PERSON).await;
    assert_eq!(consent.sms.state, ConsentState::OptedIn);
    assert_eq!(passes(store, 2, erased, AT).await, Passed::ConsentChanged);
    assert_eq!(passes(store, 2, opted_in.clone(), AT).await, Passed::Yes);
    assert!(erase(store, &opted_in, &consent).await);
    assert_eq!(known(store, PERSON).await, (Consent::default(), unknown));
}

pub async fn an_erased_person_is_obeyed_by_whichever_name(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let (organization, user, person) = (organization(), whose(USER), whose(PERSON));
    store.link(&organization, &user, &person).await.unwrap();
    assert_eq!(store.other_names(&organization, &person).await.unwrap(), std::slice::from_ref(&user));
    let (_, unknown) = known(store, PERSON).await;
    assert!(store.change_consent(&organization, opt_out(unknown)).await.unwrap());
    let (consent, version) = known(store, USER).await;
    let kept = consent.kept_when_erased(AT);
    assert!(erase(store, &version, &consent).await);
    assert_eq!(known(store, USER).await.1.person(), &person);
    // A name is taken from the person whom it leads to, and from nobody else; done twice, as after a crash.
    store.erase_name(&organization, &user, &whose(OTHER), kept.as_ref()).await.unwrap();
    assert_eq!(known(store, USER).await.1.person(), &person);
    for _ in 0..2 {
        store.erase_name(&organization, &user, &person, kept.as_ref()).await.unwrap();
        assert_eq!(store.other_names(&organization, &person).await.unwrap(), []);
        for address in [USER, PERSON] {
            let (consent, version) = known(store, address).await;
            assert_eq!((Some(consent), version.person()), (kept.clone(), &whose(address)));
        }
    }
    assert_eq!(store.persons(&organization, None, 9).await.unwrap(), []);

    // A message that names both makes them one again, and nothing of it known that was erased.
    store.link(&organization, &user, &person).await.unwrap();
    assert_eq!(store.other_names(&organization, &person).await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(store.persons(&organization, None, 9).await.unwrap(), []);
    let (_, version) = known(store, USER).await;
    assert_eq!((version.person(), state(store, PERSON).await), (&person, ConsentState::OptedOut));
    assert!(store.change_consent(&organization, opt_in(version)).await.unwrap());
    for address in [USER, PERSON] {
        assert_eq!(state(store, address).await, ConsentState::OptedIn);
    }

    // An opt-out that was erased by a name of its own goes along to the number that it turns out to be of.
    let (alone, number) = ("US.1010101", "+14155550123");
    let mut update = opt_out(ConsentVersion::of_nothing(whose(alone)));
    update.entry.at = AT + ms(1);
    assert!(store.change_consent(&organization, update).await.unwrap());
    let (consent, version) = known(store, alone).await;
    assert!(erase(store, &version, &consent).await);
    store.link(&organization, &whose(alone), &whose(number)).await.unwrap();
    for address in [alone, number] {
        assert_eq!(state(store, address).await, ConsentState::OptedOut, "{address}");
    }
}

/// Turns that each of those who act at once has.
const TURNS: u128 = 200;

pub async fn an_erasure_lets_nothing_leave_at_any_moment(harness: &dyn Harness) {
    let store = harness.open().await;
    let unknown = ConsentVersion::of_nothing(whose(PERSON));
    assert!(store.change_consent(&organization(), opt_out(unknown.clone())).await.unwrap());
    let mut at_once = JoinSet::new();
    for number in 0..3_u128 {
        // Who erases, and who is told of the opt-out once more, so that it is known by the number again.
        let (erasing, telling) = (store.clone(), store.clone());
        at_once.spawn(async move {
            for _ in 0..TURNS {
                let (consent, version) = known(erasing.as_ref(), PERSON).await;
                assert_eq!(consent.sms.state, ConsentState::OptedOut);
                erase(erasing.as_ref(), &version, &consent).await;
            }
        });
        at_once.spawn(async move {
            for _ in 0..TURNS {
                let (_, version) = known(telling.as_ref(), PERSON).await;
                telling.change_consent(&organization(), opt_out(version)).await.unwrap();
            }
        });
        // Who sends on what is known, and who has heard of the person before they opted out.
        let (sending, unknown) = (store.clone(), unknown.clone());
        at_once.spawn(async move {
            for turn in 0..TURNS {
                let (consent, _) = known(sending.as_ref(), PERSON).await;
                assert_eq!(consent.sms.state, ConsentState::OptedOut);
                let passed = passes(sending.as_ref(), number * TURNS + turn, unknown.clone(), AT).await;
                assert_eq!(passed, Passed::ConsentChanged);
            }
        });
    }
    while let Some(ended) = at_once.join_next().await {
        ended.unwrap();
    }
    assert_eq!(state(store.as_ref(), PERSON).await, ConsentState::OptedOut);
}

pub async fn a_message_and_its_events_are_taken_away_and_no_others(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let (organization, person) = (organization(), whose(PERSON));
    let waits = that_waits(outbound(store, 1), AT);
    let other = being_sent(&outbound(store, 2));
    store.enqueue(&organization, &[waits.clone(), other.clone()]).await.unwrap();
    let mut told = status("a1", "sent");
    told.raw = vec![("New".to_owned(), "zircon".to_owned())];
    store.record_status(&organization, told).await.unwrap();
    store.record_status(&organization, status("a2", "sent")).await.unwrap();
    let history = store.history(&organization, Some(&person), HistoryId::END, 9).await.unwrap();
    assert_eq!(history.len(), 4);
    let events = store.events(&organization, EventId::START, 9).await.unwrap();
    let of_first = |event: &Event| matches!(event, Event::Delivery(entry) if entry.sid == sid("a1"));
    let theirs: Vec<EventId> =
        events.iter().filter(|(_, event)| of_first(event.as_ref().unwrap())).map(|(id, _)| *id).collect();
    assert_eq!((events.len(), theirs.len()), (2, 1));
    for _ in 0..2 {
        store.forget_events(&organization, &theirs).await.unwrap();
    }
    let left = store.events(&organization, EventId::START, 9).await.unwrap();
    assert!(left.len() == 1 && !of_first(left[0].1.as_ref().unwrap()), "{left:?}");

    let canceled = OutboundState::Canceled { at: AT };
    let step = Step { from: waits.state.clone(), to: canceled, due: None, gate: None, entry: None };
    store.step_outbound(&organization, &waits.outbound, &step).await.unwrap();
    // Done twice, as after a crash.
    for _ in 0..2 {
        let names = [MessageRef::Id(waits.outbound.id), MessageRef::Sid(sid("a1"))];
        let messages: Vec<_> = history.iter().filter(|(_, name)| names.contains(name)).cloned().collect();
        store.forget_messages(&organization, &messages, Forget::Any).await.unwrap();
    }
    assert_eq!(store.outbound(&organization, &waits.outbound.id).await.unwrap(), None);
    assert_eq!(store.message(&organization, &sid("a1")).await.unwrap(), None);
    assert_eq!(store.queued(&organization).await.unwrap().messages, 1);
    let left = store.history(&organization, Some(&person), HistoryId::END, 9).await.unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(store.outbound(&organization, &other.outbound.id).await.unwrap().is_some());
    let claimed = claimed_messages(store, AT + ms(900_000), AT + ms(1_000_000)).await;
    assert_eq!(claimed, [sid("a2")]);

    // What comes next is behind what there was.
    store.record_status(&organization, status("a3", "sent")).await.unwrap();
    let next = store.events(&organization, EventId::START, 9).await.unwrap();
    assert!(next.len() == 2 && next[1].0 > theirs[0], "{next:?}");

    for expected in [Counted::Yes(1), Counted::Yes(2)] {
        let counted = store.count_many(&organization, "calls", 1, 9, ms(60_000)).await.unwrap();
        assert_eq!(counted, expected);
    }
    store.forget_counter(&organization, "calls").await.unwrap();
    let counted = store.count_many(&organization, "calls", 1, 9, ms(60_000)).await.unwrap();
    assert_eq!(counted, Counted::Yes(1));
}
