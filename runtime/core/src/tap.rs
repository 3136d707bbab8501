//! A runner whose attempts are recorded for those who want to see them: a [`Shadow`] and [`Recordings`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::{Attempt, LogLimits};
use crate::clock::Clock;
use crate::effects::{Recorder, Tape};
use crate::recordings::{KEPT_BYTES_MAX, Record, Recordings};
use crate::runner::{Report, Runner};
use crate::shadow::Shadow;

/// Makes a [`Runner`] record its attempts for those who want to see them.
#[must_use]
pub struct Tap {
    runner: Arc<dyn Runner>,
    clock: Arc<dyn Clock>,
    entropy: fn() -> [u8; 32],
    shadow: Option<Shadow>,
    kept: Option<(Record, Recordings)>,
}

// === impl Tap ===

impl Tap {
    /// Of this runner. `entropy` gives bytes that nobody can guess: a recorded attempt draws its random numbers from them.
    pub fn new(runner: Arc<dyn Runner>, clock: Arc<dyn Clock>, entropy: fn() -> [u8; 32]) -> Self {
        Self { runner, clock, entropy, shadow: None, kept: None }
    }

    /// Copies of some attempts are run by this candidate.
    pub fn shadow(mut self, shadow: Option<Shadow>) -> Self {
        self.shadow = shadow;
        self
    }

    /// These attempts are kept, to be run again.
    pub fn keep(mut self, which: Record, recordings: &Recordings) -> Self {
        self.kept = (which != Record::Off).then(|| (which, recordings.clone()));
        self
    }

    /// The runner: as it was given where nobody wants to see its attempts, so that this costs nothing then. One that does
    /// not record ([`Runner::plays`]) is left alone too.
    pub fn done(self) -> Arc<dyn Runner> {
        if (self.shadow.is_some() || self.kept.is_some()) && self.runner.plays() {
            Arc::new(self)
        } else {
            self.runner
        }
    }

    /// Bytes that a recording of this attempt may have; none when it is not recorded.
    fn recording_max(&self, attempt: &Attempt) -> Option<usize> {
        let shadow = self.shadow.as_ref().filter(|shadow| shadow.takes(&attempt.queue, &attempt.job));
        let for_shadow = shadow.map(Shadow::recording_max);
        // What is kept is cut once more when it is written down as text.
        for_shadow.max(self.kept.is_some().then_some(KEPT_BYTES_MAX))
    }
}

#[async_trait]
impl Runner for Tap {
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
        true
    }

    async fn run(&self, attempt: Attempt) -> Report {
        let Some(bytes_max) = self.recording_max(&attempt) else { return self.runner.run(attempt).await };
        let recorder = Arc::new(Recorder::new(bytes_max, self.clock.now(), (self.entropy)()));
        attempt.io.set_tape(Tape::Record(Arc::clone(&recorder)));
        let report = self.runner.run(attempt.clone()).await;
        if attempt.io.take_tape().is_some() {
            // Nobody took it: no cell was made, and there is nothing to see. The result was kept from another job, or one
            // that computes it is waited for.
            return report;
        }
        let recording = Arc::new(recorder.finish());
        if let Some(shadow) = &self.shadow
            && shadow.takes(&attempt.queue, &attempt.job)
        {
            shadow.offer(&*self.runner, &attempt, Arc::clone(&recording), &report);
        }
        if let Some((which, recordings)) = &self.kept
            && which.wants(&report.outcome)
        {
            recordings.keep(&*self.runner, &attempt, &recording, &report, self.clock.now()).await;
        }
        report
    }
}
