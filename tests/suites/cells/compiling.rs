//! The program compiles handlers in a process of its own, which is itself, started anew: with nothing of the host's,
//! and never for longer than the host.

use std::fs;
use std::process::Child;

use jobcell_tests::{Host, Site, artifacts, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::stage::BASIC;

/// A component of the handlers' world with one more function, which nobody calls and which is dear to compile.
fn bomb(steps: usize) -> Vec<u8> {
    let step = "local.get 1 local.get 2 i64.mul local.get 3 i64.xor local.tee 1 i64.popcnt local.set 2 local.get 4 \
                local.get 1 i64.rotl local.set 3 local.get 0 if local.get 3 local.set 4 end ";
    let text = format!(
        r#"(component
          (import "jobcell:job/types@0.1.0" (instance $types
            (type $header' (record (field "name" string) (field "value" string)))
            (export "header" (type $header (eq $header')))
            (type $headers (list $header)) (type $text (option string)) (type $bytes (list u8))
            (type $job' (record (field "id" string) (field "queue" string) (field "name" string)
              (field "data" $bytes) (field "attempt" u32) (field "max-attempts" u32) (field "starts" u32)
              (field "stalls" u32) (field "enqueued-at" u64) (field "deadline" u64)
              (field "idempotency-key" string) (field "tenant" $text) (field "parent" $text)
              (field "headers" $headers)))
            (export "job" (type (eq $job')))
            (type $delayed' (record (field "reason" string) (field "delay-ms" u64)))
            (export "delayed-retry" (type $delayed (eq $delayed')))
            (type $failure' (variant (case "retry" string) (case "retry-after" $delayed) (case "fatal" string)
              (case "invalid" string) (case "rate-limited" u64) (case "delay-until" u64) (case "requeue")
              (case "wait-for-children") (case "other" string)))
            (export "failure" (type (eq $failure')))))
          (alias export $types "job" (type $job))
          (alias export $types "failure" (type $failure))
          (core module $m (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "handle") (param i32) (result i32) (i32.const 0))
            (func (param i32) (local i64 i64 i64 i64) {}))
          (core instance $i (instantiate $m))
          (func $f (param "job" $job) (result (result (list u8) (error $failure)))
            (canon lift (core func $i "handle") (memory (core memory $i "memory"))
              (realloc (core func $i "realloc"))))
          (export "handle" (func $f)))"#,
        step.repeat(steps)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// Long enough to be looked at, on any machine.
const LONG: usize = 60_000;

/// A site with a handler that works beside one that takes too long to compile.
fn site_with_a_bomb(cells: &str) -> Site {
    let site = Site::embedded(&format!(
        "[cells]\nmax = 8\n{cells}\n{BASIC}\n[handlers.bomb]\nsource = \"bomb.wasm\"\n"
    ));
    site.write("bomb.wasm", bomb(LONG));
    site
}

/// The process that compiles for a host, once it has taken from itself what it must not have.
fn compiler_of(host: u32) -> Pid {
    wait::until("the host compiles in a process of its own", || {
        let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let is_ours = arguments.contains(&format!("__jobcell-compile\0{host}\0"));
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
            let is_bound =
                limits.lines().any(|line| line.starts_with("Max cpu time") && !line.contains("unlimited"));
            (is_ours && is_bound).then(|| Pid::from_raw(pid)).flatten()
        });
        children.last()
    })
}

/// Gone, or only waiting to be collected by whoever inherited it.
fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    matches!(state, None | Some(None | Some('Z' | 'X')))
}

/// A command that is running while the test looks at it.
struct Command(Child);

impl Drop for Command {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_compiles_apart_unless_it_is_told_not_to() {
    for (compiler, apart) in [("process", true), ("inline", false)] {
        let site = Site::embedded(&format!("[cells]\nmax = 8\ncompiler = \"{compiler}\"\n{BASIC}"));
        let found = site.cli(&["--json", "doctor"]).ok().json();
        assert_eq!(found["environment"]["engine"]["compiles_apart"], apart, "{found}");
        let basic = artifacts::guest("basic").display().to_string();
        let invoked =
            site.cli(&["--json", "invoke", &basic, "--name", "noop", "--data", r#"{"i":7}"#]).ok().json();
        assert_eq!(invoked["outcome"], "completed", "{invoked}");
        let id = site.enqueue("work", "noop", &json!({"i": 7}), &[]);
        let _ = site.burst();
        assert_eq!(site.job("work", &id)["state"], "completed");
    }
}

#[test]
fn a_bomb_is_refused_by_the_bound_it_passes_and_the_rest_is_admitted() {
    for (cells, said) in [
        ("compile-time = \"2s\"", "of processor time. Split its largest functions"),
        ("compile-memory = \"192MiB\"", "takes more than 192 MiB of memory. Split its largest functions"),
    ] {
        let site = site_with_a_bomb(cells);
        let ran = site.cli(&["check"]).exits(78).answers(&["handler basic", "admitted", "handler bomb"]);
        assert!(ran.stdout.contains(said) || ran.stdout.contains("takes more than 2s"), "{ran}");
        let ran = site.cli(&["run", "--burst"]);
        assert!(ran.stderr.contains("takes more than"), "{ran}");
    }
}

#[test]
fn a_running_host_that_is_given_a_bomb_goes_on_with_what_it_has() {
    let site = Site::embedded(&format!(
        "[cells]\nmax = 8\ncompile-time = \"3s\"\n{}",
        BASIC.replace("${basic}", "basic.wasm")
    ));
    let good = fs::read(artifacts::guest("basic")).unwrap();
    site.write("basic.wasm", &good);
    let host = Host::start(&site);
    site.write("basic.wasm", bomb(LONG));
    host.signal(Signal::HUP);
    let refused = host.wait_log("takes more than");
    assert!(refused.contains("compile-time"), "{refused}");
    assert_eq!(host.get("/readyz").unwrap().0, 200);
    host.stop();
}

#[test]
fn the_process_has_nothing_of_the_host_and_dies_with_it() {
    let site = site_with_a_bomb("compile-time = \"60s\"").env("TEST_SECRET", "not for compilers");
    let mut command = site.command();
    command.arg("check").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut checking = Command(command.spawn().unwrap());
    let pid = compiler_of(checking.0.id());
    kill_process(pid, Signal::STOP).unwrap();
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    assert_eq!(fs::read(format!("{folder}/environ")).unwrap(), b"");
    let open: Vec<_> = fs::read_dir(format!("{folder}/fd"))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .collect();
    assert!(open.len() == 3 && open.iter().all(|link| link.starts_with("pipe:")), "{open:?}");
    assert_eq!(fs::read_link(format!("{folder}/cwd")).unwrap().to_str(), Some("/"));
    checking.0.kill().unwrap();
    checking.0.wait().unwrap();
    wait::until("the compiler goes with its host", || is_gone(pid).then_some(()));
}

#[test]
fn killed_from_outside_it_costs_one_admission_and_says_so() {
    let site = site_with_a_bomb("compile-time = \"60s\"");
    let mut command = site.command();
    command.arg("check").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let checking = command.spawn().unwrap();
    let host = checking.id();
    // The first one may be the good handler's, which is done at once.
    let pid = compiler_of(host);
    kill_process(pid, Signal::KILL).unwrap();
    let out = checking.wait_with_output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains("was killed from outside (signal 9). Try again"), "{said}");
    assert_eq!(out.status.code(), Some(78), "{said}");
}
