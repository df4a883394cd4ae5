//! How many connections may be open at an address, and which of them makes room for another.
//!
//! A connection costs a file and memory before anything is known of who opened it, so each address has a bound for all of its
//! connections, and one for those of a peer. Turning newcomers away at the bound would hand the address to whoever came first
//! and stays: with idle connections a stranger could keep Twilio out. So an open one is closed instead, the one that can be
//! spared best ([`Standing`]). A request whose signature was checked and found to be Twilio's is never cut off.
//!
//! Until then nobody knows that it is Twilio's, and whoever has a token could fill all places with requests that wait. So a request
//! that has just begun is spared as well:
//!
//! - Who goes first: callers' requests that wait for an answer.
//! - Until when: for [`PROOF_TIME`] after its connection was opened, or after its first bytes came behind the answer before. Each
//!   request has that time once, however slowly its bytes come: a kept connection of Twilio's needs no rule of its own, and whoever
//!   repeats a signed request gains nothing.
//! - How many: in half of the places at most. Beyond that the oldest goes, which had the most time: strangers who open one
//!   connection after the other close no more than half of the callers'.
//!
//! While no connection is left but Twilio's and those that may still show that they are, newcomers wait for the first that can
//! be spared. After [`ADMISSION_WAIT`] it is the newcomer that is closed, before anything of it is read.
//!
//! It is the request that is kept, and not its connection: a signature or a token is worth nothing any more once the answer has
//! left, or as much of it as its client reads. Whoever may ask could otherwise hold all places with one request on each, and who
//! has seen a signed request with copies of that.
//!
//! A peer's bound counts strangers alone, connections on which no valid token or signature was seen yet: behind a reverse proxy
//! all callers have one address.

mod stream;

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::HttpRequest;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::stream::Tracked;

use crate::metrics::{ConnectionClosed, Listener, Metrics};

/// How long a connection on which bytes have moved is left alone, if another one can be spared: time for a newcomer to show who
/// they are.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How long a request has to show whom it is from, before callers who wait for an answer are spared rather than it. Twilio sends
/// its requests whole, so that most of this is left for a busy machine.
const PROOF_TIME: Duration = Duration::from_millis(250);

/// The part of the places in which requests that have just begun are spared before callers who wait: one in so many.
const NEWCOMERS_SHARE: usize = 2;

/// One look at all connections finds no more than one for so many places that can be spared. At 20,000 connections a look takes a
/// millisecond and more, as long as a newcomer's request. Where all others are callers' requests that wait, it finds those alone
/// whose time has just ended, often no more than one: then there is a look for nearly every newcomer, which costs twice as much.
const SPARES_PART: usize = 64;

/// How long those are closed, one for each newcomer, before all connections are looked at again.
const SPARES_FOR: Duration = Duration::from_millis(20);

/// How long a newcomer waits for a place while none can be given. It is the time within which Twilio's callbacks are to be
/// answered.
const ADMISSION_WAIT: Duration = Duration::from_secs(1);

/// How long it is between two lines of the log about one cause.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The most connections that may be open at an address.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub in_all: usize,
    /// Strangers' of one peer: an IPv4 address, or the /64 network of an IPv6 address, which is what one customer is given.
    pub per_peer: usize,
}

/// The open connections of one address.
pub struct Connections {
    listener: Listener,
    limits: Limits,
    begun: Instant,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
    /// Told when a connection has ended, and when the answer to a request of Twilio's has left.
    freed: Notify,
}

#[derive(Default)]
struct Open {
    count: usize,
    /// When one was opened or ended last, in milliseconds after the address began to listen.
    changed_ms: u64,
    by_peer: HashMap<Option<IpAddr>, OfPeer>,
    spares: Spares,
    told: HashMap<ConnectionClosed, Told>,
}

#[derive(Default)]
struct OfPeer {
    connections: Vec<Arc<Connection>>,
    strangers: usize,
    /// Of its strangers.
    spares: Spares,
}

/// Connections that can be spared.
#[derive(Default)]
struct Spares {
    /// When they were found, in milliseconds after the address began to listen.
    found_ms: u64,
    /// The best last.
    found: Vec<Spare>,
}

/// A connection that could be spared when it was found.
struct Spare {
    standing: Standing,
    asked_ms: u64,
    connection: Arc<Connection>,
}

/// When the log told of a cause, and what it left out since.
struct Told {
    at: Instant,
    left_out: u64,
}

/// What is known of an open connection.
struct Connection {
    peer: Option<IpAddr>,
    /// Where it is among those of its peer, so that it is found among thousands at once; [`NOWHERE`] once it was taken out.
    index: AtomicUsize,
    /// When bytes moved last, in milliseconds after the address began to listen.
    moved_ms: AtomicU64,
    /// When it was opened, or the first bytes came after the last answer was there, in the same milliseconds; [`NOTHING`] if none
    /// came since.
    asked_ms: AtomicU64,
    /// Whether bytes have come since the last answer was there.
    is_asking: AtomicBool,
    /// The best [`Proof`] of a request on it whose answer is not there yet; [`GIVEN_AWAY`] once its place is another's.
    asks: AtomicU8,
    /// The [`Proof`] of a request whose answer is there, but was not yet written as far as its client takes it.
    leaves: AtomicU8,
    /// The best [`Proof`] that was ever seen on it.
    proof: AtomicU8,
    /// Cancelled to close it.
    closing: CancellationToken,
    /// Cancelled when the client has ended its side.
    hung_up: CancellationToken,
}

/// The time at which nothing was asked.
const NOTHING: u64 = u64::MAX;

/// The index of a connection that is no longer counted.
const NOWHERE: usize = usize::MAX;

/// More than every [`Proof`], so that a request that shows one too late changes nothing.
const GIVEN_AWAY: u8 = u8::MAX;

/// Who a request has shown to be from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Proof {
    /// Nobody yet.
    None,
    /// A caller with a valid token or key.
    Caller,
    /// Twilio, by its signature.
    Twilio,
}

/// How well a connection can be spared, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Nobody has shown who they are, and nothing moves.
    IdleStranger,
    /// Somebody has, and sends nothing.
    Idle,
    /// It was opened, asked or answered just now. What was shown before does not count: a token or signature that was good for
    /// one request would otherwise hold a place that a newcomer needs.
    Recent,
    /// A caller waits for an answer.
    AwaitsAnswer,
    /// A request has just begun, or can be expected on a new connection: it may be Twilio's.
    JustBegun,
}

/// No connection can be closed for another one.
struct Full {
    /// When one can be, if it shows nothing until then: in milliseconds after the address began to listen.
    until_ms: Option<u64>,
}

impl Connections {
    /// None yet.
    pub fn new(listener: Listener, limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let (begun, open) = (Instant::now(), Mutex::default());
        Arc::new(Self { listener, limits, begun, metrics, open, freed: Notify::new() })
    }

    /// Where they are.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// The most that may be open.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether no request waits for its answer, and nothing else happened for `time`: none was opened or ended, and on none bytes
    /// have moved.
    pub(super) fn are_quiet_for(&self, time: Duration) -> bool {
        let open = self.lock();
        let before_ms = self.now_ms().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let mut all = open.by_peer.values().flat_map(|of_peer| &of_peer.connections);
        open.changed_ms <= before_ms
            && all.all(|one| one.moved_ms() <= before_ms && !one.is_asking.load(Ordering::Relaxed))
    }

    /// Takes in a connection of `peer`. `None` if there is no room for it and none could be made in time.
    pub async fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Admitted> {
        let give_up = Instant::now() + ADMISSION_WAIT;
        loop {
            // What is told between the try and the wait would be kept for one alone of several that wait.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            let until_ms = match self.try_admit(peer) {
                Ok(admitted) => return Some(admitted),
                Err(Full { until_ms }) => until_ms,
            };
            if Instant::now() >= give_up {
                self.tell(&mut self.lock(), ConnectionClosed::Newcomer, peer.map(network_of));
                return None;
            }
            let until = until_ms.map_or(give_up, |ms| give_up.min(self.begun + Duration::from_millis(ms)));
            // Where time has passed instead, there may be room as well.
            tokio::time::timeout_at(until, freed).await.ok();
        }
    }

    fn try_admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Admitted, Full> {
        let peer = peer.map(network_of);
        let mut open = self.lock();
        if open.by_peer.get(&peer).is_some_and(|of_peer| of_peer.strangers >= self.limits.per_peer) {
            self.make_room(&mut open, ConnectionClosed::ByPeer, peer)?;
        } else if open.count >= self.limits.in_all {
            self.make_room(&mut open, ConnectionClosed::ByAll, peer)?;
        }
        let now_ms = self.now_ms();
        let of_peer = open.by_peer.entry(peer).or_default();
        let connection = Arc::new(Connection {
            peer,
            index: AtomicUsize::new(of_peer.connections.len()),
            moved_ms: AtomicU64::new(now_ms),
            asked_ms: AtomicU64::new(now_ms),
            is_asking: AtomicBool::new(false),
            asks: AtomicU8::new(Proof::None as u8),
            leaves: AtomicU8::new(Proof::None as u8),
            proof: AtomicU8::new(Proof::None as u8),
            closing: CancellationToken::new(),
            hung_up: CancellationToken::new(),
        });
        of_peer.connections.push(connection.clone());
        of_peer.strangers += 1;
        open.count += 1;
        open.changed_ms = now_ms;
        Ok(Admitted(Arc::new(Place { connections: self.clone(), connection })))
    }

    /// Closes the connection that can be spared best: a stranger's of `peer`, if those are too many, else of all.
    fn make_room(&self, open: &mut Open, cause: ConnectionClosed, peer: Option<IpAddr>) -> Result<(), Full> {
        let now_ms = self.now_ms();
        let is_of_peer = cause == ConnectionClosed::ByPeer;
        loop {
            let spares = if is_of_peer {
                open.by_peer.get_mut(&peer).map(|of_peer| &mut of_peer.spares)
            } else {
                Some(&mut open.spares)
            };
            if let Some(spared) = spares.and_then(|spares| spares.next(now_ms)) {
                if !(is_of_peer && spared.proof() > Proof::None) && spared.give_away() {
                    self.tell(open, cause, peer);
                    open.remove(&spared);
                    spared.closing.cancel();
                    return Ok(());
                }
                continue;
            }
            if is_of_peer && let Some(of_peer) = open.by_peer.get_mut(&peer) {
                let strangers = of_peer.connections.iter().filter(|other| other.proof() == Proof::None);
                of_peer.spares = Spares::among(strangers, self.limits.per_peer, now_ms)?;
            } else {
                let all = open.by_peer.values().flat_map(|of_peer| &of_peer.connections);
                open.spares = Spares::among(all, self.limits.in_all, now_ms)?;
            }
        }
    }

    /// Counts a connection that was closed when `peer` came, and tells of it now and then.
    fn tell(&self, open: &mut Open, cause: ConnectionClosed, peer: Option<IpAddr>) {
        self.metrics.connection_closed(self.listener, cause);
        if let Some(left_out) = open.is_told(cause) {
            tracing::warn!(
                listener = self.listener.as_str(),
                cause = cause.as_str(),
                peer = peer.map(|peer| peer.to_string()),
                open = open.count,
                left_out,
                "a connection was closed for want of room"
            );
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spares {
    /// Those of `connections`, which have so many `places`, that can be spared best at `now_ms`.
    fn among<'a>(
        connections: impl Iterator<Item = &'a Arc<Connection>>,
        places: usize,
        now_ms: u64,
    ) -> Result<Self, Full> {
        let candidate = |connection: &'a Arc<Connection>| {
            let standing = connection.standing(now_ms)?;
            let since_ms = match standing {
                Standing::JustBegun => connection.asked_ms(),
                _ => connection.moved_ms(),
            };
            Some((standing, since_ms, connection))
        };
        let mut candidates: Vec<_> = connections.filter_map(candidate).collect();
        let just_begun = candidates.iter().filter(|(standing, ..)| *standing == Standing::JustBegun).count();
        let newcomers_left = (places / NEWCOMERS_SHARE).max(1).saturating_sub(just_begun);
        let best = candidates.iter().map(|(standing, ..)| *standing).min();
        let mut count = (places / SPARES_PART).max(1);
        match best {
            Some(Standing::AwaitsAnswer | Standing::JustBegun) if newcomers_left == 0 => {
                candidates.retain(|(standing, ..)| *standing == Standing::JustBegun);
            }
            Some(Standing::AwaitsAnswer) => {
                candidates.retain(|(standing, ..)| *standing == Standing::AwaitsAnswer);
                count = count.min(newcomers_left);
            }
            Some(Standing::JustBegun) | None => {
                let first_ms = candidates.iter().map(|(_, since_ms, _)| *since_ms).min();
                return Err(Full { until_ms: first_ms.map(|ms| ms + PROOF_TIME.as_millis() as u64) });
            }
            Some(_) => candidates.retain(|(standing, ..)| *standing < Standing::AwaitsAnswer),
        }
        let order = |candidate: &(Standing, u64, &Arc<Connection>)| (candidate.0, candidate.1);
        if count < candidates.len() {
            candidates.select_nth_unstable_by_key(count - 1, order);
            candidates.truncate(count);
        }
        candidates.sort_unstable_by_key(|candidate| Reverse(order(candidate)));
        let found = candidates.into_iter().map(|(standing, _, connection)| Spare {
            standing,
            asked_ms: connection.asked_ms(),
            connection: connection.clone(),
        });
        Ok(Self { found_ms: now_ms, found: found.collect() })
    }

    /// The next one that can still be spared as well as when it was found.
    fn next(&mut self, now_ms: u64) -> Option<Arc<Connection>> {
        if now_ms.saturating_sub(self.found_ms) > SPARES_FOR.as_millis() as u64 {
            self.found.clear();
        }
        while let Some(spare) = self.found.pop() {
            let is_open = !spare.connection.closing.is_cancelled();
            if is_open && spare.connection.standing(now_ms).is_some_and(|standing| spare.is_still(standing)) {
                return Some(spare.connection);
            }
        }
        None
    }
}

impl Spare {
    /// Whether it can be spared as well as when it was found, now that it has this `standing`: a request that has just begun is
    /// none of those that had begun then, if it was asked since.
    fn is_still(&self, standing: Standing) -> bool {
        standing < self.standing || standing == self.standing && self.connection.asked_ms() == self.asked_ms
    }
}

impl Open {
    fn remove(&mut self, connection: &Connection) {
        let index = connection.index.swap(NOWHERE, Ordering::Relaxed);
        // One that made room is gone already.
        if index == NOWHERE {
            return;
        }
        let Some(of_peer) = self.by_peer.get_mut(&connection.peer) else { return };
        of_peer.connections.swap_remove(index);
        if let Some(moved) = of_peer.connections.get(index) {
            moved.index.store(index, Ordering::Relaxed);
        }
        of_peer.strangers -= usize::from(connection.proof() == Proof::None);
        self.count -= 1;
        if of_peer.connections.is_empty() {
            self.by_peer.remove(&connection.peer);
        }
    }

    /// Whether `cause` is to be told of now, and then how often it was not since the last time.
    fn is_told(&mut self, cause: ConnectionClosed) -> Option<u64> {
        let now = Instant::now();
        match self.told.get_mut(&cause) {
            Some(told) if now < told.at + TOLD_AGAIN_AFTER => {
                told.left_out += 1;
                None
            }
            _ => Some(self.told.insert(cause, Told { at: now, left_out: 0 }).map_or(0, |told| told.left_out)),
        }
    }
}

impl Connection {
    /// How well it can be spared; `None` if Twilio waits for an answer.
    fn standing(&self, now_ms: u64) -> Option<Standing> {
        let is_fresh = now_ms.saturating_sub(self.moved_ms()) < FRESH_FOR.as_millis() as u64;
        let asked_ms = self.asked_ms();
        let has_just_begun =
            asked_ms != NOTHING && now_ms.saturating_sub(asked_ms) < PROOF_TIME.as_millis() as u64;
        match self.asks().max(self.leaves()) {
            Proof::Twilio => None,
            Proof::Caller => Some(Standing::AwaitsAnswer),
            Proof::None if has_just_begun => Some(Standing::JustBegun),
            Proof::None if is_fresh => Some(Standing::Recent),
            Proof::None if self.proof() == Proof::None => Some(Standing::IdleStranger),
            Proof::None => Some(Standing::Idle),
        }
    }

    fn moved_ms(&self) -> u64 {
        self.moved_ms.load(Ordering::Relaxed)
    }

    fn asked_ms(&self) -> u64 {
        self.asked_ms.load(Ordering::Relaxed)
    }

    /// Asked before [`Connection::leaves`], so that what goes from one to the other is seen in one of them.
    fn asks(&self) -> Proof {
        Proof::of(self.asks.load(Ordering::Acquire))
    }

    fn leaves(&self) -> Proof {
        Proof::of(self.leaves.load(Ordering::Relaxed))
    }

    /// Takes its place from it, unless Twilio waits for an answer: a request may have shown that since its standing was looked at.
    fn give_away(&self) -> bool {
        let unless_twilios = |asks| (asks < Proof::Twilio as u8).then_some(GIVEN_AWAY);
        let Ok(asked) = self.asks.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_twilios) else {
            return false;
        };
        let is_given = self.leaves() < Proof::Twilio;
        if !is_given {
            self.asks.compare_exchange(GIVEN_AWAY, asked, Ordering::AcqRel, Ordering::Acquire).ok();
        }
        is_given
    }

    fn proof(&self) -> Proof {
        Proof::of(self.proof.load(Ordering::Relaxed))
    }
}

impl Proof {
    /// The one whose number is `number`.
    fn of(number: u8) -> Self {
        match number {
            twilio if twilio == Proof::Twilio as u8 => Proof::Twilio,
            caller if caller == Proof::Caller as u8 => Proof::Caller,
            _ => Proof::None,
        }
    }
}

/// Notes who `request` has shown to be from: it is kept until it is answered, and its connection is no stranger's.
pub(super) fn prove(request: &HttpRequest, proof: Proof) {
    if let Some(place) = request.conn_data::<Arc<Place>>() {
        place.prove(proof);
    }
}

/// Cancelled when whoever sent `request` has ended their side of the connection.
pub(super) fn hung_up(request: &HttpRequest) -> CancellationToken {
    let place = request.conn_data::<Arc<Place>>();
    place.map_or_else(CancellationToken::new, |place| place.connection.hung_up.clone())
}

/// The network that a peer's address counts for: with IPv6, who has one address of 64 bits' worth of them has all.
pub(super) fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// A connection among those that are open.
pub struct Place {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Place {
    fn prove(&self, proof: Proof) {
        self.connection.asks.fetch_max(proof as u8, Ordering::AcqRel);
        if self.connection.proof() >= proof {
            return;
        }
        // Under the lock, so that whoever counts strangers and whoever looks for one agree.
        let mut open = self.connections.lock();
        let was = self.connection.proof.fetch_max(proof as u8, Ordering::Relaxed);
        if was == Proof::None as u8
            && !self.connection.closing.is_cancelled()
            && let Some(of_peer) = open.by_peer.get_mut(&self.connection.peer)
        {
            of_peer.strangers -= 1;
        }
    }

    /// The answer to what was asked is there, and leaves.
    pub(super) fn answer_made(&self) {
        // In this order, so that it is never seen as neither asked for nor leaving.
        self.connection.leaves.store(self.connection.asks() as u8, Ordering::Relaxed);
        self.connection.asks.store(Proof::None as u8, Ordering::Release);
        self.connection.asked_ms.store(NOTHING, Ordering::Relaxed);
        self.connection.is_asking.store(false, Ordering::Relaxed);
        self.moved();
    }

    /// As much of the answers as the client takes has left. It is not waited for until the client has read the rest. There may be
    /// a further request already whose answer is not there yet.
    fn written(&self) {
        if self.connection.leaves.swap(Proof::None as u8, Ordering::Relaxed) == Proof::Twilio as u8 {
            self.connections.freed.notify_one();
        }
    }

    /// Bytes have come: with the first ones after an answer, another request begins.
    fn came(&self) {
        self.moved();
        self.connection.is_asking.store(true, Ordering::Relaxed);
        if self.connection.asked_ms() == NOTHING {
            self.connection.asked_ms.store(self.connections.now_ms(), Ordering::Relaxed);
        }
    }

    /// Bytes have come, or left. They show nothing of whose they are, and so change nothing of what the connection asks.
    fn moved(&self) {
        self.connection.moved_ms.store(self.connections.now_ms(), Ordering::Relaxed);
    }
}

/// A connection that was taken in; dropping it takes it out again.
pub struct Admitted(Arc<Place>);

impl Admitted {
    /// `stream`, as the connection that was taken in. It ends after `silence_max` without an answer.
    pub fn track<T>(self, stream: T, silence_max: Duration) -> Tracked<T> {
        Tracked::new(stream, self, silence_max)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.0.connections.lock();
        open.remove(&self.0.connection);
        open.changed_ms = self.0.connections.now_ms();
        // It is no longer counted, whatever a request on it shows yet.
        self.0.connection.closing.cancel();
        self.0.connections.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use actix_http::HttpService;
    use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, map_config};
    use actix_web::{App, dev::AppConfig, middleware::from_fn};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::{super::outer, *};

    pub(super) fn connections(in_all: usize, per_peer: usize) -> Arc<Connections> {
        let limits = Limits { in_all, per_peer };
        let connections = Connections::new(Listener::Api, limits, Arc::new(Metrics::new()));
        let begun = connections.begun - Duration::from_secs(3_600);
        Arc::new(Connections { begun, ..Arc::into_inner(connections).expect("nobody else has it yet") })
    }

    pub(super) fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// A connection that was opened now.
    pub(super) fn admit(connections: &Arc<Connections>, peer: Option<IpAddr>) -> Admitted {
        connections.try_admit(peer).ok().expect("one can be spared")
    }

    /// A connection on which bytes moved last `ago_ms` before now: the answer's, if its request has shown a `proof`.
    fn open(connections: &Arc<Connections>, peer: Option<IpAddr>, proof: Proof, ago_ms: u64) -> Admitted {
        let admitted = admit(connections, peer);
        if proof > Proof::None {
            admitted.0.prove(proof);
            admitted.0.answer_made();
            admitted.0.written();
        }
        moved_before(&admitted, ago_ms);
        admitted
    }

    fn moved_before(admitted: &Admitted, ago_ms: u64) {
        let Place { connections, connection } = &*admitted.0;
        let ago = connections.now_ms() - ago_ms;
        connection.moved_ms.store(ago, Ordering::Relaxed);
        if connection.asked_ms() != NOTHING {
            connection.asked_ms.store(ago, Ordering::Relaxed);
        }
    }

    /// A connection on which a caller waits for an answer.
    fn awaiting(connections: &Arc<Connections>, peer: Option<IpAddr>) -> Admitted {
        let admitted = open(connections, peer, Proof::Caller, 0);
        admitted.0.prove(Proof::Caller);
        admitted
    }

    fn closed(all: &[Admitted]) -> usize {
        all.iter().filter(|admitted| is_closed(admitted)).count()
    }

    fn is_closed(admitted: &Admitted) -> bool {
        admitted.0.connection.closing.is_cancelled()
    }

    #[test]
    fn idle_connections_make_room_before_others_and_of_these_the_one_that_moved_first() {
        let connections = connections(6, 9);
        let in_order = [
            open(&connections, peer(1), Proof::None, 8_000),
            open(&connections, peer(2), Proof::None, 7_000),
            open(&connections, peer(3), Proof::Caller, 9_000),
            open(&connections, peer(4), Proof::None, 300),
            open(&connections, peer(5), Proof::Twilio, 200),
            open(&connections, peer(7), Proof::Caller, 100),
        ];
        // Newcomers that ask and have shown who they are, so that none of them goes first.
        let newcomers: Vec<Admitted> = (0..in_order.len())
            .map(|count| {
                assert_eq!(closed(&in_order), count);
                assert!(in_order[..count].iter().all(is_closed));
                awaiting(&connections, peer(6))
            })
            .collect();
        assert!(in_order.iter().all(is_closed) && !newcomers.iter().any(is_closed));
        drop(in_order);
        assert_eq!(connections.lock().count, 6);
    }

    #[test]
    fn a_peers_strangers_make_room_for_each_other_and_whoever_is_known_does_not_count() {
        let connections = connections(9, 2);
        let other = open(&connections, peer(1), Proof::None, 9_000);
        let known = open(&connections, peer(2), Proof::Caller, 8_000);
        let (first, second) = (
            open(&connections, peer(2), Proof::None, 2_000),
            open(&connections, peer(2), Proof::None, 1_500),
        );
        let third = open(&connections, peer(2), Proof::None, 0);
        assert!(is_closed(&first) && ![&other, &known, &second, &third].into_iter().any(is_closed));
        third.0.prove(Proof::Caller);
        let _fourth = open(&connections, peer(2), Proof::None, 0);
        assert!(!is_closed(&second));
        drop((first, second, third, known));
        assert_eq!(connections.lock().by_peer[&peer(2)].strangers, 1);
    }

    #[test]
    fn a_signed_request_is_never_cut_off_for_a_newcomer() {
        let connections = connections(1, 9);
        let twilio = open(&connections, peer(1), Proof::Twilio, 9_000);
        twilio.0.prove(Proof::Twilio);
        assert!(connections.try_admit(peer(2)).is_err());
        // What comes behind it takes nothing from it, nor does the answer to what was asked before it.
        twilio.0.moved();
        twilio.0.written();
        assert!(connections.try_admit(peer(2)).is_err());
        // Its answer is not cut off either.
        twilio.0.answer_made();
        assert!(connections.try_admit(peer(2)).is_err());
        twilio.0.written();
        assert!(connections.try_admit(peer(2)).is_ok());
        assert!(is_closed(&twilio));
        drop(twilio);
        assert!(connections.lock().by_peer.is_empty());
    }

    /// Copies of one signed request on all connections, whose answers nobody read, kept everybody else out.
    #[test]
    fn an_answer_that_nobody_reads_keeps_no_place() {
        let connections = connections(2, 9);
        let unread = [1, 2].map(|last| admit(&connections, peer(last)));
        for admitted in &unread {
            admitted.0.prove(Proof::Twilio);
            admitted.0.answer_made();
            // Nothing of it could leave.
            admitted.0.written();
        }
        moved_before(&unread[0], 10);
        assert!(connections.try_admit(peer(3)).is_ok());
        assert!(is_closed(&unread[0]) && !is_closed(&unread[1]));
    }

    #[tokio::test]
    async fn a_newcomer_waits_for_the_answer_to_a_signed_request_and_not_for_ever() {
        let connections = connections(1, 9);
        let twilio = connections.admit(peer(1)).await.unwrap();
        twilio.0.prove(Proof::Twilio);
        let begun = Instant::now();
        assert!(connections.admit(peer(2)).await.is_none());
        assert!(begun.elapsed() >= ADMISSION_WAIT);
        assert!(connections.lock().told.contains_key(&ConnectionClosed::Newcomer));
        let answer = async {
            twilio.0.answer_made();
            twilio.0.written();
        };
        let (newcomer, ()) = tokio::join!(connections.admit(peer(2)), answer);
        assert!(newcomer.is_some() && is_closed(&twilio));
    }

    /// Whoever had a token kept all places but one by slow requests, and each newcomer was closed by the next.
    #[test]
    fn callers_who_wait_make_room_before_a_request_that_has_just_begun() {
        let connections = connections(8, 99);
        let callers: Vec<Admitted> = (0..8).map(|_| awaiting(&connections, peer(1))).collect();
        let newcomers: Vec<Admitted> = (0..4).map(|_| admit(&connections, peer(2))).collect();
        assert_eq!((closed(&callers), closed(&newcomers)), (4, 0));
        // One that had its time and showed nothing goes first.
        moved_before(&newcomers[1], PROOF_TIME.as_millis() as u64);
        let next = admit(&connections, peer(2));
        assert_eq!((closed(&callers), closed(&newcomers)), (4, 1));
        assert!(is_closed(&newcomers[1]) && !is_closed(&next));
    }

    #[test]
    fn newcomers_close_no_more_than_half_of_the_callers_who_wait_and_then_the_oldest_of_themselves() {
        let connections = connections(8, 99);
        let callers: Vec<Admitted> = (0..8).map(|_| awaiting(&connections, peer(1))).collect();
        let newcomers: Vec<Admitted> = (0..20)
            .map(|count| {
                let newcomer = admit(&connections, peer(2));
                moved_before(&newcomer, 20 - count);
                newcomer
            })
            .collect();
        assert_eq!((closed(&callers), closed(&newcomers)), (4, 16));
        assert!(newcomers[..16].iter().all(is_closed));
    }

    #[test]
    fn the_next_request_on_a_kept_connection_has_time_to_show_whose_it_is_and_has_it_once() {
        let connections = connections(4, 99);
        let kept = open(&connections, peer(1), Proof::Twilio, 9_000);
        kept.0.came();
        let callers: Vec<Admitted> = (0..3).map(|_| awaiting(&connections, peer(2))).collect();
        let _newcomer = admit(&connections, peer(3));
        assert!(closed(&callers) == 1 && !is_closed(&kept));
        // Further bytes of the same request change nothing.
        moved_before(&kept, PROOF_TIME.as_millis() as u64);
        kept.0.came();
        let _newcomer = admit(&connections, peer(3));
        assert!(closed(&callers) == 1 && is_closed(&kept));
    }

    #[test]
    fn a_request_that_is_verified_after_it_was_chosen_to_make_room_is_not_cut_off() {
        let connections = connections(2, 99);
        let (chosen, other) =
            (open(&connections, peer(1), Proof::None, 900), open(&connections, peer(2), Proof::None, 800));
        let now_ms = connections.now_ms();
        let all = [&chosen, &other].map(|admitted| admitted.0.connection.clone());
        let best = Spares::among(all.iter(), 2, now_ms).ok().and_then(|mut spares| spares.next(now_ms));
        let best = best.expect("one can be spared");
        assert!(Arc::ptr_eq(&best, &all[0]));
        chosen.0.prove(Proof::Twilio);
        assert!(!best.give_away());
        chosen.0.answer_made();
        assert!(!best.give_away());
        chosen.0.written();
        assert!(best.give_away());
        // It shows too late what it is.
        chosen.0.prove(Proof::Twilio);
        assert_eq!(best.asks(), Proof::None);
    }

    /// A request on a kept connection behind one that no route answers counted as begun with that.
    #[actix_web::test]
    async fn an_answer_that_no_route_makes_ends_what_was_asked_as_well() {
        let app = App::new().wrap(from_fn(outer::keep));
        let app = map_config(app.into_factory(), |()| AppConfig::default());
        let http = HttpService::build()
            .on_connect_ext(|stream: &Tracked<DuplexStream>, data| {
                data.insert::<Arc<Place>>(stream.place().clone());
            })
            .h1(app.map_err(|error: actix_web::Error| error.error_response()));
        let service = http.new_service(()).await.expect("it needs nothing");
        let (mut client, stream) = tokio::io::duplex(64 * 1024);
        let stream = admit(&connections(1, 1), peer(1)).track(stream, Duration::from_secs(3_600));
        let place = stream.place().clone();
        actix_web::rt::spawn(service.call((stream, None)));
        let target = "a".repeat(outer::TARGET_BYTES_MAX);
        client.write_all(format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = [0; 12];
        client.read_exact(&mut head).await.unwrap();
        assert_eq!((&head, place.connection.asked_ms()), (b"HTTP/1.1 414", NOTHING));
    }

    /// The answer that leaves was looked for before what is asked: between the two looks one could become the other.
    #[test]
    fn a_place_is_never_given_away_while_an_answer_is_made() {
        let connections = connections(1, 99);
        let barrier = Barrier::new(2);
        for _ in 0..5_000 {
            let admitted = admit(&connections, peer(1));
            admitted.0.prove(Proof::Twilio);
            let is_given = std::thread::scope(|scope| {
                let giving = scope.spawn(|| {
                    barrier.wait();
                    (0..50).any(|_| admitted.0.connection.give_away())
                });
                barrier.wait();
                admitted.0.answer_made();
                giving.join().unwrap()
            });
            assert!(!is_given);
            // What it asks next counts.
            admitted.0.written();
            admitted.0.prove(Proof::Twilio);
            assert_eq!(admitted.0.connection.asks(), Proof::Twilio);
        }
    }

    #[test]
    fn who_was_to_make_room_and_was_answered_has_its_time_for_the_next_request() {
        let connections = connections(2 * SPARES_PART, 999);
        let newcomers: Vec<Admitted> = (0..2 * SPARES_PART)
            .map(|number| {
                let newcomer = admit(&connections, peer(1));
                moved_before(&newcomer, 150 - number as u64);
                newcomer
            })
            .collect();
        let _first = admit(&connections, peer(2));
        assert!(is_closed(&newcomers[0]) && connections.lock().spares.found.len() == 1);
        newcomers[1].0.answer_made();
        newcomers[1].0.came();
        let _second = admit(&connections, peer(2));
        assert!(!is_closed(&newcomers[1]) && is_closed(&newcomers[2]));
    }

    #[test]
    fn what_one_look_finds_makes_room_for_several_as_long_as_it_can_be_spared_as_well() {
        let connections = connections(4 * SPARES_PART, 9_999);
        let silent = |number: usize| open(&connections, peer(1), Proof::None, 9_000 - number as u64);
        let mut strangers: Vec<Admitted> = (0..4 * SPARES_PART).map(silent).collect();
        let mut newcomers = vec![admit(&connections, peer(2))];
        assert!(is_closed(&strangers[0]));
        assert_eq!(connections.lock().spares.found.len(), 3);
        strangers[1].0.came();
        newcomers.push(admit(&connections, peer(2)));
        assert!(!is_closed(&strangers[1]) && is_closed(&strangers[2]));
        // One that ended by itself made its room already.
        drop(strangers.swap_remove(3));
        newcomers.extend((0..9).map(|_| admit(&connections, peer(2))));
        assert_eq!((closed(&newcomers), connections.lock().count), (0, 4 * SPARES_PART));
        // After a while all are looked at again.
        connections.lock().spares.found_ms -= 1 + SPARES_FOR.as_millis() as u64;
        assert!(connections.lock().spares.next(connections.now_ms()).is_none());
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_one_has_had_its_time_where_all_others_are_twilios() {
        let connections = connections(4, 99);
        let twilios: Vec<Admitted> = (0..3).map(|_| admit(&connections, peer(1))).collect();
        twilios.iter().for_each(|twilio| twilio.0.prove(Proof::Twilio));
        let just_begun = admit(&connections, peer(2));
        moved_before(&just_begun, 200);
        let begun = Instant::now();
        assert!(connections.admit(peer(3)).await.is_some());
        assert!(
            begun.elapsed() < ADMISSION_WAIT
                && connections.now_ms() - just_begun.0.connection.asked_ms() >= 250
        );
        assert!(is_closed(&just_begun) && closed(&twilios) == 0);
    }

    #[test]
    fn a_connection_that_only_drips_after_its_answer_makes_room_for_newcomers() {
        let connections = connections(2, 9);
        // A signed request on each, answered; then a byte of another one, and no more.
        let dripping = [1, 2].map(|last| open(&connections, peer(last), Proof::Twilio, 9_000));
        for admitted in &dripping {
            admitted.0.came();
            moved_before(admitted, 500);
        }
        let newcomers = [3, 4].map(|last| open(&connections, peer(last), Proof::None, 0));
        assert!(dripping.iter().all(is_closed) && !newcomers.iter().any(is_closed));
    }

    #[test]
    fn a_cause_is_told_of_once_in_a_while() {
        let mut open = Open::default();
        assert_eq!(open.is_told(ConnectionClosed::ByPeer), Some(0));
        assert_eq!(open.is_told(ConnectionClosed::ByAll), Some(0));
        assert_eq!(open.is_told(ConnectionClosed::ByPeer), None);
        assert_eq!(open.is_told(ConnectionClosed::ByPeer), None);
        open.told.get_mut(&ConnectionClosed::ByPeer).unwrap().at -= TOLD_AGAIN_AFTER;
        assert_eq!(open.is_told(ConnectionClosed::ByPeer), Some(2));
    }

    #[test]
    fn neighbours_in_one_network_are_one_peer() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
