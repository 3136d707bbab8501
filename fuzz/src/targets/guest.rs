//! A guest that is driven by the input: whatever it passes, returns or breaks, its attempt ends in one of the typed
//! ways, the host lives, and the secret it may not see stays unseen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::attempt::LogLimits;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::publish::{PublishError, Publisher};
use jobcell_core::{Attempt, AttemptIo, Job, JobId, Outcome, QueueName, Runner, StopCause};
use jobcell_wasm::{AdmitOptions, BlobStore, HandlerRunner, HandlerSpec, Limits, Secrets, Services};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::ENGINE;
use crate::guest::{self, Encoding};

/// The value of the secret that the guest may use and not see.
const SECRET: &str = "the-secret-that-nobody-sees";
/// What an attempt may take. Guests that sleep or loop are to be stopped, and soon.
const DEADLINE: Duration = Duration::from_millis(60);
/// An attempt that takes longer has hung: far more than a busy machine delays one.
const HUNG: Duration = Duration::from_secs(60);
/// Attempts between two looks at whether a decent neighbour still gets its answer.
const LOOK_EVERY: u32 = 64;
/// What a reason may have: it is stored with the job.
const REASON_BYTES_MAX: usize = 64 << 10;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

static RUNNERS: LazyLock<[HandlerRunner; 3]> = LazyLock::new(|| Encoding::ALL.map(runner));

fn limits() -> Limits {
    Limits {
        memory: 4 << 20,
        deadline: DEADLINE,
        cpu: DEADLINE,
        result: 64 << 10,
        log: LogLimits { bytes: 16 << 10, line_bytes: 1 << 10, ..LogLimits::default() },
        host_call: 1 << 20,
        blob: 1 << 20,
        ..Limits::default()
    }
}

fn runner(encoding: Encoding) -> HandlerRunner {
    let grants = guest::grants();
    let options = AdmitOptions::new("fuzzed", grants.clone());
    let admitted =
        ENGINE.admit_blocking(guest::component(encoding), &options).expect("the guest is admitted");
    let services = Services {
        cache: Some(Arc::new(Values::default())),
        publisher: Some(Arc::new(Nobody)),
        blobs: [("b".to_owned(), BlobStore::open("memory://").expect("blobs in memory"))].into(),
        secrets: Arc::new(Secrets::new([("s".to_owned(), SECRET.to_owned())])),
        ..Services::default()
    };
    let spec = HandlerSpec { name: "fuzzed".to_owned(), limits: limits(), grants };
    HandlerRunner::new(&ENGINE, &admitted, spec, services).expect("a runner")
}

/// The first byte chooses how strings are encoded, the rest is the guest's program.
pub fn guest(data: &[u8]) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let Some((first, program)) = data.split_first() else { return };
    let encoding = usize::from(*first) % Encoding::ALL.len();
    let (outcome, logs) = attempt(&RUNNERS[encoding], program);
    check(&outcome, &logs);
    assert_eq!(ENGINE.cells_active(), 0, "a cell is left");
    if RUNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
        // A neighbour that does nothing but return.
        let (outcome, _) = attempt(&RUNNERS[0], &[]);
        assert_eq!(outcome, Outcome::Complete(Bytes::new()), "the neighbour");
    }
}

fn attempt(runner: &HandlerRunner, program: &[u8]) -> (Outcome, Vec<String>) {
    RUNTIME.block_on(async {
        let attempt = Attempt {
            queue: QueueName::new("q").expect("a name"),
            job: Arc::new(Job::new(JobId::new("1").expect("an id"), "job", Bytes::copy_from_slice(program))),
            deadline: Instant::now() + HUNG,
            deadline_at: 1_700_000_000_000,
            cancel: CancellationToken::new(),
            io: AttemptIo::new(limits().log),
        };
        let io = Arc::clone(&attempt.io);
        let report = tokio::time::timeout(HUNG, runner.run(attempt)).await.expect("the attempt hangs");
        (report.outcome, io.take().logs)
    })
}

fn check(outcome: &Outcome, logs: &[String]) {
    let limits = limits();
    let reason = match outcome {
        Outcome::Complete(result) => {
            assert!(result.len() <= limits.result, "a result of {} bytes", result.len());
            ""
        }
        Outcome::Retry { reason, .. } | Outcome::Fatal(reason) | Outcome::Invalid(reason) => reason,
        Outcome::Stopped(stopped) => {
            // Nothing but the guest is to blame, and nobody asked for its end.
            let is_blamed = match stopped.cause {
                StopCause::Deadline
                | StopCause::Cpu
                | StopCause::Memory
                | StopCause::Stack
                | StopCause::Panic
                | StopCause::Trap
                | StopCause::Abi
                | StopCause::HostCall
                | StopCause::Resources
                | StopCause::Result => true,
                StopCause::Payload
                | StopCause::Cancelled
                | StopCause::Shutdown
                | StopCause::LockLost
                | StopCause::Host => false,
            };
            assert!(is_blamed, "{stopped:?}");
            &stopped.reason
        }
        Outcome::RateLimited(_) | Outcome::DelayUntil(_) | Outcome::Requeue | Outcome::WaitForChildren => "",
    };
    assert!(reason.len() <= REASON_BYTES_MAX, "a reason of {} bytes", reason.len());
    assert!(!format!("{outcome:?}").contains(SECRET), "the secret is in {outcome:?}");
    let bytes: usize = logs.iter().map(String::len).sum();
    // What was dropped is counted in one line more.
    assert!(bytes <= limits.log.bytes + 2 * limits.log.line_bytes, "{bytes} bytes of log");
    for line in logs {
        assert!(!line.contains(SECRET), "the secret is in {line:?}");
        assert!(!line.contains(['\n', '\r', '\u{1b}']), "a line that is several, or steers: {line:?}");
    }
}

/// A cache in memory that forgets nothing in time.
#[derive(Default)]
struct Values(Mutex<HashMap<String, Bytes>>);

#[async_trait]
impl Cache for Values {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        assert!(key.contains("fuzzed"), "the key {key:?} is outside of its handler");
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn set(&self, key: &str, value: Bytes, _: Option<Duration>) -> Result<(), CacheError> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() > 1000 {
            values.clear();
        }
        values.insert(key.to_owned(), value);
        Ok(())
    }

    async fn set_if_absent(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<bool, CacheError> {
        let is_absent = self.get(key).await?.is_none();
        if is_absent {
            self.set(key, value, ttl).await?;
        }
        Ok(is_absent)
    }

    async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(())
    }

    async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, CacheError> {
        let value = self.get(key).await?.unwrap_or_else(|| Bytes::from_static(b"0"));
        let number: Option<i64> = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        let sum = number.and_then(|number| number.checked_add(by));
        let sum = sum.ok_or_else(|| CacheError::NotANumber(key.to_owned()))?;
        self.set(key, Bytes::from(sum.to_string()), ttl).await?;
        Ok(sum)
    }
}

/// Whom nobody listens to.
struct Nobody;

#[async_trait]
impl Publisher for Nobody {
    async fn publish(&self, _: &str, _: Bytes) -> Result<(), PublishError> {
        Ok(())
    }
}
