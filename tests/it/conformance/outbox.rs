//! The promises of `store::outbox` and `store::documents`, and of what is counted and listed.

use std::{collections::HashSet, time::Duration};

use textledger::{
    clock::{Clock, SystemClock},
    domain::{
        Flow, HistoryId, Hold, MessageId, MessageRef, Organization, Outbound, OutboundState, Sender,
        StatusChange, UnixMs, category,
        consent::{ConsentChannel, ConsentState},
        outgoing,
        stats::{Counter, Counts, Unit},
    },
    store::{
        ConsentVersion, Counted, DocumentChange, Gate, Kind, NewOutbound, Passed, Queued, Step, Store,
        documents::DOCUMENTS_MAX,
        outbox::{DUE_FLOWS_MAX, DueFlows, OUTBOUNDS_MAX},
    },
    twilio::Address,
};
use tokio::task::JoinSet;

use super::suite::{
    AT, Harness, PERSON, bare, being_sent, changes_of, ms, opt_out, organization, outbound, sid, status,
    whose,
};
use crate::support::flows::{self, due_flows};

/// `outbound`, which waits until `until`.
pub fn that_waits(outbound: Outbound, until: UnixMs) -> NewOutbound {
    let state = OutboundState::Waiting { until, reason: Hold::Turn, tries: 0, suspicion: None };
    let content = Some("sealed".to_owned());
    NewOutbound { outbound, state, content, bytes: 6, due: until, entry: None }
}

fn gate(consent: ConsentVersion, cooldown_s: u64, now: UnixMs) -> Gate {
    Gate { consent, cooldown: Duration::from_secs(cooldown_s), now }
}

fn to(store: &dyn Store, person: &str, number: u128) -> Outbound {
    Outbound {
        id: MessageId::new(store.partition(&whose(person)), number),
        to: Address::parse(person).unwrap(),
        ..outbound(store, number)
    }
}

pub async fn a_gate_asks_for_consent(harness: &dyn Harness) {
    let store = harness.open().await;
    let first = being_sent(&outbound(store.as_ref(), 1));
    let version = store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    let pass = gate(version.clone(), 0, AT);
    let created = store.create_outbound(&organization(), &first, Some(&pass)).await.unwrap();
    assert_eq!(created, Passed::Yes);
    let stored = store.outbound(&organization(), &first.outbound.id).await.unwrap().unwrap();
    assert_eq!((stored.outbound, stored.state), (first.outbound.clone(), first.state.clone()));
    assert_eq!(stored.content.as_deref(), Some("sealed"));
    let taken = store.create_outbound(&organization(), &first, Some(&pass)).await.unwrap();
    assert_eq!(taken, Passed::StateChanged);
    let waits = that_waits(outbound(store.as_ref(), 3), AT);
    store.enqueue(&organization(), std::slice::from_ref(&waits)).await.unwrap();

    store.change_consent(&organization(), opt_out(version)).await.unwrap();
    let second = being_sent(&outbound(store.as_ref(), 2));
    let stale = store.create_outbound(&organization(), &second, Some(&pass)).await.unwrap();
    assert_eq!(stale, Passed::ConsentChanged);
    assert_eq!(store.outbound(&organization(), &second.outbound.id).await.unwrap(), None);
    let step = Step {
        from: waits.state.clone(),
        to: OutboundState::Sending { since: AT, tries: 1 },
        due: Some(AT),
        gate: Some(pass),
        entry: None,
    };
    let stale = store.step_outbound(&organization(), &waits.outbound, &step).await.unwrap();
    assert_eq!(stale, Passed::ConsentChanged);
    let still = store.outbound(&organization(), &waits.outbound.id).await.unwrap().unwrap();
    assert_eq!(still.state, waits.state);
}

pub async fn a_cooldown_is_kept_per_person(harness: &dyn Harness) {
    let store = harness.open().await;
    // The time is kept by a clock that runs on, so it has to be the present one.
    let now = now_ms();
    let create = async |person: &str, number: u128, at: UnixMs| {
        let new = being_sent(&to(store.as_ref(), person, number));
        let version = store.consent(&organization(), &whose(person)).await.unwrap().version;
        store.create_outbound(&organization(), &new, Some(&gate(version, 60, at))).await.unwrap()
    };
    assert_eq!(create(PERSON, 1, now).await, Passed::Yes);
    assert_eq!(create(PERSON, 2, now + ms(1_000)).await, Passed::CoolingDown { until: now + ms(60_000) });
    assert_eq!(create("+14155550199", 3, now + ms(1_000)).await, Passed::Yes);
    assert_eq!(create(PERSON, 4, now + ms(60_000)).await, Passed::Yes);
}

pub async fn all_spellings_of_a_person_are_one(harness: &dyn Harness) {
    let store = harness.open().await;
    let now = now_ms();
    let (dialled, by_whatsapp) = ("+5511987654321", "+551187654321");
    let create = async |address: &str, number: u128, cooldown_s, at: UnixMs| {
        let new = being_sent(&to(store.as_ref(), address, number));
        let version = store.consent(&organization(), &whose(address)).await.unwrap().version;
        store.create_outbound(&organization(), &new, Some(&gate(version, cooldown_s, at))).await.unwrap()
    };
    let old = store.consent(&organization(), &whose(dialled)).await.unwrap().version;
    assert_eq!(create(dialled, 1, 60, now).await, Passed::Yes);
    let until = now + ms(60_000);
    assert_eq!(create(by_whatsapp, 2, 60, now + ms(1)).await, Passed::CoolingDown { until });
    assert_eq!(create(by_whatsapp, 3, 0, now + ms(1)).await, Passed::Yes);
    let entered = store.history(&organization(), Some(&whose(dialled)), HistoryId::END, 9).await.unwrap();
    assert_eq!(entered.len(), 2);

    let mut update = opt_out(old.clone());
    update.entry.phone = bare(by_whatsapp);
    assert!(store.change_consent(&organization(), update).await.unwrap());
    let known = store.consent(&organization(), &whose(dialled)).await.unwrap();
    assert_eq!(known.consent.sms.state, ConsentState::OptedOut);
    let stale = being_sent(&to(store.as_ref(), dialled, 4));
    let stale = store.create_outbound(&organization(), &stale, Some(&gate(old, 0, now))).await.unwrap();
    assert_eq!(stale, Passed::ConsentChanged);
    // What is told of the change names the address as it was given.
    let changes = changes_of(store.as_ref(), &whose(dialled), 0, 9).await;
    assert_eq!(changes[0].entry.phone, bare(by_whatsapp));
    assert_eq!(store.persons(&organization(), None, 9).await.unwrap(), [whose(dialled)]);
}

pub async fn what_became_of_a_send_only_gets_surer(harness: &dyn Harness) {
    let store = harness.open().await;
    let sent = outbound(store.as_ref(), 1);
    store.create_outbound(&organization(), &being_sent(&sent), None).await.unwrap();
    let unknown = OutboundState::Unknown { since: AT, tries: 1, searches: 0 };
    let refused = OutboundState::Refused {
        at: AT,
        code: textledger::domain::Refusal::TwilioRefused,
        reason: "no".to_owned(),
        twilio_code: Some(21_211),
    };
    let accepted = OutboundState::Accepted { at: AT, message_sid: sid("1") };
    let steps = [
        (unknown.clone(), unknown.clone()),
        (OutboundState::Sending { since: AT, tries: 2 }, unknown.clone()),
        (refused.clone(), refused.clone()),
        (accepted.clone(), accepted.clone()),
        (refused, accepted.clone()),
        (unknown.clone(), accepted.clone()),
        (OutboundState::Accepted { at: AT, message_sid: sid("2") }, accepted),
    ];
    for (told, kept) in steps {
        store.resolve_outbound(&organization(), &sent.id, &told).await.unwrap();
        let stored = store.outbound(&organization(), &sent.id).await.unwrap().unwrap();
        assert_eq!(stored.state, kept, "after {told:?}");
    }
    let nobody_s = MessageId::new(0, 99);
    store.resolve_outbound(&organization(), &nobody_s, &unknown).await.unwrap();
    assert_eq!(store.outbound(&organization(), &nobody_s).await.unwrap(), None);
}

pub async fn a_resolved_message_loses_its_content(harness: &dyn Harness) {
    let store = harness.open().await;
    let accepted = OutboundState::Accepted { at: AT, message_sid: sid("1") };
    let content = async |number: u128| {
        let id = outbound(store.as_ref(), number).id;
        store.outbound(&organization(), &id).await.unwrap().unwrap().content
    };
    for number in 1..=3 {
        store
            .create_outbound(&organization(), &being_sent(&outbound(store.as_ref(), number)), None)
            .await
            .unwrap();
    }
    let told = outbound(store.as_ref(), 1);
    store.resolve_outbound(&organization(), &told.id, &accepted).await.unwrap();
    let stepped = being_sent(&outbound(store.as_ref(), 2));
    let step = Step { from: stepped.state, to: accepted, due: None, gate: None, entry: None };
    assert_eq!(store.step_outbound(&organization(), &stepped.outbound, &step).await.unwrap(), Passed::Yes);
    assert_eq!((content(1).await, content(2).await), (None, None));
    assert_eq!(content(3).await.as_deref(), Some("sealed"));
}

pub async fn of_equal_steps_at_once_one_is_taken(harness: &dyn Harness) {
    let store = harness.open().await;
    let waits = that_waits(outbound(store.as_ref(), 1), AT);
    store.enqueue(&organization(), std::slice::from_ref(&waits)).await.unwrap();
    let mut steps = JoinSet::new();
    for tries in 1..=16 {
        let (store, waits) = (store.clone(), waits.clone());
        steps.spawn(async move {
            let to = OutboundState::Sending { since: AT, tries };
            let step = Step { from: waits.state, to, due: Some(AT), gate: None, entry: None };
            store.step_outbound(&organization(), &waits.outbound, &step).await.unwrap()
        });
    }
    let taken = steps.join_all().await.into_iter().filter(|passed| *passed == Passed::Yes).count();
    assert_eq!(taken, 1);
}

pub async fn a_message_that_waits_is_claimed_by_one_at_a_time(harness: &dyn Harness) {
    let store = harness.open().await;
    let flow = outbound(store.as_ref(), 0).flow();
    let waiting: Vec<NewOutbound> = (0..40_u64)
        .map(|number| {
            that_waits(to(store.as_ref(), &format!("+141555502{number:02}"), number.into()), AT + ms(number))
        })
        .collect();
    store.enqueue(&organization(), &waiting).await.unwrap();
    // Again, as after an answer that was lost: nothing is there twice.
    store.enqueue(&organization(), &waiting).await.unwrap();
    let urgent = Outbound { category: Some("emergency".to_owned()), ..outbound(store.as_ref(), 99) };
    store.create_outbound(&organization(), &that_waits(urgent.clone(), AT), None).await.unwrap();

    let due = async |now, urgent| store.due_flows(&organization(), now, urgent, 0).await.unwrap();
    let only = |flow: &Flow| DueFlows { flows: vec![flow.clone()], unreadable: Vec::new(), next: None };
    let none = DueFlows { flows: vec![], unreadable: Vec::new(), next: None };
    assert_eq!([due(AT - ms(1), true).await, due(AT - ms(1), false).await], [none.clone(), none]);
    assert_eq!([due(AT, true).await, due(AT, false).await], [only(&urgent.flow()), only(&flow)]);
    let claim = async |flow: Flow, now: UnixMs, until: UnixMs, limit: usize| {
        flows::claim(store.as_ref(), &organization(), &flow, now, until, limit).await
    };
    assert_eq!(claim(urgent.flow(), AT, AT + ms(1_000), 10).await, [urgent.id]);
    assert_eq!(claim(flow.clone(), AT - ms(1), AT + ms(1_000), 10).await, []);
    let mut claims = JoinSet::new();
    for _ in 0..8 {
        let (store, flow) = (store.clone(), flow.clone());
        claims.spawn(async move {
            let mut ids: Vec<MessageId> = Vec::new();
            loop {
                let claimed =
                    flows::claim(store.as_ref(), &organization(), &flow, AT + ms(19), AT + ms(1_000), 3)
                        .await;
                if claimed.is_empty() {
                    return ids;
                }
                ids.extend(claimed);
            }
        });
    }
    let claimed: Vec<MessageId> = claims.join_all().await.concat();
    let due: HashSet<MessageId> = waiting[..20].iter().map(|new| new.outbound.id).collect();
    assert_eq!((claimed.len(), claimed.into_iter().collect::<HashSet<_>>()), (20, due));

    // One is resolved, one is put off; the others are due again when the claim is over.
    let [resolved, put_off] = [&waiting[0], &waiting[1]];
    let accepted = OutboundState::Accepted { at: AT, message_sid: sid("1") };
    store.resolve_outbound(&organization(), &resolved.outbound.id, &accepted).await.unwrap();
    for new in [resolved, put_off] {
        store.dequeue(&organization(), &flow, &new.outbound.id).await.unwrap();
    }
    let later =
        OutboundState::Waiting { until: AT + ms(5_000), reason: Hold::QuietHours, tries: 0, suspicion: None };
    let step =
        Step { from: put_off.state.clone(), to: later, due: Some(AT + ms(5_000)), gate: None, entry: None };
    store.step_outbound(&organization(), &put_off.outbound, &step).await.unwrap();
    let mut again = Vec::new();
    loop {
        let claimed = claim(flow.clone(), AT + ms(1_000), AT + ms(9_000), 7).await;
        if claimed.is_empty() {
            break;
        }
        again.extend(claimed);
    }
    assert_eq!(again.len(), 38);
    assert!(!again.contains(&resolved.outbound.id) && !again.contains(&put_off.outbound.id));
    assert_eq!(claim(flow, AT + ms(5_000), AT + ms(9_000), 7).await, [put_off.outbound.id]);
}

pub async fn a_message_that_is_put_off_is_due_then_and_not_before(harness: &dyn Harness) {
    let store = harness.open().await;
    let [first, second] = [1, 2].map(|number| that_waits(outbound(store.as_ref(), number), AT));
    store.enqueue(&organization(), &[first.clone(), second.clone()]).await.unwrap();
    let (flow, later) = (first.outbound.flow(), AT + ms(60_000));
    let claim = async |now: UnixMs| {
        flows::claim(store.as_ref(), &organization(), &flow, now, now + ms(1_000), 10).await.len()
    };
    assert_eq!(claim(AT).await, 2);
    store.put_off(&organization(), &flow, &first.outbound.id, later).await.unwrap();
    assert_eq!(claim(AT + ms(1_000)).await, 1, "the other");
    // One that is in no queue any more does not come back.
    let ends = Step {
        from: second.state.clone(),
        to: OutboundState::Canceled { at: AT },
        due: None,
        gate: None,
        entry: None,
    };
    store.step_outbound(&organization(), &second.outbound, &ends).await.unwrap();
    store.put_off(&organization(), &flow, &second.outbound.id, AT).await.unwrap();
    assert_eq!(claim(later - ms(1)).await, 0);
    assert_eq!(due_flows(store.as_ref(), &organization(), later - ms(1)).await, []);
    assert_eq!(due_flows(store.as_ref(), &organization(), later).await, std::slice::from_ref(&flow));
    assert_eq!(claim(later).await, 1);
    assert_eq!(store.queued(&organization()).await.unwrap().messages, 1);
}

pub async fn flows_that_are_due_are_told_page_by_page_and_no_others(harness: &dyn Harness) {
    let store = harness.open().await;
    // One person, so that all of them are in one partition.
    let by = |number: usize, until: UnixMs| {
        let from = Some(Address::parse(&format!("SENDER{number}")).unwrap());
        that_waits(Outbound { from, ..outbound(store.as_ref(), number as u128) }, until)
    };
    let later = AT + ms(60_000);
    let waiting: Vec<NewOutbound> = (0..DUE_FLOWS_MAX + 20)
        .map(|number| by(number, if number % 100 == 7 { later } else { AT }))
        .collect();
    for waiting in waiting.chunks(OUTBOUNDS_MAX) {
        store.enqueue(&organization(), waiting).await.unwrap();
    }
    let due = waiting.iter().filter(|new| new.due == AT).map(|new| new.outbound.flow());
    let due: HashSet<Flow> = due.collect();
    assert_eq!(due.len(), DUE_FLOWS_MAX + 9);
    let page = async |skip| store.due_flows(&organization(), AT, false, skip).await.unwrap();
    let (first, second) = (page(0).await, page(DUE_FLOWS_MAX).await);
    assert_eq!((first.flows.len(), first.next), (DUE_FLOWS_MAX, Some(DUE_FLOWS_MAX)));
    assert_eq!((second.flows.len(), second.next), (9, None));
    assert_eq!(first.flows.into_iter().chain(second.flows).collect::<HashSet<_>>(), due);
    // A flow is due with its first message, and goes with its last.
    let (one, both) = (&waiting[0].outbound, by(7, AT).outbound.flow());
    let sooner = Outbound { id: MessageId::new(one.id.partition(), 9_999), ..waiting[7].outbound.clone() };
    store.create_outbound(&organization(), &that_waits(sooner.clone(), AT), None).await.unwrap();
    assert!(due_flows(store.as_ref(), &organization(), AT).await.contains(&both));
    let resolved = OutboundState::Accepted { at: AT, message_sid: sid("1") };
    for outbound in [one, &sooner] {
        store.resolve_outbound(&organization(), &outbound.id, &resolved).await.unwrap();
        store.dequeue(&organization(), &outbound.flow(), &outbound.id).await.unwrap();
    }
    let now_due = due_flows(store.as_ref(), &organization(), AT).await;
    assert!(!now_due.contains(&both) && !now_due.contains(&one.flow()) && now_due.len() == due.len() - 1);
    assert!(due_flows(store.as_ref(), &organization(), later).await.contains(&both));
    drop(store);
    assert_eq!(due_flows(harness.open().await.as_ref(), &organization(), AT).await, now_due);
}

pub async fn a_sender_s_time_is_given_away_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let reserve = async |sender: &str, now: UnixMs, cost_ms: u64| {
        let sender: Sender = sender.parse().unwrap();
        let cost = Duration::from_millis(cost_ms);
        store.reserve_pace(&organization(), &sender, now, cost).await.unwrap()
    };
    let now = now_ms();
    assert_eq!(reserve("+15005550006", now, 0).await, now);
    assert_eq!(reserve("+15005550006", now, 1_000).await, now);
    assert_eq!(reserve("+15005550006", now, 500).await, now + ms(1_000));
    assert_eq!(reserve("+15005550006", now + ms(100), 0).await, now + ms(1_500));
    assert_eq!(reserve("whatsapp:+15005550006", now, 0).await, now);
    assert_eq!(reserve("+15005550006", now + ms(9_000), 1).await, now + ms(9_000));
    let mut given = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        let cost = Duration::from_millis(10);
        let service: Sender = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        given.spawn(async move { store.reserve_pace(&organization(), &service, now, cost).await.unwrap() });
    }
    let mut given = given.join_all().await;
    given.sort_unstable();
    assert_eq!(given, (0..20).map(|place| now + ms(10) * place).collect::<Vec<_>>());
}

pub async fn a_message_is_entered_in_the_history_once(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut names = Vec::new();
    for number in 0..7_u64 {
        let person = format!("+1415555020{}", number % 2);
        let new = that_waits(to(store.as_ref(), &person, number.into()), AT);
        store.create_outbound(&organization(), &new, None).await.unwrap();
        names.push(MessageRef::Id(new.outbound.id));
    }
    let of_ours = outbound(store.as_ref(), 50);
    store.create_outbound(&organization(), &being_sent(&of_ours), None).await.unwrap();
    names.push(MessageRef::Id(of_ours.id));
    let with_id = |status| StatusChange { id: Some(of_ours.id), ..status };
    store.record_status(&organization(), with_id(status("a", "sent"))).await.unwrap();
    // Another's, twice.
    store.record_status(&organization(), status("b", "sent")).await.unwrap();
    store.record_status(&organization(), status("b", "delivered")).await.unwrap();
    names.push(MessageRef::Sid(sid("b")));

    let mut before = HistoryId::END;
    let mut found = Vec::new();
    loop {
        let page = store.history(&organization(), None, before, 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.iter().all(|(place, _)| *place < before), "{page:?}");
        before = *last;
        found.extend(page.into_iter().map(|(_, name)| name));
    }
    found.reverse();
    let all: HashSet<MessageRef> = names.iter().cloned().collect();
    assert_eq!((found.len(), found.into_iter().collect::<HashSet<_>>()), (names.len(), all));

    let mut before = HistoryId::END;
    let mut found = Vec::new();
    loop {
        let page = store.history(&organization(), Some(&whose("+14155550200")), before, 1).await.unwrap();
        let Some((last, name)) = page.last() else { break };
        (before, _) = (*last, found.push(name.clone()));
    }
    assert_eq!(found, [6, 4, 2, 0].map(|number: usize| names[number].clone()));
    let theirs = store.history(&organization(), Some(&whose(PERSON)), HistoryId::END, 9).await.unwrap();
    let theirs: HashSet<MessageRef> = theirs.into_iter().map(|(_, name)| name).collect();
    assert_eq!(theirs, names[7..].iter().cloned().collect());
    assert_eq!(store.history(&organization(), None, HistoryId::at(UnixMs::EPOCH), 9).await.unwrap(), []);
}

pub async fn consent_is_replaced_without_a_word_by_who_knows_it(harness: &dyn Harness) {
    let store = harness.open().await;
    let known = async || store.consent(&organization(), &whose(PERSON)).await.unwrap();
    let unknown = known().await.version;
    assert!(store.change_consent(&organization(), opt_out(unknown.clone())).await.unwrap());
    let before = known().await;
    let last = store.last_event(&organization()).await.unwrap();
    let mut after = before.consent.clone();
    after.whatsapp.state = ConsentState::OptedIn;
    assert!(!store.replace_consent(&organization(), &unknown, &after).await.unwrap());
    assert_eq!(known().await, before);
    assert!(store.replace_consent(&organization(), &before.version, &after).await.unwrap());
    assert_eq!(known().await.consent, after);
    assert_ne!(known().await.version, before.version, "a gate notices");
    assert_eq!(store.last_event(&organization()).await.unwrap(), last);
    let changes = changes_of(store.as_ref(), &whose(PERSON), 0, 10).await;
    assert_eq!(changes.len(), 1);
    assert!(!store.replace_consent(&organization(), &before.version, &after).await.unwrap());
}

pub async fn every_change_of_consent_is_listed(harness: &dyn Harness) {
    let store = harness.open().await;
    let version = async || store.consent(&organization(), &whose(PERSON)).await.unwrap().version;
    for (number, evidence) in ["paper form", "phone call", "letter"].into_iter().enumerate() {
        let mut update = opt_out(version().await);
        update.consent.sms.at = Some(AT + ms(number as u64));
        (update.evidence, update.actor) = (Some(evidence.to_owned()), Some("ada".to_owned()));
        assert!(store.change_consent(&organization(), update).await.unwrap());
    }
    let mut review = opt_out(version().await);
    review.entry.state = ConsentState::Review;
    assert!(store.change_consent(&organization(), review).await.unwrap());
    let listed = async |skip, limit| {
        let changes = changes_of(store.as_ref(), &whose(PERSON), skip, limit).await;
        changes.into_iter().map(|change| change.evidence.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed(0, 10).await, ["paper form", "phone call", "letter"]);
    assert_eq!(listed(1, 1).await, ["phone call"]);
    assert_eq!(listed(3, 1).await, Vec::<String>::new());
    let change = changes_of(store.as_ref(), &whose(PERSON), 0, 1).await.remove(0);
    assert_eq!((change.entry.channel, change.actor.as_deref()), (ConsentChannel::Sms, Some("ada")));

    for person in ["+14155550300", "+14155550200"] {
        let mut update = opt_out(ConsentVersion::of_nothing(whose(person)));
        update.entry.phone = bare(person);
        assert!(store.change_consent(&organization(), update).await.unwrap());
    }
    let persons = async |after: Option<&str>, limit| {
        store.persons(&organization(), after.map(whose).as_ref(), limit).await.unwrap()
    };
    assert_eq!(persons(None, 10).await, [PERSON, "+14155550200", "+14155550300"].map(whose));
    assert_eq!(persons(Some(PERSON), 1).await, [whose("+14155550200")]);
    assert_eq!(persons(Some("+14155550300"), 9).await, []);
}

pub async fn everything_is_counted(harness: &dyn Harness) {
    let store = harness.open().await;
    let at = now_ms();
    let told = |tail: &str, name: &str| StatusChange { at, ..status(tail, name) };
    for (tail, name) in
        [("1", "sent"), ("1", "delivered"), ("1", "delivered"), ("2", "sent"), ("2", "queued")]
    {
        store.record_status(&organization(), told(tail, name)).await.unwrap();
    }
    let failed = StatusChange { error_code: Some(30_003), ..told("2", "undelivered") };
    store.record_status(&organization(), failed).await.unwrap();
    let mut update = opt_out(ConsentVersion::of_nothing(whose(PERSON)));
    update.entry.at = at;
    store.change_consent(&organization(), update).await.unwrap();
    let status = |status: &str| Counter::Status { status: status.to_owned(), channel: "sms".to_owned() };
    for unit in Unit::ALL {
        let start = unit.start(at);
        let counted = store.counts(&organization(), unit, start, start + unit.length()).await.unwrap();
        let [(counted_at, counts)] = <[(UnixMs, Counts); 1]>::try_from(counted).unwrap();
        let count = |counter| counts.get(&counter).copied().unwrap_or(0);
        assert_eq!(counted_at, start);
        assert_eq!((count(status("sent")), count(status("delivered")), count(status("queued"))), (2, 1, 0));
        assert_eq!((count(status("undelivered")), count(Counter::Error(30_003))), (1, 1));
        assert_eq!((count(Counter::OptOut), count(Counter::OptIn)), (1, 0));
        let delivered = counts.keys().filter(|counter| matches!(counter, Counter::Delivered(_))).count();
        assert_eq!(delivered, 1);
    }
    assert_eq!(
        store.counts(&organization(), Unit::Minute, UnixMs::EPOCH, UnixMs::new(60_000)).await.unwrap(),
        []
    );
}

pub async fn a_document_is_changed_by_who_knows_it(harness: &dyn Harness) {
    let store = harness.open().await;
    let change = async |name: &str, before: Option<&str>, after: Option<&str>, keep: Option<Duration>| {
        store.change_document(&organization(), Kind::Preferences, name, before, after, keep).await.unwrap()
    };
    let read = async |name: &str| store.document(&organization(), Kind::Preferences, name).await.unwrap();
    assert!(change("ada", None, Some("1"), None).await);
    assert!(!change("ada", None, Some("2"), None).await);
    assert!(!change("ada", Some("0"), Some("2"), None).await);
    assert!(change("ada", Some("1"), Some("2"), None).await);
    assert_eq!(read("ada").await.as_deref(), Some("2"));
    // An empty text is one.
    assert!(change("ben", None, Some(""), None).await && !change("ben", None, Some("x"), None).await);
    assert_eq!(read("ben").await.as_deref(), Some(""));
    for name in ["cyd", "dot"] {
        assert!(change(name, None, Some(name), None).await);
    }
    assert!(change("cyd", Some("cyd"), None, None).await);
    let listed = store.documents(&organization(), Kind::Preferences, Some("ada"), 9).await.unwrap();
    assert_eq!(listed, [("ben".to_owned(), String::new()), ("dot".to_owned(), "dot".to_owned())]);
    let all = store.documents(&organization(), Kind::Preferences, None, 1).await.unwrap();
    assert_eq!(all, [("ada".to_owned(), "2".to_owned())]);
    assert_eq!(store.document(&organization(), Kind::Batch, "ada").await.unwrap(), None);
    let elsewhere = Organization::installation();
    assert_eq!(store.document(&elsewhere, Kind::Preferences, "ada").await.unwrap(), None);

    let put = async |name: &str, keep_ms: u64| {
        let keep = Some(Duration::from_millis(keep_ms));
        store.change_document(&organization(), Kind::Request, name, None, Some("kept"), keep).await.unwrap()
    };
    assert!(put("short", 1).await && put("long", 3_600_000).await);
    crate::support::eventually("the document ends", async || {
        store.document(&organization(), Kind::Request, "short").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(put("short", 3_600_000).await);
    assert_eq!(
        store.document(&organization(), Kind::Request, "long").await.unwrap().as_deref(),
        Some("kept")
    );
}

pub async fn documents_that_have_ended_hide_none_behind_them(harness: &dyn Harness) {
    let store = harness.open().await;
    let (organization, kind) = (organization(), Kind::HeldTraffic);
    let put = async |name: &str, keep: Duration| {
        store.change_document(&organization, kind, name, None, Some("kept"), Some(keep)).await.unwrap()
    };
    // More than two pages, and what is there stands before, among and behind them.
    let ended: Vec<String> = (0..2 * DOCUMENTS_MAX + 200).map(|number| format!("+1{number:04}/m")).collect();
    let there = ["+10/m", "+10700/n", "+19/m"];
    for name in there {
        assert!(put(name, Duration::from_secs(3_600)).await);
    }
    for names in ended.chunks(100) {
        let made = futures_util::future::join_all(names.iter().map(|name| put(name, ms(1)))).await;
        assert!(made.iter().all(|made| *made));
    }
    crate::support::eventually("they end", async || {
        store.document(&organization, kind, ended.last().unwrap()).await.unwrap().is_none().then_some(())
    })
    .await;
    let (mut after, mut found) = (None::<String>, Vec::new());
    while let Some((name, text)) =
        store.documents(&organization, kind, after.as_deref(), 1).await.unwrap().pop()
    {
        assert_eq!(text, "kept");
        found.push(name.clone());
        after = Some(name);
    }
    assert_eq!(found, there);
    let all = store.documents(&organization, kind, None, DOCUMENTS_MAX).await.unwrap();
    assert!(all.iter().map(|(name, _)| name).eq(there), "{all:?}");
    // A name that has ended may come again.
    assert!(put(&ended[0], Duration::from_secs(3_600)).await);
    let first = store.documents(&organization, kind, Some(there[0]), 1).await.unwrap();
    assert_eq!(first, [(ended[0].clone(), "kept".to_owned())]);
}

pub async fn several_documents_change_together_or_not_at_all(harness: &dyn Harness) {
    let store = harness.open().await;
    let installation = Organization::installation();
    let change = |kind, name, before, after| DocumentChange { kind, name, before, after };
    let read = async |kind, name: &str| store.document(&installation, kind, name).await.unwrap();
    let first = [
        change(Kind::Settings, "acme", None, Some("s1")),
        change(Kind::Account, "AC1", None, Some("acme")),
        change(Kind::Revision, "settings", None, Some("1")),
    ];
    assert!(store.change_documents(&installation, &first).await.unwrap());
    // One that is not as expected keeps all from being written, whichever of them it is.
    for wrong in 0..3 {
        let mut changes = [
            change(Kind::Settings, "acme", Some("s1"), Some("s2")),
            change(Kind::Account, "AC1", Some("acme"), None),
            change(Kind::Revision, "settings", Some("1"), Some("2")),
        ];
        changes[wrong].before = if wrong == 1 { None } else { Some("another") };
        assert!(!store.change_documents(&installation, &changes).await.unwrap(), "{wrong}");
        assert_eq!(read(Kind::Settings, "acme").await.as_deref(), Some("s1"));
        assert_eq!(read(Kind::Account, "AC1").await.as_deref(), Some("acme"));
        assert_eq!(read(Kind::Revision, "settings").await.as_deref(), Some("1"));
    }
    // One that stays only has to be there.
    let changes = [
        change(Kind::Settings, "acme", Some("s1"), Some("s1")),
        change(Kind::Account, "AC1", Some("acme"), None),
        change(Kind::Settings, "best", None, Some("b1")),
    ];
    assert!(store.change_documents(&installation, &changes).await.unwrap());
    assert_eq!(read(Kind::Account, "AC1").await, None);
    let listed = store.documents(&installation, Kind::Settings, None, 9).await.unwrap();
    let expected = [("acme", "s1"), ("best", "b1")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(listed, expected);
    // Of equal changes at once one is made.
    let mut changes = JoinSet::new();
    for _ in 0..8 {
        let (store, installation) = (store.clone(), installation.clone());
        changes.spawn(async move {
            let counted = DocumentChange {
                kind: Kind::Revision,
                name: "settings",
                before: Some("1"),
                after: Some("2"),
            };
            let saved =
                DocumentChange { kind: Kind::Settings, name: "cora", before: None, after: Some("c1") };
            store.change_documents(&installation, &[counted, saved]).await.unwrap()
        });
    }
    let made = changes.join_all().await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    // So it is with what is an organization's: whose number it is, and the preferences in which it stands.
    let number_of = |user, owner| {
        [
            change(Kind::Preferences, user, None, Some("preferences")),
            change(Kind::NumberOwner, "+14155550100", None, Some(owner)),
        ]
    };
    assert!(store.change_documents(&organization(), &number_of("ada", "ada")).await.unwrap());
    assert!(!store.change_documents(&organization(), &number_of("ben", "ben")).await.unwrap());
    assert_eq!(store.document(&organization(), Kind::Preferences, "ben").await.unwrap(), None);
    let owner = store.document(&organization(), Kind::NumberOwner, "+14155550100").await.unwrap();
    assert_eq!(owner.as_deref(), Some("ada"));
    assert_eq!(read(Kind::NumberOwner, "+14155550100").await, None);
}

pub async fn counters_count_up_to_their_end(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut counts = JoinSet::new();
    for _ in 0..12 {
        let store = store.clone();
        let keep = Duration::from_secs(3_600);
        counts.spawn(async move { store.count(&organization(), "day", 10, keep).await.unwrap() });
    }
    let counts = counts.join_all().await;
    let mut counted: Vec<u64> = counts.iter().copied().flatten().collect();
    counted.sort_unstable();
    assert_eq!((counted, counts.len()), ((1..=10).collect(), 12));
}

pub async fn an_amount_is_counted_whole_or_not_at_all(harness: &dyn Harness) {
    let store = harness.open().await;
    let keep = Duration::from_secs(3_600);
    let add = async |amount| store.count_many(&organization(), "day", amount, 10, keep).await.unwrap();
    assert_eq!(add(0).await, Counted::Yes(0));
    assert_eq!(add(11).await, Counted::Beyond(0));
    assert_eq!(add(7).await, Counted::Yes(7));
    assert_eq!(add(4).await, Counted::Beyond(7));
    assert_eq!(add(0).await, Counted::Yes(7));
    assert_eq!(add(3).await, Counted::Yes(10));
    assert_eq!(store.count(&organization(), "day", 10, keep).await.unwrap(), None);
    assert_eq!(store.count(&organization(), "other", 10, keep).await.unwrap(), Some(1));
}

pub async fn how_much_is_queued_is_known(harness: &dyn Harness) {
    let store = harness.open().await;
    let queued = async || {
        let Queued { messages, bytes } = store.queued(&organization()).await.unwrap();
        (messages, bytes)
    };
    assert_eq!(queued().await, (0, 0));
    let new: Vec<NewOutbound> = (1..=3)
        .map(|number| {
            let urgent = (number == 2).then(|| category::EMERGENCY.to_owned());
            let to = to(store.as_ref(), &format!("+1415555010{number}"), number);
            let new = that_waits(Outbound { category: urgent, ..to }, AT);
            NewOutbound { bytes: 10 * number as u64, ..new }
        })
        .collect();
    store.enqueue(&organization(), &new).await.unwrap();
    store.enqueue(&organization(), &new).await.unwrap();
    assert_eq!(queued().await, (3, 60));
    let other = Organization::parse("other").unwrap();
    assert_eq!(store.queued(&other).await.unwrap(), Queued::default());

    // What is claimed or leaves is queued still, until it is known what became of it.
    let [first, second, third] = &new[..] else { unreachable!("three messages") };
    let flow = first.outbound.flow();
    assert_eq!(flows::claim(store.as_ref(), &organization(), &flow, AT, AT + ms(9), 1).await.len(), 1);
    let sending = OutboundState::Sending { since: AT, tries: 1 };
    let step = |from: &OutboundState, to: OutboundState, due| Step {
        from: from.clone(),
        to,
        due,
        gate: None,
        entry: None,
    };
    let leaves = step(&first.state, sending.clone(), Some(AT + ms(30)));
    store.step_outbound(&organization(), &first.outbound, &leaves).await.unwrap();
    assert_eq!(queued().await, (3, 60));
    let ends = step(&sending, OutboundState::Canceled { at: AT }, None);
    store.step_outbound(&organization(), &first.outbound, &ends).await.unwrap();
    assert_eq!(queued().await, (2, 50));

    let proven = outgoing::rule::proven(sid("9"), AT);
    store.resolve_outbound(&organization(), &second.outbound.id, &proven).await.unwrap();
    for _ in 0..2 {
        let (flow, id) = (second.outbound.flow(), second.outbound.id);
        store.dequeue(&organization(), &flow, &id).await.unwrap();
        store.dequeue(&organization(), &third.outbound.flow(), &third.outbound.id).await.unwrap();
        assert_eq!(queued().await, (1, 30));
    }
    drop(store);
    let again = harness.open().await;
    assert_eq!(again.queued(&organization()).await.unwrap(), Queued { messages: 1, bytes: 30 });
}

fn now_ms() -> UnixMs {
    SystemClock.now_ms()
}
