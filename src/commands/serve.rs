//! `textledger serve`.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::{asked_to_stop, block_on, configure, say};
use crate::startup::Service;

/// Runs until Ctrl-C or SIGTERM; requests under way are finished first, a second signal ends at once.
#[derive(Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(&self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        block_on(async {
            let service = Service::start(config).await?;
            // Scripts read the chosen port from this line, whatever the log's level and form.
            if let Err(error) = say(json!({ "event": "listening", "address": service.address.to_string() })) {
                tracing::warn!(%error, address = %service.address, "listening, but stdout is closed");
            }
            asked_to_stop().await?;
            tracing::info!("stopping: requests under way are finished first");
            tokio::select! {
                stopped = service.stop() => stopped,
                again = asked_to_stop() => again.and(Err(anyhow!("stopped at once by a second signal"))),
            }?;
            tracing::info!("stopped");
            Ok(())
        })
    }
}
