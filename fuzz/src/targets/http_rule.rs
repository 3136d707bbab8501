//! Grants of outgoing HTTP: a request is covered only when it goes where the rule says, however either is written.

use http::Uri;
use jobcell_wasm::HttpRule;
use jobcell_wasm::fuzzing::{covers, reach, request_url};
use url::{Host, Url};

/// How often servers and what stands before them decode a path.
const DECODED_TIMES: usize = 3;

/// The first line is the rule's URL (`private ` before it sets that flag), every other one the URL of a request.
pub fn http_rule(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    let (text, private) = match first.strip_prefix("private ") {
        Some(url) => (url, true),
        None => (first, false),
    };
    let rule = match HttpRule::new(text, None, Vec::new(), private) {
        Ok(rule) => rule,
        Err(fault) => {
            assert!(!fault.why.is_empty(), "{text}");
            return;
        }
    };
    let granted = Granted::of(text);
    for line in lines {
        let Ok(uri) = line.parse::<Uri>() else { continue };
        let Some(url) = request_url(&uri) else { continue };
        check_url(line, &uri, &url);
        let covered = covers(&rule, &url);
        let again = Url::parse(url.as_str()).unwrap_or_else(|fault| panic!("{url}: {fault}"));
        assert_eq!(again, url, "{line} has more than one form");
        if covered {
            granted.check(&url, private);
        }
    }
}

/// What is asked for is what the URL names.
fn check_url(line: &str, uri: &Uri, url: &Url) {
    assert!(url.username().is_empty() && url.password().is_none(), "{line} keeps its login: {url}");
    if matches!(url.scheme(), "http" | "https") {
        let named = Host::parse(uri.host().unwrap_or_default());
        assert_eq!(named.ok().as_ref(), url.host().map(|host| host.to_owned()).as_ref(), "{line} and {url}");
    }
}

/// A rule, read a second time by other means.
struct Granted {
    scheme: String,
    port: Option<u16>,
    host: Named,
    path: String,
}

enum Named {
    Any,
    Below(String),
    Exactly(Host<String>),
}

// === impl Granted ===

impl Granted {
    fn of(text: &str) -> Self {
        let (scheme, rest) = text.split_once("://").expect("a rule has a scheme");
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+') => {
                (host, port)
            }
            _ => (authority, ""),
        };
        let host = match (host, host.strip_prefix("*.")) {
            ("*", _) => Named::Any,
            (_, Some(below)) => Named::Below(
                Host::parse(below)
                    .map(|host| host.to_string())
                    .unwrap_or_else(|fault| panic!("{text}: {fault}")),
            ),
            (host, None) => {
                Named::Exactly(Host::parse(host).unwrap_or_else(|fault| panic!("{text}: {fault}")))
            }
        };
        Self { scheme: scheme.to_owned(), port: port.parse().ok(), host, path: path.to_owned() }
    }

    /// A covered request goes to this place.
    fn check(&self, url: &Url, private: bool) {
        let Self { scheme, port, host, path } = self;
        assert_eq!(scheme, url.scheme(), "{url}");
        let default = if scheme == "http" { 80 } else { 443 };
        assert_eq!(url.port_or_known_default(), Some(port.unwrap_or(default)), "{url}");
        let asked = url.host().expect("a covered URL has a host").to_owned();
        match (host, &asked) {
            (Named::Exactly(own), asked) => assert_eq!(own, asked, "{url}"),
            (Named::Below(below), Host::Domain(name)) => {
                let first = name.strip_suffix(below.as_str()).and_then(|first| first.strip_suffix('.'));
                assert!(first.is_some_and(|first| !first.is_empty()), "{url} is not below {below}");
            }
            (Named::Any, Host::Domain(_)) => {}
            (Named::Any | Named::Below(_), ip) => panic!("{ip} is covered by a pattern of names"),
        }
        let ip = match asked {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        };
        match ip.map(reach) {
            None | Some("public") => {}
            Some("private") if private => {}
            // Only where the rule spells this very address.
            Some("guarded") if private && matches!(host, Named::Exactly(_)) => {}
            Some(verdict) => panic!("{url} is {verdict}, and covered"),
        }
        if matches!(path.as_str(), "" | "/" | "/*") {
            return;
        }
        let is_open = path.ends_with('*');
        let start = Url::parse(&format!("http://host{}", path.strip_suffix('*').unwrap_or(path)));
        let start = start.unwrap_or_else(|fault| panic!("{path}: {fault}"));
        if is_open {
            assert!(url.path().starts_with(start.path()), "{url} is not under {path}");
        } else {
            assert_eq!(url.path(), start.path(), "{url}");
        }
        let mut seen = url.path().to_owned();
        for _ in 0..DECODED_TIMES {
            let is_up = |step: &str| step.split(';').next() == Some("..");
            assert!(!seen.split(['/', '\\']).any(is_up), "{url} has a way out of {path}");
            seen = once_decoded(&seen);
        }
    }
}

/// A path as a server sees it that decodes once before it looks at the dots.
fn once_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
