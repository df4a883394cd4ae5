//! What a loop has under way for many organizations at once, so that none waits for another's.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::{
    task::{Id, JoinSet},
    time::{Instant, Interval, MissedTickBehavior},
};

/// Jobs that run beside a loop, each under the key that says what it is for. Dropping them ends them where they are: what
/// they had claimed is claimed by others later.
pub(super) struct Jobs<K, T> {
    /// Whose jobs they are, for the log.
    worker: &'static str,
    tasks: JoinSet<T>,
    /// What each task is for.
    keys: HashMap<Id, K>,
    /// How many tasks each key has, if any.
    running: HashMap<K, usize>,
    /// Keys that have to wait, each until when.
    resting: HashMap<K, Instant>,
}

impl<K: Clone + Eq + Hash, T: Send + 'static> Jobs<K, T> {
    /// None yet.
    pub(super) fn of(worker: &'static str) -> Self {
        Self {
            worker,
            tasks: JoinSet::new(),
            keys: HashMap::new(),
            running: HashMap::new(),
            resting: HashMap::new(),
        }
    }

    /// Begins a job.
    pub(super) fn begin(&mut self, key: K, job: impl Future<Output = T> + Send + 'static) {
        *self.running.entry(key.clone()).or_default() += 1;
        let id = self.tasks.spawn(job).id();
        self.keys.insert(id, key);
    }

    /// How many jobs of this key are under way.
    pub(super) fn running(&self, key: &K) -> usize {
        self.running.get(key).copied().unwrap_or_default()
    }

    /// Keeps in mind that jobs of this key are to wait.
    pub(super) fn rest(&mut self, key: K, pause: Duration) {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        self.resting.insert(key, now + pause);
    }

    /// Whether jobs of this key are to wait.
    pub(super) fn is_resting(&self, key: &K) -> bool {
        self.resting.get(key).is_some_and(|until| *until > Instant::now())
    }

    /// The next job that ends, and what came of it. Safe to cancel: none is lost.
    pub(super) async fn next(&mut self) -> (K, T) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else { std::future::pending().await };
            let id = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            let key = self.keys.remove(&id).expect("every task has its key since it began");
            let running = self.running.get_mut(&key).expect("every job is counted since it began");
            *running -= 1;
            if *running == 0 {
                self.running.remove(&key);
            }
            match ended {
                Ok((_, result)) => return (key, result),
                // What was claimed stays claimed for its time, so that nothing is done twice.
                Err(error) => tracing::error!(worker = self.worker, %error, "a worker's job failed"),
            }
        }
    }

    /// Lets those that are under way finish, and begins no others.
    pub(super) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Comes at once, and then every `period`; a late one shifts those that follow.
pub(super) fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_counts_until_its_end_is_told() {
        let mut jobs = Jobs::of("a test");
        for result in [1, 2] {
            jobs.begin("key", async move { result });
        }
        assert_eq!((jobs.running(&"key"), jobs.running(&"another")), (2, 0));
        let (first, second) = (jobs.next().await, jobs.next().await);
        assert_eq!((first.0, second.0, first.1 + second.1), ("key", "key", 3));
        assert_eq!(jobs.running(&"key"), 0);
    }

    #[tokio::test]
    async fn a_job_that_panics_frees_its_key_and_no_other() {
        let mut jobs = Jobs::of("a test");
        jobs.begin("broken", async { panic!("as it must") });
        jobs.begin("whole", async {});
        jobs.begin("endless", std::future::pending());
        assert_eq!(jobs.next().await, ("whole", ()));
        // The failure is not told, but waited for.
        while jobs.running(&"broken") > 0 {
            tokio::select! {
                biased;
                ended = jobs.next() => panic!("{ended:?} ended"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!((jobs.running(&"broken"), jobs.running(&"endless")), (0, 1));
    }

    #[test]
    fn a_key_rests_for_its_pause() {
        let mut jobs = Jobs::<_, ()>::of("a test");
        jobs.rest("over", Duration::ZERO);
        jobs.rest("tired", Duration::from_secs(3600));
        assert!(jobs.is_resting(&"tired") && !jobs.is_resting(&"over") && !jobs.is_resting(&"another"));
    }
}
