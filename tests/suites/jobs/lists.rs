//! Queues that are plain lists: the producer knows `LPUSH`, the listener `SUBSCRIBE`, and nobody anything else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jobcell_tests::{Answer, Host, Receiver, RedisServer, Resp, Site, wait};
use serde_json::{Value, json};

use crate::stage::{Stage, capable, capable_site};

/// The queue `overlay` over the list `job_queue`; a job without a name comes back as it is.
const OVERLAY: &str = r#"
[queues.overlay]
protocol = "list"
key = "job_queue"
record = "job:{id}"
handler = "basic"
attempts = 3
backoff = { type = "fixed", delay = "100ms", jitter = 0.0 }
lock = "1s"
stalled-interval = "1s"
[handlers.basic]
source = "${basic}"
names = { overlay = "echo" }
"#;

/// What the listener hears.
struct Updates(Resp);

impl Updates {
    fn of(redis: &RedisServer) -> Self {
        let mut listener = redis.client();
        let _ = listener.run(&["SUBSCRIBE", "job_updates"]);
        Self(listener)
    }

    fn next(&mut self) -> Value {
        let texts = self.0.message().texts();
        let [kind, channel, message] = &texts[..] else { panic!("{texts:?}") };
        assert_eq!((kind.as_str(), channel.as_str()), ("message", "job_updates"));
        serde_json::from_str(message).unwrap_or_else(|fault| panic!("{message}: {fault}"))
    }

    /// Everything until this job has this status, as `job status`.
    fn until(&mut self, id: &str, status: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.next();
            let (job, now) = (message["jobId"].as_str().unwrap(), message["status"].as_str().unwrap());
            heard.push(format!("{job} {now}"));
            if (job, now) == (id, status) {
                return heard;
            }
        }
    }
}

fn push(producer: &mut Resp, item: &str) {
    let _ = producer.run(&["LPUSH", "job_queue", item]);
}

fn field(redis: &mut Resp, id: &str, name: &str) -> Option<String> {
    redis.run(&["HGET", &format!("job:{id}"), name]).text()
}

fn listed(redis: &mut Resp, key: &str) -> Vec<String> {
    redis.run(&["LRANGE", key, "0", "-1"]).texts()
}

#[test]
fn an_id_is_run_with_its_record_and_its_tenant_hears_of_it() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let host = Host::start(&site);
    let (mut producer, mut updates) = (redis.client(), Updates::of(&redis));
    let record = ["HSET", "job:u-1", "data", r#"{"price":0.10}"#, "tenantId", "acme", "owner", "api"];
    let _ = producer.run(&record);
    push(&mut producer, "u-1");
    for status in ["RUNNING", "COMPLETED"] {
        let message = updates.next();
        assert_eq!(message, json!({"tenantId": "acme", "jobId": "u-1", "status": status, "error": null}));
    }
    assert_eq!(field(&mut producer, "u-1", "result").as_deref(), Some(r#"{"price":0.10}"#));
    assert_eq!(field(&mut producer, "u-1", "status").as_deref(), Some("COMPLETED"));
    assert_eq!(field(&mut producer, "u-1", "owner").as_deref(), Some("api"));
    assert!(listed(&mut producer, "job_queue").is_empty());
    host.stop();
}

#[test]
fn an_envelope_chooses_its_handler_and_its_attempts() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let host = Host::start(&site);
    let (mut producer, mut updates) = (redis.client(), Updates::of(&redis));
    push(&mut producer, r#"{"id":7,"name":"flaky","data":{"until":3},"tenantId":"t1"}"#);
    let heard = updates.until("7", "COMPLETED");
    let again = ["7 RUNNING", "7 RETRYING"];
    assert_eq!(heard, [&again[..], &again, &["7 RUNNING", "7 COMPLETED"]].concat());
    let twice = r#"{"id":"x","name":"flaky","data":{"until":9},"attempts":2,"tenantId":"t1"}"#;
    push(&mut producer, twice);
    let mut heard = Vec::new();
    let failed = loop {
        let message = updates.next();
        heard.push(message["status"].as_str().unwrap().to_owned());
        if message["status"] == "FAILED" {
            break message;
        }
    };
    assert_eq!(heard, ["RUNNING", "RETRYING", "RUNNING", "FAILED"]);
    assert_eq!(failed["tenantId"], "t1");
    assert!(failed["error"].as_str().unwrap().contains("attempt 2 fails"), "{failed}");
    assert_eq!(listed(&mut producer, "job_queue:dead"), [twice]);
    push(&mut producer, r#"{"id":"seen","name":"job","tenantId":"t2"}"#);
    let _ = updates.until("seen", "COMPLETED");
    let seen: Value = serde_json::from_str(&field(&mut producer, "seen", "result").unwrap()).unwrap();
    for (name, value) in [
        ("queue", json!("overlay")),
        ("max_attempts", json!(3)),
        ("tenant", json!("t2")),
        ("bytes", json!("null".len())),
        ("starts", json!(1)),
    ] {
        assert_eq!(seen[name], value, "{name}: {seen}");
    }
    assert!(seen["idempotency_key"].as_str().unwrap().contains("seen"), "{seen}");
    host.stop();
}

#[test]
fn raw_bytes_are_payload_and_result() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let host = Host::start(&site);
    let (mut producer, mut updates) = (redis.client(), Updates::of(&redis));
    push(&mut producer, "plain text, no JSON");
    let _ = updates.until("plain text, no JSON", "COMPLETED");
    assert_eq!(field(&mut producer, "plain text, no JSON", "result").as_deref(), Some("plain text, no JSON"));
    let binary = "return redis.call('LPUSH', 'job_queue', string.char(255, 0, 13, 10))";
    let _ = producer.run(&["EVAL", binary, "0"]);
    let _ = updates.until("hex:ff000d0a", "COMPLETED");
    let same = "return redis.call('HGET', 'job:' .. string.char(255, 0, 13, 10), 'result') == string.char(255, 0, 13, 10)";
    assert_eq!(producer.run(&["EVAL", same, "0"]).int(), 1, "byte for byte");
    assert_eq!(site.job("overlay", "hex:ff000d0a")["state"], "completed");
    host.stop();
}

/// A host whose handler `fetch` waits for the receiver.
fn fetching(stage: &Stage, url: &str) -> Site {
    let list = "[queues.overlay]\nprotocol = \"list\"\nkey = \"job_queue\"\nrecord = \"job:{id}\"\n\
                handler = \"capable\"\nlock = \"1s\"\nstalled-interval = \"1s\"\nmax-stalled = 3\n[queues.other]";
    let config = capable(url).replace("[queues.other]", list);
    let site = stage.site(&config).env("TEST_KEY", "a key that no handler sees");
    site.write("open.txt", "sesame");
    site.write("files/.keep", "");
    site
}

#[test]
fn the_item_of_a_killed_host_goes_back_and_is_completed_once_by_another() {
    let stage = Stage::redis();
    let redis = stage.redis.as_ref().unwrap();
    let receiver = Receiver::start([Answer::new(200).after(Duration::from_secs(20)), Answer::new(200)]);
    let (first, second) = (fetching(&stage, &receiver.url()), fetching(&stage, &receiver.url()));
    let (mut producer, mut updates) = (redis.client(), Updates::of(redis));
    let host = Host::start(&first);
    let data = json!({"url": format!("{}/slow", receiver.url())});
    let item = json!({"id": "a", "name": "fetch", "data": data, "attempts": 1}).to_string();
    push(&mut producer, &item);
    let _ = receiver.wait_for(1);
    let hosts = producer.run(&["SMEMBERS", "job_queue:hosts"]).texts();
    let processing = format!("job_queue:processing:{}", hosts[0]);
    assert_eq!(listed(&mut producer, &processing), [item.as_str()], "held while it runs");
    host.kill();
    let other = Host::start(&second);
    let heard = updates.until("a", "COMPLETED");
    assert_eq!(heard, ["a RUNNING", "a RETRYING", "a RUNNING", "a COMPLETED"]);
    assert_eq!(receiver.wait_for(2).len(), 2);
    let job = second.job("overlay", "a");
    assert_eq!(
        (&job["attemptsMade"], &job["attemptsStarted"], &job["stalledCounter"]),
        (&json!(1), &json!(2), &json!(1))
    );
    assert!(listed(&mut producer, &processing).is_empty());
    other.stop();
}

#[test]
fn a_host_that_is_asked_to_end_gives_its_item_back() {
    let stage = Stage::redis();
    let redis = stage.redis.as_ref().unwrap();
    let receiver = Receiver::start([Answer::new(200).after(Duration::from_secs(20))]);
    let site = fetching(&stage, &receiver.url());
    site.write_config(&site.config().replace("[server]", "[shutdown]\ngrace = \"0s\"\n[server]"));
    let mut producer = redis.client();
    let mut host = Host::start(&site);
    let data = json!({"url": format!("{}/slow", receiver.url())});
    let item = json!({"id": "a", "name": "fetch", "data": data}).to_string();
    push(&mut producer, &item);
    let _ = receiver.wait_for(1);
    host.terminate();
    assert_eq!(host.code(), Some(75));
    assert_eq!(listed(&mut producer, "job_queue"), [item]);
    assert_eq!(field(&mut producer, "a", "attempts").as_deref(), Some("0"), "it used no attempt");
}

#[test]
fn ten_thousand_items_on_two_hosts_are_each_completed_once() {
    const ITEMS: usize = 10_000;
    let redis = RedisServer::start();
    let (first, second) = (Site::redis(&redis, OVERLAY), Site::redis(&redis, OVERLAY));
    let (mut producer, mut updates) = (redis.client(), Updates::of(&redis));
    let hosts = [Host::start(&first), Host::start(&second)];
    for part in 0..ITEMS / 100 {
        let ids: Vec<String> = (0..100).map(|n| format!("n{}", part * 100 + n)).collect();
        let mut words = vec!["LPUSH", "job_queue"];
        words.extend(ids.iter().map(String::as_str));
        let _ = producer.run(&words);
    }
    let mut completed: BTreeMap<String, usize> = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(120);
    while completed.len() < ITEMS {
        assert!(Instant::now() < end, "{} of {ITEMS}", completed.len());
        let message = updates.next();
        match message["status"].as_str() {
            Some("COMPLETED") => {
                *completed.entry(message["jobId"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            Some("RUNNING") => {}
            other => panic!("{other:?}: {message}"),
        }
    }
    assert!(completed.values().all(|times| *times == 1));
    let counts = first.cli(&["--json", "queue", "counts", "overlay"]).ok().json();
    assert_eq!((&counts[0]["waiting"], &counts[0]["active"]), (&json!(0), &json!(0)), "{counts}");
    for host in hosts {
        let page = host.get("/metrics").unwrap().1;
        let done: f64 = page
            .lines()
            .filter(|line| line.starts_with("jobcell_jobs_total{") && line.contains("completed"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert!(done > 1000.0, "both worked: {done}");
        host.stop();
    }
}

#[test]
fn items_survive_a_restart_of_redis() {
    let mut redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let host = Host::start(&site);
    let mut producer = redis.client();
    for n in 0..200 {
        push(&mut producer, &format!(r#"{{"id":"n{n}","name":"sleep","data":{{"ms":30}}}}"#));
    }
    wait::until("some are done", || field(&mut producer, "n5", "result"));
    redis.down();
    redis.up();
    let mut producer = redis.client();
    wait::until("all are done", || {
        let done = (0..200)
            .filter(|n| field(&mut producer, &format!("n{n}"), "status").as_deref() == Some("COMPLETED"));
        (done.count() == 200).then_some(())
    });
    push(&mut producer, "fresh");
    wait::until("the host hears of new items", || field(&mut producer, "fresh", "result"));
    host.stop();
}

#[test]
fn an_idle_host_starts_an_item_within_milliseconds() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let host = Host::start(&site);
    let (mut producer, mut updates) = (redis.client(), Updates::of(&redis));
    let mut took = Vec::new();
    for round in 0..30 {
        wait::until("the host waits for an item", || {
            let clients = producer.run(&["CLIENT", "LIST"]).text()?;
            clients.contains("cmd=blmove").then_some(())
        });
        let pushed = Instant::now();
        push(&mut producer, &format!("n{round}"));
        let message = updates.next();
        assert_eq!(message["status"], "RUNNING");
        took.push(pushed.elapsed());
        let _ = updates.until(&format!("n{round}"), "COMPLETED");
    }
    took.sort();
    // Two busy cores stretch this; what it must not be is a poll.
    assert!(took[took.len() / 2] < Duration::from_millis(100), "{took:?}");
    host.stop();
}

#[test]
fn the_commands_work_on_a_list() {
    let redis = RedisServer::start();
    let site = Site::redis(&redis, OVERLAY);
    let mut client = redis.client();
    // Nobody runs yet: what is added waits as anybody would push it.
    let id = site.enqueue("overlay", "echo", &json!({"n": 1}), &["--tenant", "t"]);
    let item = listed(&mut client, "job_queue").remove(0);
    assert_eq!(
        serde_json::from_str::<Value>(&item).unwrap(),
        json!({"id": id, "name": "echo", "data": {"n": 1}, "tenantId": "t"})
    );
    assert_eq!(site.job("overlay", &id)["state"], "waiting");
    push(&mut client, "pushed");
    let later = site.enqueue("overlay", "echo", &json!(2), &["--delay", "3600000"]);
    let list = site.cli(&["--json", "job", "list", "overlay", "--state", "waiting,delayed"]).ok().json();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id.as_str(), "pushed", &later]);
    let _ = site.cli(&["job", "promote", "overlay", &later]).ok();
    let _ = site.cli(&["--yes", "job", "remove", "overlay", "pushed"]).ok();
    let _ = site.cli(&["queue", "pause", "overlay"]).ok();
    let counts = site.cli(&["--json", "queue", "counts", "overlay"]).ok().json();
    assert_eq!((&counts[0]["waiting"], &counts[0]["paused"]), (&json!(2), &json!(true)), "{counts}");
    let _ = site
        .cli(&["enqueue", "overlay", "echo", "--priority", "5"])
        .exits(1)
        .says(&["\"overlay\"", "priorities"]);

    let host = Host::start(&site);
    let _ = site.cli(&["queue", "resume", "overlay"]).ok();
    let waited = site.cli(&["enqueue", "overlay", "echo", "--data", "{\"a\":1}", "--wait=20"]).ok();
    assert_eq!(waited.stdout.trim(), "{\"a\":1}");
    let failed = ["enqueue", "overlay", "fail", "--data", r#"{"kind":"fatal","message":"no"}"#, "--wait=20"];
    let _ = site.cli(&failed).exits(1).says(&["no"]);
    let dead = site.cli(&["--json", "job", "list", "overlay", "--state", "failed"]).ok().json();
    let dead = dead[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(site.job("overlay", &dead)["failedReason"], "no");
    let mut updates = Updates::of(&redis);
    let _ = site.cli(&["job", "retry", "overlay", &dead, "--reset-attempts"]).ok();
    let _ = updates.until(&dead, "FAILED");
    let logging =
        site.cli(&["enqueue", "overlay", "logs", "--data", r#"{"lines":3}"#, "--wait=20", "--json"]);
    let logging = logging.ok().json()["id"].as_str().unwrap().to_owned();
    assert!(!site.logs("overlay", &logging).is_empty());
    host.stop();
    site.enqueue("overlay", "echo", &json!(1), &[]);
    let _ = site.cli(&["--yes", "queue", "drain", "overlay"]).ok().answers(&["1 job removed"]);
    // Also an empty list says what it cannot do, before anybody confirms it.
    for words in [&["promote"][..], &["retry"], &["clean"], &["obliterate"]] {
        let on_list = [&["queue"], words, &["overlay"]].concat();
        let _ = site.cli(&on_list).exits(1).says(&["\"overlay\"", "does not offer"]);
    }
    let _ = site.cli(&["queue", "promote", "--all"]).ok().says(&["\"overlay\"", "it is left out"]);
    let _ = site.cli(&["schedule", "rm", "overlay", "s"]).exits(1).says(&["does not offer schedulers"]);
    let _ =
        site.cli(&["job", "remove", "overlay", &dead, "--children"]).exits(1).says(&["does not offer flows"]);
    let _ = site.cli(&["check"]).ok().answers(&["queue overlay", "job_queue"]);
}

#[test]
fn a_handler_puts_jobs_on_a_list_that_its_host_does_not_work() {
    let stage = Stage::redis();
    let redis = stage.redis.as_ref().unwrap();
    let receiver = Receiver::start([Answer::new(200)]);
    let site = capable_site(&stage, &receiver.url());
    site.write_config(&site.config().replace(
        "[queues.other]\nhandler = \"basic\"",
        "[queues.other]\nhandler = \"basic\"\nprotocol = \"list\"\nkey = \"job_queue\"",
    ));
    let host = Host::start_with(&site, &["--queue", "work"]);
    let data = json!({"queue": "other", "name": "echo", "data": {"i": 1}});
    let _ = site.cli(&["enqueue", "work", "enqueue", "--data", &data.to_string(), "--wait=20"]).ok();
    host.stop();
    let items = listed(&mut redis.client(), "job_queue");
    assert_eq!(items.len(), 1, "in the list, and not in BullMQ's layout");
    let item: Value = serde_json::from_str(&items[0]).unwrap();
    assert_eq!(item["name"], "echo", "{item}");
}

#[test]
fn without_redis_a_list_is_a_fault_that_says_so() {
    let site = Site::embedded(OVERLAY);
    for command in [&["check"][..], &["run"], &["queue", "ls"]] {
        let ran = site.cli(command);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != Some(0) && told.contains("a list queue lives in Redis"), "{told}");
    }
}

#[test]
fn check_says_what_a_user_may_not_do_with_a_list_and_asks_for_no_other_keys() {
    let redis = RedisServer::start();
    let mut client = redis.client();
    let url = format!("redis://weak:pw@127.0.0.1:{}", redis.port());
    let site = Site::at(&url, OVERLAY);
    // What needs no key is allowed; the script that asks must be.
    client.run(&["ACL", "SETUSER", "weak", "on", ">pw", "+@all", "-@admin", "-@dangerous"]);
    let ran = site.cli(&["check"]);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(ran.code != Some(0) && !told.contains("bull:"), "{told}");
    for part in ["list queue \"overlay\"", "\"weak\" may not", "~job:*", "~job_queue ", "&job_updates"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // The fix is enough to work with.
    let (_, fix) = told.split_once("; ACL SETUSER ").unwrap();
    let (fix, _) = fix.split_once(", and the same").unwrap();
    let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(fix.split_whitespace()).collect();
    client.run(&words);
    let _ = site.cli(&["check"]).ok();
    let host = Host::start(&site);
    push(&mut client, "u-1");
    wait::until("it is done", || {
        (field(&mut client, "u-1", "status")?.as_str() == "COMPLETED").then_some(())
    });
    host.stop();
}
