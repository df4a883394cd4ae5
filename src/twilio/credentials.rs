//! What a call to Twilio is authenticated with.
//!
//! Calls may use an API key instead of the account's token; signatures of webhooks are always made with the
//! token, which is therefore never left out.
//!
//! Source: <https://www.twilio.com/docs/usage/requests-to-twilio>.

use secrecy::SecretString;

use super::AccountSid;

/// An account, its token, and the API key that its calls use instead, if any. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The account that is called, also when an API key authenticates the call.
    pub account_sid: AccountSid,
    /// The account's auth token, primary or secondary.
    pub auth_token: SecretString,
    /// Used for calls instead of the token.
    pub api_key: Option<ApiKey>,
}

/// An API key: its SID (`SK…`), which is no secret, and its secret.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The key's SID.
    pub sid: String,
    /// The key's secret, shown by Twilio only when the key is made.
    pub secret: SecretString,
}

impl Credentials {
    /// The account with its own token, without an API key.
    pub fn with_auth_token(account_sid: AccountSid, auth_token: SecretString) -> Self {
        Self { account_sid, auth_token, api_key: None }
    }

    /// The user name for HTTP basic authentication.
    pub fn basic_user(&self) -> &str {
        self.api_key.as_ref().map_or(self.account_sid.as_str(), |key| &key.sid)
    }

    /// The password for HTTP basic authentication.
    pub fn basic_password(&self) -> &SecretString {
        self.api_key.as_ref().map_or(&self.auth_token, |key| &key.secret)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn account_sid() -> AccountSid {
        AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap()
    }

    #[test]
    fn an_api_key_takes_the_place_of_the_token() {
        let mut credentials = Credentials::with_auth_token(account_sid(), "the-token".into());
        assert_eq!(credentials.basic_user(), account_sid().as_str());
        assert_eq!(credentials.basic_password().expose_secret(), "the-token");

        credentials.api_key = Some(ApiKey { sid: "SK1".into(), secret: "the-secret".into() });
        assert_eq!(credentials.basic_user(), "SK1");
        assert_eq!(credentials.basic_password().expose_secret(), "the-secret");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut credentials = Credentials::with_auth_token(account_sid(), "the-token".into());
        credentials.api_key = Some(ApiKey { sid: "SK1".into(), secret: "the-secret".into() });
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("the-token") && !shown.contains("the-secret"), "{shown}");
    }
}
