//! Where Redis is, and opening one connection to it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
};

use crate::error;

/// How long one try to connect may take, the greeting included. Longer than a lost SYN takes to be sent again twice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls that may wait for the socket before callers are held back.
const CALLS_QUEUED_MAX: usize = 1024;
/// Bytes gathered before they are written: a batch of calls becomes one system call.
const WRITE_BYTES: usize = 64 * 1024;

/// Where Redis is and how to log in. Its `Debug` and `Display` never show the password.
#[derive(Clone)]
pub struct ConnectOptions {
    info: ConnectionInfo,
    prefix: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("redis url {url:?}: {cause}; write redis://[user:password@]host[:port][/db]")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The URL asks for a way of running Redis that is not supported.
    #[error(
        "redis url {url:?}: scheme {scheme:?} is not supported; use redis:// (TCP), rediss:// (TLS) or unix:// (socket file)"
    )]
    Scheme {
        /// The URL without its password.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Nobody listens there.
    #[error(
        "redis at {address} refuses the connection: {cause}; start redis-server there or correct the address (REDIS_URL)"
    )]
    Refused {
        /// Where.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The host's name is not known.
    #[error(
        "redis at {address}: the host name cannot be resolved: {cause}; correct the address (REDIS_URL) or the DNS"
    )]
    Name {
        /// Where.
        address: String,
        /// What the resolver said.
        cause: String,
    },
    /// No answer in time.
    #[error(
        "redis at {address} did not answer within {} s; check the address, firewalls, and whether it expects TLS (rediss://)",
        CONNECT_TIMEOUT.as_secs()
    )]
    Timeout {
        /// Where.
        address: String,
    },
    /// The user or password is wrong, missing, or may not do what is needed.
    #[error("redis at {address} denies access: {cause}; {fix}")]
    Denied {
        /// Where.
        address: String,
        /// What Redis said.
        cause: String,
        /// What to change.
        fix: &'static str,
    },
    /// It has no such database.
    #[error(
        "redis at {address} has no database {db}: {cause}; choose another one (REDIS_DB, or the end of REDIS_URL)"
    )]
    Database {
        /// Where.
        address: String,
        /// Its number.
        db: i64,
        /// What Redis said.
        cause: String,
    },
    /// Somebody else has the port.
    #[error(
        "something answers at {address} that is not Redis; correct the address (REDIS_URL), or write rediss:// if it is Redis behind TLS"
    )]
    NotRedis {
        /// Where.
        address: String,
    },
    /// It is there but cannot work now.
    #[error("redis at {address} is not ready: {cause}; it is tried again")]
    NotReady {
        /// Where.
        address: String,
        /// What Redis said.
        cause: String,
    },
    /// Anything else.
    #[error("redis at {address}: {cause}")]
    Other {
        /// Where.
        address: String,
        /// What happened.
        cause: String,
    },
}

// === impl ConnectOptions ===

impl ConnectOptions {
    /// Reads a URL: `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS with the system's certificates,
    /// `unix:///path/redis.sock[?db=1&user=…&pass=…]`.
    ///
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Scheme`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let bad = |cause: String| ConnectError::Url { url: redact(url), cause };
        let parsed = url::Url::parse(url).map_err(|e| bad(e.to_string()))?;
        match parsed.scheme() {
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix" => {}
            scheme => return Err(ConnectError::Scheme { url: redact(url), scheme: scheme.to_owned() }),
        }
        // The parser quotes what it was given in some of its messages; the kind says enough.
        let info = parsed.into_connection_info().map_err(|e| bad(error::describe(&e)))?;
        Ok(Self::from_info(info))
    }

    /// Redis at a host and port; the database is 0.
    ///
    /// # Errors
    /// [`ConnectError::Url`] when the client library cannot use such an address.
    pub fn tcp(host: impl Into<String>, port: u16, tls: bool) -> Result<Self, ConnectError> {
        let host = host.into();
        Self::from_addr(if tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        })
    }

    /// Redis behind a socket file; the database is 0.
    ///
    /// # Errors
    /// [`ConnectError::Url`] when the client library cannot use such an address.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::from_addr(ConnectionAddr::Unix(path.as_ref().to_owned()))
    }

    fn from_addr(addr: ConnectionAddr) -> Result<Self, ConnectError> {
        let url = addr.to_string();
        let info =
            addr.into_connection_info().map_err(|e| ConnectError::Url { url, cause: error::describe(&e) })?;
        Ok(Self::from_info(info))
    }

    fn from_info(info: ConnectionInfo) -> Self {
        // Replies have one shape whatever the URL says.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        Self { info: info.set_redis_settings(settings), prefix: "bull".to_owned() }
    }

    fn settings(self, change: impl FnOnce(redis::RedisConnectionInfo) -> redis::RedisConnectionInfo) -> Self {
        let settings = change(self.info.redis_settings().clone());
        Self { info: self.info.set_redis_settings(settings), ..self }
    }

    /// Logs in as this ACL user; without one it is Redis's `default` user.
    #[must_use]
    pub fn username(self, username: impl AsRef<str>) -> Self {
        self.settings(|s| s.set_username(username))
    }

    /// Logs in with this password.
    #[must_use]
    pub fn password(self, password: impl AsRef<str>) -> Self {
        self.settings(|s| s.set_password(password))
    }

    /// Uses this database.
    #[must_use]
    pub fn database(self, db: u32) -> Self {
        self.settings(|s| s.set_db(i64::from(db)))
    }

    /// What every key of a queue starts with; BullMQ's `prefix` option. Default `bull`.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// See [`Self::prefix`].
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.prefix
    }

    /// `host:port`, or the socket's path.
    pub(crate) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// Opens a connection and makes sure that it may be used. `response_timeout` bounds every later call; none for
    /// connections that block on purpose.
    pub(crate) async fn open(
        &self,
        response_timeout: Option<Duration>,
    ) -> Result<MultiplexedConnection, ConnectError> {
        if matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) {
            // An error says that somebody chose a provider already, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(response_timeout)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
            .set_write_backpressure_boundary(WRITE_BYTES);
        let explain = |e| ConnectError::of(self, &e);
        let client = Client::open(self.info.clone()).map_err(explain)?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(explain)?;
        // A missing password and a server that still loads its data only show with the first command.
        let ping = redis::cmd("PING");
        match tokio::time::timeout(CONNECT_TIMEOUT, ping.query_async::<String>(&mut connection)).await {
            Ok(Ok(pong)) if pong == "PONG" => Ok(connection),
            // Other protocols have lines that begin with a plus too.
            Ok(Ok(_)) => Err(ConnectError::NotRedis { address: self.address() }),
            Ok(Err(e)) => Err(explain(e)),
            Err(_) => Err(ConnectError::Timeout { address: self.address() }),
        }
    }
}

impl fmt::Display for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (database {})", self.info.addr(), self.info.redis_settings().db())
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("address", &self.address())
            .field("database", &self.info.redis_settings().db())
            .field("username", &self.info.redis_settings().username())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The URL with its password replaced, also where it cannot be parsed.
fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, query) = rest.split_once('?').map_or((rest, false), |(rest, _)| (rest, true));
    let place = match rest.rsplit_once('@') {
        None => rest.to_owned(),
        Some((login, place)) => {
            let user = login.split_once(':').map_or("", |(user, _)| user);
            format!("{user}:***@{place}")
        }
    };
    // A query may hold a password too.
    let query = if query { "?***" } else { "" };
    if scheme.is_empty() { format!("{place}{query}") } else { format!("{scheme}://{place}{query}") }
}

// === impl ConnectError ===

impl ConnectError {
    /// True when trying again may help without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Name { .. }
            | Self::Timeout { .. }
            | Self::NotReady { .. }
            | Self::Other { .. } => true,
            Self::Url { .. }
            | Self::Scheme { .. }
            | Self::Denied { .. }
            | Self::Database { .. }
            | Self::NotRedis { .. } => false,
        }
    }

    fn of(options: &ConnectOptions, e: &redis::RedisError) -> Self {
        let (address, cause) = (options.address(), error::describe(e));
        if let Some(fix) = error::login_fix(e) {
            return Self::Denied { address, cause, fix };
        }
        if error::is_foreign(e) {
            return Self::NotRedis { address };
        }
        if e.is_timeout() {
            return Self::Timeout { address };
        }
        if e.is_connection_refusal() {
            return Self::Refused { address, cause };
        }
        if e.is_io_error() && cause.contains("lookup") || cause.contains("No address found") {
            return Self::Name { address, cause };
        }
        if cause.contains("DB index") {
            return Self::Database { address, db: options.info.redis_settings().db(), cause };
        }
        if error::is_passing(e) {
            return Self::NotReady { address, cause };
        }
        Self::Other { address, cause }
    }
}

impl From<ConnectError> for jobcell_core::StoreError {
    fn from(e: ConnectError) -> Self {
        match e {
            ConnectError::Denied { .. } => Self::Denied(e.to_string()),
            ConnectError::Url { .. }
            | ConnectError::Scheme { .. }
            | ConnectError::Database { .. }
            | ConnectError::NotRedis { .. } => Self::Other(e.to_string()),
            ConnectError::Refused { .. }
            | ConnectError::Name { .. }
            | ConnectError::Timeout { .. }
            | ConnectError::NotReady { .. }
            | ConnectError::Other { .. } => Self::Unavailable(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let url = "redis://ops:s3cret@10.0.0.7:6380/2";
        let options = ConnectOptions::from_url(url).unwrap();
        let shown = format!("{options} {options:?}");
        assert!(shown.contains("10.0.0.7:6380") && shown.contains("ops"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        for bad in [
            "redis+cluster://ops:s3cret@h1,h2",
            "redis://ops:s3cret@h:notaport/0",
            "redis://:s3cret@h/notadb",
            "ops:s3cret@h:1",
            "unix:///tmp/x.sock?pass=s3cret&db=x",
            "redis://ops:s3cret@",
        ] {
            let error = ConnectOptions::from_url(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn other_ways_of_running_redis_are_named_as_unsupported() {
        for url in ["redis+sentinel://h1,h2/main", "redis+cluster://h1,h2", "http://x"] {
            let error = ConnectOptions::from_url(url).unwrap_err();
            assert!(matches!(&error, ConnectError::Scheme { .. }), "{error:?}");
            assert!(error.to_string().contains("rediss://"), "{error}");
        }
    }

    #[test]
    fn parts_and_urls_mean_the_same() {
        let parts =
            ConnectOptions::tcp("h", 7, false).unwrap().username("u").password("p").database(3).prefix("x");
        let url = ConnectOptions::from_url("redis://u:p@h:7/3").unwrap().prefix("x");
        assert_eq!(format!("{parts:?}"), format!("{url:?}"));
        assert_eq!(parts.info.redis_settings().password(), url.info.redis_settings().password());
    }
}
