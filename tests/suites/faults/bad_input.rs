//! What other programs may leave in Redis: records that are no jobs, ids that are no text, keys that hold something else.
//! It is told, costs only what it is about, and never makes the host run in circles.

use std::time::Duration;

use jobcell_tests::{Host, RedisServer, Resp, Site, wait};
use serde_json::json;

/// A queue whose lost jobs come back soon.
const QUEUE: &str = r#"
[queues.work]
handler = "basic"
concurrency = 4
lock = "1s"
stalled-interval = "1s"
max-stalled = 50
[handlers.basic]
source = "${basic}"
"#;

/// Script calls that an idle host may make in [`WATCHED`]: it looks for stalled jobs once a second, and waits otherwise.
const CALLS_MAX: i64 = 20;
const WATCHED: Duration = Duration::from_secs(1);

struct Scene {
    redis: RedisServer,
    site: Site,
    host: Host,
    client: Resp,
}

impl Scene {
    fn set() -> Self {
        let redis = RedisServer::start();
        let site = Site::redis(&redis, QUEUE);
        let host = Host::start(&site);
        let client = redis.client();
        Self { redis, site, host, client }
    }

    /// Makes a record and lets it wait. Values are texts of Redis's scripts, so that they may be any bytes.
    fn leave(&mut self, id: &str, fields: &[(&str, &str)]) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("'{name}', {value}")).collect();
        let record = if fields.is_empty() {
            String::new()
        } else {
            format!("redis.call('HSET', 'bull:work:' .. id, {})", fields.join(", "))
        };
        let script = format!("local id = {id} {record} redis.call('LPUSH', 'bull:work:wait', id)");
        self.client.run(&["EVAL", &script, "0"]);
        self.wake();
    }

    fn wake(&mut self) {
        // Where something else has the key, the host looks from time to time.
        let _ = self.client.try_run(&["ZADD", "bull:work:marker", "0", "0"]);
    }

    fn reason(&self, id: &str) -> String {
        wait::until(&format!("job {id:?} failed"), || {
            let record = self.redis.hash(&format!("bull:work:{id}"));
            record.contains_key("finishedOn").then(|| record.get("failedReason").cloned())?
        })
    }

    fn good_job(&mut self, i: u64) {
        let id = format!("good-{i}");
        let data = format!("'{}'", json!({ "i": i }));
        self.leave(
            &format!("'{id}'"),
            &[("name", "'noop'"), ("data", &data), ("opts", "'{}'"), ("timestamp", "1")],
        );
        self.completed(&id);
    }

    fn completed(&self, id: &str) {
        wait::until(&format!("job {id} is completed"), || {
            self.redis.client().run(&["ZSCORE", "bull:work:completed", id]).text()
        });
    }

    fn calls(&mut self) -> i64 {
        let info = self.client.run(&["INFO", "commandstats"]).text().unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0");
        line.split(',').next().unwrap().parse().unwrap()
    }

    /// The host rests while nothing comes.
    fn rests(&mut self, what: &str) {
        let before = self.calls();
        std::thread::sleep(WATCHED);
        let made = self.calls() - before;
        assert!(made < CALLS_MAX, "{what}: {made} calls in {WATCHED:?}");
    }

    fn nothing_is_held(&mut self) {
        wait::until("nothing is active", || {
            (self.client.run(&["LLEN", "bull:work:active"]).int() == 0).then_some(())
        });
        assert!(self.client.run(&["KEYS", "bull:work:*:lock"]).texts().is_empty());
    }
}

#[test]
fn records_that_are_no_jobs_cost_only_themselves() {
    let mut scene = Scene::set();
    let deep = "(string.rep('[', 100000) .. string.rep(']', 100000))";
    let deep_inside = "('{\"i\":1,\"x\":' .. string.rep('[', 100000) .. string.rep(']', 100000) .. '}')";
    let whole = [("name", "'noop'"), ("data", "'{\"i\":1}'"), ("opts", "'{}'"), ("timestamp", "1")];
    let with = |name: &'static str, value: &'static str| {
        let mut fields = whole.to_vec();
        fields.retain(|(field, _)| *field != name);
        fields.push((name, value));
        fields
    };
    let bad = [
        ("nameless", vec![("data", "'{}'"), ("timestamp", "1")], "no name"),
        ("bare", vec![("name", "'noop'")], "payload"),
        ("opts-text", with("opts", "'{oops'"), "opts"),
        ("opts-number", with("opts", "'7'"), "opts"),
        ("opts-types", with("opts", "'{\"attempts\":\"many\"}'"), "\"many\" is not a number"),
        ("time", with("timestamp", "'soon'"), "timestamp"),
        ("starts", with("ats", "'often'"), "ats"),
        ("text", with("data", "'{oops'"), "payload"),
        ("bytes", with("data", "'\\255\\254'"), "payload"),
        ("deep", with("data", deep), "payload"),
    ];
    for (id, fields, _) in &bad {
        scene.leave(&format!("'{id}'"), fields);
    }
    // What a handler does not read does not matter, however deep.
    scene.leave("'deep-inside'", &with("data", deep_inside));
    // An id without a record, and one whose key is something else's.
    scene.leave("'gone'", &[]);
    scene.client.run(&["SET", "bull:work:foreign", "mine"]);
    scene.leave("'foreign'", &[]);
    scene.good_job(1);
    for (id, _, why) in &bad {
        let reason = scene.reason(id);
        assert!(reason.contains(why), "{id}: {reason}");
    }
    scene.completed("deep-inside");
    scene.host.wait_log("bull:work:gone");
    scene.host.wait_log("bull:work:foreign");
    assert_eq!(scene.client.run(&["GET", "bull:work:foreign"]).text().as_deref(), Some("mine"));
    scene.nothing_is_held();
    scene.rests("after records that are no jobs");
    scene.good_job(2);
    scene.host.stop();
}

#[test]
fn ids_that_are_no_text_are_failed_and_odd_ones_run() {
    let mut scene = Scene::set();
    let whole = [("name", "'noop'"), ("data", "'{\"i\":1}'"), ("opts", "'{}'"), ("timestamp", "1")];
    for id in ["''", "'caf\\233'", "'a:b:c:d'", "'ol\\195\\169 \\240\\159\\153\\130'", "'with space\\n'"] {
        scene.leave(id, &whole);
    }
    scene.good_job(1);
    for id in ["a:b:c:d", "ol\u{e9} \u{1f642}", "with space\n"] {
        scene.completed(id);
    }
    // The harness shows bytes that are no text as the sign for that.
    let failed = wait::until("both are failed", || {
        let failed = scene.client.run(&["ZRANGE", "bull:work:failed", "0", "-1"]).texts();
        (failed.len() == 2).then_some(failed)
    });
    assert_eq!(failed, ["", "caf\u{fffd}"]);
    let reason = "return redis.call('HGET', 'bull:work:caf\\233', 'failedReason')";
    let reason = scene.client.run(&["EVAL", reason, "0"]).text().unwrap();
    assert!(reason.contains("UTF-8"), "{reason}");
    assert!(scene.reason("").contains("empty"));
    scene.host.wait_log("a job that nobody can run was failed");
    let listed = scene.site.cli(&["--json", "queue", "ls"]).ok().json();
    assert!(listed.to_string().contains("\"failed\":2"), "{listed}");
    scene.nothing_is_held();
    scene.rests("after ids that are no text");
    scene.host.stop();
}

#[test]
fn a_payload_of_fifty_megabytes_is_refused() {
    let mut scene = Scene::set();
    scene.leave(
        "'big'",
        &[("name", "'echo'"), ("data", "('\"' .. string.rep('x', 50000000) .. '\"')"), ("timestamp", "1")],
    );
    scene.good_job(1);
    let reason = scene.reason("big");
    assert!(reason.contains("payload") && reason.contains("MiB"), "{reason}");
    let payload = scene.client.run(&["HSTRLEN", "bull:work:big", "data"]).int();
    assert_eq!(payload, 50_000_002, "it is kept");
    scene.nothing_is_held();
    scene.host.stop();
}

/// Keys of the queue, and whether jobs can be done while something else has them.
const KEYS: [(&str, bool); 12] = [
    ("wait", false),
    ("active", false),
    ("prioritized", true),
    ("delayed", false),
    ("marker", true),
    ("events", false),
    ("meta", false),
    ("limiter", true),
    ("stalled", true),
    ("completed", false),
    ("repeat", true),
    ("metrics:completed", true),
];

#[test]
fn a_foreign_key_of_the_queue_is_named_and_nothing_is_lost() {
    let mut scene = Scene::set();
    scene.good_job(0);
    for (i, (last, works)) in KEYS.into_iter().enumerate() {
        let (key, id) = (format!("bull:work:{last}"), format!("during-{last}"));
        let kept = scene.client.run(&["EXISTS", &key]).int() == 1;
        if kept {
            scene.client.run(&["RENAME", &key, "kept"]);
        }
        scene.client.run(&["SETEX", &key, "600", "something else"]);
        let record = [("name", "'noop'"), ("data", "'{\"i\":7}'"), ("opts", "'{}'"), ("timestamp", "1")];
        if last == "wait" {
            scene.wake();
        } else {
            scene.leave(&format!("'{id}'"), &record);
        }
        if works {
            scene.completed(&id);
        } else {
            scene.host.wait_log(&key);
        }
        scene.rests(last);
        scene.client.run(&["DEL", &key]);
        if kept {
            scene.client.run(&["RENAME", "kept", &key]);
        }
        if last == "wait" {
            scene.leave(&format!("'{id}'"), &record);
        }
        scene.wake();
        scene.completed(&id);
        scene.good_job(100 + i as u64);
    }
    scene.nothing_is_held();
    scene.host.stop();
}

#[test]
fn a_host_that_starts_on_a_foreign_key_names_it() {
    for last in ["wait", "meta", "events"] {
        let redis = RedisServer::start();
        redis.client().run(&["SET", &format!("bull:work:{last}"), "something else"]);
        let site = Site::redis(&redis, QUEUE);
        let host = Host::launch(&site, &[]);
        host.wait_log(&format!("bull:work:{last}"));
    }
}

#[test]
fn settings_that_are_no_numbers_stop_nothing() {
    let mut scene = Scene::set();
    scene.client.run(&[
        "HSET",
        "bull:work:meta",
        "concurrency",
        "abc",
        "max",
        "many",
        "duration",
        "-",
        "version",
        "?",
    ]);
    scene.client.run(&["HSET", "bull:work:meta", "opts.maxLenEvents", "10000"]);
    scene.good_job(1);
    let _ = scene.site.cli(&["queue", "ls"]).ok();
    scene.host.stop();
}

#[test]
fn a_reader_outlives_what_becomes_of_the_event_stream() {
    let mut scene = Scene::set();
    for (i, spoil) in [
        &["XTRIM", "bull:work:events", "MAXLEN", "0"][..],
        &["DEL", "bull:work:events"],
        &["XADD", "bull:work:events", "*", "no", "event", "\u{1}", ""],
        &["XADD", "bull:work:events", "*", "event", "completed", "jobId", "another", "returnvalue", "{oops"],
    ]
    .into_iter()
    .enumerate()
    {
        let ran = std::thread::scope(|scope| {
            let data = json!({ "ms": 1500 }).to_string();
            let site = &scene.site;
            let waiting =
                scope.spawn(move || site.cli(&["enqueue", "work", "sleep", "--data", &data, "--wait=20"]));
            wait::until("the job runs", || {
                (scene.client.run(&["LLEN", "bull:work:active"]).int() == 1).then_some(())
            });
            scene.client.run(spoil);
            waiting.join().unwrap()
        });
        let _ = ran.ok();
        scene.good_job(i as u64);
    }
    scene.host.stop();
}

#[test]
fn what_somebody_else_keeps_under_a_queues_name_hides_no_queue_from_the_list() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, "");
    let mut client = redis.client();
    for command in [
        &["HSET", "bull:good:meta", "version", "bullmq:6.7.0"][..],
        &["SET", "bull:mine:meta", "settings"],
        &["INCR", "bull:odd:id"],
        &["SET", "bull:odd:meta", "settings"],
    ] {
        client.run(command);
    }
    let ran = site.cli(&["queue", "ls"]).ok().says(&["queue odd", "bull:odd:meta"]);
    assert!(ran.stdout.contains("good") && !ran.stdout.contains("mine"), "{ran}");
}
