//! A first cell before the first job: what cannot even start is found out before it takes any, and the first job finds
//! the code in memory.

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::{Attempt, AttemptIo, Job, JobId, NameError, Outcome, QueueName, Stopped};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::cell::Cell;
use crate::runner::HandlerRunner;
use crate::stop::{Circumstances, Phase, classify};
use crate::template::Template;

/// How long a first cell may take whatever an attempt may: deploying waits for it.
const WARM_MAX: Duration = Duration::from_secs(10);

// === impl HandlerRunner ===

impl HandlerRunner {
    /// Makes one cell and throws it away. Its handler is not called; what it runs at its start reaches nothing.
    ///
    /// Cancel safety: dropping the future ends the cell.
    ///
    /// # Errors
    /// How the cell broke while it was made.
    pub async fn warm(&self) -> Result<(), Stopped> {
        self.template().warm().await
    }
}

// === impl Template ===

impl Template {
    /// See [`HandlerRunner::warm`].
    pub(crate) async fn warm(&self) -> Result<(), Stopped> {
        let template = self.sealed();
        let (limits, started) = (template.limits(), Instant::now());
        let deadline = started + limits.deadline.min(WARM_MAX);
        // The names are ours and valid; whatever they were, there would be nothing wrong with the handler.
        let Ok(attempt) = attempt(deadline) else { return Ok(()) };
        let mut store = template.store(Cell::new(Arc::clone(template), attempt, None, started));
        let made = timeout_at(deadline, template.pre().instantiate_async(&mut store)).await;
        let outcome = match made {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => {
                let stderr = store.data().finish_output();
                let (phase, host_call) = (Phase::Making, template.host_call());
                classify(&error, &Circumstances { phase, limits, host_call, stderr: &stderr })
            }
            Err(_) => store.data().overdue("starting").outcome(),
        };
        match outcome {
            Outcome::Stopped(stopped) => Err(stopped),
            // The host was full: nothing was found out about the handler.
            _ => Ok(()),
        }
    }
}

/// An attempt at no job.
fn attempt(deadline: Instant) -> Result<Attempt, NameError> {
    Ok(Attempt {
        queue: QueueName::new("warming")?,
        job: Arc::new(Job::new(JobId::new("warming")?, "warming", "null")),
        deadline,
        deadline_at: 0,
        cancel: CancellationToken::new(),
        io: Arc::new(AttemptIo::default()),
    })
}
