//! Stacks: a size for each handler, in one host.

use jobcell_core::{Outcome, Report, StopCause};
use jobcell_wasm::{
    AdmitError, AdmitOptions, CompileCache, Engine, EngineConfig, Grants, HandlerRunner, Limits, Services,
};

use crate::support::{attempt, by_hand, handle, job, run, spec, stopped};

/// Calls itself as often as its payload says, four bytes with the lowest first.
pub(crate) fn diver() -> Vec<u8> {
    let dive = "(func $dive (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $dive (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 0))))";
    // The payload is the job's fourth field; what is at 1024 says that all went well, with an empty result.
    let body = "(drop (call $dive (i32.load (i32.load offset=24 (local.get 0))))) (i32.const 1024)";
    by_hand(&format!("{dive} {}", handle(body)))
}

fn engine() -> Engine {
    Engine::new(EngineConfig { cells: 2, baseline: false, ..EngineConfig::default() }).unwrap()
}

fn options(stack: usize, cache: Option<&CompileCache>) -> AdmitOptions {
    AdmitOptions { stack, cache: cache.cloned(), ..AdmitOptions::new("tested", Grants::default()) }
}

fn runner(engine: &Engine, stack: usize) -> HandlerRunner {
    runner_of(engine, &diver(), stack)
}

fn runner_of(engine: &Engine, component: &[u8], stack: usize) -> HandlerRunner {
    let admitted = engine.admit_blocking(component, &options(stack, None)).unwrap();
    let limits = Limits { stack, ..Limits::default() };
    HandlerRunner::new(engine, &admitted, spec(limits, Grants::default()), Services::default()).unwrap()
}

async fn dive(runner: &HandlerRunner, depth: u32) -> Report {
    run(runner, &attempt(job("dive", depth.to_le_bytes().to_vec()))).await
}

/// The deepest that it gets.
pub(crate) async fn depth(runner: &HandlerRunner) -> u32 {
    let (mut gets, mut fails) = (0, 1 << 22);
    while fails - gets > 1 {
        let middle = gets + (fails - gets) / 2;
        match dive(runner, middle).await.outcome {
            Outcome::Complete(_) => gets = middle,
            outcome => {
                stopped(outcome, StopCause::Stack);
                fails = middle;
            }
        }
    }
    gets
}

#[tokio::test]
async fn each_handler_gets_as_deep_as_its_own_stack() {
    let engine = engine();
    let (small, large) = (runner(&engine, 128 << 10), runner(&engine, 1 << 20));
    let usual = runner(&engine, 512 << 10);
    assert_eq!(engine.pools(), 3);
    let (small_depth, usual_depth, large_depth) =
        (depth(&small).await, depth(&usual).await, depth(&large).await);
    println!("128 KiB: {small_depth} calls, 512 KiB: {usual_depth}, 1 MiB: {large_depth}");
    for (deeper, times) in [(usual_depth, 4.0), (large_depth, 8.0)] {
        let measured = f64::from(deeper) / f64::from(small_depth);
        assert!((measured - times).abs() < times * 0.05, "{measured} times as deep instead of {times}");
    }
    let over = dive(&small, usual_depth).await;
    assert_eq!(over.receipt.stopped_by, Some(StopCause::Stack));
    let reason = stopped(over.outcome, StopCause::Stack).reason;
    assert!(reason.contains("limit of 128 KiB") && reason.contains("limits.stack"), "{reason}");

    // One that overflows takes nothing from one that does not, in its own pool or another.
    let (over, beside, same) =
        tokio::join!(dive(&small, usual_depth), dive(&large, large_depth), dive(&small, small_depth));
    stopped(over.outcome, StopCause::Stack);
    for report in [beside, same] {
        assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
    }
    assert_eq!(engine.cells_active(), 0);
    drop((small, large));
    assert_eq!(engine.pools(), 1, "a pool goes with the last version that needs it");
    assert_eq!(depth(&usual).await, usual_depth);
}

#[tokio::test]
async fn cells_of_all_pools_count_together() {
    let engine = engine();
    let (small, large) = (runner(&engine, 128 << 10), runner(&engine, 1 << 20));
    let spin = runner_of(&engine, &by_hand(&handle("(loop (br 0)) (i32.const 1024)")), 256 << 10);
    let holders = [attempt(job("any", "")), attempt(job("any", ""))];
    let held: Vec<_> = holders
        .iter()
        .cloned()
        .map(|holder| {
            let spin = spin.clone();
            tokio::spawn(async move { run(&spin, &holder).await })
        })
        .collect();
    while engine.cells_active() < 2 {
        tokio::task::yield_now().await;
    }
    let mut waits = attempt(job("dive", 1_u32.to_le_bytes().to_vec()));
    waits.deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(50);
    assert_eq!(run(&small, &waits).await.outcome, Outcome::Requeue, "both places are taken");
    holders.iter().for_each(|holder| holder.cancel.cancel());
    for held in held {
        stopped(held.await.unwrap().outcome, StopCause::Cancelled);
    }
    assert!(matches!(dive(&large, 1).await.outcome, Outcome::Complete(_)));
}

#[tokio::test]
async fn what_was_compiled_once_runs_with_every_stack() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    let engine = engine();
    for (stack, was_cached) in [(512 << 10, false), (64 << 10, true), (8 << 20, true), (512 << 10, true)] {
        let admitted = engine.admit_blocking(&diver(), &options(stack, Some(&cache))).unwrap();
        assert_eq!(admitted.was_cached(), was_cached, "{stack}");
        let limits = Limits { stack, ..Limits::default() };
        let spec = spec(limits, Grants::default());
        let runner = HandlerRunner::new(&engine, &admitted, spec, Services::default()).unwrap();
        assert!(matches!(dive(&runner, 100).await.outcome, Outcome::Complete(_)));
    }
}

#[test]
fn sizes_are_few_and_sensible() {
    let engine = Engine::new(EngineConfig { cells: 1, baseline: false, ..EngineConfig::default() }).unwrap();
    let admit = |stack: usize| engine.admit_blocking(&diver(), &options(stack, None));
    // As many as two configurations have, one of which takes the other's place.
    let mut held: Vec<_> =
        (1..2 * Limits::STACKS_MAX).map(|n| admit((512 + 64 * n) << 10).unwrap()).collect();
    assert_eq!(engine.pools(), 2 * Limits::STACKS_MAX);
    let refused = admit(64 << 10).unwrap_err();
    assert!(matches!(refused, AdmitError::Stacks { stack: 65_536, .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("limits.stack = 64 KiB") && told.contains("512 KiB, 576 KiB"), "{told}");
    admit(512 << 10).unwrap();
    held.pop();
    admit(64 << 10).unwrap();
    for wrong in [Limits::STACK_MIN - 1, Limits::STACK_MAX + 1] {
        drop(std::mem::take(&mut held));
        let refused = admit(wrong).unwrap_err();
        assert!(matches!(refused, AdmitError::Pool { .. }), "{refused}");
    }
}

#[test]
fn limits_are_those_that_it_was_admitted_for() {
    let engine = engine();
    let admitted = engine.admit_blocking(&diver(), &options(64 << 10, None)).unwrap();
    let spec = spec(Limits::default(), Grants::default());
    let Err(refused) = HandlerRunner::new(&engine, &admitted, spec, Services::default()) else {
        panic!("it is refused")
    };
    assert!(refused.to_string().contains("admitted for stacks of 64 KiB"), "{refused}");
}
