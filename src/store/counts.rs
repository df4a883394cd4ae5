//! What is counted: for the statistics, up to a limit, and a sender's time.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::domain::{
    Organization, Sender, UnixMs,
    stats::{self, Unit},
};

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

    /// Adds one to the counter `name`, unless it is at `max` already, and returns it. A counter begins at zero and ends
    /// `keep` after its first count.
    async fn count(
        &self,
        organization: &Organization,
        name: &str,
        max: u64,
        keep: Duration,
    ) -> Result<Option<u64>, Error>;

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
