//! Why there is no connection, each with what to change.

use std::io;
use std::time::Duration;

use redis::RedisError;

use super::{Address, ConnectOptions, Place};
use crate::error;

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
    /// The URL names no way of running Redis.
    #[error(
        "redis url {url:?}: scheme {scheme:?} is not known; use redis:// (TCP), rediss:// (TLS), unix:// (socket file), \
         redis+sentinel://host1,host2/MASTER or redis+cluster://host1,host2 (rediss+… with TLS)"
    )]
    Scheme {
        /// The URL without its password.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// Nobody listens there.
    #[error("redis at {address} refuses the connection: {cause}; {fix}")]
    Refused {
        /// Where.
        address: String,
        /// What the system said.
        cause: String,
        /// What to change.
        fix: String,
    },
    /// The host's name is not known.
    #[error("redis at {address}: the host name cannot be resolved: {cause}; {fix}")]
    Name {
        /// Where.
        address: String,
        /// What the resolver said.
        cause: String,
        /// What to change.
        fix: String,
    },
    /// No answer in time.
    #[error("redis at {address} did not answer within {} s; {fix}", .within.as_secs_f64())]
    Timeout {
        /// Where.
        address: String,
        /// How long was waited.
        within: Duration,
        /// What to look at.
        fix: String,
    },
    /// The two sides do not trust each other.
    #[error("redis at {address}: TLS failed: {cause}; {fix}")]
    Tls {
        /// Where.
        address: String,
        /// What is wrong.
        cause: String,
        /// What to change.
        fix: String,
    },
    /// The user or password is wrong, missing, or may not do what is needed.
    #[error("redis at {address} denies access: {cause}; {fix}")]
    Denied {
        /// Where.
        address: String,
        /// What Redis said.
        cause: String,
        /// What to change.
        fix: String,
    },
    /// It has no such database.
    #[error("redis at {address} has no database {db}: {cause}; {fix}")]
    Database {
        /// Where.
        address: String,
        /// Its number.
        db: i64,
        /// What Redis said.
        cause: String,
        /// What to change.
        fix: String,
    },
    /// Somebody else has the port.
    #[error("something answers at {address} that is not Redis; {fix}")]
    NotRedis {
        /// Where.
        address: String,
        /// What to change.
        fix: String,
    },
    /// The connection is shared with somebody who listens on it.
    #[error("redis at {address}: the connection is in subscriber mode: {cause}; {fix}")]
    Subscriber {
        /// Where.
        address: String,
        /// What Redis said.
        cause: String,
        /// What to change.
        fix: &'static str,
    },
    /// It hung up before anything was said.
    #[error("redis at {address}: it closed the connection ({cause}){fix}")]
    Closed {
        /// Where.
        address: String,
        /// What the system said.
        cause: String,
        /// What to change, behind a semicolon; empty where nobody knows.
        fix: String,
    },
    /// It is there but cannot work now.
    #[error("redis at {address} is not ready: {cause}; it is tried again")]
    NotReady {
        /// Where.
        address: String,
        /// What Redis said.
        cause: String,
    },
    /// No sentinel knows the master by this name.
    #[error(
        "no sentinel of {sentinels} watches a master named {master:?}; correct the end of the URL \
         (redis+sentinel://…/MASTER), or `sentinel monitor {master} …` in sentinel.conf"
    )]
    UnknownMaster {
        /// The sentinels that were asked.
        sentinels: String,
        /// The name.
        master: String,
    },
    /// There is no master that could be used now.
    #[error("no master {master:?} can be reached by the sentinels {sentinels}: {cause}")]
    NoMaster {
        /// The sentinels that were asked.
        sentinels: String,
        /// The name.
        master: String,
        /// What each of them, or the server they named, said.
        cause: String,
    },
    /// None of the cluster's nodes can be used now.
    #[error("no node of the redis cluster {nodes} can be used: {cause}")]
    NoNode {
        /// The nodes that were asked.
        nodes: String,
        /// What each of them said.
        cause: String,
    },
    /// There is a single server where a cluster was expected.
    #[error("redis at {address} is not part of a cluster; write redis:// instead of redis+cluster://")]
    NoCluster {
        /// Where.
        address: String,
    },
    /// There is a sentinel where a server was expected.
    #[error(
        "redis at {address} is a sentinel, which holds no jobs; write redis+sentinel://{address}/MASTER with the \
         master's name, or the address of the server itself"
    )]
    Sentinel {
        /// Where.
        address: String,
    },
    /// There is a server where a sentinel was expected.
    #[error(
        "redis at {address} is a server and no sentinel; write redis://{address} instead of redis+sentinel://, or the \
         addresses of the sentinels (usually port 26379)"
    )]
    NoSentinel {
        /// Where.
        address: String,
    },
    /// The keys of this queue would lie on several nodes of the cluster.
    #[error(
        "queue {queue:?}: its keys would lie on several nodes of the redis cluster; set prefix = {prefix:?} in \
         [redis] and in every BullMQ client of it, or put the queue's name in braces"
    )]
    ManySlots {
        /// The queue.
        queue: String,
        /// The prefix that makes it possible.
        prefix: String,
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
            | Self::Subscriber { .. }
            | Self::Closed { .. }
            | Self::NoMaster { .. }
            | Self::NoNode { .. }
            | Self::Other { .. } => true,
            Self::Url { .. }
            | Self::Scheme { .. }
            | Self::Tls { .. }
            | Self::Denied { .. }
            | Self::Database { .. }
            | Self::NotRedis { .. }
            | Self::UnknownMaster { .. }
            | Self::NoCluster { .. }
            | Self::Sentinel { .. }
            | Self::NoSentinel { .. }
            | Self::ManySlots { .. } => false,
        }
    }

    /// Several places were tried, each without success. A fault that somebody has to mend is told rather than those that
    /// pass by themselves.
    pub(crate) fn of_all(place: &Place, faults: Vec<Self>) -> Self {
        let mut faults = faults;
        if let Some(lasting) = faults.iter().position(|fault| !fault.is_transient()) {
            return faults.swap_remove(lasting);
        }
        let cause = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match place {
            Place::Sentinels { sentinels, master } => {
                Self::NoMaster { sentinels: super::list(sentinels), master: master.clone(), cause }
            }
            Place::Cluster { nodes } => Self::NoNode { nodes: super::list(nodes), cause },
            Place::Server(address) => Self::Other { address: address.to_string(), cause },
        }
    }
}

// === impl ConnectOptions ===

impl ConnectOptions {
    /// No answer in this time.
    pub(crate) fn timed_out(&self, address: &Address, within: Duration) -> ConnectError {
        let other = self.said.tls(!self.tls);
        let tls = if self.tls { "speaks no TLS there" } else { "expects TLS" };
        let fix = format!(
            "is it the right address ({}), do firewalls, security groups and `bind` in redis.conf let this machine in, does \
             the server hang? If it {tls}, {other}",
            self.said.address()
        );
        ConnectError::Timeout { address: address.to_string(), within, fix }
    }

    /// The host's name leads nowhere.
    pub(super) fn unknown_name(&self, address: &Address, cause: String) -> ConnectError {
        let fix = format!(
            "correct {} (the whole name as the provider shows it, in a container the service's name), or the DNS of this \
             machine",
            self.said.address()
        );
        ConnectError::Name { address: address.to_string(), cause, fix }
    }

    /// What the system said about reaching the address.
    pub(super) fn of_io(&self, address: &Address, e: &io::Error) -> ConnectError {
        let cause = e.to_string();
        let fix = format!(
            "start redis-server there, or correct {} (in a container localhost is the container itself)",
            self.said.address()
        );
        let address = address.to_string();
        match e.kind() {
            // A socket file that does not exist is a server that does not run.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                ConnectError::Refused { address, cause, fix }
            }
            _ => ConnectError::Other { address, cause },
        }
    }

    /// Somebody else has the port.
    pub(super) fn not_redis(&self, address: &Address) -> ConnectError {
        let tls = if self.tls {
            String::new()
        } else {
            format!(", or {} if it is Redis behind TLS", self.said.tls(true))
        };
        let fix = format!("correct the host and port ({}){tls}", self.said.address());
        ConnectError::NotRedis { address: address.to_string(), fix }
    }

    /// Somebody has subscribed on the connection.
    pub(super) fn subscriber(address: &Address, cause: String) -> ConnectError {
        ConnectError::Subscriber { address: address.to_string(), cause, fix: error::OWN_CONNECTION }
    }

    /// What the server said, or what broke, while the connection was set up.
    pub(crate) fn of_setup(&self, at: &Address, to_sentinel: bool, e: &RedisError) -> ConnectError {
        let (address, cause) = (at.to_string(), error::describe(e));
        if let Some(fix) = error::login_fix(&self.said, self.user(), e) {
            let fix = if to_sentinel { error::SET_SENTINEL_PASSWORD.to_owned() } else { fix };
            return ConnectError::Denied { address, cause, fix };
        }
        if error::is_foreign(e) {
            return self.not_redis(at);
        }
        if error::is_subscribed(e) {
            return Self::subscriber(at, cause);
        }
        if to_sentinel && cause.contains("unknown command") {
            return ConnectError::NoSentinel { address };
        }
        // Sentinels have no databases.
        if cause.contains("unknown command 'SELECT'") {
            return ConnectError::Sentinel { address };
        }
        if cause.contains("DB index") {
            let fix = format!("choose another one ({})", self.said.database());
            return ConnectError::Database { address, db: i64::from(self.database), cause, fix };
        }
        if e.is_connection_dropped() {
            let other = self.said.tls(true);
            let fix = if self.tls { String::new() } else { format!("; if it expects TLS, {other}") };
            return ConnectError::Closed { address, cause, fix };
        }
        let advice = error::advice(self.is_cluster(), e);
        if error::is_passing(e) {
            return ConnectError::NotReady { address, cause: format!("{cause}{advice}") };
        }
        ConnectError::Other { address, cause: format!("{cause}{advice}") }
    }
}

impl From<ConnectError> for jobcell_core::StoreError {
    fn from(e: ConnectError) -> Self {
        match e {
            ConnectError::Denied { .. } => Self::Denied(e.to_string()),
            ConnectError::ManySlots { .. } => Self::Rejected(e.to_string()),
            e if e.is_transient() => Self::Unavailable(e.to_string()),
            e => Self::Other(e.to_string()),
        }
    }
}
