//! Job options as BullMQ's documentation spells them. They are read strictly: a misspelt option would silently be none.

use jobcell_core::options::{Backoff, Deduplication, JobOptions, ParentRef};
use jobcell_core::{Keep, Millis};
use serde::Deserialize;

/// See the module. Turns into what is stored by [`JobOptions::from`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct PublicOptions {
    attempts: Option<u64>,
    backoff: Option<Backoff>,
    delay: Option<u64>,
    priority: Option<u64>,
    lifo: Option<bool>,
    job_id: Option<String>,
    timestamp: Option<Millis>,
    remove_on_complete: Option<Keep>,
    remove_on_fail: Option<Keep>,
    stack_trace_limit: Option<u64>,
    keep_logs: Option<u64>,
    /// Bytes that the payload may have.
    pub(super) size_limit: Option<usize>,
    parent: Option<ParentRef>,
    deduplication: Option<PublicDeduplication>,
    telemetry: Option<PublicTelemetry>,
    fail_parent_on_failure: Option<bool>,
    continue_parent_on_failure: Option<bool>,
    ignore_dependency_on_failure: Option<bool>,
    remove_dependency_on_failure: Option<bool>,
    // Ours.
    timeout: Option<u64>,
    tenant: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PublicDeduplication {
    id: String,
    ttl: Option<u64>,
    extend: bool,
    replace: bool,
    keep_last_if_active: bool,
    reschedule: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PublicTelemetry {
    metadata: Option<String>,
    omit_context: bool,
}

impl From<PublicOptions> for JobOptions {
    fn from(public: PublicOptions) -> Self {
        let telemetry = public.telemetry.unwrap_or_default();
        Self {
            attempts: public.attempts.unwrap_or(0),
            backoff: public.backoff,
            delay: public.delay.unwrap_or(0),
            priority: public.priority.unwrap_or(0),
            lifo: public.lifo.unwrap_or(false),
            job_id: public.job_id,
            timestamp: public.timestamp,
            remove_on_complete: public.remove_on_complete,
            remove_on_fail: public.remove_on_fail,
            stack_trace_limit: public.stack_trace_limit,
            keep_logs: public.keep_logs,
            parent: public.parent,
            deduplication: public.deduplication.map(Deduplication::from),
            telemetry: telemetry.metadata,
            omit_context: telemetry.omit_context,
            fail_parent_on_failure: public.fail_parent_on_failure.unwrap_or(false),
            continue_parent_on_failure: public.continue_parent_on_failure.unwrap_or(false),
            ignore_dependency_on_failure: public.ignore_dependency_on_failure.unwrap_or(false),
            remove_dependency_on_failure: public.remove_dependency_on_failure.unwrap_or(false),
            timeout: public.timeout,
            tenant: public.tenant,
        }
    }
}

impl From<PublicDeduplication> for Deduplication {
    fn from(public: PublicDeduplication) -> Self {
        let PublicDeduplication { id, ttl, extend, replace, keep_last_if_active, reschedule } = public;
        Self { id, ttl, extend, replace, keep_last_if_active, reschedule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<JobOptions, String> {
        serde_json::from_str::<PublicOptions>(json).map(JobOptions::from).map_err(|error| error.to_string())
    }

    #[test]
    fn public_names_become_stored_ones() {
        let options = read(
            r#"{"attempts":3,"backoff":{"type":"exponential","delay":100},"delay":5,"priority":2,"jobId":"x",
                "removeOnComplete":true,"removeOnFail":{"count":9},"keepLogs":7,"failParentOnFailure":true,
                "deduplication":{"id":"d","ttl":9},"telemetry":{"metadata":"m","omitContext":true},"tenant":"t",
                "parent":{"id":"1","queue":"bull:q"}}"#,
        )
        .unwrap();
        let stored = serde_json::to_value(&options).unwrap();
        let expected = serde_json::json!({
            "attempts": 3, "backoff": {"type": "exponential", "delay": 100}, "delay": 5, "priority": 2, "jobId": "x",
            "removeOnComplete": true, "removeOnFail": {"count": 9}, "kl": 7, "fpof": true,
            "de": {"id": "d", "ttl": 9}, "tm": "m", "omc": true, "tenant": "t",
            "parent": {"id": "1", "queue": "bull:q"},
        });
        assert_eq!(stored, expected);
    }

    #[test]
    fn what_is_unknown_is_refused_by_name() {
        for (json, name) in [
            (r#"{"atempts":3}"#, "atempts"),
            (r#"{"fpof":true}"#, "fpof"),
            (r#"{"deduplication":{"id":"a","tll":5}}"#, "tll"),
            (r#"{"telemetry":{"omit":true}}"#, "omit"),
        ] {
            let told = read(json).unwrap_err();
            assert!(told.contains(name), "{told}");
        }
        assert!(read(r#"{"delay":-1}"#).is_err() && read(r#"{"lifo":"yes"}"#).is_err());
    }
}
