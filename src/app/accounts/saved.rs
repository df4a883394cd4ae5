//! How an organization's account at Twilio is set up: what an administrator saved, or else the configuration.
//!
//! Saved settings are a document of the installation, sealed as a whole. They change in one step with the owner of their
//! account ([`super::ownership`]) and a counter that tells every instance to load them ([`super::effective`]).

use secrecy::{ExposeSecret, zeroize::Zeroizing};

use super::{
    Accounts,
    change::{Fault, SettingsChange},
    effective::REVISION,
};
use crate::{
    app::Scope,
    domain::{AccountSettings, Organization},
    store::{self, DocumentChange, Kind},
};

/// How often a change is decided again when others change settings at the same moment: any of them lets the others decide
/// anew, since they share a counter.
const DECISIONS_MAX: usize = 32;

/// Where settings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// An administrator saved them.
    Saved,
    /// The environment or the configuration file.
    Environment,
}

impl Source {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Saved => "saved",
            Source::Environment => "environment",
        }
    }
}

/// Settings that are in the store and cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the saved settings cannot be opened by any key of TEXTLEDGER_MASTER_KEY")]
pub struct Unopened;

/// Why settings cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The master key is another than it was.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why settings were not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// They are wrong; each field that is.
    #[error("the settings are wrong")]
    Invalid(Vec<Fault>),
    /// Another organization has the account.
    #[error("the account belongs to another organization")]
    AccountInUse,
    /// What they would change cannot be read.
    #[error(transparent)]
    Unopened(#[from] Unopened),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What the store has of one organization.
pub(super) struct StoredSettings {
    /// The document, by which a change is compared.
    pub(super) sealed: Option<String>,
    /// What is in it.
    pub(super) settings: Result<Option<AccountSettings>, Unopened>,
}

impl Scope<'_, Accounts> {
    /// The settings of the organization and where they come from, if there are any.
    pub async fn settings(&self) -> Result<Option<(Source, AccountSettings)>, ReadError> {
        Ok(match self.stored_settings(self.organization).await?.settings? {
            Some(saved) => Some((Source::Saved, saved)),
            None => {
                let configured = self.effective.configured_for(self.organization);
                configured.map(|configured| (Source::Environment, AccountSettings::clone(&configured)))
            }
        })
    }

    /// Changes the settings of the organization, and uses them from now on: as they are then, and which fields changed.
    pub async fn save(
        &self,
        change: &SettingsChange,
    ) -> Result<(AccountSettings, Vec<&'static str>), SaveError> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.stored_settings(self.organization).await?;
            let before = match stored.settings {
                Ok(Some(saved)) => Some(saved),
                // A first change begins with what is shown: the configured account.
                Ok(None) => {
                    let configured = self.effective.configured_for(self.organization);
                    configured.map(|configured| AccountSettings::clone(&configured))
                }
                // What nobody can read any more may be written anew.
                Err(Unopened) if change.is_whole() => None,
                Err(unopened) => return Err(unopened.into()),
            };
            let after = change.apply(before.as_ref()).map_err(SaveError::Invalid)?;
            let Some(takeover) = self.takeover(self.organization, &after.account_sid).await? else {
                return Err(SaveError::AccountInUse);
            };
            let sealed = self.seal_settings(self.organization, &after);
            let (revision, next) = self.revision().await?;
            let settings = DocumentChange {
                kind: Kind::Settings,
                name: self.organization.as_str(),
                before: stored.sealed.as_deref(),
                after: Some(&sealed),
            };
            let counted = DocumentChange {
                kind: Kind::Revision,
                name: REVISION,
                before: revision.as_deref(),
                after: Some(&next),
            };
            let changes: Vec<_> = [settings, counted].into_iter().chain(takeover.changes()).collect();
            if !self.core.store.change_documents(&Organization::installation(), &changes).await? {
                continue;
            }
            self.follow_settings().await?;
            let fields = after.changed_from(before.as_ref());
            return Ok((after, fields));
        }
        let error = anyhow::anyhow!("the settings changed {DECISIONS_MAX} times during one change");
        Err(store::Error::Unavailable(error).into())
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

    fn seal_settings(&self, organization: &Organization, settings: &AccountSettings) -> String {
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
