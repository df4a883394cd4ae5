//! The HTTP server: actix-web's application on connections that do not stay open for nothing.
//!
//! actix-http bounds the head of a connection's first request, and the pause between two requests. It bounds neither the
//! head of a later request nor a chunked body that nobody reads any more, so that a byte now and then would keep a
//! connection, and what it has buffered, for ever. [`IdleTimeout`] ends such a connection.

use std::{
    io,
    net::TcpListener,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{HttpService, error::DispatchError};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, Server},
    rt::net::TcpStream,
    web,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    State,
    connections::{Connections, Place, Tracked},
};

/// How long requests under way may take to finish once the service is asked to stop, in seconds: longer than the
/// longest send.
const SHUTDOWN_TIMEOUT_S: u64 = 25;

/// Connections of one thread beyond its part of those that may be open: so many can be on their way in, or out.
const CONNECTIONS_ON_THEIR_WAY: usize = 16;

/// How long a client may take to send the head of its first request.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: longer than common proxies keep theirs, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a connection is kept on which nothing is answered, whatever arrives: longer than an idle one is kept, than the
/// longest request takes, and than a live stream is silent.
const SILENCE_MAX: Duration = Duration::from_secs(80);

/// A server of `routes` on `listener`, with `workers` threads of its own, whose connections are among `connections`.
///
/// Where files run out all the same, no connection is taken for half a second at a time, and then again.
pub fn start(
    listener: TcpListener,
    workers: usize,
    connections: Arc<Connections>,
    state: web::Data<State>,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    // Beyond this they wait outside: where a thread is busy, those that it has not looked at yet are files too.
    let connections_max = connections.limits().in_all.div_ceil(workers) + CONNECTIONS_ON_THEIR_WAY;
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections_max)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let address = listener.local_addr()?;
    let server = server.listen("http", listener, move || {
        let (state, routes, stopping) = (state.clone(), routes.clone(), stopping.clone());
        let app = App::new().app_data(state).configure(routes);
        let app = map_config(app.into_factory(), |()| AppConfig::default());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_HEAD_TIMEOUT)
            .local_addr(address)
            .on_connect_ext(|stream: &Tracked<IdleTimeout<TcpStream>>, data| {
                data.insert::<Arc<Place>>(stream.place().clone());
            })
            .h1(app.map_err(|error: actix_web::Error| error.error_response()));
        let connections = connections.clone();
        let connect = move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            let admitted = connections.admit(peer.map(|peer| peer.ip()));
            std::future::ready(match admitted {
                Some(admitted) => Ok((admitted.track(IdleTimeout::new(stream, SILENCE_MAX)), peer)),
                None => Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into())),
            })
        };
        fn_service(connect).and_then(http)
    })?;
    Ok(server.run())
}

/// A stream that fails once nothing was written to it for a while.
struct IdleTimeout<T> {
    stream: T,
    silence_max: Duration,
    written: Instant,
    look: Pin<Box<Sleep>>,
}

impl<T> IdleTimeout<T> {
    fn new(stream: T, silence_max: Duration) -> Self {
        let written = Instant::now();
        let look = Box::pin(tokio::time::sleep_until(written + silence_max));
        Self { stream, silence_max, written, look }
    }

    /// Fails when the time is over, and sees to it that the task looks again when it is.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(cx).is_ready() {
            let end = self.written + self.silence_max;
            if end <= Instant::now() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was answered for too long"));
            }
            // Moved only now, and not with every write.
            self.look.as_mut().reset(end);
        }
        Ok(())
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.written = Instant::now();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for IdleTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_patience(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for IdleTimeout<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_patience(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_patience(cx)?;
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

    /// A byte now and then kept a connection for ever: as the head of a second request, or in chunks behind an answer.
    #[tokio::test]
    async fn a_stream_to_which_nothing_is_written_ends_whatever_arrives() {
        let (mut peer, stream) = tokio::io::duplex(64);
        let mut stream = IdleTimeout::new(stream, Duration::from_millis(50));
        let dripping = tokio::spawn(async move { while peer.write_all(b"a").await.is_ok() {} });
        let error = loop {
            if let Err(error) = stream.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stream.write(b"a").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(stream);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_that_is_written_to_goes_on() {
        let (mut peer, stream) = tokio::io::duplex(64);
        let mut stream = IdleTimeout::new(stream, Duration::from_secs(3600));
        let begun = stream.written;
        stream.write_all(b"a").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'a');
        assert!(stream.written > begun);
        // The look that was planned at the beginning finds that there is time left.
        stream.look.as_mut().reset(begun - Duration::from_secs(1));
        peer.write_all(b"b").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'b');
        assert_eq!(stream.look.deadline(), stream.written + stream.silence_max);
    }
}
