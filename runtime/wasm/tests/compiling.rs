//! Compiling in a process of its own: what it is given, what it may use, and that its end is nothing but the end of one
//! admission.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobcell_core::Outcome;
use jobcell_wasm::{
    AdmitError, AdmitOptions, Admitted, CompileBound, CompileCache, Compiler, CompilerProcess, Engine,
    EngineConfig, Grants, HandlerRunner, HandlerSpec, Services,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{ENGINE, PATIENCE, attempt, bombs, by_hand, guest, handle, job, run};

/// The example of this crate that is nothing but a compiler: this test program cannot be started as one.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples").join("compiler");
    assert!(program.exists(), "{} is built with the tests, by `cargo test`", program.display());
    program
}

fn apart() -> CompilerProcess {
    CompilerProcess { program: Some(program()), ..CompilerProcess::default() }
}

/// Bounds that are this test's own: its processes are told from those of other tests by the memory they may use.
fn apart_with(memory: u64) -> CompilerProcess {
    CompilerProcess { memory, cpu: PATIENCE, wall: PATIENCE, ..apart() }
}

fn engine(process: CompilerProcess) -> Engine {
    let config = EngineConfig { cells: 4, compiler: Compiler::Process(process), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    assert!(engine.report().compiles_apart);
    engine
}

fn options() -> AdmitOptions {
    AdmitOptions::new("tested", Grants::default())
}

fn admit(engine: &Engine, bytes: &[u8]) -> Result<Admitted, AdmitError> {
    engine.admit_blocking(bytes, &options())
}

async fn works(engine: &Engine, admitted: &Admitted) {
    let spec = HandlerSpec { name: "tested".to_owned(), ..HandlerSpec::default() };
    let runner = HandlerRunner::new(engine, admitted, spec, Services::default()).unwrap();
    let report = run(&runner, &attempt(job("noop", r#"{"i":1}"#))).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
}

/// A long one, for looking at the process meanwhile.
fn slow() -> Vec<u8> {
    bombs::huge_function(60_000)
}

/// The compiler processes of this test that are alive.
fn processes(memory: u64) -> Vec<Pid> {
    let own = std::process::id().to_string();
    let mark = ["__jobcell-compile", &own, &memory.to_string()].join("\0");
    let alive = |pid: i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&arguments).contains(&mark).then_some(Pid::from_raw(pid)?)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| alive(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn of_process(pid: Pid, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default()
}

/// Waits for something that has no event to wait for: what another process does.
async fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The process, once it has confined itself.
async fn confined(memory: u64) -> Pid {
    // Its last act before it reads: after it everything else holds.
    let is_confined = |pid: &Pid| {
        of_process(*pid, "limits")
            .lines()
            .any(|line| line.starts_with("Max cpu time") && !line.contains("unlimited"))
    };
    until("a compiler process", || processes(memory).into_iter().find(is_confined)).await
}

#[tokio::test]
async fn what_it_makes_runs_here_and_is_kept_for_every_engine() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(apart());
    works(&engine, &admit(&engine, &guest("basic")).unwrap()).await;
    let kept = AdmitOptions { cache: Some(CompileCache::open(dir.path()).unwrap()), ..options() };
    let first = engine.admit_blocking(&guest("basic"), &kept).unwrap();
    assert!(!first.was_cached());
    works(&engine, &first).await;
    // An engine that compiles by itself makes the same code, and so takes this.
    assert!(!ENGINE.report().compiles_apart);
    let second = ENGINE.admit_blocking(&guest("basic"), &kept).unwrap();
    assert!(second.was_cached());
    works(&ENGINE, &second).await;
}

#[test]
fn each_bound_is_a_refusal_that_names_it() {
    let (memory, second, moment) = (160 << 20, Duration::from_secs(1), Duration::from_millis(300));
    for (process, passed, said) in [
        (
            CompilerProcess { memory, ..apart() },
            CompileBound::Memory(memory),
            "takes more than 160 MiB of memory. Split its largest functions, build it smaller, or raise \
             cells.compile-memory",
        ),
        (
            CompilerProcess { cpu: second, wall: PATIENCE, ..apart() },
            CompileBound::Cpu(second),
            "takes more than 1s of processor time. Split its largest functions, build it smaller, or raise \
             cells.compile-time",
        ),
        (
            CompilerProcess { wall: moment, ..apart() },
            CompileBound::Wall(moment),
            "takes more than 300ms. Split",
        ),
    ] {
        let error = admit(&engine(process), &slow()).unwrap_err();
        assert!(matches!(&error, AdmitError::CompileBound { bound } if *bound == passed), "{error}");
        assert!(error.to_string().contains(said) && !error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn once_jobs_run_half_of_the_cores_are_theirs() {
    let all = std::thread::available_parallelism().unwrap().get();
    for (memory, leaves_room, cores) in [(1121 << 20, false, all), (1122 << 20, true, all.div_ceil(2))] {
        let engine = engine(apart_with(memory));
        if leaves_room {
            engine.leave_room();
        }
        let admission = tokio::spawn(async move { engine.admit(slow(), options()).await });
        let pid = confined(memory).await;
        let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap().count();
        // One waits for those that compile, where there are several.
        let compile = cores.min(4);
        assert_eq!(threads, if compile == 1 { 1 } else { 1 + compile }, "of {all} cores");
        admission.abort();
    }
}

#[tokio::test]
async fn a_bomb_costs_one_admission_and_the_host_keeps_serving() {
    let process = CompilerProcess {
        memory: 512 << 20,
        cpu: Duration::from_secs(3),
        wall: Duration::from_secs(20),
        ..apart()
    };
    let engine = engine(process);
    let served = admit(&engine, &guest("basic")).unwrap();
    for (name, bomb) in [
        ("empty loops", bombs::empty_loops(20_000)),
        ("nested blocks", bombs::nested_blocks(15_000)),
        ("a huge function", bombs::huge_function(60_000)),
        ("many functions", bombs::many_functions(49_000)),
    ] {
        let admission = tokio::spawn({
            let engine = engine.clone();
            async move { engine.admit(bomb, options()).await }
        });
        let mut served_meanwhile = 0;
        while !admission.is_finished() {
            works(&engine, &served).await;
            served_meanwhile += 1;
        }
        match admission.await.unwrap() {
            // Expensive, but not too expensive.
            Ok(_) | Err(AdmitError::CompileBound { .. }) => {}
            Err(error) => panic!("{name}: {error}"),
        }
        assert!(served_meanwhile > 0, "{name}");
        let after = admit(&engine, &by_hand(&handle("(i32.const 0)"))).unwrap();
        assert_eq!(after.version().len(), 12, "{name}");
    }
}

#[tokio::test]
async fn it_has_nothing_of_the_host_but_three_pipes() {
    // A descriptor that everything which is started from here gets.
    let leaked = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    assert!(std::env::vars().next().is_some(), "this test has an environment to be kept back");

    let memory = 1111 << 20;
    let engine = engine(apart_with(memory));
    let admission = tokio::spawn({
        let engine = engine.clone();
        async move { engine.admit(slow(), options()).await }
    });
    let pid = confined(memory).await;
    // The last thing it takes from itself: a filter of system calls.
    until("the filter", || of_process(pid, "status").contains("Seccomp:\t2").then_some(())).await;
    kill_process(pid, Signal::STOP).unwrap();
    let descriptors: Vec<String> = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .collect();
    assert_eq!(descriptors.len(), 3, "{descriptors:?}");
    assert!(descriptors.iter().all(|link| link.starts_with("pipe:")), "{descriptors:?}");
    assert_eq!(of_process(pid, "environ"), "");
    // Itself and those that compile, which were there before: all of them are held.
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let threads: Vec<_> = threads.map(|thread| thread.unwrap().file_name().into_string().unwrap()).collect();
    assert!((1..=5).contains(&threads.len()), "{threads:?}");
    for thread in threads {
        let status = of_process(pid, &format!("task/{thread}/status"));
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
        // Those that compile come behind the jobs, not only the one that waits for them.
        let stat = of_process(pid, &format!("task/{thread}/stat"));
        let nice = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(16));
        assert_eq!(nice, Some("5"), "{stat}");
    }
    let limits = of_process(pid, "limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let memory_text = memory.to_string();
    for (name, soft, hard) in [
        ("Max address space", memory_text.as_str(), memory_text.as_str()),
        ("Max cpu time", "60", "61"),
        ("Max open files", "3", "3"),
        ("Max file size", "0", "0"),
        ("Max core file size", "0", "0"),
        ("Max processes", "0", "0"),
    ] {
        assert_eq!(limit(name), [soft, hard], "{name}");
    }
    // And it goes with nobody waiting for it, stopped as it is.
    admission.abort();
    until("the end of the process", || processes(memory).is_empty().then_some(())).await;
    drop(leaked);
}

#[tokio::test]
async fn killed_from_outside_it_may_be_tried_again() {
    let memory = 1112 << 20;
    let engine = engine(apart_with(memory));
    let admission = tokio::spawn({
        let engine = engine.clone();
        async move { engine.admit(slow(), options()).await }
    });
    kill_process(confined(memory).await, Signal::KILL).unwrap();
    let error = admission.await.unwrap().unwrap_err();
    assert!(matches!(error, AdmitError::CompilerKilled { signal: 9 }) && error.is_transient(), "{error}");
    admit(&engine, &by_hand(&handle("(i32.const 0)"))).unwrap();
}

#[tokio::test]
async fn with_the_future_the_process_goes() {
    let memory = 1113 << 20;
    let engine = engine(apart_with(memory));
    let admission = tokio::spawn({
        let engine = engine.clone();
        async move { engine.admit(slow(), options()).await }
    });
    confined(memory).await;
    admission.abort();
    assert!(admission.await.unwrap_err().is_cancelled());
    until("the end of the process", || processes(memory).is_empty().then_some(())).await;
    admit(&engine, &by_hand(&handle("(i32.const 0)"))).unwrap();
}

#[tokio::test]
async fn one_compiles_at_a_time_and_not_all_may_wait() {
    const TAKEN: usize = 65;
    let memory = 1114 << 20;
    let engine = engine(apart_with(memory));
    let (bomb, mut admissions) = (bytes::Bytes::from(slow()), tokio::task::JoinSet::new());
    for _ in 0..TAKEN + 3 {
        let (engine, bomb) = (engine.clone(), bomb.clone());
        admissions.spawn(async move { engine.admit(bomb, options()).await });
    }
    for _ in 0..3 {
        let refused = tokio::time::timeout(PATIENCE, admissions.join_next()).await.unwrap().unwrap().unwrap();
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("64 artifacts wait to be compiled already"), "{error}");
        assert!(error.is_transient());
        assert!(processes(memory).len() <= 1);
    }
    confined(memory).await;
    assert_eq!(processes(memory).len(), 1);
    admissions.abort_all();
    while admissions.join_next().await.is_some() {}
    until("the end of the processes", || processes(memory).is_empty().then_some(())).await;
    // Nobody is in front any more.
    let small = AdmitOptions::new("tested", Grants::default());
    let admitted = engine.admit(by_hand(&handle("(i32.const 0)")), small);
    tokio::time::timeout(PATIENCE, admitted).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_valid_waits_for_no_turn_and_leaves_no_process() {
    let memory = 1115 << 20;
    let engine = engine(apart_with(memory));
    let broken = || {
        let refused = admit(&engine, &by_hand(&handle("(i64.const 0)"))).unwrap_err();
        assert!(matches!(refused, AdmitError::Malformed { .. }), "{refused}");
    };
    broken();
    assert!(processes(memory).is_empty(), "the one that was started for it has ended");
    let admission = tokio::spawn({
        let engine = engine.clone();
        async move { engine.admit(slow(), options()).await }
    });
    let compiling = confined(memory).await;
    tokio::task::block_in_place(broken);
    assert_eq!(processes(memory), [compiling]);
    admission.abort();
    assert!(admission.await.unwrap_err().is_cancelled());
    until("the end of the process", || processes(memory).is_empty().then_some(())).await;
}

#[test]
fn a_program_that_is_no_compiler_of_ours_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    };
    for (program, said) in [
        (dir.path().join("nowhere"), "does not start"),
        (script("echo", "cat"), "unknown kind 0x00"),
        (script("silent", "exit 0"), "it said nothing"),
        (script("broken", "echo first line >&2; echo second >&2; exit 3"), "first line"),
        (script("other", "cat > /dev/null; printf Efedcba"), "makes code for another engine"),
        (script("liar", "cat > /dev/null; printf Cnonsense"), "cannot be compiled"),
        (script("crash", "kill -SEGV $$"), "crashed with signal 11"),
        (script("flood", "cat /dev/zero >&2 & cat > /dev/null; kill $!; printf Rwhatever"), "whatever"),
    ] {
        let error = admit(
            &engine(CompilerProcess { program: Some(program.clone()), ..CompilerProcess::default() }),
            &by_hand(&handle("(i32.const 0)")),
        )
        .unwrap_err();
        assert!(error.to_string().contains(said) && !error.is_transient(), "{}: {error}", program.display());
    }
}

#[test]
fn a_compiler_starts_for_a_host_only() {
    let status = |arguments: &[&str]| {
        let ran = std::process::Command::new(program())
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, said) = status(&["__jobcell-compile"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("how a host of this version starts its compiler"), "{said}");
    // As if the host had died meanwhile.
    let (code, said) = status(&["__jobcell-compile", "1", "1073741824", "20", "2", "optimised", "abc"]);
    assert!(code == Some(2) && said.contains("is gone"), "{said}");
}
