//! Where Redis is, and opening connections to it.

mod connection;
mod error;
mod place;
mod said;
mod stream;
mod tls;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::QueueName;

pub(crate) use connection::{Connection, Use, into_result};
pub use error::ConnectError;
pub(crate) use place::{Address, Login, Place, list};
pub use said::Said;
pub use stream::Resolve;

use crate::keys::Keys;
use stream::SystemResolver;
use tls::TlsFiles;

/// How long one try to connect may take, the greeting included. Longer than a lost SYN takes to be sent again twice.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where Redis is and how to log in. Its `Debug` and `Display` never show a password.
#[derive(Clone)]
pub struct ConnectOptions {
    place: Place,
    tls: bool,
    files: TlsFiles,
    login: Login,
    sentinel_login: Login,
    database: u32,
    prefix: String,
    resolver: Arc<dyn Resolve>,
    said: Said,
}

// === impl ConnectOptions ===

impl ConnectOptions {
    /// Reads a URL:
    ///
    /// - `redis://[user:password@]host[:port][/db]`: one server
    /// - `unix:///path/redis.sock[?db=1&user=…&pass=…]`: the same behind a socket file
    /// - `redis+sentinel://[user:password@]host[:port],host…/MASTER[/db]`: whichever server the sentinels name; user and
    ///   password are the servers', see [`Self::sentinel_password`]
    /// - `redis+cluster://[user:password@]host[:port],host…`: a Redis Cluster, found through any of these nodes
    ///
    /// With `rediss` instead of `redis` connections use TLS.
    ///
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Scheme`].
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let place::Parsed { place, tls, login, database } = place::parse(url)?;
        Ok(Self { tls, login, database, ..Self::at(place) })
    }

    /// Redis at a host and port; the database is 0.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16, tls: bool) -> Self {
        Self { tls, ..Self::at(Place::Server(Address::Tcp { host: host.into(), port })) }
    }

    /// Redis behind a socket file; the database is 0.
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::at(Place::Server(Address::Unix(path.as_ref().to_owned())))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            tls: false,
            files: TlsFiles::default(),
            login: Login::default(),
            sentinel_login: Login::default(),
            database: 0,
            prefix: "bull".to_owned(),
            resolver: Arc::new(SystemResolver),
            said: Said::default(),
        }
    }

    /// Logs in as this ACL user; without one it is Redis's `default` user.
    #[must_use]
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.login.username = Some(username.into());
        self
    }

    /// Logs in with this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.login.password = Some(password.into());
        self
    }

    /// Logs in to the sentinels as this user. They have users of their own; none by default.
    #[must_use]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.sentinel_login.username = Some(username.into());
        self
    }

    /// Logs in to the sentinels with this password.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_login.password = Some(password.into());
        self
    }

    /// Trusts the authorities in this file (PEM) in place of the system's. Read for every connection.
    #[must_use]
    pub fn ca(mut self, file: impl AsRef<Path>) -> Self {
        self.files.ca = Some(file.as_ref().to_owned());
        self
    }

    /// Shows this certificate (PEM, with its chain) to the server. Both files are read for every connection, so that
    /// renewed ones are used without a restart.
    #[must_use]
    pub fn certificate(mut self, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.files.client = Some((cert.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// Uses this database. A cluster has none but 0.
    #[must_use]
    pub fn database(self, database: u32) -> Self {
        Self { database, ..self }
    }

    /// What every key of a queue starts with; BullMQ's `prefix` option. Default `bull`.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Turns names of hosts into addresses this way. Default: the system's.
    #[must_use]
    pub fn resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// Where all this was said, for messages that name what to change. Default: `REDIS_URL`.
    #[must_use]
    pub fn said(self, said: Said) -> Self {
        Self { said, ..self }
    }

    /// See [`Self::prefix`].
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether connections use TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.tls
    }

    /// Whether sentinels are asked for the master.
    #[must_use]
    pub fn uses_sentinels(&self) -> bool {
        matches!(self.place, Place::Sentinels { .. })
    }

    /// Whether it is a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster { .. })
    }

    /// Whether this queue can live there: on a cluster all keys of a queue must share a slot.
    ///
    /// # Errors
    /// [`ConnectError::ManySlots`].
    pub fn check_queue(&self, queue: &QueueName) -> Result<(), ConnectError> {
        if !self.is_cluster() || Keys::new(&self.prefix).queue(queue).share_a_slot() {
            return Ok(());
        }
        let prefix = crate::link::slots::in_braces(&self.prefix);
        Err(ConnectError::ManySlots { queue: queue.to_string(), prefix })
    }

    /// The number of the database.
    pub(crate) fn number(&self) -> u32 {
        self.database
    }

    /// The ACL user that logs in.
    pub(crate) fn user(&self) -> Option<&str> {
        self.login.username.as_deref()
    }

    /// Where the address was said.
    pub(crate) fn said_in(&self) -> &Said {
        &self.said
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (database {})", self.place, self.database)
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("place", &self.place)
            .field("tls", &self.tls)
            .field("database", &self.database)
            .field("username", &self.login.username)
            .field("sentinel_username", &self.sentinel_login.username)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://ops:s3cret@10.0.0.7:6380/2",
            "rediss+sentinel://ops:s3cret@10.0.0.7:6380,10.0.0.8/main",
            "redis+cluster://ops:s3cret@10.0.0.7:6380,10.0.0.8:6380",
        ] {
            let options =
                ConnectOptions::from_url(url).unwrap().sentinel_password("s3cret").sentinel_username("x");
            let shown = format!("{options} {options:?}");
            assert!(shown.contains("10.0.0.7") && shown.contains("ops"), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        for bad in [
            "redis+cluster://ops:s3cret@h1,h2/7",
            "redis+sentinel://ops:s3cret@h1,h2",
            "redis+sentinel://ops:s3cret@h1,h2:x/main",
            "redis+sentry://ops:s3cret@h1",
            "redis://ops:s3cret@h:notaport/0",
            "redis://:s3cret@h/notadb",
            "redis://:x?s3cret@h/notadb",
            "redis://:s3cret?x@h/notadb",
            "redis://:s3cret#x@h",
            "ops:s3cret@h:1",
            "unix:///tmp/x.sock?pass=s3cret&db=x",
            "unix:///tmp/x.sock?pass=s3cret@s3cret&db=x",
            "redis://ops:s3cret@",
        ] {
            let error = ConnectOptions::from_url(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_told_the_known_ones() {
        let error = ConnectOptions::from_url("http://x").unwrap_err();
        assert!(matches!(&error, ConnectError::Scheme { .. }), "{error:?}");
        for known in ["rediss://", "unix://", "redis+sentinel://", "redis+cluster://"] {
            assert!(error.to_string().contains(known), "{error}");
        }
    }

    #[test]
    fn parts_and_urls_mean_the_same() {
        let parts = ConnectOptions::tcp("h", 7, false).username("u").password("p").database(3).prefix("x");
        let url = ConnectOptions::from_url("redis://u:p@h:7/3").unwrap().prefix("x");
        assert_eq!(format!("{parts:?}"), format!("{url:?}"));
        assert!(parts.login == url.login);
    }

    #[test]
    fn on_a_cluster_a_queue_needs_braces_somewhere() {
        let queue = |name: &str| QueueName::new(name).unwrap();
        let cluster = ConnectOptions::from_url("redis+cluster://h").unwrap();
        let error = cluster.check_queue(&queue("mail")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"mail\"") && text.contains("prefix = \"{bull}\""), "{text}");
        let error = cluster.clone().prefix("{}").check_queue(&queue("mail")).unwrap_err().to_string();
        assert!(error.contains("prefix = \"{bull}\""), "{error}");
        cluster.check_queue(&queue("{mail}")).unwrap();
        for (prefix, is_fine) in [("{bull}", true), ("a{b}c", true), ("{}", false), ("{bull", false)] {
            let checked = cluster.clone().prefix(prefix).check_queue(&queue("mail"));
            assert_eq!(checked.is_ok(), is_fine, "{prefix}");
        }
        ConnectOptions::from_url("redis://h").unwrap().check_queue(&queue("mail")).unwrap();
    }
}
