//! The Python environment of the BullMQ peers: apart from the machine's own packages, and pinned to the letter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;
use crate::{npm, step};

/// Says for which list of packages the environment was made.
const STAMP: &str = "jobcell-requirements";

/// The interpreter in whose environment the packages are.
pub(crate) fn interpreter(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin").join("python")
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("python")
}

/// Makes the environment, unless exactly this one is there.
///
/// # Errors
/// When Python or pip fails.
pub(crate) fn ensure(workspace: &Workspace) -> anyhow::Result<()> {
    let (folder, list) = (folder(workspace), npm::peers(workspace).join("requirements.txt"));
    let wanted = fingerprint(&list)?;
    // An environment whose Python was upgraded away under it has a link that leads nowhere.
    let has_interpreter = interpreter(workspace).exists();
    if has_interpreter && fs::read_to_string(folder.join(STAMP)).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    step::run("making a Python environment for the BullMQ peers", &mut make)?;
    let mut install = Command::new(interpreter(workspace));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--requirement",
        ])
        .arg(&list);
    step::run("installing the BullMQ peers with pip", &mut install)?;
    fs::write(folder.join(STAMP), wanted).context("noting which Python packages are installed")
}

fn fingerprint(list: &Path) -> anyhow::Result<String> {
    let text = fs::read(list).with_context(|| format!("reading {}", list.display()))?;
    Ok(hex::encode(Sha256::digest(text)))
}
