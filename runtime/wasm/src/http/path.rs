//! Which paths of a host a rule covers.

use url::Url;

/// The paths that a rule covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathPattern {
    Any,
    Starts(String),
    Exactly(String),
}

// === impl PathPattern ===

impl PathPattern {
    /// Of a rule's URL what follows the host.
    ///
    /// # Errors
    /// What is wrong with it, with the fix.
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        if path.contains(['?', '#']) {
            return Err("it must end with the path; queries are free".to_owned());
        }
        let (start, is_open) = match path {
            "" | "/" | "/*" => return Ok(Self::Any),
            path => path.strip_suffix('*').map_or((path, false), |start| (start, true)),
        };
        if start.contains('*') {
            return Err("a * in the path can only be its end".to_owned());
        }
        // Requests are matched in the one form that URLs have, so the rule must be in it too.
        let whole =
            Url::parse(&format!("http://host{start}")).map_err(|fault| format!("path {start:?}: {fault}"))?;
        let is_moved = whole.path().split('/').count() != start.split('/').count()
            || start.split('/').next_back() == Some(".");
        if climbs(start) || is_moved || start.contains('\\') {
            return Err(format!("path {start:?} holds `.` or `..` or a backslash; write where it leads"));
        }
        let start = whole.path().to_owned();
        Ok(if is_open { Self::Starts(start) } else { Self::Exactly(start) })
    }

    /// Whether this path of a normalised URL is covered.
    pub(crate) fn covers(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Starts(start) => path.starts_with(start.as_str()) && !climbs(path),
            Self::Exactly(own) => path == own,
        }
    }
}

/// How often a path is decoded to see what it might mean: proxies and frameworks each may do it once.
const DECODED_TIMES: usize = 4;

/// Whether a server that decodes more than it should could find a way up in this path: `..` between slashes or
/// backslashes, plain, encoded (several times over, or as the overlong UTF-8 that some decoders take), or before the
/// parameters that some servers cut off (`..;x`). Control characters count as well: some servers end the path there.
pub(crate) fn climbs(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    for _ in 0..DECODED_TIMES {
        if goes_up(&path) {
            return true;
        }
        let decoded: Vec<u8> = percent_encoding::percent_decode(&path).collect();
        if decoded == path {
            return false;
        }
        path = decoded;
    }
    // Encoded this often it is no accident.
    true
}

fn goes_up(path: &[u8]) -> bool {
    // Overlong forms of dots, slashes and all else in ASCII; no valid text has these bytes.
    let is_overlong = path.windows(2).any(|pair| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf]));
    let is_up =
        |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii() == b"..";
    is_overlong
        || path.iter().any(u8::is_ascii_control)
        || path.split(|byte| matches!(byte, b'/' | b'\\')).any(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        let url = Url::parse(&format!("https://a.io{path}")).unwrap();
        PathPattern::parse(pattern).unwrap().covers(url.path())
    }

    #[test]
    fn paths_are_exact_or_begin_so_after_dots_are_resolved() {
        assert!(covers("/v1/*", "/v1/x/y"));
        assert!(covers("/", "/anything"));
        assert!(covers("/v1", "/v1?q=1"));
        assert!(!covers("/v1", "/v1/x"));
        for escape in ["/v1/../v2", "/v1/%2e%2e/v2", "/v1/.%2E/v2", "/v1/..\\v2"] {
            assert!(!covers("/v1/*", escape), "{escape}");
        }
        // A rule is written as people write, requests come as browsers do.
        assert!(covers("/ü b/*", "/%C3%BC%20b/x"));
    }

    #[test]
    fn no_rule_with_a_path_covers_an_encoded_way_up() {
        for path in [
            "/v1/..%2fadmin",
            "/v1/..%5cadmin",
            "/v1/%2e%2e%2fadmin",
            "/v1/.%2e%5Cadmin",
            "/v1/%252e%252e%252fadmin",
            "/v1/..%252fadmin",
            "/v1/%25252e%25252e/admin",
            "/v1/%2525252525252e./admin",
            "/v1/..;/admin",
            "/v1/..;a=b/admin",
            "/v1/..%3b/admin",
            "/v1/%c0%ae%c0%ae/admin",
            "/v1/x%c0%afadmin",
            "/v1/x%00/admin",
            "/v1/x%0d%0aHost:%20evil",
            "/v1/..%20/admin",
        ] {
            assert!(!covers("/v1/*", path), "{path}");
            assert!(covers("", path), "{path}: without a path any is granted");
        }
        for path in
            ["/v1/..x", "/v1/a..b/c", "/v1/...", "/v1/100%25", "/v1/a%2fb", "/v1/%E2%82%AC", "/v1/a;b=..c"]
        {
            assert!(covers("/v1/*", path), "{path}");
        }
    }

    #[test]
    fn a_rule_says_where_it_leads() {
        for path in ["/v1/../*", "/v1/%2e%2e/*", "/v1/.", "/v1/./x", "/a\\b", "/v1/..%2f*"] {
            let error = PathPattern::parse(path).unwrap_err();
            assert!(error.contains("where it leads"), "{path}: {error}");
        }
    }
}
