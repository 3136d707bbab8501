//! A Redis Cluster of three masters with a replica each.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::node::RedisNode;
use crate::{ports, wait};

/// Six nodes: the first three own a third of the slots each, the other three are their replicas, in the same order. A
/// master that does not answer for a second is replaced.
pub struct RedisCluster {
    nodes: Vec<RedisNode>,
}

const SLOTS: u16 = 16384;

impl RedisCluster {
    /// Starts one and waits until every node says that all is well.
    #[must_use]
    pub fn start() -> Self {
        Self::with(|_| Vec::new())
    }

    /// The same with what `each` gives as arguments for the node of a number.
    #[must_use]
    pub fn with(each: impl Fn(usize) -> Vec<String>) -> Self {
        let start = |n: usize| {
            let bus = ports::free().to_string();
            let mut args =
                vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            args.extend(["--cluster-replica-validity-factor", "0", "--repl-ping-replica-period", "1"]);
            let more = each(n);
            args.extend(more.iter().map(String::as_str));
            let node = RedisNode::start(&args);
            // Each begins with an epoch of its own, so that they need not settle who is newer.
            node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            (node, bus)
        };
        let (nodes, buses): (Vec<_>, Vec<_>) = (0..6).map(start).unzip();
        let cluster = Self { nodes };
        for n in 0..3u16 {
            let (first, last) = (SLOTS / 3 * n, if n == 2 { SLOTS - 1 } else { SLOTS / 3 * (n + 1) - 1 });
            let range = [first.to_string(), last.to_string()];
            cluster.nodes[usize::from(n)].run(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
        for (node, bus) in cluster.nodes.iter().zip(&buses).skip(1) {
            cluster.nodes[0].run(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]);
        }
        wait::until("the nodes know each other", || {
            cluster.nodes.iter().all(|node| told(node, "cluster_known_nodes") == "6").then_some(())
        });
        for n in 0..3 {
            let id = cluster.id(n);
            wait::until("the replica knows its master", || {
                cluster.nodes[n + 3].client().try_run(&["CLUSTER", "REPLICATE", &id]).ok()
            });
        }
        cluster.settle();
        cluster
    }

    /// One for all tests of this program. Nothing may break it.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(RedisCluster, Child)> = OnceLock::new();
        let (cluster, _) = SHARED.get_or_init(|| {
            let mut cluster = Self::start();
            // Statics are not dropped: a shell outlives this program by the moment that it takes to end the nodes.
            let pids: Vec<_> = cluster.nodes.iter_mut().map(|node| node.pid().to_string()).collect();
            let mut leash = Command::new("sh")
                .args(["-c", "cat >/dev/null; kill -9 \"$@\"", "leash"])
                .args(&pids)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a shell");
            leash.stdin.as_mut().expect("its input").flush().expect("its input");
            (cluster, leash)
        });
        cluster
    }

    /// Waits until every node that answers says that all is well, and each master has its replica in step.
    ///
    /// # Panics
    /// When that does not happen soon.
    pub fn settle(&self) {
        wait::until("the cluster is well", || {
            let up = |node: &&RedisNode| node.info("role").is_some();
            let well = |node: &RedisNode| {
                told(node, "cluster_state") == "ok"
                    && (node.info("role").as_deref() == Some("master")
                        || node.info("master_link_status").as_deref() == Some("up"))
            };
            self.nodes.iter().filter(up).all(well).then_some(())
        });
    }

    /// Its address, by the first three nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.nodes.iter().take(3).map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The nodes, masters first.
    #[must_use]
    pub fn nodes(&self) -> &[RedisNode] {
        &self.nodes
    }

    /// A node, to be stopped or started.
    pub fn node(&mut self, n: usize) -> &mut RedisNode {
        &mut self.nodes[n]
    }

    /// The node that owns the slot of this key, as the first that answers sees it.
    ///
    /// # Panics
    /// When none of them says.
    #[must_use]
    pub fn owner(&self, key: &str) -> usize {
        let slot = self.slot(key);
        let find = || {
            (0..self.nodes.len()).find(|n| {
                self.nodes[*n].info("role").as_deref() == Some("master")
                    && ranges(&self.nodes[*n]).iter().any(|(first, last)| (*first..=*last).contains(&slot))
            })
        };
        wait::until("a node owns the slot", find)
    }

    /// The slot of this key.
    ///
    /// # Panics
    /// When no node answers.
    #[must_use]
    pub fn slot(&self, key: &str) -> i64 {
        let slot = |node: &RedisNode| node.client().try_run(&["CLUSTER", "KEYSLOT", key]).ok();
        wait::until("a node answers", || {
            self.nodes.iter().filter(|node| node.info("role").is_some()).find_map(slot)
        })
        .int()
    }

    /// Begins to move the slot of this key: what is missing at its old owner is with the new one. Returns the two.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn begin_move(&self, key: &str) -> (usize, usize) {
        let (slot, from) = (self.slot(key).to_string(), self.owner(key));
        let to = (from + 1) % 3;
        self.nodes[to].run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.nodes[from].run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
        (from, to)
    }

    /// Moves so many of the slot's keys.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn move_keys(&self, key: &str, (from, to): (usize, usize), count: usize) -> usize {
        let slot = self.slot(key).to_string();
        let keys = self.nodes[from].run(&["CLUSTER", "GETKEYSINSLOT", &slot, &count.to_string()]).texts();
        let port = self.nodes[to].port().to_string();
        for key in &keys {
            self.nodes[from].run(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
        keys.len()
    }

    /// Ends the move: the new owner is told first.
    ///
    /// # Panics
    /// When a node refuses.
    pub fn end_move(&self, key: &str, (from, to): (usize, usize)) {
        let (slot, id) = (self.slot(key).to_string(), self.id(to));
        for n in [to, from] {
            self.nodes[n].run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    fn id(&self, n: usize) -> String {
        self.nodes[n].run(&["CLUSTER", "MYID"]).text().expect("an id")
    }
}

/// A field of `CLUSTER INFO`, empty when the node does not answer.
fn told(node: &RedisNode, name: &str) -> String {
    let answer =
        node.client().try_run(&["CLUSTER", "INFO"]).ok().and_then(|value| value.text()).unwrap_or_default();
    let field = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    field.unwrap_or_default().trim_end().to_owned()
}

/// The slots that a node says are its own.
fn ranges(node: &RedisNode) -> Vec<(i64, i64)> {
    let nodes = node.run(&["CLUSTER", "NODES"]).text().expect("a text");
    let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
    let parts = own.split(' ').skip(8).filter(|part| !part.starts_with('['));
    parts
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}
