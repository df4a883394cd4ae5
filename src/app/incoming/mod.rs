//! What Twilio tells us: status callbacks and replies on their way into the store, and what is asked for because Twilio
//! did not tell it.

pub mod admission;
pub mod intake;
pub mod reconcile;
pub mod reply;
mod status;
