//! The promises of `store::retention`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use textledger::{
    clock::{Clock, SystemClock},
    domain::{
        Event, EventId, HistoryId, MessageRef, Outbound, OutboundState, StatusChange, Task, UnixMs,
        consent::Answer,
    },
    store::{Forget, InboundRecorded, NewOutbound, Removed, Store, retention::FORGOTTEN_MAX},
    twilio::{Address, MessageSid},
};

use super::{
    outbox::that_waits,
    suite::{
        AT, Harness, PERSON, all_events, bare, inbound, ms, opt_out, organization, outbound, sid, status,
        whose,
    },
};
use crate::support::eventually;

const OTHER: &str = "+14155550177";

/// A message that Twilio has as `sid`.
fn accepted(outbound: Outbound, sid: MessageSid) -> NewOutbound {
    let state = OutboundState::Accepted { at: AT, message_sid: sid };
    NewOutbound { state, content: None, ..that_waits(outbound, AT) }
}

/// A time that all which was done before is before, and nothing of what is done afterwards.
async fn border(store: &dyn Store) -> UnixMs {
    let border = SystemClock.now_ms().max(store.last_event(&organization()).await.unwrap().ms) + ms(1);
    eventually("the time has passed", async || (SystemClock.now_ms() > border).then_some(())).await;
    border
}

/// Takes away what is from before `before`, as the service does it.
async fn take_away(store: &dyn Store, before: UnixMs) -> Removed {
    let mut all = Removed::default();
    loop {
        let (removed, more) = store.trim_events(&organization(), before).await.unwrap();
        all += removed;
        if !more {
            break;
        }
    }
    let mut after = HistoryId::at(UnixMs::EPOCH);
    loop {
        let page = store.oldest_messages(&organization(), after, before, 3).await.unwrap();
        let Some((last, _)) = page.last() else { return all };
        assert!(page.is_sorted_by(|(a, _), (b, _)| a < b) && page[0].0 > after && last.ms < before);
        after = *last;
        let messages: Vec<_> = page.into_iter().map(|(place, name)| (place, name.unwrap())).collect();
        all += store.forget_messages(&organization(), &messages, Forget::HeardBefore(before)).await.unwrap();
    }
}

/// The names of all messages in the history of `person`, or of everybody.
async fn names(store: &dyn Store, person: Option<&str>) -> BTreeSet<String> {
    let person = person.map(whose);
    let page = store.history(&organization(), person.as_ref(), HistoryId::END, 500).await.unwrap();
    page.into_iter().map(|(_, name)| name.to_string()).collect()
}

async fn is_known(store: &dyn Store, tail: &str) -> bool {
    store.message(&organization(), &sid(tail)).await.unwrap().is_some()
}

pub async fn what_is_old_is_taken_away_and_nothing_younger(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let organization = organization();
    let record = async |change: StatusChange| store.record_status(&organization, change).await.unwrap();
    let [ours, waiting] = [1, 2].map(|number| outbound(store, number));
    store.create_outbound(&organization, &accepted(ours.clone(), sid("a")), None).await.unwrap();
    store.create_outbound(&organization, &that_waits(waiting.clone(), AT), None).await.unwrap();
    for word in ["sent", "delivered"] {
        record(StatusChange { id: Some(ours.id), raw: vec![("x".into(), "y".into())], ..status("a", word) })
            .await;
        record(status("b", word)).await;
    }
    // Of these, one is heard of again, one is to be asked for, and of one nobody knows what was asked for any more.
    record(status("c", "sent")).await;
    record(status("d", "sent")).await;
    record(StatusChange { id: Some(outbound(store, 9).id), ..status("e", "read") }).await;
    let inbound_of = async |tail: &str| {
        let (entry, person) = (inbound(tail), whose(PERSON));
        store.record_inbound(&organization, entry, &person, None, Answer::Help).await.unwrap()
    };
    inbound_of("1a").await;
    let known = store.consent(&organization, &whose(PERSON)).await.unwrap();
    store.change_consent(&organization, opt_out(known.version)).await.unwrap();
    let before = border(store).await;
    let old = all_events(store, &organization).await;

    record(status("c", "delivered")).await;
    record(status("f", "delivered")).await;
    inbound_of("2a").await;
    let younger: Vec<_> = all_events(store, &organization).await.split_off(old.len());
    let (first, last) = (old[0].0, old[old.len() - 1].0);
    assert_eq!(store.lost_events(&organization, first).await.unwrap(), None);

    let removed = take_away(store, before).await;
    // What waits, what was heard of again and what is to be asked for stays.
    assert_eq!(removed, Removed { messages: 2, deliveries: 7, inbound: 1, consents: 1 });
    assert_eq!(all_events(store, &organization).await, younger);
    let known = [is_known(store, "a").await, is_known(store, "b").await, is_known(store, "e").await];
    assert_eq!(known, [false; 3]);
    assert_eq!(store.outbound(&organization, &ours.id).await.unwrap(), None);
    assert!(store.outbound(&organization, &waiting.id).await.unwrap().is_some());
    let stay = [waiting.id.to_string(), sid("c").to_string(), sid("d").to_string(), sid("f").to_string()];
    let stay = BTreeSet::from(stay);
    assert_eq!((names(store, None).await, names(store, Some(PERSON)).await), (stay.clone(), stay));
    let heard_again = store.message(&organization, &sid("c")).await.unwrap().unwrap();
    assert_eq!((heard_again.delivery.seen.len(), heard_again.entries.len()), (2, 1));
    assert!(store.message(&organization, &sid("d")).await.unwrap().unwrap().entries.is_empty());
    assert_eq!(inbound_of("2a").await, InboundRecorded::Duplicate(Answer::Help));
    assert_eq!(inbound_of("1a").await, InboundRecorded::Stored);
    let consent = store.consent(&organization, &whose(PERSON)).await.unwrap().consent;
    assert_eq!(consent.sms.state, textledger::domain::consent::ConsentState::OptedOut);

    // Who had read the last of them has lost nothing, whoever had not is told up to where.
    let lost = store.lost_events(&organization, first).await.unwrap().unwrap();
    assert_eq!((lost.ms, lost.seq), (last.ms, last.seq));
    assert_eq!(
        store.lost_events(&organization, EventId { partition: u16::MAX, ..last }).await.unwrap(),
        None
    );
    assert_eq!(take_away(store, before).await, Removed::default());

    let ask = Task::Ask { sid: sid("d"), since: heard_of(&old, "d") };
    store.reschedule(&organization, &ask, None).await.unwrap();
    assert_eq!(take_away(store, before).await, Removed::messages(1));
    assert!(!names(store, None).await.contains(sid("d").as_str()));
    assert!(!names(store, Some(PERSON)).await.contains(sid("d").as_str()));
}

/// When the first status of the message `tail` was recorded.
fn heard_of(events: &[(EventId, Event)], tail: &str) -> UnixMs {
    let is_first = |event: &Event| matches!(event, Event::Delivery(entry) if entry.sid == sid(tail));
    events.iter().find(|(_, event)| is_first(event)).expect("it was recorded").0.ms
}

pub async fn everything_of_a_person_s_messages_is_forgotten(harness: &dyn Harness) {
    let store = harness.open().await;
    let store = store.as_ref();
    let organization = organization();
    let to_other = |number| Outbound {
        id: textledger::domain::MessageId::new(store.partition(&whose(OTHER)), number),
        to: Address::parse(OTHER).unwrap(),
        ..outbound(store, number)
    };
    for (number, tail) in [(1, "a1"), (2, "a2")] {
        let message = accepted(outbound(store, number), sid(tail));
        store.create_outbound(&organization, &message, None).await.unwrap();
        let change = StatusChange { id: Some(message.outbound.id), ..status(tail, "sent") };
        store.record_status(&organization, change).await.unwrap();
    }
    let waits = that_waits(outbound(store, 3), AT);
    store.create_outbound(&organization, &waits, None).await.unwrap();
    store.record_status(&organization, status("b1", "sent")).await.unwrap();
    store.create_outbound(&organization, &accepted(to_other(4), sid("c1")), None).await.unwrap();
    let of_other = StatusChange { to: Some(bare(OTHER)), ..status("d1", "sent") };
    store.record_status(&organization, of_other).await.unwrap();

    let person = whose(PERSON);
    let theirs = store.history(&organization, Some(&person), HistoryId::END, FORGOTTEN_MAX).await.unwrap();
    let removed = store.forget_messages(&organization, &theirs, Forget::Any).await.unwrap();
    assert_eq!(removed, Removed { messages: 3, deliveries: 3, ..Removed::default() });
    // One that waits has to be called off first.
    assert_eq!(names(store, Some(PERSON)).await, BTreeSet::from([waits.outbound.id.to_string()]));
    assert_eq!(
        names(store, Some(OTHER)).await,
        BTreeSet::from([to_other(4).id.to_string(), sid("d1").to_string()])
    );
    for tail in ["a1", "a2", "b1"] {
        assert!(!is_known(store, tail).await, "{tail}");
    }
    assert!(is_known(store, "d1").await);
    assert_eq!(all_events(store, &organization).await.len(), 1);
    let gone = store.outbound(&organization, &outbound(store, 1).id).await.unwrap();
    assert_eq!(gone, None);
    // Nobody asks Twilio for them any more.
    let far = UnixMs::new(9_000_000_000_000);
    let planned =
        store.claim(&organization, textledger::domain::TaskLine::Twilio, far, far + ms(1), 9).await.unwrap();
    assert_eq!(planned.len(), 1, "that of the other");

    let again = store.forget_messages(&organization, &theirs, Forget::Any).await.unwrap();
    assert_eq!(again.deliveries, 0);
    assert!(store.outbound(&organization, &waits.outbound.id).await.unwrap().is_some());
}

pub async fn many_old_entries_go_in_steps(harness: &dyn Harness) {
    const MESSAGES: u64 = 520;
    let store = harness.open().await;
    let organization = organization();
    let record =
        |number: u64| store.record_status(&organization, status(&format!("{number:x}"), "delivered"));
    for recorded in join_all((0..MESSAGES).map(record)).await {
        recorded.unwrap();
    }
    let before = border(store.as_ref()).await;
    store.record_status(&organization, status("abcdef", "delivered")).await.unwrap();
    let removed = take_away(store.as_ref(), before).await;
    assert_eq!((removed.messages, removed.deliveries), (MESSAGES, MESSAGES));
    assert_eq!(all_events(store.as_ref(), &organization).await.len(), 1);
    let left = BTreeSet::from([MessageRef::Sid(sid("abcdef")).to_string()]);
    assert_eq!(names(store.as_ref(), None).await, left);
}
