//! Persons whom earlier versions knew by a spelling of their number, brought under the one name that they have today.

use futures_util::{StreamExt, TryStreamExt};

use super::Consents;
use crate::{
    app::Scope,
    store::{self, Kind},
    twilio::BareAddress,
};

/// The document that says that it is done.
const DONE: &str = "spellings";

/// Persons who are moved at the same time.
const MOVED_AT_ONCE: usize = 16;

impl Scope<'_, Consents> {
    /// Moves what is kept under spellings to the persons that they belong to, unless that has been done. If a crash cuts
    /// it short, the next start does the rest.
    pub(in crate::app) async fn unite_spellings(&self) -> Result<(), store::Error> {
        let (store, organization) = (&self.core.store, self.organization);
        if store.document(organization, Kind::Upgrade, DONE).await?.is_some() {
            return Ok(());
        }
        let spellings = store.former_spellings(organization).await?;
        let moved = futures_util::stream::iter(0..spellings.len())
            .map(|index| self.unite(&spellings[index]))
            .buffer_unordered(MOVED_AT_ONCE)
            .try_fold(0, |moved, is_moved| std::future::ready(Ok(moved + usize::from(is_moved))))
            .await?;
        if moved > 0 {
            tracing::info!(
                %organization, moved,
                "persons whom an earlier version knew by another spelling of their number were moved"
            );
        }
        if moved == spellings.len() {
            store.change_document(organization, Kind::Upgrade, DONE, None, Some("done"), None).await?;
        }
        Ok(())
    }

    /// Moves what is kept under `spelling`; whether it could be read.
    async fn unite(&self, spelling: &BareAddress) -> Result<bool, store::Error> {
        match self.core.store.unite(self.organization, spelling).await {
            Ok(()) => Ok(true),
            // One person must not keep all others waiting, and stays where it is.
            Err(store::Error::Unreadable(error)) => {
                tracing::error!(
                    organization = %self.organization, ?spelling, error, "what is kept under a spelling cannot be read"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
