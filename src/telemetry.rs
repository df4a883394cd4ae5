//! Logs: JSON lines on stderr, or readable text on a terminal.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("TEXTLEDGER_LOG must be a tracing filter such as info or textledger=debug: {0}")]
pub struct InvalidFilter(tracing_subscriber::filter::ParseError);

/// Starts logging by `filter`. Later calls in the same process change nothing.
pub fn start(filter: &str) -> Result<(), InvalidFilter> {
    let filter = EnvFilter::try_new(filter).map_err(InvalidFilter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start in one process finds the first one's subscriber in place.
    drop(if io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    });
    Ok(())
}
