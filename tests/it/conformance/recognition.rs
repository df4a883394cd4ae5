//! A store that is not the known one, or has forgotten: nothing leaves on it, and nothing is recorded there.

use std::time::Duration;

use textledger::{
    app::recognition::{self, Changes, KnownStore, Mark, in_all},
    domain::{OutboundState, consent::Answer},
    store::{Error, Gate, Mismatch, NewOutbound, Passed, Step, Store},
};

use super::{
    outbox::that_waits,
    suite::{AT, Harness, PERSON, being_sent, inbound, opt_out, organization, outbound, status, whose},
};

/// A store that says nothing else of itself than `mark`, of which `changes` were seen in the partition of [`PERSON`].
fn known(store: &dyn Store, mark: &Mark, changes: u64) -> KnownStore {
    let seen = [(store.partition(&whose(PERSON)), changes)].into();
    KnownStore { mark: mark.clone(), changes: [(organization(), seen)].into() }
}

/// How often consent has changed, as the store counts.
async fn counted(store: &dyn Store) -> u64 {
    in_all(&recognition::counts(store, &[organization()]).await.unwrap())
}

async fn gate(store: &dyn Store) -> Gate {
    let consent = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    Gate { consent, cooldown: Duration::ZERO, now: AT }
}

pub async fn changes_of_consent_are_counted_and_seen(harness: &dyn Harness) {
    let (store, mark) = (harness.open().await, Mark::new());
    assert_eq!(store.mark().await.unwrap(), None);
    assert!(store.replace_mark(None, &mark).await.unwrap());
    assert!(!store.replace_mark(None, &Mark::new()).await.unwrap());
    assert_eq!(store.mark().await.unwrap(), Some(mark.clone()));
    store.known().take(KnownStore { mark: mark.clone(), changes: Changes::new() });
    let version = async || store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    let seen = async || (counted(&*store).await, store.known().store().unwrap().changes_in_all());
    let stale = version().await;
    assert!(store.change_consent(&organization(), opt_out(stale.clone())).await.unwrap());
    assert_eq!(seen().await, (1, 1));
    assert!(!store.change_consent(&organization(), opt_out(stale)).await.unwrap());
    assert_eq!(seen().await, (1, 1));
    let update = opt_out(version().await);
    for _ in 0..2 {
        let update = Some(update.clone());
        store
            .record_inbound(&organization(), inbound("7"), &whose(PERSON), update, Answer::Nothing)
            .await
            .unwrap();
        assert_eq!(seen().await, (2, 2), "a repetition changes nothing");
    }
    store.record_inbound(&organization(), inbound("8"), &whose(PERSON), None, Answer::Nothing).await.unwrap();
    assert_eq!(seen().await, (2, 2));
    // What others have changed is seen with a look.
    let known = store.known().store();
    drop(store);
    let other = harness.open().await;
    other.known().take(KnownStore { mark, changes: Changes::new() });
    recognition::look(&*other, &[organization()]).await.unwrap();
    assert_eq!(other.known().store(), known);
}

pub async fn nothing_leaves_on_a_store_that_is_not_the_known_one(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = &*store;
    let waits = that_waits(outbound(store, 1), AT);
    store.enqueue(&organization(), std::slice::from_ref(&waits)).await.unwrap();
    let (own, other) = (Mark::new(), Mark::new());
    for (mark, changes, reason) in
        [(&other, 0, "no_identity"), (&other, 0, "another_identity"), (&own, 1, "fewer_changes")]
    {
        store.known().take(known(store, mark, changes));
        is_refused(store, &waits, reason).await;
        let looked = recognition::look(store, &[organization()]).await.unwrap_err();
        assert!(matches!(looked, Error::NotKnown(mismatch) if mismatch.as_str() == reason));
        store.known().trust();
        // There is one from the second time on.
        store.replace_mark(None, &own).await.unwrap();
    }
    assert_eq!(
        (counted(store).await, store.message(&organization(), &status("1", "sent").sid).await.unwrap()),
        (0, None)
    );
    store.known().take(known(store, &own, 0));
    recognition::look(store, &[organization()]).await.unwrap();
    let step = sending(&waits.state, gate(store).await);
    assert_eq!(store.step_outbound(&organization(), &waits.outbound, &step).await.unwrap(), Passed::Yes);
    let new = being_sent(&outbound(store, 2));
    let gate = gate(store).await;
    assert_eq!(store.create_outbound(&organization(), &new, Some(&gate)).await.unwrap(), Passed::Yes);
}

fn sending(from: &OutboundState, gate: Gate) -> Step {
    Step {
        from: from.clone(),
        to: OutboundState::Sending { since: AT, tries: 1 },
        due: Some(AT),
        gate: Some(gate),
        entry: None,
    }
}

/// Each of what a message leaves by, or what is recorded by, is refused by the store itself, of which nobody has said before that
/// it is not the known one.
async fn is_refused(store: &dyn Store, waits: &NewOutbound, reason: &str) {
    let organization = organization();
    let gate = gate(store).await;
    let step = sending(&waits.state, gate.clone());
    let new = being_sent(&outbound(store, 2));
    let update = opt_out(gate.consent.clone());
    let refused = |result: Result<(), Error>, what: &str| {
        let mismatch = match result {
            Err(Error::NotKnown(mismatch)) => *mismatch,
            result => panic!("{what}, {reason}: {result:?}"),
        };
        assert_eq!(mismatch.as_str(), reason, "{what}");
        assert_eq!(store.known().mismatch(), Some(mismatch));
        store.known().trust();
    };
    refused(store.step_outbound(&organization, &waits.outbound, &step).await.map(drop), "a step");
    refused(store.create_outbound(&organization, &new, Some(&gate)).await.map(drop), "a message");
    refused(store.enqueue(&organization, std::slice::from_ref(&new)).await, "a message that waits");
    refused(store.change_consent(&organization, update.clone()).await.map(drop), "a change");
    let recorded = store
        .record_inbound(&organization, inbound("7"), &whose(PERSON), Some(update), Answer::Nothing)
        .await;
    refused(recorded.map(drop), "a reply");
    if reason != "fewer_changes" {
        // On several partitions the message's is another than the person's, of which too much was seen.
        refused(store.record_status(&organization, status("1", "sent")).await.map(drop), "a status");
    }
    assert_eq!(store.outbound(&organization, &new.outbound.id).await.unwrap(), None);
    // Once it was found, nothing at all is written.
    let doubt = store.known().doubt(Mismatch::NoIdentity { known: Mark::new().id, known_changes: 0 });
    assert!(matches!(doubt, Error::NotKnown(_)));
    let counted = store.count(&organization, "a counter", 1, Duration::from_secs(60)).await;
    assert!(matches!(counted, Err(Error::NotKnown(_))), "{counted:?}");
    store.ping().await.unwrap();
    store.known().trust();
}

pub async fn a_store_that_is_accepted_is_used_by_all_who_knew_the_former_one(harness: &dyn Harness) {
    let (store, former) = (harness.open().await, Mark::new());
    let store = &*store;
    let change = async || {
        let version = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
        assert!(store.change_consent(&organization(), opt_out(version)).await.unwrap());
    };
    // It has consent of its own, in partitions that carry its own identity.
    recognition::look(store, &[]).await.unwrap();
    change().await;
    let own = store.known().store().unwrap();

    store.known().take(known(store, &former, 7));
    let looked = recognition::look(store, &[organization()]).await.unwrap_err();
    let Error::NotKnown(mismatch) = looked else { panic!("{looked:?}") };
    let Mismatch::Another { known_changes, found, found_changes, .. } = *mismatch else {
        panic!("{mismatch:?}")
    };
    assert_eq!((known_changes, found, found_changes), (7, own.mark.id.clone(), 1));
    let known = store.known().store().unwrap();
    let changes = recognition::counts(store, &[organization()]).await.unwrap();
    // Only what was looked at is accepted.
    assert_eq!(recognition::accept(store, None, &changes, &known, AT).await.unwrap(), None);
    let accepted = recognition::accept(store, Some(&own.mark), &changes, &known, AT).await.unwrap().unwrap();

    // Who has not looked yet, when a step comes upon it; then with a look.
    store.known().trust();
    for (changes, former) in [(2, &own.mark), (3, &former)] {
        store.known().take(KnownStore { mark: former.clone(), changes: Changes::new() });
        change().await;
        recognition::look(store, &[organization()]).await.unwrap();
        let known = store.known().store().unwrap();
        assert_eq!((&known.mark, known.changes_in_all()), (&accepted, changes));
    }
    // A copy of the store from before is none that was accepted.
    assert!(store.replace_mark(Some(&accepted), &own.mark).await.unwrap());
    assert!(matches!(recognition::look(store, &[]).await, Err(Error::NotKnown(_))));
}
