//! A host function that panics costs one attempt, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jobcell_core::cache::{Cache, CacheError};
use jobcell_core::{Attempt, AttemptIo, Job, JobId, Outcome, QueueName, Runner, StopCause};
use jobcell_hostile::catalogue;
use jobcell_wasm::{AdmitOptions, Grants, HandlerRunner, HandlerSpec, Limits, Services};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Ended, World};

/// What it says when it panics.
const BUG: &str = "a bug of the host";

/// A back end with a bug.
struct Broken;

#[async_trait]
impl Cache for Broken {
    async fn get(&self, _: &str) -> Result<Option<Bytes>, CacheError> {
        panic!("{BUG}")
    }

    async fn set(&self, _: &str, _: Bytes, _: Option<Duration>) -> Result<(), CacheError> {
        // Also behind an await: the panic comes out of another poll than the call.
        tokio::task::yield_now().await;
        panic!("{BUG}")
    }

    async fn set_if_absent(&self, _: &str, _: Bytes, _: Option<Duration>) -> Result<bool, CacheError> {
        panic!("{BUG}")
    }

    async fn delete(&self, _: &str) -> Result<(), CacheError> {
        panic!("{BUG}")
    }

    async fn increment(&self, _: &str, _: i64, _: Option<Duration>) -> Result<i64, CacheError> {
        panic!("{BUG}")
    }
}

pub(crate) async fn run(world: &World) -> Ended {
    let mut ended = Ended::default();
    let name = "a_panic_of_a_host_function_fails_one_attempt";
    if world.wants(name) {
        // Five hundred backtraces would bury what other tests say.
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(BUG) {
                told(panic);
            }
        }));
        ended.check(name, a_panic_fails_one_attempt(world).await.err());
    }
    ended
}

async fn a_panic_fails_one_attempt(world: &World) -> Result<(), String> {
    let grants = Grants { cache: true, ..Grants::default() };
    let guest = catalogue().into_iter().find(|guest| guest.name == "cache_escapes").unwrap();
    let options = AdmitOptions::new("panics", grants.clone());
    let admitted = world.engine.admit(guest.wasm.bytes().into_owned(), options).await.unwrap();
    let limits = Limits { deadline: Duration::from_secs(30), ..Limits::default() };
    let spec = HandlerSpec { name: "panics".to_owned(), limits, grants };
    let services = Services { cache: Some(Arc::new(Broken)), ..Services::default() };
    let runner = HandlerRunner::new(&world.engine, &admitted, spec, services).unwrap();
    // Many times, in the same engine: what a panic leaves of a cell must not be missing from the pool.
    for _ in 0..500 {
        let outcome = runner.run(attempt()).await.outcome;
        match outcome {
            Outcome::Stopped(stopped) if stopped.cause == StopCause::Host => {
                if !stopped.reason.contains(BUG) {
                    return Err(format!("the reason does not say what: {}", stopped.reason));
                }
            }
            other => return Err(format!("it ended as {other:?}")),
        }
    }
    match world.engine.cells_active() {
        0 => Ok(()),
        left => Err(format!("{left} cells were left")),
    }
}

fn attempt() -> Attempt {
    Attempt {
        queue: QueueName::new("panics").unwrap(),
        job: Arc::new(Job::new(JobId::new("1").unwrap(), "panics", "{}")),
        deadline: Instant::now() + Duration::from_secs(30),
        deadline_at: 0,
        cancel: CancellationToken::new(),
        io: Arc::<AttemptIo>::default(),
    }
}
