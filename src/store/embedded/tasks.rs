//! What is to be done later, in the embedded store.

use async_trait::async_trait;
use redb::ReadableTable;

use super::{EmbeddedStore, tables::Tables, unavailable};
use crate::{
    domain::{Organization, Task, TaskLine, UnixMs},
    store::{Error, Tasks},
};

impl Tables<'_> {
    /// When `task` is planned for.
    fn planned(&self, organization: &str, task: &Task) -> Result<Option<UnixMs>, Error> {
        let planned = self.planned.get((organization, task.to_string().as_str())).map_err(unavailable)?;
        Ok(planned.map(|at| UnixMs::new(at.value())))
    }

    /// Plans `task` for `at`, or for no time, whatever it was planned for.
    pub(super) fn schedule(
        &mut self,
        organization: &str,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let (line, task) = (task.line().as_str(), task.to_string());
        let key = (organization, task.as_str());
        let before = match at {
            Some(at) => self.planned.insert(key, at.get()).map_err(unavailable)?,
            None => self.planned.remove(key).map_err(unavailable)?,
        };
        let before = before.map(|before| before.value());
        if let Some(before) = before {
            self.due.remove((organization, line, before, task.as_str())).map_err(unavailable)?;
        }
        if let Some(at) = at {
            self.due.insert((organization, line, at.get(), task.as_str()), ()).map_err(unavailable)?;
        }
        Ok(())
    }

    fn claim(
        &mut self,
        organization: &str,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error> {
        let line = line.as_str();
        let due = self
            .due
            .range((organization, line, 0, "")..(organization, line, now.get().saturating_add(1), ""));
        let due = due.map_err(unavailable)?.take(limit).map(|row| {
            let (key, _) = row.map_err(unavailable)?;
            let (_, _, at, task) = key.value();
            let task = task.parse().map_err(|_| Error::Unreadable(format!("a task: {task:?}")))?;
            Ok((task, UnixMs::new(at)))
        });
        let claimed: Vec<(Task, UnixMs)> = due.collect::<Result<_, Error>>()?;
        for (task, _) in &claimed {
            self.schedule(organization, task, Some(until))?;
        }
        Ok(claimed)
    }
}

#[async_trait]
impl Tasks for EmbeddedStore {
    async fn schedule(&self, organization: &Organization, task: &Task, at: UnixMs) -> Result<(), Error> {
        let (organization, task) = (organization.clone(), task.clone());
        self.write(move |tables| match tables.planned(organization.as_str(), &task)? {
            Some(_) => Ok(()),
            None => tables.schedule(organization.as_str(), &task, Some(at)),
        })
        .await
    }

    async fn claim(
        &self,
        organization: &Organization,
        line: TaskLine,
        now: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<(Task, UnixMs)>, Error> {
        let organization = organization.clone();
        self.write(move |tables| tables.claim(organization.as_str(), line, now, until, limit)).await
    }

    async fn reschedule(
        &self,
        organization: &Organization,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let (organization, task) = (organization.clone(), task.clone());
        self.write(move |tables| match tables.planned(organization.as_str(), &task)? {
            Some(_) => tables.schedule(organization.as_str(), &task, at),
            None => Ok(()),
        })
        .await
    }
}
