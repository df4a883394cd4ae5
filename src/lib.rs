//! textledger stands between an application and Twilio.

pub mod clock;
pub mod domain;
pub mod store;
pub mod twilio;
