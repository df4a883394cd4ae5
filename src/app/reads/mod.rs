//! What is known of messages and of many messages together, for those who read.

pub mod messages;
pub mod stats;
