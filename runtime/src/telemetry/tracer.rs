//! Spans of attempts.
//!
//! ```text
//! (the producer's span)
//! ├─ wait QUEUE        from when the job could have started to its first start
//! └─ process QUEUE     one attempt, from claim to outcome; one for each attempt
//!    └─ run HANDLER    from when its handler was found; lines of the log and host calls are events
//!       └─ METHOD      an outgoing request, until its response begins
//! ```
//!
//! A job of a scheduler begins a trace of its own, with a link to who made the scheduler: else one trace would go on for
//! years. Attributes are names and numbers: no payload, no reason of a failure, no URL.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use jobcell_core::event::Event;
use jobcell_core::trace::{Begins, Exchange, Note, Outgoing, Trace, TraceId};
use jobcell_core::{HostCall, Receipt};
use opentelemetry::trace::{Link, Span as _, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::context;

/// Bytes of a line of a job's log in a trace: with the 128 events that a span keeps, a chatty job costs 32 KiB.
const LINE_BYTES_MAX: usize = 256;

/// Makes spans of attempts.
pub(crate) struct Tracer {
    tracer: SdkTracer,
    log_lines: bool,
}

/// One attempt.
struct Followed {
    tracer: SdkTracer,
    log_lines: bool,
    /// Whether anybody will see what is noted.
    recorded: bool,
    /// Once a handler was found. Before the attempt: of what is dropped without an end, the inner one ends first.
    handler: OnceLock<Context>,
    attempt: Context,
}

/// One outgoing request.
struct Sent(Context);

// === impl Tracer ===

impl Tracer {
    pub(super) fn new(provider: &SdkTracerProvider, log_lines: bool) -> Self {
        Self { tracer: provider.tracer("jobcell"), log_lines }
    }

    /// Begins to follow an attempt.
    pub(super) fn follow(&self, begins: &Begins<'_>) -> Arc<dyn Trace> {
        let Begins { queue, job, now } = *begins;
        let start = SystemTime::now();
        let carried = job.options.telemetry.as_deref().filter(|_| !job.options.omit_context);
        let producer = carried.and_then(context::producer);
        let begins_anew = job.scheduler.is_some();
        let parent = match &producer {
            Some(producer) if !begins_anew => Context::new().with_remote_span_context(producer.clone()),
            _ => Context::new(),
        };
        let links = producer.clone().filter(|_| begins_anew).map(|made| Link::new(made, Vec::new(), 0));
        let attributes = vec![
            KeyValue::new("messaging.system", "jobcell"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", queue.to_string()),
            KeyValue::new("messaging.message.id", job.id.to_string()),
            KeyValue::new("jobcell.job.name", shown(&job.name).to_owned()),
            KeyValue::new("jobcell.attempt", number(job.attempt())),
            KeyValue::new("jobcell.starts", number(job.attempts_started)),
        ];
        let span = self
            .tracer
            .span_builder(format!("process {queue}"))
            .with_kind(SpanKind::Consumer)
            .with_start_time(start)
            .with_attributes(attributes)
            .with_links(links.into_iter().collect())
            .start_with_context(&self.tracer, &parent);
        let recorded = span.is_recording();
        let attempt = parent.with_span(span);
        if recorded && job.attempts_started <= 1 {
            let waited = now.saturating_sub(job.timestamp.saturating_add(job.options.delay));
            attempt.span().set_attribute(KeyValue::new("jobcell.wait_ms", number(waited)));
            if producer.is_some() && !begins_anew {
                self.waited(queue.as_str(), &parent, start, Duration::from_millis(waited));
            }
        }
        let (tracer, log_lines) = (self.tracer.clone(), self.log_lines);
        Arc::new(Followed { tracer, log_lines, recorded, attempt, handler: OnceLock::new() })
    }

    fn waited(&self, queue: &str, parent: &Context, until: SystemTime, waited: Duration) {
        let from = until.checked_sub(waited).unwrap_or(until);
        let mut span = self
            .tracer
            .span_builder(format!("wait {queue}"))
            .with_start_time(from)
            .with_attributes([KeyValue::new("messaging.destination.name", queue.to_owned())])
            .start_with_context(&self.tracer, parent);
        span.end_with_timestamp(until);
    }
}

// === impl Followed ===

impl Followed {
    /// What is going on: the handler's run, or what comes before it.
    fn here(&self) -> &Context {
        self.handler.get().unwrap_or(&self.attempt)
    }

    fn runs(&self, handler: &str, version: &str) {
        let attributes = [
            KeyValue::new("jobcell.handler", handler.to_owned()),
            KeyValue::new("jobcell.version", version.to_owned()),
        ];
        attributes.iter().for_each(|attribute| self.attempt.span().set_attribute(attribute.clone()));
        let span = self
            .tracer
            .span_builder(format!("run {handler}"))
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &self.attempt);
        let _ = self.handler.set(self.attempt.with_span(span));
    }

    fn event(&self, name: &'static str, attribute: KeyValue) {
        self.here().span().add_event(name, vec![attribute]);
    }
}

impl Trace for Followed {
    fn id(&self) -> TraceId {
        TraceId(self.attempt.span().span_context().trace_id().to_bytes())
    }

    fn context(&self) -> Vec<(&'static str, String)> {
        context::headers(self.here().span().span_context())
    }

    fn note(&self, note: Note<'_>) {
        if !self.recorded {
            return;
        }
        match note {
            Note::Runs(handler, version) => self.runs(handler, version),
            Note::Line(line) if self.log_lines => {
                self.event("log", KeyValue::new("message", cut(line, LINE_BYTES_MAX).to_owned()));
            }
            Note::Line(_) => {}
            // Lines have their own events and requests their own spans; clocks and polls come by the million.
            Note::Call(HostCall::Context | HostCall::Logging | HostCall::Http | HostCall::Wasi) => {}
            Note::Call(call) => self.event("host call", KeyValue::new("jobcell.call", call.as_str())),
            Note::Denied(capability) => self.event("denied", KeyValue::new("jobcell.capability", capability)),
        }
    }

    fn sends(&self, request: &Outgoing<'_>) -> Box<dyn Exchange> {
        let Outgoing { method, destination } = *request;
        let (host, port) = destination.rsplit_once(':').unwrap_or((destination, ""));
        let span = self
            .tracer
            .span_builder(method.to_owned())
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("server.address", host.to_owned()),
                KeyValue::new("server.port", port.parse().unwrap_or(0_i64)),
            ])
            .start_with_context(&self.tracer, self.here());
        Box::new(Sent(self.here().with_span(span)))
    }

    fn ended(&self, event: &Event) {
        let Event::Ended { outcome, stop, receipt, .. } = event else { return };
        if self.recorded {
            if let Some(handler) = self.handler.get() {
                costs(receipt).into_iter().for_each(|cost| handler.span().set_attribute(cost));
            }
            let attempt = self.attempt.span();
            attempt.set_attribute(KeyValue::new("jobcell.outcome", *outcome));
            if let Some(stop) = stop {
                attempt.set_attribute(KeyValue::new("jobcell.stopped_by", stop.as_str()));
            }
            if ["retry", "fatal", "invalid", "stopped"].contains(outcome) {
                let why = stop.map_or(*outcome, |stop| stop.as_str());
                attempt.set_attribute(KeyValue::new("error.type", why));
                attempt.set_status(Status::error(why));
                self.here().span().set_status(Status::error(why));
            }
        }
        if let Some(handler) = self.handler.get() {
            handler.span().end();
        }
        self.attempt.span().end();
    }
}

// === impl Sent ===

impl Exchange for Sent {
    fn context(&self) -> Vec<(&'static str, String)> {
        context::headers(self.0.span().span_context())
    }

    fn answered(&mut self, status: u16) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if status >= 400 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn failed(&mut self, why: &'static str) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("error.type", why));
        span.set_status(Status::error(why));
        span.end();
    }
}

/// What an attempt cost.
fn costs(receipt: &Receipt) -> [KeyValue; 5] {
    [
        KeyValue::new("jobcell.wall_us", number(receipt.wall_us)),
        KeyValue::new("jobcell.cpu_us", number(receipt.cpu_us)),
        KeyValue::new("jobcell.cell_start_us", number(receipt.start_us)),
        KeyValue::new("jobcell.memory_peak_bytes", number(receipt.memory_peak_bytes)),
        KeyValue::new("jobcell.log_bytes", number(receipt.log_bytes)),
    ]
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// As much of a name that a producer chose as a trace needs.
fn shown(name: &str) -> &str {
    cut(name, 128)
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
