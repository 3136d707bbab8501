//! The S3-compatible storage of tests and examples: `s3s-fs`, which checks SigV4 signatures as S3 does. A program of its
//! own with a lock file of its own, so that nothing it stands on meets what the host stands on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::step;
use crate::workspace::Workspace;

/// The newest that this Rust compiles.
const PACKAGE: &str = "s3s-fs@=0.14.1";
/// Says which one is installed.
const STAMP: &str = "jobcell-package";

/// The program, as [`ensure`] installs it.
pub(crate) fn program(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin").join(format!("s3s-fs{}", std::env::consts::EXE_SUFFIX))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("storage")
}

/// Installs it, unless exactly this one is there.
///
/// # Errors
/// When it does not build.
pub(crate) fn ensure(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = folder(workspace);
    let is_installed = fs::read_to_string(folder.join(STAMP)).is_ok_and(|installed| installed == PACKAGE);
    if is_installed && program(workspace).exists() {
        return Ok(());
    }
    let build = folder.join("build");
    let mut install: Command = workspace.cargo("install");
    install
        .args(["--debug", "--force", "--features", "binary", PACKAGE, "--root"])
        .arg(&folder)
        .arg("--target-dir")
        .arg(&build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    step::run("installing an S3-compatible storage (s3s-fs)", &mut install)?;
    // Some hundred megabytes that nothing looks at again.
    fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
    fs::write(folder.join(STAMP), PACKAGE).context("noting which storage is installed")
}
