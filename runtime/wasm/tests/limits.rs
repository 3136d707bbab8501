//! Each limit of an attempt is its own to set, stops or refuses by its own reason, and shows in the receipt.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::receipt::Near;
use jobcell_core::runner::Report;
use jobcell_core::{HostCall, Outcome, StopCause};
use jobcell_wasm::{AdmitOptions, Engine, EngineConfig, Grants, HandlerRunner, Limits, Services};
use tokio::time::{Instant, timeout};

use crate::support::store::Remembering;
use crate::support::{
    ENGINE, IS_BASELINE, PATIENCE, admit, admitted, attempt, by_hand, by_hand_with, failure, handle, job,
    run, runner, spec, stopped,
};

async fn basic(name: &str, data: &str, limits: Limits) -> Report {
    run(&runner(&admitted("basic"), limits), &attempt(job(name, data.to_owned()))).await
}

async fn hand(component: &[u8], limits: Limits) -> Report {
    let admitted = admit(component, Grants::default()).unwrap();
    run(&runner(&admitted, limits), &attempt(job("any", "{}"))).await
}

fn near(report: &Report, name: &str) -> Option<(u64, u64)> {
    let Near { used, of, .. } = report.receipt.near.iter().find(|near| near.name == name)?;
    Some((*used, *of))
}

#[tokio::test]
async fn computing_ends_with_its_budget_long_before_the_deadline() {
    // Baseline code has more of it.
    let most: u16 = if *IS_BASELINE { 400 } else { 100 };
    let limits = Limits { cpu: Duration::from_millis(100), ..Limits::default() };
    let started = Instant::now();
    let report = basic("spin", "{}", limits).await;
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(report.receipt.stopped_by, Some(StopCause::Cpu));
    let (used, of) = near(&report, "cpu").unwrap();
    let (used_us, most_us) = (report.receipt.cpu_us, u64::from(most) * 1000);
    assert!(used >= of && of == u64::from(most) && used_us >= most_us, "{:?}", report.receipt);
    assert!(near(&report, "deadline").is_none());
    let stopped = stopped(report.outcome, StopCause::Cpu);
    assert!(stopped.reason.contains(&format!("cpu budget of {most}ms")), "{}", stopped.reason);
    assert!(!stopped.backtrace.is_empty());
}

#[tokio::test]
async fn waiting_costs_no_cpu() {
    let limits = Limits { cpu: Duration::from_millis(100), ..Limits::default() };
    let report = basic("sleep", r#"{"ms":400}"#, limits).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
    assert!(report.receipt.wall_us >= 400_000 && report.receipt.cpu_us < 100_000, "{:?}", report.receipt);
}

/// A component that makes handles of its own for ever.
fn handles() -> Vec<u8> {
    let resource = r#"(type $r (resource (rep i32)))
        (core func $new (canon resource.new $r))
        (core instance $host (export "new" (func $new)))"#;
    let module = format!(
        r#"(import "host" "new" (func $new (param i32) (result i32))) {}"#,
        handle("(loop (drop (call $new (i32.const 1))) (br 0)) (i32.const 0)")
    );
    by_hand_with(resource, r#"(with "host" (instance $host))"#, &module)
}

/// A component with this many tables and memories in one module, and instances of another one besides.
fn parts(instances: usize, tables: usize) -> Vec<u8> {
    let more =
        format!("(core module $empty) {}", "(core instance (instantiate $empty))".repeat(instances - 1));
    by_hand_with(&more, "", &format!("{} {}", "(table 1 funcref)".repeat(tables), handle("(i32.const 0)")))
}

#[tokio::test]
async fn counts_of_parts_and_handles_are_the_handlers_own() {
    let limits = Limits { handles: 50, ..Limits::default() };
    let reason = stopped(hand(&handles(), limits).await.outcome, StopCause::Resources).reason;
    assert!(reason.contains("handles") && reason.contains("limit of 50"), "{reason}");

    for (limits, what) in [
        (Limits { instances: 2, ..Limits::default() }, "more core instances than the limit of 2"),
        (Limits { tables: 3, ..Limits::default() }, "more tables than the limit of 3"),
        (Limits { memories: 0, ..Limits::default() }, "more memories than the limit of 0"),
    ] {
        let report = hand(&parts(3, 4), limits).await;
        let reason = stopped(report.outcome, StopCause::Resources).reason;
        assert!(reason.contains(what), "{reason}");
    }
    // What is allowed is not stopped: the answer is nonsense, but it got as far as answering.
    let fits = Limits { instances: 3, tables: 4, memories: 1, ..Limits::default() };
    let report = hand(&parts(3, 4), fits).await;
    assert_ne!(report.receipt.stopped_by, Some(StopCause::Resources), "{report:?}");
}

#[tokio::test]
async fn tables_are_measured() {
    let grows = format!(
        "(table $t 1 funcref) {}",
        handle("(drop (table.grow $t (ref.null func) (i32.const 84))) unreachable")
    );
    let report = hand(&by_hand(&grows), Limits { table_elements: 100, ..Limits::default() }).await;
    assert_eq!(near(&report, "table-elements"), Some((85, 100)));
}

#[tokio::test]
async fn what_was_nearly_used_up_or_refused_is_in_the_receipt() {
    let limits = Limits { result: 1000, payload: 20, memory: 20 << 20, ..Limits::default() };
    let report = basic("big", r#"{"bytes":900}"#, limits.clone()).await;
    assert_eq!((near(&report, "result"), near(&report, "payload")), (Some((900, 1000)), None));
    let padded = |size: usize| format!("{:<size$}", r#"{"bytes":20}"#);
    let report = basic("big", &padded(20), limits.clone()).await;
    assert_eq!((near(&report, "result"), near(&report, "payload")), (None, Some((20, 20))));
    let report = basic("big", &padded(22), limits.clone()).await;
    assert_eq!(
        (near(&report, "payload"), report.receipt.stopped_by),
        (Some((22, 20)), Some(StopCause::Payload))
    );
    let report = basic("grow", "{}", limits).await;
    assert_eq!(report.receipt.stopped_by, Some(StopCause::Memory));
    assert!(near(&report, "memory").is_some_and(|(used, of)| used > of / 2 && of == 20 << 20), "{report:?}");

    let refused = basic("progress", r#"{"steps":3}"#, Limits { progress: 5, ..Limits::default() }).await;
    assert!(near(&refused, "progress").is_some_and(|(wanted, of)| wanted > 5 && of == 5), "{refused:?}");
    let quiet = basic("noop", r#"{"i":1}"#, Limits::default()).await;
    assert!(quiet.receipt.near.is_empty(), "{quiet:?}");
}

#[tokio::test]
async fn host_calls_are_counted_by_kind() {
    let report = basic("progress", r#"{"steps":3}"#, Limits::default()).await;
    let calls = report.receipt.host_calls;
    assert!(calls.of(HostCall::Context) >= 3, "{calls:?}");
    assert_eq!(calls.of(HostCall::Http), 0);
}

#[tokio::test]
async fn lines_beyond_the_log_are_counted() {
    let limits = Limits { cpu: Duration::from_millis(100), ..Limits::default() };
    let report = basic("flood", "{}", limits).await;
    assert_eq!(report.receipt.stopped_by, Some(StopCause::Cpu));
    assert!(report.receipt.log_lines_dropped > 0 && report.receipt.log_bytes_dropped > 0, "{report:?}");
}

/// Runs a handler that enqueues, for a job at this depth.
async fn at_depth(depth: u64, limits: Limits, store: &Arc<Remembering>) -> Report {
    let services = Services { store: Some(store.clone()), ..Services::default() };
    let grants = Grants { enqueue: vec!["granted".to_owned()], ..Grants::default() };
    let runner = HandlerRunner::new(&ENGINE, &admitted("capable"), spec(limits, grants), services).unwrap();
    let mut job = job("enqueue", r#"{"queue":"granted","name":"n","data":{"i":1}}"#);
    job.options.depth = depth;
    run(&runner, &attempt(job)).await
}

#[tokio::test]
async fn a_job_is_deeper_than_the_one_that_enqueued_it_and_depth_has_an_end() {
    let store = Arc::<Remembering>::default();
    for depth in [0, 7] {
        let report = at_depth(depth, Limits::default(), &store).await;
        assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
        assert_eq!(store.0.lock().unwrap().pop().unwrap().1.options.depth, depth + 1);
    }
    for (depth, limit) in [(8, 8), (u64::MAX, 8), (0, 0)] {
        let report = at_depth(depth, Limits { depth: limit, ..Limits::default() }, &store).await;
        assert_eq!(near(&report, "depth"), Some((depth.saturating_add(1), limit.into())));
        let reason = failure(report.outcome);
        assert!(reason.contains("limits.depth") && reason.contains(&format!("limit is {limit}")), "{reason}");
        assert!(store.0.lock().unwrap().is_empty());
    }
}

/// A component with three memories that logs a line when it runs, and then computes for ever.
fn three_memories() -> Vec<u8> {
    let log = r#"(import "jobcell:job/context@0.1.0" (instance $context (export "log" (func (param "line" string)))))
        (core module $holder (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $other (instantiate $holder))
        (core instance $lines (instantiate $holder))
        (core func $log (canon lower (func $context "log") (memory (core memory $lines "memory"))
          (realloc (core func $lines "realloc"))))
        (core instance $host (export "log" (func $log)))"#;
    let module = format!(
        r#"(import "host" "log" (func $log (param i32 i32))) {}"#,
        handle("(call $log (i32.const 0) (i32.const 1)) (loop (br 0)) (i32.const 0)")
    );
    by_hand_with(log, r#"(with "host" (instance $host))"#, &module)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_finds_the_pool_full_is_given_back_unused() {
    // Two cells may run, but the pool has four memories, and each of these takes three.
    let engine = Engine::new(EngineConfig { cells: 2, ..EngineConfig::default() }).unwrap();
    let options = AdmitOptions::new("tested", Grants::default());
    let admitted = engine.admit(three_memories(), options).await.unwrap();
    let spec = spec(Limits::default(), Grants::default());
    let runner = HandlerRunner::new(&engine, &admitted, spec, Services::default()).unwrap();
    let holder = attempt(job("any", "{}"));
    let held = tokio::spawn({
        let (runner, holder) = (runner.clone(), holder.clone());
        async move { run(&runner, &holder).await }
    });
    timeout(PATIENCE, holder.io.changed()).await.unwrap();
    let second = run(&runner, &attempt(job("any", "{}"))).await;
    assert_eq!((second.outcome, second.receipt.stopped_by), (Outcome::Requeue, None));
    holder.cancel.cancel();
    stopped(held.await.unwrap().outcome, StopCause::Cancelled);
}
