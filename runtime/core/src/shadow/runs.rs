//! Runs copies, on a thread of their own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{ShadowBounds, ShadowExample, Tally, difference};
use crate::attempt::{Attempt, AttemptIo};
use crate::clock::{Clock, Millis};
use crate::effects::{Player, Recording, Tape};
use crate::job::Job;
use crate::names::QueueName;
use crate::outcome::Outcome;
use crate::receipt::Receipt;
use crate::runner::{Report, Runner};

/// What a copy gets on top of its deadline to end by itself.
const BACKSTOP: Duration = Duration::from_secs(1);

/// A copy of an attempt that has ended.
pub(super) struct Copy {
    pub(super) tally: Arc<Tally>,
    pub(super) candidate: Arc<dyn Runner>,
    /// The active version.
    pub(super) active: String,
    pub(super) queue: QueueName,
    pub(super) job: Arc<Job>,
    pub(super) deadline_at: Millis,
    pub(super) recording: Arc<Recording>,
    pub(super) outcome: Outcome,
    pub(super) receipt: Receipt,
}

/// Starts the thread; it ends when nobody can hand in copies any more. None when it does not start.
pub(super) fn start(
    bounds: ShadowBounds,
    clock: Arc<dyn Clock>,
    calm: fn(),
) -> Option<mpsc::Sender<Box<Copy>>> {
    let (copies, mut waiting) = mpsc::channel::<Box<Copy>>(bounds.pending.max(1));
    let run = move || {
        calm();
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "shadows are not run: their thread has no runtime");
                return;
            }
        };
        let places = Arc::new(Semaphore::new(bounds.parallel.max(1)));
        runtime.block_on(async {
            while let Some(copy) = waiting.recv().await {
                // Never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let clock = Arc::clone(&clock);
                tokio::spawn(async move {
                    copy.run(&*clock).await;
                    drop(place);
                });
            }
        });
    };
    match std::thread::Builder::new().name("jobcell-shadow".to_owned()).spawn(run) {
        Ok(_) => Some(copies),
        Err(error) => {
            tracing::error!(%error, "shadows are not run: their thread does not start");
            None
        }
    }
}

impl Copy {
    async fn run(self, clock: &dyn Clock) {
        let player = Arc::new(Player::new(Arc::clone(&self.recording)));
        let report = self.play(&player).await;
        let mut tally = self.tally.report();
        tally.active.clone_from(&self.active);
        let Some(report) = report.filter(|_| player.has_begun()) else {
            tally.dropped += 1;
            return;
        };
        tally.runs += 1;
        tally.active_cost.add(&self.receipt);
        tally.candidate_cost.add(&report.receipt);
        let played = player.played();
        let differs = || {
            difference(&self.outcome, &report.outcome).or_else(|| {
                let first = played.left_out.first()?;
                Some(format!("left out: {first} ({} in all)", played.left_out_total))
            })
        };
        let (diverged, what) = match played.divergences.first() {
            Some(first) => {
                tally.diverged += 1;
                (true, format!("{first} ({} in all)", played.diverged))
            }
            None => match differs() {
                Some(what) => {
                    tally.disagreed += 1;
                    (false, what)
                }
                None => {
                    tally.agreed += 1;
                    return;
                }
            },
        };
        let (queue, job) = (self.queue.as_str().to_owned(), self.job.id.as_str().to_owned());
        tally.keep(ShadowExample { at: clock.now(), queue, job, diverged, what });
    }

    /// None when it did not end.
    async fn play(&self, player: &Arc<Player>) -> Option<Report> {
        let io = AttemptIo::new(self.candidate.log_limits());
        io.set_tape(Tape::Play(Arc::clone(player)));
        let own = self.candidate.deadline();
        let deadline = self.job.options.timeout.map_or(own, |ms| own.min(Duration::from_millis(ms)));
        let cancel = CancellationToken::new();
        let attempt = Attempt {
            queue: self.queue.clone(),
            job: Arc::clone(&self.job),
            deadline: Instant::now() + deadline,
            deadline_at: self.deadline_at,
            cancel,
            io,
        };
        let run = AssertUnwindSafe(self.candidate.run(attempt)).catch_unwind();
        timeout(deadline + BACKSTOP, run).await.ok()?.ok()
    }
}
