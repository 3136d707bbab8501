//! `cargo xtask test`: every suite, with one line at the end that says how many tests ran.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;

use crate::workspace::Workspace;
use crate::{machine, npm, parity, python, step};

/// What the test programs said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// What the programs told of their failed tests: thousands of lines may stand between that and the end.
    failures: Vec<String>,
    /// Between a program's `failures:` and its result.
    in_failures: bool,
}

/// Lines that are repeated of all failures. The whole is further up.
const FAILURE_LINES_MAX: usize = 400;

/// Gets what the tests need, builds, and runs them all; a failure in one suite does not keep the others from running.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    machine::ensure(&[machine::WASM_TARGET, machine::REDIS, machine::NODE, machine::NPM, machine::PYTHON])?;
    npm::ensure(workspace)?;
    python::ensure(workspace)?;
    workspace.build_guests()?;
    workspace.build_host()?;
    workspace.build_rust_peer()?;
    let mut build = test_command(workspace);
    build.arg("--no-run");
    step::run("building the tests", &mut build)?;

    println!("▸ running every suite");
    parity::begin(workspace)?;
    let mut command = test_command(workspace);
    command.arg("--no-fail-fast").args(args);
    if std::io::stdout().is_terminal() {
        let has_program_args = args.iter().any(|arg| arg == "--");
        command.args(if has_program_args {
            &["--color", "always"][..]
        } else {
            &["--", "--color", "always"][..]
        });
    }
    let (tally, success) = tee(&mut command)?;
    println!("  done in {}", step::elapsed(started));
    if tally.ignored > 0 {
        println!("  {} ignored", tally.ignored);
    }
    if !tally.failures.is_empty() {
        println!("▸ what failed, once more\n{}", tally.failures.join("\n"));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if !success || tally.failed > 0 || tally.passed == 0 {
        return Ok(ExitCode::FAILURE);
    }
    // A part of the suites shows a part of the table.
    if args.is_empty() {
        parity::check(workspace)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn test_command(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo("test");
    command
        .arg("--workspace")
        .env("JOBCELL_GUESTS", workspace.guests())
        .env("JOBCELL_BIN", workspace.host())
        .env("JOBCELL_INTEROP", npm::folder(workspace))
        .env("JOBCELL_PYTHON", python::interpreter(workspace))
        .env("JOBCELL_RUST_AGENT", workspace.rust_peer())
        .env("JOBCELL_PARITY", parity::results(workspace));
    command
}

/// Runs the command, passing its output on while adding up the `test result:` lines.
fn tee(command: &mut Command) -> anyhow::Result<(Tally, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", step::shown(command)))?;
    let mut tally = Tally::default();
    let out = child.stdout.take().context("the child's stdout was asked for")?;
    for line in BufReader::new(out).split(b'\n') {
        let line = line.context("reading what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        tally.add(&line);
        println!("{line}");
    }
    let status = child.wait().context("waiting for the tests")?;
    Ok((tally, status.success()))
}

impl Tally {
    /// Takes in a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            self.in_failures |= line == "failures:";
            if self.in_failures && self.failures.len() < FAILURE_LINES_MAX {
                self.failures.push(line.to_owned());
            }
            return;
        };
        self.in_failures = false;
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_programs_are_added_up() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.11s",
        );
        tally.add("test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 5 passed; 2 failed; 0 ignored; 0 measured");
        tally.add("test worker::tests::one ... ok");
        assert_eq!(tally, Tally { passed: 17, failed: 2, ignored: 1, ..Tally::default() });
    }

    #[test]
    fn what_a_failed_test_said_is_kept_for_the_end() {
        let mut tally = Tally::default();
        let said = ["failures:", "---- a stdout ----", "thread 'a' panicked", "failures:", "    a"];
        for line in
            ["test a ... FAILED", ""].iter().chain(&said).chain(&["test result: FAILED. 0 passed; 1 failed"])
        {
            tally.add(line);
        }
        tally.add("running 3 tests");
        assert_eq!(tally.failures, said);
    }
}
