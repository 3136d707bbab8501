//! Hostile guests in a host that also has honest work, over a real Redis; and `jobcell doctor --attack` on a config.

use std::collections::BTreeMap;

use jobcell_hostile::catalogue;
use jobcell_tests::{Host, Site, wait};
use serde_json::{Value, json};

use crate::stage::Stage;

/// A dozen of the guests, one for each kind of bound, with what a host says of their jobs.
const ATTACKERS: [(&str, &str); 12] = [
    ("loop", "deadline"),
    ("realloc_loops", "deadline"),
    ("sleeps", "deadline"),
    ("host_loop", "deadline"),
    ("fill", "deadline"),
    ("log_flood", "deadline"),
    ("grow_and_touch", "memory limit"),
    ("table_grow", "table elements"),
    ("recurse", "limit of 2 MiB (limits.stack)"),
    ("million_timers", "more"),
    ("huge_result", "calling convention"),
    ("long_names", "out of bounds"),
];

/// Jobs of each attacker, and honest ones beside them.
const ATTACKS: usize = 3;
const HONEST: usize = 40;

/// Locks that would be lost in two seconds if anything kept the host from renewing them.
const HOST: &str = r#"
[queues.work]
handler = "basic"
concurrency = 4
lock = "2s"
stalled-interval = "1s"
[handlers.basic]
source = "${basic}"
"#;

fn site(stage: &Stage) -> Site {
    let guests: BTreeMap<_, _> = catalogue().into_iter().map(|guest| (guest.name, guest)).collect();
    let mut config = HOST.to_owned();
    for (name, _) in ATTACKERS {
        // One with a stack of its own.
        let more = if name == "recurse" { "stack = \"2MiB\"\n" } else { "" };
        config += &format!(
            "[queues.{name}]\nhandler = \"{name}\"\nconcurrency = 3\nlock = \"2s\"\nstalled-interval = \"1s\"\n\
             [handlers.{name}]\nsource = \"${{site}}/{name}.wasm\"\n[handlers.{name}.limits]\ndeadline = \"2500ms\"\n{more}"
        );
    }
    let site = stage.site(&config);
    for (name, _) in ATTACKERS {
        site.write(&format!("{name}.wasm"), guests[name].wasm.bytes());
    }
    site
}

#[test]
fn honest_jobs_complete_and_no_lock_is_lost_among_attackers() {
    let stage = Stage::redis();
    let site = site(&stage);
    let mut attacks = Vec::new();
    for (name, said) in ATTACKERS {
        for _ in 0..ATTACKS {
            attacks.push((name, said, site.enqueue(name, "attack", &json!({}), &["--attempts", "1"])));
        }
    }
    let host = Host::start(&site);
    // The attackers are running, far more of them than there are cores.
    let honest: Vec<String> =
        (0..HONEST).map(|i| site.enqueue("work", "noop", &json!({ "i": i }), &[])).collect();
    wait::until("every job has ended", || {
        let health: Value = serde_json::from_str(&host.get("/health")?.1).ok()?;
        let jobs = |queue: &str, state: &str| health["queues"][queue]["jobs"][state].as_u64();
        let ended = ATTACKERS.iter().map(|(name, _)| jobs(name, "failed")).sum::<Option<u64>>()?;
        let is_over =
            ended == (ATTACKERS.len() * ATTACKS) as u64 && jobs("work", "completed")? == HONEST as u64;
        is_over.then_some(())
    });
    let metrics = host.get("/metrics").unwrap().1;
    for counter in ["jobcell_locks_lost_total", "jobcell_stalled_total"] {
        let counted = metrics.lines().filter(|line| line.starts_with(counter));
        assert!(counted.clone().all(|line| line.ends_with(" 0")), "{:?}", counted.collect::<Vec<_>>());
    }
    host.stop();
    for (name, said, id) in attacks {
        let job = site.job(name, &id);
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert!(job["state"] == "failed" && reason.contains(said), "{name}: {job}");
        assert!(job.to_string().len() < 64 << 10, "{name} left {} bytes", job.to_string().len());
    }
    for (i, id) in honest.iter().enumerate() {
        let job = site.job("work", id);
        assert_eq!((&job["state"], &job["returnvalue"]["i"]), (&json!("completed"), &json!(i)), "{job}");
        // Once, by its first start: none was given back or recovered.
        assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(1)), "{job}");
    }
}

#[test]
fn what_breaks_before_its_first_job_is_not_taken() {
    let guests = catalogue();
    for (name, said) in
        [("start_loops", "deadline"), ("start_traps", "out of bounds"), ("start_grows", "memory limit")]
    {
        let site = Site::embedded(
            "[queues.q]\nhandler = \"h\"\n[handlers.h]\nsource = \"${site}/h.wasm\"\n\
             [handlers.h.limits]\ndeadline = \"500ms\"\n",
        );
        let guest = guests.iter().find(|guest| guest.name == name).unwrap();
        site.write("h.wasm", guest.wasm.bytes());
        let refused = site.cli(&["run", "--burst"]).exits(78);
        let told = &refused.stderr;
        assert!(told.contains("\"h\" is refused") && told.contains(said), "{name}: {told}");
    }
}

#[test]
fn the_doctor_attacks_the_handlers_that_are_configured() {
    let site = Site::embedded(
        "[handlers.one]\nsource = \"${basic}\"\n[handlers.one.limits]\nmemory = \"8MiB\"\ndeadline = \"200ms\"\nstack = \"4MiB\"\n\
         [handlers.same]\nsource = \"${basic}\"\n[handlers.same.limits]\nmemory = \"8MiB\"\ndeadline = \"200ms\"\nstack = \"4MiB\"\n",
    );
    let ran = site
        .cli(&["--json", "doctor", "--attack", "--row", "M1", "--row", "t1", "--row", "C5", "--row", "m8"])
        .ok();
    let report = ran.json();
    assert_eq!((&report["ok"], &report["failed"]), (&json!(true), &json!(0)), "{report}");
    let names: Vec<_> =
        report["profiles"].as_array().unwrap().iter().map(|profile| &profile["name"]).collect();
    let attacked = ["one", "defaults", "one on baseline code", "defaults on baseline code"];
    assert_eq!(names, attacked, "handlers with the same limits and grants are attacked once on each code");
    assert_eq!(report["profiles"][0]["also"], json!(["same"]));
    assert_eq!(report["profiles"][0]["memory_bytes"], 8 << 20);
    let rows: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| &row["row"]).collect();
    assert_eq!(rows, ["C5", "T1", "M1", "M8"]);
    assert_eq!(report["profiles"][0]["stack_bytes"], 4 << 20);
    let mut stacks = report["bouts"].as_array().unwrap().iter().filter(|bout| bout["row"] == "M8");
    assert!(stacks.all(|bout| bout["verdict"] == "held"), "{report}");
    let told = |bout: &&Value| bout["guest"] == "recurse" && bout["profile"] == "one";
    let told = &report["bouts"].as_array().unwrap().iter().find(told).unwrap()["reason"];
    assert!(told.as_str().unwrap().contains("limit of 4 MiB (limits.stack)"), "{told}");
    let grew = report["bouts"].as_array().unwrap().iter().find(|bout| bout["guest"] == "grow").unwrap();
    assert_eq!((&grew["verdict"], &grew["end"]), (&json!("held"), &json!("memory")), "{grew}");
    assert!(grew["reason"].as_str().unwrap().contains("8 MiB"), "{grew}");
    assert!(report["memory_peak_bytes"].as_u64() >= report["memory_before_bytes"].as_u64(), "{report}");
    // It says how far it is, and leaves nothing in the folder it was started in.
    assert!(ran.stderr.contains("one: M1 memory"), "{}", ran.stderr);
    assert!(!site.path().join(".jobcell").exists());

    let refused = site.cli(&["doctor", "--attack", "--row", "X1"]).exits(2);
    assert!(refused.stderr.contains("X1") && refused.stderr.contains("M11"), "{}", refused.stderr);
    let _ = site.cli(&["doctor", "--row", "M1"]).exits(2);
}

#[test]
fn the_doctor_attacks_the_defaults_where_nothing_is_configured() {
    let site = Site::raw("");
    let shown = site.cli(&["doctor", "--attack", "--row", "M2", "--row", "N7"]).ok().stdout;
    for part in [
        "defaults: memory 64 MiB, stack 512 KiB, deadline 1000 ms, cut from 30000 ms",
        "M2   tables",
        "defaults on baseline code: memory 64 MiB",
        "held      12 of 12",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn an_attack_that_is_not_reached_is_neither_held_nor_failed() {
    let site = Site::embedded(
        "[handlers.wide]\nsource = \"${basic}\"\n[handlers.wide.limits]\nprogress = \"1MiB\"\ndeadline = \"200ms\"\n",
    );
    let ran = site.cli(&["--json", "doctor", "--attack", "--row", "O4", "--row", "N1"]).ok();
    let report = ran.json();
    assert_eq!((&report["ok"], &report["failed"]), (&json!(true), &json!(0)), "{report}");
    let bouts = report["bouts"].as_array().unwrap();
    let of = |row: &str, profile: &str| {
        let is_asked = |bout: &&Value| bout["row"] == row && bout["profile"] == profile;
        bouts.iter().filter(is_asked).collect::<Vec<_>>()
    };
    let says = |bout: &Value, part: &str| bout["faults"][0].as_str().is_some_and(|said| said.contains(part));
    // It was granted nothing to send requests with, and may tell more progress than the guest does.
    assert!(of("N1", "wide").iter().all(|bout| bout["verdict"] == "not-reached" && says(bout, "http")));
    let raised = of("O4", "wide").iter().filter(|bout| says(bout, "limits.progress")).count();
    assert!(raised > 0, "{report}");
    // Under the defaults every attack is reached.
    for row in ["N1", "O4"] {
        let attacked = of(row, "defaults");
        assert!(!attacked.is_empty() && attacked.iter().all(|bout| bout["verdict"] == "held"), "{report}");
    }
    let unreached = bouts.iter().filter(|bout| bout["verdict"] == "not-reached").count();
    assert_eq!(report["not_reached"], unreached);
}
