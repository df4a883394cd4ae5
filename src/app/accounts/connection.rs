//! Whether Twilio takes an organization's credentials.

use std::time::Duration;

use super::{Accounts, saved::ReadError};
use crate::{
    app::Scope,
    domain::AccountSettings,
    twilio::{
        client::{Client, Error},
        resource::{Account, ListMessages},
    },
};

/// How long the calls to Twilio may take together.
const TEST_TIME_MAX: Duration = Duration::from_secs(10);

/// The word by which Twilio calls an account that may send.
///
/// Source: <https://www.twilio.com/docs/iam/api/account#account-properties>.
pub const ACTIVE: &str = "active";

/// What calls to Twilio are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedWith {
    /// The account's token.
    AuthToken,
    /// An API key.
    ApiKey,
}

impl SignedWith {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            SignedWith::AuthToken => "auth_token",
            SignedWith::ApiKey => "api_key",
        }
    }
}

/// What a test found.
#[derive(Debug)]
pub struct Tested {
    /// What the organization's messages are sent with.
    pub calls_with: SignedWith,
    /// The account; or which of its credentials failed, and why.
    pub result: Result<Account, (SignedWith, Error)>,
}

impl Tested {
    /// Whether Twilio takes the credentials, and the account may send.
    pub fn is_active(&self) -> bool {
        self.result.as_ref().is_ok_and(|account| account.status.as_deref() == Some(ACTIVE))
    }
}

impl Scope<'_, Accounts> {
    /// Asks Twilio for the organization's account, that of settings which are not in force yet before the one that is in use;
    /// `None` if it has none.
    pub async fn test_connection(&self) -> Result<Option<Tested>, ReadError> {
        if let Ok(Some(pending)) = self.stored_pending(self.organization).await?.pending {
            return Ok(Some(test(&self.twilio, &pending.settings).await));
        }
        Ok(match self.find(self.organization) {
            Some(account) => Some(test(&self.twilio, &account.settings).await),
            None => None,
        })
    }
}

/// Asks Twilio for the account that `settings` name, with its API key if it has one.
///
/// Twilio shows an account to its token and to few API keys, so that a key is tried on the list of messages. The token is
/// tried too, since it verifies webhooks.
pub async fn test(twilio: &Client, settings: &AccountSettings) -> Tested {
    let credentials = settings.credentials();
    let has_key = credentials.api_key.is_some();
    let calls_with = if has_key { SignedWith::ApiKey } else { SignedWith::AuthToken };
    let asked = async {
        if has_key {
            let one = ListMessages { page_size: Some(1), ..ListMessages::default() };
            let listed = twilio.list_messages(&credentials, &one).await;
            listed.map_err(|error| (SignedWith::ApiKey, error))?;
        }
        let fetched = twilio.fetch_account(&settings.token_credentials()).await;
        fetched.map_err(|error| (SignedWith::AuthToken, error))
    };
    let result = tokio::time::timeout(TEST_TIME_MAX, asked).await;
    Tested { calls_with, result: result.unwrap_or(Err((calls_with, Error::TimedOut))) }
}
