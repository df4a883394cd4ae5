//! The Twilio accounts that messages are sent through, and the keys that sign what Twilio posts.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::{
    domain::{AccountSettings, Organization, account::is_same_account},
    phone::countries::Countries,
    twilio::{AccountSid, Address, credentials::Credentials, signature::Keyring},
};

/// How many former keyrings of an account are remembered, to explain what is still signed with them.
const RETIRED_MAX: usize = 3;

/// An organization's account at Twilio, ready to be used.
#[derive(Clone)]
pub struct Account {
    /// Whose it is.
    pub organization: Organization,
    /// How it is set up.
    pub settings: Arc<AccountSettings>,
    /// Its SID and what signs calls to Twilio.
    pub credentials: Credentials,
    /// What Twilio may sign its webhooks with.
    pub keyring: Keyring,
    /// The keyrings before the latest changes, the newest first; nothing is accepted by them.
    pub retired: Vec<Keyring>,
    /// The countries that its numbers are of; `None` if it has none.
    pub home: Option<Countries>,
}

impl Account {
    /// The account as `settings` say, where `former` is what it was.
    fn new(organization: Organization, settings: Arc<AccountSettings>, former: Option<&Account>) -> Self {
        let credentials = settings.credentials();
        let (keyring, retired) = match former {
            None => (settings.keyring(), Vec::new()),
            Some(former) if former.settings.verifies_like(&settings) => {
                (former.keyring.clone(), former.retired.clone())
            }
            Some(former) => {
                let retired = std::iter::once(&former.keyring).chain(&former.retired).take(RETIRED_MAX);
                (settings.keyring(), retired.cloned().collect())
            }
        };
        let home = Countries::of(settings.phone_number.iter().map(Address::bare), None);
        Self { organization, settings, credentials, keyring, retired, home }
    }
}

/// All accounts, found by organization or by SID. They can be replaced while requests are served: a request uses
/// the accounts that were there when it asked.
#[derive(Default)]
pub struct Directory {
    accounts: ArcSwap<Vec<Arc<Account>>>,
    /// Chooses for [`Directory::other_than`], in a way that nobody outside can foresee.
    choice: RandomState,
}

impl Directory {
    /// Takes other accounts from now on; an organization has at most one, an account one organization. What the keyrings
    /// were before stays known, to explain refusals.
    pub fn replace(&self, accounts: Vec<(Organization, Arc<AccountSettings>)>) {
        let before = self.accounts.load();
        let before: HashMap<_, _> =
            before.iter().map(|account| (name(&account.credentials.account_sid), account)).collect();
        let accounts = accounts.into_iter().map(|(organization, settings)| {
            let former = before.get(&name(&settings.account_sid)).copied();
            match former {
                // One that is as it was is not even made anew: this runs for every change of settings, whoever made it.
                Some(former)
                    if former.organization == organization && Arc::ptr_eq(&former.settings, &settings) =>
                {
                    former.clone()
                }
                former => Arc::new(Account::new(organization, settings, former.map(Arc::as_ref))),
            }
        });
        self.accounts.store(Arc::new(accounts.collect()));
    }

    /// All of them.
    pub fn all(&self) -> Arc<Vec<Arc<Account>>> {
        self.accounts.load_full()
    }

    /// The account that `organization` sends through.
    pub fn find(&self, organization: &Organization) -> Option<Arc<Account>> {
        self.accounts.load().iter().find(|account| account.organization == *organization).cloned()
    }

    /// The account `sid`.
    pub fn by_sid(&self, sid: &AccountSid) -> Option<Arc<Account>> {
        self.accounts
            .load()
            .iter()
            .find(|account| is_same_account(&account.credentials.account_sid, sid))
            .cloned()
    }

    /// One of the accounts in place of `sid`, which is none of them: always the same one for the same SID. To refuse a SID
    /// that is not known takes as long as it takes with that account's keys, so that time tells nobody which are known.
    pub fn other_than(&self, sid: &AccountSid) -> Option<Arc<Account>> {
        let accounts = self.accounts.load();
        let choice = self.choice.hash_one(name(sid)) as usize;
        accounts.get(choice.checked_rem(accounts.len())?).cloned()
    }
}

/// An account's SID in the one letter case in which two spellings of it are equal.
pub fn name(sid: &AccountSid) -> String {
    sid.as_str().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(token: &str, require_shared_key: bool) -> Arc<AccountSettings> {
        let account_sid = format!("AC{}", "a".repeat(32));
        let json = serde_json::json!({
            "account_sid": account_sid, "auth_token": token, "require_shared_key": require_shared_key,
        });
        Arc::new(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn only_a_change_of_keys_retires_a_keyring() {
        let (accounts, organization) = (Directory::default(), Organization::default());
        let retired = |settings: &Arc<AccountSettings>| {
            accounts.replace(vec![(organization.clone(), settings.clone())]);
            accounts.find(&organization).unwrap().retired.len()
        };
        let one = settings("1", false);
        assert_eq!(retired(&one), 0);
        let account = accounts.find(&organization).unwrap();
        assert_eq!(retired(&one), 0);
        assert!(Arc::ptr_eq(&account, &accounts.find(&organization).unwrap()));
        // Read again, with nothing changed.
        assert_eq!(retired(&settings("1", false)), 0);
        assert_eq!(retired(&settings("1", true)), 1);
        for token in ["2", "3", "4", "5"] {
            retired(&settings(token, true));
        }
        assert_eq!(retired(&settings("5", true)), RETIRED_MAX);
    }

    #[test]
    fn a_sid_that_is_not_known_always_has_the_same_account_in_its_place() {
        let accounts = Directory::default();
        let stranger = AccountSid::parse(&format!("AC{}", "b".repeat(32))).unwrap();
        assert!(accounts.other_than(&stranger).is_none());
        let known =
            ["one", "two", "three"].map(|name| (Organization::parse(name).unwrap(), settings(name, false)));
        accounts.replace(known.to_vec());
        let chosen = accounts.other_than(&stranger).unwrap();
        assert!((0..10).all(|_| Arc::ptr_eq(&chosen, &accounts.other_than(&stranger).unwrap())));
    }

    #[test]
    fn an_account_is_found_whatever_the_letter_case_of_its_sid() {
        let accounts = Directory::default();
        accounts.replace(vec![(Organization::default(), settings("1", false))]);
        let upper = AccountSid::parse(&format!("AC{}", "A".repeat(32))).unwrap();
        assert!(accounts.by_sid(&upper).is_some());
    }
}
