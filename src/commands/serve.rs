//! `textledger serve`.

use std::{path::Path, sync::Arc};

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{StopSignals, block_on, configure, say};
use crate::{clock::SystemClock, config::Config, startup::Service};

/// Runs until Ctrl-C or SIGTERM; requests under way are finished first, a second signal ends at once.
///
/// SIGHUP reads the configuration file again and takes over the accounts at Twilio in it: tokens, shared keys, senders.
/// Everything else stays as it was at the start. A file with faults changes nothing, nor does one without any account, if it does
/// not say `accounts = []`.
#[derive(Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(file)?;
        block_on(async {
            // Before the line that it listens is read: a signal that nobody waits for ends the process.
            let (mut hangup, mut stop) = (signal(SignalKind::hangup())?, StopSignals::new()?);
            let service = Service::start(config, Arc::new(SystemClock)).await?;
            // Scripts read the chosen ports from these lines, whatever the log's level and form.
            for (event, address) in [
                ("listening", Some(service.address)),
                ("listening_for_webhooks", service.webhook_address),
                ("listening_for_metrics", service.metrics_address),
            ] {
                if let Some(address) = address
                    && let Err(error) = say(json!({ "event": event, "address": address.to_string() }))
                {
                    tracing::warn!(%error, %address, event, "listening, but stdout is closed");
                }
            }
            tokio::select! {
                () = stop.next() => {}
                () = reload_when_asked(&service, file, &mut hangup) => {}
                error = service.store_lost() => {
                    // At once: nothing of what is under way could be stored, and Twilio does not repeat itself for long.
                    tracing::error!(%error, "ending: the store is lost to this process");
                    return Err(error);
                }
            }
            tracing::info!("stopping: requests under way are finished first");
            tokio::select! {
                stopped = service.stop() => stopped,
                () = stop.next() => Err(anyhow!("stopped at once by a second signal")),
            }?;
            tracing::info!("stopped");
            Ok(())
        })
    }
}

/// Reads the accounts again at every SIGHUP.
async fn reload_when_asked(service: &Service, file: Option<&Path>, hangup: &mut Signal) {
    while hangup.recv().await.is_some() {
        match Config::load(file) {
            Ok(config) => service.reload(&config).await,
            Err(faults) => tracing::error!(%faults, "the configuration has faults; nothing was changed"),
        }
    }
    std::future::pending::<()>().await;
}
