//! Figures of a fleet: what two looks at it, a moment apart, say.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_core::JobState;
use jobcell_core::fleet::{HostStatus, VersionCounts};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::exit::Failure;
use crate::cli::host::{QueueStanding, Reach, short};

/// One look.
#[derive(Debug)]
pub(in crate::cli) struct Snapshot {
    at: Instant,
    queues: Vec<QueueStanding>,
    hosts: Vec<HostStatus>,
}

/// What two looks say.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Figures {
    /// Over so many seconds rates were measured.
    pub(in crate::cli) seconds: f64,
    pub(in crate::cli) queues: Vec<QueueFigures>,
    pub(in crate::cli) handlers: Vec<HandlerFigures>,
    pub(in crate::cli) hosts: Vec<HostStatus>,
}

/// A queue's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct QueueFigures {
    pub(in crate::cli) name: String,
    pub(in crate::cli) paused: bool,
    pub(in crate::cli) waiting: u64,
    pub(in crate::cli) prioritized: u64,
    pub(in crate::cli) delayed: u64,
    pub(in crate::cli) active: u64,
    pub(in crate::cli) waiting_children: u64,
    pub(in crate::cli) completed: u64,
    pub(in crate::cli) failed: u64,
    /// None where nobody counts ends.
    pub(in crate::cli) completed_per_second: Option<f64>,
    pub(in crate::cli) failed_per_second: Option<f64>,
}

/// A version's over all hosts.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct HandlerFigures {
    pub(in crate::cli) name: String,
    /// The first 12 hex digits of its digest.
    pub(in crate::cli) version: String,
    /// Hosts on which new jobs run on it.
    pub(in crate::cli) hosts: u64,
    /// Attempts that ended.
    pub(in crate::cli) per_second: f64,
    /// Of those that ended between the looks, or where none did, of all.
    pub(in crate::cli) failure_ratio: Option<f64>,
    pub(in crate::cli) p50_ms: Option<u64>,
    pub(in crate::cli) p99_ms: Option<u64>,
}

// === impl Snapshot ===

impl Snapshot {
    pub(in crate::cli) async fn take(reach: &Reach) -> Result<Self, Failure> {
        let (queues, hosts) = futures::try_join!(reach.queues(), reach.hosts())?;
        Ok(Self { at: Instant::now(), queues, hosts })
    }

    /// Counts by handler and version, of all hosts; and how many hosts run that version.
    fn versions(&self) -> BTreeMap<(&str, &str), (VersionCounts, u64)> {
        let mut all: BTreeMap<(&str, &str), (VersionCounts, u64)> = BTreeMap::new();
        for (name, handler) in self.hosts.iter().flat_map(|host| &host.handlers) {
            for (digest, counts) in &handler.counts {
                all.entry((name, digest)).or_default().0.add(counts);
            }
            if let Some(active) = &handler.active {
                all.entry((name, active)).or_default().1 += 1;
            }
        }
        all
    }
}

// === impl Figures ===

impl Figures {
    pub(in crate::cli) fn between(before: &Snapshot, now: &Snapshot) -> Self {
        let apart = now.at.saturating_duration_since(before.at).max(Duration::from_millis(1));
        let seconds = apart.as_secs_f64();
        let queue = |queue: &QueueStanding| {
            let earlier = before.queues.iter().find(|earlier| earlier.name == queue.name);
            QueueFigures::new(queue, earlier, seconds)
        };
        let earlier = before.versions();
        let handler = |((name, digest), (counts, hosts)): ((&str, &str), (VersionCounts, u64))| {
            let since =
                earlier.get(&(name, digest)).map_or(counts.clone(), |(before, _)| counts.since(before));
            HandlerFigures::new((name, digest), &counts, &since, hosts, seconds)
        };
        Self {
            seconds,
            queues: now.queues.iter().map(queue).collect(),
            handlers: now.versions().into_iter().map(handler).collect(),
            hosts: now.hosts.clone(),
        }
    }
}

// === impl QueueFigures ===

impl QueueFigures {
    pub(in crate::cli) const TITLES: [&'static str; 8] =
        ["queue", ">waiting", ">delayed", ">active", ">completed", ">failed", ">done/s", ">failed/s"];

    fn new(now: &QueueStanding, before: Option<&QueueStanding>, seconds: f64) -> Self {
        let of = |state| now.counts.get(state);
        let earlier = before.and_then(|before| before.finished);
        let both = now.finished.zip(earlier);
        Self {
            name: now.name.clone(),
            paused: now.paused,
            waiting: of(JobState::Waiting),
            prioritized: of(JobState::Prioritized),
            delayed: of(JobState::Delayed),
            active: of(JobState::Active),
            waiting_children: of(JobState::WaitingChildren),
            completed: of(JobState::Completed),
            failed: of(JobState::Failed),
            completed_per_second: both.map(|(now, then)| rate(now.completed, then.completed, seconds)),
            failed_per_second: both.map(|(now, then)| rate(now.failed, then.failed, seconds)),
        }
    }

    pub(in crate::cli) fn row(&self) -> Vec<String> {
        let shown = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        vec![
            if self.paused { format!("{} (paused)", self.name) } else { self.name.clone() },
            (self.waiting + self.prioritized).to_string(),
            self.delayed.to_string(),
            self.active.to_string(),
            self.completed.to_string(),
            self.failed.to_string(),
            shown(self.completed_per_second),
            shown(self.failed_per_second),
        ]
    }
}

// === impl HandlerFigures ===

impl HandlerFigures {
    pub(in crate::cli) const TITLES: [&'static str; 7] =
        ["handler", "version", ">hosts", ">done/s", ">failing", ">p50", ">p99"];

    fn new(
        (name, digest): (&str, &str),
        counts: &VersionCounts,
        since: &VersionCounts,
        hosts: u64,
        seconds: f64,
    ) -> Self {
        let newest = if since.attempts() > 0 { since } else { counts };
        Self {
            name: name.to_owned(),
            version: short(digest).to_owned(),
            hosts,
            per_second: rate(since.attempts(), 0, seconds),
            failure_ratio: newest.failure_ratio(),
            p50_ms: newest.quantile_ms(0.5),
            p99_ms: newest.quantile_ms(0.99),
        }
    }

    pub(in crate::cli) fn row(&self) -> Vec<String> {
        let ms = |ms: Option<u64>| match ms {
            None => "-".to_owned(),
            Some(u64::MAX) => "> 60 s".to_owned(),
            Some(ms) => format!("≤ {ms} ms"),
        };
        vec![
            self.name.clone(),
            self.version.clone(),
            self.hosts.to_string(),
            format!("{:.1}", self.per_second),
            self.failure_ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0)),
            ms(self.p50_ms),
            ms(self.p99_ms),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}
