//! The trace that a request is part of: what clients with OpenTelemetry send along, for the jobs that they add.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde_json::{Map, Value};

/// The W3C carrier as JSON text, as jobs keep it; none without a `traceparent` that is one.
pub(crate) struct Carried(pub(crate) Option<String>);

/// What is taken along beside `traceparent`, and bytes of each at most: it is stored with every job of the request. What
/// is longer is left out, as the W3C allows.
const BESIDE: [&str; 2] = ["tracestate", "baggage"];
const BESIDE_BYTES_MAX: usize = 1024;
/// Bytes of a `traceparent`; versions to come may be longer than the first.
const PARENT_BYTES_MAX: usize = 128;

impl<S: Sync> FromRequestParts<S> for Carried {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(carrier(&parts.headers)))
    }
}

fn carrier(headers: &HeaderMap) -> Option<String> {
    let one = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let first = all.next()?.to_str().ok()?;
        all.next().is_none().then(|| first.trim().to_owned())
    };
    let parent = one("traceparent").filter(|parent| is_traceparent(parent))?;
    let mut carrier = Map::from_iter([("traceparent".to_owned(), Value::from(parent))]);
    for name in BESIDE {
        // These two may come in several headers, which are one list.
        let all: Option<Vec<&str>> =
            headers.get_all(name).iter().map(|value| value.to_str().ok().map(str::trim)).collect();
        let list = all.unwrap_or_default().join(",");
        if !list.is_empty() && list.len() <= BESIDE_BYTES_MAX {
            carrier.insert(name.to_owned(), list.into());
        }
    }
    Some(Value::from(carrier).to_string())
}

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex, with a trace and a span that are not zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else { return false };
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |part: &str| part.bytes().any(|byte| byte != b'0');
    text.len() <= PARENT_BYTES_MAX
        && is_hex(version, 2)
        && *version != "ff"
        && (rest.is_empty() || *version != "00")
        && is_hex(trace, 32)
        && is_some(trace)
        && is_hex(span, 16)
        && is_some(span)
        && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried(headers: &[(&'static str, &str)]) -> Option<Value> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        carrier(&map).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn what_a_client_sends_along_becomes_a_carrier() {
        let headers = [
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=\"2\""),
            ("baggage", "user=7"),
        ];
        let expected = json!({"traceparent": PARENT, "tracestate": "a=1,b=\"2\"", "baggage": "user=7"});
        assert_eq!(carried(&headers), Some(expected));
        let long = "x".repeat(BESIDE_BYTES_MAX + 1);
        let bounded = carried(&[("traceparent", PARENT), ("tracestate", &long)]);
        assert_eq!(bounded, Some(json!({"traceparent": PARENT})));
        let newer = format!("01-{}-more", &PARENT[3..]);
        assert_eq!(carried(&[("traceparent", &newer)]), Some(json!({"traceparent": newer})));
    }

    #[test]
    fn what_is_no_trace_is_left_out() {
        assert_eq!(carried(&[("tracestate", "a=1")]), None);
        assert_eq!(carried(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for bad in [
            "",
            "00-1-2-01",
            &zero,
            &PARENT.to_uppercase(),
            &PARENT.replace("00-4", "ff-4"),
            &format!("{PARENT}-x"),
            &format!("01-{}-{}", &PARENT[3..], "x".repeat(200)),
        ] {
            assert_eq!(carried(&[("traceparent", bad)]), None, "{bad}");
        }
    }
}
