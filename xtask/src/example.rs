//! `cargo xtask example NAME`: builds what an example needs and lets it tell its story.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::workspace::Workspace;
use crate::{machine, npm, storage};

/// Runs the example that the arguments name; `--serve` leaves its host running afterwards.
///
/// # Errors
/// When there is no such example, or something that it needs cannot be had.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> anyhow::Result<ExitCode> {
    let known = workspace.examples()?;
    let (flags, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with("--"));
    let [name] = names[..] else {
        bail!("which example? One of: {}", known.join(", "));
    };
    if !known.contains(name) {
        bail!("there is no example {name:?}; there are: {}", known.join(", "));
    }
    if let Some(flag) = flags.iter().find(|flag| **flag != "--serve") {
        bail!("example does not know {flag:?}; it takes --serve");
    }
    machine::ensure(&[machine::WASM_TARGET, machine::REDIS, machine::NODE, machine::NPM])?;
    npm::ensure_examples(workspace)?;
    storage::ensure(workspace)?;
    workspace.build_guests()?;
    workspace.build_host()?;
    let mut story = Command::new("node");
    story
        .arg(npm::examples(workspace).join("stage").join("run.mjs"))
        .arg(name)
        .arg("--folder")
        .arg(workspace.target.join("examples").join(name))
        .args(flags)
        .env("JOBCELL_BIN", workspace.host())
        .env("JOBCELL_PHOTO", workspace.make_photo())
        .env("JOBCELL_GUESTS", workspace.guests())
        .env("JOBCELL_STORAGE", storage::program(workspace));
    let status = story.status().context("starting node")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::USAGE;

    /// Folders beside the examples: what they share.
    const SHARED: [&str; 2] = ["stage", "node_modules"];

    #[test]
    fn every_example_is_told_of_wherever_a_reader_looks() {
        let workspace = Workspace::find().unwrap();
        let read = |path: &str| fs::read_to_string(workspace.root.join(path)).unwrap_or_default();
        let (members, suite) = (read("Cargo.toml"), read("tests/suites/examples.rs"));
        let (guide, readme) = (read("docs/examples.md"), read("README.md"));
        let mut missing = Vec::new();
        for entry in fs::read_dir(workspace.root.join("examples")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !entry.path().is_dir() || SHARED.contains(&&*name) {
                continue;
            }
            let own = |file: &str| read(&format!("examples/{name}/{file}"));
            let page = own("README.md");
            let command = format!("cargo xtask example {name}");
            let link = format!("examples/{name}/README.md)");
            for (is_there, place) in [
                (!own("story.mjs").is_empty(), "story.mjs"),
                (!own("jobcell.toml").is_empty(), "jobcell.toml"),
                (page.contains(&command), "its command in its README.md"),
                (page.contains("\n   ✔ "), "what it prints in its README.md"),
                (members.contains(&format!("\"examples/{name}\"")), "a member in Cargo.toml"),
                (suite.contains(&format!("tells(\"{name}\"")), "a test in tests/suites/examples.rs"),
                (guide.contains(&command) && guide.contains(&link), "its section in docs/examples.md"),
                (readme.contains(&link), "its line in the README.md above"),
                (USAGE.contains(&name), "its name in the usage of xtask"),
            ] {
                if !is_there {
                    missing.push(format!("{name}: {place}"));
                }
            }
        }
        assert!(missing.is_empty(), "missing: {missing:#?}");
        assert!(workspace.examples().unwrap().len() >= 5);
    }

    /// That page is held against what the program says; this one repeats pieces of it.
    #[test]
    fn the_errors_beside_the_examples_are_those_of_the_troubleshooting_page() {
        let workspace = Workspace::find().unwrap();
        let read = |path: &str| fs::read_to_string(workspace.root.join(path)).unwrap();
        let (guide, known) = (read("docs/examples.md"), read("docs/troubleshooting.md"));
        let (_, errors) = guide.split_once("## The errors you know").unwrap();
        let said = errors.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
        let quotes: Vec<&str> = said.flat_map(|said| said.split('`').skip(1).step_by(2)).collect();
        assert!(quotes.len() >= 10, "{quotes:?}");
        for quote in quotes {
            for piece in quote.split('…').map(str::trim) {
                assert!(
                    known.contains(piece),
                    "docs/troubleshooting.md does not know {piece:?} of {quote:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_example_is_answered_with_those_there_are() {
        let workspace = Workspace::find().unwrap();
        for wrong in [&[][..], &["nothing"], &["tenant-jobs", "studio"], &["tenant-jobs", "--fast"]] {
            let args: Vec<String> = wrong.iter().map(|&arg| arg.to_owned()).collect();
            let error = run(&workspace, &args).unwrap_err().to_string();
            let fix = if wrong.contains(&"--fast") { "--serve" } else { "tenant-jobs" };
            assert!(error.contains(fix), "{wrong:?}: {error}");
        }
    }
}
