//! Retries on the version of the attempt before.

use jobcell_tests::{Host, RedisServer, Site, wait};
use serde_json::json;

use super::fleet::{Operator, STORED};
use super::guest::{Does, Guest};

#[test]
fn a_retry_runs_on_its_first_version_or_on_the_newest_as_the_handler_says() {
    for (retries, ends_on_new) in [("newest", true), ("same-version", false)] {
        let redis = RedisServer::start();
        let operator = Operator::on(&redis);
        let (old, new) = (Guest::new("old", Does::Retry), Guest::marked("new"));
        operator.activate(&old);
        let site = Site::redis(&redis, &format!("{STORED}retries = \"{retries}\"\n"));
        let _host = Host::start(&site);
        let options = ["--attempts", "3", "--backoff", "fixed:1500"];
        let id = site.enqueue("work", "noop", &json!({}), &options);
        wait::until("its first attempt has failed", || {
            (site.job("work", &id)["state"] == "delayed").then_some(())
        });
        // Twice, so that the old one is not even the one that is kept for a rollback.
        operator.activate(&Guest::marked("between"));
        operator.activate(&new);
        wait::until("the host runs the new version", || {
            operator.hosts().values().all(|of| of.active == Some(new.name())).then_some(())
        });
        let job = wait::until("the job ends", || {
            let job = site.job("work", &id);
            ["completed", "failed"].contains(&job["state"].as_str().unwrap_or_default()).then_some(job)
        });
        let ended = if ends_on_new { "completed" } else { "failed" };
        assert_eq!(job["state"], ended, "{retries}: {job}");
        if !ends_on_new {
            assert!(job.to_string().contains("old"), "every attempt was of the old version: {job}");
        }
    }
}
