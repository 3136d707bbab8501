//! `[redis]`: where Redis is. Also read from the variables that back ends commonly have already.

mod variables;

use std::fmt;

use jobcell_redis::{ConnectError, ConnectOptions};

use super::forms::{Form, TEXT, scheme_of, text};
use super::node::Node;
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};

pub(super) use variables::{complete, overlay};

/// Where Redis is, and how its keys begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is.
    pub url: RedisUrl,
    /// What every key begins with. BullMQ's default is `bull`.
    pub prefix: String,
}

/// A URL of Redis. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

const URL: Key<RedisUrl> = Key::new(
    "url",
    Form {
        name: "URL",
        expects: "a URL such as \"redis://127.0.0.1:6379\", \"rediss://user:password@host:6380/0\" (TLS) or \
                  \"unix:///path/redis.sock\"",
        read: url,
    },
    Absent::Required,
    "Where Redis is. `REDIS_URL`, or `REDIS_HOST` with `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB` \
     and `REDIS_TLS`, say the same, and `REDIS_URL` wins. Without these two, each of the others takes the place of its \
     part of the file's URL; `REDIS_USERNAME` and `REDIS_PASSWORD` also complete a `REDIS_URL` that has no credentials. \
     Required inside `[redis]`; without any of these the embedded store is used.",
)
.secret();
const PREFIX: Key<String> = Key::value(
    "prefix",
    TEXT,
    "\"bull\"",
    "What every key begins with. The default is BullMQ's, so that its producers and this host meet.",
);

pub(super) static REDIS: Section = Section {
    about: "The Redis that holds the jobs. Without it jobs live in the embedded store.",
    keys: &[URL.entry(), PREFIX.entry()],
};

const SCHEMES: [&str; 3] = ["redis", "rediss", "unix"];

/// Reads `[redis]`; none when Redis is not configured.
pub(super) fn read(reader: &Reader<'_>, is_present: bool) -> Option<RedisConfig> {
    if !is_present {
        return None;
    }
    let prefix = reader.value(&PREFIX);
    Some(RedisConfig { url: reader.get(&URL)?, prefix })
}

fn url(node: &Node) -> Result<RedisUrl, String> {
    RedisUrl::new(&text(node)?)
}

/// The part between `://` and the path.
fn authority(rest: &str) -> &str {
    rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end])
}

// === impl RedisUrl ===

impl RedisUrl {
    /// Checks that the URL is one that can be connected to. Whether somebody is there shows when it is used.
    ///
    /// # Errors
    /// The cause, without the URL: it may hold a password.
    pub fn new(url: &str) -> Result<Self, String> {
        let (scheme, rest) = scheme_of(url)?;
        if scheme.contains("sentinel") || scheme.contains("cluster") {
            return Err(format!("has the scheme {scheme}://, which is not supported by this version"));
        }
        if !SCHEMES.contains(&scheme) {
            return Err(format!("has the unknown scheme {scheme:?}"));
        }
        let host = authority(rest).rsplit_once('@').map_or_else(|| authority(rest), |(_, host)| host);
        if scheme != "unix" && (host.is_empty() || host.starts_with(':')) {
            return Err("names no host".to_owned());
        }
        match ConnectOptions::from_url(url) {
            Ok(_) => Ok(Self(url.to_owned())),
            Err(ConnectError::Url { cause, .. }) => Err(format!("cannot be used: {cause}")),
            Err(other) => Err(format!("cannot be used: {other}")),
        }
    }

    /// The URL with its password, for connecting.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("[redis]") };
        let (authority, path) = rest.split_at(authority(rest).len());
        // What follows a '?' can hold credentials too.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        match authority.rsplit_once('@') {
            None => write!(f, "{scheme}://{authority}{path}"),
            Some((credentials, hosts)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{user}:***@{hosts}{path}")
            }
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Entry of the whole group in the root table.
pub(super) const ENTRY: Entry = Entry::section("redis", &REDIS);
