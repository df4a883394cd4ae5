//! The HTTP server: actix-web's application on connections that do not stay open for nothing.
//!
//! actix-http bounds the head of a connection's first request, and the pause between two requests. It bounds neither the
//! head of a later request nor a chunked body that nobody reads any more, so that a byte now and then would keep a
//! connection, and what it has buffered, for ever. [`Tracked`] ends such a connection.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{
    HttpService,
    error::{DispatchError, ParseError},
};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, Server},
    middleware::from_fn,
    rt::net::TcpStream,
    web,
};

use super::{
    State,
    connections::{Connections, Place, Tracked},
    outer,
    stopping::{REQUESTS_TIME_MAX, Running},
};
use crate::{
    metrics::{Listener, Metrics, Unreadable},
    sampling::Sampled,
};

/// Connections of one thread beyond its part of those that may be open: so many can be on their way in, or out.
const CONNECTIONS_ON_THEIR_WAY: usize = 16;

/// Connections that the system completes before a thread has taken them: what comes in a quarter of a second in which the machine
/// does something else. Beyond them it drops the first packet of a connection, which is sent again only after a second: as long as
/// a callback may take. The system's own bound, 4,096 on Linux (`net.core.somaxconn`), holds as well.
const BACKLOG: i32 = 4_096;

/// How long a client may take to send the head of its first request.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: longer than common proxies keep theirs, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a connection is kept on which nothing is answered, whatever arrives: longer than an idle one is kept, than the
/// longest request takes, and than a live stream is silent.
const SILENCE_MAX: Duration = Duration::from_secs(80);

/// Lines in the log for each cause for which requests cannot be read, a minute.
const LINES_PER_MINUTE: u32 = 20;

/// Starts a server of `routes` on `listener`, with `workers` threads of its own, whose connections are among `connections`.
///
/// Where files run out all the same, no connection is taken for half a second at a time, and then again.
pub fn start(
    listener: TcpListener,
    workers: usize,
    connections: Arc<Connections>,
    state: web::Data<State>,
    routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Running> {
    // Beyond this they wait outside: where a thread is busy, those that it has not looked at yet are files too.
    let connections_max = connections.limits().in_all.div_ceil(workers) + CONNECTIONS_ON_THEIR_WAY;
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections_max)
        .shutdown_timeout(REQUESTS_TIME_MAX.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    // It listens already, but with the standard library's backlog of 128.
    rustix::net::listen(&listener, BACKLOG)?;
    let (address, listening) = (listener.local_addr()?, listener.try_clone()?);
    let open = connections.clone();
    let unread = Arc::new(Unread {
        listener: connections.listener(),
        metrics: state.app.metrics().clone(),
        lines: Sampled::new(LINES_PER_MINUTE),
    });
    let server = server.listen("http", listener, move || {
        let (state, routes, stopping) = (state.clone(), routes.clone(), stopping.clone());
        let app = App::new().app_data(state).configure(routes).wrap(from_fn(outer::keep));
        let app = map_config(app.into_factory(), |()| AppConfig::default());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_HEAD_TIMEOUT)
            .local_addr(address)
            .on_connect_ext(|stream: &Tracked<TcpStream>, data| {
                data.insert::<Arc<Place>>(stream.place().clone());
            })
            .h1(app.map_err(|error: actix_web::Error| error.error_response()));
        let (connections, unread) = (connections.clone(), unread.clone());
        // Each is taken in by the task that reads it at once: a newcomer whose request is there already has its answer made
        // before it could have to make room for the next one.
        let connect = move |stream: TcpStream| {
            let connections = connections.clone();
            async move {
                let peer = stream.peer_addr().ok();
                match connections.admit(peer.map(|peer| peer.ip())).await {
                    Some(admitted) => Ok((admitted.track(stream, SILENCE_MAX), peer)),
                    None => Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into())),
                }
            }
        };
        fn_service(connect).and_then(http).map_err(move |error| {
            unread.note(&error);
            error
        })
    })?;
    let server = server.run();
    Ok(Running::new(listening, open, server.handle(), tokio::spawn(server)))
}

/// Requests that the HTTP library answers by itself, with 400 or 431 and nothing more, since they cannot be read.
struct Unread {
    listener: Listener,
    metrics: Arc<Metrics>,
    lines: Sampled<Unreadable>,
}

impl Unread {
    /// Counts what ended a connection, if that was such a request.
    fn note(&self, error: &DispatchError) {
        let cause = match error {
            // Beyond 64 KiB it is no URL to the library.
            DispatchError::Parse(ParseError::Uri(_)) => Unreadable::Url,
            DispatchError::Parse(ParseError::TooLarge) => Unreadable::Head,
            DispatchError::Parse(_) => Unreadable::Malformed,
            _ => return,
        };
        self.metrics.unreadable_request(self.listener, cause);
        if let Some(left_out) = self.lines.note(cause) {
            let (listener, cause) = (self.listener.as_str(), cause.as_str());
            tracing::warn!(listener, cause, left_out, "a request could not be read");
        }
    }
}
