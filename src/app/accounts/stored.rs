//! The settings that are in force, as they are stored: a document of the installation, sealed as a whole.
//!
//! They change in one step with the owner of their account ([`super::ownership`]) and a counter that tells every instance
//! to load them ([`super::effective`]).

use secrecy::{ExposeSecret, zeroize::Zeroizing};

use super::{Accounts, effective::REVISION};
use crate::{
    app::{Scope, audit},
    domain::{AccountSettings, Organization, audit::Entry},
    store::{self, DocumentChange, Kind},
};

/// Settings that are in the store and cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the saved settings cannot be opened by any key of TEXTLEDGER_MASTER_KEY")]
pub struct Unopened;

/// What the store has of one organization.
pub(super) struct StoredSettings {
    /// The document, by which a change is compared.
    pub(super) sealed: Option<String>,
    /// What is in it.
    pub(super) settings: Result<Option<AccountSettings>, Unopened>,
}

/// What became of settings that were to be put in force.
pub(super) enum Claim {
    /// They are.
    Made,
    /// Their account is another organization's.
    InUse,
    /// Others have changed something meanwhile.
    Contended,
}

/// The last entry that was written down of a change that is tried until nobody else changes anything meanwhile.
#[derive(Default)]
pub(super) struct Told(Option<Entry>);

impl Scope<'_, Accounts> {
    /// Writes down what is about to be changed, once for all tries. Settings are the installation's, kept in another place
    /// than the organization's audit, so that the two cannot be one step: a crash in between leaves an entry of a change that
    /// was not made, and never a change without an entry.
    pub(super) async fn tell(&self, told: &mut Told, entry: Entry) -> Result<(), store::Error> {
        if told.0.as_ref() != Some(&entry) {
            audit::record(&self.core, self.organization, &entry).await?;
            told.0 = Some(entry);
        }
        Ok(())
    }

    /// Puts `settings`, which Twilio or the operator has confirmed, in the place of what is `stored`, with their account; and
    /// nothing is `pending` any more. Tells `entry` before, if the account can be theirs.
    pub(super) async fn put_in_force(
        &self,
        settings: &AccountSettings,
        stored: &StoredSettings,
        pending: Option<&str>,
        told: &mut Told,
        entry: Entry,
    ) -> Result<Claim, store::Error> {
        let Some(takeover) = self.takeover(self.organization, settings).await? else {
            return Ok(Claim::InUse);
        };
        self.tell(told, entry).await?;
        let sealed = self.seal_settings(self.organization, settings);
        let (revision, next) = self.revision().await?;
        let name = self.organization.as_str();
        let before = stored.sealed.as_deref();
        let own = [
            DocumentChange { kind: Kind::Settings, name, before, after: Some(&sealed) },
            DocumentChange { kind: Kind::PendingSettings, name, before: pending, after: None },
            DocumentChange {
                kind: Kind::Revision,
                name: REVISION,
                before: revision.as_deref(),
                after: Some(&next),
            },
        ];
        let changes: Vec<_> = own.into_iter().chain(takeover.changes()).collect();
        if !self.core.store.change_documents(&Organization::installation(), &changes).await? {
            return Ok(Claim::Contended);
        }
        // They are in the store, whatever fails from here on: whoever loads settings at intervals uses them a moment later.
        if let Err(error) = self.follow_settings().await {
            tracing::warn!(organization = %self.organization, %error, "settings that were put in force could not be loaded yet");
        }
        Ok(Claim::Made)
    }
}

impl Accounts {
    pub(super) async fn stored_settings(
        &self,
        organization: &Organization,
    ) -> Result<StoredSettings, store::Error> {
        let (installation, name) = (Organization::installation(), organization.as_str());
        let sealed = self.core.store.document(&installation, Kind::Settings, name).await?;
        let settings = sealed.as_deref().map(|sealed| self.open_settings(organization, sealed)).transpose();
        Ok(StoredSettings { sealed, settings })
    }

    pub(super) fn seal_settings(&self, organization: &Organization, settings: &AccountSettings) -> String {
        let plain =
            serde_json::to_vec(settings).expect("settings have string keys and no failing serializer");
        self.core.keys.seal(&context(organization), &Zeroizing::new(plain))
    }

    pub(super) fn open_settings(
        &self,
        organization: &Organization,
        sealed: &str,
    ) -> Result<AccountSettings, Unopened> {
        let plain = self.core.keys.open(&context(organization), sealed).map_err(|_| Unopened)?;
        serde_json::from_slice(plain.expose_secret()).map_err(|_| Unopened)
    }
}

/// What sealed settings are bound to, so that none open under another organization's name.
fn context(organization: &Organization) -> String {
    format!("settings/{organization}")
}
