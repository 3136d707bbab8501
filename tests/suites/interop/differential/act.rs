//! What both sides are asked to do, one step at a time.

use serde::Serialize;
use serde_json::Value;

/// One step on one queue. It is sent to Node as it stands; `ours.rs` does the same with our store.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Act {
    pub(super) queue: &'static str,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum What {
    /// Forgets what an earlier episode claimed.
    Forget,
    Add {
        jobs: Vec<NewOne>,
        /// `addBulk` instead of `add`.
        bulk: bool,
    },
    Flow {
        tree: Tree,
    },
    Claim {
        /// A token for each job wanted.
        next: Vec<String>,
        #[serde(flatten)]
        by: Settings,
    },
    /// Ends attempts, then claims.
    Finish {
        ends: Vec<End>,
        next: Vec<String>,
        #[serde(flatten)]
        by: Settings,
    },
    Renew {
        locks: Vec<Held>,
        ms: u64,
    },
    Stall {
        interval: u64,
        max: u64,
    },
    Progress {
        id: String,
        value: Value,
    },
    Log {
        id: String,
        lines: Vec<String>,
        keep: Option<u64>,
    },
    Data {
        id: String,
        value: Value,
    },
    Pause,
    Resume,
    Promote {
        id: String,
    },
    Retry {
        id: String,
        /// The state it is in, which BullMQ wants to be told.
        state: &'static str,
        reset: bool,
    },
    Remove {
        id: String,
        tree: bool,
    },
    /// Removes the children that have not run.
    Prune {
        id: String,
    },
    /// Takes a job from its parent.
    Leave {
        id: String,
    },
    Drain {
        delayed: bool,
    },
    Clean {
        state: &'static str,
        grace: u64,
        /// 0 is none.
        limit: u64,
    },
    Delay {
        id: String,
        ms: u64,
    },
    Priority {
        id: String,
        priority: u64,
        front: bool,
    },
    PromoteAll {
        count: u64,
    },
    RetryAll {
        state: &'static str,
        before: u64,
        count: u64,
    },
    Obliterate {
        force: bool,
    },
    Concurrency {
        max: Option<u64>,
    },
    Rate {
        rate: Option<Rate>,
    },
    Rest {
        ms: Option<u64>,
    },
    /// Frees a deduplication id.
    Release {
        deduplication: String,
    },
    Schedule {
        id: String,
        repeat: Repeat,
        template: Template,
    },
    Unschedule {
        id: String,
    },
    Look {
        ids: Vec<String>,
        deduplications: Vec<String>,
        priorities: Vec<u64>,
    },
    /// These keys run out: their times to live are too long for a test, and neither side's clock is the server's.
    Expire {
        keys: Vec<String>,
    },
}

/// A job to be added, as BullMQ's producers write it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NewOne {
    pub(super) name: String,
    pub(super) data: Value,
    pub(super) opts: Opts,
}

/// A job of a flow and what it waits for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Tree {
    #[serde(flatten)]
    pub(super) job: NewOne,
    #[serde(rename = "queueName")]
    pub(super) queue: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) children: Vec<Tree>,
}

/// BullMQ's job options, by their public names.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) lifo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backoff: Option<Backoff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remove_on_complete: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remove_on_fail: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stack_trace_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keep_logs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<Parent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deduplication: Option<Deduplication>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) fail_parent_on_failure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) continue_parent_on_failure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) ignore_dependency_on_failure: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) remove_dependency_on_failure: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Backoff {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) delay: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Parent {
    pub(super) id: String,
    /// `<prefix>:<queue>`.
    pub(super) queue: String,
}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deduplication {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) extend: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) replace: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keep_last_if_active: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reschedule: bool,
}

/// What a worker is set to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Settings {
    pub(super) lock: u64,
    pub(super) name: Option<&'static str>,
    pub(super) limiter: Option<Rate>,
    /// Minutes of metrics kept; 0 is none.
    pub(super) metrics: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub(super) max: u64,
    pub(super) duration: u64,
}

/// A job that a worker has.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) token: String,
}

/// The end of an attempt.
#[derive(Debug, Clone, Serialize)]
pub(super) struct End {
    #[serde(flatten)]
    pub(super) held: Held,
    pub(super) how: How,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub(super) enum How {
    Complete { value: Value },
    Fail { reason: String, r#final: bool },
    Delay { until: u64 },
    Wait,
    Rest { ms: u64 },
    Children,
}

/// BullMQ's repeat options.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repeat {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) every: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tz: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) immediately: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_date: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_date: Option<u64>,
}

/// What a scheduler's jobs are like.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Template {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    pub(super) opts: Opts,
}
