//! What is known of a job's last attempts, as the API and `--json` of the command line show it with the job.

use jobcell_core::store::AttemptReceipt;
use serde::Serialize;
use utoipa::ToSchema;

use super::JobView;

/// An attempt that has ended. What it cost is in its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// Its number: 1 for the first.
    pub attempt: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_on: u64,
    /// The handler; `-` when none was found.
    pub handler: String,
    /// The version that ran it: 12 hex digits, or `native`.
    pub version: String,
    /// The whole digest of that version; null for a native handler.
    pub digest: Option<String>,
    /// What it said.
    pub outcome: String,
    /// Why the host ended it, or what broke.
    pub stopped_by: Option<String>,
    /// Microseconds from its start to its outcome.
    pub wall_us: u64,
    /// Nothing was run: the result is that of another job with the same content.
    pub cached: bool,
    /// That job, as `QUEUE/ID`.
    pub computed_by: Option<String>,
}

// === impl AttemptView ===

impl AttemptView {
    /// Of this receipt.
    #[must_use]
    pub fn new(receipt: &AttemptReceipt) -> Self {
        let AttemptReceipt { attempt, at, handler, version, digest, outcome, receipt } = receipt;
        Self {
            attempt: *attempt,
            ended_on: *at,
            handler: handler.clone(),
            version: version.clone(),
            digest: digest.clone(),
            outcome: outcome.clone(),
            stopped_by: receipt.stopped_by.map(|cause| cause.as_str().to_owned()),
            wall_us: receipt.wall_us,
            cached: receipt.cached,
            computed_by: receipt.computed_by.clone(),
        }
    }
}

impl JobView {
    /// The same with what is known of its last attempts.
    #[must_use]
    pub fn with_attempts(mut self, receipts: &[AttemptReceipt]) -> Self {
        self.attempts = Some(receipts.iter().map(AttemptView::new).collect());
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jobcell_core::{Job, JobId, QueueName, Receipt, StopCause};

    use super::*;

    #[test]
    fn a_job_shows_which_version_ran_each_attempt() {
        let job = Job::new(JobId::new("7").unwrap(), "n", Bytes::from_static(b"{}"));
        let view = || JobView::new(&job, &QueueName::new("q").unwrap(), None);
        assert!(
            !serde_json::to_string(&view()).unwrap().contains("\"attempts\""),
            "only where it was looked for"
        );
        let digest = format!("sha256:0123456789ab{}", "0".repeat(52));
        let receipt = AttemptReceipt {
            attempt: 1,
            at: 5,
            handler: "media".to_owned(),
            version: "0123456789ab".to_owned(),
            digest: Some(digest.clone()),
            outcome: "stopped".to_owned(),
            receipt: Receipt { wall_us: 9, stopped_by: Some(StopCause::Panic), ..Receipt::default() },
        };
        let native = AttemptReceipt {
            attempt: 2,
            version: "native".to_owned(),
            digest: None,
            outcome: "completed".to_owned(),
            receipt: Receipt { cached: true, computed_by: Some("q/1".to_owned()), ..Receipt::default() },
            ..receipt.clone()
        };
        let shown = serde_json::to_value(view().with_attempts(&[receipt, native])).unwrap();
        assert_eq!(
            shown["attempts"],
            serde_json::json!([
                { "attempt": 1, "endedOn": 5, "handler": "media", "version": "0123456789ab", "digest": digest,
                  "outcome": "stopped", "stoppedBy": "panic", "wallUs": 9, "cached": false, "computedBy": null },
                { "attempt": 2, "endedOn": 5, "handler": "media", "version": "native", "digest": null,
                  "outcome": "completed", "stoppedBy": null, "wallUs": 0, "cached": true, "computedBy": "q/1" },
            ])
        );
    }
}
