//! A runner that does what a test tells it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::attempt::Attempt;
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::{Outcome, StopCause};
use crate::runner::{Receipt, Report, Route, Router, Runner};

/// What a run does.
pub(super) enum Step {
    Now(Outcome),
    After(Duration, Outcome),
    UntilCancelled,
    /// Looks whether somebody wants it to end, then does this.
    UntilAsked(Outcome),
    Never,
    Panic,
}

type Script = dyn Fn(&Job, &Attempt) -> Step + Send + Sync;

pub(super) struct FakeRunner {
    script: Box<Script>,
    deadline: Mutex<Duration>,
    running: watch::Sender<usize>,
    most: AtomicUsize,
    runs: Mutex<HashMap<String, usize>>,
    stopped: Mutex<HashMap<String, Option<StopCause>>>,
}

impl FakeRunner {
    pub(super) fn new(script: impl Fn(&Job, &Attempt) -> Step + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            deadline: Mutex::new(Duration::from_secs(30)),
            running: watch::channel(0).0,
            most: AtomicUsize::new(0),
            runs: Mutex::default(),
            stopped: Mutex::default(),
        })
    }

    pub(super) fn set_deadline(&self, deadline: Duration) {
        *self.deadline.lock().unwrap() = deadline;
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    pub(super) fn runs(&self, id: &str) -> usize {
        self.runs.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub(super) fn stopped_for(&self, id: &str) -> Option<StopCause> {
        self.stopped.lock().unwrap().get(id).copied().flatten()
    }

    pub(super) async fn until_running(&self, n: usize) {
        let mut running = self.running.subscribe();
        let wait = running.wait_for(|running| *running == n);
        tokio::time::timeout(super::LONG, wait).await.expect("in time").expect("the runner lives");
    }
}

/// Counts a run as over however it ends.
struct Running<'a>(&'a FakeRunner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.send_modify(|n| *n -= 1);
    }
}

#[async_trait]
impl Runner for FakeRunner {
    fn handler(&self) -> &str {
        "fake"
    }

    fn version(&self) -> &str {
        "0"
    }

    fn digest(&self) -> Option<&str> {
        Some("sha256:0")
    }

    fn deadline(&self) -> Duration {
        *self.deadline.lock().unwrap()
    }

    async fn run(&self, attempt: Attempt) -> Report {
        self.running.send_modify(|n| *n += 1);
        self.most.fetch_max(*self.running.borrow(), Ordering::SeqCst);
        let _running = Running(self);
        *self.runs.lock().unwrap().entry(attempt.job.id.as_str().to_owned()).or_default() += 1;
        let outcome = match (self.script)(&attempt.job, &attempt) {
            Step::Now(outcome) => outcome,
            Step::After(wait, outcome) => {
                tokio::time::sleep(wait).await;
                outcome
            }
            Step::UntilCancelled => {
                attempt.cancel.cancelled().await;
                let cause = attempt.io.stop_cause();
                self.stopped.lock().unwrap().insert(attempt.job.id.as_str().to_owned(), cause);
                Outcome::stopped(cause.unwrap(), "asked")
            }
            Step::UntilAsked(outcome) => {
                attempt.io.asked().await;
                outcome
            }
            Step::Never => std::future::pending().await,
            Step::Panic => panic!("scripted"),
        };
        Report { outcome, receipt: Receipt::default() }
    }
}

pub(super) struct FakeRouter(pub(super) Arc<FakeRunner>);

impl Router for FakeRouter {
    fn route(&self, _: &QueueName, job: &Job) -> Route {
        match job.name.as_str() {
            "unroutable" => panic!("scripted"),
            "unrouted" => Route::Nobody(format!("nobody takes {:?}", job.name)),
            _ => Route::To(Arc::clone(&self.0) as Arc<_>),
        }
    }
}
