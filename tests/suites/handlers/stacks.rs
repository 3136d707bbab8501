//! A stack for each handler: how deep its jobs get, what ends those that want more, and another size with a reload.

use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};
use rustix::process::Signal;
use serde_json::json;

use super::guest::{Does, Guest};

fn config(small: &str) -> String {
    let handler = |name: &str, stack: &str| {
        format!(
            "[queues.{name}]\nhandler = {name:?}\nconcurrency = 4\n[handlers.{name}]\nsource = \"${{site}}/dive.wasm\"\n\
             limits = {{ stack = {stack:?} }}\n"
        )
    };
    format!("{}{}[cells.ceilings]\nstack = \"2MiB\"\n", handler("small", small), handler("large", "1MiB"))
}

/// Depths of which each is a tenth more than the one before.
fn depths() -> Vec<u64> {
    std::iter::successors(Some(500), |depth| Some(depth + depth / 10))
        .take_while(|depth| *depth < 60_000)
        .collect()
}

/// Has a job go to each depth. How many of them got there, and why the others did not.
fn dive(ledger: &Ledger) -> (usize, Vec<String>) {
    let ids = ledger.push("dive", depths().into_iter().map(|depth| json!(depth)));
    wait::until("every job has ended", || {
        ids.iter().all(|id| ledger.field(id, "finishedOn").is_some()).then_some(())
    });
    let reasons: Vec<String> = ids.iter().filter_map(|id| ledger.field(id, "failedReason")).collect();
    (ids.len() - reasons.len(), reasons)
}

#[test]
fn each_handler_gets_as_deep_as_its_own_stack_and_a_reload_changes_it() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, &config("128KiB"));
    site.write("dive.wasm", &Guest::new("dived", Does::Dive).bytes);
    let checked = site.cli(&["check"]).ok();
    let _ = checked.answers(&["stack 128 KiB", "stack 1024 KiB"]);
    let host = Host::start(&site);
    let (small, large) = (Ledger::of(&redis, "small"), Ledger::of(&redis, "large"));
    let ((shallow, why_shallow), (deep, why_deep)) = (dive(&small), dive(&large));
    // Eight times the stack is 22 steps of a tenth.
    let steps = deep - shallow;
    println!(
        "with 128 KiB {shallow} of {} depths were reached, with 1 MiB {deep}: {steps} steps",
        depths().len()
    );
    assert!((20..=24).contains(&steps), "{shallow} and {deep} steps");
    for (reasons, limit) in [(&why_shallow, "limit of 128 KiB"), (&why_deep, "limit of 1 MiB")] {
        assert!(!reasons.is_empty());
        for reason in reasons {
            assert!(reason.contains("stack overflowed") && reason.contains(limit), "{reason}");
            assert!(reason.contains("(limits.stack)"), "{reason}");
        }
    }
    let (_, metrics) = host.get("/metrics").unwrap();
    let counted = |handler: &str, of: &[String]| {
        let line = format!("jobcell_traps_total{{handler={handler:?},reason=\"stack\"}} {}", of.len());
        assert!(metrics.contains(&line), "{line} in {metrics}");
    };
    counted("small", &why_shallow);
    counted("large", &why_deep);

    site.write_config(&site.config().replace("stack = \"128KiB\"", "stack = \"1MiB\""));
    host.signal(Signal::HUP);
    wait::until("the reload is done", || (dive(&small).0 == deep).then_some(()));
    // Above the ceiling the whole change is none.
    site.write_config(&site.config().replace("stack = \"1MiB\" }", "stack = \"3MiB\" }"));
    host.signal(Signal::HUP);
    host.wait_log("cells.ceilings.stack");
    assert_eq!(dive(&small).0, deep);
    host.stop();
}

#[test]
fn sizes_beyond_those_that_a_host_has_are_told_before_it_starts() {
    let mut config = String::new();
    for n in 1..=8 {
        config += &format!(
            "[handlers.h{n}]\nsource = \"${{basic}}\"\nlimits = {{ stack = \"{}KiB\" }}\n",
            64 * n + 512
        );
    }
    let site = Site::embedded(&config);
    let ran = site.cli(&["check"]).exits(2);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(told.contains("handlers.h8.limits.stack") && told.contains("more than the 8"), "{told}");
    assert!(!told.contains("handlers.h7.limits.stack"), "{told}");
}
