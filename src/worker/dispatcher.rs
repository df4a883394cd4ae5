//! Takes messages out of the queue and hands them to Twilio, at their senders' pace.
//!
//! Each organization is looked at by itself, so that none waits for another's, and takes no more than its share
//! ([`super::shares`]). Within one, the urgent flows do not wait for the others.
//! A flow's sender has a pace that all instances share: time to send in is reserved in the store before a message leaves,
//! and messages whose time is far away are not taken. How far an instance may get ahead is bounded by [`AHEAD`].

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    jobs::{Jobs, every},
    shares::{self, Shares},
};
use crate::{
    app::{App, outgoing::dispatch::Dispatched},
    domain::{Flow, Organization},
    store::{self, outbox::DueFlows},
};

/// The time between two looks at what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often it is looked whether a sender's queue that rests goes on.
const REST_LOOK_INTERVAL: Duration = Duration::from_secs(5);

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

/// What is done for an organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Task {
    /// Its flows are asked for, the urgent ones or the others.
    Look { urgent: bool },
    /// A flow has its turn.
    Turn(Flow),
}

type Job = (Organization, Task);

/// What came of a job.
enum Done {
    Look(DueFlows),
    Turn(Flow, Turn),
}

struct Dispatcher {
    app: Arc<App>,
    stop: CancellationToken,
    /// One at a time of each.
    jobs: Jobs<Job, Result<Done, store::Error>>,
    shares: Shares,
    /// Where the next look begins, if not at the first flow.
    pages: HashMap<Job, usize>,
}

/// Runs until the service stops. Calls to Twilio that are under way then are finished: each one that was cut off would be a
/// lost answer, which is looked for before the message is sent again. There are never more than `calls_at_once` of them.
pub async fn run(app: Arc<App>, stop: CancellationToken, calls_at_once: usize) {
    let mut look = every(LOOK_INTERVAL);
    let mut dispatcher = Dispatcher {
        app: app.clone(),
        stop: stop.clone(),
        jobs: Jobs::of("dispatcher"),
        shares: Shares::of(calls_at_once),
        pages: HashMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return dispatcher.jobs.finish().await,
            _ = look.tick() => dispatcher.look(),
            () = app.outgoing.wanted() => dispatcher.look(),
            (job, done) = dispatcher.jobs.next() => dispatcher.finish(job, done),
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
        let accounts = self.app.accounts.all();
        self.shares.divide(accounts.len());
        for account in accounts.iter() {
            for urgent in [true, false] {
                self.look_at(account.organization.clone(), urgent);
            }
        }
    }

    fn look_at(&mut self, organization: Organization, urgent: bool) {
        let job = (organization.clone(), Task::Look { urgent });
        if self.jobs.running(&job) > 0 {
            return;
        }
        // Their turns follow each other. A job that panicked is not told of, so its place is filled here.
        if self.shares.is_line_long(&organization, urgent) {
            return self.take_turns(&organization, urgent);
        }
        let skip = self.pages.remove(&job).unwrap_or_default();
        let app = self.app.clone();
        self.jobs.begin(job, async move {
            let due = app.outgoing.of(&organization).due_flows(urgent, skip).await?;
            Ok(Done::Look(due))
        });
    }

    /// Puts `flow` into the line, unless it has its turn or has to wait.
    fn line_up(&mut self, organization: &Organization, flow: Flow) {
        let job = (organization.clone(), Task::Turn(flow.clone()));
        if !self.jobs.is_resting(&job) && self.jobs.running(&job) == 0 {
            self.shares.line_up(organization, flow);
        }
    }

    /// Gives turns to those that wait for one longest.
    fn take_turns(&mut self, organization: &Organization, urgent: bool) {
        while let Some((flow, share)) = self.shares.next(organization, urgent) {
            let job = (organization.clone(), Task::Turn(flow.clone()));
            let (app, stop, organization) = (self.app.clone(), self.stop.clone(), organization.clone());
            self.jobs.begin(job, async move {
                let turn = turn(&app, &stop, &organization, &flow, &share).await?;
                Ok(Done::Turn(flow, turn))
            });
        }
    }

    fn finish(&mut self, job: Job, done: Result<Done, store::Error>) {
        let (organization, task) = job.clone();
        match done {
            Ok(Done::Look(due)) => {
                for flow in due.flows {
                    self.line_up(&organization, flow);
                }
                if let Some(next) = due.next {
                    self.pages.insert(job, next);
                }
            }
            Ok(Done::Turn(_, Turn { pause: Some(pause), .. })) => self.jobs.rest(job, pause),
            // What is due already is not left for the next look while the line is short.
            Ok(Done::Turn(flow, Turn { taken: 1.., .. })) => self.shares.line_up_again(&organization, flow),
            Ok(Done::Turn(..)) => {}
            Err(error) => {
                let is_flow = matches!(task, Task::Turn(_));
                tracing::warn!(%organization, flow = is_flow, %error, "messages that wait could not be taken");
            }
        }
        let urgent = match task {
            Task::Look { urgent } => urgent,
            Task::Turn(flow) => flow.urgent,
        };
        self.take_turns(&organization, urgent);
    }
}

/// Takes messages of `flow` whose time has come, and hands them to Twilio, each when the sender's pace allows it. Those
/// that are not handed over when the service stops stay in the queue.
async fn turn(
    app: &App,
    stop: &CancellationToken,
    organization: &Organization,
    flow: &Flow,
    share: &shares::Turn,
) -> Result<Turn, store::Error> {
    if let Some(rest) = app.outgoing.of(organization).sender_rests(flow).await? {
        return Ok(Turn { taken: 0, pause: Some(rest.min(REST_LOOK_INTERVAL)) });
    }
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
            let wait = async {
                tokio::time::sleep(at.since(app.now_ms())).await;
                share.call().await
            };
            let Some(_call) = stop.run_until_cancelled(wait).await else { return Ok(Dispatched::Kept) };
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
