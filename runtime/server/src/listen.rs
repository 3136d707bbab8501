//! Listening: connections in, pages out, every client bounded in time and number.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::routes::{Pages, router};
use crate::seats::{ConnectionBounds, Seat, Seats, holding};

/// Listens and serves.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    bounds: ConnectionBounds,
}

/// Connections that are open. They are told to close when it is dropped.
struct Open {
    connections: TaskTracker,
    closes: DropGuard,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", cause(.source, .address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn cause(error: &io::Error, address: &SocketAddr) -> String {
    let fix = "set server.listen or JOBCELL_SERVER__LISTEN to";
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "port {} is in use by another process (another jobcell?); stop it, or {fix} another port, 0 for any free one",
            address.port()
        ),
        ErrorKind::PermissionDenied => {
            format!("this user may not use port {}; {fix} a port from 1024 on", address.port())
        }
        ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}; {fix} one of its own, or 0.0.0.0 for all", address.ip())
        }
        _ => format!("{error}; {fix} another address"),
    }
}

/// How long a client may take for the head of a request, also for the next one on an open connection.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long one connection is used: a client that reads slower than this keeps no place for ever.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// How long open answers may take once the server stops.
const CLOSE_MAX: Duration = Duration::from_secs(3);
/// The pause after a failed accept, which most often means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection: a client, or the proxy before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

// === impl ServerError ===

impl ServerError {
    /// True when the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let Self::Bind { source, .. } = self;
        source.kind() == ErrorKind::AddrInUse
    }
}

// === impl Server ===

impl Server {
    /// Takes the address. Connections wait until [`Self::serve`]: what is shown may still be coming up.
    ///
    /// # Errors
    /// When the address is in use, not allowed or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let fault = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address, bounds: ConnectionBounds::default() })
    }

    /// The address, with the port that was given for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// With room for so many connections, in place of the default.
    #[must_use]
    pub fn with_connections(self, bounds: ConnectionBounds) -> Self {
        Self { bounds, ..self }
    }

    /// Serves these pages until `shutdown` is done, then lets open answers finish for up to 3 s.
    ///
    /// Cancel safety: a dropped future stops accepting and cuts open connections.
    pub async fn serve(self, pages: Pages, shutdown: impl Future<Output = ()>) {
        let open = self.accept(pages, shutdown).await;
        drop(self);
        open.close().await;
    }

    /// The same, and keeps the address: who connects later waits for the next pages. For what can be shown of a host that
    /// still waits for its store.
    pub async fn serve_until(&self, pages: Pages, until: impl Future<Output = ()>) {
        self.accept(pages, until).await.close().await;
    }

    /// Answers whoever connects until `shutdown` is done.
    async fn accept(&self, pages: Pages, shutdown: impl Future<Output = ()>) -> Open {
        let Self { listener, address, bounds } = self;
        let seats = Seats::new(*bounds, Arc::clone(&pages.metrics));
        let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
        let router = router(pages, address.ip().is_loopback(), &closing);
        // Also when this future is dropped.
        let closes = closing.clone().drop_guard();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => match seats.take(from.ip()) {
                    Some(seat) => {
                        let stream = (stream, Peer(from));
                        connections.spawn(connection(stream, router.clone(), closing.clone(), seat));
                    }
                    // Closed at once: every other connection, of its address or of all, is being answered.
                    None => tracing::debug!(%from, "a connection too many was closed"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        Open { connections, closes }
    }
}

// === impl Open ===

impl Open {
    /// Lets answers under way finish, for as long as they may take.
    async fn close(self) {
        let Self { connections, closes } = self;
        drop(closes);
        connections.close();
        if tokio::time::timeout(CLOSE_MAX, connections.wait()).await.is_err() {
            tracing::debug!(open = connections.len(), "connections were cut");
        }
    }
}

async fn connection(
    (stream, peer): (TcpStream, Peer),
    router: Router,
    closing: CancellationToken,
    seat: Arc<Seat>,
) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (asking, router) = (seat.ask(), router.clone());
        async move { router.oneshot(request.map(Body::new)).await.map(|response| holding(response, asking)) }
    });
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = closing.cancelled() => None,
        () = tokio::time::sleep(CONNECTION_MAX) => None,
        () = seat.must_leave() => return,
    };
    if ended.is_none() {
        // What was asked is answered; what takes too long is cut.
        connection.as_mut().graceful_shutdown();
        ended = tokio::time::timeout(CLOSE_MAX, connection).await.ok();
    }
    if let Some(Err(error)) = ended {
        tracing::trace!(%error, "a connection ended early");
    }
}
