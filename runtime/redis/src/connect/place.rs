//! Reading a URL: which servers there are, and how to log in.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::ConnectError;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// A host (name or IP without brackets) and a port.
    Tcp { host: String, port: u16 },
    /// A socket file.
    Unix(PathBuf),
}

/// The way Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// One server.
    Server(Address),
    /// Whichever server the sentinels say is the master of this name.
    Sentinels { sentinels: Vec<Address>, master: String },
    /// The nodes of a cluster; these are asked for the others.
    Cluster { nodes: Vec<Address> },
}

/// What a URL says.
#[derive(Clone)]
pub(super) struct Parsed {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) login: Login,
    pub(super) database: u32,
}

/// A user and a password. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<Parsed, ConnectError> {
    let bad = |cause: String| ConnectError::Url { url: redact(url), cause };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme".to_owned()))?;
    let (kind, tls) = match scheme {
        "redis" | "valkey" => (server as Reader, false),
        "rediss" | "valkeys" => (server as Reader, true),
        "redis+sentinel" | "valkey+sentinel" => (sentinels as Reader, false),
        "rediss+sentinel" | "valkeys+sentinel" => (sentinels as Reader, true),
        "redis+cluster" | "valkey+cluster" => (cluster as Reader, false),
        "rediss+cluster" | "valkeys+cluster" => (cluster as Reader, true),
        "unix" | "redis+unix" | "valkey+unix" => return socket(url).map_err(bad),
        _ => return Err(ConnectError::Scheme { url: redact(url), scheme: scheme.to_owned() }),
    };
    let (login, hosts, path) = parts(rest).map_err(bad)?;
    let (place, database) = kind(&hosts, path).map_err(bad)?;
    Ok(Parsed { place, tls, login: self::login(login).map_err(bad)?, database })
}

/// Reads the hosts and the path.
type Reader = fn(&[&str], &str) -> Result<(Place, u32), String>;

/// What follows the scheme: login, hosts, path.
fn parts(rest: &str) -> Result<(&str, Vec<&str>, &str), String> {
    match rest.split_once('#') {
        Some((_, "insecure")) => {
            return Err("certificates are always verified: remove #insecure and name the CA's file \
                        ([redis] ca)"
                .to_owned());
        }
        Some(_) => return Err("it has a #; inside a password write %23".to_owned()),
        None => {}
    }
    if let Some((_, query)) = rest.split_once('?') {
        return Err(match query.contains('@') {
            true => "it has a ? before its @; inside a password write %3F".to_owned(),
            false => queried(query.split(['=', '&']).next().unwrap_or_default(), OF_HOSTS),
        });
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    Ok((login, hosts.split(',').map(str::trim).collect(), path.trim_matches('/')))
}

/// Where that belongs which people write into queries: the database, the login, TLS; and what to do with all else.
type Places = [&'static str; 4];

const OF_HOSTS: Places = [
    "write the database as /N at its end, as in redis://host/1",
    "write user:password@ before the host, or set REDIS_PASSWORD (and REDIS_USERNAME)",
    "write rediss:// for TLS",
    "remove it",
];
const OF_SOCKETS: Places = [
    "write ?db=1",
    "write ?user=…&pass=…",
    "remove it: a socket file is read without TLS",
    "only db, user and pass are read",
];

/// Why a query cannot have this key. What is none that people write may be a part of a secret.
fn queried(key: &str, [database, login, tls, otherwise]: Places) -> String {
    let (key, fix) = match key {
        "db" | "database" => (key, database),
        "user" | "username" | "pass" | "password" | "auth" => (key, login),
        "ssl" | "tls" => (key, tls),
        _ => ("…", otherwise),
    };
    format!("it has a query (?{key}) that would have no effect; {fix}")
}

fn server(hosts: &[&str], path: &str) -> Result<(Place, u32), String> {
    let [host] = hosts else {
        return Err("it names several hosts; write redis+sentinel:// or redis+cluster://".to_owned());
    };
    Ok((Place::Server(address(host, PORT)?), database(path)?))
}

fn sentinels(hosts: &[&str], path: &str) -> Result<(Place, u32), String> {
    let (master, db) = path.split_once('/').unwrap_or((path, ""));
    let master = decoded(master)?;
    if master.is_empty() {
        return Err("it names no master; write redis+sentinel://host1,host2/MASTER".to_owned());
    }
    let sentinels = addresses(hosts, SENTINEL_PORT)?;
    Ok((Place::Sentinels { sentinels, master }, database(db)?))
}

fn cluster(hosts: &[&str], path: &str) -> Result<(Place, u32), String> {
    if database(path)? != 0 {
        return Err("a cluster has no other database than 0".to_owned());
    }
    Ok((Place::Cluster { nodes: addresses(hosts, PORT)? }, 0))
}

fn addresses(hosts: &[&str], port: u16) -> Result<Vec<Address>, String> {
    hosts.iter().map(|host| address(host, port)).collect()
}

/// `host[:port]`.
fn address(text: &str, port: u16) -> Result<Address, String> {
    let url = Url::parse(&format!("redis://{text}")).map_err(|e| e.to_string())?;
    let host = match url.host() {
        // The name in a URL of this kind is kept as it was written.
        Some(Host::Domain(name)) if !name.is_empty() => decoded(name)?,
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Err("it names no host".to_owned()),
    };
    if ["0.0.0.0", "::"].contains(&host.as_str()) {
        return Err(
            "nobody can connect to 0.0.0.0 or ::, which only mean every address of a server".to_owned()
        );
    }
    Ok(Address::Tcp { host, port: url.port().unwrap_or(port) })
}

fn database(text: &str) -> Result<u32, String> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| "the database at its end is not a number".to_owned()),
    }
}

fn login(text: &str) -> Result<Login, String> {
    let (username, password) = match text.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (text, None),
    };
    let username = Some(decoded(username)?).filter(|name| !name.is_empty());
    Ok(Login { username, password: password.map(decoded).transpose()? })
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| "what is written with % is not UTF-8".to_owned())
}

/// `unix:///path/redis.sock[?db=1&user=…&pass=…]`.
fn socket(url: &str) -> Result<Parsed, String> {
    let url = Url::parse(url).map_err(|e| e.to_string())?;
    // Only URLs of files give their path.
    let path = Url::parse(&format!("file://{}", url.path())).ok().and_then(|file| file.to_file_path().ok());
    let path = path.filter(|path| path.file_name().is_some()).ok_or("it has no path")?;
    if let Some((key, _)) = url.query_pairs().find(|(key, _)| !["db", "user", "pass"].contains(&&**key)) {
        return Err(queried(&key, OF_SOCKETS));
    }
    let value =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let login = Login { username: value("user").filter(|name| !name.is_empty()), password: value("pass") };
    let database = value("db").map_or(Ok(0), |db| database(&db))?;
    Ok(Parsed { place: Place::Server(Address::Unix(path)), tls: false, login, database })
}

/// The URL without what may be a password in it, also where it cannot be parsed.
pub(super) fn redact(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    match rest.rsplit_once('@') {
        // Either a query with an @ or a password with a question mark: nobody can tell.
        Some((before, _)) if before.contains('?') => format!("{scheme}***"),
        login => {
            let (login, place) = match login {
                Some((login, place)) => {
                    (format!("{}:***@", login.split_once(':').map_or("", |(user, _)| user)), place)
                }
                None => (String::new(), rest),
            };
            // A query may hold a password too.
            match place.split_once('?') {
                Some((place, _)) => format!("{scheme}{login}{place}?***"),
                None => format!("{scheme}{login}{place}"),
            }
        }
    }
}

// === impl Address ===

impl Address {
    /// As a server writes an address: `host:port`, without brackets around an IPv6 address.
    pub(crate) fn from_server(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self::Tcp { host, port: port.parse().ok()? })
    }

    /// The same with this host where a server leaves its own out.
    pub(crate) fn or_host_of(self, asked: &Self) -> Self {
        match (self, asked) {
            (Self::Tcp { host, port }, Self::Tcp { host: known, .. }) if host.is_empty() || host == "?" => {
                Self::Tcp { host: known.clone(), port }
            }
            (address, _) => address,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Sentinels { sentinels, master } => write!(f, "{} ({master})", list(sentinels)),
            Self::Cluster { nodes } => list(nodes).fmt(f),
        }
    }
}

pub(crate) fn list(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_way_of_running_redis_has_a_url() {
        let place = |url: &str| parse(url).map(|parsed| (parsed.place, parsed.tls, parsed.database)).unwrap();
        assert_eq!(place("redis://h"), (Place::Server(tcp("h", 6379)), false, 0));
        assert_eq!(place("rediss://u:p@[::1]:7/3"), (Place::Server(tcp("::1", 7)), true, 3));
        assert_eq!(
            place("redis+sentinel://:p@h1:1,h2,[::1]:3/main/2"),
            (
                Place::Sentinels {
                    sentinels: vec![tcp("h1", 1), tcp("h2", 26379), tcp("::1", 3)],
                    master: "main".to_owned()
                },
                false,
                2
            )
        );
        assert_eq!(
            place("rediss+cluster://h1:1,h2/"),
            (Place::Cluster { nodes: vec![tcp("h1", 1), tcp("h2", 6379)] }, true, 0)
        );
        let socket = Place::Server(Address::Unix("/run/a b.sock".into()));
        assert_eq!(place("unix:///run/a%20b.sock?db=4&user=u&pass=p"), (socket, false, 4));
    }

    #[test]
    fn a_login_may_hold_any_character() {
        for (url, user, password) in [
            ("redis://u%40x:p%3A%2F%23@h", Some("u@x"), Some("p:/#")),
            ("redis+sentinel://:a@b@h1,h2/m", None, Some("a@b")),
            ("redis+cluster://u@h1,h2", Some("u"), None),
            ("unix:///s?user=u&pass=p%26", Some("u"), Some("p&")),
        ] {
            let Login { username, password: got } = parse(url).unwrap().login;
            assert_eq!((username.as_deref(), got.as_deref()), (user, password), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_cause() {
        for (url, cause) in [
            ("redis+sentinel://h1,h2", "no master"),
            ("redis+sentinel://h1,h2/m/x", "not a number"),
            ("redis+cluster://h1/1", "no other database"),
            ("redis://h1,h2", "several hosts"),
            ("redis://0.0.0.0", "0.0.0.0"),
            ("redis://", "no host"),
            ("redis+cluster://h1,,h2", "no host"),
            ("redis://h:99999", "port"),
            ("rediss://h#insecure", "[redis] ca"),
            ("redis://:a#b@h", "%23"),
            ("redis://:%ff@h", "UTF-8"),
            ("redis://h?db=3", "redis://host/1"),
            ("rediss://h/0?password=s3cret", "REDIS_PASSWORD"),
            ("redis+cluster://h1,h2?ssl=true", "rediss://"),
            ("redis+sentinel://h1,h2/m?s3cret", "(?…)"),
            ("redis://:a?s3cret@h", "%3F"),
            ("unix:///s?password=s3cret", "?user=…&pass=…"),
            ("unix:///s?s3cret=1", "only db, user and pass"),
            ("h:1", "no scheme"),
        ] {
            let Err(error) = parse(url) else { panic!("{url} is taken") };
            assert!(error.to_string().contains(cause), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn addresses_of_servers_are_read_and_completed() {
        let asked = tcp("10.0.0.1", 1);
        for (text, want) in [("10.0.0.2:7", "10.0.0.2:7"), (":7", "10.0.0.1:7"), ("?:7", "10.0.0.1:7")] {
            assert_eq!(Address::from_server(text).unwrap().or_host_of(&asked).to_string(), want);
        }
        assert_eq!(Address::from_server("fe80::1:7").unwrap().to_string(), "[fe80::1]:7");
        assert_eq!(Address::from_server("nothing"), None);
    }
}
