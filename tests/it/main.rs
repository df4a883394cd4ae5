//! The integration tests, as one program: it links once.

mod signature;
mod webhook;
