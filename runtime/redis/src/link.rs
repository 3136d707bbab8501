//! Redis as everything else here sees it: somewhere to send commands, however it is run.
//!
//! Connections of a process: one that all calls share to each server it uses (one server or master; each master of a
//! cluster), one to each sentinel, one to each queue whose worker waits, up to eight for readers of events, and as many
//! for those that wait for documents to change or carry blobs. More than one for calls would gain nothing: Redis runs
//! them one by one, and they share system calls by travelling together.

mod backoff;
mod cluster;
mod dedicated;
mod keep;
mod map;
mod node;
mod readers;
mod sentinel;
pub(crate) mod slots;

use std::sync::Arc;

use futures::future::join_all;
use jobcell_core::StoreError;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::watch;

pub(crate) use dedicated::{Broken, Dedicated, Seated};
pub(crate) use node::{Link, Seat};
pub(crate) use readers::Readers;

use crate::connect::{ConnectError, ConnectOptions, Place, into_result};
use crate::error;
use crate::keys::Keys;
use crate::permissions::{Needs, Permissions};
use cluster::Cluster;
use node::{CLOSED, Changes, Target};
use sentinel::Sentinels;

/// Redis, reached over shared connections that come back by themselves. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    options: ConnectOptions,
    address: String,
    keys: Keys,
    changes: Changes,
    kind: Kind,
}

enum Kind {
    /// One server, or whichever is the master.
    One(Link),
    Cluster(Cluster),
}

/// A server that jobs are on.
pub(crate) struct Node {
    /// Its address; empty where there is only one server.
    pub(crate) name: String,
    link: Link,
}

// === impl Redis ===

impl Redis {
    /// Connects. Later breaks are mended by tasks of the current tokio runtime.
    ///
    /// # Errors
    /// When the first connection fails; each names the address and the fix.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let changes = Changes::new();
        let kind = match options.place().clone() {
            Place::Server(address) => {
                Kind::One(Link::connect(options.clone(), Target::Server(address), changes.clone()).await?)
            }
            Place::Sentinels { sentinels, master } => {
                let target = Target::Master(Sentinels::new(sentinels, master));
                Kind::One(Link::connect(options.clone(), target, changes.clone()).await?)
            }
            Place::Cluster { nodes } => {
                Kind::Cluster(Cluster::connect(options.clone(), nodes, changes.clone()).await?)
            }
        };
        Ok(Self(Arc::new(Shared {
            address: options.place().to_string(),
            keys: Keys::new(options.key_prefix()),
            options,
            changes,
            kind,
        })))
    }

    /// Whether calls have somewhere to go now: there is a connection; in a cluster, one to the owner of every slot.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match &self.0.kind {
            Kind::One(link) => link.is_up(),
            Kind::Cluster(cluster) => cluster.is_up(),
        }
    }

    /// As configured: `host:port`, the socket's path, the sentinels and their master's name, or the cluster's nodes.
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

    /// Stops connecting again and closes the connections. Calls in flight fail.
    pub(crate) fn close(&self) {
        match &self.0.kind {
            Kind::One(link) => link.close(CLOSED),
            Kind::Cluster(cluster) => cluster.close(CLOSED),
        }
    }

    /// Sends a command, in a cluster to the node that owns its key. It is sent again only when the node says that it
    /// did nothing because another one owns the key; never when its answer was lost.
    pub(crate) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        match &self.0.kind {
            Kind::One(link) => link.call(cmd).await,
            Kind::Cluster(cluster) => cluster.call(cmd).await,
        }
    }

    /// Sends a command that has no key to the server that has this one.
    pub(crate) async fn call_near(&self, key: &str, cmd: &Cmd) -> Result<Value, RedisError> {
        match &self.0.kind {
            Kind::One(link) => link.call(cmd).await,
            Kind::Cluster(cluster) => cluster.call_at(Some(slots::slot_of(key.as_bytes())), cmd).await,
        }
    }

    /// Sends commands at once, in a cluster to each node its own. What stands between `MULTI` and `EXEC` stays
    /// together. The first error that Redis answers is the error of all.
    pub(crate) async fn call_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let replies = match &self.0.kind {
            Kind::One(link) => link.call_all(pipeline).await,
            Kind::Cluster(cluster) => by_slot(cluster, pipeline).await,
        };
        let replies = replies.and_then(|values| values.into_iter().map(into_result).collect());
        replies.map_err(|e| self.error(&e))
    }

    /// Every server that jobs are on.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        match &self.0.kind {
            Kind::One(link) => vec![Node { name: String::new(), link: link.clone() }],
            Kind::Cluster(cluster) => cluster
                .nodes()
                .into_iter()
                .map(|(address, link)| Node { name: address.to_string(), link })
                .collect(),
        }
    }

    /// The server that has this key.
    pub(crate) fn node_of(&self, key: &str) -> Option<Node> {
        match &self.0.kind {
            Kind::One(_) => self.nodes().pop(),
            Kind::Cluster(cluster) => {
                cluster.owner(key.as_bytes()).map(|(address, link)| Node { name: address.to_string(), link })
            }
        }
    }

    /// The shared connection to the server that has this key.
    pub(crate) fn seat(&self, key: &str) -> Option<Seat> {
        match &self.0.kind {
            Kind::One(link) => link.seat(),
            Kind::Cluster(cluster) => cluster.seat(key.as_bytes()),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.hear()
    }

    /// The error for something that the user may not do: Redis does not say what is missing, so this asks.
    pub(crate) async fn denied(
        &self,
        e: &RedisError,
        permissions: &Permissions,
        needs: &Needs,
        key: &str,
    ) -> StoreError {
        let found = match self.node_of(key) {
            Some(node) => permissions.fault(&node, needs, self.options().user()).await,
            None => None,
        };
        match found {
            Some(fault) => StoreError::Denied(format!("redis at {}: {fault}", self.0.address)),
            None => self.error(e),
        }
    }

    /// The error in the store's words.
    pub(crate) fn error(&self, e: &RedisError) -> StoreError {
        error::of_store(&self.0.address, self.0.options.said_in(), self.0.options.is_cluster(), e)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("options", &self.0.options).field("up", &self.is_up()).finish()
    }
}

// === impl Node ===

impl Node {
    pub(crate) async fn call(&self, cmd: &Cmd) -> Result<Value, RedisError> {
        self.link.call(cmd).await
    }

    fn seat(&self) -> Option<Seat> {
        self.link.seat()
    }
}

/// The commands of one slot, and where their replies belong.
#[derive(Default)]
struct Part {
    slot: Option<u16>,
    pipeline: Pipeline,
    places: Vec<usize>,
}

/// Splits a pipeline by slot, and puts the replies together again.
async fn by_slot(cluster: &Cluster, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
    let parts = split(pipeline);
    let answered = join_all(parts.iter().map(|part| cluster.call_all_at(part.slot, &part.pipeline))).await;
    let mut replies = vec![Value::Nil; pipeline.len()];
    for (part, answers) in parts.iter().zip(answered) {
        for (place, answer) in part.places.iter().zip(answers?) {
            replies[*place] = answer;
        }
    }
    Ok(replies)
}

fn split(pipeline: &Pipeline) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    // A transaction waits for its first key.
    let mut waiting: Option<Part> = None;
    for (place, cmd) in pipeline.cmd_iter().enumerate() {
        let slot = slots::key_of(cmd).map(slots::slot_of);
        let is = |name: &[u8]| matches!(cmd.args_iter().next(), Some(redis::Arg::Simple(arg)) if arg == name);
        if is(b"MULTI") {
            waiting = Some(Part::default());
        }
        if let Some(part) = &mut waiting {
            part.slot = part.slot.or(slot);
            part.add(place, cmd);
            if is(b"EXEC") {
                parts.extend(waiting.take());
            }
            continue;
        }
        match parts.iter_mut().find(|part| part.slot == slot && slot.is_some()) {
            Some(part) => part.add(place, cmd),
            None => {
                let mut part = Part { slot, ..Part::default() };
                part.add(place, cmd);
                parts.push(part);
            }
        }
    }
    parts.extend(waiting);
    parts
}

// === impl Part ===

impl Part {
    fn add(&mut self, place: usize, cmd: &Cmd) {
        self.pipeline.add_command(cmd.clone());
        self.places.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_split_by_slot_and_transactions_stay_whole() {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg("{a}1").cmd("GET").arg("{b}1").cmd("GET").arg("{a}2");
        pipe.cmd("MULTI").cmd("GET").arg("{a}3").cmd("GET").arg("{a}4").cmd("EXEC");
        let parts = split(&pipe);
        let places: Vec<_> = parts.iter().map(|part| part.places.clone()).collect();
        assert_eq!(places, [vec![0, 2], vec![1], vec![3, 4, 5, 6]]);
        assert_eq!(parts[2].slot, parts[0].slot);
        assert_eq!(parts[2].pipeline.len(), 4);
    }
}
