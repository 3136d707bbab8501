//! What can be typed about handlers, their versions and their sources.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::values;

/// Where the handlers are that a command is about.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct HostArgs {
    /// Ask the host at this address instead of the store, with the token in JOBCELL_TOKEN [default: JOBCELL_URL, else
    /// what the handler's source needs: the store, or the host that holds its files]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(in crate::cli) url: Option<String>,
}

/// On what a change is made, and why.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct ChangeArgs {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) why: Option<String>,
    /// Only when the handler still has this generation, as `handler ls` shows it; else somebody has changed it since
    /// [default: the one it has when this command starts]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) generation: Option<u64>,
    /// Whatever the handler is now: also when somebody changes it while this command runs
    #[arg(long, conflicts_with = "generation")]
    pub(in crate::cli) force: bool,
    /// Do not wait until every host has followed
    #[arg(long, conflicts_with = "wait")]
    pub(in crate::cli) no_wait: bool,
    /// Wait so many seconds at most for every host to follow
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(in crate::cli) wait: u64,
    #[command(flatten)]
    pub(in crate::cli) host: HostArgs,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct VersionPlace {
    /// The handler
    pub(in crate::cli) handler: String,
    /// The version: its digest, or the first digits of it as `handler ls` shows them
    // Not called `version`: every command has a flag of that name.
    #[arg(id = "digest", value_name = "VERSION")]
    pub(in crate::cli) version: String,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HandlerCommand {
    #[command(flatten)]
    Version(VersionCommand),
    #[command(flatten)]
    File(FileCommand),
}

/// Looking at handlers' versions and changing which takes the jobs.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VersionCommand {
    /// Show what is wanted of every handler and what each host runs, or the versions of one
    Ls {
        /// Only this one, with its versions
        handler: Option<String>,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Take in a new version and give it the jobs
    Deploy(Box<DeployArgs>),
    /// Give all jobs to a version
    Activate {
        #[command(flatten)]
        place: VersionPlace,
        /// Agree to what it wants beyond the active version
        #[arg(long)]
        approve: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Give a share of the jobs to a version, until it is promoted or rolled back
    Canary(Box<CanaryArgs>),
    /// Give all jobs to the canary
    Promote {
        /// The handler
        handler: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End the canary; without one, give all jobs back to the version before
    Rollback {
        /// The handler
        handler: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Take all jobs from a version until it is released
    Quarantine {
        #[command(flatten)]
        place: VersionPlace,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End a version's quarantine; it may be activated again
    Release {
        #[command(flatten)]
        place: VersionPlace,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Run a version on copies of jobs, with the effects of the active one played back to it; nothing leaves its cell
    Shadow {
        /// The handler
        handler: String,
        /// The version: its digest, or the first digits of it
        #[arg(
            id = "digest",
            value_name = "VERSION",
            required_unless_present = "off",
            conflicts_with = "off"
        )]
        version: Option<String>,
        /// The share of the jobs that is copied
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: u8,
        /// End it
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Show what happened to a handler's versions: when, by whom and why
    History {
        /// The handler
        handler: String,
        /// The newest so many entries
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Only entries older than this one, by its number
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        #[command(flatten)]
        host: HostArgs,
    },
}

/// What is done with files alone.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FileCommand {
    /// Show what a component imports, the grants it wants, its manifest, size, digest and WIT version; works offline
    Inspect {
        /// The component
        #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Check a component and its signature against the keys of the config or of the command line; works offline
    Verify {
        /// The component
        #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Its signature [default: FILE.wasm.sig]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        signature: Option<PathBuf>,
        /// A public key whose signatures are believed, in place of [trust] keys; may be given several times
        #[arg(long = "key", value_name = "ed25519:KEY")]
        keys: Vec<String>,
    },
    /// Make a key to sign handlers with: the secret one goes into a file that only its owner reads
    Keygen {
        /// The file, which must not exist
        #[arg(long, value_name = "FILE", default_value = "jobcell-signing.key", value_hint = ValueHint::FilePath)]
        out: PathBuf,
    },
    /// Sign a component, and write the signature into a file beside it
    Sign {
        /// The component
        #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The file with the secret key
        #[arg(long, value_name = "FILE", default_value = "jobcell-signing.key", value_hint = ValueHint::FilePath)]
        key: PathBuf,
        /// Where the signature goes [default: FILE.wasm.sig]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeployArgs {
    /// The handler
    pub(in crate::cli) handler: String,
    /// The component
    #[arg(value_name = "FILE.wasm", value_hint = ValueHint::FilePath)]
    pub(in crate::cli) file: PathBuf,
    /// Its signature [default: FILE.wasm.sig when it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(in crate::cli) signature: Option<PathBuf>,
    /// Only take it in; `handler activate` gives it the jobs
    #[arg(long, conflicts_with = "canary")]
    pub(in crate::cli) stage: bool,
    /// Give it so many percent of the jobs instead of all
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(in crate::cli) canary: Option<u8>,
    /// Agree to what it wants beyond the active version
    #[arg(long)]
    pub(in crate::cli) approve: bool,
    #[command(flatten)]
    pub(in crate::cli) change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CanaryArgs {
    #[command(flatten)]
    pub(in crate::cli) place: VersionPlace,
    /// Its share of the jobs [default: as configured for the handler, else 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(in crate::cli) percent: Option<u8>,
    /// Agree to what it wants beyond the active version
    #[arg(long)]
    pub(in crate::cli) approve: bool,
    /// Compare the jobs of so long back
    #[arg(long, value_name = "DURATION", value_parser = values::delay)]
    pub(in crate::cli) window: Option<Duration>,
    /// Decide nothing before it has run so many jobs
    #[arg(long, value_name = "N")]
    pub(in crate::cli) min_jobs: Option<u64>,
    /// Roll it back when its share of failures is larger than the active version's by more than this, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(in crate::cli) max_failures_over: Option<f64>,
    /// Roll it back when its jobs take more than so many times as long
    #[arg(long, value_name = "FACTOR")]
    pub(in crate::cli) max_latency: Option<f64>,
    /// Promote it after so long when it did well; 0 never
    #[arg(long, value_name = "DURATION", value_parser = values::delay)]
    pub(in crate::cli) promote_after: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DevArgs {
    /// Folders in which handler projects are looked for
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(in crate::cli) folders: Vec<PathBuf>,
    /// Build with this profile of Cargo [default: guest where the workspace has it, else release]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) profile: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArgs {
    /// The folder of the handler's project, or one above several
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(in crate::cli) folder: PathBuf,
    /// Where the component goes: a file ending in .wasm, or a folder [default: jobcell/NAME.wasm beside what Cargo makes]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Build with this profile of Cargo [default: guest where the workspace has it, else release]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) profile: Option<String>,
}
