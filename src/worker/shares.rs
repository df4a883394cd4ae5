//! How much of the dispatcher an organization may take: so many flows at a time, and so many calls to Twilio. Urgent
//! messages have shares of their own, so that they do not wait behind the others.
//!
//! Flows of an organization that find no place wait in a line, in which each that has had a turn and has more to send goes to the
//! end. Where the line is long, it waits to be found again instead: busy flows alone could keep the line long for ever, and no
//! others are looked for while it is. So all have their turns, however many are busy.
//!
//! Without that, whoever may send could name a sender of their own in each message: each is a flow, with calls of its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    domain::{Flow, Organization},
    store,
};

/// Flows of an organization that have their turn at the same time, of the urgent ones and of the others each.
const TURNS_AT_ONCE: usize = 1_024;

/// Flows that wait in an organization's line, beyond which none is looked for: as many as are found at once.
const LINE_MAX: usize = store::outbox::DUE_FLOWS_MAX;

/// The part of all calls that urgent messages get.
const URGENT_SHARE: usize = 4;

/// The part of the calls of its kind that one organization may have under way, however many organizations there are.
const ORGANIZATION_SHARE: usize = 4;

/// What organizations may take, and have taken.
pub(super) struct Shares {
    urgent: Kind,
    other: Kind,
}

/// What there is for messages of one kind.
struct Kind {
    calls_at_once: usize,
    calls: Arc<Semaphore>,
    /// The calls that one organization may have under way.
    share: usize,
    organizations: HashMap<Organization, Share>,
}

/// What an organization may take for messages of one kind.
struct Share {
    turns: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    /// The permits of `calls`, with those that are taken, and without those that will go as calls end.
    permits: usize,
    line: Line,
}

/// Flows that wait for a turn, each once.
#[derive(Default)]
struct Line {
    flows: VecDeque<Flow>,
    waiting: HashSet<Flow>,
}

/// A flow's turn. Others have theirs once it is dropped.
pub(super) struct Turn {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

/// A call to Twilio. Others are made once it is dropped.
pub(super) struct Call {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Kind {
    fn new(calls_at_once: usize) -> Self {
        let calls = Arc::new(Semaphore::new(calls_at_once));
        Self { calls_at_once, calls, share: calls_at_once, organizations: HashMap::new() }
    }

    fn share(&mut self, organization: &Organization) -> &mut Share {
        self.organizations.entry(organization.clone()).or_insert_with(|| Share {
            turns: Arc::new(Semaphore::new(TURNS_AT_ONCE)),
            calls: Arc::new(Semaphore::new(self.share)),
            permits: self.share,
            line: Line::default(),
        })
    }

    fn divide(&mut self, organizations: usize) {
        self.share = self.calls_at_once.div_ceil(organizations.clamp(1, ORGANIZATION_SHARE));
        for share in self.organizations.values_mut() {
            share.set_calls(self.share);
        }
    }
}

impl Share {
    /// Allows so many calls. Those that are under way are not taken back: what is too much goes as they end. It waits for that in
    /// the line of those who wait for a call, since nothing is free while there are any.
    fn set_calls(&mut self, calls: usize) {
        if self.permits < calls {
            self.calls.add_permits(calls - self.permits);
        } else if self.permits > calls {
            let surplus = u32::try_from(self.permits - calls).expect("there are not so many calls");
            let taken = self.calls.clone().acquire_many_owned(surplus);
            tokio::spawn(async move { taken.await.expect("the calls are never closed").forget() });
        }
        self.permits = calls;
    }
}

impl Line {
    fn add(&mut self, flow: Flow) {
        if self.waiting.insert(flow.clone()) {
            self.flows.push_back(flow);
        }
    }

    fn next(&mut self) -> Option<Flow> {
        let flow = self.flows.pop_front()?;
        self.waiting.remove(&flow);
        Some(flow)
    }
}

impl Shares {
    /// Shares of `calls_at_once` calls in all.
    pub(super) fn of(calls_at_once: usize) -> Self {
        let urgent = (calls_at_once / URGENT_SHARE).max(1);
        Self { urgent: Kind::new(urgent), other: Kind::new((calls_at_once - urgent).max(1)) }
    }

    fn kind(&mut self, urgent: bool) -> &mut Kind {
        if urgent { &mut self.urgent } else { &mut self.other }
    }

    /// Divides the calls among so many organizations. Each has a quarter at least, since they do not all send at the same time;
    /// the only one has all.
    pub(super) fn divide(&mut self, organizations: usize) {
        self.urgent.divide(organizations);
        self.other.divide(organizations);
    }

    /// Puts `flow` at the end of its organization's line, unless it is in there.
    pub(super) fn line_up(&mut self, organization: &Organization, flow: Flow) {
        self.kind(flow.urgent).share(organization).line.add(flow);
    }

    /// Puts `flow`, which has had a turn and may have more to send, at the end of the line again. Not if that is long: a look
    /// finds it in its time.
    pub(super) fn line_up_again(&mut self, organization: &Organization, flow: Flow) {
        if !self.is_line_long(organization, flow.urgent) {
            self.line_up(organization, flow);
        }
    }

    /// Whether so many flows wait that no others need to be looked for.
    pub(super) fn is_line_long(&mut self, organization: &Organization, urgent: bool) -> bool {
        self.kind(urgent).share(organization).line.flows.len() >= LINE_MAX
    }

    /// The flow that has waited longest, and its turn, unless too many have theirs.
    pub(super) fn next(&mut self, organization: &Organization, urgent: bool) -> Option<(Flow, Turn)> {
        let kind = self.kind(urgent);
        let all = kind.calls.clone();
        let share = kind.share(organization);
        let place = share.turns.clone().try_acquire_owned().ok()?;
        Some((share.line.next()?, Turn { own: share.calls.clone(), all, _place: place }))
    }
}

impl Turn {
    /// Waits until a call may be made. An organization waits for its own share first: so it holds none of what others
    /// may take.
    pub(super) async fn call(&self) -> Call {
        let wait = async |calls: &Arc<Semaphore>| {
            calls.clone().acquire_owned().await.expect("the calls are never closed")
        };
        let own = wait(&self.own).await;
        Call { _own: own, _all: wait(&self.all).await }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use futures_util::{FutureExt, poll};
    use tokio::task::{unconstrained, yield_now};

    use super::*;

    fn organization(name: &str) -> Organization {
        Organization::parse(name).unwrap()
    }

    fn flow(number: usize, urgent: bool) -> Flow {
        let mark = if urgent { "!" } else { "" };
        format!("{mark}+1415{number:07}").parse().unwrap()
    }

    fn turn(shares: &mut Shares, organization: &Organization, urgent: bool) -> Turn {
        shares.line_up(organization, flow(1, urgent));
        shares.next(organization, urgent).unwrap().1
    }

    /// As many calls as may be made now.
    fn calls(turn: &Turn) -> Vec<Call> {
        from_fn(|| unconstrained(turn.call()).now_or_never()).collect()
    }

    #[tokio::test]
    async fn one_of_many_organizations_has_only_its_share_of_the_calls_and_urgent_messages_have_their_own() {
        let mut shares = Shares::of(64);
        shares.divide(9);
        let (one, other) = (organization("one"), organization("other"));
        let turns = [&one, &one, &other].map(|of| turn(&mut shares, of, false));
        let under_way = calls(&turns[0]);
        assert_eq!(under_way.len(), 12);
        // Another of its flows has none left; another organization has, and so have urgent messages.
        assert!(turns[1].call().now_or_never().is_none());
        assert!(turns[2].call().now_or_never().is_some());
        assert!(turn(&mut shares, &one, true).call().now_or_never().is_some());
        drop(under_way);
        assert!(turns[1].call().now_or_never().is_some());
    }

    #[tokio::test]
    async fn all_organizations_together_have_no_more_calls_than_there_are() {
        let mut shares = Shares::of(64);
        shares.divide(9);
        let turns: Vec<Turn> =
            (0..9).map(|n| turn(&mut shares, &organization(&format!("o{n}")), false)).collect();
        let under_way: Vec<Vec<Call>> = turns.iter().map(calls).collect();
        assert_eq!(under_way.iter().flatten().count(), 48);
    }

    /// It had a quarter, however many slept.
    #[tokio::test]
    async fn the_only_organization_has_all_calls_and_gives_them_up_when_another_one_comes() {
        let mut shares = Shares::of(64);
        shares.divide(1);
        let (one, other) = (organization("one"), organization("other"));
        let first = turn(&mut shares, &one, false);
        let mut under_way = calls(&first);
        assert_eq!(under_way.len(), 48);
        shares.divide(2);
        yield_now().await;
        let second = turn(&mut shares, &other, false);
        // What is under way is not taken back, and is not given out again.
        assert!(second.call().now_or_never().is_none());
        under_way.truncate(20);
        assert_eq!(calls(&first).len(), 4);
        assert_eq!(calls(&second).len(), 24);
        drop(under_way);
        assert_eq!(calls(&first).len(), 24);
        for (organizations, share) in [(3, 16), (4, 12), (100, 12), (1, 48), (0, 48)] {
            shares.divide(organizations);
            yield_now().await;
            assert_eq!(calls(&first).len(), share, "{organizations}");
        }
    }

    /// What a call had taken went to the next one that waited, so that it gave up nothing while it was busy.
    #[tokio::test]
    async fn an_organization_whose_calls_wait_gives_up_what_is_anothers_all_the_same() {
        let mut shares = Shares::of(64);
        shares.divide(1);
        let one = organization("one");
        let turn = turn(&mut shares, &one, false);
        let mut under_way = VecDeque::from(calls(&turn));
        assert_eq!(under_way.len(), 48);
        let mut waiting = Box::pin(turn.call());
        assert!(poll!(waiting.as_mut()).is_pending());
        shares.divide(2);
        yield_now().await;
        for _ in 0..48 {
            under_way.pop_front();
            if let Some(call) = unconstrained(waiting.as_mut()).now_or_never() {
                under_way.push_back(call);
                waiting = Box::pin(turn.call());
                assert!(poll!(waiting.as_mut()).is_pending());
            }
        }
        assert_eq!(under_way.len(), 24);
    }

    #[test]
    fn flows_beyond_the_turns_of_an_organization_wait_in_the_order_in_which_they_came() {
        let mut shares = Shares::of(64);
        let one = organization("one");
        for number in 0..TURNS_AT_ONCE + 3 {
            shares.line_up(&one, flow(number, false));
            shares.line_up(&one, flow(number, false));
        }
        let mut turns: VecDeque<(Flow, Turn)> = from_fn(|| shares.next(&one, false)).collect();
        assert_eq!(turns.len(), TURNS_AT_ONCE);
        // Urgent messages and others' do not wait for them.
        turn(&mut shares, &one, true);
        turn(&mut shares, &organization("other"), false);
        // Who has had a turn goes to the end, however often its flow is found due.
        for number in 0..3 {
            let (ended, _) = turns.pop_front().unwrap();
            assert_eq!(ended, flow(number, false));
            shares.line_up(&one, ended);
            assert_eq!(shares.next(&one, false).unwrap().0, flow(TURNS_AT_ONCE + number, false));
        }
        assert_eq!(shares.next(&one, false).unwrap().0, flow(0, false));
    }

    /// They were found in the order of their names, and those that had just had a turn took it again.
    #[test]
    fn of_more_busy_flows_than_turns_each_has_as_many_turns_as_the_others() {
        let mut shares = Shares::of(64);
        let (one, flows) = (organization("one"), 3 * TURNS_AT_ONCE / 2);
        let mut had: HashMap<Flow, usize> = HashMap::new();
        for _ in 0..3 {
            // All are busy, and found in one order.
            for number in 0..flows {
                shares.line_up(&one, flow(number, false));
            }
            let turns: Vec<(Flow, Turn)> = from_fn(|| shares.next(&one, false)).collect();
            for (flow, _) in turns {
                *had.entry(flow.clone()).or_default() += 1;
                shares.line_up(&one, flow);
            }
        }
        assert_eq!(had.len(), flows);
        assert!(had.values().all(|turns| *turns == 2), "{had:?}");
        assert!(shares.is_line_long(&one, false) && !shares.is_line_long(&one, true));
    }

    /// Those that were busy lined up again and again, so that the line stayed long and nobody was looked for.
    #[test]
    fn a_flow_that_is_due_late_has_its_turn_however_many_are_busy() {
        let mut shares = Shares::of(64);
        let one = organization("one");
        let busy = TURNS_AT_ONCE + LINE_MAX + 76;
        let late = flow(busy, false);
        let (mut running, mut skip) = (VecDeque::new(), 0);
        for look in 0..20 {
            // It is due once all others are running or wait.
            let due = if look < 9 { busy } else { busy + 1 };
            if !shares.is_line_long(&one, false) {
                let page = (0..due).map(|number| flow(number, false)).skip(skip).take(LINE_MAX);
                let page: Vec<Flow> = page.collect();
                skip = if page.len() == LINE_MAX { skip + LINE_MAX } else { 0 };
                let turns: HashSet<Flow> =
                    running.iter().map(|(flow, _): &(Flow, Turn)| flow.clone()).collect();
                page.into_iter()
                    .filter(|flow| !turns.contains(flow))
                    .for_each(|flow| shares.line_up(&one, flow));
            }
            running.extend(from_fn(|| shares.next(&one, false)));
            for _ in 0..running.len() {
                let (ended, turn) = running.pop_front().expect("as many as there are");
                if ended == late {
                    return;
                }
                drop(turn);
                shares.line_up_again(&one, ended);
                running.extend(shares.next(&one, false));
            }
        }
        panic!("it never had a turn");
    }
}
