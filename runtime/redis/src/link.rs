//! The one connection that all calls share, and its coming back.
//!
//! Calls in flight at the same time travel in one pipeline by themselves. When the connection breaks, calls fail at
//! once with [`StoreError::Unavailable`] until a task of ours has a new one; it tries for ever, with growing pauses. A
//! ping now and then finds the connections that broke silently, so an idle host notices too.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use jobcell_core::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio_util::sync::CancellationToken;

use crate::connect::{ConnectError, ConnectOptions};
use crate::error;
use crate::keys::Keys;

/// How long an answer may take. Past it the connection counts as dead: a script of ours takes milliseconds, and a
/// server that forks or syncs its disk answers within seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between pings, which bounds how long a silent break goes unnoticed on an idle host.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The longest pause between tries to connect, so that workers claim again within 2 s of Redis being back.
const PAUSE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// A Redis server, reached over one shared connection that reconnects by itself. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    options: ConnectOptions,
    address: String,
    keys: Keys,
    /// Held only to look or to replace, never over an await.
    state: RwLock<State>,
    closed: CancellationToken,
}

enum State {
    Up { connection: MultiplexedConnection, generation: u64 },
    Down { cause: String },
}

/// Growing pauses with jitter, for everything that connects again.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

// === impl Redis ===

impl Redis {
    /// Connects. Later breaks are mended by a task of the current tokio runtime.
    ///
    /// # Errors
    /// When the first connection fails; each names the address and the fix.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let connection = options.open(Some(RESPONSE_TIMEOUT)).await?;
        let shared = Arc::new(Shared {
            address: options.address(),
            keys: Keys::new(options.key_prefix()),
            options,
            state: RwLock::new(State::Up { connection, generation: 0 }),
            closed: CancellationToken::new(),
        });
        tokio::spawn(watch(Arc::downgrade(&shared), shared.closed.clone()));
        Ok(Self(shared))
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(&*self.0.state(), State::Up { .. })
    }

    /// `host:port`, or the socket's path.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.0.options
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Stops connecting again and closes the connection once the calls in flight are answered.
    pub(crate) fn close(&self) {
        self.0.closed.cancel();
        *self.0.state.write().unwrap_or_else(PoisonError::into_inner) =
            State::Down { cause: "the store was closed".to_owned() };
    }

    pub(crate) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let (mut connection, generation) = self.0.connection()?;
        let result = connection.send_packed_command(cmd).await.and_then(|value| match value {
            Value::ServerError(e) => Err(e.into()),
            value => Ok(value),
        });
        self.0.check(&result, generation);
        result
    }

    pub(crate) async fn call_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let count = pipeline.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let (mut connection, generation) = self.0.connection().map_err(|e| self.error(&e))?;
        let result = connection.send_packed_commands(pipeline, 0, count).await.and_then(|values| {
            values
                .into_iter()
                .map(|value| match value {
                    Value::ServerError(e) => Err(e.into()),
                    value => Ok(value),
                })
                .collect::<RedisResult<Vec<Value>>>()
        });
        self.0.check(&result, generation);
        result.map_err(|e| self.error(&e))
    }

    /// The error in the store's words.
    pub(crate) fn error(&self, e: &RedisError) -> StoreError {
        error::of_store(&self.0.address, e)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("options", &self.0.options).field("up", &self.is_up()).finish()
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere cannot have broken it.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        match &*self.state() {
            State::Up { connection, generation } => Ok((connection.clone(), *generation)),
            State::Down { cause } => Err(std::io::Error::new(
                std::io::ErrorKind::NotConnected,
                format!("no connection ({cause}); reconnecting"),
            )
            .into()),
        }
    }

    /// Gives the connection up when the result says that it is of no use.
    fn check<T>(self: &Arc<Self>, result: &Result<T, RedisError>, generation: u64) {
        let Err(e) = result else { return };
        if !error::is_broken(e) {
            return;
        }
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let current = matches!(&*state, State::Up { generation: g, .. } if *g == generation);
            if !current || self.closed.is_cancelled() {
                return;
            }
            *state = State::Down { cause: error::describe(e) };
        }
        tracing::warn!(address = %self.address, cause = %error::describe(e), "redis connection lost; reconnecting");
        tokio::spawn(reconnect(Arc::downgrade(self), self.closed.clone(), generation + 1));
    }
}

/// Tries until there is a connection or nobody wants one any more.
async fn reconnect(shared: Weak<Shared>, closed: CancellationToken, generation: u64) {
    let mut backoff = Backoff::default();
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
        let Some(this) = shared.upgrade() else { return };
        let opened = tokio::select! {
            () = closed.cancelled() => return,
            opened = this.options.open(Some(RESPONSE_TIMEOUT)) => opened,
        };
        let mut state = this.state.write().unwrap_or_else(PoisonError::into_inner);
        if closed.is_cancelled() {
            return;
        }
        match opened {
            Ok(connection) => {
                *state = State::Up { connection, generation };
                drop(state);
                tracing::info!(address = %this.address, tries = backoff.tries, "redis connection is back");
                return;
            }
            Err(e) => *state = State::Down { cause: e.to_string() },
        }
    }
}

/// Pings, so that a break is noticed without traffic.
async fn watch(shared: Weak<Shared>, closed: CancellationToken) {
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            () = tokio::time::sleep(PING_EVERY) => {}
        }
        let Some(this) = shared.upgrade() else { return };
        let this = Redis(this);
        if this.is_up() {
            // A failure has been dealt with in the call.
            let _ = this.call(&redis::cmd("PING")).await;
        }
    }
}

// === impl Backoff ===

impl Backoff {
    /// How long to pause before the next try: about 50 ms, then twice as long each time up to 1 s, each anywhere in its
    /// upper half so that a fleet does not come back all at once.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.tries)).min(PAUSE_MAX);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Tries since the last success.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_never_nothing() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            let pause = backoff.next_pause();
            assert!(pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
        assert!(backoff.next_pause() >= PAUSE_MAX / 2);
        backoff.reset();
        assert!(backoff.next_pause() <= PAUSE_MIN);
    }
}
