//! How much is looked for in webhooks that name no account.
//!
//! A request names its account, and is verified with that account's keys alone. One that names none may have been signed
//! by any of them, which strangers can make expensive. So the likely spelling of a short URL is always tried, and costs
//! next to nothing; anything further is tried a few times a second for each peer. Behind a reverse proxy all peers are
//! one, Twilio among them; so nothing that Twilio is known to send may depend on this budget.

use std::{net::IpAddr, num::NonZeroU32};

use governor::{Quota, RateLimiter, clock::DefaultClock, state::keyed::DefaultKeyedStateStore};

use super::connections::network_of;

/// Counts the unsigned requests of each peer that were looked into.
pub struct UnsignedBudget(RateLimiter<Option<IpAddr>, DefaultKeyedStateStore<Option<IpAddr>>, DefaultClock>);

impl UnsignedBudget {
    /// At most `per_second` requests of each peer.
    pub fn new(per_second: u32) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::keyed(Quota::per_second(rate)))
    }

    /// Counts a request of `peer`: whether it may still be looked into.
    pub fn count(&self, peer: Option<IpAddr>) -> bool {
        self.0.check_key(&peer.map(network_of)).is_ok()
    }

    /// Forgets those who have not asked for so long that it makes no difference.
    pub fn forget(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_budget_with_all_addresses_of_its_network() {
        let budget = UnsignedBudget::new(2);
        let counted = |address: &str| budget.count(Some(address.parse().unwrap()));
        assert!(counted("2001:db8:1:2::1") && counted("2001:db8:1:2:ffff::2"));
        assert!(!counted("2001:db8:1:2:3::"));
        assert!(counted("2001:db8:1:3::1"));
        assert!(counted("192.0.2.1") && counted("::ffff:192.0.2.1"));
        assert!(!counted("192.0.2.1") && counted("192.0.2.2"));
        assert!(budget.count(None));
        budget.forget();
        assert!(!counted("192.0.2.1"));
    }
}
