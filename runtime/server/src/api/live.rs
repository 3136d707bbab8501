//! Live updates: what happens to jobs, to whoever listens.
//!
//! However many clients listen, each queue's events are read once (`tail`). Clients share one channel and pick what is
//! theirs out of it; one that is too slow is let go with a reason, and can go on where it was.

mod socket;
mod stream;
mod tail;
mod update;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobcell_core::{Admin, QueueName, StoreError};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use utoipa::IntoParams;

use super::Desk;
use super::access::Caller;
use super::page::cursor;
use crate::problem::Problem;
use axum::http::StatusCode;

pub(super) use socket::{__path_socket, socket};
pub(super) use stream::{__path_stream, stream};
use tail::Tail;
use update::Update;

/// Updates that a slow client may lie behind.
const BEHIND_MAX: usize = 4096;
/// Clients at the same time.
const CLIENTS_MAX: usize = 512;
/// Queues that one client may listen to.
const QUEUES_MAX: usize = 64;
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
pub(super) struct Hub {
    store: Arc<dyn Admin>,
    sender: broadcast::Sender<Arc<Update>>,
    /// The queues that somebody listens to.
    tails: Mutex<HashMap<QueueName, Arc<Tail>>>,
    places: Arc<Semaphore>,
}

/// One client's ear.
pub(super) struct Listening {
    hub: Arc<Hub>,
    receiver: broadcast::Receiver<Arc<Update>>,
    queues: Vec<QueueName>,
    tenant: Option<String>,
    /// Queues of which it missed something, with the event it was told last and the one the channel goes on after.
    behind: VecDeque<Behind>,
    /// What it missed, as far as it has been read.
    missed: VecDeque<Arc<Update>>,
    /// Ids of what was missed: they may come by the channel as well.
    made_up: HashSet<(QueueName, String)>,
    /// The last event of each queue that it was told of.
    place: BTreeMap<String, String>,
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
    /// An update, and where to go on after it.
    Update(Arc<Update>, Option<String>),
    /// It is too slow: so many updates were dropped.
    TooSlow(u64),
    /// The host stops.
    End,
}

// === impl Hub ===

impl Hub {
    pub(super) fn new(store: Arc<dyn Admin>) -> Arc<Self> {
        let sender = broadcast::Sender::new(BEHIND_MAX);
        Arc::new(Self {
            store,
            sender,
            tails: Mutex::default(),
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
        })
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<QueueName, Arc<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
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
        let place = from.map(read_place).transpose()?.unwrap_or_default();
        let hub = Arc::clone(&desk.hub);
        let Ok(held) = Arc::clone(&hub.places).try_acquire_owned() else {
            let what = format!("{CLIENTS_MAX} clients listen already; close some");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, what));
        };
        let mut listening = Self {
            receiver: hub.sender.subscribe(),
            hub,
            queues: Vec::new(),
            tenant,
            behind: VecDeque::new(),
            missed: VecDeque::new(),
            made_up: HashSet::new(),
            place: BTreeMap::new(),
            _place: held,
        };
        for queue in queues {
            let last = listening.hub.attend(&queue).await?;
            // From here on it is left again when this is dropped.
            listening.queues.push(queue.clone());
            match place.get(queue.as_str()) {
                Some(after) => {
                    listening.place.insert(queue.to_string(), after.clone());
                    listening.behind.push_back(Behind { queue, after: after.clone(), last });
                }
                None => drop(listening.place.insert(queue.to_string(), last)),
            }
        }
        Ok(listening)
    }

    /// Where a client goes on that leaves now.
    fn place(&self) -> Option<String> {
        cursor(&self.place)
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
        let updates = tail::updates(self.hub.store.as_ref(), queue, events, &mut HashMap::new()).await;
        let Some(mut behind) = self.behind.pop_front() else { return Ok(()) };
        if self.made_up.len() > REMEMBERED_MAX {
            self.made_up.clear();
        }
        if let Some(newest) = updates.last() {
            behind.after.clone_from(&newest.id);
            if !reached {
                self.behind.push_front(behind);
            }
        }
        for update in updates {
            self.made_up.insert((update.queue.clone(), update.id.clone()));
            self.missed.push_back(Arc::new(update));
        }
        Ok(())
    }

    /// The next update. Cancel safe.
    async fn next(&mut self) -> Heard {
        loop {
            let update = match self.missed.pop_front() {
                Some(update) => update,
                None if !self.behind.is_empty() => match self.make_up().await {
                    Ok(()) => continue,
                    Err(error) => {
                        // It comes back with the place it has reached.
                        tracing::debug!(%error, "missed events cannot be read");
                        return Heard::End;
                    }
                },
                None => match self.receiver.recv().await {
                    Ok(update) if self.made_up.remove(&(update.queue.clone(), update.id.clone())) => continue,
                    Ok(update) => update,
                    Err(RecvError::Lagged(count)) => return Heard::TooSlow(count),
                    Err(RecvError::Closed) => return Heard::End,
                },
            };
            if self.queues.binary_search(&update.queue).is_err() {
                continue;
            }
            self.place.insert(update.queue.to_string(), update.id.clone());
            if self.tenant.is_some() && self.tenant != update.tenant {
                continue;
            }
            let place = self.place();
            return Heard::Update(update, place);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for queue in &self.queues {
            self.hub.leave(queue);
        }
    }
}

fn read_place(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let place = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
    place.ok_or_else(|| {
        Problem::bad_request(
            "Last-Event-ID is not one that this stream gave; leave it out to hear what comes from now on",
        )
    })
}
