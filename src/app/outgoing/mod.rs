//! Messages on their way out: asked for singly, in batches or as notices to users, taken from the queue, looked for when
//! Twilio's answer was lost.
//!
//! Whatever happens to one is a fact handed to [`advance`], which asks the rule of
//! [`domain::outgoing`](crate::domain::outgoing::rule), and is alone in making the steps that the rule decides.

pub(super) mod advance;
mod batch;
pub mod bulk;
mod call;
pub mod content;
mod destinations;
pub mod dispatch;
mod fallback;
pub mod held_traffic;
pub mod limits;
pub mod local_message;
mod lost_answer;
pub mod notify;
pub mod number_code;
pub mod pauses;
mod pumping;
mod room;
pub mod send;
pub mod traffic_decisions;
mod unreachable;
mod waiting;

use std::sync::Arc;

use tokio::sync::Notify;

use self::{advance::Steps, pauses::Pauses};
use super::{
    Core,
    accounts::Accounts,
    audit::Audit,
    consents::Consents,
    incoming::{intake::Intake, status::Statuses},
    reads::Reads,
    scope::scoped,
};
use crate::{
    domain::{MessageId, Person},
    twilio::{Address, client::Client},
};

/// Sends: now, or from the queue.
pub struct Outgoing {
    pub(super) core: Arc<Core>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) twilio: Client,
    pub(super) steps: Arc<Steps>,
    pub(super) consents: Arc<Consents>,
    pub(super) statuses: Arc<Statuses>,
    pub(super) reads: Arc<Reads>,
    pub(super) pauses: Arc<Pauses>,
    pub(super) intake: Arc<Intake>,
    pub(super) audit: Arc<Audit>,
    /// Notified when something has been put into the queue.
    pub(super) wanted: Notify,
}

scoped!(Outgoing, Steps);

impl Outgoing {
    /// Returns when something has been put into the queue by this process.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A new id of a message to `recipient`.
    fn new_id(&self, recipient: &Address) -> MessageId {
        MessageId::new(self.core.store.partition(&Person::of(recipient.bare())), rand::random())
    }
}
