//! Job options as people write them: in the spelling of BullMQ's documentation, which differs from the stored one. They
//! are read strictly: a misspelt option would silently be none.

mod shapes;

use jobcell_core::Millis;
use jobcell_core::options::{Deduplication, JobOptions};
use serde::Deserialize;
use utoipa::ToSchema;

use shapes::{BackoffInput, BackoffShape, KeepInput, KeepShape, ParentInput, ParentShape};

/// What a producer may ask of a job, as BullMQ's documentation spells it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = JobOptions)]
pub struct OptionsInput {
    /// How often the job is tried in all. Default once.
    attempts: Option<u64>,
    /// How long to wait between attempts: milliseconds, or `{type: "fixed" | "exponential", delay, jitter}`.
    #[schema(value_type = Option<BackoffShape>)]
    backoff: Option<BackoffInput>,
    /// Milliseconds to wait before the job may start.
    delay: Option<u64>,
    /// 0 is none and runs first; else 1 (highest) to 2 097 151.
    #[schema(maximum = 2_097_151)]
    priority: Option<u64>,
    /// Puts the job in front of the queue instead of at its end.
    lifo: Option<bool>,
    /// The id. A job that is there under it already is not added again. No number, without `:`.
    job_id: Option<String>,
    /// When the producer made the job, in milliseconds since 1970.
    timestamp: Option<Millis>,
    /// Whether and which completed jobs stay: a boolean, a number to keep, or `{count, age}`.
    #[schema(value_type = Option<KeepShape>)]
    remove_on_complete: Option<KeepInput>,
    /// The same for failed ones.
    #[schema(value_type = Option<KeepShape>)]
    remove_on_fail: Option<KeepInput>,
    /// How many stack traces are kept.
    stack_trace_limit: Option<u64>,
    /// How many log lines are kept.
    keep_logs: Option<u64>,
    /// Bytes that the payload may have.
    pub size_limit: Option<usize>,
    /// The parent in a flow: `{id, queue: "PREFIX:QUEUE"}`.
    #[schema(value_type = Option<ParentShape>)]
    parent: Option<ParentInput>,
    /// Jobs with the same deduplication id are one.
    deduplication: Option<DeduplicationInput>,
    /// The producer's telemetry context.
    telemetry: Option<TelemetryInput>,
    /// On final failure the parent fails too.
    fail_parent_on_failure: Option<bool>,
    /// On final failure the parent goes on at once.
    continue_parent_on_failure: Option<bool>,
    /// On final failure the parent no longer waits for this child, and can read why.
    ignore_dependency_on_failure: Option<bool>,
    /// On final failure the parent no longer waits for this child.
    remove_dependency_on_failure: Option<bool>,
    // Ours.
    /// Milliseconds one attempt may take; the handler's own deadline still holds.
    timeout: Option<u64>,
    /// Whose job this is; separates caches and live updates.
    tenant: Option<String>,
    /// Runs it whatever result is kept of the same content, and keeps what it comes to instead. Matters where the handler
    /// has a `result-cache`.
    fresh: Option<bool>,
}

/// How duplicates are treated.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Deduplication)]
pub struct DeduplicationInput {
    /// Jobs with the same id are duplicates.
    id: String,
    /// Milliseconds the id stays taken; none until the owner finishes.
    ttl: Option<u64>,
    /// A duplicate starts the `ttl` anew.
    #[serde(default)]
    extend: bool,
    /// A duplicate takes the place of an owner that is still delayed.
    #[serde(default)]
    replace: bool,
    /// A duplicate of a running owner is run after it.
    #[serde(default)]
    keep_last_if_active: bool,
    /// A duplicate of a delayed owner gives it its own delay, counted anew.
    #[serde(default)]
    reschedule: bool,
}

/// The producer's telemetry context.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Telemetry)]
pub struct TelemetryInput {
    /// The W3C carrier as JSON text, or a bare `traceparent`.
    metadata: Option<String>,
    /// It must not be handed on.
    #[serde(default)]
    omit_context: bool,
}

impl From<OptionsInput> for JobOptions {
    fn from(given: OptionsInput) -> Self {
        let telemetry = given.telemetry.unwrap_or_default();
        Self {
            attempts: given.attempts.unwrap_or(0),
            backoff: given.backoff.map(|BackoffInput(backoff)| backoff),
            delay: given.delay.unwrap_or(0),
            priority: given.priority.unwrap_or(0),
            lifo: given.lifo.unwrap_or(false),
            job_id: given.job_id,
            timestamp: given.timestamp,
            remove_on_complete: given.remove_on_complete.map(|KeepInput(keep)| keep),
            remove_on_fail: given.remove_on_fail.map(|KeepInput(keep)| keep),
            stack_trace_limit: given.stack_trace_limit,
            keep_logs: given.keep_logs,
            parent: given.parent.map(|ParentInput(parent)| parent),
            deduplication: given.deduplication.map(Deduplication::from),
            telemetry: telemetry.metadata,
            omit_context: telemetry.omit_context,
            fail_parent_on_failure: given.fail_parent_on_failure.unwrap_or(false),
            continue_parent_on_failure: given.continue_parent_on_failure.unwrap_or(false),
            ignore_dependency_on_failure: given.ignore_dependency_on_failure.unwrap_or(false),
            remove_dependency_on_failure: given.remove_dependency_on_failure.unwrap_or(false),
            timeout: given.timeout,
            tenant: given.tenant,
            fresh: given.fresh.unwrap_or(false),
            // Counted from the job that enqueues, which a person is not.
            depth: 0,
        }
    }
}

impl From<DeduplicationInput> for Deduplication {
    fn from(given: DeduplicationInput) -> Self {
        let DeduplicationInput { id, ttl, extend, replace, keep_last_if_active, reschedule } = given;
        Self { id, ttl, extend, replace, keep_last_if_active, reschedule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<JobOptions, String> {
        serde_json::from_str::<OptionsInput>(json).map(JobOptions::from).map_err(|error| error.to_string())
    }

    #[test]
    fn public_names_become_stored_ones() {
        let options = read(
            r#"{"attempts":3,"backoff":{"type":"exponential","delay":100},"delay":5,"priority":2,"jobId":"x",
                "removeOnComplete":true,"removeOnFail":{"count":9},"keepLogs":7,"failParentOnFailure":true,
                "deduplication":{"id":"d","ttl":9},"telemetry":{"metadata":"m","omitContext":true},"tenant":"t","fresh":true,
                "parent":{"id":"1","queue":"bull:q"}}"#,
        )
        .unwrap();
        let stored = serde_json::to_value(&options).unwrap();
        let expected = serde_json::json!({
            "attempts": 3, "backoff": {"type": "exponential", "delay": 100}, "delay": 5, "priority": 2, "jobId": "x",
            "removeOnComplete": true, "removeOnFail": {"count": 9}, "kl": 7, "fpof": true,
            "de": {"id": "d", "ttl": 9}, "tm": "m", "omc": true, "tenant": "t",
            "fresh": true, "parent": {"id": "1", "queue": "bull:q"},
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
