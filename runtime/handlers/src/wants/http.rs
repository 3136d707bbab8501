//! Where a version wants to send requests: the form of `grants.http`, without secrets.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// What stands for any URL at all.
const ANYWHERE: &str = "*";

/// Where requests go: `https://api.example.com/v1/*` as in `grants.http`, or `*` for anywhere, with the methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct HttpWant {
    to: To,
    /// Upper case, sorted, each once. Empty is any.
    methods: Vec<String>,
}

/// A want of requests that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wants.http {url:?}: {why}")]
pub struct HttpWantError {
    /// The URL, cut to a length that can be shown.
    pub url: String,
    /// What is wrong, with the fix.
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum To {
    Anywhere,
    Place(Place),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    is_secure: bool,
    host: HostPattern,
    port: u16,
    path: PathPattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// Names that end so; begins with a dot.
    Below(String),
    Exactly(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPattern {
    Any,
    Starts(String),
    Exactly(String),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Url(String),
    Full(Full),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    url: String,
    #[serde(default)]
    methods: Vec<String>,
}

// === impl HttpWant ===

impl HttpWant {
    /// Any method, anywhere.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { to: To::Anywhere, methods: Vec::new() }
    }

    /// These methods, any where there is none, to what the URL covers.
    ///
    /// # Errors
    /// When the URL is not of the form of `grants.http`, or a method is none.
    pub fn new(url: &str, methods: &[String]) -> Result<Self, HttpWantError> {
        let fault = |why| HttpWantError { url: url.chars().take(120).collect(), why };
        let to = match url {
            ANYWHERE => To::Anywhere,
            url => To::Place(Place::parse(url).map_err(fault)?),
        };
        let is_method = |method: &String| {
            (1..=24).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !methods.iter().all(is_method) {
            return Err(fault("a method is a word such as GET or POST"));
        }
        let mut methods: Vec<String> = methods.iter().map(|method| method.to_ascii_uppercase()).collect();
        methods.sort();
        methods.dedup();
        Ok(Self { to, methods })
    }

    /// The URL as a rule spells it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.to {
            To::Anywhere => ANYWHERE.to_owned(),
            To::Place(place) => place.to_string(),
        }
    }

    /// The methods; none is any.
    #[must_use]
    pub fn methods(&self) -> Option<Vec<String>> {
        (!self.methods.is_empty()).then(|| self.methods.clone())
    }

    /// What of it the others do not cover: all of it, or only some of its methods.
    pub(super) fn beyond(&self, others: &[Self]) -> Option<Self> {
        let mut covering = others.iter().filter(|other| other.to.covers(&self.to));
        if self.methods.is_empty() {
            return (!covering.any(|other| other.methods.is_empty())).then(|| self.clone());
        }
        let covering: Vec<&Self> = covering.collect();
        let is_covered = |method: &String| {
            covering.iter().any(|other| other.methods.is_empty() || other.methods.contains(method))
        };
        let methods: Vec<String> =
            self.methods.iter().filter(|method| !is_covered(method)).cloned().collect();
        (!methods.is_empty()).then(|| Self { to: self.to.clone(), methods })
    }

    /// What of it is among these as well.
    pub(super) fn narrowed(&self, to: &[Self]) -> Vec<Self> {
        let mut narrowed: Vec<Self> = Vec::new();
        for met in to.iter().filter_map(|want| self.meet(want)) {
            if met.beyond(&narrowed).is_some() {
                narrowed.push(met);
            }
        }
        narrowed
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        let to = self.to.meet(&other.to)?;
        let methods = match (self.methods.as_slice(), other.methods.as_slice()) {
            ([], methods) | (methods, []) => methods.to_vec(),
            (one, other) => {
                let both: Vec<String> = one.iter().filter(|method| other.contains(method)).cloned().collect();
                // None in common is nothing, and not any.
                if both.is_empty() {
                    return None;
                }
                both
            }
        };
        Some(Self { to, methods })
    }
}

impl fmt::Display for HttpWant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http {}", self.url())?;
        match self.methods.as_slice() {
            [] => Ok(()),
            methods => write!(f, " ({})", methods.join(", ")),
        }
    }
}

impl TryFrom<Form> for HttpWant {
    type Error = HttpWantError;

    fn try_from(form: Form) -> Result<Self, HttpWantError> {
        match form {
            Form::Url(url) => Self::new(&url, &[]),
            Form::Full(Full { url, methods }) => Self::new(&url, &methods),
        }
    }
}

impl From<HttpWant> for Form {
    fn from(want: HttpWant) -> Self {
        let url = want.url();
        if want.methods.is_empty() { Self::Url(url) } else { Self::Full(Full { url, methods: want.methods }) }
    }
}

// === impl To ===

impl To {
    fn covers(&self, other: &Self) -> bool {
        self.meet(other).is_some_and(|met| met == *other)
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Anywhere, to) | (to, Self::Anywhere) => Some(to.clone()),
            (Self::Place(one), Self::Place(other)) => one.meet(other).map(Self::Place),
        }
    }
}

// === impl Place ===

impl Place {
    fn parse(url: &str) -> Result<Self, &'static str> {
        let (is_secure, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err("it begins with https:// or http://, or is * for anywhere"),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains(['@', '?', '#', '\\']) {
            return Err("it is a host, perhaps with a port and a path, and nothing else");
        }
        // A colon inside of brackets belongs to the address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "the port is a number of 1 to 65535")?)
            }
            _ => (authority, if is_secure { 443 } else { 80 }),
        };
        if port == 0 {
            return Err("the port is a number of 1 to 65535");
        }
        Ok(Self { is_secure, host: HostPattern::parse(host)?, port, path: PathPattern::parse(path)? })
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        let Self { is_secure, host, port, path } = self;
        if (*is_secure, *port) != (other.is_secure, other.port) {
            return None;
        }
        let (host, path) = (host.meet(&other.host)?, path.meet(&other.path)?);
        Some(Self { is_secure: *is_secure, host, port: *port, path })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_secure, host, port, path } = self;
        let (scheme, usual) = if *is_secure { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://")?;
        match host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Below(end) => write!(f, "*{end}")?,
            HostPattern::Exactly(host) => f.write_str(host)?,
        }
        if *port != usual {
            write!(f, ":{port}")?;
        }
        match path {
            PathPattern::Any => Ok(()),
            PathPattern::Starts(start) => write!(f, "{start}*"),
            PathPattern::Exactly(path) => f.write_str(path),
        }
    }
}

// === impl HostPattern ===

impl HostPattern {
    const FORM: &'static str = "the host is a name, an address, `*.` and a name, or `*`";

    fn parse(host: &str) -> Result<Self, &'static str> {
        if host == "*" {
            return Ok(Self::Any);
        }
        let (name, is_below) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
        if name.contains('*') {
            return Err(Self::FORM);
        }
        match Host::parse(name) {
            Ok(Host::Domain(name)) if is_below => Ok(Self::Below(format!(".{name}"))),
            Ok(host) if !is_below => Ok(Self::Exactly(host.to_string())),
            Ok(_) | Err(_) => Err(Self::FORM),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(end), Self::Below(other)) => other.ends_with(end.as_str()),
            // The dot it begins with keeps `a.example` from covering `ba.example`.
            (Self::Below(end), Self::Exactly(host)) => host.len() > end.len() && host.ends_with(end.as_str()),
            (Self::Exactly(one), Self::Exactly(other)) => one == other,
            (Self::Below(_) | Self::Exactly(_), Self::Any) | (Self::Exactly(_), Self::Below(_)) => false,
        }
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) { Some(other.clone()) } else { other.covers(self).then(|| self.clone()) }
    }
}

// === impl PathPattern ===

impl PathPattern {
    fn parse(path: &str) -> Result<Self, &'static str> {
        let (start, is_open) = match path {
            "" | "/" | "/*" => return Ok(Self::Any),
            path => path.strip_suffix('*').map_or((path, false), |start| (start, true)),
        };
        if start.contains(['*', '?', '#', '\\']) {
            return Err("the path is exact or ends in *, and has no query");
        }
        let whole = Url::parse(&format!("http://host{start}")).map_err(|_| "the path is no path")?;
        // What holds `.` or `..` is moved by parsing.
        if whole.path().split('/').count() != start.split('/').count() {
            return Err("the path holds `.` or `..`; write where it leads");
        }
        let start = whole.path().to_owned();
        // What is nothing but `/` once it is parsed would be read as any path the next time.
        if start == "/" {
            return Err("the path leads to `/` in a roundabout way; leave it out for any path");
        }
        Ok(if is_open { Self::Starts(start) } else { Self::Exactly(start) })
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Starts(start), Self::Starts(other) | Self::Exactly(other)) => {
                other.starts_with(start.as_str())
            }
            (Self::Exactly(one), Self::Exactly(other)) => one == other,
            (Self::Starts(_) | Self::Exactly(_), Self::Any) | (Self::Exactly(_), Self::Starts(_)) => false,
        }
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) { Some(other.clone()) } else { other.covers(self).then(|| self.clone()) }
    }
}
