//! Traces, as a collector gets them: posted over HTTP and decoded from protobuf.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jobcell_tests::{Answer, Host, Receiver, Site, wait};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, capable};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";
/// A payload that must not be in any span.
const MARK: &str = "a-mark-in-the-payload";
const KEY: &str = "a key that no handler sees";

fn carrier() -> String {
    json!({"traceparent": format!("00-{TRACE}-{PRODUCER}-01"), "tracestate": "vendor=1", "baggage": "user=7"})
        .to_string()
}

/// A site whose spans go to this collector, soon.
fn traced(site: Site, collector: &Receiver) -> Site {
    site.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_SERVICE_NAME", "jobs of the test")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

fn collector() -> Receiver {
    Receiver::start([Answer::new(200).body("")])
}

/// What came in so far: the service's name and its spans.
fn received(collector: &Receiver) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for post in collector.heard() {
        assert_eq!((post.method.as_str(), post.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(post.header("content-type"), Some("application/x-protobuf"));
        let request = ExportTraceServiceRequest::decode(post.body.as_slice()).expect("an OTLP request");
        for of_resource in request.resource_spans {
            let resource = attributes(&of_resource.resource.expect("a resource").attributes);
            for scope in of_resource.scope_spans {
                spans.extend(scope.spans.into_iter().map(|span| (resource["service.name"].clone(), span)));
            }
        }
    }
    spans
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}

/// Waits for so many spans of this name.
#[track_caller]
fn wait_spans(collector: &Receiver, name: &str, count: usize) -> Vec<Span> {
    wait::until(&format!("{count} spans {name:?}"), || {
        let found: Vec<Span> =
            received(collector).into_iter().map(|(_, span)| span).filter(|span| span.name == name).collect();
        (found.len() >= count).then_some(found)
    })
}

fn add(host: &Host, queue: &str, name: &str, data: &Value, telemetry: Option<String>) {
    let mut body = json!({"name": name, "data": data, "opts": {"attempts": 1}});
    if let Some(carried) = telemetry {
        body["opts"]["telemetry"] = json!({"metadata": carried});
    }
    let answer = host.request("POST", &format!("/api/v1/queues/{queue}/jobs?wait=20"), &[], Some(&body));
    assert_eq!(answer.as_ref().map(|(status, _)| *status), Some(200), "{name}: {answer:?}");
}

/// The guest that may send requests and enqueue, with its requests to the peer carrying the trace where `trace`.
fn capable_site(stage: &Stage, peer: &Receiver, collector: &Receiver, trace: bool) -> Site {
    let config = capable(&peer.url()).replace("private = true", &format!("private = true, trace = {trace}"));
    let site = traced(stage.site(&config), collector).env("TEST_KEY", KEY);
    site.write("open.txt", "sesame");
    site.write("files/.keep", "");
    site
}

#[test]
fn a_trace_goes_from_the_producer_through_host_and_guest_to_what_they_call() {
    let stage = Stage::redis();
    let (peer, collector) = (Receiver::start([Answer::new(204)]), collector());
    let site = capable_site(&stage, &peer, &collector, true);
    let host = Host::start(&site);
    let fetch = json!({"url": format!("{}/hook?token={MARK}", peer.url()), "bearer": "key", "body": MARK, "method": "POST"});
    add(&host, "work", "fetch", &fetch, Some(carrier()));
    let child = json!({"queue": "other", "name": "logs", "data": {"i": 1}});
    add(&host, "work", "enqueue", &child, Some(carrier()));
    let lines = json!({"lines": 2, "mark": MARK});
    add(&host, "other", "logs", &lines, Some(carrier()));

    let process = wait_spans(&collector, "process work", 2).remove(0);
    let run = wait_spans(&collector, "run capable", 2).remove(0);
    let request = wait_spans(&collector, "POST", 1).remove(0);
    let waited = wait_spans(&collector, "wait work", 2).remove(0);
    let of_trace = |span: &Span| hex::encode(&span.trace_id);
    for span in [&process, &run, &request, &waited] {
        assert_eq!(of_trace(span), TRACE, "{span:?}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    }
    assert_eq!(hex::encode(&process.parent_span_id), PRODUCER);
    assert_eq!(hex::encode(&waited.parent_span_id), PRODUCER);
    assert_eq!(process.trace_state, "vendor=1");
    assert_eq!((&run.parent_span_id, &request.parent_span_id), (&process.span_id, &run.span_id));
    assert!(waited.end_time_unix_nano <= run.start_time_unix_nano);
    let seen = attributes(&process.attributes);
    for (key, value) in [
        ("messaging.destination.name", "work"),
        ("jobcell.handler", "capable"),
        ("jobcell.outcome", "completed"),
        ("jobcell.attempt", "1"),
        ("jobcell.job.name", "fetch"),
    ] {
        assert_eq!(seen.get(key).map(String::as_str), Some(value), "{key}: {seen:?}");
    }
    assert_eq!(seen["jobcell.version"].len(), 12);
    assert!(attributes(&run.attributes)["jobcell.wall_us"].parse::<u64>().unwrap() > 0);
    let sent = attributes(&request.attributes);
    assert_eq!(
        (sent["http.response.status_code"].as_str(), sent["server.address"].as_str()),
        ("204", "127.0.0.1")
    );
    // What was called sees its place in the trace.
    let heard = peer.wait_for(1).remove(0);
    let expected = format!("00-{TRACE}-{}-01", hex::encode(&request.span_id));
    assert_eq!(heard.header("traceparent"), Some(expected.as_str()));
    assert_eq!(heard.header("tracestate"), Some("vendor=1"));

    // The job that the guest enqueued is a child of the run that did so. Both stand in `other`, beside the one added here.
    let enqueuer = wait_spans(&collector, "run capable", 2).remove(1);
    let calls: Vec<String> = enqueuer.events.iter().map(|event| event.name.clone()).collect();
    assert!(calls.contains(&"host call".to_owned()), "{calls:?}");
    let others = wait_spans(&collector, "process other", 2);
    assert!(others.iter().any(|span| span.parent_span_id == enqueuer.span_id), "{others:?}");
    assert!(others.iter().all(|span| of_trace(span) == TRACE));
    // Lines of the log are events of the run.
    let said: Vec<String> = wait_spans(&collector, "run basic", 2)
        .iter()
        .flat_map(|span| &span.events)
        .filter(|event| event.name == "log")
        .map(|event| attributes(&event.attributes)["message"].clone())
        .collect();
    assert!(said.contains(&"stdout 0".to_owned()) && said.contains(&"log 1".to_owned()), "{said:?}");

    for (service, _) in received(&collector) {
        assert_eq!(service, "jobs of the test");
    }
    for post in collector.heard() {
        let bytes = String::from_utf8_lossy(&post.body).into_owned();
        assert!(!bytes.contains(MARK) && !bytes.contains(KEY), "a payload or a secret is in a span: {bytes}");
    }
    host.stop();
}

#[test]
fn a_trace_goes_on_from_the_request_that_adds_a_job() {
    let stage = Stage::redis();
    let collector = collector();
    let site = traced(stage.site(BASIC), &collector);
    let host = Host::start(&site);
    let parent = format!("00-{TRACE}-{PRODUCER}-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=1")];
    let body = json!([{"name": "logs", "data": {"lines": 1}}, {"name": "noop", "data": {"i": 1}}]);
    let (status, added) = host.request("POST", "/api/v1/queues/work/jobs", &headers, Some(&body)).unwrap();
    assert_eq!(status, 201, "{added}");
    let (processes, runs) =
        (wait_spans(&collector, "process work", 2), wait_spans(&collector, "run basic", 2));
    for span in &processes {
        assert_eq!(
            (hex::encode(&span.trace_id), hex::encode(&span.parent_span_id), span.trace_state.as_str()),
            (TRACE.to_owned(), PRODUCER.to_owned(), "vendor=1")
        );
    }
    for run in &runs {
        assert!(processes.iter().any(|process| process.span_id == run.parent_span_id), "{run:?}");
    }
    // One that is no trace is as if there were none.
    let odd = [("traceparent", "00-nonsense-01")];
    let job = json!({"name": "noop", "data": {"i": 2}});
    let (status, _) = host.request("POST", "/api/v1/queues/work/jobs?wait=20", &odd, Some(&job)).unwrap();
    assert_eq!(status, 200);
    let last = wait_spans(&collector, "process work", 3).remove(2);
    assert!(last.parent_span_id.is_empty() && hex::encode(&last.trace_id) != TRACE, "{last:?}");
    host.stop();
}

#[test]
fn a_request_carries_no_trace_unless_it_is_granted() {
    let stage = Stage::embedded();
    let (peer, collector) = (Receiver::start([Answer::new(200)]), collector());
    let site = capable_site(&stage, &peer, &collector, false);
    let host = Host::start(&site);
    add(&host, "work", "fetch", &json!({"url": peer.url()}), Some(carrier()));
    let _ = wait_spans(&collector, "GET", 1);
    let heard = peer.wait_for(1).remove(0);
    assert_eq!((heard.header("traceparent"), heard.header("tracestate")), (None, None));
    host.stop();
}

#[test]
fn a_failed_attempt_is_an_error_without_its_reason_and_a_job_without_a_producer_begins_a_trace() {
    let stage = Stage::embedded();
    let collector = collector();
    let site = traced(stage.site(BASIC), &collector);
    let host = Host::start(&site);
    add(&host, "work", "fail", &json!({"kind": "fatal", "message": MARK}), None);
    add(&host, "work", "panic", &json!({"message": "as told"}), None);
    let spans = wait_spans(&collector, "process work", 2);
    let errors: Vec<String> =
        spans.iter().map(|span| attributes(&span.attributes)["error.type"].clone()).collect();
    assert_eq!(errors, ["fatal", "panic"]);
    assert!(
        spans
            .iter()
            .all(|span| span.parent_span_id.is_empty() && span.status.as_ref().is_some_and(|s| s.code == 2))
    );
    assert!(spans[0].trace_id != spans[1].trace_id);
    assert!(collector.heard().iter().all(|post| !String::from_utf8_lossy(&post.body).contains(MARK)));
    // The host's own log names the trace, so that one leads to the other.
    let line = host.wait_log("outcome=\"fatal\"");
    assert!(line.contains(&hex::encode(&spans[0].trace_id)), "{line}");
    host.stop();
}

#[test]
fn a_collector_that_is_away_costs_one_warning_and_no_job() {
    let stage = Stage::embedded();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let site = stage
        .site(BASIC)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://127.0.0.1:{closed}"))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let host = Host::start(&site);
    for round in 0..5_u64 {
        add(&host, "work", "noop", &json!({"i": round}), None);
        let failed = || lost(&host, "failed").filter(|failed| *failed > round);
        wait::until("another post has failed", failed);
    }
    let log = host.log();
    let warnings: Vec<_> =
        log.iter().filter(|line| line.contains("WARN") && line.contains("collector")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(!log.join("\n").contains("hunter2"));
    host.stop();
}

fn lost(host: &Host, result: &str) -> Option<u64> {
    let page = host.get("/metrics")?.1;
    let start = format!("jobcell_spans_total{{result=\"{result}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&start))?.parse().ok()
}

#[test]
fn a_slow_collector_loses_spans_that_are_counted_and_slows_no_job() {
    let stage = Stage::embedded();
    let slow = Receiver::start([Answer::new(200).body("").after(Duration::from_secs(4))]);
    let site = traced(stage.site(BASIC), &slow).env("OTEL_BSP_MAX_QUEUE_SIZE", "8");
    let host = Host::start(&site);
    let started = Instant::now();
    for i in 0..40 {
        add(&host, "work", "noop", &json!({"i": i}), None);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let dropped = wait::until("spans are dropped", || lost(&host, "dropped").filter(|dropped| *dropped > 0));
    assert!(dropped <= 80, "two spans a job: {dropped}");
    // The last spans are waited for, but not for ever.
    let stopping = Instant::now();
    host.stop();
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
}

#[test]
fn what_is_not_wanted_is_not_sent_and_the_context_is_handed_on_all_the_same() {
    let stage = Stage::embedded();
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ] {
        let collector = collector();
        let site = traced(stage.site(BASIC), &collector).env(name, value);
        let host = Host::start(&site);
        let body = json!({"name": "job", "data": {}, "opts": {"telemetry": {"metadata": carrier()}}});
        let (_, answer) = host.request("POST", "/api/v1/queues/work/jobs?wait=20", &[], Some(&body)).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let headers = answer["result"]["headers"].as_array().expect("headers").clone();
        let parent = headers.iter().find(|header| header[0] == "traceparent").expect("a context")[1].clone();
        let parent = parent.as_str().unwrap();
        assert!(parent.starts_with(&format!("00-{TRACE}-")), "{parent}");
        // Where nothing is followed the producer's own context is handed on; where it is followed and not recorded, the
        // flag says so.
        let is_followed = name == "OTEL_TRACES_SAMPLER";
        assert_eq!(
            (parent.contains(PRODUCER), parent.ends_with("-00")),
            (!is_followed, is_followed),
            "{parent}"
        );
        assert!(headers.iter().any(|header| header[0] == "baggage"), "{headers:?}");
        host.stop();
        assert!(collector.heard().is_empty(), "{name}");
    }
}
