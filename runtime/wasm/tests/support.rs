//! What the tests of this binary share: guests, one engine, attempts, and ports that remember.

pub(crate) mod azure;
pub(crate) mod bombs;
pub(crate) mod names;
pub(crate) mod peer;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod store;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::attempt::LogLimits;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::keyvalue::{Bucket, Fingerprint, KeyValue, KeyValueError, Keys};
use jobcell_core::publish::{PublishError, Publisher};
use jobcell_core::runner::Report;
use jobcell_core::{Attempt, AttemptIo, Job, JobId, Outcome, QueueName, Runner, StopCause, Stopped};
use jobcell_wasm::{
    AdmitError, AdmitOptions, Admitted, Engine, EngineConfig, Grants, HandlerRunner, HandlerSpec, Limits,
    Services, Tier,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the whole binary runs its guests on code of the baseline compiler: what holds for one has to hold for both.
pub(crate) static IS_BASELINE: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("JOBCELL_TESTED_CODE").is_some_and(|code| code == "baseline"));

/// How many times their processor time, stack and deadline guests have on that code.
pub(crate) fn allowance() -> u32 {
    if *IS_BASELINE { 4 } else { 1 }
}

/// One engine for the whole binary: its pool reserves much address space.
pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineConfig { cells: 200, baseline: true, ..EngineConfig::default() }).unwrap()
});

static ADMITTED: LazyLock<Mutex<HashMap<&'static str, Admitted>>> = LazyLock::new(Mutex::default);

/// The bytes of a built guest.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("JOBCELL_GUESTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/wasm32-wasip2/guest")),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "guest {}: {error}; run `cargo build --target wasm32-wasip2 --profile guest -p jobcell-guest-{name}`, or \
             point JOBCELL_GUESTS at the folder that has it",
            path.display()
        )
    })
}

/// Every grant that a guest of ours can need.
pub(crate) fn all_grants() -> Grants {
    serde_json::from_str(
        r#"{"http":["https://granted.example"],"blobs":["uploads"],"cache":true,"kv":["media","other"],"enqueue":["granted","more-*"],
            "publish":["updates"],"secrets":["hook",{"name":"open","reveal":true}],"config":{"bucket":"media"}}"#,
    )
    .unwrap()
}

pub(crate) fn admit(bytes: &[u8], grants: Grants) -> Result<Admitted, AdmitError> {
    let options = AdmitOptions { baseline: *IS_BASELINE, ..AdmitOptions::new("tested", grants) };
    let admitted = ENGINE.admit_blocking(bytes, &options)?;
    assert_eq!(admitted.tier() == Tier::Baseline, *IS_BASELINE, "the other compiler's code would be tested");
    Ok(admitted)
}

/// A guest of ours, admitted once.
pub(crate) fn admitted(name: &'static str) -> Admitted {
    let mut admitted = ADMITTED.lock().unwrap();
    admitted.entry(name).or_insert_with(|| admit(&guest(name), all_grants()).unwrap()).clone()
}

/// A component written by hand.
pub(crate) fn component(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

/// The types of our contract, for components written by hand.
pub(crate) const TYPES: &str = r#"
  (import "jobcell:job/types@0.1.0" (instance $types
    (type $header' (record (field "name" string) (field "value" string)))
    (export "header" (type $header (eq $header')))
    (type $headers (list $header)) (type $text (option string)) (type $bytes (list u8))
    (type $job' (record (field "id" string) (field "queue" string) (field "name" string) (field "data" $bytes)
      (field "attempt" u32) (field "max-attempts" u32) (field "starts" u32) (field "stalls" u32)
      (field "enqueued-at" u64) (field "deadline" u64) (field "idempotency-key" string)
      (field "tenant" $text) (field "parent" $text) (field "headers" $headers)))
    (export "job" (type (eq $job')))
    (type $delayed' (record (field "reason" string) (field "delay-ms" u64)))
    (export "delayed-retry" (type $delayed (eq $delayed')))
    (type $failure' (variant (case "retry" string) (case "retry-after" $delayed) (case "fatal" string)
      (case "invalid" string) (case "rate-limited" u64) (case "delay-until" u64) (case "requeue")
      (case "wait-for-children") (case "other" string)))
    (export "failure" (type (eq $failure')))))
  (alias export $types "job" (type $job))
  (alias export $types "failure" (type $failure))
"#;

/// A component of our world around a core module. The module exports `memory`, `realloc` and
/// `handle (param i32) (result i32)`, the plain form of the contract's signature.
pub(crate) fn by_hand(module: &str) -> Vec<u8> {
    by_hand_with("", "", module)
}

/// The same with definitions of the component before the module, and the instances it is given.
pub(crate) fn by_hand_with(before: &str, with: &str, module: &str) -> Vec<u8> {
    component(&format!(
        r#"(component {TYPES} {before}
  (core module $m {module})
  (core instance $i (instantiate $m {with}))
  (type $handle (func (param "job" $job) (result (result (list u8) (error $failure)))))
  (func $f (type $handle) (canon lift (core func $i "handle") (memory (core memory $i "memory"))
    (realloc (core func $i "realloc"))))
  (export "handle" (func $f)))"#
    ))
}

/// A module whose `handle` is this, with an allocator that never frees.
pub(crate) fn handle(body: &str) -> String {
    format!(
        r#"(memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "handle") (param i32) (result i32) {body})"#
    )
}

// --- attempts ---

pub(crate) fn job(name: &str, data: impl Into<Bytes>) -> Job {
    Job::new(JobId::new("42").unwrap(), name, data)
}

pub(crate) fn attempt(job: Job) -> Attempt {
    let within = Duration::from_secs(30);
    Attempt {
        queue: QueueName::new("tested").unwrap(),
        job: Arc::new(job),
        deadline: Instant::now() + within,
        deadline_at: 1_700_000_030_000,
        cancel: CancellationToken::new(),
        io: AttemptIo::new(LogLimits::default()),
    }
}

pub(crate) fn spec(limits: Limits, grants: Grants) -> HandlerSpec {
    HandlerSpec { name: "tested".to_owned(), limits, grants }
}

pub(crate) fn runner(admitted: &Admitted, limits: Limits) -> HandlerRunner {
    HandlerRunner::new(&ENGINE, admitted, spec(limits, Grants::default()), Services::default()).unwrap()
}

pub(crate) async fn run(runner: &HandlerRunner, attempt: &Attempt) -> Report {
    timeout(PATIENCE, runner.run(attempt.clone())).await.expect("the runner did not end")
}

/// Runs a handler of a guest that needs no grant.
pub(crate) async fn basic(name: &str, data: &str) -> Outcome {
    let runner = runner(&admitted("basic"), Limits::default());
    run(&runner, &attempt(job(name, data.to_owned()))).await.outcome
}

pub(crate) fn text(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Complete(result) => std::str::from_utf8(result).unwrap(),
        other => panic!("not complete: {other:?}"),
    }
}

pub(crate) fn stopped(outcome: Outcome, cause: StopCause) -> Stopped {
    match outcome {
        Outcome::Stopped(stopped) if stopped.cause == cause => stopped,
        other => panic!("not stopped by {cause:?}: {other:?}"),
    }
}

/// The text of a failure that the guest chose, whichever it is.
pub(crate) fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Fatal(reason) | Outcome::Invalid(reason) | Outcome::Retry { reason, .. } => reason,
        other => panic!("not failed: {other:?}"),
    }
}

// --- ports ---

/// A cache in memory; time to live is remembered, not obeyed.
#[derive(Default)]
pub(crate) struct MemoryCache(pub(crate) Mutex<HashMap<String, (Bytes, Option<Duration>)>>);

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        Ok(self.0.lock().unwrap().get(key).map(|(value, _)| value.clone()))
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        self.0.lock().unwrap().insert(key.to_owned(), (value, ttl));
        Ok(())
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        let mut values = self.0.lock().unwrap();
        let absent = !values.contains_key(key);
        values.entry(key.to_owned()).or_insert((value, ttl));
        Ok(absent)
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError> {
        let mut values = self.0.lock().unwrap();
        let (value, _) = values.entry(key.to_owned()).or_insert((Bytes::from_static(b"0"), ttl));
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
        let sum =
            number.and_then(|number| number.checked_add(by)).ok_or(CacheError::NotANumber(key.to_owned()))?;
        *value = Bytes::from(sum.to_string());
        Ok(sum)
    }
}

/// Buckets in memory.
#[derive(Default)]
pub(crate) struct MemoryValues(pub(crate) Mutex<BTreeMap<(String, String), Bytes>>);

impl MemoryValues {
    fn with<R>(&self, bucket: &Bucket, key: &str, change: impl FnOnce(&mut Option<Bytes>) -> R) -> R {
        let mut values = self.0.lock().unwrap();
        let place = (bucket.as_str().to_owned(), key.to_owned());
        let mut value = values.remove(&place);
        let answer = change(&mut value);
        values.extend(value.map(|value| (place, value)));
        answer
    }
}

#[async_trait]
impl KeyValue for MemoryValues {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Bytes>, KeyValueError> {
        Ok(self.with(bucket, key, |value| value.clone()))
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, KeyValueError> {
        Ok(self.with(bucket, key, |value| value.is_some()))
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Bytes) -> Result<(), KeyValueError> {
        self.with(bucket, key, |held| *held = Some(value));
        Ok(())
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), KeyValueError> {
        self.with(bucket, key, |held| *held = None);
        Ok(())
    }

    async fn keys(&self, bucket: &Bucket, from: u64, limit: u32) -> Result<Keys, KeyValueError> {
        let values = self.0.lock().unwrap();
        let mut keys = values.keys().filter(|(own, _)| own == bucket.as_str()).skip(from as usize);
        let page: Vec<_> = keys.by_ref().take(limit as usize).map(|(_, key)| key.clone()).collect();
        let next = keys.next().map(|_| from + page.len() as u64);
        Ok(Keys { keys: page, next })
    }

    async fn increment(&self, bucket: &Bucket, key: &str, by: i64) -> Result<i64, KeyValueError> {
        self.with(bucket, key, |held| {
            let old =
                held.as_deref().map_or(Some(0), |old| std::str::from_utf8(old).ok()?.parse::<i64>().ok());
            let sum =
                old.and_then(|old| old.checked_add(by)).ok_or(KeyValueError::NotANumber(key.to_owned()))?;
            *held = Some(sum.to_string().into());
            Ok(sum)
        })
    }

    async fn swap(
        &self,
        bucket: &Bucket,
        key: &str,
        seen: Option<Fingerprint>,
        value: Bytes,
    ) -> Result<bool, KeyValueError> {
        Ok(self.with(bucket, key, |held| {
            let same = held.as_deref().map(Fingerprint::of) == seen;
            if same {
                *held = Some(value);
            }
            same
        }))
    }
}

/// Remembers what was published.
#[derive(Default)]
pub(crate) struct Published(pub(crate) Mutex<Vec<(String, Bytes)>>);

#[async_trait]
impl Publisher for Published {
    async fn publish(&self, channel: &str, message: Bytes) -> Result<(), PublishError> {
        self.0.lock().unwrap().push((channel.to_owned(), message));
        Ok(())
    }
}
