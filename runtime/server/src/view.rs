//! Jobs, queues and schedulers as the API and `--json` of the command line show them: in BullMQ's words.

mod attempts;

use jobcell_core::options::JobOptions;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{Counts, Limits, RateLimit, Scheduler, SchedulerSpec};
use jobcell_core::{Job, JobState, Millis, QueueName};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::redact::Redaction;
pub use attempts::AttemptView;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub struct JobView {
    /// Unique within the queue.
    pub id: String,
    /// The producer's name for this kind of job.
    pub name: String,
    /// The queue.
    pub queue: String,
    /// The state it is in; null when it is in none.
    #[schema(value_type = Option<StateName>)]
    pub state: Option<&'static str>,
    /// The payload.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// The options as they are stored.
    #[schema(value_type = serde_json::Value)]
    pub opts: Box<RawValue>,
    /// The last progress.
    #[schema(value_type = Option<serde_json::Value>)]
    pub progress: Option<Box<RawValue>>,
    /// The result, once it completed.
    #[schema(value_type = Option<serde_json::Value>)]
    pub returnvalue: Option<Box<RawValue>>,
    /// Why the last attempt failed.
    pub failed_reason: Option<String>,
    /// One entry for each failed attempt, newest last.
    pub stacktrace: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub timestamp: u64,
    /// Milliseconds it was last delayed by; 0 once it is due.
    pub delay: u64,
    /// 0 is none; else 1 (highest) to 2 097 151.
    pub priority: u64,
    /// When it was last started.
    pub processed_on: Option<u64>,
    /// When it finished.
    pub finished_on: Option<u64>,
    /// The worker that last started it.
    pub processed_by: Option<String>,
    /// Attempts used up.
    pub attempts_made: u64,
    /// Starts, recoveries and give-backs included.
    pub attempts_started: u64,
    /// Recoveries from a host that vanished.
    pub stalled_counter: u64,
    /// The key of its parent in a flow.
    pub parent_key: Option<String>,
    /// The deduplication id it owns.
    pub deduplication_id: Option<String>,
    /// What is known of its last attempts, oldest first: those whose receipts are kept. Only when one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
}

/// The states of a job, for the document.
#[derive(Debug, ToSchema)]
#[schema(as = JobState, rename_all = "kebab-case")]
#[expect(dead_code, reason = "gives the schema of a state's name its words")]
pub(crate) enum StateName {
    Waiting,
    Prioritized,
    Delayed,
    Active,
    WaitingChildren,
    Completed,
    Failed,
}

/// A queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// Whether it gives out no jobs.
    pub paused: bool,
    /// Whether this host's configuration works on it.
    pub configured: bool,
    /// How many jobs are in each state.
    #[serde(flatten)]
    #[schema(value_type = CountsView)]
    pub counts: Counts,
}

/// How many jobs are in each state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = Counts)]
pub(crate) struct CountsView {
    waiting: u64,
    prioritized: u64,
    delayed: u64,
    active: u64,
    waiting_children: u64,
    completed: u64,
    failed: u64,
}

/// The limits of a queue over all its workers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Limits)]
pub struct LimitsView {
    /// The queue.
    pub name: String,
    /// Whether it gives out no jobs.
    pub paused: bool,
    /// Jobs that may be active at once; null is any number.
    pub concurrency: Option<u64>,
    /// How often jobs may be started; null is as often as they come.
    pub rate: Option<RateView>,
    /// How long no job is started from now on; null when it does not rest.
    pub rests_for_ms: Option<u64>,
}

/// How often jobs may be started.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rate)]
pub struct RateView {
    /// Starts.
    #[schema(minimum = 1)]
    pub max: u64,
    /// In so many milliseconds.
    #[schema(minimum = 1)]
    pub per_ms: u64,
}

/// A scheduler.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Scheduler)]
pub struct SchedulerView {
    /// Names it within its queue.
    pub id: String,
    /// The queue.
    pub queue: String,
    /// The name of its jobs.
    pub name: String,
    /// The cron pattern, if it follows one.
    pub pattern: Option<String>,
    /// The time zone of the pattern; null is UTC.
    pub tz: Option<String>,
    /// Milliseconds between its jobs, if it follows no pattern.
    pub every: Option<u64>,
    /// How far into each distance jobs run, in milliseconds.
    pub offset: Option<u64>,
    /// No job runs before.
    pub start_date: Option<Millis>,
    /// No job is made after.
    pub end_date: Option<Millis>,
    /// So many jobs are made in all.
    pub limit: Option<u64>,
    /// When its pending job is due; null once its timetable has ended.
    pub next: Option<Millis>,
    /// The jobs it has made.
    pub iteration_count: u64,
    /// The payload of its jobs.
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// The options of its jobs.
    #[schema(value_type = serde_json::Value)]
    pub opts: JobOptions,
}

// === impl JobView ===

impl JobView {
    /// This job, which is in this state.
    #[must_use]
    pub fn new(job: &Job, queue: &QueueName, state: Option<JobState>) -> Self {
        Self {
            id: job.id.to_string(),
            name: job.name.clone(),
            queue: queue.to_string(),
            state: state.map(JobState::as_str),
            data: raw(&job.data),
            opts: raw(&job.options_raw),
            progress: job.progress.as_deref().map(raw),
            returnvalue: job.result.as_deref().map(raw),
            failed_reason: job.failed_reason.clone(),
            stacktrace: job.stacktrace.clone(),
            timestamp: job.timestamp,
            delay: job.delay,
            priority: job.priority,
            processed_on: job.processed_on,
            finished_on: job.finished_on,
            processed_by: job.processed_by.clone(),
            attempts_made: job.attempts_made,
            attempts_started: job.attempts_started,
            stalled_counter: job.stalled_count,
            parent_key: job.parent_key.clone(),
            deduplication_id: job.deduplication_id.clone(),
            attempts: None,
        }
    }
}

impl JobView {
    /// The same without what nobody is shown.
    #[must_use]
    pub fn redacted(mut self, redaction: &Redaction) -> Self {
        if redaction.is_empty() {
            return self;
        }
        let of = |part, text: Box<RawValue>| redaction.of_part(part, text);
        self.data = of("data", self.data);
        self.opts = of("opts", self.opts);
        self.progress = self.progress.map(|progress| of("progress", progress));
        self.returnvalue = self.returnvalue.map(|result| of("returnvalue", result));
        self
    }
}

// === impl LimitsView ===

impl LimitsView {
    /// The limits of this queue.
    #[must_use]
    pub fn new(queue: &QueueName, limits: &Limits) -> Self {
        let Limits { paused, concurrency, rate, rests_for } = limits;
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: queue.to_string(),
            paused: *paused,
            concurrency: *concurrency,
            rate: rate.map(|RateLimit { max, per }| RateView { max, per_ms: millis(per) }),
            rests_for_ms: rests_for.map(millis),
        }
    }
}

// === impl SchedulerView ===

impl SchedulerView {
    /// This scheduler.
    #[must_use]
    pub fn new(scheduler: &Scheduler, queue: &QueueName) -> Self {
        let Scheduler { spec, next, iterations } = scheduler;
        let SchedulerSpec { id, timetable, name, data, options } = spec;
        let Timetable { rule, start, end, limit } = timetable;
        let (pattern, tz) = match rule {
            Rule::Cron { pattern, tz, .. } => (Some(pattern.clone()), tz.clone()),
            Rule::Every { .. } => (None, None),
        };
        Self {
            id: id.clone(),
            queue: queue.to_string(),
            name: name.clone(),
            pattern,
            tz,
            every: timetable.every().map(|every| every.every),
            offset: timetable.every().and_then(|every| every.offset),
            start_date: *start,
            end_date: *end,
            limit: *limit,
            next: *next,
            iteration_count: *iterations,
            data: data.as_deref().map(raw),
            opts: options.clone(),
        }
    }
}

impl SchedulerView {
    /// The same without what nobody is shown.
    #[must_use]
    pub fn redacted(mut self, redaction: &Redaction) -> Self {
        self.data = self.data.map(|data| redaction.of_part("data", data));
        self
    }
}

/// JSON text as it is; anything else, which other writers may have stored, as a JSON string.
#[must_use]
pub fn raw(bytes: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let quoted = serde_json::Value::from(text.as_str()).to_string();
    RawValue::from_string(text)
        .or_else(|_| RawValue::from_string(quoted))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}
