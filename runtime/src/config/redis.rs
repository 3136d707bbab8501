//! `[redis]`: where Redis is. Also read from the variables that back ends commonly have already.

use std::fmt;

use super::environment::Environment;
use super::fault::{Fault, Faults, Origin};
use super::forms::{Form, TEXT, text};
use super::node::{Node, Value};
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};

/// Where Redis is, and how its keys begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is.
    pub url: RedisUrl,
    /// What every key begins with. BullMQ's default is `bull`; on a cluster it must be in braces, so that all keys of
    /// a queue live on one node.
    pub prefix: String,
}

/// A URL of Redis. Shows itself without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

const URL: Key<RedisUrl> = Key::new(
    "url",
    Form {
        name: "URL",
        expects: "a URL such as \"redis://127.0.0.1:6379\", \"rediss://user:password@host:6380/0\", \
                  \"redis+sentinel://h1,h2/MASTER\" or \"redis+cluster://h1,h2\"",
        read: url,
    },
    Absent::Required,
    "Where Redis is. `REDIS_URL`, or `REDIS_HOST` with `REDIS_PORT`, `REDIS_USERNAME`, `REDIS_PASSWORD`, `REDIS_DB` \
     and `REDIS_TLS`, say the same; `REDIS_USERNAME` and `REDIS_PASSWORD` also complete a URL that has no credentials, \
     so that they need not stand in a file. Required inside `[redis]`; without any of these the embedded store is used.",
)
.secret();
const PREFIX: Key<String> = Key::new(
    "prefix",
    TEXT,
    Absent::Means("`\"bull\"`; `\"{bull}\"` on a cluster"),
    "What every key begins with. The default is BullMQ's, so that its producers and this host meet. On a cluster it \
     must be in braces: all keys of a queue have to live on one node.",
);

pub(super) static REDIS: Section = Section {
    about: "The Redis that holds the jobs. Without it jobs live in the embedded store.",
    keys: &[URL.entry(), PREFIX.entry()],
};

const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

/// Reads `[redis]`; none when Redis is not configured.
pub(super) fn read(reader: &Reader<'_>, is_present: bool) -> Option<RedisConfig> {
    if !is_present {
        return None;
    }
    let prefix = reader.get(&PREFIX);
    let url = reader.get(&URL)?;
    if let Some(prefix) = &prefix
        && url.is_cluster()
        && !(prefix.starts_with('{') && prefix.ends_with('}'))
    {
        let fix = format!("write prefix = \"{{{prefix}}}\"");
        reader.fault_shown(PREFIX.name, "must be in braces on a cluster", &fix);
    }
    let default = if url.is_cluster() { "{bull}" } else { "bull" };
    Some(RedisConfig { url, prefix: prefix.unwrap_or_else(|| default.to_owned()) })
}

/// Lays the `REDIS_*` variables over the file. Says what was ignored.
pub(super) fn overlay(
    root: &mut Node,
    environment: &Environment,
    faults: &Faults,
    warnings: &mut Vec<String>,
) {
    let path = ["redis".to_owned(), URL.name.to_owned()];
    let variable = |name: &str| Origin::Variable(name.to_owned());
    if let Some(url) = environment.get("REDIS_URL") {
        root.set(&path, Node::new(Value::Text(url.to_owned()), variable("REDIS_URL")));
    } else if environment.get("REDIS_HOST").is_some()
        && let Some(url) = from_parts(environment, faults)
    {
        root.set(&path, Node::new(Value::Text(url), variable("REDIS_HOST")));
    }
    if root.find(["redis"]).is_none() {
        let unused = ["REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB", "REDIS_TLS"];
        let set: Vec<&str> = unused.into_iter().filter(|name| environment.get(name).is_some()).collect();
        if !set.is_empty() {
            warnings.push(format!(
                "{} is set but neither REDIS_URL nor REDIS_HOST nor [redis]: it has no effect, jobs live in the \
                 embedded store",
                set.join(", ")
            ));
        }
    }
}

/// Gives a URL without credentials those of the environment.
pub(super) fn complete(root: &mut Node, environment: &Environment) {
    let Some(node) = root.find(["redis", URL.name]) else { return };
    let (Some(url), origin) = (node.as_text().map(str::to_owned), node.origin.clone()) else { return };
    let Some(credentials) = credentials(environment) else { return };
    // A URL given as a flag stands for itself: it may well lead to another Redis than the environment's.
    if matches!(origin, Origin::Flag(_)) {
        return;
    }
    if let Some((scheme, rest)) = url.split_once("://")
        && !authority(rest).contains('@')
    {
        let url = format!("{scheme}://{credentials}@{rest}");
        root.set(&["redis".to_owned(), URL.name.to_owned()], Node::new(Value::Text(url), origin));
    }
}

fn credentials(environment: &Environment) -> Option<String> {
    let encoded = |name| environment.get(name).map(percent_encoded);
    match (encoded("REDIS_USERNAME"), encoded("REDIS_PASSWORD")) {
        (None, None) => None,
        (user, None) => user,
        (user, Some(password)) => Some(format!("{}:{password}", user.unwrap_or_default())),
    }
}

fn from_parts(environment: &Environment, faults: &Faults) -> Option<String> {
    let get = |name: &str| environment.get(name);
    let host = get("REDIS_HOST")?;
    let mut is_sound = true;
    let mut fault = |name: &str, cause: &str, fix: &str| {
        is_sound = false;
        faults.push(Fault {
            key: "redis.url".to_owned(),
            value: get(name).filter(|value| !value.contains('@')).map(|value| format!("{value:?}")),
            origin: Origin::Variable(name.to_owned()),
            cause: cause.to_owned(),
            fix: fix.to_owned(),
        });
    };
    if host.contains(['/', '@', ' ']) {
        fault("REDIS_HOST", "is not a host name", "write only the host, or give a whole URL as REDIS_URL");
    }
    let port = get("REDIS_PORT").unwrap_or("6379");
    if port.parse::<u16>().is_err() {
        let fix = if port.starts_with("tcp://") {
            "Kubernetes sets this variable for a service named redis: set enableServiceLinks to false, or set \
             REDIS_PORT yourself"
        } else {
            "write a number such as 6379"
        };
        fault("REDIS_PORT", "is not a port", fix);
    }
    let database = get("REDIS_DB").unwrap_or("0");
    if database.parse::<u32>().is_err() {
        fault("REDIS_DB", "is not the number of a database", "write a number such as 0");
    }
    let scheme = match get("REDIS_TLS").map(str::to_lowercase).as_deref() {
        None | Some("0" | "false" | "no" | "off") => "redis",
        Some("1" | "true" | "yes" | "on") => "rediss",
        Some(_) => {
            fault("REDIS_TLS", "is neither true nor false", "write true or false");
            "redis"
        }
    };
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let credentials = credentials(environment).map(|text| text + "@").unwrap_or_default();
    is_sound.then(|| format!("{scheme}://{credentials}{host}:{port}/{database}"))
}

fn url(node: &Node) -> Result<RedisUrl, String> {
    RedisUrl::new(&text(node)?)
}

/// The part between `://` and the path.
fn authority(rest: &str) -> &str {
    rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end])
}

/// Everything but unreserved characters, so that any password can stand in a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

// === impl RedisUrl ===

impl RedisUrl {
    /// Checks that the URL has a scheme and a host. Whether it can be used shows when it is.
    ///
    /// # Errors
    /// The cause, without the URL: it may hold a password.
    pub fn new(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("is not a URL")?;
        if !SCHEMES.contains(&scheme) {
            return Err(format!("has the unknown scheme {scheme:?}"));
        }
        let hosts = authority(rest).rsplit_once('@').map_or_else(|| authority(rest), |(_, hosts)| hosts);
        if hosts.split(',').any(|host| host.is_empty() || host.starts_with(':')) {
            return Err("names no host".to_owned());
        }
        if scheme.ends_with("sentinel") && rest[authority(rest).len()..].trim_matches('/').is_empty() {
            return Err("does not name the master, as in redis+sentinel://h1,h2/MASTER".to_owned());
        }
        Ok(Self(url.to_owned()))
    }

    /// The URL with its password, for connecting.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it leads to a cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.0.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("+cluster"))
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
