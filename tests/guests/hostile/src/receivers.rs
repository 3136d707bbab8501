//! Two listeners on this machine: one that is granted and answers badly, and one that nobody may reach.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Where they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// Granted.
    pub(crate) open: SocketAddr,
    /// Not to be reached.
    pub(crate) shut: SocketAddr,
}

/// The listeners; they end with it.
pub(crate) struct Receivers {
    pub(crate) addresses: Addresses,
    open: Arc<AtomicU32>,
    shut: Arc<AtomicU32>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Receivers {
    /// Listens on two free ports of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn start() -> io::Result<Self> {
        let (open, shut) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let addresses = Addresses { open: open.local_addr()?, shut: shut.local_addr()? };
        let (asked, reached) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let tasks = [
            AbortOnDropHandle::new(tokio::spawn(answer_badly(open, Arc::clone(&asked), addresses.shut))),
            AbortOnDropHandle::new(tokio::spawn(count(shut, Arc::clone(&reached)))),
        ];
        Ok(Self { addresses, open: asked, shut: reached, _tasks: tasks })
    }

    /// Requests that the open one got, and connections that the other one did, since the last call.
    pub(crate) fn take(&self) -> (u32, u32) {
        (self.open.swap(0, Ordering::Relaxed), self.shut.swap(0, Ordering::Relaxed))
    }
}

async fn count(listener: TcpListener, reached: Arc<AtomicU32>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        reached.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    }
}

async fn answer_badly(listener: TcpListener, asked: Arc<AtomicU32>, shut: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let asked = Arc::clone(&asked);
        connections.spawn(async move {
            // Whoever asked has gone away, which is how most of these end.
            let _ = converse(stream, &asked, shut).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Bytes of a request's head that are read; none of ours has more.
const HEAD_MAX: usize = 128 * 1024;

async fn converse(mut stream: TcpStream, asked: &AtomicU32, shut: SocketAddr) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            if held.len() > HEAD_MAX || stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        asked.fetch_add(1, Ordering::Relaxed);
        let head: Vec<u8> = held.drain(..end).collect();
        let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default());
        match line.split_whitespace().nth(1).unwrap_or_default() {
            "/redirect" => {
                let head =
                    format!("HTTP/1.1 302 Found\r\nlocation: http://{shut}/\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
            }
            // Until the other side gives up.
            "/hang" => while stream.read_buf(&mut held).await? > 0 {},
            "/drip" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            "/endless" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
            "/compressed" => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n";
                stream.write_all(head).await?;
                stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).await?;
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?,
        }
    }
}
