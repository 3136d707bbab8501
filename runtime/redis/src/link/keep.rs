//! Keeping a connection up, for as long as anybody wants one.
//!
//! A broken connection is opened anew, for ever, with growing pauses. One that looks well is pinged, so that a break is
//! noticed without traffic. An unanswered ping alone proves nothing, because a server that forks or runs a long script
//! answers nobody for a while; so a second connection is opened beside the first, and the one that answers stays, the
//! first when both do.

use std::time::{Duration, Instant};

use redis::{Cmd, RedisError, Value};
use tokio::time::{sleep, timeout};

use super::backoff::{Backoff, open_beside_each_other};
use super::node::{CLOSED, Inner, Seat, State};
use crate::connect::{Address, CONNECT_TIMEOUT, Connection};

/// Time between pings, which bounds how long a silent break goes unnoticed on an idle host.
const PING_EVERY: Duration = Duration::from_millis(500);
/// Silence after which a second connection is opened beside the first.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How much longer than a connection opened later the first one may take: a server that was busy answers both at once.
const AFTER_MAX: Duration = Duration::from_millis(200);
/// How often silence is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A connection that lived so long was a good one: the next is opened soon. One that broke at once was not.
const GOOD: Duration = Duration::from_secs(5);

/// What becomes of a connection.
enum Next {
    /// It was given up.
    Gone,
    /// This one takes its place.
    Replaced(Connection, Address),
}

/// How a ping ended.
enum Pinged {
    Answered(Result<Value, RedisError>),
    /// It was another connection that was given up.
    Again,
    Next(Next),
}

// === impl Inner ===

impl Inner {
    /// Keeps a connection up for as long as anybody wants one.
    pub(super) async fn supervise(&self) {
        let mut backoff = Backoff::default();
        loop {
            let current = match &*self.state() {
                State::Up { connection, seat, since } => Some((connection.clone(), seat.clone(), *since)),
                State::Opening | State::Down { .. } => None,
            };
            match current {
                Some((connection, seat, since)) => {
                    let next = self.keep(&connection, &seat).await;
                    drop(connection);
                    if since.elapsed() > GOOD {
                        backoff.reset();
                    }
                    if let Next::Replaced(connection, address) = next {
                        tracing::warn!(from = %seat.address, to = %address, "redis connection replaced");
                        self.rise(connection, address);
                    }
                }
                None => self.reconnect(&mut backoff).await,
            }
        }
    }

    async fn reconnect(&self, backoff: &mut Backoff) {
        let is_first = matches!(&*self.state(), State::Opening);
        let pause = backoff.next_pause();
        if !is_first {
            sleep(pause).await;
        }
        match open_beside_each_other(|| self.target.open(&self.options, CONNECT_TIMEOUT)).await {
            Ok((connection, address)) => {
                if !is_first {
                    tracing::info!(%address, tries = backoff.tries(), "redis connection is back");
                }
                self.rise(connection, address);
            }
            Err(e) => {
                self.replace(State::Down { cause: e.to_string() });
                self.changes.tell();
            }
        }
    }

    /// Takes a new connection into use.
    fn rise(&self, connection: Connection, address: Address) {
        let seat = Seat { address, number: self.changes.tell() };
        let before = self.replace(State::Up { connection, seat, since: Instant::now() });
        if let State::Up { connection, .. } = before {
            // What is still unanswered there would be waited for in vain.
            connection.close();
        }
        self.changes.tell();
        if self.closed.is_cancelled()
            && let State::Up { connection, .. } = self.replace(State::Down { cause: CLOSED.to_owned() })
        {
            connection.close();
        }
    }

    /// Watches a connection until it is of no use any more.
    async fn keep(&self, connection: &Connection, seat: &Seat) -> Next {
        let ping = redis::cmd("PING");
        loop {
            tokio::select! {
                () = self.given_up.notified() => if !self.holds(seat) { return Next::Gone },
                () = sleep(PING_EVERY) => {}
            }
            let answered = match self.answered(connection, seat, &ping).await {
                Pinged::Answered(answered) => answered,
                Pinged::Next(next) => return next,
                Pinged::Again => continue,
            };
            self.check(&answered, seat);
            if !self.holds(seat) {
                return Next::Gone;
            }
            if self.target.has_moved(&self.options, &seat.address).await
                && let Ok((other, address)) = self.target.open(&self.options, CONNECT_TIMEOUT).await
                && address != seat.address
            {
                return Next::Replaced(other, address);
            }
        }
    }

    /// Waits for the answer to a ping, and for another connection beside when it stays out in silence.
    async fn answered(&self, connection: &Connection, seat: &Seat, ping: &Cmd) -> Pinged {
        let mut answer = std::pin::pin!(connection.call(ping));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Pinged::Answered(answer),
                () = self.given_up.notified() => if !self.holds(seat) { return Pinged::Next(Next::Gone) },
                () = sleep(LOOK_EVERY) => {}
            }
            if connection.idle() < SILENCE_MAX {
                continue;
            }
            tracing::debug!(address = %seat.address, "redis is silent; opening another connection beside");
            tokio::select! {
                biased;
                answer = &mut answer => return Pinged::Answered(answer),
                () = self.given_up.notified() => {
                    return if self.holds(seat) { Pinged::Again } else { Pinged::Next(Next::Gone) };
                }
                (other, address) = self.open_beside() => match timeout(AFTER_MAX, &mut answer).await {
                    Ok(answer) => return Pinged::Answered(answer),
                    // It is not silent any more: what was called before the ping is being answered, and a large reply
                    // takes its time.
                    Err(_) if connection.idle() < SILENCE_MAX => {}
                    Err(_) => return Pinged::Next(Next::Replaced(other, address)),
                },
            }
        }
    }

    /// Whether this is still the connection in use.
    fn holds(&self, seat: &Seat) -> bool {
        matches!(&*self.state(), State::Up { seat: current, .. } if current == seat)
    }

    /// A connection that answers, however long it takes.
    async fn open_beside(&self) -> (Connection, Address) {
        let mut backoff = Backoff::default();
        loop {
            let pause = backoff.next_pause();
            match open_beside_each_other(|| self.target.open(&self.options, CONNECT_TIMEOUT)).await {
                Ok(opened) => return opened,
                Err(cause) => tracing::debug!(%cause, "no other connection yet"),
            }
            sleep(pause).await;
        }
    }
}
