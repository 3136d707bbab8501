//! The Node packages of the BullMQ peers and of the examples.
//!
//! The lock file names versions and digests and no addresses, so that npm asks whichever registry the machine uses. It
//! leaves out msgpackr's optional native part, which would be compiled or fetched for each platform: BullMQ only packs
//! with that library, which the native part does not speed up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::step;
use crate::workspace::Workspace;

/// Says for which lock file `node_modules` was installed.
const STAMP: &str = "node_modules/.jobcell-lock";

/// Where the peers are installed.
pub(crate) fn peers(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests").join("interop")
}

/// Where the packages of the examples are installed.
pub(crate) fn examples(workspace: &Workspace) -> PathBuf {
    workspace.root.join("examples")
}

/// Installs the peers, unless exactly these are there.
///
/// # Errors
/// When npm fails.
pub(crate) fn ensure_peers(workspace: &Workspace) -> anyhow::Result<()> {
    ensure(&peers(workspace), "installing the BullMQ peers with npm")
}

/// Installs what the examples need, unless exactly that is there.
///
/// # Errors
/// When npm fails.
pub(crate) fn ensure_examples(workspace: &Workspace) -> anyhow::Result<()> {
    ensure(&examples(workspace), "installing the examples' packages with npm")
}

fn ensure(folder: &Path, title: &str) -> anyhow::Result<()> {
    let wanted = fingerprint(folder)?;
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut install = Command::new("npm");
    install.current_dir(folder).args(["ci", "--no-audit", "--no-fund", "--prefer-offline"]);
    step::run(title, &mut install)?;
    fs::write(folder.join(STAMP), wanted).context("noting which Node packages are installed")
}

fn fingerprint(folder: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for name in ["package.json", "package-lock.json"] {
        let path = folder.join(name);
        hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(hex::encode(hash.finalize()))
}
