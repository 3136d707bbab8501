//! Connections that block: each serves one caller, at the server that has its key.

use std::time::Duration;

use jobcell_core::StoreError;
use redis::{Cmd, Value};

use super::backoff::{Backoff, open_beside_each_other};
use super::node::Seat;
use super::{Kind, Redis};
use crate::connect::{CONNECT_TIMEOUT, ConnectError, Connection, Use};
use crate::error;

/// How much longer than asked an answer may take before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(1);

/// A connection of its own for blocking commands on one key. It follows the key: to another master, to another node.
pub(crate) struct Dedicated {
    redis: Redis,
    key: String,
    name: String,
    /// Taken for as long as a call is under way, so that a dropped call takes its connection along: it could otherwise
    /// swallow an answer that nobody hears of.
    open: Option<Seated>,
    backoff: Backoff,
}

/// A connection and where it leads.
pub(crate) struct Seated {
    connection: Connection,
    seat: Seat,
}

/// How a blocking call ended other than with an answer.
pub(crate) enum Broken {
    /// The key is with another server by now.
    Elsewhere,
    /// Anything else.
    Failed(StoreError),
}

// === impl Dedicated ===

impl Dedicated {
    /// Connects. The name is shown by `CLIENT LIST`, and given to every connection that follows.
    pub(crate) async fn connect(redis: &Redis, key: String, name: String) -> Result<Self, StoreError> {
        let open = Some(redis.seated(&key, &name, CONNECT_TIMEOUT).await?);
        Ok(Self { redis: redis.clone(), key, name, open, backoff: Backoff::default() })
    }

    /// Runs a command that blocks for at most `wait`. After a failure the next call connects anew, with growing pauses,
    /// so that a caller that just repeats does not spin. Dropped, it closes its connection.
    ///
    /// # Errors
    /// [`Broken::Elsewhere`] soon after another server has taken over: what the command waits for may be there already.
    pub(crate) async fn call(&mut self, cmd: &Cmd, wait: Duration) -> Result<Value, Broken> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let pause = self.backoff.next_pause();
                // At once the first time: what broke may be no more than this connection.
                if self.backoff.tries() > 1 {
                    tokio::time::sleep(pause).await;
                }
                open_beside_each_other(|| self.redis.seated(&self.key, &self.name, CONNECT_TIMEOUT))
                    .await
                    .map_err(Broken::Failed)?
            }
        };
        let value = self.redis.block(&open, &self.key, cmd, wait).await?;
        self.backoff.reset();
        self.open = Some(open);
        Ok(value)
    }
}

impl Redis {
    /// A connection that blocks, to the server that has this key now.
    pub(crate) async fn seated(&self, key: &str, name: &str, within: Duration) -> Result<Seated, StoreError> {
        let seat = self.seat(key).ok_or_else(|| self.error(&error::unsent("reconnecting")))?;
        let purpose = Use { silence_max: None, name, to_sentinel: false };
        let opened: Result<_, ConnectError> = self.options().open(&seat.address, purpose, within).await;
        Ok(Seated { connection: opened?, seat })
    }

    /// Whether the connection still leads to where the key is.
    pub(crate) fn is_seated(&self, open: &Seated, key: &str) -> bool {
        self.seat(key).is_none_or(|seat| seat == open.seat)
    }

    /// Whether the connection leads to a server that is in use.
    pub(crate) fn is_current(&self, open: &Seated) -> bool {
        self.nodes().iter().any(|node| node.seat().is_some_and(|seat| seat == open.seat))
    }

    /// Runs a command that blocks for at most `wait`.
    pub(crate) async fn block(
        &self,
        open: &Seated,
        key: &str,
        cmd: &Cmd,
        wait: Duration,
    ) -> Result<Value, Broken> {
        let mut changes = self.changes();
        let moved = async {
            // Nobody tells any more when the store is dropped, and then nobody waits either.
            while self.is_seated(open, key) && changes.changed().await.is_ok() {}
        };
        let answer = tokio::time::timeout(wait + GRACE, open.connection.call(cmd));
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = moved => return Err(Broken::Elsewhere),
        };
        let address = &open.seat.address;
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => {
                let sent_on = match &self.0.kind {
                    Kind::One(_) => false,
                    Kind::Cluster(cluster) => cluster.learn(&e, address),
                };
                if sent_on { Err(Broken::Elsewhere) } else { Err(Broken::Failed(self.error(&e))) }
            }
            Err(_) => Err(Broken::Failed(StoreError::Unavailable(format!(
                "redis at {address} stopped answering; connecting anew"
            )))),
        }
    }
}
