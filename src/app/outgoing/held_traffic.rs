//! What is held as a burst of first messages, and what an administrator decides on it.
//!
//! That a message may be held is written down before it is: under what its number begins with, so that all messages to a
//! block of numbers are found together. Whether it is held is told by its own state alone.
//!
//! A decision is stored before what is held is moved by it, and is asked for once more when a message has been stored as
//! held. So one of the two finds what is judged meanwhile, and who repeats a decision that a crash has cut short moves the
//! rest. It moves nothing on which a decision on fewer numbers says otherwise, and one message that cannot be read or moved
//! keeps none of the others where they are.

use std::{
    collections::{BTreeMap, btree_map},
    iter,
    time::Duration,
};

use futures_util::StreamExt;

use super::{
    Outgoing, Steps,
    advance::{Advanced, Occasion},
    traffic_decisions::TrafficError,
};
use crate::{
    app::Scope,
    domain::{
        MessageId, Outbound, OutboundState, Principal, UnixMs,
        audit::{Action, Facts, Origin, Subject},
        outgoing::{Fact, Suspicion},
        pumping::{Decision, NEAR_DIGITS, Prefix, Verdict},
    },
    store::{self, Kind, StoredOutbound, documents::DOCUMENTS_MAX},
};

/// How long it is known that a message may be held, after it was judged: longer than any is held between two judgements.
const NOTE_KEPT: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// The most messages that are looked at to tell what is held.
const TOLD_MAX: usize = 10_000;

/// Messages that are moved by a decision at the same time.
const MOVED_AT_ONCE: usize = 64;

/// What is held, and what is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTraffic {
    /// By blocks of numbers, those first of which most is held.
    pub blocks: Vec<HeldBlock>,
    /// Whether that is all: neither was there too much, nor a message or a decision that cannot be read.
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

impl Scope<'_, Outgoing> {
    /// What is held, and what is decided on first messages.
    pub async fn held_traffic(&self) -> Result<HeldTraffic, store::Error> {
        let steps = self.steps.of(self.organization);
        let mut blocks = BTreeMap::<String, HeldBlock>::new();
        let (mut after, mut looked_at, mut is_whole) = (None, 0, true);
        let is_at_end = loop {
            let notes = steps.notes(after.as_deref()).await?;
            let Some((last, _)) = notes.last() else { break true };
            after = Some(last.clone());
            looked_at += notes.len();
            let held = steps.held(notes).await?;
            is_whole &= held.is_whole;
            for (block, StoredOutbound { outbound, state, .. }) in held.messages {
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
        let stored = steps.stored_decisions().await?;
        let decisions = stored.decisions.in_force(self.core.now_ms()).cloned().collect();
        Ok(HeldTraffic { blocks, is_complete: is_at_end && is_whole && stored.is_whole, decisions })
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

    /// Those messages of `notes` that are held.
    async fn held(&self, notes: Vec<(String, String)>) -> Result<Held, store::Error> {
        let noted = notes.into_iter().filter_map(|(name, block)| Some((id_in_note(&name)?, block)));
        let (ids, blocks): (Vec<MessageId>, Vec<String>) = noted.unzip();
        let rows = self.core.store.outbound_rows(self.organization, &ids).await?;
        let mut held = Held { messages: Vec::with_capacity(ids.len()), is_whole: true };
        for (block, row) in blocks.into_iter().zip(rows) {
            match self.core.readable(self.organization, row) {
                Some(Some(stored)) if stored.state.is_held_as_suspicious() => {
                    held.messages.push((block, stored));
                }
                Some(_) => {}
                None => held.is_whole = false,
            }
        }
        Ok(held)
    }

    /// Moves what is held to numbers that begin with `prefix` and are decided on by `verdict`; how many are not held any
    /// more. If some could not be moved, the others are, and then that is an error.
    async fn move_held(&self, prefix: &Prefix, verdict: Verdict) -> Result<usize, store::Error> {
        let (mut moved, mut failed) = (0, None);
        for names in names_of_notes(prefix) {
            let mut after = names.clone();
            loop {
                let mut notes = self.notes(Some(&after)).await?;
                notes.retain(|(name, _)| name.starts_with(&names));
                let Some((last, _)) = notes.last() else { break };
                after = last.clone();
                let held = self.held(notes).await?;
                let (decisions, now) = (self.traffic_decisions().await?, self.core.now_ms());
                let concerned = held.messages.into_iter().filter(|(_, StoredOutbound { outbound, .. })| {
                    let number = outbound.to.bare().as_str();
                    number.starts_with(prefix.as_str()) && decisions.on(number, now) == Some(verdict)
                });
                let mut tried = futures_util::stream::iter(concerned)
                    .map(|(_, held)| async move { self.move_one(&held, verdict).await })
                    .buffer_unordered(MOVED_AT_ONCE);
                while let Some(tried) = tried.next().await {
                    match tried {
                        // Somebody else has moved it.
                        Ok(Advanced::Unmoved) => {}
                        Ok(_) => moved += 1,
                        Err(error) => failed = Some(error),
                    }
                }
            }
        }
        failed.map_or(Ok(moved), Err)
    }

    /// Moves one message that is held to a number which is decided on by `verdict`.
    async fn move_one(
        &self,
        StoredOutbound { outbound, state, .. }: &StoredOutbound,
        mut verdict: Verdict,
    ) -> Result<Advanced, store::Error> {
        if verdict == Verdict::Refuse {
            let person = self.core.store.consent(self.organization, &outbound.recipient()).await?;
            // Only strangers are refused. Who has become known since is none any more.
            if self.is_known(&person).await? {
                verdict = Verdict::Release;
            }
        }
        let occasion = Occasion::Known(Fact::TrafficDecided(verdict));
        self.advance(outbound, state, occasion, false).await
    }
}

/// What is held of some notes.
struct Held {
    /// Each with the block that it is held for.
    messages: Vec<(String, StoredOutbound)>,
    /// Whether that is all: of a message that cannot be read it is not known whether it is held.
    is_whole: bool,
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

/// What the names of all notes begin with that may be about numbers which begin with `prefix`: that itself, and as `prefix`
/// may be longer than what the note of such a number says of it, each whole beginning that such a note may have.
fn names_of_notes(prefix: &Prefix) -> Vec<String> {
    let prefix = prefix.as_str();
    let shorter = (1..=NEAR_DIGITS).filter_map(|left_out| prefix.get(..prefix.len().checked_sub(left_out)?));
    iter::once(prefix.to_owned()).chain(shorter.map(|shorter| format!("{shorter}{SEPARATOR}"))).collect()
}

fn id_in_note(name: &str) -> Option<MessageId> {
    name.rsplit_once(SEPARATOR)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_of_every_number_that_begins_so_is_looked_for() {
        let number = "+14155550123";
        let note = format!("{}{SEPARATOR}id", &number[..number.len() - NEAR_DIGITS]);
        for length in 2..=number.len() {
            let names = names_of_notes(&number[..length].parse().unwrap());
            let found = names.iter().filter(|names| note.starts_with(names.as_str())).count();
            assert_eq!(found, 1, "{names:?}");
        }
    }
}
