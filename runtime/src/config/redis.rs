//! `[redis]`: where Redis is. Also read from the variables that back ends commonly have already.

mod address;
mod variables;

use std::fmt;
use std::path::PathBuf;

use jobcell_redis::{ConnectError, ConnectOptions, Said};

use super::fault::Origin;
use super::forms::{Form, PATH, TEXT, scheme_of, text};
use super::node::Node;
use super::reader::Reader;
use super::secret::Secret;
use super::table::{Absent, Entry, Key, Section};

pub(super) use variables::{complete, overlay};

/// Where Redis is, and how its keys begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is.
    pub url: RedisUrl,
    /// What every key begins with. BullMQ's default is `bull`.
    pub prefix: String,
    /// The authorities that are trusted in place of the system's, a file in PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, files in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The user that logs in to the sentinels.
    pub sentinel_username: Option<String>,
    /// Its password.
    pub sentinel_password: Option<Secret>,
    /// Where the address was said, for messages that name what to change.
    pub said: Said,
}

/// A URL of Redis. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

const URL: Key<RedisUrl> = Key::new(
    "url",
    Form {
        name: "URL",
        expects: "a URL such as \"redis://127.0.0.1:6379\", \"rediss://user:password@host:6380/0\" (TLS), \
                  \"unix:///path/redis.sock\", \"redis+sentinel://host1,host2/MASTER\" or \
                  \"redis+cluster://host1,host2\"",
        read: url,
    },
    Absent::Required,
    "Where Redis is: `redis://[user:password@]host[:port][/db]` for one server, `unix:///path/redis.sock` for a socket \
     file, `redis+sentinel://[user:password@]host[:port],host…/MASTER[/db]` for the master that sentinels name (user and \
     password are the servers'), `redis+cluster://[user:password@]host[:port],host…` for a Redis Cluster, found through \
     any of these nodes. With `rediss` in front connections use TLS. What stands in a user or password for itself is \
     percent-encoded: `%40` for `@`. `REDIS_URL`, or `REDIS_HOST` with `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB` \
     and `REDIS_TLS`, say the same, and `REDIS_URL` wins. Without these two, each of the others takes the place of its \
     part of the file's URL; `REDIS_USERNAME` and `REDIS_PASSWORD` also complete a `REDIS_URL` or `--redis` that has no credentials. \
     Required inside `[redis]`; without any of these the embedded store is used.",
)
.secret();
const PREFIX: Key<String> = Key::value(
    "prefix",
    TEXT,
    "\"bull\"",
    "What every key begins with. The default is BullMQ's, so that its producers and this host meet. On a Redis Cluster \
     write it in braces here and in every BullMQ client (`\"{bull}\"`), or the name of each queue: all keys of a queue, \
     and of the queues of a flow, must be in one slot.",
);
const CA: Key<PathBuf> = Key::new(
    "ca",
    PATH,
    Absent::Means("the system's"),
    "The authorities whose certificates are trusted, a file in PEM. Only with TLS. Read for every connection, so that a \
     renewed file is used without a restart.",
);
const CERT: Key<PathBuf> = Key::new(
    "cert",
    PATH,
    Absent::Means("none"),
    "The certificate that is shown to Redis, with its chain, a file in PEM; for servers with `tls-auth-clients yes`. \
     Only with TLS, and together with `key`. Read for every connection.",
);
const KEY: Key<PathBuf> = Key::new(
    "key",
    PATH,
    Absent::Means("none"),
    "The private key of `cert`, a file in PEM without a passphrase.",
);
const SENTINEL_USERNAME: Key<String> = Key::new(
    "sentinel-username",
    TEXT,
    Absent::Means("none"),
    "The user that logs in to the sentinels. They have users of their own; those in `url` are the servers'.",
);
const SENTINEL_PASSWORD: Key<String> = Key::new(
    "sentinel-password",
    TEXT,
    Absent::Means("none"),
    "The password of the sentinels. Better given as `JOBCELL_REDIS__SENTINEL_PASSWORD` than written into the file.",
)
.secret();

pub(super) static REDIS: Section = Section {
    about: "The Redis that holds the jobs. Without it jobs live in the embedded store. A host has one connection for all \
            calls to each server that it uses (to each master of a cluster), one to each sentinel, one for each queue \
            that it works, and up to eight for readers of events.",
    keys: &[
        URL.entry(),
        PREFIX.entry(),
        CA.entry(),
        CERT.entry(),
        KEY.entry(),
        SENTINEL_USERNAME.entry(),
        SENTINEL_PASSWORD.entry(),
    ],
};

/// Reads `[redis]`; none when Redis is not configured.
pub(super) fn read(reader: &Reader<'_>, is_present: bool) -> Option<RedisConfig> {
    if !is_present {
        return None;
    }
    let prefix = reader.value(&PREFIX);
    let (ca, cert, key) = (reader.get(&CA), reader.get(&CERT), reader.get(&KEY));
    let sentinel_username = reader.get(&SENTINEL_USERNAME);
    let sentinel_password = reader.get(&SENTINEL_PASSWORD).map(Secret::new);
    let url = reader.get(&URL)?;
    let is_written = |name: &&str| reader.node(name).is_some();
    if let Some(name) = [CA.name, CERT.name, KEY.name].into_iter().find(is_written)
        && !url.options().is_some_and(|options| options.uses_tls())
    {
        let fix = "write rediss:// in redis.url (or rediss+sentinel://, rediss+cluster://), or remove it";
        reader.fault(name, "is only used with TLS, and redis.url is without", fix);
    }
    if let Some(name) = [SENTINEL_USERNAME.name, SENTINEL_PASSWORD.name].into_iter().find(is_written)
        && !url.options().is_some_and(|options| options.uses_sentinels())
    {
        let fix = "write redis+sentinel://host1,host2/MASTER in redis.url, or remove it";
        reader.fault(name, "is only used with sentinels, and redis.url names none", fix);
    }
    let certificate = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault(CERT.name, "has no `key` beside it", "add the file of its private key");
            None
        }
        (None, Some(_)) => {
            reader.fault(KEY.name, "has no `cert` beside it", "add the file of its certificate");
            None
        }
    };
    let said = said(reader.node(URL.name).map(|node| &node.origin));
    Some(RedisConfig { url, prefix, ca, certificate, sentinel_username, sentinel_password, said })
}

fn said(origin: Option<&Origin>) -> Said {
    match origin {
        Some(Origin::Variable(name)) if name == variables::HOST => Said::Parts,
        Some(Origin::Variable(name)) => Said::Url(name.clone()),
        Some(Origin::Flag(name)) => Said::Url((*name).to_owned()),
        Some(Origin::File { path, .. }) => Said::Url(format!("redis.url in {}", path.display())),
        Some(Origin::Default) | None => Said::default(),
    }
}

fn url(node: &Node) -> Result<RedisUrl, String> {
    RedisUrl::new(&text(node)?)
}

// === impl RedisUrl ===

impl RedisUrl {
    /// Checks that the URL is one that can be connected to. Whether somebody is there shows when it is used.
    ///
    /// # Errors
    /// The cause, without the URL: it may hold a password.
    pub fn new(url: &str) -> Result<Self, String> {
        scheme_of(url)?;
        match ConnectOptions::from_url(url) {
            Ok(_) => Ok(Self(url.to_owned())),
            Err(ConnectError::Url { cause, .. }) => Err(format!("cannot be used: {cause}")),
            Err(ConnectError::Scheme { scheme, .. }) if ["http", "https"].contains(&scheme.as_str()) => {
                Err(format!("has the scheme {scheme:?}: it is the address of a REST API, not of Redis"))
            }
            Err(ConnectError::Scheme { scheme, .. }) => Err(format!("has the unknown scheme {scheme:?}")),
            Err(other) => Err(format!("cannot be used: {other}")),
        }
    }

    fn options(&self) -> Option<ConnectOptions> {
        ConnectOptions::from_url(&self.0).ok()
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
        // What follows a '?' can hold credentials too. So can a path with an '@': somebody wrote a '/' in a password.
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        match rest.rsplit_once('@').filter(|_| !scheme.ends_with("unix")) {
            None => write!(f, "{scheme}://{rest}"),
            Some((credentials, hosts)) => {
                let user = credentials.split([':', '/', '@']).next().unwrap_or_default();
                write!(f, "{scheme}://{user}:***@{hosts}")
            }
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl RedisConfig ===

impl RedisConfig {
    /// How to connect. The URL has been checked when it was read.
    ///
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Scheme`], for a value that was not read.
    pub fn connect_options(&self) -> Result<ConnectOptions, ConnectError> {
        let Self { url, prefix, ca, certificate, sentinel_username, sentinel_password, said } = self;
        let mut options = ConnectOptions::from_url(url.expose())?.prefix(prefix).said(said.clone());
        if let Some(ca) = ca {
            options = options.ca(ca);
        }
        if let Some((cert, key)) = certificate {
            options = options.certificate(cert, key);
        }
        if let Some(username) = sentinel_username {
            options = options.sentinel_username(username);
        }
        if let Some(password) = sentinel_password {
            options = options.sentinel_password(password.expose());
        }
        Ok(options)
    }
}

/// Entry of the whole group in the root table.
pub(super) const ENTRY: Entry = Entry::section("redis", &REDIS);
