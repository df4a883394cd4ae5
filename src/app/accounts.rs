//! The Twilio accounts that messages are sent through, and the keys that sign what Twilio posts.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    domain::Organization,
    twilio::{
        AccountSid, Address, Channel, MessagingServiceSid, credentials::Credentials, signature::Keyring,
    },
};

/// How many former keyrings of an account are remembered, to explain what is still signed with them.
const RETIRED_MAX: usize = 3;

/// An organization's account at Twilio.
#[derive(Clone)]
pub struct Account {
    /// Whose it is.
    pub organization: Organization,
    /// Its SID and what signs calls to Twilio.
    pub credentials: Credentials,
    /// What Twilio may sign its webhooks with.
    pub keyring: Keyring,
    /// The keyrings before the latest changes, the newest first; nothing is accepted by them.
    pub retired: Vec<Keyring>,
    /// The sender of SMS and MMS, unless a send names one.
    pub phone_number: Option<Address>,
    /// The sender over WhatsApp, unless a send names one.
    pub whatsapp_number: Option<Address>,
    /// The messaging service that chooses the sender, unless a send names one or the other.
    pub messaging_service_sid: Option<MessagingServiceSid>,
}

impl Account {
    /// The sender over `channel`, if one is configured.
    pub fn sender(&self, channel: Channel) -> Option<&Address> {
        match channel {
            Channel::Whatsapp => self.whatsapp_number.as_ref(),
            Channel::Sms | Channel::Rcs => self.phone_number.as_ref(),
        }
    }
}

/// All accounts, found by organization or by SID. They can be replaced while requests are served: a request goes by
/// the accounts of the moment at which it asked.
#[derive(Default)]
pub struct Accounts(ArcSwap<Vec<Arc<Account>>>);

impl Accounts {
    /// Takes the accounts; an organization has at most one, an account one organization.
    pub fn new(accounts: Vec<Account>) -> Self {
        Self(ArcSwap::from_pointee(accounts.into_iter().map(Arc::new).collect()))
    }

    /// Takes other accounts from now on. What the keyrings were before stays known, to explain refusals.
    pub fn replace(&self, accounts: Vec<Account>) {
        let before = self.0.load();
        let accounts = accounts.into_iter().map(|account| {
            let former = before
                .iter()
                .find(|former| former.credentials.account_sid == account.credentials.account_sid);
            let retired = former.into_iter().flat_map(|former| {
                std::iter::once(&former.keyring).chain(&former.retired).take(RETIRED_MAX).cloned()
            });
            Arc::new(Account { retired: retired.collect(), ..account })
        });
        let accounts = accounts.collect();
        self.0.store(Arc::new(accounts));
    }

    /// All of them.
    pub fn all(&self) -> Arc<Vec<Arc<Account>>> {
        self.0.load_full()
    }

    /// The account that `organization` sends through.
    pub fn of(&self, organization: &Organization) -> Option<Arc<Account>> {
        self.0.load().iter().find(|account| account.organization == *organization).cloned()
    }

    /// The account `sid`.
    pub fn by_sid(&self, sid: &AccountSid) -> Option<Arc<Account>> {
        self.0.load().iter().find(|account| account.credentials.account_sid == *sid).cloned()
    }
}
