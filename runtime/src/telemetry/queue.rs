//! Spans on their way to the collector: a queue with a bound in spans and in bytes, and one task that empties it.
//!
//! Ending a span puts it into the queue or drops it, and never waits. While the collector is away the queue fills up and
//! what comes then is dropped; the log says so once, and once more when the collector takes spans again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jobcell_server::SpanCounts;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::TracesConfig;

/// Bytes that spans in the queue may have, about: handlers that log much could else fill the host's memory.
const BYTES_MAX: usize = 16 << 20;
/// What a span has besides its texts, about.
const SPAN_BYTES: usize = 512;
/// The same of an event or an attribute.
const PART_BYTES: usize = 64;

/// What became of spans since the start.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Bytes in the queue.
    waiting: AtomicUsize,
}

/// Where ended spans go.
#[derive(Debug)]
pub(super) struct Queue {
    to: mpsc::Sender<SpanData>,
    spans: Arc<Spans>,
}

/// The task that empties the queue.
pub(super) struct Sending {
    spans: Arc<Spans>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Sender<E> {
    from: mpsc::Receiver<SpanData>,
    exporter: E,
    spans: Arc<Spans>,
    batch_max: usize,
    delay: Duration,
    /// The longest that one post may take, whatever the exporter thinks.
    patience: Duration,
    away: bool,
}

/// A queue, and the task that empties it into this exporter on the current runtime.
pub(super) fn start<E: SpanExporter + 'static>(config: &TracesConfig, exporter: E) -> (Queue, Sending) {
    let (to, from) = mpsc::channel(config.queue_max);
    let (stop, stopped) = oneshot::channel();
    let spans = Arc::new(Spans::default());
    let sender = Sender {
        from,
        exporter,
        spans: Arc::clone(&spans),
        batch_max: config.batch_max,
        delay: config.delay,
        patience: config.timeout.saturating_mul(2),
        away: false,
    };
    let task = tokio::spawn(sender.run(stopped));
    (Queue { to, spans: Arc::clone(&spans) }, Sending { spans, stop, task })
}

// === impl Spans ===

impl Spans {
    /// As they are shown.
    pub(crate) fn counts(&self) -> SpanCounts {
        let Self { sent, dropped, failed, waiting: _ } = self;
        SpanCounts {
            sent: sent.load(Ordering::Relaxed),
            dropped: dropped.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        }
    }
}

// === impl Queue ===

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let bytes = size(&span);
        let waiting = self.spans.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting > BYTES_MAX || self.to.try_send(span).is_err() {
            self.spans.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.spans.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        // The task is stopped by whoever started it.
        Ok(())
    }
}

/// About how many bytes a span takes.
fn size(span: &SpanData) -> usize {
    let attributes = |attributes: &[opentelemetry::KeyValue]| -> usize {
        attributes.iter().map(|attribute| PART_BYTES + attribute.value.as_str().len()).sum()
    };
    let events: usize =
        span.events.events.iter().map(|event| PART_BYTES + attributes(&event.attributes)).sum();
    SPAN_BYTES + span.name.len() + attributes(&span.attributes) + events
}

// === impl Sending ===

impl Sending {
    pub(super) fn spans(&self) -> Arc<Spans> {
        Arc::clone(&self.spans)
    }

    /// Sends what waits, at most so long.
    pub(super) async fn stop(self, patience: Duration) {
        let Self { spans: _, stop, mut task } = self;
        let _ = stop.send(());
        if timeout(patience, &mut task).await.is_err() {
            task.abort();
            tracing::debug!("the last spans could not be sent in time");
        }
    }
}

// === impl Sender ===

impl<E: SpanExporter> Sender<E> {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut stops = false;
        loop {
            let first = tokio::select! {
                biased;
                _ = &mut stopped, if !stops => {
                    stops = true;
                    // Nothing comes in any more, and what is in still comes out.
                    self.from.close();
                    continue;
                }
                first = self.from.recv() => first,
            };
            let Some(first) = first else { return };
            let mut batch = Vec::with_capacity(self.batch_max);
            batch.push(first);
            let until = Instant::now() + self.delay;
            while batch.len() < self.batch_max {
                let next = tokio::select! {
                    biased;
                    _ = &mut stopped, if !stops => {
                        stops = true;
                        self.from.close();
                        continue;
                    }
                    next = timeout_at(until, self.from.recv()) => next,
                };
                let Ok(Some(span)) = next else { break };
                batch.push(span);
            }
            self.send(batch).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let (count, bytes) = (batch.len() as u64, batch.iter().map(size).sum());
        let result = timeout(self.patience, self.exporter.export(batch)).await;
        self.spans.waiting.fetch_sub(bytes, Ordering::Relaxed);
        let fault = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {:?}", self.patience)),
        };
        let Some(fault) = fault else {
            self.spans.sent.fetch_add(count, Ordering::Relaxed);
            if std::mem::take(&mut self.away) {
                tracing::info!("the collector takes spans of traces again");
            }
            return;
        };
        self.spans.failed.fetch_add(count, Ordering::Relaxed);
        if std::mem::replace(&mut self.away, true) {
            tracing::debug!(fault, "the collector still does not take spans of traces");
        } else {
            tracing::warn!(
                fault,
                "the collector does not take spans of traces; they are dropped until it does, and counted in \
                 jobcell_spans_total"
            );
        }
    }
}
