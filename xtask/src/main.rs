//! The commands of the README: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`, `cargo xtask fuzz`.
//!
//! Each first makes sure that the machine has what it needs ([`machine`]), then builds ([`workspace`]), then runs.
//! Whatever is already there is left alone, so a second run needs no network.

mod bench;
mod demo;
mod example;
mod fuzz;
mod machine;
mod npm;
mod parity;
mod picture;
mod programs;
mod python;
mod step;
mod storage;
mod suites;
mod workspace;

use std::process::ExitCode;

use anyhow::bail;

use workspace::Workspace;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  demo  [--serve] [--redis URL]    build everything and run the donation flow, job by job
        --serve                    leave the host running afterwards and print its address
        --redis URL                use this Redis instead of the embedded store
  example NAME [--serve]           build everything and run an example: campaigns, content-backend, donations, studio,
                                   tenant-jobs
        --serve                    leave its host running afterwards and print the address
  test  [FILTER] [-- ARGS]         run every suite; FILTER and ARGS go to the test programs
  bench [NAME…] [--rounds N] [--jobs N]
                                   measure side by side with the peers; names: cell, throughput, latency, memory
  fuzz  [TARGET] [--seconds N] [--keep]
                                   look for inputs that break a promise, each target for N seconds [default: 60]
        --keep                     keep in fuzz/corpus what reaches more code than what is there
  parity                           compare docs/bullmq.md with what the last whole test run showed; JOBCELL_BLESS=1
                                   writes it
  picture                          take the picture of the dashboard in docs anew
  guests                           build the handlers and test guests only
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let Some((command, rest)) = args.split_first() else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    if matches!(command.as_str(), "-h" | "--help" | "help") || rest.iter().any(|arg| arg == "--help") {
        print!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match command.as_str() {
        "demo" => demo::run(&workspace, &demo::Options::parse(rest)?),
        "example" => example::run(&workspace, rest),
        "test" => suites::run(&workspace, rest),
        "bench" => bench::run(&workspace, rest),
        "fuzz" => fuzz::run(&workspace, rest),
        "parity" => {
            parity::check(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
        "picture" => picture::run(&workspace),
        "guests" => {
            machine::ensure(&[machine::WASM_TARGET])?;
            workspace.build_guests()?;
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no command `{other}`\n\n{USAGE}"),
    }
}
