//! `cargo xtask test`: every suite, a line for each test program, what failed in full, and one line at the end that says
//! how many tests ran.
//!
//! A test that fails is run again by itself. When it passes then it is called flaky, loudly and with what it said the
//! first time: a fault of the test or of what it tests, to be looked for, but not one that keeps a change from landing.

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::programs::{Programs, Shown};
use crate::workspace::Workspace;
use crate::{machine, npm, parity, python, step, storage};

/// Failed tests that are run again. More than that have a cause in common.
const RETRIED_MAX: usize = 12;
/// How often each is.
const RETRIES: usize = 2;

/// Gets what the tests need, builds, and runs them all; a failure in one suite does not keep the others from running.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    machine::ensure(&[machine::WASM_TARGET, machine::REDIS, machine::NODE, machine::NPM, machine::PYTHON])?;
    machine::ensure(&[machine::REGISTRY, machine::CHROMIUM])?;
    npm::ensure_peers(workspace)?;
    npm::ensure_examples(workspace)?;
    python::ensure(workspace)?;
    storage::ensure(workspace)?;
    workspace.build_guests()?;
    workspace.build_host()?;
    workspace.build_rust_peer()?;
    let mut build = test_command(workspace);
    build.arg("--no-run");
    step::run("building the tests", &mut build)?;

    println!("▸ running every suite");
    parity::begin(workspace)?;
    let log = workspace.target.join("tests").join("log.txt");
    // Who names tests wants to see them.
    let shown = if args.is_empty() { Shown::Programs } else { Shown::Everything };
    let mut command = test_command(workspace);
    command.arg("--no-fail-fast").args(args);
    let mut ran = Programs::run(&mut command, &log, shown)?;
    println!("  done in {}; all that was said is in {}", step::elapsed(started), log.display());
    if ran.ignored > 0 {
        println!("  {} ignored", ran.ignored);
    }
    if !ran.failures.is_empty() {
        println!("▸ what failed\n{}", ran.failures.join("\n"));
    }
    let mut success = ran.success;
    if !success && args.is_empty() {
        success = retry(workspace, &mut ran)?;
    }
    // A part of the suites shows a part of the table.
    let parity = if success && args.is_empty() { parity::check(workspace) } else { Ok(()) };
    println!("{} passed, {} failed", ran.passed, ran.failed);
    parity?;
    Ok(if success && ran.failed == 0 && ran.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs what failed again, by itself. True when all of it passed then.
fn retry(workspace: &Workspace, ran: &mut Programs) -> anyhow::Result<bool> {
    let failed: usize = ran.failed_targets.iter().map(|target| target.tests.len().max(1)).sum();
    if failed == 0 || failed > RETRIED_MAX {
        return Ok(false);
    }
    let log = workspace.target.join("tests").join("log-again.txt");
    let mut all_passed = true;
    for target in std::mem::take(&mut ran.failed_targets) {
        let named = if target.tests.is_empty() { target.flags.join(" ") } else { target.tests.join(", ") };
        let passed = (0..RETRIES).find_map(|_| {
            println!("▸ once more, by itself: {named}");
            let mut command = test_command(workspace);
            command.args(&target.flags).arg("--no-fail-fast");
            if !target.tests.is_empty() {
                command.args(["--", "--exact", "--test-threads=1"]).args(&target.tests);
            }
            match Programs::run(&mut command, &log, Shown::Nothing) {
                Ok(again) if again.success && again.passed as usize >= target.tests.len() => Some(Ok(())),
                Ok(again) => {
                    println!("{}", again.failures.join("\n"));
                    None
                }
                Err(fault) => Some(Err(fault)),
            }
        });
        match passed.transpose()? {
            Some(()) => {
                println!("▸ FLAKY: {named}: it failed among the others and passed by itself");
            }
            None => all_passed = false,
        }
    }
    if all_passed {
        ran.passed += std::mem::take(&mut ran.failed);
    }
    Ok(all_passed)
}

fn test_command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("test");
    command
        .arg("--workspace")
        .env("JOBCELL_GUESTS", workspace.guests())
        .env("JOBCELL_BIN", workspace.host())
        .env("JOBCELL_INTEROP", npm::peers(workspace))
        .env("JOBCELL_PYTHON", python::interpreter(workspace))
        .env("JOBCELL_RUST_AGENT", workspace.rust_peer())
        .env("JOBCELL_STORAGE", storage::program(workspace))
        .env("JOBCELL_PARITY", parity::results(workspace));
    command
}
