//! A connection that comes back by itself: to one server, or to whichever server is the master.
//!
//! Calls in flight at the same time travel in one pipeline by themselves. When the connection breaks, calls fail at
//! once until the task in `keep.rs` has a new one.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sentinel::Sentinels;
use crate::connect::{Address, CONNECT_TIMEOUT, ConnectError, ConnectOptions, Connection, Use};
use crate::error;

/// How long nothing may come while an answer is waited for. Past it the connection counts as dead: a script of ours takes
/// milliseconds, and a server that forks or syncs its disk answers within seconds.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// What `CLIENT LIST` shows.
const NAME: &str = "jobcell";

/// A supervised connection. Cheap to clone; the last clone takes its task along.
#[derive(Clone)]
pub(crate) struct Link(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    _closes: DropGuard,
}

pub(super) struct Inner {
    pub(super) options: ConnectOptions,
    pub(super) target: Target,
    /// Held only to look or to replace, never over an await.
    state: RwLock<State>,
    pub(super) given_up: Notify,
    pub(super) changes: Changes,
    pub(super) closed: CancellationToken,
}

/// What the connection leads to.
pub(super) enum Target {
    Server(Address),
    Master(Sentinels),
}

pub(super) enum State {
    /// The first try is under way.
    Opening,
    Up {
        connection: Connection,
        seat: Seat,
        since: Instant,
    },
    Down {
        cause: String,
    },
}

/// A connection to a certain server, told apart from those before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) address: Address,
    pub(super) number: u64,
}

/// Tells whoever has a connection of its own that the shared one has changed, which may concern it too.
#[derive(Clone)]
pub(crate) struct Changes(Arc<watch::Sender<u64>>);

// === impl Changes ===

impl Changes {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Tells everybody; the number has not been used before.
    pub(super) fn tell(&self) -> u64 {
        let mut number = 0;
        self.0.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        number
    }

    /// Hears of changes from now on.
    pub(crate) fn hear(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

// === impl Link ===

impl Link {
    /// Connects.
    pub(super) async fn connect(
        options: ConnectOptions,
        target: Target,
        changes: Changes,
    ) -> Result<Self, ConnectError> {
        let (connection, address) = target.open(&options, CONNECT_TIMEOUT).await?;
        let seat = Seat { address, number: changes.tell() };
        Ok(Self::start(options, target, changes, State::Up { connection, seat, since: Instant::now() }))
    }

    /// Connects when it can. [`Link::settled`] waits for the first try.
    pub(super) fn open(options: ConnectOptions, address: Address, changes: Changes) -> Self {
        Self::start(options, Target::Server(address), changes, State::Opening)
    }

    fn start(options: ConnectOptions, target: Target, changes: Changes, state: State) -> Self {
        let closed = CancellationToken::new();
        let inner = Arc::new(Inner {
            options,
            target,
            state: RwLock::new(state),
            given_up: Notify::new(),
            changes,
            closed: closed.clone(),
        });
        let supervised = Arc::clone(&inner);
        let end = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = supervised.supervise() => {}
            }
        });
        Self(Arc::new(Handle { inner, _closes: closed.drop_guard() }))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.seat().is_some()
    }

    /// The connection that calls travel on now.
    pub(crate) fn seat(&self) -> Option<Seat> {
        match &*self.0.inner.state() {
            State::Up { seat, .. } => Some(seat.clone()),
            State::Opening | State::Down { .. } => None,
        }
    }

    /// Why there is no connection.
    pub(super) fn fault(&self) -> Option<String> {
        match &*self.0.inner.state() {
            State::Down { cause } => Some(cause.clone()),
            State::Opening | State::Up { .. } => None,
        }
    }

    /// Waits until the first try to connect has ended, at most this long.
    pub(super) async fn settled(&self, within: Duration) {
        let mut heard = self.0.inner.changes.hear();
        let opening = || matches!(&*self.0.inner.state(), State::Opening);
        let settled = async { while opening() && heard.changed().await.is_ok() {} };
        // A caller that has waited long enough finds no connection, and says so.
        let _ = timeout(within, settled).await;
    }

    /// Stops connecting again. Calls in flight fail now, and later ones with this cause.
    pub(super) fn close(&self, cause: &str) {
        let inner = &self.0.inner;
        inner.closed.cancel();
        let before = inner.replace(State::Down { cause: cause.to_owned() });
        if let State::Up { connection, .. } = before {
            connection.close();
        }
        inner.changes.tell();
    }

    pub(crate) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let (connection, seat) = self.0.inner.connection()?;
        let result = connection.call(cmd).await;
        self.0.inner.check(&result, &seat);
        result
    }

    /// Asks a node that is about to own the key.
    pub(super) async fn call_asking(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let (connection, seat) = self.0.inner.connection()?;
        let result = connection.call_asking(cmd).await;
        self.0.inner.check(&result, &seat);
        result
    }

    /// Errors that Redis answers stand among the replies.
    pub(super) async fn call_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let (connection, seat) = self.0.inner.connection()?;
        let result = connection.call_all(pipeline).await;
        self.0.inner.check(&result, &seat);
        if let Ok(values) = &result {
            let error = values.iter().find_map(|value| match value {
                Value::ServerError(e) => Some(RedisError::from(e.clone())),
                _ => None,
            });
            self.0.inner.check(&error.map_or(Ok(()), Err), &seat);
        }
        result
    }
}

// === impl Target ===

impl Target {
    pub(super) async fn open(
        &self,
        options: &ConnectOptions,
        within: Duration,
    ) -> Result<(Connection, Address), ConnectError> {
        let purpose = Use { silence_max: Some(SILENCE_MAX), name: NAME, to_sentinel: false };
        match self {
            Self::Server(address) => Ok((options.open(address, purpose, within).await?, address.clone())),
            Self::Master(sentinels) => sentinels.open(options, purpose, within).await,
        }
    }

    /// Whether somebody else than this has become the master.
    pub(super) async fn has_moved(&self, options: &ConnectOptions, from: &Address) -> bool {
        match self {
            Self::Server(_) => false,
            Self::Master(sentinels) => sentinels
                .ask(options)
                .await
                .is_ok_and(|named| named.first().is_some_and(|first| first != from)),
        }
    }
}

// === impl Inner ===

impl Inner {
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere cannot have broken it.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn replace(&self, state: State) -> State {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, state)
    }

    fn connection(&self) -> Result<(Connection, Seat), RedisError> {
        let cause = match &*self.state() {
            State::Up { connection, seat, .. } => return Ok((connection.clone(), seat.clone())),
            State::Opening => "connecting",
            State::Down { cause } => cause.as_str(),
        }
        .to_owned();
        Err(error::unsent(&cause))
    }

    /// Gives the connection up when the result says that it is of no use.
    pub(super) fn check<T>(&self, result: &Result<T, RedisError>, seat: &Seat) {
        let Err(e) = result else { return };
        if !error::is_broken(e) {
            return;
        }
        let connection = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Up { connection, seat: current, .. } if current == seat => {
                    let connection = connection.clone();
                    *state = State::Down { cause: error::describe(e) };
                    connection
                }
                _ => return,
            }
        };
        // Nobody will answer the others either.
        connection.close();
        tracing::warn!(address = %seat.address, cause = %error::describe(e), "redis connection lost; reconnecting");
        self.given_up.notify_one();
        self.changes.tell();
    }
}

/// Why calls fail after the end.
pub(super) const CLOSED: &str = "the store was closed";
