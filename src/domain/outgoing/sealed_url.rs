//! The URL at which a caller wants to be told of each status, as it is kept with a message.

use serde::{Deserialize, Serialize};

/// A URL that is sealed: its user, its path or its query may be a secret of the caller's. Only who has the keys makes one
/// or reads it.
///
/// Version 0.1.0 stored URLs in clear; such a text is read like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedUrl(String);

impl SealedUrl {
    /// The URL that was sealed as `sealed`.
    pub fn new(sealed: String) -> Self {
        Self(sealed)
    }

    /// What it was sealed as.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
