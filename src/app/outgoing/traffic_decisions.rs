//! What administrators have decided on first messages: stored, read, and remembered for a moment.
//!
//! What the guard against pumping judges is judged by the decisions as they are stored. What it leaves alone is asked for as
//! well, since who refuses a block wants nothing to leave to it: by what was read last, so that a message of which nobody
//! has decided anything costs no read.
//!
//! A decision that cannot be read decides nothing, and neither stops a message nor hides the others. The next one that is
//! stored takes it away: an administrator mends that way what is damaged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Steps;
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        Organization, UnixMs,
        audit::Entry,
        pumping::{Decision, Decisions, Prefix, TooManyDecisions},
    },
    store::{self, DocumentChange, Kind, Row, Unreadable},
};

/// How long decisions are used after they were read before they are read again, and so how long an instance may not know
/// of what another one has stored.
const REMEMBERED: Duration = Duration::from_millis(500);

/// The name of the document with an organization's decisions.
const DECISIONS: &str = "all";

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

/// The decisions of each organization as they were last read, and when.
#[derive(Default)]
pub(super) struct LastRead(Mutex<HashMap<Organization, (UnixMs, Arc<Decisions>)>>);

impl LastRead {
    /// What is known of `organization` and not too old at `now`.
    fn get(&self, organization: &Organization, now: UnixMs) -> Option<Arc<Decisions>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, decisions) = all.get(organization)?;
        // A clock that was set back tells no age.
        (*at..*at + REMEMBERED).contains(&now).then(|| decisions.clone())
    }

    /// Takes in what was asked for at `at`, unless something is known that is newer.
    fn put(&self, organization: &Organization, at: UnixMs, decisions: Arc<Decisions>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(organization) {
            Some(known) if known.0 <= at => *known = (at, decisions),
            Some(_) => {}
            None => drop(all.insert(organization.clone(), (at, decisions))),
        }
    }
}

/// The decisions of an organization as they are stored.
pub(super) struct StoredDecisions {
    text: Option<String>,
    /// Those that can be read.
    pub(super) decisions: Decisions,
    /// Whether that is all of them.
    pub(super) is_whole: bool,
}

/// Each decision in `text`.
fn decisions_in(text: &str) -> Vec<Row<Decision>> {
    let unreadable =
        |record: String, error: serde_json::Error| Unreadable { record, error: error.to_string() };
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Ok(stored) => {
            let read = stored.into_iter().map(serde_json::from_value).zip(1..);
            read.map(|(decision, number)| {
                decision.map_err(|error| unreadable(format!("decision {number} on traffic"), error))
            })
            .collect()
        }
        Err(error) => vec![Err(unreadable("the decisions on traffic".to_owned(), error))],
    }
}

impl Scope<'_, Steps> {
    /// What is decided on first messages.
    pub(super) async fn traffic_decisions(&self) -> Result<Decisions, store::Error> {
        Ok(self.stored_decisions().await?.decisions)
    }

    /// The same as it was a moment ago.
    pub(super) async fn recent_traffic_decisions(&self) -> Result<Arc<Decisions>, store::Error> {
        let now = self.core.now_ms();
        if let Some(known) = self.decisions.get(self.organization, now) {
            return Ok(known);
        }
        let decisions = Arc::new(self.traffic_decisions().await?);
        self.decisions.put(self.organization, now, decisions.clone());
        Ok(decisions)
    }

    /// What is stored.
    pub(super) async fn stored_decisions(&self) -> Result<StoredDecisions, store::Error> {
        let text = self.core.store.document(self.organization, Kind::TrafficDecisions, DECISIONS).await?;
        let rows = text.as_deref().map(decisions_in).unwrap_or_default();
        let is_whole = rows.iter().all(Result::is_ok);
        let decisions =
            rows.into_iter().filter_map(|row| self.core.readable(self.organization, row)).collect();
        Ok(StoredDecisions { text, decisions, is_whole })
    }

    /// Stores `decision` in the place of what was decided on `prefix` before, and if that changes anything, `entry` with it.
    pub(super) async fn store_decision(
        &self,
        prefix: &Prefix,
        decision: Option<Decision>,
        entry: &Entry,
    ) -> Result<(), TrafficError> {
        for _ in 0..DECISIONS_MAX {
            let now = self.core.now_ms();
            let StoredDecisions { text: before, decisions, .. } = self.stored_decisions().await?;
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
                self.decisions.put(self.organization, self.core.now_ms(), Arc::new(decisions));
                return Ok(());
            }
        }
        Err(contended().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Principal, pumping::Verdict};

    fn at(ms: u64) -> UnixMs {
        UnixMs::new(ms)
    }

    #[test]
    fn what_was_read_is_used_for_a_moment_and_never_hides_what_was_decided_meanwhile() {
        let (last_read, organization) = (LastRead::default(), Organization::default());
        assert_eq!(last_read.get(&organization, at(1_000)), None);
        let none = Arc::new(Decisions::default());
        last_read.put(&organization, at(1_000), none.clone());
        assert_eq!(last_read.get(&organization, at(1_499)), Some(none.clone()));
        assert_eq!([999, 1_500].map(|now| last_read.get(&organization, at(now))), [None, None]);
        let refused = Decision {
            prefix: "+4479".parse().unwrap(),
            verdict: Verdict::Refuse,
            until: at(9_000),
            by: Principal::user("ada"),
            at: at(1_600),
        };
        let decided = Arc::new(Decisions::default().with(refused).unwrap());
        last_read.put(&organization, at(1_600), decided.clone());
        // It was asked for before the decision, and answered after it.
        last_read.put(&organization, at(1_599), none);
        assert_eq!(last_read.get(&organization, at(1_600)), Some(decided));
        assert_eq!(last_read.get(&Organization::installation(), at(1_600)), None);
    }
}
