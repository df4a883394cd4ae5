//! Asks Twilio again about saved settings that it could not be asked about when they were saved.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// How often it is looked for settings that are due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if let Err(error) = app.accounts.verify_pending().await {
            // That the store is away is said by those who need it more.
            tracing::debug!(%error, "saved settings could not be verified");
        }
    }
}
