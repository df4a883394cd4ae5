//! Callers that are services: a name, a role and the hash of a key.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Role;

/// A caller that is a service. The key itself is not known, only its SHA-256, and `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Who calls.
    pub name: String,
    /// What they may do.
    pub role: Role,
    hash: [u8; 32],
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {})", self.name, self.role.as_str())
    }
}

impl ApiKey {
    /// Reads `name:role:sha256hex`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let role = Role::parse(parts.next()?)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(parts.next()?, &mut hash).ok()?;
        parts.next().is_none().then_some(Self { name, role, hash })
    }

    /// Whether `key` is the key; takes the same time however much of its hash agrees.
    pub fn matches(&self, key: &str) -> bool {
        self.hash.ct_eq(Sha256::digest(key).as_slice()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_is_known_by_its_hash() {
        let hash = hex::encode(Sha256::digest("s3cret"));
        let key = ApiKey::parse(&format!("crm:viewer:{hash}")).unwrap();
        assert_eq!((key.name.as_str(), key.role), ("crm", Role::Viewer));
        assert!(key.matches("s3cret") && !key.matches("secret"));
        assert!(!format!("{key:?}").contains(&hash));
        for wrong in ["", "crm", "crm:viewer", "crm:viewer:00", "crm:king:00", ":viewer:00"] {
            assert!(ApiKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
