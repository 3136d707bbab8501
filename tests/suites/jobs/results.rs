//! Results that are kept by content: no second run while they last, on whatever hosts.

use std::collections::BTreeSet;

use jobcell_tests::{Host, Site, artifacts, wait};
use serde_json::{Value, json};

use crate::stage::{Stage, on_both_stores};

/// One queue whose jobs go to the guest `basic`, from a file of the site, with this `result-cache`.
fn keeping(stage: &Stage, result_cache: &str) -> Site {
    let site = stage.site(&format!(
        "[queues.work]\nhandler = \"basic\"\nconcurrency = 8\nlock = \"1s\"\nstalled-interval = \"1s\"\n\
         [handlers.basic]\nsource = \"mine.wasm\"\nresult-cache = {result_cache}\n"
    ));
    site.write("mine.wasm", std::fs::read(artifacts::guest("basic")).unwrap());
    site
}

/// Runs one job by a host of its own, and returns it with its last receipt.
fn run(site: &Site, name: &str, data: &Value, more: &[&str]) -> (Value, Value) {
    let id = site.enqueue("work", name, data, more);
    let _ = site.burst();
    (site.job("work", &id), receipt(site, &id))
}

fn receipt(site: &Site, id: &str) -> Value {
    let receipts = site.cli(&["--json", "job", "receipt", "work", id]).ok().json();
    receipts.as_array().and_then(|all| all.last()).cloned().unwrap_or_default()
}

/// Which job computed the result: the guest's `job` answers with its own id.
fn computed_by(job: &Value) -> &str {
    job["returnvalue"]["id"].as_str().unwrap_or_else(|| panic!("no result: {job}"))
}

fn id(job: &Value) -> &str {
    job["id"].as_str().expect("an id")
}

/// The same component with another digest.
fn changed(component: Vec<u8>) -> Vec<u8> {
    // A custom section: its id, its size, the length of its name, its name.
    let mut changed = component;
    changed.extend_from_slice(&[0, 5, 4, b'e', b'l', b's', b'e']);
    changed
}

on_both_stores! {
    fn the_same_content_makes_no_second_cell(stage: &Stage) {
        let site = keeping(stage, "\"1h\"");
        let (first, cost) = run(&site, "job", &json!({"a": 1, "b": 2}), &[]);
        assert!(cost["cached"].is_null() && cost["start_us"].as_u64() > Some(0), "{cost}");
        // Another process, another spelling.
        let (second, cost) = run(&site, "job", &json!({"b": 2, "a": 1}), &[]);
        assert_eq!(second["returnvalue"], first["returnvalue"]);
        assert_eq!(cost["cached"], json!(true), "{cost}");
        assert_eq!(cost["computed_by"], json!(format!("work/{}", id(&first))));
        assert!(cost["start_us"].is_null() && cost["cpu_us"].is_null() && cost["memory_peak_bytes"].is_null(), "{cost}");
        assert!(site.logs("work", id(&second)).join("\n").contains("not run again"), "{second}");
        let attempt = &second["attempts"][0];
        assert_eq!((&attempt["cached"], &attempt["outcome"]), (&json!(true), &json!("completed")), "{attempt}");
        let _ = site.cli(&["job", "receipt", "work", id(&second)]).ok().answers(&["completed (cached)"]);
        let told = format!("that of job work/{}", id(&first));
        let _ = site.cli(&["job", "receipt", "work", id(&second), "--attempt", "1"]).ok().answers(&[&told]);

        let (other, _) = run(&site, "job", &json!({"a": 1, "b": 3}), &[]);
        assert_eq!(computed_by(&other), id(&other), "other content");
    }

    fn tenants_are_apart_and_a_fresh_one_can_be_had(stage: &Stage) {
        let site = keeping(stage, "\"1h\"");
        let (first, _) = run(&site, "job", &json!(1), &[]);
        for tenant in ["acme", "other"] {
            let (job, _) = run(&site, "job", &json!(1), &["--tenant", tenant]);
            assert_eq!(computed_by(&job), id(&job), "{tenant} is given nobody else's");
            let (again, _) = run(&site, "job", &json!(1), &["--tenant", tenant]);
            assert_eq!(computed_by(&again), id(&job));
        }
        let (fresh, _) = run(&site, "job", &json!(1), &["--fresh"]);
        assert_eq!(computed_by(&fresh), id(&fresh));
        let (last, _) = run(&site, "job", &json!(1), &[]);
        assert_eq!(computed_by(&last), id(&fresh), "and not {}", id(&first));
    }

    fn failures_are_not_kept_and_results_expire(stage: &Stage) {
        let site = keeping(stage, "{ ttl = \"500ms\" }");
        for _ in 0..2 {
            let (job, cost) = run(&site, "fail", &json!({"kind": "fatal", "message": "no"}), &[]);
            assert_eq!(job["state"], "failed", "{job}");
            assert!(cost["cached"].is_null(), "{cost}");
        }
        let (first, _) = run(&site, "job", &json!(7), &[]);
        wait::until("the result expires", || {
            let (job, _) = run(&site, "job", &json!(7), &[]);
            (computed_by(&job) != id(&first)).then_some(())
        });
    }

    fn only_the_parts_that_are_named_count(stage: &Stage) {
        let site = keeping(stage, "{ ttl = \"1h\", key = [\"/content/sha256\"] }");
        let content = |post: u64| json!({"content": {"sha256": "ab"}, "post": post});
        let (first, _) = run(&site, "job", &content(1), &[]);
        let (second, _) = run(&site, "job", &content(2), &[]);
        assert_eq!(computed_by(&second), id(&first));
        for _ in 0..2 {
            let (bare, _) = run(&site, "job", &json!({"post": 3}), &[]);
            assert_eq!(computed_by(&bare), id(&bare), "jobs that lack it have nothing in common");
            assert!(site.logs("work", id(&bare)).join("\n").contains("has no /content/sha256"), "{bare}");
        }
    }

    fn a_new_version_begins_with_none_unless_it_is_to_share_them(stage: &Stage) {
        for (rule, shares) in [("\"1h\"", false), ("{ ttl = \"1h\", across-versions = true }", true)] {
            let site = keeping(stage, rule);
            let data = json!({"shares": shares});
            let (first, _) = run(&site, "job", &data, &[]);
            site.write("mine.wasm", changed(site.read("mine.wasm")));
            let (second, _) = run(&site, "job", &data, &[]);
            assert_ne!(first["attempts"][0]["digest"], second["attempts"][0]["digest"], "another version: {second}");
            assert_eq!(computed_by(&second) == id(&first), shares, "{second}");
        }
    }

    fn a_host_that_dies_lets_another_one_compute(stage: &Stage) {
        let site = keeping(stage, "\"1h\"");
        let data = json!({"ms": 3_000});
        let dying = Host::start(&site);
        let first = post(&dying, &json!({"name": "sleep", "data": data}));
        wait::until("it runs", || (state(&dying, &first[0])? == "active").then_some(()));
        dying.kill();
        let heir = Host::start(&site);
        let second = post(&heir, &json!({"name": "sleep", "data": data}));
        for job in [&first[0], &second[0]] {
            wait::until("it ends", || (state(&heir, job)? == "completed").then_some(()));
        }
        heir.stop();
        let cached = [&first[0], &second[0]].map(|job| receipt(&site, job)["cached"] == json!(true));
        assert_eq!(cached.iter().filter(|cached| **cached).count(), 1, "one of them computed: {cached:?}");
    }
}

fn post(host: &Host, body: &Value) -> Vec<String> {
    let (status, answer) =
        host.request("POST", "/api/v1/queues/work/jobs", &[], Some(body)).expect("an answer");
    assert!(status == 201 || status == 200, "{status} {answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let one = |job: &Value| id(job).to_owned();
    match answer.as_array().or_else(|| answer["items"].as_array()) {
        Some(all) => all.iter().map(one).collect(),
        None => vec![one(&answer)],
    }
}

fn state(host: &Host, id: &str) -> Option<String> {
    let (_, job) = host.get(&format!("/api/v1/queues/work/jobs/{id}"))?;
    serde_json::from_str::<Value>(&job).ok()?["state"].as_str().map(str::to_owned)
}

#[test]
fn of_fifty_at_once_on_two_hosts_one_runs() {
    let stage = Stage::redis();
    let sites = [keeping(&stage, "\"1h\""), keeping(&stage, "\"1h\"")];
    let hosts = [Host::start(&sites[0]), Host::start(&sites[1])];
    let job = json!({"name": "sleep", "data": {"ms": 1_000}});
    let ids = post(&hosts[0], &json!(vec![job; 50]));
    assert_eq!(ids.len(), 50);
    for id in &ids {
        wait::until("it ends", || (state(&hosts[1], id)? == "completed").then_some(()));
    }
    let counts = |result: &str| -> u64 {
        let line = format!("jobcell_result_cache_total{{handler=\"basic\",result=\"{result}\"}} ");
        let count = |host: &Host| -> u64 {
            let (_, page) = host.get("/metrics").expect("the metrics");
            page.lines().find_map(|shown| shown.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
        };
        hosts.iter().map(count).sum()
    };
    assert_eq!((counts("miss"), counts("hit"), counts("error")), (1, 49, 0));
    assert!(counts("wait") >= 7, "{} waited", counts("wait"));
    let [one, other] = hosts;
    one.stop();
    other.stop();
    let jobs: Vec<Value> = ids.iter().map(|id| receipt(&sites[0], id)).collect();
    let ran: Vec<&Value> = jobs.iter().filter(|receipt| receipt["cached"].is_null()).collect();
    assert_eq!(ran.len(), 1, "{ran:?}");
    let origins: BTreeSet<&str> = jobs.iter().filter_map(|receipt| receipt["computed_by"].as_str()).collect();
    assert_eq!(origins.len(), 1, "{origins:?}");
    assert!(jobs.iter().all(|receipt| receipt["attempt"] == json!(1)), "waiting uses no attempt");
}

#[test]
fn items_of_a_list_share_results_and_can_ask_for_a_fresh_one() {
    let stage = Stage::redis();
    let site = stage.site(
        "[queues.overlay]\nprotocol = \"list\"\nkey = \"job_queue\"\nrecord = \"job:{id}\"\nhandler = \"basic\"\n\
         [handlers.basic]\nsource = \"${basic}\"\nresult-cache = \"1h\"\n",
    );
    let mut producer = stage.redis.as_ref().unwrap().client();
    let host = Host::start(&site);
    let mut push = |item: &str, id: &str| -> Value {
        let _ = producer.run(&["LPUSH", "job_queue", item]);
        let record = format!("job:{id}");
        wait::until("it completes", || {
            let status = producer.run(&["HGET", &record, "status"]).text();
            (status.as_deref() == Some("COMPLETED")).then_some(())
        });
        let result = producer.run(&["HGET", &record, "result"]).text().expect("a result");
        serde_json::from_str(&result).expect("JSON")
    };
    let item =
        |id: &str, more: &str| format!("{{\"id\":\"{id}\",\"name\":\"job\",\"data\":{{\"x\":1}}{more}}}");
    assert_eq!(push(&item("a", ""), "a")["id"], "a");
    assert_eq!(push(&item("b", ""), "b")["id"], "a", "the same content");
    assert_eq!(push(&item("c", ",\"tenantId\":\"acme\""), "c")["id"], "c");
    assert_eq!(push(&item("d", ",\"fresh\":true"), "d")["id"], "d");
    assert_eq!(push(&item("e", ""), "e")["id"], "d");
    host.stop();
}
