//! Looks after the spool: that it can be written before it is needed, and that nothing is left in those of processes that have
//! ended.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// How often it is looked after, and so how long what a process that has ended left is not in the store.
const ROUND_INTERVAL: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
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
    }
}
