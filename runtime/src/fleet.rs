//! This host as one of a fleet: it writes what it is and does where the others can read it, and does what it is told.
//!
//! One task each for the two. The status is written every [`HEARTBEAT`] and when something changed; a host whose store is
//! away is gone from the list [`EXPIRES`] later and back with its next beat. An order is obeyed once, however often it is
//! read: it is removed by the revision it was read at, and one that was obeyed and could not be removed is remembered.

pub(crate) mod local;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::documents::{Expect, Folder};
use jobcell_core::fleet::{EXPIRES, Fleet, HEARTBEAT, HostHandler, HostStatus, Order, OrderKind, Pending};
use jobcell_core::{Clock, SystemClock};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::host::{Ask, Asked};

/// How long one look for orders waits for a change.
const WAIT: Duration = Duration::from_secs(10);
/// Between two tries while the store is away.
const AWAY: Duration = Duration::from_secs(1);
/// Between two writes for changes of handlers.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long leaving the fleet may take: whoever stops must not hang on a store that is away.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Tells what this host runs of each handler. Must not wait.
pub(crate) type Running = Arc<dyn Fn() -> BTreeMap<String, HostHandler> + Send + Sync>;

/// Knows how this host is. Must not wait.
pub(crate) trait Portrait: Send + Sync + 'static {
    /// How it is now.
    fn status(&self) -> HostStatus;

    /// Is told when the status has changed so much that others should hear of it at once.
    fn changed(&self) -> &Notify;
}

/// This host's membership, from its start to its end.
pub(crate) struct Member {
    id: String,
    fleet: Fleet,
    tasks: TaskTracker,
    leave: CancellationToken,
}

// === impl Member ===

impl Member {
    /// Joins: from now on the others see it, and it does what they ask by way of `asks`.
    pub(crate) fn join(fleet: Fleet, portrait: Arc<dyn Portrait>, asks: mpsc::Sender<Ask>) -> Self {
        let id = portrait.status().id;
        let (tasks, leave) = (TaskTracker::new(), CancellationToken::new());
        let beats = beat(fleet.clone(), portrait);
        tasks.spawn(leave.clone().run_until_cancelled_owned(beats));
        let obeys = obey(fleet.clone(), id.clone(), asks);
        tasks.spawn(leave.clone().run_until_cancelled_owned(obeys));
        tasks.close();
        Self { id, fleet, tasks, leave }
    }

    /// Leaves: the others see at once that it is gone. Takes 2 s at most.
    pub(crate) async fn leave(self) {
        self.leave.cancel();
        self.tasks.wait().await;
        let documents = self.fleet.documents();
        let gone = async {
            documents.remove(Folder::Hosts, &self.id, Expect::Anything).await?;
            documents.remove(Folder::Orders, &self.id, Expect::Anything).await
        };
        match timeout(LEAVE_MAX, gone).await {
            Ok(Ok(_)) => {}
            // It expires by itself.
            Ok(Err(error)) => tracing::debug!(%error, "the fleet could not be told that this host is gone"),
            Err(_) => tracing::debug!("the fleet could not be told in time that this host is gone"),
        }
    }
}

/// Has the status written anew whenever `changes` says that what this host runs of its handlers has changed.
pub(crate) async fn follow_handlers(portrait: Arc<dyn Portrait>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        portrait.changed().notify_one();
        // What changes together is told together.
        sleep(TOGETHER).await;
    }
}

/// Writes the status again and again.
async fn beat(fleet: Fleet, portrait: Arc<dyn Portrait>) {
    let mut is_away = false;
    loop {
        let status = portrait.status();
        let content = status.encode();
        let put = fleet.documents().put(Folder::Hosts, &status.id, content, Expect::Anything, Some(EXPIRES));
        match timeout(EXPIRES, put).await {
            Ok(Ok(_)) => is_away = false,
            failed => {
                // Said once: the store's own faults are logged where jobs need it.
                if !std::mem::replace(&mut is_away, true) {
                    let cause = failed.ok().and_then(Result::err).map(|error| error.to_string());
                    let cause = cause.unwrap_or_else(|| "it did not answer".to_owned());
                    tracing::warn!(cause, "the fleet cannot be told how this host is");
                }
            }
        }
        tokio::select! {
            () = sleep(HEARTBEAT) => {}
            () = portrait.changed().notified() => {}
        }
    }
}

/// Takes orders and has them obeyed, one after the other.
async fn obey(fleet: Fleet, id: String, asks: mpsc::Sender<Ask>) {
    let mut seen = None;
    let mut obeyed = None;
    loop {
        let looked = async {
            seen = Some(fleet.documents().changed(Folder::Orders, seen, WAIT).await?);
            fleet.pending(&id).await
        };
        let pending = match looked.await {
            Ok(pending) => pending,
            Err(error) => {
                tracing::debug!(%error, "orders cannot be read");
                seen = None;
                sleep(AWAY).await;
                continue;
            }
        };
        let revision = match pending {
            None => continue,
            // Obeyed already, and not removed.
            Some(Ok(Pending { revision, .. })) if obeyed == Some(revision) => revision,
            Some(Ok(Pending { order, revision })) => {
                if act(order, &asks).await.is_none() {
                    // The host is ending and listens no more.
                    return;
                }
                revision
            }
            Some(Err((revision, error))) => {
                tracing::warn!(%error, "an order is dropped");
                revision
            }
        };
        obeyed = Some(revision);
        if let Err(error) = fleet.obeyed(&id, revision).await {
            tracing::debug!(%error, "an order that was obeyed cannot be removed");
            seen = None;
            sleep(AWAY).await;
        }
    }
}

/// Has the order obeyed. None when nobody listens any more.
async fn act(order: Order, asks: &mpsc::Sender<Ask>) -> Option<()> {
    let Order { kind, by, at } = order;
    let age_ms = SystemClock.now().saturating_sub(at);
    tracing::info!(order = kind.as_str(), by = ?by, age_ms, "told by the fleet");
    let asked = match kind {
        OrderKind::Quiet => Asked::Quiet,
        OrderKind::Unquiet => Asked::Unquiet,
        OrderKind::Stop => Asked::Stop,
        OrderKind::Reload => Asked::Reload,
    };
    let (done, answered) = oneshot::channel();
    asks.send(Ask { asked, done: Some(done) }).await.ok()?;
    // Faults of a reload are in the log.
    answered.await.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jobcell_core::Documents;
    use jobcell_core::documents::MemoryDocuments;
    use jobcell_core::fleet::Phase;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Fixed {
        status: Mutex<HostStatus>,
        changed: Notify,
    }

    impl Portrait for Fixed {
        fn status(&self) -> HostStatus {
            self.status.lock().unwrap().clone()
        }

        fn changed(&self) -> &Notify {
            &self.changed
        }
    }

    fn fixed() -> Arc<Fixed> {
        let status = HostStatus { id: "a-1-0000".to_owned(), ..HostStatus::default() };
        Arc::new(Fixed { status: Mutex::new(status), changed: Notify::new() })
    }

    async fn until(fleet: &Fleet, is: impl Fn(&[HostStatus]) -> bool) {
        let mut revision = None;
        let found = async {
            loop {
                revision = Some(fleet.documents().changed(Folder::Hosts, revision, PATIENCE).await.unwrap());
                if is(&fleet.hosts().await.unwrap()) {
                    return;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("it is written in time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_is_seen_its_changes_at_once_and_not_after_it_has_left() {
        let fleet = Fleet::new(Arc::new(MemoryDocuments::default()) as Arc<dyn Documents>);
        let (portrait, (asks, _asked)) = (fixed(), mpsc::channel(1));
        let member = Member::join(fleet.clone(), Arc::clone(&portrait) as _, asks);
        until(&fleet, |hosts| hosts.len() == 1 && hosts[0].phase == Phase::Running).await;
        portrait.status.lock().unwrap().phase = Phase::Quiet;
        portrait.changed.notify_one();
        until(&fleet, |hosts| hosts[0].phase == Phase::Quiet).await;
        member.leave().await;
        assert!(fleet.hosts().await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn orders_are_obeyed_once_and_in_turn() {
        let fleet = Fleet::new(Arc::new(MemoryDocuments::default()) as Arc<dyn Documents>);
        let (asks, mut asked) = mpsc::channel(1);
        let member = Member::join(fleet.clone(), fixed(), asks);
        let order = |kind| Order { kind, by: "ops".to_owned(), at: 0 };
        for (kind, expected) in [
            (OrderKind::Quiet, Asked::Quiet),
            (OrderKind::Quiet, Asked::Quiet),
            (OrderKind::Unquiet, Asked::Unquiet),
            (OrderKind::Reload, Asked::Reload),
            (OrderKind::Stop, Asked::Stop),
        ] {
            fleet.order("a-1-0000", &order(kind)).await.unwrap();
            let Ask { asked, done } = timeout(PATIENCE, asked.recv()).await.unwrap().unwrap();
            assert_eq!(asked, expected);
            done.unwrap().send(Ok(jobcell_server::Reloaded::default())).unwrap();
            let mut revision = None;
            let gone = async {
                while fleet.pending("a-1-0000").await.unwrap().is_some() {
                    let changed = fleet.documents().changed(Folder::Orders, revision, PATIENCE).await;
                    revision = Some(changed.unwrap());
                }
            };
            timeout(PATIENCE, gone).await.expect("it is removed once it is obeyed");
        }
        // Nobody is asked again while nothing new comes.
        assert!(timeout(PATIENCE * 3, asked.recv()).await.is_err());
        member.leave().await;
    }
}
