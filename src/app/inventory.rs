//! Reads everything that is stored, to find what cannot be read.

use std::fmt::Display;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::App;
use crate::{
    domain::{EventId, HistoryId, MessageRef, Organization},
    store::{EVENTS_PAGE_MAX, Error, Store, outbox::OUTBOUNDS_MAX},
};

/// How many records that cannot be read are named.
const NAMED_MAX: usize = 5;

/// After how many further records the progress is told.
const PROGRESS_RECORDS: u64 = 100_000;

/// Messages that are read at the same time.
const MESSAGES_AT_ONCE: usize = 32;

/// Persons, or changes of one's consent, that are read in one go.
const PAGE: usize = 500;

/// What was read.
#[derive(Debug, Default)]
pub struct Inventory {
    /// How many records.
    pub read: u64,
    /// How many of them cannot be read.
    pub unreadable: u64,
    /// The first of those, at most [`NAMED_MAX`], each with why.
    pub named: Vec<String>,
}

/// Reads every event, message and change of consent of every organization that has an account or whose consent was seen to change, and
/// calls `progress` with how many those are, now and then.
pub async fn read_all(app: &App, progress: impl Fn(u64)) -> Result<Inventory, Error> {
    let mut reading = Reading { inventory: Inventory::default(), progress };
    let store = app.store().as_ref();
    let mut organizations = app.accounts.organizations().await?;
    organizations.extend(app.accounts.known_organizations());
    for organization in &organizations {
        reading.events(store, organization).await?;
        reading.messages(store, organization).await?;
        reading.consents(store, organization).await?;
    }
    Ok(reading.inventory)
}

struct Reading<P> {
    inventory: Inventory,
    progress: P,
}

impl<P: Fn(u64)> Reading<P> {
    async fn events(&mut self, store: &dyn Store, organization: &Organization) -> Result<(), Error> {
        let mut after = EventId::START;
        loop {
            let page = store.events(organization, after, EVENTS_PAGE_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            for (_, event) in page {
                self.note(organization, event.map(drop));
            }
        }
    }

    async fn messages(&mut self, store: &dyn Store, organization: &Organization) -> Result<(), Error> {
        let mut before = HistoryId::END;
        loop {
            let page = store.history(organization, None, before, OUTBOUNDS_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            before = *last;
            let (mut ids, mut sids) = (Vec::new(), Vec::new());
            for (_, message) in page {
                match message {
                    MessageRef::Id(id) => ids.push(id),
                    MessageRef::Sid(sid) => sids.push(sid),
                }
            }
            for message in store.outbound_rows(organization, &ids).await? {
                self.note(organization, message.map(drop));
            }
            let messages = stream::iter(sids).map(|sid| async move {
                match store.message(organization, &sid).await {
                    Err(Error::Unreadable(error)) => Ok(Err(format!("message {sid}: {error}"))),
                    message => message.map(|_| Ok(())),
                }
            });
            let messages: Vec<Result<(), String>> =
                messages.buffer_unordered(MESSAGES_AT_ONCE).try_collect().await?;
            for message in messages {
                self.note(organization, message);
            }
        }
    }

    async fn consents(&mut self, store: &dyn Store, organization: &Organization) -> Result<(), Error> {
        let mut after = None;
        loop {
            let persons = store.persons(organization, after.as_ref(), PAGE).await?;
            let Some(last) = persons.last() else { return Ok(()) };
            after = Some(last.clone());
            for person in &persons {
                let mut skip = 0;
                loop {
                    let changes = store.consent_changes(organization, person, skip, PAGE).await?;
                    skip += changes.len();
                    let is_last = changes.len() < PAGE;
                    for change in changes {
                        self.note(organization, change.map(drop));
                    }
                    if is_last {
                        break;
                    }
                }
            }
        }
    }

    fn note(&mut self, organization: &Organization, record: Result<(), impl Display>) {
        let Inventory { read, unreadable, named } = &mut self.inventory;
        *read += 1;
        if let Err(error) = record {
            *unreadable += 1;
            if named.len() < NAMED_MAX {
                named.push(format!("{organization}, {error}"));
            }
        }
        if read.is_multiple_of(PROGRESS_RECORDS) {
            (self.progress)(*read);
        }
    }
}
