//! Takes messages out of the queue and hands them to Twilio, at their senders' pace.
//!
//! Each organization is looked at by itself, so that none waits for another's. Within one, the urgent flows come first.
//! A flow's sender has a pace that all instances share: time to send in is reserved in the store before a message leaves,
//! and messages whose time is far away are not taken. How far an instance may get ahead is bounded by [`AHEAD`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    app::{App, outgoing::dispatch::Dispatched},
    domain::{Flow, Organization},
    store,
};

/// The time between two looks at what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How much of a sender's time an instance reserves at once: what is urgent waits for so long behind what is not.
const AHEAD: Duration = Duration::from_secs(1);

/// The most messages of a flow that are claimed at once.
const CLAIMED_MAX: usize = 100;

/// Calls to Twilio that are under way for one flow.
const CALLED_AT_ONCE: usize = 16;

/// What came of one turn of a flow.
#[derive(Debug, Default)]
struct Turn {
    /// Messages that were taken.
    taken: usize,
    /// When the flow's sender may go on, or Twilio wants to be called again.
    pause: Option<Duration>,
}

type Finished = (Organization, Option<Flow>, Result<Done, store::Error>);

/// What a piece of work has found out.
enum Done {
    Flows(Vec<Flow>),
    Turn(Turn),
}

/// What is under way. Dropping it ends that: what was claimed is claimed by others later.
struct Dispatcher {
    app: Arc<App>,
    working: JoinSet<Finished>,
    /// Organizations whose flows are being asked for (`None`), and flows that have their turn.
    busy: HashSet<(Organization, Option<Flow>)>,
    /// Flows that have to wait, each until when.
    resting: HashMap<(Organization, Flow), Instant>,
}

/// Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dispatcher = Dispatcher {
        app: app.clone(),
        working: JoinSet::new(),
        busy: HashSet::new(),
        resting: HashMap::new(),
    };
    loop {
        tokio::select! {
            _ = look.tick() => dispatcher.look(),
            () = app.outgoing.wanted() => dispatcher.look(),
            Some(finished) = dispatcher.working.join_next() => match finished {
                Ok(finished) => dispatcher.finish(finished),
                Err(error) => {
                    tracing::error!(%error, "the dispatcher's task failed");
                    // Whose it was is not told. What was claimed stays claimed, so that nothing is done twice.
                    dispatcher.busy.clear();
                }
            },
        }
    }
}

impl Dispatcher {
    /// Asks every organization for its flows that it is not asked for already.
    fn look(&mut self) {
        // What has been spooled may be an opt-out.
        if !self.app.incoming.is_clear() {
            return;
        }
        self.resting.retain(|_, until| *until > Instant::now());
        for account in self.app.accounts.all().iter() {
            self.look_at(account.organization.clone());
        }
    }

    fn look_at(&mut self, organization: Organization) {
        if !self.busy.insert((organization.clone(), None)) {
            return;
        }
        let app = self.app.clone();
        self.working.spawn(async move {
            let flows = app.outgoing.of(&organization).due_flows().await.map(Done::Flows);
            (organization, None, flows)
        });
    }

    fn take_turn(&mut self, organization: Organization, flow: Flow) {
        let resting = self.resting.contains_key(&(organization.clone(), flow.clone()));
        if resting || !self.busy.insert((organization.clone(), Some(flow.clone()))) {
            return;
        }
        let app = self.app.clone();
        self.working.spawn(async move {
            let turn = turn(&app, &organization, &flow).await.map(Done::Turn);
            (organization, Some(flow), turn)
        });
    }

    fn finish(&mut self, (organization, flow, result): Finished) {
        self.busy.remove(&(organization.clone(), flow.clone()));
        match (result, flow) {
            (Ok(Done::Flows(flows)), _) => {
                for flow in flows {
                    self.take_turn(organization.clone(), flow);
                }
            }
            (Ok(Done::Turn(turn)), Some(flow)) => {
                if let Some(pause) = turn.pause {
                    self.resting.insert((organization, flow), Instant::now() + pause);
                } else if turn.taken > 0 {
                    // What is due already is not left for the next look.
                    self.take_turn(organization, flow);
                }
            }
            (Ok(Done::Turn(_)), None) => {}
            (Err(error), flow) => {
                tracing::warn!(%organization, flow = flow.is_some(), %error, "messages that wait could not be taken");
            }
        }
    }
}

/// Takes messages of `flow` whose time has come, and hands them to Twilio, each when the sender's pace allows it.
async fn turn(app: &App, organization: &Organization, flow: &Flow) -> Result<Turn, store::Error> {
    // How far its sender is ahead already: an urgent message does not wait for that.
    let free_at = app.outgoing.of(organization).reserve_pace(flow.sender.as_ref(), 0).await?;
    let ahead = free_at.since(app.now_ms());
    if ahead > AHEAD && !flow.urgent {
        return Ok(Turn { taken: 0, pause: Some(ahead - AHEAD) });
    }
    let per_segment = app.settings().limits.time_of(flow.sender.as_ref(), 1);
    let fitting = AHEAD.as_micros().div_ceil(per_segment.as_micros().max(1));
    let limit = usize::try_from(fitting).unwrap_or(CLAIMED_MAX).clamp(1, CLAIMED_MAX);
    let claimed = app.outgoing.of(organization).claim_due(flow, limit).await?;
    let taken = claimed.len();
    let segments = claimed.iter().map(|stored| stored.outbound.segments.max(1)).sum();
    let mut starts_at = app.outgoing.of(organization).reserve_pace(flow.sender.as_ref(), segments).await?;
    let dispatched = claimed.into_iter().map(|stored| {
        let at = starts_at;
        let takes = app.settings().limits.time_of(flow.sender.as_ref(), stored.outbound.segments);
        starts_at += takes;
        async move {
            tokio::time::sleep(at.since(app.now_ms())).await;
            app.outgoing.of(organization).dispatch(&stored).await
        }
    });
    let mut dispatched = futures_util::stream::iter(dispatched).buffer_unordered(CALLED_AT_ONCE);
    let mut pause = None;
    while let Some(dispatched) = dispatched.next().await {
        match dispatched {
            Ok(Dispatched::Busy(delay)) => pause = pause.max(Some(delay)),
            Ok(Dispatched::Called | Dispatched::Kept) => {}
            // The calls of the others go on: their answers must not be lost for this one.
            Err(error) => {
                tracing::warn!(%organization, %error, "a message that waits is looked at again later");
                pause = pause.max(Some(LOOK_INTERVAL));
            }
        }
    }
    Ok(Turn { taken, pause })
}
