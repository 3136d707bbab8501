//! What attempts ask of the outside, recorded and played: every capability, and that nothing leaves a cell that plays.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobcell_core::effects::{Played, Player, Recorder, Recording, Tape, Why};
use jobcell_core::keyvalue::Bucket;
use jobcell_core::runner::Report;
use jobcell_core::shadow::{ShadowBounds, ShadowReport, Shadows};
use jobcell_core::tap::Tap;
use jobcell_core::{Outcome, Runner, SystemClock};
use jobcell_wasm::{Admitted, Grants, HandlerRunner, Limits, Secrets, Services};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::capabilities::Host;
use crate::support::peer::{Peer, ok};
use crate::support::server::Server;
use crate::support::{
    ENGINE, PATIENCE, admit, admitted, attempt, by_hand_with, handle, job, run, spec, text,
};

const ROOM: usize = 1 << 20;

fn runner_of(host: &Host, component: &Admitted) -> HandlerRunner {
    let spec = spec(host.limits.clone(), host.grants.clone());
    HandlerRunner::new(&ENGINE, component, spec, host.services.clone()).unwrap()
}

/// A real attempt, written down.
async fn record(runner: &HandlerRunner, name: &str, data: &Value, room: usize) -> (Outcome, Recording) {
    let recorder = Arc::new(Recorder::new(room, 1_700_000_000_000, rand::random()));
    let attempt = attempt(job(name, data.to_string()));
    attempt.io.set_tape(Tape::Record(Arc::clone(&recorder)));
    let Report { outcome, .. } = run(runner, &attempt).await;
    (outcome, recorder.finish())
}

/// The same attempt from the recording.
async fn play(runner: &HandlerRunner, name: &str, data: &Value, recording: &Recording) -> (Outcome, Played) {
    let player = Arc::new(Player::new(Arc::new(recording.clone())));
    let attempt = attempt(job(name, data.to_string()));
    attempt.io.set_tape(Tape::Play(Arc::clone(&player)));
    let Report { outcome, receipt } = run(runner, &attempt).await;
    assert!(player.has_begun() && receipt.cpu_us > 0 && receipt.destinations.is_empty());
    (outcome, player.played())
}

/// Records an attempt, changes everything outside, and plays it: the end is the same, and outside nothing moves.
async fn again(host: &Host, guest: &'static str, name: &str, data: Value) -> Recording {
    let (was, recording) = record(&runner_of(host, &admitted(guest)), name, &data, ROOM).await;
    assert!(matches!(was, Outcome::Complete(_) | Outcome::WaitForChildren), "{name}: {was:?}");
    assert!(
        !recording.truncated && recording.effects.iter().all(|effect| effect.answer.is_some()),
        "{recording:?}"
    );
    let text = recording.to_json(usize::MAX);
    let recording: Recording = serde_json::from_str(&text).unwrap();
    change_everything(host);
    let before = everything(host);
    // Of another version of the handler, as far as anybody can tell.
    let (is, played) = play(&runner_of(host, &admitted(guest)), name, &data, &recording).await;
    assert_eq!(is, was, "{name}");
    assert_eq!(played, Played::default(), "{name}");
    assert_eq!(everything(host), before, "{name} reached outside");
    recording
}

/// So that nobody who asks outside gets the recorded answer.
fn change_everything(host: &Host) {
    let other = |value: &Bytes| {
        if value.iter().all(u8::is_ascii_digit) { "1000".into() } else { Bytes::from("other") }
    };
    for (value, _) in host.cache.0.lock().unwrap().values_mut() {
        *value = other(value);
    }
    for value in host.values.0.lock().unwrap().values_mut() {
        *value = other(value);
    }
    let bucket = Bucket::new(None, "media").as_str().to_owned();
    host.values.0.lock().unwrap().insert((bucket, "another key".to_owned()), "x".into());
}

fn everything(host: &Host) -> String {
    let mut cache: Vec<_> = host.cache.0.lock().unwrap().clone().into_iter().collect();
    cache.sort();
    let (values, published) = (host.values.0.lock().unwrap(), host.published.0.lock().unwrap());
    let denied = host.denied.0.lock().unwrap();
    format!("{cache:?} {values:?} {published:?} {denied:?} {}", host.store.0.lock().unwrap().len())
}

fn whats(recording: &Recording) -> Vec<&str> {
    recording.effects.iter().map(|effect| effect.what.as_str()).collect()
}

#[tokio::test]
async fn every_capability_is_played_as_it_was_recorded() {
    let host = Host::new();
    let counted = again(&host, "capable", "cache", json!({"key": "n", "by": 5, "ttl_ms": 60_000})).await;
    assert_eq!(whats(&counted), ["cache increment n", "cache get n"]);
    assert_eq!(counted.effects.iter().map(|effect| effect.writes).collect::<Vec<_>>(), [true, false]);
    again(&host, "capable", "seen", json!("id-1")).await;
    again(&host, "capable", "hold", json!({"key": "k", "value": "v"})).await;
    again(&host, "capable", "hold", json!({"key": "k"})).await;
    let steps = json!([
        {"do": "set", "key": "k", "value": "v"}, {"do": "get", "key": "k"}, {"do": "exists", "key": "k"},
        {"do": "increment", "key": "n", "by": -7}, {"do": "swap", "key": "k", "between": "x", "value": "y"},
        {"do": "swap", "key": "new", "value": "first"}, {"do": "append", "key": "k", "text": "z"},
        {"do": "keys"}, {"do": "all-keys"}, {"do": "delete", "key": "k"}, {"do": "exists", "key": "k"},
    ]);
    again(&host, "capable", "kv", json!({"bucket": "media", "steps": steps})).await;
    again(&host, "capable", "publish", json!({"channel": "updates", "message": "hello"})).await;
    let new = json!({"queue": "granted", "name": "next", "data": {"i": 3}, "id": "order-7", "delay_ms": 500});
    assert_eq!(whats(&again(&host, "capable", "enqueue", new).await), ["enqueue granted next"]);
    again(&host, "capable", "family", json!({"queue": "granted", "name": "child", "children": 2})).await;
    again(&host, "basic", "count-children", json!({})).await;
    let (was, recording) =
        record(&runner_of(&host, &admitted("basic")), "update-data", &json!({"count": 1}), ROOM).await;
    assert!(matches!(was, Outcome::Retry { .. }) && recording.effects[0].writes);
    let data = json!({"count": 1});
    let (is, played) = play(&runner_of(&host, &admitted("basic")), "update-data", &data, &recording).await;
    assert_eq!((is, played), (was, Played::default()));
    let blob = json!({"store": "uploads", "key": "a/b.txt", "text": "hello"});
    let stored = again(&host, "capable", "blob", blob.clone()).await;
    assert_eq!(stored.effects.len(), 4);
    again(&host, "capable", "blob-list", json!({"store": "uploads", "prefix": "", "limit": 9})).await;
    // A keyed hash is computed in the host, and is no question to the outside.
    let keyed = json!({"secret": "hook", "message": "m", "algorithm": "sha256"});
    assert!(again(&host, "capable", "secret", keyed).await.effects.is_empty());
    assert_eq!(host.published.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn blobs_that_are_played_are_neither_read_nor_written() {
    let host = Host::new();
    let blob =
        |text: &str, delete: bool| json!({"store": "uploads", "key": "k", "text": text, "delete": delete});
    let runner = runner_of(&host, &admitted("capable"));
    let (was, recording) = record(&runner, "blob", &blob("first", true), ROOM).await;
    host.answer("blob", blob("second", false)).await;
    assert_eq!(play(&runner, "blob", &blob("first", true), &recording).await.0, was);
    let list = json!({"store": "uploads", "prefix": "", "limit": 9});
    let listed = host.answer("blob-list", list).await;
    assert_eq!(
        (listed[0]["key"].as_str(), listed[0]["size"].as_u64()),
        (Some("k"), Some(6)),
        "it is still there"
    );
}

#[tokio::test]
async fn settings_are_those_of_the_recorded_attempt_and_new_ones_are_read() {
    let mut host = Host::new();
    let recording = again(&host, "settings", "setting", json!("bucket")).await;
    host.grants.config.insert("bucket".to_owned(), "renamed".to_owned());
    let runner = runner_of(&host, &admitted("settings"));
    let live = record(&runner, "setting", &json!("bucket"), ROOM).await.0;
    let (played, how) = play(&runner, "setting", &json!("bucket"), &recording).await;
    assert!(text(&live).contains("renamed") && !text(&played).contains("renamed"));
    assert_eq!(how, Played::default());
    let (unrecorded, how) = play(&runner, "setting", &json!("bucket"), &Recording::default()).await;
    assert_eq!((unrecorded, how.diverged), (live, 0), "a setting is the host's own");
}

#[tokio::test]
async fn what_was_not_asked_diverges_and_is_answered_with_an_error() {
    let host = Host::new();
    let runner = runner_of(&host, &admitted("capable"));
    let count = |by: i64| json!({"key": "n", "by": by, "ttl_ms": null});
    let (_, recording) = record(&runner, "cache", &count(5), ROOM).await;
    let before = everything(&host);
    let (outcome, played) = play(&runner, "cache", &count(6), &recording).await;
    assert!(!matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    assert_eq!((played.diverged, played.divergences[0].why), (1, Why::NotRecorded));
    assert_eq!(played.divergences[0].what, "cache increment n");
    assert_eq!(played.left_out, ["cache increment n"]);
    for (name, data) in [
        ("kv", json!({"bucket": "media", "steps": [{"do": "set", "key": "k", "value": "v"}]})),
        ("publish", json!({"channel": "updates", "message": "hello"})),
        ("enqueue", json!({"queue": "granted", "name": "n", "data": {"i": 3}})),
        ("blob", json!({"store": "uploads", "key": "k", "text": "t"})),
    ] {
        assert!(play(&runner, name, &data, &recording).await.1.diverged > 0, "{name}");
    }
    assert_eq!(everything(&host), before);
    // What is not granted is refused before anything is asked, as ever, and nobody is told twice.
    let denied = json!({"channel": "others", "message": ""});
    let (outcome, played) = play(&runner, "publish", &denied, &recording).await;
    assert!(matches!(outcome, Outcome::Fatal(_)) && played.diverged == 0);
    assert_eq!(everything(&host), before);
}

#[tokio::test]
async fn a_recording_that_is_full_ends_in_a_divergence() {
    let host = Host::new();
    let runner = runner_of(&host, &admitted("capable"));
    let fill =
        json!({"bucket": "media", "steps": [{"do": "fill", "count": 50, "bytes": 10}, {"do": "all-keys"}]});
    let (was, recording) = record(&runner, "kv", &fill, 2000).await;
    assert!(recording.truncated && matches!(was, Outcome::Complete(_)), "the attempt itself does not notice");
    let (_, played) = play(&runner, "kv", &fill, &recording).await;
    assert!(played.diverged > 0);
    assert!(played.divergences[0].to_string().contains("recording truncated"), "{played:?}");
}

// --- http ---

fn fetcher(address: &str, secrets: Value) -> HandlerRunner {
    let rule = json!({"url": format!("http://{address}"), "private": true, "secrets": secrets});
    let grants = json!({"http": [rule], "cache": true, "secrets": ["key", {"name": "open", "reveal": true}]});
    let grants: Grants = serde_json::from_value(grants).unwrap();
    let values = [("key", KEY), ("open", OPEN)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let cache = Some(Arc::<crate::support::MemoryCache>::default() as _);
    let services = Services { secrets: Arc::new(Secrets::new(values)), cache, ..Services::default() };
    HandlerRunner::new(&ENGINE, &admitted("capable"), spec(Limits::default(), grants), services).unwrap()
}

const KEY: &str = "sk_live_51&H+q";
const OPEN: &str = "open-sesame-4711";

#[tokio::test]
async fn requests_are_played_and_nobody_is_called() {
    let server = Server::start().await;
    let runner = fetcher(&server.address.to_string(), json!([]));
    let request = |path: &str, body: &str| json!({"url": server.url(path), "method": "POST", "body": body});
    for path in ["/a?b=c", "/big", "/redirect", "/limited", "/close", "/garbage"] {
        let (was, recording) = record(&runner, "fetch", &request(path, "x"), ROOM).await;
        let recording: Recording = serde_json::from_str(&recording.to_json(usize::MAX)).unwrap();
        assert_eq!(recording.effects.len(), 1, "{path}");
        assert!(recording.effects[0].writes && !recording.effects[0].what.contains('?'));
        let calls = server.received().len();
        let (is, played) = play(&runner, "fetch", &request(path, "x"), &recording).await;
        assert_eq!(is, was, "{path}");
        assert_eq!(played, Played::default(), "{path}");
        let (_, other) = play(&runner, "fetch", &request(path, "y"), &recording).await;
        assert_eq!((other.diverged, other.left_out_total), (1, 1), "{path}");
        let get = json!({"url": server.url(path)});
        assert_eq!(play(&runner, "fetch", &get, &recording).await.1.diverged, 1, "{path}");
        assert_eq!(server.received().len(), calls, "{path}: somebody was called");
    }
    // Nobody listens any more, and it is played all the same.
    let (was, recording) = record(&runner, "fetch", &request("/big", "x"), ROOM).await;
    drop(server);
    let again = json!({"url": format!("http://{}/big", "127.0.0.1:1")});
    assert!(matches!(was, Outcome::Complete(_)));
    assert!(
        matches!(play(&runner, "fetch", &again, &recording).await.0, Outcome::Fatal(_)),
        "grants hold as ever"
    );
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_cut_and_a_failure_is_played() {
    let server = Server::start().await;
    let runner = fetcher(&server.address.to_string(), json!([]));
    let big = json!({"url": server.url("/big")});
    let (was, recording) = record(&runner, "fetch", &big, 50_000).await;
    assert!(matches!(was, Outcome::Complete(_)) && recording.truncated);
    let (is, played) = play(&runner, "fetch", &big, &recording).await;
    assert!(!matches!(is, Outcome::Complete(_)), "{is:?}");
    assert_eq!(played.divergences[0].why, Why::Truncated, "{played:?}");
    // The far end stops in the middle, and the guest's own timeout ends it.
    let drip = json!({"method": "GET", "authority": server.address.to_string(), "path": "/drip",
                      "timeouts": [null, null, 50_000_000]});
    let (was, recording) = record(&runner, "raw", &drip, ROOM).await;
    assert!(text(&was).contains("ReadTimeout"), "{was:?}");
    assert_eq!(play(&runner, "raw", &drip, &recording).await, (was, Played::default()));
}

#[tokio::test]
async fn secrets_are_in_no_recording_and_stand_ins_of_versions_are_the_same_to_it() {
    let peer = Peer::start(ok).await;
    let everywhere = json!([{"name": "key", "in": ["url", "body", "header:authorization", "header:x-key"]}]);
    let address = peer.address.to_string();
    let version = || fetcher(&address, everywhere.clone());
    let request = json!({
        "method": "POST", "authority": address, "path": "/{key}?q={key}",
        "headers": [["authorization", "Bearer {key}"], ["x-key", "{key}"], ["content-type", "application/json"]],
        "body": "[\"{key}\"]",
    });
    let (was, recording) = record(&version(), "raw", &request, ROOM).await;
    assert!(peer.heads()[0].contains("sk_live"), "the real one had it");
    clean(&recording);
    assert!(recording.effects[0].what.contains("[secret key]"), "{:?}", recording.effects[0].what);
    let calls = peer.heads().len();
    let (is, played) = play(&version(), "raw", &request, &recording).await;
    assert_eq!((is, played), (was, Played::default()));
    assert_eq!(peer.heads().len(), calls);

    // A secret that the handler may see, in what it stores and reads.
    let hold = json!({"key": "k", "value": format!("token {OPEN}")});
    let runner = version();
    record(&runner, "hold", &hold, ROOM).await;
    let (was, recording) = record(&runner, "hold", &hold, ROOM).await;
    assert!(text(&was).contains(OPEN));
    clean(&recording);
    assert_eq!(play(&version(), "hold", &hold, &recording).await, (was, Played::default()));
    let (was, recording) = record(&runner, "reveal", &json!("open"), ROOM).await;
    assert!(text(&was).contains(OPEN) && recording.effects.is_empty());
    assert_eq!(play(&version(), "reveal", &json!("open"), &recording).await.0, was);
}

fn clean(recording: &Recording) {
    let shown = format!("{recording:?} {}", recording.to_json(usize::MAX));
    for value in [KEY, OPEN, "sk_live", "jobcell-secret-"] {
        assert!(!shown.contains(value), "{value}: {shown}");
    }
}

// --- time and chance ---

#[tokio::test]
async fn time_and_random_numbers_are_those_of_the_recorded_attempt() {
    let host = Host::new();
    let basic = runner_of(&host, &admitted("basic"));
    let (was, recording) = record(&basic, "now", &json!({}), ROOM).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_ne!(record(&basic, "now", &json!({}), ROOM).await.0, was, "time goes on");
    let (is, played) = play(&basic, "now", &json!({}), &recording).await;
    assert_eq!((is, played), (was, Played::default()));
    let sleep = json!({"ms": 20});
    let (was, recording) = record(&basic, "sleep", &sleep, ROOM).await;
    assert_eq!(play(&basic, "sleep", &sleep, &recording).await, (was, Played::default()));

    let random = admit(&random(), Grants::default()).unwrap();
    let random = runner_of(&host, &random);
    let draw = async || record(&random, "draw", &json!({}), ROOM).await;
    let ((first, recording), (second, _)) = (draw().await, draw().await);
    assert_ne!(first, second);
    let Outcome::Complete(drawn) = &first else { panic!("{first:?}") };
    assert!(drawn.chunks(8).is_sorted_by(|a, b| a != b), "each source has its own: {drawn:?}");
    assert_eq!(play(&random, "draw", &json!({}), &recording).await, (first, Played::default()));
}

/// Answers sixteen bytes: a number of each source.
fn random() -> Vec<u8> {
    let imports = r#"
  (import "wasi:random/random@0.2.0" (instance $secure (export "get-random-u64" (func (result u64)))))
  (import "wasi:random/insecure@0.2.0" (instance $insecure (export "get-insecure-random-u64" (func (result u64)))))
  (core func $a (canon lower (func $secure "get-random-u64")))
  (core func $b (canon lower (func $insecure "get-insecure-random-u64")))
  (core instance $random (export "a" (func $a)) (export "b" (func $b)))"#;
    let body = r"
    (i64.store (i32.const 1024) (call $a))
    (i64.store (i32.const 1032) (call $b))
    (i32.store8 (i32.const 512) (i32.const 0))
    (i32.store (i32.const 520) (i32.const 1024))
    (i32.store (i32.const 524) (i32.const 16))
    (i32.const 512)";
    let module = format!(
        r#"(import "random" "a" (func $a (result i64))) (import "random" "b" (func $b (result i64))) {}"#,
        handle(body)
    );
    by_hand_with(imports, r#"(with "random" (instance $random))"#, &module)
}

// --- shadows ---

async fn shadowed(host: &Host, candidate: &Admitted, name: &str, data: Value) -> ShadowReport {
    let shadows = Shadows::new(ShadowBounds::default(), Arc::new(SystemClock), || ());
    let shadow = shadows.of(Arc::new(runner_of(host, candidate)), 100, 1);
    let active = Arc::new(runner_of(host, &admitted("capable")));
    let active = Tap::new(active, Arc::new(SystemClock), || [3; 32]).shadow(shadow).done();
    let outcome = active.run(attempt(job(name, data.to_string()))).await.outcome;
    assert!(matches!(outcome, Outcome::Complete(_)), "{outcome:?}");
    let ended = timeout(PATIENCE, async {
        loop {
            let report = shadows.report("tested").unwrap();
            if report.runs + report.dropped > 0 {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    ended.await.unwrap()
}

#[tokio::test]
async fn a_candidate_is_compared_and_leaves_nothing_behind() {
    let host = Host::new();
    let count = json!({"key": "n", "by": 5, "ttl_ms": null});
    let report = shadowed(&host, &admitted("capable"), "cache", count.clone()).await;
    assert_eq!((report.runs, report.agreed, report.dropped), (1, 1, 0), "{report:?}");
    assert!(report.candidate_cost.cpu_us > 0 && report.active_cost.memory_peak_bytes > 0);
    assert_eq!(host.cache.0.lock().unwrap()[":tested:n"].0, "5", "it was counted once");

    // One that answers null whatever it is asked, and asks nothing.
    let idle = handle(
        "(i32.store8 (i32.const 512) (i32.const 0)) (i32.store (i32.const 520) (i32.const 0))
         (i32.store (i32.const 524) (i32.const 0)) (i32.const 512)",
    );
    let idle = admit(&by_hand_with("", "", &idle), Grants::default()).unwrap();
    let report = shadowed(&host, &idle, "cache", count).await;
    assert_eq!((report.disagreed, report.examples[0].what.as_str()), (1, "the result"), "{report:?}");
    let report = shadowed(&host, &idle, "publish", json!({"channel": "updates", "message": "m"})).await;
    assert_eq!(report.disagreed, 1);
    assert_eq!(report.examples[0].what, "left out: publish updates (1 in all)");
    assert_eq!(host.published.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_copy_takes_no_place_that_live_attempts_need() {
    let engine =
        jobcell_wasm::Engine::new(jobcell_wasm::EngineConfig { cells: 4, ..Default::default() }).unwrap();
    let admitted = engine
        .admit_blocking(
            &crate::support::guest("basic"),
            &jobcell_wasm::AdmitOptions::new("tested", Grants::default()),
        )
        .unwrap();
    let runner = HandlerRunner::new(
        &engine,
        &admitted,
        spec(Limits::default(), Grants::default()),
        Services::default(),
    );
    let runner = Arc::new(runner.unwrap());
    let player = || Arc::new(Player::new(Arc::default()));
    let try_play = async || {
        let (player, attempt) = (player(), attempt(job("noop", "{}")));
        attempt.io.set_tape(Tape::Play(Arc::clone(&player)));
        run(&runner, &attempt).await;
        player.has_begun()
    };
    assert!(try_play().await);
    let live: Vec<_> = (0..3)
        .map(|_| {
            let (runner, attempt) = (Arc::clone(&runner), attempt(job("wait-for-cancel", "{}")));
            let cancel = attempt.cancel.clone();
            (cancel, tokio::spawn(async move { runner.run(attempt).await }))
        })
        .collect();
    let full = timeout(PATIENCE, async {
        while engine.cells_active() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    full.await.unwrap();
    assert!(!try_play().await, "the last quarter is for live attempts");
    for (cancel, task) in live {
        cancel.cancel();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert!(try_play().await);
}
