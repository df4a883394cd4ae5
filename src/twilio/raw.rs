//! JSON as Twilio wrote it, to be handed on unread.

use std::fmt;

use serde_json::Value;

/// JSON as Twilio wrote it: it may hold texts and numbers, so `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Raw(pub Value);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
}
