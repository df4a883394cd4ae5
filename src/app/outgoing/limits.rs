//! What holds a message back, or turns it away, beside consent: quiet hours, a pause between two messages to one person,
//! a day's limit. Asked at the moment of the call, for every way in which a message can leave.

use std::time::Duration;

use super::Steps;
use crate::{
    app::Scope,
    domain::{Outbound, Sender, UnixMs, pace::Pace, quiet_hours::QuietHours},
    store,
};

/// How long a day's count is kept.
const COUNT_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// At how much of the day's limit a warning is given, in hundredths.
const WARNING_PERCENT: u64 = 80;

/// A day, as it is counted.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of an installation.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The least time between two messages to one recipient.
    pub cooldown: Duration,
    /// When nothing is sent, in the recipient's local time.
    pub quiet_hours: Option<QuietHours>,
    /// Messages per organization and day (UTC).
    pub per_day: Option<u64>,
    /// Segments per second and sender, of messages that wait in the queue.
    pub pace: Pace,
}

impl Limits {
    /// Until when the recipient's quiet hours hold `outbound` back at `now`, if they do.
    pub(super) fn quiet_until(&self, outbound: &Outbound, now: UnixMs) -> Option<UnixMs> {
        if outbound.is_emergency() {
            return None;
        }
        self.quiet_hours.as_ref()?.until(outbound.to.bare(), now)
    }

    /// The least time between two messages to the recipient of `outbound`.
    pub(super) fn cooldown(&self, outbound: &Outbound) -> Duration {
        if outbound.is_emergency() { Duration::ZERO } else { self.cooldown }
    }

    /// The time that `segments` take at the pace of `sender`.
    pub fn time_of(&self, sender: Option<&Sender>, segments: u32) -> Duration {
        self.pace.per_segment(sender) * segments.max(1)
    }
}

impl Scope<'_, Steps> {
    /// Counts one message of the day; whether the day's limit allows it.
    pub(super) async fn count_of_the_day(&self) -> Result<bool, store::Error> {
        let Some(max) = self.core.settings.limits.per_day else { return Ok(true) };
        let day = self.core.now_ms().as_secs() / DAY.as_secs();
        let name = format!("messages of day {day}");
        let Some(count) = self.core.store.count(self.organization, &name, max, COUNT_KEPT).await? else {
            return Ok(false);
        };
        if count == (max * WARNING_PERCENT).div_ceil(100) {
            tracing::warn!(
                event = "daily_limit_warning",
                organization = %self.organization,
                count,
                limit = max,
                "{WARNING_PERCENT} % of the day's messages are sent: raise TEXTLEDGER_DAILY_LIMIT, or send less"
            );
            self.core.metrics.daily_limit_warning();
        }
        Ok(true)
    }
}
