//! `cargo xtask demo`: a donation, from the payment provider's webhook to the thank-you message.
//!
//! Three handlers run real input in their cells: a signed webhook (and a forged one), a photograph, and a message to
//! a receiver that is down at first. Then a handler gets a new version in the middle of a full queue, and the old one
//! back. What the jobs become is compared with what they should become; the demo succeeds only when all of it is as
//! expected.

mod host;
mod receiver;
mod site;
mod story;
mod stripe;
mod swap;

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::workspace::Workspace;
use crate::{machine, step};
use host::Host;
use receiver::Receiver;
use site::Site;

/// What was asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Leave the host running afterwards.
    serve: bool,
    /// Use this Redis instead of the embedded store.
    redis: Option<String>,
}

impl Options {
    /// # Errors
    /// Names the first argument that is not understood.
    pub(crate) fn parse(args: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--serve" => options.serve = true,
                "--redis" => {
                    let url =
                        args.next().context("--redis needs an address, such as redis://127.0.0.1:6379")?;
                    options.redis = Some(url.clone());
                }
                other => match other.strip_prefix("--redis=") {
                    Some(url) => options.redis = Some(url.to_owned()),
                    None => bail!("demo does not know {other:?}; it takes --serve and --redis URL"),
                },
            }
        }
        Ok(options)
    }
}

/// Builds what is needed, tells the story, and leaves the host running where that was asked for.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    machine::ensure(&[machine::WASM_TARGET])?;
    workspace.build_guests()?;
    workspace.build_host()?;
    let receiver = Receiver::start().context("listening for the notification on loopback")?;
    let site = Site::make(workspace, receiver.port(), options.redis.as_deref())?;
    take_photo(workspace, &site)?;
    swap::prepare(workspace, &site)?;

    println!("\nThe donation flow, on {}", site.store());
    let mut host = Host::start(&site)?;
    let outcome = tell(&mut host, &site, &receiver);
    host.stop()?;
    let unexpected = outcome?;
    if !unexpected.is_empty() {
        for fault in &unexpected {
            eprintln!("✘ {fault}");
        }
        bail!("{} not as expected; the host's log is {}", unexpected.len(), site.log().display());
    }
    println!(
        "\nEverything as expected, {} in all. Files, configuration and log are in {}",
        step::elapsed(started),
        site.folder().display()
    );
    if options.serve {
        return site.serve();
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole story, and everything in it that was not as expected.
fn tell(host: &mut Host<'_>, site: &Site, receiver: &Receiver) -> anyhow::Result<Vec<String>> {
    let mut unexpected = story::tell(host, site, receiver)?;
    unexpected.extend(swap::tell(host, site)?);
    Ok(unexpected)
}

/// The photograph that the media handler gets, made by its own sample.
fn take_photo(workspace: &Workspace, site: &Site) -> anyhow::Result<()> {
    let mut command = Command::new(workspace.make_photo());
    step::run("taking a photograph", command.arg(site.uploads().join(story::PHOTO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_named() {
        let parse = |args: &[&str]| Options::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), Options::default());
        let both = Options { serve: true, redis: Some("redis://h".to_owned()) };
        assert_eq!(parse(&["--redis", "redis://h", "--serve"]).unwrap(), both);
        assert_eq!(parse(&["--redis=redis://h", "--serve"]).unwrap(), both);
        assert!(parse(&["--sreve"]).unwrap_err().to_string().contains("--sreve"));
        assert!(parse(&["--redis"]).is_err());
    }
}
