//! What is known of a queue, read from the store and the fleet. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jobcell_core::fleet::{HostStatus, Phase};
use jobcell_core::store::{Counts, Elsewhere, Limits, Page};
use jobcell_core::{Job, JobId, JobState, Millis, QueueName, StoreError};

use super::Scope;
use crate::config::Protocol;

/// Jobs whose names are looked at: those that run next, and those that failed last.
const SAMPLE: u64 = 100;
/// Parents that are looked at, and children of each.
const PARENTS: u64 = 10;
const CHILDREN: u64 = 10;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What takes a few calls.
    Cheap,
    /// Other prefixes and databases too, which may take seconds.
    Deep,
}

/// What is known of a queue. What could not be read is empty.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) queue: String,
    /// Its handlers by job name; none when the configuration does not have the queue.
    pub(super) handlers: Option<BTreeMap<String, String>>,
    /// It is a plain list.
    pub(super) is_list: bool,
    pub(super) prefix: String,
    pub(super) counts: Counts,
    pub(super) limits: Limits,
    /// The delayed job that is due first, and in how long.
    pub(super) next_due: Option<(String, Duration)>,
    /// How many of the jobs that run next have which name.
    pub(super) names: BTreeMap<String, u64>,
    /// How many of the jobs that failed last had a name that no handler takes.
    pub(super) unhandled: u64,
    /// Hosts that work it.
    pub(super) hosts: Vec<HostFact>,
    /// Hosts that live and do not; none when they cannot be read.
    pub(super) idle_hosts: Option<u64>,
    /// Workers that wait on it; none where the store does not tell.
    pub(super) workers: Option<u64>,
    /// Queues that are configured here or worked by somebody.
    pub(super) known: BTreeSet<String>,
    pub(super) orphans: Vec<Orphan>,
    pub(super) elsewhere: Option<Elsewhere>,
}

/// A host that works the queue.
#[derive(Debug, Clone, Default)]
pub(super) struct HostFact {
    pub(super) id: String,
    /// Takes no new jobs.
    pub(super) quiet: bool,
    pub(super) active: u64,
    pub(super) concurrency: u64,
    pub(super) cells_active: u64,
    pub(super) cells_max: u64,
    /// Handlers of the queue that do not run there as wanted, and why.
    pub(super) lags: Vec<(String, String)>,
}

/// A parent that waits in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    pub(super) parent: String,
    pub(super) child: String,
    /// The queue of the child where nobody works that; none where the child does not exist.
    pub(super) unworked: Option<String>,
}

/// Jobs that wait for a worker or for their time.
pub(super) fn waiting(counts: &Counts) -> u64 {
    [JobState::Waiting, JobState::Prioritized, JobState::Delayed].map(|state| counts.get(state)).iter().sum()
}

// === impl Facts ===

impl Facts {
    pub(super) async fn read(
        scope: &Scope<'_>,
        queue: &QueueName,
        depth: Depth,
        now: Millis,
    ) -> Result<Self, StoreError> {
        let (store, worked) = (scope.store, scope.worked());
        let config = scope.config.queues.get(queue.as_str());
        let counts = store.counts(queue).await?;
        let mut limits = store.limits(queue).await.unwrap_or_default();
        limits.paused |= store.is_paused(queue).await.unwrap_or_default();
        let handlers = config.map(|config| config.handlers.clone());
        let here = worked.get(queue.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut known: BTreeSet<String> = worked.keys().map(|name| (*name).to_owned()).collect();
        known.extend(scope.config.queues.keys().cloned());
        known.remove(queue.as_str());
        let mut facts = Self {
            queue: queue.to_string(),
            is_list: config.is_some_and(|config| matches!(config.protocol, Protocol::List(_))),
            prefix: scope.prefix.to_owned(),
            limits,
            hosts: here.iter().map(|host| HostFact::of(host, queue, handlers.as_ref())).collect(),
            idle_hosts: scope.hosts.as_ref().map(|hosts| (hosts.len() - here.len()) as u64),
            handlers,
            workers: store.workers(queue).await.ok().map(|workers| workers.len() as u64),
            known,
            ..Self::default()
        };
        facts.read_jobs(scope, queue, &counts, now).await;
        if counts.get(JobState::WaitingChildren) > 0 {
            facts.orphans = orphans(scope, queue, &worked.into_keys().collect()).await;
        }
        facts.counts = counts;
        if depth == Depth::Deep {
            facts.elsewhere = store.elsewhere(queue).await.ok();
        }
        Ok(facts)
    }

    /// Looks at some of the jobs themselves.
    async fn read_jobs(&mut self, scope: &Scope<'_>, queue: &QueueName, counts: &Counts, now: Millis) {
        let some = async |state: JobState, most: u64| match counts.get(state) {
            0 => Vec::new(),
            _ => scope.store.list(queue, state, Page::first(most)).await.unwrap_or_default(),
        };
        for state in [JobState::Waiting, JobState::Prioritized] {
            for job in some(state, SAMPLE).await {
                *self.names.entry(job.name).or_default() += 1;
            }
        }
        self.next_due = some(JobState::Delayed, 1).await.first().map(|job| {
            let due = Duration::from_millis(due(job).saturating_sub(now));
            (job.id.to_string(), due)
        });
        let failed = some(JobState::Failed, SAMPLE).await;
        let is_unhandled = |job: &&Job| {
            let reason = job.failed_reason.as_deref().unwrap_or_default();
            // As `Routes::nobody` says it.
            reason.starts_with("no handler takes jobs named")
        };
        self.unhandled = failed.iter().filter(is_unhandled).count() as u64;
    }
}

/// About when a delayed job is due: what it is delayed by counts from when it was added or ran last.
fn due(job: &Job) -> Millis {
    job.timestamp.max(job.processed_on.unwrap_or(0)).saturating_add(job.delay)
}

/// Parents that wait for a child that is gone, or that nobody runs.
async fn orphans(scope: &Scope<'_>, queue: &QueueName, worked: &BTreeSet<&str>) -> Vec<Orphan> {
    let mut orphans = Vec::new();
    let parents = scope.store.list(queue, JobState::WaitingChildren, Page::first(PARENTS)).await;
    for parent in parents.unwrap_or_default() {
        let Ok(children) = scope.store.children(queue, &parent.id, CHILDREN).await else { continue };
        for key in children.pending {
            let Some((of, id)) = child_of(scope.prefix, &key) else { continue };
            let Ok(state) = scope.store.state(&of, &id).await else { continue };
            let waits = matches!(state, Some(JobState::Waiting | JobState::Prioritized));
            let unworked = (waits && !worked.contains(of.as_str())).then(|| of.to_string());
            if state.is_none() || unworked.is_some() {
                orphans.push(Orphan { parent: parent.id.to_string(), child: key, unworked });
            }
        }
    }
    orphans
}

/// `<prefix>:<queue>:<id>`; an id may have colons, a queue's name has none.
fn child_of(prefix: &str, key: &str) -> Option<(QueueName, JobId)> {
    let (queue, id) = key.strip_prefix(prefix)?.strip_prefix(':')?.split_once(':')?;
    Some((QueueName::new(queue).ok()?, JobId::new(id).ok()?))
}

// === impl HostFact ===

impl HostFact {
    fn of(host: &HostStatus, queue: &QueueName, handlers: Option<&BTreeMap<String, String>>) -> Self {
        let slots = host.queues.iter().find(|slots| slots.name == queue.as_str());
        let of_queue: BTreeSet<&String> = handlers.into_iter().flat_map(BTreeMap::values).collect();
        let lags = of_queue.into_iter().filter_map(|name| {
            let lag = host.handlers.get(name)?.lag.clone()?;
            Some((name.clone(), lag))
        });
        Self {
            id: host.id.clone(),
            quiet: matches!(host.phase, Phase::Quiet | Phase::Stopping),
            active: slots.map_or(0, |slots| u64::from(slots.active)),
            concurrency: slots.map_or(0, |slots| u64::from(slots.concurrency)),
            cells_active: u64::from(host.cells.active),
            cells_max: u64::from(host.cells.max),
            lags: lags.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_child_is_taken_apart_where_its_id_has_colons_too() {
        let (queue, id) = child_of("a:b", "a:b:mail:repeat:x:1").unwrap();
        assert_eq!((queue.as_str(), id.as_str()), ("mail", "repeat:x:1"));
        assert!(child_of("bull", "other:mail:1").is_none() && child_of("bull", "bull:mail").is_none());
    }

    #[test]
    fn a_delay_counts_from_the_last_run() {
        let mut job = Job::new(JobId::new("1").unwrap(), "n", "{}");
        (job.timestamp, job.delay) = (1_000, 500);
        assert_eq!(due(&job), 1_500);
        job.processed_on = Some(5_000);
        assert_eq!(due(&job), 5_500);
    }
}
