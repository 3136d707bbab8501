//! `cargo xtask bench`: measures side by side with the peers, see `benches/README.md`.

use std::process::ExitCode;

use anyhow::Context;

use crate::workspace::Workspace;
use crate::{machine, npm, step};

/// Builds everything in release, then runs the measuring program with these arguments.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    machine::ensure(&[machine::WASM_TARGET, machine::REDIS, machine::NODE, machine::NPM])?;
    npm::ensure_peers(workspace)?;
    workspace.build_guests()?;
    workspace.build_release_host()?;
    let mut build = workspace.cargo("build");
    build.args(["--release", "--package", "jobcell-benches", "--bins", "--features", "peers"]);
    step::run("building the measuring programs (release)", &mut build)?;
    let mut build = workspace.cargo("build");
    build.args(["--release", "--package", "jobcell-wasm", "--example", "cell_bench"]);
    step::run("building the cell's measuring program (release)", &mut build)?;

    let release = workspace.target.join("release");
    let status = std::process::Command::new(release.join("jobcell-bench"))
        .args(args)
        .current_dir(&workspace.root)
        .env("JOBCELL_BIN", workspace.release_host())
        .env("JOBCELL_GUESTS", workspace.guests())
        .env("JOBCELL_INTEROP", npm::peers(workspace))
        .env("JOBCELL_RELEASE", &release)
        .status()
        .context("starting the measuring program")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
