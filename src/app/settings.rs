//! How an organization's account at Twilio is set up: what an administrator saved, or else the configuration.
//!
//! Saved settings are a document of the installation, sealed as a whole; every instance follows them ([`in_force`]). An
//! account belongs to one organization: [`claim`].

mod change;
mod claim;
mod in_force;

use secrecy::{ExposeSecret, zeroize::Zeroizing};

pub(super) use self::in_force::Known;
pub use self::{
    change::{Change, Fault},
    in_force::SealedSettings,
};
use super::{App, DECISIONS_MAX};
use crate::{
    domain::{AccountSettings, Organization},
    store::{self, Kind},
};

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
struct Stored {
    /// The document, by which a change is compared.
    sealed: Option<String>,
    /// What is in it.
    settings: Result<Option<AccountSettings>, Unopened>,
}

impl App {
    /// The settings of `organization` and where they come from, if there are any.
    pub async fn account_settings(
        &self,
        organization: &Organization,
    ) -> Result<Option<(Source, AccountSettings)>, ReadError> {
        Ok(match self.stored_settings(organization).await?.settings? {
            Some(saved) => Some((Source::Saved, saved)),
            None => {
                let configured = self.known.configured_for(organization);
                configured.map(|configured| (Source::Environment, AccountSettings::clone(&configured)))
            }
        })
    }

    /// Changes the settings of `organization` for `actor`, and goes by them from now on.
    pub async fn save_account_settings(
        &self,
        organization: &Organization,
        actor: &str,
        change: &Change,
    ) -> Result<AccountSettings, SaveError> {
        for _ in 0..DECISIONS_MAX {
            let stored = self.stored_settings(organization).await?;
            let before = match stored.settings {
                Ok(Some(saved)) => Some(saved),
                // A first change begins with what is shown: the configured account.
                Ok(None) => {
                    let configured = self.known.configured_for(organization);
                    configured.map(|configured| AccountSettings::clone(&configured))
                }
                // What nobody can read any more may be written anew.
                Err(Unopened) if change.is_whole() => None,
                Err(unopened) => return Err(unopened.into()),
            };
            let after = change.apply(before.as_ref()).map_err(SaveError::Invalid)?;
            let sid = &after.account_sid;
            if !self.claim(organization, sid).await? {
                return Err(SaveError::AccountInUse);
            }
            let sealed = self.seal_settings(organization, &after);
            let (was, is) = (stored.sealed.as_deref(), Some(sealed.as_str()));
            if !self.replace_settings(organization, was, is).await? {
                continue;
            }
            if !self.holds(organization, sid).await? {
                self.replace_settings(organization, is, was).await?;
                return Err(SaveError::AccountInUse);
            }
            self.count_revision().await?;
            self.follow_settings().await?;
            let fields = after.changed_from(before.as_ref()).join(",");
            tracing::info!(
                event = "audit", action = "settings.saved", %organization, actor, fields, "settings were saved"
            );
            return Ok(after);
        }
        let error = anyhow::anyhow!("the settings changed {DECISIONS_MAX} times during one change");
        Err(store::Error::Unavailable(error).into())
    }

    async fn stored_settings(&self, organization: &Organization) -> Result<Stored, store::Error> {
        let (installation, name) = (Organization::installation(), organization.as_str());
        let sealed = self.core.store.document(&installation, Kind::Settings, name).await?;
        let settings = sealed.as_deref().map(|sealed| self.open_settings(organization, sealed)).transpose();
        Ok(Stored { sealed, settings })
    }

    /// Puts the document `after` in the place of `before`; returns whether that was there.
    async fn replace_settings(
        &self,
        organization: &Organization,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<bool, store::Error> {
        let (installation, name) = (Organization::installation(), organization.as_str());
        self.core.store.change_document(&installation, Kind::Settings, name, before, after, None).await
    }

    fn seal_settings(&self, organization: &Organization, settings: &AccountSettings) -> String {
        let plain =
            serde_json::to_vec(settings).expect("settings have string keys and no failing serializer");
        self.core.keys.seal(&context(organization), &Zeroizing::new(plain))
    }

    fn open_settings(&self, organization: &Organization, sealed: &str) -> Result<AccountSettings, Unopened> {
        let plain = self.core.keys.open(&context(organization), sealed).map_err(|_| Unopened)?;
        serde_json::from_slice(plain.expose_secret()).map_err(|_| Unopened)
    }
}

/// What sealed settings are bound to, so that none open under another organization's name.
fn context(organization: &Organization) -> String {
    format!("settings/{organization}")
}
