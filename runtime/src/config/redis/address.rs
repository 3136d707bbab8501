//! A URL of Redis taken apart without being understood, so that parts of it can be replaced. Those with several hosts
//! are no URLs to others.

use std::fmt;

/// The parts as they are written; what is percent-encoded stays so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Without `+sentinel` or `+cluster`, and without the `s` that means TLS.
    base: String,
    pub(super) tls: bool,
    /// `sentinel`, `cluster`, or nothing.
    way: String,
    pub(super) username: String,
    pub(super) password: Option<String>,
    hosts: String,
    /// With its slash in front.
    path: String,
    /// From its `?` or `#` on.
    rest: String,
}

// === impl Address ===

impl Address {
    /// Takes a URL apart. None where it is none with hosts: a socket file, or something else.
    pub(super) fn split(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (first, way) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (base, tls) = match first {
            "redis" | "valkey" => (first, false),
            "rediss" => ("redis", true),
            "valkeys" => ("valkey", true),
            _ => return None,
        };
        let (before, rest) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = match login.split_once(':') {
            Some((username, password)) => (username, Some(password.to_owned())),
            None => (login, None),
        };
        Some(Self {
            base: base.to_owned(),
            tls,
            way: way.to_owned(),
            username: username.to_owned(),
            password,
            hosts: hosts.to_owned(),
            path: path.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// Whether there is a login in it.
    pub(super) fn has_login(&self) -> bool {
        !self.username.is_empty() || self.password.is_some()
    }

    /// Puts a port in place of its own. False where there may be several.
    pub(super) fn set_port(&mut self, port: u16) -> bool {
        if !self.way.is_empty() || self.hosts.contains(',') {
            return false;
        }
        // What follows the last colon is a port unless that stands inside an IPv6 address.
        let host = match self.hosts.rsplit_once(':') {
            Some((host, last)) if !last.contains(']') => host,
            _ => self.hosts.as_str(),
        };
        self.hosts = format!("{host}:{port}");
        true
    }

    /// Puts a database in place of its own.
    pub(super) fn set_database(&mut self, database: u32) {
        let master = match self.way.as_str() {
            "sentinel" => self.path.trim_start_matches('/').split('/').next().unwrap_or_default(),
            _ => "",
        };
        self.path = if master.is_empty() { format!("/{database}") } else { format!("/{master}/{database}") };
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, tls, way, username, password, hosts, path, rest } = self;
        let (s, plus) = (if *tls { "s" } else { "" }, if way.is_empty() { "" } else { "+" });
        write!(f, "{base}{s}{plus}{way}://{username}")?;
        if let Some(password) = password {
            write!(f, ":{password}")?;
        }
        let at = if self.has_login() { "@" } else { "" };
        write!(f, "{at}{hosts}{path}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_goes_together_again() {
        for url in [
            "redis://h",
            "rediss://u:p@h:1/2?x=y",
            "redis+sentinel://:p%40@h1:1,h2/main/3",
            "rediss+cluster://u@h1,h2/",
            "valkey://h",
            "valkeys+cluster://h",
        ] {
            assert_eq!(Address::split(url).unwrap().to_string(), url);
        }
        for other in ["unix:///run/redis.sock", "h:1", "http://h"] {
            assert_eq!(Address::split(other), None);
        }
    }

    #[test]
    fn parts_are_replaced_where_they_belong() {
        let change = |url: &str, change: fn(&mut Address)| {
            let mut address = Address::split(url).unwrap();
            change(&mut address);
            address.to_string()
        };
        assert_eq!(change("redis://[::1]", |a| assert!(a.set_port(7))), "redis://[::1]:7");
        assert_eq!(change("redis://[::1]:6/2", |a| assert!(a.set_port(7))), "redis://[::1]:7/2");
        assert_eq!(change("redis+cluster://h1,h2", |a| assert!(!a.set_port(7))), "redis+cluster://h1,h2");
        assert_eq!(change("redis+sentinel://h1,h2/m", |a| a.set_database(4)), "redis+sentinel://h1,h2/m/4");
        assert_eq!(change("redis+sentinel://h/m/2", |a| a.tls = true), "rediss+sentinel://h/m/2");
        assert_eq!(change("redis://h/1", |a| a.set_database(4)), "redis://h/4");
    }
}
