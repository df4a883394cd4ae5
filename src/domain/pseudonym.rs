//! The name under which a person is still known whose data has been erased: it tells who they are to whoever has both the key
//! and their number, and to nobody else.
//!
//! There are so few phone numbers that a plain digest of one is as good as the number: whoever has it tries them all. So
//! it is keyed, and the key is as secret as what seals credentials.

use std::fmt;

use aws_lc_rs::hmac;

use super::Organization;

/// Bytes of a key.
pub const PSEUDONYM_KEY_BYTES: usize = 32;

/// A person's pseudonym in one organization: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes pseudonyms. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl PseudonymKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; PSEUDONYM_KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The pseudonym of whoever is called `name` in a store ([`Person::as_str`](super::Person::as_str)) of `organization`. One
    /// person has another in each, so that nobody can tell that two organizations have erased the same person.
    pub fn pseudonym(&self, organization: &Organization, name: &str) -> Pseudonym {
        let organization = organization.as_str().as_bytes();
        // The length stands in front, so that no text can be moved from the one to the other.
        let text = [&(organization.len() as u64).to_be_bytes(), organization, name.as_bytes()].concat();
        Pseudonym(hex::encode(hmac::sign(&self.0, &text)))
    }
}

/// Equal if they make the same pseudonyms.
impl PartialEq for PseudonymKey {
    fn eq(&self, other: &Self) -> bool {
        let sign = |key: &Self| hmac::sign(&key.0, b"");
        sign(self).as_ref() == sign(other).as_ref()
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_of_one_person_in_one_organization_under_one_key() {
        let organization = |name: &str| Organization::parse(name).unwrap();
        let key = PseudonymKey::new(&[7; PSEUDONYM_KEY_BYTES]);
        let ada = key.pseudonym(&organization("acme"), "+14155550177");
        assert_eq!(ada.as_str().len(), 64);
        assert!(!ada.as_str().contains("5550177"));
        assert_eq!(ada, key.clone().pseudonym(&organization("acme"), "+14155550177"));
        let other = PseudonymKey::new(&[8; PSEUDONYM_KEY_BYTES]);
        for elsewhere in [
            key.pseudonym(&organization("acme"), "+14155550178"),
            key.pseudonym(&organization("acm"), "+14155550177"),
            other.pseudonym(&organization("acme"), "+14155550177"),
        ] {
            assert_ne!(ada, elsewhere);
        }
        assert_eq!(format!("{key:?}"), "PseudonymKey");
    }
}
