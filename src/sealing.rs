//! Encryption at rest, of credentials and of texts that wait to be sent; and fingerprints of what is only to be compared.
//!
//! AES-256-GCM-SIV (RFC 8452) from AWS's audited library: a nonce that comes up twice, one in 2^96 drawn at random, does
//! not give the key away. What is sealed names its key, so that keys can be rotated, and is bound to a context, so that a
//! sealed text put in another's place does not open.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretBox, SecretSlice};
use sha2::{Digest, Sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;

/// What stands before every sealed text: the form it has.
const VERSION: &str = "v1";

/// The keys: the first one seals, all open.
#[derive(Clone)]
pub struct MasterKeys(Arc<[Key]>);

struct Key {
    id: String,
    key: RandomizedNonceKey,
    fingerprints: hmac::Key,
}

/// A text that is no list of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a master key is 32 bytes in base64, as openssl rand -base64 32 prints; several are separated by commas"
)]
pub struct InvalidMasterKeys;

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed with a key that is not known.
    #[error(
        "it was sealed with the master key {0}, which is not among those of TEXTLEDGER_MASTER_KEY: add it there"
    )]
    UnknownKey(String),
    /// It has been changed, or is not what it should be.
    #[error("what is sealed is damaged, or belongs elsewhere")]
    Damaged,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl MasterKeys {
    /// Reads one key or more, base64, separated by commas.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKeys> {
        let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(Key::parse);
        let keys = keys.collect::<Option<Vec<Key>>>().filter(|keys| !keys.is_empty());
        keys.map(|keys| Self(keys.into())).ok_or(InvalidMasterKeys)
    }

    /// Seals `plain`, to be opened in the same `context`.
    pub fn seal(&self, context: &str, plain: &[u8]) -> String {
        let key = &self.0[0];
        let mut sealed = plain.to_vec();
        let nonce = key
            .key
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut sealed)
            .expect("texts are far shorter than the cipher's limit");
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens what was sealed in `context`.
    pub fn open(&self, context: &str, sealed: &str) -> Result<SecretSlice<u8>, OpenError> {
        let (id, bytes) = parts(sealed).ok_or(OpenError::Damaged)?;
        let key = self.0.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).map_err(|_| OpenError::Damaged)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_BYTES).ok_or(OpenError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Damaged)?;
        let mut plain = SecretBox::new(text.into());
        let opened = key.key.open_in_place(nonce, Aad::from(context.as_bytes()), expose_mut(&mut plain));
        let length = opened.map_err(|_| OpenError::Damaged)?.len();
        Ok(SecretBox::new(plain.expose_secret()[..length].into()))
    }

    /// A fingerprint of `plain` in `context`: who has it and not the keys cannot try out which text it is of.
    pub fn fingerprint(&self, context: &str, plain: &[u8]) -> String {
        let key = &self.0[0];
        let tag = hmac::sign(&key.fingerprints, &fingerprinted(context, plain));
        format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whether the key is known with which `text` was sealed, or by which it is a fingerprint: without it nobody can tell what
    /// it is of.
    pub fn has_key_of(&self, text: &str) -> bool {
        parts(text).is_some_and(|(id, _)| self.0.iter().any(|key| key.id == id))
    }

    /// Whether `fingerprint` is that of `plain` in `context`, by any of the keys.
    pub fn is_fingerprint(&self, fingerprint: &str, context: &str, plain: &[u8]) -> bool {
        let Some((id, tag)) = parts(fingerprint) else { return false };
        let (Some(key), Ok(tag)) = (self.0.iter().find(|key| key.id == id), URL_SAFE_NO_PAD.decode(tag))
        else {
            return false;
        };
        hmac::verify(&key.fingerprints, &fingerprinted(context, plain), &tag).is_ok()
    }

    /// Whether `sealed` was sealed with the key that seals now.
    pub fn is_current(&self, sealed: &str) -> bool {
        parts(sealed).is_some_and(|(id, _)| id == self.0[0].id)
    }
}

/// Whether `text` has the form of something sealed here, or of a fingerprint made here; whoever stored texts in clear before
/// tells these apart by it.
pub fn has_form(text: &str) -> bool {
    parts(text).is_some()
}

fn expose_mut(secret: &mut SecretSlice<u8>) -> &mut [u8] {
    secrecy::ExposeSecretMut::expose_secret_mut(secret)
}

/// Context and text, with a border that no context can move.
fn fingerprinted(context: &str, plain: &[u8]) -> Vec<u8> {
    [&(context.len() as u64).to_be_bytes(), context.as_bytes(), plain].concat()
}

/// The key's id, and what is sealed with it.
fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let bytes: SecretSlice<u8> = SecretBox::new(STANDARD.decode(text).ok()?.into());
        let bytes = bytes.expose_secret();
        if bytes.len() != KEY_BYTES {
            return None;
        }
        // A part of a digest tells two keys apart and gives neither away.
        let digest = Sha256::new().chain_update("textledger master key ").chain_update(bytes).finalize();
        Some(Self {
            id: hex::encode(&digest[..4]),
            key: RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes).ok()?,
            fingerprints: fingerprint_key(bytes),
        })
    }
}

/// The key of fingerprints that follows from a master key, so that no key serves two purposes.
fn fingerprint_key(master: &[u8]) -> hmac::Key {
    let master = hmac::Key::new(hmac::HMAC_SHA256, master);
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, b"textledger fingerprints").as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn keys(text: &str) -> MasterKeys {
        MasterKeys::parse(text).unwrap()
    }

    fn open(keys: &MasterKeys, context: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        keys.open(context, sealed).map(|plain| plain.expose_secret().to_vec())
    }

    #[test]
    fn keys_are_rotated_without_a_gap() {
        let sealed = keys(OLD).seal("settings/default", b"token");
        let rotated = keys(&format!("{NEW}, {OLD}"));
        assert_eq!(open(&rotated, "settings/default", &sealed), Ok(b"token".to_vec()));
        assert!(!rotated.is_current(&sealed) && keys(OLD).is_current(&sealed));
        assert!(rotated.is_current(&rotated.seal("settings/default", b"token")));
        let id = sealed.split('.').nth(1).unwrap().to_owned();
        assert_eq!(open(&keys(NEW), "settings/default", &sealed), Err(OpenError::UnknownKey(id)));
    }

    #[test]
    fn what_is_sealed_opens_only_whole_and_in_its_place() {
        let keys = keys(OLD);
        let sealed = keys.seal("settings/default", b"token");
        assert_eq!(open(&keys, "settings/other", &sealed), Err(OpenError::Damaged));
        for wrong in ["", "v1", "v1.", "v2.a.b", "token", &sealed[..sealed.len() - 2], &format!("{sealed}AA")]
        {
            assert!(open(&keys, "settings/default", wrong).is_err(), "{wrong}");
        }
        assert_ne!(sealed, keys.seal("settings/default", b"token"));
    }

    #[test]
    fn a_fingerprint_is_of_one_text_in_one_place_under_one_key() {
        let made = keys(OLD).fingerprint("code/ada", b"123456");
        let rotated = keys(&format!("{NEW},{OLD}"));
        assert!(rotated.is_fingerprint(&made, "code/ada", b"123456"));
        assert!(rotated.is_fingerprint(&rotated.fingerprint("code/ada", b"123456"), "code/ada", b"123456"));
        for (context, plain) in [("code/ada", "123457"), ("code/ad", "a123456"), ("code/ada1", "23456")] {
            assert!(!rotated.is_fingerprint(&made, context, plain.as_bytes()), "{context} {plain}");
        }
        assert!(!keys(NEW).is_fingerprint(&made, "code/ada", b"123456"));
        assert!(rotated.has_key_of(&made) && !keys(NEW).has_key_of(&made));
        for wrong in ["", "v1", "v1..", &made[..made.len() - 1]] {
            assert!(!rotated.is_fingerprint(wrong, "code/ada", b"123456"), "{wrong}");
        }
        assert!(!made.contains("123456"));
        assert!(has_form(&made) && has_form(&rotated.seal("code/ada", b"123456")));
        for clear in ["", "v1", "https://a.example/v1.0.0", r#"{"v1.":1.0}"#, &"0a".repeat(32)] {
            assert!(!has_form(clear), "{clear}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_and_is_never_shown() {
        for wrong in ["", ",", "x", "AAAA", &format!("{OLD},AAAA"), "not base64 at all, no"] {
            assert!(MasterKeys::parse(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", keys(OLD)).contains("AAAA"));
    }

    proptest! {
        #[test]
        fn any_text_opens_as_it_was_sealed(context: String, plain: Vec<u8>) {
            let keys = keys(&format!("{NEW},{OLD}"));
            prop_assert_eq!(open(&keys, &context, &keys.seal(&context, &plain)), Ok(plain));
        }
    }
}
