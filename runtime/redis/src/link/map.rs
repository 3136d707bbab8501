//! The map of a cluster: which node has which slot, and keeping it true.
//!
//! It is read anew when a node says that it is wrong, when a node is away, and now and then.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::node::{Changes, Link};
use super::slots::{self, SLOTS};
use crate::connect::{Address, CONNECT_TIMEOUT, ConnectError, ConnectOptions, Place, Use};
use crate::error;

/// How often the map is read when all is well. Nodes tell of every change by themselves; this finds what nobody said.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// The same while a node is away: a replica takes over within about a second.
const REFRESH_SOON: Duration = Duration::from_millis(300);
/// The shortest time between two readings, however many calls ask for one.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// How long a node may take to tell the map.
const MAP_MAX: Duration = Duration::from_secs(1);
/// How long a call waits for the connection to a node that has just become known.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(2);

/// The nodes that are known, and what belongs to whom.
pub(super) struct Nodes {
    options: ConnectOptions,
    seeds: Vec<Address>,
    /// Replaced whole.
    map: RwLock<Arc<Map>>,
    changes: Changes,
    /// Somebody found the map to be wrong.
    pub(super) stale: Notify,
}

/// Who owns what.
#[derive(Clone)]
pub(super) struct Map {
    /// For each slot the number of its node.
    owners: Vec<Option<u16>>,
    pub(super) nodes: Vec<(Address, Link)>,
}

// === impl Map ===

impl Map {
    pub(super) fn owner(&self, slot: u16) -> Option<&Link> {
        self.owning(slot).map(|(_, link)| link)
    }

    pub(super) fn owning(&self, slot: u16) -> Option<&(Address, Link)> {
        let node = self.owners.get(usize::from(slot)).copied().flatten()?;
        self.nodes.get(usize::from(node))
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.nodes.is_empty()
            && self.owners.iter().all(Option::is_some)
            && self.nodes.iter().all(|(_, link)| link.is_up())
    }

    /// The number of this node, which is added when it is new.
    fn number(&mut self, address: &Address, open: impl FnOnce() -> Link) -> u16 {
        let known = self.nodes.iter().position(|(node, _)| node == address);
        let number = known.unwrap_or_else(|| {
            self.nodes.push((address.clone(), open()));
            self.nodes.len() - 1
        });
        // A cluster has at most a thousand or so.
        u16::try_from(number).unwrap_or(u16::MAX)
    }
}

// === impl Nodes ===

impl Nodes {
    pub(super) fn new(options: ConnectOptions, seeds: Vec<Address>, changes: Changes) -> Self {
        let empty = Map { owners: vec![None; usize::from(SLOTS)], nodes: Vec::new() };
        Self { options, seeds, map: RwLock::new(Arc::new(empty)), changes, stale: Notify::new() }
    }

    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open(&self, address: &Address) -> Link {
        Link::open(self.options.clone(), address.clone(), self.changes.clone())
    }

    /// The owner of the slot, or any node that is there.
    pub(super) async fn link(&self, slot: Option<u16>) -> Result<Link, RedisError> {
        let map = self.map();
        let link = match slot {
            Some(slot) => map.owner(slot),
            None => {
                let up = map.nodes.iter().map(|(_, link)| link).filter(|link| link.is_up());
                let up: Vec<_> = up.collect();
                up.get(rand::random_range(0..up.len().max(1)))
                    .copied()
                    .or(map.nodes.first().map(|(_, link)| link))
            }
        };
        let Some(link) = link else {
            self.stale.notify_one();
            return Err(error::unsent("no node of the cluster owns the slot"));
        };
        link.settled(SETTLE_MAX).await;
        Ok(link.clone())
    }

    /// A connection to a node that another one named.
    pub(super) fn link_to(&self, address: Address) -> Link {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, link)) = map.nodes.iter().find(|(node, _)| *node == address) {
            return link.clone();
        }
        let link = self.open(&address);
        Arc::make_mut(&mut map).nodes.push((address, link.clone()));
        link
    }

    /// The slot has another owner from now on.
    pub(super) fn moved(&self, slot: u16, owner: Address) -> Link {
        let link = {
            let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
            let map = Arc::make_mut(&mut map);
            let number = map.number(&owner, || self.open(&owner));
            if let Some(entry) = map.owners.get_mut(usize::from(slot)) {
                *entry = Some(number);
            }
            map.nodes[usize::from(number)].1.clone()
        };
        self.changes.tell();
        // Where one slot moved, others may have.
        self.stale.notify_one();
        link
    }

    pub(super) async fn watch(&self) {
        let mut turn = 0;
        loop {
            let rest = if self.map().is_whole() { REFRESH_EVERY } else { REFRESH_SOON };
            tokio::select! {
                () = self.stale.notified() => sleep(REFRESH_PAUSE).await,
                () = sleep(rest) => {}
            }
            turn += 1;
            if let Err(cause) = self.refresh(turn).await {
                tracing::warn!(%cause, "the map of the redis cluster cannot be read; trying again");
            }
        }
    }

    /// Reads the map from one node, another one each turn: one that was cut off must not be believed for ever.
    async fn refresh(&self, turn: usize) -> Result<(), ConnectError> {
        let nodes = self.map().nodes.clone();
        let (up, away): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|(_, link)| link.is_up());
        for n in 0..up.len() {
            let (address, link) = &up[(turn + n) % up.len()];
            let mut ask = redis::cmd("CLUSTER");
            ask.arg("SLOTS");
            let told = tokio::time::timeout(MAP_MAX, link.call(&ask)).await;
            if let Ok(Ok(reply)) = told
                && let Some(ranges) = slots::ranges(reply, address)
                && !ranges.is_empty()
            {
                self.install(ranges);
                return Ok(());
            }
        }
        let others = away.into_iter().map(|(address, _)| address);
        let others: Vec<_> = others.chain(self.seeds.iter().cloned()).collect();
        self.read_from(&others).await
    }

    /// The first map, and connections to the nodes that it names.
    pub(super) async fn first_map(&self) -> Result<(), ConnectError> {
        self.read_from(&self.seeds).await?;
        let nodes = self.map().nodes.clone();
        for (_, link) in &nodes {
            link.settled(CONNECT_TIMEOUT).await;
        }
        if nodes.iter().any(|(_, link)| link.is_up()) {
            return Ok(());
        }
        let faults: Vec<String> = nodes.iter().filter_map(|(_, link)| link.fault()).collect();
        Err(ConnectError::NoNode {
            nodes: crate::connect::list(&self.seeds),
            cause: format!(
                "it names its nodes by addresses that cannot be reached from here ({}); set cluster-announce-ip or \
                 cluster-announce-hostname there",
                faults.join("; ")
            ),
        })
    }

    /// Reads the map from the first of these that tells one, over connections of their own.
    async fn read_from(&self, addresses: &[Address]) -> Result<(), ConnectError> {
        let mut faults = Vec::new();
        for address in addresses {
            match self.read_map(address).await {
                Ok(ranges) => {
                    self.install(ranges);
                    return Ok(());
                }
                Err(fault) => faults.push(fault),
            }
        }
        Err(ConnectError::of_all(&Place::Cluster { nodes: addresses.to_vec() }, faults))
    }

    async fn read_map(&self, address: &Address) -> Result<Vec<slots::Range>, ConnectError> {
        let purpose = Use { silence_max: Some(MAP_MAX), name: "jobcell", to_sentinel: false };
        let connection = self.options.open(address, purpose, CONNECT_TIMEOUT).await?;
        let mut ask = redis::cmd("CLUSTER");
        ask.arg("SLOTS");
        let not_ready = |cause: String| ConnectError::NotReady { address: address.to_string(), cause };
        match connection.call(&ask).await {
            Ok(reply) => match slots::ranges(reply, address) {
                Some(ranges) if !ranges.is_empty() => Ok(ranges),
                _ => Err(not_ready("it knows no node that owns slots".to_owned())),
            },
            Err(e) if error::describe(&e).contains("cluster support disabled") => {
                Err(ConnectError::NoCluster { address: address.to_string() })
            }
            Err(e) => Err(self.options.of_setup(address, false, &e)),
        }
    }

    /// Takes a map into use. Nodes that own nothing any more are let go.
    fn install(&self, ranges: Vec<slots::Range>) {
        let before = self.map();
        let mut known: HashMap<&Address, &Link> =
            before.nodes.iter().map(|(address, link)| (address, link)).collect();
        let mut map = Map { owners: vec![None; usize::from(SLOTS)], nodes: Vec::new() };
        for slots::Range { first, last, owner } in ranges {
            let number =
                map.number(&owner, || known.remove(&owner).cloned().unwrap_or_else(|| self.open(&owner)));
            map.owners[usize::from(first)..=usize::from(last)].fill(Some(number));
        }
        let gone: Vec<Link> = known.into_values().cloned().collect();
        let same = map.owners == before.owners
            && map.nodes.iter().map(|(a, _)| a).eq(before.nodes.iter().map(|(a, _)| a));
        if same {
            return;
        }
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        for link in gone {
            link.close("the node owns no slots any more; reconnecting");
        }
        self.changes.tell();
    }
}
