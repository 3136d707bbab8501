//! Schedules as people set them on the command line, run by a host, on both stores.

use jobcell_tests::{Host, Site, wait};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage, on_both_stores};

fn set(site: &Site, id: &str, more: &[&str]) -> Value {
    site.cli(&[&["--json", "schedule", "set", "work", id], more].concat()).ok().json()
}

fn show(site: &Site, id: &str) -> Value {
    site.cli(&["--json", "schedule", "ls", "work", id]).ok().json()
}

/// The slots of the jobs in this state, in order.
fn slots(site: &Site, state: &str) -> Vec<u64> {
    let jobs = site.cli(&["--json", "job", "list", "work", "--state", state, "--limit", "1000"]).ok().json();
    let slot = |job: &Value| job["id"].as_str()?.rsplit(':').next()?.parse().ok();
    let mut slots: Vec<u64> = jobs.as_array().expect("a list").iter().filter_map(slot).collect();
    slots.sort_unstable();
    slots
}

/// How many jobs are completed, as the host's own page says.
fn completed(host: &Host) -> Option<u64> {
    let health: Value = serde_json::from_str(&host.get("/health")?.1).ok()?;
    health["queues"]["work"]["jobs"]["completed"].as_u64()
}

on_both_stores! {
    fn a_schedule_runs_as_long_as_its_limit_says(stage: &Stage) {
        let site = stage.site(BASIC);
        let data = r#"{"i":4}"#;
        set(&site, "tick", &["--every", "150", "--name", "noop", "--data", data, "--limit", "4"]);
        let host = Host::start(&site);
        wait::until("four runs", || (completed(&host)? == 4).then_some(()));
        host.stop();
        let done = slots(&site, "completed");
        assert!(done.windows(2).all(|pair| pair[1] > pair[0] && (pair[1] - pair[0]) % 150 == 0), "{done:?}");
        assert_eq!(site.job("work", &format!("repeat:tick:{}", done[0]))["returnvalue"], json!({"ok": true, "i": 4}));
        let shown = show(&site, "tick");
        assert_eq!((&shown["next"], &shown["iterationCount"]), (&Value::Null, &json!(4)), "{shown}");
        assert!(slots(&site, "delayed").is_empty());
        let _ = site.cli(&["schedule", "ls", "work"]).ok().answers(&["tick", "every 150ms", "4 of 4", "ended"]);
    }

    fn a_burst_runs_what_is_due_and_leaves_the_next_run(stage: &Stage) {
        let site = stage.site(BASIC);
        let first = set(&site, "hourly", &["--every", "1h", "--name", "noop", "--data", r#"{"i":1}"#]);
        let cron = set(&site, "yearly", &["--cron", "0 0 1 1 *", "--tz", "Europe/Berlin", "--name", "noop"]);
        let _ = site.burst();
        assert_eq!(site.job("work", first["job"].as_str().unwrap())["state"], "completed");
        assert_eq!(site.job("work", cron["job"].as_str().unwrap())["state"], "delayed");
        assert_eq!(show(&site, "hourly")["next"].as_u64(), first["next"].as_u64().map(|due| due + 3_600_000));
        let rows = site.cli(&["schedule", "ls", "work"]).ok();
        let _ = rows.answers(&["hourly", "every 1h", "in ", "yearly", "0 0 1 1 *", "Europe/Berlin"]);
        let _ = site.cli(&["--yes", "queue", "drain", "work", "--delayed"]).ok();
        assert_eq!(slots(&site, "delayed").len(), 2, "they go only with their schedulers");
        let job = cron["job"].as_str().unwrap();
        let said = ["belongs to scheduler \"yearly\"", "jobcell schedule rm work yearly"];
        let _ = site.cli(&["--yes", "job", "remove", "work", job]).exits(1).says(&said);
        let _ = site.cli(&["--yes", "schedule", "rm", "work", "yearly"]).ok();
        assert_eq!(slots(&site, "delayed").len(), 1);
    }

    fn a_killed_host_leaves_its_schedules_whole(stage: &Stage) {
        let site = stage.site(&BASIC.replace("concurrency = 4", "concurrency = 4\nlock = \"1s\"\nstalled-interval = \"1s\""));
        set(&site, "tick", &["--every", "60", "--name", "sleep", "--data", r#"{"ms":40}"#]);
        let mut before = 0;
        for _ in 0..3 {
            let host = Host::start(&site);
            before = wait::until("a few more runs", || completed(&host).filter(|count| *count >= before + 4));
            host.kill();
        }
        let host = Host::start(&site);
        wait::until("it goes on", || (completed(&host)? >= before + 8).then_some(()));
        host.stop();
        let _ = site.cli(&["--yes", "schedule", "rm", "work", "tick"]).ok();
        let host = Host::start(&site);
        wait::until("what was running is run again", || {
            let health: Value = serde_json::from_str(&host.get("/health")?.1).ok()?;
            let jobs = &health["queues"]["work"]["jobs"];
            (jobs["active"] == 0 && jobs["waiting"] == 0 && jobs["delayed"] == 0).then_some(())
        });
        host.stop();
        let done = slots(&site, "completed");
        assert!(done.windows(2).all(|pair| pair[1] > pair[0] && (pair[1] - pair[0]) % 60 == 0), "{done:?}");
        assert!(slots(&site, "failed").is_empty());
    }
}

#[test]
fn a_pattern_that_cannot_be_kept_is_bad_usage() {
    let site = Site::embedded(BASIC);
    for (rule, said) in [
        (&["--cron", "61 * * * *"][..], "use 0 to 59"),
        (&["--cron", "0 0 30 2 *"], "never comes"),
        (&["--cron", "@hourly", "--tz", "Mars/Olympus"], "Europe/Berlin"),
        (&["--every", "0"], "at least 1"),
        (&[], "--every"),
    ] {
        let _ = site.cli(&[&["schedule", "set", "work", "s"], rule].concat()).exits(2).says(&[said]);
    }
    let _ = site.cli(&["--yes", "schedule", "rm", "work", "s"]).exits(1).says(&["does not exist"]);
}
