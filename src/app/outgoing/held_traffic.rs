//! What is held as a burst of first messages, and what an administrator decides on it.
//!
//! That a message may be held is written down before it is: under what its number begins with, so that all messages to a
//! block of numbers are found together. Whether it is held is told by its own state alone.
//!
//! A decision is stored before what is held is moved by it. So what is judged meanwhile finds it, and who repeats a decision
//! that a crash has cut short moves the rest.

use std::{
    collections::{BTreeMap, btree_map},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};

use super::{Outgoing, Steps, advance::Occasion};
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        MessageId, Outbound, OutboundState, Principal, UnixMs,
        audit::{Action, Entry, Facts, Origin, Subject},
        outgoing::{Fact, Suspicion},
        pumping::{Decision, Decisions, NEAR_DIGITS, Prefix, TooManyDecisions, Verdict},
    },
    store::{self, DocumentChange, Kind, StoredOutbound, documents::DOCUMENTS_MAX},
};

/// How long it is known that a message may be held, after it was judged: longer than any is held between two judgements.
const NOTE_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The most messages that are looked at to tell what is held.
const TOLD_MAX: usize = 10_000;

/// Messages that are moved by a decision at the same time.
const MOVED_AT_ONCE: usize = 64;

/// The name of the document with an organization's decisions.
const DECISIONS: &str = "all";

/// What is held, and what is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTraffic {
    /// By blocks of numbers, those first of which most is held.
    pub blocks: Vec<HeldBlock>,
    /// Whether that is all.
    pub is_complete: bool,
    /// The decisions in force.
    pub decisions: Vec<Decision>,
}

/// What is held of one block of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBlock {
    /// What its numbers begin with.
    pub prefix: String,
    /// How many messages are held.
    pub held: usize,
    /// Since when the first of them is.
    pub since: UnixMs,
    /// Since when the last of them is.
    pub last_held_at: UnixMs,
    /// How many of them each caller has asked for.
    pub actors: BTreeMap<Option<Principal>, usize>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// There are as many decisions as there may be.
    #[error(transparent)]
    TooMany(#[from] TooManyDecisions),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Scope<'_, Outgoing> {
    /// What is held, and what is decided on first messages.
    pub async fn held_traffic(&self) -> Result<HeldTraffic, store::Error> {
        let steps = self.steps.of(self.organization);
        let mut blocks = BTreeMap::<String, HeldBlock>::new();
        let (mut after, mut looked_at) = (None, 0);
        let is_complete = loop {
            let notes = steps.notes(after.as_deref()).await?;
            let Some((last, _)) = notes.last() else { break true };
            after = Some(last.clone());
            looked_at += notes.len();
            for (block, StoredOutbound { outbound, state, .. }) in steps.held(notes).await? {
                let since = match state {
                    OutboundState::Waiting { suspicion: Some(Suspicion::Since(since)), .. } => since,
                    _ => outbound.created_at,
                };
                let known = match blocks.entry(block) {
                    btree_map::Entry::Occupied(known) => known.into_mut(),
                    btree_map::Entry::Vacant(new) => {
                        let prefix = new.key().clone();
                        let actors = BTreeMap::new();
                        new.insert(HeldBlock { prefix, held: 0, since, last_held_at: since, actors })
                    }
                };
                known.held += 1;
                known.since = known.since.min(since);
                known.last_held_at = known.last_held_at.max(since);
                *known.actors.entry(outbound.actor).or_default() += 1;
            }
            if looked_at >= TOLD_MAX {
                break false;
            }
        };
        let mut blocks: Vec<HeldBlock> = blocks.into_values().collect();
        blocks.sort_by_key(|block| std::cmp::Reverse(block.held));
        let (_, decisions) = steps.stored_decisions().await?;
        let decisions = decisions.in_force(self.core.now_ms()).cloned().collect();
        Ok(HeldTraffic { blocks, is_complete, decisions })
    }

    /// Decides on first messages to the numbers that begin with `prefix`, for as long as `lasts`; with no verdict, what was
    /// decided before ends, and they are judged as all others. Returns how many messages that were held are not any more.
    pub async fn decide_on_traffic(
        &self,
        by: &Origin,
        prefix: &Prefix,
        verdict: Option<Verdict>,
        lasts: Duration,
    ) -> Result<usize, TrafficError> {
        let steps = self.steps.of(self.organization);
        let now = self.core.now_ms();
        let decision = verdict.map(|verdict| {
            let by = by.principal().clone();
            Decision { prefix: prefix.clone(), verdict, until: now + lasts, by, at: now }
        });
        let (action, for_s) = match verdict {
            Some(Verdict::Release) => (Action::TrafficRelease, Some(lasts.as_secs())),
            Some(Verdict::Refuse) => (Action::TrafficRefuse, Some(lasts.as_secs())),
            None => (Action::TrafficJudge, None),
        };
        let entry = by.entry(action).about(Subject::Numbers(prefix.clone()));
        steps.store_decision(prefix, decision, &entry.with(Facts { for_s, ..Facts::default() })).await?;
        let Some(verdict) = verdict else { return Ok(0) };
        let moved = steps.move_held(prefix, verdict).await?;
        self.wanted.notify_one();
        Ok(moved)
    }
}

impl Scope<'_, Steps> {
    /// What is decided on first messages.
    pub(super) async fn traffic_decisions(&self) -> Result<Decisions, store::Error> {
        Ok(self.stored_decisions().await?.1)
    }

    /// The text that is stored, and what it says.
    async fn stored_decisions(&self) -> Result<(Option<String>, Decisions), store::Error> {
        let text = self.core.store.document(self.organization, Kind::TrafficDecisions, DECISIONS).await?;
        let decisions = text.as_ref().map(|text| store::decode("the decisions on traffic", text));
        Ok((text.clone(), decisions.transpose()?.unwrap_or_default()))
    }

    /// Stores `decision` in the place of what was decided on `prefix` before, and if that changes anything, `entry` with it.
    async fn store_decision(
        &self,
        prefix: &Prefix,
        decision: Option<Decision>,
        entry: &Entry,
    ) -> Result<(), TrafficError> {
        for _ in 0..DECISIONS_MAX {
            let now = self.core.now_ms();
            let (before, decisions) = self.stored_decisions().await?;
            let decisions = match &decision {
                Some(decision) => decisions.with(decision.clone())?,
                None => decisions.without(prefix, now),
            };
            let keep = decisions.last_end().map(|end| end.since(now));
            let after = keep.map(|_| store::encode(&decisions));
            if before == after {
                return Ok(());
            }
            let (before, after) = (before.as_deref(), after.as_deref());
            let change = DocumentChange { kind: Kind::TrafficDecisions, name: DECISIONS, before, after };
            let store = &self.core.store;
            if store.change_with_entry(self.organization, &[change], keep, Some(entry)).await? {
                audit::log(self.organization, entry);
                return Ok(());
            }
        }
        Err(contended().into())
    }

    /// Writes down that `outbound` is about to be held as one of a burst to `block`.
    pub(super) async fn note_held(&self, outbound: &Outbound, block: &str) -> Result<(), store::Error> {
        let (kind, name) = (Kind::HeldTraffic, note_name(outbound));
        let before = self.core.store.document(self.organization, kind, &name).await?;
        let (before, after, keep) = (before.as_deref(), Some(block), Some(NOTE_KEPT));
        self.core.store.change_document(self.organization, kind, &name, before, after, keep).await.map(drop)
    }

    /// Forgets that `outbound` was held. What is not forgotten now ends by itself.
    pub(super) async fn forget_held(&self, outbound: &Outbound) {
        let forgotten = async {
            let (kind, name) = (Kind::HeldTraffic, note_name(outbound));
            let before = self.core.store.document(self.organization, kind, &name).await?;
            let before = before.as_deref();
            self.core.store.change_document(self.organization, kind, &name, before, None, None).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(organization = %self.organization, id = %outbound.id, %error, "that a message was held is forgotten later");
        }
    }

    /// The first notes behind `after`.
    async fn notes(&self, after: Option<&str>) -> Result<Vec<(String, String)>, store::Error> {
        self.core.store.documents(self.organization, Kind::HeldTraffic, after, DOCUMENTS_MAX).await
    }

    /// Those messages of `notes` that are held, each with the block that it is held for.
    async fn held(
        &self,
        notes: Vec<(String, String)>,
    ) -> Result<Vec<(String, StoredOutbound)>, store::Error> {
        let noted = notes.into_iter().filter_map(|(name, block)| Some((id_in_note(&name)?, block)));
        let (ids, blocks): (Vec<MessageId>, Vec<String>) = noted.unzip();
        let known = self.core.store.outbounds(self.organization, &ids).await?;
        let known = blocks.into_iter().zip(known);
        Ok(known
            .filter_map(|(block, stored)| {
                stored.filter(|stored| stored.state.is_held_as_suspicious()).map(|stored| (block, stored))
            })
            .collect())
    }

    /// Hands `verdict` to every message that is held to numbers that begin with `prefix`; how many are not held any more.
    async fn move_held(&self, prefix: &Prefix, verdict: Verdict) -> Result<usize, store::Error> {
        let (mut after, mut moved) = (prefix.as_str().to_owned(), 0);
        loop {
            let mut notes = self.notes(Some(&after)).await?;
            notes.retain(|(name, _)| name.starts_with(prefix.as_str()));
            let Some((last, _)) = notes.last() else { return Ok(moved) };
            after = last.clone();
            let held = self.held(notes).await?;
            moved += held.len();
            futures_util::stream::iter(held)
                .map(|(_, StoredOutbound { outbound, state, .. })| async move {
                    let occasion = Occasion::Known(Fact::TrafficDecided(verdict));
                    self.advance(&outbound, &state, occasion, false).await
                })
                .buffer_unordered(MOVED_AT_ONCE)
                .try_for_each(|_| std::future::ready(Ok(())))
                .await?;
        }
    }
}

/// What stands between what a number begins with and a message's id: before all digits, so that names are in the order of
/// what they begin with.
const SEPARATOR: char = '/';

/// The name of the note about `outbound`. It holds no person's number: the nearest neighbours share it.
fn note_name(outbound: &Outbound) -> String {
    let number = outbound.to.bare().as_str();
    let prefix = &number[..number.len().saturating_sub(NEAR_DIGITS)];
    format!("{prefix}{SEPARATOR}{}", outbound.id)
}

fn id_in_note(name: &str) -> Option<MessageId> {
    name.rsplit_once(SEPARATOR)?.1.parse().ok()
}
