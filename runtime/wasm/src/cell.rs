//! One cell: the state of a store that lives as long as one attempt.
//!
//! What every attempt shares lives in the [`Template`]; here is only what differs, and what costs something is made
//! when the guest first asks for it.

use std::sync::Arc;

use jobcell_core::event::Event;
use jobcell_core::{Attempt, StopCause};
use tokio::time::Instant;
use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::http::hooks::Http;
use crate::limits::{Meter, RANDOM_BYTES_MAX, RESOURCES_MAX};
use crate::stdio::Console;
use crate::stop::Stop;
use crate::template::Template;
use crate::world::jobcell::job::types::Error;

/// The state of one attempt in its cell.
pub(crate) struct Cell {
    pub(crate) template: Arc<Template>,
    pub(crate) attempt: Attempt,
    pub(crate) meter: Meter,
    /// When the attempt began and when it must end.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) host_calls: u64,
    /// Jobs enqueued and messages published so far.
    pub(crate) enqueued: u32,
    pub(crate) published: u32,
    table: ResourceTable,
    wasi: Option<Box<Wasi>>,
    http: Option<Box<Http>>,
}

/// Lines of one text that become lines of the log; what is left is one more. More than a log takes anyway, and a
/// megabyte of newlines must not keep the thread busy.
const LINES_MAX: usize = 1000;

struct Wasi {
    ctx: WasiCtx,
    console: Arc<Console>,
}

// === impl Cell ===

impl Cell {
    pub(crate) fn new(template: Arc<Template>, attempt: Attempt, started: Instant) -> Self {
        let limits = template.limits();
        let deadline = attempt.deadline.min(started + limits.deadline);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            meter: Meter::new(limits),
            template,
            attempt,
            started,
            deadline,
            host_calls: 0,
            enqueued: 0,
            published: 0,
            table,
            wasi: None,
            http: None,
        }
    }

    /// Called at every tick of a computing guest: may it go on?
    pub(crate) fn pulse(&self) -> wasmtime::Result<UpdateDeadline> {
        if self.attempt.cancel.is_cancelled() {
            return Err(self.asked().into());
        }
        if Instant::now() >= self.deadline {
            return Err(self.overdue("computing").into());
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }

    /// The stop for a deadline that passed.
    pub(crate) fn overdue(&self, doing: &'static str) -> Stop {
        Stop::Deadline { after: self.deadline.saturating_duration_since(self.started), doing }
    }

    /// The stop for a cancellation.
    pub(crate) fn asked(&self) -> Stop {
        Stop::Asked(self.attempt.io.stop_cause().unwrap_or(StopCause::Cancelled))
    }

    /// Adds a text to the job's log, a line for each of its lines.
    pub(crate) fn log_lines(&self, start: &str, text: &str) {
        let io = &self.attempt.io;
        let add =
            |line: &str| if start.is_empty() { io.log(line) } else { io.log(&format!("{start}{line}")) };
        let mut rest = text;
        for _ in 0..LINES_MAX {
            let Some((line, after)) = rest.split_once('\n') else { break };
            add(line);
            rest = after;
        }
        if !rest.is_empty() || text.is_empty() {
            add(rest);
        }
    }

    /// Refuses a host call for want of a grant, and tells the host's observers.
    pub(crate) fn denied(&self, capability: &'static str, what: &str, grant: &str) -> Error {
        let handler = self.template.name();
        self.template.services().observer.on(&Event::Denied { handler: handler.to_owned(), capability });
        Error::Denied(format!("{what} is not granted; add it to `{grant}` under [handlers.{handler}.grants]"))
    }

    /// Logs what the guest printed last, and returns the end of its stderr.
    pub(crate) fn finish_output(&self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.console.finish()).unwrap_or_default()
    }
}

impl WasiView for Cell {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.host_calls += 1;
        let io = &self.attempt.io;
        let wasi = self.wasi.get_or_insert_with(|| {
            let console = Console::new(Arc::clone(io));
            // No arguments, environment, folders or network: WASI's builder grants none by itself.
            let ctx = WasiCtx::builder()
                .stdout(console.stdout())
                .stderr(console.stderr())
                .max_random_size(RANDOM_BYTES_MAX)
                .build();
            Box::new(Wasi { ctx, console })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Cell {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.host_calls += 1;
        let Self { template, attempt, deadline, table, http, .. } = self;
        let http = http.get_or_insert_with(|| Box::new(Http::new(template, attempt, *deadline)));
        let (ctx, hooks) = http.split();
        WasiHttpCtxView { hooks, table, ctx }
    }
}
