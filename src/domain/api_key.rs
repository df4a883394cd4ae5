//! Callers that are services, as the configuration names them: a name, a role, the hash of a key, and an organization.

use std::fmt;

use super::{KeySid, Organization, Role, SecretHash};

/// A caller that is a service. The key itself is not known, only its SHA-256, and `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Who calls.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whose service it is.
    pub organization: Organization,
    hash: SecretHash,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, {}, {})", self.name, self.role.as_str(), self.organization)
    }
}

impl ApiKey {
    /// Reads `name:role:sha256hex` of the organization `default`, or `name:role:sha256hex:organization`. A name that is the
    /// SID of a stored key would be taken for that key.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let name = parts.next().filter(|name| !name.is_empty() && KeySid::parse(name).is_err())?.to_owned();
        let role = Role::parse(parts.next()?)?;
        let hash = SecretHash::parse(parts.next()?)?;
        let organization =
            parts.next().map_or_else(|| Ok(Organization::default()), Organization::parse).ok()?;
        parts.next().is_none().then_some(Self { name, role, organization, hash })
    }

    /// Whether both are the same key, so that it does not tell which of them calls.
    pub fn has_hash_of(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// Whether `key` is the hash of the key; takes the same time however much of it agrees.
    pub fn matches(&self, key: &SecretHash) -> bool {
        self.hash == *key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_key_is_known_by_its_hash() {
        let hash = String::from(SecretHash::of("s3cret"));
        let key = ApiKey::parse(&format!("crm:viewer:{hash}")).unwrap();
        assert_eq!((key.name.as_str(), key.role), ("crm", Role::Viewer));
        assert_eq!(key.organization, Organization::default());
        let of_acme = ApiKey::parse(&format!("crm:viewer:{hash}:acme")).unwrap();
        assert_eq!(of_acme.organization.as_str(), "acme");
        assert!(key.has_hash_of(&of_acme) && key != of_acme);
        for organization in ["", "*", "a b", "acme:", "acme:viewer"] {
            assert!(ApiKey::parse(&format!("crm:viewer:{hash}:{organization}")).is_none(), "{organization}");
        }
        assert!(key.matches(&SecretHash::of("s3cret")) && !key.matches(&SecretHash::of("secret")));
        assert!(!format!("{key:?}").contains(&hash));
        for wrong in ["", "crm", "crm:viewer", "crm:viewer:00", "crm:king:00", ":viewer:00"] {
            assert!(ApiKey::parse(wrong).is_none(), "{wrong}");
        }
        let sid = KeySid::of([1; 16]);
        assert!(ApiKey::parse(&format!("{sid}:viewer:{hash}")).is_none());
    }
}
