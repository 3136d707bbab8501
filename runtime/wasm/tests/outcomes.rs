//! What a handler says, as the worker hears it; and what a handler is told.

use std::time::Duration;

use jobcell_core::options::JobOptions;
use jobcell_core::{JobId, Outcome, Runner, StopCause};
use jobcell_wasm::Limits;

use crate::support::{ENGINE, admitted, allowance, attempt, basic, job, run, runner, stopped, text};

#[tokio::test]
async fn json_goes_in_and_out() {
    assert_eq!(text(&basic("noop", r#"{"i":7,"amount":1250}"#).await), r#"{"ok":true,"i":7}"#);
}

#[tokio::test]
async fn any_bytes_go_in_and_out() {
    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let runner = runner(&admitted("basic"), Limits::default());
    let report = run(&runner, &attempt(job("echo", every.clone()))).await;
    assert_eq!(report.outcome, Outcome::Complete(every.into()));
}

#[tokio::test]
async fn the_handler_is_told_everything_about_its_job() {
    let mut job = job("job", "12345");
    job.id = JobId::new("order-7").unwrap();
    job.attempts_made = 1;
    job.attempts_started = 3;
    job.stalled_count = 1;
    job.timestamp = 1_700_000_000_000;
    job.parent_key = Some("bull:parents:9".to_owned());
    job.options = JobOptions {
        attempts: 5,
        tenant: Some("acme".to_owned()),
        telemetry: Some(r#"{"traceparent":"00-1-2-01","n":1,"tracestate":"a=b"}"#.to_owned()),
        ..JobOptions::default()
    };
    let runner = runner(&admitted("basic"), Limits::default());
    let report = run(&runner, &attempt(job)).await;
    let seen: serde_json::Value = serde_json::from_str(text(&report.outcome)).unwrap();
    let expected = serde_json::json!({
        "id": "order-7", "queue": "tested", "name": "job", "bytes": 5, "attempt": 2, "max_attempts": 5, "starts": 3,
        "stalls": 1, "enqueued_at": 1_700_000_000_000_u64, "deadline": 1_700_000_030_000_u64,
        "idempotency_key": "bull:tested:order-7:1700000000000", "tenant": "acme", "parent": "bull:parents:9",
        "headers": [["traceparent", "00-1-2-01"], ["tracestate", "a=b"]],
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn every_failure_has_its_outcome() {
    let retry = |after| Outcome::Retry { reason: "why".to_owned(), after };
    let cases = [
        ("retry", retry(None)),
        ("retry-after", retry(Some(Duration::from_millis(250)))),
        ("fatal", Outcome::Fatal("why".to_owned())),
        ("invalid", Outcome::Invalid("why".to_owned())),
        ("rate-limited", Outcome::RateLimited(Duration::from_millis(250))),
        ("delay-until", Outcome::DelayUntil(250)),
        ("requeue", Outcome::Requeue),
        ("wait-for-children", Outcome::WaitForChildren),
        ("other", retry(None)),
    ];
    for (kind, expected) in cases {
        let data = format!(r#"{{"kind":"{kind}","message":"why","ms":250}}"#);
        assert_eq!(basic("fail", &data).await, expected, "{kind}");
    }
}

#[tokio::test]
async fn unknown_names_and_wrong_payloads_are_invalid() {
    for (name, data, hint) in
        [("nobody", "{}", "nobody"), ("noop", r#"{"i":"x"}"#, "i"), ("noop", "{", "payload")]
    {
        match basic(name, data).await {
            Outcome::Invalid(reason) => {
                assert!(reason.to_lowercase().contains(&hint.to_lowercase()), "{reason}");
            }
            other => panic!("{name} {data}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_result_or_payload_over_its_limit_names_it() {
    let limits = Limits { result: 1000, payload: 64, ..Limits::default() };
    let runner = runner(&admitted("basic"), limits);
    let at = run(&runner, &attempt(job("big", r#"{"bytes":1000}"#))).await;
    assert_eq!(text(&at.outcome).len(), 1000);
    let over = run(&runner, &attempt(job("big", r#"{"bytes":1001}"#))).await;
    let reason = stopped(over.outcome, StopCause::Result).reason;
    assert!(reason.contains("1001") && reason.contains("1000"), "{reason}");
    // So large that the host refuses to copy it out.
    let huge = run(&runner, &attempt(job("big", r#"{"bytes":20000000}"#))).await;
    stopped(huge.outcome, StopCause::Result);
    let payload = run(&runner, &attempt(job("echo", "x".repeat(65)))).await;
    let reason = stopped(payload.outcome, StopCause::Payload).reason;
    assert!(reason.contains("65") && reason.contains("64 bytes"), "{reason}");
}

#[tokio::test]
async fn what_is_no_json_is_left_to_the_queue() {
    let outcome = basic("not-json", "{}").await;
    assert_eq!(outcome, Outcome::Complete(vec![b'{', 0xff, 0x00, b'}'].into()));
}

#[tokio::test]
async fn the_receipt_says_what_it_cost() {
    let runner = runner(&admitted("basic"), Limits::default());
    let attempt = attempt(job("progress", r#"{"steps":3}"#));
    let receipt = run(&runner, &attempt).await.receipt;
    assert!(receipt.wall_us > 0 && receipt.cpu_us > 0 && receipt.wall_us >= receipt.start_us, "{receipt:?}");
    assert!(receipt.memory_peak_bytes >= 65536 && receipt.host_calls.total() >= 3, "{receipt:?}");
    assert_eq!(attempt.io.take().progress.as_deref(), Some(&br#"{"done":3,"total":3}"#[..]));
}

#[tokio::test]
async fn a_runner_names_its_handler_and_version() {
    let runner = runner(&admitted("basic"), Limits::default());
    assert_eq!((runner.handler(), runner.version().len()), ("tested", 12));
    assert_eq!(runner.deadline(), Duration::from_secs(30) * allowance());
}

#[tokio::test]
async fn logs_come_from_stdout_stderr_and_the_context() {
    let runner = runner(&admitted("basic"), Limits::default());
    let attempt = attempt(job("logs", r#"{"lines":2}"#));
    let report = run(&runner, &attempt).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)));
    let expected = ["stdout 0", "stderr 0", "log 0", "stdout 1", "stderr 1", "log 1"];
    assert_eq!(attempt.io.take().logs, expected);
}

#[tokio::test]
async fn a_new_payload_is_handed_to_the_worker() {
    let runner = runner(&admitted("basic"), Limits::default());
    let attempt = attempt(job("update-data", r#"{"count":4}"#));
    let report = run(&runner, &attempt).await;
    assert!(matches!(report.outcome, Outcome::Retry { .. }), "{report:?}");
    assert_eq!(attempt.io.take().data.as_deref(), Some(&br#"{"count":5}"#[..]));
}

#[tokio::test]
async fn without_a_store_children_are_unavailable() {
    let outcome = basic("count-children", "{}").await;
    match outcome {
        Outcome::Retry { reason, .. } => assert!(reason.contains("job store"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_engine_tells_how_it_runs() {
    let report = ENGINE.report();
    assert_eq!((report.wasmtime, report.cells, report.tick_ms), ("48.0.8", 200, 2));
    assert!(!report.clearing.to_string().is_empty());
}
