//! Asks Twilio, again and again, for what it has not told us.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// The longest time between two looks at what is due.
const ROUND_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The shortest one.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Runs until it is dropped. With no times to ask at, there is nothing to do.
pub async fn run(app: Arc<App>) {
    let Some(first) = app.settings().reconcile_after.first() else { return };
    let interval = (*first / 4).clamp(ROUND_INTERVAL_MIN, ROUND_INTERVAL_MAX);
    loop {
        let mut pause = interval;
        // What has been spooled may be what would be asked for.
        if app.is_clear() {
            for account in app.accounts().all().iter() {
                let round = async {
                    app.plan_listing(&account.organization).await?;
                    app.reconcile(&account.organization).await
                };
                match round.await {
                    Ok(round) => {
                        if round.due > 0 {
                            tracing::debug!(organization = %account.organization, due = round.due, "reconciled");
                        }
                        pause = pause.max(round.pause.unwrap_or_default());
                    }
                    Err(error) => {
                        tracing::warn!(organization = %account.organization, %error, "the reconciler failed");
                    }
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
}
