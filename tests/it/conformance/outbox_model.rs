//! Random histories of messages on their way out, run against a store and against a model of their queues.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use textledger::{
    domain::{
        Flow, HistoryId, Hold, MessageId, Organization, Outbound, OutboundState, Refusal, Sender, UnixMs,
        audit::{Entry, place_before},
        category, outgoing,
    },
    store::{
        Gate, NewOutbound, Passed, Queued, Step, Store, StoredOutbound, audit::ENTRIES_MAX,
        outbox::OUTBOUNDS_MAX,
    },
    twilio::{Address, Channel},
};

use super::{
    audit::asked,
    suite::{Harness, ms, sid, whose},
};
use crate::support::flows::{self, due_flows};

const PEOPLE: [&str; 3] = ["+14155550100", "+14155550101", "+14155550102"];

/// Messages of each person; every second one is urgent, and every third one has another sender.
const NUMBERS: u8 = 6;

const SENDERS: [&str; 2] = ["+15005550006", "+15005550007"];

/// Longer than a test runs, since a store may forget by its own clock when a person was last sent to.
const COOLDOWN: Duration = Duration::from_secs(3_600);

/// Beyond every time of a history.
const LATER: UnixMs = UnixMs::new(1 << 50);

/// What is done with the messages; times are small numbers of milliseconds.
#[derive(Debug, Clone)]
enum Deed {
    Create { message: Name, to: OutboundState, gate: Option<(bool, UnixMs)> },
    Enqueue { messages: Vec<Name>, due: UnixMs },
    Step { message: Name, is_stale: bool, to: OutboundState, gate: Option<(bool, UnixMs)> },
    Resolve { message: Name, to: OutboundState },
    Claim { flow: usize, now: UnixMs, until: UnixMs },
    Dequeue { message: Name },
    ReservePace { sender: usize, now: UnixMs, cost_ms: u64 },
}

/// A message: whose, and which of theirs.
type Name = (usize, u8);

fn name() -> impl Strategy<Value = Name> {
    (0..PEOPLE.len(), 0..NUMBERS)
}

/// A time, in so many milliseconds.
fn time(range: std::ops::Range<u64>) -> impl Strategy<Value = UnixMs> {
    range.prop_map(UnixMs::new)
}

fn state() -> impl Strategy<Value = OutboundState> {
    prop_oneof![
        (time(0..40), 0..3_u32).prop_map(|(until, tries)| OutboundState::Waiting {
            until,
            reason: Hold::Turn,
            tries,
            suspicion: None,
        }),
        (time(0..40), 1..3_u32).prop_map(|(since, tries)| OutboundState::Sending { since, tries }),
        (time(0..40), 0..2_u32).prop_map(|(since, searches)| OutboundState::Unknown {
            since,
            tries: 1,
            searches
        }),
        Just(OutboundState::Canceled { at: UnixMs::new(1) }),
        Just(OutboundState::Refused {
            at: UnixMs::new(2),
            code: Refusal::DailyLimitReached,
            reason: "enough".to_owned(),
            twilio_code: None
        }),
        Just(outgoing::rule::proven(sid("9"), UnixMs::new(3))),
    ]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let gate = || prop::option::of((any::<bool>(), time(0..50)));
    let is_stale = prop::bool::weighted(0.2);
    let deed = prop_oneof![
        (name(), state(), gate()).prop_map(|(message, to, gate)| Deed::Create { message, to, gate }),
        (prop::collection::vec(name(), 1..5), time(0..40))
            .prop_map(|(messages, due)| Deed::Enqueue { messages, due }),
        (name(), is_stale, state(), gate()).prop_map(|(message, is_stale, to, gate)| Deed::Step {
            message,
            is_stale,
            to,
            gate
        }),
        (name(), state()).prop_map(|(message, to)| Deed::Resolve { message, to }),
        (0..4_usize, time(0..50), time(50..90)).prop_map(|(flow, now, until)| Deed::Claim {
            flow,
            now,
            until
        }),
        name().prop_map(|message| Deed::Dequeue { message }),
        (0..SENDERS.len(), time(0..50), 0..20_u64).prop_map(|(sender, now, cost_ms)| Deed::ReservePace {
            sender,
            now,
            cost_ms
        }),
    ];
    prop::collection::vec(deed, 1..80)
}

/// What the model keeps.
#[derive(Default)]
struct Model {
    messages: BTreeMap<Name, StoredOutbound>,
    /// When somebody has to look at a message.
    due: BTreeMap<Name, UnixMs>,
    /// How much room a message takes while it is in its queue.
    bytes: BTreeMap<Name, u64>,
    /// When each person was last sent to.
    last: BTreeMap<usize, UnixMs>,
    /// Until when each sender's time is given away.
    pace: BTreeMap<usize, UnixMs>,
    /// In the order in which they were entered.
    history: Vec<Name>,
    /// What the audit says.
    entries: Vec<Entry>,
}

impl Model {
    fn flow(&self, message: &Name) -> Flow {
        self.messages[message].outbound.flow()
    }

    /// What the gate says, and whether the person was sent to by it.
    fn pass(&mut self, person: usize, gate: Option<(bool, UnixMs)>) -> Passed {
        let Some((true, now)) = gate else { return Passed::Yes };
        let until = self.last.get(&person).map(|last| *last + COOLDOWN);
        if let Some(until) = until.filter(|until| *until > now) {
            return Passed::CoolingDown { until };
        }
        self.last.insert(person, now);
        Passed::Yes
    }

    fn put(&mut self, message: Name, outbound: Outbound, state: OutboundState, content: Option<String>) {
        let content = content.filter(|_| !state.is_resolved());
        self.messages.insert(message, StoredOutbound { outbound, state, content });
    }

    fn create(&mut self, message: Name, new: &NewOutbound) {
        self.history.push(message);
        self.entries.extend(new.entry.clone());
        if !new.state.is_resolved() {
            self.due.insert(message, new.due);
        }
        self.bytes.insert(message, new.bytes);
        self.put(message, new.outbound.clone(), new.state.clone(), new.content.clone());
    }

    /// The flows with something due at `now`, the urgent ones first.
    fn due_flows(&self, now: UnixMs) -> Vec<Flow> {
        let due = self.due.iter().filter(|(_, due)| **due <= now).map(|(message, _)| self.flow(message));
        let flows: BTreeSet<(bool, Option<Sender>)> = due.map(|flow| (!flow.urgent, flow.sender)).collect();
        flows.into_iter().map(|(patient, sender)| Flow { sender, urgent: !patient }).collect()
    }
}

fn outbound(store: &dyn Store, (person, number): Name) -> Outbound {
    let id = u128::from(number) << 8 | person as u128;
    Outbound {
        id: MessageId::new(store.partition(&whose(PEOPLE[person])), id),
        to: Address::new(Channel::Sms, PEOPLE[person]).unwrap(),
        from: Some(Address::parse(SENDERS[usize::from(number.is_multiple_of(3))]).unwrap()),
        messaging_service_sid: None,
        body_length: 1,
        segments: 1,
        media: 0,
        category: number.is_multiple_of(2).then(|| category::EMERGENCY.to_owned()),
        user_id: None,
        batch: None,
        status_callback: None,
        fallback: None,
        actor: None,
        created_at: UnixMs::new(1),
    }
}

/// When somebody has to look at a message in `state`; `None` at its end.
fn due_of(state: &OutboundState) -> Option<UnixMs> {
    match state {
        OutboundState::Waiting { until, .. } => Some(*until),
        OutboundState::Sending { since, .. } | OutboundState::Unknown { since, .. } => Some(*since + ms(30)),
        _ => None,
    }
}

pub async fn random_histories_of_the_outbox_agree_with_the_model(harness: &dyn Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..Default::default() });
    for number in 0..harness.histories() {
        let organization = Organization::parse(&format!("outbox-{number}")).unwrap();
        let history = deeds().new_tree(&mut runner).unwrap().current();
        let mut model = Model::default();
        for (at, deed) in history.iter().enumerate() {
            let place = format!("deed {at} of {history:?}");
            perform(&store, &organization, &mut model, deed, &place).await;
            let bytes = model.due.keys().map(|message| model.bytes[message]).sum();
            let queued = Queued { messages: model.due.len() as u64, bytes };
            assert_eq!(store.queued(&organization).await.unwrap(), queued, "{place}");
        }
        agree(&store, &organization, &mut model, &format!("{history:?}")).await;
    }
}

async fn perform(
    store: &Arc<dyn Store>,
    organization: &Organization,
    model: &mut Model,
    deed: &Deed,
    place: &str,
) {
    let version =
        async |person: usize| store.consent(organization, &whose(PEOPLE[person])).await.unwrap().version;
    let gate_of = async |person: usize, gate: Option<(bool, UnixMs)>| match gate {
        Some((cools, now)) => {
            let cooldown = if cools { COOLDOWN } else { Duration::ZERO };
            Some(Gate { consent: version(person).await, cooldown, now })
        }
        None => None,
    };
    match deed.clone() {
        Deed::Create { message, to, gate } => {
            let new = NewOutbound {
                outbound: outbound(store.as_ref(), message),
                due: due_of(&to).unwrap_or(UnixMs::new(1)),
                state: to,
                content: Some("sealed".to_owned()),
                bytes: 6,
                entry: Some(asked("ada", outbound(store.as_ref(), message).id)),
            };
            let given = gate_of(message.0, gate).await;
            let created = store.create_outbound(organization, &new, given.as_ref()).await.unwrap();
            let expected = match model.messages.contains_key(&message) {
                true => Passed::StateChanged,
                false => model.pass(message.0, gate),
            };
            assert_eq!(created, expected, "{place}");
            if created == Passed::Yes {
                model.create(message, &new);
            }
        }
        Deed::Enqueue { messages, due } => {
            let mut seen = BTreeSet::new();
            let messages: Vec<Name> = messages.into_iter().filter(|message| seen.insert(*message)).collect();
            let new = messages.iter().map(|message| NewOutbound {
                outbound: outbound(store.as_ref(), *message),
                state: OutboundState::Waiting { until: due, reason: Hold::Turn, tries: 0, suspicion: None },
                content: None,
                bytes: u64::from(message.1),
                due,
                entry: None,
            });
            let new: Vec<NewOutbound> = new.collect();
            store.enqueue(organization, &new).await.unwrap();
            let entered = store.history(organization, None, HistoryId::END, OUTBOUNDS_MAX).await.unwrap();
            let fresh =
                messages.iter().zip(&new).filter(|(message, _)| !model.messages.contains_key(message));
            let fresh: Vec<_> = fresh.collect();
            assert_eq!(entered.len(), model.history.len() + fresh.len(), "{place}");
            for (message, new) in fresh {
                model.create(*message, new);
            }
        }
        Deed::Step { message, is_stale, to, gate } => {
            let known = model.messages.get(&message).map(|stored| stored.state.clone());
            let stale = OutboundState::Sending { since: UnixMs::new(999), tries: 9 };
            let from = known.clone().filter(|_| !is_stale).unwrap_or(stale);
            let step = Step {
                from: from.clone(),
                due: due_of(&to),
                to: to.clone(),
                gate: gate_of(message.0, gate).await,
                entry: None,
            };
            let outbound = outbound(store.as_ref(), message);
            let passed = store.step_outbound(organization, &outbound, &step).await.unwrap();
            let expected = match known == Some(from) {
                true => model.pass(message.0, gate),
                false => Passed::StateChanged,
            };
            assert_eq!(passed, expected, "{place}");
            if passed == Passed::Yes {
                let content = model.messages[&message].content.clone();
                match due_of(&to) {
                    Some(due) => drop(model.due.insert(message, due)),
                    None => drop(model.due.remove(&message)),
                }
                model.put(message, outbound, to, content);
            }
        }
        Deed::Resolve { message, to } => {
            let outbound = outbound(store.as_ref(), message);
            store.resolve_outbound(organization, &outbound.id, &to).await.unwrap();
            if let Some(known) = model.messages.get(&message).cloned()
                && to.rank() > known.state.rank()
            {
                model.put(message, outbound, to, known.content);
            }
        }
        Deed::Claim { flow, now, until } => {
            let sender = Some(SENDERS[flow % 2].parse().unwrap());
            let flow = Flow { sender, urgent: flow >= 2 };
            assert_eq!(due_flows(store.as_ref(), organization, now).await, model.due_flows(now), "{place}");
            let claimed = flows::claim(store.as_ref(), organization, &flow, now, until, OUTBOUNDS_MAX).await;
            let due = model.due.iter().filter(|(message, due)| **due <= now && model.flow(message) == flow);
            let due: Vec<Name> = due.map(|(message, _)| *message).collect();
            let claimed: BTreeSet<MessageId> = claimed.into_iter().collect();
            let expected = due.iter().map(|message| model.messages[message].outbound.id);
            assert_eq!(claimed, expected.collect(), "{place}");
            model.due.extend(due.into_iter().map(|message| (message, until)));
        }
        Deed::Dequeue { message } => {
            let outbound = outbound(store.as_ref(), message);
            store.dequeue(organization, &outbound.flow(), &outbound.id).await.unwrap();
            if model.messages.get(&message).is_none_or(|stored| stored.state.is_resolved()) {
                model.due.remove(&message);
            }
        }
        Deed::ReservePace { sender, now, cost_ms } => {
            let cost = Duration::from_millis(cost_ms);
            let given_to = SENDERS[sender].parse().unwrap();
            let start = store.reserve_pace(organization, &given_to, now, cost).await.unwrap();
            let given = model.pace.get(&sender).copied().unwrap_or_default();
            assert_eq!(start, given.max(now), "{place}");
            if cost_ms > 0 {
                model.pace.insert(sender, start + cost);
            }
        }
    }
}

/// At the end everything is as in the model, and nothing that has not come to its end is outside of its queue.
async fn agree(store: &Arc<dyn Store>, organization: &Organization, model: &mut Model, place: &str) {
    for (message, known) in &model.messages {
        let stored = store.outbound(organization, &known.outbound.id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(known), "{message:?} after {place}");
        assert!(known.state.is_resolved() || model.due.contains_key(message), "{message:?} after {place}");
    }
    let entered = store.history(organization, None, HistoryId::END, OUTBOUNDS_MAX).await.unwrap();
    let entered: BTreeSet<String> = entered.into_iter().map(|(_, message)| message.to_string()).collect();
    let expected = model.history.iter().map(|message| model.messages[message].outbound.id.to_string());
    assert_eq!(entered, expected.collect(), "{place}");
    let audit = store.entries(organization, place_before(UnixMs::EPOCH), ENTRIES_MAX).await.unwrap();
    let mut in_audit: Vec<_> = audit.into_iter().map(|(_, entry)| entry.subject).collect();
    let mut expected: Vec<_> =
        model.entries.iter().map(|entry| entry.subject.as_ref().map(ToString::to_string)).collect();
    in_audit.sort_unstable();
    expected.sort_unstable();
    assert_eq!(in_audit, expected, "{place}");
    let mut claimed = BTreeSet::new();
    for flow in due_flows(store.as_ref(), organization, LATER).await {
        claimed.extend(flows::claim(store.as_ref(), organization, &flow, LATER, LATER, OUTBOUNDS_MAX).await);
    }
    let queued = model.due.keys().map(|message| model.messages[message].outbound.id);
    assert_eq!(claimed, queued.collect(), "{place}");
}
