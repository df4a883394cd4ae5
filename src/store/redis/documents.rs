//! Documents and counters, in Redis.

use std::time::Duration;

use async_trait::async_trait;

use super::{RedisStore, read, scripts};
use crate::{
    domain::Organization,
    store::{
        Error,
        documents::{DOCUMENTS_MAX, Documents, Kind},
    },
};

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
        self.get(&command).await
    }

    async fn change_document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
        before: Option<&str>,
        after: Option<&str>,
        keep: Option<Duration>,
    ) -> Result<bool, Error> {
        let keys = [
            self.keys.document(organization, kind, name),
            self.keys.documents(organization, self.keys.partition(name), kind),
        ];
        let is_there = |text: Option<&str>| if text.is_some() { "1" } else { "0" };
        let keep = keep.map(|keep| keep.as_millis().to_string()).unwrap_or_default();
        let arguments = [
            is_there(before),
            before.unwrap_or_default(),
            is_there(after),
            after.unwrap_or_default(),
            &keep,
            if kind.is_listed() { name } else { "" },
        ];
        read(self.write(&scripts::CHANGE_DOCUMENT, &keys, &arguments).await?)
    }

    async fn documents(
        &self,
        organization: &Organization,
        kind: Kind,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        let keys = |partition| self.keys.documents(organization, partition, kind);
        let names = self.names(keys, after, limit.min(DOCUMENTS_MAX)).await?;
        let documents = names.into_iter().map(|name| async move {
            Ok::<_, Error>(self.document(organization, kind, &name).await?.map(|text| (name, text)))
        });
        Ok(futures_util::future::try_join_all(documents).await?.into_iter().flatten().collect())
    }
}
