//! The job as the guest is given it, and its failure as the host takes it.

use std::time::Duration;

use jobcell_core::{Attempt, Outcome};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::world::jobcell::job::types::{DelayedRetry, Failure, Header, Job};

/// Texts of an attempt that are not in the job as they are.
pub(crate) struct Texts {
    idempotency_key: String,
    /// Carried context: name and value.
    carried: Vec<(String, String)>,
}

/// The names of the W3C's propagation formats. They come first, so that no bound cuts them off.
pub(crate) const W3C: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// Headers taken from the producer's telemetry context; vendors add a few to the W3C's.
const HEADERS_MAX: usize = 16;
/// Bytes of them together. The W3C's own bounds add up to about 9 KiB.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// The header that carries a context of a form this host does not know.
const OPAQUE: &str = "telemetry";

// === impl Texts ===

impl Texts {
    pub(crate) fn new(attempt: &Attempt, key_prefix: &str) -> Self {
        let Attempt { queue, job, .. } = attempt;
        Self {
            // Ids start anew when a queue is wiped; the time of making tells such namesakes apart.
            idempotency_key: format!("{key_prefix}:{queue}:{}:{}", job.id, job.timestamp),
            carried: context(attempt),
        }
    }

    /// The job in the WIT's words. It borrows, so that nothing is copied before it goes into the guest's memory.
    pub(crate) fn job<'a>(&'a self, attempt: &'a Attempt, headers: &'a [Header<'a>]) -> Job<'a> {
        let Attempt { queue, job, deadline_at, .. } = attempt;
        Job {
            id: job.id.as_str(),
            queue: queue.as_str(),
            name: &job.name,
            data: &job.data,
            attempt: small(job.attempt()),
            max_attempts: small(job.options.attempts_max()),
            starts: small(job.attempts_started.max(1)),
            stalls: small(job.stalled_count),
            enqueued_at: job.timestamp,
            deadline: *deadline_at,
            idempotency_key: &self.idempotency_key,
            tenant: job.options.tenant.as_deref(),
            parent: job.parent_key.as_deref(),
            headers,
        }
    }

    /// The carried context in the WIT's words.
    pub(crate) fn headers(&self) -> Vec<Header<'_>> {
        self.carried.iter().map(|(name, value)| Header { name, value }).collect()
    }
}

/// The context that the guest is given: the producer's. Where the attempt is followed, its own place in the trace stands in
/// place of the producer's.
fn context(attempt: &Attempt) -> Vec<(String, String)> {
    let mut headers = attempt.job.options.telemetry.as_deref().map(carried).unwrap_or_default();
    let own = attempt.io.trace().map(|trace| trace.context()).unwrap_or_default();
    if !own.is_empty() {
        headers.retain(|(name, _)| !W3C[..2].iter().any(|own| own.eq_ignore_ascii_case(name)));
        headers.splice(0..0, own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    headers
}

/// The context for a job that this attempt makes, as producers store it: none where the producer wanted the trace to end
/// with this job.
pub(crate) fn handed_on(attempt: &Attempt) -> Option<String> {
    let options = &attempt.job.options;
    if options.omit_context {
        return None;
    }
    if attempt.io.trace().is_none() {
        return options.telemetry.clone();
    }
    let carrier = context(attempt).into_iter().map(|(name, value)| (name, Value::String(value)));
    Some(Value::Object(carrier.collect()).to_string())
}

/// The producer's telemetry context as headers. Producers store the W3C carrier, a JSON object of texts, or a bare
/// `traceparent`; what is neither is theirs to understand and carried as it is.
fn carried(telemetry: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = match serde_json::from_str(telemetry) {
        Ok(Value::Object(carrier)) => {
            let text =
                |(name, value)| if let Value::String(text) = value { Some((name, text)) } else { None };
            carrier.into_iter().filter_map(text).collect()
        }
        Ok(Value::String(text)) => vec![bare(text)],
        Ok(Value::Null) => Vec::new(),
        _ if telemetry.is_empty() => Vec::new(),
        _ => vec![bare(telemetry.to_owned())],
    };
    let rank =
        |name: &str| W3C.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(W3C.len());
    headers.sort_by_cached_key(|(name, _)| (rank(name), name.clone()));
    let mut left = HEADER_BYTES_MAX;
    headers.retain(|(name, value)| {
        let size = name.len() + value.len();
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    });
    headers.truncate(HEADERS_MAX);
    headers
}

/// A context that is one text.
fn bare(text: String) -> (String, String) {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &&str| part.bytes().all(|b| b.is_ascii_hexdigit());
    // A later version may add parts at the end.
    let is_traceparent = matches!(parts.as_slice(), [version, trace, span, flags, ..]
        if (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2))
        && parts.iter().all(is_hex);
    (if is_traceparent { W3C[0] } else { OPAQUE }.to_owned(), text)
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What the guest's failure means.
pub(crate) fn outcome(failure: Failure) -> Outcome {
    match failure {
        Failure::Retry(reason) | Failure::Other(reason) => Outcome::Retry { reason, after: None },
        Failure::RetryAfter(DelayedRetry { reason, delay_ms }) => {
            Outcome::Retry { reason, after: Some(Duration::from_millis(delay_ms)) }
        }
        Failure::Fatal(reason) => Outcome::Fatal(reason),
        Failure::Invalid(reason) => Outcome::Invalid(reason),
        Failure::RateLimited(ms) => Outcome::RateLimited(Duration::from_millis(ms)),
        Failure::DelayUntil(at) => Outcome::DelayUntil(at),
        Failure::Requeue => Outcome::Requeue,
        Failure::WaitForChildren => Outcome::WaitForChildren,
    }
}

/// Whether these bytes are JSON text.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn names(telemetry: &str) -> Vec<String> {
        carried(telemetry).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_w3c_carrier_becomes_headers() {
        let told = format!(
            r#"{{"x-vendor":"v","tracestate":"a=1","n":7,"baggage":"user=ü","traceparent":"{TRACEPARENT}"}}"#
        );
        let expected =
            [("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("baggage", "user=ü"), ("x-vendor", "v")];
        assert_eq!(carried(&told), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn other_contexts_are_carried_as_they_are() {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(carried(TRACEPARENT), one("traceparent", TRACEPARENT));
        assert_eq!(carried(&format!("{TRACEPARENT:?}")), one("traceparent", TRACEPARENT));
        assert_eq!(carried("b3=80f198ee56343ba8"), one("telemetry", "b3=80f198ee56343ba8"));
        assert_eq!(carried("[1,2]"), one("telemetry", "[1,2]"));
        for nothing in ["", "{}", "null"] {
            assert!(carried(nothing).is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn bounds_cut_the_least_important() {
        let vendors: String = (0..40).map(|n| format!(r#""a{n:02}":"v","#)).collect();
        let told = format!(r#"{{{vendors}"traceparent":"{TRACEPARENT}","tracestate":"a=1"}}"#);
        assert_eq!(names(&told)[..3], ["traceparent", "tracestate", "a00"]);
        assert_eq!(names(&told).len(), HEADERS_MAX);
        let large = "x".repeat(HEADER_BYTES_MAX);
        let told = format!(r#"{{"baggage":"{large}","traceparent":"{TRACEPARENT}","z":"1"}}"#);
        assert_eq!(names(&told), ["traceparent", "z"]);
        assert!(names(&large).is_empty());
    }
}
