//! The command line.
//!
//! A command reads its arguments and the configuration, does its work through the same library an embedding program
//! uses, and ends with one of the exit codes in [`exit`]. Results go to stdout, everything else to stderr; `--json`
//! makes stdout exactly one JSON value. Nothing is ever asked when stdin is not a terminal.

mod args;
mod author;
mod build;
mod console;
mod dev;
mod doctor;
mod enqueue;
mod exit;
mod findings;
mod flow;
mod handler;
mod host;
mod invoke;
mod jobs;
mod logs;
mod payload;
mod queues;
mod receipt;
mod replay;
mod schedule;
mod stats;
#[cfg(test)]
mod tests;
mod top;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::builder::Builder;
use crate::config::{self, Config, ConfigError, Environment, FileChoice, Loaded, LogFormat};
use crate::configured;
use crate::fleet::local::LocalHost;
use crate::host::RunOptions;
use crate::runtime::Shutdown;
use crate::stores::OpenStore;
use args::{Cli, Command, EnqueueArgs, Global, HandlerCommand, QueueCommand, RunArgs};
use author::Author;
use console::Console;
use exit::{Exit, Failure};
pub(crate) use flow::tree::read as read_flow;
use handler::Remote;

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let interactive = stdin().is_terminal() && stderr().is_terminal();
    let (mut input, mut out, mut err) = (stdin().lock(), stdout(), stderr());
    let mut console = Console {
        input: &mut input,
        out: &mut out,
        err: &mut err,
        json: false,
        yes: false,
        interactive,
        is_answered: false,
    };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    execute(&arguments, &Environment::of_process(), &mut console).into()
}

/// One command, from its words to its exit code.
fn execute(arguments: &[OsString], environment: &Environment, console: &mut Console<'_>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            console.json = arguments.iter().any(|argument| argument == "--json");
            return told_by_clap(&error, console);
        }
    };
    (console.json, console.yes) = (cli.global.json, cli.global.yes);
    match start(cli, environment, console) {
        Ok(exit) => exit,
        Err(failure) => told(failure, console),
    }
}

/// Help and version are answers; everything else is bad usage.
fn told_by_clap(error: &clap::Error, console: &mut Console<'_>) -> Exit {
    if !error.use_stderr() {
        return match console.write(&error.render().to_string()) {
            Ok(()) | Err(Failure::OutputClosed) => Exit::Done,
            Err(Failure::Told { exit, .. }) => exit,
        };
    }
    let message = error.render();
    if console.json {
        console.fail(Exit::Usage, message.to_string().trim_start_matches("error: ").trim_end());
    } else {
        let text = if console.interactive { message.ansi().to_string() } else { message.to_string() };
        console.note(text.trim_end());
    }
    Exit::Usage
}

fn told(failure: Failure, console: &mut Console<'_>) -> Exit {
    match failure {
        Failure::OutputClosed => Exit::Done,
        Failure::Told { exit, message } => {
            console.fail(exit, &message);
            exit
        }
    }
}

fn start(cli: Cli, environment: &Environment, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    let session = |purpose| Session { global: &global, environment, purpose };
    let (for_host, for_cells, for_store) = (Purpose::Host, Purpose::Cells, Purpose::Store);
    match command {
        // These need neither config nor store, and work without.
        Command::Completions { shell } => completions(shell, console),
        Command::Handler(HandlerCommand::File(command)) => {
            let config =
                |console: &mut Console<'_>| sound(config::load_all(&session(for_store).request()), console);
            handler::offline(command, config, console)
        }
        Command::Build(args) => session(for_store).run(async |_| build::run(&args, console).await),
        Command::Dev(args) => session(for_host).run(async |loaded| {
            let request = session(for_host).request();
            dev::run(loaded, request, &args, environment, console).await
        }),
        Command::Handler(HandlerCommand::Version(command)) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            handler::run(command, &config, environment, console).await
        }),
        Command::Check => session(for_cells).run(async |loaded| findings::check(loaded, console).await),
        Command::Doctor(args) if args.attack => session(for_cells).run(async |loaded| {
            let config = sound(loaded, console)?;
            doctor::attack(&config, args, console).await
        }),
        Command::Doctor(_) => session(for_cells).run(async |loaded| findings::doctor(loaded, console).await),
        Command::Run(args) => session(for_host).run(async |loaded| {
            let config = sound(loaded, console)?;
            let reread = || {
                let mut config = config::load(&session(for_host).request())?;
                config.limit_to(&args.queues)?;
                Ok(config)
            };
            Box::pin(run(config, &args, environment, &reread, console)).await
        }),
        Command::Invoke(args) => session(for_cells).run(async |loaded| {
            let config = sound(loaded, console)?;
            invoke::run(&config, args, console).await
        }),
        Command::Replay(args) => session(for_cells).run(async |loaded| {
            let config = sound(loaded, console)?;
            with_store(&config, async |open| replay::run(&config, open, args, console).await).await
        }),
        Command::Enqueue(args) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            if args.wait.is_some() && config.redis.is_none() {
                // Running the job takes the secrets, which the store alone does not.
                let config = config::load(&session(for_cells).request())?;
                return enqueue_alone(config, *args, console).await;
            }
            let act =
                async |open: &OpenStore| enqueue::enqueue(&*open.store, &open.prefix, *args, console).await;
            with_store(&config, act).await
        }),
        Command::Job(command) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            let act = async |open: &OpenStore| {
                let author = Author::new(open, &config, environment);
                jobs::run(&*open.store, command, &author, console).await
            };
            with_store(&config, act).await
        }),
        Command::Flow(command) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            let act = async |open: &OpenStore| flow::run(&*open.store, &open.prefix, command, console).await;
            with_store(&config, act).await
        }),
        Command::Schedule(command) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            let act = async |open: &OpenStore| {
                let author = Author::new(open, &config, environment);
                schedule::run(&*open.store, command, &author, console).await
            };
            with_store(&config, act).await
        }),
        Command::Host(command) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            host::run(command, &config, environment, console).await
        }),
        Command::Stats(args) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            stats::run(args, &config, environment, console).await
        }),
        Command::Top(args) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            top::run(args, &config, environment).await
        }),
        Command::Queue(command) => session(for_store).run(async |loaded| {
            let config = sound(loaded, console)?;
            if let QueueCommand::Explain { queue } = &command
                && let Some(host) = LocalHost::find(&config.embedded.path).filter(|_| config.redis.is_none())
            {
                let remote = Remote::new(&host.url, environment.get("JOBCELL_TOKEN"))?;
                return queues::explain::of_host(&remote, &config, queue.clone(), console).await;
            }
            let act = async |open: &OpenStore| {
                let author = Author::new(open, &config, environment);
                queues::run(open, &config, command, &author, console).await
            };
            with_store(&config, act).await
        }),
    }
}

/// Says once, in one line, what a host without Redis does without. Whoever forgot a variable sees it; jobs run all the same.
fn warn_of_embedded(directory: &Path) {
    tracing::warn!(
        directory = %directory.display(),
        "no Redis is configured: everything runs on the embedded store, on this host alone, with jobs from the HTTP API; \
         BullMQ producers, list queues and a second host need Redis: set REDIS_HOST (with REDIS_PORT, REDIS_USERNAME, \
         REDIS_PASSWORD, REDIS_TLS) or REDIS_URL"
    );
}

/// Enqueues and waits on the embedded store. It serves one process, so no host can run the job meanwhile: this process
/// works the queue itself until the job has ended.
async fn enqueue_alone(
    mut config: Config,
    args: EnqueueArgs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    config.limit_to(std::slice::from_ref(&args.queue))?;
    let grace = config.shutdown.grace;
    let runtime = Builder::configured(&config)?.start().await?;
    let ended = enqueue::enqueue(&**runtime.store(), "bull", args, console).await;
    runtime.shutdown(grace).await;
    ended
}

/// What a command reads the configuration for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To run a host: it logs what it does, and needs the secrets.
    Host,
    /// To run or admit handlers: it needs the secrets.
    Cells,
    /// To reach the store: it must work where the secrets are not.
    Store,
}

/// What surrounds a command that reads the configuration.
struct Session<'a> {
    global: &'a Global,
    environment: &'a Environment,
    purpose: Purpose,
}

impl Session<'_> {
    /// What is to be read.
    fn request(&self) -> config::Request {
        let Self { global, environment, purpose } = self;
        config::Request {
            file: global.config.clone().map_or(FileChoice::Default, FileChoice::At),
            environment: (*environment).clone(),
            redis: global.redis.clone(),
            secrets: *purpose != Purpose::Store,
            native_handlers: Vec::new(),
        }
    }

    /// Reads the configuration, starts logging, and does something with it.
    fn run(self, act: impl AsyncFnOnce(Loaded) -> Result<Exit, Failure>) -> Result<Exit, Failure> {
        let loaded = config::load_all(&self.request());
        let Self { global, environment, purpose } = self;
        let format = loaded.config.log.format;
        logs::start(global, environment, format, purpose == Purpose::Host);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("the program's threads do not start: {error}")))?;
        let ended = runtime.block_on(act(loaded));
        // Work that outlives the command, such as a blocked read, is not waited for.
        runtime.shutdown_background();
        match ended {
            // Whoever collects a host's log as JSON must be able to read why it ended, too.
            Err(Failure::Told { exit, message })
                if purpose == Purpose::Host && format == LogFormat::Json && !global.json =>
            {
                tracing::error!(exit = exit as u8, "{message}");
                Ok(exit)
            }
            ended => ended,
        }
    }
}

/// The configuration, when it has no fault.
fn sound(loaded: Loaded, console: &mut Console<'_>) -> Result<Config, Failure> {
    let Loaded { config, faults } = loaded;
    if !faults.is_empty() {
        return Err(ConfigError(faults).into());
    }
    for warning in &config.warnings {
        match config.log.format {
            LogFormat::Text => console.note(&format!("warning: {warning}")),
            LogFormat::Json => tracing::warn!("{warning}"),
        }
    }
    Ok(config)
}

async fn with_store(
    config: &Config,
    act: impl AsyncFnOnce(&OpenStore) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let open = configured::store_choice(config)?.open(configured::layout(config)).await?;
    let ended = act(&open).await;
    open.store.close().await;
    ended
}

async fn run(
    mut config: Config,
    args: &RunArgs,
    environment: &Environment,
    reread: &(dyn Fn() -> Result<Config, ConfigError> + Sync),
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    config.limit_to(&args.queues)?;
    if config.redis.is_none() {
        warn_of_embedded(&config.embedded.path);
    }
    let options = RunOptions { burst: args.burst, environment, reread };
    let Shutdown { given_back, abandoned } = crate::host::run(&config, options).await?;
    let value = serde_json::json!({ "given_back": given_back, "abandoned": abandoned });
    let words = match (given_back, abandoned) {
        (0, 0) => String::new(),
        (back, 0) => format!("unfinished jobs given back: {back}\n"),
        (back, lost) => {
            format!("unfinished jobs given back: {back}; recovered when their locks run out: {lost}\n")
        }
    };
    console.answer(&value, |_| words)?;
    Ok(if given_back + abandoned == 0 { Exit::Done } else { Exit::TimedOut })
}

fn completions(shell: clap_complete::Shell, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jobcell", &mut script);
    let value = serde_json::json!({ "shell": shell.to_string(), "script": String::from_utf8_lossy(&script) });
    console.answer(&value, |_| String::from_utf8_lossy(&script).into_owned())?;
    Ok(Exit::Done)
}
