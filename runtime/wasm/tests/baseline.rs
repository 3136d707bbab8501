//! Baseline code: what versions begin with that are wanted at once, and how they leave it.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use jobcell_core::{Outcome, Runner, StopCause};
use jobcell_wasm::{
    AdmitError, AdmitOptions, Admitted, CompileCache, Engine, EngineConfig, Grants, HandlerRunner, Limits,
    OptimiseError, Tier,
};
use tokio::time::timeout;

use crate::stacks::{depth, diver};
use crate::support::{
    ENGINE, IS_BASELINE, PATIENCE, attempt, by_hand, guest, handle, job, run, runner, stopped, text,
};

fn options() -> AdmitOptions {
    AdmitOptions { baseline: true, ..AdmitOptions::new("tested", Grants::default()) }
}

fn admitted(bytes: &[u8], tier: Tier) -> Admitted {
    let options = AdmitOptions { baseline: tier == Tier::Baseline, ..options() };
    let admitted = ENGINE.admit_blocking(bytes, &options).unwrap();
    assert_eq!((admitted.tier(), admitted.was_cached()), (tier, false));
    admitted
}

async fn optimise(runner: &HandlerRunner, bytes: Vec<u8>) -> Result<bool, OptimiseError> {
    let optimiser = runner.optimiser();
    timeout(PATIENCE, optimiser.optimise(bytes.into(), options())).await.expect("it goes on for ever")
}

/// How long a guest that computes for ever may do so, as it is told.
async fn cpu(runner: &HandlerRunner) -> String {
    let outcome = run(runner, &attempt(job("spin", "{}"))).await.outcome;
    stopped(outcome, StopCause::Cpu).reason
}

/// Runs this binary once more, with another compiler: whatever is tested of cells holds on its code.
#[test]
fn cells_are_the_same_on_it() {
    if *IS_BASELINE {
        return;
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .env("JOBCELL_TESTED_CODE", "baseline")
        // What they test is the same for both; and this one.
        .args(["--skip", "compiling::", "--skip", "compile_cache::", "--skip", "baseline::"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let passed = said.lines().find_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"));
    let passed: usize = passed.and_then(|(passed, _)| passed.parse().ok()).unwrap_or_default();
    println!("{passed} tests passed on baseline code");
    assert!(ran.status.success() && passed > 150, "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test]
async fn a_handler_goes_on_with_optimised_code_and_its_running_attempts_end() {
    let bytes = guest("basic");
    let limits = Limits { cpu: Duration::from_millis(50), ..Limits::default() };
    let runner = runner(&admitted(&bytes, Tier::Baseline), limits.clone());
    let version = runner.version().to_owned();
    assert_eq!(runner.tier(), Tier::Baseline);
    let reason = cpu(&runner).await;
    assert!(reason.contains("200ms") && reason.contains("4 times limits.cpu"), "it is slower: {reason}");
    assert_eq!(runner.deadline(), limits.deadline * 4);

    let waiting = attempt(job("wait-for-cancel", "{}"));
    let (runs, cancel) = (runner.clone(), waiting.cancel.clone());
    let ended = tokio::spawn(async move { runs.run(waiting).await });
    // Both are on this thread: it goes on once the guest waits.
    tokio::task::yield_now().await;
    assert!(optimise(&runner, bytes).await.unwrap());
    assert_eq!((runner.tier(), runner.version()), (Tier::Optimised, version.as_str()));
    assert!(!ended.is_finished(), "it is left alone");
    cancel.cancel();
    match timeout(PATIENCE, ended).await.unwrap().unwrap().outcome {
        Outcome::Complete(_) => {}
        outcome => _ = stopped(outcome, StopCause::Cancelled),
    }

    let reason = cpu(&runner).await;
    assert!(reason.contains("50ms") && !reason.contains("limits.cpu"), "{reason}");
    assert_eq!(runner.deadline(), limits.deadline);
    let echoed = run(&runner, &attempt(job("echo", "\"hello\""))).await.outcome;
    assert_eq!(text(&echoed), "\"hello\"");
}

#[tokio::test]
async fn code_that_is_kept_comes_first_and_baseline_code_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = AdmitOptions { cache: Some(CompileCache::open(dir.path()).unwrap()), ..options() };
    let bytes = by_hand(&handle("(i32.const 1024)"));
    let admit = || ENGINE.admit_blocking(&bytes, &options).unwrap();
    for _ in 0..2 {
        let early = admit();
        assert_eq!((early.tier(), early.was_cached()), (Tier::Baseline, false));
    }
    let runner = runner(&admit(), Limits::default());
    let optimiser = runner.optimiser();
    let made = timeout(PATIENCE, optimiser.optimise(bytes.clone().into(), options.clone())).await.unwrap();
    assert!(made.unwrap());
    let late = admit();
    assert_eq!((late.tier(), late.was_cached()), (Tier::Optimised, true));
}

#[tokio::test]
async fn an_engine_has_to_offer_it() {
    let engine = Engine::new(EngineConfig { cells: 1, baseline: false, ..EngineConfig::default() }).unwrap();
    assert!(!engine.report().baseline && ENGINE.report().baseline);
    let bytes = by_hand(&handle("(i32.const 1024)"));
    assert_eq!(engine.admit_blocking(&bytes, &options()).unwrap().tier(), Tier::Optimised);
    assert_eq!(admitted(&bytes, Tier::Baseline).tier(), Tier::Baseline);
}

#[tokio::test]
async fn where_there_is_little_room_cells_run_optimised_code() {
    // A process has 128 TiB of address space, and each cell takes eight GiB of it.
    let config = EngineConfig { cells: 10_000, ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    assert!(!engine.report().baseline);
    let bytes = by_hand(&handle("(i32.const 1024)"));
    assert_eq!(engine.admit_blocking(&bytes, &options()).unwrap().tier(), Tier::Optimised);
    drop(engine);

    // Here there is room for three, and what a handler cannot do without comes first.
    let engine = Engine::new(EngineConfig { cells: 4_200, ..EngineConfig::default() }).unwrap();
    assert!(engine.report().baseline && engine.pools() == 2);
    let with_stack = |stack| {
        let options = AdmitOptions { stack, baseline: false, ..options() };
        engine.admit_blocking(&bytes, &options)
    };
    let one = with_stack(1 << 20).unwrap();
    assert_eq!(engine.pools(), 3);
    let other = with_stack(2 << 20).unwrap();
    assert_eq!(engine.pools(), 3, "it took the place of baseline code");
    assert_eq!(engine.admit_blocking(&bytes, &options()).unwrap().tier(), Tier::Optimised);
    drop(other);
    let early = engine.admit_blocking(&bytes, &options()).unwrap();
    assert_eq!(early.tier(), Tier::Baseline, "there is room again");
    let fault = with_stack(2 << 20).unwrap_err().to_string();
    assert!(fault.contains("cells.baseline = false"), "{fault}");
    drop((one, early));
}

#[tokio::test]
async fn nothing_is_compiled_for_a_handler_that_is_gone() {
    let runner = runner(&admitted(&guest("basic"), Tier::Baseline), Limits::default());
    let optimiser = runner.optimiser();
    drop(runner);
    timeout(PATIENCE, optimiser.gone()).await.unwrap();
    // Were they compiled, these bytes would be an error.
    let nothing = optimiser.optimise(Bytes::from_static(b"no component"), options());
    assert!(!timeout(PATIENCE, nothing).await.unwrap().unwrap());
}

#[tokio::test]
async fn it_goes_while_its_code_is_made() {
    let bytes = guest("basic");
    let runner = runner(&admitted(&bytes, Tier::Baseline), Limits::default());
    let optimiser = runner.optimiser();
    let mut making = std::pin::pin!(optimiser.optimise(bytes.into(), options()));
    assert!(futures::poll!(&mut making).is_pending(), "it is compiled on another thread");
    drop(runner);
    assert!(!timeout(PATIENCE, making).await.unwrap().unwrap());
}

#[tokio::test]
async fn other_bytes_are_no_code_of_it() {
    let runner = runner(&admitted(&guest("basic"), Tier::Baseline), Limits::default());
    let fault = optimise(&runner, by_hand(&handle("(i32.const 1024)"))).await.unwrap_err();
    assert!(matches!(&fault, OptimiseError::Another(_)), "{fault}");
    assert_eq!(runner.tier(), Tier::Baseline);
}

#[tokio::test]
async fn without_optimised_code_it_stays_as_it_is() {
    let runner = runner(&admitted(&guest("basic"), Tier::Baseline), Limits::default());
    let fault = optimise(&runner, b"no component".to_vec()).await.unwrap_err();
    assert!(matches!(&fault, OptimiseError::Admit(AdmitError::NotWasm { .. })), "{fault}");
    assert_eq!(runner.tier(), Tier::Baseline);
    let echoed = run(&runner, &attempt(job("echo", "1"))).await.outcome;
    assert_eq!(text(&echoed), "1");
}

#[tokio::test]
async fn what_no_pool_has_room_for_is_refused_at_once() {
    let memory = format!("(memory (export \"memory\") {})", (2_u64 << 30) / 65536);
    let bytes = by_hand(&handle("(i32.const 1024)").replace(r#"(memory (export "memory") 1)"#, &memory));
    let refused = ENGINE.admit_blocking(&bytes, &options()).unwrap_err();
    assert!(matches!(refused, AdmitError::Compile { .. }), "{refused}");
}

/// What keeps to the limit of its stack on optimised code does so before.
#[tokio::test]
async fn a_guest_gets_at_least_as_deep_on_it() {
    let bytes = diver();
    let mut depths = Vec::new();
    for tier in [Tier::Optimised, Tier::Baseline] {
        depths.push(depth(&runner(&admitted(&bytes, tier), Limits::default())).await);
    }
    println!("calls on optimised code: {}, on baseline code: {}", depths[0], depths[1]);
    assert!(depths[1] >= depths[0], "{depths:?}");
    let runner = runner(&admitted(&bytes, Tier::Baseline), Limits::default());
    let over = run(&runner, &attempt(job("dive", u32::MAX.to_le_bytes().to_vec()))).await;
    stopped(over.outcome, StopCause::Stack);
}
