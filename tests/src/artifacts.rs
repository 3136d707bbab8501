//! The programs and components under test.
//!
//! `cargo xtask test` builds them and says where they are (`JOBCELL_BIN`, `JOBCELL_GUESTS`, `JOBCELL_INTEROP`,
//! `JOBCELL_PYTHON`, `JOBCELL_RUST_AGENT`, `JOBCELL_STORAGE`).
//! Otherwise they are built here, once for the whole test program: the build takes as long as the sources changed,
//! and never is a stale program tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `jobcell` program.
pub fn host() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| {
        from_environment("JOBCELL_BIN").unwrap_or_else(|| {
            // The selection of `cargo xtask test`, so that both compile the same things.
            build(&["build", "--workspace", "--bin", "jobcell", "--example", "make_photo"]);
            target().join("debug").join(format!("jobcell{}", std::env::consts::EXE_SUFFIX))
        })
    })
}

/// An example of the package `jobcell`. `cargo test --workspace` builds examples and runs none.
///
/// # Panics
/// When it does not build.
pub fn example(name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    // Beside the program that was built together with it.
    let built = from_environment("JOBCELL_BIN").map(|host| host.with_file_name("examples").join(&file));
    built.filter(|example| example.is_file()).unwrap_or_else(|| {
        build(&["build", "--workspace", "--example", name]);
        target().join("debug").join("examples").join(&file)
    })
}

/// The component of the guest whose library is called `name`, such as `basic` or `media`.
///
/// # Panics
/// When there is no such guest.
pub fn guest(name: &str) -> PathBuf {
    static GUESTS: OnceLock<PathBuf> = OnceLock::new();
    let folder = GUESTS.get_or_init(|| {
        from_environment("JOBCELL_GUESTS").unwrap_or_else(|| {
            let mut args = vec!["build", "--target", "wasm32-wasip2", "--profile", "guest"];
            for package in [
                "jobcell-guest-basic",
                "jobcell-guest-capable",
                "jobcell-guest-settings",
                "jobcell-example-campaigns",
                "jobcell-example-content-backend",
                "jobcell-example-donations",
                "jobcell-example-studio",
                "jobcell-example-studio-moderation",
                "jobcell-example-tenant-jobs",
                "jobcell-plugin-media",
                "jobcell-plugin-notification",
                "jobcell-plugin-payment",
            ] {
                args.extend(["--package", package]);
            }
            build(&args);
            target().join("wasm32-wasip2").join("guest")
        })
    });
    let file = folder.join(format!("{name}.wasm"));
    assert!(file.is_file(), "no guest {}; build it with `cargo xtask guests`", file.display());
    file
}

/// The folder with the Node scripts and, in `node_modules`, the real BullMQ.
///
/// # Panics
/// When its packages are not installed: a suite that skipped itself would pass without a test.
pub fn interop() -> PathBuf {
    let folder = from_environment("JOBCELL_INTEROP")
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("interop"));
    assert!(
        folder.join("node_modules").is_dir(),
        "no node_modules in {}; install them with `npm ci` there, or run `cargo xtask test`",
        folder.display()
    );
    folder
}

/// The Python in whose environment the `bullmq` package is.
///
/// # Panics
/// When that is not set up: a suite that skipped itself would pass without a test.
pub fn python() -> PathBuf {
    let python = from_environment("JOBCELL_PYTHON").unwrap_or_else(|| target().join("python/bin/python"));
    assert!(python.is_file(), "no Python with BullMQ at {}; `cargo xtask test` sets it up", python.display());
    python
}

/// The program that speaks for the Rust client.
pub fn rust_agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        from_environment("JOBCELL_RUST_AGENT").unwrap_or_else(|| {
            build(&[
                "build",
                "--package",
                "jobcell-tests",
                "--features",
                "rust-client",
                "--bin",
                "bullmq-agent",
            ]);
            target().join("debug").join(format!("bullmq-agent{}", std::env::consts::EXE_SUFFIX))
        })
    })
}

/// The S3-compatible storage.
///
/// # Panics
/// When it is not installed: a suite that skipped itself would pass without a test.
pub fn storage() -> PathBuf {
    let storage = from_environment("JOBCELL_STORAGE").unwrap_or_else(|| target().join("storage/bin/s3s-fs"));
    assert!(storage.is_file(), "no storage at {}; `cargo xtask test` installs it", storage.display());
    storage
}

/// A folder that outlives a test, for what is costly to make and the same every time: compiled components.
pub fn cache() -> PathBuf {
    target().join("tmp").join("jobcell-tests-cache")
}

fn from_environment(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    assert!(path.exists(), "{variable} is {}, which does not exist", path.display());
    Some(path)
}

/// Cargo's target folder: the test program is `<target>/debug/deps/<name>`.
///
/// # Panics
/// When the test program is somewhere else.
#[must_use]
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("the test program's own path");
    program.ancestors().nth(3).expect("a test program in a target folder").to_owned()
}

fn build(args: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root).env("CARGO_TARGET_DIR", target());
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "{command:?} failed: {status}");
}
