//! What is kept no longer than the operator wants: messages, and entries of the streams.
//!
//! By age alone, and never an entry younger. A message goes once nothing has been recorded of it for as long as things are kept and
//! nothing is left to be done for it; until then it stays whole, but for entries of the streams that are older. The audit stays: it
//! is only added to. Documents end by themselves.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{Core, Scope, outgoing::advance::Steps, scope::scoped};
use crate::{
    domain::{BatchId, EventId, HistoryId, MessageId, MessageRef, OutboundState, UnixMs},
    store::{self, EVENTS_PAGE_MAX, Forget, retention::FORGOTTEN_MAX},
};

pub use crate::store::Removed;

/// How often everything of an organization is looked through, by whichever instance comes first.
const RUN_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The counter that says that it has been.
const CLAIM: &str = "retention";

/// Takes away what is older than it is to be.
pub struct Retention {
    core: Arc<Core>,
    steps: Arc<Steps>,
}

scoped!(Retention);

/// One look through everything that an organization has.
pub struct Run {
    /// What is older goes.
    cutoff: UnixMs,
    stage: Stage,
    removed: Removed,
    /// Batches of which something waits, and that are kept for longer.
    kept: HashSet<BatchId>,
}

enum Stage {
    /// The streams, from their oldest entries.
    Events,
    /// The messages behind this one.
    Messages(HistoryId),
    Done,
}

/// Messages of the history that are old, by what is to become of them.
#[derive(Default)]
struct Sorted {
    /// Nothing is left to be done for them.
    ended: Vec<(HistoryId, MessageRef)>,
    /// The batches of those that wait.
    waiting: Vec<BatchId>,
}

impl Run {
    /// Whether everything has been looked at.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// What it has taken away.
    pub fn removed(&self) -> Removed {
        self.removed
    }
}

impl Retention {
    /// The service.
    pub(super) fn new(core: Arc<Core>, steps: Arc<Steps>) -> Self {
        Self { core, steps }
    }

    /// Begins to look through everything, at what is too old now.
    pub fn begin(&self) -> Run {
        let (stage, removed, kept) = (Stage::Events, Removed::default(), HashSet::new());
        Run { cutoff: self.cutoff(), stage, removed, kept }
    }

    fn cutoff(&self) -> UnixMs {
        self.core.now_ms() - self.core.settings.retention
    }
}

impl Scope<'_, Retention> {
    /// Whether it is time to look through everything again, and nobody else has begun to.
    pub async fn claim(&self) -> Result<bool, store::Error> {
        let claimed = self.core.store.count(self.organization, CLAIM, 1, RUN_INTERVAL).await?;
        Ok(claimed.is_some())
    }

    /// Takes `run` a step further. If it fails, the same step may be tried again.
    pub async fn step(&self, run: &mut Run) -> Result<(), store::Error> {
        match run.stage {
            Stage::Events => {
                let (removed, more) = self.core.store.trim_events(self.organization, run.cutoff).await?;
                self.note(run, removed);
                if !more {
                    run.stage = Stage::Messages(HistoryId::at(UnixMs::EPOCH));
                }
            }
            Stage::Messages(after) => {
                let page = self
                    .core
                    .store
                    .oldest_messages(self.organization, after, run.cutoff, FORGOTTEN_MAX)
                    .await?;
                let Some(last) = page.last().map(|(place, _)| *place) else {
                    run.stage = Stage::Done;
                    return Ok(());
                };
                let messages = page.into_iter().filter_map(|(place, name)| {
                    // One that cannot be read stays: a later version may have entered it.
                    Some((place, self.core.readable(self.organization, name)?))
                });
                let sorted = self.sort(messages.collect(), run.cutoff).await?;
                let which = Forget::HeardBefore(run.cutoff);
                let removed =
                    self.core.store.forget_messages(self.organization, &sorted.ended, which).await?;
                self.note(run, removed);
                for batch in sorted.waiting {
                    if run.kept.insert(batch.clone()) {
                        self.steps.of(self.organization).keep_batch(&batch).await?;
                    }
                }
                run.stage = Stage::Messages(last);
            }
            Stage::Done => {}
        }
        Ok(())
    }

    /// How old the oldest is that `run` has left, beyond what it is to be.
    pub async fn behind(&self, run: &Run) -> Result<Duration, store::Error> {
        Ok(match run.stage {
            Stage::Done => Duration::ZERO,
            Stage::Messages(after) => run.cutoff.since(after.ms),
            Stage::Events => {
                let oldest = self.core.store.events(self.organization, EventId::START, 1).await?;
                oldest.first().map_or(Duration::ZERO, |(id, _)| run.cutoff.since(id.ms))
            }
        })
    }

    /// What a run would take away that began now. Nothing is changed.
    pub async fn would_remove(&self) -> Result<Removed, store::Error> {
        let cutoff = self.cutoff();
        let mut all = Removed::default();
        let mut after = EventId::START;
        loop {
            let page = self.core.store.events(self.organization, after, EVENTS_PAGE_MAX).await?;
            let is_last = page.len() < EVENTS_PAGE_MAX || page.last().is_some_and(|(id, _)| id.ms >= cutoff);
            for (id, _) in page.into_iter().filter(|(id, _)| id.ms < cutoff) {
                all += Removed::entries(id.stream, 1);
                after = id;
            }
            if is_last {
                break;
            }
        }
        let mut after = HistoryId::at(UnixMs::EPOCH);
        loop {
            let page =
                self.core.store.oldest_messages(self.organization, after, cutoff, FORGOTTEN_MAX).await?;
            let Some(last) = page.last().map(|(place, _)| *place) else { return Ok(all) };
            let messages = page.into_iter().filter_map(|(place, name)| Some((place, name.ok()?)));
            let ended = self.sort(messages.collect(), cutoff).await?.ended;
            all += Removed::messages(self.unheard(&ended, cutoff).await?);
            after = last;
        }
    }

    /// Sorts messages that were entered before `cutoff`.
    async fn sort(
        &self,
        messages: Vec<(HistoryId, MessageRef)>,
        cutoff: UnixMs,
    ) -> Result<Sorted, store::Error> {
        let ids = ids_of(&messages);
        let mut rows = self.core.store.outbound_rows(self.organization, &ids).await?.into_iter();
        let mut sorted = Sorted::default();
        for (place, name) in messages {
            if let MessageRef::Id(_) = name {
                let row = rows.next().unwrap_or(Ok(None));
                // One that cannot be read may wait.
                let Some(stored) = self.core.readable(self.organization, row) else { continue };
                // Without a trace of what was asked for, a removal was broken off.
                if let Some(stored) = stored {
                    match stored.state.resolved_at() {
                        Some(at) if at < cutoff => {}
                        Some(_) => continue,
                        None => {
                            sorted.waiting.extend(stored.outbound.batch);
                            continue;
                        }
                    }
                }
            }
            sorted.ended.push((place, name));
        }
        Ok(sorted)
    }

    /// Of how many of `messages` nothing was recorded since `cutoff`.
    async fn unheard(
        &self,
        messages: &[(HistoryId, MessageRef)],
        cutoff: UnixMs,
    ) -> Result<u64, store::Error> {
        let rows = self.core.store.outbound_rows(self.organization, &ids_of(messages)).await?;
        let of_ours = rows.into_iter().flatten().flatten().filter_map(|stored| match stored.state {
            OutboundState::Accepted { message_sid, .. } => Some(message_sid),
            _ => None,
        });
        let of_others = messages.iter().filter_map(|(_, name)| match name {
            MessageRef::Sid(sid) => Some(sid.clone()),
            MessageRef::Id(_) => None,
        });
        let sids: Vec<_> = of_ours.chain(of_others).collect();
        let deliveries = self.core.store.deliveries(self.organization, &sids).await?;
        let heard = deliveries
            .iter()
            .flatten()
            .filter(|delivery| delivery.seen.iter().any(|seen| seen.entry.0 >= cutoff));
        Ok((messages.len() - heard.count()) as u64)
    }

    fn note(&self, run: &mut Run, removed: Removed) {
        run.removed += removed;
        self.core.metrics.retention_removed(&removed.by_kind());
    }
}

fn ids_of(messages: &[(HistoryId, MessageRef)]) -> Vec<MessageId> {
    let ids = messages.iter().filter_map(|(_, name)| match name {
        MessageRef::Id(id) => Some(*id),
        MessageRef::Sid(_) => None,
    });
    ids.collect()
}
