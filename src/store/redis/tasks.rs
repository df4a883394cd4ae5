//! What is to be done later, in Redis.

use async_trait::async_trait;

use super::{RedisStore, read, scripts};
use crate::{
    domain::{Organization, Task, TaskLine, UnixMs},
    store::{Error, Row, Tasks, tasks::read_task},
};

#[async_trait]
impl Tasks for RedisStore {
    async fn schedule(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error> {
        let key = self.keys.tasks(organization, self.keys.partition_of_task(task), task.line());
        let mut command = redis::cmd("ZADD");
        command.arg(&key).arg("NX").arg(at.get()).arg(task.to_string());
        self.put(&key, &command).await
    }

    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Row<Task>, UnixMs)>, Error> {
        let mut claimed = Vec::new();
        for partition in self.keys.partition_numbers() {
            let wanted = limit - claimed.len();
            if wanted == 0 {
                break;
            }
            let keys = [("queue", self.keys.tasks(organization, partition, line))];
            let arguments =
                [("now", now.to_string()), ("taken_until", until.to_string()), ("limit", wanted.to_string())];
            let due: Vec<(String, f64)> = read(self.write(&scripts::CLAIM, &keys, &arguments).await?)?;
            claimed
                .extend(due.into_iter().map(|(task, at)| (read_task(&task, line), UnixMs::new(at as u64))));
        }
        Ok(claimed)
    }

    async fn reschedule(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let key = self.keys.tasks(organization, self.keys.partition_of_task(task), task.line());
        let command = match at {
            Some(at) => redis::cmd("ZADD").arg(&key).arg("XX").arg(at.get()).arg(task.to_string()).to_owned(),
            None => redis::cmd("ZREM").arg(&key).arg(task.to_string()).to_owned(),
        };
        self.put(&key, &command).await
    }
}
