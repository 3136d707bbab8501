//! The worker: claims jobs from one queue, runs them, keeps their locks, writes their ends.
//!
//! One [`driver`] task a queue owns all its state and never blocks: it has a few store calls in flight, each finishing
//! a batch of attempts and claiming as many new jobs as have a free slot. Attempts run as tasks of another runtime, so
//! that a guest that burns the CPU delays neither renewals nor other queues. While a call is in flight, attempts that
//! end pile up and go out together with the next one: batches grow by themselves under load and are single under none.
//!
//! Stopping goes through [`Phase`]s: `Run` → (`Quiet`) → `Drain` → `GiveBack`.

mod attempt;
mod batch;
mod burst;
mod calls;
mod driver;
mod held;
mod pace;
mod pulse;
mod renewals;
mod stalls;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

pub use pulse::{Pulse, WorkerHealth};

use crate::clock::Clock;
use crate::decide::Policy;
use crate::event::Observer;
use crate::names::QueueName;
use crate::runner::Router;
use crate::store::{RateLimit, StallPolicy, Store};

/// How one queue is worked.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The queue.
    pub queue: QueueName,
    /// Attempts at once on this host, at least 1. Default 16.
    pub concurrency: usize,
    /// How long a lock holds without renewal; renewed every third of it. Default 30 s, as in BullMQ. Shorter finds
    /// vanished hosts sooner and breaks sooner when the store is slow.
    pub lock: Duration,
    /// Stall recovery. Default every 30 s, one recovery a job, as in BullMQ.
    pub stall: StallPolicy,
    /// The longest wait before asking the store again when idle. Default 5 s: wake-up hints can be lost.
    pub poll: Duration,
    /// Starts per time over all workers of the queue. Default none.
    pub rate: Option<RateLimit>,
    /// The worker's name, which jobs and listings show. Default none.
    pub worker_name: Option<Arc<str>>,
    /// How long a running attempt may go on after somebody asked for its job to end, once it was told; then it is ended.
    /// Default 5 s: time to tidy up for handlers that look, and a bound on what a runaway costs. Zero ends it at once.
    pub cancel_grace: Duration,
    /// What is kept, and what a result must be.
    pub policy: Policy,
}

impl QueueSettings {
    /// The defaults for this queue.
    #[must_use]
    pub fn new(queue: QueueName) -> Self {
        Self {
            queue,
            concurrency: 16,
            lock: Duration::from_secs(30),
            stall: StallPolicy { interval: Duration::from_secs(30), max: 1 },
            poll: Duration::from_secs(5),
            rate: None,
            worker_name: None,
            cancel_grace: Duration::from_secs(5),
            policy: Policy::default(),
        }
    }
}

/// What workers stand on.
#[derive(Clone)]
pub struct Surroundings {
    /// Where jobs live.
    pub store: Arc<dyn Store>,
    /// Who runs them.
    pub router: Arc<dyn Router>,
    /// Who hears about it.
    pub observer: Arc<dyn Observer>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random numbers from 0 up to 1, for jitter.
    pub entropy: fn() -> f64,
    /// Where attempts run. Not the runtime the worker itself runs on.
    pub cells: Handle,
    /// Different for every start of every host; part of every lock's token.
    pub host: Arc<str>,
}

/// What a driver and its attempts share.
struct Scene {
    surroundings: Surroundings,
    settings: QueueSettings,
}

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Claiming and running.
    Run,
    /// Running what was claimed, claiming nothing; may go back to `Run`.
    Quiet,
    /// Running what was claimed, then ending.
    Drain,
    /// Ending attempts and giving their jobs back, then ending.
    GiveBack,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Jobs given back unfinished.
    pub given_back: usize,
    /// Jobs whose end could not be written; their locks run out and they are recovered as stalled.
    pub abandoned: usize,
}

/// The workers of a host.
pub struct Workers {
    phase: Arc<signal::Sender<Phase>>,
    tasks: JoinSet<Ended>,
    pulses: Vec<(QueueName, Arc<Pulse>)>,
    sum: Ended,
}

impl Workers {
    /// Starts a worker for each queue on the current runtime. With `burst` they end by themselves once none of the
    /// queues has anything waiting, delayed or running.
    #[must_use]
    pub fn start(surroundings: &Surroundings, queues: Vec<QueueSettings>, burst: bool) -> Self {
        let phase = Arc::new(signal::Sender::new(Phase::Run));
        let mut tasks = JoinSet::new();
        let mut shares = if burst {
            let (shares, activity) = burst::Busy::shares(queues.len());
            let (store, phase) = (Arc::clone(&surroundings.store), Arc::clone(&phase));
            let names = queues.iter().map(|settings| settings.queue.clone()).collect();
            tasks.spawn(async move {
                burst::end_when_done(store, names, activity, phase).await;
                Ended::default()
            });
            shares
        } else {
            Vec::new()
        };
        let mut pulses = Vec::new();
        for settings in queues {
            let (surroundings, phase, busy) = (surroundings.clone(), phase.subscribe(), shares.pop());
            let pulse = Arc::new(Pulse::new(settings.poll));
            pulses.push((settings.queue.clone(), Arc::clone(&pulse)));
            tasks.spawn(driver::run(surroundings, settings, phase, busy, pulse));
        }
        Self { phase, tasks, pulses, sum: Ended::default() }
    }

    /// The worker of each queue, to be looked at while it runs.
    #[must_use]
    pub fn pulses(&self) -> &[(QueueName, Arc<Pulse>)] {
        &self.pulses
    }

    /// Stops claiming without ending.
    pub fn quiet(&self) {
        self.phase
            .send_if_modified(|phase| std::mem::replace(phase, (*phase).max(Phase::Quiet)) < Phase::Quiet);
    }

    /// Claims again after [`Self::quiet`].
    pub fn unquiet(&self) {
        self.phase.send_if_modified(|phase| {
            let was_quiet = *phase == Phase::Quiet;
            if was_quiet {
                *phase = Phase::Run;
            }
            was_quiet
        });
    }

    /// How far stopping has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Stops claiming; workers end when what they run has ended.
    pub fn drain(&self) {
        self.phase
            .send_if_modified(|phase| std::mem::replace(phase, (*phase).max(Phase::Drain)) < Phase::Drain);
    }

    /// Ends running attempts and gives their jobs back without using an attempt.
    pub fn give_back(&self) {
        self.phase.send_replace(Phase::GiveBack);
    }

    /// Waits until every worker has ended. Cancel safe: may be called again.
    pub async fn ended(&mut self) -> Ended {
        while let Some(result) = self.tasks.join_next().await {
            match result {
                Ok(Ended { given_back, abandoned }) => {
                    self.sum.given_back += given_back;
                    self.sum.abandoned += abandoned;
                }
                Err(fault) => {
                    tracing::error!(%fault, "a queue's worker broke; its jobs will be recovered as stalled");
                }
            }
        }
        self.sum
    }
}
