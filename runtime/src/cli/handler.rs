//! `jobcell handler`: handlers and their versions, what they are signed with, and what a component says of itself.

mod change;
mod doubts;
mod goal;
mod inspect;
mod keys;
mod place;
mod remote;
mod show;
mod shown;

use std::path::Path;

use jobcell_handlers::artifact::ARTIFACT_BYTES_MAX;
use jobcell_server::{Change, HandlersError, HandlersFault};

use super::args::{CanaryArgs, DeployArgs, FileCommand, HostArgs, VersionCommand, VersionPlace};
use super::console::Console;
use super::exit::{Exit, Failure};
use super::payload;
use crate::config::{Config, Environment};
use place::Place;
pub(super) use remote::Remote;

/// Does what needs no store. Only checking a signature without naming a key needs the configuration, and gets it from
/// `config`.
pub(super) fn offline(
    command: FileCommand,
    config: impl FnOnce(&mut Console<'_>) -> Result<Config, Failure>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        FileCommand::Inspect { file } => inspect::file(&file, console),
        FileCommand::Keygen { out } => keys::generate(&out, console),
        FileCommand::Sign { file, key, out } => keys::sign(&file, &key, out.as_deref(), console),
        FileCommand::Verify { file, signature, keys } => {
            let keys = if keys.is_empty() { config(console)?.trust.keys } else { keys };
            keys::verify(&file, signature.as_deref(), &keys, console)
        }
    }
}

/// Does the rest.
pub(super) async fn run(
    command: VersionCommand,
    config: &Config,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let (handler, host) = about(&command);
    let place = Place::of(handler, host, config, environment).await?;
    let ended = at(&place, command, config, environment, console).await;
    place.close().await;
    ended
}

async fn at(
    place: &Place,
    command: VersionCommand,
    config: &Config,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let (handler, asked, change) = match command {
        VersionCommand::Ls { handler: None, .. } => return show::all(place, console).await,
        VersionCommand::Ls { handler: Some(handler), .. } => {
            return show::one(place, &handler, console).await;
        }
        VersionCommand::History { handler, limit, before, .. } => {
            return show::history(place, &handler, before, limit, console).await;
        }
        VersionCommand::Deploy(args) => {
            return change::deploy(place, &args, config, environment, console).await;
        }
        VersionCommand::Canary(args) => {
            let asked = change::canary(&args, config);
            let CanaryArgs { place: VersionPlace { handler, .. }, change, .. } = *args;
            (handler, asked, change)
        }
        VersionCommand::Activate { place: VersionPlace { handler, version }, approve, change } => {
            (handler, Change::Activate { version, approve }, change)
        }
        VersionCommand::Promote { handler, change } => (handler, Change::Promote, change),
        VersionCommand::Rollback { handler, change } => (handler, Change::Rollback, change),
        VersionCommand::Quarantine { place: VersionPlace { handler, version }, change } => {
            (handler, Change::Quarantine { version }, change)
        }
        VersionCommand::Release { place: VersionPlace { handler, version }, change } => {
            (handler, Change::Release { version }, change)
        }
        VersionCommand::Shadow { handler, version, percent, off: _, change } => {
            (handler, Change::Shadow { of: version.map(|version| (version, percent)) }, change)
        }
    };
    change::make(place, &handler, asked, &change, environment, console).await
}

/// The handler that a command is about, and who is to be asked.
fn about(command: &VersionCommand) -> (Option<&str>, &HostArgs) {
    match command {
        VersionCommand::Ls { handler, host } => (handler.as_deref(), host),
        VersionCommand::History { handler, host, .. } => (Some(handler), host),
        VersionCommand::Deploy(args) => {
            let DeployArgs { handler, change, .. } = &**args;
            (Some(handler), &change.host)
        }
        VersionCommand::Canary(args) => (Some(&args.place.handler), &args.change.host),
        VersionCommand::Activate { place, change, .. }
        | VersionCommand::Quarantine { place, change }
        | VersionCommand::Release { place, change } => (Some(&place.handler), &change.host),
        VersionCommand::Promote { handler, change }
        | VersionCommand::Rollback { handler, change }
        | VersionCommand::Shadow { handler, change, .. } => (Some(handler), &change.host),
    }
}

/// Reads a component within the bound that hosts have as well.
fn read_component(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = payload::file(file)?;
    if bytes.len() as u64 > ARTIFACT_BYTES_MAX {
        let told = format!(
            "{} has {} bytes; the limit is {ARTIFACT_BYTES_MAX}. Build it with optimisation and strip debug information",
            file.display(),
            bytes.len()
        );
        return Err(Failure::new(Exit::Refused, told));
    }
    Ok(bytes)
}

/// How an error of the handlers ends a command.
fn failed(error: HandlersError) -> Failure {
    let exit = match error.fault {
        HandlersFault::Refused | HandlersFault::NeedsApproval => Exit::Refused,
        HandlersFault::WrongState if is_barred(&error) => Exit::Refused,
        HandlersFault::Unavailable => Exit::StoreUnreachable,
        HandlersFault::Invalid => Exit::Usage,
        HandlersFault::NotFound
        | HandlersFault::Conflict
        | HandlersFault::WrongState
        | HandlersFault::Unsupported
        | HandlersFault::Failed => Exit::Failed,
    };
    Failure::new(exit, error.message)
}

/// Whether the version is in a state that keeps it from every job.
fn is_barred(error: &HandlersError) -> bool {
    error.details.get("state").is_some_and(|state| state == "quarantined" || state == "refused")
}
