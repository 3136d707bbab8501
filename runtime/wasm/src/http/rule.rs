//! Where a handler's requests may go, parsed once from the operator's grant.

use std::fmt;
use std::net::IpAddr;

use http::Method;
use serde::Deserialize;
use url::{Host, Url};

use super::address::{Barred, Reach, Reachable, article, reach};
use super::path::PathPattern;
use super::place::RuleSecret;

/// One entry of `grants.http`: `{ url = "https://*.supabase.co/storage/*", methods = ["GET"], secrets = ["key"] }`, or
/// only the URL.
///
/// - The scheme is `http` or `https`. Without a port it is the scheme's own.
/// - The host is a name, an address, `*.` and a name (any name below it), or `*` (any public host).
/// - The path is exact, or a beginning followed by `*`. Without a path, or with `/` alone, it is any. The query is free.
///   A rule with a path covers no path with an encoded way up (`..%2f`), which some servers follow.
/// - `methods` narrows; left out it is any.
/// - `secrets` are put in place of their placeholders in requests that this rule lets pass, where [`RuleSecret`] says.
///   They need to know whom they are sent to: a rule for any host has none, and one for a public host uses `https`.
/// - `trace = true` lets requests carry `traceparent` and `tracestate`, where traces are collected.
/// - `private = true` lets the host be on this machine or its own network. It needs one exact host. Link-local
///   addresses and those of instance metadata, which tell whoever asks the host's own identity, are reached only where
///   the URL spells that very address, and by no name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RuleForm")]
pub struct HttpRule {
    text: String,
    scheme: Scheme,
    host: HostPattern,
    port: u16,
    path: PathPattern,
    methods: Option<Vec<Method>>,
    secrets: Vec<RuleSecret>,
    reachable: Reachable,
    trace: bool,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("grants.http url {url:?}: {why}")]
pub struct RuleError {
    /// The rule's URL.
    pub url: String,
    /// What is wrong, with the fix.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// Names that end so; begins with a dot.
    Below(String),
    Exactly(Host<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RuleForm {
    Url(String),
    Full(FullRule),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullRule {
    url: String,
    methods: Option<Vec<String>>,
    #[serde(default)]
    secrets: Vec<RuleSecret>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    trace: bool,
}

impl TryFrom<RuleForm> for HttpRule {
    type Error = RuleError;

    fn try_from(form: RuleForm) -> Result<Self, RuleError> {
        match form {
            RuleForm::Url(url) => Self::new(&url, None, Vec::new(), false),
            RuleForm::Full(FullRule { url, methods, secrets, private, trace }) => {
                Ok(Self::new(&url, methods, secrets, private)?.with_trace(trace))
            }
        }
    }
}

// === impl HttpRule ===

impl HttpRule {
    /// Parses a rule.
    ///
    /// # Errors
    /// When the URL is not of the form above, the methods are none or not methods, a private host lacks
    /// `private = true`, or secrets would go to any host or unencrypted to a public one.
    pub fn new(
        url: &str,
        methods: Option<Vec<String>>,
        secrets: Vec<RuleSecret>,
        private: bool,
    ) -> Result<Self, RuleError> {
        let fault = |why: &str| RuleError { url: url.to_owned(), why: why.to_owned() };
        let (scheme, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(fault("it must begin with https:// or http://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority_of(scheme, authority).map_err(|why| fault(&why))?;
        let methods = methods.map(|methods| methods_of(&methods)).transpose().map_err(|why| fault(&why))?;
        let reachable = host.reachable(private).map_err(|why| fault(&why))?;
        let path = PathPattern::parse(path).map_err(|why| fault(&why))?;
        match (&host, secrets.first(), scheme, private) {
            (_, None, _, _) => {}
            (HostPattern::Any, Some(_), _, _) => {
                return Err(fault(
                    "a rule for any host sends its secrets to anybody; name the hosts that get them",
                ));
            }
            (_, Some(_), Scheme::Http, false) => {
                return Err(fault("secrets would cross the internet unencrypted; write https://"));
            }
            (HostPattern::Below(_) | HostPattern::Exactly(_), Some(_), _, _) => {}
        }
        let text = url.to_owned();
        Ok(Self { text, scheme, host, port, path, methods, secrets, reachable, trace: false })
    }

    /// The URL as it is written in the grant.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.text
    }

    /// The methods that are allowed; none is any.
    #[must_use]
    pub fn methods(&self) -> Option<Vec<String>> {
        Some(self.methods.as_ref()?.iter().map(|method| method.as_str().to_owned()).collect())
    }

    /// This rule for another URL and other methods, with those of its secrets that `keeps` says.
    ///
    /// # Errors
    /// When no rule can be for that URL.
    pub fn narrowed(
        &self,
        url: &str,
        methods: Option<Vec<String>>,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<Self, RuleError> {
        let secrets = self.secrets.iter().filter(|secret| keeps(secret.name())).cloned().collect();
        let private = self.reachable != Reachable::Public;
        Ok(Self::new(url, methods, secrets, private)?.with_trace(self.trace))
    }

    /// Whether requests under this rule carry the trace context of their attempt. Not by default: it tells the far end
    /// which of its requests belong together.
    #[must_use]
    pub fn with_trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    pub(crate) fn traces(&self) -> bool {
        self.trace
    }

    /// The entry of `grants.http` that lets this request pass, as it is written in a configuration. `place` is a URL
    /// without its query.
    ///
    /// # Errors
    /// Why none is suggested, for what no operator should open because a handler asked for it.
    pub(crate) fn suggest(method: &Method, place: &Url) -> Result<String, Barred> {
        let private = match place.host().as_ref().and_then(address_of).map(reach) {
            Some(Reach::Guarded(kind)) => return Err(Barred::Guarded(kind)),
            Some(Reach::Never(kind)) => return Err(Barred::Never(kind)),
            Some(Reach::Private(_)) => ", private = true",
            Some(Reach::Public) | None => "",
        };
        Ok(format!("{{ url = \"{place}\", methods = [\"{method}\"]{private} }}"))
    }

    /// Whether requests to this URL are covered, by whatever method. The URL is normalised: no dot segments, the host
    /// in lower case or in the one form of an address.
    pub(crate) fn covers(&self, url: &Url) -> bool {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        url.scheme() == scheme
            && url.port_or_known_default() == Some(self.port)
            && url.host().is_some_and(|host| self.host.covers(&host))
            && self.path.covers(url.path())
    }

    pub(crate) fn allows(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    /// The names of its secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(RuleSecret::name)
    }

    /// What it says about this secret.
    pub(crate) fn secret(&self, name: &str) -> Option<&RuleSecret> {
        self.secrets.iter().find(|secret| secret.name() == name)
    }

    pub(crate) fn reachable(&self) -> Reachable {
        self.reachable
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The address that a host is known to be without asking anybody.
fn address_of<S: AsRef<str>>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref().trim_end_matches('.');
            (name == "localhost" || name.ends_with(".localhost")).then(|| IpAddr::from([127, 0, 0, 1]))
        }
        Host::Ipv4(ip) => Some(IpAddr::from(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::from(*ip)),
    }
}

fn authority_of(scheme: Scheme, authority: &str) -> Result<(HostPattern, u16), String> {
    if authority.contains('@') {
        return Err("it must not carry a user or a password; use a secret".to_owned());
    }
    let default = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    // An IPv6 address has colons of its own, inside brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let fault = || format!("port {port:?} is not a number from 1 to 65535");
            let digits =
                Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit())).ok_or_else(fault)?;
            (host, digits.parse().ok().filter(|port| *port > 0).ok_or_else(fault)?)
        }
        _ => (authority, default),
    };
    let pattern = match host {
        "" => return Err("it has no host".to_owned()),
        "*" => HostPattern::Any,
        host => match host.strip_prefix("*.") {
            Some(name) => HostPattern::Below(format!(".{}", name_of(name)?)),
            None => HostPattern::Exactly(host_of(host)?),
        },
    };
    Ok((pattern, port))
}

fn host_of(host: &str) -> Result<Host<String>, String> {
    if host.contains('*') {
        return Err(
            "a * in the host can only stand for all of it, or for its first part: *.example.com".to_owned()
        );
    }
    Host::parse(host).map_err(|fault| format!("host {host:?}: {fault}"))
}

fn name_of(name: &str) -> Result<String, String> {
    match host_of(name)? {
        Host::Domain(name) => Ok(name),
        Host::Ipv4(_) | Host::Ipv6(_) => Err(format!("{name:?} is an address; there are no names below it")),
    }
}

fn methods_of(methods: &[String]) -> Result<Vec<Method>, String> {
    if methods.is_empty() {
        return Err("methods = [] allows no request; name some, or leave it out for any".to_owned());
    }
    let parse = |text: &String| {
        Method::from_bytes(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| format!("{text:?} is not a method"))
    };
    methods.iter().map(parse).collect()
}

// === impl HostPattern ===

impl HostPattern {
    fn covers(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            // An address as such is only covered where it is named.
            (Self::Any, Host::Domain(_)) => true,
            (Self::Below(end), Host::Domain(name)) => name.len() > end.len() && name.ends_with(end.as_str()),
            (Self::Exactly(Host::Domain(own)), Host::Domain(name)) => own == name,
            (Self::Exactly(Host::Ipv4(own)), Host::Ipv4(ip)) => own == ip,
            (Self::Exactly(Host::Ipv6(own)), Host::Ipv6(ip)) => own == ip,
            _ => false,
        }
    }

    /// What a rule for this host may reach.
    fn reachable(&self, private: bool) -> Result<Reachable, String> {
        let reachable = if private { Reachable::PublicAndPrivate } else { Reachable::Public };
        let ip = match self {
            Self::Any | Self::Below(_) if private => {
                return Err("private = true needs one exact host, not a pattern".to_owned());
            }
            Self::Any | Self::Below(_) => return Ok(reachable),
            Self::Exactly(host) => address_of(host),
        };
        let Some(ip) = ip else { return Ok(reachable) };
        let named = |kind: &str| format!("its host is {} {kind}", article(kind));
        match reach(ip) {
            Reach::Public => Ok(reachable),
            Reach::Private(_) if private => Ok(reachable),
            Reach::Private(kind) => {
                Err(format!("{}; add private = true to let the handler reach it", named(kind)))
            }
            Reach::Guarded(_) if private => Ok(Reachable::Only(ip)),
            Reach::Guarded(kind) => Err(format!(
                "{}, which can tell the handler who this host is and act as it; add private = true if that is meant",
                named(kind)
            )),
            Reach::Never(kind) => Err(format!("{}, which handlers never reach", named(kind))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(url: &str) -> HttpRule {
        HttpRule::new(url, None, Vec::new(), false).unwrap()
    }

    fn covers(rule_url: &str, url: &str) -> bool {
        rule(rule_url).covers(&Url::parse(url).unwrap())
    }

    #[test]
    fn hosts_are_matched_whole() {
        assert!(covers("https://api.stripe.com", "https://API.stripe.com/v1/x?y=1"));
        assert!(covers("https://*.supabase.co", "https://a.b.supabase.co/x"));
        for (pattern, url) in [
            ("https://*.supabase.co", "https://supabase.co/"),
            ("https://*.supabase.co", "https://evilsupabase.co/"),
            ("https://api.stripe.com", "https://api.stripe.com.evil.com/"),
            ("https://api.stripe.com", "http://api.stripe.com/"),
            ("https://api.stripe.com", "https://api.stripe.com:8443/"),
            ("https://*", "https://1.1.1.1/"),
            ("https://*", "https://[::1]/"),
        ] {
            assert!(!covers(pattern, url), "{pattern} {url}");
        }
    }

    #[test]
    fn other_spellings_of_an_address_are_that_address() {
        let rule = HttpRule::new("http://127.0.0.1:9000", None, Vec::new(), true).unwrap();
        for url in ["http://0x7f.1:9000/", "http://2130706433:9000/", "http://127.1:9000/"] {
            assert!(rule.covers(&Url::parse(url).unwrap()), "{url}");
        }
        assert!(!covers("https://*", "https://0x7f.1/"));
    }

    #[test]
    fn look_alikes_are_other_hosts() {
        for url in [
            "https://api.stripe.com./v1",
            "https://api.str\u{0456}pe.com/",
            "https://api\u{3002}stripe\u{3002}com.evil.com/",
            "https://api-stripe.com/",
            "https://api.stripe.com%2eevil.com/",
            "https://api.stripe.com:444/",
        ] {
            let rule = rule("https://api.stripe.com");
            assert!(!Url::parse(url).is_ok_and(|url| rule.covers(&url)), "{url}");
        }
        // Other ways to write the same name are that name.
        for url in ["https://API.Stripe.com", "https://api.stripe%2ecom/", "https://api\u{3002}stripe.com/"] {
            assert!(covers("https://api.stripe.com", url), "{url}");
        }
    }

    #[test]
    fn secrets_go_to_known_hosts_and_encrypted() {
        let with = |url: &str, private| {
            HttpRule::new(url, None, vec![RuleSecret::new("key", None).unwrap()], private)
        };
        assert!(with("https://*", false).unwrap_err().why.contains("anybody"));
        assert!(with("http://a.io", false).unwrap_err().why.contains("unencrypted"));
        assert!(with("https://*.a.io", false).is_ok() && with("http://127.0.0.1:1", true).is_ok());
    }

    #[test]
    fn methods_narrow() {
        let only = HttpRule::new("https://a.io", Some(vec!["get".into()]), Vec::new(), false).unwrap();
        assert!(only.allows(&Method::GET) && !only.allows(&Method::POST));
        assert!(rule("https://a.io").allows(&Method::DELETE));
    }

    #[test]
    fn faults_say_how_to_mend_them() {
        let cases = [
            ("ftp://a.io", "https://"),
            ("https://", "no host"),
            ("https://u:p@a.io", "secret"),
            ("https://a.*.io", "first part"),
            ("https://a.io:0x1", "port"),
            ("https://a.io:0", "port"),
            ("https://a.io:+80", "port"),
            ("https://a.io/v1/../*", "where it leads"),
            ("http://localhost.", "private = true"),
            ("https://a.io/*/b", "end"),
            ("https://a.io/?q", "queries"),
            ("http://127.0.0.1:80", "private = true"),
            ("http://localhost:80", "private = true"),
            ("http://[::1]:80", "private = true"),
            ("http://169.254.169.254", "private = true"),
            ("http://0.0.0.0", "never"),
            ("https://*.1.2.3.4", "address"),
        ];
        for (url, hint) in cases {
            let error = HttpRule::new(url, None, Vec::new(), false).unwrap_err().to_string();
            assert!(error.contains(hint), "{url}: {error}");
        }
        assert!(HttpRule::new("https://*.a.io", None, Vec::new(), true).unwrap_err().why.contains("exact"));
        assert!(
            HttpRule::new("http://0.0.0.0", None, Vec::new(), true).unwrap_err().why.contains("is a this")
        );
        assert!(
            HttpRule::new("http://[::]", None, Vec::new(), true).unwrap_err().why.contains("an unspecified")
        );
        let metadata = HttpRule::new("http://169.254.169.254", None, Vec::new(), true).unwrap();
        assert_eq!(metadata.reachable(), Reachable::Only(IpAddr::from([169, 254, 169, 254])));
        assert!(HttpRule::new("https://a.io", Some(vec![]), Vec::new(), false).is_err());
    }

    #[test]
    fn a_suggested_rule_is_taken_and_covers_the_request() {
        for url in [
            "https://api.stripe.com/v1/x",
            "http://127.0.0.1:9000/a%20b",
            "http://localhost:1/",
            "http://a.localhost/x",
            "http://[::1]:1/",
            "http://10.1.2.3/",
            "https://1.1.1.1/",
        ] {
            let url = Url::parse(url).unwrap();
            let text = HttpRule::suggest(&Method::POST, &url).unwrap();
            // The forms differ in how keys are written.
            let json = ["url", "methods", "private"]
                .iter()
                .fold(text.clone(), |json, key| json.replace(&format!("{key} = "), &format!("\"{key}\": ")));
            let rule: HttpRule = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(rule.covers(&url) && rule.allows(&Method::POST) && !rule.allows(&Method::GET), "{text}");
        }
        for url in ["http://169.254.169.254/latest", "http://[fe80::1]/", "http://[fd00:ec2::254]/"] {
            let url = Url::parse(url).unwrap();
            assert!(HttpRule::suggest(&Method::GET, &url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_rule_is_a_url_or_a_table() {
        let rules: Vec<HttpRule> = serde_json::from_str(
            r#"["https://a.io",{"url":"http://127.0.0.1:1","methods":["PUT"],"secrets":["s"],"private":true}]"#,
        )
        .unwrap();
        assert_eq!(rules[1].secrets().collect::<Vec<_>>(), ["s"]);
        assert!(serde_json::from_str::<HttpRule>(r#"{"url":"https://a.io","method":["GET"]}"#).is_err());
    }
}
