//! What the tests share: servers that they start and stop, and makers of what they send.

pub mod accounts;
pub mod browser;
pub mod certificates;
pub mod damage;
pub mod flows;
pub mod former;
pub mod later;
pub mod leftovers;
pub mod made_up_time;
pub mod platform;
pub mod redis_cluster;
pub mod redis_sentinels;
pub mod redis_server;
pub mod service;
pub mod slow_redis;
pub mod twilio;

use std::{fmt::Display, time::Duration};

use textledger::clock::{Clock, SystemClock};

/// How long a test waits for a condition before it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `look` finds something, and fails with `what` if it does not within [`DEADLINE`].
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, look).await
}

/// Waits until `look` finds something, for at most `deadline`.
pub async fn eventually_within<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    eventually_ok(deadline, what, async || look().await.ok_or("it is not there")).await
}

/// Waits until `look` finds something, for at most `deadline`; if it does not, the last reason why is told.
pub async fn eventually_ok<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let give_up = tokio::time::Instant::now() + deadline;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(reason) => {
                assert!(tokio::time::Instant::now() < give_up, "not within {deadline:?}: {what}: {reason}")
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The time, as the services know it too.
pub fn now() -> jiff::Timestamp {
    SystemClock.now_ms().to_timestamp().unwrap()
}
