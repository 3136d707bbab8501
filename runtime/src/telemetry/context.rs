//! The W3C's trace context: as a job carries it, and as it is handed on.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::Value;

/// Bytes of a context that are looked at. The W3C's own bounds add up to less than 1 KiB for the two headers.
const BYTES_MAX: usize = 16 * 1024;

/// The producer's context. Producers store the carrier as a JSON object of texts, or a bare `traceparent`; anything else
/// is theirs to understand.
pub(super) fn producer(telemetry: &str) -> Option<SpanContext> {
    if telemetry.len() > BYTES_MAX {
        return None;
    }
    let carrier: HashMap<String, String> = match serde_json::from_str(telemetry) {
        Ok(Value::Object(carrier)) => {
            let text = |(name, value): (String, Value)| match value {
                Value::String(text) => Some((name.to_ascii_lowercase(), text)),
                _ => None,
            };
            carrier.into_iter().filter_map(text).collect()
        }
        Ok(Value::String(text)) => bare(text),
        Ok(_) => return None,
        Err(_) => bare(telemetry.to_owned()),
    };
    if !carrier.get("traceparent").is_some_and(|parent| is_whole(parent)) {
        return None;
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

/// Whether every part has its length: what is read below takes shorter numbers too.
fn is_whole(traceparent: &str) -> bool {
    let lengths: Vec<usize> = traceparent.split('-').take(4).map(str::len).collect();
    lengths == [2, 32, 16, 2]
}

fn bare(traceparent: String) -> HashMap<String, String> {
    HashMap::from([("traceparent".to_owned(), traceparent)])
}

/// The headers that hand a context on.
pub(super) fn headers(context: &SpanContext) -> Vec<(&'static str, String)> {
    if !context.is_valid() {
        return Vec::new();
    }
    let (trace, span) = (context.trace_id(), context.span_id());
    // Flags that this version of the format does not know are not handed on.
    let flags = u8::from(context.is_sampled());
    let mut headers = vec![("traceparent", format!("00-{trace:032x}-{span:016x}-{flags:02x}"))];
    let state = context.trace_state().header();
    if !state.is_empty() {
        headers.push(("tracestate", state));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_producers_store_is_read_and_handed_on_unchanged() {
        let object =
            format!(r#"{{"traceparent":"{PARENT}","tracestate":"a=1,b=2","baggage":"user=1","n":7}}"#);
        for stored in [object.as_str(), PARENT, &format!("{PARENT:?}")] {
            let context = producer(stored).unwrap();
            assert!(context.is_remote() && context.is_sampled(), "{stored}");
            let headers = headers(&context);
            assert_eq!(headers[0], ("traceparent", PARENT.to_owned()), "{stored}");
            let state = headers.get(1).map(|(name, value)| (*name, value.as_str()));
            assert_eq!(state, stored.contains("tracestate").then_some(("tracestate", "a=1,b=2")));
        }
    }

    #[test]
    fn what_is_no_context_is_none() {
        let long = format!(r#"{{"x":"{}","traceparent":"{PARENT}"}}"#, "a".repeat(BYTES_MAX));
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        for stored in ["", "{}", "null", "[1]", "b3=80f198ee56343ba8", "00-1-2-01", &zero, &long] {
            assert_eq!(producer(stored), None, "{stored}");
        }
    }
}
