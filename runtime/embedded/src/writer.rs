//! The one thread that writes.
//!
//! It takes what callers have sent, applies all of it to one transaction, and commits that with one flush to the disk
//! (`Durability::Immediate`: an answered call survives a power cut). While a flush goes on, the next calls pile up: the
//! more callers, the larger the batches, and the fewer flushes a call.
//!
//! A call that fails after it has changed something would leave half of itself in the batch. Then the batch is undone
//! and its calls run again, each in a transaction of its own, so that only the one that fails is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use jobcell_core::StoreError;
use redb::Database;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Fault, Result};
use crate::file::closed;
use crate::open::{Directory, Shared};
use crate::tx::Tx;

/// Calls in one transaction. Enough that a flush is shared by all that a busy host has in flight.
const BATCH_MAX: usize = 512;

/// Calls that wait for the writer; more wait at their senders, so that a slow disk does not fill the memory.
const QUEUE_MAX: usize = 1024;

/// What the writer is sent.
enum Message {
    Call(Box<dyn Call>),
    /// A read failed: the database may have to be opened anew.
    Reopen,
    Close(oneshot::Sender<()>),
}

/// A verb on its way. Run at least once, possibly again after its changes were undone; settled once.
trait Call: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    /// Answers the caller: with what the verb gave, or why the transaction could not be committed.
    fn settle(self: Box<Self>, shared: &Shared, committed: Result<(), &StoreError>);
}

enum Ran {
    Done,
    /// It failed by itself.
    Failed,
    /// The database failed.
    Broken(StoreError),
}

struct Verb<F, R> {
    verb: F,
    outcome: Option<Result<R>>,
    reply: oneshot::Sender<Result<R, StoreError>>,
}

/// Why a batch was not committed.
enum Undone {
    /// A call failed after it had changed something.
    ByCall,
    /// The transaction failed as a whole.
    ByDatabase { error: StoreError, reopen: bool },
}

/// Sends verbs to the writer. Dropping it ends the writer once everything sent is done, and waits for that.
pub(crate) struct Writer {
    sender: Option<mpsc::Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl<F, R> Call for Verb<F, R>
where
    F: FnMut(&mut Tx<'_>) -> Result<R> + Send,
    R: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        // A verb that panics has a bug; it must not take the store from everybody else.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.verb)(tx))).unwrap_or_else(|_| {
            tx.note_change();
            Err(StoreError::Other("a verb of the embedded store panicked; nothing of it was written".into())
                .into())
        });
        let ran = match &outcome {
            Ok(_) => Ran::Done,
            Err(fault) if fault.breaks_database() => {
                // The fault itself goes to the whole batch.
                let Err(fault) = outcome else { return Ran::Failed };
                return Ran::Broken(fault.into_store_error(tx.path()));
            }
            Err(_) => Ran::Failed,
        };
        self.outcome = Some(outcome);
        ran
    }

    fn settle(self: Box<Self>, shared: &Shared, committed: Result<(), &StoreError>) {
        let Self { verb: _, outcome, reply } = *self;
        let answer = match (committed, outcome) {
            (Err(error), _) => Err(copy(error)),
            (Ok(()), Some(outcome)) => outcome.map_err(|fault| fault.into_store_error(shared.file.path())),
            (Ok(()), None) => Err(StoreError::Other("the verb was not run".into())),
        };
        // A caller that went away does not need the answer.
        let _ = reply.send(answer);
    }
}

/// The same error for another caller of the batch.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) => StoreError::Unavailable(cause.clone()),
        StoreError::Corrupt(cause) => StoreError::Corrupt(cause.clone()),
        StoreError::Rejected(cause) => StoreError::Rejected(cause.clone()),
        StoreError::Denied(cause) => StoreError::Denied(cause.clone()),
        other => StoreError::Other(other.to_string()),
    }
}

// === impl Writer ===

impl Writer {
    /// Starts the thread. It owns the directory's lock and gives it up at its end.
    pub(crate) fn start(shared: Arc<Shared>, directory: Directory) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("jobcell-store".into()).spawn(move || {
            let closing = write_all(&shared, receiver);
            shared.file.close();
            drop(directory);
            // The caller of `close` goes on once nothing is held any more.
            if let Some(done) = closing {
                let _ = done.send(());
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Runs a verb in a transaction and waits until that is on disk. The verb may be run more than once. Dropping the
    /// future after it was sent does not stop it.
    pub(crate) async fn call<R, F>(&self, verb: F) -> Result<R, StoreError>
    where
        F: FnMut(&mut Tx<'_>) -> Result<R> + Send + 'static,
        R: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Verb { verb, outcome: None, reply });
        let sender = self.sender.as_ref().ok_or_else(closed)?;
        sender.send(Message::Call(call)).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Asks for the database to be opened anew; when the writer is busy it finds out by itself.
    pub(crate) fn reopen(&self) {
        if let Some(sender) = &self.sender {
            let _ = sender.try_send(Message::Reopen);
        }
    }

    /// Ends the writer once everything sent before is done. May be repeated.
    pub(crate) async fn close(&self) {
        let Some(sender) = &self.sender else { return };
        let (done, ended) = oneshot::channel();
        if sender.send(Message::Close(done)).await.is_ok() {
            // An error says that the writer has ended, which is what is wanted.
            let _ = ended.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and left nothing half written.
            let _ = thread.join();
        }
    }
}

// === the thread ===

/// Writes until nobody sends any more, or until it is to close; then gives whom to tell.
fn write_all(shared: &Shared, mut receiver: mpsc::Receiver<Message>) -> Option<oneshot::Sender<()>> {
    let mut closing = None;
    while let Some(first) = receiver.blocking_recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Call(call) => batch.push(call),
                Message::Reopen => reopen(shared),
                Message::Close(done) => {
                    receiver.close();
                    closing = Some(done);
                }
            }
            next = if batch.len() < BATCH_MAX { receiver.try_recv().ok() } else { None };
        }
        write(shared, batch);
    }
    closing
}

/// Commits a batch and answers its callers.
fn write(shared: &Shared, mut batch: Vec<Box<dyn Call>>) {
    if batch.is_empty() {
        return;
    }
    if shared.file.is_broken() {
        reopen(shared);
    }
    match commit(shared, &mut batch) {
        Ok(()) => settle(shared, batch, Ok(())),
        Err(Undone::ByCall) if batch.len() > 1 => {
            for call in batch {
                write(shared, vec![call]);
            }
        }
        // Alone it has its own error as its outcome, and nothing of it was committed.
        Err(Undone::ByCall) => settle(shared, batch, Ok(())),
        Err(Undone::ByDatabase { error, reopen: broken }) => {
            tracing::error!(%error, calls = batch.len(), "embedded store could not write");
            // Answered after it was opened anew, so that a caller that tries again finds it usable.
            if broken {
                reopen(shared);
            }
            settle(shared, batch, Err(&error));
        }
    }
}

fn settle(shared: &Shared, batch: Vec<Box<dyn Call>>, committed: Result<(), &StoreError>) {
    for call in batch {
        call.settle(shared, committed);
    }
}

fn reopen(shared: &Shared) {
    shared.file.reopen();
    // A commit that failed may be on disk after all; then its claims have no lock here.
    if let Err(fault) = shared.look_around() {
        let error = fault.into_store_error(shared.file.path());
        tracing::warn!(%error, "embedded store is not usable yet");
    }
}

fn commit(shared: &Shared, batch: &mut [Box<dyn Call>]) -> Result<(), Undone> {
    let path = shared.file.path();
    let mut by_call = None;
    let committed = shared.file.with(|database| {
        by_call = Some(transact(shared, database, batch)?);
        Ok(())
    });
    match (committed, by_call) {
        (Err(fault), _) => {
            let reopen = fault.breaks_database();
            Err(Undone::ByDatabase { error: fault.into_store_error(path), reopen })
        }
        (Ok(()), Some(Err(undone))) => Err(undone),
        (Ok(()), Some(Ok(())) | None) => Ok(()),
    }
}

fn transact(shared: &Shared, database: &Database, batch: &mut [Box<dyn Call>]) -> Result<Result<(), Undone>> {
    let transaction = database.begin_write()?;
    let mut tx = Tx::new(&transaction, shared)?;
    for call in batch {
        let before = tx.changes();
        match call.run(&mut tx) {
            Ran::Done => {}
            Ran::Failed if tx.changes() == before => {}
            Ran::Failed => return Ok(Err(Undone::ByCall)),
            Ran::Broken(error) => return Ok(Err(Undone::ByDatabase { error, reopen: true })),
        }
    }
    let changed = tx.changes() > 0;
    let (locks, effects) = tx.flush()?;
    if changed {
        transaction.commit()?;
    } else {
        transaction.abort().map_err(|e| Fault::Database(Box::new(e.into())))?;
    }
    shared.locks.apply(locks);
    shared.signals.tell(&effects);
    Ok(Ok(()))
}
