//! What textledger knows and the rules by which it changes: pure, without IO, clock or randomness.

pub mod account;
pub mod api_key;
pub mod category;
pub mod consent;
pub mod delivery;
mod empty_text;
pub mod event;
pub mod history;
pub mod message_id;
pub mod organization;
pub mod outgoing;
pub mod pace;
pub mod placeholder_sid;
pub mod quiet_hours;
pub mod replies;
pub mod rights;
pub mod role;
pub mod stats;
pub mod task;
mod time;

pub use account::{AccountSettings, NamedSecret};
pub use api_key::ApiKey;
pub use consent::Consent;
pub use delivery::{Delivery, Source, StatusChange};
pub use event::{Event, EventId, Stream};
pub use history::{HistoryId, MessageRef};
pub use message_id::{BatchId, MessageId};
pub use organization::Organization;
pub use outgoing::{Flow, Hold, Outbound, OutboundState, Refusal, Sender, Standing};
pub use quiet_hours::QuietHours;
pub use replies::Replies;
pub use rights::Actor;
pub use role::{Right, Role};
pub use task::{Task, TaskLine};
pub use time::UnixMs;
