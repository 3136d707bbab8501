//! A master, its replicas, and sentinels that watch them.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::node::{RedisNode, answering};
use crate::process::Process;
use crate::resp::Resp;
use crate::{ports, wait};

/// One master, two replicas and three sentinels that are quick to judge: a master that does not answer for half a
/// second is replaced.
pub struct RedisSentinels {
    nodes: Vec<RedisNode>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    /// Used only where there is TLS.
    tls_port: u16,
    _folder: TempDir,
    /// Dropped to stop it.
    process: Option<Process>,
}

/// What the sentinels call the master.
const MASTER: &str = "main";

impl RedisSentinels {
    /// Starts them and waits until the sentinels know each other and the replicas.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[], &[], |_| Vec::new())
    }

    /// The same with a password for the sentinels.
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        Self::with(&[], &[format!("requirepass {password}")], |_| Vec::new())
    }

    /// The same with these arguments for every server, these lines for every sentinel, and what `each` gives for the
    /// server of a number.
    #[must_use]
    pub fn with(args: &[&str], lines: &[String], each: impl Fn(usize) -> Vec<String>) -> Self {
        // Where they speak TLS with each other, it is that port that they know.
        let mut nodes: Vec<RedisNode> = Vec::new();
        let mut master = None;
        for n in 0..3 {
            let mut all: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            all.extend(each(n));
            let port = tls_port(&all);
            if let Some((_, master)) = nodes.first().zip(master) {
                all.extend(["--replicaof".to_owned(), format!("127.0.0.1 {master}")]);
            }
            nodes.push(RedisNode::start(&all.iter().map(String::as_str).collect::<Vec<_>>()));
            master = master.or(port).or(nodes.first().map(RedisNode::port));
        }
        wait::until("the replicas are in step", || {
            (nodes[0].info("connected_slaves")? == "2").then_some(())?;
            nodes[1..]
                .iter()
                .all(|node| node.info("master_link_status").as_deref() == Some("up"))
                .then_some(())
        });
        let master = master.expect("a master");
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(master, lines)).collect();
        let fleet = Self { nodes, sentinels };
        let password = lines.iter().find_map(|line| line.strip_prefix("requirepass "));
        for sentinel in &fleet.sentinels {
            wait::until("the sentinels know each other", || {
                let mut client = Resp::connect(sentinel.port, password).ok()?;
                let about = client.try_run(&["SENTINEL", "MASTER", MASTER]).ok()?.texts();
                let field =
                    |name: &str| about.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
                let all = field("num-slaves")? == "2" && field("num-other-sentinels")? == "2";
                all.then_some(())
            });
        }
        fleet
    }

    /// The same with TLS: `lines` for every sentinel, without its port, and `each` as for [`Self::with`], with one.
    /// The servers speak TLS with each other and with the sentinels, and the sentinels with everybody.
    #[must_use]
    pub fn with_tls(lines: &[String], each: impl Fn(usize) -> Vec<String>) -> Self {
        let mut lines = lines.to_vec();
        lines.push("tls-replication yes".to_owned());
        Self::with(&["--tls-replication", "yes"], &lines, each)
    }

    /// The address of the sentinels with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        self.hosts("rediss+sentinel", |sentinel| sentinel.tls_port)
    }

    /// The address of the sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        self.hosts("redis+sentinel", |sentinel| sentinel.port)
    }

    fn hosts(&self, scheme: &str, port: impl Fn(&Sentinel) -> u16) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", port(sentinel))).collect();
        format!("{scheme}://{}/{MASTER}", hosts.join(","))
    }

    /// The servers, the first master first.
    #[must_use]
    pub fn nodes(&mut self) -> &mut [RedisNode] {
        &mut self.nodes
    }

    /// The place of the server that takes writes now; none while there is no such, or more than one says so.
    #[must_use]
    pub fn master(&self) -> Option<usize> {
        let says = |node: &RedisNode| node.info("role").as_deref() == Some("master");
        let mut masters = (0..self.nodes.len()).filter(|n| says(&self.nodes[*n]));
        masters.next().filter(|_| masters.next().is_none())
    }

    /// Ends one sentinel.
    pub fn kill_sentinel(&mut self, n: usize) {
        self.sentinels[n].process = None;
    }

    /// Asks for another master.
    ///
    /// # Panics
    /// When the sentinels refuse.
    pub fn fail_over(&self) {
        let mut client = Resp::connect(self.sentinels[0].port, None).expect("a sentinel");
        wait::until("the sentinels agree to another master", || {
            client.try_run(&["SENTINEL", "FAILOVER", MASTER]).ok()
        });
    }
}

/// The port after `--tls-port`.
fn tls_port(args: &[String]) -> Option<u16> {
    let place = args.iter().position(|arg| arg == "--tls-port")?;
    args.get(place + 1)?.parse().ok()
}

impl Sentinel {
    fn start(master: u16, lines: &[String]) -> Self {
        let (port, tls_port) = (ports::free(), ports::free());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
            folder.path().display()
        );
        for line in lines {
            config += &format!("{line}\n");
        }
        if lines.iter().any(|line| line.starts_with("tls-")) {
            config += &format!("tls-port {tls_port}\n");
        }
        // Sentinels write what they learn into it.
        let path = folder.path().join("sentinel.conf");
        std::fs::write(&path, config).expect("writing sentinel.conf");
        let mut command = Command::new("redis-server");
        command.arg(&path).arg("--sentinel").stdout(Stdio::piped()).stdin(Stdio::null());
        Self { port, tls_port, _folder: folder, process: Some(answering("sentinel", port, command)) }
    }
}
