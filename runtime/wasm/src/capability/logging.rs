//! `wasi:logging/logging`: lines for the job's log. Always linked.

use jobcell_core::HostCall;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::cell::Cell;

/// The version in use.
pub(crate) const VERSION: &str = "0.1.0-draft";

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "values are only made by reading them out of a guest")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

pub(super) fn add_to_linker(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    linker.instance(&format!("wasi:logging/logging@{VERSION}"))?.func_wrap(
        "log",
        |mut cx: wasmtime::StoreContextMut<'_, Cell>, (level, context, message): (Level, String, String)| {
            let cell = cx.data_mut();
            cell.called(HostCall::Logging);
            let level = name(level);
            let start = if context.is_empty() { format!("{level} ") } else { format!("{level} {context}: ") };
            cell.log_lines(&start, &message);
            Ok(())
        },
    )
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}
