//! Whose messages these are: settings, streams and consent are kept apart per organization.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an organization: 1 to 64 of `a-z A-Z 0-9 . _ -`, safe inside a Redis hash tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Organization(String);

/// Why a text is no organization's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an organization's name is 1 to 64 letters, digits, dots, dashes and underscores")]
pub struct InvalidOrganization;

impl Organization {
    /// Takes a name that is safe in keys.
    pub fn parse(name: &str) -> Result<Self, InvalidOrganization> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=64).contains(&name.len()) && name.bytes().all(safe) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidOrganization)
        }
    }

    /// What belongs to the installation and to no organization: under a name that none can have.
    pub fn installation() -> Self {
        Self("*".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Organization {
    /// `default`: the one that a token without `org`, and the environment's credentials, belong to.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Organization {
    type Error = InvalidOrganization;

    fn try_from(name: String) -> Result<Self, InvalidOrganization> {
        Self::parse(&name)
    }
}

impl From<Organization> for String {
    fn from(organization: Organization) -> String {
        organization.0
    }
}
