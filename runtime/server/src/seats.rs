//! Who may be connected and served at once, so that a crowd of slow clients keeps nobody else out.
//!
//! A connection that asks nothing (its first byte has not come, or its last answer has gone) is idle. When there are too
//! many connections, the one that has been idle longest makes room: whoever opens a thousand and sends nothing only
//! drives itself out. One address has a part of them, so that whoever asks slowly on all of them, or never reads what is
//! answered, leaves the rest to others. Answers that are being made are bounded apart from connections, and probes are
//! not counted among them, so that a host under attack is still seen to live.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How many connections there may be at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// In all. Default 1024: well below the 4096 descriptors that services usually get, which stores need as well.
    pub all: usize,
    /// Of one address (of IPv6, of one /64). Default 512: half of them, so that no single machine keeps the others out.
    pub per_address: usize,
}

/// Answers at the same time, probes aside; clients of server-sent events hold one each. The rest of the connections is for
/// probes, and for those that are idle.
pub(crate) const ANSWERS_MAX: usize = 768;

/// All connections.
#[derive(Debug)]
pub(crate) struct Seats {
    bounds: ConnectionBounds,
    taken: Mutex<Taken>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Taken {
    open: usize,
    /// Counts moments of becoming idle: who became so first has the lowest.
    moments: u64,
    idle: BTreeMap<u64, (IpAddr, CancellationToken)>,
    /// By address: those that have any.
    shares: HashMap<IpAddr, Share>,
}

/// What one address has.
#[derive(Debug, Default)]
struct Share {
    open: usize,
    /// The moments of those that are idle.
    idle: BTreeSet<u64>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    from: IpAddr,
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

// === impl ConnectionBounds ===

impl Default for ConnectionBounds {
    fn default() -> Self {
        Self { all: 1024, per_address: 512 }
    }
}

// === impl Seats ===

impl Seats {
    pub(crate) fn new(bounds: ConnectionBounds, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { bounds, taken: Mutex::default(), metrics })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for a new connection, for which the one leaves that has been idle longest if need be: of its own address
    /// where that has all it may have, else of any. None when all of those are being answered.
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Arc<Seat>> {
        let (from, leave) = (network(from), CancellationToken::new());
        let mut taken = self.taken();
        let share = taken.shares.get(&from);
        let is_share_full = share.is_some_and(|share| share.open >= self.bounds.per_address);
        if is_share_full || taken.open >= self.bounds.all {
            let longest = match share.filter(|_| is_share_full) {
                Some(share) => share.idle.first().copied(),
                None => taken.idle.first_key_value().map(|(moment, _)| *moment),
            };
            let Some(moment) = longest else {
                drop(taken);
                self.metrics.connection_closed(if is_share_full { "address" } else { "all" });
                return None;
            };
            if let Some(longest) = taken.leaves_idle(moment) {
                longest.cancel();
                self.metrics.connection_closed("idle");
            }
        }
        taken.open += 1;
        taken.shares.entry(from).or_default().open += 1;
        self.metrics.connections(taken.open);
        let idle_since = taken.becomes_idle(from, &leave);
        drop(taken);
        let use_of = Mutex::new(Use { answers: 0, idle_since });
        Some(Arc::new(Seat { seats: Arc::clone(self), from, use_of, leave }))
    }
}

impl Taken {
    fn becomes_idle(&mut self, from: IpAddr, leave: &CancellationToken) -> u64 {
        self.moments += 1;
        self.idle.insert(self.moments, (from, leave.clone()));
        self.shares.entry(from).or_default().idle.insert(self.moments);
        self.moments
    }

    /// What makes the connection leave that has been idle since then, if it still is.
    fn leaves_idle(&mut self, moment: u64) -> Option<CancellationToken> {
        let (from, leave) = self.idle.remove(&moment)?;
        if let Some(share) = self.shares.get_mut(&from) {
            share.idle.remove(&moment);
        }
        Some(leave)
    }
}

/// One customer's network: an address of IPv6 is one of billions that the same machine has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
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
        self.seats.taken().leaves_idle(use_of.idle_since);
        drop(use_of);
        Asking(Arc::clone(self))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let use_of = self.use_of.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.seats.taken();
        taken.leaves_idle(use_of.idle_since);
        taken.open -= 1;
        if let Some(share) = taken.shares.get_mut(&self.from) {
            share.open -= 1;
            if share.open == 0 {
                taken.shares.remove(&self.from);
            }
        }
        self.seats.metrics.connections(taken.open);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Self(seat) = self;
        let mut use_of = seat.use_of.lock().unwrap_or_else(PoisonError::into_inner);
        use_of.answers -= 1;
        if use_of.answers == 0 {
            use_of.idle_since = seat.seats.taken().becomes_idle(seat.from, &seat.leave);
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

    fn seats(all: usize, per_address: usize) -> Arc<Seats> {
        Seats::new(ConnectionBounds { all, per_address }, Arc::new(Metrics::new()))
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn here() -> IpAddr {
        from("127.0.0.1")
    }

    #[test]
    fn the_longest_idle_connection_makes_room_and_one_that_is_answered_does_not() {
        let seats = seats(2, 2);
        let first = seats.take(here()).unwrap();
        let asking = first.ask();
        let second = seats.take(here()).unwrap();
        let third = seats.take(here()).unwrap();
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(second);
        let asking_too = third.ask();
        assert!(seats.take(here()).is_none(), "both are being answered");
        // It becomes idle, later than nobody.
        drop(asking);
        let fourth = seats.take(here()).unwrap();
        assert!(first.leave.is_cancelled());
        drop((first, asking_too, third, fourth));
        let taken = seats.taken();
        assert!(taken.open == 0 && taken.idle.is_empty() && taken.shares.is_empty());
    }

    #[test]
    fn a_connection_is_idle_when_its_last_answer_has_gone() {
        let seats = seats(1, 1);
        let seat = seats.take(here()).unwrap();
        let (one, other) = (seat.ask(), seat.ask());
        drop(one);
        assert!(seats.take(here()).is_none());
        drop(other);
        assert!(seats.take(here()).is_some() && seat.leave.is_cancelled());
    }

    #[test]
    fn one_address_has_its_part_and_drives_out_only_itself() {
        let seats = seats(10, 2);
        let (one, other) = (from("10.0.0.1"), from("10.0.0.2"));
        let idle = seats.take(other).unwrap();
        let held: Vec<_> = (0..2).map(|_| seats.take(one).unwrap()).map(|seat| (seat.ask(), seat)).collect();
        assert!(seats.take(one).is_none(), "it has all that it may have");
        assert!(!idle.leave.is_cancelled(), "nobody else pays for it");
        let others: Vec<_> = (0..2).map(|_| seats.take(other).unwrap()).collect();
        assert!(idle.leave.is_cancelled(), "of its own address the longest idle makes room");
        drop(held);
        assert!(seats.take(one).is_some());
        drop((idle, others));
        // Whoever has a network of IPv6 has all of its addresses.
        let _held: Vec<_> = ["2001:db8::1", "2001:db8::2"]
            .map(|address| seats.take(from(address)).unwrap())
            .map(|seat| (seat.ask(), seat))
            .into_iter()
            .collect();
        assert!(seats.take(from("2001:db8::3")).is_none());
        assert!(seats.take(from("2001:db8:0:1::3")).is_some());
        assert!(seats.take(from("::ffff:10.0.0.7")).is_some());
    }
}
