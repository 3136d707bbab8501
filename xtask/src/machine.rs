//! What the machine must have, and getting what is missing.
//!
//! Something that is present is never touched. What is missing comes from rustup or from the platform's package
//! manager; where neither can help, the message says exactly what to install.

mod packages;
mod version;

use std::process::Command;

use anyhow::bail;

use packages::Manager;
use version::Version;

use crate::step;

/// Something a command needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// The standard library for a compilation target.
    Target(&'static str),
    /// A program.
    Program(&'static Program),
}

/// A program, how new it must be, and who has it.
#[derive(Debug)]
pub(crate) struct Program {
    /// What it is called in messages.
    name: &'static str,
    /// As one types it.
    command: &'static str,
    /// What makes it print its version, and fail where a part of it is missing.
    probe: &'static [&'static str],
    /// The oldest that does, and what asks for it.
    at_least: Option<(Version, &'static str)>,
    /// Package that brings it, by manager.
    apt: &'static str,
    brew: &'static str,
    dnf: &'static str,
}

const VERSION: &[&str] = &["--version"];

/// What handlers are compiled for.
pub(crate) const WASM_TARGET: Need = Need::Target("wasm32-wasip2");

/// The store of the tests and of the measurements.
pub(crate) const REDIS: Need = Need::Program(&Program {
    name: "redis-server",
    command: "redis-server",
    probe: VERSION,
    at_least: Some((Version(6, 2), "BullMQ")),
    apt: "redis-server",
    brew: "redis",
    dnf: "redis",
});

/// Where handlers come from in the tests of registries. Elsewhere than on Debian the program is called `registry`.
pub(crate) const REGISTRY: Need = Need::Program(&Program {
    name: "docker-registry",
    command: "docker-registry",
    probe: VERSION,
    at_least: None,
    apt: "docker-registry",
    brew: "docker-registry",
    dnf: "docker-distribution",
});

/// Runs the BullMQ peers.
pub(crate) const NODE: Need = Need::Program(&Program {
    name: "node",
    command: "node",
    probe: VERSION,
    at_least: Some((Version(18, 0), "BullMQ")),
    apt: "nodejs",
    brew: "node",
    dnf: "nodejs",
});

/// Installs the BullMQ peers.
pub(crate) const NPM: Need = Need::Program(&Program {
    name: "npm",
    command: "npm",
    probe: VERSION,
    at_least: None,
    apt: "npm",
    brew: "node",
    dnf: "nodejs-npm",
});

/// Runs BullMQ's Python client, and makes the environment it is installed in. Debian has that part in a package of its
/// own.
pub(crate) const PYTHON: Need = Need::Program(&Program {
    name: "python3 with its venv",
    command: "python3",
    probe: &["-c", "import ensurepip, platform, venv; print(platform.python_version())"],
    at_least: Some((Version(3, 10), "BullMQ")),
    apt: "python3-venv",
    brew: "python",
    dnf: "python3",
});

/// Shows the dashboard's pages. Other systems' packages of it have other names on the PATH.
pub(crate) const CHROMIUM: Need = Need::Program(&Program {
    name: "chromium",
    command: "chromium",
    probe: VERSION,
    at_least: Some((Version(114, 0), "the dashboard, which uses popovers,")),
    apt: "chromium",
    brew: "chromium",
    dnf: "chromium",
});

/// Gets whatever of this is missing.
///
/// # Errors
/// Names everything that is still missing, and the command that would install it.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let mut programs = Vec::new();
    for need in needs {
        match need {
            Need::Target(target) => ensure_target(target)?,
            Need::Program(program) => {
                if let Some(lack) = program.lack() {
                    println!("▸ {lack}");
                    programs.push(*program);
                }
            }
        }
    }
    if programs.is_empty() {
        return Ok(());
    }
    let Some(manager) = Manager::find() else {
        bail!(
            "{}\nno package manager that is known here (apt-get, brew, dnf) was found: install {} and run this again",
            lacks(&programs),
            programs.iter().map(|program| program.wanted()).collect::<Vec<_>>().join(", ")
        );
    };
    manager.install(&programs)?;
    programs.retain(|program| program.lack().is_some());
    if !programs.is_empty() {
        bail!(
            "{}\n{} was not enough: install {} from another source, put it on the PATH, and run this again",
            lacks(&programs),
            manager.name(),
            programs.iter().map(|program| program.wanted()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

fn lacks(programs: &[&Program]) -> String {
    programs.iter().filter_map(|program| program.lack()).collect::<Vec<_>>().join("\n")
}

fn ensure_target(target: &str) -> anyhow::Result<()> {
    if has_target(target) {
        return Ok(());
    }
    if output("rustup", &["--version"]).is_none() {
        bail!(
            "Rust's standard library for {target} is missing and there is no rustup to add it: \
             install Rust through rustup, or your distribution's package of it for {target}"
        );
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", target]);
    step::run(&format!("adding Rust's standard library for {target}"), &mut add)?;
    if !has_target(target) {
        bail!(
            "rustup added {target}, but the compiler in use does not have it; \
             `rustc --print sysroot` must be a toolchain of rustup's"
        );
    }
    Ok(())
}

fn has_target(target: &str) -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let folder = output(&rustc, &["--print", "target-libdir", "--target", target]);
    folder.is_some_and(|folder| {
        std::fs::read_dir(folder.trim()).is_ok_and(|mut entries| entries.next().is_some())
    })
}

/// What the program prints on stdout, if it can be started and succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

// === impl Program ===

impl Program {
    /// What is wrong, or `None` when the program is there and new enough.
    fn lack(&self) -> Option<String> {
        let Self { name, command, probe, .. } = self;
        let Some(text) = output(command, probe) else {
            return Some(format!("{name} is missing"));
        };
        let (least, who) = self.at_least?;
        match Version::find(&text) {
            Some(found) if found >= least => None,
            Some(found) => Some(format!("{name} is {found}, but {who} needs {least} or newer")),
            None => Some(format!(
                "{command} {} says {:?}, which has no version in it",
                probe.join(" "),
                text.trim()
            )),
        }
    }

    /// `node (18.0 or newer)`.
    fn wanted(&self) -> String {
        match self.at_least {
            Some((least, _)) => format!("{} ({least} or newer)", self.name),
            None => self.name.to_owned(),
        }
    }
}
