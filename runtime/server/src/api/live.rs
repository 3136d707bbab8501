//! Live updates: what happens to jobs, to whoever listens.
//!
//! However many clients listen, each queue's events are read once (`tail`). Clients share one channel and pick what is
//! theirs out of it; one that is too slow is let go with a reason, and can go on where it was.

mod place;
mod socket;
mod stream;
mod tail;
mod update;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use jobcell_core::{Admin, QueueName, StoreError};
use serde::Deserialize;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use utoipa::IntoParams;

use super::Desk;
use super::access::Caller;
use crate::problem::Problem;
use crate::redact::Redaction;
use place::Place;

pub(super) use socket::{__path_socket, socket};
pub(crate) use stream::{__path_stream, stream};
use tail::Tail;
use update::Update;

/// Updates that a slow client may lie behind.
const BEHIND_MAX: usize = 4096;
/// Clients at the same time.
const CLIENTS_MAX: usize = 512;
/// Queues that one client may listen to.
pub(crate) const QUEUES_MAX: usize = 64;
/// How soon after one write to a client the next one follows: at thousands of updates a second each client is written to
/// twenty times a second, and not for each of them.
const PACE: Duration = Duration::from_millis(50);
/// Bytes that are written at once, more or less.
const WRITE_BYTES: usize = 64 << 10;
/// Ids that are remembered of what was made up for: those that the channel may have as well came last.
const REMEMBERED_MAX: usize = 5_000;

/// What a client wants to hear.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Queues, separated by commas. None: every queue there is when the client connects.
    queue: Option<String>,
    /// Only jobs of this tenant.
    tenant: Option<String>,
}

/// Where updates come together.
pub(crate) struct Hub {
    store: Arc<dyn Admin>,
    redaction: Arc<Redaction>,
    sender: broadcast::Sender<Arc<Update>>,
    /// How many updates were told. Locked while one is, so that the channel has them in this order.
    told: Mutex<u64>,
    /// The queues that somebody listens to.
    tails: Mutex<HashMap<QueueName, Arc<Tail>>>,
    places: Arc<Semaphore>,
}

/// One client's ear.
pub(super) struct Listening {
    hub: Arc<Hub>,
    receiver: broadcast::Receiver<Arc<Update>>,
    queues: Arc<[QueueName]>,
    /// So many of the queues are attended to by now.
    attended: usize,
    tenant: Option<String>,
    /// Queues of which it missed something, with the event it was told last and the one the channel goes on after.
    behind: VecDeque<Behind>,
    /// What it missed, as far as it has been read.
    missed: VecDeque<Arc<Update>>,
    /// Ids of what was missed, by queue: they may come by the channel as well.
    made_up: HashMap<QueueName, HashSet<Arc<str>>>,
    /// The last event of each queue that it was told of.
    place: Place,
    /// Updates up to this one were told while it came: its place may differ from that of others until then.
    came_at: u64,
    _place: OwnedSemaphorePermit,
}

/// What is still to be read of a queue.
struct Behind {
    queue: QueueName,
    after: String,
    last: String,
}

/// What a client hears next.
pub(super) enum Heard {
    /// An update.
    Update(Arc<Update>),
    /// It is too slow: so many updates were dropped.
    TooSlow(u64),
    /// The host stops.
    End,
}

// === impl Hub ===

impl Hub {
    pub(super) fn new(store: Arc<dyn Admin>, redaction: Arc<Redaction>) -> Arc<Self> {
        let sender = broadcast::Sender::new(BEHIND_MAX);
        Arc::new(Self {
            store,
            redaction,
            sender,
            told: Mutex::new(0),
            tails: Mutex::default(),
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
        })
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<QueueName, Arc<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody.
    fn tell(&self, mut update: Update) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told += 1;
        update.number = *told;
        // Nobody may be listening any more.
        let _ = self.sender.send(Arc::new(update));
    }

    fn told(&self) -> u64 {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the queue's events from now on, if nobody does yet. Returns the event before the next.
    async fn attend(self: &Arc<Self>, queue: &QueueName) -> Result<String, StoreError> {
        if let Some(tail) = self.tails().get(queue) {
            return Ok(tail.join());
        }
        let last = self.store.last_event(queue).await?;
        let mut tails = self.tails();
        if let Some(tail) = tails.get(queue) {
            return Ok(tail.join());
        }
        let tail = Tail::start(self, queue.clone(), last);
        let last = tail.join();
        tails.insert(queue.clone(), tail);
        Ok(last)
    }

    fn leave(&self, queue: &QueueName) {
        if let Some(tail) = self.tails().get(queue) {
            tail.leave();
        }
    }

    /// Ends a tail that nobody listens to.
    fn retire(&self, queue: &QueueName, tail: &Arc<Tail>) -> bool {
        let mut tails = self.tails();
        if tail.is_heard() {
            return false;
        }
        if tails.get(queue).is_some_and(|kept| Arc::ptr_eq(kept, tail)) {
            tails.remove(queue);
        }
        true
    }
}

// === impl Listening ===

impl Listening {
    /// Listens from now on, or from the place that a client was at.
    async fn start(
        desk: &Desk,
        caller: &Caller,
        wanted: Wanted,
        from: Option<&str>,
    ) -> Result<Self, Problem> {
        let tenant = match (caller.tenant(), wanted.tenant) {
            (Some(own), Some(other)) if own != other => {
                let what =
                    format!("{} is bound to the tenant {own:?} and cannot listen to {other:?}", caller.name);
                return Err(Problem::new(StatusCode::FORBIDDEN, what));
            }
            (Some(own), _) => Some(own.to_owned()),
            (None, wanted) => wanted,
        };
        let mut queues = match wanted.queue.as_deref() {
            None | Some("") => desk.known.all().await?.into_iter().collect::<Vec<_>>(),
            Some(names) => {
                let names = names.split(',').map(QueueName::new).collect::<Result<Vec<_>, _>>()?;
                for queue in &names {
                    desk.known.check(caller, queue).await?;
                }
                names
            }
        };
        queues.sort();
        queues.dedup();
        if queues.len() > QUEUES_MAX {
            return Err(Problem::bad_request(format!(
                "{} queues are too many to listen to at once; name up to {QUEUES_MAX}: ?queue=a,b",
                queues.len()
            )));
        }
        let from = from.map(place::read).transpose()?.unwrap_or_default();
        let hub = Arc::clone(&desk.hub);
        let Ok(held) = Arc::clone(&hub.places).try_acquire_owned() else {
            let what = format!("{CLIENTS_MAX} clients listen already; close some");
            return Err(Problem::busy(what));
        };
        let queues: Arc<[QueueName]> = queues.into();
        let mut listening = Self {
            receiver: hub.sender.subscribe(),
            hub,
            place: Place::new(Arc::clone(&queues)),
            queues,
            attended: 0,
            tenant,
            behind: VecDeque::new(),
            missed: VecDeque::new(),
            made_up: HashMap::new(),
            came_at: 0,
            _place: held,
        };
        for queue in &*Arc::clone(&listening.queues) {
            let last = listening.hub.attend(queue).await?;
            // From here on it is left again when this is dropped.
            listening.attended += 1;
            match from.get(queue.as_str()) {
                Some(after) => {
                    listening.place.reach(queue, after.as_str().into());
                    listening.behind.push_back(Behind { queue: queue.clone(), after: after.clone(), last });
                }
                None => drop(listening.place.reach(queue, last.into())),
            }
        }
        listening.came_at = listening.hub.told();
        Ok(listening)
    }

    /// Where a client goes on that leaves now.
    fn place(&self) -> Option<String> {
        self.place.text()
    }

    /// The update as a server-sent event, with the place after it. Clients of the same queues that have heard the same
    /// share one.
    fn frame(&self, update: &Update) -> Bytes {
        let is_settled = update.number > self.came_at
            && self.behind.is_empty()
            && self.missed.is_empty()
            && self.made_up.is_empty();
        if is_settled { update.shared_frame(&self.place) } else { update.frame(&self.place) }
    }

    /// Reads a little of what was missed. Cancel safe: what was not noted is read again.
    async fn make_up(&mut self) -> Result<(), StoreError> {
        let Some(Behind { queue, after, last }) = self.behind.front() else { return Ok(()) };
        let events = if after == last {
            Vec::new()
        } else {
            self.hub.store.events(queue, after, Duration::ZERO).await?
        };
        let reached = events.iter().any(|event| event.id == *last);
        let updates = tail::updates(&self.hub, queue, events, &mut HashMap::new()).await;
        let Some(mut behind) = self.behind.pop_front() else { return Ok(()) };
        let made_up = self.made_up.entry(behind.queue.clone()).or_default();
        if made_up.len() > REMEMBERED_MAX {
            made_up.clear();
        }
        made_up.extend(updates.iter().map(|update| Arc::clone(&update.id)));
        if made_up.is_empty() {
            self.made_up.remove(&behind.queue);
        }
        if let Some(newest) = updates.last() {
            behind.after = newest.id.to_string();
            if !reached {
                self.behind.push_front(behind);
            }
        }
        self.missed.extend(updates.into_iter().map(Arc::new));
        Ok(())
    }

    /// The next update. Cancel safe.
    async fn next(&mut self) -> Heard {
        loop {
            let update = match self.missed.pop_front() {
                Some(update) => Some(update),
                None if !self.behind.is_empty() => match self.make_up().await {
                    Ok(()) => continue,
                    Err(error) => {
                        // It comes back with the place it has reached.
                        tracing::debug!(%error, "missed events cannot be read");
                        return Heard::End;
                    }
                },
                None => match self.receiver.recv().await {
                    Ok(update) => self.not_made_up(update),
                    Err(RecvError::Lagged(count)) => return Heard::TooSlow(count),
                    Err(RecvError::Closed) => return Heard::End,
                },
            };
            if let Some(update) = update.filter(|update| self.concerns(update)) {
                return Heard::Update(update);
            }
        }
    }

    /// The next update if it is there already.
    fn ready(&mut self) -> Option<Heard> {
        loop {
            let update = match self.missed.pop_front() {
                Some(update) => Some(update),
                None if !self.behind.is_empty() => return None,
                None => match self.receiver.try_recv() {
                    Ok(update) => self.not_made_up(update),
                    Err(TryRecvError::Empty) => return None,
                    Err(TryRecvError::Lagged(count)) => return Some(Heard::TooSlow(count)),
                    Err(TryRecvError::Closed) => return Some(Heard::End),
                },
            };
            if let Some(update) = update.filter(|update| self.concerns(update)) {
                return Some(Heard::Update(update));
            }
        }
    }

    /// An update of the channel, unless it was among what was missed.
    fn not_made_up(&mut self, update: Arc<Update>) -> Option<Arc<Update>> {
        let made_up = self.made_up.get_mut(&update.queue);
        if made_up.is_some_and(|ids| ids.remove(&update.id)) {
            return None;
        }
        // What was missed comes before what is new: nothing of it is still to come for this queue.
        self.made_up.remove(&update.queue);
        Some(update)
    }

    /// Whether the client wants it; its place moves on either way.
    fn concerns(&mut self, update: &Update) -> bool {
        self.place.reach(&update.queue, Arc::clone(&update.id))
            && (self.tenant.is_none() || self.tenant == update.tenant)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for queue in &self.queues[..self.attended] {
            self.hub.leave(queue);
        }
    }
}
