//! A TCP proxy in front of a server, which breaks connections in the ways that networks do.
//!
//! Two threads a connection, one each way; all of them end with the proxy. What was done to a connection stays with it: a
//! half-open one never recovers, as in life, while new ones are as the proxy is then.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// A peer that reads nothing for this long is as good as gone: no thread waits for it.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the client says.
    ToServer,
    /// What the server answers.
    ToClient,
    /// Everything.
    Both,
}

/// See the module.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstream: AtomicU16,
    refuses: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicUsize,
    lost: AtomicUsize,
    rules: Mutex<Rules>,
    links: Mutex<Vec<Arc<Link>>>,
}

#[derive(Default)]
struct Rules {
    /// What becomes of bytes on connections made from now on.
    swallows: Option<Way>,
    delay: Duration,
    /// Requests with these words go through and are never answered; so many of them.
    unanswered: Option<(String, usize)>,
    /// Answers with these words never arrive.
    lost_answers: Option<(String, usize)>,
}

/// One connection.
struct Link {
    client: TcpStream,
    server: TcpStream,
    to_server: Direction,
    to_client: Direction,
    /// The next answer is lost.
    deaf: AtomicBool,
}

#[derive(Default)]
struct Direction {
    swallows: AtomicBool,
}

// === impl Proxy ===

impl Proxy {
    /// In front of what listens on this loopback port.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        Self::at("127.0.0.1", 0, upstream)
    }

    /// The same at this loopback address and port, 0 for a free one.
    ///
    /// # Panics
    /// When somebody else has it.
    #[must_use]
    pub fn at(address: &str, port: u16, upstream: u16) -> Self {
        let listener = TcpListener::bind((address, port)).expect("a loopback port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared { upstream: AtomicU16::new(upstream), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                accepting.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.connect(client);
            }
        });
        Self { port, shared }
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address as that of a Redis.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Connections made so far, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Answers lost so far by [`Self::lose_answers_to`] and [`Self::lose_answers_with`].
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Resets every connection.
    pub fn cut(&self) {
        for link in self.shared.take_links() {
            link.reset();
        }
    }

    /// Resets every connection, and new ones as soon as they are made.
    pub fn refuse(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Leaves every connection open and lets nothing more through this way, on new connections too. What is written is
    /// taken all the same, as by a peer that vanished behind a router.
    pub fn stall(&self, way: Way) {
        self.shared.rules().swallows = Some(way);
        for link in lock(&self.shared.links).iter() {
            link.swallow(way);
        }
    }

    /// New connections work again; half-open ones stay as they are.
    pub fn pass(&self) {
        self.shared.refuses.store(false, Ordering::SeqCst);
        *self.shared.rules() = Rules::default();
    }

    /// Everything takes so much longer each way.
    pub fn delay(&self, by: Duration) {
        self.shared.rules().delay = by;
    }

    /// New connections go to this port; open ones stay where they are.
    pub fn aim(&self, upstream: u16) {
        self.shared.upstream.store(upstream, Ordering::SeqCst);
    }

    /// The next so many requests that contain these words reach the server, which never gets its answer through: the
    /// client's connection is closed instead.
    pub fn lose_answers_to(&self, words: &str, times: usize) {
        self.shared.rules().unanswered = Some((words.to_owned(), times));
    }

    /// The same for the next so many answers that contain these words.
    pub fn lose_answers_with(&self, words: &str, times: usize) {
        self.shared.rules().lost_answers = Some((words.to_owned(), times));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

// === impl Shared ===

impl Shared {
    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        lock(&self.rules)
    }

    fn take_links(&self) -> Vec<Arc<Link>> {
        std::mem::take(&mut *lock(&self.links))
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        let server = match TcpStream::connect(("127.0.0.1", self.upstream.load(Ordering::SeqCst))) {
            Ok(server) if !self.refuses.load(Ordering::SeqCst) => server,
            Ok(_) | Err(_) => return abort(&client),
        };
        for stream in [&client, &server] {
            // A socket that takes neither is closed already; reading then ends its threads.
            let _ = stream.set_nodelay(true);
            let _ = stream.set_write_timeout(Some(WRITE_MAX));
        }
        let link = Arc::new(Link {
            client,
            server,
            to_server: Direction::default(),
            to_client: Direction::default(),
            deaf: AtomicBool::new(false),
        });
        if let Some(way) = self.rules().swallows {
            link.swallow(way);
        }
        lock(&self.links).push(Arc::clone(&link));
        for way in [Way::ToServer, Way::ToClient] {
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            thread::spawn(move || {
                link.carry(way, &shared);
                link.ended(way, &shared);
            });
        }
    }

    /// Whether these bytes contain the words of the rule, which is used up by one then.
    fn meets(rule: &mut Option<(String, usize)>, bytes: &[u8]) -> bool {
        let Some((words, left)) = rule.as_mut().filter(|(_, left)| *left > 0) else { return false };
        let met = bytes.windows(words.len()).any(|window| window == words.as_bytes());
        *left -= usize::from(met);
        met
    }
}

// === impl Link ===

impl Link {
    fn swallow(&self, way: Way) {
        if way != Way::ToClient {
            self.to_server.swallows.store(true, Ordering::SeqCst);
        }
        if way != Way::ToServer {
            self.to_client.swallows.store(true, Ordering::SeqCst);
        }
    }

    fn is_half_open(&self) -> bool {
        [&self.to_server, &self.to_client].iter().any(|way| way.swallows.load(Ordering::SeqCst))
    }

    /// Ends both sides at once. Reading stops; the sockets are reset once nobody has them any more.
    fn reset(&self) {
        abort(&self.client);
        abort(&self.server);
    }

    fn carry(&self, way: Way, shared: &Shared) {
        let (mut from, mut to, direction) = match way {
            Way::ToClient => (&self.server, &self.client, &self.to_client),
            Way::ToServer | Way::Both => (&self.client, &self.server, &self.to_server),
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(bytes @ 1..) = from.read(&mut buffer) else { return };
            let delay = shared.rules().delay;
            if !delay.is_zero() {
                thread::sleep(delay);
            }
            if direction.swallows.load(Ordering::SeqCst) {
                continue;
            }
            if self.loses(way, &buffer[..bytes], shared) {
                shared.lost.fetch_add(1, Ordering::SeqCst);
                // The server's side stays open: what it was asked is done, whoever hears of it.
                self.swallow(Way::Both);
                let _ = self.client.shutdown(Shutdown::Both);
                return;
            }
            if to.write_all(&buffer[..bytes]).is_err() {
                return;
            }
        }
    }

    /// Whether this is an answer that is to be lost.
    fn loses(&self, way: Way, bytes: &[u8], shared: &Shared) -> bool {
        let mut rules = shared.rules();
        match way {
            Way::ToClient => {
                self.deaf.load(Ordering::SeqCst) || Shared::meets(&mut rules.lost_answers, bytes)
            }
            Way::ToServer | Way::Both => {
                if Shared::meets(&mut rules.unanswered, bytes) {
                    self.deaf.store(true, Ordering::SeqCst);
                }
                false
            }
        }
    }

    /// One side is closed: so is the other, unless nothing gets through to it.
    fn ended(self: Arc<Self>, way: Way, shared: &Shared) {
        if self.is_half_open() && !shared.ended.load(Ordering::SeqCst) {
            return;
        }
        lock(&shared.links).retain(|link| !Arc::ptr_eq(link, &self));
        let to = if way == Way::ToClient { &self.client } else { &self.server };
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// Makes the closing of this socket a reset, and whoever reads from it stop.
fn abort(stream: &TcpStream) {
    // A socket that refuses is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
