//! Tells callers' own URLs what is to be told, some at a time.
//!
//! The relays of an organization are claimed as far as it has places free, so that receivers that answer slowly hold up
//! nobody but those of the same organization.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::jobs::{Jobs, every};
use crate::{
    app::App,
    domain::{Organization, Task},
    store,
};

/// The time between two looks at what is due: what this process stores is looked at at once, what others store or what is
/// to be tried again, so much later at the most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Calls that are under way for one organization.
const CALLED_AT_ONCE: usize = 32;

/// What is done for an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    /// Relays are claimed, once at a time.
    Claiming,
    /// One that was claimed is done, [`CALLED_AT_ONCE`] at a time.
    Calling,
}

type Job = (Organization, Work);

/// What came of a job.
enum Done {
    /// Relays were claimed, and there may be more.
    Claimed(Result<(Vec<Task>, bool), store::Error>),
    /// One was done, or planned for another time.
    Called(Result<(), store::Error>),
}

struct Relayer {
    app: Arc<App>,
    jobs: Jobs<Job, Done>,
    /// Organizations of which more may be due than was claimed.
    backlog: HashSet<Organization>,
}

/// Runs until the service stops. Calls that are under way then are finished, so that the receivers are not called again for
/// what they have heard.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut look = every(LOOK_INTERVAL);
    let mut relayer = Relayer { app: app.clone(), jobs: Jobs::of("relayer"), backlog: HashSet::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return relayer.jobs.finish().await,
            _ = look.tick() => relayer.look(),
            () = app.relays.wanted() => relayer.look(),
            ((organization, _), done) = relayer.jobs.next() => relayer.finish(organization, done),
        }
    }
}

impl Relayer {
    fn look(&mut self) {
        // What is to be told in a store that is not the known one was asked for by others.
        if self.app.store().known().mismatch().is_some() {
            return;
        }
        for account in self.app.accounts.all().iter() {
            self.claim(account.organization.clone());
        }
    }

    /// Begins to claim what is due, unless that is done already or there is no room.
    fn claim(&mut self, organization: Organization) {
        let (claiming, calling) =
            ((organization.clone(), Work::Claiming), (organization.clone(), Work::Calling));
        let room = CALLED_AT_ONCE.saturating_sub(self.jobs.running(&calling));
        // Whoever asks while it is done, or while there is no room, may know of something that is not seen by it.
        if room == 0 || self.jobs.running(&claiming) > 0 {
            self.backlog.insert(organization);
            return;
        }
        self.backlog.remove(&organization);
        let app = self.app.clone();
        self.jobs.begin(claiming, async move {
            Done::Claimed(app.relays.of(&organization).claim_relays(room).await)
        });
    }

    fn finish(&mut self, organization: Organization, done: Done) {
        match done {
            Done::Claimed(Ok((claimed, may_be_more))) => {
                if may_be_more {
                    self.backlog.insert(organization.clone());
                }
                for task in claimed {
                    self.call(organization.clone(), task);
                }
            }
            Done::Claimed(Err(error)) => {
                tracing::warn!(%organization, %error, "what is to be relayed could not be taken");
                // Left to the next look: the store is away.
                self.backlog.remove(&organization);
            }
            Done::Called(Ok(())) => {}
            Done::Called(Err(error)) => tracing::warn!(%organization, %error, "a relay is done again later"),
        }
        // What is due already is not left for the next look.
        if self.backlog.contains(&organization) {
            self.claim(organization);
        }
    }

    fn call(&mut self, organization: Organization, task: Task) {
        let app = self.app.clone();
        self.jobs.begin((organization.clone(), Work::Calling), async move {
            Done::Called(app.relays.of(&organization).relay(&task).await)
        });
    }
}
