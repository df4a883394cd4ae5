//! Tells callers' own URLs what is to be told, some at a time.
//!
//! The relays of an organization are claimed as far as it has places free, so that receivers that answer slowly hold up
//! nobody but those of the same organization.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::MissedTickBehavior};

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

/// A piece of work that has ended.
enum Finished {
    /// Relays were claimed, of as many as there was room for.
    Claimed { organization: Organization, room: usize, claimed: Result<Vec<Task>, store::Error> },
    /// One was done, or planned for another time.
    Relayed { organization: Organization, result: Result<(), store::Error> },
}

/// What is under way. Dropping it ends that: what was claimed is claimed by others later.
struct Relayer {
    app: Arc<App>,
    working: JoinSet<Finished>,
    /// Organizations whose relays are being claimed.
    claiming: HashSet<Organization>,
    /// Organizations of which more may be due than was claimed.
    backlog: HashSet<Organization>,
    /// Calls that are under way.
    calling: HashMap<Organization, usize>,
}

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut relayer = Relayer {
        app: app.clone(),
        working: JoinSet::new(),
        claiming: HashSet::new(),
        backlog: HashSet::new(),
        calling: HashMap::new(),
    };
    loop {
        tokio::select! {
            _ = look.tick() => relayer.look(),
            () = app.relays.wanted() => relayer.look(),
            Some(finished) = relayer.working.join_next() => match finished {
                Ok(finished) => relayer.finish(finished),
                Err(error) => {
                    tracing::error!(%error, "the relayer's task failed");
                    // Whose it was is not told. What was claimed stays claimed, so that nothing is done twice.
                    relayer.claiming.clear();
                    relayer.calling.clear();
                }
            },
        }
    }
}

impl Relayer {
    fn look(&mut self) {
        for account in self.app.accounts.all().iter() {
            self.claim(account.organization.clone());
        }
    }

    /// Begins to claim what is due, unless that is done already or there is no room.
    fn claim(&mut self, organization: Organization) {
        let room = CALLED_AT_ONCE.saturating_sub(self.calling.get(&organization).copied().unwrap_or(0));
        // Whoever asks while it is done, or while there is no room, may know of something that is not seen by it.
        if room == 0 || !self.claiming.insert(organization.clone()) {
            self.backlog.insert(organization);
            return;
        }
        self.backlog.remove(&organization);
        let app = self.app.clone();
        self.working.spawn(async move {
            let claimed = app.relays.of(&organization).claim_relays(room).await;
            Finished::Claimed { organization, room, claimed }
        });
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Claimed { organization, room, claimed } => {
                self.claiming.remove(&organization);
                match claimed {
                    Ok(claimed) => {
                        if claimed.len() == room {
                            self.backlog.insert(organization.clone());
                        }
                        for task in claimed {
                            self.relay(organization.clone(), task);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%organization, %error, "what is to be relayed could not be taken");
                        // Left to the next look: the store is away.
                        self.backlog.remove(&organization);
                    }
                }
                self.go_on(organization);
            }
            Finished::Relayed { organization, result } => {
                if let Err(error) = result {
                    tracing::warn!(%organization, %error, "a relay is done again later");
                }
                if let Some(calling) = self.calling.get_mut(&organization) {
                    *calling = calling.saturating_sub(1);
                }
                self.go_on(organization);
            }
        }
    }

    /// What is due already is not left for the next look.
    fn go_on(&mut self, organization: Organization) {
        if self.backlog.contains(&organization) {
            self.claim(organization);
        }
    }

    fn relay(&mut self, organization: Organization, task: Task) {
        *self.calling.entry(organization.clone()).or_default() += 1;
        let app = self.app.clone();
        self.working.spawn(async move {
            let result = app.relays.of(&organization).relay(&task).await;
            Finished::Relayed { organization, result }
        });
    }
}
