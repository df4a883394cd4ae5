//! Asks Twilio, again and again, for what it has not told us.

use std::{sync::Arc, time::Duration};

use super::jobs::{Jobs, every};
use crate::{
    app::{App, incoming::reconcile::Round},
    domain::{Organization, UnixMs},
    store,
};

/// The longest time between two looks at what is due.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The shortest one.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What is done for an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Asking,
    Listing,
}

type Job = (Organization, Work);

struct Reconciler {
    app: Arc<App>,
    /// One at a time of each. Asking rests while Twilio wants the organization's account to be left alone.
    jobs: Jobs<Job, Result<Round, store::Error>>,
}

/// Runs until it is dropped. With no times to ask at, there is nothing to do.
pub async fn run(app: Arc<App>) {
    let Some(first) = app.settings().reconcile_after.first() else { return };
    let mut look = every((*first / 4).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX));
    let mut reconciler = Reconciler { app, jobs: Jobs::of("reconciler") };
    loop {
        tokio::select! {
            _ = look.tick() => reconciler.look(),
            (job, round) = reconciler.jobs.next() => reconciler.finish(job, round),
        }
    }
}

impl Reconciler {
    /// Begins to ask for every organization that it is not done for already.
    fn look(&mut self) {
        // What has been spooled may be what would be asked for.
        if !self.app.incoming.is_clear() {
            return;
        }
        for account in self.app.accounts.all().iter() {
            self.ask(account.organization.clone());
        }
    }

    fn ask(&mut self, organization: Organization) {
        let job = (organization.clone(), Work::Asking);
        if self.jobs.is_resting(&job) || self.jobs.running(&job) > 0 {
            return;
        }
        let app = self.app.clone();
        self.jobs.begin(job, async move {
            app.incoming.of(&organization).plan_listing().await?;
            app.incoming.of(&organization).reconcile().await
        });
    }

    fn list(&mut self, organization: Organization, due_at: UnixMs) {
        let job = (organization.clone(), Work::Listing);
        if self.jobs.running(&job) > 0 {
            return;
        }
        let app = self.app.clone();
        self.jobs.begin(job, async move {
            let pause = app.incoming.of(&organization).list(due_at).await?;
            Ok(Round { pause, ..Round::default() })
        });
    }

    fn finish(&mut self, (organization, _): Job, round: Result<Round, store::Error>) {
        let round = match round {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(%organization, %error, "the reconciler failed");
                return;
            }
        };
        if round.asked > 0 {
            tracing::debug!(%organization, asked = round.asked, "messages asked for");
        }
        if let Some(due_at) = round.listing {
            self.list(organization.clone(), due_at);
        }
        match round.pause {
            Some(pause) => self.jobs.rest((organization, Work::Asking), pause),
            // What is due already is not left for the next look.
            None if round.more => self.ask(organization),
            None => {}
        }
    }
}
