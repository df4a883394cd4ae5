//! Tells the applications of all organizations what happens: each endpoint by itself, so that one that is slow or away holds up no other.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::jobs::{Jobs, every};
use crate::{
    app::{
        App,
        forwards::{EventJson, Step},
    },
    domain::Organization,
    store,
};

/// The time between two looks at what is to be told: what this process records is told at once, what others record or what is to
/// be tried again, so much later at the most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An endpoint of an organization.
type Endpoint = (Organization, String);

struct Forwarder {
    app: Arc<App>,
    json: EventJson,
    jobs: Jobs<Endpoint, Result<Step, store::Error>>,
    /// Endpoints for which somebody asked while they were told something.
    asked_again: HashSet<Endpoint>,
}

/// Runs until the service stops; `json` writes an event as the API shows it. Calls that are under way then are finished.
pub async fn run(app: Arc<App>, json: EventJson, stop: CancellationToken) {
    let mut look = every(LOOK_INTERVAL);
    let mut forwarder =
        Forwarder { app: app.clone(), json, jobs: Jobs::of("forwarder"), asked_again: HashSet::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return forwarder.jobs.finish().await,
            _ = look.tick() => forwarder.look(|_| true),
            woken = app.forwards.wanted() => forwarder.look(|organization| woken.contains(organization)),
            (endpoint, done) = forwarder.jobs.next() => forwarder.finish(endpoint, done),
        }
    }
}

impl Forwarder {
    fn look(&mut self, is_looked_at: impl Fn(&Organization) -> bool) {
        // What happened in a store that is not the known one is told by others.
        if self.app.store().known().mismatch().is_some() {
            return;
        }
        for account in self.app.accounts.all().iter().filter(|account| is_looked_at(&account.organization)) {
            for endpoint in &account.settings.forward {
                self.tell((account.organization.clone(), endpoint.id.clone()));
            }
        }
    }

    fn tell(&mut self, endpoint: Endpoint) {
        if self.jobs.running(&endpoint) > 0 {
            self.asked_again.insert(endpoint);
            return;
        }
        let (app, json, of) = (self.app.clone(), self.json, endpoint.clone());
        self.jobs.begin(endpoint, async move {
            let (organization, id) = &of;
            app.forwards.of(organization).tell_some(id, json).await
        });
    }

    fn finish(&mut self, endpoint: Endpoint, done: Result<Step, store::Error>) {
        let asked_again = self.asked_again.remove(&endpoint);
        match done {
            Ok(Step::More) => self.tell(endpoint),
            Ok(Step::Idle) if asked_again => self.tell(endpoint),
            Ok(Step::Idle) => {}
            Err(error) => {
                let (organization, endpoint) = endpoint;
                tracing::warn!(%organization, endpoint, %error, "the application is told later what has happened");
            }
        }
    }
}
