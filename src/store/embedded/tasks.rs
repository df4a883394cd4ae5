//! What is to be done later, in the embedded store.

use async_trait::async_trait;
use redb::ReadableTable;

use super::{EmbeddedStore, tables::Tables, unavailable};
use crate::{
    domain::{Organization, Task, TaskLine, UnixMs},
    store::{Error, Row, Tasks, tasks::read_task},
};

impl Tables<'_> {
    /// When `task` is planned for.
    pub(super) fn planned(&self, organization: &str, task: &Task) -> Result<Option<UnixMs>, Error> {
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
        self.plan(organization, task.line(), &task.to_string(), at)
    }

    /// The same of the text of a task in `line`.
    fn plan(
        &mut self,
        organization: &str,
        line: TaskLine,
        task: &str,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let (line, key) = (line.as_str(), (organization, task));
        let before = match at {
            Some(at) => self.planned.insert(key, at.get()).map_err(unavailable)?,
            None => self.planned.remove(key).map_err(unavailable)?,
        };
        let before = before.map(|before| before.value());
        if let Some(before) = before {
            self.due.remove((organization, line, before, task)).map_err(unavailable)?;
        }
        if let Some(at) = at {
            self.due.insert((organization, line, at.get(), task), ()).map_err(unavailable)?;
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
    ) -> Result<Vec<(Row<Task>, UnixMs)>, Error> {
        let name = line.as_str();
        let due = self
            .due
            .range((organization, name, 0, "")..(organization, name, now.get().saturating_add(1), ""));
        let due = due.map_err(unavailable)?.take(limit).map(|row| {
            let (key, _) = row.map_err(unavailable)?;
            let (_, _, at, task) = key.value();
            Ok((task.to_owned(), UnixMs::new(at)))
        });
        let due: Vec<(String, UnixMs)> = due.collect::<Result<_, Error>>()?;
        for (task, _) in &due {
            self.plan(organization, line, task, Some(until))?;
        }
        Ok(due.into_iter().map(|(task, at)| (read_task(&task, line), at)).collect())
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
    ) -> Result<Vec<(Row<Task>, UnixMs)>, Error> {
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
