//! API keys that are kept in the store: made, rotated and revoked while the service runs.
//!
//! A secret carries its key's SID, so that the key is found without a search: `tl_`, the 32 digits of the SID, `_`, and
//! 32 random bytes in hexadecimal digits. So much randomness cannot be guessed, and a plain hash of it is enough.

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Organization, Principal, Role, UnixMs};

/// What a secret begins with, so that scanners for leaked secrets can tell what it is.
const SECRET_PREFIX: &str = "tl_";

/// The hexadecimal digits of a SID.
const SID_DIGITS: usize = 32;

/// The random part of a secret, in bytes.
pub const SECRET_BYTES: usize = 32;

/// The longest name of a key, in characters.
pub const NAME_CHARACTERS_MAX: usize = 100;

/// For how long a rotated secret may stay good: time enough to change it everywhere.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What an API key is called: `SK` and 32 hexadecimal digits in lower case, as Twilio calls its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeySid(String);

/// A text is no SID of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SID of an API key is SK and 32 hexadecimal digits in lower case")]
pub struct InvalidKeySid;

impl KeySid {
    /// The SID that `random` bytes make.
    pub fn of(random: [u8; SID_DIGITS / 2]) -> Self {
        Self(format!("SK{}", hex::encode(random)))
    }

    /// Takes `text` if it has the shape of a SID.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySid> {
        let digits = text.strip_prefix("SK").ok_or(InvalidKeySid)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() == SID_DIGITS && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKeySid)
        }
    }

    /// The SID of the key that `secret` says it belongs to; `None` if it does not have the shape of a secret.
    pub fn in_secret(secret: &str) -> Option<Self> {
        let (digits, random) = secret.strip_prefix(SECRET_PREFIX)?.split_once('_')?;
        let sid = Self::parse(&format!("SK{digits}")).ok()?;
        (random.len() == 2 * SECRET_BYTES && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then_some(sid)
    }

    /// A secret of this key, made of `random` bytes.
    pub fn secret(&self, random: [u8; SECRET_BYTES]) -> SecretString {
        format!("{SECRET_PREFIX}{}_{}", &self.0["SK".len()..], hex::encode(random)).into()
    }

    /// The SID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeySid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeySid {
    type Err = InvalidKeySid;

    fn from_str(text: &str) -> Result<Self, InvalidKeySid> {
        Self::parse(text)
    }
}

impl TryFrom<String> for KeySid {
    type Error = InvalidKeySid;

    fn try_from(text: String) -> Result<Self, InvalidKeySid> {
        Self::parse(&text)
    }
}

impl From<KeySid> for String {
    fn from(sid: KeySid) -> String {
        sid.0
    }
}

/// The SHA-256 of a key's secret. Comparing takes the same time however much agrees, and `Debug` shows nothing of it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of `secret`.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(Self(hash))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl TryFrom<String> for SecretHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("64 hexadecimal digits are expected")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        hex::encode(hash.0)
    }
}

/// An API key of an organization. Its secret is not known, only its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// What it is called.
    pub sid: KeySid,
    /// Whose it is.
    pub organization: Organization,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: UnixMs,
    /// Who made it.
    pub created_by: Principal,
    /// From when on it is not good any more, if ever.
    pub expires_at: Option<UnixMs>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<UnixMs>,
    /// How many messages it may ask for in a day (UTC); `None` if the installation's limit for each caller holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_limit: Option<u64>,
    hash: SecretHash,
    former: Option<FormerSecret>,
}

/// The secret before the last rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FormerSecret {
    hash: SecretHash,
    good_until: UnixMs,
}

/// What a new key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// From when on it is not good any more, if ever.
    pub expires_at: Option<UnixMs>,
    /// How many messages it may ask for in a day, if it is to have a limit of its own.
    pub daily_limit: Option<u64>,
}

impl StoredKey {
    /// A key with `secret`, made by `creator` at `now`.
    pub fn new(
        sid: KeySid,
        organization: Organization,
        new: NewKey,
        secret: &SecretString,
        creator: Principal,
        now: UnixMs,
    ) -> Self {
        Self {
            sid,
            organization,
            name: new.name,
            role: new.role,
            created_at: now,
            created_by: creator,
            expires_at: new.expires_at,
            revoked_at: None,
            daily_limit: new.daily_limit,
            hash: SecretHash::of(secret.expose_secret()),
            former: None,
        }
    }

    /// From when on no secret of the key is good; [`UnixMs::MAX`] for never. The clock of the instance that revoked it may be
    /// ahead of ours, so a revoked key has ended whatever time it is.
    pub fn ends_at(&self) -> UnixMs {
        if self.revoked_at.is_some() { UnixMs::EPOCH } else { self.expires_at.unwrap_or(UnixMs::MAX) }
    }

    /// From when on the secret with this hash is not good any more, [`UnixMs::MAX`] for never; `None` if it is no secret
    /// of this key.
    pub fn good_until(&self, secret: &SecretHash) -> Option<UnixMs> {
        if *secret == self.hash {
            return Some(self.ends_at());
        }
        let former = self.former.as_ref().filter(|former| former.hash == *secret)?;
        Some(former.good_until.min(self.ends_at()))
    }

    /// Takes a new secret. The one before stays good until `former_until`, or ends now without one, as any older one does.
    pub fn rotate(&mut self, secret: &SecretString, former_until: Option<UnixMs>) {
        let hash = SecretHash::of(secret.expose_secret());
        let former = std::mem::replace(&mut self.hash, hash);
        self.former = former_until.map(|good_until| FormerSecret { hash: former, good_until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> UnixMs {
        UnixMs::new(ms)
    }

    fn key(expires_at: Option<UnixMs>) -> (StoredKey, SecretString) {
        let sid = KeySid::of([7; 16]);
        let secret = sid.secret([1; SECRET_BYTES]);
        let new = NewKey { name: "crm".to_owned(), role: Role::Sender, expires_at, daily_limit: None };
        let creator = Principal::user("ada");
        (StoredKey::new(sid, Organization::default(), new, &secret, creator, at(10)), secret)
    }

    fn hash(secret: &SecretString) -> SecretHash {
        SecretHash::of(secret.expose_secret())
    }

    #[test]
    fn a_secret_names_its_key() {
        let sid = KeySid::of([0xab; 16]);
        assert_eq!(sid.as_str(), format!("SK{}", "ab".repeat(16)));
        let secret = sid.secret([0xcd; SECRET_BYTES]);
        assert_eq!(KeySid::in_secret(secret.expose_secret()), Some(sid));
        let digits = "a".repeat(32);
        for wrong in ["", "tl_", "tl__", &format!("tl_{digits}_"), &format!("tl_{digits}_{}", "g".repeat(64))]
        {
            assert_eq!(KeySid::in_secret(wrong), None, "{wrong}");
        }
        for wrong in ["SK", "SKé", &format!("SK{}", "A".repeat(32)), &format!("AC{digits}")] {
            assert!(KeySid::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_an_older_version_stored_has_no_limit_of_its_own() {
        let (key, _) = key(None);
        let stored = serde_json::to_value(&key).unwrap();
        assert!(stored.get("daily_limit").is_none(), "{stored}");
        assert_eq!(serde_json::from_value::<StoredKey>(stored).unwrap(), key);
        let limited = StoredKey { daily_limit: Some(7), ..key };
        let stored = serde_json::to_value(&limited).unwrap();
        assert_eq!(serde_json::from_value::<StoredKey>(stored).unwrap(), limited);
    }

    #[test]
    fn a_secret_is_good_until_its_key_expires_or_is_revoked() {
        let (mut key, secret) = key(Some(at(50)));
        assert_eq!(key.good_until(&hash(&secret)), Some(at(50)));
        assert_eq!(key.good_until(&SecretHash::of("another")), None);
        // At once, whatever time it was there.
        key.revoked_at = Some(at(30));
        assert_eq!(key.good_until(&hash(&secret)), Some(UnixMs::EPOCH));
        let (key, secret) = self::key(None);
        assert_eq!(key.good_until(&hash(&secret)), Some(UnixMs::MAX));
    }

    #[test]
    fn the_secret_before_a_rotation_stays_good_for_the_overlap_alone() {
        let (mut key, first) = key(None);
        let (second, third) = (key.sid.secret([2; SECRET_BYTES]), key.sid.secret([3; SECRET_BYTES]));
        key.rotate(&second, Some(at(40)));
        assert_eq!(key.good_until(&hash(&first)), Some(at(40)));
        assert_eq!(key.good_until(&hash(&second)), Some(UnixMs::MAX));
        key.rotate(&third, Some(at(60)));
        assert_eq!(key.good_until(&hash(&first)), None);
        assert_eq!(key.good_until(&hash(&second)), Some(at(60)));
        key.rotate(&first, None);
        assert_eq!((key.good_until(&hash(&second)), key.good_until(&hash(&third))), (None, None));
        key.rotate(&second, Some(at(60)));
        key.revoked_at = Some(at(50));
        assert_eq!(key.good_until(&hash(&first)), Some(UnixMs::EPOCH));
    }

    #[test]
    fn a_key_is_stored_without_its_secret_and_shows_no_hash() {
        let (key, secret) = key(Some(at(50)));
        let stored = serde_json::to_string(&key).unwrap();
        assert!(!stored.contains(secret.expose_secret()));
        assert_eq!(serde_json::from_str::<StoredKey>(&stored).unwrap(), key);
        assert!(!format!("{key:?}").contains(&String::from(hash(&secret))));
    }
}
