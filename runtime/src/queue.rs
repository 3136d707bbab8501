//! A queue as the embedding program describes it.

use std::time::Duration;

use jobcell_core::store::RateLimit;
use jobcell_core::worker::QueueSettings;
use jobcell_core::{Keep, NameError, QueueName};
use jobcell_handlers::Routes;

/// A queue to be worked, and which handler takes which of its jobs.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(crate) settings: QueueSettings,
    pub(crate) routes: Routes,
}

impl Queue {
    /// This queue with the defaults of [`QueueSettings`].
    ///
    /// # Panics
    /// When the name is empty or has a `:`; [`Queue::try_new`] returns an error instead.
    #[must_use]
    #[expect(clippy::panic, reason = "for names written in the program; others go through try_new")]
    pub fn new(name: &str) -> Self {
        match Self::try_new(name) {
            Ok(queue) => queue,
            Err(fault) => panic!("{fault}"),
        }
    }

    /// The same for names that come from outside.
    ///
    /// # Errors
    /// When the name cannot be used.
    pub fn try_new(name: &str) -> Result<Self, NameError> {
        Ok(Self { settings: QueueSettings::new(QueueName::new(name)?), routes: Routes::none() })
    }

    /// Jobs of this name go to this handler; `*` stands for every other name.
    #[must_use]
    pub fn route(mut self, job_name: &str, handler: &str) -> Self {
        self.routes = self.routes.with(job_name, handler);
        self
    }

    /// Every job goes to this handler.
    #[must_use]
    pub fn to(self, handler: &str) -> Self {
        self.route("*", handler)
    }

    /// Attempts at once on this host, at least 1.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.settings.concurrency = concurrency.max(1);
        self
    }

    /// How long a lock holds without renewal.
    #[must_use]
    pub fn lock(mut self, lock: Duration) -> Self {
        self.settings.lock = lock;
        self
    }

    /// At most so many starts in so long, over all hosts.
    #[must_use]
    pub fn rate(mut self, max: u64, per: Duration) -> Self {
        self.settings.rate = Some(RateLimit { max, per });
        self
    }

    /// What stays of jobs that do not say it themselves.
    #[must_use]
    pub fn keep(mut self, completed: Keep, failed: Keep) -> Self {
        self.settings.policy.keep_completed = completed;
        self.settings.policy.keep_failed = failed;
        self
    }

    /// Everything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut QueueSettings)) -> Self {
        change(&mut self.settings);
        self
    }
}
