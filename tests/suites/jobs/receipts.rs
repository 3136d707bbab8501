//! `job receipt`: what attempts cost, kept with their jobs.

use jobcell_tests::Site;
use jobcell_tests::artifacts::guest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stage::{BASIC, Stage, on_both_stores};

fn receipts(site: &Site, id: &str) -> Value {
    site.cli(&["--json", "job", "receipt", "work", id]).ok().json()
}

fn numbers(receipts: &Value) -> Vec<u64> {
    let all = receipts.as_array().expect("a list of receipts");
    all.iter().map(|receipt| receipt["attempt"].as_u64().expect("a number")).collect()
}

on_both_stores! {
    fn each_attempt_leaves_its_cost(stage: &Stage) {
        let site = stage.site(BASIC);
        let id = site.enqueue("work", "flaky", &json!({"until": 3}), &["--attempts", "5"]);
        let _ = site.cli(&["job", "receipt", "work", &id]).ok().says(&["no receipt"]);
        assert_eq!(receipts(&site, &id), json!([]));
        let _ = site.burst();
        let all = receipts(&site, &id);
        assert_eq!(numbers(&all), [1, 2, 3], "{all}");
        for (receipt, outcome) in all.as_array().unwrap().iter().zip(["retry", "retry", "completed"]) {
            assert_eq!((&receipt["outcome"], &receipt["handler"]), (&json!(outcome), &json!("basic")), "{receipt}");
            for measure in ["wall_us", "cpu_us", "start_us", "memory_peak_bytes"] {
                assert!(receipt[measure].as_u64() > Some(0), "{measure}: {receipt}");
            }
        }
        // Which artifact ran each of them, with the job too.
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(std::fs::read(guest("basic")).unwrap())));
        let job = site.job("work", &id);
        for attempts in [&all, &job["attempts"]] {
            let attempts = attempts.as_array().expect("a list of attempts");
            assert_eq!(attempts.len(), 3, "{attempts:?}");
            for attempt in attempts {
                assert_eq!((&attempt["version"], &attempt["digest"]), (&json!(digest[7..19]), &json!(digest)), "{attempt}");
            }
        }
        let shown = format!("1: basic@{} retry", &digest[7..19]);
        let _ = site.cli(&["job", "get", "work", &id]).ok().answers(&["versions", &shown]);
        let ended = site.job("work", &id)["finishedOn"].as_u64().expect("an end");
        let last = all[2]["at"].as_u64().expect("a time");
        assert!(last.abs_diff(ended) < 5_000, "{last} {ended}");

        let _ = site.cli(&["job", "receipt", "work", &id]).ok().answers(&["ATTEMPT", "retry", "completed", "basic@"]);
        let _ = site.cli(&["job", "receipt", "work", &id, "--attempt", "2"]).ok().answers(&["attempt   2", "cost"]);
        let one = site.cli(&["--json", "job", "receipt", "work", &id, "--attempt", "3"]).ok().json();
        assert_eq!(one, all[2]);
        let _ = site.cli(&["job", "receipt", "work", &id, "--attempt", "9"]).exits(1).says(&["attempt 9", "1, 2, 3"]);
        let _ = site.cli(&["job", "receipt", "work", "nobody"]).exits(1).says(&["does not exist"]);
    }

    fn the_newest_are_kept_and_a_stop_is_named(stage: &Stage) {
        let site = stage.site(&BASIC.replace("concurrency = 4", "concurrency = 4\nreceipts = 2\npoison = 0"));
        let id = site.enqueue("work", "panic", &json!({"message": "boom"}), &["--attempts", "4"]);
        let _ = site.burst();
        let all = receipts(&site, &id);
        assert_eq!(numbers(&all), [3, 4], "{all}");
        assert_eq!((&all[0]["outcome"], &all[1]["outcome"]), (&json!("stopped"), &json!("stopped")), "{all}");
    }

    fn none_are_kept_where_none_are_wanted(stage: &Stage) {
        let site = stage.site(&BASIC.replace("concurrency = 4", "concurrency = 4\nreceipts = 0"));
        let id = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
        let _ = site.burst();
        assert_eq!(site.job("work", &id)["state"], "completed");
        assert_eq!(receipts(&site, &id), json!([]));
    }
}

#[test]
fn receipts_live_in_the_jobs_hash_and_nowhere_else() {
    let stage = Stage::redis();
    let site = stage.site(BASIC);
    let kept = site.enqueue("work", "noop", &json!({"i": 1}), &[]);
    let gone = site.enqueue("work", "noop", &json!({"i": 2}), &["--remove-on-complete"]);
    let _ = site.burst();
    let mut client = stage.redis.as_ref().expect("a server").client();
    let fields = client.run(&["HKEYS", &format!("bull:work:{kept}")]).texts();
    assert!(fields.contains(&"receipt:1".to_owned()), "{fields:?}");
    let keys = client.run(&["KEYS", "bull:work:*"]).texts();
    assert!(!keys.iter().any(|key| key.contains("receipt") || key.contains("jobcell")), "{keys:?}");
    assert!(!keys.contains(&format!("bull:work:{gone}")), "{keys:?}");
}
