//! What attempts cost, as it is stored with their jobs.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::receipt::Receipt;

/// The most of one receipt that is stored, in bytes: it lives in the store's memory with its job.
pub const RECEIPT_BYTES_MAX: usize = 2 * 1024;
/// The most receipts that a job keeps.
pub const RECEIPTS_MAX: u64 = 20;

/// What one attempt of a job cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReceipt {
    /// The attempt's number: 1 for the first.
    pub attempt: u64,
    /// When it ended, in ms since 1970 by its host's clock.
    pub at: Millis,
    /// The handler, `-` when none was found.
    pub handler: String,
    /// Its version: 12 hex digits, `native`, or `-` when there was no handler.
    pub version: String,
    /// The whole digest of that version's artifact, `sha256:` and 64 hex digits. None for a native handler, and in what
    /// older hosts wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// [`Outcome::label`](crate::Outcome::label).
    pub outcome: String,
    /// The measures.
    #[serde(flatten)]
    pub receipt: Receipt,
}

#[derive(Serialize)]
struct Head<'a> {
    attempt: u64,
    at: Millis,
    handler: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    outcome: &'a str,
}

impl AttemptReceipt {
    /// As JSON text, shortened where it is longer than [`RECEIPT_BYTES_MAX`].
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { attempt, at, handler, version, digest, outcome, receipt } = self;
        let (attempt, at, digest) = (*attempt, *at, digest.as_deref());
        // Texts and numbers can always be written.
        let mut text = serde_json::to_string(&Head { attempt, at, handler, version, digest, outcome })
            .unwrap_or_default();
        let measures = receipt.to_json(RECEIPT_BYTES_MAX.saturating_sub(text.len()));
        if let Some(measures) = measures.strip_prefix('{').filter(|rest| *rest != "}") {
            text.pop();
            text.push(',');
            text.push_str(measures);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::StopCause;
    use crate::receipt::HostCall;

    fn receipt(receipt: Receipt) -> AttemptReceipt {
        AttemptReceipt {
            attempt: 2,
            at: 1_700_000_000_000,
            handler: "a \"b\"".to_owned(),
            version: "0123456789ab".to_owned(),
            digest: Some(format!("sha256:0123456789ab{}", "0".repeat(52))),
            outcome: "stopped".to_owned(),
            receipt,
        }
    }

    #[test]
    fn a_receipt_is_one_object_and_reads_back() {
        let mut measures = Receipt { wall_us: 5, stopped_by: Some(StopCause::Panic), ..Receipt::default() };
        measures.host_calls.count(HostCall::Http);
        for measures in [measures, Receipt::default()] {
            let receipt = receipt(measures);
            let text = receipt.to_json();
            assert_eq!(serde_json::from_str::<AttemptReceipt>(&text).unwrap(), receipt, "{text}");
            assert_eq!(serde_json::to_string(&receipt).unwrap(), text);
        }
    }

    #[test]
    fn what_has_no_artifact_has_no_digest() {
        let native = AttemptReceipt { digest: None, ..receipt(Receipt::default()) };
        let text = native.to_json();
        assert!(!text.contains("digest"), "{text}");
        assert_eq!(serde_json::from_str::<AttemptReceipt>(&text).unwrap(), native);
    }

    #[test]
    fn a_long_receipt_is_cut() {
        let mut measures = Receipt { wall_us: 5, ..Receipt::default() };
        for n in 0..16 {
            measures.destinations.index(&format!("{n}.{}", "x".repeat(240)));
        }
        let text = receipt(measures).to_json();
        assert!(text.len() <= RECEIPT_BYTES_MAX, "{}", text.len());
        assert_eq!(serde_json::from_str::<AttemptReceipt>(&text).unwrap().receipt.wall_us, 5);
    }
}
