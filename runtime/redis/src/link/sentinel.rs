//! Asking sentinels who the master is.
//!
//! All are asked at once, and the one with the newest configuration is believed: after a failover a sentinel that was
//! cut off goes on naming the old master. Whoever is named must say itself that it is a master before it is used.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::Value;
use tokio::time::{Instant, timeout_at};

use crate::connect::{Address, ConnectError, ConnectOptions, Connection, Place, Use};
use crate::error;
use crate::reply;

/// How long a sentinel may take to answer. They do nothing but watch, so that a silent one is a dead one.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How much longer than the first the others may take: the machine of a dead master often takes a sentinel along.
const OTHERS_MAX: Duration = Duration::from_millis(200);
/// Time between questions while a master is tried.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The sentinels of one master.
pub(super) struct Sentinels {
    sentinels: Vec<Address>,
    master: String,
    /// One to each, opened when needed.
    connections: Mutex<Vec<Option<Connection>>>,
}

/// What one sentinel says: the master and how new its configuration is. None when it watches no such master.
type Opinion = Option<(Address, u64)>;

// === impl Sentinels ===

impl Sentinels {
    pub(super) fn new(sentinels: Vec<Address>, master: String) -> Self {
        let connections = Mutex::new(sentinels.iter().map(|_| None).collect());
        Self { sentinels, master, connections }
    }

    /// The masters that are named, the most believable first.
    pub(super) async fn ask(&self, options: &ConnectOptions) -> Result<Vec<Address>, ConnectError> {
        let mut asked: FuturesUnordered<_> =
            (0..self.sentinels.len()).map(|n| self.ask_one(options, n)).collect();
        let (mut named, mut faults): (Vec<(Address, u64, usize)>, _) = (Vec::new(), Vec::new());
        let mut unknown = false;
        let mut until = Instant::now() + 2 * ANSWER_MAX;
        while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
            match answer {
                Ok(Some((address, epoch))) => {
                    until = until.min(Instant::now() + OTHERS_MAX);
                    match named.iter_mut().find(|(known, ..)| *known == address) {
                        Some((_, newest, votes)) => {
                            *newest = epoch.max(*newest);
                            *votes += 1;
                        }
                        None => named.push((address, epoch, 1)),
                    }
                }
                Ok(None) => unknown = true,
                Err(fault) => faults.push(fault),
            }
        }
        if named.is_empty() {
            return Err(match unknown {
                true => ConnectError::UnknownMaster {
                    sentinels: crate::connect::list(&self.sentinels),
                    master: self.master.clone(),
                },
                false => ConnectError::of_all(&self.place(), faults),
            });
        }
        named.sort_by_key(|(_, epoch, votes)| std::cmp::Reverse((*epoch, *votes)));
        Ok(named.into_iter().map(|(address, ..)| address).collect())
    }

    /// A connection to the master, opened within this time. Cancel safe.
    pub(super) async fn open(
        &self,
        options: &ConnectOptions,
        purpose: Use<'_>,
        within: Duration,
    ) -> Result<(Connection, Address), ConnectError> {
        let mut faults = Vec::new();
        for address in self.ask(options).await? {
            // A dead master takes all the time there is to show it; meanwhile another may have become it.
            let opened = tokio::select! {
                opened = self.open_master(options, &address, purpose, within) => opened,
                () = self.until_other(options, &address) => Err(self.passing(format!("{address} is not the master any more"))),
            };
            match opened {
                Ok(connection) => return Ok((connection, address)),
                Err(fault) => faults.push(fault),
            }
        }
        Err(ConnectError::of_all(&self.place(), faults))
    }

    async fn open_master(
        &self,
        options: &ConnectOptions,
        address: &Address,
        purpose: Use<'_>,
        within: Duration,
    ) -> Result<Connection, ConnectError> {
        let connection = options.open(address, purpose, within).await?;
        let role = tokio::time::timeout(within, connection.call(&redis::cmd("ROLE"))).await;
        let role = role.map_err(|_| options.timed_out(address, within))?;
        let role = match role {
            Ok(role) => {
                reply::array(role).ok().and_then(|parts| reply::text(parts.into_iter().next()?).ok()?)
            }
            // Who may not ask finds out with the first write, which a replica refuses.
            Err(e) if error::keeps_out(&e) => return Ok(connection),
            Err(e) => return Err(self.passing(format!("{address}: {}", error::describe(&e)))),
        };
        match role.as_deref() {
            Some("master") => Ok(connection),
            _ => Err(self.passing(format!("{address} is not the master (yet)"))),
        }
    }

    /// Until the sentinels name another master first.
    async fn until_other(&self, options: &ConnectOptions, address: &Address) {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if self.ask(options).await.is_ok_and(|named| named.first().is_some_and(|first| first != address))
            {
                return;
            }
        }
    }

    fn place(&self) -> Place {
        Place::Sentinels { sentinels: self.sentinels.clone(), master: self.master.clone() }
    }

    fn passing(&self, cause: String) -> ConnectError {
        ConnectError::NoMaster {
            sentinels: crate::connect::list(&self.sentinels),
            master: self.master.clone(),
            cause,
        }
    }

    async fn ask_one(&self, options: &ConnectOptions, n: usize) -> Result<Opinion, ConnectError> {
        let address = &self.sentinels[n];
        let known = self.connections.lock().unwrap_or_else(PoisonError::into_inner)[n].take();
        let connection = match known {
            Some(connection) => connection,
            None => {
                let purpose = Use { silence_max: Some(ANSWER_MAX), name: "jobcell", to_sentinel: true };
                options.open(address, purpose, ANSWER_MAX).await?
            }
        };
        let mut both = redis::pipe();
        both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        both.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        let replies = connection.call_all(&both).await;
        let replies = replies.map_err(|e| options.of_setup(address, true, &e))?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(connection);
        opinion(options, replies, address)
    }
}

/// Takes the two replies apart. A user who may not ask for details is told the address all the same.
fn opinion(options: &ConnectOptions, replies: Vec<Value>, asked: &Address) -> Result<Opinion, ConnectError> {
    let mut replies = replies.into_iter();
    let (named, details) = (replies.next().unwrap_or(Value::Nil), replies.next().unwrap_or(Value::Nil));
    if let Value::ServerError(e) = named {
        return Err(options.of_setup(asked, true, &e.into()));
    }
    let epoch = reply::pairs(details).ok().and_then(|pairs| {
        let (_, epoch) = pairs.into_iter().find(|(key, _)| key == "config-epoch")?;
        epoch.parse().ok()
    });
    let mut parts = reply::texts(named).unwrap_or_default().into_iter();
    let (Some(host), Some(port)) = (parts.next(), parts.next().and_then(|port| port.parse().ok())) else {
        return Ok(None);
    };
    Ok(Some((Address::Tcp { host, port }, epoch.unwrap_or(0))))
}
