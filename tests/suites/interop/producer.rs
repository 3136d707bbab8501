//! Jobs that the real BullMQ puts on the queue come out of our cells with their results.

use std::time::{SystemTime, UNIX_EPOCH};

use jobcell_tests::{Bull, Host, Major, RedisServer, Site, wait};
use serde_json::json;

use crate::stage::BASIC;

/// Runs the same for both majors, each on a server of its own.
fn with_each_major(test: impl Fn(&mut Bull, &RedisServer)) {
    for major in Major::ALL {
        println!("BullMQ {major:?}");
        let redis = RedisServer::start();
        let mut bull = Bull::start(major, &redis);
        test(&mut bull, &redis);
    }
}

#[test]
fn wait_until_finished_resolves_with_the_handlers_result() {
    with_each_major(|bull, redis| {
        let host = Host::start(&Site::redis(redis, BASIC));
        bull.listen("work");
        let id = bull.add("work", "noop", json!({"i": 7, "amount": 1250, "currency": "EUR"}), json!({}));
        assert_eq!(bull.finished("work", &id), Ok(json!({"ok": true, "i": 7})));
        let done = bull.get("work", &id);
        assert_eq!(
            (&done["returnvalue"], &done["attemptsMade"]),
            (&json!({"ok": true, "i": 7}), &json!(1)),
            "{done}"
        );
        assert_eq!(bull.state("work", &id), "completed");

        let none = bull.add("work", "logs", json!({"lines": 0}), json!({}));
        assert_eq!(bull.finished("work", &none), Ok(json!(null)));
        host.stop();
    });
}

#[test]
fn a_failing_handler_shows_attempts_backoff_reason_and_stacktrace() {
    with_each_major(|bull, redis| {
        let site = Site::redis(redis, BASIC);
        let host = Host::start(&site);
        bull.listen("work");
        let opts = json!({"attempts": 3, "backoff": {"type": "exponential", "delay": 120}});
        let id = bull.add("work", "panic", json!({"message": "the roof is on fire"}), opts);
        let error = bull.finished("work", &id).unwrap_err();
        assert!(error.contains("the roof is on fire"), "{error}");
        let job = bull.get("work", &id);
        assert_eq!((&job["attemptsMade"], &job["attemptsStarted"]), (&json!(3), &json!(3)), "{job}");
        assert_eq!(job["failedReason"], error, "{job}");
        let traces = job["stacktrace"].as_array().expect("stack traces");
        assert_eq!(traces.len(), 3, "{job}");
        assert!(
            traces.iter().all(|trace| trace.as_str().is_some_and(|text| text.contains("basic"))),
            "{job}"
        );
        // 120 ms before the second attempt, 240 before the third.
        let took = job["finishedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(end, start)| end - start);
        assert!(took >= Some(360), "{job}");
        let delays: Vec<_> =
            bull.seen("work").into_iter().filter(|event| event["event"] == "delayed").collect();
        assert_eq!(delays.len(), 2, "{delays:?}");
        assert_eq!(bull.state("work", &id), "failed");

        let fatal = json!({"kind": "fatal", "message": "never again"});
        let id = bull.add("work", "fail", fatal, json!({"attempts": 5}));
        assert!(bull.finished("work", &id).unwrap_err().contains("never again"));
        assert_eq!(bull.get("work", &id)["attemptsMade"], 1);

        // Node retries what we failed, and we run it again.
        bull.job("work", &id, "retry", json!(["failed"]));
        wait::until("failed once more", || {
            let job = bull.get("work", &id);
            (job["attemptsStarted"].as_u64() >= Some(2) && job["finishedOn"].is_u64()).then_some(())
        });
        host.stop();
    });
}

#[test]
fn delayed_prioritized_lifo_and_bulk_jobs_run_as_bullmq_means_them() {
    with_each_major(|bull, redis| {
        let slow = BASIC.replace("concurrency = 4", "concurrency = 1");
        bull.queue("work", "pause", json!([]));
        let plain = bull.add("work", "noop", json!({"i": 1}), json!({}));
        let low = bull.add("work", "noop", json!({"i": 2}), json!({"priority": 10}));
        let high = bull.add("work", "noop", json!({"i": 3}), json!({"priority": 1}));
        let front = bull.add("work", "noop", json!({"i": 4}), json!({"lifo": true}));
        let later = bull.add("work", "noop", json!({"i": 5}), json!({"delay": 700}));
        bull.listen("work");
        bull.queue("work", "resume", json!([]));
        let host = Host::start(&Site::redis(redis, &slow));
        assert_eq!(bull.finished("work", &later), Ok(json!({"ok": true, "i": 5})));
        let order: Vec<String> = bull
            .seen("work")
            .iter()
            .filter(|event| event["event"] == "completed")
            .filter_map(|event| Some(event["jobId"].as_str()?.to_owned()))
            .collect();
        let rank = |id: &String| order.iter().position(|done| done == id).expect("completed");
        let ranks = [&front, &plain, &high, &low].map(rank);
        assert!(ranks.is_sorted(), "front, plain, high, low completed at {ranks:?}");
        let job = bull.get("work", &later);
        let waited =
            job["processedOn"].as_u64().zip(job["timestamp"].as_u64()).map(|(start, made)| start - made);
        assert!(waited >= Some(700), "{job}");

        let many: Vec<_> = (0..50).map(|i| json!({"name": "noop", "data": {"i": i}})).collect();
        let added = bull.queue("work", "addBulk", json!([many]));
        for (i, job) in added.as_array().expect("jobs").iter().enumerate() {
            let id = job["id"].as_str().expect("an id");
            assert_eq!(bull.finished("work", id), Ok(json!({"ok": true, "i": i})));
        }
        host.stop();
    });
}

#[test]
fn jobs_go_or_stay_as_their_producer_said() {
    with_each_major(|bull, redis| {
        let host = Host::start(&Site::redis(redis, BASIC));
        bull.listen("work");
        let gone = bull.add("work", "noop", json!({"i": 1}), json!({"removeOnComplete": true, "delay": 50}));
        // Listening before it ends: afterwards there is nothing to ask.
        let ticket = bull.finish_later("work", &gone);
        assert_eq!(bull.answer(ticket), Ok(json!({"ok": true, "i": 1})));
        assert!(bull.get("work", &gone).is_null());

        let keep = json!({"removeOnFail": {"count": 2}});
        let mut ids = Vec::new();
        for i in 0..4 {
            let id =
                bull.add("work", "fail", json!({"kind": "fatal", "message": i.to_string()}), keep.clone());
            assert!(bull.finished("work", &id).is_err());
            ids.push(id);
        }
        assert!(bull.get("work", &ids[0]).is_null() && bull.get("work", &ids[1]).is_null());
        assert!(bull.get("work", &ids[2]).is_object() && bull.get("work", &ids[3]).is_object());
        host.stop();
    });
}

#[test]
fn a_queue_paused_from_node_rests_and_loses_nothing() {
    with_each_major(|bull, redis| {
        let host = Host::start(&Site::redis(redis, BASIC));
        bull.listen("work");
        // The ordinary sequence in which jobs can be lost: a failed job waits for its retry while the queue is
        // paused, something is added meanwhile, and the queue goes on.
        let flaky = bull.add("work", "flaky", json!({"until": 2}), json!({"attempts": 2, "backoff": 400}));
        bull.wait_event("work", "delayed", &flaky);
        bull.queue("work", "pause", json!([]));
        let added = bull.add("work", "noop", json!({"i": 1}), json!({}));
        // Whether a due job shows as delayed or as waiting until then depends on what the producer's major left behind;
        // that no resume can overwrite it does not.
        let started = bull.get("work", &flaky)["processedOn"].as_u64().unwrap();
        wait::until("the retry is due", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            (now > u128::from(started) + 1_000).then_some(())
        });
        assert!(bull.get("work", &added)["processedOn"].is_null(), "a paused queue starts nothing");
        bull.queue("work", "resume", json!([]));
        assert_eq!(bull.finished("work", &flaky), Ok(json!(2)));
        assert_eq!(bull.finished("work", &added), Ok(json!({"ok": true, "i": 1})));
        host.stop();
    });
}

#[test]
fn custom_ids_and_special_payloads_survive() {
    with_each_major(|bull, redis| {
        let host = Host::start(&Site::redis(redis, BASIC));
        bull.listen("work");
        for (id, data) in [
            ("käse-1", json!({"text": "日本語 \u{1F600} \" \\ \n"})),
            ("a_list", json!([1, 2.5, null, {"deep": [[]]}])),
            ("a_text", json!("just text")),
            ("nothing", json!(null)),
            ("exact", json!({"big": 9_007_199_254_740_991_i64, "small": 0.1})),
        ] {
            let added = bull.add("work", "echo", data.clone(), json!({"jobId": id}));
            assert_eq!(added, id);
            assert_eq!(bull.finished("work", id), Ok(data), "{id}");
        }
        host.stop();
    });
}
