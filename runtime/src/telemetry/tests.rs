//! Spans, as an exporter gets them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobcell_core::event::Event;
use jobcell_core::trace::{Begins, Note, Trace};
use jobcell_core::{Job, JobId, QueueName, Receipt};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracerProvider, SpanData, SpanExporter};
use tokio::sync::Semaphore;

use super::queue::{self, Sending};
use super::tracer::Tracer;
use crate::config::{Sampler, TracesConfig};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Keeps what it is given; each post takes a permit.
#[derive(Debug, Clone)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    posts: Arc<Semaphore>,
    fails: bool,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.posts.acquire().await.unwrap().forget();
        if self.fails {
            return Err(OTelSdkError::InternalFailure("away".to_owned()));
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn config(queue_max: usize) -> TracesConfig {
    TracesConfig {
        url: "http://127.0.0.1:9/v1/traces".to_owned(),
        certificate: None,
        timeout: Duration::from_secs(10),
        service: "test".to_owned(),
        sampler: Sampler::ByParent(1.0),
        log_lines: true,
        queue_max,
        batch_max: queue_max.min(4),
        delay: Duration::from_millis(10),
    }
}

struct Rig {
    tracer: Tracer,
    kept: Kept,
    sending: Sending,
}

fn rig(queue_max: usize, posts: usize, fails: bool, log_lines: bool, sampler: SdkSampler) -> Rig {
    let kept = Kept { spans: Arc::default(), posts: Arc::new(Semaphore::new(posts)), fails };
    let (queue, sending) = queue::start(&config(queue_max), kept.clone());
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(queue).build();
    Rig { tracer: Tracer::new(&provider, log_lines), kept, sending }
}

fn job() -> Job {
    let mut job = Job::new(JobId::new("1").unwrap(), "job", "{}");
    job.options.telemetry = Some(format!(r#"{{"traceparent":"{PARENT}"}}"#));
    job
}

fn follow(tracer: &Tracer, job: &Job) -> Arc<dyn Trace> {
    tracer.follow(&Begins { queue: &QueueName::new("q").unwrap(), job, now: 1000 })
}

fn end(trace: &dyn Trace) {
    trace.ended(&Event::Ended {
        queue: QueueName::new("q").unwrap(),
        id: JobId::new("1").unwrap(),
        handler: "h".to_owned(),
        version: "0123456789ab".to_owned(),
        outcome: "completed",
        stop: None,
        attempt: 1,
        receipt: Receipt::default(),
        trace: None,
    });
}

async fn spans(rig: Rig) -> Vec<SpanData> {
    rig.sending.stop(Duration::from_secs(5)).await;
    rig.kept.spans.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_drops_and_counts_and_never_waits() {
    let rig = rig(4, 0, false, true, SdkSampler::AlwaysOn);
    let counts = rig.sending.spans();
    for _ in 0..50 {
        end(&*follow(&rig.tracer, &job()));
    }
    // Two spans a job, of which four fit.
    assert_eq!((counts.counts().dropped, counts.counts().sent), (96, 0));
    rig.kept.posts.add_permits(100);
    assert_eq!(spans(rig).await.len(), 4);
    assert_eq!((counts.counts().dropped, counts.counts().sent), (96, 4));
}

#[tokio::test(start_paused = true)]
async fn spans_with_much_text_fill_the_queue_before_their_number_does() {
    let rig = rig(60_000, 0, false, true, SdkSampler::AlwaysOn);
    let counts = rig.sending.spans();
    let line = "x".repeat(10_000);
    for _ in 0..2_000 {
        let trace = follow(&rig.tracer, &job());
        trace.note(Note::Runs("h", "0123456789ab"));
        (0..200).for_each(|_| trace.note(Note::Line(&line)));
        end(&*trace);
    }
    assert!(counts.counts().dropped > 0, "128 events of 256 bytes each, two thousand times");
    rig.kept.posts.add_permits(100_000);
    let kept = spans(rig).await;
    let events: usize = kept.iter().map(|span| span.events.events.len()).sum();
    assert!(kept.iter().all(|span| span.events.events.len() <= 128));
    assert!(events * 256 <= 17 << 20, "{events}");
}

#[tokio::test(start_paused = true)]
async fn what_the_collector_does_not_take_is_counted() {
    let rig = rig(16, 100, true, true, SdkSampler::AlwaysOn);
    let counts = rig.sending.spans();
    end(&*follow(&rig.tracer, &job()));
    assert!(spans(rig).await.is_empty());
    assert_eq!((counts.counts().failed, counts.counts().dropped), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_scheduler_begins_a_trace_and_is_linked_to_who_made_the_scheduler() {
    let rig = rig(16, 100, false, true, SdkSampler::AlwaysOn);
    let mut job = job();
    job.scheduler = Some("nightly".to_owned());
    let trace = follow(&rig.tracer, &job);
    assert_ne!(trace.id().to_string(), &PARENT[3..35]);
    end(&*trace);
    let spans = spans(rig).await;
    assert_eq!(spans.len(), 1, "no wait: there is nobody to be its parent");
    let linked: Vec<String> =
        spans[0].links.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
    assert_eq!(linked, [&PARENT[3..35]]);
}

#[tokio::test(start_paused = true)]
async fn a_context_that_the_producer_omits_is_not_used() {
    let rig = rig(16, 100, false, true, SdkSampler::AlwaysOn);
    let mut job = job();
    job.options.omit_context = true;
    assert_ne!(follow(&rig.tracer, &job).id().to_string(), &PARENT[3..35]);
    let _ = spans(rig).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_recorded_is_handed_on_with_its_flag_and_costs_no_span() {
    let rig = rig(16, 100, false, true, SdkSampler::AlwaysOff);
    let trace = follow(&rig.tracer, &job());
    trace.note(Note::Runs("h", "0123456789ab"));
    trace.note(Note::Line("a line"));
    let context = trace.context();
    assert!(context[0].1.starts_with(&PARENT[..36]) && context[0].1.ends_with("-00"), "{context:?}");
    end(&*trace);
    assert!(spans(rig).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lines_stay_out_where_they_are_not_wanted_and_an_attempt_that_is_dropped_ends() {
    let rig = rig(16, 100, false, false, SdkSampler::AlwaysOn);
    let trace = follow(&rig.tracer, &job());
    trace.note(Note::Runs("h", "0123456789ab"));
    trace.note(Note::Line("a line"));
    trace.note(Note::Denied("http"));
    drop(trace);
    let spans = spans(rig).await;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["wait q", "run h", "process q"]);
    let events: Vec<&str> = spans[1].events.events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(events, ["denied"]);
}
