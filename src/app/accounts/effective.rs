//! The effective settings of an instance: the saved ones that it loaded last, over the configured ones.
//!
//! A document counts the changes of all settings. It is read often, and the settings when it has changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::{Accounts, copy::Copied, directory};
use crate::{
    app::recognition,
    domain::{AccountSettings, Organization, UnixMs, account::is_same_account},
    store::{self, Kind, documents::DOCUMENTS_MAX},
    twilio::AccountSid,
};

/// The counter's name.
pub(super) const REVISION: &str = "settings";

/// How often the settings are loaded although no change was counted: an instance of version 0.1.0 counts in a step of its
/// own, and may have crashed before it.
const READ_INTERVAL: Duration = Duration::from_secs(60);

/// An organization and its account.
type Account = (Organization, Arc<AccountSettings>);

/// What an instance knows of everybody's settings.
pub(in crate::app) struct Effective {
    configured: ArcSwap<Vec<Account>>,
    /// Held while the store is read, so that what was read earlier never replaces what was read later.
    saved: Mutex<Saved>,
}

/// The saved settings, as they were read last.
#[derive(Default)]
struct Saved {
    /// The revision, and when it was read; `None` before the first time.
    read: Option<(Option<String>, UnixMs)>,
    entries: BTreeMap<Organization, Entry>,
    /// Who may own an account that two organizations' settings name.
    contested: HashMap<String, Vec<Organization>>,
}

impl Saved {
    fn copied(&self) -> Copied {
        let settings = self.entries.iter().map(|(whose, entry)| (whose.clone(), entry.sealed.clone()));
        Copied { settings: settings.collect(), contested: self.contested.clone().into_iter().collect() }
    }
}

/// What is saved of one organization.
#[derive(Clone)]
struct Entry {
    sealed: String,
    /// What is in it; if it cannot be opened, what was in it before.
    settings: Option<Arc<AccountSettings>>,
}

/// Whose saved settings were sealed with which key.
#[derive(Debug, Default)]
pub struct SealedSettings {
    /// How many with the one that seals now.
    pub current: usize,
    /// With one of the former ones: to be saved again before that is taken away.
    pub former: Vec<Organization>,
    /// With none that is known.
    pub unopened: Vec<Organization>,
}

impl Effective {
    /// Uses `configured` accounts, and no saved ones yet.
    pub(in crate::app) fn new(configured: Vec<Account>) -> Self {
        Self { configured: ArcSwap::from_pointee(configured), saved: Mutex::default() }
    }

    /// The configured account of `organization`.
    pub(super) fn configured_for(&self, organization: &Organization) -> Option<Arc<AccountSettings>> {
        let configured = self.configured.load();
        configured.iter().find(|(whose, _)| whose == organization).map(|(_, settings)| settings.clone())
    }

    /// Whether the account is a configured one of somebody else than `organization`.
    pub(super) fn is_configured_for_another(&self, organization: &Organization, sid: &AccountSid) -> bool {
        let configured = self.configured.load();
        configured
            .iter()
            .any(|(whose, settings)| whose != organization && is_same_account(&settings.account_sid, sid))
    }
}

impl Accounts {
    /// Whether there are configured ones.
    pub fn are_configured(&self) -> bool {
        !self.effective.configured.load().is_empty()
    }

    /// Takes other configured accounts from now on, below those that are saved.
    pub async fn configure(&self, configured: Vec<Account>) {
        let saved = self.effective.saved.lock().await;
        self.effective.configured.store(Arc::new(configured));
        self.apply(&saved);
    }

    /// Loads the saved settings again if the revision counter has moved. If the store fails, or is not the known one, those loaded
    /// last stay in use: webhooks of their accounts come all the same.
    pub async fn follow_settings(&self) -> Result<(), store::Error> {
        let mut saved = self.effective.saved.lock().await;
        self.core.store.known().check()?;
        // Asked for first: a change during the reading is read next time.
        let installation = Organization::installation();
        let revision = self.core.store.document(&installation, Kind::Revision, REVISION).await?;
        let now = self.core.now_ms();
        let is_known = saved
            .read
            .as_ref()
            .is_some_and(|(known, at)| *known == revision && now.since(*at) < READ_INTERVAL);
        if is_known {
            return Ok(());
        }
        let mut entries = BTreeMap::new();
        for (organization, sealed) in self.all_sealed(Kind::Settings).await? {
            let entry = self.read_entry(&organization, sealed, saved.entries.get(&organization));
            entries.insert(organization, entry);
        }
        let mut contested = HashMap::new();
        for sid in contested_by(&entries) {
            contested.insert(directory::name(&sid), self.owners(&sid).await?);
        }
        // Asked for last: a store that was emptied meanwhile, or before, has no settings that count.
        recognition::compare_identity(&*self.core.store).await?;
        *saved = Saved { read: Some((revision, now)), entries, contested };
        self.apply(&saved);
        self.are_read.store(true, Ordering::Release);
        self.write_copy(saved.copied()).await;
        Ok(())
    }

    /// Uses the saved settings as they were when they were read last on this machine, until they can be read from the store.
    /// Returns of how many organizations; `None` if there is no copy.
    pub async fn use_copy(&self) -> Result<Option<usize>, store::Error> {
        let mut saved = self.effective.saved.lock().await;
        let Some(Copied { settings, contested }) = self.read_copy().await? else { return Ok(None) };
        let entries = settings.into_iter().map(|(organization, sealed)| {
            let entry = self.read_entry(&organization, sealed, None);
            (organization, entry)
        });
        *saved = Saved { read: None, entries: entries.collect(), contested: contested.into_iter().collect() };
        self.apply(&saved);
        Ok(Some(saved.entries.len()))
    }

    /// Every organization that has an account, saved or configured.
    pub async fn organizations(&self) -> Result<BTreeSet<Organization>, store::Error> {
        let saved = self.all_sealed(Kind::Settings).await?.into_iter().map(|(organization, _)| organization);
        let configured = self.effective.configured.load();
        Ok(configured.iter().map(|(organization, _)| organization.clone()).chain(saved).collect())
    }

    /// Every organization of which this process knows: those whose account is in use, those whose consent has changed, and the one that
    /// is meant where none is named.
    pub fn known_organizations(&self) -> BTreeSet<Organization> {
        let mut known = BTreeSet::from([Organization::default()]);
        known.extend(self.core.store.known().organizations());
        known.extend(self.all().iter().map(|account| account.organization.clone()));
        known
    }

    /// By which keys the saved settings can be opened, those that are not in force too.
    pub async fn sealed_settings(&self) -> Result<SealedSettings, store::Error> {
        let mut found = SealedSettings::default();
        let mut add = |organization, sealed: &str, opens: bool| {
            if !opens {
                found.unopened.push(organization);
            } else if self.core.keys.is_current(sealed) {
                found.current += 1;
            } else {
                found.former.push(organization);
            }
        };
        for (organization, sealed) in self.all_sealed(Kind::Settings).await? {
            let opens = self.open_settings(&organization, &sealed).is_ok();
            add(organization, &sealed, opens);
        }
        for (organization, sealed) in self.all_sealed(Kind::PendingSettings).await? {
            let opens = self.open_pending(&organization, &sealed).is_ok();
            add(organization, &sealed, opens);
        }
        Ok(found)
    }

    /// The documents of `kind`, of everybody.
    pub(super) async fn all_sealed(&self, kind: Kind) -> Result<Vec<(Organization, String)>, store::Error> {
        let installation = Organization::installation();
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page =
                self.core.store.documents(&installation, kind, after.as_deref(), DOCUMENTS_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            all.extend(
                page.into_iter()
                    .filter_map(|(name, sealed)| Some((Organization::parse(&name).ok()?, sealed))),
            );
        }
    }

    /// The revision counter, and what it is after one more change of settings.
    pub(super) async fn revision(&self) -> Result<(Option<String>, String), store::Error> {
        let before =
            self.core.store.document(&Organization::installation(), Kind::Revision, REVISION).await?;
        let count: u64 = before.as_deref().and_then(|count| count.parse().ok()).unwrap_or_default();
        Ok((before, count.wrapping_add(1).to_string()))
    }

    fn read_entry(&self, organization: &Organization, sealed: String, known: Option<&Entry>) -> Entry {
        if let Some(known) = known.filter(|known| known.sealed == sealed) {
            return known.clone();
        }
        let settings = match self.open_settings(organization, &sealed) {
            Ok(settings) => Some(Arc::new(settings)),
            Err(error) => {
                tracing::error!(
                    %organization, %error,
                    mend = "put the former key back into TEXTLEDGER_MASTER_KEY, behind the first; or save the account \
                            and its token anew with POST /api/sms/settings",
                    "the settings of an organization are not used"
                );
                known.and_then(|known| known.settings.clone())
            }
        };
        Entry { sealed, settings }
    }

    /// Uses what is saved, and below that what is configured.
    fn apply(&self, saved: &Saved) {
        self.directory.replace(merge(&self.effective.configured.load(), saved));
    }
}

/// The accounts that more than one organization's settings name: what a crash of version 0.1.0 may have left.
fn contested_by(entries: &BTreeMap<Organization, Entry>) -> Vec<AccountSid> {
    let mut seen = HashSet::new();
    let named = entries.values().filter_map(|entry| Some(&entry.settings.as_ref()?.account_sid));
    named.filter(|sid| !seen.insert(directory::name(sid))).cloned().collect()
}

/// The effective accounts: one for an organization, and no account for two.
fn merge(configured: &[Account], saved: &Saved) -> Vec<Account> {
    let mut merged = Vec::new();
    let mut taken = HashSet::new();
    let names = |organization: &Organization, name: &str| {
        let settings = saved.entries.get(organization).and_then(|entry| entry.settings.as_ref());
        settings.is_some_and(|settings| directory::name(&settings.account_sid) == name)
    };
    for (organization, entry) in &saved.entries {
        let Some(settings) = &entry.settings else { continue };
        let name = directory::name(&settings.account_sid);
        let owner = saved.contested.get(&name).map(|owners| owners.iter().find(|owner| names(owner, &name)));
        if owner.is_none_or(|owner| owner == Some(organization)) {
            taken.insert(name);
            merged.push((organization.clone(), settings.clone()));
        } else {
            tracing::error!(
                %organization, account_sid = %settings.account_sid,
                mend = "save the settings of this organization anew, with its own account",
                "the account belongs to another organization too, and is not used for this one"
            );
        }
    }
    for (organization, settings) in configured {
        // Also where what was saved cannot be opened: the configured account may be another than the one meant.
        if saved.entries.contains_key(organization) {
            continue;
        }
        if taken.contains(&directory::name(&settings.account_sid)) {
            tracing::error!(
                %organization, account_sid = %settings.account_sid,
                mend = "take the account out of the configuration, or out of the other organization's settings",
                "the configured account was saved for another organization, and is not used for this one"
            );
        } else {
            merged.push((organization.clone(), settings.clone()));
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(digit: &str) -> Arc<AccountSettings> {
        let json = serde_json::json!({ "account_sid": format!("AC{}", digit.repeat(32)), "auth_token": "t" });
        Arc::new(serde_json::from_value(json).unwrap())
    }

    fn organization(name: &str) -> Organization {
        Organization::parse(name).unwrap()
    }

    fn saved(entries: &[(&str, Option<&str>)]) -> Saved {
        let entries = entries.iter().map(|(name, digit)| {
            (organization(name), Entry { sealed: String::new(), settings: digit.map(settings) })
        });
        Saved { entries: entries.collect(), ..Saved::default() }
    }

    fn merged(configured: &[(&str, &str)], saved: &Saved) -> Vec<String> {
        let configured: Vec<_> =
            configured.iter().map(|(name, digit)| (organization(name), settings(digit))).collect();
        let shown = |(organization, settings): Account| {
            format!("{organization}={}", &settings.account_sid.as_str()[2..3])
        };
        merge(&configured, saved).into_iter().map(shown).collect()
    }

    #[test]
    fn saved_settings_win_over_configured_ones() {
        assert_eq!(merged(&[("a", "1"), ("b", "2")], &saved(&[("a", Some("3"))])), ["a=3", "b=2"]);
        assert_eq!(merged(&[], &saved(&[])), [""; 0]);
        // What cannot be opened is not replaced by an account that may be another.
        assert_eq!(merged(&[("a", "1"), ("b", "2")], &saved(&[("a", None)])), ["b=2"]);
    }

    #[test]
    fn no_account_serves_two_organizations() {
        assert_eq!(merged(&[("b", "a")], &saved(&[("a", Some("A"))])), ["a=A"]);
        let mut both = saved(&[("a", Some("a")), ("b", Some("A")), ("c", Some("c"))]);
        let contested: Vec<_> = contested_by(&both.entries).iter().map(directory::name).collect();
        assert_eq!(contested, [directory::name(&settings("a").account_sid)]);
        // The first of those named has it whose settings name it.
        both.contested = [(contested[0].clone(), ["c", "b", "a"].map(organization).into())].into();
        assert_eq!(merged(&[], &both), ["b=A", "c=c"]);
        both.contested = [(contested[0].clone(), Vec::new())].into();
        assert_eq!(merged(&[], &both), ["c=c"]);
    }
}
