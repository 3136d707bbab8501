//! Waits for work on behalf of a driver, in a task of its own: a wait holds a connection and must not be dropped
//! half-way, because that would lose the hint it was about to bring.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::names::QueueName;
use crate::store::{Store, StoreError, Waiter, Wake};

/// A driver's side of the watch.
pub(super) struct Watch {
    ask: mpsc::Sender<Duration>,
    answers: mpsc::Receiver<Result<Wake, StoreError>>,
    waiting: bool,
}

impl Watch {
    /// Starts the task; it ends when the `Watch` is dropped.
    pub(super) fn start(store: Arc<dyn Store>, queue: QueueName, worker_name: Option<Arc<str>>) -> Self {
        let (ask, asked) = mpsc::channel(1);
        let (answer, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = watch(store, queue, worker_name, asked, &answer) => {}
                () = answer.closed() => {}
            }
        });
        Self { ask, answers, waiting: false }
    }

    /// Begins to wait, at most `timeout`, unless a wait goes on already.
    pub(super) fn begin(&mut self, timeout: Duration) {
        if !self.waiting && self.ask.try_send(timeout).is_ok() {
            self.waiting = true;
        }
    }

    /// The end of the wait that was begun; pending for ever when none was. Cancel safe.
    pub(super) async fn ended(&mut self) -> Result<Wake, StoreError> {
        if !self.waiting {
            return std::future::pending().await;
        }
        let answer = self.answers.recv().await;
        self.waiting = false;
        answer.unwrap_or_else(|| Err(StoreError::Unavailable("the watch ended".to_owned())))
    }
}

async fn watch(
    store: Arc<dyn Store>,
    queue: QueueName,
    worker_name: Option<Arc<str>>,
    mut asked: mpsc::Receiver<Duration>,
    answer: &mpsc::Sender<Result<Wake, StoreError>>,
) {
    let mut waiter: Option<Box<dyn Waiter>> = None;
    while let Some(timeout) = asked.recv().await {
        let result = match &mut waiter {
            Some(waiter) => waiter.wait(timeout).await,
            None => match store.waiter(&queue, worker_name.as_deref()).await {
                Ok(new) => waiter.insert(new).wait(timeout).await,
                Err(error) => Err(error),
            },
        };
        if answer.send(result).await.is_err() {
            return;
        }
    }
}
