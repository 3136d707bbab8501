//! A version of a handler as it runs on this host: what was loaded, how its attempts go, and whether it is at fault.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jobcell_core::attempt::LogLimits;
use jobcell_core::fleet::{VersionBreaks, VersionCounts};
use jobcell_core::{Attempt, JobId, Millis, Outcome, QueueName, Report, Runner, StopCause};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::digest::Digest;
use crate::guard::{Crash, Guard, Heard};
use crate::loader::{LoadError, Made};

/// How long a job waits that is given back because its version seems to be at fault: long enough for every host to have
/// heard that it is quarantined.
const GIVE_BACK_MS: u64 = 500;

/// What became of the attempts of one version since the host started. Outlives the version's being loaded, so that a
/// version which comes back goes on counting.
#[derive(Debug, Default)]
pub struct Tally(Mutex<VersionCounts>);

/// One version of a handler, ready to run. Every attempt holds it while it runs: it goes, with the memory it is mapped
/// into, when the host wants it no longer and the last attempt on it has ended.
pub struct Loaded {
    inner: Arc<dyn Runner>,
    /// None for a runner that needs no loading. The text is that of the digest.
    digest: Option<(Digest, String)>,
    tally: Arc<Tally>,
    guard: Guard,
    /// Whether it stays, or why this host should not have loaded it. Empty while the loader has yet to find out.
    verdict: OnceLock<Result<(), LoadError>>,
    /// Whether there is another version that its jobs can run on.
    has_fallback: AtomicBool,
    /// Whether it takes no new jobs.
    is_outgoing: AtomicBool,
    /// Attempts that run on it.
    running: AtomicUsize,
    /// Milliseconds after `since` at which it was last chosen.
    used: AtomicU64,
    since: Instant,
    /// Told when it is found to be at fault, when the verdict is there, and when it goes.
    news: Arc<Notify>,
}

// === impl Tally ===

impl Tally {
    fn state(&self) -> MutexGuard<'_, VersionCounts> {
        // Only sums: a panic elsewhere cannot have broken them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts as they are now.
    #[must_use]
    pub fn counts(&self) -> VersionCounts {
        self.state().clone()
    }

    /// Counts an attempt that says something about the version.
    fn note(&self, outcome: &Outcome, wall: Duration) {
        let count: fn(&mut VersionCounts) -> &mut u64 = match outcome {
            Outcome::Complete(_) => |counts| &mut counts.done,
            Outcome::Retry { .. } | Outcome::Fatal(_) | Outcome::Invalid(_) => |counts| &mut counts.failed,
            Outcome::Stopped(stopped) => match stopped.cause {
                // Asked for from outside, or refused before the handler was called.
                StopCause::Cancelled | StopCause::Shutdown | StopCause::LockLost | StopCause::Payload => {
                    return;
                }
                _ => |counts| &mut counts.trapped,
            },
            // The job goes on later; this was no end.
            Outcome::RateLimited(_)
            | Outcome::DelayUntil(_)
            | Outcome::Requeue
            | Outcome::WaitForChildren => return,
        };
        let mut counts = self.state();
        *count(&mut counts) += 1;
        counts.took(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    }
}

// === impl Loaded ===

impl Loaded {
    /// A version that was loaded. So many different jobs that break in the same way put it at fault, 0 never. `news` is
    /// told when that happens, when the verdict on it is there, when it takes no new jobs and the last attempt on it has
    /// ended, and when it goes.
    #[must_use]
    pub fn new(
        made: Made,
        digest: Digest,
        tally: Arc<Tally>,
        quarantine: u32,
        news: Arc<Notify>,
    ) -> Arc<Self> {
        Self::with(made, Some(digest), tally, quarantine, news)
    }

    /// A runner of the embedding program's own making.
    #[must_use]
    pub(crate) fn native(inner: Arc<dyn Runner>) -> Arc<Self> {
        Self::with(Made::whole(inner), None, Arc::default(), 0, Arc::default())
    }

    fn with(
        Made { runner, verdict }: Made,
        digest: Option<Digest>,
        tally: Arc<Tally>,
        quarantine: u32,
        news: Arc<Notify>,
    ) -> Arc<Self> {
        let loaded = Arc::new(Self {
            inner: runner,
            digest: digest.map(|digest| (digest, digest.to_string())),
            tally,
            guard: Guard::new(quarantine),
            verdict: OnceLock::new(),
            has_fallback: AtomicBool::new(false),
            is_outgoing: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            since: Instant::now(),
            news,
        });
        let judged = |loaded: &Self, verdict| _ = loaded.verdict.set(verdict);
        match verdict {
            None => judged(&loaded, Ok(())),
            Some(verdict) => {
                let weak = Arc::downgrade(&loaded);
                // Ends with the one who judges, and he with the version.
                tokio::spawn(async move {
                    if let Ok(verdict) = verdict.await
                        && let Some(loaded) = weak.upgrade()
                    {
                        judged(&loaded, verdict);
                        loaded.news.notify_one();
                    }
                });
            }
        }
        loaded
    }

    /// Its name; none for a native runner.
    #[must_use]
    pub fn version(&self) -> Option<Digest> {
        self.digest.as_ref().map(|(digest, _)| *digest)
    }

    /// Whether it is this version.
    #[must_use]
    pub fn is(&self, digest: Digest) -> bool {
        self.version() == Some(digest)
    }

    /// Whether it is this very one, loaded once.
    pub(crate) fn same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// How its attempts went.
    #[must_use]
    pub fn counts(&self) -> VersionCounts {
        self.tally.counts()
    }

    /// Why it is at fault, once it was found to be.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.guard.fault()
    }

    /// Whether this host can run it as it is to stay. Of what was made in haste that is found out while it runs.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        matches!(self.verdict.get(), Some(Ok(())))
    }

    /// Why this host refuses it after all, though it runs: the loader had made it in haste, and found out since.
    #[must_use]
    pub fn refused(&self) -> Option<&LoadError> {
        self.verdict.get()?.as_ref().err()
    }

    /// How it did within the last minutes, with the jobs that broke on it and on no other version.
    #[must_use]
    pub fn breaks(&self, now: Millis) -> VersionBreaks {
        self.guard.breaks(now)
    }

    /// Whether jobs broke on it and on no other version within the last minutes.
    #[must_use]
    pub fn has_broken(&self, now: Millis) -> bool {
        self.guard.has_broken(now)
    }

    /// How such jobs broke, by the name under which [`Loaded::breaks`] tells of it.
    pub(crate) fn way(&self, name: &str) -> Option<String> {
        self.guard.way(name)
    }

    /// Attempts that run on it now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Says whether it takes new jobs, and whether there is another version that its jobs can run on: without one, giving
    /// them back helps nobody.
    pub(crate) fn settle(&self, takes_jobs: bool, has_fallback: bool) {
        self.is_outgoing.store(!takes_jobs, Ordering::Release);
        self.has_fallback.store(has_fallback, Ordering::Relaxed);
    }

    /// Notes that it was chosen for an attempt.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// How long ago it was last chosen, or loaded.
    pub(crate) fn idle(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.used.load(Ordering::Relaxed)))
    }

    /// Whether this job, which broke here, is to run on another version next.
    pub(crate) fn asks_elsewhere(&self, queue: &QueueName, id: &JobId) -> bool {
        self.guard.asks_elsewhere(queue, id)
    }

    /// Runs a job that broke on another version, which hears how it ends. Nothing of it is held against this one.
    pub(crate) async fn run_for(&self, other: &Self, attempt: Attempt) -> Report {
        let whose = Whose::of(&attempt);
        let report = self.run_plainly(attempt).await;
        let broken = Runner::version(other);
        match other.guard.heard(&whose.queue, &whose.id, &report.outcome, whose.now()) {
            Heard::Nothing | Heard::Counted => {}
            Heard::Acquitted => {
                let own = Runner::version(self);
                whose.io.log(&format!(
                    "[the job broke on version {broken} and on version {own}: what it holds or meets is to blame, not \
                     the version]"
                ));
            }
            Heard::AtFault => {
                tracing::error!(
                    handler = other.handler(),
                    version = broken,
                    why = other.guard.fault(),
                    "the version is at fault: it is quarantined, and its jobs go to another one"
                );
                other.news.notify_one();
            }
        }
        report
    }

    async fn run_plainly(&self, attempt: Attempt) -> Report {
        let started = Instant::now();
        let _running = Running::on(self);
        let report = self.inner.run(attempt).await;
        if !report.receipt.cached {
            self.tally.note(&report.outcome, started.elapsed());
        }
        report
    }

    /// What the job's end is to be, given how its attempt went.
    fn judged(&self, whose: &Whose, report: Report) -> Report {
        let now = whose.now();
        if !self.has_fallback.load(Ordering::Relaxed) {
            self.guard.ended(now);
            return report;
        }
        match self.guard.note(&whose.queue, &whose.id, &report.outcome, now) {
            Crash::Known => return report,
            Crash::First | Crash::AtFault => {}
        }
        let mut receipt = report.receipt;
        if let Outcome::Stopped(stopped) = &report.outcome {
            // The job is not charged for it, but it broke: whoever counts what breaks has to hear of it.
            receipt.stopped_by = Some(stopped.cause);
            let version = Runner::version(self);
            tracing::warn!(
                handler = self.handler(),
                version,
                queue = %whose.queue,
                job_id = %whose.id,
                cause = stopped.cause.as_str(),
                "a job broke on the version; it is given back without using an attempt, and runs on another version next"
            );
            whose.io.log(&format!(
                "[version {version} broke: {}; the job is given back without using an attempt, and runs on another \
                 version next]",
                stopped.reason
            ));
        }
        Report { outcome: Outcome::DelayUntil(now + GIVE_BACK_MS), receipt }
    }
}

/// What is known of an attempt after the runner has taken it.
struct Whose {
    queue: QueueName,
    id: JobId,
    io: Arc<jobcell_core::AttemptIo>,
    deadline: Instant,
    deadline_at: Millis,
}

impl Whose {
    fn of(attempt: &Attempt) -> Self {
        Self {
            queue: attempt.queue.clone(),
            id: attempt.job.id.clone(),
            io: Arc::clone(&attempt.io),
            deadline: attempt.deadline,
            deadline_at: attempt.deadline_at,
        }
    }

    /// The time of day, from the attempt's own two clocks.
    fn now(&self) -> Millis {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.deadline_at.saturating_sub(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl Runner for Loaded {
    fn handler(&self) -> &str {
        self.inner.handler()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    fn digest(&self) -> Option<&str> {
        self.digest.as_ref().map(|(_, text)| text.as_str())
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    fn log_limits(&self) -> LogLimits {
        self.inner.log_limits()
    }

    fn plays(&self) -> bool {
        self.inner.plays()
    }

    async fn run(&self, attempt: Attempt) -> Report {
        let whose = Whose::of(&attempt);
        let report = self.run_plainly(attempt).await;
        // What came from the cache says nothing about the version: it did not run.
        if report.receipt.cached { report } else { self.judged(&whose, report) }
    }
}

/// An attempt that runs on a version, until it is dropped.
struct Running<'a>(&'a Loaded);

impl<'a> Running<'a> {
    fn on(loaded: &'a Loaded) -> Self {
        loaded.running.fetch_add(1, Ordering::AcqRel);
        Self(loaded)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Loaded { running, is_outgoing, news, .. } = self.0;
        if running.fetch_sub(1, Ordering::AcqRel) == 1 && is_outgoing.load(Ordering::Acquire) {
            news.notify_one();
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.news.notify_one();
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("handler", &self.handler())
            .field("version", &Runner::version(self))
            .finish_non_exhaustive()
    }
}
