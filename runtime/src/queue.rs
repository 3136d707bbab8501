//! A queue as the embedding program describes it.

use std::time::Duration;

use jobcell_core::store::RateLimit;
use jobcell_core::worker::QueueSettings;
use jobcell_core::{Keep, NameError, QueueName, ResultForm};
use jobcell_handlers::Routes;
use jobcell_redis::ListOptions;

/// A queue to be worked, and which handler takes which of its jobs.
#[derive(Debug, Clone)]
pub struct Queue {
    pub(crate) settings: QueueSettings,
    pub(crate) routes: Routes,
    /// Points of the per-minute series of its finished jobs.
    pub(crate) series: u32,
    /// Where it is, when it is a plain list.
    pub(crate) list: Option<ListOptions>,
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
        Ok(Self {
            settings: QueueSettings::new(QueueName::new(name)?),
            routes: Routes::none(),
            series: 0,
            list: None,
        })
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

    /// How long a running attempt may go on after its job was cancelled. Default 5 s; zero ends it at once.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.settings.cancel_grace = grace;
        self
    }

    /// So many attempts in a row that break in the same way are the last. Default 3; 0 is no bound.
    #[must_use]
    pub fn poison(mut self, attempts: u64) -> Self {
        self.settings.policy.poison = attempts;
        self
    }

    /// Receipts of its last attempts that a job keeps, at most 20. Default 5; 0 is none.
    #[must_use]
    pub fn receipts(mut self, receipts: u64) -> Self {
        self.settings.policy.receipts = receipts;
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

    /// Keeps so many minutes of the series of finished jobs that `jobcell queue metrics` and BullMQ's `getMetrics` show.
    /// Default none.
    #[must_use]
    pub fn series(mut self, points: u32) -> Self {
        self.series = points;
        self
    }

    /// Takes its jobs from a plain list in Redis, which producers `LPUSH` to, and takes any bytes as results.
    #[must_use]
    pub fn list(mut self, options: ListOptions) -> Self {
        self.settings.policy.result = ResultForm::Bytes;
        self.list = Some(options);
        self
    }

    /// Everything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut QueueSettings)) -> Self {
        change(&mut self.settings);
        self
    }
}
