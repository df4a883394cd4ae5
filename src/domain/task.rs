//! What has to be done at a later time, by whichever instance comes first.

use std::{fmt, str::FromStr, time::Duration};

use super::UnixMs;
use crate::twilio::MessageSid;

/// Something to be done at a time. A store keeps it under its text, of which there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Task {
    /// Ask Twilio what became of a message that has no final status.
    Ask {
        /// The message.
        sid: MessageSid,
        /// When its first status was recorded, by the store's clock.
        since: UnixMs,
    },
    /// List the account's messages at Twilio: the net below everything else.
    List,
    /// Make an opt-out of a reply under review, if nobody has decided on it.
    ExpireReview {
        /// The reply.
        sid: MessageSid,
    },
    /// Tell a caller's own URL of a status.
    Relay {
        /// Of which status of which message: letters and digits.
        name: String,
    },
}

/// Tasks that are claimed together. Each has a line of its own, so that what waits for one party, which may be away for
/// hours, does not stand in the way of what waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskLine {
    /// What Twilio is to be asked.
    Twilio,
    /// What callers are to be told.
    Callers,
    /// Replies under review, at their deadlines.
    Reviews,
}

impl TaskLine {
    /// All of them.
    pub const ALL: [TaskLine; 3] = [TaskLine::Twilio, TaskLine::Callers, TaskLine::Reviews];

    /// The word in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskLine::Twilio => "tasks",
            TaskLine::Callers => "relays",
            TaskLine::Reviews => "reviews",
        }
    }
}

impl Task {
    /// The line that it stands in.
    pub fn line(&self) -> TaskLine {
        match self {
            Task::Ask { .. } | Task::List => TaskLine::Twilio,
            Task::Relay { .. } => TaskLine::Callers,
            Task::ExpireReview { .. } => TaskLine::Reviews,
        }
    }
}

/// What the text of a relay begins with.
const RELAY: &str = "relay:";

/// What the text of a review begins with.
const REVIEW: &str = "review:";

/// A text that is no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a task")]
pub struct InvalidTask;

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Ask { sid, since } => write!(f, "{sid}@{:x}", since.get()),
            Task::List => f.write_str("list"),
            Task::ExpireReview { sid } => write!(f, "{REVIEW}{sid}"),
            Task::Relay { name } => write!(f, "{RELAY}{name}"),
        }
    }
}

impl FromStr for Task {
    type Err = InvalidTask;

    fn from_str(text: &str) -> Result<Self, InvalidTask> {
        if let Some(name) = text.strip_prefix(RELAY) {
            return Ok(Task::Relay { name: name.to_owned() });
        }
        if let Some(sid) = text.strip_prefix(REVIEW) {
            return Ok(Task::ExpireReview { sid: MessageSid::parse(sid).map_err(|_| InvalidTask)? });
        }
        match text.split_once('@') {
            None if text == "list" => Ok(Task::List),
            None => Err(InvalidTask),
            Some((sid, since)) => Ok(Task::Ask {
                sid: MessageSid::parse(sid).map_err(|_| InvalidTask)?,
                since: UnixMs::new(u64::from_str_radix(since, 16).map_err(|_| InvalidTask)?),
            }),
        }
    }
}

/// When to ask for a message again whose first status was recorded at `since`: at the first of `schedule`'s times
/// after it that is later than `now`. `None` if there is none, and the message is left to the listing.
pub fn next_ask(since: UnixMs, now: UnixMs, schedule: &[Duration]) -> Option<UnixMs> {
    schedule.iter().map(|&after| since + after).find(|&at| at > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_reads_as_it_was_written() {
        let sid = MessageSid::parse("SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
        let relay = Task::Relay { name: "0a1b".to_owned() };
        let review = Task::ExpireReview { sid: sid.clone() };
        for task in [Task::List, relay, review, Task::Ask { sid, since: UnixMs::new(1_764_000_000_000) }] {
            assert_eq!(task.to_string().parse(), Ok(task));
        }
        for wrong in
            ["", "lists", "review:", "review:list", "SM1@1", "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@g", "@"]
        {
            assert_eq!(wrong.parse::<Task>(), Err(InvalidTask), "{wrong}");
        }
    }

    #[test]
    fn a_message_is_asked_for_at_growing_distances_and_then_no_more() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let schedule = [minutes(15), minutes(60), minutes(360), minutes(1440)];
        let since = UnixMs::new(1_000);
        let in_minutes = |now: u64| {
            next_ask(since, since + minutes(now), &schedule).map(|at| at.since(since).as_secs() / 60)
        };
        let next: Vec<_> = [0, 14, 15, 16, 60, 361, 1439, 1440].map(in_minutes).into();
        let expected = [15, 15, 60, 60, 360, 1440, 1440].map(Some).into_iter().chain([None]);
        assert_eq!(next, expected.collect::<Vec<_>>());
    }
}
