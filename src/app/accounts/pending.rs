//! Settings that are not in force because Twilio has not confirmed that the account is their organization's own.
//!
//! They are a document beside the settings that are in force, so that nothing else in the service can take them for these:
//! they verify no webhook, own no account and send nothing. Whatever was in force stays so, which is why a token can be
//! rotated while Twilio does not answer. Twilio is asked again, with pauses that grow; its answer puts them in force in one
//! step, or is kept for the administrator to read.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use rand::RngExt;
use secrecy::{ExposeSecret, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Accounts,
    proof::{ASK_TIME_MAX, Proof},
    stored::{Claim, Told, Unopened},
};
use crate::{
    app::{DECISIONS_MAX, Scope},
    domain::{
        AccountSettings, Organization, Principal, UnixMs,
        audit::{Action, Entry, Facts, Origin},
    },
    store::{self, DocumentChange, Kind},
    twilio::{AccountSid, signature::Keyring},
};

/// How soon Twilio is asked again after settings were saved.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The shortest pause before it is asked once more. Each is about as long as all before it together, so that they double.
const PAUSE_MIN: Duration = Duration::from_secs(8);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

// Nobody else asks while somebody does.
const _: () = assert!(PAUSE_MIN.as_secs() > ASK_TIME_MAX.as_secs());

/// Of how many organizations Twilio is asked in one round: the others get their turn in the next.
const ASKED_MAX: usize = 64;

/// Of how many at the same time.
const ASKED_AT_ONCE: usize = 8;

/// Whether Twilio has confirmed that settings are their organization's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// It has, or the operator has configured them: they are in force.
    Verified,
    /// It could not be asked.
    Unverified,
    /// It has said no, for this reason; or the account has become another organization's.
    Refused(String),
}

impl Verification {
    /// The word in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Verification::Verified => "verified",
            Verification::Unverified => "unverified",
            Verification::Refused(_) => "refused",
        }
    }

    /// What it means for whoever has saved the settings; `None` if there is nothing to say.
    pub fn detail(&self) -> Option<String> {
        const NOT_IN_FORCE: &str = "These settings are not in force: what was in force before them still is.";
        match self {
            Verification::Verified => None,
            Verification::Unverified => Some(format!(
                "Twilio could not be asked about the account, and is asked again. {NOT_IN_FORCE}"
            )),
            Verification::Refused(reason) => Some(format!("{reason}. {NOT_IN_FORCE}")),
        }
    }
}

impl Verification {
    /// What to do about settings that are not in force.
    pub fn mend(&self) -> &'static str {
        match self {
            Verification::Verified => "there is nothing to do",
            Verification::Unverified => {
                "see that TWILIO_API_BASE_URL can be reached from here; to have Twilio asked at once, save the settings \
                 once more with POST /api/sms/settings"
            }
            Verification::Refused(_) => {
                "save the account and its auth token anew with POST /api/sms/settings"
            }
        }
    }
}

/// What is said of an account that another organization has proven to be its own.
const ACCOUNT_IN_USE: &str = "The account belongs to another organization";

/// Settings that are not in force, as they are stored.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PendingSettings {
    pub(super) settings: AccountSettings,
    /// Who saved them.
    actor: Principal,
    /// When.
    since: UnixMs,
    state: PendingState,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PendingState {
    /// Twilio is asked again at this time.
    Unverified { ask_at: UnixMs },
    /// Nobody asks again.
    Refused { reason: String },
}

impl PendingSettings {
    /// Settings that `actor` has saved at `now` and that Twilio could not be asked about.
    pub(super) fn new(settings: AccountSettings, actor: &Principal, now: UnixMs) -> Self {
        let state = PendingState::Unverified { ask_at: now + FIRST_PAUSE };
        Self { settings, actor: actor.clone(), since: now, state }
    }

    pub(super) fn verification(&self) -> Verification {
        match &self.state {
            PendingState::Unverified { .. } => Verification::Unverified,
            PendingState::Refused { reason } => Verification::Refused(reason.clone()),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.state, PendingState::Refused { .. })
    }

    fn is_due(&self, now: UnixMs) -> bool {
        matches!(self.state, PendingState::Unverified { ask_at } if ask_at <= now)
    }

    /// The same, to be asked about again after a pause.
    fn asked_at(&self, now: UnixMs) -> Self {
        let pause = now.since(self.since).clamp(PAUSE_MIN, PAUSE_MAX);
        let pause = pause.mul_f64(rand::rng().random_range(1.0..1.25));
        Self { state: PendingState::Unverified { ask_at: now + pause }, ..self.clone() }
    }

    fn refused(&self, reason: String) -> Self {
        Self { state: PendingState::Refused { reason }, ..self.clone() }
    }
}

/// Settings that are not in force, as they were read last.
pub struct KnownPending {
    /// Whose they are.
    pub organization: Organization,
    /// Their account.
    pub account_sid: AccountSid,
    /// What Twilio has said of them.
    pub verification: Verification,
    /// What would verify webhooks if they were in force.
    pub keyring: Keyring,
}

impl KnownPending {
    fn new(organization: &Organization, pending: &PendingSettings) -> Self {
        Self {
            organization: organization.clone(),
            account_sid: pending.settings.account_sid.clone(),
            verification: pending.verification(),
            keyring: pending.settings.keyring(),
        }
    }
}

/// What the store has of one organization.
pub(super) struct StoredPending {
    /// The document, by which a change is compared.
    pub(super) sealed: Option<String>,
    /// What is in it.
    pub(super) pending: Result<Option<PendingSettings>, Unopened>,
}

impl Accounts {
    pub(super) async fn stored_pending(
        &self,
        organization: &Organization,
    ) -> Result<StoredPending, store::Error> {
        let (installation, name) = (Organization::installation(), organization.as_str());
        let sealed = self.core.store.document(&installation, Kind::PendingSettings, name).await?;
        let pending = sealed.as_deref().map(|sealed| self.open_pending(organization, sealed)).transpose();
        Ok(StoredPending { sealed, pending })
    }

    pub(super) fn seal_pending(&self, organization: &Organization, pending: &PendingSettings) -> String {
        let plain = serde_json::to_vec(pending).expect("settings have string keys and no failing serializer");
        self.core.keys.seal(&context(organization), &Zeroizing::new(plain))
    }

    pub(super) fn open_pending(
        &self,
        organization: &Organization,
        sealed: &str,
    ) -> Result<PendingSettings, Unopened> {
        let plain = self.core.keys.open(&context(organization), sealed).map_err(|_| Unopened)?;
        serde_json::from_slice(plain.expose_secret()).map_err(|_| Unopened)
    }

    /// Asks Twilio about the pending settings that are due, those of [`ASKED_MAX`] organizations at most. After `stop` nothing
    /// is asked any more, and what was answered is finished: settings that are written down come into force as well.
    pub async fn verify_pending(&self, stop: &CancellationToken) -> Result<(), store::Error> {
        let due = self.due_pending().await?;
        futures_util::stream::iter(due)
            .for_each_concurrent(ASKED_AT_ONCE, |(organization, sealed, pending)| async move {
                if stop.is_cancelled() {
                    return;
                }
                // The others go on: one that was cut off could be written down without being in force.
                if let Err(error) = self.of(&organization).verify(sealed, pending, stop).await {
                    // That the store is away is said by those who need it more.
                    tracing::debug!(%organization, %error, "saved settings could not be verified");
                }
            })
            .await;
        Ok(())
    }

    /// The settings that are not in force, of everybody, as they were read last: a moment ago, while the store answers.
    pub fn pending(&self) -> Arc<Vec<KnownPending>> {
        self.pending.load_full()
    }

    /// Reads the settings that are not in force, of everybody, and returns those that are due.
    async fn due_pending(&self) -> Result<Vec<(Organization, String, PendingSettings)>, store::Error> {
        let now = self.core.now_ms();
        let all = self.all_pending().await?;
        let known = all.iter().map(|(organization, _, pending)| KnownPending::new(organization, pending));
        self.pending.store(Arc::new(known.collect()));
        let refused = all.iter().filter(|(_, _, pending)| pending.is_refused()).count();
        self.core.metrics.settings_not_in_force(all.len() - refused, refused);
        let due = all.into_iter().filter(|(_, _, pending)| pending.is_due(now));
        Ok(due.take(ASKED_MAX).collect())
    }

    /// The settings that are not in force, of everybody; those that no key opens are left out.
    pub(super) async fn all_pending(
        &self,
    ) -> Result<Vec<(Organization, String, PendingSettings)>, store::Error> {
        let all = self.all_sealed(Kind::PendingSettings).await?.into_iter();
        let opened = all.filter_map(|(organization, sealed)| {
            let pending = self.open_pending(&organization, &sealed).ok()?;
            Some((organization, sealed, pending))
        });
        Ok(opened.collect())
    }
}

impl Scope<'_, Accounts> {
    /// Asks Twilio about `pending`, which is stored as `sealed`, unless somebody else does.
    async fn verify(
        &self,
        sealed: String,
        pending: PendingSettings,
        stop: &CancellationToken,
    ) -> Result<(), store::Error> {
        let pending = pending.asked_at(self.core.now_ms());
        let Some(sealed) = self.replace_pending(&sealed, &pending).await? else { return Ok(()) };
        // Asked again after the pause, by whoever runs then.
        let Some(proof) = stop.run_until_cancelled(self.prove(&pending.settings)).await else {
            return Ok(());
        };
        match proof {
            Proof::Accepted => self.accept(&sealed, &pending).await,
            Proof::Refused(reason) => self.refuse(&sealed, &pending, reason).await,
            Proof::NotAnswered(error) => {
                tracing::debug!(organization = %self.organization, error, "Twilio could not be asked about saved settings");
                Ok(())
            }
        }
    }

    /// Puts `pending` in force, unless its account has become another organization's.
    async fn accept(&self, sealed: &str, pending: &PendingSettings) -> Result<(), store::Error> {
        let mut told = Told::default();
        for _ in 0..DECISIONS_MAX {
            let stored = self.stored_settings(self.organization).await?;
            let entry = entry(Action::SettingsVerify, pending);
            match self.put_in_force(&pending.settings, &stored, Some(sealed), &mut told, entry).await? {
                Claim::Made => return Ok(()),
                Claim::InUse => return self.refuse(sealed, pending, ACCOUNT_IN_USE.to_owned()).await,
                // Others save settings; or these have been saved anew, and are no longer what is asked about.
                Claim::Contended => {
                    if self.stored_pending(self.organization).await?.sealed.as_deref() != Some(sealed) {
                        return Ok(());
                    }
                }
            }
        }
        // Asked again after the pause.
        Ok(())
    }

    async fn refuse(
        &self,
        sealed: &str,
        pending: &PendingSettings,
        reason: String,
    ) -> Result<(), store::Error> {
        let refused = pending.refused(reason.clone());
        self.tell(&mut Told::default(), entry(Action::SettingsRefuse, pending)).await?;
        if self.replace_pending(sealed, &refused).await?.is_some() {
            tracing::warn!(
                organization = %self.organization, account_sid = %pending.settings.account_sid, reason,
                mend = refused.verification().mend(),
                "saved settings are not the organization's own, and are not used"
            );
        }
        Ok(())
    }

    /// Puts `after` in the place of the pending settings that are stored as `before`, and returns as what it is stored;
    /// `None` if others are stored by now.
    async fn replace_pending(
        &self,
        before: &str,
        after: &PendingSettings,
    ) -> Result<Option<String>, store::Error> {
        let sealed = self.seal_pending(self.organization, after);
        let change = DocumentChange {
            kind: Kind::PendingSettings,
            name: self.organization.as_str(),
            before: Some(before),
            after: Some(&sealed),
        };
        let is_changed = self.core.store.change_documents(&Organization::installation(), &[change]).await?;
        Ok(is_changed.then_some(sealed))
    }
}

/// What becomes of `pending`, in the name of who saved it.
fn entry(action: Action, pending: &PendingSettings) -> Entry {
    let account_sid = Some(pending.settings.account_sid.to_string());
    let facts = Facts { account_sid, ..Facts::default() };
    Origin::new(&pending.actor, None).entry(action).with(facts)
}

/// What sealed settings that are pending are bound to, so that none open as settings in force.
fn context(organization: &Organization) -> String {
    format!("pending settings/{organization}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(since: UnixMs) -> PendingSettings {
        let json = serde_json::json!({ "account_sid": format!("AC{}", "a".repeat(32)), "auth_token": "t" });
        PendingSettings::new(serde_json::from_value(json).unwrap(), &Principal::user("ada"), since)
    }

    #[test]
    fn twilio_is_asked_again_soon_and_then_ever_more_seldom() {
        let start = UnixMs::new(1_800_000_000_000);
        let mut pending = pending(start);
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..20 {
            let PendingState::Unverified { ask_at } = pending.state else { panic!("it is asked again") };
            assert!(!pending.is_due(now) && pending.is_due(ask_at));
            pauses.push(ask_at.since(now));
            now = ask_at;
            pending = pending.asked_at(now);
        }
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses[1..].iter().all(|pause| (PAUSE_MIN..=PAUSE_MAX.mul_f64(1.25)).contains(pause)));
        assert!(pauses[19] >= PAUSE_MAX, "{pauses:?}");
        assert!(now.since(start) < 20 * PAUSE_MAX.mul_f64(1.25));
    }

    #[test]
    fn what_is_refused_is_not_asked_about_again() {
        let refused = pending(UnixMs::EPOCH).refused("Twilio says no".to_owned());
        assert!(!refused.is_due(UnixMs::new(u64::MAX)));
        assert_eq!(refused.verification(), Verification::Refused("Twilio says no".to_owned()));
    }
}
