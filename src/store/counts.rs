//! What is counted: for the statistics, up to a limit, and a sender's time.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::domain::{
    Organization, Sender, UnixMs,
    stats::{self, Unit},
};

/// What became of an amount that was to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is counted; so much it is with what was counted before.
    Yes(u64),
    /// It does not fit; so much was counted before, and nothing has changed.
    Beyond(u64),
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Counts {
    /// What was counted in the times of `unit` that begin at `from` or later and before `until`, in order; times in which
    /// nothing was counted are left out.
    async fn counts(
        &self,
        organization: &Organization,
        unit: Unit,
        from: UnixMs,
        until: UnixMs,
    ) -> Result<Vec<(UnixMs, stats::Counts)>, Error>;

    /// Adds `amount` to the counter `name`, unless it would be more than `max` then. A counter begins at zero and ends
    /// `keep` after its first count. An amount of zero only asks.
    async fn count_many(
        &self,
        organization: &Organization,
        name: &str,
        amount: u64,
        max: u64,
        keep: Duration,
    ) -> Result<Counted, Error>;

    /// Adds one to the counter `name`, unless it is at `max` already, and returns it.
    async fn count(
        &self,
        organization: &Organization,
        name: &str,
        max: u64,
        keep: Duration,
    ) -> Result<Option<u64>, Error> {
        Ok(match self.count_many(organization, name, 1, max, keep).await? {
            Counted::Yes(count) => Some(count),
            Counted::Beyond(_) => None,
        })
    }

    /// Gives `sender` `cost` of time to send in, behind all that it has been given before: returns when it begins, which
    /// is `now` at the earliest. A cost of zero only asks.
    async fn reserve_pace(
        &self,
        organization: &Organization,
        sender: &Sender,
        now: UnixMs,
        cost: Duration,
    ) -> Result<UnixMs, Error>;
}
