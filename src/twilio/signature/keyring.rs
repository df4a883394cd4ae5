//! The keys of one account, and which of them a request may be signed with.
//!
//! An account signs with its primary auth token; a second one may wait to be promoted, which ends the first at once.
//! Or it signs with a shared key, which the request names in a header that is itself not signed. So the header only
//! chooses among the keys that the account has, and an account that demands shared keys has no other.
//!
//! Sources: <https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys>, `request_validator.py` of twilio-python
//! 9.13, <https://www.twilio.com/docs/iam/api/authtoken>.

use std::fmt;

use secrecy::SecretString;

use super::{Algorithm, Prepared, Refusal, Request, SigningKey, Verified};

/// The header that says which shared key signed, and how: `key=<id>,algorithm=<name>`.
pub const SETTINGS_HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";

/// What a key is called in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyName {
    /// The auth token.
    AuthToken,
    /// The auth token that is to be promoted, or has been until lately.
    AuthTokenSecondary,
    /// The shared key of this id.
    Shared(String),
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyName::AuthToken => f.write_str("auth_token"),
            KeyName::AuthTokenSecondary => f.write_str("auth_token_secondary"),
            KeyName::Shared(id) => f.write_str(id),
        }
    }
}

/// The keys of one account. `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct Keyring {
    /// The auth tokens, ready to sign; the first is tried first.
    tokens: Vec<SigningKey>,
    shared: Vec<SharedKey>,
    require_shared_key: bool,
}

/// A shared key, ready to sign in either way: the request says which.
#[derive(Clone)]
struct SharedKey {
    id: String,
    sha1: SigningKey,
    sha256: SigningKey,
}

impl SharedKey {
    fn signing_with(&self, algorithm: Algorithm) -> &SigningKey {
        match algorithm {
            Algorithm::HmacSha1 => &self.sha1,
            Algorithm::HmacSha256 => &self.sha256,
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().map(|(name, _)| name.to_string())).finish()
    }
}

impl Keyring {
    /// The keyring that holds `auth_token` alone.
    pub fn new(auth_token: &SecretString) -> Self {
        Self { tokens: vec![SigningKey::new(Algorithm::HmacSha1, auth_token)], ..Self::default() }
    }

    /// Accepts `auth_token` beside the first one, so that neither moment of a rotation refuses a request.
    pub fn with_secondary(mut self, auth_token: &SecretString) -> Self {
        self.tokens.push(SigningKey::new(Algorithm::HmacSha1, auth_token));
        self
    }

    /// Accepts the shared key `id`.
    pub fn with_shared_key(mut self, id: &str, secret: &SecretString) -> Self {
        let key = |algorithm| SigningKey::new(algorithm, secret);
        let (sha1, sha256) = (key(Algorithm::HmacSha1), key(Algorithm::HmacSha256));
        self.shared.push(SharedKey { id: id.to_owned(), sha1, sha256 });
        self
    }

    /// Refuses what is signed with an auth token.
    pub fn requiring_shared_key(mut self) -> Self {
        self.require_shared_key = true;
        self
    }

    /// Every key with its name, an auth token too where a shared key is required; a shared key once for each algorithm.
    pub fn keys(&self) -> impl Iterator<Item = (KeyName, &SigningKey)> {
        let tokens = self.tokens.iter().enumerate().map(|(index, key)| (token_name(index), key));
        let shared = self.shared.iter().flat_map(|key| {
            [&key.sha1, &key.sha256].into_iter().map(|signing| (KeyName::Shared(key.id.clone()), signing))
        });
        tokens.chain(shared)
    }

    /// A key that Twilio may sign with just now, for signing in its place; `None` for an empty ring.
    pub fn signing_key(&self) -> Option<(KeyName, &SigningKey)> {
        self.keys().find(|(name, _)| self.require_shared_key == matches!(name, KeyName::Shared(_)))
    }

    /// Decides whether `request` is signed by this account; see [`Keyring::verify_prepared`].
    pub fn verify(
        &self,
        request: Request<'_>,
        signature: &str,
        settings: &str,
    ) -> Result<(KeyName, Verified), Refusal> {
        self.verify_prepared(&Prepared::new(request), signature, settings)
    }

    /// Decides whether `request` is signed by this account, given what its [`super::SIGNATURE_HEADER`] and its
    /// [`SETTINGS_HEADER`] say, empty where they are absent; see [`super::verify`].
    pub fn verify_prepared(
        &self,
        request: &Prepared<'_>,
        signature: &str,
        settings: &str,
    ) -> Result<(KeyName, Verified), Refusal> {
        match Settings::parse(settings)? {
            Some(Settings { key, algorithm }) => {
                let shared = self.shared.iter().find(|shared| shared.id == key).ok_or(Refusal::UnknownKey)?;
                let signing = shared.signing_with(algorithm);
                let verified = request.verify(std::slice::from_ref(signing), signature)?;
                Ok((KeyName::Shared(shared.id.clone()), verified))
            }
            None if self.require_shared_key => Err(Refusal::SharedKeyRequired),
            None => {
                let verified = request.verify(&self.tokens, signature)?;
                Ok((token_name(verified.key_index), verified))
            }
        }
    }
}

fn token_name(index: usize) -> KeyName {
    if index == 0 { KeyName::AuthToken } else { KeyName::AuthTokenSecondary }
}

/// What [`SETTINGS_HEADER`] says.
#[derive(Debug, PartialEq, Eq)]
struct Settings<'a> {
    key: &'a str,
    algorithm: Algorithm,
}

impl<'a> Settings<'a> {
    /// `None` where no algorithm is named: such a request is signed with the auth token, as twilio-python reads it.
    fn parse(header: &'a str) -> Result<Option<Self>, Refusal> {
        let value_of = |name: &str| {
            let mut parts = header.split(',').filter_map(|part| part.split_once('='));
            let part = parts.find(|(key, value)| key.trim() == name && !value.trim().is_empty());
            part.map(|(_, value)| value.trim())
        };
        let Some(algorithm) = value_of("algorithm") else { return Ok(None) };
        let algorithm = Algorithm::parse(algorithm).ok_or(Refusal::UnknownAlgorithm)?;
        let key = value_of("key").ok_or(Refusal::UnknownKey)?;
        Ok(Some(Self { key, algorithm }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::{
        Form,
        signature::{Content, Spelling, sign},
    };

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const ID: &str = "webhooks_sharedkey_1";

    fn keyring() -> Keyring {
        Keyring::new(&"old".into()).with_secondary(&"new".into()).with_shared_key(ID, &"12345".into())
    }

    fn form() -> Form<'static> {
        Form::from_iter([
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ])
    }

    fn check(keyring: &Keyring, signature: &str, settings: &str) -> Result<KeyName, Refusal> {
        let form = form();
        let request = Request { url: URL, content: Content::Form(&form) };
        keyring.verify(request, signature, settings).map(|(name, verified)| {
            assert_eq!(verified.spelling, Spelling::AS_GIVEN);
            name
        })
    }

    fn signed(secret: &str, algorithm: Algorithm) -> String {
        sign(&SigningKey::new(algorithm, &secret.into()), URL, &form())
    }

    #[test]
    fn either_token_signs_and_says_which() {
        let keyring = keyring();
        assert_eq!(check(&keyring, &signed("old", Algorithm::HmacSha1), ""), Ok(KeyName::AuthToken));
        assert_eq!(check(&keyring, &signed("new", Algorithm::HmacSha1), ""), Ok(KeyName::AuthTokenSecondary));
        assert_eq!(check(&keyring, &signed("none", Algorithm::HmacSha1), ""), Err(Refusal::Mismatch));
    }

    #[test]
    fn a_shared_key_signs_as_the_header_says() {
        // Made with twilio-python 9.13.
        let sha256 = "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=";
        let sha1 = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        let keyring = keyring();
        let shared = Ok(KeyName::Shared(ID.to_owned()));
        for settings in [
            "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
            " algorithm = hmac_sha256 , key = webhooks_sharedkey_1 ,x",
            "algorithm=,key=webhooks_sharedkey_1,algorithm=HMAC_SHA256,algorithm=HMAC_SHA1",
        ] {
            assert_eq!(check(&keyring, sha256, settings), shared, "{settings}");
        }
        assert_eq!(check(&keyring, sha1, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1"), shared);
        for (signature, settings, refusal) in [
            (sha256, "key=webhooks_sharedkey_2,algorithm=HMAC_SHA256", Refusal::UnknownKey),
            (sha256, "algorithm=HMAC_SHA256", Refusal::UnknownKey),
            (sha256, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA512", Refusal::UnknownAlgorithm),
            (sha1, "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256", Refusal::Malformed),
            // Without an algorithm the auth token signs, whatever key is named.
            (sha1, "key=webhooks_sharedkey_1", Refusal::Mismatch),
            (sha1, "", Refusal::Mismatch),
        ] {
            assert_eq!(check(&keyring, signature, settings), Err(refusal), "{settings}");
        }
    }

    #[test]
    fn where_a_shared_key_is_required_no_token_will_do() {
        let keyring = keyring().requiring_shared_key();
        let signature = signed("old", Algorithm::HmacSha1);
        for settings in ["", "key=webhooks_sharedkey_1", "algorithm="] {
            assert_eq!(check(&keyring, &signature, settings), Err(Refusal::SharedKeyRequired), "{settings}");
        }
        let settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1";
        assert_eq!(check(&keyring, &signature, settings), Err(Refusal::Mismatch));
        assert!(check(&keyring, &signed("12345", Algorithm::HmacSha1), settings).is_ok());
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert_eq!(
            format!("{:?}", keyring()),
            r#"["auth_token", "auth_token_secondary", "webhooks_sharedkey_1", "webhooks_sharedkey_1"]"#
        );
    }
}
