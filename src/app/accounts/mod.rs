//! Accounts at Twilio: what administrators saved, or else the configuration, and what of it is in use.

pub mod change;
pub mod connection;
mod copy;
pub mod directory;
pub mod effective;
mod ownership;
pub mod pending;
mod proof;
pub mod saved;
pub mod stored;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

pub use self::directory::{Account, Directory};
use self::{copy::SettingsCopy, effective::Effective, pending::KnownPending};
use super::{Core, Scope, scope::scoped};
use crate::{
    domain::{AccountSettings, Identity, Organization},
    twilio::{
        AccountSid,
        client::{self, Client},
        resource::Line,
    },
};

/// Why a question to Twilio has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The organization has no account at Twilio.
    #[error("no Twilio account is configured")]
    NotConfigured,
    /// Twilio did not answer it.
    #[error(transparent)]
    Twilio(client::Error),
}

/// Keeps the accounts: finds them, and saves them.
pub struct Accounts {
    core: Arc<Core>,
    twilio: Client,
    directory: Directory,
    effective: Effective,
    pending: ArcSwap<Vec<KnownPending>>,
    /// The saved settings were read from the store since the start.
    are_read: AtomicBool,
    copy: Mutex<Option<SettingsCopy>>,
}

scoped!(Accounts);

impl Accounts {
    /// The service, with `configured` accounts in use until saved ones are loaded. A copy of these is kept at `copy_path`, if
    /// that is given.
    pub(super) fn new(
        core: Arc<Core>,
        twilio: Client,
        configured: Vec<(Organization, Arc<AccountSettings>)>,
        copy_path: Option<PathBuf>,
    ) -> Self {
        let directory = Directory::default();
        directory.replace(configured.clone());
        let (effective, pending) = (Effective::new(configured), ArcSwap::default());
        let (are_read, copy) = (AtomicBool::new(false), Mutex::new(copy_path.map(SettingsCopy::at)));
        Self { core, twilio, directory, effective, pending, are_read, copy }
    }

    /// Whether the saved settings were read from the store since the start. Until then nobody knows whether a request that no
    /// known account has signed is one of Twilio's.
    pub fn are_read(&self) -> bool {
        self.are_read.load(Ordering::Acquire)
    }

    /// All accounts in use.
    pub fn all(&self) -> Arc<Vec<Arc<Account>>> {
        self.directory.all()
    }

    /// The account that `organization` sends through.
    pub fn find(&self, organization: &Organization) -> Option<Arc<Account>> {
        self.directory.find(organization)
    }

    /// The account `sid`.
    pub fn by_sid(&self, sid: &AccountSid) -> Option<Arc<Account>> {
        self.directory.by_sid(sid)
    }

    /// One of the accounts in place of `sid`, which is none of them; see [`Directory::other_than`].
    pub fn other_than(&self, sid: &AccountSid) -> Option<Arc<Account>> {
        self.directory.other_than(sid)
    }
}

impl Scope<'_, Accounts> {
    /// Who the organization's messages come from: as it saved, or else as the installation is configured.
    pub fn identity(&self) -> Identity {
        let configured = &self.core.settings.identity;
        self.find(self.organization)
            .map_or_else(|| configured.clone(), |account| account.settings.identity(configured))
    }

    /// What Twilio knows of the line of `number`, in E.164.
    pub async fn look_up(&self, number: &str) -> Result<Line, AccountError> {
        let account = self.find(self.organization).ok_or(AccountError::NotConfigured)?;
        self.twilio.look_up(&account.credentials, number).await.map_err(AccountError::Twilio)
    }
}
