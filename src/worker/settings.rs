//! Follows the settings and API keys that other instances save, and writes down when keys were used.

use std::{sync::Arc, time::Duration};

use crate::{app::App, store};

/// How often it is asked whether settings or keys have changed, and so how long another instance may use the former ones.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    // Each on its own, so that a revoked key ends in time, whatever the others wait for or fail with.
    tokio::join!(follow_keys(&app), follow_settings(&app), write_last_uses(&app));
}

async fn follow_keys(app: &App) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        told.note("the API keys", "read", app.api_keys.follow().await);
    }
}

async fn follow_settings(app: &App) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        told.note("the saved settings", "read", app.accounts.follow_settings().await);
    }
}

async fn write_last_uses(app: &App) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        told.note("the last uses of API keys", "written down", app.api_keys.write_last_uses().await);
    }
}

/// What the log has told last.
#[derive(Default)]
struct Told {
    is_away: bool,
}

impl Told {
    /// Tells when `what` cannot be `done` any more, and when it can again: once, and not with every look.
    fn note(&mut self, what: &str, done: &str, result: Result<(), store::Error>) {
        match result {
            Ok(()) if self.is_away => {
                self.is_away = false;
                tracing::info!("{what} can be {done} again");
            }
            // The store's own line tells of that.
            Err(store::Error::NotKnown(_)) => {}
            Err(error) if !self.is_away => {
                self.is_away = true;
                tracing::warn!(%error, "{what} cannot be {done}: what is known here counts until they can");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
