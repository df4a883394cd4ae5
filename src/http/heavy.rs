//! Requests that name thousands of people, away from the threads that take webhooks.
//!
//! Reading ten thousand numbers and making as many messages takes a processor for a tenth of a second and more. On the thread
//! of its connection nobody else would be served meanwhile, so that a few such requests at a time kept Twilio waiting for
//! seconds. They have threads of their own, and take turns.
//!
//! Each organization has a line of its own and one turn at a time, so that nobody waits for more than one piece of another
//! organization's work before each of their own. Whoever waits holds a body, so what is in the lines is bounded by its bytes: a
//! request is refused before its body is parsed if its line is full, and one that is in a line is not refused any more.
//!
//! Imports of consent have longer bodies, which may take minutes to arrive, and the store is busy with them for longer than
//! a processor. An organization has few of them under way, and each is in the line only while it is parsed: so one that sends
//! nothing keeps nobody's batches out.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::Span;

use super::{
    contract::MANY_BYTES_MAX,
    problem::{Code, Problem},
};
use crate::domain::Organization;

/// Pieces of such work that are done at the same time, for as many organizations: the second goes on while the first waits for
/// the store. Where there is one organization, there is one at a time.
const AT_ONCE: usize = 2;

/// Imports of one organization that are under way, from before the body is read until it is applied: each holds a whole file, or
/// what was read from it.
const IMPORTS_AT_ONCE: usize = 8;

/// Bytes of the bodies of one organization's requests that are under way, one worked on and the others waiting: 32 of the
/// longest batches, or two of the longest files.
const LINE_BYTES_MAX: usize = 32 * MANY_BYTES_MAX;

/// The same of all organizations: eight full lines.
const ALL_BYTES_MAX: usize = 8 * LINE_BYTES_MAX;

/// What a request counts for at least: it is more than its body.
const REQUEST_BYTES_MIN: usize = 16 * 1024;

/// When a request that was refused may be sent again: a few of those that were before it have been answered by then.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Does what is heavy.
#[derive(Clone)]
pub struct Heavy {
    runtime: Handle,
    turns: Arc<Semaphore>,
    lines: Arc<Mutex<Lines>>,
    imports: Arc<Mutex<HashMap<Organization, usize>>>,
}

/// Where requests wait.
#[derive(Default)]
struct Lines {
    bytes: usize,
    of: HashMap<Organization, Line>,
}

/// Where those of one organization do.
struct Line {
    bytes: usize,
    turn: Arc<Semaphore>,
}

/// An import that is under way until this is dropped.
pub(super) struct Import {
    heavy: Heavy,
    organization: Organization,
}

/// A request that is in its organization's line until this is dropped, and what it has begun is done.
pub(super) struct Queued(Arc<Place>);

/// A request's place in a line.
struct Place {
    heavy: Heavy,
    organization: Organization,
    bytes: usize,
    own_turn: Arc<Semaphore>,
}

impl Heavy {
    /// On threads beside those of `runtime`, which has to outlive the requests.
    pub fn new(runtime: Handle) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { runtime, turns, lines: Arc::default(), imports: Arc::default() }
    }

    /// Begins an import of `organization`, before its body is read; refuses it if there are too many.
    pub(super) fn begin_import(&self, organization: &Organization) -> Result<Import, Problem> {
        let mut imports = self.imports();
        let under_way = imports.entry(organization.clone()).or_default();
        if *under_way == IMPORTS_AT_ONCE {
            let problem = Problem::new(
                Code::RateLimited,
                format!("{IMPORTS_AT_ONCE} imports of this organization are under way"),
                "wait until one of them is answered",
            );
            return Err(problem.retry_in(RETRY_AFTER));
        }
        *under_way += 1;
        Ok(Import { heavy: self.clone(), organization: organization.clone() })
    }

    /// Puts a request of `organization`, with a body of so many `bytes`, into its line; refuses it if there are too many.
    pub(super) fn queue(&self, organization: &Organization, bytes: usize) -> Result<Queued, Problem> {
        let bytes = bytes.max(REQUEST_BYTES_MIN);
        let mut lines = self.lines();
        let own = lines.of.get(organization).map_or(0, |line| line.bytes);
        let is_own_full = own + bytes > LINE_BYTES_MAX;
        if is_own_full || lines.bytes + bytes > ALL_BYTES_MAX {
            let of = if is_own_full { "this organization" } else { "all organizations" };
            let problem = Problem::new(
                Code::RateLimited,
                format!("too many requests of {of} that name many people are under way"),
                "wait as long as Retry-After says, and send few of them at the same time",
            );
            return Err(problem.retry_in(RETRY_AFTER));
        }
        lines.bytes += bytes;
        let line = lines.of.entry(organization.clone());
        let line = line.or_insert_with(|| Line { bytes: 0, turn: Arc::new(Semaphore::new(1)) });
        line.bytes += bytes;
        let own_turn = line.turn.clone();
        let organization = organization.clone();
        Ok(Queued(Arc::new(Place { heavy: self.clone(), organization, bytes, own_turn })))
    }

    fn imports(&self) -> MutexGuard<'_, HashMap<Organization, usize>> {
        self.imports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queued {
    /// Does `work` when its turn has come: to its end, even if nobody waits for it any more. The organization's own turn comes
    /// first, so that nobody who waits for that holds one of those that are everybody's.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let place = self.0.clone();
        let turns = (turn_of(&place.own_turn).await, turn_of(&place.heavy.turns).await);
        let (runtime, span) = (place.heavy.runtime.clone(), Span::current());
        let done = self.0.heavy.runtime.spawn_blocking(move || {
            let done = span.in_scope(|| runtime.block_on(work()));
            drop((turns, place));
            done
        });
        done.await.expect("the work does not panic and is not aborted")
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if let Entry::Occupied(mut under_way) = self.heavy.imports().entry(self.organization.clone()) {
            *under_way.get_mut() -= 1;
            if *under_way.get() == 0 {
                under_way.remove();
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.heavy.lines();
        lines.bytes -= self.bytes;
        if let Entry::Occupied(mut line) = lines.of.entry(self.organization.clone()) {
            line.get_mut().bytes -= self.bytes;
            if line.get().bytes == 0 {
                line.remove();
            }
        }
    }
}

async fn turn_of(turns: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.clone().acquire_owned().await.expect("the turns are never closed")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::{future::join_all, poll};
    use tokio::sync::oneshot;

    use super::*;

    fn organization(name: &str) -> Organization {
        Organization::parse(name).unwrap()
    }

    #[tokio::test]
    async fn what_is_heavy_is_done_elsewhere_and_takes_turns() {
        let heavy = Heavy::new(Handle::current());
        let here = thread::current().id();
        let queued: Vec<Queued> = (0..=AT_ONCE)
            .map(|number| heavy.queue(&organization(&format!("o{number}")), 1).unwrap())
            .collect();
        assert_ne!(queued[0].run(|| async { thread::current().id() }).await, here);
        let (mut ends, mut running) = (Vec::new(), Vec::new());
        for queued in &queued {
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            running.push(Box::pin(queued.run(move || async move { ended.await.is_ok() })));
        }
        for work in &mut running {
            assert!(poll!(work.as_mut()).is_pending());
        }
        assert_eq!(heavy.turns.available_permits(), 0);
        for end in ends {
            end.send(()).ok();
        }
        assert_eq!(join_all(running).await, [true; AT_ONCE + 1]);
        assert_eq!(heavy.turns.available_permits(), AT_ONCE);
    }

    /// One organization's batches held both turns, and all others' waited for as many of them as there were.
    #[tokio::test]
    async fn an_organization_has_one_turn_and_another_waits_for_none_of_its_line() {
        let heavy = Heavy::new(Handle::current());
        let many: Vec<Queued> = (0..9).map(|_| heavy.queue(&organization("many"), 1).unwrap()).collect();
        let (mut ends, mut running) = (Vec::new(), Vec::new());
        for queued in &many {
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            running.push(Box::pin(queued.run(move || async move { ended.await.is_ok() })));
        }
        for work in &mut running {
            assert!(poll!(work.as_mut()).is_pending());
        }
        assert_eq!(heavy.turns.available_permits(), AT_ONCE - 1);
        let other = heavy.queue(&organization("other"), 1).unwrap();
        assert_eq!(other.run(|| async { 1 }).await, 1);
        drop(ends);
        assert_eq!(join_all(running).await, [false; 9]);
    }

    #[tokio::test]
    async fn a_full_line_refuses_and_no_other_organization_is_refused_for_it() {
        let heavy = Heavy::new(Handle::current());
        let (one, other) = (organization("one"), organization("other"));
        let mut line: Vec<Queued> = (0..32).map(|_| heavy.queue(&one, MANY_BYTES_MAX).unwrap()).collect();
        let problem = heavy.queue(&one, 1).err().expect("the line is full");
        assert_eq!((problem.code(), problem.retry_after()), (Code::RateLimited, Some(RETRY_AFTER)));
        assert!(heavy.queue(&other, MANY_BYTES_MAX).is_ok());
        // In the room of one long request there are many short ones.
        line.pop();
        line.extend((0..64).map(|_| heavy.queue(&one, 1).unwrap()));
        assert!(heavy.queue(&one, 1).is_err());
        let others = (1..8).map(|number| organization(&format!("o{number}")));
        let others: Vec<Queued> = others.map(|of| heavy.queue(&of, LINE_BYTES_MAX).unwrap()).collect();
        let problem = heavy.queue(&other, 1).err().expect("all lines together are full");
        assert!(problem.detail().contains("all organizations"), "{problem}");
        drop((line, others));
        assert!(heavy.lines().of.is_empty());
        assert_eq!(heavy.lines().bytes, 0);
    }

    /// Two that sent nothing filled the line.
    #[tokio::test]
    async fn imports_under_way_are_few_and_are_in_no_line() {
        let heavy = Heavy::new(Handle::current());
        let (one, other) = (organization("one"), organization("other"));
        let under_way: Vec<Import> =
            (0..IMPORTS_AT_ONCE).map(|_| heavy.begin_import(&one).unwrap()).collect();
        let problem = heavy.begin_import(&one).err().expect("there are enough");
        assert_eq!((problem.code(), problem.retry_after()), (Code::RateLimited, Some(RETRY_AFTER)));
        assert!(heavy.begin_import(&other).is_ok() && heavy.queue(&one, LINE_BYTES_MAX).is_ok());
        drop(under_way);
        assert!(heavy.imports().is_empty() && heavy.begin_import(&one).is_ok());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_their_turn_to_others_once_what_they_began_is_done() {
        let heavy = Heavy::new(Handle::current());
        let queued = [0, 1].map(|_| heavy.queue(&organization("one"), 1).unwrap());
        let (end, ended) = oneshot::channel::<()>();
        let mut first = Box::pin(queued[0].run(move || async move { ended.await.is_ok() }));
        let mut second = Box::pin(queued[1].run(|| async { true }));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        drop((first, second));
        drop(queued);
        let next = heavy.queue(&organization("one"), 1).unwrap();
        // What has begun goes on to its end, and nobody of the same organization has a turn beside it.
        assert_eq!((next.0.own_turn.available_permits(), heavy.turns.available_permits()), (0, AT_ONCE - 1));
        assert_eq!(heavy.lines().bytes, 2 * REQUEST_BYTES_MIN);
        end.send(()).unwrap();
        assert!(next.run(|| async { true }).await);
    }
}
