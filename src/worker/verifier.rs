//! Asks Twilio again about saved settings that it could not be asked about when they were saved.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often it is looked for settings that are due.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until the service stops. What Twilio has answered then is still put in force and written down.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
        if let Err(error) = app.accounts.verify_pending(&stop).await {
            // That the store is away is said by those who need it more.
            tracing::debug!(%error, "saved settings could not be verified");
        }
    }
}
