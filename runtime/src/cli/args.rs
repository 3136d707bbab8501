//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use jobcell_core::options::{Backoff, Deduplication};
use jobcell_core::{JobState, Keep};

use super::values;

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
    /// Check the config, the store and every handler, and print all faults at once
    Check,
    /// Put a job on a queue and print its id
    Enqueue(Box<EnqueueArgs>),
    /// Look at jobs and change them
    #[command(subcommand)]
    Job(JobCommand),
    /// Look at queues and change them
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Look at handlers
    #[command(subcommand)]
    Handler(HandlerCommand),
    /// Run one job in a cell with no store, and print outcome, log and cost
    Invoke(InvokeArgs),
    /// Report what this machine offers and what needs mending
    Doctor,
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
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
    /// Add nothing while a job with this deduplication id is not finished, or for TTL milliseconds
    #[arg(long, value_name = "ID[:TTL]", value_parser = values::deduplication)]
    pub(super) dedup: Option<Deduplication>,
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
    /// Wait for the job's end, at most so many seconds, and print its result; exit 1 if it failed. On the embedded store,
    /// which no host can share, this process works the queue meanwhile
    #[arg(long, value_name = "SECS", num_args = 0..=1, require_equals = true, default_missing_value = "3600",
          value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(super) wait: Option<u64>,
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
    /// Remove a job that is not running
    Remove(JobPlace),
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
}

#[derive(Debug, Subcommand)]
pub(super) enum HandlerCommand {
    /// Show what a component imports, the grants it wants, its size, digest and WIT version; works offline
    Inspect {
        /// The component
        #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
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
