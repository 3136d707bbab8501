//! Where a request goes, and whether it can be sent at all. The same rules in a cell and in a native test.

use super::{HttpError, Method, Request};

/// Headers that belong to the connection, which is the host's.
const RESERVED: [&str; 9] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// The parts of a URL that a request needs; a fragment is left out, it never goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) https: bool,
    /// Host and port.
    pub(crate) authority: &'a str,
    /// Empty when the URL ends with the authority.
    pub(crate) path_and_query: &'a str,
}

impl<'a> Target<'a> {
    fn parse(url: &'a str) -> Result<Self, &'static str> {
        let (https, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err("the URL must begin with https:// or http://");
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the URL must be ASCII without spaces; percent-encode the rest");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        match authority {
            "" => Err("the URL names no host"),
            _ if authority.contains('@') => Err("the URL holds a user name; use an authorization header"),
            _ => Ok(Self { https, authority, path_and_query }),
        }
    }
}

/// What the request is for, if it can be sent.
pub(crate) fn check(request: &Request) -> Result<Target<'_>, HttpError> {
    let invalid = |fault: &str| {
        HttpError::Invalid(format!("{} {}: {fault}", request.method, without_query(&request.url)))
    };
    if let Some(fault) = &request.fault {
        return Err(invalid(fault));
    }
    for (name, value) in &request.headers {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(invalid(&format!("`{name}` is not a header name")));
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(invalid(&format!("the header `{name}` is the host's to set")));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(invalid(&format!("the value of the header `{name}` has a control character")));
        }
    }
    Target::parse(&request.url).map_err(invalid)
}

/// What a refused request lacks: named without path and query, which may hold personal data or tokens.
pub(crate) fn missing_grant(method: Method, target: &Target<'_>) -> HttpError {
    let scheme = if target.https { "https" } else { "http" };
    let origin = format!("{scheme}://{}", target.authority);
    HttpError::Denied(format!(
        "{method} {origin} is not granted, or its address is not; the job's log has the line to add"
    ))
}

/// A URL for messages: what comes after `?` may hold tokens.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(https: bool, authority: &'static str, path_and_query: &'static str) -> Target<'static> {
        Target { https, authority, path_and_query }
    }

    #[test]
    fn a_url_is_split_without_its_fragment() {
        assert_eq!(Target::parse("https://a.example"), Ok(target(true, "a.example", "")));
        assert_eq!(Target::parse("http://a:80/b/c?d=e/f#g"), Ok(target(false, "a:80", "/b/c?d=e/f")));
        assert_eq!(Target::parse("https://a?b"), Ok(target(true, "a", "?b")));
        assert_eq!(Target::parse("https://[::1]:8080/x"), Ok(target(true, "[::1]:8080", "/x")));
    }

    #[test]
    fn a_url_that_cannot_be_sent_is_refused() {
        for url in
            ["ftp://a/", "/a", "https://", "https:///a", "https://user:pw@a/", "https://a/ b", "https://ä/"]
        {
            assert!(matches!(check(&Request::get(url)), Err(HttpError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn headers_that_would_break_or_redirect_the_request_are_refused() {
        for (name, value) in
            [("", "x"), ("a b", "x"), ("x-a", "b\r\nx-c: d"), ("Host", "b"), ("upgrade", "h2c")]
        {
            let request = Request::get("https://a/").header(name, value);
            assert!(matches!(check(&request), Err(HttpError::Invalid(_))), "{name}: {value}");
        }
    }

    #[test]
    fn messages_leave_out_the_query() {
        let request = Request::get("https://a/b?token=s3cret").header("host", "c");
        let text = check(&request).unwrap_err().to_string();
        assert!(text.contains("GET https://a/b:") && !text.contains("s3cret"), "{text}");
    }
}
