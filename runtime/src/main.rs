//! The `jobcell` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobcell::cli::main()
}
