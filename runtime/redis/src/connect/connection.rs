//! One connection that is ready for use, and its end.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::io::AsyncReadExt as _;
use tokio_util::task::AbortOnDropHandle;

use super::stream::{Activity, reach};
use super::{Address, ConnectError, ConnectOptions};
use crate::error;
use crate::reply;

/// Calls that may wait for the socket before callers are held back.
const CALLS_QUEUED_MAX: usize = 1024;
/// Bytes gathered before they are written: a batch of calls becomes one system call.
const WRITE_BYTES: usize = 64 * 1024;

/// How long is waited for what a server says by itself, and how much of it is read.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(300);
const LAST_WORDS_MAX: usize = 4096;

/// A connection that many calls share. It closes when the last clone is dropped, or by [`Connection::close`].
#[derive(Clone)]
pub(crate) struct Connection {
    calls: MultiplexedConnection,
    driver: Arc<AbortOnDropHandle<()>>,
    activity: Arc<Activity>,
    silence_max: Option<Duration>,
}

/// What a connection is for.
#[derive(Clone, Copy)]
pub(crate) struct Use<'a> {
    /// How long the other side may be silent while a call waits for its answer; none for connections that block on
    /// purpose. Replies come in their order, so that as long as any arrives the answer is on its way: a large one on a
    /// slow line takes its time.
    pub(crate) silence_max: Option<Duration>,
    /// What `CLIENT LIST` shows.
    pub(crate) name: &'a str,
    /// To a sentinel, which has users of its own.
    pub(crate) to_sentinel: bool,
}

impl ConnectOptions {
    /// Opens a connection and makes sure that it may be used, all within this time. Cancel safe.
    pub(crate) async fn open(
        &self,
        address: &Address,
        purpose: Use<'_>,
        within: Duration,
    ) -> Result<Connection, ConnectError> {
        let opened = tokio::time::timeout(within, Box::pin(self.open_now(address, purpose))).await;
        opened.unwrap_or_else(|_| Err(self.timed_out(address, within)))
    }

    async fn open_now(&self, address: &Address, purpose: Use<'_>) -> Result<Connection, ConnectError> {
        match self.enter(address, purpose).await {
            Err(closed @ ConnectError::Closed { .. }) => {
                Err(self.last_words(address, purpose.to_sentinel).await.unwrap_or(closed))
            }
            entered => entered,
        }
    }

    /// Why a server hangs up, where it says so: in protected mode, or with too many clients, it does before it is asked
    /// anything, and who writes to it may not come to read that.
    async fn last_words(&self, address: &Address, to_sentinel: bool) -> Option<ConnectError> {
        let mut stream = reach(self, address).await.ok()?;
        let mut words = Vec::new();
        let mut read = (&mut stream).take(LAST_WORDS_MAX as u64);
        // What has come by then is all there is to hear.
        let _ = tokio::time::timeout(LAST_WORDS_WAIT, read.read_to_end(&mut words)).await;
        match redis::parse_redis_value(&words) {
            Ok(Value::ServerError(e)) => Some(self.of_setup(address, to_sentinel, &e.into())),
            Ok(_) | Err(_) => None,
        }
    }

    async fn enter(&self, address: &Address, purpose: Use<'_>) -> Result<Connection, ConnectError> {
        let Use { silence_max, name, to_sentinel } = purpose;
        let stream = reach(self, address).await?;
        let activity = stream.activity();
        let explain = |e: RedisError| {
            self.tls_fault(address, &e).unwrap_or_else(|| self.of_setup(address, to_sentinel, &e))
        };
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
            .set_write_backpressure_boundary(WRITE_BYTES);
        // Replies have one shape whatever the URL says. Of a login that is refused, and of a server that says why and
        // hangs up, the client library's own greeting does not tell the server's words.
        let info =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let (calls, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(explain)?;
        let driver = Arc::new(AbortOnDropHandle::new(tokio::spawn(driver)));
        let connection = Connection { calls, driver, activity, silence_max };
        let ([auth, select], mut set_name) = (self.entry(to_sentinel), redis::cmd("CLIENT"));
        set_name.arg("SETNAME").arg(name);
        let (ping, hello) = (redis::cmd("PING"), redis::cmd("HELLO"));
        // All at once and in this order.
        let (authenticated, selected, pong, named, greeting) = futures::join!(
            connection.call_if(auth.as_ref()),
            connection.call_if(select.as_ref()),
            connection.call(&ping),
            connection.call(&set_name),
            connection.call(&hello)
        );
        authenticated.map_err(explain)?;
        selected.map_err(explain)?;
        // A missing password and a server that still loads its data only show with the first command.
        match pong.map_err(explain)? {
            Value::SimpleString(pong) if pong == "PONG" => {}
            // That is how a connection answers on which somebody has subscribed, or what it is told then.
            Value::Array(_) => {
                return Err(Self::subscriber(address, "PING was answered as subscribers are".to_owned()));
            }
            // Other protocols have lines that begin with a plus too.
            _ => return Err(self.not_redis(address)),
        }
        // Every user may ask; what is older than Redis 6 does not say.
        let is_sentinel = greeting.ok().and_then(is_sentinel);
        if is_sentinel == Some(!to_sentinel) {
            let address = address.to_string();
            return Err(if to_sentinel {
                ConnectError::NoSentinel { address }
            } else {
                ConnectError::Sentinel { address }
            });
        }
        if let Err(e) = named {
            // A user that may not set it works all the same.
            tracing::debug!(name, cause = %error::describe(&e), "a connection has no name");
        }
        Ok(connection)
    }

    /// What is said first on a connection, where it is needed: who we are, and which database is meant.
    fn entry(&self, to_sentinel: bool) -> [Option<Cmd>; 2] {
        let login = if to_sentinel { &self.sentinel_login } else { &self.login };
        let auth = login.password.as_ref().map(|password| {
            let mut auth = redis::cmd("AUTH");
            auth.arg(login.username.as_deref()).arg(password);
            auth
        });
        let select = (self.database != 0 && !to_sentinel).then(|| {
            let mut select = redis::cmd("SELECT");
            select.arg(self.database);
            select
        });
        [auth, select]
    }

    /// A server judges our certificate after we believe the greeting to be over.
    fn tls_fault(&self, address: &Address, e: &RedisError) -> Option<ConnectError> {
        let Address::Tcp { host, .. } = address else { return None };
        let io = io_error(e).filter(|_| self.tls)?;
        let (cause, fix) = self.files.explain(io, host, &self.said)?;
        Some(ConnectError::Tls { address: address.to_string(), cause, fix })
    }
}

/// What the greeting says of the way it is run.
fn is_sentinel(greeting: Value) -> Option<bool> {
    let parts = reply::array(greeting).ok()?;
    let said = |value: &Value| reply::text(value.clone()).ok().flatten();
    let mode = parts.chunks_exact(2).find(|pair| said(&pair[0]).as_deref() == Some("mode"))?;
    Some(said(&mode[1])? == "sentinel")
}

/// What the system said.
fn io_error(e: &RedisError) -> Option<&io::Error> {
    let source = e.source()?;
    let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
    shared.and_then(|shared| shared.downcast_ref()).or_else(|| source.downcast_ref())
}

// === impl Connection ===

impl Connection {
    /// Sends a command. An error that Redis answers is an error.
    pub(crate) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let mut calls = self.calls.clone();
        into_result(self.answer(calls.send_packed_command(cmd)).await?)
    }

    /// Sends a command where there is one.
    async fn call_if(&self, cmd: Option<&Cmd>) -> Result<(), RedisError> {
        match cmd {
            Some(cmd) => self.call(cmd).await.map(drop),
            None => Ok(()),
        }
    }

    /// Sends a command to a node that is about to own its key.
    pub(crate) async fn call_asking(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(cmd.clone());
        let mut replies = self.call_all(&both).await?;
        into_result(replies.pop().unwrap_or(Value::Nil))
    }

    /// Sends commands at once. Errors that Redis answers stand among the replies.
    pub(crate) async fn call_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let mut calls = self.calls.clone();
        self.answer(calls.send_packed_commands(pipeline, 0, pipeline.len())).await
    }

    /// Waits for an answer for as long as the other side is not silent for too long.
    async fn answer<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
        let Some(silence_max) = self.silence_max else { return call.await };
        let mut call = std::pin::pin!(call);
        let mut wait = silence_max;
        loop {
            if let Ok(answer) = tokio::time::timeout(wait, &mut call).await {
                return answer;
            }
            match silence_max.checked_sub(self.idle()) {
                Some(left) if !left.is_zero() => wait = left,
                _ => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        }
    }

    /// Time since the other side last showed that it is there.
    pub(crate) fn idle(&self) -> Duration {
        self.activity.idle()
    }

    /// Closes it; calls in flight fail now.
    pub(crate) fn close(&self) {
        self.driver.abort();
    }
}

pub(crate) fn into_result(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(e) => Err(e.into()),
        value => Ok(value),
    }
}
