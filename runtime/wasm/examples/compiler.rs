//! A program that is a compiler and nothing else, for a host that cannot be started as one itself:
//! `CompilerProcess { program: Some(path), .. }` names it.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobcell_wasm::compiler_entry();
    eprintln!("this program is started by a job host, to compile one handler");
    ExitCode::FAILURE
}
