//! Asks Twilio, again and again, for what it has not told us.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    app::{App, incoming::reconcile::Round},
    domain::{Organization, UnixMs},
    store,
};

/// The longest time between two looks at what is due.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The shortest one.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// What is done for an organization; either at most once at a time, so that none waits for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Asking,
    Listing,
}

type Finished = (Organization, Work, Result<Round, store::Error>);

/// What is under way. Dropping it ends that.
struct Reconciler {
    app: Arc<App>,
    working: JoinSet<Finished>,
    busy: HashSet<(Organization, Work)>,
    /// Organizations whose account Twilio wants to be left alone, each until when.
    resting: HashMap<Organization, Instant>,
}

/// Runs until it is dropped. With no times to ask at, there is nothing to do.
pub async fn run(app: Arc<App>) {
    let Some(first) = app.settings().reconcile_after.first() else { return };
    let mut look = tokio::time::interval((*first / 4).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL_MAX));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reconciler =
        Reconciler { app, working: JoinSet::new(), busy: HashSet::new(), resting: HashMap::new() };
    loop {
        tokio::select! {
            _ = look.tick() => reconciler.look(),
            Some(finished) = reconciler.working.join_next() => match finished {
                Ok(finished) => reconciler.finish(finished),
                Err(error) => {
                    tracing::error!(%error, "the reconciler's task failed");
                    // Whose it was is not told. What was claimed stays claimed, so that nothing is done twice.
                    reconciler.busy.clear();
                }
            },
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
        self.resting.retain(|_, until| *until > Instant::now());
        for account in self.app.accounts.all().iter() {
            self.ask(account.organization.clone());
        }
    }

    fn ask(&mut self, organization: Organization) {
        if self.resting.contains_key(&organization) || !self.begins(&organization, Work::Asking) {
            return;
        }
        let app = self.app.clone();
        self.working.spawn(async move {
            let asked = async {
                app.incoming.of(&organization).plan_listing().await?;
                app.incoming.of(&organization).reconcile().await
            };
            let asked = asked.await;
            (organization, Work::Asking, asked)
        });
    }

    fn list(&mut self, organization: Organization, due_at: UnixMs) {
        if !self.begins(&organization, Work::Listing) {
            return;
        }
        let app = self.app.clone();
        self.working.spawn(async move {
            let listed = app.incoming.of(&organization).list(due_at).await;
            let listed = listed.map(|pause| Round { pause, ..Round::default() });
            (organization, Work::Listing, listed)
        });
    }

    fn begins(&mut self, organization: &Organization, work: Work) -> bool {
        self.busy.insert((organization.clone(), work))
    }

    fn finish(&mut self, (organization, work, result): Finished) {
        self.busy.remove(&(organization.clone(), work));
        let round = match result {
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
            Some(pause) => drop(self.resting.insert(organization, Instant::now() + pause)),
            // What is due already is not left for the next look.
            None if round.more => self.ask(organization),
            None => {}
        }
    }
}
