//! How an organization's account at Twilio is set up: what an administrator saved, or else the configuration.
//!
//! What is saved comes into force ([`super::stored`]) once Twilio has accepted the account and its token ([`super::proof`]);
//! until then it is kept apart ([`super::pending`]). So settings that version 0.1.0 saved count as confirmed, until somebody
//! else proves that the account is theirs ([`super::ownership`]).

use super::{
    Accounts,
    change::{Fault, SettingsChange},
    pending::{PendingSettings, StoredPending, Verification},
    proof::Proof,
    stored::{Claim, StoredSettings, Told, Unopened},
};
use crate::{
    app::Scope,
    domain::{
        AccountSettings, Organization,
        audit::{Action, Facts, Origin},
    },
    store::{self, DocumentChange, Kind},
    twilio::AccountSid,
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

/// Settings, where they come from, and whether they are in force.
#[derive(Debug, Clone)]
pub struct KnownSettings {
    /// Where they come from.
    pub source: Source,
    /// What is set.
    pub settings: AccountSettings,
    /// Whether Twilio has confirmed them.
    pub verification: Verification,
}

impl KnownSettings {
    fn verified(source: Source, settings: AccountSettings) -> Self {
        Self { source, settings, verification: Verification::Verified }
    }
}

/// An account that an organization has saved.
#[derive(Debug, Clone)]
pub struct SavedAccount {
    /// Whose it is.
    pub organization: Organization,
    /// The account.
    pub account_sid: AccountSid,
    /// Whether Twilio has confirmed it.
    pub verification: Verification,
}

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

/// What is known of an organization's settings before a change.
struct Known {
    /// Those in force, as they are stored.
    stored: StoredSettings,
    /// Those that are not, as they are stored.
    pending: StoredPending,
    /// Those in force, saved or configured.
    in_force: Option<AccountSettings>,
    /// Those that the change is of.
    before: Option<AccountSettings>,
}

impl Accounts {
    /// Every account that is saved, by organization; of one whose settings are to replace others both. Those that no key opens
    /// are left out.
    pub async fn saved(&self) -> Result<Vec<SavedAccount>, store::Error> {
        let mut saved: Vec<SavedAccount> = Vec::new();
        for (organization, sealed) in self.all_sealed(Kind::Settings).await? {
            if let Ok(settings) = self.open_settings(&organization, &sealed) {
                let (account_sid, verification) = (settings.account_sid, Verification::Verified);
                saved.push(SavedAccount { organization, account_sid, verification });
            }
        }
        for (organization, _, pending) in self.all_pending().await? {
            let (verification, account_sid) = (pending.verification(), pending.settings.account_sid);
            saved.push(SavedAccount { organization, account_sid, verification });
        }
        saved.sort_by(|one, other| one.organization.cmp(&other.organization));
        Ok(saved)
    }
}

impl Scope<'_, Accounts> {
    /// The settings that the organization saved last, or else those that are configured for it. What is told to be in force is
    /// so on this instance.
    pub async fn settings(&self) -> Result<Option<KnownSettings>, ReadError> {
        let known = self.stored_or_configured().await?;
        // Another instance may have saved them a moment ago, or have put them in force.
        self.follow_settings().await?;
        Ok(known)
    }

    async fn stored_or_configured(&self) -> Result<Option<KnownSettings>, ReadError> {
        // Pending ones that no key opens hide nothing: what is in force still is.
        if let Ok(Some(pending)) = self.stored_pending(self.organization).await?.pending {
            return Ok(Some(KnownSettings {
                source: Source::Saved,
                verification: pending.verification(),
                settings: pending.settings,
            }));
        }
        if let Some(settings) = self.stored_settings(self.organization).await?.settings? {
            return Ok(Some(KnownSettings::verified(Source::Saved, settings)));
        }
        let configured = self.effective.configured_for(self.organization);
        Ok(configured.map(|configured| {
            KnownSettings::verified(Source::Environment, AccountSettings::clone(&configured))
        }))
    }

    /// Changes the settings of the organization, as `by` asks. They are in force from now on, unless they name other
    /// credentials than are in force and Twilio cannot be asked about these: then they are pending. The audit tells of it
    /// before ([`Scope::tell`]).
    ///
    /// Twilio is asked before it is looked at whose the account is, so that nobody learns from the answer, or from the time
    /// that it takes, which accounts exist here.
    pub async fn save(&self, by: &Origin, change: &SettingsChange) -> Result<KnownSettings, SaveError> {
        let mut told = Told::default();
        let mut asked: Option<(AccountSettings, Proof)> = None;
        for _ in 0..DECISIONS_MAX {
            let Known { stored, pending, in_force, before } = self.known(change).await?;
            let after = change.apply(before.as_ref(), self.core.now_ms()).map_err(SaveError::Invalid)?;
            let proof = match &asked {
                _ if in_force.is_some_and(|in_force| after.has_credentials_of(&in_force)) => Proof::Accepted,
                Some((settings, proof)) if after.has_credentials_of(settings) => proof.clone(),
                _ => asked.insert((after.clone(), self.prove(&after).await)).1.clone(),
            };
            let entry = |verification: &Verification| {
                let facts = Facts {
                    fields: Some(after.changed_from(before.as_ref()).join(",")),
                    verification: Some(verification.as_str().to_owned()),
                    ..Facts::default()
                };
                by.entry(Action::SettingsChange).with(facts)
            };
            let verification = match proof {
                Proof::Accepted => {
                    let (verified, pending) = (Verification::Verified, pending.sealed.as_deref());
                    let entry = entry(&verified);
                    match self.put_in_force(&after, &stored, pending, &mut told, entry).await? {
                        Claim::Made => verified,
                        Claim::InUse => return Err(SaveError::AccountInUse),
                        Claim::Contended => continue,
                    }
                }
                Proof::Refused(reason) => return Err(SaveError::Invalid(vec![not_accepted(&reason)])),
                Proof::NotAnswered(error) => {
                    let unverified = PendingSettings::new(after.clone(), by.principal(), self.core.now_ms());
                    self.tell(&mut told, entry(&unverified.verification())).await?;
                    if !self.put_pending(&unverified, &stored, &pending).await? {
                        continue;
                    }
                    tracing::warn!(organization = %self.organization, error, "Twilio could not be asked about saved settings");
                    unverified.verification()
                }
            };
            return Ok(KnownSettings { source: Source::Saved, settings: after, verification });
        }
        let error = anyhow::anyhow!("the settings changed {DECISIONS_MAX} times during one change");
        Err(store::Error::Unavailable(error).into())
    }

    /// What is known before `change`.
    async fn known(&self, change: &SettingsChange) -> Result<Known, SaveError> {
        let stored = self.stored_settings(self.organization).await?;
        let pending = self.stored_pending(self.organization).await?;
        // What nobody can read any more may be written anew.
        let in_force = match &stored.settings {
            Err(Unopened) if change.is_whole() => None,
            Err(unopened) => return Err((*unopened).into()),
            Ok(Some(saved)) => Some(saved.clone()),
            // A first change begins with what is shown: the configured account.
            Ok(None) => {
                let configured = self.effective.configured_for(self.organization);
                configured.map(|configured| AccountSettings::clone(&configured))
            }
        };
        // What will never come into force is no base for a change of something else: that is of what is in force.
        let is_of_in_force = in_force.is_some() && !change.names_account();
        let before = match &pending.pending {
            Err(Unopened) if is_of_in_force => in_force.clone(),
            Ok(Some(pending)) if is_of_in_force && pending.is_refused() => in_force.clone(),
            Err(Unopened) if change.is_whole() => None,
            Err(unopened) => return Err((*unopened).into()),
            Ok(Some(pending)) => Some(pending.settings.clone()),
            Ok(None) => in_force.clone(),
        };
        Ok(Known { stored, pending, in_force, before })
    }

    /// Stores settings that are not in force, if nothing else was saved since; whether it did. Those in force are sealed anew,
    /// so that a change of nothing rotates the master key of both.
    async fn put_pending(
        &self,
        unverified: &PendingSettings,
        stored: &StoredSettings,
        pending: &StoredPending,
    ) -> Result<bool, store::Error> {
        let sealed = self.seal_pending(self.organization, unverified);
        let (name, in_force) = (self.organization.as_str(), stored.sealed.as_deref());
        let resealed = match &stored.settings {
            Ok(Some(settings)) => Some(self.seal_settings(self.organization, settings)),
            Ok(None) | Err(Unopened) => None,
        };
        let in_force_after = resealed.as_deref().or(in_force);
        let changes = [
            DocumentChange {
                kind: Kind::PendingSettings,
                name,
                before: pending.sealed.as_deref(),
                after: Some(&sealed),
            },
            DocumentChange { kind: Kind::Settings, name, before: in_force, after: in_force_after },
        ];
        self.core.store.change_documents(&Organization::installation(), &changes).await
    }
}

/// What is wrong with a token that Twilio does not take.
fn not_accepted(reason: &str) -> Fault {
    let detail = format!("is not the token of this account: {reason}");
    Fault { field: "auth_token".to_owned(), detail }
}
