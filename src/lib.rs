//! textledger stands between an application and Twilio.

pub mod app;
pub mod clock;
pub mod commands;
pub mod config;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod phone;
pub mod public_host;
pub mod sealing;
pub mod simulator;
pub mod spool;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod twilio;
pub mod worker;
