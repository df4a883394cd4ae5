//! How long each step of a message may take. The steps stand on one another, so the times are one ladder, and the
//! compiler holds it.

use std::time::Duration;

use crate::domain::UnixMs;

/// How long one call to Twilio may take, from its start until the answer is read.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// For how long a request begins another call for a message that Twilio did not process.
pub const REQUEST_RETRY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a message may be on its way to Twilio, with all the calls of its request. After that its answer is lost.
pub const SEND_TIME_MAX: Duration = Duration::from_secs(20);

/// After how long a message that is being sent is taken up again: its process must have ended by then.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How long a claimed message is left alone. If what is done with it takes longer, another instance may take it up too,
/// and the steps of one of the two are not taken.
pub const CLAIM_TIME: Duration = Duration::from_secs(15);

/// How many searches of Twilio's list that count must not have found a message whose answer was lost, before it is sent again:
/// see [`counted_search`].
pub const SEARCHES_MIN: u32 = 2;

/// The shortest pause between two searches. They become rarer, as a message that is listed late is found by the next one all the
/// same.
pub const SEARCH_DELAY: Duration = Duration::from_secs(10);

/// When a message is looked at again that Twilio did not take for what is the account's fault. Until the account is in order
/// nothing of it is taken from the queue.
pub const ACCOUNT_DELAY: Duration = Duration::from_secs(5);

/// How often a message is handed to Twilio before it is given up: with the pauses in between for some ten hours, as long
/// as Twilio itself keeps a message that it cannot hand on.
pub const TRIES_MAX: u32 = 160;

/// The first pause before a queued message that Twilio did not process is tried again; it doubles with each try.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5 * 60);

/// When a message is taken up again whose account is missing, or whose content no key opens.
pub const UNUSABLE_DELAY: Duration = Duration::from_secs(60);

/// How long a message may wait for the batch that it belongs to: an acceptance that was broken off may be repeated under
/// its idempotency key for a day.
pub const BATCH_MISSING_MAX: Duration = Duration::from_secs(25 * 60 * 60);

/// The shortest pause before such a batch is looked for again: most are there a moment later.
pub const BATCH_DELAY_MIN: Duration = Duration::from_millis(250);

/// The longest such pause.
pub const BATCH_DELAY_MAX: Duration = Duration::from_secs(10 * 60);

/// The longest a new message is held for its recipient's cooldown; one that would have to wait longer is refused.
pub const COOLDOWN_HELD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a message is looked at again that a review holds back past its deadline: the opt-out that it became is about to
/// be recorded.
pub const REVIEW_OVERDUE_DELAY: Duration = Duration::from_secs(5);

/// How long one of a burst of first messages to neighbouring numbers is held before it is judged again.
pub const SUSPICIOUS_DELAY: Duration = Duration::from_secs(60 * 60);

/// How long such a message is held, counted from its first judgement; then it is refused.
pub const SUSPICIOUS_HELD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two looks at the first message of a pair.
pub const FALLBACK_DELAY_MIN: Duration = Duration::from_secs(1);

// A request may begin its last call when its time to retry is nearly over, and that call takes its time.
const _: () =
    assert!(CALL_TIME_MAX.as_millis() + REQUEST_RETRY_TIME_MAX.as_millis() <= SEND_TIME_MAX.as_millis());
// What is taken up as lost must be lost, also by a clock that is some seconds ahead.
const _: () = assert!(SEND_TIME_MAX.as_secs() + 5 < LOST_AFTER.as_secs());
// A claimed message's only call ends while the claim lasts.
const _: () = assert!(CALL_TIME_MAX.as_millis() < CLAIM_TIME.as_millis());
// One search proves nothing: Twilio's list may lag behind.
const _: () = assert!(SEARCHES_MIN >= 2);
// What is held as suspicious is judged again before it is given up.
const _: () = assert!(SUSPICIOUS_DELAY.as_millis() < SUSPICIOUS_HELD_MAX.as_millis());
const _: () = assert!(RETRY_DELAY_MIN.as_millis() < RETRY_DELAY_MAX.as_millis());
const _: () = assert!(BATCH_DELAY_MAX.as_millis() < BATCH_MISSING_MAX.as_millis());

/// Whether a call that began at `since` has ended by `now`, whatever became of it.
pub fn is_call_over(since: UnixMs, now: UnixMs) -> bool {
    now.since(since) > SEND_TIME_MAX
}

/// How long after its call began a search counts that does not find a message, if `searches` that counted have not: the first no
/// sooner than half of `lost_after`, the last no sooner than all of it. Twilio may list a message minutes after it has taken it,
/// so that a search before settles nothing by finding nothing.
pub fn counted_search(searches: u32, lost_after: Duration) -> Duration {
    if searches + 1 < SEARCHES_MIN { lost_after / 2 } else { lost_after }
}

/// When a message is searched for next whose call began at `since`, if `searches` that counted have not found it.
pub fn next_search(since: UnixMs, now: UnixMs, searches: u32, lost_after: Duration) -> UnixMs {
    let counted = since + counted_search(searches, lost_after);
    let earlier = now + SEARCH_DELAY.max(now.since(since) / 2);
    if counted > now { counted.min(earlier) } else { now + SEARCH_DELAY }
}

/// The pause before a message that was tried `tries` times is tried again: a doubling delay, of which `jitter` (0.5 to 1)
/// takes a part, so that what failed together does not come back together.
pub fn retry_delay(tries: u32, jitter: f64) -> Duration {
    let delay = RETRY_DELAY_MIN.saturating_mul(1 << tries.min(16)).min(RETRY_DELAY_MAX);
    delay.mul_f64(jitter.clamp(0.5, 1.0))
}
