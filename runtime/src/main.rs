//! The `jobcell` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: this may be a process that a host started to compile a handler.
    jobcell::compiler_entry();
    jobcell::cli::main()
}
