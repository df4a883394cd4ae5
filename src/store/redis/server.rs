//! Where Redis is, and how connections to it are made: to one server, to the master that sentinels name, or to a cluster.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use secrecy::ExposeSecret;

use super::sentinels::{Sentinels, no_master};
use crate::redis_address::{Certificates, Endpoint, Login, RedisAddress, Servers};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the connection to one node of a cluster may take, so that one that is gone leaves time for the others.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long an answer may take. Twilio waits 4 s for ours, by the connection overrides we ask for.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that may wait to be written to the connection; one more waits outside.
const PIPELINE_MAX: usize = 1_024;

/// The shortest time for which a link is kept that still stands, but leads to no master or gets no answers.
pub(super) const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// After how long without a word it is looked whether the other side is still there, how often, and at what pace. It keeps
/// whatever is on the way from forgetting the connection, too.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// Where Redis is.
pub(super) struct Server {
    address: Address,
    /// Links that were begun before are left: one of them led to no master.
    renewed: Mutex<Instant>,
}

enum Address {
    /// One server.
    Single(Box<Client>),
    /// The server that sentinels call the master.
    Sentinel(Arc<Sentinels>, Box<Access>),
    /// The nodes of a cluster by which it is found.
    Cluster(Box<ClusterClient>),
}

/// How a server is asked that is one of several.
struct Access {
    settings: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

/// A connection to Redis.
#[derive(Clone)]
pub(super) enum Wire {
    /// To one server.
    Single(MultiplexedConnection),
    /// To the server that sentinels called the master when it was made.
    Master(MultiplexedConnection, Endpoint),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl Access {
    fn new(login: &Login, database: i64, is_tls: bool, certificates: &Certificates) -> Self {
        let mut settings = RedisConnectionInfo::default().set_db(database);
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.expose_secret());
        }
        let client_tls = certificates.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone().into_bytes(),
            client_key: key.expose_secret().as_bytes().to_vec(),
        });
        let root_cert = certificates.authorities.as_ref().map(|authorities| authorities.clone().into_bytes());
        Self { settings, tls: is_tls.then_some(TlsCertificates { client_tls, root_cert }) }
    }

    fn info(&self, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
        let info = address.into_connection_info()?;
        Ok(info.set_redis_settings(self.settings.clone()).set_tcp_settings(tcp_settings()))
    }

    fn info_at(&self, endpoint: &Endpoint) -> RedisResult<ConnectionInfo> {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        self.info(match self.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        })
    }

    fn client(&self, endpoint: &Endpoint) -> RedisResult<Client> {
        let info = self.info_at(endpoint)?;
        match &self.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn cluster(&self, nodes: &[Endpoint]) -> RedisResult<ClusterClient> {
        let nodes = nodes.iter().map(|node| self.info_at(node)).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(NODE_CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .tcp_settings(tcp_settings());
        if let Some(certificates) = &self.tls {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    TcpSettings::default().set_keepalive(keepalive)
}

impl Server {
    /// The one at `address`. It fails if its certificates cannot be read.
    pub(super) fn new(address: &RedisAddress) -> RedisResult<Self> {
        let access = |login| Access::new(login, address.database, address.is_tls, &address.certificates);
        let of_servers = access(&address.login);
        let address = match &address.servers {
            Servers::Single(endpoint) => Address::Single(Box::new(of_servers.client(endpoint)?)),
            Servers::Socket(path) => {
                let info = of_servers.info(ConnectionAddr::Unix(path.clone()))?;
                Address::Single(Box::new(Client::open(info)?))
            }
            Servers::Sentinel { sentinels, name, login } => {
                // A sentinel has no databases.
                let of_sentinels = Access::new(login, 0, address.is_tls, &address.certificates);
                let clients = sentinels.iter().map(|endpoint| of_sentinels.client(endpoint));
                let sentinels = Sentinels::new(clients.collect::<RedisResult<_>>()?, name);
                Address::Sentinel(Arc::new(sentinels), Box::new(of_servers))
            }
            Servers::Cluster(nodes) => Address::Cluster(Box::new(of_servers.cluster(nodes)?)),
        };
        Ok(Self { address, renewed: Mutex::new(Instant::now()) })
    }

    /// Whether it is a cluster, where no command can wait for several slots.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// Makes a connection. One that is closed in the middle of it is made again: connections that are ended at Redis's side
    /// are so all at once, those under way with the others.
    pub(super) async fn connect(&self) -> RedisResult<Wire> {
        match self.connect_in_time().await {
            Err(error) if error.is_connection_dropped() && !error.is_connection_refusal() => {
                self.connect_in_time().await
            }
            made => made,
        }
    }

    async fn connect_in_time(&self) -> RedisResult<Wire> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect()).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn try_connect(&self) -> RedisResult<Wire> {
        match &self.address {
            Address::Single(client) => connect_to(client).await.map(Wire::Single),
            Address::Sentinel(sentinels, access) => {
                let master = sentinels.master().await?;
                let mut connection = connect_to(&access.client(&master)?).await?;
                let role: (String, Value, Value) = redis::cmd("ROLE").query_async(&mut connection).await?;
                if role.0 != "master" {
                    return Err(no_master("the server that the sentinels name is no master yet"));
                }
                Ok(Wire::Master(connection, master))
            }
            Address::Cluster(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }

    /// Whether `master` may be asked: sentinels called it the master a moment ago.
    pub(super) async fn follows(&self, master: &Endpoint) -> bool {
        match &self.address {
            Address::Sentinel(sentinels, _) => sentinels.follow(master).await,
            _ => true,
        }
    }

    /// Whether sentinels call `master` the master still, now that it has answered.
    pub(super) async fn still_follows(&self, master: &Endpoint) -> bool {
        match &self.address {
            Address::Sentinel(sentinels, _) => {
                sentinels.calls_master(master, tokio::time::Instant::now()).await
            }
            _ => true,
        }
    }

    /// Has all links left that have been begun before now, unless some were just left so. Returns whether one that was `begun`
    /// then is among those that are left.
    pub(super) fn renew(&self, begun: Instant) -> bool {
        let mut renewed = self.renewed();
        if begun >= *renewed && renewed.elapsed() >= RENEWAL_INTERVAL {
            *renewed = Instant::now();
        }
        begun < *renewed
    }

    /// When links were left last: those that were begun before are.
    pub(super) fn renewed(&self) -> MutexGuard<'_, Instant> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect_to(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(PIPELINE_MAX);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// No answer has come in time.
pub(super) fn timed_out() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

impl Wire {
    /// The server that it leads to, if sentinels have named it.
    pub(super) fn master(&self) -> Option<Endpoint> {
        match self {
            Wire::Master(_, master) => Some(master.clone()),
            Wire::Single(_) | Wire::Cluster(_) => None,
        }
    }

    /// Sends `command`; the answer may take `time_max`.
    pub(super) async fn send(self, command: &Cmd, time_max: Duration) -> RedisResult<Value> {
        match self {
            Wire::Single(mut connection) | Wire::Master(mut connection, _) => {
                connection.set_response_timeout(time_max);
                command.query_async(&mut connection).await
            }
            Wire::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }
}
