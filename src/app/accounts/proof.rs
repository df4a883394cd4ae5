//! Whether an account is an organization's own: Twilio takes the auth token that it gives for it.
//!
//! The token alone is asked for, because it is what verifies webhooks. An API key proves less: one that is restricted to
//! sending is good, and Twilio refuses it the account.

use std::time::Duration;

use super::Accounts;
use crate::{domain::AccountSettings, twilio::client::Error};

/// How long Twilio may take: somebody waits for the answer.
pub(super) const ASK_TIME_MAX: Duration = Duration::from_secs(5);

/// What Twilio says of an account and its token.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// They belong together.
    Accepted,
    /// They do not, and why.
    Refused(String),
    /// Nothing that could be relied on, and why.
    NotAnswered(String),
}

impl Accounts {
    /// Asks Twilio whether the auth token of `settings` is that of their account.
    pub(super) async fn prove(&self, settings: &AccountSettings) -> Proof {
        let credentials = settings.token_credentials();
        let asked = tokio::time::timeout(ASK_TIME_MAX, self.twilio.fetch_account(&credentials)).await;
        match asked.unwrap_or(Err(Error::TimedOut)) {
            Ok(_) => Proof::Accepted,
            Err(error) if is_refusal(&error) => Proof::Refused(error.to_string()),
            Err(error) => Proof::NotAnswered(error.to_string()),
        }
    }
}

/// Whether Twilio itself has said no.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::CredentialsRejected(refusal) | Error::Refused(refusal) => refusal.is_of_twilio(),
        Error::RateLimited(_)
        | Error::Failed(_)
        | Error::Unreachable { .. }
        | Error::TimedOut
        | Error::Interrupted { .. }
        | Error::Unreadable { .. } => false,
    }
}
