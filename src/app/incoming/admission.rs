//! Who goes first when more arrives than can be stored at once.
//!
//! A webhook takes one of [`IN_FLIGHT_MAX`] permits while it is stored. When all are taken it waits, and a permit that
//! becomes free goes to the organizations in turn, so that the flood of one does not delay another; within an
//! organization to a person's reply first (it may be a STOP), then to a final status, then to an intermediate one. A
//! reply thus waits for the storing of one webhook per other organization, whatever else waits.
//!
//! What waits is bounded by [`WAITING_MAX`], and by [`WAIT_MAX`] or less. When the queue is full, the organization with the most
//! waiting webhooks loses the newest of its lowest priority. Whoever is turned away is spooled, or answered at once, since Twilio
//! tries again within seconds or never.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{domain::Organization, metrics::Metrics};

/// Webhooks that are stored at the same time.
pub const IN_FLIGHT_MAX: usize = 256;

/// Webhooks that wait for a permit.
pub const WAITING_MAX: usize = 4_096;

/// How long a webhook waits for a permit that can be kept nowhere but in the store: half of the 4 s in which Twilio wants an
/// answer, by the connection overrides we ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(2);

/// What a webhook holds, in the order in which permits are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A person wrote.
    Reply,
    /// A message has come to its end.
    Final,
    /// A message is on its way.
    Intermediate,
}

const PRIORITIES: usize = 3;

/// Too much waits, or it waited too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more webhooks arrive than can be stored")]
pub struct Overloaded;

/// The permits, and who waits for one.
pub struct Admission(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    metrics: Arc<Metrics>,
    wait_max: Duration,
}

struct Queues {
    free: usize,
    waiting: usize,
    waiting_max: usize,
    /// Organizations with somebody who waits, the next one to be served first.
    organizations: VecDeque<Queue>,
}

/// Those of one organization who wait.
struct Queue {
    organization: Organization,
    priorities: [VecDeque<oneshot::Sender<Permit>>; PRIORITIES],
}

impl Queue {
    fn len(&self) -> usize {
        self.priorities.iter().map(VecDeque::len).sum()
    }
}

/// A place; dropping it gives it to the next.
pub struct Permit(Option<Arc<Shared>>);

impl Admission {
    /// Places of the usual number, for each of which is waited for `wait_max` at most.
    pub fn new(metrics: Arc<Metrics>, wait_max: Duration) -> Self {
        Self::with_bounds(metrics, IN_FLIGHT_MAX, WAITING_MAX, wait_max)
    }

    fn with_bounds(metrics: Arc<Metrics>, places: usize, waiting_max: usize, wait_max: Duration) -> Self {
        let queues = Queues { free: places, waiting: 0, waiting_max, organizations: VecDeque::new() };
        Self(Arc::new(Shared { queues: Mutex::new(queues), metrics, wait_max }))
    }

    /// Takes a place, waiting for one if need be.
    pub async fn enter(&self, organization: &Organization, priority: Priority) -> Result<Permit, Overloaded> {
        let turn = {
            let mut queues = self.0.lock();
            if queues.free > 0 {
                queues.free -= 1;
                return Ok(Permit(Some(self.0.clone())));
            }
            let turn = queues.join(organization, priority);
            self.0.metrics.waiting(queues.waiting);
            turn
        };
        // An error of the turn is an eviction; one of the timeout leaves a closed turn behind, which is passed over.
        match tokio::time::timeout(self.0.wait_max, turn).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Overloaded),
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        // Nothing that holds the lock can panic half-way.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Queues up; if that makes too many, somebody leaves, perhaps the newcomer.
    fn join(&mut self, organization: &Organization, priority: Priority) -> oneshot::Receiver<Permit> {
        let (turn, waiting) = oneshot::channel();
        let known = self.organizations.iter().position(|queue| queue.organization == *organization);
        let index = known.unwrap_or_else(|| {
            let priorities = Default::default();
            self.organizations.push_back(Queue { organization: organization.clone(), priorities });
            self.organizations.len() - 1
        });
        self.organizations[index].priorities[priority as usize].push_back(turn);
        self.waiting += 1;
        if self.waiting > self.waiting_max {
            self.evict();
        }
        waiting
    }

    /// Forgets those who have left by themselves; if there were none, turns away the newest of the last priority of the
    /// organization that has most who wait.
    fn evict(&mut self) {
        for queue in &mut self.organizations {
            queue.priorities.iter_mut().for_each(|priority| priority.retain(|turn| !turn.is_closed()));
        }
        let still_waiting = self.organizations.iter().map(Queue::len).sum();
        if std::mem::replace(&mut self.waiting, still_waiting) > still_waiting {
            self.organizations.retain(|queue| queue.len() > 0);
            return;
        }
        let longest = self.organizations.iter_mut().max_by_key(|queue| queue.len());
        let evicted =
            longest.and_then(|queue| queue.priorities.iter_mut().rev().find_map(VecDeque::pop_back));
        if evicted.is_some() {
            self.waiting -= 1;
        }
        self.organizations.retain(|queue| queue.len() > 0);
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let mut queue = self.organizations.pop_front()?;
        let next = queue.priorities.iter_mut().find_map(VecDeque::pop_front)?;
        self.waiting -= 1;
        if queue.len() > 0 {
            self.organizations.push_back(queue);
        }
        Some(next)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut queues = shared.lock();
        let waited = queues.waiting > 0;
        let mut place = Permit(Some(shared.clone()));
        while let Some(next) = queues.next() {
            match next.send(place) {
                Ok(()) => {
                    shared.metrics.waiting(queues.waiting);
                    return;
                }
                // Gone in the meantime: the next one, then.
                Err(returned) => place = returned,
            }
        }
        // Nobody waits. The place must not be dropped as one that is held: that would come back here.
        place.0 = None;
        queues.free += 1;
        if waited {
            shared.metrics.waiting(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn organization(name: &str) -> Organization {
        Organization::parse(name).unwrap()
    }

    /// One place, which is taken; whoever is named waits in that order; returns who gets the place, in order.
    async fn order(waiting_max: usize, arrivals: &[(&str, Priority)]) -> Vec<String> {
        let priorities = Admission::with_bounds(Arc::new(Metrics::new()), 1, waiting_max, LONG);
        let first = priorities.enter(&organization("first"), Priority::Intermediate).await.unwrap();
        let mut waiting: Vec<_> = arrivals
            .iter()
            .map(|(name, priority)| {
                let organization = organization(name);
                let priorities = &priorities;
                let enter = async move { priorities.enter(&organization, *priority).await };
                let mut enter = Box::pin(enter);
                // Whoever is turned away at once does not wait.
                let waits = enter.as_mut().now_or_never().is_none();
                (format!("{name} {priority:?}"), waits.then_some(enter))
            })
            .collect();
        let mut served = Vec::new();
        let mut place = Some(first);
        while place.take().is_some() {
            for (name, enter) in &mut waiting {
                match enter.as_mut().and_then(|enter| enter.now_or_never()) {
                    Some(Ok(taken)) => {
                        served.push(name.clone());
                        place = Some(taken);
                        *enter = None;
                    }
                    Some(Err(Overloaded)) => *enter = None,
                    None => {}
                }
            }
        }
        let queues = priorities.0.lock();
        assert_eq!((queues.free, queues.waiting, queues.organizations.len()), (1, 0, 0));
        served
    }

    #[tokio::test]
    async fn replies_go_first_then_final_statuses() {
        use Priority::*;
        let served = order(9, &[("a", Intermediate), ("a", Final), ("a", Intermediate), ("a", Reply)]).await;
        assert_eq!(served, ["a Reply", "a Final", "a Intermediate", "a Intermediate"]);
    }

    #[tokio::test]
    async fn organizations_take_turns() {
        use Priority::*;
        let flood =
            [("a", Final), ("a", Reply), ("a", Reply), ("b", Intermediate), ("c", Reply), ("b", Reply)];
        let served = order(9, &flood).await;
        assert_eq!(served, ["a Reply", "b Reply", "c Reply", "a Reply", "b Intermediate", "a Final"]);
    }

    #[tokio::test]
    async fn too_many_cost_the_one_who_has_most_what_it_can_spare() {
        use Priority::*;
        let served =
            order(3, &[("a", Reply), ("a", Intermediate), ("a", Final), ("b", Final), ("a", Final)]).await;
        assert_eq!(served, ["a Reply", "b Final", "a Final"]);
    }

    #[tokio::test]
    async fn a_wait_ends_and_whoever_left_is_passed_over() {
        let priorities = Admission::with_bounds(Arc::new(Metrics::new()), 1, 9, Duration::ZERO);
        let a = organization("a");
        let place = priorities.enter(&a, Priority::Reply).await.unwrap();
        assert_eq!(priorities.enter(&a, Priority::Reply).await.err(), Some(Overloaded));
        drop(place);
        assert!(priorities.enter(&a, Priority::Final).await.is_ok());
    }
}
