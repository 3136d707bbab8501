//! A short run of every target: its corpus, and inputs made from it by a fixed seed. `cargo xtask fuzz` looks further.

use std::fs;
use std::sync::Mutex;

use jobcell_fuzz::{TARGETS, short, target};

/// One at a time: the peak of memory is that of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn run(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = target(name).expect("a target");
    // What is made once, such as an engine, is not the inputs' doing.
    (target.run)(&short::kept(&target)[0]);
    let before = begin_peak();
    short::run(&target, target.short);
    if let (Some(before), Some(peak)) = (before, status("VmHWM:")) {
        let grown = peak.saturating_sub(before);
        assert!(
            grown <= target.memory_max,
            "{name} took {grown} bytes more; the bound is {}",
            target.memory_max
        );
    }
}

/// Forgets the peak until now and tells what is in use. None where the kernel does not keep peaks.
fn begin_peak() -> Option<u64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { run(stringify!($name)); })*
    };
}

targets!(
    artifact, component, guest, http_rule, address, config, options, flow, cron, list_item, record, manifest,
    signature, wants
);

#[test]
fn every_target_has_its_test_and_every_folder_of_inputs_its_target() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).expect("the corpus") {
        let folder = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(target(&folder).is_some(), "corpus/{folder} belongs to no target");
    }
}
