//! Measures how much waits in the queues of all organizations.

use std::{sync::Arc, time::Duration};

use super::jobs::every;
use crate::{
    app::App,
    domain::Organization,
    store::{self, Queued},
};

/// The time between two looks: as often as Prometheus usually asks.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Runs until the service stops.
pub async fn run(app: Arc<App>) {
    let mut look = every(LOOK_INTERVAL);
    loop {
        look.tick().await;
        // A store that is away is told of by whoever needs it. What was found last stays: the sum of some organizations
        // would look as if the others' queues were empty.
        if let Ok(all) = queued(&app).await {
            app.metrics().queued(all.messages, all.bytes);
        }
    }
}

/// How much waits for all organizations together.
async fn queued(app: &App) -> Result<Queued, store::Error> {
    let organizations: Vec<Organization> =
        app.accounts.all().iter().map(|account| account.organization.clone()).collect();
    let mut all = Queued::default();
    for organization in &organizations {
        let queued = app.store().queued(organization).await?;
        all.messages += queued.messages;
        all.bytes += queued.bytes;
    }
    Ok(all)
}
