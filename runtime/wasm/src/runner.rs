//! Runs attempts in cells.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use jobcell_core::attempt::{LogLimits, Redact};
use jobcell_core::effects::Tape;
use jobcell_core::runner::{Receipt, Report};
use jobcell_core::{Attempt, Outcome, Runner, StopCause};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::Store;

use crate::admit::Admitted;
use crate::cell::Cell;
use crate::cpu::Metered;
use crate::engine::{Engine, Tier};
use crate::error::WasmError;
use crate::job;
use crate::services::Services;
use crate::stop::{Circumstances, Phase, Stop, bytes, classify};
use crate::template::{HandlerSpec, Template};
use crate::world::Failure;

/// Runs attempts of one version of a handler, each in a fresh cell. Cheap to clone.
///
/// Cancel safety: dropping the future of [`Runner::run`] ends its cell at once; what the attempt did outside of it, such
/// as a request on its way, may or may not have happened.
#[derive(Clone)]
pub struct HandlerRunner(pub(crate) Arc<Handler>);

/// A version of a handler, on whichever code its attempts run.
pub(crate) struct Handler {
    pub(crate) spec: HandlerSpec,
    pub(crate) version: String,
    /// What new attempts run on. Those that run stay on what they began on.
    pub(crate) template: ArcSwap<Template>,
    /// Cancelled when nobody can run it any more.
    pub(crate) gone: CancellationToken,
    _goes: DropGuard,
}

// === impl HandlerRunner ===

impl HandlerRunner {
    /// Puts an admitted component together with what it may use.
    ///
    /// # Errors
    /// [`WasmError::Handler`] with every fault at once when the spec names stores or secrets that the services lack,
    /// or asks for more than the engine has.
    pub fn new(
        engine: &Engine,
        admitted: &Admitted,
        spec: HandlerSpec,
        services: Services,
    ) -> Result<Self, WasmError> {
        let template = Template::new(engine, admitted, spec.clone(), services)?;
        let gone = CancellationToken::new();
        Ok(Self(Arc::new(Handler {
            spec,
            version: admitted.version().to_owned(),
            template: ArcSwap::from_pointee(template),
            _goes: gone.clone().drop_guard(),
            gone,
        })))
    }

    /// What new attempts run on.
    pub(crate) fn template(&self) -> Arc<Template> {
        self.0.template.load_full()
    }
}

#[async_trait]
impl Runner for HandlerRunner {
    fn handler(&self) -> &str {
        &self.0.spec.name
    }

    fn version(&self) -> &str {
        &self.0.version
    }

    fn deadline(&self) -> Duration {
        self.template().limits().deadline
    }

    fn log_limits(&self) -> LogLimits {
        self.0.spec.limits.log
    }

    async fn run(&self, mut attempt: Attempt) -> Report {
        let (started, template) = (Instant::now(), self.template());
        let tape = attempt.io.take_tape();
        let (size, limit) = (attempt.job.data.len(), template.limits().payload);
        if size > limit {
            let reason =
                format!("the payload of {size} bytes is over the handler's limit of {}", bytes(limit));
            let mut report = not_run(Outcome::stopped(StopCause::Payload, reason), started);
            report.receipt.note("payload", size as u64, limit as u64);
            return report;
        }
        if let Some(Tape::Play(player)) = &tape {
            let Some(_place) = spare_place(&template) else { return not_run(Outcome::Requeue, started) };
            player.begin();
            return run_in_cell(template.sealed(), attempt, tape, started).await;
        }
        let place = tokio::select! {
            biased;
            place = template.engine().cells().acquire() => place,
            // The job has not run, so it has not used an attempt.
            () = tokio::time::sleep_until(attempt.deadline) => return not_run(Outcome::Requeue, started),
            () = attempt.cancel.cancelled() => {
                let cause = attempt.io.stop_cause().unwrap_or(StopCause::Cancelled);
                return not_run(Stop::Asked(cause).outcome(), started);
            }
        };
        let Ok(_place) = place else { return not_run(Outcome::Requeue, started) };
        // There may be better code since it began to wait, and less time with it. The places are those of all pools.
        let template = self.template();
        let (deadline, now) = (started + template.limits().deadline, Instant::now());
        if deadline <= now {
            return not_run(Outcome::Requeue, started);
        }
        if deadline < attempt.deadline {
            let earlier = millis(attempt.deadline - deadline);
            attempt.deadline = deadline;
            attempt.deadline_at = attempt.deadline_at.saturating_sub(earlier);
        }
        run_in_cell(&template, attempt, tape, started).await
    }

    fn plays(&self) -> bool {
        true
    }
}

/// A place for an attempt that nobody waits for: only while a quarter of all places is free, and never by waiting.
fn spare_place(template: &Template) -> Option<tokio::sync::SemaphorePermit<'_>> {
    let engine = template.engine();
    let is_calm = engine.cells().available_permits() > engine.cells_max() / 4;
    if is_calm { engine.cells().try_acquire().ok() } else { None }
}

/// The report of an attempt that got no cell.
fn not_run(outcome: Outcome, started: Instant) -> Report {
    let stopped_by = outcome.stopped_by();
    let receipt = Receipt { wall_us: micros(started.elapsed()), stopped_by, ..Receipt::default() };
    Report { outcome, receipt }
}

/// How the call into the guest ended.
enum Ended {
    /// With an answer, or an error that is to be classified.
    Returned(wasmtime::Result<Result<Vec<u8>, Failure>>),
    /// The host ended it while it waited.
    Stopped(Stop),
    /// The host itself panicked inside; the text is for the operator.
    Panicked(String),
}

/// What is known about a call besides its end, filled in while it runs.
struct Course {
    phase: Phase,
    start: Duration,
    /// Time spent computing.
    computed: Duration,
}

async fn run_in_cell(
    template: &Arc<Template>,
    attempt: Attempt,
    tape: Option<Tape>,
    started: Instant,
) -> Report {
    let cancel = attempt.cancel.clone();
    if let Some(redactor) = template.redactor() {
        let redactor: Arc<dyn Redact> = Arc::clone(redactor) as _;
        attempt.io.redact_with(redactor);
    }
    let mut store = template.store(Cell::new(Arc::clone(template), attempt, tape, started));
    let deadline = store.data().deadline;
    let mut course = Course { phase: Phase::Making, start: Duration::ZERO, computed: Duration::ZERO };
    let mut computed = Duration::ZERO;
    let ended = {
        let inner = std::pin::pin!(call(template, &mut store, &mut course));
        let call = Metered::new(&mut computed, inner);
        // The guest comes first: where it has ended by itself, or its own interrupt has, that says more than a timer.
        // A guest that never waits is done at the first poll, and neither timer nor cancellation costs anything.
        tokio::select! {
            biased;
            ended = AssertUnwindSafe(call).catch_unwind() => Some(ended),
            () = tokio::time::sleep_until(deadline) => None,
            () = cancel.cancelled() => None,
        }
    };
    course.computed = computed;
    let ended = match ended {
        Some(Ok(returned)) => Ended::Returned(returned),
        Some(Err(panic)) => Ended::Panicked(panic_text(&*panic)),
        None if cancel.is_cancelled() => Ended::Stopped(store.data().asked()),
        None => Ended::Stopped(store.data().overdue("waiting in a host call")),
    };
    report(template, store, ended, &course)
}

async fn call(
    template: &Template,
    store: &mut Store<Cell>,
    course: &mut Course,
) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
    let handler = template.pre().instantiate_async(&mut *store).await?;
    course.start = store.data().started.elapsed();
    course.phase = Phase::Running;
    let attempt = store.data().attempt.clone();
    let texts = job::Texts::new(&attempt, &template.services().key_prefix);
    let headers = texts.headers();
    handler.call_handle(&mut *store, texts.job(&attempt, &headers)).await
}

fn report(template: &Template, store: Store<Cell>, ended: Ended, course: &Course) -> Report {
    let cell = store.data();
    let stderr = cell.finish_output();
    let mut outcome = outcome(template, ended, course, &stderr);
    if let Some(redactor) = template.redactor() {
        outcome = redactor.outcome(outcome);
    }
    if let (Outcome::Stopped(stopped), Tier::Baseline) = (&mut outcome, template.tier()) {
        stopped.reason.extend(eased(stopped.cause));
    }
    let mut receipt = cell.receipt(course.start, &outcome);
    let started = cell.started;
    let teardown = Instant::now();
    if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(store))) {
        tracing::error!(
            handler = template.name(),
            panic = panic_text(&*panic),
            "host panic while a cell was torn down"
        );
    }
    let (wall, computed) = (started.elapsed(), course.computed + teardown.elapsed());
    receipt.wall_us = micros(wall);
    receipt.cpu_us = micros(computed);
    receipt.note("cpu", millis(computed), millis(template.limits().cpu));
    Report { outcome, receipt }
}

fn outcome(template: &Template, ended: Ended, course: &Course, stderr: &str) -> Outcome {
    match ended {
        Ended::Returned(Ok(Ok(result))) => complete(result, template),
        Ended::Returned(Ok(Err(failure))) => job::outcome(failure),
        Ended::Returned(Err(error)) => classify(
            &error,
            &Circumstances {
                phase: course.phase,
                limits: template.limits(),
                host_call: template.host_call(),
                stderr,
            },
        ),
        Ended::Stopped(stop) => stop.outcome(),
        Ended::Panicked(text) => {
            let text = template.redactor().and_then(|redactor| redactor.text(&text)).unwrap_or(text);
            tracing::error!(
                handler = template.name(),
                version = template.version(),
                panic = text,
                "host panic in a cell"
            );
            Outcome::stopped(StopCause::Host, format!("the host failed while it ran the handler: {text}"))
        }
    }
}

/// Why a limit is another than the one that is configured.
fn eased(cause: StopCause) -> Option<String> {
    let key = match cause {
        StopCause::Cpu => "cpu",
        StopCause::Stack => "stack",
        StopCause::Deadline => "deadline",
        _ => return None,
    };
    let times = Tier::Baseline.allowance();
    Some(format!(" (up to {times} times limits.{key}, as the version was on baseline code)"))
}

fn complete(result: Vec<u8>, template: &Template) -> Outcome {
    let limit = template.limits().result;
    if result.len() > limit {
        let reason = format!("the result of {} bytes is over its limit of {}", result.len(), bytes(limit));
        return Outcome::stopped(StopCause::Result, reason);
    }
    Outcome::Complete(Bytes::from(result))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// For receipts; beyond 2^64 microseconds nothing runs.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// For receipts.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
