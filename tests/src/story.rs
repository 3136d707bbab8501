//! An example, told as its README's command tells it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::artifacts;
use crate::process::Process;

/// Longest that a story may take on two busy cores; it gives up by itself before that.
const LIMIT: Duration = Duration::from_secs(300);

/// Lets the example of this name tell its story, and returns what it said. Its Redis, its hosts and its scripts are in
/// one process group, which is gone when this returns, whatever happened.
///
/// # Panics
/// When the story does not end with success, or checked fewer than `checks` things.
#[track_caller]
pub fn tells(name: &str, checks: usize) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder for the story");
    let stage = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/stage/run.mjs");
    let mut command = Command::new("node");
    command
        .arg(stage)
        .args([name, "--folder"])
        .arg(folder.path().join(name))
        .env("JOBCELL_BIN", artifacts::host())
        .env("JOBCELL_PHOTO", artifacts::example("make_photo"))
        .env("JOBCELL_GUESTS", artifacts::guest("basic").with_file_name(""))
        .env("JOBCELL_STORAGE", artifacts::storage())
        .stdout(Stdio::piped())
        .process_group(0);
    let mut story = Process::start(name, &mut command);
    story.keep_stdout();
    let group = Group(Pid::from_child(story.child()));
    let status = story.status(LIMIT);
    drop(group);
    let said = story.lines();
    let held = said.iter().filter(|line| line.starts_with("   ✔ ")).count();
    assert!(status.success(), "{name} ended with {status}");
    assert!(said.iter().any(|line| line.starts_with("Everything as expected: ")), "{name} has no last line");
    assert!(held >= checks, "{name} checked {held} things; there were {checks}");
    said
}

/// Ends all of a process group when dropped.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left in it when all ended by themselves.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}
