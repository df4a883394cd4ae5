//! Follows the settings and API keys that other instances save.

use std::{sync::Arc, time::Duration};

use crate::{app::App, store};

/// How often it is asked whether settings or keys have changed, and so how long another instance may use the former ones.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let mut is_away = false;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match follow(&app).await {
            Ok(()) if is_away => {
                is_away = false;
                tracing::info!("the saved settings and API keys can be read again");
            }
            Ok(()) => {}
            // Said once, and not with every look.
            Err(error) if !is_away => {
                is_away = true;
                tracing::warn!(%error, "the saved settings and API keys cannot be read: those known so far are used");
            }
            Err(_) => {}
        }
    }
}

async fn follow(app: &App) -> Result<(), store::Error> {
    app.accounts.follow_settings().await?;
    app.api_keys.follow().await?;
    app.api_keys.write_last_uses().await
}
