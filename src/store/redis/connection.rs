//! One server or a cluster, behind the same two calls. Reconnects by itself.

use std::time::Duration;

use redis::{
    Client, Cmd, RedisResult, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer may take. Twilio waits 4 s for ours, by the connection overrides we ask for.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that may wait to be written to the connection; one more waits outside.
const PIPELINE_MAX: usize = 1_024;

/// The longest pause between two attempts to connect again.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);

/// Where Redis is.
#[derive(Clone)]
pub(super) enum Server {
    /// One server.
    Single(Box<Client>),
    /// The nodes of a cluster by which it is found.
    Cluster(Box<ClusterClient>),
}

/// Shared by the requests of one thread: commands of many of them travel together, and no other thread is woken.
#[derive(Clone)]
pub(super) enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Server {
    /// Reads `redis://…`, `rediss://…` or `redis-cluster://host:port,host:port`.
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        match url.strip_prefix("redis-cluster://") {
            None => Ok(Server::Single(Box::new(Client::open(url)?))),
            Some(nodes) => {
                let nodes = nodes.split(',').map(|node| format!("redis://{node}"));
                let client = ClusterClient::builder(nodes)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(RESPONSE_TIMEOUT)
                    .build()?;
                Ok(Server::Cluster(Box::new(client)))
            }
        }
    }

    /// A connection that is made with its first command, on the runtime that this is called on.
    pub(super) fn connect(&self) -> RedisResult<Connection> {
        match self {
            Server::Single(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT))
                    .set_max_delay(RECONNECT_DELAY_MAX)
                    .set_number_of_retries(1)
                    .set_pipeline_buffer_size(PIPELINE_MAX);
                ConnectionManager::new_lazy_with_config(client.as_ref().clone(), config)
                    .map(Connection::Single)
            }
            Server::Cluster(client) => {
                let connection = client.get_pending_async_connection_with_config(ClusterConfig::new());
                Ok(Connection::Cluster(connection))
            }
        }
    }

    /// A connection for commands that wait at the server; a cluster has none, as one command cannot wait for
    /// several slots.
    pub(super) async fn connect_to_wait(&self) -> RedisResult<Option<MultiplexedConnection>> {
        match self {
            Server::Single(client) => {
                let config = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(None);
                client.get_multiplexed_async_connection_with_config(&config).await.map(Some)
            }
            Server::Cluster(_) => Ok(None),
        }
    }
}

impl Connection {
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Connection::Single(connection) => command.query_async(&mut connection.clone()).await,
            Connection::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }
}
