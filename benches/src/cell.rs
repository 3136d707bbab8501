//! One warm cell: made, called with JSON in and out, dropped. The wasm crate's own example measures it.

use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::peer::variable;

/// Runs it, passes its lines on, and keeps them.
pub(crate) fn measure() -> anyhow::Result<Value> {
    let program = variable("JOBCELL_RELEASE")?.join("examples").join("cell_bench");
    let output =
        Command::new(&program).output().with_context(|| format!("starting {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("cell_bench failed: {}{text}", String::from_utf8_lossy(&output.stderr));
    }
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines {
        println!("  {line}");
    }
    Ok(json!({ "lines": lines }))
}
