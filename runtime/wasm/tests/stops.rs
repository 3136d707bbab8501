//! Every way in which the host ends an attempt, or a handler breaks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::attempt::LogLimits;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::{AttemptIo, Outcome, Runner, StopCause, Stopped};
use jobcell_wasm::{
    AdmitOptions, Engine, EngineConfig, Grants, HandlerRunner, HandlerSpec, Limits, Services, WasmError,
};
use tokio::time::{Instant, timeout};

use crate::support::{
    ENGINE, PATIENCE, admit, admitted, all_grants, allowance, attempt, basic, by_hand, by_hand_with, handle,
    job, run, runner, spec, stopped, text,
};

fn short() -> Limits {
    Limits { deadline: Duration::from_millis(200), ..Limits::default() }
}

/// As it is told.
fn short_told() -> String {
    format!("{:?}", short().deadline * allowance())
}

async fn basic_within(name: &str, data: &str, limits: Limits) -> Outcome {
    run(&runner(&admitted("basic"), limits), &attempt(job(name, data.to_owned()))).await.outcome
}

async fn hand(component: Vec<u8>, limits: Limits) -> Outcome {
    let admitted = admit(&component, Grants::default()).unwrap();
    run(&runner(&admitted, limits), &attempt(job("any", "{}"))).await.outcome
}

async fn hand_stopped(component: Vec<u8>, cause: StopCause) -> Stopped {
    stopped(hand(component, short()).await, cause)
}

#[tokio::test]
async fn a_panic_is_quoted_with_the_frames_that_led_to_it() {
    let Stopped { reason, backtrace, .. } =
        stopped(basic("panic", r#"{"message":"no such luck"}"#).await, StopCause::Panic);
    assert!(reason.contains("no such luck") && reason.contains("trials.rs:"), "{reason}");
    assert!(!reason.contains("note:"), "{reason}");
    assert!(!backtrace.is_empty() && backtrace.len() <= 20, "{backtrace:?}");
    assert!(backtrace.iter().any(|frame| frame.contains("jobcell_sdk::cell::run")), "{backtrace:#?}");
    assert!(!backtrace[0].contains("std::") && !backtrace[0].contains("core::panicking"), "{backtrace:#?}");
}

#[tokio::test]
async fn an_endless_loop_is_interrupted_and_says_where() {
    let started = Instant::now();
    let Stopped { reason, backtrace, .. } =
        stopped(basic_within("spin", "{}", short()).await, StopCause::Deadline);
    assert!(reason.contains(&short_told()) && reason.contains("computing"), "{reason}");
    assert!(!backtrace.is_empty());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_sleeper_is_ended_while_it_waits() {
    let outcome = basic_within("sleep", r#"{"ms":600000}"#, short()).await;
    let reason = stopped(outcome, StopCause::Deadline).reason;
    assert!(reason.contains(&short_told()) && reason.contains("waiting"), "{reason}");
}

#[tokio::test]
async fn the_jobs_own_deadline_ends_it_before_the_handlers() {
    let mut attempt = attempt(job("spin", "{}"));
    attempt.deadline = Instant::now() + Duration::from_millis(100);
    let report = run(&runner(&admitted("basic"), Limits::default()), &attempt).await;
    stopped(report.outcome, StopCause::Deadline);
}

#[tokio::test]
async fn other_work_of_the_same_thread_goes_on_beside_a_loop() {
    let runner =
        runner(&admitted("basic"), Limits { deadline: Duration::from_millis(500), ..Limits::default() });
    let spin = tokio::spawn(async move { runner.run(attempt(job("spin", "{}"))).await });
    let mut beats = 0;
    while !spin.is_finished() {
        tokio::task::yield_now().await;
        beats += 1;
    }
    stopped(spin.await.unwrap().outcome, StopCause::Deadline);
    assert!(beats >= 20, "{beats} in 500 ms");
}

#[tokio::test]
async fn deep_recursion_overflows_the_stack_and_nothing_else() {
    let reason = stopped(basic("recurse", "{}").await, StopCause::Stack).reason;
    assert!(reason.contains("stack"), "{reason}");
    // The part of the stack in the guest's memory runs out of its bounds.
    stopped(basic("recurse-frames", "{}").await, StopCause::Trap);
}

#[tokio::test]
async fn memory_ends_at_its_limit() {
    let limits = Limits { memory: 20 << 20, ..Limits::default() };
    let runner = runner(&admitted("basic"), limits);
    let report = run(&runner, &attempt(job("grow", "{}"))).await;
    let Stopped { reason, backtrace, .. } = stopped(report.outcome, StopCause::Memory);
    assert!(reason.contains("20 MiB"), "{reason}");
    assert!(!backtrace.is_empty());
    assert!(report.receipt.memory_peak_bytes <= 20 << 20 && report.receipt.memory_peak_bytes > 15 << 20);
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_counted() {
    let mut attempt = attempt(job("flood", "{}"));
    attempt.io =
        AttemptIo::new(LogLimits { bytes: 10_000, line_bytes: 1000, lines: 100, ..LogLimits::default() });
    let report = run(&runner(&admitted("basic"), short()), &attempt).await;
    stopped(report.outcome, StopCause::Deadline);
    let logs = attempt.io.take().logs;
    assert_eq!(logs.len(), 11, "{}", logs.len());
    assert!(logs[10].starts_with("[log cut"), "{}", logs[10]);
    assert!(
        report.receipt.log_bytes <= 10_000 && report.receipt.log_bytes_dropped > 10_000,
        "{:?}",
        report.receipt
    );
}

#[tokio::test]
async fn a_cancelled_attempt_ends_whether_it_computes_or_waits() {
    for cause in [StopCause::Cancelled, StopCause::Shutdown, StopCause::LockLost] {
        for (name, data) in [("spin", "{}"), ("sleep", r#"{"ms":600000}"#)] {
            let attempt = attempt(job(name, data));
            attempt.io.stop(cause);
            attempt.cancel.cancel();
            let report = run(&runner(&admitted("basic"), Limits::default()), &attempt).await;
            let stopped = stopped(report.outcome, cause);
            // One that was to compute may not have begun on a busy machine, and has no place then where it was stopped.
            assert!(stopped.backtrace.is_empty() || name == "spin", "{stopped:?}");
        }
    }
}

#[tokio::test]
async fn a_handler_that_looks_sees_the_cancellation_coming() {
    let attempt = attempt(job("wait-for-cancel", "{}"));
    let runner = runner(&admitted("basic"), Limits::default());
    let running = tokio::spawn({
        let attempt = attempt.clone();
        async move { runner.run(attempt).await }
    });
    tokio::task::yield_now().await;
    attempt.cancel.cancel();
    let report = timeout(PATIENCE, running).await.unwrap().unwrap();
    // It may see it first, or be ended first; it must not go on.
    match report.outcome {
        Outcome::Complete(_) => assert_eq!(text(&report.outcome), "\"cancelled\""),
        outcome => {
            stopped(outcome, StopCause::Cancelled);
        }
    }
}

#[tokio::test]
async fn traps_have_their_causes() {
    let cases = [
        ("unreachable", StopCause::Panic, "unreachable"),
        ("(i32.div_s (i32.const 1) (i32.const 0))", StopCause::Trap, "divide by zero"),
        ("(i32.load (i32.const -4))", StopCause::Trap, "out of bounds"),
        ("(i32.trunc_f32_s (f32.const nan))", StopCause::Trap, "conversion"),
        ("(loop (br 0)) (i32.const 0)", StopCause::Deadline, "computing"),
        ("(drop (memory.grow (i32.const 2000))) (i32.const 0)", StopCause::Memory, "64 MiB"),
        // Where the answer lies: beyond the memory, and on an odd address.
        ("(i32.const -8)", StopCause::Abi, "calling convention"),
        ("(i32.const 1025)", StopCause::Abi, "calling convention"),
        // What the answer says: no such case, and a list longer than the memory.
        (
            "(i32.store8 (i32.const 1024) (i32.const 7)) (i32.const 1024)",
            StopCause::Abi,
            "calling convention",
        ),
        (
            "(i32.store (i32.const 1032) (i32.const 8)) (i32.store (i32.const 1036) (i32.const 999999)) (i32.const 1024)",
            StopCause::Abi,
            "calling convention",
        ),
    ];
    for (body, cause, hint) in cases {
        let reason = hand_stopped(by_hand(&handle(body)), cause).await.reason;
        assert!(reason.contains(hint), "{body}: {reason}");
    }
}

#[tokio::test]
async fn an_answer_by_hand_is_an_answer() {
    let body = r#"(i32.store (i32.const 1032) (i32.const 2048)) (i32.store (i32.const 1036) (i32.const 4))
        (i32.store (i32.const 2048) (i32.const 0x65757274)) (i32.const 1024)"#;
    assert_eq!(text(&hand(by_hand(&handle(body)), Limits::default()).await), "true");
}

#[tokio::test]
async fn code_that_runs_before_the_handler_is_held_to_the_same_bounds() {
    let looping = r#"(func $spin (loop (br 0))) (start $spin)"#;
    let component = by_hand(&format!("{} {looping}", handle("(i32.const 0)")));
    let reason = hand_stopped(component, StopCause::Deadline).await.reason;
    assert!(reason.contains("computing"), "{reason}");
    let trapping = r#"(func $trap unreachable) (start $trap)"#;
    hand_stopped(by_hand(&format!("{} {trapping}", handle("(i32.const 0)"))), StopCause::Panic).await;
}

#[tokio::test]
async fn a_loop_in_the_allocator_is_interrupted() {
    let module = r#"(memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))
        (func (export "handle") (param i32) (result i32) (i32.const 0))"#;
    hand_stopped(by_hand(module), StopCause::Deadline).await;
}

#[tokio::test]
async fn an_allocator_that_lies_breaks_the_convention() {
    for lie in ["-16", "3"] {
        let module = format!(
            r#"(memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const {lie}))
            (func (export "handle") (param i32) (result i32) (i32.const 0))"#
        );
        hand_stopped(by_hand(&module), StopCause::Abi).await;
    }
}

#[tokio::test]
async fn a_memory_or_table_that_starts_too_large_is_over_the_limit() {
    let module = handle("(i32.const 0)").replace("\"memory\") 1)", "\"memory\") 2000)");
    let reason = hand_stopped(by_hand(&module), StopCause::Memory).await.reason;
    assert!(reason.contains("64 MiB") && reason.contains("125 MiB"), "{reason}");
    let grows = format!(
        "(table $t 1 funcref) {}",
        handle("(drop (table.grow $t (ref.null func) (i32.const 30000))) (i32.const 0)")
    );
    let reason = hand_stopped(by_hand(&grows), StopCause::Memory).await.reason;
    assert!(reason.contains("20000") && reason.contains("30001"), "{reason}");
}

#[tokio::test]
async fn handles_and_resources_have_an_end() {
    let resource = r#"(type $r (resource (rep i32)))
        (core func $new (canon resource.new $r))
        (core instance $host (export "new" (func $new)))"#;
    let module = format!(
        r#"(import "host" "new" (func $new (param i32) (result i32))) {}"#,
        handle("(loop (drop (call $new (i32.const 1))) (br 0)) (i32.const 0)")
    );
    let component = by_hand_with(resource, r#"(with "host" (instance $host))"#, &module);
    let reason = hand_stopped(component, StopCause::Resources).await.reason;
    assert!(reason.contains("handles") && reason.contains("limit of 2048"), "{reason}");

    // Each call makes a new stream in the host.
    let stdout = r#"(import "wasi:io/streams@0.2.0" (instance $io (export "output-stream" (type (sub resource)))))
        (alias export $io "output-stream" (type $stream))
        (import "wasi:cli/stdout@0.2.0" (instance $out (alias outer 1 $stream (type $s))
          (export "get-stdout" (func (result (own $s))))))
        (core func $get (canon lower (func $out "get-stdout")))
        (core instance $host (export "new" (func $get)))"#;
    let module = format!(
        r#"(import "host" "new" (func $new (result i32))) {}"#,
        handle("(loop (drop (call $new)) (br 0)) (i32.const 0)")
    );
    let component = by_hand_with(stdout, r#"(with "host" (instance $host))"#, &module);
    let reason = hand_stopped(component, StopCause::Resources).await.reason;
    assert!(reason.contains("the host's resources") && reason.contains("limit of 2048"), "{reason}");
}

#[tokio::test]
async fn leaving_by_exit_is_no_answer() {
    let exit = r#"(import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
        (core func $exit' (canon lower (func $exit "exit")))
        (core instance $host (export "exit" (func $exit')))"#;
    let module = format!(
        r#"(import "host" "exit" (func $exit (param i32))) {}"#,
        handle("(call $exit (i32.const 0)) (i32.const 0)")
    );
    let component = by_hand_with(exit, r#"(with "host" (instance $host))"#, &module);
    let reason = hand_stopped(component, StopCause::Panic).await.reason;
    assert!(reason.contains("status 0"), "{reason}");
}

#[tokio::test]
async fn too_many_random_bytes_at_once_are_refused() {
    let random = r#"(import "wasi:random/random@0.2.0" (instance $r
          (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core module $libc (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc' (instantiate $libc))
        (core func $get (canon lower (func $r "get-random-bytes") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "get" (func $get)))"#;
    let module = format!(
        r#"(import "host" "get" (func $get (param i64 i32))) {}"#,
        handle("(call $get (i64.const 100000000) (i32.const 16)) (i32.const 0)")
    );
    let component = by_hand_with(random, r#"(with "host" (instance $host))"#, &module);
    let reason = hand_stopped(component, StopCause::HostCall).await.reason;
    assert!(reason.contains("random") && reason.contains("64 KiB"), "{reason}");
}

#[tokio::test]
async fn more_than_a_host_call_takes_is_refused_before_it_is_copied() {
    let log = r#"(import "jobcell:job/context@0.1.0" (instance $context (export "log" (func (param "line" string)))))
        (core module $libc (memory (export "memory") 200)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
        (core instance $libc' (instantiate $libc))
        (core func $log (canon lower (func $context "log") (memory (core memory $libc' "memory"))
          (realloc (core func $libc' "realloc"))))
        (core instance $host (export "log" (func $log)))"#;
    let module = format!(
        r#"(import "host" "log" (func $log (param i32 i32))) {}"#,
        handle("(call $log (i32.const 0) (i32.const 9000000)) (i32.const 0)")
    );
    let component = by_hand_with(log, r#"(with "host" (instance $host))"#, &module);
    let reason = hand_stopped(component, StopCause::HostCall).await.reason;
    assert!(reason.contains("8 MiB"), "{reason}");
}

/// A port with a bug.
struct Broken;

#[async_trait]
impl Cache for Broken {
    async fn get(&self, _: &str) -> Result<Option<Bytes>, CacheError> {
        panic!("a bug in the host")
    }
    async fn set(&self, _: &str, _: Bytes, _: Option<Duration>) -> Result<(), CacheError> {
        panic!("a bug in the host")
    }
    async fn set_if_absent(&self, _: &str, _: Bytes, _: Option<Duration>) -> Result<bool, CacheError> {
        panic!("a bug in the host")
    }
    async fn delete(&self, _: &str) -> Result<(), CacheError> {
        panic!("a bug in the host")
    }
    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, CacheError> {
        panic!("a bug in the host")
    }
}

#[tokio::test]
async fn a_bug_in_the_host_is_the_hosts_and_ends_one_attempt_only() {
    let services = Services { cache: Some(Arc::new(Broken)), ..Services::default() };
    let spec = spec(Limits::default(), Grants { cache: true, ..Grants::default() });
    let runner = HandlerRunner::new(&ENGINE, &admitted("capable"), spec, services).unwrap();
    for _ in 0..3 {
        let report = run(&runner, &attempt(job("seen", "\"x\""))).await;
        let reason = stopped(report.outcome, StopCause::Host).reason;
        assert!(reason.contains("a bug in the host"), "{reason}");
    }
    assert!(matches!(basic("noop", r#"{"i":1}"#).await, Outcome::Complete(_)));
}

#[tokio::test]
async fn with_all_places_taken_an_attempt_waits_and_is_given_back_unused() {
    let engine = Engine::new(EngineConfig { cells: 1, ..EngineConfig::default() }).unwrap();
    let options = AdmitOptions::new("tested", Grants::default());
    let admitted = engine.admit(crate::support::guest("basic"), options).await.unwrap();
    let spec = HandlerSpec { name: "tested".to_owned(), ..HandlerSpec::default() };
    let runner = HandlerRunner::new(&engine, &admitted, spec, Services::default()).unwrap();
    let holder = attempt(job("sleep", r#"{"ms":600000}"#));
    let held = tokio::spawn({
        let (runner, holder) = (runner.clone(), holder.clone());
        async move { runner.run(holder).await }
    });
    while engine.cells_active() == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting = attempt(job("noop", r#"{"i":1}"#));
    waiting.deadline = Instant::now() + Duration::from_millis(50);
    assert_eq!(run(&runner, &waiting).await.outcome, Outcome::Requeue);
    let cancelled = attempt(job("noop", r#"{"i":1}"#));
    cancelled.cancel.cancel();
    stopped(run(&runner, &cancelled).await.outcome, StopCause::Cancelled);
    let patient = attempt(job("noop", r#"{"i":1}"#));
    let (done, ()) = tokio::join!(run(&runner, &patient), async { holder.cancel.cancel() });
    assert!(matches!(done.outcome, Outcome::Complete(_)), "{done:?}");
    stopped(held.await.unwrap().outcome, StopCause::Cancelled);
    assert_eq!(engine.cells_active(), 0);
}

#[tokio::test]
async fn a_thousand_ends_of_every_kind_leave_nothing_behind() {
    let runner =
        runner(&admitted("basic"), Limits { deadline: Duration::from_millis(20), ..Limits::default() });
    let kinds = [
        ("noop", r#"{"i":1}"#),
        ("panic", r#"{"message":"x"}"#),
        ("sleep", r#"{"ms":1000}"#),
        ("fail", r#"{"kind":"retry"}"#),
        ("recurse", "{}"),
    ];
    for round in 0..200 {
        for (name, data) in kinds {
            let attempt = attempt(job(name, data));
            if round % 3 == 0 {
                attempt.cancel.cancel();
            }
            let running = runner.run(attempt);
            if round % 7 == 0 {
                // The worker drops what does not end in time.
                let _ = timeout(Duration::from_micros(300), running).await;
            } else {
                running.await;
            }
        }
    }
    assert!(matches!(run(&runner, &attempt(job("noop", r#"{"i":1}"#))).await.outcome, Outcome::Complete(_)));
}

#[tokio::test]
async fn a_spec_that_names_what_is_not_there_is_refused_with_every_fault() {
    let limits = Limits {
        memory: 1 << 40,
        deadline: Duration::from_millis(1),
        cpu: Duration::from_millis(1),
        table_elements: 20_001,
        instances: 33,
        ..Limits::default()
    };
    let error =
        HandlerRunner::new(&ENGINE, &admitted("capable"), spec(limits, all_grants()), Services::default());
    let Err(WasmError::Handler { handler, faults }) = error else { panic!("accepted") };
    assert_eq!(handler, "tested");
    for hint in [
        "[blobs.uploads]",
        "\"hook\"",
        "\"open\"",
        "memory_max",
        "deadline",
        "limits.cpu",
        "limits.table-elements",
        "33 is more than the 32",
    ] {
        assert!(faults.iter().any(|fault| fault.contains(hint)), "{hint}: {faults:?}");
    }
}
