//! How many connections may be open at an address, and which of them makes room for another.
//!
//! A connection costs a file and memory before anything is known of who opened it, so each address has a bound for all of its
//! connections, and one for those of a peer. Turning newcomers away at the bound would hand the address to whoever came first
//! and stays: with idle connections a stranger could keep Twilio out. So an open one is closed instead, the one that can be
//! spared best ([`Standing`]). A request that Twilio signed is never cut off: only if all connections wait for the answers to
//! such requests is the newcomer closed, before anything of it is read.
//!
//! It is the request that is kept, and not its connection: a signature or a token is worth nothing any more once the answer has
//! left. Whoever may ask could otherwise hold all places with one request on each.
//!
//! A peer's bound counts strangers alone, connections on which no valid token or signature was seen yet: behind a reverse proxy
//! all callers have one address.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::HttpRequest;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::metrics::{ConnectionClosed, Listener, Metrics};

/// How long a connection on which bytes have moved is left alone, if another one can be spared: time for a newcomer to show who
/// they are.
const FRESH_FOR: Duration = Duration::from_secs(1);

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
    /// The bytes that moved last were an answer's.
    is_answered: AtomicBool,
    /// The best [`Proof`] of a request on it that has no answer yet.
    asks: AtomicU8,
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
    /// Its last answer has just left.
    Answered,
    /// Bytes have just come, and there was no time yet to show whose they are. What was shown before does not count.
    Fresh,
    /// A caller waits for an answer.
    AwaitsAnswer,
}

impl Connections {
    /// None yet.
    pub fn new(listener: Listener, limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let (begun, open) = (Instant::now(), Mutex::default());
        Arc::new(Self { listener, limits, begun, metrics, open })
    }

    /// The most that may be open.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes in a connection of `peer`. `None` if there is no room for it and none could be made.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Admitted> {
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
            is_answered: AtomicBool::new(false),
            asks: AtomicU8::new(Proof::None as u8),
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
            .map(|(_, _, connection)| connection.clone());
        let cause = if spared.is_some() { cause } else { ConnectionClosed::Newcomer };
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
        let spared = spared?;
        open.remove(&spared);
        spared.closing.cancel();
        Some(())
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
        match self.asks() {
            Proof::Twilio => None,
            Proof::Caller => Some(Standing::AwaitsAnswer),
            Proof::None if is_fresh && self.is_answered.load(Ordering::Relaxed) => Some(Standing::Answered),
            Proof::None if is_fresh => Some(Standing::Fresh),
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

    /// Bytes have come. They show nothing of whose they are, and so change nothing of what the connection asks.
    fn heard(&self) {
        self.connection.moved_ms.store(self.connections.now_ms(), Ordering::Relaxed);
        self.connection.is_answered.store(false, Ordering::Relaxed);
    }

    /// Bytes of an answer have left.
    fn answered(&self) {
        self.connection.moved_ms.store(self.connections.now_ms(), Ordering::Relaxed);
        self.connection.is_answered.store(true, Ordering::Relaxed);
        self.connection.asks.store(Proof::None as u8, Ordering::Relaxed);
    }
}

/// A connection that was taken in; dropping it takes it out again.
pub struct Admitted(Arc<Place>);

impl Admitted {
    /// `stream`, as the connection that was taken in.
    pub fn track<T>(self, stream: T) -> Tracked<T> {
        let closing = Box::pin(self.0.connection.closing.clone().cancelled_owned());
        Tracked { stream, admitted: self, closing }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.0.connections.lock();
        open.remove(&self.0.connection);
        // It is no longer counted, whatever a request on it shows yet.
        self.0.connection.closing.cancel();
    }
}

/// A stream that notes when bytes move, and fails once its place is given to another.
pub struct Tracked<T> {
    stream: T,
    admitted: Admitted,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T> Tracked<T> {
    /// What is known of the connection, for its requests.
    pub fn place(&self) -> &Arc<Place> {
        &self.admitted.0
    }

    fn poll_place(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.closing.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "another connection needed the place"))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.place().answered();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tracked<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_place(cx)?;
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.place().heard();
            } else if room > 0 {
                self.place().connection.hung_up.cancel();
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tracked<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_place(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_place(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn connections(in_all: usize, per_peer: usize) -> Arc<Connections> {
        let limits = Limits { in_all, per_peer };
        let connections = Connections::new(Listener::Api, limits, Arc::new(Metrics::new()));
        let begun = connections.begun - Duration::from_secs(3_600);
        Arc::new(Connections { begun, ..Arc::into_inner(connections).expect("nobody else has it yet") })
    }

    fn peer(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    /// A connection on which bytes moved last `ago_ms` before now: the answer's, if its request has shown a `proof`.
    fn open(connections: &Arc<Connections>, peer: Option<IpAddr>, proof: Proof, ago_ms: u64) -> Admitted {
        let admitted = connections.admit(peer).unwrap();
        if proof > Proof::None {
            admitted.0.prove(proof);
            admitted.0.answered();
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
    fn idle_connections_make_room_before_answered_ones_and_those_that_have_just_begun_to_ask_last() {
        let connections = connections(5, 9);
        let in_order = [
            open(&connections, peer(1), Proof::None, 8_000),
            open(&connections, peer(2), Proof::None, 7_000),
            open(&connections, peer(3), Proof::Caller, 9_000),
            open(&connections, peer(5), Proof::Twilio, 200),
            open(&connections, peer(4), Proof::None, 300),
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
        assert_eq!(connections.lock().count, 5);
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
        assert!(connections.admit(peer(2)).is_none());
        // What comes behind it takes nothing from it.
        twilio.0.heard();
        assert!(connections.admit(peer(2)).is_none());
        twilio.0.answered();
        assert!(connections.admit(peer(2)).is_some());
        assert!(is_closed(&twilio));
        drop(twilio);
        assert!(connections.lock().by_peer.is_empty());
    }

    #[test]
    fn a_connection_that_only_drips_after_its_answer_makes_room_for_newcomers() {
        let connections = connections(2, 9);
        // A signed request on each, answered; then a byte of another one, and no more.
        let dripping = [1, 2].map(|last| open(&connections, peer(last), Proof::Twilio, 9_000));
        for admitted in &dripping {
            admitted.0.heard();
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

    #[tokio::test]
    async fn a_connection_ends_when_its_place_is_given_away() {
        let connections = connections(1, 1);
        let (mut client, stream) = tokio::io::duplex(64);
        let mut stream = connections.admit(peer(1)).unwrap().track(stream);
        let place = stream.place().clone();
        client.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        assert_eq!(place.connection.asks(), Proof::None);
        place.prove(Proof::Caller);
        assert_eq!(place.connection.asks(), Proof::Caller);
        stream.write_all(b"b").await.unwrap();
        assert_eq!(place.connection.asks(), Proof::None);
        let reading = tokio::spawn(async move { stream.read_u8().await.unwrap_err().kind() });
        let _newcomer = connections.admit(peer(1)).unwrap();
        assert_eq!(reading.await.unwrap(), io::ErrorKind::ConnectionAborted);
        assert!(!place.connection.hung_up.is_cancelled());
    }

    #[tokio::test]
    async fn it_is_known_when_a_client_hangs_up() {
        let connections = connections(1, 1);
        let (client, stream) = tokio::io::duplex(64);
        let mut stream = connections.admit(peer(1)).unwrap().track(stream);
        drop(client);
        assert!(stream.read_u8().await.is_err());
        assert!(stream.place().connection.hung_up.is_cancelled());
    }
}
