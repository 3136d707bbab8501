//! Who may be connected and served at once, so that a crowd of slow clients keeps nobody else out.
//!
//! A connection that asks nothing (its first byte has not come, or its last answer has gone) is idle. When there are too
//! many connections, the one that has been idle longest makes room: whoever opens a thousand and sends nothing only
//! drives itself out. Answers that are being made are bounded apart from connections, and probes are not counted among
//! them, so that a host under attack is still seen to live.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections at the same time: well below the 4096 descriptors that services usually get, which stores need as well.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Answers at the same time, probes aside; clients of server-sent events hold one each. The rest of the connections is for
/// probes, and for those that are idle.
pub(crate) const ANSWERS_MAX: usize = 768;

/// All connections.
#[derive(Debug)]
pub(crate) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    open: usize,
    /// Counts moments of becoming idle: who became so first has the lowest.
    moments: u64,
    idle: BTreeMap<u64, CancellationToken>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    use_of: Mutex<Use>,
    leave: CancellationToken,
}

#[derive(Debug)]
struct Use {
    answers: usize,
    idle_since: u64,
}

/// A request on a connection, up to the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Seat>);

/// Places for answers.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Semaphore>);

/// An answer that holds something until its last byte is sent or its client has gone.
struct Holding<G> {
    body: Body,
    _held: G,
}

// === impl Seats ===

impl Seats {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection, for which the one that has been idle longest leaves if need be. None when all are
    /// being answered.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let leave = CancellationToken::new();
        let mut taken = self.taken();
        if taken.open >= self.most {
            let (_, longest) = taken.idle.pop_first()?;
            longest.cancel();
        }
        taken.open += 1;
        let idle_since = taken.becomes_idle(&leave);
        drop(taken);
        let use_of = Mutex::new(Use { answers: 0, idle_since });
        Some(Arc::new(Seat { seats: Arc::clone(self), use_of, leave }))
    }
}

impl Taken {
    fn becomes_idle(&mut self, leave: &CancellationToken) -> u64 {
        self.moments += 1;
        self.idle.insert(self.moments, leave.clone());
        self.moments
    }
}

// === impl Seat ===

impl Seat {
    /// Resolves when the connection has to make room. Cancel safe.
    pub(crate) async fn must_leave(&self) {
        self.leave.cancelled().await;
    }

    /// A request has come.
    pub(crate) fn ask(self: &Arc<Self>) -> Asking {
        let mut use_of = self.use_of.lock().unwrap_or_else(PoisonError::into_inner);
        use_of.answers += 1;
        self.seats.taken().idle.remove(&use_of.idle_since);
        drop(use_of);
        Asking(Arc::clone(self))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let use_of = self.use_of.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.seats.taken();
        taken.idle.remove(&use_of.idle_since);
        taken.open -= 1;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut use_of = self.0.use_of.lock().unwrap_or_else(PoisonError::into_inner);
        use_of.answers -= 1;
        if use_of.answers == 0 {
            use_of.idle_since = self.0.seats.taken().becomes_idle(&self.0.leave);
        }
    }
}

// === impl Places ===

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// A place, if there is one.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// The same answer, which holds this until it is over.
pub(crate) fn holding<G: Send + Unpin + 'static>(response: Response, held: G) -> Response {
    response.map(|body| Body::new(Holding { body, _held: held }))
}

impl<G: Send + Unpin> HttpBody for Holding<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_connection_makes_room_and_one_that_is_answered_does_not() {
        let seats = Seats::new(2);
        let first = seats.take().unwrap();
        let asking = first.ask();
        let second = seats.take().unwrap();
        let third = seats.take().unwrap();
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(second);
        let asking_too = third.ask();
        assert!(seats.take().is_none(), "both are being answered");
        // It becomes idle, later than nobody.
        drop(asking);
        let fourth = seats.take().unwrap();
        assert!(first.leave.is_cancelled());
        drop((first, asking_too, third, fourth));
        assert!(seats.taken().open == 0 && seats.taken().idle.is_empty());
    }

    #[test]
    fn a_connection_is_idle_when_its_last_answer_has_gone() {
        let seats = Seats::new(1);
        let seat = seats.take().unwrap();
        let (one, other) = (seat.ask(), seat.ask());
        drop(one);
        assert!(seats.take().is_none());
        drop(other);
        assert!(seats.take().is_some() && seat.leave.is_cancelled());
    }
}
