//! Brings what was spooled to the store once that is back.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{app::App, store};

/// How often a store that is away is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often one that is not the known one is looked at.
const LOOK_AGAIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is said that the store is still away.
const REMINDER_INTERVAL: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    loop {
        app.incoming.replay_wanted().await;
        let gone = Instant::now();
        let mut reminded = gone;
        while let Err(error) = app.incoming.replay().await {
            if reminded.elapsed() >= REMINDER_INTERVAL {
                reminded = Instant::now();
                let spooled = app.incoming.spooled();
                tracing::error!(
                    %error, away_s = gone.elapsed().as_secs(), spooled = spooled.entries, "the store still cannot be used"
                );
            }
            let is_there = matches!(error, store::Error::NotKnown(_));
            tokio::time::sleep(if is_there { LOOK_AGAIN_INTERVAL } else { LOOK_INTERVAL }).await;
        }
        app.incoming.note_recovery();
    }
}
