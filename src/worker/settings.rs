//! Follows the settings that other instances save.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// How often it is asked whether settings have changed, and so how long another instance may use the former ones.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match app.accounts.follow_settings().await {
            Ok(()) if is_away => {
                is_away = false;
                tracing::info!("the saved settings can be read again");
            }
            Ok(()) => {}
            // Said once, and not with every look.
            Err(error) if !is_away => {
                is_away = true;
                tracing::warn!(%error, "the saved settings cannot be read: those known so far are used");
            }
            Err(_) => {}
        }
    }
}
