//! What a handler may use beyond its own job, granted in the config, on both stores.

use jobcell_tests::{Answer, Receiver, Resp, Site, Value as Reply};
use serde_json::{Value, json};

use crate::stage::{Stage, capable, capable_site, on_both_stores};

/// Runs one job of the guest `capable` to its end and returns its result.
fn result(site: &Site, name: &str, data: Value) -> Value {
    let id = site.enqueue("work", name, &data, &[]);
    let _ = site.burst();
    let job = site.job("work", &id);
    assert_eq!(job["state"], "completed", "{name}: {job}");
    job["returnvalue"].clone()
}

on_both_stores! {
    fn the_cache_is_shared_by_the_cells_of_a_handler(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        for count in [2, 4] {
            let answer = result(&site, "cache", json!({"key": "visits", "by": 2, "ttl_ms": 600_000}));
            assert_eq!(answer, json!({"count": count, "text": count.to_string()}));
        }
        assert_eq!(result(&site, "seen", json!("evt_1")), false);
        assert_eq!(result(&site, "seen", json!("evt_1")), true);
        assert_eq!(result(&site, "hold", json!({"key": "k", "value": "first"})), Value::Null);
        assert_eq!(result(&site, "hold", json!({"key": "k", "value": null})), "first");
        assert_eq!(result(&site, "hold", json!({"key": "k", "value": "again"})), Value::Null);
    }

    fn a_bucket_keeps_values_for_the_handlers_of_a_tenant(stage: &Stage) {
        let config = capable("http://127.0.0.1:9");
        // Another handler that is granted the same bucket, beside everything else that the guest imports.
        let (_, grants) = config.split_once("[handlers.capable.grants]").unwrap();
        let (grants, _) = grants.split_once("[secrets]").unwrap();
        let again = format!(
            "[queues.third]\nhandler = \"again\"\n[handlers.again]\nsource = \"${{capable}}\"\n[handlers.again.grants]{grants}"
        );
        let site = stage.site(&format!("{config}{again}")).env("TEST_KEY", "k");
        site.write("open.txt", "sesame");
        site.write("files/.keep", "");
        let run = |queue: &str, tenant: &str, steps: Value| {
            let data = json!({"bucket": "media", "steps": steps});
            let id = site.enqueue(queue, "kv", &data, &["--tenant", tenant]);
            let _ = site.burst();
            let job = site.job(queue, &id);
            assert_eq!(job["state"], "completed", "{job}");
            job["returnvalue"].clone()
        };
        let steps = json!([
            {"do": "set", "key": "k", "value": "v"}, {"do": "increment", "key": "n", "by": 41},
            {"do": "swap", "key": "k", "between": "x", "value": "y"}, {"do": "append", "key": "k", "text": "z"},
        ]);
        let answers = run("work", "acme", steps);
        assert_eq!(answers, json!([null, 41, {"lost to": "x", "again": true}, "yz"]));
        // A later process, and another handler, find it; another tenant does not.
        let look = json!([{"do": "get", "key": "k"}, {"do": "increment", "key": "n", "by": 1}, {"do": "all-keys"}]);
        assert_eq!(run("third", "acme", look.clone()), json!(["yz", 42, ["k", "n"]]));
        for tenant in ["acme2", "acme:media", "*"] {
            assert_eq!(run("work", tenant, look.clone()), json!([null, 1, ["n"]]), "{tenant}");
        }
        let gone = json!([{"do": "delete", "key": "k"}, {"do": "exists", "key": "k"}, {"do": "all-keys"}]);
        assert_eq!(run("third", "acme", gone), json!([null, false, ["n"]]));
    }

    fn a_bucket_that_is_not_granted_is_denied(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let id = site.enqueue("work", "kv", &json!({"bucket": "others", "steps": []}), &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        let reason = job["failedReason"].as_str().unwrap_or_default();
        assert!(job["state"] == "failed" && reason.contains("kv = [\"others\"]"), "{job}");
        let log = site.logs("work", &id).join("\n");
        assert!(log.contains("[handlers.capable.grants]"), "{log}");
    }

    fn no_key_that_a_guest_chooses_leaves_its_prefix(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let keys = [
            ":", "{}", "{bull}:work:meta", "..", "../../x", "/", "\0", "a\r\nb", "*", "[a-z]?", "%2e%2e%2f", "\u{430}",
            "bull:work:wait", "jobcell-kv/bull/{:tally}:values", ":capable:x", "acme:capable:x",
        ];
        let tenants = ["acme", "acme:capable", "{acme}", "../acme", "a%3Ac", "*"];
        let mut ids = Vec::new();
        for tenant in tenants {
            let mut steps: Vec<Value> =
                keys.iter().map(|key| json!({"do": "swap", "key": key, "value": tenant})).collect();
            steps.push(json!({"do": "all-keys"}));
            let data = json!({"bucket": "tally", "steps": steps});
            ids.push((true, site.enqueue("work", "kv", &data, &["--tenant", tenant])));
            for key in keys {
                let data = json!({"key": key, "value": tenant});
                ids.push((false, site.enqueue("work", "hold", &data, &["--tenant", tenant])));
            }
        }
        let _ = site.burst();
        for (is_bucket, id) in ids {
            let job = site.job("work", &id);
            assert_eq!(job["state"], "completed", "{job}");
            if is_bucket {
                // Every key was new to this tenant, and it sees those and no others.
                let answers = job["returnvalue"].as_array().unwrap();
                assert!(answers[..keys.len()].iter().all(|answer| answer == "done"), "{job}");
                assert_eq!(answers[keys.len()], json!(keys));
            } else {
                assert_eq!(job["returnvalue"], Value::Null, "another owner's value was seen: {job}");
            }
        }
        if let Some(redis) = &stage.redis {
            let Reply::List(found) = redis.client().run(&["KEYS", "*"]) else { panic!() };
            let (mut buckets, mut cached) = (0, 0);
            for key in found {
                let Reply::Text(key) = key else { panic!("{key:?}") };
                buckets += usize::from(key.starts_with("jobcell-kv/bull/{") && key.matches(['{', '}']).count() == 2);
                cached += usize::from(key.starts_with("jobcell-cache/bull/"));
                assert!(!key.starts_with("{bull}") && !key.starts_with("jobcell-kv/bull/{:tally}"), "{key:?}");
            }
            // Two keys a bucket, whatever it holds.
            assert_eq!((buckets, cached), (2 * tenants.len(), keys.len() * tenants.len()));
        }
    }

    fn blobs_are_files_of_the_store_that_was_named(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let data = json!({"store": "files", "key": "a/b.txt", "text": "hello"});
        let answer = result(&site, "blob", data);
        assert_eq!((&answer["text"], &answer["part"]), (&json!("hello"), &json!("ell")), "{answer}");
        assert_eq!(answer["head"]["size"], 5, "{answer}");
        assert_eq!(site.read("files/a/b.txt"), b"hello");
        let page = result(&site, "blob-list", json!({"store": "files", "prefix": "a/", "start_after": null, "limit": 5}));
        assert_eq!(page[0]["key"], "a/b.txt", "{page}");
        for key in ["../outside.txt", "/etc/passwd"] {
            let data = json!({"store": "files", "key": key, "text": "x"});
            let id = site.enqueue("work", "blob", &data, &[]);
            let _ = site.burst();
            // Refused, or kept below the store's folder: nothing is written outside of it.
            let _ = site.job("work", &id);
        }
        assert!(!site.path().join("outside.txt").exists());
    }

    fn a_job_puts_jobs_on_the_queues_it_was_granted(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let data = json!({"queue": "other", "name": "noop", "data": {"i": 5}, "id": "child-1"});
        assert_eq!(result(&site, "enqueue", data), "child-1");
        let _ = site.burst();
        let child = site.job("other", "child-1");
        assert_eq!((&child["state"], &child["returnvalue"]["i"]), (&json!("completed"), &json!(5)), "{child}");

        let denied = json!({"queue": "donations", "name": "noop", "data": {"i": 5}});
        let id = site.enqueue("work", "enqueue", &denied, &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert!(job["failedReason"].as_str().is_some_and(|why| why.contains("donations")), "{job}");
    }

    fn a_job_waits_for_its_children_within_one_burst(stage: &Stage) {
        let site = capable_site(stage, "http://127.0.0.1:9");
        let id = site.enqueue("work", "family", &json!({"queue": "other", "name": "noop", "children": 3}), &[]);
        // A burst ends when all queues are empty: not before the children are done, nor before their parent is.
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!((&job["state"], &job["returnvalue"]), (&json!("completed"), &json!(3)), "{job}");
        // Children that end before their parent asks to wait leave nothing to wait for: then it goes on at once.
        let starts = job["attemptsStarted"].as_u64();
        assert!(job["attemptsMade"] == 1 && matches!(starts, Some(1 | 2)), "{job}");
    }

    fn a_secret_is_used_unseen_unless_it_may_be_revealed(stage: &Stage) {
        let receiver = Receiver::start([Answer::new(200)]);
        let site = capable_site(stage, &receiver.url());
        let answer = result(&site, "secret", json!({"secret": "key", "message": "m", "algorithm": "sha256"}));
        assert_eq!((&answer["accepted"], &answer["forged"]), (&json!(true), &json!(false)), "{answer}");
        assert_eq!(result(&site, "reveal", json!("open")), "sesame");
        let id = site.enqueue("work", "reveal", &json!("key"), &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!(job["state"], "failed", "{job}");

        let data = json!({"url": format!("{}/x", receiver.url()), "bearer": "key"});
        let answer = result(&site, "fetch", data);
        assert_eq!(answer["status"], 200, "{answer}");
        let heard = receiver.heard();
        assert_eq!(heard[0].header("authorization"), Some("Bearer a key that no handler sees"));
        assert!(!answer.to_string().contains("no handler sees"), "{answer}");
    }

    fn requests_go_nowhere_but_where_they_were_granted(stage: &Stage) {
        let (granted, other) = (Receiver::start([Answer::new(200)]), Receiver::start([Answer::new(200)]));
        let site = capable_site(stage, &granted.url());
        let id = site.enqueue("work", "fetch", &json!({"url": format!("{}/x", other.url())}), &[]);
        let _ = site.burst();
        let job = site.job("work", &id);
        assert_eq!(job["state"], "failed", "{job}");
        assert!(other.heard().is_empty() && granted.heard().is_empty());
    }
}

#[test]
fn what_a_handler_publishes_is_heard_on_the_channel() {
    let stage = Stage::redis();
    let site = capable_site(&stage, "http://127.0.0.1:9");
    let redis = stage.redis.as_ref().unwrap();
    let mut listener: Resp = redis.client();
    listener.run(&["SUBSCRIBE", "updates"]);
    let _ = result(&site, "publish", json!({"channel": "updates", "message": "a donation"}));
    let heard = listener.message();
    let text = |text: &str| Reply::Text(text.to_owned());
    assert_eq!(heard, Reply::List(vec![text("message"), text("updates"), text("a donation")]));
    let id = site.enqueue("work", "publish", &json!({"channel": "elsewhere", "message": "x"}), &[]);
    let _ = site.burst();
    assert_eq!(site.job("work", &id)["state"], "failed");
}

#[test]
fn check_says_which_rights_the_buckets_of_handlers_need() {
    let stage = Stage::redis();
    let redis = stage.redis.as_ref().unwrap();
    let user = ["ACL", "SETUSER", "limited", "on", ">pw", "~bull:*", "~jobcell-cache/bull/*", "&*", "+@all"];
    redis.client().run(&user);
    let url = redis.url().replace("redis://", "redis://limited:pw@");
    let site = Site::at(&url, &capable("http://127.0.0.1:9")).env("TEST_KEY", "k");
    site.write("open.txt", "sesame");
    site.write("files/.keep", "");
    let _ = site.cli(&["check"]).exits(1).answers(&[
        "FAULT",
        "buckets",
        "ACL SETUSER limited",
        "~jobcell-kv/bull/*",
    ]);
    redis.client().run(&["ACL", "SETUSER", "limited", "~jobcell-kv/bull/*"]);
    let _ = site.cli(&["check"]).ok();
}
