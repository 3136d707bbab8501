//! Where things are, and how they are built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::step;

/// Folders whose packages are guests: every package directly inside that is a library for others to load is built for
/// the cell. A package that only carries guests is not.
const GUEST_FOLDERS: [&str; 4] = ["plugins", "examples", "examples/studio", "tests/guests"];

/// The checkout this program was built from.
pub(crate) struct Workspace {
    /// Its folder.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// # Errors
    /// When this program was copied out of its target folder.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = own.parent().context("xtask's folder has no parent")?.to_owned();
        // `<target>/debug/xtask`: holds wherever CARGO_TARGET_DIR or a cargo setting put it.
        let program = std::env::current_exe().context("finding this program")?;
        let target = program
            .ancestors()
            .nth(2)
            .context("this program is not in a target folder; run it as `cargo xtask`")?;
        Ok(Self { target: target.to_owned(), root })
    }

    /// `cargo <verb>`, with the lock file taken as it is.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.arg(verb).arg("--locked").current_dir(&self.root);
        // Set for this program by `cargo run`; a build script that sees them would be rebuilt for nothing.
        for variable in std::env::vars_os().map(|(name, _)| name) {
            if variable.to_string_lossy().starts_with("CARGO_PKG_") || variable == "CARGO_MANIFEST_DIR" {
                command.env_remove(variable);
            }
        }
        command
    }

    /// The names of the examples, in order.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub(crate) fn examples(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.root.join("examples");
        let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.path().join("story.mjs").is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where the guests' components are, one `.wasm` each.
    pub(crate) fn guests(&self) -> PathBuf {
        self.target.join("wasm32-wasip2").join("guest")
    }

    /// The component of the guest whose library is called `name`.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        self.guests().join(format!("{name}.wasm"))
    }

    /// The host's program as [`Self::build_host`] makes it.
    pub(crate) fn host(&self) -> PathBuf {
        self.target.join("debug").join(format!("jobcell{}", std::env::consts::EXE_SUFFIX))
    }

    /// The host's program as [`Self::build_release_host`] makes it.
    pub(crate) fn release_host(&self) -> PathBuf {
        self.target.join("release").join(format!("jobcell{}", std::env::consts::EXE_SUFFIX))
    }

    /// The program that speaks for BullMQ's Rust client, as [`Self::build_rust_peer`] makes it.
    pub(crate) fn rust_peer(&self) -> PathBuf {
        self.target.join("debug").join(format!("bullmq-agent{}", std::env::consts::EXE_SUFFIX))
    }

    /// Builds BullMQ's Rust client for the tests: alone, so that the features it wants of shared dependencies are not
    /// those of the host under test.
    ///
    /// # Errors
    /// When it does not build.
    pub(crate) fn build_rust_peer(&self) -> anyhow::Result<()> {
        let mut command = self.cargo("build");
        command.args(["--package", "jobcell-tests", "--features", "rust-client", "--bin", "bullmq-agent"]);
        step::run("building the BullMQ peer in Rust", &mut command)
    }

    /// Builds every guest: the handlers in `plugins` and `examples`, and the ones that tests use.
    ///
    /// # Errors
    /// When one does not build.
    pub(crate) fn build_guests(&self) -> anyhow::Result<()> {
        let mut command = self.cargo("build");
        command.args(["--target", "wasm32-wasip2", "--profile", "guest"]);
        for folder in GUEST_FOLDERS {
            for package in packages(&self.root.join(folder))? {
                command.args(["--package", &package]);
            }
        }
        step::run("building the handlers for the cell (wasm32-wasip2)", &mut command)
    }

    /// Builds the host for development, and the program that makes the demo's photograph.
    ///
    /// One selection over the whole workspace, with an example in it: cargo then settles the features of all
    /// dependencies as it does for `cargo test --workspace`, and the demo and the tests share what they compile.
    ///
    /// # Errors
    /// When it does not build.
    pub(crate) fn build_host(&self) -> anyhow::Result<()> {
        let mut command = self.cargo("build");
        command.args(["--workspace", "--bin", "jobcell", "--example", "make_photo"]);
        step::run("building the host (the first time takes some minutes)", &mut command)
    }

    /// The program that makes the demo's photograph.
    pub(crate) fn make_photo(&self) -> PathBuf {
        self.target.join("debug").join("examples").join(format!("make_photo{}", std::env::consts::EXE_SUFFIX))
    }

    /// Builds the host for measuring.
    ///
    /// # Errors
    /// When it does not build.
    pub(crate) fn build_release_host(&self) -> anyhow::Result<()> {
        let mut command = self.cargo("build");
        command.args(["--release", "--package", "jobcell", "--bin", "jobcell"]);
        step::run("building the host for measuring (release)", &mut command)
    }
}

/// Names of the guests' packages directly inside a folder, in order.
fn packages(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() && is_guest(&manifest)? {
            names.push(package_name(&manifest)?);
        }
    }
    names.sort();
    Ok(names)
}

fn is_guest(manifest: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(manifest).with_context(|| format!("reading {}", manifest.display()))?;
    Ok(text.lines().any(|line| line.starts_with("crate-type") && line.contains("cdylib")))
}

/// Reads `name` under `[package]`; enough of TOML for our own manifests, which a full parser would not pay for.
fn package_name(manifest: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(manifest).with_context(|| format!("reading {}", manifest.display()))?;
    let in_package = text.lines().skip_while(|line| line.trim() != "[package]").skip(1);
    for line in in_package.take_while(|line| !line.trim_start().starts_with('[')) {
        if let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            return Ok(value.trim().trim_matches('"').to_owned());
        }
    }
    bail!("{}: no `name` under [package]", manifest.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_folder_has_packages_with_names() {
        let workspace = Workspace::find().unwrap();
        let plugins = packages(&workspace.root.join("plugins")).unwrap();
        assert!(plugins.contains(&"jobcell-plugin-payment".to_owned()), "{plugins:?}");
        let guests = packages(&workspace.root.join("tests/guests")).unwrap();
        assert!(guests.contains(&"jobcell-guest-basic".to_owned()), "{guests:?}");
        // It carries guests, and is a part of the host.
        assert!(!guests.contains(&"jobcell-hostile".to_owned()), "{guests:?}");
    }
}
