//! A way to a server that can be made to misbehave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// No reply is lost.
const ALL: usize = usize::MAX;

/// Time between parts of at most 64 KiB on a slow connection.
const SLOW: Duration = Duration::from_millis(170);

/// Forwards connections to a server on loopback.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    target: u16,
    /// Replies that still pass. After them replies are dropped, and the connection with them: the server has done what
    /// it was told.
    passing: AtomicUsize,
    /// Connections of a round before this one are dead, and nobody is told.
    round: watch::Sender<u64>,
    /// Connections so far; replies on those before `slow` take their time.
    connections: AtomicUsize,
    slow: AtomicUsize,
    /// Commands that went through and hold this text.
    counted: std::sync::Mutex<(Vec<u8>, usize)>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: port,
            passing: AtomicUsize::new(ALL),
            round: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            slow: AtomicUsize::new(0),
            counted: std::sync::Mutex::default(),
        });
        let forwarded = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&forwarded).forward(client));
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn lose_replies(&self, lose: bool) {
        self.shared.passing.store(if lose { 0 } else { ALL }, Ordering::SeqCst);
    }

    /// Lets so many replies pass, those to pings not counted, and loses what comes then.
    pub(crate) fn lose_replies_after(&self, replies: usize) {
        self.shared.passing.store(replies, Ordering::SeqCst);
    }

    /// The connections there are stay open, and nothing passes any more. New ones work.
    pub(crate) fn mute(&self) {
        self.shared.round.send_modify(|round| *round += 1);
    }

    /// On the connections there are, replies keep everybody waiting until another connection is made, and then arrive in
    /// small parts, as a large one on a slow line. New connections are quick.
    pub(crate) fn slow_down(&self) {
        self.shared.slow.store(self.shared.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Counts from now on how often this text passes to the server.
    pub(crate) fn count(&self, text: &str) {
        *self.shared.counted.lock().unwrap() = (text.as_bytes().to_vec(), 0);
    }

    pub(crate) fn counted(&self) -> usize {
        self.shared.counted.lock().unwrap().1
    }
}

impl Shared {
    fn passes(&self, reply: &[u8]) -> bool {
        let left = self.passing.load(Ordering::SeqCst);
        if left == ALL || reply == b"+PONG\r\n" {
            return left > 0;
        }
        self.passing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    async fn forward(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)).await else { return };
        let mut round = self.round.subscribe();
        let own = *round.borrow_and_update();
        let muted = async move {
            let _ = round.wait_for(|round| *round > own).await;
        };
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let requests = async {
            let mut part = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from_client.read(&mut part).await {
                {
                    let mut counted = self.counted.lock().unwrap();
                    let (text, count) = &mut *counted;
                    if !text.is_empty() {
                        *count += part[..n].windows(text.len()).filter(|window| *window == &text[..]).count();
                    }
                }
                if to_server.write_all(&part[..n]).await.is_err() {
                    return;
                }
            }
        };
        let replies = async {
            let mut part = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from_server.read(&mut part).await {
                let slow = self.slow.load(Ordering::SeqCst);
                while number < slow && self.connections.load(Ordering::SeqCst) == slow {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if !self.passes(&part[..n]) || to_client.write_all(&part[..n]).await.is_err() {
                    return;
                }
                if number < slow {
                    tokio::time::sleep(SLOW).await;
                }
            }
        };
        tokio::select! {
            () = requests => {}
            () = replies => {}
            // Both ends stay open for as long as the test runs.
            () = muted => std::future::pending().await,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
