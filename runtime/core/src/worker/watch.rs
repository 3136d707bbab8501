//! Waits for work on behalf of a driver, in a task of its own: a wait holds a connection and must not be dropped
//! half-way, because that would lose the hint it was about to bring.
//!
//! Nothing here is needed for jobs to be found, only for finding them at once: the driver asks the store every poll
//! whatever becomes of the waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::pace;
use crate::names::QueueName;
use crate::store::{Store, StoreError, Waiter, Wake};

/// How much longer than asked a wait may take, connecting included. Waiters bound theirs well below; this is for one
/// that hangs all the same.
const PATIENCE: Duration = Duration::from_secs(20);

/// A driver's side of the watch.
pub(super) struct Watch {
    source: Source,
    ask: mpsc::Sender<Wait>,
    answers: mpsc::Receiver<Result<Wake, StoreError>>,
    waiting: bool,
    /// In a row. Kept here, so that a task that broke is not begun anew in a tight loop.
    failures: u32,
}

/// What the task is to do.
struct Wait {
    /// First, because the wait before failed.
    pause: Duration,
    /// Then, at most.
    timeout: Duration,
}

/// Where waiters come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: QueueName,
    pub(super) worker_name: Option<Arc<str>>,
    pub(super) entropy: fn() -> f64,
}

// === impl Watch ===

impl Watch {
    /// Starts the task; it ends when the `Watch` is dropped.
    pub(super) fn start(source: Source) -> Self {
        let (ask, asked) = mpsc::channel(1);
        let (answer, answers) = mpsc::channel(1);
        let task = source.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task.watch(asked, &answer) => {}
                () = answer.closed() => {}
            }
        });
        Self { source, ask, answers, waiting: false, failures: 0 }
    }

    /// Begins to wait, at most `timeout`, unless a wait goes on already.
    pub(super) fn begin(&mut self, timeout: Duration) {
        if self.waiting {
            return;
        }
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => pace::pause(failures, (self.source.entropy)()),
        };
        if let Err(TrySendError::Closed(wait)) = self.ask.try_send(Wait { pause, timeout }) {
            // The task broke.
            self.begin_anew();
            // The channel is new and so has room.
            let _ = self.ask.try_send(wait);
        }
        self.waiting = true;
    }

    /// Gives up a wait that goes on, with its connection: it began before an outage, and may hear nothing any more.
    pub(super) fn anew(&mut self) {
        if self.waiting {
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        *self = Self { failures: self.failures, ..Self::start(self.source.clone()) };
    }

    /// The end of the wait that was begun; pending for ever when none was. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<Wake, StoreError> {
        if !self.waiting {
            return std::future::pending().await;
        }
        let answer = self.answers.recv().await;
        self.waiting = false;
        let answer =
            answer.unwrap_or_else(|| Err(StoreError::Unavailable("the wait for work broke".to_owned())));
        let queue = &self.source.queue;
        match &answer {
            Ok(_) => self.failures = 0,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    tracing::warn!(%queue, %error, "new jobs are not heard of; asking for them meanwhile");
                } else {
                    tracing::debug!(%queue, %error, self.failures, "new jobs are still not heard of");
                }
            }
        }
        answer
    }
}

// === impl Source ===

impl Source {
    async fn watch(&self, mut asked: mpsc::Receiver<Wait>, answer: &mpsc::Sender<Result<Wake, StoreError>>) {
        let mut waiter: Option<Box<dyn Waiter>> = None;
        while let Some(Wait { pause, timeout }) = asked.recv().await {
            tokio::time::sleep(pause).await;
            let wait = tokio::time::timeout(timeout + PATIENCE, self.wait(&mut waiter, timeout)).await;
            let result = wait.unwrap_or_else(|_| {
                waiter = None;
                Err(StoreError::Unavailable(format!("a wait of {timeout:?} did not end; waiting anew")))
            });
            if answer.send(result).await.is_err() {
                return;
            }
        }
    }

    async fn wait(
        &self,
        waiter: &mut Option<Box<dyn Waiter>>,
        timeout: Duration,
    ) -> Result<Wake, StoreError> {
        match waiter {
            Some(waiter) => waiter.wait(timeout).await,
            None => {
                let new = self.store.waiter(&self.queue, self.worker_name.as_deref()).await?;
                waiter.insert(new).wait(timeout).await
            }
        }
    }
}
