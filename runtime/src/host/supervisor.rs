//! What a host tells systemd (`Type=notify`), and anybody who speaks its protocol: ready, reloading, stopping, a line of
//! status, and that it lives.
//!
//! The watchdog is fed only while the host can do its work: the runtime of the stores turns (this task runs on it), that of
//! the cells answers, and every queue's worker looks round. A store that is away is no reason to be restarted, and neither
//! is a handler that hangs: jobs have deadlines of their own.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::QueueName;
use jobcell_core::worker::Pulse;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Environment;

/// A worker looks round at every third of its lock's time, and waits for one call to the store for a minute at most. One
/// that has not for this long on top is dead.
const STILL_MARGIN: Duration = Duration::from_secs(75);
/// How long the threads of the cells may take to run a task that does nothing. Guests give their turn away every few
/// milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whoever started the host, if it wants to know.
pub(super) struct Supervisor {
    listens: bool,
    /// How often it must hear that the host lives.
    watchdog: Option<Duration>,
}

/// What must be alive.
pub(super) struct Vitals {
    /// The worker of each queue, and how long its locks hold.
    pub(super) workers: Vec<(QueueName, Arc<Pulse>, Duration)>,
    /// The runtime of the cells.
    pub(super) cells: Handle,
}

// === impl Supervisor ===

impl Supervisor {
    /// Whoever the environment names.
    pub(super) fn of(environment: &Environment) -> Self {
        let listens = environment.get("NOTIFY_SOCKET").is_some();
        // The variable of a process that this one was started by is not meant for it.
        let own = environment.get("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros = environment.get("WATCHDOG_USEC").and_then(|micros| micros.parse().ok()).filter(|_| own);
        let watchdog = micros.filter(|micros| *micros > 0).map(Duration::from_micros);
        Self { listens, watchdog: watchdog.filter(|_| listens) }
    }

    /// The host takes jobs.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It waits for its store, and asks to be given this much longer.
    pub(super) fn waiting(&self, patience: Duration) {
        let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status("waiting for the store")]);
    }

    /// It reads its configuration again; [`Self::ready`] follows.
    pub(super) fn reloading(&self) {
        self.tell(&[
            NotifyState::Reloading,
            NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Status("reloading")),
        ]);
    }

    /// It takes no more jobs and will end; it may take this long.
    pub(super) fn stopping(&self, grace: Duration) {
        let micros = u32::try_from((grace + ANSWER_MAX).as_micros()).unwrap_or(u32::MAX);
        self.tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
            NotifyState::Status("waiting for the jobs that run"),
        ]);
    }

    /// A line about what it does.
    pub(super) fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Feeds the watchdog while everything vital is alive, until what it returns is dropped.
    pub(super) fn watch(&self, vitals: Vitals) -> Option<AbortOnDropHandle<()>> {
        let every = self.watchdog? / 2;
        let patience = ANSWER_MAX.min(every / 2);
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut beats = interval(every.max(Duration::from_millis(10)));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut said = false;
            loop {
                beats.tick().await;
                match vitals.fault(patience).await {
                    None => {
                        said = false;
                        tell(&[NotifyState::Watchdog]);
                    }
                    Some(fault) if !said => {
                        said = true;
                        tracing::error!(
                            fault,
                            "the watchdog is not fed any more: the supervisor will restart this host"
                        );
                    }
                    Some(_) => {}
                }
            }
        })))
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if self.listens {
            tell(states);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(states) {
        tracing::debug!(%fault, "the supervisor could not be told");
    }
}

// === impl Vitals ===

impl Vitals {
    /// What is dead, if anything.
    async fn fault(&self, patience: Duration) -> Option<String> {
        let Self { workers, cells } = self;
        for (queue, pulse, lock) in workers {
            let still = pulse.look().still;
            if still > *lock + STILL_MARGIN {
                return Some(format!("the worker of queue {queue} has not moved for {} s", still.as_secs()));
            }
        }
        match timeout(patience, cells.spawn(async {})).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some("the threads of the cells have ended".to_owned()),
            Err(_) => Some(format!("the threads of the cells did nothing for {patience:?}")),
        }
    }
}
