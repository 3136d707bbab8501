//! A host that is gone without a word: its jobs are run again.

use std::time::Duration;

use jobcell_tests::{Answer, Host, Receiver, wait};
use serde_json::json;

use crate::stage::{BASIC, Stage, capable_site, on_both_stores};

on_both_stores! {
    fn a_job_of_a_killed_host_is_recovered_after_the_restart(stage: &Stage) {
        // The first request is never answered in the life of the first host; the next ones are at once.
        let receiver = Receiver::start([Answer::new(200).after(Duration::from_secs(15)), Answer::new(200)]);
        let site = capable_site(stage, &receiver.url());
        let data = json!({"url": format!("{}/slow", receiver.url()), "method": "POST", "body": "x"});
        let id = site.enqueue("work", "fetch", &data, &["--attempts", "1"]);
        let host = Host::start(&site);
        let _ = receiver.wait_for(1);
        host.kill();

        let host = Host::start(&site);
        assert_eq!(receiver.wait_for(2).len(), 2);
        wait::until("the recovered job is counted", || {
            host.get("/metrics")?.1.lines().any(|line| {
                line.starts_with("jobcell_jobs_total{") && line.contains("completed") && !line.ends_with(" 0")
            }).then_some(())
        });
        host.stop();
        let job = site.job("work", &id);
        assert_eq!(job["state"], "completed", "{job}");
        // Two starts, one attempt, one recovery: a crash of the host is not the handler's failure.
        assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(1), &json!(2)), "{job}");
        assert_eq!(job["stalledCounter"], 1, "{job}");
    }

    fn what_was_enqueued_and_finished_survives_a_killed_host(stage: &Stage) {
        let site = stage.site(&BASIC.replace(
            "concurrency = 4",
            "concurrency = 4\nlock = \"1s\"\nstalled-interval = \"1s\"\nmax-stalled = 3",
        ));
        let ids: Vec<_> = (0..20).map(|i| site.enqueue("work", "noop", &json!({"i": i}), &[])).collect();
        let host = Host::start(&site);
        wait::until("some are done", || (completed(&host)? > 0).then_some(()));
        host.kill();
        let host = Host::start(&site);
        wait::until("all are done", || (completed(&host)? == 20).then_some(()));
        host.stop();
        for (i, id) in ids.iter().enumerate() {
            let job = site.job("work", id);
            assert_eq!((&job["state"], &job["returnvalue"]["i"]), (&json!("completed"), &json!(i)), "{job}");
            assert_eq!(job["attemptsMade"], 1, "{job}");
        }
    }
}

/// How many jobs of the queue `work` are completed, as the host's own page says.
fn completed(host: &Host) -> Option<u64> {
    let health: serde_json::Value = serde_json::from_str(&host.get("/health")?.1).ok()?;
    health["queues"]["work"]["jobs"]["completed"].as_u64()
}

#[test]
fn a_job_that_kills_every_host_is_given_up() {
    let stage = Stage::redis();
    let receiver = Receiver::start([Answer::new(200).after(Duration::from_secs(20))]);
    let site = capable_site(&stage, &receiver.url());
    let data = json!({"url": format!("{}/slow", receiver.url())});
    let id = site.enqueue("work", "fetch", &data, &["--attempts", "5"]);
    // `max-stalled` is 3: three recoveries, the fourth is one too many.
    for start in 1..=4 {
        let host = Host::start(&site);
        let _ = receiver.wait_for(start);
        host.kill();
    }
    let host = Host::start(&site);
    wait::until("the job is given up", || (site.job("work", &id)["state"] == "failed").then_some(()));
    let job = site.job("work", &id);
    let reason = job["failedReason"].as_str().unwrap_or_default();
    assert!(
        reason.starts_with("job stalled more than allowable limit: the host that ran it vanished 4 times"),
        "{job}"
    );
    host.stop();
}

#[test]
fn another_host_takes_over_the_jobs_of_a_killed_one() {
    let stage = Stage::redis();
    let receiver = Receiver::start([Answer::new(200).after(Duration::from_secs(20)), Answer::new(200)]);
    let site = capable_site(&stage, &receiver.url());
    let first = Host::start(&site);
    let data = json!({"url": format!("{}/slow", receiver.url())});
    let id = site.enqueue("work", "fetch", &data, &[]);
    let _ = receiver.wait_for(1);
    let other = capable_site(&stage, &receiver.url());
    let second = Host::start(&other);
    first.kill();
    wait::until("the other host has completed it", || {
        (site.job("work", &id)["state"] == "completed").then_some(())
    });
    second.stop();
}
