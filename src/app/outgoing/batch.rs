//! A batch as it is stored: it holds what Twilio is to be given with each of its messages, and whether it was called off.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Steps, content::Content};
use crate::{
    app::Scope,
    domain::{BatchId, Principal, UnixMs},
    store::{self, Kind, outbox::OUTBOUNDS_MAX},
    twilio::Address,
};

/// Batches whose content is held in memory, so that it is not opened for each message.
const CACHED_MAX: usize = 64;

/// Members of a batch that are in one document, and are stored in one go.
pub(super) const MEMBERS_AT_ONCE: usize = OUTBOUNDS_MAX;

/// A batch as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Batch {
    /// Who asked for it; `None` if a version did that did not note it.
    #[serde(default)]
    pub(super) actor: Option<Principal>,
    /// How many were accepted.
    pub(super) total: usize,
    /// When it was asked for.
    pub(super) created_at: UnixMs,
    /// When it was called off.
    pub(super) canceled_at: Option<UnixMs>,
    /// Nobody. Version 0.1.0 kept those here who had opted out, and reads no batch without it.
    pub(super) opted_out: Vec<Address>,
    /// What Twilio is to be given, sealed; empty if nothing was accepted.
    pub(super) content: String,
}

impl Scope<'_, Steps> {
    /// The batch `id`; `None` if it was not accepted.
    pub(super) async fn batch(&self, id: &BatchId) -> Result<Option<Batch>, store::Error> {
        let Some(text) = self.core.store.document(self.organization, Kind::Batch, id.as_str()).await? else {
            return Ok(None);
        };
        read(id, &text).map(Some)
    }

    /// What Twilio is to be given with each message of the batch; `None` if the batch was not accepted.
    pub(super) async fn content_of_batch(&self, id: &BatchId) -> Result<Option<Arc<Content>>, store::Error> {
        if let Some(content) = self.contents.get(id) {
            return Ok(Some(content));
        }
        let Some(batch) = self.batch(id).await? else { return Ok(None) };
        let content = Arc::new(Content::open_for_batch(id, &batch.content, &self.core.keys)?);
        self.contents.put(id.clone(), content.clone());
        Ok(Some(content))
    }

    /// Keeps the batch, of which something still waits, as if that were to leave now. One that cannot be read is left alone.
    pub(in crate::app) async fn keep_batch(&self, id: &BatchId) -> Result<(), store::Error> {
        let Some(text) = self.keep(Kind::Batch, id.as_str()).await? else { return Ok(()) };
        let batch =
            self.core.if_readable(self.organization, || format!("batch {id}"), read::<Batch>(id, &text))?;
        for part in 0..batch.as_ref().map_or(0, parts) {
            self.keep(Kind::Members, &part_name(id, part)).await?;
        }
        Ok(())
    }

    /// Keeps a document for as long as batches are, from now on.
    async fn keep(&self, kind: Kind, name: &str) -> Result<Option<String>, store::Error> {
        let stored = self.core.store.document(self.organization, kind, name).await?;
        if let Some(text) = stored.as_deref() {
            let keep = Some(self.core.settings.batch_kept());
            // Who changes it meanwhile keeps it for as long.
            self.core
                .store
                .change_document(self.organization, kind, name, Some(text), Some(text), keep)
                .await?;
        }
        Ok(stored)
    }

    /// Whether the batch has been called off.
    pub(super) async fn is_canceled(&self, id: &BatchId) -> Result<bool, store::Error> {
        Ok(self.batch(id).await?.is_some_and(|batch| batch.canceled_at.is_some()))
    }
}

/// How many documents the members of `batch` are in.
pub(super) fn parts(batch: &Batch) -> usize {
    batch.total.div_ceil(MEMBERS_AT_ONCE)
}

/// The name of one of these documents.
pub(super) fn part_name(id: &BatchId, part: usize) -> String {
    format!("{id}.{part}")
}

/// Reads what is stored about the batch `id`.
pub(super) fn read<T: serde::de::DeserializeOwned>(id: &BatchId, text: &str) -> Result<T, store::Error> {
    store::decode(&format!("batch {id}"), text)
}

/// What is held in memory of batches that leave: opened content, of the last [`CACHED_MAX`] of them.
#[derive(Default)]
pub(in crate::app) struct ContentCache(std::sync::Mutex<Vec<(BatchId, Arc<Content>)>>);

impl ContentCache {
    fn get(&self, id: &BatchId) -> Option<Arc<Content>> {
        let opened = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        opened.iter().find(|(known, _)| known == id).map(|(_, content)| content.clone())
    }

    fn put(&self, id: BatchId, content: Arc<Content>) {
        let mut opened = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if opened.len() == CACHED_MAX {
            opened.remove(0);
        }
        opened.push((id, content));
    }
}
