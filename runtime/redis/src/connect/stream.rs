//! Reaching a server: from its name to a stream of bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{Address, ConnectError, ConnectOptions};

/// Silence after which the system asks whether the other side is still there, and how often and how many times: a
/// vanished machine is noticed within half a minute even where nobody pings.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
/// How long bytes that were sent may stay unacknowledged before the system gives the connection up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// How names of hosts become addresses. It is asked anew for every connection, so that a changed DNS record is followed.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of this host, those to try first in front.
    ///
    /// # Errors
    /// When there is none. Cancel safe.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own way.
pub(super) struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// When a connection last showed that the other side is alive.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    last_ms: AtomicU64,
}

/// A stream that notes its activity.
pub(super) struct Watched {
    inner: Box<dyn Stream>,
    activity: Arc<Activity>,
    /// The last write found the system's buffer full.
    held_back: bool,
}

/// Connects, with TLS where the options ask for it.
pub(super) async fn reach(options: &ConnectOptions, address: &Address) -> Result<Watched, ConnectError> {
    let stream: Box<dyn Stream> = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await;
            Box::new(stream.map_err(|e| options.of_io(address, &e))?)
        }
        Address::Tcp { host, port } => {
            let tcp = connect(options, address, host, *port).await?;
            if options.tls {
                Box::new(options.files.handshake(tcp, address, host, options).await?)
            } else {
                Box::new(tcp)
            }
        }
    };
    let activity = Arc::new(Activity { opened: Instant::now(), last_ms: AtomicU64::new(0) });
    Ok(Watched { inner: stream, activity, held_back: false })
}

async fn connect(
    options: &ConnectOptions,
    address: &Address,
    host: &str,
    port: u16,
) -> Result<TcpStream, ConnectError> {
    let unknown = |cause: String| options.unknown_name(address, cause);
    let found = options.resolver.resolve(host, port).await.map_err(|e| unknown(e.to_string()))?;
    let mut last = unknown("it has no address".to_owned());
    for (tried, socket) in found.iter().enumerate() {
        // One dead address must not use up the time of the others.
        let share = super::CONNECT_TIMEOUT / u32::try_from(found.len() - tried).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => {
                settle(&stream).map_err(|e| options.of_io(address, &e))?;
                return Ok(stream);
            }
            Ok(Err(e)) => last = options.of_io(address, &e),
            Err(_) => last = options.timed_out(address, share),
        }
    }
    Err(last)
}

fn settle(stream: &TcpStream) -> io::Result<()> {
    // Small calls go out at once; the client gathers what belongs together by itself.
    stream.set_nodelay(true)?;
    let (idle, between, times) = KEEPALIVE;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(between).with_retries(times);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

// === impl Activity ===

impl Activity {
    fn note(&self) {
        let ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Time since the other side last sent something, or took something that it had held back.
    pub(crate) fn idle(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

// === impl Watched ===

impl Watched {
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// A write that goes into the system's buffer says nothing about the other side. One that had to wait for room
    /// does: a large payload on a slow line must not pass for silence.
    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.held_back = true,
            Poll::Ready(Ok(1..)) if self.held_back => {
                self.held_back = false;
                self.activity.note();
            }
            Poll::Ready(_) => {}
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        if read.is_ready() && into.filled().len() > before {
            self.activity.note();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, from);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
