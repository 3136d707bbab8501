//! `cargo xtask picture`: takes the picture of the dashboard anew that the README shows.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;

use crate::workspace::Workspace;
use crate::{machine, npm, step};

/// The test that takes it, and checks that it is small.
const TEST: &str = "dashboard::the_picture_of_the_readme";

/// Builds the host, has the test take the picture, and puts that into `docs`.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    machine::ensure(&[machine::WASM_TARGET, machine::NODE, machine::NPM, machine::CHROMIUM])?;
    npm::ensure_peers(workspace)?;
    workspace.build_guests()?;
    workspace.build_host()?;
    let mut command = workspace.cargo("test");
    command
        .args(["--package", "jobcell-tests", "--test", "suites", "--", "--exact", TEST])
        .env("JOBCELL_GUESTS", workspace.guests())
        .env("JOBCELL_BIN", workspace.host())
        .env("JOBCELL_INTEROP", npm::peers(workspace));
    step::run("taking the picture", &mut command)?;
    let (taken, shown) = (
        workspace.root.join("target/tests/dashboard/picture.png"),
        workspace.root.join("docs").join("dashboard.png"),
    );
    fs::copy(&taken, &shown).with_context(|| format!("copying {}", taken.display()))?;
    println!("{}", shown.display());
    Ok(ExitCode::SUCCESS)
}
