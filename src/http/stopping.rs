//! How the doors close: what is on its way when the service is asked to stop is answered first.
//!
//! A connection that ends just as a request comes on it is a request without an answer, and so is one that the system has completed
//! and nobody takes. So the service goes on at first and only says that it stops: `/readyz` is 503, and every answer ends its
//! connection. Once nothing comes any more, or after [`DRAIN_TIME_MAX`], newcomers are turned away; those who came before have
//! [`LAST_TIME_MAX`] to be taken and to ask. Only then the addresses are closed. Where nobody is connected, all of that takes a moment.

use std::{
    io,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::dev::ServerHandle;
use futures_util::future::try_join_all;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::task::JoinHandle;

use super::connections::Connections;

/// How long requests are taken as before, where they do not end by themselves: time for a load balancer to hear of the stop, and for
/// clients to ask once more on each connection that they keep.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);

/// How long those who came last have to be taken and to ask.
const LAST_TIME_MAX: Duration = Duration::from_secs(1);

/// How long nothing must have come: longer than it takes from an answer across an ocean to the next request on its connection.
const QUIET_TIME: Duration = Duration::from_millis(250);

/// How long it is between two looks at what comes. A connection that was taken from the system is counted within that.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long requests under way may take once nothing new is taken: longer than the longest send.
pub(super) const REQUESTS_TIME_MAX: Duration = Duration::from_secs(25);

/// How long the doors take to close, at the most.
pub const CLOSING_TIME_MAX: Duration =
    DRAIN_TIME_MAX.saturating_add(LAST_TIME_MAX).saturating_add(REQUESTS_TIME_MAX);

/// A server that runs at one address.
pub struct Running {
    listener: TcpListener,
    connections: Arc<Connections>,
    handle: ServerHandle,
    ended: JoinHandle<io::Result<()>>,
}

impl Running {
    /// The server of `handle`, which listens with `listener`.
    pub(super) fn new(
        listener: TcpListener,
        connections: Arc<Connections>,
        handle: ServerHandle,
        ended: JoinHandle<io::Result<()>>,
    ) -> Self {
        Self { listener, connections, handle, ended }
    }

    /// Whether nothing comes, nor waits to be taken.
    fn is_quiet(&self) -> bool {
        !is_waited_at(&self.listener) && self.connections.are_quiet_for(QUIET_TIME)
    }

    async fn stop(self) -> io::Result<()> {
        // As long as anybody has it, the address is not closed.
        drop(self.listener);
        self.handle.stop(true).await;
        self.ended.await.map_err(io::Error::other)?
    }
}

/// Closes the doors of all `servers`, in at most [`CLOSING_TIME_MAX`].
///
/// # Errors
///
/// If a server had failed.
pub async fn close(servers: Vec<Running>) -> io::Result<()> {
    if !quiet_within(DRAIN_TIME_MAX, &servers).await {
        tracing::info!("requests still come: from now on, whoever is not connected yet is turned away");
    }
    for server in &servers {
        if let Err(error) = turn_away(&server.listener) {
            tracing::warn!(%error, "whoever connects in the last moment gets no answer");
        }
    }
    quiet_within(LAST_TIME_MAX, &servers).await;
    try_join_all(servers.into_iter().map(Running::stop)).await.map(drop)
}

/// Waits for a moment in which all `servers` are quiet. `false` if there was none within `time`.
async fn quiet_within(time: Duration, servers: &[Running]) -> bool {
    let end = Instant::now() + time;
    loop {
        // At first as well: a connection may have been taken, and not be counted yet.
        tokio::time::sleep(LOOK_INTERVAL).await;
        if servers.iter().all(Running::is_quiet) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
    }
}

/// Whether a connection is complete that nobody has taken.
fn is_waited_at(listener: &TcpListener) -> bool {
    let mut listeners = [PollFd::new(listener, PollFlags::IN)];
    matches!(poll(&mut listeners, Some(&Timespec::default())), Ok(1..) | Err(Errno::INTR))
}

/// Lets the system drop the first packet of every further connection: its client sends it again after a second, and is refused then.
/// A listener that is closed instead resets what the system has completed meanwhile, and no look at it comes late enough.
#[cfg(target_os = "linux")]
fn turn_away(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    /// Which byte of a TCP header holds the flags.
    const FLAGS: u32 = 13;
    /// The flag of a first packet.
    const SYN: u32 = 0x02;
    // Of the kernel's language for filters: read a byte, go on if it has a bit, keep so much of the packet.
    const READ: u16 = 0x30;
    const HAS: u16 = 0x45;
    const KEEP: u16 = 0x06;
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(READ, 0, 0, FLAGS),
        SockFilter::new(HAS, 0, 1, SYN),
        SockFilter::new(KEEP, 0, 0, 0),
        SockFilter::new(KEEP, 0, 0, u32::MAX),
    ])
}

/// Other systems have no such filter.
#[cfg(not(target_os = "linux"))]
fn turn_away(_: &TcpListener) -> io::Result<()> {
    Ok(())
}
