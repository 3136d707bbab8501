//! The raw results, kept in `benches/runs`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::Plan;

/// Writes the file `<date>-<system>-<machine>-<cores>cpu.json`, or one with a number behind it where that is taken.
pub(crate) fn keep(plan: &Plan, results: &Value) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = format!("{}-{}-{cores}cpu", std::env::consts::OS, std::env::consts::ARCH);
    let said = |program: &str, args: &[&str]| -> String {
        let output = Command::new(program).args(args).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let whole = json!({
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
        "machine": machine,
        "processor": processor(),
        // Without what a distribution adds.
        "kernel": said("uname", &["-r"]).split('-').next(),
        "redis": said("redis-server", &["--version"]),
        "node": said("node", &["--version"]),
        "commit": said("git", &["rev-parse", "--short", "HEAD"]),
        "command": format!("cargo xtask bench {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")).trim(),
        "rounds": plan.rounds,
        "results": results,
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let names = std::iter::once(String::new()).chain((2..).map(|number| format!("-{number}")));
    let mut paths = names.map(|suffix| folder.join(format!("{date}-{machine}{suffix}.json")));
    let path = paths.find(|path| !path.exists()).context("a free name for the results")?;
    fs::write(&path, format!("{whole:#}\n")).with_context(|| format!("writing {}", path.display()))?;
    println!("\nRaw results: {}", path.display());
    Ok(())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map(|line| line.trim_start_matches([' ', '\t', ':']).to_owned()).unwrap_or_default()
}
