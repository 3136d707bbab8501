//! Commands that change many jobs, the limits of queues, and whole queues.

use serde_json::json;

use super::*;

/// A place with a queue `q` of so many jobs, enqueued with these options.
fn filled(count: usize, options: &[&str]) -> Place {
    let place = Place::new();
    for n in 0..count {
        place.run(&[&["enqueue", "q", "n", "--data", &n.to_string()], options].concat()).is(Exit::Done, &[]);
    }
    place
}

fn count(place: &Place, state: &str) -> u64 {
    place.json(&["queue", "counts", "q"]).1[0][state].as_u64().unwrap()
}

/// Claims so many jobs and ends them.
fn end(place: &Place, count: usize, verdict: &Verdict) {
    let store = Arc::new(place.store());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for _ in 0..count {
            finish_one(Arc::clone(&store), QueueName::new("q").unwrap(), verdict.clone()).await;
        }
        store.close().await;
    });
}

fn failed() -> Verdict {
    Verdict::Fail { reason: "no".into(), stacktrace: Vec::new(), keep: Keep::All, attempts_max: 1 }
}

#[test]
fn jobs_are_cleaned_by_state_age_and_number() {
    let place = filled(3, &[]);
    end(&place, 2, &completed(Keep::All));
    place.run(&["queue", "clean", "q"]).is(Exit::Usage, &["removing all completed jobs", "--yes"]);
    place
        .run(&["queue", "clean", "q", "--older", "1h", "--yes"])
        .is(Exit::Done, &["queue q: 0 jobs removed"]);
    assert_eq!(
        place.json(&["queue", "clean", "q", "--limit", "1", "--yes"]).1,
        json!({"name": "q", "removed": 1})
    );
    assert_eq!(place.json(&["queue", "clean", "--all", "--yes"]).1, json!([{"name": "q", "removed": 1}]));
    assert_eq!((count(&place, "completed"), count(&place, "waiting")), (0, 1));
    place.run(&["queue", "clean", "q", "--state", "waiting-children", "--yes"]).is(Exit::Done, &["0 jobs"]);
    place.run(&["queue", "clean", "q", "--state", "done", "--yes"]).is(Exit::Usage, &["waiting-children"]);
    place.run(&["queue", "clean", "q", "--older", "old", "--yes"]).is(Exit::Usage, &["7d"]);
    place.run(&["queue", "clean", "--yes"]).is(Exit::Usage, &["--all"]);
}

#[test]
fn delayed_jobs_are_promoted_and_finished_ones_retried() {
    let place = filled(3, &["--delay", "1h"]);
    assert_eq!(place.json(&["queue", "promote", "q", "--limit", "2"]).1["promoted"], 2);
    assert_eq!((count(&place, "delayed"), count(&place, "waiting")), (1, 2));
    place.run(&["queue", "promote", "--all"]).is(Exit::Done, &["queue q: 1 job is due now"]);
    end(&place, 3, &failed());
    place.run(&["queue", "retry", "q", "--older", "1d"]).is(Exit::Done, &["queue q: 0 jobs"]);
    assert_eq!(place.json(&["queue", "retry", "q", "--limit", "2"]).1, json!({"name": "q", "retried": 2}));
    assert_eq!((count(&place, "failed"), count(&place, "waiting")), (1, 2));
    place.run(&["queue", "retry", "q", "--state", "completed"]).is(Exit::Done, &["0 jobs"]);
    place.run(&["queue", "retry", "q", "--state", "active"]).is(Exit::Usage, &["failed and completed"]);
}

#[test]
fn long_work_tells_how_far_it_is() {
    let place = Place::new();
    let store = place.store();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = QueueName::new("q").unwrap();
        let mut delayed = NewJob::new("n", "{}");
        delayed.options.delay = 3_600_000;
        store.add(&queue, vec![delayed; 20_005], SystemClock.now()).await.unwrap();
        store.close().await;
    });
    drop(store);
    let ran = place.run(&["queue", "promote", "q"]);
    ran.is(Exit::Done, &["queue q: 20005 jobs are due now"]);
    assert!(ran.err.contains("10000 jobs are due now so far") && ran.err.contains("20000"), "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 1);
}

#[test]
fn limits_are_shown_set_and_lifted() {
    let place = filled(1, &[]);
    place.run(&["queue", "concurrency", "q"]).is(Exit::Done, &["queue q is not limited"]);
    place.run(&["queue", "concurrency", "q", "3"]).is(Exit::Done, &["at most 3 jobs at once"]);
    place.run(&["queue", "rate", "q", "100/1m"]).is(Exit::Done, &["at most 100 jobs in 1m"]);
    let (exit, shown) = place.json(&["queue", "rate", "q"]);
    let expected = json!({"name": "q", "paused": false, "concurrency": 3, "rate": {"max": 100, "per_ms": 60_000},
                          "rests_for_ms": null});
    assert_eq!((exit, shown), (Exit::Done, expected));
    place.run(&["queue", "rate", "q", "--rest", "1h"]).is(Exit::Done, &["rests for another"]);
    let rests_for = place.json(&["queue", "rate", "q"]).1["rests_for_ms"].as_u64();
    assert!(rests_for.is_some_and(|ms| (1..=3_600_000).contains(&ms)), "{rests_for:?}");
    place.run(&["queue", "rate", "q", "--rest", "0", "--off"]).is(Exit::Done, &["queue q is not limited\n"]);
    place.run(&["queue", "concurrency", "q", "--off"]).is(Exit::Done, &["is not limited"]);
    for bad in [
        &["rate", "q", "100"][..],
        &["rate", "q", "0/s"],
        &["rate", "q", "5/s", "--off"],
        &["concurrency", "q", "0"],
    ] {
        place.run(&[&["queue"], bad].concat()).is(Exit::Usage, &[]);
    }
    place
        .run(&["queue", "rate", "k"])
        .is(Exit::Done, &["nothing is known of a queue \"k\"", "did you mean \"q\""]);
}

#[test]
fn a_queue_is_obliterated_when_it_is_paused_and_said_so() {
    let mut place = filled(2, &[]);
    place.run(&["queue", "obliterate", "p", "--yes"]).is(Exit::Failed, &["no queue \"p\"", "\"q\""]);
    // What cannot be done is not confirmed first.
    for yes in [&[][..], &["--yes"]] {
        place
            .run(&[&["queue", "obliterate", "q"], yes].concat())
            .is(Exit::Failed, &["not paused", "jobcell queue pause q"]);
    }
    place.run(&["queue", "pause", "q"]).is(Exit::Done, &[]);
    place.run(&["queue", "obliterate", "q"]).is(Exit::Usage, &["all its jobs, schedulers, events", "--yes"]);
    place.interactive = true;
    place.stdin = "no\n".to_owned();
    place.run(&["queue", "obliterate", "q"]).is(Exit::Failed, &["nothing was changed"]);
    place.stdin = "yes\n".to_owned();
    place.run(&["queue", "obliterate", "q"]).is(Exit::Done, &["queue q is gone"]);
    assert_eq!(place.json(&["queue", "ls"]).1, json!([]));
}

#[test]
fn a_running_job_keeps_a_queue_from_being_obliterated() {
    let place = filled(1, &[]);
    let store = place.store();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let id = runtime.block_on(async {
        let queue = QueueName::new("q").unwrap();
        let request = ClaimRequest {
            max: 1,
            token_prefix: "test".into(),
            token_first: 0,
            lock: Duration::from_secs(30),
            worker_name: None,
            rate: None,
            now: SystemClock.now(),
        };
        let claimed = store.claim(&queue, &request).await.unwrap().jobs.remove(0);
        store.pause(&queue).await.unwrap();
        store.close().await;
        claimed.id.to_string()
    });
    drop(store);
    for yes in [&[][..], &["--yes"]] {
        place
            .run(&[&["queue", "obliterate", "q"], yes].concat())
            .is(Exit::Failed, &["jobs that run", "--force"]);
        for children in [&[][..], &["--children"]] {
            place
                .run(&[&["job", "remove", "q", &id], children, yes].concat())
                .is(Exit::Failed, &["running", "cannot be removed"]);
        }
    }
    assert_eq!(count(&place, "active"), 1);
    let (exit, done) = place.json(&["queue", "obliterate", "q", "--yes", "--force"]);
    assert_eq!((exit, &done["obliterated"]), (Exit::Done, &json!(true)));
}

#[test]
fn delay_and_priority_of_a_job_are_changed() {
    let place = filled(1, &["--delay", "1h", "--id", "a"]);
    place.run(&["job", "delay", "q", "a", "5m"]).is(Exit::Done, &["job a of queue q is due in 5m"]);
    assert_eq!(place.json(&["job", "get", "q", "a"]).1["delay"], 300_000);
    place.run(&["job", "priority", "q", "a", "7"]).is(Exit::Done, &["has priority 7"]);
    place.run(&["job", "promote", "q", "a"]).is(Exit::Done, &[]);
    let (_, changed) = place.json(&["job", "priority", "q", "a", "0", "--front"]);
    assert_eq!(changed, json!({"id": "a", "queue": "q", "state": "waiting"}));
    place.run(&["job", "delay", "q", "a", "5m"]).is(Exit::Failed, &["\"a\" is waiting, not delayed"]);
    place.run(&["job", "delay", "q", "b", "5m"]).is(Exit::Failed, &["\"b\" does not exist"]);
    place.run(&["job", "priority", "q", "a", "2097152"]).is(Exit::Usage, &["2097151"]);
}

#[test]
fn workers_metrics_and_events_are_told() {
    let place = filled(2, &[]);
    end(&place, 1, &completed(Keep::All));
    let ran = place.run(&["queue", "workers", "q"]);
    ran.is(Exit::Done, &["no worker waits on queue q"]);
    assert_eq!((ran.out.as_str(), place.json(&["queue", "workers", "q"]).1), ("", json!([])));
    place.run(&["queue", "metrics", "q"]).is(Exit::Done, &["metrics-points", "COMPLETED", "all"]);
    let none = json!({"total": 0, "until": null, "points": []});
    assert_eq!(place.json(&["queue", "metrics", "q"]).1["completed"], none);
    // Two additions of two events each, then active, completed.
    assert_eq!(place.json(&["queue", "trim", "q", "--events", "2"]).1, json!({"name": "q", "removed": 4}));
    place.run(&["queue", "trim", "q"]).is(Exit::Usage, &["--events"]);
}

#[test]
fn deduplication_is_chosen_shown_and_released() {
    let place = Place::new();
    let owner = place.run(&["enqueue", "q", "n", "--delay", "1h", "--dedup", "d"]).out.trim().to_owned();
    let again = ["enqueue", "q", "n", "--delay", "2h", "--dedup", "d", "--dedup-mode"];
    place.run(&[&again[..], &["reschedule"]].concat()).is(Exit::Done, &["owns this deduplication id"]);
    assert_eq!(place.json(&["job", "get", "q", &owner]).1["delay"], 7_200_000);
    let replaced = place.run(&[&again[..], &["replace,keep-last"]].concat()).out.trim().to_owned();
    assert_ne!(replaced, owner);
    let stored = place.json(&["job", "get", "q", &replaced]).1["opts"]["de"].clone();
    assert_eq!(stored, json!({"id": "d", "replace": true, "keepLastIfActive": true}));
    place.run(&[&again[..], &["extend"]].concat()).is(Exit::Usage, &["--dedup ID:TTL"]);
    place.run(&["enqueue", "q", "n", "--dedup-mode", "replace"]).is(Exit::Usage, &["--dedup"]);

    assert_eq!(place.run(&["queue", "dedup", "q", "d"]).out.trim(), replaced);
    let (exit, value) = place.json(&["queue", "dedup", "q", "d", "--release"]);
    assert_eq!((exit, &value["owner"], &value["released"]), (Exit::Done, &json!(replaced), &json!(true)));
    place.run(&["queue", "dedup", "q", "d"]).is(Exit::Failed, &["nobody owns deduplication id \"d\""]);
}

#[test]
fn what_a_command_changes_is_in_the_audit_with_its_user() {
    let mut place = filled(2, &[]);
    place.environment = [("USER".to_owned(), "ada".to_owned())].into_iter().collect();
    place.run(&["queue", "pause", "q"]).is(Exit::Done, &[]);
    place.run(&["queue", "concurrency", "q", "3"]).is(Exit::Done, &[]);
    place.run(&["job", "remove", "q", "1", "--yes"]).is(Exit::Done, &[]);
    place.run(&["job", "retry", "q", "77"]).is(Exit::Failed, &[]);
    place.run(&["queue", "clean", "q", "--state", "failed", "--yes"]).is(Exit::Done, &[]);
    place
        .run(&["schedule", "set", "q", "tick", "--every", "1m", "--data", "{\"secret\":1}"])
        .is(Exit::Done, &[]);
    place.run(&["schedule", "rm", "q", "tick", "--yes"]).is(Exit::Done, &[]);
    // Looking leaves nothing, nor does adding jobs.
    place.run(&["queue", "ls"]).is(Exit::Done, &[]);
    place.run(&["enqueue", "q", "n"]).is(Exit::Done, &[]);

    let store = place.store();
    let log = jobcell_core::documents::Log::Audit;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = runtime.block_on(async {
        let entries = jobcell_core::Documents::entries(&store.documents(), &log, None, 100).await.unwrap();
        store.close().await;
        entries
    });
    let entries: Vec<Value> =
        entries.iter().rev().map(|entry| serde_json::from_slice(&entry.content).unwrap()).collect();
    let told: Vec<_> =
        entries.iter().map(|entry| (entry["action"].as_str(), entry["target"].as_str())).collect();
    let expected = [
        ("queue pause", "q"),
        ("queue concurrency", "q"),
        ("job remove", "q/1"),
        ("job retry", "q/77"),
        ("queue clean", "q"),
        ("schedule set", "q/tick"),
        ("schedule rm", "q/tick"),
    ];
    assert_eq!(told, expected.map(|(action, target)| (Some(action), Some(target))));
    for entry in &entries {
        assert!(entry["via"] == "cli" && entry["role"] == "admin", "{entry}");
        assert!(entry["who"].as_str().unwrap().starts_with("cli:ada@"), "{entry}");
        assert!(!entry.to_string().contains("secret"), "{entry}");
    }
    assert_eq!(
        (&entries[0]["before"], &entries[0]["after"]),
        (&json!({"paused": false}), &json!({"paused": true}))
    );
    assert_eq!(entries[2]["before"], json!({"state": "waiting"}));
    assert!(entries[3]["outcome"].as_str().unwrap().contains("77"), "{}", entries[3]);
    assert_eq!(entries[4]["after"], json!({"state": "failed", "removed": 0}));
    for rule in [&entries[5]["after"], &entries[6]["before"]] {
        assert!(rule["name"] == "tick" && rule["every"] == 60_000, "{rule}");
    }
}
