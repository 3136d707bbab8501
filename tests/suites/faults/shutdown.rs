//! Ending: what runs is finished or given back, and no attempt is used up by it.

use std::time::{Duration, Instant};

use jobcell_tests::{Answer, Host, Receiver, Site};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{Stage, capable, capable_site, on_both_stores};

/// Starts a host on a job that takes this long, and returns once the job is in the middle of it.
fn busy(stage: &Stage, takes: Duration, grace: &str) -> (Site, Host, Receiver, String) {
    let receiver = Receiver::start([Answer::new(200).after(takes)]);
    let site = capable_site(stage, &receiver.url());
    site.write_config(&format!("{}\n[shutdown]\ngrace = \"{grace}\"\n", site.config()));
    let data = json!({"url": format!("{}/slow", receiver.url()), "timeout_ms": 30_000});
    let id = site.enqueue("work", "fetch", &data, &["--attempts", "2"]);
    let host = Host::start(&site);
    let _ = receiver.wait_for(1);
    (site, host, receiver, id)
}

fn given_back(job: &Value) {
    assert_eq!(job["state"], "waiting", "{job}");
    assert_eq!(job["attemptsMade"], 0, "no attempt was used: {job}");
    assert_eq!(job["attemptsStarted"], 1, "{job}");
}

on_both_stores! {
    fn a_host_that_is_asked_to_end_finishes_what_it_runs(stage: &Stage) {
        let (site, mut host, receiver, id) = busy(stage, Duration::from_millis(800), "20s");
        let waiting = stage.redis.as_ref().map(|_| {
            let data = json!({"url": format!("{}/later", receiver.url())});
            host.terminate();
            host.wait_log("stopping");
            site.enqueue("work", "fetch", &data, &[])
        });
        if waiting.is_none() {
            host.terminate();
        }
        assert_eq!(host.code(), Some(0));
        let job = site.job("work", &id);
        assert_eq!((&job["state"], &job["returnvalue"]["status"]), (&json!("completed"), &json!(200)), "{job}");
        if let Some(id) = waiting {
            assert_eq!(site.job("work", &id)["state"], "waiting", "nothing is claimed any more");
        }
    }

    fn a_job_that_takes_longer_than_the_grace_is_given_back(stage: &Stage) {
        let (site, mut host, _receiver, id) = busy(stage, Duration::from_secs(25), "300ms");
        let asked = Instant::now();
        host.terminate();
        assert_eq!(host.code(), Some(75));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        given_back(&site.job("work", &id));
    }

    fn a_second_signal_gives_back_at_once(stage: &Stage) {
        let (site, mut host, _receiver, id) = busy(stage, Duration::from_secs(25), "20s");
        host.signal(Signal::INT);
        host.wait_log("stopping");
        let asked = Instant::now();
        host.signal(Signal::INT);
        assert_eq!(host.code(), Some(75));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        given_back(&site.job("work", &id));
    }

    fn a_guest_that_computes_for_ever_cannot_hold_up_the_end(stage: &Stage) {
        let config = capable("http://127.0.0.1:9").replace("[queues.other]", "[queues.busy]\nhandler = \"basic\"\n[queues.other]");
        let site = stage.site(&config).env("TEST_KEY", "x");
        site.write("open.txt", "sesame");
        site.write("files/.keep", "");
        site.write_config(&format!("{}\n[shutdown]\ngrace = \"300ms\"\n", site.config()));
        let id = site.enqueue("busy", "spin", &json!({}), &["--attempts", "2"]);
        let mut host = Host::start(&site);
        jobcell_tests::wait::until("the cell runs", || {
            host.get("/metrics")?.1.lines().any(|line| line.starts_with("jobcell_cells_active") && line.ends_with(" 1")).then_some(())
        });
        host.terminate();
        assert_eq!(host.code(), Some(75));
        let job = site.job("busy", &id);
        assert_eq!((&job["state"], &job["attemptsMade"]), (&json!("waiting"), &json!(0)), "{job}");
    }
}
