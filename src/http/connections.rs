//! How many connections may be open at an address, and which of them makes room for another.
//!
//! A connection costs a file and memory before anything is known of who opened it, so each address has a bound for all of its
//! connections, and one for those of a peer. Turning newcomers away at the bound would hand the address to whoever came first
//! and stays: with idle connections a stranger could keep Twilio out. So an open one is closed instead, the one that can be
//! spared best ([`Standing`]). A request that Twilio signed is never cut off: while all connections wait for the answers to
//! such requests, newcomers wait for the first of those, and only after [`ADMISSION_WAIT`] is one closed, before anything of it
//! is read.
//!
//! It is the request that is kept, and not its connection: a signature or a token is worth nothing any more once the answer has
//! left, or as much of it as its client reads. Whoever may ask could otherwise hold all places with one request on each, and who
//! has seen a signed request with copies of that.
//!
//! A peer's bound counts strangers alone, connections on which no valid token or signature was seen yet: behind a reverse proxy
//! all callers have one address.

mod stream;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
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

/// How long a newcomer waits for a place while Twilio waits for an answer on all connections. It is the time within which
/// Twilio's callbacks are to be answered.
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
    /// Told when a connection has ended, or can be spared from now on.
    freed: Notify,
}

#[derive(Default)]
struct Open {
    count: usize,
    by_peer: HashMap<Option<IpAddr>, OfPeer>,
    told: HashMap<ConnectionClosed, Told>,
}

#[derive(Default)]
struct OfPeer {
    connections: Vec<Arc<Connection>>,
    strangers: usize,
}

/// When the log told of a cause, and what it left out since.
struct Told {
    at: Instant,
    left_out: u64,
}

/// What is known of an open connection.
struct Connection {
    peer: Option<IpAddr>,
    /// When bytes moved last, in milliseconds after the address began to listen.
    moved_ms: AtomicU64,
    /// The best [`Proof`] of a request on it whose answer is not there yet.
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

    /// Takes in a connection of `peer`. `None` if there is no room for it and none could be made in time.
    pub async fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Admitted> {
        let give_up = Instant::now() + ADMISSION_WAIT;
        loop {
            if let Some(admitted) = self.try_admit(peer) {
                return Some(admitted);
            }
            // What is told before this waits is kept for it.
            if tokio::time::timeout_at(give_up, self.freed.notified()).await.is_err() {
                self.tell(&mut self.lock(), ConnectionClosed::Newcomer, peer.map(network_of));
                return None;
            }
        }
    }

    fn try_admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Admitted> {
        let peer = peer.map(network_of);
        let mut open = self.lock();
        if open.by_peer.get(&peer).is_some_and(|of_peer| of_peer.strangers >= self.limits.per_peer) {
            self.make_room(&mut open, ConnectionClosed::ByPeer, peer)?;
        } else if open.count >= self.limits.in_all {
            self.make_room(&mut open, ConnectionClosed::ByAll, peer)?;
        }
        let connection = Arc::new(Connection {
            peer,
            moved_ms: AtomicU64::new(self.now_ms()),
            asks: AtomicU8::new(Proof::None as u8),
            leaves: AtomicU8::new(Proof::None as u8),
            proof: AtomicU8::new(Proof::None as u8),
            closing: CancellationToken::new(),
            hung_up: CancellationToken::new(),
        });
        let of_peer = open.by_peer.entry(peer).or_default();
        of_peer.connections.push(connection.clone());
        of_peer.strangers += 1;
        open.count += 1;
        Some(Admitted(Arc::new(Place { connections: self.clone(), connection })))
    }

    /// Closes the connection that can be spared best: a stranger's of `peer`, if those are too many, else of all.
    fn make_room(&self, open: &mut Open, cause: ConnectionClosed, peer: Option<IpAddr>) -> Option<()> {
        let now_ms = self.now_ms();
        let all =
            open.by_peer.iter().filter(|(other, _)| cause == ConnectionClosed::ByAll || **other == peer);
        let spared = all
            .flat_map(|(_, of_peer)| &of_peer.connections)
            .filter(|connection| cause == ConnectionClosed::ByAll || connection.proof() == Proof::None)
            .filter_map(|connection| Some((connection.standing(now_ms)?, connection.moved_ms(), connection)))
            .min_by_key(|(standing, moved_ms, _)| (*standing, *moved_ms))
            .map(|(_, _, connection)| connection.clone())?;
        self.tell(open, cause, peer);
        open.remove(&spared);
        spared.closing.cancel();
        Some(())
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

impl Open {
    fn remove(&mut self, connection: &Arc<Connection>) {
        let Some(of_peer) = self.by_peer.get_mut(&connection.peer) else { return };
        let place = of_peer.connections.iter().position(|other| Arc::ptr_eq(other, connection));
        // One that made room is gone already.
        let Some(place) = place else { return };
        of_peer.connections.swap_remove(place);
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
        match self.asks().max(Proof::of(self.leaves.load(Ordering::Relaxed))) {
            Proof::Twilio => None,
            Proof::Caller => Some(Standing::AwaitsAnswer),
            Proof::None if is_fresh => Some(Standing::Recent),
            Proof::None if self.proof() == Proof::None => Some(Standing::IdleStranger),
            Proof::None => Some(Standing::Idle),
        }
    }

    fn moved_ms(&self) -> u64 {
        self.moved_ms.load(Ordering::Relaxed)
    }

    fn asks(&self) -> Proof {
        Proof::of(self.asks.load(Ordering::Relaxed))
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
        self.connection.asks.fetch_max(proof as u8, Ordering::Relaxed);
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
        let asked = self.connection.asks.swap(Proof::None as u8, Ordering::Relaxed);
        self.connection.leaves.store(asked, Ordering::Relaxed);
        self.moved();
    }

    /// As much of the answers as the client takes has left. It is not waited for until the client has read the rest. There may be
    /// a further request already whose answer is not there yet.
    fn written(&self) {
        if self.connection.leaves.swap(Proof::None as u8, Ordering::Relaxed) == Proof::Twilio as u8 {
            self.connections.freed.notify_one();
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
        // It is no longer counted, whatever a request on it shows yet.
        self.0.connection.closing.cancel();
        self.0.connections.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn connections(in_all: usize, per_peer: usize) -> Arc<Connections> {
        let limits = Limits { in_all, per_peer };
        let connections = Connections::new(Listener::Api, limits, Arc::new(Metrics::new()));
        let begun = connections.begun - Duration::from_secs(3_600);
        Arc::new(Connections { begun, ..Arc::into_inner(connections).expect("nobody else has it yet") })
    }

    pub(super) fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// A connection on which bytes moved last `ago_ms` before now: the answer's, if its request has shown a `proof`.
    fn open(connections: &Arc<Connections>, peer: Option<IpAddr>, proof: Proof, ago_ms: u64) -> Admitted {
        let admitted = connections.try_admit(peer).unwrap();
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
        connection.moved_ms.store(connections.now_ms() - ago_ms, Ordering::Relaxed);
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
                let closed = in_order.iter().filter(|admitted| is_closed(admitted)).count();
                assert_eq!(closed, count);
                assert!(in_order[..count].iter().all(is_closed));
                let newcomer = open(&connections, peer(6), Proof::Caller, 0);
                newcomer.0.prove(Proof::Caller);
                newcomer
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
        assert!(connections.try_admit(peer(2)).is_none());
        // What comes behind it takes nothing from it, nor does the answer to what was asked before it.
        twilio.0.moved();
        twilio.0.written();
        assert!(connections.try_admit(peer(2)).is_none());
        // Its answer is not cut off either.
        twilio.0.answer_made();
        assert!(connections.try_admit(peer(2)).is_none());
        twilio.0.written();
        assert!(connections.try_admit(peer(2)).is_some());
        assert!(is_closed(&twilio));
        drop(twilio);
        assert!(connections.lock().by_peer.is_empty());
    }

    /// Copies of one signed request on all connections, whose answers nobody read, kept everybody else out.
    #[test]
    fn an_answer_that_nobody_reads_keeps_no_place() {
        let connections = connections(2, 9);
        let unread = [1, 2].map(|last| connections.try_admit(peer(last)).unwrap());
        for admitted in &unread {
            admitted.0.prove(Proof::Twilio);
            admitted.0.answer_made();
            // Nothing of it could leave.
            admitted.0.written();
        }
        moved_before(&unread[0], 10);
        assert!(connections.try_admit(peer(3)).is_some());
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

    #[test]
    fn a_connection_that_only_drips_after_its_answer_makes_room_for_newcomers() {
        let connections = connections(2, 9);
        // A signed request on each, answered; then a byte of another one, and no more.
        let dripping = [1, 2].map(|last| open(&connections, peer(last), Proof::Twilio, 9_000));
        for admitted in &dripping {
            admitted.0.moved();
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
