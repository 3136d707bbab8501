//! A version that runs on copies of jobs: what it came to is told, and nothing of it is done.

use jobcell_tests::{Host, wait};
use serde_json::{Value, json};

use super::{DEPLOYED, answered, build, deploy, digest, ran_on, short, standing, written};
use crate::stage::{Stage, on_both_stores};

on_both_stores! {
    fn a_shadow_runs_on_copies_and_is_reported(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        assert_eq!(ran_on(&host), one);
        // Another build of the same code, which takes no jobs.
        let (file, two) = written(&site, 2);
        assert_eq!(two, digest(&build(2)));
        let _ = site.cli(&["handler", "deploy", "basic", &file, "--stage"]).ok();
        let _ = site.cli(&["handler", "shadow", "basic", short(&two), "--percent", "100"]).ok();
        let report = || -> Option<Value> {
            assert_eq!(ran_on(&host), one, "the shadow takes no jobs");
            let (_, view) = answered(host.get("/api/v1/handlers/basic"));
            let report = view.get("shadowReport")?.clone();
            (report["agreed"].as_u64()? > 2).then_some(report)
        };
        let report = wait::until("three jobs were compared", report);
        assert_eq!((&report["candidate"], &report["active"], &report["percent"]), (&json!(two), &json!(one), &json!(100)));
        assert_eq!((&report["disagreed"], &report["diverged"]), (&json!(0), &json!(0)), "{report}");
        assert!(report["candidateCost"]["cpuUs"].as_u64() > Some(0), "{report}");
        let shown = site.cli(&["handler", "ls", "basic"]).ok();
        let _ = shown.answers(&["shadow", short(&two), "compared", "agreed", "on average"]);

        let _ = site.cli(&["handler", "shadow", "basic", "--off"]).ok();
        let view = standing(&site);
        assert!(view["shadow"].is_null() && view.get("shadowReport").is_none(), "{view}");
        assert_eq!(ran_on(&host), one);
        host.stop();
    }
}
