//! `cargo xtask fuzz`: one target after the other under libFuzzer, which keeps the inputs that reach new code.
//!
//! What is found is written to `<target>/fuzz/<name>`: every input that reached something new into `corpus`, those that
//! break a promise into `found`. The kept corpus in `fuzz/corpus` is read and left alone; `--keep` merges into it what of
//! the new reaches more.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::step;
use crate::workspace::Workspace;

/// Seconds for each target when none are given: enough to see that it works.
const SECONDS: u64 = 60;
/// Seconds after which one input has hung. Attempts and compilations are bounded far below that.
const INPUT_SECONDS_MAX: u64 = 120;
/// MiB beyond which an input has found a leak or a bomb. The engine of the cells alone has some hundred.
const MEMORY_MIB_MAX: u64 = 3 * 1024;
/// Bytes of an input that is worth keeping: replayed in every test run, and read by people.
const KEPT_BYTES_MAX: u64 = 2 * 1024;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// None means every target.
    target: Option<String>,
    seconds: Option<u64>,
    /// Merge what reaches more into the kept corpus.
    keep: bool,
}

/// Fuzzes one target, or all.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    let Options { target, seconds, keep } = Options::parse(args)?;
    let known = targets(workspace)?;
    let chosen = match target {
        None => known,
        Some(name) if known.contains(&name) => vec![name],
        Some(name) => bail!("there is no target {name:?}; there are {}", known.join(", ")),
    };
    build(workspace)?;
    let mut broken = Vec::new();
    for name in chosen {
        println!("▸ fuzzing {name}");
        if !fuzz(workspace, &name, seconds.unwrap_or(SECONDS))? {
            broken.push(name.clone());
        }
        if keep {
            keep_more(workspace, &name)?;
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("broken: {}; the inputs are in {}", broken.join(", "), workspace.target.join("fuzz").display());
    Ok(ExitCode::FAILURE)
}

/// Each has its kept corpus, which a test makes sure of.
fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Packages of this workspace are built with counters, beside their ordinary builds. As with the host, one selection over
/// the whole workspace lets the dependencies be those of the tests.
fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let mut command = workspace.cargo("build");
    command
        .args(["--workspace", "--bin", "jobcell-fuzz", "--features", "jobcell-fuzz/libfuzzer"])
        .env("RUSTC_WORKSPACE_WRAPPER", workspace.root.join("fuzz/instrument.sh"));
    step::run("building the targets with libFuzzer", &mut command)
}

fn engine(workspace: &Workspace, target: &str) -> Command {
    let mut command = Command::new(workspace.target.join("debug/jobcell-fuzz"));
    command.env("JOBCELL_FUZZ_TARGET", target);
    command
}

/// Whether every input kept the promises.
fn fuzz(workspace: &Workspace, target: &str, seconds: u64) -> anyhow::Result<bool> {
    let (corpus, found) = (place(workspace, target, "corpus")?, place(workspace, target, "found")?);
    let mut command = engine(workspace, target);
    command
        .arg(corpus)
        .arg(workspace.root.join("fuzz/corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-print_final_stats=1", "-max_len=16384"]);
    let status = command.status().with_context(|| format!("cannot start `{}`", step::shown(&command)))?;
    Ok(status.success())
}

/// Copies into the kept corpus what reaches more than it does.
fn keep_more(workspace: &Workspace, target: &str) -> anyhow::Result<()> {
    let (kept, corpus) =
        (workspace.root.join("fuzz/corpus").join(target), place(workspace, target, "corpus")?);
    let mut command = engine(workspace, target);
    command
        // By the code that is reached, not by how often: a few dozen files instead of thousands.
        .args(["-set_cover_merge=1", "-use_counters=0"])
        .arg(format!("-max_len={KEPT_BYTES_MAX}"))
        .arg(kept)
        .arg(corpus);
    let status = command.status().with_context(|| format!("cannot start `{}`", step::shown(&command)))?;
    if status.success() { Ok(()) } else { bail!("merging the corpus of {target} failed ({status})") }
}

fn place(workspace: &Workspace, target: &str, what: &str) -> anyhow::Result<PathBuf> {
    let path = workspace.target.join("fuzz").join(target).join(what);
    fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(path)
}

// === impl Options ===

impl Options {
    fn parse(args: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--keep" => options.keep = true,
                "--seconds" => {
                    let given = args.next().context("--seconds needs a number")?;
                    let seconds = given.parse().ok().filter(|seconds| *seconds > 0);
                    let fault = || format!("--seconds {given}: give a whole number from 1");
                    options.seconds = Some(seconds.with_context(fault)?);
                }
                name if name.starts_with('-') => bail!("fuzz takes no {name}; see `cargo xtask help`"),
                name if options.target.is_none() => options.target = Some(name.to_owned()),
                more => bail!("fuzz takes one target, and {more:?} is another; leave it out for all"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_target_and_its_time_are_read() {
        assert_eq!(parse(&[]).unwrap(), Options::default());
        let expected = Options { target: Some("cron".into()), seconds: Some(5), keep: true };
        assert_eq!(parse(&["cron", "--seconds", "5", "--keep"]).unwrap(), expected);
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["a", "b"], &["--fast"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
