//! Requests that are refused for who makes them: counted, logged in samples, and slowed down.
//!
//! Keys and tokens cannot be guessed, but whoever tries should be seen, and should not cost much. Whoever has a valid one
//! is signed in before anything here is asked, so that nobody is turned away for what others do at the same address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};

use super::{
    State,
    connections::network_of,
    dropin::errors::ApiError,
    problem::{Code, Problem},
};
use crate::{domain::Principal, metrics::SignInRefusal, sampling::Sampled};

/// Lines in the log for each cause, a minute.
const LINES_PER_MINUTE: u32 = 10;

/// Wrong keys and tokens from one address that are answered at once: more than a service with an outdated key, and its
/// colleagues behind the same proxy, send before somebody looks.
const FAILURES_FREE: u32 = 300;

/// How long it takes for one failure to be forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The longest time that a further failure has to wait.
const WAIT_MAX: Duration = Duration::from_secs(64);

/// The most addresses whose failures are counted. Who comes from more is not slowed down, which costs less than to
/// remember all of them.
const PEERS_MAX: usize = 10_000;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cause {
    SignIn(SignInRefusal),
    Role,
    Rate,
}

/// Keeps count of who failed to sign in.
pub struct SignIns {
    peers: Mutex<HashMap<IpAddr, Failures>>,
    lines: Sampled<Cause>,
}

impl Default for SignIns {
    fn default() -> Self {
        Self { peers: Mutex::default(), lines: Sampled::new(LINES_PER_MINUTE) }
    }
}

/// The failures from one address.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// When the last of them was, or was forgiven.
    counted_at: Instant,
    wait_until: Instant,
}

impl Failures {
    /// What is left of them at `now`.
    fn forgiven_at(self, now: Instant) -> Self {
        let forgiven = now.duration_since(self.counted_at).as_secs() / FORGIVEN_AFTER.as_secs();
        match u32::try_from(forgiven).ok().and_then(|forgiven| self.count.checked_sub(forgiven)) {
            None | Some(0) => Self { count: 0, counted_at: now, ..self },
            Some(count) => {
                let counted_at = self.counted_at + FORGIVEN_AFTER * (self.count - count);
                Self { count, counted_at, ..self }
            }
        }
    }
}

impl SignIns {
    /// The answer to a request whose maker is nobody.
    pub(super) fn refuse(&self, state: &State, request: &HttpRequest, refusal: SignInRefusal) -> Problem {
        state.app.metrics().sign_in_refused(refusal);
        let peer = request.peer_addr().map(|peer| peer.ip());
        if let Some(left_out) = self.lines.note(Cause::SignIn(refusal)) {
            let (_, peer, route) = about(request);
            tracing::warn!(cause = refusal.as_str(), peer, route, left_out, "a sign-in was refused");
        }
        let is_guess = match refusal {
            SignInRefusal::NoCredentials => false,
            SignInRefusal::StoreUnavailable => {
                return Problem::new(
                    Code::StoreUnavailable,
                    "whether this API key is good cannot be known while the store is away",
                    "try again in a moment; tokens are checked without the store",
                );
            }
            SignInRefusal::UnknownKey
            | SignInRefusal::EndedKey
            | SignInRefusal::BadToken
            | SignInRefusal::ExpiredToken
            | SignInRefusal::WrongAccount => true,
        };
        let wait = peer.filter(|_| is_guess).and_then(|peer| self.failed(peer, Instant::now()));
        match wait {
            Some(wait) => Problem::new(
                Code::RateLimited,
                "too many wrong keys and tokens came from this address",
                "wait as long as Retry-After says; a valid key or token is taken at any time",
            )
            .retry_in(wait),
            None => state.rate_limit.count_unknown(peer).err().unwrap_or_else(Problem::unauthorized),
        }
    }

    /// Counts a failure from `peer`. Returns how long it has to wait if there were too many.
    fn failed(&self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network_of(peer);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            return None;
        }
        let fresh = Failures { count: 0, counted_at: now, wait_until: now };
        let failures = peers.entry(peer).or_insert(fresh);
        if now < failures.wait_until {
            return Some(failures.wait_until - now);
        }
        *failures = failures.forgiven_at(now);
        failures.count += 1;
        let too_many = failures.count.checked_sub(FAILURES_FREE + 1)?;
        let wait = Duration::from_secs(1).saturating_mul(1 << too_many.min(10)).min(WAIT_MAX);
        // Those that wait are not counted again, so the count grows by one for each wait.
        failures.count = failures.count.min(FAILURES_FREE + 10);
        failures.wait_until = now + wait;
        Some(wait)
    }

    /// Forgets whose failures are all forgiven.
    pub fn forget(&self) {
        let now = Instant::now();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, failures| failures.forgiven_at(now).count > 0 || now < failures.wait_until);
        peers.shrink_to_fit();
    }

    /// Tells that `request` was one too many of its maker's.
    pub(super) fn note_rate(&self, state: &State, request: &HttpRequest) {
        state.app.metrics().rate_limited();
        if let Some(left_out) = self.lines.note(Cause::Rate) {
            let (actor, peer, route) = about(request);
            tracing::warn!(actor, peer, route, left_out, "a caller made too many requests");
        }
    }

    /// Tells that the role of `request`'s maker was not enough for it.
    fn note_role(&self, state: &State, request: &HttpRequest) {
        state.app.metrics().role_refused();
        if let Some(left_out) = self.lines.note(Cause::Role) {
            let (actor, peer, route) = about(request);
            tracing::warn!(actor, peer, route, left_out, "a caller's role was not enough");
        }
    }
}

/// Who made a request, from where and for what: neither of the two latter holds anything that the maker wrote.
fn about(request: &HttpRequest) -> (Option<String>, Option<String>, Option<String>) {
    let actor = request.extensions().get::<Principal>().map(ToString::to_string);
    (actor, request.peer_addr().map(|peer| peer.ip().to_string()), request.match_pattern())
}

/// Counts and logs callers whose role was not enough.
pub(super) async fn watch(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let response = next.call(request).await?;
    let is_of_role = response.response().error().is_some_and(|error| {
        error.as_error::<Problem>().is_some_and(|problem| problem.code() == Code::Forbidden)
            || error.as_error::<ApiError>().is_some_and(ApiError::is_of_role)
    });
    if let (true, Some(state)) = (is_of_role, response.request().app_data::<web::Data<State>>()) {
        state.sign_ins.note_role(state, response.request());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn failures_beyond_the_free_ones_wait_for_longer_and_longer_until_they_are_forgiven() {
        let (sign_ins, start) = (SignIns::default(), Instant::now());
        let failed = |after_s: u64| {
            let wait = sign_ins.failed(PEER, start + Duration::from_secs(after_s));
            wait.map(|wait| wait.as_secs())
        };
        assert!((0..FAILURES_FREE).all(|_| failed(0).is_none()));
        assert_eq!((failed(0), failed(0)), (Some(1), Some(1)));
        assert_eq!([failed(1), failed(2), failed(3), failed(7), failed(15)], [2, 1, 4, 8, 16].map(Some));
        // Another address is another's, and a pause of an hour makes up for some.
        assert_eq!(sign_ins.failed("192.0.2.1".parse().unwrap(), start), None);
        assert_eq!(failed(3_600), None);
        sign_ins.forget();
        assert_eq!(sign_ins.peers.lock().unwrap().len(), 2);
    }

    #[test]
    fn addresses_of_one_network_are_one_and_no_more_are_remembered_than_there_is_room_for() {
        let (sign_ins, now) = (SignIns::default(), Instant::now());
        for address in ["2001:db8::1", "2001:db8::ffff:1"] {
            sign_ins.failed(address.parse().unwrap(), now);
        }
        assert_eq!(sign_ins.peers.lock().unwrap().len(), 1);
        for number in 0..2 * u32::try_from(PEERS_MAX).unwrap() {
            sign_ins.failed(IpAddr::V4(number.into()), now);
        }
        assert_eq!(sign_ins.peers.lock().unwrap().len(), PEERS_MAX);
    }
}
