//! What is to be done later, in the embedded store.

use async_trait::async_trait;
use redb::ReadableTable;

use super::{EmbeddedStore, damage::is_damage, deliveries::MessageRow, tables::Tables, unavailable};
use crate::{
    domain::{Organization, Task, TaskLine, UnixMs},
    store::{Error, Row, Tasks, tasks::read_task},
    twilio::MessageSid,
};

impl Tables<'_> {
    /// When `task` is planned for.
    pub(super) fn planned(&self, organization: &str, task: &Task) -> Result<Option<UnixMs>, Error> {
        let planned = self.planned.get((organization, task.to_string().as_str())).map_err(unavailable)?;
        match (planned, task) {
            (Some(at), _) => Ok(Some(UnixMs::new(at.value()))),
            (None, Task::Ask { sid, .. }) => {
                Ok(self.asked_row(organization, sid, task)?.and_then(|row| row.ask_at))
            }
            (None, Task::List | Task::ExpireReview { .. } | Task::Relay { .. }) => Ok(None),
        }
    }

    /// Plans `task` for `at`, or for no time, whatever it was planned for.
    pub(super) fn schedule(
        &mut self,
        organization: &str,
        task: &Task,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let text = task.to_string();
        let before = self.note_planned(organization, Some(task), &text, at)?;
        self.move_due(organization, task.line(), &text, before, at)
    }

    /// Plans to ask Twilio for the message `sid` at a time, or at none. Its `row` is changed, and to be kept by whoever has it.
    pub(super) fn plan_ask(
        &mut self,
        organization: &str,
        sid: &MessageSid,
        row: &mut MessageRow,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let ask = row.ask(sid);
        let text = ask.to_string();
        let before = self.note_in(organization, row, &text, at)?;
        self.move_due(organization, ask.line(), &text, before, at)
    }

    /// Notes what `task` is planned for, and returns what it was planned for before.
    fn note_planned(
        &mut self,
        organization: &str,
        task: Option<&Task>,
        text: &str,
        at: Option<UnixMs>,
    ) -> Result<Option<UnixMs>, Error> {
        if let Some(task @ Task::Ask { sid, .. }) = task
            && let Some(mut row) = self.asked_row(organization, sid, task)?
        {
            let before = self.note_in(organization, &mut row, text, at)?;
            self.put_message_row(organization, sid, &row)?;
            return Ok(before);
        }
        let key = (organization, text);
        let before = match at {
            Some(at) => self.planned.insert(key, at.get()).map_err(unavailable)?,
            None => self.planned.remove(key).map_err(unavailable)?,
        };
        Ok(before.map(|before| UnixMs::new(before.value())))
    }

    /// The same of the asking that stands in the row of its message.
    fn note_in(
        &mut self,
        organization: &str,
        row: &mut MessageRow,
        text: &str,
        at: Option<UnixMs>,
    ) -> Result<Option<UnixMs>, Error> {
        // Version 0.1.0 keeps it there, and so does this one while the row cannot be read: what is there is newer than what the row has.
        let beside = self.planned.remove((organization, text)).map_err(unavailable)?;
        let in_row = std::mem::replace(&mut row.ask_at, at);
        Ok(beside.map(|beside| UnixMs::new(beside.value())).or(in_row))
    }

    /// The row of the message that `task` is to ask for. One that cannot be read, or is on a damaged page, is like none: the time is kept
    /// beside it then, and what else is due is not held up.
    fn asked_row(
        &self,
        organization: &str,
        sid: &MessageSid,
        task: &Task,
    ) -> Result<Option<MessageRow>, Error> {
        match self.message_row(organization, sid) {
            Ok(row) => Ok(row.filter(|row| row.ask(sid) == *task)),
            Err(Error::Unreadable(_)) => Ok(None),
            Err(Error::Unavailable(error)) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn move_due(
        &mut self,
        organization: &str,
        line: TaskLine,
        task: &str,
        before: Option<UnixMs>,
        at: Option<UnixMs>,
    ) -> Result<(), Error> {
        let line = line.as_str();
        if let Some(before) = before {
            self.due.remove((organization, line, before.get(), task)).map_err(unavailable)?;
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
        let mut claimed = Vec::with_capacity(due.len());
        for (text, at) in due {
            let task = read_task(&text, line);
            self.note_planned(organization, task.as_ref().ok(), &text, Some(until))?;
            self.move_due(organization, line, &text, Some(at), Some(until))?;
            claimed.push((task, at));
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
