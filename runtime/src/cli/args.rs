//! What can be typed.

mod handler;
mod host;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use jobcell_core::options::{Backoff, Deduplication};
use jobcell_core::store::RateLimit;
use jobcell_core::{JobState, Keep};

use super::values;
pub(super) use handler::{
    BuildArgs, CanaryArgs, ChangeArgs, DeployArgs, DevArgs, FileCommand, HandlerCommand, HostArgs,
    VersionCommand, VersionPlace,
};
pub(super) use host::{ChosenHosts, HostCommand, WatchArgs};

/// Runs jobs from queues in WebAssembly sandboxes.
#[derive(Debug, Parser)]
#[command(name = "jobcell", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done or drained, 1 the operation failed, 2 bad usage or config, \
                        69 store unreachable, 75 shutdown timed out and jobs were given back, 78 a handler was refused.")]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// The config file [default: ./jobcell.toml when it is there]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Global")]
    pub(super) config: Option<PathBuf>,
    /// The Redis that holds the jobs, in place of the configured store
    #[arg(long, global = true, value_name = "URL", help_heading = "Global")]
    pub(super) redis: Option<String>,
    /// Print one JSON value on stdout and nothing else
    #[arg(long, global = true, help_heading = "Global")]
    pub(super) json: bool,
    /// Do not ask before what cannot be undone
    #[arg(long, global = true, help_heading = "Global")]
    pub(super) yes: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub(super) verbose: u8,
    /// Log only errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the host: workers, health and metrics
    Run(RunArgs),
    /// Run the host on the embedded store, and build and swap handlers when their sources change
    Dev(DevArgs),
    /// Build a handler's project for the cell
    Build(BuildArgs),
    /// Check the config, the store and every handler, and print all faults at once
    Check,
    /// Put a job on a queue and print its id
    Enqueue(Box<EnqueueArgs>),
    /// Look at jobs and change them
    #[command(subcommand)]
    Job(JobCommand),
    /// Add trees of jobs and look at them
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Look at queues and change them
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Make jobs again and again, at equal distances or at the times of a cron expression
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Look at handlers, deploy versions of them, move between versions, sign and check
    #[command(subcommand)]
    Handler(HandlerCommand),
    /// Look at the hosts of the fleet, quiet and stop them
    #[command(subcommand)]
    Host(HostCommand),
    /// Print how queues, handlers and hosts stand, and how much they do a second
    Stats(WatchArgs),
    /// Watch queues, handlers and hosts on the terminal
    Top(WatchArgs),
    /// Run one job in a cell with no store, and print outcome, log and cost
    Invoke(InvokeArgs),
    /// Run a recorded attempt of a job again, answered from its recording, and print what differs
    Replay(ReplayArgs),
    /// Report what this machine offers and what needs mending, or attack it
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Let the hostile guests loose on the limits and grants of every handler and on the defaults; exit 1 if one of
    /// them was not held
    #[arg(long)]
    pub(super) attack: bool,
    /// Attack only by these rows, such as M2, or classes, such as M; may be given several times
    #[arg(long = "row", value_name = "ROW", num_args = 1.., requires = "attack")]
    pub(super) rows: Vec<String>,
    /// Keep deadlines of more than a second as they are configured
    #[arg(long, requires = "attack")]
    pub(super) full: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Work only on this queue; may be given several times
    #[arg(long = "queue", value_name = "NAME", num_args = 1..)]
    pub(super) queues: Vec<String>,
    /// End with 0 when all queues are empty
    #[arg(long)]
    pub(super) burst: bool,
}

#[derive(Debug, Args)]
pub(super) struct EnqueueArgs {
    /// The queue
    pub(super) queue: String,
    /// The job's name, by which its handler is chosen
    pub(super) name: String,
    /// The payload: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "{}", allow_hyphen_values = true)]
    pub(super) data: String,
    /// The job's id; a job with this id that exists is left as it is [default: counted by the store]
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// Start no sooner than after this: milliseconds, or a duration such as 5m
    #[arg(long, value_name = "MS", allow_hyphen_values = true, value_parser = values::delay)]
    pub(super) delay: Option<Duration>,
    /// 1 runs first, 2097151 last; without one the job runs before all that have one
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=2_097_151))]
    pub(super) priority: Option<u64>,
    /// How often the job is tried in all
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) attempts: Option<u64>,
    /// How long to wait between attempts: fixed:MS or exponential:MS
    #[arg(long, value_name = "KIND:MS", allow_hyphen_values = true, value_parser = values::backoff)]
    pub(super) backoff: Option<Backoff>,
    /// Put the job in front of the queue
    #[arg(long)]
    pub(super) lifo: bool,
    /// Add nothing while a job with this deduplication id is not finished, or for a time: milliseconds, or a duration such
    /// as 5m. An id that itself ends like one, as a:5m does, is written a:5m:
    #[arg(long, value_name = "ID[:TTL]", value_parser = values::deduplication)]
    pub(super) dedup: Option<Deduplication>,
    /// What a duplicate does instead of nothing: extend starts TTL anew, replace takes the place of a delayed owner,
    /// keep-last runs after a running owner, reschedule gives a delayed owner its own delay
    #[arg(long, value_name = "MODE", value_delimiter = ',', requires = "dedup")]
    pub(super) dedup_mode: Vec<DedupMode>,
    /// The parent in a flow; must exist
    #[arg(long, value_name = "QUEUE:ID", value_parser = values::parent)]
    pub(super) parent: Option<values::ParentArg>,
    /// Remove the job once it completed, or keep only so many (1000) or so old (7d) ones
    #[arg(long, value_name = "KEEP", num_args = 0..=1, require_equals = true, default_missing_value = "none",
          value_parser = values::keep)]
    pub(super) remove_on_complete: Option<Keep>,
    /// The same for when it failed for good
    #[arg(long, value_name = "KEEP", num_args = 0..=1, require_equals = true, default_missing_value = "none",
          value_parser = values::keep)]
    pub(super) remove_on_fail: Option<Keep>,
    /// Whose job it is
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
    /// Run it whatever result is kept of the same content, and keep what it comes to instead
    #[arg(long)]
    pub(super) fresh: bool,
    /// Wait for the job's end, at most so many seconds, and print its result; exit 1 if it failed. On the embedded store,
    /// which no host can share, this process works the queue meanwhile
    #[arg(long, value_name = "SECS", num_args = 0..=1, require_equals = true, default_missing_value = "3600",
          value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(super) wait: Option<u64>,
}

/// What a duplicate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DedupMode {
    Extend,
    Replace,
    KeepLast,
    Reschedule,
}

#[derive(Debug, Args)]
pub(super) struct JobPlace {
    /// The queue
    pub(super) queue: String,
    /// The job's id
    pub(super) id: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Show a job
    Get(JobPlace),
    /// List the jobs of a queue
    List {
        /// The queue
        queue: String,
        /// Only jobs in these states: waiting, prioritized, delayed, active, waiting-children, completed, failed
        #[arg(long, value_delimiter = ',', value_name = "STATE")]
        state: Vec<JobState>,
        /// At most so many of each state
        #[arg(long, default_value_t = 20, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// Leave out so many of each state
        #[arg(long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
        offset: u64,
    },
    /// Print a job's log
    Logs(JobPlace),
    /// Print what the last attempts of a job cost
    Receipt {
        #[command(flatten)]
        job: JobPlace,
        /// Only this attempt, with everything that is known: 1 is the first
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
        attempt: Option<u64>,
    },
    /// End a job for good: at once where it waits; where it runs, its handler is asked to stop, and soon ended
    Cancel(JobPlace),
    /// Put a finished job back on its queue
    Retry {
        #[command(flatten)]
        job: JobPlace,
        /// Give it all its attempts again
        #[arg(long)]
        reset_attempts: bool,
    },
    /// Make a delayed job due now
    Promote(JobPlace),
    /// Make a delayed job due so long from now
    Delay {
        #[command(flatten)]
        job: JobPlace,
        /// Milliseconds, or a duration such as 5m
        #[arg(value_name = "MS", allow_hyphen_values = true, value_parser = values::delay)]
        delay: Duration,
    },
    /// Give a job another priority
    Priority {
        #[command(flatten)]
        job: JobPlace,
        /// 1 runs first, 2097151 last; 0 is none and runs before all that have one
        #[arg(value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(0..=2_097_151))]
        priority: u64,
        /// Put it before the others that have it
        #[arg(long)]
        front: bool,
    },
    /// Remove a job that is not running
    Remove {
        #[command(flatten)]
        job: JobPlace,
        /// Remove all jobs below it too, in whatever queue; not when one of them is running
        #[arg(long)]
        children: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum FlowCommand {
    /// Add a tree of jobs, whole or not at all, and print the ids
    Add {
        /// The tree as BullMQ's FlowProducer takes it, {"name", "queueName", "data", "opts", "children"}: JSON, @FILE, or -
        /// for stdin
        #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
        tree: String,
    },
    /// Show a job and what is below it, with their states
    Show {
        #[command(flatten)]
        job: JobPlace,
        /// Go down so many levels
        #[arg(long, default_value_t = 10, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=64))]
        depth: u64,
        /// Show at most so many children of each job
        #[arg(long, default_value_t = 20, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1000))]
        width: u64,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct QueueChoice {
    /// The queue
    pub(super) queue: Option<String>,
    /// Every queue of the store
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the queues of the store and of the config
    Ls,
    /// Count jobs by state, of one queue or of all
    Counts {
        /// The queue [default: all]
        queue: Option<String>,
    },
    /// Say why jobs that were added do not run; exit 1 when something should be mended
    #[command(visible_alias = "why")]
    Explain {
        /// The queue [default: those of the config, and all others with jobs that wait]
        queue: Option<String>,
    },
    /// Stop giving out jobs, on every host
    Pause(QueueChoice),
    /// Give out jobs again
    Resume(QueueChoice),
    /// Remove all jobs that wait; running and finished ones stay
    Drain {
        #[command(flatten)]
        choice: QueueChoice,
        /// Remove delayed jobs too
        #[arg(long)]
        delayed: bool,
    },
    #[command(flatten)]
    Bulk(BulkCommand),
    #[command(flatten)]
    One(OneCommand),
}

/// Changing many jobs of a queue at once.
#[derive(Debug, Subcommand)]
pub(super) enum BulkCommand {
    /// Remove jobs of one state, the oldest first
    Clean {
        #[command(flatten)]
        choice: QueueChoice,
        /// Which: completed, failed, waiting, prioritized, delayed, or active ones whose worker is gone
        #[arg(long, default_value = "completed", value_name = "STATE")]
        state: JobState,
        #[command(flatten)]
        which: AgeLimit,
    },
    /// Remove a paused queue with everything in it
    Obliterate {
        /// The queue
        queue: String,
        /// Also when jobs of it run
        #[arg(long)]
        force: bool,
    },
    /// Make delayed jobs due now, those due first first
    Promote {
        #[command(flatten)]
        choice: QueueChoice,
        /// At most so many of each queue [default: all]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        limit: Option<u64>,
    },
    /// Put finished jobs back on their queue, the oldest first
    Retry {
        #[command(flatten)]
        choice: QueueChoice,
        /// Which: failed or completed
        #[arg(long, default_value = "failed", value_name = "STATE")]
        state: JobState,
        #[command(flatten)]
        which: AgeLimit,
    },
    /// Remove old events
    Trim {
        #[command(flatten)]
        choice: QueueChoice,
        /// Keep the newest so many
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        events: u64,
    },
}

/// Looking at one queue as a whole, and at its limits.
#[derive(Debug, Subcommand)]
pub(super) enum OneCommand {
    /// Show, set or lift how many jobs start in a time, over all workers
    Rate {
        /// The queue
        queue: String,
        /// At most so many starts in so long, such as 100/1s or 5/m
        #[arg(value_name = "MAX/PER", value_parser = values::rate)]
        rate: Option<RateLimit>,
        /// Lift the limit
        #[arg(long, conflicts_with = "rate")]
        off: bool,
        /// Start nothing for so long, whatever the limit; 0 ends such a rest
        #[arg(long, value_name = "DURATION", value_parser = values::delay)]
        rest: Option<Duration>,
    },
    /// Show, set or lift how many jobs run at once, over all workers
    Concurrency {
        /// The queue
        queue: String,
        /// At most so many
        #[arg(value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
        /// Lift the limit
        #[arg(long, conflicts_with = "max")]
        off: bool,
    },
    /// List the workers that wait on a queue, ours and BullMQ's
    Workers {
        /// The queue
        queue: String,
    },
    /// Show finished jobs by the minute, as workers with metrics-points count them
    Metrics {
        /// The queue
        queue: String,
        /// The newest so many minutes
        #[arg(long, default_value_t = 60, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
    },
    /// Show which job owns a deduplication id; exit 1 when none does
    Dedup {
        /// The queue
        queue: String,
        /// The deduplication id
        id: String,
        /// Free it
        #[arg(long)]
        release: bool,
    },
}

/// Which of the jobs in a state.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct AgeLimit {
    /// Only those that ended so long ago (finished ones), or were last started or made then: such as 7d
    #[arg(long, value_name = "AGE", value_parser = values::age)]
    pub(super) older: Option<Duration>,
    /// At most so many of each queue [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) limit: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// List the schedulers of a queue, those that come next first
    Ls {
        /// The queue
        queue: String,
        /// Only this one
        id: Option<String>,
    },
    /// Make a scheduler, or change the one with this id
    Set(Box<ScheduleSetArgs>),
    /// Remove a scheduler and its pending job; one that is due or runs goes on
    Rm {
        /// The queue
        queue: String,
        /// The scheduler's id
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rule").required(true).args(["every", "cron"]))]
pub(super) struct ScheduleSetArgs {
    /// The queue
    pub(super) queue: String,
    /// The scheduler's id
    pub(super) id: String,
    /// Run at equal distances: milliseconds, or a duration such as 5m
    #[arg(long, value_name = "MS", value_parser = values::delay)]
    pub(super) every: Option<Duration>,
    /// Run at the times of a cron expression: five fields, six with seconds in front, or an alias such as @hourly
    #[arg(long, value_name = "EXPR")]
    pub(super) cron: Option<String>,
    /// The time zone of --cron, by its IANA name [default: UTC]
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    pub(super) tz: Option<String>,
    /// Run the first job of --cron at once
    #[arg(long, conflicts_with_all = ["every", "start"])]
    pub(super) immediately: bool,
    /// How far into each distance of --every jobs run [default: as the first one does]
    #[arg(long, value_name = "MS", conflicts_with = "cron", value_parser = values::delay)]
    pub(super) offset: Option<Duration>,
    /// Run nothing before: RFC 3339, a date, or milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(super) start: Option<u64>,
    /// Make no job after
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(super) end: Option<u64>,
    /// Make so many jobs in all
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
    /// The jobs' name, by which their handler is chosen [default: the scheduler's id]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// The jobs' payload: JSON, @FILE, or - for stdin [default: {}]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(super) data: Option<String>,
    /// 1 runs first, 2097151 last; without one the jobs run before all that have one
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=2_097_151))]
    pub(super) priority: Option<u64>,
    /// How often each job is tried in all
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) attempts: Option<u64>,
    /// How long to wait between attempts: fixed:MS or exponential:MS
    #[arg(long, value_name = "KIND:MS", allow_hyphen_values = true, value_parser = values::backoff)]
    pub(super) backoff: Option<Backoff>,
    /// Remove each job once it completed, or keep only so many (1000) or so old (7d) ones
    #[arg(long, value_name = "KEEP", num_args = 0..=1, require_equals = true, default_missing_value = "none",
          value_parser = values::keep)]
    pub(super) remove_on_complete: Option<Keep>,
    /// The same for when it failed for good
    #[arg(long, value_name = "KEEP", num_args = 0..=1, require_equals = true, default_missing_value = "none",
          value_parser = values::keep)]
    pub(super) remove_on_fail: Option<Keep>,
    /// Whose jobs they are
    #[arg(long, value_name = "TENANT")]
    pub(super) tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The queue
    pub(super) queue: String,
    /// The job's id
    pub(super) id: String,
    /// This attempt in place of the newest that is recorded: 1 is the first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) attempt: Option<u64>,
    /// Another component in place of the version that ran it, under the same limits and grants
    #[arg(long, value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub(super) with: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("given").required(true).multiple(true).args(["job", "name"]))]
pub(super) struct InvokeArgs {
    /// A component, or the name of a configured handler
    #[arg(value_name = "FILE.wasm|HANDLER", value_hint = ValueHint::FilePath)]
    pub(super) target: String,
    /// The job: a JSON object with name and data, as `job get --json` prints it; - for stdin
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub(super) job: Option<PathBuf>,
    /// The job's name, in place of the file's
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// The payload, in place of the file's: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(super) data: Option<String>,
    /// The queue's name, as the handler sees it
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: Option<String>,
    /// The number of the attempt, as the handler sees it
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) attempt: Option<u64>,
}
