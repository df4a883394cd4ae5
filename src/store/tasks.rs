//! What is to be done later, by whichever instance comes first.

use async_trait::async_trait;

use super::{Error, Row, Unreadable};
use crate::domain::{Organization, Task, TaskLine, UnixMs};

/// Reads the text of a task in `line`.
pub(super) fn read_task(task: &str, line: TaskLine) -> Row<Task> {
    task.parse().map_err(|error| Unreadable {
        record: format!("the task {task:?} in the line {:?}", line.as_str()),
        error: format!("{error}"),
    })
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Tasks {
    /// Plans `task` for `at`, unless it is planned already.
    async fn schedule(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error>;

    /// Takes tasks of `line` that are due at `now`, at most `limit` of them, each with the time at which it was due. Until
    /// `until` nobody else gets them; then they are due again, unless they have been planned anew. That goes for those too
    /// that cannot be read.
    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Row<Task>, UnixMs)>, Error>;

    /// Plans `task` for another time, or for none; not if it has been done in the meantime and is planned no more.
    async fn reschedule(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error>;
}
