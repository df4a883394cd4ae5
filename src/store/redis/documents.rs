//! Documents and counters, in Redis.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use redis::Value;

use super::{RedisStore, keys::Partition, read, scripts};
use crate::{
    domain::{Organization, audit::Entry},
    store::{
        Error,
        documents::{DOCUMENTS_MAX, DocumentChange, Documents, Kind},
        encode,
    },
};

impl RedisStore {
    /// Copies a document that is kept together with others from the partition of its name, where version 0.1.0 kept it,
    /// unless it has been copied before. It is left there as well, since instances of that version may still run beside
    /// this one.
    async fn bring_along(&self, organization: &Organization, kind: Kind, name: &str) -> Result<(), Error> {
        let Some(former) = self.keys.former_document(organization, kind, name) else { return Ok(()) };
        let place = self.keys.document(organization, kind, name);
        if self.get::<bool>(redis::cmd("EXISTS").arg(&place)).await? {
            return Ok(());
        }
        match self.get::<Option<String>>(redis::cmd("GET").arg(former)).await? {
            Some(text) => self.get::<Value>(redis::cmd("SET").arg(place).arg(text).arg("NX")).await.map(drop),
            None => Ok(()),
        }
    }

    /// Takes the names of documents that have ended out of the lists, so that they are not passed by again. If that fails, or a
    /// replica that takes over has not got it, they are; so no replica is waited for. What is kept together does not end by
    /// itself, and is listed in two places.
    async fn forget_names(&self, organization: &Organization, kind: Kind, ended: Vec<String>) {
        if kind.is_kept_together() {
            return;
        }
        if self.known.check().is_err() {
            return;
        }
        let mut in_partition = BTreeMap::<Partition, Vec<String>>::new();
        for name in ended {
            in_partition.entry(self.keys.partition_of_document(kind, &name)).or_default().push(name);
        }
        let forgotten = in_partition.into_iter().map(|(partition, ended)| async move {
            let mut keys = vec![("names", self.keys.documents(organization, partition, kind))];
            keys.extend(ended.iter().map(|name| ("document", self.keys.document(organization, kind, name))));
            let names: Vec<_> = ended.iter().map(|name| ("name", name)).collect();
            scripts::FORGET_NAMES.run(self.connection().ok()?, None, &keys, &names).await.ok()
        });
        join_all(forgotten).await;
    }
}

#[async_trait]
impl Documents for RedisStore {
    async fn document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
    ) -> Result<Option<String>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.document(organization, kind, name));
        let stored: Option<String> = self.get(&command).await?;
        if stored.is_some() || self.keys.former_document(organization, kind, name).is_none() {
            return Ok(stored);
        }
        self.bring_along(organization, kind, name).await?;
        self.get(&command).await
    }

    async fn change_with_entry(
        &self,
        organization: &Organization,
        changes: &[DocumentChange<'_>],
        keep: Option<Duration>,
        entry: Option<&Entry>,
    ) -> Result<bool, Error> {
        let Some(first) = changes.first() else { return Ok(true) };
        let partition = self.keys.partition_of_document(first.kind, first.name);
        let keep = keep.map(|keep| keep.as_millis().to_string()).unwrap_or_default();
        let entry = entry.map(encode).unwrap_or_default();
        let is_there = |text: Option<&str>| if text.is_some() { "1" } else { "0" };
        let mut keys = vec![("audit", self.keys.audit(organization, partition))];
        let mut arguments = vec![("keep", keep.as_str()), ("audit_entry", entry.as_str())];
        for DocumentChange { kind, name, before, after } in changes {
            self.bring_along(organization, *kind, name).await?;
            keys.extend([
                ("document", self.keys.document(organization, *kind, name)),
                ("names", self.keys.documents(organization, partition, *kind)),
            ]);
            arguments.extend([
                ("is_expected", is_there(*before)),
                ("before", before.unwrap_or_default()),
                ("remains", is_there(*after)),
                ("after", after.unwrap_or_default()),
                ("name", if kind.is_listed() { name } else { "" }),
            ]);
        }
        let changed = read(self.write(&scripts::CHANGE_DOCUMENTS, &keys, &arguments).await?)?;
        for DocumentChange { kind, name, after, .. } in changes {
            if changed
                && after.is_none()
                && let Some(former) = self.keys.former_document(organization, *kind, name)
            {
                self.get::<Value>(redis::cmd("DEL").arg(former)).await?;
            }
        }
        Ok(changed)
    }

    async fn documents(
        &self,
        organization: &Organization,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let limit = limit.min(DOCUMENTS_MAX);
        let keys = |partition| self.keys.documents(organization, partition, kind);
        let (mut found, mut after, mut step) = (Vec::new(), after.map(str::to_owned), limit);
        while found.len() < limit {
            let names = self.names(keys, after.as_deref(), step).await?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            let documents = names.into_iter().map(|name| async move {
                let text = self.document(organization, kind, &name).await?;
                Ok::<_, Error>((name, text))
            });
            let mut ended = Vec::new();
            for (name, text) in try_join_all(documents).await? {
                match text {
                    Some(text) => found.push((name, text)),
                    None => ended.push(name),
                }
            }
            self.forget_names(organization, kind, ended).await;
            // Where many have ended, they are passed by in large steps.
            step = DOCUMENTS_MAX;
        }
        found.truncate(limit);
        Ok(found)
    }
}
