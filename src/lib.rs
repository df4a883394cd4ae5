//! textledger stands between an application and Twilio.
//!
//! The layers, from the top; each names only what is below it, which `tests/it/tidy.rs` holds:
//!
//! - [`commands`]: the command line. [`startup`] puts the service together and knows every concrete type.
//! - [`http`]: the doors for the application, for Twilio and for people. [`worker`]: loops that run beside the requests.
//!   Neither has rules.
//! - [`app`]: what the service does, a service for each noun. It alone calls Twilio.
//! - [`store`]: where state is kept: promises, and two stores that keep them. [`spool`]: what has to be acknowledged while
//!   the store is away.
//! - [`domain`]: the rules, pure: who may be sent to, how far a message has come, what moves one on its way out.
//! - [`twilio`]: Twilio's protocol, usable alone; [`simulator`] stands in for Twilio.
//!
//! Beside them: [`config`] reads the settings; [`clock`], [`metrics`], [`open_files`], [`phone`], [`printable`],
//! [`public_host`], [`redis_address`], [`sampling`], [`sealing`] and [`telemetry`] are leaves. `docs/ARCHITECTURE.md` follows a send, a callback
//! and a STOP through all of it.

pub mod app;
pub mod clock;
pub mod commands;
pub mod config;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod open_files;
pub mod phone;
pub mod printable;
pub mod public_host;
pub mod redis_address;
pub mod sampling;
pub mod sealing;
pub mod simulator;
pub mod spool;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod twilio;
pub mod worker;
