//! Queues that are plain lists, as producers and listeners see them who know nothing but Redis.

mod cancel;
mod conforming;
mod crashes;
mod duplicates;
mod items;
mod outcomes;
mod verbs;
mod waking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobcell_core::store::{Claim, ClaimRequest, Claimed, Finish, Refusal, StallPolicy, StoreError, Verdict};
use jobcell_core::{Backoff, BackoffKind, Job, Keep, Store};
use jobcell_redis::{ConnectOptions, ListOptions, ListStore, Redis};
use tokio_util::sync::CancellationToken;

use crate::server::{NOW, Raw, Server, claim, queue};

/// One list queue, `overlay` over the list `jobs` with the records `job:<id>`, and a client that knows only Redis.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) store: ListStore,
    pub(crate) raw: Raw,
}

pub(crate) fn options() -> ListOptions {
    ListOptions {
        record: "job:{id}".to_owned(),
        backoff: Backoff { kind: BackoffKind::Fixed, delay: 0, jitter: None },
        ..ListOptions::new("jobs")
    }
}

pub(crate) async fn store_at(url: &str, options: ListOptions) -> ListStore {
    let redis = Redis::connect(ConnectOptions::from_url(url).unwrap()).await.unwrap();
    ListStore::new(redis, queue("overlay"), options).unwrap()
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: ListOptions) -> Self {
        Self::on(Server::start(), options).await
    }

    pub(crate) async fn on(server: Server, options: ListOptions) -> Self {
        Self { store: store_at(&server.url(), options).await, raw: server.raw().await, server }
    }

    /// Another host's store over the same list.
    pub(crate) async fn other(&self) -> ListStore {
        store_at(&self.server.url(), options()).await
    }

    pub(crate) async fn push(&mut self, item: &str) {
        let _: i64 = self.raw.run(&["LPUSH", "jobs", item]).await;
    }

    pub(crate) async fn claim(&self, max: usize) -> Claim {
        claim_of(&self.store, max).await
    }

    /// Claims one job, which must be there.
    pub(crate) async fn take(&self) -> Claimed {
        self.claim(1).await.jobs.pop().expect("an item is waiting")
    }

    /// Writes the end of an attempt.
    pub(crate) async fn end(&self, claimed: &Claimed, verdict: Verdict) -> Result<(), Refusal> {
        end_of(&self.store, claimed, verdict).await
    }

    pub(crate) async fn done(&self, claimed: &Claimed, verdict: Verdict) {
        self.end(claimed, verdict).await.unwrap();
    }

    pub(crate) async fn status(&mut self, id: &str) -> Option<String> {
        self.raw.run(&["HGET", &format!("job:{id}"), "status"]).await
    }

    /// Everything that is published from now on, as text.
    pub(crate) async fn listen(&self) -> Updates {
        Updates::of(&self.server, "job_updates").await
    }

    /// One round of recovery, as soon as one is allowed.
    pub(crate) async fn recover(&mut self, max: u64) -> Vec<String> {
        let _: i64 = self.raw.run(&["DEL", "jobs:stalled-check"]).await;
        let policy = StallPolicy { interval: Duration::from_secs(600), max };
        let recovered = self.store.recover_stalled(&queue("overlay"), policy, NOW).await.unwrap();
        recovered.jobs.iter().map(ToString::to_string).collect()
    }

    /// Lets every lock of this queue run out, as if all its hosts had vanished long ago.
    pub(crate) async fn vanish(&mut self) {
        let hosts: Vec<String> = self.raw.run(&["SMEMBERS", "jobs:hosts"]).await;
        for host in hosts {
            let tokens: Vec<String> =
                self.raw.run(&["ZRANGE", &format!("jobs:locks:{host}"), "0", "-1"]).await;
            for token in tokens {
                let _: i64 = self.raw.run(&["ZADD", &format!("jobs:locks:{host}"), "1", &token]).await;
            }
            let _: i64 = self.raw.run(&["DEL", &format!("jobs:heartbeat:{host}")]).await;
        }
    }

    /// What is left beside the list when nothing goes on, but for what goes by itself.
    pub(crate) async fn leftovers(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.raw.run(&["KEYS", "jobs*"]).await;
        let quiet = ["jobs:events", "jobs:stalled-check", "jobs:heartbeat:w"];
        keys.retain(|key| !quiet.contains(&key.as_str()));
        keys.sort();
        keys
    }
}

/// Claims; a connection that breaks meanwhile is waited for.
pub(crate) async fn claim_of(store: &ListStore, max: usize) -> Claim {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match store.claim(&queue("overlay"), &claim(max, NOW)).await {
            Ok(claim) => return claim,
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes an end; when its answer is lost with a connection it is repeated, and then is refused when it was written.
pub(crate) async fn end_of(store: &ListStore, claimed: &Claimed, verdict: Verdict) -> Result<(), Refusal> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut repeated = false;
    loop {
        let ends = vec![ending(claimed, verdict.clone())];
        match store.finish(&queue("overlay"), ends, None, NOW + 5).await {
            Ok(mut reply) => match reply.finished.remove(0) {
                Err(Refusal::NotActive) if repeated => return Ok(()),
                answer => return answer,
            },
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        repeated = true;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn ending(claimed: &Claimed, verdict: Verdict) -> Finish {
    Finish::new(claimed.id.clone(), claimed.token.clone(), verdict)
}

pub(crate) fn job(claimed: &Claimed) -> &Job {
    claimed.job.as_ref().unwrap()
}

pub(crate) fn complete(result: &str) -> Verdict {
    Verdict::Complete { result: result.to_owned().into(), keep: Keep::All }
}

pub(crate) fn fail(reason: &str) -> Verdict {
    Verdict::Fail { reason: reason.into(), stacktrace: vec![reason.into()], keep: Keep::All, attempts_max: 3 }
}

pub(crate) fn retry(reason: &str, delay_ms: u64) -> Verdict {
    Verdict::Retry {
        reason: reason.into(),
        stacktrace: vec![reason.into()],
        delay: Duration::from_millis(delay_ms),
        lifo: false,
    }
}

/// A claim of another host.
pub(crate) fn claim_as(host: &str, max: usize) -> ClaimRequest {
    ClaimRequest { token_prefix: host.into(), ..claim(max, NOW) }
}

/// What a subscriber hears.
pub(crate) struct Updates {
    heard: Arc<std::sync::Mutex<Vec<String>>>,
    raw: Raw,
    stop: CancellationToken,
}

impl Updates {
    async fn of(server: &Server, channel: &str) -> Self {
        let port = server.port;
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (stop, into) = (CancellationToken::new(), Arc::clone(&heard));
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (channel, stopped) = (channel.to_owned(), stop.clone());
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).await.unwrap();
            let (mut text, mut part, mut ready) = (String::new(), vec![0; 65536], Some(ready));
            loop {
                let n = tokio::select! {
                    n = stream.read(&mut part) => n.unwrap_or(0),
                    () = stopped.cancelled() => 0,
                };
                if n == 0 {
                    return;
                }
                text.push_str(&String::from_utf8_lossy(&part[..n]));
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
                let messages = text.split("\r\n").filter(|line| line.starts_with('{')).map(str::to_owned);
                *into.lock().unwrap() = messages.collect();
            }
        });
        is_ready.await.unwrap();
        Self { heard, raw: server.raw().await, stop }
    }

    /// The messages so far: everything that was published before this was asked for.
    pub(crate) async fn all(&mut self) -> Vec<String> {
        let mark = format!("{{\"mark\":{}}}", rand_mark());
        let _: i64 = self.raw.run(&["PUBLISH", "job_updates", &mark]).await;
        for _ in 0..1000 {
            let heard = self.heard.lock().unwrap().clone();
            if let Some(end) = heard.iter().position(|message| *message == mark) {
                let messages = heard[..end].iter().filter(|message| !message.starts_with("{\"mark\""));
                return messages.cloned().collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the subscriber hears nothing");
    }

    /// `job status` of each message.
    pub(crate) async fn short(&mut self) -> Vec<String> {
        let all = self.all().await;
        let short = all.iter().map(|message| {
            let message: serde_json::Value = serde_json::from_str(message).unwrap();
            let text = |name: &str| message[name].as_str().unwrap_or("-").to_owned();
            format!("{} {}", text("jobId"), text("status"))
        });
        short.collect()
    }
}

impl Drop for Updates {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn rand_mark() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Whether the verb was refused with a message that has these words.
pub(crate) fn is_rejected<T: std::fmt::Debug>(result: Result<T, StoreError>, words: &[&str]) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}
