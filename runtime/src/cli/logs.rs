//! The program's own log, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::args::Global;
use crate::config::{Environment, LogFormat};

/// Starts logging. `RUST_LOG` wins over `-v` and `-q`; without any, a host tells what it does and other commands only
/// what goes wrong.
pub(super) fn start(global: &Global, environment: &Environment, format: LogFormat, is_host: bool) {
    let filter = environment.get("RUST_LOG").map_or_else(
        || EnvFilter::new(level(global, is_host)),
        // A typing error in the variable must not keep a host from starting.
        |directives| EnvFilter::builder().parse_lossy(directives),
    );
    let colours = std::io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only when the embedding program logs already, and then its way stands.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(colours).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Everything of ours at the level (`jobcell` begins the name of each of our crates); what others say only when loud.
fn level(global: &Global, is_host: bool) -> &'static str {
    match (global.quiet, global.verbose, is_host) {
        (true, _, _) => "error",
        (false, 0, false) => "warn",
        (false, 0, true) | (false, 1, false) => "warn,jobcell=info",
        (false, 1, true) | (false, 2, false) => "info,jobcell=debug",
        // The compiler tells every instruction it makes: gigabytes, and none of it about jobs.
        (false, _, _) => "trace,cranelift=info,regalloc2=info,wasmtime=info",
    }
}
