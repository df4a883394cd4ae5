//! The integration tests: one binary, so that it links once and shares its support.

mod conformance;
mod signature;
mod support;
