//! A Redis of our own for one test: free loopback port, temporary directory, killed on drop.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jobcell_core::store::{Claim, ClaimRequest, Finish, FinishReply, NewJob, Token, Verdict};
use jobcell_core::{Job, JobId, JobOptions, Keep, QueueName, Store};
use jobcell_redis::{BullStore, ConnectOptions};

use crate::proxy::Proxy;

/// The time all tests start at: 2023-11-14.
pub(crate) const NOW: u64 = 1_700_000_000_000;
const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) port: u16,
    args: Vec<String>,
    child: Child,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
        // The port is free when asked for; another process may take it before redis does.
        for _ in 0..20 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = spawn(port, &args, &dir) {
                return Self { port, args, child, dir };
            }
        }
        panic!("redis-server does not start; is it installed?");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn store(&self) -> BullStore {
        BullStore::connect(ConnectOptions::from_url(&self.url()).unwrap()).await.unwrap()
    }

    /// Another way to this server.
    pub(crate) async fn lossy(&self) -> Proxy {
        Proxy::to(self.port).await
    }

    pub(crate) async fn raw(&self) -> Raw {
        let client = redis::Client::open(self.url()).unwrap();
        Raw(client.get_multiplexed_async_connection().await.unwrap())
    }

    /// Kills it without a goodbye.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// On the same port, with the same files.
    pub(crate) fn restart(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(child) = spawn(self.port, &self.args, &self.dir) {
                self.child = child;
                return;
            }
        }
        panic!("redis-server does not come back on port {}", self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, args: &[String], dir: &tempfile::TempDir) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir.path())
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed for these tests");
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Commands as any client sends them.
#[derive(Clone)]
pub(crate) struct Raw(pub(crate) redis::aio::MultiplexedConnection);

impl Raw {
    pub(crate) async fn run<T: redis::FromRedisValue>(&mut self, line: &[&str]) -> T {
        let mut cmd = redis::cmd(line[0]);
        for arg in &line[1..] {
            cmd.arg(arg);
        }
        cmd.query_async(&mut self.0).await.unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    pub(crate) async fn hash(&mut self, key: &str) -> BTreeMap<String, String> {
        self.run(&["HGETALL", key]).await
    }

    pub(crate) async fn list(&mut self, key: &str) -> Vec<String> {
        self.run(&["LRANGE", key, "0", "-1"]).await
    }

    pub(crate) async fn zset(&mut self, key: &str) -> Vec<(String, f64)> {
        self.run(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await
    }

    /// All keys, sorted.
    pub(crate) async fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.run(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// A queue's events, each as its fields joined by spaces.
    pub(crate) async fn events(&mut self, queue: &str) -> Vec<String> {
        let entries: Vec<(String, Vec<String>)> =
            self.run(&["XRANGE", &format!("bull:{queue}:events"), "-", "+"]).await;
        entries.into_iter().map(|(_, fields)| fields.join(" ")).collect()
    }

    /// Forgets the events so far.
    pub(crate) async fn forget_events(&mut self, queue: &str) {
        let _: u64 = self.run(&["XTRIM", &format!("bull:{queue}:events"), "MAXLEN", "0"]).await;
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

pub(crate) fn job(name: &str, options: JobOptions) -> NewJob {
    NewJob { options, ..NewJob::new(name, r#"{"a":1}"#) }
}

pub(crate) fn plain(name: &str) -> NewJob {
    job(name, JobOptions::default())
}

pub(crate) fn claim(max: usize, now: u64) -> ClaimRequest {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    ClaimRequest {
        max,
        token_prefix: "w".into(),
        token_first: NEXT.fetch_add(1000, Ordering::Relaxed),
        lock: Duration::from_secs(30),
        worker_name: None,
        rate: None,
        now,
    }
}

pub(crate) fn ids(claim: &Claim) -> Vec<&str> {
    claim.jobs.iter().map(|job| job.id.as_str()).collect()
}

pub(crate) fn finish(id: &JobId, token: &Token, verdict: Verdict) -> Finish {
    Finish::new(id.clone(), token.clone(), verdict)
}

pub(crate) fn complete(result: &str) -> Verdict {
    Verdict::Complete { result: result.to_owned().into(), keep: Keep::All }
}

pub(crate) fn fail(reason: &str) -> Verdict {
    Verdict::Fail { reason: reason.into(), stacktrace: vec!["at x".into()], keep: Keep::All, attempts_max: 1 }
}

/// A queue with its store and a raw connection, for tests that only need one.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) store: BullStore,
    pub(crate) raw: Raw,
    pub(crate) q: QueueName,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let server = Server::start();
        Self { store: server.store().await, raw: server.raw().await, q: queue("q"), server }
    }

    pub(crate) async fn add(&self, jobs: Vec<NewJob>) -> Vec<String> {
        let added = self.store.add(&self.q, jobs, NOW).await.unwrap();
        added.iter().map(|a| a.id().to_string()).collect()
    }

    pub(crate) async fn claim(&self, max: usize) -> Claim {
        self.store.claim(&self.q, &claim(max, NOW)).await.unwrap()
    }

    /// Claims one job, which must be there.
    pub(crate) async fn take(&self) -> (JobId, Token, Arc<Job>) {
        let mut claim = self.claim(1).await;
        let job = claim.jobs.pop().expect("a job is waiting");
        (job.id, job.token, job.job.unwrap())
    }

    pub(crate) async fn finish(&self, id: &JobId, token: &Token, verdict: Verdict) -> FinishReply {
        self.store.finish(&self.q, vec![finish(id, token, verdict)], None, NOW + 5).await.unwrap()
    }
}
