//! The promises of `store::Store`, one function each.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use textledger::{
    domain::{
        BatchId, Consent, Event, EventId, HistoryId, MessageId, Organization, Outbound, OutboundState,
        Person, Source, StatusChange, Stream, Task, TaskLine, UnixMs,
        consent::{Answer, ConsentChange, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        delivery::Recorded,
        event::InboundEntry,
    },
    store::{ConsentUpdate, ConsentVersion, InboundRecorded, Kind, NewOutbound, Row, Store},
    twilio::{Address, BareAddress, Channel, MessageSid, MessageStatus},
};
use tokio::task::JoinSet;

use crate::support::{flows::due_flows, former::Former};

pub use super::audit::{
    a_change_and_its_entry_are_stored_together_or_not_at_all,
    a_message_and_who_asked_for_it_are_stored_together_or_not_at_all,
    nothing_that_is_done_at_once_is_lost_or_told_twice, what_a_later_version_has_written_hides_no_entry,
    who_did_what_is_told_in_its_order_and_page_by_page,
};
pub use super::erasure::{
    a_message_and_its_events_are_taken_away_and_no_others,
    an_erased_opt_out_is_obeyed_until_the_person_says_otherwise,
    an_erased_person_is_obeyed_by_whichever_name, an_erasure_lets_nothing_leave_at_any_moment,
};
pub use super::model::{
    random_histories_of_consent_agree_with_the_model, random_histories_of_statuses_agree_with_the_model,
};
pub use super::outbox::{
    a_cooldown_is_kept_per_person, a_document_is_changed_by_who_knows_it, a_gate_asks_for_consent,
    a_message_is_entered_in_the_history_once, a_message_that_is_put_off_is_due_then_and_not_before,
    a_message_that_waits_is_claimed_by_one_at_a_time, a_resolved_message_loses_its_content,
    a_sender_s_time_is_given_away_once, all_spellings_of_a_person_are_one,
    an_amount_is_counted_whole_or_not_at_all, consent_is_replaced_without_a_word_by_who_knows_it,
    counters_count_up_to_their_end, documents_that_have_ended_hide_none_behind_them,
    every_change_of_consent_is_listed, everything_is_counted,
    flows_that_are_due_are_told_page_by_page_and_no_others, how_much_is_queued_is_known,
    of_equal_steps_at_once_one_is_taken, several_documents_change_together_or_not_at_all,
    what_became_of_a_send_only_gets_surer,
};
pub use super::outbox_model::random_histories_of_the_outbox_agree_with_the_model;
pub use super::persons::{
    a_user_id_and_a_number_become_one_person, what_was_kept_under_a_spelling_moves_to_the_person,
};
pub use super::recognition::{
    a_store_that_is_accepted_is_used_by_all_who_knew_the_former_one, changes_of_consent_are_counted_and_seen,
    nothing_leaves_on_a_store_that_is_not_the_known_one,
};
pub use super::retention::{
    everything_of_a_person_s_messages_is_forgotten, many_old_entries_go_in_steps,
    what_is_old_is_taken_away_and_nothing_younger,
};

/// Makes the store under test, and makes it again on the same data.
#[async_trait]
pub trait Harness: Sync {
    /// Opens the store.
    async fn open(&self) -> Arc<dyn Store>;

    /// Writes what version 0.1.0 kept of a person; nobody has the store open.
    fn write(&self, former: &Former);

    /// Writes an entry of the audit as it stands; nobody has the store open.
    fn write_entry(&self, stored: &str);

    /// How many random histories are run beside the model.
    fn histories(&self) -> u32 {
        HISTORIES
    }
}

/// Random histories per store.
const HISTORIES: u32 = 24;

/// When everything here happens.
pub const AT: UnixMs = UnixMs::new(1_764_000_000_000);

/// So many milliseconds.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub const PERSON: &str = "+14155550100";

/// The address `text`, without a channel's prefix.
pub fn bare(text: &str) -> BareAddress {
    text.parse().unwrap()
}

/// Who the address `text` belongs to.
pub fn whose(text: &str) -> Person {
    Person::of(&bare(text))
}

/// The message SID that ends in `tail`, which is of hexadecimal digits.
pub fn sid(tail: &str) -> MessageSid {
    MessageSid::parse(&format!("SM{tail:0>32}")).unwrap()
}

/// A callback that the message `tail` has become `status`.
pub fn status(tail: &str, status: &str) -> StatusChange {
    StatusChange {
        sid: sid(tail),
        id: None,
        status: MessageStatus::parse(status),
        error_code: None,
        channel: Channel::Sms,
        to: Some(bare(PERSON)),
        from: Some(bare("+15005550006")),
        batch: None,
        source: Source::Callback,
        at: AT,
        ask_at: Some(AT + ms(900_000)),
        raw: Vec::new(),
        relay: None,
        posted: None,
    }
}

pub fn organization() -> Organization {
    Organization::default()
}

pub fn inbound(tail: &str) -> InboundEntry {
    InboundEntry {
        sid: sid(tail),
        channel: Channel::Sms,
        from: bare(PERSON),
        to: bare("+15005550006"),
        body_length: 4,
        keyword: Some("STOP".to_owned()),
        media: 0,
        at: AT,
    }
}

pub fn opt_out(expected: ConsentVersion) -> ConsentUpdate {
    let mut consent = Consent::default();
    consent.sms.state = ConsentState::OptedOut;
    let entry = ConsentEntry {
        phone: bare(PERSON),
        channel: ConsentChannel::Sms,
        state: ConsentState::OptedOut,
        source: ConsentSource::Keyword,
        sid: Some(sid("5")),
        at: AT,
    };
    ConsentUpdate { expected, consent, entry, evidence: None, actor: None, audit_entry: None }
}

pub fn outbound(store: &dyn Store, number: u128) -> Outbound {
    Outbound {
        id: MessageId::new(store.partition(&whose(PERSON)), number),
        to: Address::parse(PERSON).unwrap(),
        from: Some(Address::parse("+15005550006").unwrap()),
        messaging_service_sid: None,
        body_length: 11,
        segments: 1,
        media: 0,
        category: Some("general".to_owned()),
        user_id: None,
        batch: None,
        status_callback: None,
        fallback: None,
        actor: None,
        created_at: AT,
    }
}

/// `outbound`, about to be handed to Twilio.
pub fn being_sent(outbound: &Outbound) -> NewOutbound {
    NewOutbound {
        outbound: outbound.clone(),
        state: OutboundState::Sending { since: AT, tries: 1 },
        content: Some("sealed".to_owned()),
        bytes: 6,
        due: AT + ms(30_000),
        entry: None,
    }
}

pub async fn all_events(store: &dyn Store, organization: &Organization) -> Vec<(EventId, Event)> {
    whole(store.events(organization, EventId::START, 1_000).await.unwrap())
}

/// Events, each of which can be read.
fn whole(page: Vec<(EventId, Row<Event>)>) -> Vec<(EventId, Event)> {
    page.into_iter().map(|(id, event)| (id, event.unwrap())).collect()
}

/// Changes of a person's consent, each of which can be read.
pub async fn changes_of(store: &dyn Store, person: &Person, skip: usize, limit: usize) -> Vec<ConsentChange> {
    let changes = store.consent_changes(&organization(), person, skip, limit).await.unwrap();
    changes.into_iter().collect::<Result<_, _>>().unwrap()
}

pub async fn a_status_moves_a_message_upwards_only(harness: &dyn Harness) {
    let store = harness.open().await;
    let steps = [
        ("sent", Recorded::Moved, None, "sent"),
        ("queued", Recorded::Late, Some("sent"), "sent"),
        ("undelivered", Recorded::Moved, Some("sent"), "undelivered"),
        ("failed", Recorded::Late, Some("undelivered"), "undelivered"),
        ("delivered", Recorded::Moved, Some("undelivered"), "delivered"),
        ("read", Recorded::Moved, Some("delivered"), "read"),
        ("sending", Recorded::Late, Some("read"), "read"),
    ];
    for (name, recorded, ..) in steps {
        assert_eq!(
            store.record_status(&organization(), status("1", name)).await.unwrap().recorded,
            recorded,
            "{name}"
        );
    }
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    assert_eq!(message.delivery.status, Some(MessageStatus::Read));
    assert_eq!(message.entries.len(), steps.len());
    for (entry, (name, recorded, previous, _)) in message.entries.iter().zip(steps) {
        assert_eq!(entry.status.as_str(), name);
        assert_eq!(entry.late, recorded == Recorded::Late, "{name}");
        assert_eq!(entry.previous.as_ref().map(MessageStatus::as_str), previous, "{name}");
    }
    assert!(store.message(&organization(), &sid("2")).await.unwrap().is_none());
}

pub async fn a_repetition_changes_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    for name in ["queued", "delivered", "sent"] {
        store.record_status(&organization(), status("1", name)).await.unwrap();
    }
    let before = (
        store.message(&organization(), &sid("1")).await.unwrap(),
        all_events(store.as_ref(), &organization()).await,
    );
    for name in ["sent", "queued", "delivered", "delivered"] {
        let repeated = StatusChange { at: AT + ms(1), source: Source::Poll, ..status("1", name) };
        let stored = store.record_status(&organization(), repeated).await.unwrap();
        assert_eq!(stored.recorded, Recorded::Duplicate);
    }
    let after = (
        store.message(&organization(), &sid("1")).await.unwrap(),
        all_events(store.as_ref(), &organization()).await,
    );
    assert_eq!(before, after);
}

pub async fn the_same_status_with_another_error_is_recorded(harness: &dyn Harness) {
    let store = harness.open().await;
    let failed = |error_code| StatusChange { error_code, ..status("1", "failed") };
    for (error_code, recorded) in [
        (Some(30_003), Recorded::Moved),
        (None, Recorded::Late),
        (Some(3_000), Recorded::Late),
        (Some(30_003), Recorded::Duplicate),
        (None, Recorded::Duplicate),
    ] {
        let stored = store.record_status(&organization(), failed(error_code)).await.unwrap();
        assert_eq!(stored.recorded, recorded, "{error_code:?}");
    }
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    let errors: Vec<_> = message.entries.iter().map(|entry| entry.error_code).collect();
    assert_eq!(errors, [Some(30_003), None, Some(3_000)]);
}

pub async fn an_unknown_status_is_kept_and_moves_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    for (name, recorded) in [
        ("teleported", Recorded::Late),
        ("queued", Recorded::Moved),
        ("vanished", Recorded::Late),
        ("teleported", Recorded::Duplicate),
    ] {
        let stored = store.record_status(&organization(), status("1", name)).await.unwrap();
        assert_eq!(stored.recorded, recorded, "{name}");
    }
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    assert_eq!(message.delivery.status, Some(MessageStatus::Queued));
    let names: Vec<_> = message.entries.iter().map(|entry| entry.status.as_str()).collect();
    assert_eq!(names, ["teleported", "queued", "vanished"]);
    assert_eq!(message.entries[0].previous, None);
}

pub async fn our_id_is_learned_once_and_stays(harness: &dyn Harness) {
    let store = harness.open().await;
    let id = MessageId::new(0, 7);
    let with_id = |name| StatusChange { id: Some(id), ..status("1", name) };
    let learned = [
        store.record_status(&organization(), status("1", "queued")).await.unwrap().learned_id,
        store.record_status(&organization(), with_id("sent")).await.unwrap().learned_id,
        store.record_status(&organization(), with_id("delivered")).await.unwrap().learned_id,
        store.record_status(&organization(), status("1", "read")).await.unwrap().learned_id,
    ];
    assert_eq!(learned, [false, true, false, false]);
    // A repetition names it too: the first try may have ended before the outbound message was told.
    let repeated = store.record_status(&organization(), with_id("delivered")).await.unwrap();
    assert_eq!((repeated.recorded, repeated.learned_id), (Recorded::Duplicate, true));
    let another = StatusChange { id: Some(MessageId::new(0, 8)), ..status("1", "delivered") };
    assert!(!store.record_status(&organization(), another).await.unwrap().learned_id);
    // And so does one of a message that was heard of without an id.
    store.record_status(&organization(), status("2", "queued")).await.unwrap();
    let second = StatusChange { id: Some(MessageId::new(0, 9)), ..status("2", "queued") };
    let repeated = store.record_status(&organization(), second.clone()).await.unwrap();
    assert_eq!((repeated.recorded, repeated.learned_id), (Recorded::Duplicate, true));
    let message = store.message(&organization(), &sid("2")).await.unwrap().unwrap();
    assert_eq!((message.delivery.id, message.entries.len()), (second.id, 1));
    let third = StatusChange { id: Some(id), ..second };
    assert!(!store.record_status(&organization(), third).await.unwrap().learned_id);
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    assert_eq!(message.delivery.id, Some(id));
    let ids: Vec<_> = message.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [None, Some(id), Some(id), Some(id)]);
}

pub async fn unknown_parameters_are_kept(harness: &dyn Harness) {
    let store = harness.open().await;
    let raw = vec![
        ("NewIn2027".to_owned(), "a&b=c %é\u{1f44d}".to_owned()),
        ("Twice".to_owned(), String::new()),
        ("Twice".to_owned(), "2".to_owned()),
    ];
    store.record_status(&organization(), status("1", "queued")).await.unwrap();
    let change = StatusChange { raw: raw.clone(), ..status("1", "sent") };
    store.record_status(&organization(), change).await.unwrap();
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    assert_eq!((&message.entries[0].raw, &message.entries[1].raw), (&Vec::new(), &raw));
    let events = all_events(store.as_ref(), &organization()).await;
    assert!(matches!(&events[1].1, Event::Delivery(entry) if entry.raw == raw));
}

pub async fn what_is_strange_is_stored_as_it_is(harness: &dyn Harness) {
    let store = harness.open().await;
    let change = StatusChange {
        to: Some(bare("CO.\"8997\u{e9};@!{x}")),
        from: None,
        channel: Channel::Whatsapp,
        batch: Some(BatchId::new(1)),
        error_code: Some(u32::MAX),
        ..status("ff", "SENT")
    };
    store.record_status(&organization(), change.clone()).await.unwrap();
    let odd = StatusChange { status: MessageStatus::Other("o;d@d!9".to_owned()), ..change.clone() };
    store.record_status(&organization(), odd.clone()).await.unwrap();
    let repeated = store.record_status(&organization(), odd).await.unwrap();
    assert_eq!(repeated.recorded, Recorded::Duplicate);
    let message = store.message(&organization(), &sid("ff")).await.unwrap().unwrap();
    assert_eq!(message.delivery.status, Some(MessageStatus::Sent));
    let entry = &message.entries[0];
    assert_eq!(
        (&entry.to, &entry.from, entry.channel, &entry.batch, entry.error_code),
        (&change.to, &change.from, change.channel, &change.batch, change.error_code)
    );
    assert_eq!(message.entries[1].status.as_str(), "o;d@d!9");
}

pub async fn events_come_in_order_and_page_without_gaps(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut written = Vec::new();
    for number in 0..60 {
        let tail = format!("{number:x}");
        match number % 3 {
            0 => drop(store.record_status(&organization(), status(&tail, "sent")).await.unwrap()),
            1 => {
                let entry = InboundEntry { from: bare(&format!("+1415555{number:04}")), ..inbound(&tail) };
                let stored = {
                    let person = Person::of(&entry.from);
                    store.record_inbound(&organization(), entry, &person, None, Answer::Nothing).await
                };
                assert_eq!(stored.unwrap(), InboundRecorded::Stored);
            }
            _ => {
                let mut update = opt_out(ConsentVersion::of_nothing(whose(&format!("+1415555{number:04}"))));
                update.entry.phone = bare(&format!("+1415555{number:04}"));
                update.entry.sid = Some(sid(&tail));
                assert!(store.change_consent(&organization(), update).await.unwrap());
            }
        }
        written.push(sid(&tail));
        // A page that ends here is complete: what was written before it is in it.
        let events = all_events(store.as_ref(), &organization()).await;
        assert_eq!(events.len(), written.len());
    }
    let all = all_events(store.as_ref(), &organization()).await;
    assert!(all.is_sorted_by(|(left, _), (right, _)| left < right));
    let sids: HashSet<_> = all
        .iter()
        .map(|(_, event)| match event {
            Event::Delivery(entry) => entry.sid.clone(),
            Event::Inbound(entry) => entry.sid.clone(),
            Event::Consent(entry) => entry.sid.clone().unwrap(),
        })
        .collect();
    assert_eq!(sids, written.into_iter().collect());
    assert_eq!(store.last_event(&organization()).await.unwrap(), all[59].0);
    for limit in [1, 7, 60] {
        let mut paged = Vec::new();
        let mut after = EventId::START;
        loop {
            let page = whole(store.events(&organization(), after, limit).await.unwrap());
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = *last;
            paged.extend(page);
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    for stream in Stream::ALL {
        assert_eq!(all.iter().filter(|(id, _)| id.stream == stream).count(), 20);
    }
}

pub async fn organizations_are_apart(harness: &dyn Harness) {
    let store = harness.open().await;
    let other = Organization::parse("other.org-1_x").unwrap();
    store.record_status(&organization(), status("1", "delivered")).await.unwrap();
    assert_eq!(store.last_event(&other).await.unwrap(), EventId::START);
    assert_eq!(store.record_status(&other, status("1", "sent")).await.unwrap().recorded, Recorded::Moved);
    let expected = store.consent(&other, &whose(PERSON)).await.unwrap().version;
    store.change_consent(&other, opt_out(expected)).await.unwrap();
    assert_eq!(store.consent(&organization(), &whose(PERSON)).await.unwrap().consent, Consent::default());
    assert_eq!(all_events(store.as_ref(), &organization()).await.len(), 1);
    assert_eq!(all_events(store.as_ref(), &other).await.len(), 2);
}

pub async fn an_inbound_message_is_stored_once_with_its_first_answer(harness: &dyn Harness) {
    let store = harness.open().await;
    let version = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    let stored = store
        .record_inbound(
            &organization(),
            inbound("1"),
            &whose(PERSON),
            Some(opt_out(version)),
            Answer::OptedOut,
        )
        .await
        .unwrap();
    assert_eq!(stored, InboundRecorded::Stored);
    let again = store
        .record_inbound(&organization(), inbound("1"), &whose(PERSON), None, Answer::Nothing)
        .await
        .unwrap();
    assert_eq!(again, InboundRecorded::Duplicate(Answer::OptedOut));
    let known = store.consent(&organization(), &whose(PERSON)).await.unwrap();
    assert_eq!(known.consent.sms.state, ConsentState::OptedOut);
    let events = all_events(store.as_ref(), &organization()).await;
    assert_eq!(events.iter().map(|(_, event)| event.kind()).collect::<Vec<_>>(), ["inbound", "consent"]);
    assert_eq!(events[0].1, Event::Inbound(inbound("1")));
}

pub async fn a_decision_on_old_consent_writes_nothing(harness: &dyn Harness) {
    let store = harness.open().await;
    let old = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    assert!(store.change_consent(&organization(), opt_out(old.clone())).await.unwrap());
    assert!(!store.change_consent(&organization(), opt_out(old.clone())).await.unwrap());
    let stale = store
        .record_inbound(&organization(), inbound("1"), &whose(PERSON), Some(opt_out(old)), Answer::OptedOut)
        .await
        .unwrap();
    assert_eq!(stale, InboundRecorded::ConsentChanged);
    assert_eq!(all_events(store.as_ref(), &organization()).await.len(), 1);
    let now = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    let stored = store
        .record_inbound(&organization(), inbound("1"), &whose(PERSON), Some(opt_out(now)), Answer::OptedOut)
        .await
        .unwrap();
    assert_eq!(stored, InboundRecorded::Stored);
}

/// Long before and long after everything is due.
pub const SOON: UnixMs = UnixMs::new(AT.get() + 899_999);
pub const DUE: UnixMs = UnixMs::new(AT.get() + 900_000);
pub const LATER: UnixMs = UnixMs::new(AT.get() + 1_900_000);

/// The messages that are to be asked for at `now`, as they are claimed until `until`.
pub async fn claimed_messages(store: &dyn Store, now: UnixMs, until: UnixMs) -> Vec<MessageSid> {
    let claimed = store.claim(&organization(), TaskLine::Twilio, now, until, 1_000).await.unwrap();
    let sid = |(task, _)| match task {
        Ok(Task::Ask { sid, .. }) => sid,
        _ => panic!("nothing else is to be done"),
    };
    claimed.into_iter().map(sid).collect()
}

pub async fn a_message_is_to_be_asked_for_until_it_is_at_its_end(harness: &dyn Harness) {
    let store = harness.open().await;
    let record = |tail: &'static str, name: &'static str| {
        let store = store.clone();
        async move { store.record_status(&organization(), status(tail, name)).await.unwrap() }
    };
    for (tail, names) in [
        ("1", &["queued", "sent"][..]),
        ("2", &["sent", "delivered"]),
        ("3", &["delivered"]),
        ("4", &["failed", "sent"]),
        ("5", &["moonshot"]),
        ("6", &["moonshot", "undelivered"]),
    ] {
        for name in names {
            record(tail, name).await;
        }
    }
    let never = StatusChange { ask_at: None, ..status("7", "sent") };
    store.record_status(&organization(), never).await.unwrap();
    assert_eq!(claimed_messages(store.as_ref(), SOON, LATER).await, []);
    let mut claimed = claimed_messages(store.as_ref(), DUE, LATER).await;
    claimed.sort();
    assert_eq!(claimed, [sid("1"), sid("5")]);
    // Claimed or not, what comes to its end is done.
    record("1", "delivered").await;
    assert_eq!(claimed_messages(store.as_ref(), LATER, LATER + ms(1)).await, [sid("5")]);
    record("1", "sent").await;
    assert_eq!(claimed_messages(store.as_ref(), LATER + ms(1), LATER + ms(2)).await, [sid("5")]);
}

pub async fn a_task_is_claimed_by_one_at_a_time(harness: &dyn Harness) {
    let store = harness.open().await;
    let all: HashSet<MessageSid> = (0..100).map(|number| sid(&format!("{number:x}"))).collect();
    for sid in &all {
        let change = StatusChange { sid: sid.clone(), ..status("0", "sent") };
        store.record_status(&organization(), change).await.unwrap();
    }
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        claimers.spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let more = store.claim(&organization(), TaskLine::Twilio, DUE, LATER, 7).await.unwrap();
                if more.is_empty() {
                    return claimed;
                }
                assert!(more.len() <= 7 && more.iter().all(|(_, due)| *due == DUE));
                claimed.extend(more.into_iter().map(|(task, _)| match task {
                    Ok(Task::Ask { sid, .. }) => sid,
                    _ => panic!("nothing else is to be done"),
                }));
            }
        });
    }
    let claimed: Vec<MessageSid> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), all.len());
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
    // Whoever claimed them has not come back: they are due again.
    assert_eq!(claimed_messages(store.as_ref(), LATER, LATER + ms(1)).await.len(), all.len());
}

pub async fn tasks_stand_in_lines_of_their_own(harness: &dyn Harness) {
    let store = harness.open().await;
    let organization = organization();
    let relays: HashSet<Task> =
        (0..20).map(|number| Task::Relay { name: format!("{number:032x}") }).collect();
    store.schedule(&organization, &Task::List, UnixMs::new(2_000)).await.unwrap();
    for relay in &relays {
        store.schedule(&organization, relay, UnixMs::new(1_000)).await.unwrap();
    }
    let claim = async |line, now| {
        store.claim(&organization, line, UnixMs::new(now), UnixMs::new(9_000), 100).await.unwrap()
    };
    // However many are due in one line, nobody waits for them in the other.
    let one = store
        .claim(&organization, TaskLine::Twilio, UnixMs::new(2_000), UnixMs::new(3_000), 1)
        .await
        .unwrap();
    assert_eq!(one, [(Ok(Task::List), UnixMs::new(2_000))]);
    let claimed: HashSet<Task> =
        claim(TaskLine::Callers, 1_000).await.into_iter().map(|(task, _)| task.unwrap()).collect();
    assert_eq!(claimed, relays);
    assert_eq!(claim(TaskLine::Callers, 8_999).await, []);
    for relay in &relays {
        store.reschedule(&organization, relay, None).await.unwrap();
    }
    assert_eq!(claim(TaskLine::Callers, 9_000).await, []);
    assert_eq!(claim(TaskLine::Twilio, 9_000).await, [(Ok(Task::List), UnixMs::new(3_000))]);
}

pub async fn a_task_is_planned_once_and_anew_only_while_it_is_to_be_done(harness: &dyn Harness) {
    let store = harness.open().await;
    let (organization, other) = (organization(), Organization::parse("other").unwrap());
    let claim = async |now, until| {
        store.claim(&organization, TaskLine::Twilio, UnixMs::new(now), UnixMs::new(until), 10).await.unwrap()
    };
    store.schedule(&organization, &Task::List, UnixMs::new(1_000)).await.unwrap();
    store.schedule(&organization, &Task::List, UnixMs::new(10)).await.unwrap();
    assert_eq!(
        store.claim(&other, TaskLine::Twilio, UnixMs::new(5_000), UnixMs::new(6_000), 10).await.unwrap(),
        []
    );
    assert_eq!(claim(999, 2_000).await, []);
    assert_eq!(claim(1_000, 2_000).await, [(Ok(Task::List), UnixMs::new(1_000))]);
    assert_eq!(claim(1_999, 3_000).await, []);
    store.reschedule(&organization, &Task::List, Some(UnixMs::new(1_500))).await.unwrap();
    assert_eq!(claim(1_500, 2_000).await, [(Ok(Task::List), UnixMs::new(1_500))]);
    store.reschedule(&organization, &Task::List, None).await.unwrap();
    store.reschedule(&organization, &Task::List, Some(UnixMs::new(1_000))).await.unwrap();
    assert_eq!(claim(9_000, 9_001).await, []);
    store.schedule(&organization, &Task::List, UnixMs::new(1)).await.unwrap();
    drop(store);
    let store = harness.open().await;
    assert_eq!(
        store.claim(&organization, TaskLine::Twilio, UnixMs::new(1), UnixMs::new(2), 10).await.unwrap(),
        [(Ok(Task::List), UnixMs::new(1))]
    );
}

pub async fn waiting_ends_with_an_event_or_in_time(harness: &dyn Harness) {
    let store = harness.open().await;
    let short = Duration::from_millis(20);
    store.wait_for_events(&organization(), EventId::START, short).await.unwrap();
    store.record_status(&organization(), status("1", "queued")).await.unwrap();
    let last = store.last_event(&organization()).await.unwrap();
    let long = Duration::from_secs(600);
    store.wait_for_events(&organization(), EventId::START, long).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait_for_events(&organization(), last, long).await })
    };
    store.record_status(&organization(), status("1", "sent")).await.unwrap();
    tokio::time::timeout(crate::support::DEADLINE, waiting).await.expect("in time").unwrap().unwrap();
}

pub async fn of_equal_callbacks_at_once_one_moves_the_message(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut tasks = JoinSet::new();
    for number in 0..128 {
        let store = store.clone();
        let name = ["sent", "delivered"][number % 2];
        tasks.spawn(async move { store.record_status(&organization(), status("1", name)).await });
    }
    let results = tasks.join_all().await;
    let duplicates =
        results.iter().filter(|result| result.as_ref().unwrap().recorded == Recorded::Duplicate).count();
    assert_eq!(duplicates, 126);
    let message = store.message(&organization(), &sid("1")).await.unwrap().unwrap();
    assert_eq!(message.delivery.status, Some(MessageStatus::Delivered));
    assert_eq!(all_events(store.as_ref(), &organization()).await.len(), 2);
}

pub async fn everything_is_there_after_opening_again(harness: &dyn Harness) {
    let store = harness.open().await;
    let sent = outbound(store.as_ref(), 1);
    store.create_outbound(&organization(), &being_sent(&sent), None).await.unwrap();
    let settings = (Kind::Settings, "default");
    store.change_document(&organization(), settings.0, settings.1, None, Some("{}"), None).await.unwrap();
    store.record_status(&organization(), status("1", "sent")).await.unwrap();
    let update = opt_out(ConsentVersion::of_nothing(whose(PERSON)));
    store
        .record_inbound(&organization(), inbound("2"), &whose(PERSON), Some(update), Answer::OptedOut)
        .await
        .unwrap();
    let look = async |store: Arc<dyn Store>| {
        (
            store.message(&organization(), &sid("1")).await.unwrap(),
            store.consent(&organization(), &whose(PERSON)).await.unwrap(),
            store.outbound(&organization(), &sent.id).await.unwrap(),
            store.document(&organization(), settings.0, settings.1).await.unwrap(),
            store.history(&organization(), None, HistoryId::END, 10).await.unwrap(),
            due_flows(store.as_ref(), &organization(), UnixMs::new(u64::MAX >> 12)).await,
            all_events(store.as_ref(), &organization()).await,
        )
    };
    let before = look(store).await;
    let store = harness.open().await;
    assert_eq!(look(store.clone()).await, before);
    store.ping().await.unwrap();
    store.record_status(&organization(), status("1", "delivered")).await.unwrap();
    assert_eq!(all_events(store.as_ref(), &organization()).await.len(), before.6.len() + 1);
}
