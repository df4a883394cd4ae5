//! textledger stands between an application and Twilio.

pub mod twilio;
