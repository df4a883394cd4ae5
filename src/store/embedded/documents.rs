//! Documents and counters, in the embedded store.

use std::{ops::Bound, time::Duration};

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    tables::{DOCUMENTS, Tables},
    unavailable,
};
use crate::{
    domain::{Organization, UnixMs, audit::Entry},
    store::{
        Error,
        documents::{DOCUMENTS_MAX, DocumentChange, Documents, Kind},
    },
};

/// The end of what is kept for ever.
pub(super) const FOR_EVER: UnixMs = UnixMs::MAX;

/// Documents that are let go of, because they have ended, with each one that is written.
const DROPPED_MAX: usize = 4;

impl Tables<'_> {
    /// The text, and when it ends; `None` if it has ended.
    pub(super) fn document(
        &self,
        organization: &str,
        kind: &str,
        name: &str,
    ) -> Result<Option<(UnixMs, String)>, Error> {
        let stored = self.documents.get((organization, kind, name)).map_err(unavailable)?;
        let stored = stored.map(|stored| (UnixMs::new(stored.value().0), stored.value().1.to_owned()));
        Ok(stored.filter(|(until, _)| *until > self.now))
    }

    pub(super) fn put_document(
        &mut self,
        organization: &str,
        kind: &str,
        name: &str,
        after: Option<(UnixMs, &str)>,
    ) -> Result<(), Error> {
        let key = (organization, kind, name);
        let before = match after {
            Some((until, text)) => self.documents.insert(key, (until.get(), text)).map_err(unavailable)?,
            None => self.documents.remove(key).map_err(unavailable)?,
        };
        let ended = before.map(|before| UnixMs::new(before.value().0));
        if let Some(until) = ended.filter(|until| *until != FOR_EVER) {
            self.ending.remove((until.get(), organization, kind, name)).map_err(unavailable)?;
        }
        if let Some((until, _)) = after.filter(|(until, _)| *until != FOR_EVER) {
            self.ending.insert((until.get(), organization, kind, name), ()).map_err(unavailable)?;
            self.drop_ended()?;
        }
        Ok(())
    }

    /// Makes all of `changes`, and adds `entry`, if each finds what it expects; else does nothing. Returns whether they were
    /// made.
    fn change_documents(
        &mut self,
        organization: &str,
        changes: &[OwnedChange],
        keep: Option<Duration>,
        entry: Option<&Entry>,
    ) -> Result<bool, Error> {
        for OwnedChange { kind, name, before, .. } in changes {
            let stored = self.document(organization, kind.as_str(), name)?.map(|(_, text)| text);
            if stored != *before {
                return Ok(false);
            }
        }
        let until = end(self.now, keep);
        for OwnedChange { kind, name, after, .. } in changes {
            let after = after.as_deref().map(|after| (until, after));
            self.put_document(organization, kind.as_str(), name, after)?;
        }
        if let Some(entry) = entry {
            self.add_entry(organization, entry)?;
        }
        Ok(true)
    }

    fn drop_ended(&mut self) -> Result<(), Error> {
        for _ in 0..DROPPED_MAX {
            let first = self.ending.first().map_err(unavailable)?;
            let Some((until, organization, kind, name)) = first.map(|(key, _)| {
                let (until, organization, kind, name) = key.value();
                (until, organization.to_owned(), kind.to_owned(), name.to_owned())
            }) else {
                break;
            };
            if until > self.now.get() {
                break;
            }
            let key = (organization.as_str(), kind.as_str(), name.as_str());
            self.ending.remove((until, key.0, key.1, key.2)).map_err(unavailable)?;
            self.documents.remove(key).map_err(unavailable)?;
        }
        Ok(())
    }
}

pub(super) fn end(now: UnixMs, keep: Option<Duration>) -> UnixMs {
    keep.map_or(FOR_EVER, |keep| now + keep)
}

/// A [`DocumentChange`] as it travels to the writer thread.
struct OwnedChange {
    kind: Kind,
    name: String,
    before: Option<String>,
    after: Option<String>,
}

impl From<&DocumentChange<'_>> for OwnedChange {
    fn from(change: &DocumentChange<'_>) -> Self {
        Self {
            kind: change.kind,
            name: change.name.to_owned(),
            before: change.before.map(str::to_owned),
            after: change.after.map(str::to_owned),
        }
    }
}

#[async_trait]
impl Documents for EmbeddedStore {
    async fn document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let (organization, name, now) = (organization.clone(), name.to_owned(), self.clock.now_ms());
        self.read(move |transaction| {
            let documents = transaction.open_table(DOCUMENTS).map_err(unavailable)?;
            let key = (organization.as_str(), kind.as_str(), name.as_str());
            let stored = documents.get(key).map_err(unavailable)?;
            let stored = stored.map(|stored| (UnixMs::new(stored.value().0), stored.value().1.to_owned()));
            Ok(stored.filter(|(until, _)| *until > now).map(|(_, text)| text))
        })
        .await
    }

    async fn change_with_entry(
        &self,
        organization: &Organization,
        changes: &[DocumentChange<'_>],
        keep: Option<Duration>,
        entry: Option<&Entry>,
    ) -> Result<bool, Error> {
        let changes: Vec<OwnedChange> = changes.iter().map(OwnedChange::from).collect();
        let (organization, entry) = (organization.clone(), entry.cloned());
        self.write(move |tables| {
            tables.change_documents(organization.as_str(), &changes, keep, entry.as_ref())
        })
        .await
    }

    async fn documents(
        &self,
        organization: &Organization,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let (organization, after, now) =
            (organization.clone(), after.map(str::to_owned), self.clock.now_ms());
        self.read(move |transaction| {
            let documents = transaction.open_table(DOCUMENTS).map_err(unavailable)?;
            let (organization, kind) = (organization.as_str(), kind.as_str());
            let first = match after.as_deref() {
                Some(after) => Bound::Excluded((organization, kind, after)),
                None => Bound::Included((organization, kind, "")),
            };
            let mut found = Vec::new();
            for row in
                documents.range::<(&str, &str, &str)>((first, Bound::Unbounded)).map_err(unavailable)?
            {
                let (key, stored) = row.map_err(unavailable)?;
                let (of, of_kind, name) = key.value();
                if (of, of_kind) != (organization, kind) || found.len() == limit.min(DOCUMENTS_MAX) {
                    break;
                }
                let (until, text) = stored.value();
                if until > now.get() {
                    found.push((name.to_owned(), text.to_owned()));
                }
            }
            Ok(found)
        })
        .await
    }
}
