//! What persons and users wish, as it is recorded, imported, exported and chosen in preferences or on a
//! page that a link leads to.

mod by_error;
pub mod csv;
pub mod link;
pub mod own_page;
pub mod preferences;
pub mod reassigned;
pub mod record;
pub mod reviews;
pub mod suppressions;
mod upgrade;

use std::sync::Arc;

use super::{Core, outgoing::advance::Steps, scope::scoped};

/// Records what persons and users wish.
pub struct Consents {
    core: Arc<Core>,
    steps: Arc<Steps>,
}

scoped!(Consents);

impl Consents {
    /// The service, over those that it uses.
    pub(super) fn new(core: Arc<Core>, steps: Arc<Steps>) -> Self {
        Self { core, steps }
    }
}
