//! What is known of messages and of many messages together, for those who read.

pub mod messages;
pub mod stats;

use std::sync::Arc;

use super::{Core, scope::scoped};

/// Reads what is known of messages.
pub struct Reads {
    core: Arc<Core>,
}

scoped!(Reads);

impl Reads {
    /// The service.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}
