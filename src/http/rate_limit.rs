//! How often a caller may call: by name once it is known who calls, else by address, so that keys cannot be guessed
//! quickly either.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock, state::keyed::DefaultKeyedStateStore};

use super::{
    auth::Caller,
    connections::network_of,
    problem::{Code, Problem},
};
use crate::{
    domain::{Organization, Person, Principal},
    twilio::BareAddress,
};

/// How many seconds' worth of requests may come at once.
const BURST_S: u32 = 5;

/// How often callers are forgotten who have not called for a while.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(30);

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// A user of an organization, or a service with an API key.
    Known(Organization, Principal),
    /// Whoever has a link to the page of a person's consent.
    Link(Organization, Person),
    /// Somebody without a valid token, in a network.
    Unknown(Option<IpAddr>),
}

/// Counts the requests of every caller.
pub struct RateLimit(RateLimiter<Who, DefaultKeyedStateStore<Who>, governor::clock::DefaultClock>);

impl RateLimit {
    /// At most `per_second` requests of each caller, and [`BURST_S`] times as many at once.
    pub fn new(per_second: u32) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = rate.saturating_mul(NonZeroU32::new(BURST_S).expect("the burst is not zero"));
        Self(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
    }

    /// Counts a request of `caller`; refuses it if there were too many.
    pub fn count(&self, caller: &Caller) -> Result<(), Problem> {
        self.count_of(Who::Known(caller.organization.clone(), caller.principal.clone()))
    }

    /// Counts a request by a link of `person`'s.
    pub fn count_link(&self, organization: &Organization, person: &BareAddress) -> Result<(), Problem> {
        self.count_of(Who::Link(organization.clone(), Person::of(person)))
    }

    /// Counts a request without a valid token.
    pub fn count_unknown(&self, peer: Option<IpAddr>) -> Result<(), Problem> {
        self.count_of(Who::Unknown(peer.map(network_of)))
    }

    fn count_of(&self, who: Who) -> Result<(), Problem> {
        self.0.check_key(&who).map_err(|too_early| {
            let wait = too_early.wait_time_from(self.0.clock().now());
            let problem = Problem::new(
                Code::RateLimited,
                "this caller makes too many requests",
                "wait as long as Retry-After says; the operator may raise TEXTLEDGER_API_RATE",
            );
            problem.retry_in(wait)
        })
    }

    /// Forgets those who have not called for so long that it makes no difference.
    pub fn forget(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Role;

    #[test]
    fn a_caller_may_call_in_bursts_and_is_nobody_else() {
        let limit = RateLimit::new(2);
        let caller = |user: &str| Caller {
            principal: Principal::user(user),
            role: Role::Sender,
            organization: Organization::default(),
            secret: None,
            public_key: None,
            own_number: None,
            request_id: None,
            expires_at: None,
        };
        let ada = caller("ada");
        let counted = (0..100).filter(|_| limit.count(&ada).is_ok()).count();
        assert!((10..=12).contains(&counted), "{counted}");
        assert!(limit.count(&ada).is_err());
        assert!(limit.count(&caller("ben")).is_ok());
        // A service whose key is called like a user is somebody else.
        assert!(limit.count(&Caller { principal: Principal::api_key("ada"), ..ada.clone() }).is_ok());
        assert!(limit.count_unknown(None).is_ok());
        limit.forget();
        assert!(limit.count(&ada).is_err());
    }

    #[test]
    fn strangers_in_one_network_are_counted_together() {
        let limit = RateLimit::new(2);
        let unknown = |address: &str| limit.count_unknown(Some(address.parse().unwrap()));
        let counted = (0..100).filter(|host| unknown(&format!("2001:db8::{host:x}")).is_ok()).count();
        assert!((10..=12).contains(&counted), "{counted}");
        assert!(unknown("2001:db8:0:1::1").is_ok());
    }
}
