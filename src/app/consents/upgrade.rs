//! What earlier versions kept, brought into the form of this one.

use futures_util::{StreamExt, TryStreamExt};

use super::Consents;
use crate::{
    app::Scope,
    store::{self, Kind, documents::DOCUMENTS_MAX},
    twilio::BareAddress,
};

/// Persons who are moved, or users whose numbers get owners, at the same time.
const DONE_AT_ONCE: usize = 16;

/// A part of the work, under the name of the document that says that it is done.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Persons whom 0.1.0 knew by a spelling of their number have the one name that they have today.
    Spellings,
    /// Users' numbers have an owner.
    NumberOwners,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Spellings => "spellings",
            Part::NumberOwners => "number owners",
        }
    }
}

impl Scope<'_, Consents> {
    /// Does what has not been done. If a crash cuts it short, the next start does the rest.
    pub(in crate::app) async fn upgrade(&self) -> Result<(), store::Error> {
        let (store, organization) = (&self.core.store, self.organization);
        for part in [Part::Spellings, Part::NumberOwners] {
            if store.document(organization, Kind::Upgrade, part.name()).await?.is_some() {
                continue;
            }
            let is_done = match part {
                Part::Spellings => self.unite_spellings().await?,
                Part::NumberOwners => self.own_numbers().await?,
            };
            if is_done {
                store
                    .change_document(organization, Kind::Upgrade, part.name(), None, Some("done"), None)
                    .await?;
            }
        }
        Ok(())
    }

    /// Moves what is kept under spellings to the persons that they belong to; whether all of it could be read.
    async fn unite_spellings(&self) -> Result<bool, store::Error> {
        let (store, organization) = (&self.core.store, self.organization);
        let spellings = store.former_spellings(organization).await?;
        let moved = futures_util::stream::iter(0..spellings.len())
            .map(|index| self.unite(&spellings[index]))
            .buffer_unordered(DONE_AT_ONCE)
            .try_fold(0, |moved, is_moved| std::future::ready(Ok(moved + usize::from(is_moved))))
            .await?;
        if moved > 0 {
            tracing::info!(
                %organization, moved,
                "persons whom an earlier version knew by another spelling of their number were moved"
            );
        }
        Ok(moved == spellings.len())
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

    /// Gives the numbers that stand in preferences to the users who have them, as far as they are nobody's; whether all
    /// of it could be read.
    async fn own_numbers(&self) -> Result<bool, store::Error> {
        let (mut after, mut all_read) = (None, true);
        loop {
            let store = &self.core.store;
            let page = store
                .documents(self.organization, Kind::Preferences, after.as_deref(), DOCUMENTS_MAX)
                .await?;
            let owned = futures_util::stream::iter(0..page.len())
                .map(|index| self.own_number_if_readable(&page[index].0))
                .buffered(DONE_AT_ONCE);
            all_read &= owned.try_fold(true, |all, is_read| std::future::ready(Ok(all && is_read))).await?;
            after = match page.into_iter().last() {
                Some((user, _)) => Some(user),
                None => return Ok(all_read),
            };
        }
    }

    /// Gives `user` their number; whether their preferences could be read.
    async fn own_number_if_readable(&self, user: &str) -> Result<bool, store::Error> {
        match self.own_number(user).await {
            Ok(()) => Ok(true),
            Err(store::Error::Unreadable(error)) => {
                tracing::error!(organization = %self.organization, user, error, "preferences cannot be read");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
