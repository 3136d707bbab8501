//! A Redis Cluster: which node has which slot, and sending commands there.
//!
//! Each master has one supervised connection. A node that does not own a slot says so without doing anything, so that
//! following its word repeats nothing; a reply that was lost is never asked for again, because a script may have run.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::map::{Nodes, SETTLE_MAX};
use super::node::{Changes, Link, Seat};
use super::slots;
use crate::connect::{Address, ConnectError, ConnectOptions};
use crate::error;

/// How often one command follows from node to node.
const HOPS_MAX: u32 = 5;
/// Pauses while a slot is on its way to another node: four of them, together about a third of a second. Longer ones are
/// left to the caller.
const MOVING_PAUSE: Duration = Duration::from_millis(25);
const MOVING_TRIES: u32 = 4;
/// A cluster. Cheap to clone; the last clone takes its tasks along.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Handle>);

struct Handle {
    inner: Arc<Nodes>,
    closed: CancellationToken,
    _closes: DropGuard,
}

/// Where a command goes next.
enum Redirect {
    /// The slot has another owner.
    Moved(u16, Address),
    /// This key is already with the owner to be.
    Ask(Address),
    /// The keys are on both sides of a move.
    TryAgain,
}

// === impl Cluster ===

impl Cluster {
    pub(super) async fn connect(
        options: ConnectOptions,
        seeds: Vec<Address>,
        changes: Changes,
    ) -> Result<Self, ConnectError> {
        let inner = Arc::new(Nodes::new(options, seeds, changes));
        inner.first_map().await?;
        let closed = CancellationToken::new();
        let (watched, end) = (Arc::clone(&inner), closed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = watched.watch() => {}
            }
        });
        Ok(Self(Arc::new(Handle { inner, _closes: closed.clone().drop_guard(), closed })))
    }

    /// Whether every slot has an owner that is there.
    pub(super) fn is_up(&self) -> bool {
        self.0.inner.map().is_whole()
    }

    /// The connection to the owner of this key.
    pub(super) fn seat(&self, key: &[u8]) -> Option<Seat> {
        self.0.inner.map().owner(slots::slot_of(key))?.seat()
    }

    /// The owner of this key.
    pub(super) fn owner(&self, key: &[u8]) -> Option<(Address, Link)> {
        self.0.inner.map().owning(slots::slot_of(key)).cloned()
    }

    /// All masters.
    pub(super) fn nodes(&self) -> Vec<(Address, Link)> {
        self.0.inner.map().nodes.clone()
    }

    pub(super) fn close(&self, cause: &str) {
        self.0.closed.cancel();
        for (_, link) in &self.0.inner.map().nodes {
            link.close(cause);
        }
    }

    /// Takes note of where a node sent us. True when it did.
    pub(super) fn learn(&self, e: &RedisError, asked: &Address) -> bool {
        match redirect(e, asked) {
            Some(Redirect::Moved(slot, owner)) => {
                self.0.inner.moved(slot, owner);
                true
            }
            Some(Redirect::Ask(_) | Redirect::TryAgain) => true,
            None => false,
        }
    }

    /// Sends a command to the node that owns its key.
    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        let slot = slots::key_of(cmd).map(slots::slot_of);
        self.call_at(slot, cmd).await
    }

    /// Sends a command to the owner of this slot, or to any node.
    pub(super) async fn call_at(&self, slot: Option<u16>, cmd: &Cmd) -> Result<Value, RedisError> {
        let inner = &self.0.inner;
        let (mut link, mut asking, mut waits) = (inner.link(slot).await?, false, 0);
        for _ in 0..HOPS_MAX + MOVING_TRIES {
            let address = link.seat().map(|seat| seat.address);
            let result = if asking { link.call_asking(cmd).await } else { link.call(cmd).await };
            let Err(e) = result else { return result };
            let Some(address) = address else {
                inner.stale.notify_one();
                return Err(e);
            };
            match redirect(&e, &address) {
                Some(Redirect::Moved(slot, owner)) => {
                    asking = false;
                    link = inner.moved(slot, owner);
                    link.settled(SETTLE_MAX).await;
                }
                Some(Redirect::Ask(owner)) => {
                    asking = true;
                    link = inner.link_to(owner);
                    link.settled(SETTLE_MAX).await;
                }
                Some(Redirect::TryAgain) if waits < MOVING_TRIES => {
                    sleep(MOVING_PAUSE * 2u32.pow(waits)).await;
                    waits += 1;
                    asking = false;
                    link = inner.link(slot).await?;
                }
                Some(Redirect::TryAgain) | None => {
                    if error::is_passing(&e) {
                        inner.stale.notify_one();
                    }
                    return Err(e);
                }
            }
        }
        Err(error::unsent("the nodes of the cluster send from one to the other"))
    }

    /// Sends a part of a pipeline whose keys share this slot. Errors that Redis answers stand among the replies.
    pub(super) async fn call_all_at(
        &self,
        slot: Option<u16>,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, RedisError> {
        let inner = &self.0.inner;
        let mut waits = 0;
        loop {
            let link = inner.link(slot).await?;
            let seat = link.seat();
            let mut replies = link.call_all(pipeline).await.inspect_err(|_| inner.stale.notify_one())?;
            let Some(Seat { address, .. }) = seat else { return Ok(replies) };
            let mut sent_away = Vec::new();
            for (place, reply) in replies.iter().enumerate() {
                let Value::ServerError(e) = reply else { continue };
                if self.learn(&e.clone().into(), &address) {
                    sent_away.push(place);
                }
            }
            if sent_away.is_empty() || waits == MOVING_TRIES {
                return Ok(replies);
            }
            if !replies.iter().all(is_undone) {
                // What was done is not repeated.
                for (cmd, place) in pipeline
                    .cmd_iter()
                    .enumerate()
                    .filter_map(|(n, cmd)| sent_away.contains(&n).then_some((cmd, n)))
                {
                    replies[place] = self.call_at(slot, cmd).await?;
                }
                return Ok(replies);
            }
            sleep(MOVING_PAUSE * 2u32.pow(waits)).await;
            waits += 1;
        }
    }
}

/// Whether a reply stands for a command without any effect: it was refused, or is part of a transaction that was.
fn is_undone(reply: &Value) -> bool {
    match reply {
        Value::ServerError(_) | Value::Okay => true,
        Value::SimpleString(text) => text == "QUEUED",
        _ => false,
    }
}

fn redirect(e: &RedisError, asked: &Address) -> Option<Redirect> {
    if e.code() == Some("TRYAGAIN") {
        return Some(Redirect::TryAgain);
    }
    let (address, slot) = e.redirect_node()?;
    let owner = Address::from_server(address)?.or_host_of(asked);
    Some(if e.code() == Some("ASK") { Redirect::Ask(owner) } else { Redirect::Moved(slot, owner) })
}
