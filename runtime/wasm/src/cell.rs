//! One cell: the state of a store that lives as long as one attempt.
//!
//! What every attempt shares lives in the [`Template`]; here is only what differs, and what costs something is made
//! when the guest first asks for it.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::effects::Tape;
use jobcell_core::event::Event;
use jobcell_core::trace::Note;
use jobcell_core::{Attempt, HostCall, Outcome, Receipt, StopCause};
use rand::RngExt;
use tokio::time::Instant;
use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::clock::{CoarseClock, CoarseTime};
use crate::cpu;
use crate::effect::clock::{self, Random, Taped};
use crate::http::hooks::Http;
use crate::limits::Meter;
use crate::runner::{micros, millis};
use crate::stdio::Console;
use crate::stop::Stop;
use crate::template::Template;
use crate::usage::{Budget, Usage};
use crate::world::jobcell::job::types::Error;

/// The state of one attempt in its cell.
pub(crate) struct Cell {
    pub(crate) template: Arc<Template>,
    pub(crate) attempt: Attempt,
    pub(crate) meter: Meter,
    /// When the attempt began and when it must end.
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) usage: Usage,
    /// Records the effects, or answers them.
    pub(crate) tape: Option<Tape>,
    /// It has given its turn away, and was not asked since.
    has_yielded: bool,
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
    pub(crate) fn new(
        template: Arc<Template>,
        attempt: Attempt,
        tape: Option<Tape>,
        started: Instant,
    ) -> Self {
        let limits = template.limits();
        let deadline = attempt.deadline.min(started + limits.deadline);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            meter: Meter::new(limits),
            template,
            attempt,
            started,
            deadline,
            usage: Usage::default(),
            tape,
            has_yielded: false,
            table,
            wasi: None,
            http: None,
        }
    }

    /// What the host made for the guest and the guest holds by handles.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Counts a call of the guest into the host.
    pub(crate) fn called(&mut self, kind: HostCall) {
        self.usage.called(kind);
        // Those that a trace has nothing to say of come by the million.
        if !matches!(kind, HostCall::Wasi | HostCall::Http | HostCall::Context | HostCall::Logging) {
            self.attempt.io.note(Note::Call(kind));
        }
    }

    /// Whether one value keeps to its limit, which is called as in the configuration. A refusal goes into the receipt.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) fn within(&mut self, key: &'static str, size: usize, limit: usize) -> Result<(), Error> {
        if size <= limit {
            return Ok(());
        }
        self.usage.refuse(key, size as u64, limit as u64);
        Err(Error::TooLarge(limit as u64))
    }

    /// Takes so much from a budget of the attempt. A refusal goes into the receipt.
    ///
    /// # Errors
    /// [`Error::Quota`] when so much is not left; nothing is taken then.
    pub(crate) fn spend(&mut self, budget: Budget, amount: u64) -> Result<(), Error> {
        self.usage.spend(budget, amount, self.template.limits())
    }

    /// Called at every tick of a computing guest, and again when its turn comes round: may it go on? Where many compute,
    /// turns are far between, and one that is overdue by then must not have a whole one more.
    pub(crate) fn pulse(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.attempt.cancel.is_cancelled() {
            return Err(self.asked().into());
        }
        if Instant::now() >= self.deadline {
            return Err(self.overdue("computing").into());
        }
        let limit = self.template.limits().cpu;
        if cpu::used() >= limit {
            return Err(Stop::Cpu { limit }.into());
        }
        self.has_yielded = !self.has_yielded;
        Ok(if self.has_yielded {
            // With no tick to go it is asked again as soon as it goes on.
            UpdateDeadline::YieldCustom(0, Box::pin(tokio::task::yield_now()))
        } else {
            UpdateDeadline::Continue(1)
        })
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
        self.tell_denied(capability);
        let handler = self.template.name();
        Error::Denied(format!("{what} is not granted; add it to `{grant}` under [handlers.{handler}.grants]"))
    }

    /// Tells the host's observers of a refusal.
    pub(crate) fn tell_denied(&self, capability: &'static str) {
        self.attempt.io.note(Note::Denied(capability));
        let handler = self.template.name().to_owned();
        self.template.services().observer.on(&Event::Denied { handler, capability });
    }

    /// What the attempt cost, but for the times that only its end shows.
    pub(crate) fn receipt(&self, start: Duration, outcome: &Outcome) -> Receipt {
        let (limits, logged) = (self.template.limits(), self.attempt.io.logged());
        let mut receipt = Receipt {
            start_us: micros(start),
            memory_peak_bytes: self.meter.peak() as u64,
            host_calls: self.usage.calls(),
            near: self.usage.refused().to_vec(),
            log_bytes: logged.bytes as u64,
            log_bytes_dropped: logged.bytes_dropped as u64,
            log_lines_dropped: logged.lines_dropped as u64,
            stopped_by: outcome.stopped_by(),
            ..Receipt::default()
        };
        if let Outcome::Complete(result) = outcome {
            receipt.note("result", result.len() as u64, limits.result as u64);
        }
        let sizes = [
            ("memory", self.meter.peak(), limits.memory),
            ("table-elements", self.meter.largest_table(), limits.table_elements),
            ("payload", self.attempt.job.data.len(), limits.payload),
            ("log", logged.bytes, logged.bytes_max),
            ("log-lines", logged.lines, logged.lines_max),
        ];
        for (key, used, of) in sizes {
            receipt.note(key, used as u64, of as u64);
        }
        for (key, used, of) in self.usage.budgets(limits) {
            receipt.note(key, used, of);
        }
        let allowed = self.deadline.saturating_duration_since(self.started);
        receipt.note("deadline", millis(self.started.elapsed()), millis(allowed));
        if let Some(http) = &self.http {
            http.write_receipt(&mut receipt);
        }
        receipt
    }

    /// Logs what the guest printed last, and returns the end of its stderr.
    pub(crate) fn finish_output(&self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.console.finish()).unwrap_or_default()
    }
}

impl WasiView for Cell {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.called(HostCall::Wasi);
        let (io, random, tape) = (&self.attempt.io, self.template.limits().random, &self.tape);
        let wasi = self.wasi.get_or_insert_with(|| {
            let console = Console::new(Arc::clone(io));
            // No arguments, environment, folders or network: WASI's builder grants none by itself.
            let mut builder = WasiCtx::builder();
            builder.stdout(console.stdout()).stderr(console.stderr()).max_random_size(random);
            match tape {
                None => builder.monotonic_clock(CoarseClock::start()).wall_clock(CoarseTime),
                Some(tape) => {
                    let seed = clock::seed(tape);
                    builder
                        .monotonic_clock(Taped::new(CoarseClock::start(), tape))
                        .wall_clock(Taped::new(CoarseTime, tape))
                        .secure_random(clock::random(seed, Random::Secure))
                        .insecure_random(clock::random(seed, Random::Insecure))
                        .insecure_random_seed(clock::random(seed, Random::Seed).random())
                }
            };
            Box::new(Wasi { ctx: builder.build(), console })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Cell {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.called(HostCall::Http);
        let Self { template, attempt, deadline, tape, table, http, .. } = self;
        let http =
            http.get_or_insert_with(|| Box::new(Http::new(template, attempt, tape.as_ref(), *deadline)));
        let (ctx, hooks) = http.split();
        WasiHttpCtxView { hooks, table, ctx }
    }
}
