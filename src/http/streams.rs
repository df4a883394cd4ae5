//! How many live streams may be open: those of a caller, of an organization, and all.
//!
//! A stream keeps its connection for as long as its listener likes, so it would be the cheapest way to take all of them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    auth::Caller,
    problem::{Code, Problem},
};
use crate::{
    domain::{Organization, Principal},
    metrics::Metrics,
};

/// When it makes sense to ask again for a stream that was refused.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The most live streams that may be open.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Of one caller.
    pub per_caller: usize,
    /// Of one organization.
    pub per_organization: usize,
    /// In all.
    pub in_all: usize,
}

/// The open streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    limits: StreamLimits,
    metrics: Arc<Metrics>,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    in_all: usize,
    of_organizations: HashMap<Organization, usize>,
    of_callers: HashMap<(Organization, Principal), usize>,
}

impl Streams {
    /// None yet.
    pub fn new(limits: StreamLimits, metrics: Arc<Metrics>) -> Self {
        Self { limits, metrics, open: Arc::default() }
    }

    /// Counts one more stream of `caller` until what is returned is dropped; refuses it if that would be too many.
    pub(super) fn open(&self, caller: &Caller) -> Result<OpenStream, Problem> {
        let organization = caller.organization.clone();
        let who = (organization.clone(), caller.principal.clone());
        let mut open = self.lock();
        let of_caller = open.of_callers.get(&who).copied().unwrap_or_default();
        let of_organization = open.of_organizations.get(&organization).copied().unwrap_or_default();
        for (count, limit, whose, mend) in [
            (
                of_caller,
                self.limits.per_caller,
                "of this caller",
                "close streams that nobody reads; the operator may raise TEXTLEDGER_STREAMS_PER_CALLER",
            ),
            (
                of_organization,
                self.limits.per_organization,
                "of this organization",
                "close streams that nobody reads; the operator may raise TEXTLEDGER_STREAMS_PER_ORGANIZATION",
            ),
            (
                open.in_all,
                self.limits.in_all,
                "in all",
                "ask for pages without Accept: text/event-stream; the operator may raise TEXTLEDGER_STREAMS_MAX",
            ),
        ] {
            if count >= limit {
                let detail = format!("{count} live streams {whose} are open, and there may be no more");
                return Err(Problem::new(Code::TooManyStreams, detail, mend).retry_in(RETRY_AFTER));
            }
        }
        open.in_all += 1;
        *open.of_organizations.entry(organization).or_default() += 1;
        *open.of_callers.entry(who.clone()).or_default() += 1;
        self.metrics.event_streams(open.in_all);
        drop(open);
        Ok(OpenStream { streams: self.clone(), who })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that counts as open until this is dropped.
pub(super) struct OpenStream {
    streams: Streams,
    who: (Organization, Principal),
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.in_all -= 1;
        count_down(&mut open.of_organizations, &self.who.0);
        count_down(&mut open.of_callers, &self.who);
        self.streams.metrics.event_streams(open.in_all);
    }
}

/// One less of `whose`; who has none is forgotten.
fn count_down<K: Hash + Eq>(counts: &mut HashMap<K, usize>, whose: &K) {
    if let Some(count) = counts.get_mut(whose) {
        *count -= 1;
        if *count == 0 {
            counts.remove(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Role;

    #[test]
    fn each_bound_is_refused_by_its_name_and_freed_again() {
        let limits = StreamLimits { per_caller: 2, per_organization: 3, in_all: 4 };
        let streams = Streams::new(limits, Arc::new(Metrics::new()));
        let caller = |principal, organization: &str| Caller {
            principal,
            role: Role::Viewer,
            organization: Organization::parse(organization).unwrap(),
            expires_at: None,
            secret: None,
            public_key: None,
            own_number: None,
            request_id: None,
        };
        let open = |principal, organization| streams.open(&caller(principal, organization));
        let user = Principal::user;
        let refused = |result: Result<OpenStream, Problem>| {
            let problem = result.err().expect("there are too many");
            assert_eq!(problem.code(), Code::TooManyStreams);
            problem.detail().to_owned()
        };
        let first = open(user("ada"), "a").unwrap();
        let _second = open(user("ada"), "a").unwrap();
        assert!(refused(open(user("ada"), "a")).contains("of this caller"));
        // A key of the same name is another caller.
        let _third = open(Principal::api_key("ada"), "a").unwrap();
        assert!(refused(open(user("ben"), "a")).contains("of this organization"));
        let _fourth = open(user("ada"), "b").unwrap();
        assert!(refused(open(user("ada"), "c")).contains("in all"));
        drop(first);
        assert!(open(user("ben"), "a").is_ok());
        assert_eq!(streams.lock().in_all, 3);
        assert_eq!(streams.lock().of_callers.len(), 3);
    }
}
