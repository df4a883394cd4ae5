//! What Twilio tells us: status callbacks and replies on their way into the store, and what is asked for because Twilio
//! did not tell it.

pub mod admission;
mod aside;
pub mod help;
pub mod intake;
pub mod reconcile;
mod replay;
pub mod reply;
pub mod status;
mod told;

use std::sync::Arc;

use self::{intake::Intake, status::Statuses};
use super::{
    Core, accounts::Accounts, consents::Consents, forwards::Forwards, reads::Reads, relays::Relays,
    scope::scoped,
};
use crate::{spool::Size, twilio::client::Client};

/// Takes what Twilio tells, and asks for what it did not tell.
pub struct Incoming {
    pub(super) core: Arc<Core>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) twilio: Client,
    pub(super) relays: Arc<Relays>,
    pub(super) forwards: Arc<Forwards>,
    pub(super) statuses: Arc<Statuses>,
    pub(super) consents: Arc<Consents>,
    pub(super) reads: Arc<Reads>,
    pub(super) intake: Arc<Intake>,
}

scoped!(Incoming, Statuses);

impl Incoming {
    /// How much waits in the spool.
    pub fn spooled(&self) -> Size {
        self.intake.spooled()
    }

    /// Why the spool would turn away what it was given now, if it would, in a word.
    pub fn spool_fault(&self) -> Option<&'static str> {
        self.intake.spool_fault()
    }

    /// How many records of the spool were lost, since their files were removed.
    pub fn spool_lost(&self) -> u64 {
        self.intake.spool_lost()
    }

    /// What is wrong with the store, in a word.
    pub fn store_fault(&self) -> Option<&'static str> {
        self.intake.store_fault()
    }

    /// How many records are put aside.
    pub fn aside(&self) -> usize {
        self.intake.aside()
    }

    /// Looks whether the spool can be written; [`Incoming::spool_fault`] then tells.
    pub async fn probe_spool(&self) {
        self.intake.probe_spool().await;
    }

    /// Whether the spool would take what Twilio tells while the store is away.
    pub async fn spool_takes(&self) -> bool {
        self.intake.spool_takes().await
    }

    /// Whether messages may leave: see [`Intake::is_clear`].
    pub fn is_clear(&self) -> bool {
        self.intake.is_clear()
    }
}
