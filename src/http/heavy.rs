//! Requests that name thousands of people, away from the threads that take webhooks.
//!
//! Reading ten thousand numbers and making as many messages takes a processor for a tenth of a second and more. On the thread
//! of its connection nobody else would be served meanwhile, so that a few such requests at a time kept Twilio waiting for
//! seconds. They have threads of their own, and take turns.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::Semaphore};
use tracing::Span;

/// Pieces of such work that are done at the same time: a second one goes on while the first waits for the store.
const AT_ONCE: usize = 2;

/// Does what is heavy.
pub struct Heavy {
    runtime: Handle,
    turns: Arc<Semaphore>,
}

impl Heavy {
    /// On threads beside those of `runtime`, which has to outlive the requests.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Does `work` when its turn has come: to its end, even if nobody waits for it any more.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let turn = self.turns.clone().acquire_owned().await.expect("the turns are never closed");
        let (runtime, span) = (self.runtime.clone(), Span::current());
        let done = self.runtime.spawn_blocking(move || {
            let done = span.in_scope(|| runtime.block_on(work()));
            drop(turn);
            done
        });
        done.await.expect("the work does not panic and is not aborted")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_heavy_is_done_elsewhere_and_takes_turns() {
        let heavy = Heavy::new(Handle::current());
        let here = thread::current().id();
        assert_ne!(heavy.run(|| async { thread::current().id() }).await, here);
        let (mut ends, mut running) = (Vec::new(), Vec::new());
        for _ in 0..=AT_ONCE {
            let (end, ended) = oneshot::channel::<()>();
            ends.push(end);
            running.push(Box::pin(heavy.run(move || async move { ended.await.is_ok() })));
        }
        for work in &mut running {
            assert!(futures_util::poll!(work.as_mut()).is_pending());
        }
        assert_eq!(heavy.turns.available_permits(), 0);
        for end in ends {
            end.send(()).ok();
        }
        assert_eq!(futures_util::future::join_all(running).await, [true; AT_ONCE + 1]);
        assert_eq!(heavy.turns.available_permits(), AT_ONCE);
    }
}
