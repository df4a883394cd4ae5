//! Messages on their way out: asked for singly, in batches or as notices to users, taken from the queue, looked for when
//! Twilio's answer was lost.
//!
//! Whatever happens to one is a fact handed to [`advance`], which asks the rule of
//! [`domain::outgoing`](crate::domain::outgoing::rule), and is alone in making the steps that the rule decides.

mod advance;
pub mod bulk;
mod call;
pub mod content;
pub mod dispatch;
mod fallback;
pub mod limits;
pub mod local_message;
mod lost_answer;
pub mod notify;
pub mod send;
