//! Looks after the spool: that it can be written before it is needed, that nothing is left in those of processes that have
//! ended, and that what was put aside is stored once it can be.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// How often it is looked after, and so how long what a process that has ended left is not in the store.
const ROUND_INTERVAL: Duration = Duration::from_secs(5);

/// How often what is put aside is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    tokio::join!(look_after(&app), retry_aside(&app), know_aside(&app));
}

async fn look_after(app: &App) {
    let mut told = None;
    loop {
        tokio::time::sleep(ROUND_INTERVAL).await;
        app.incoming.probe_spool().await;
        let fault = app.incoming.take_over_spools().await.err().map(|error| error.to_string());
        if let Some(error) = fault.as_ref().filter(|_| fault != told) {
            tracing::error!(
                error,
                mend = "make the folders of TEXTLEDGER_SPOOL_DIR readable and writable for this process",
                "what processes that have ended left in the spool cannot be taken over"
            );
        } else if fault.is_none() && told.is_some() {
            tracing::info!("what processes that have ended leave in the spool can be taken over again");
        }
        told = fault;
        app.incoming.note_recovery();
    }
}

/// Tries what is put aside again, at the start and then at intervals.
async fn retry_aside(app: &App) {
    loop {
        while app.incoming.store_fault() == Some("away") {
            tokio::time::sleep(ROUND_INTERVAL).await;
        }
        // If the store is away, or the disk refuses, others say so; it is tried again.
        if let Err(error) = app.incoming.retry_aside().await {
            tracing::debug!(%error, "what is put aside could not be tried again");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Learns what other processes that share the spool put aside: nobody is sent to of whom that is.
async fn know_aside(app: &App) {
    loop {
        tokio::time::sleep(ROUND_INTERVAL).await;
        if let Err(error) = app.incoming.know_aside().await {
            tracing::debug!(%error, "what is put aside could not be looked at");
        }
    }
}
