//! What holds a message back, or turns it away, beside consent: quiet hours and a pause between two messages to one person,
//! asked for at the moment of the call, and a day's limit, asked for when a message is accepted.

use std::time::Duration;

use super::Steps;
use crate::{
    app::Scope,
    domain::{
        Outbound, Principal, Sender, UnixMs, pace::Pace, pumping::PumpingGuard, quiet_hours::QuietHours,
    },
    phone::countries::Countries,
    store::{self, Counted, Queued},
    twilio::limits::VALIDITY_PERIOD_S,
};

/// How long a day's count is kept after that day.
const COUNT_KEPT: Duration = DAY;

/// At how much of the day's limit a warning is given, in hundredths.
const WARNING_PERCENT: u64 = 80;

/// A day, as it is counted.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of an installation.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The least time between two messages to one recipient.
    pub cooldown: Duration,
    /// When nothing is sent, in the recipient's local time.
    pub quiet_hours: Option<QuietHours>,
    /// Messages per organization and day (UTC).
    pub per_day: Option<u64>,
    /// Messages per caller and day, unless the caller is an API key with a limit of its own.
    pub per_day_and_caller: Option<u64>,
    /// Segments per second and sender, of messages that wait in the queue.
    pub pace: Pace,
    /// How much may wait for an organization.
    pub queue_max: Queued,
    /// The countries that messages may go to; `None` if those of the senders decide.
    pub countries: Option<Countries>,
    /// Which bursts of first messages are held.
    pub pumping: PumpingGuard,
}

/// Whether messages fit into a day's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DayCount {
    /// They do, and are counted.
    Fits,
    /// They do not, and are not counted.
    Beyond {
        /// How many would.
        left: u64,
    },
}

impl Limits {
    /// Until when the recipient's quiet hours hold `outbound` back at `now`, if they do.
    pub(super) fn quiet_until(&self, outbound: &Outbound, now: UnixMs) -> Option<UnixMs> {
        if outbound.is_emergency() {
            return None;
        }
        self.quiet_hours.as_ref()?.until(outbound.to.bare(), now)
    }

    /// How long it takes until the recipient's quiet hours begin, if they hold such messages back and begin within the time for
    /// which Twilio keeps a message.
    pub(super) fn time_until_quiet(&self, outbound: &Outbound, now: UnixMs) -> Option<Duration> {
        if outbound.is_emergency() {
            return None;
        }
        let begins = self.quiet_hours.as_ref()?.next_start(outbound.to.bare(), now)?;
        Some(begins.since(now)).filter(|left| left.as_secs() < u64::from(*VALIDITY_PERIOD_S.end()))
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
    /// Counts `amount` messages, which `by` asks for, on the day on which they are `due`: all of them or none. So each
    /// message is counted once, when it is accepted, and nobody fills days to come; one that is called off, or refused
    /// later, stays counted. What a request counted that broke off is counted again when it is repeated.
    pub(super) async fn count_for_the_day(
        &self,
        due: UnixMs,
        amount: u64,
        by: Option<&Principal>,
    ) -> Result<DayCount, store::Error> {
        let limits = &self.core.settings.limits;
        let day = due.as_secs() / DAY.as_secs();
        let day_ends = UnixMs::EPOCH + Duration::from_secs((day + 1) * DAY.as_secs());
        let keep = day_ends.since(self.core.now_ms()) + COUNT_KEPT;
        let count = async |name: String, amount: u64, max: u64| {
            self.core.store.count_many(self.organization, &name, amount, max, keep).await
        };
        let of_all = format!("messages of day {day}");
        // The caller's first: one that is past its own limit takes nothing of the others'. Nor is it charged for what the
        // organization has no room for, unless others fill that in this very moment: nothing is given back.
        let own_limit = by.and_then(|by| self.api_keys.daily_limit(by)).or(limits.per_day_and_caller);
        if let (Some(max), Some(by)) = (own_limit, by) {
            if let Some(max) = limits.per_day {
                let (Counted::Yes(known) | Counted::Beyond(known)) = count(of_all.clone(), 0, max).await?;
                let left = max.saturating_sub(known);
                if amount > left {
                    return Ok(DayCount::Beyond { left });
                }
            }
            let of_caller = format!("messages of day {day} by {by}");
            if let Counted::Beyond(known) = count(of_caller, amount, max).await? {
                return Ok(DayCount::Beyond { left: max.saturating_sub(known) });
            }
        }
        let Some(max) = limits.per_day else { return Ok(DayCount::Fits) };
        let count = match count(of_all, amount, max).await? {
            Counted::Yes(count) => count,
            Counted::Beyond(count) => return Ok(DayCount::Beyond { left: max.saturating_sub(count) }),
        };
        let warned_from = max.saturating_mul(WARNING_PERCENT).div_ceil(100);
        if count - amount < warned_from && warned_from <= count {
            tracing::warn!(
                event = "daily_limit_warning",
                organization = %self.organization,
                count,
                limit = max,
                "{WARNING_PERCENT} % of the day's messages are accepted: raise TEXTLEDGER_DAILY_LIMIT, or send less"
            );
            self.core.metrics.daily_limit_warning();
        }
        Ok(DayCount::Fits)
    }
}
