//! The job as the guest is given it, and its failure as the host takes it.

use std::time::Duration;

use jobcell_core::{Attempt, Outcome};
use serde::de::IgnoredAny;

use crate::world::jobcell::job::types::{DelayedRetry, Failure, Header, Job};

/// Texts of an attempt that are not in the job as they are.
pub(crate) struct Texts {
    idempotency_key: String,
    /// Carried context: name and value.
    carried: Vec<(String, String)>,
}

/// Headers taken from the producer's telemetry context. W3C has two; vendors add a few.
const HEADERS_MAX: usize = 16;

// === impl Texts ===

impl Texts {
    pub(crate) fn new(attempt: &Attempt, key_prefix: &str) -> Self {
        let Attempt { queue, job, .. } = attempt;
        Self {
            // Ids start anew when a queue is wiped; the time of making tells such namesakes apart.
            idempotency_key: format!("{key_prefix}:{queue}:{}:{}", job.id, job.timestamp),
            carried: job.options.telemetry.as_deref().map(carried).unwrap_or_default(),
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

/// The W3C carrier that producers with telemetry store: a JSON object of texts. Anything else carries nothing.
fn carried(telemetry: &str) -> Vec<(String, String)> {
    let Ok(carrier) =
        serde_json::from_str::<std::collections::BTreeMap<String, serde_json::Value>>(telemetry)
    else {
        return Vec::new();
    };
    let texts = carrier.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::String(value) => Some((name, value)),
        _ => None,
    });
    texts.take(HEADERS_MAX).collect()
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
