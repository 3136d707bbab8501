//! Burst mode: ends all workers of a host once none of their queues has anything to do. One queue alone cannot tell,
//! because a job of another may put something on it. The pending jobs of schedulers are not waited for: there is always
//! a next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Phase;
use crate::job::JobState;
use crate::names::QueueName;
use crate::store::{Page, Store};

/// How long to wait before looking again when something is left that no worker of this host works on: a delayed job,
/// or one that another host runs.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Delayed jobs looked at in one call. Most often the first one tells already.
const LOOKED_AT_ONCE: u64 = 50;

/// How many workers have something to do, and how often that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    busy: usize,
    changes: u64,
}

/// One worker's share of the [`Activity`]. Busy from the start.
pub(super) struct Busy {
    activity: Arc<watch::Sender<Activity>>,
    busy: bool,
}

impl Busy {
    /// One for each of so many workers.
    pub(super) fn shares(workers: usize) -> (Vec<Self>, watch::Receiver<Activity>) {
        let activity = Arc::new(watch::Sender::new(Activity { busy: workers, changes: 0 }));
        let receiver = activity.subscribe();
        let share = || Self { activity: Arc::clone(&activity), busy: true };
        (std::iter::repeat_with(share).take(workers).collect(), receiver)
    }

    pub(super) fn set(&mut self, busy: bool) {
        if std::mem::replace(&mut self.busy, busy) != busy {
            self.activity.send_modify(|activity| {
                activity.changes += 1;
                if busy {
                    activity.busy += 1;
                } else {
                    activity.busy -= 1;
                }
            });
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Asks all workers to end once there is nothing waiting, delayed or running on any queue.
pub(super) async fn end_when_done(
    store: Arc<dyn Store>,
    queues: Vec<QueueName>,
    mut activity: watch::Receiver<Activity>,
    phase: Arc<watch::Sender<Phase>>,
) {
    loop {
        let Ok(idle) = activity.wait_for(|activity| activity.busy == 0).await.map(|idle| *idle) else {
            return;
        };
        if is_empty(&*store, &queues).await && *activity.borrow() == idle {
            // Nobody did anything while the queues were counted one after the other, so together they were empty.
            phase.send_if_modified(|phase| {
                std::mem::replace(phase, (*phase).max(Phase::Drain)) < Phase::Drain
            });
            return;
        }
        tokio::select! {
            _ = activity.changed() => {}
            () = sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn is_empty(store: &dyn Store, queues: &[QueueName]) -> bool {
    for queue in queues {
        // A store that does not answer says nothing about what is in it.
        let Ok(counts) = store.counts(queue).await else { return false };
        let delayed = counts.get(JobState::Delayed);
        if counts.pending() > delayed || !is_scheduled(store, queue, delayed).await {
            return false;
        }
    }
    true
}

/// Whether all delayed jobs of the queue are the first runs of jobs that schedulers made.
async fn is_scheduled(store: &dyn Store, queue: &QueueName, delayed: u64) -> bool {
    let mut offset = 0;
    while offset < delayed {
        let page = Page { offset, limit: LOOKED_AT_ONCE };
        let Ok(jobs) = store.list(queue, JobState::Delayed, page).await else { return false };
        if !jobs.iter().all(|job| job.scheduler.is_some() && job.attempts_started == 0) {
            return false;
        }
        offset += LOOKED_AT_ONCE;
    }
    true
}
