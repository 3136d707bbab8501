//! What can be seen of a queue beside its jobs: its workers, its series of finished jobs, who owns a deduplication id.

use std::collections::BTreeMap;

use jobcell_core::store::{Page, Series};
use jobcell_core::{Admin, JobState, QueueName};
use serde::Serialize;

use super::super::args::OneCommand;
use super::super::author::{Author, Deed};
use super::super::console::{Console, duration, table, time, visible};
use super::super::exit::{Exit, Failure};
use super::limits::{self, Change};

const MINUTE_MS: u64 = 60_000;

#[derive(Serialize)]
struct WorkerView {
    name: Option<String>,
    address: String,
    age_seconds: u64,
}

#[derive(Serialize)]
struct SeriesView {
    total: u64,
    /// The end of the newest minute counted, ms since 1970.
    until: Option<u64>,
    points: Vec<u64>,
}

#[derive(Serialize)]
struct MetricsView<'a> {
    name: &'a str,
    completed: SeriesView,
    failed: SeriesView,
}

/// Runs the command on this queue, which is its own.
pub(super) async fn run(
    store: &dyn Admin,
    queue: &QueueName,
    command: OneCommand,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        OneCommand::Rate { queue: _, rate, off, rest } => {
            limits::rate(store, queue, Change::of(rate, off), rest, author, console).await?;
        }
        OneCommand::Concurrency { queue: _, max, off } => {
            limits::concurrency(store, queue, Change::of(max, off), author, console).await?;
        }
        OneCommand::Workers { queue: _ } => workers(store, queue, console).await?,
        OneCommand::Metrics { queue: _, limit } => metrics(store, queue, limit, console).await?,
        OneCommand::Dedup { queue: _, id, release } => {
            return deduplication(store, queue, &id, release, author, console).await;
        }
    }
    Ok(Exit::Done)
}

async fn workers(store: &dyn Admin, queue: &QueueName, console: &mut Console<'_>) -> Result<(), Failure> {
    let seen = store.workers(queue).await?;
    if seen.is_empty() {
        console.note(&visible(&format!("no worker waits on queue {queue}")));
    }
    let view = |worker: jobcell_core::store::WorkerSeen| WorkerView {
        name: worker.name,
        address: worker.address,
        age_seconds: worker.age.as_secs(),
    };
    let views: Vec<WorkerView> = seen.into_iter().map(view).collect();
    console.answer(&views, |views| {
        let row = |WorkerView { name, address, age_seconds }: &WorkerView| {
            let age = duration(std::time::Duration::from_secs(*age_seconds));
            vec![visible(name.as_deref().unwrap_or("-")), visible(address), age]
        };
        if views.is_empty() {
            return String::new();
        }
        table(&["NAME", "ADDRESS", "CONNECTED FOR"], &views.iter().map(row).collect::<Vec<_>>())
    })
}

async fn metrics(
    store: &dyn Admin,
    queue: &QueueName,
    limit: u64,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let completed = store.series(queue, JobState::Completed, Page::first(limit)).await?;
    let failed = store.series(queue, JobState::Failed, Page::first(limit)).await?;
    if completed.total + failed.total == 0 {
        console.note(&visible(&format!(
            "no worker has counted ends of queue {queue}; set metrics-points in [queues.{queue}] to keep them by the minute"
        )));
    }
    let minutes = by_minute(&completed, &failed);
    let totals = (completed.total, failed.total);
    let value = MetricsView { name: queue.as_str(), completed: view(completed), failed: view(failed) };
    console.answer(&value, |_| {
        let rows = minutes.iter().rev().take(usize::try_from(limit).unwrap_or(usize::MAX));
        let row = |(minute, [completed, failed]): (&u64, &[u64; 2])| {
            vec![time(*minute * MINUTE_MS), completed.to_string(), failed.to_string()]
        };
        let mut rows: Vec<Vec<String>> = rows.map(row).collect();
        rows.push(vec!["all".to_owned(), totals.0.to_string(), totals.1.to_string()]);
        table(&["MINUTE", ">COMPLETED", ">FAILED"], &rows)
    })
}

fn view(Series { total, last, points, .. }: Series) -> SeriesView {
    SeriesView { total, until: last.map(|at| at / MINUTE_MS * MINUTE_MS), points }
}

/// Both series over the minutes they were counted in: their newest points are not of the same one.
fn by_minute(completed: &Series, failed: &Series) -> BTreeMap<u64, [u64; 2]> {
    let mut minutes: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for (which, series) in [completed, failed].into_iter().enumerate() {
        let Some(last) = series.last else { continue };
        for (back, count) in (1..).zip(&series.points) {
            minutes.entry((last / MINUTE_MS).saturating_sub(back)).or_default()[which] = *count;
        }
    }
    minutes
}

async fn deduplication(
    store: &dyn Admin,
    queue: &QueueName,
    id: &str,
    release: bool,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let owner = store.deduplication_owner(queue, id).await?;
    let owner = owner.as_ref().map(jobcell_core::JobId::as_str);
    let mut released = false;
    if release {
        let deed = Deed::new("queue dedup release", format_args!("{queue}/{id}"))
            .from(serde_json::json!({ "owner": owner }));
        released = author.record(deed, store.release_deduplication(queue, id).await).await?;
    }
    let value =
        serde_json::json!({ "id": id, "queue": queue.as_str(), "owner": owner, "released": released });
    console.answer(&value, |_| match owner {
        None => String::new(),
        Some(owner) if released => format!("{id} is free; job {owner} owned it\n"),
        Some(owner) => format!("{owner}\n"),
    })?;
    if owner.is_none() {
        console.note(&visible(&format!("nobody owns deduplication id {id:?} of queue {queue}")));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

// === impl OneCommand ===

impl OneCommand {
    /// The queue it is about.
    pub(super) fn queue(&self) -> &str {
        match self {
            Self::Rate { queue, .. }
            | Self::Concurrency { queue, .. }
            | Self::Workers { queue }
            | Self::Metrics { queue, .. }
            | Self::Dedup { queue, .. } => queue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_series_are_laid_over_the_same_minutes() {
        let series = |last: u64, points: &[u64]| Series {
            last: Some(last * MINUTE_MS + 30_000),
            points: points.to_vec(),
            ..Series::default()
        };
        let minutes = by_minute(&series(100, &[3, 0, 5]), &series(98, &[1]));
        assert_eq!(minutes.into_iter().collect::<Vec<_>>(), [(97, [5, 1]), (98, [0, 0]), (99, [3, 0])]);
    }
}
