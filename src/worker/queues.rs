//! Measures how much waits in the queues of all organizations.

use std::{sync::Arc, time::Duration};

use super::jobs::every;
use crate::{app::App, domain::Organization, store::Queued};

/// The time between two looks: as often as Prometheus usually asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Runs until the service stops.
pub async fn run(app: Arc<App>) {
    let mut look = every(LOOK_INTERVAL);
    loop {
        look.tick().await;
        let mut all = Queued::default();
        let organizations: Vec<Organization> =
            app.accounts.all().iter().map(|account| account.organization.clone()).collect();
        for organization in &organizations {
            // A store that is away is told of by whoever needs it.
            if let Ok(queued) = app.store().queued(organization).await {
                all.messages += queued.messages;
                all.bytes += queued.bytes;
            }
        }
        app.metrics().queued(all.messages, all.bytes);
    }
}
