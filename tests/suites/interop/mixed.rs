//! A fleet of our hosts and real BullMQ workers on one queue.

use std::collections::BTreeMap;

use jobcell_tests::{Bull, Host, Major, RedisServer, Site, wait};
use serde_json::json;

use crate::stage::BASIC;

const JOBS: usize = 400;

#[test]
fn each_job_is_completed_exactly_once_by_one_of_them() {
    for major in Major::ALL {
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        bull.listen("work");
        bull.queue("work", "pause", json!([]));
        let many: Vec<_> = (0..JOBS).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
        bull.queue("work", "addBulk", json!([many]));
        let hosts = [Host::start(&Site::redis(&redis, BASIC)), Host::start(&Site::redis(&redis, BASIC))];
        bull.work("work", json!({"concurrency": 4}));
        bull.queue("work", "resume", json!([]));
        // More arrive while they work, some of which fail once.
        for i in 0..40 {
            bull.add("work", "noop", json!({"i": JOBS + i}), json!({"delay": i * 5}));
        }
        let all = JOBS + 40;
        wait::until("all are completed", || {
            let counts =
                bull.queue("work", "getJobCounts", json!(["completed", "failed", "active", "waiting"]));
            assert_eq!(counts["failed"], 0, "{counts}");
            (counts["completed"] == all).then_some(())
        });
        let mut completions: BTreeMap<String, usize> = BTreeMap::new();
        let seen = wait::until("every completion is heard", || {
            let seen = bull.seen("work");
            let count = seen.iter().filter(|event| event["event"] == "completed").count();
            (count >= all).then_some(seen)
        });
        let mut ours = 0;
        for event in seen.iter().filter(|event| event["event"] == "completed") {
            *completions.entry(event["jobId"].to_string()).or_default() += 1;
            ours += usize::from(event["returnvalue"]["ok"] == true);
        }
        assert_eq!(completions.len(), all, "{major:?}");
        assert!(completions.values().all(|count| *count == 1), "{major:?}: completed twice");
        assert!(seen.iter().all(|event| event["event"] != "stalled"), "{major:?}: nothing stalled");
        assert!(ours > 0 && ours < all, "{major:?}: both had a share; ours was {ours} of {all}");
        for (key, value) in [("active", 0), ("waiting", 0)] {
            assert_eq!(bull.queue("work", "getJobCounts", json!([key]))[key], value, "{major:?}");
        }
        let locks = redis.client().run(&["KEYS", "bull:work:*:lock"]).texts();
        assert!(locks.is_empty(), "{major:?}: locks are left: {locks:?}");
        hosts.into_iter().for_each(Host::stop);
    }
}
