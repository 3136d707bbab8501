//! What `cargo test` says, read while it says it: how many tests of which program passed, and what the failed ones told.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::step;

/// How much of the output is passed on. The whole is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Every line.
    Everything,
    /// A line for each program, and each failed test.
    Programs,
    /// Nothing.
    Nothing,
}

/// What the test programs said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Programs {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// What the programs told of their failed tests.
    pub(crate) failures: Vec<String>,
    /// The programs that failed.
    pub(crate) failed_targets: Vec<Target>,
    /// Whether cargo ended well.
    pub(crate) success: bool,
    /// Between a program's `failures:` and its result.
    in_failures: bool,
    /// Behind cargo's list of what failed.
    in_targets: bool,
    /// The program whose output this is, as cargo names it.
    program: String,
    /// Its tests that have been running for long.
    slow: Vec<String>,
    /// Failed tests by the program that they are in.
    failed_tests: Vec<(String, String)>,
}

/// A test program that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// What to tell `cargo test` to run it, besides `--workspace`.
    pub(crate) flags: Vec<String>,
    /// Its failed tests; none when it does not say.
    pub(crate) tests: Vec<String>,
}

/// Lines that are kept of all failures. The whole is in the log.
const FAILURE_LINES_MAX: usize = 400;
/// Often enough that a log does not look dead.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A program that ended no test for so long hangs: the longest test takes two minutes where the machine is slow.
const SILENCE_MAX: Duration = Duration::from_secs(600);

impl Programs {
    /// Runs this `cargo test`, writing all it says into `log`.
    ///
    /// # Errors
    /// When it cannot be started or read. That tests failed is no error.
    pub(crate) fn run(command: &mut Command, log: &Path, shown: Shown) -> anyhow::Result<Self> {
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let mut file = BufWriter::new(file);
        // One pipe for both: which program a line belongs to is said on the other stream.
        let (reader, writer) = std::io::pipe().context("making a pipe")?;
        command.stdin(Stdio::null()).stdout(writer.try_clone().context("sharing a pipe")?).stderr(writer);
        let mut child =
            command.spawn().with_context(|| format!("cannot start `{}`", step::shown(command)))?;
        // It holds the pipe's other end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut all = Self::default();
        let (started, mut next) = (Instant::now(), Instant::now() + HEARTBEAT);
        let mut heard = Instant::now();
        loop {
            match lines.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    heard = Instant::now();
                    writeln!(file, "{line}").with_context(|| format!("writing {}", log.display()))?;
                    let is_news = all.add(&line);
                    if shown == Shown::Everything || (shown == Shown::Programs && is_news) {
                        println!("{line}");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    println!("  … {} so far, in {}", step::elapsed(started), all.program);
                    next += HEARTBEAT;
                    if heard.elapsed() > SILENCE_MAX {
                        all.hangs(command.get_current_dir(), &mut child)?;
                        heard = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        all.success = child.wait().context("waiting for the tests")?.success();
        for (program, test) in std::mem::take(&mut all.failed_tests) {
            if let Some(target) = all.failed_targets.iter_mut().find(|target| target.is(&program)) {
                target.tests.push(test);
            }
        }
        Ok(all)
    }

    /// Ends the program that is running, so that one test which never ends does not keep all the others from their turn.
    /// Cargo goes on with the next one and counts this one as failed.
    fn hangs(&mut self, folder: Option<&Path>, cargo: &mut Child) -> anyhow::Result<()> {
        let what = format!(
            "error: {} ended no test for {}: it is ended by force; tests that ran for over a minute: {}",
            self.program,
            step::spelled(SILENCE_MAX),
            if self.slow.is_empty() { "not said".to_owned() } else { self.slow.join(", ") },
        );
        println!("{what}");
        self.failures.push(what);
        self.failed += 1;
        let file = path_of(&self.program).map(|file| folder.unwrap_or(Path::new(".")).join(file));
        let found = file.map(|file| processes_of(&file)).unwrap_or_default();
        for process in &found {
            let status = Command::new("kill").args(["-KILL", process]).status().context("running kill")?;
            anyhow::ensure!(status.success(), "cannot end process {process} of {}", self.program);
        }
        if found.is_empty() {
            cargo.kill().context("ending cargo, whose test program hangs")?;
        }
        Ok(())
    }

    /// Takes in a line; whether it is one that says how a program or a test ended, or that one takes long.
    fn add(&mut self, line: &str) -> bool {
        let plain = line.trim();
        if let Some(program) = plain.strip_prefix("Running ").or(plain.strip_prefix("Doc-tests ")) {
            program.clone_into(&mut self.program);
            self.slow.clear();
            return true;
        }
        if let Some((_, counts)) = line.split_once("test result: ") {
            self.in_failures = false;
            self.count(counts);
            return true;
        }
        if let Some(test) =
            plain.strip_prefix("test ").and_then(|rest| rest.split_once(" has been running for over "))
        {
            self.slow.push(test.0.to_owned());
            return true;
        }
        if let Some((test, _)) = plain.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            self.slow.retain(|slow| slow != test);
        }
        if self.in_targets
            && let Some(flags) = plain.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'))
        {
            // Libraries of several packages go by the same flags.
            let target = Target::new(flags);
            if !self.failed_targets.contains(&target) {
                self.failed_targets.push(target);
            }
            return true;
        }
        let names_targets = plain.ends_with("target failed:") || plain.ends_with("targets failed:");
        self.in_targets |= plain.starts_with("error:") && names_targets;
        self.in_failures |= line == "failures:";
        if self.in_failures && self.failures.len() < FAILURE_LINES_MAX {
            self.failures.push(line.to_owned());
        }
        let failed = plain.strip_prefix("test ").and_then(|rest| rest.split_once(" ... FAILED"));
        if let Some((test, _)) = failed.filter(|_| !self.in_failures) {
            self.failed_tests
                .push((self.program.clone(), test.trim_end_matches(" - should panic").to_owned()));
        }
        failed.is_some() || plain.starts_with("error")
    }

    /// Takes in `ok. 12 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, counts: &str) {
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

impl Target {
    /// From what cargo calls it: `-p jobcell-tests --test jobs`.
    fn new(flags: &str) -> Self {
        // Without the package, which alone would have other features than the whole workspace.
        let flags = flags.split_whitespace().map(str::to_owned).filter(|flag| flag != "-p");
        Self { flags: flags.skip(1).collect(), tests: Vec::new() }
    }

    /// Whether cargo runs it as this program: `tests/suites/jobs.rs (target/debug/deps/jobs-0123456789abcdef)`.
    fn is(&self, program: &str) -> bool {
        match self.flags.as_slice() {
            [kind, name] if kind != "--bin" => {
                program.contains(&format!("/{}-", name.replace('-', "_")))
                    || program.contains(&format!("/{name}-"))
            }
            [..] => program.starts_with("unittests "),
        }
    }
}

/// The file in what cargo calls a program: `unittests src/lib.rs (target/debug/deps/jobs-0123456789abcdef)`.
fn path_of(program: &str) -> Option<&Path> {
    program.split_once('(')?.1.strip_suffix(')').map(Path::new)
}

/// The numbers of the processes that run this file; none where the system does not list them in `/proc`.
fn processes_of(file: &Path) -> Vec<String> {
    let Ok(file) = file.canonicalize() else { return Vec::new() };
    let Ok(listed) = std::fs::read_dir("/proc") else { return Vec::new() };
    let runs_it = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("exe")).is_ok_and(|running| running == file)
    };
    let found = listed.filter_map(Result::ok).filter(runs_it);
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Programs {
        let mut programs = Programs::default();
        for line in lines {
            programs.add(line);
        }
        programs
    }

    #[test]
    fn results_of_all_programs_are_added_up() {
        let all = read(&[
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.11s",
            "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 5 passed; 2 failed; 0 ignored; 0 measured",
            "test worker::tests::one ... ok",
        ]);
        assert_eq!((all.passed, all.failed, all.ignored), (17, 2, 1));
    }

    #[test]
    fn what_a_failed_test_said_is_kept() {
        let said = ["failures:", "---- a stdout ----", "thread 'a' panicked", "failures:", "    a"];
        let mut lines = vec!["test a ... FAILED", ""];
        lines.extend(said);
        lines.extend(["test result: FAILED. 0 passed; 1 failed", "running 3 tests"]);
        assert_eq!(read(&lines).failures, said);
    }

    #[test]
    fn tests_that_take_long_are_known_until_they_end() {
        let mut all = Programs::default();
        assert!(!all.add("test a ... ok"));
        assert!(all.add("test b has been running for over 60 seconds"));
        assert!(all.add("test c has been running for over 60 seconds"));
        assert_eq!(all.slow, ["b", "c"]);
        all.add("test b ... ok");
        assert_eq!(all.slow, ["c"]);
        all.add("     Running unittests src/lib.rs (target/debug/deps/other-0123456789abcdef)");
        assert!(all.slow.is_empty());
    }

    #[test]
    fn the_processes_of_a_program_are_found_by_its_file() {
        assert_eq!(path_of("unittests src/lib.rs (a/b-01)"), Some(Path::new("a/b-01")));
        assert_eq!(path_of("jobcell_core"), None);
        let this = std::env::current_exe().unwrap();
        if Path::new("/proc/self/exe").exists() {
            assert!(processes_of(&this).contains(&std::process::id().to_string()));
        }
        assert!(processes_of(Path::new("/nowhere/b-01")).is_empty());
    }

    #[test]
    fn a_failed_test_is_found_in_its_program() {
        let program = "tests/suites/jobs.rs (target/debug/deps/jobs-0123456789abcdef)";
        let all = read(&[
            "     Running unittests src/lib.rs (target/debug/deps/jobcell_core-0123456789abcdef)",
            "test a::b ... ok",
            &format!("     Running {program}"),
            "test c::d ... FAILED",
            "test result: FAILED. 0 passed; 1 failed",
            "error: 1 target failed:",
            "    `-p jobcell-tests --test jobs`",
        ]);
        assert_eq!(all.failed_tests, [(program.to_owned(), "c::d".to_owned())]);
        assert_eq!(all.failed_targets, [Target::new("-p jobcell-tests --test jobs")]);
        let target = &all.failed_targets[0];
        assert_eq!(target.flags, ["--test", "jobs"]);
        assert!(target.is(program) && !target.is("tests/other.rs (target/debug/deps/other-01)"));
        let library = Target::new("-p jobcell-core --lib");
        assert!(library.is("unittests src/lib.rs (target/debug/deps/jobcell_core-01)"));
        assert!(!library.is(program));
    }
}
