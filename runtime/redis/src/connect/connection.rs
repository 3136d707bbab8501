//! One connection that is ready for use, and its end.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio_util::task::AbortOnDropHandle;

use super::stream::{Activity, reach};
use super::{Address, ConnectError, ConnectOptions};
use crate::error;

/// Calls that may wait for the socket before callers are held back.
const CALLS_QUEUED_MAX: usize = 1024;
/// Bytes gathered before they are written: a batch of calls becomes one system call.
const WRITE_BYTES: usize = 64 * 1024;

/// A connection that many calls share. It closes when the last clone is dropped, or by [`Connection::close`].
#[derive(Clone)]
pub(crate) struct Connection {
    calls: MultiplexedConnection,
    driver: Arc<AbortOnDropHandle<()>>,
    activity: Arc<Activity>,
}

/// What a connection is for.
#[derive(Clone, Copy)]
pub(crate) struct Use<'a> {
    /// Bounds every call; none for connections that block on purpose.
    pub(crate) response_timeout: Option<Duration>,
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
        opened.unwrap_or_else(|_| Err(ConnectError::Timeout { address: address.to_string(), within }))
    }

    async fn open_now(&self, address: &Address, purpose: Use<'_>) -> Result<Connection, ConnectError> {
        let Use { response_timeout, name, to_sentinel } = purpose;
        let stream = reach(self, address).await?;
        let activity = stream.activity();
        let db = if to_sentinel { 0 } else { i64::from(self.database) };
        let explain = |e: RedisError| {
            self.tls_fault(address, &e)
                .unwrap_or_else(|| ConnectError::of_setup(address, db, to_sentinel, &e))
        };
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(response_timeout)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
            .set_write_backpressure_boundary(WRITE_BYTES);
        let info = self.login_info(to_sentinel).set_db(db);
        let (calls, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(explain)?;
        let driver = Arc::new(AbortOnDropHandle::new(tokio::spawn(driver)));
        let connection = Connection { calls, driver, activity };
        // A missing password and a server that still loads its data only show with the first command.
        let (ping, mut set_name) = (redis::cmd("PING"), redis::cmd("CLIENT"));
        set_name.arg("SETNAME").arg(name);
        let (pong, named) = tokio::join!(connection.call(&ping), connection.call(&set_name));
        match pong.map_err(explain)? {
            Value::SimpleString(pong) if pong == "PONG" => {}
            // Other protocols have lines that begin with a plus too.
            _ => return Err(ConnectError::NotRedis { address: address.to_string() }),
        }
        if let Err(e) = named {
            // A user that may not set it works all the same.
            tracing::debug!(name, cause = %error::describe(&e), "a connection has no name");
        }
        Ok(connection)
    }

    fn login_info(&self, to_sentinel: bool) -> RedisConnectionInfo {
        let login = if to_sentinel { &self.sentinel_login } else { &self.login };
        // Replies have one shape whatever the URL says.
        let mut info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2);
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password);
        }
        info
    }

    /// A server judges our certificate after we believe the greeting to be over.
    fn tls_fault(&self, address: &Address, e: &RedisError) -> Option<ConnectError> {
        let Address::Tcp { host, .. } = address else { return None };
        let io = io_error(e).filter(|_| self.tls)?;
        let (cause, fix) = self.files.explain(io, host)?;
        Some(ConnectError::Tls { address: address.to_string(), cause, fix })
    }
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
        into_result(self.calls.clone().send_packed_command(cmd).await?)
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
        self.calls.clone().send_packed_commands(pipeline, 0, pipeline.len()).await
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
