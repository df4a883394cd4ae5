//! How much of the dispatcher an organization may take: so many flows at a time, and so many calls to Twilio. Urgent
//! messages have shares of their own, so that they do not wait behind the others.
//!
//! Without that, whoever may send could name a sender of their own in each message: each is a flow, with calls of its own.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::Organization;

/// Flows of an organization that have their turn at the same time, of the urgent ones and of the others each.
const TURNS_AT_ONCE: usize = 1_024;

/// The part of all calls that urgent messages get.
const URGENT_SHARE: usize = 4;

/// The part of the calls of its kind that one organization may have under way.
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
    organizations: HashMap<Organization, Share>,
}

/// What an organization may take for messages of one kind.
struct Share {
    turns: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    /// Whether a flow was turned away since the organization's flows were last looked at.
    is_short: bool,
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
        Self { calls_at_once, calls, organizations: HashMap::new() }
    }

    fn share(&mut self, organization: &Organization) -> &mut Share {
        let calls = (self.calls_at_once / ORGANIZATION_SHARE).max(1);
        self.organizations.entry(organization.clone()).or_insert_with(|| Share {
            turns: Arc::new(Semaphore::new(TURNS_AT_ONCE)),
            calls: Arc::new(Semaphore::new(calls)),
            is_short: false,
        })
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

    /// A turn for a flow of `organization`, unless too many have theirs.
    pub(super) fn turn(&mut self, organization: &Organization, urgent: bool) -> Option<Turn> {
        let kind = self.kind(urgent);
        let all = kind.calls.clone();
        let share = kind.share(organization);
        let place = share.turns.clone().try_acquire_owned().ok();
        share.is_short |= place.is_none();
        Some(Turn { own: share.calls.clone(), all, _place: place? })
    }

    /// Whether flows of `organization` were turned away since [`Shares::begin_look`]: then whoever has had a turn goes to the
    /// end of the line.
    pub(super) fn is_short(&mut self, organization: &Organization, urgent: bool) -> bool {
        self.kind(urgent).share(organization).is_short
    }

    /// Flows of `organization` are looked at anew.
    pub(super) fn begin_look(&mut self, organization: &Organization, urgent: bool) {
        self.kind(urgent).share(organization).is_short = false;
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
    use futures_util::FutureExt;

    use super::*;

    fn organization(name: &str) -> Organization {
        Organization::parse(name).unwrap()
    }

    #[test]
    fn an_organization_has_only_its_share_of_the_calls_and_urgent_messages_have_their_own() {
        let mut shares = Shares::of(64);
        let (one, other) = (organization("one"), organization("other"));
        let flows = [one.clone(), one.clone(), other].map(|of| shares.turn(&of, false).unwrap());
        let calls: Vec<Call> = std::iter::from_fn(|| flows[0].call().now_or_never()).collect();
        assert_eq!(calls.len(), 12);
        // Another of its flows has none left; another organization has, and so have urgent messages.
        assert!(flows[1].call().now_or_never().is_none());
        assert!(flows[2].call().now_or_never().is_some());
        assert!(shares.turn(&one, true).unwrap().call().now_or_never().is_some());
        drop(calls);
        assert!(flows[1].call().now_or_never().is_some());
    }

    #[test]
    fn all_organizations_together_have_no_more_calls_than_there_are() {
        let mut shares = Shares::of(64);
        let turns: Vec<Turn> =
            (0..9).map(|n| shares.turn(&organization(&format!("o{n}")), false).unwrap()).collect();
        let calls: Vec<Call> =
            turns.iter().flat_map(|turn| std::iter::from_fn(|| turn.call().now_or_never())).collect();
        assert_eq!(calls.len(), 48);
    }

    #[test]
    fn flows_beyond_the_turns_of_an_organization_wait_and_are_not_passed_by() {
        let mut shares = Shares::of(64);
        let one = organization("one");
        let mut turns: Vec<Turn> = std::iter::from_fn(|| shares.turn(&one, false)).collect();
        assert_eq!(turns.len(), TURNS_AT_ONCE);
        assert!(shares.is_short(&one, false) && !shares.is_short(&one, true));
        assert!(shares.turn(&one, true).is_some() && shares.turn(&organization("other"), false).is_some());
        turns.pop();
        shares.begin_look(&one, false);
        assert!(!shares.is_short(&one, false) && shares.turn(&one, false).is_some());
    }
}
