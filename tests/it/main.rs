//! The integration tests: one binary, so that it links once and shares its support.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it has to be")]

mod api;
mod at_rest;
mod bad_input;
mod browser;
mod clients;
mod commands;
mod conformance;
mod document;
mod dropin;
mod faults;
mod packaging;
mod races;
mod replies;
mod retention;
mod schema;
mod sdk;
mod signature;
mod simulator;
mod snippets;
mod stories;
mod support;
mod tidy;
mod time;
mod webhook;
