//! Where Redis is: the URL in `TEXTLEDGER_STORE`, read into its parts.
//!
//! ```text
//! redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
//! redis+unix:///PATH[?db=DATABASE&user=USER&password=PASSWORD]
//! redis-sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/NAME[?db=…&sentinel_user=…&sentinel_password=…]
//! redis-cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]
//! ```
//!
//! `rediss://`, `rediss-sentinel://` and `rediss-cluster://` are the same by TLS. Users, passwords and names are percent-encoded.
//! No fault quotes anything of a URL: it may hold a password.

use std::{fmt, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// The port of a server that names none.
const SERVER_PORT: u16 = 6379;

/// The port of a sentinel that names none.
const SENTINEL_PORT: u16 = 26379;

/// Where Redis is, and who asks there.
#[derive(Debug, Clone)]
pub struct RedisAddress {
    /// The URL as it was given.
    pub url: SecretString,
    /// How it is found.
    pub servers: Servers,
    /// Who signs in to it.
    pub login: Login,
    /// The number of the database in it.
    pub database: i64,
    /// Everything goes by TLS.
    pub is_tls: bool,
    /// What TLS goes by.
    pub certificates: Certificates,
}

/// How Redis is found.
#[derive(Debug, Clone)]
pub enum Servers {
    /// One server.
    Single(Endpoint),
    /// One server of this machine, at a socket.
    Socket(PathBuf),
    /// The server that sentinels call the master of a name.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<Endpoint>,
        /// The name.
        name: String,
        /// Who signs in to the sentinels.
        login: Login,
    },
    /// Some nodes of a cluster, which know the others.
    Cluster(Vec<Endpoint>),
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name or IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Who signs in. Neither is there for a Redis that asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// The user; `default` if there is none.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
}

/// Certificates as they are in files: PEM.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// Those by which Redis's own is believed, if it is not the system's.
    pub authorities: Option<String>,
    /// Our own certificate and its key, if Redis asks for one.
    pub client: Option<(String, SecretString)>,
}

/// What is wrong with a URL, without a word of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(&'static str);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Login {
    fn is_same(&self, other: &Self) -> bool {
        let password =
            |login: &Self| login.password.as_ref().map(|password| password.expose_secret().to_owned());
        self.user == other.user && password(self) == password(other)
    }
}

/// What stands between scheme and end of a URL.
struct Parts<'a> {
    authority: &'a str,
    /// Without the slash before it.
    path: &'a str,
    query: Query,
}

/// The parameters that have not been asked for yet.
struct Query(Vec<(String, String)>);

impl Query {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(at).1)
    }

    fn take_login(&mut self, user: &str, password: &str) -> Login {
        Login { user: self.take(user), password: self.take(password).map(SecretString::from) }
    }

    fn take_database(&mut self) -> Result<i64, InvalidAddress> {
        self.take("db").map_or(Ok(0), |number| database(&number))
    }
}

impl RedisAddress {
    /// Whether `text` has a scheme of Redis's.
    pub fn is_one(text: &str) -> bool {
        scheme(text).is_some()
    }

    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, InvalidAddress> {
        let (kind, is_tls, rest) =
            scheme(url).ok_or(InvalidAddress("the URL begins with no scheme of Redis's"))?;
        let mut parts = Parts::of(rest)?;
        let (mut endpoints, mut login) = endpoints(parts.authority, kind.port())?;
        let database = match kind {
            Kind::Single if !parts.path.is_empty() => database(parts.path)?,
            Kind::Cluster => 0,
            _ => parts.query.take_database()?,
        };
        let servers = match kind {
            Kind::Single => match (endpoints.pop(), endpoints.is_empty()) {
                (Some(endpoint), true) => Servers::Single(endpoint),
                (None, _) => return Err(InvalidAddress("the URL names no host")),
                _ => {
                    return Err(InvalidAddress(
                        "the URL names several hosts, as only a cluster or sentinels have",
                    ));
                }
            },
            Kind::Socket => {
                if !parts.authority.is_empty() || parts.path.is_empty() {
                    return Err(InvalidAddress(
                        "a socket is named by three slashes and its path: redis+unix:///PATH",
                    ));
                }
                login = parts.query.take_login("user", "password");
                login.password = login.password.or_else(|| parts.query.take("pass").map(SecretString::from));
                Servers::Socket(PathBuf::from(format!("/{}", decoded(parts.path)?)))
            }
            Kind::Sentinel => {
                let name = decoded(parts.path)?;
                if name.is_empty() || name.contains('/') {
                    return Err(InvalidAddress(
                        "the name of the master stands behind the sentinels: …HOST:PORT/NAME",
                    ));
                }
                let login = parts.query.take_login("sentinel_user", "sentinel_password");
                Servers::Sentinel { sentinels: endpoints, name, login }
            }
            Kind::Cluster if !parts.path.is_empty() => {
                return Err(InvalidAddress("a cluster has no database to be named behind its nodes"));
            }
            Kind::Cluster => Servers::Cluster(endpoints),
        };
        if !parts.query.0.is_empty() {
            return Err(InvalidAddress("the URL has a parameter behind its ? that this form does not know"));
        }
        let certificates = Certificates::default();
        Ok(Self { url: url.into(), servers, login, database, is_tls, certificates })
    }

    /// Whether it is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Single,
    Socket,
    Sentinel,
    Cluster,
}

impl Kind {
    fn port(self) -> u16 {
        if matches!(self, Kind::Sentinel) { SENTINEL_PORT } else { SERVER_PORT }
    }
}

/// The form that a URL has, whether it goes by TLS, and what follows the scheme.
fn scheme(url: &str) -> Option<(Kind, bool, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (kind, is_tls) = match scheme {
        "redis" => (Kind::Single, false),
        "rediss" => (Kind::Single, true),
        "redis+unix" => (Kind::Socket, false),
        "redis-sentinel" => (Kind::Sentinel, false),
        "rediss-sentinel" => (Kind::Sentinel, true),
        "redis-cluster" => (Kind::Cluster, false),
        "rediss-cluster" => (Kind::Cluster, true),
        _ => return None,
    };
    Some((kind, is_tls, rest))
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, InvalidAddress> {
        if rest.contains('#') {
            return Err(InvalidAddress("the URL has a # in it, which is written %23 in a password"));
        }
        // A password may have signs that should have been encoded: it ends at the last @.
        let at = rest.rsplit_once('@').filter(|_| !rest.starts_with('/'));
        let (login, place) = at.map_or((0, rest), |(login, place)| (login.len() + 1, place));
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self {
            authority: &rest[..login + hosts.len()],
            path: path.trim_end_matches('/'),
            query: Query(query),
        })
    }
}

/// The hosts of a list, and who signs in there: said once, or with each of them alike.
fn endpoints(authority: &str, port: u16) -> Result<(Vec<Endpoint>, Login), InvalidAddress> {
    let (mut endpoints, mut login) = (Vec::new(), Login::default());
    for part in authority.split(',').filter(|_| !authority.is_empty()) {
        let place = match part.rsplit_once('@') {
            None => part,
            Some((named, place)) => {
                let named = login_of(named)?;
                if !endpoints.is_empty() && !named.is_same(&login) {
                    return Err(InvalidAddress(
                        "the URL signs in differently at its hosts; a comma in a password is written %2C",
                    ));
                }
                login = named;
                place
            }
        };
        endpoints.push(endpoint(place, port)?);
    }
    Ok((endpoints, login))
}

fn login_of(text: &str) -> Result<Login, InvalidAddress> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Login { user: given(user), password: given(password).map(SecretString::from) })
}

fn endpoint(place: &str, default_port: u16) -> Result<Endpoint, InvalidAddress> {
    let invalid = || InvalidAddress("a host and its port are written HOST:PORT, those of IPv6 [::1]:PORT");
    let (host, port) = match place.strip_prefix('[') {
        Some(place) => {
            let (host, rest) = place.split_once(']').ok_or_else(invalid)?;
            (host, rest.strip_prefix(':').or(Some("").filter(|_| rest.is_empty())).ok_or_else(invalid)?)
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = if port.is_empty() { default_port } else { port.parse().map_err(|_| invalid())? };
    if host.is_empty() || host.contains(|sign: char| sign.is_whitespace()) || port == 0 {
        return Err(invalid());
    }
    Ok(Endpoint { host: host.to_owned(), port })
}

fn database(number: &str) -> Result<i64, InvalidAddress> {
    let read = number.parse().ok().filter(|number| *number >= 0);
    read.ok_or(InvalidAddress("the database is a number, such as 1"))
}

/// The text that is percent-encoded.
fn decoded(text: &str) -> Result<String, InvalidAddress> {
    let invalid = InvalidAddress("what is percent-encoded in the URL is no text");
    percent_encoding::percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> RedisAddress {
        RedisAddress::parse(url).unwrap_or_else(|fault| panic!("{url}: {fault}"))
    }

    fn login(login: &Login) -> (&str, &str) {
        let password = login.password.as_ref().map_or("", |password| password.expose_secret());
        (login.user.as_deref().unwrap_or_default(), password)
    }

    fn listed(endpoints: &[Endpoint]) -> String {
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_server_is_named_with_its_user_and_database() {
        for (url, place, signs_in, database, is_tls) in [
            ("redis://localhost", "localhost:6379", ("", ""), 0, false),
            ("redis://localhost/", "localhost:6379", ("", ""), 0, false),
            ("rediss://r.example.com:6380/3", "r.example.com:6380", ("", ""), 3, true),
            ("redis://:s3cret@10.0.0.1:1", "10.0.0.1:1", ("", "s3cret"), 0, false),
            ("redis://ada:s%40%2C%2B+@[::1]:7/2", "[::1]:7", ("ada", "s@,++"), 2, false),
            ("redis://ada:hun@ter@[::1]", "[::1]:6379", ("ada", "hun@ter"), 0, false),
            ("redis://ada:a/b?c@h", "h:6379", ("ada", "a/b?c"), 0, false),
            ("redis://localhost?db=4", "localhost:6379", ("", ""), 4, false),
        ] {
            let address = read(url);
            let Servers::Single(endpoint) = &address.servers else { panic!("{url}") };
            assert_eq!(endpoint.to_string(), place, "{url}");
            assert_eq!(
                (login(&address.login), address.database, address.is_tls),
                (signs_in, database, is_tls)
            );
        }
    }

    #[test]
    fn a_socket_is_named_by_its_path() {
        let address = read("redis+unix:///run/redis/redis%20a.sock?db=2&user=ada&password=s%26+1");
        let Servers::Socket(path) = &address.servers else { panic!("{address:?}") };
        assert_eq!(path.to_str(), Some("/run/redis/redis a.sock"));
        assert_eq!((login(&address.login), address.database), (("ada", "s& 1"), 2));
        assert_eq!(login(&read("redis+unix:///a?pass=b").login), ("", "b"));
    }

    #[test]
    fn sentinels_are_named_with_the_master_and_have_a_login_of_their_own() {
        let address = read(
            "rediss-sentinel://ada:s3cret@one,two:1/my%20master?db=1&sentinel_user=eve&sentinel_password=other",
        );
        let Servers::Sentinel { sentinels, name, login: of_sentinels } = &address.servers else { panic!() };
        assert_eq!((listed(sentinels).as_str(), name.as_str()), ("one:26379 two:1", "my master"));
        assert_eq!((login(&address.login), login(of_sentinels)), (("ada", "s3cret"), ("eve", "other")));
        assert_eq!((address.database, address.is_tls), (1, true));
    }

    #[test]
    fn a_cluster_is_named_by_some_nodes_which_have_one_login() {
        for url in ["redis-cluster://:a@one:1,two", "redis-cluster://:a@one:1,:a@two/"] {
            let address = read(url);
            let Servers::Cluster(nodes) = &address.servers else { panic!("{url}") };
            assert_eq!((listed(nodes).as_str(), login(&address.login)), ("one:1 two:6379", ("", "a")));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_without_a_word_of_the_url() {
        for url in [
            "http://hunter2@localhost",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@localhost:hunter2",
            "redis://:hunter2@localhost:0",
            "redis://:hunter2@localhost/hunter2",
            "redis://:hunter2@localhost/-1",
            "redis://:hunter2@localhost?hunter2=1",
            "redis://:hunter2#2@localhost",
            "redis://:hunter2%ff@localhost",
            "redis://:hunter2@one,two",
            "redis://:hunter2@[::1",
            "redis+unix://hunter2/run/redis.sock",
            "redis+unix://",
            "redis+unix:///run/redis.sock?db=hunter2",
            "redis-sentinel://:hunter2@one,two",
            "redis-sentinel://:hunter2@one/a/b",
            "redis-sentinel://:hunter2@one,,two/a",
            "redis-cluster://:hunter2@one/1",
            "redis-cluster://:hunter2@one,:other@two",
            "redis-cluster://one,:hunter2@two",
        ] {
            let fault = RedisAddress::parse(url).unwrap_err().to_string();
            assert!(!fault.contains("hunter2"), "{url}: {fault}");
        }
    }
}
