//! Schedulers on the wire: records and jobs as BullMQ's clients write them, and what goes wrong with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use jobcell_core::options::JobOptions;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{Page, Scheduled, SchedulerSpec, Schedulers};
use jobcell_core::{JobState, Store, StoreError};
use jobcell_redis::{BullStore, ConnectOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Bench, NOW, claim, complete, finish, id, ids, plain, queue};

fn every(id: &str, every: u64) -> SchedulerSpec {
    SchedulerSpec {
        id: id.into(),
        timetable: Timetable {
            rule: Rule::Every { every, offset: None },
            start: None,
            end: None,
            limit: None,
        },
        name: "n".into(),
        data: None,
        options: JobOptions::default(),
    }
}

fn cron(id: &str, pattern: &str) -> SchedulerSpec {
    let rule = Rule::Cron { pattern: pattern.into(), tz: Some("Asia/Tokyo".into()), immediately: true };
    let timetable = Timetable { rule, ..every(id, 1).timetable };
    SchedulerSpec { timetable, ..every(id, 1) }
}

async fn set(b: &Bench, spec: SchedulerSpec) -> Scheduled {
    b.store.set_scheduler(&b.q, spec, NOW).await.unwrap()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn records_and_jobs_have_the_fields_of_bullmq() {
    let mut b = Bench::new().await;
    let options = JobOptions { attempts: 3, priority: 2, ..JobOptions::default() };
    let wanted = SchedulerSpec { data: Some(r#"{"a":[]}"#.into()), options, ..every("s", 60_000) };
    let mut wanted = wanted;
    wanted.timetable.limit = Some(5);
    wanted.timetable.end = Some(NOW + 9_000_000);
    let first = set(&b, wanted).await;
    assert_eq!((first.job.as_str(), first.due), ("repeat:s:1700000000000", NOW));
    assert_eq!(b.raw.zset("bull:q:repeat").await, [("s".to_owned(), 1_700_000_000_000.0)]);
    let record = b.raw.hash("bull:q:repeat:s").await;
    let fields: Vec<(&str, &str)> = record.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("data", r#"{"a":[]}"#),
            ("endDate", "1700009000000"),
            ("every", "60000"),
            ("ic", "1"),
            ("limit", "5"),
            ("name", "n"),
            ("offset", "20000"),
            ("opts", r#"{"attempts":3,"priority":2}"#),
        ]
    );
    let job = b.raw.hash("bull:q:repeat:s:1700000000000").await;
    assert_eq!((job["rjk"].as_str(), job["delay"].as_str(), job["priority"].as_str()), ("s", "0", "2"));
    assert_eq!(
        parsed(&job["opts"]),
        json!({"attempts": 3, "priority": 2, "delay": 0, "jobId": "repeat:s:1700000000000", "timestamp": NOW,
               "repeatJobKey": "s", "repeat": {"every": 60000, "count": 1, "limit": 5, "endDate": NOW + 9_000_000}})
    );
    assert_eq!(b.raw.run::<i64>(&["GET", "bull:q:id"]).await, 1);

    b.take().await;
    let record = b.raw.hash("bull:q:repeat:s").await;
    assert_eq!((record["ic"].as_str(), record["offset"].as_str()), ("2", "20000"));
    let done = b.raw.hash("bull:q:repeat:s:1700000000000").await;
    assert_eq!(done["nrjid"], "repeat:s:1700000060000", "which the older major version writes, and shows");
    let next = b.raw.hash("bull:q:repeat:s:1700000060000").await;
    assert_eq!((next["rjk"].as_str(), next["delay"].as_str(), next["name"].as_str()), ("s", "60000", "n"));
    assert_eq!(parsed(&next["opts"])["repeat"]["count"], 2);
    assert_eq!(parsed(&next["opts"])["jobId"], "repeat:s:1700000060000");
    assert_eq!(b.raw.zset("bull:q:delayed").await[0].0, "repeat:s:1700000060000");
    let marker = b.raw.zset("bull:q:marker").await;
    assert!(marker.contains(&("1".to_owned(), 1_700_000_060_000.0)), "{marker:?}");
}

#[tokio::test]
async fn a_cron_rule_has_its_fields_and_its_jobs_know_their_time() {
    let mut b = Bench::new().await;
    set(&b, cron("s", "0 9 * * MON-FRI")).await;
    let record = b.raw.hash("bull:q:repeat:s").await;
    let fields: Vec<(&str, &str)> = record.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        fields,
        [("ic", "1"), ("name", "n"), ("offset", "0"), ("pattern", "0 9 * * MON-FRI"), ("tz", "Asia/Tokyo")]
    );
    b.take().await;
    let [(pending, slot)] = &b.raw.zset("bull:q:repeat").await[..] else { panic!("one scheduler") };
    assert_eq!(
        (pending.as_str(), *slot),
        ("s", 1_700_006_400_000.0),
        "nine in the morning of the 15th in Tokyo"
    );
    let next = b.raw.hash("bull:q:repeat:s:1700006400000").await;
    let opts = parsed(&next["opts"]);
    assert_eq!(opts["prevMillis"], 1_700_006_400_000_u64);
    assert_eq!(opts["repeat"], json!({"pattern": "0 9 * * MON-FRI", "tz": "Asia/Tokyo", "count": 2}));
}

#[tokio::test]
async fn an_ordinary_claim_costs_no_further_call() {
    let mut b = Bench::new().await;
    b.add((0..3).map(|_| plain("n")).collect()).await;
    b.claim(1).await;
    let before: String = b.raw.run(&["INFO", "commandstats"]).await;
    b.claim(2).await;
    let after: String = b.raw.run(&["INFO", "commandstats"]).await;
    let calls = |info: &str| {
        let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap().to_owned();
        line.split_once("calls=").unwrap().1.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(calls(&after) - calls(&before), 1);
}

#[tokio::test]
async fn a_claimed_job_is_given_back_when_the_next_cannot_be_made_now() {
    for then in [Then::Broken, Then::BrokenAfterwards] {
        let mut b = Bench::new().await;
        set(&b, every("warm", 60_000)).await;
        b.take().await;
        let way = Way::to(b.server.port).await;
        let store = BullStore::connect(ConnectOptions::from_url(&way.url()).unwrap()).await.unwrap();
        b.add(vec![plain("running")]).await;
        let running = store.claim(&b.q, &claim(1, NOW)).await.unwrap().jobs.remove(0);
        set(&b, every("one", 60_000)).await;
        b.add(vec![plain("other")]).await;
        set(&b, every("two", 60_000)).await;

        way.at_the_next_iteration(then);
        let ends = vec![finish(&running.id, &running.token, complete("1"))];
        let reply = store.finish(&b.q, ends, Some(&claim(9, NOW)), NOW).await.unwrap();
        assert_eq!(reply.finished, [Ok(())], "what was finished is finished");
        let names: Vec<&str> =
            reply.claim.jobs.iter().map(|j| j.job.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(names, ["other"], "the others are run");
        assert_eq!(b.raw.list("bull:q:active").await.len(), 4, "the two, the other and the one of the start");

        let deadline = Instant::now() + Duration::from_secs(10);
        let claimed = loop {
            match store.claim(&b.q, &claim(9, NOW)).await {
                Ok(claimed) if !claimed.jobs.is_empty() => break claimed,
                Ok(_) => {}
                Err(e) => assert!(e.is_transient(), "{e}"),
            }
            assert!(Instant::now() < deadline, "they do not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(ids(&claimed), ["repeat:one:1700000000000", "repeat:two:1700000000000"], "in their order");
        for name in ["one", "two"] {
            let job = b.raw.hash(&format!("bull:q:repeat:{name}:1700000000000")).await;
            assert!(!job.contains_key("stc") && job["ats"] == "2", "{job:?}");
            assert_eq!(
                b.raw.hash(&format!("bull:q:repeat:{name}")).await["ic"],
                "2",
                "one next job, {then:?}"
            );
            assert_eq!(
                b.raw.keys().await.iter().filter(|k| k.contains(&format!("repeat:{name}:17"))).count(),
                3
            );
        }
    }
}

#[tokio::test]
async fn a_next_job_that_can_never_be_made_is_told_and_the_job_is_run() {
    let mut b = Bench::new().await;
    set(&b, cron("s", "0 9 * * *")).await;
    let job = "bull:q:repeat:s:1700000000000";
    let run = async |b: &mut Bench, said: &str| {
        let claimed = b.claim(5).await;
        assert_eq!(ids(&claimed), ["repeat:s:1700000000000"], "{said}");
        let log = b.store.logs(&b.q, &id("repeat:s:1700000000000"), Page::first(9)).await.unwrap();
        let told = log.last().cloned().unwrap_or_default();
        assert!(
            told.contains("\"s\"") && told.contains(said) && told.contains("set the scheduler again"),
            "{told}"
        );
        assert_eq!(b.store.counts(&b.q).await.unwrap().get(JobState::Delayed), 0);
        let ends = vec![finish(&claimed.jobs[0].id, &claimed.jobs[0].token, jobcell_core::Verdict::Release)];
        assert_eq!(b.store.finish(&b.q, ends, None, NOW).await.unwrap().finished, [Ok(())]);
    };
    for (opts, said) in [
        (r#"{"repeat":{"pattern":"61 * * * *"}}"#, "61 is out of range"),
        (r#"{"repeat":{"pattern":"* * * * *","tz":"Mars/Olympus"}}"#, "Mars/Olympus"),
        (r#"{"repeat":{"pattern":"* * * * *","endDate":"one day"}}"#, "endDate"),
        (r#"{"repeat":{}}"#, "neither a pattern nor a distance"),
        ("{broken", "opts"),
    ] {
        let _: i64 = b.raw.run(&["HSET", job, "opts", opts]).await;
        run(&mut b, said).await;
    }
    let _: i64 = b.raw.run(&["HSET", job, "opts", r#"{"repeat":{"pattern":"* * * * *"}}"#]).await;
    let _: String = b.raw.run(&["SET", "bull:q:repeat:s", "no hash"]).await;
    run(&mut b, "WRONGTYPE").await;
    // In a removed scheduler nobody is interested.
    let _: i64 = b.raw.run(&["ZREM", "bull:q:repeat", "s"]).await;
    let _: i64 = b.raw.run(&["DEL", &format!("{job}:logs")]).await;
    b.take().await;
    assert!(b.store.logs(&b.q, &id("repeat:s:1700000000000"), Page::first(9)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_of_which_a_field_cannot_be_read_still_has_a_successor() {
    let mut b = Bench::new().await;
    set(&b, every("s", 60_000)).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:repeat:s:1700000000000", "priority", "high"]).await;
    let claimed = b.claim(1).await;
    assert!(claimed.jobs[0].job.is_err());
    assert_eq!(b.raw.hash("bull:q:repeat:s").await["ic"], "2");
}

#[tokio::test]
async fn old_repeatable_jobs_go_on() {
    // As an older client leaves them: no count in the record, and a key that is a hash or says it all itself.
    for (key, prefix, repeat) in [
        ("ed5bbd3a5e0db9ff", "repeat:ed5bbd3a5e0db9ff", r#"{"every":1000,"count":1,"limit":3}"#),
        (
            "n:::Asia/Tokyo:* * * * * *",
            "repeat:8d190546c46c61d1",
            r#"{"cron":"* * * * * *","tz":"Asia/Tokyo","count":1}"#,
        ),
        ("n::::1000", "repeat:8d190546c46c61d1", r#"{"every":1000,"offset":300,"count":1}"#),
    ] {
        let mut b = Bench::new().await;
        let slot = NOW - 100_000;
        let job = format!("{prefix}:{slot}");
        let opts =
            format!(r#"{{"prevMillis":{slot},"jobId":"{job}","repeat":{repeat},"attempts":2,"x":[]}}"#);
        let hash = format!("bull:q:{job}");
        let _: i64 = b
            .raw
            .run(&["HSET", &hash, "name", "n", "data", "[7]", "opts", &opts, "rjk", key, "timestamp", "1"])
            .await;
        let _: i64 =
            b.raw.run(&["HSET", &format!("bull:q:repeat:{key}"), "name", "n", "every", "1000"]).await;
        let _: i64 = b.raw.run(&["ZADD", "bull:q:repeat", &slot.to_string(), key]).await;
        let _: i64 = b.raw.run(&["LPUSH", "bull:q:wait", &job]).await;
        let (claimed, token, _) = b.take().await;
        assert_eq!(claimed.as_str(), job);
        let [(of, next)] = &b.raw.zset("bull:q:repeat").await[..] else { panic!("one key") };
        assert_eq!((of.as_str(), next % 1000.0), (key, 0.0));
        assert!(*next >= NOW as f64 && *next <= NOW as f64 + 1000.0, "{next}");
        let next = b.raw.hash(&format!("bull:q:{prefix}:{next:.0}")).await;
        assert_eq!((next["rjk"].as_str(), next["data"].as_str(), next["name"].as_str()), (key, "[7]", "n"));
        let opts = parsed(&next["opts"]);
        assert_eq!((&opts["repeat"]["count"], &opts["x"]), (&json!(2), &json!([])), "{opts}");
        let is_old = key.contains(':');
        assert_eq!(b.raw.hash(&format!("bull:q:repeat:{key}")).await.contains_key("ic"), !is_old);
        // Once more makes no more.
        b.store
            .finish(&b.q, vec![finish(&claimed, &token, jobcell_core::Verdict::Release)], None, NOW)
            .await
            .unwrap();
        b.take().await;
        let made = b.raw.keys().await.into_iter().filter(|k| k.starts_with(&format!("bull:q:{prefix}:")));
        let made: Vec<String> = made.filter(|k| !k.ends_with(":lock")).collect();
        assert_eq!(made.len(), 2, "{made:?}");
    }
}

#[tokio::test]
async fn records_that_cannot_be_read_are_told_or_left_out() {
    let mut b = Bench::new().await;
    set(&b, every("good", 60_000)).await;
    let _: i64 = b.raw.run(&["ZADD", "bull:q:repeat", "1", "text", "2", "odd", "3", "gone"]).await;
    let _: String = b.raw.run(&["SET", "bull:q:repeat:text", "x"]).await;
    let _: i64 = b.raw.run(&["HSET", "bull:q:repeat:odd", "name", "n", "every", "often", "ic", "1"]).await;
    let listed = b.store.schedulers(&b.q, Page::first(9)).await.unwrap();
    assert_eq!(listed.iter().map(|s| s.spec.id.as_str()).collect::<Vec<_>>(), ["good"]);
    assert!(b.store.scheduler(&b.q, "gone").await.unwrap().is_none());
    for (bad, said) in [("text", "holds no hash"), ("odd", "\"often\" is no number")] {
        let error = b.store.scheduler(&b.q, bad).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Corrupt(told) if told.contains(said) && told.contains(&format!("bull:q:repeat:{bad}"))),
            "{error}"
        );
        assert!(b.store.remove_scheduler(&b.q, bad).await.unwrap(), "but it can be removed");
    }
    assert!(b.store.remove_scheduler(&queue("q"), "gone").await.unwrap());
    assert_eq!(b.raw.zset("bull:q:repeat").await.len(), 1);
}

#[tokio::test]
async fn a_scheduler_of_a_paused_queue_waits_where_both_versions_find_it() {
    let mut b = Bench::new().await;
    b.store.pause(&b.q).await.unwrap();
    set(&b, every("s", 60_000)).await;
    let again = set(&b, every("s", 60_000)).await;
    assert_eq!(b.raw.list("bull:q:paused").await, [again.job.as_str()], "the first one was replaced");
    assert!(b.claim(1).await.jobs.is_empty());
    b.store.resume(&b.q).await.unwrap();
    assert_eq!(ids(&b.claim(2).await), [again.job.as_str()]);
}

/// When the connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Never,
    /// Before the server hears of the call.
    Broken,
    /// When it has done what it was told, and before the answer is there.
    BrokenAfterwards,
}

/// A way to a server that breaks at the call that makes the next jobs of schedulers.
struct Way {
    port: u16,
    then: Arc<AtomicU8>,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, then) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU8::new(Then::Never as u8)));
        let shared = Arc::clone(&then);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let then = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    pass(client, server, &then).await;
                });
            }
        });
        Self { port: own, then, task }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn at_the_next_iteration(&self, then: Then) {
        self.then.store(then as u8, Ordering::SeqCst);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, then: &AtomicU8) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            n = client.read(&mut asked) => {
                let Ok(n @ 1..) = n else { return };
                // Only the options of jobs that schedulers make have this member, and only that call carries them.
                let iterates = asked[..n].windows(12).any(|part| part == b"repeatJobKey");
                let breaks = then.load(Ordering::SeqCst);
                if iterates && breaks != Then::Never as u8 {
                    then.store(Then::Never as u8, Ordering::SeqCst);
                    if breaks == Then::BrokenAfterwards as u8 {
                        let _ = server.write_all(&asked[..n]).await;
                        // Its answer says that it was done.
                        let _ = server.read(&mut answered).await;
                    }
                    return;
                }
                if server.write_all(&asked[..n]).await.is_err() {
                    return;
                }
            }
            n = server.read(&mut answered) => {
                let Ok(n @ 1..) = n else { return };
                if client.write_all(&answered[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
