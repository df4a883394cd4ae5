//! What persons and users wish, as it is recorded, imported, exported and chosen in preferences.

pub mod csv;
pub mod preferences;
pub mod record;
