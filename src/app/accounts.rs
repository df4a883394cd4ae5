//! The Twilio accounts that messages are sent through, and the keys that sign what Twilio posts.

use secrecy::SecretString;

use crate::{
    domain::Organization,
    twilio::{
        AccountSid, Address, Channel, MessagingServiceSid,
        credentials::Credentials,
        signature::{Algorithm, SigningKey},
    },
};

/// An organization's account at Twilio.
pub struct Account {
    /// Whose it is.
    pub organization: Organization,
    /// Its SID and what signs calls to Twilio.
    pub credentials: Credentials,
    /// What Twilio signs its webhooks with; the first is tried first.
    pub signing_keys: Vec<SigningKey>,
    /// The sender of SMS and MMS, unless a send names one.
    pub phone_number: Option<Address>,
    /// The sender over WhatsApp, unless a send names one.
    pub whatsapp_number: Option<Address>,
    /// The messaging service that chooses the sender, unless a send names one or the other.
    pub messaging_service_sid: Option<MessagingServiceSid>,
}

impl Account {
    /// The account that `auth_token` belongs to, without senders.
    pub fn new(organization: Organization, account_sid: AccountSid, auth_token: SecretString) -> Self {
        let signing_keys = vec![SigningKey::new(Algorithm::HmacSha1, &auth_token)];
        Self {
            organization,
            credentials: Credentials::with_auth_token(account_sid, auth_token),
            signing_keys,
            phone_number: None,
            whatsapp_number: None,
            messaging_service_sid: None,
        }
    }

    /// The sender over `channel`, if one is configured.
    pub fn sender(&self, channel: Channel) -> Option<&Address> {
        match channel {
            Channel::Whatsapp => self.whatsapp_number.as_ref(),
            Channel::Sms | Channel::Rcs => self.phone_number.as_ref(),
        }
    }
}

/// All accounts, found by organization or by SID.
#[derive(Default)]
pub struct Accounts(Vec<Account>);

impl Accounts {
    /// Takes the accounts; an organization has at most one, an account one organization.
    pub fn new(accounts: Vec<Account>) -> Self {
        Self(accounts)
    }

    /// The account that `organization` sends through.
    pub fn of(&self, organization: &Organization) -> Option<&Account> {
        self.0.iter().find(|account| account.organization == *organization)
    }

    /// The account `sid`.
    pub fn by_sid(&self, sid: &AccountSid) -> Option<&Account> {
        self.0.iter().find(|account| account.credentials.account_sid == *sid)
    }
}
