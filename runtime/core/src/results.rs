//! Results that are kept by content: the same content of the same tenant is not run a second time while its result lasts.
//!
//! A [`Results`] stands before the runner of one version. Whether a job's content has a result is looked up before a cell
//! is made; a hit ends the attempt with what another job's attempt came to. Of several jobs with the same content that
//! are there at once, on whatever hosts, one computes and the others are given back for a moment, so that none holds a
//! slot for nothing. That is a courtesy and no promise: who waits in vain computes too, and so does everybody while the
//! cache does not answer.
//!
//! What is decided is apart from what is asked: [`content`] says what is the same, [`kept`] what is written, [`turn`] who
//! waits and for how long.

mod content;
mod kept;
mod turn;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::attempt::{Attempt, LogLimits};
use crate::cache::{Cache, CacheError};
use crate::clock::Clock;
use crate::decide::check_json;
use crate::event::{Event, Found, Observer};
use crate::outcome::Outcome;
use crate::receipt::Receipt;
use crate::runner::{Report, Runner};
use content::{Content, Whose};
use kept::Kept;
use turn::{LOCK, RENEW_EVERY};

/// The longest one question to the cache may take. One that takes longer costs more than many handlers do.
const ASK: Duration = Duration::from_secs(1);
/// The longest that an attempt which has ended at its deadline is held up to keep its result: less than what the worker
/// gives every runner on top of the deadline, so that no result is dropped for being kept.
const KEEP_BEYOND: Duration = Duration::from_millis(100);

/// What of a handler's results is kept, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepResults {
    /// How long a result lasts.
    pub ttl: Duration,
    /// Which parts of the payload are its content, as JSON pointers (RFC 6901). None is all of it.
    pub key: Vec<String>,
    /// Whether a version answers with what another version of the handler came to. Default no: a version is often made
    /// because the results of the one before were wrong.
    pub across_versions: bool,
}

/// What a [`Results`] asks and tells. Cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    /// Where results are.
    pub cache: Arc<dyn Cache>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Hears what was found.
    pub observer: Arc<dyn Observer>,
}

/// A [`Runner`] that runs content once.
pub struct Results {
    runner: Arc<dyn Runner>,
    /// Of the version; its results are its own unless the rule says otherwise.
    digest: String,
    rule: KeepResults,
    shelf: Shelf,
}

/// What is to be done with a job.
enum Turn {
    /// Its content has a result.
    Hit(Kept),
    /// Another job computes it: look again after so long.
    Wait(Duration),
    /// It computes, and holds the lock that keeps others from it where it got one.
    Run(Option<Lock>),
}

/// The right to compute a content: a value in the cache that vanishes by itself unless its holder renews it.
struct Lock {
    key: String,
    /// Differs for every start of every job.
    holder: Bytes,
}

// === impl KeepResults ===

impl KeepResults {
    /// All of the payload counts, for one version.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, key: Vec::new(), across_versions: false }
    }
}

// === impl Results ===

impl Results {
    /// Before this runner, whose version has this digest.
    #[must_use]
    pub fn new(runner: Arc<dyn Runner>, digest: String, rule: KeepResults, shelf: Shelf) -> Self {
        Self { runner, digest, rule, shelf }
    }

    fn tell(&self, found: Found) {
        self.shelf.observer.on(&Event::Results { handler: self.runner.handler().to_owned(), found });
    }

    /// What is the same for all jobs that may share a result.
    ///
    /// # Errors
    /// Why the job has no such content, in words for its log.
    fn content(&self, attempt: &Attempt) -> Result<Content, String> {
        let whose = Whose {
            handler: self.runner.handler(),
            version: (!self.rule.across_versions).then_some(self.digest.as_str()),
            job: &attempt.job.name,
            tenant: attempt.job.options.tenant.as_deref().unwrap_or_default(),
        };
        Content::of(&whose, &self.rule.key, &attempt.job.data)
    }

    async fn turn(&self, content: &Content, attempt: &Attempt) -> Result<Turn, CacheError> {
        if let Some(kept) = self.look(content).await? {
            return Ok(Turn::Hit(kept));
        }
        let job = &attempt.job;
        let holder = format!("{}/{}#{}", attempt.queue, job.id, job.attempts_started);
        let lock = Lock { key: content.lock_key(), holder: holder.into() };
        let cache = &self.shelf.cache;
        if ask(cache.set_if_absent(&lock.key, lock.holder.clone(), Some(LOCK))).await? {
            // Whoever had it before may have written its result since.
            return Ok(match self.look(content).await? {
                Some(kept) => {
                    self.release(lock).await;
                    Turn::Hit(kept)
                }
                None => Turn::Run(Some(lock)),
            });
        }
        let given_back = turn::given_back(job);
        Ok(match turn::wait(given_back, self.runner.deadline()) {
            Some(pause) => {
                if given_back == 0 {
                    attempt.io.log("[another job computes the same content: this one waits for its result]");
                }
                Turn::Wait(pause)
            }
            None => Turn::Run(None),
        })
    }

    async fn look(&self, content: &Content) -> Result<Option<Kept>, CacheError> {
        let value = ask(self.shelf.cache.get(&content.result_key())).await?;
        Ok(value.as_ref().and_then(Kept::read))
    }

    /// The report of a job whose content has a result.
    fn answer(&self, kept: Kept, attempt: &Attempt) -> Report {
        let age = Duration::from_millis(self.shelf.clock.now().saturating_sub(kept.at));
        let from = kept.origin();
        attempt.io.log(&format!(
            "[the result of job {from}, which had the same content {} s ago; not run again]",
            age.as_secs()
        ));
        let receipt = Receipt { cached: true, computed_by: Some(from), ..Receipt::default() };
        Report { outcome: Outcome::Complete(kept.result), receipt }
    }

    /// Runs the attempt, and keeps the lock from running out meanwhile.
    async fn run_under(&self, lock: &Lock, attempt: Attempt) -> Report {
        let mut run = pin!(self.runner.run(attempt));
        loop {
            tokio::select! {
                biased;
                report = &mut run => return report,
                () = sleep(RENEW_EVERY) => {}
            }
            let mut renewal = pin!(self.renew(lock));
            tokio::select! {
                biased;
                report = &mut run => {
                    // A renewal that has begun is waited for a little, else it could come after the release.
                    let _ = timeout(KEEP_BEYOND, renewal).await;
                    return report;
                }
                () = &mut renewal => {}
            }
        }
    }

    /// Has the lock last on, while it is ours. Between look and write it may run out and go to another job, which is then
    /// joined by a third one after this one's end: content is computed twice, and nothing worse.
    async fn renew(&self, lock: &Lock) {
        let cache = &self.shelf.cache;
        if self.holds(lock).await
            && let Err(error) = ask(cache.set(&lock.key, lock.holder.clone(), Some(LOCK))).await
        {
            tracing::debug!(handler = self.runner.handler(), %error, "the lock of a content was not renewed");
        }
    }

    async fn release(&self, lock: Lock) {
        if self.holds(&lock).await
            && let Err(error) = ask(self.shelf.cache.delete(&lock.key)).await
        {
            tracing::debug!(handler = self.runner.handler(), %error, "the lock of a content runs out by itself");
        }
    }

    async fn holds(&self, lock: &Lock) -> bool {
        matches!(ask(self.shelf.cache.get(&lock.key)).await, Ok(Some(holder)) if holder == lock.holder)
    }

    /// What is to be done after a run, for which its end does not wait longer than it may.
    async fn settle(&self, content: &Content, attempt: &Attempt, outcome: &Outcome, lock: Option<Lock>) {
        let settled = async {
            self.keep(content, attempt, outcome).await;
            if let Some(lock) = lock {
                self.release(lock).await;
            }
        };
        let until = attempt.deadline.max(Instant::now()) + KEEP_BEYOND;
        if timeout_at(until, settled).await.is_err() {
            tracing::debug!(handler = self.runner.handler(), "there was no time left to keep a result");
        }
    }

    /// Keeps what the attempt came to, if it is a result.
    async fn keep(&self, content: &Content, attempt: &Attempt, outcome: &Outcome) {
        let Outcome::Complete(result) = outcome else { return };
        // Where results must be JSON, one that is not is a failure.
        if !result.is_empty() && check_json(result).is_err() {
            return;
        }
        let kept = Kept {
            queue: attempt.queue.to_string(),
            job: attempt.job.id.to_string(),
            at: self.shelf.clock.now(),
            result: result.clone(),
        };
        let kept =
            ask(self.shelf.cache.set(&content.result_key(), kept.written(), Some(self.rule.ttl))).await;
        if let Err(error) = kept {
            tracing::debug!(handler = self.runner.handler(), %error, "a result was not kept");
        }
    }
}

/// An answer of the cache, or none in time.
async fn ask<T>(answer: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
    let late = |_| Err(CacheError::Unavailable(format!("no answer within {} ms", ASK.as_millis())));
    timeout(ASK, answer).await.unwrap_or_else(late)
}

#[async_trait]
impl Runner for Results {
    fn handler(&self) -> &str {
        self.runner.handler()
    }

    fn version(&self) -> &str {
        self.runner.version()
    }

    fn digest(&self) -> Option<&str> {
        self.runner.digest()
    }

    fn deadline(&self) -> Duration {
        self.runner.deadline()
    }

    fn log_limits(&self) -> LogLimits {
        self.runner.log_limits()
    }

    fn plays(&self) -> bool {
        self.runner.plays()
    }

    async fn run(&self, attempt: Attempt) -> Report {
        // What is played is run to be looked at, and touches nothing.
        if attempt.io.is_played() {
            return self.runner.run(attempt).await;
        }
        let started = Instant::now();
        let content = match self.content(&attempt) {
            Ok(content) => content,
            Err(why) => {
                self.tell(Found::Bypass);
                attempt.io.log(&format!("[no kept result is looked for: {why}]"));
                return self.runner.run(attempt).await;
            }
        };
        if attempt.job.options.fresh {
            self.tell(Found::Bypass);
            let report = self.runner.run(attempt.clone()).await;
            self.settle(&content, &attempt, &report.outcome, None).await;
            return report;
        }
        let mut report = match self.turn(&content, &attempt).await {
            Ok(Turn::Hit(kept)) => {
                self.tell(Found::Hit);
                self.answer(kept, &attempt)
            }
            Ok(Turn::Wait(pause)) => {
                self.tell(Found::Wait);
                let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX / 2);
                let outcome = Outcome::DelayUntil(self.shelf.clock.now().saturating_add(pause));
                Report { outcome, receipt: Receipt::default() }
            }
            Ok(Turn::Run(lock)) => {
                self.tell(Found::Miss);
                let report = match &lock {
                    Some(lock) => self.run_under(lock, attempt.clone()).await,
                    None => self.runner.run(attempt.clone()).await,
                };
                self.settle(&content, &attempt, &report.outcome, lock).await;
                return report;
            }
            Err(error) => {
                self.tell(Found::Error);
                tracing::debug!(handler = self.runner.handler(), %error, "kept results cannot be looked at");
                return self.runner.run(attempt).await;
            }
        };
        report.receipt.wall_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        report
    }
}

#[cfg(test)]
mod tests;
