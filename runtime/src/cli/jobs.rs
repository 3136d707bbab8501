//! `jobcell job …`: looking at jobs and changing them.

mod cancel;
mod receipts;

use std::fmt::Write;

use jobcell_core::store::{AttemptReceipt, Page, Removed};
use jobcell_core::{Admin, Clock, Job, JobId, JobState, QueueName, Store, StoreError, SystemClock};
use jobcell_server::JobView;
use serde_json::json;

use super::args::{JobCommand, JobPlace};
use super::author::{Author, Deed};
use super::console::{Console, duration, table, time, visible};
use super::exit::{Exit, Failure};
use super::queues::unknown_queue;

/// Log lines read at once.
const LOG_PAGE: u64 = 1000;

pub(super) async fn run(
    store: &dyn Admin,
    command: JobCommand,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        JobCommand::Get(place) => get(store, &place, console).await?,
        JobCommand::List { queue, state, limit, offset } => {
            let states = if state.is_empty() { JobState::ALL.to_vec() } else { state };
            list(store, &queue, &states, Page { offset, limit }, console).await?;
        }
        JobCommand::Logs(place) => logs(store, &place, console).await?,
        JobCommand::Receipt { job, attempt } => receipts::show(store, &job, attempt, console).await?,
        JobCommand::Cancel(place) => cancel::cancel(store, &place, author, console).await?,
        JobCommand::Retry { job, reset_attempts } => {
            let (queue, id) = named(&job)?;
            let deed = on("job retry", &queue, &id).to(json!({"state": "waiting"}));
            let done = author.record(deed, store.retry(&queue, &id, reset_attempts).await).await;
            told(store, &queue, &id, done).await?;
            changed(&queue, &id, "waiting", "waits to be run again", console)?;
        }
        JobCommand::Promote(place) => {
            let (queue, id) = named(&place)?;
            let deed = on("job promote", &queue, &id).to(json!({"state": "waiting"}));
            let done = author.record(deed, store.promote(&queue, &id).await).await;
            told(store, &queue, &id, done).await?;
            changed(&queue, &id, "waiting", "is due now", console)?;
        }
        JobCommand::Delay { job, delay } => {
            let (queue, id) = named(&job)?;
            let moved = store.change_delay(&queue, &id, delay, SystemClock.now()).await;
            let deed = on("job delay", &queue, &id)
                .to(json!({"state": "delayed", "delay": delay.as_millis() as u64}));
            let moved = author.record(deed, moved).await;
            told(store, &queue, &id, moved).await?;
            let words = format!("is due in {}", duration(delay));
            changed(&queue, &id, "delayed", &words, console)?;
        }
        JobCommand::Priority { job, priority, front } => {
            let (queue, id) = named(&job)?;
            let deed = on("job priority", &queue, &id).to(json!({"priority": priority, "front": front}));
            let done = store.change_priority(&queue, &id, priority, front).await;
            told(store, &queue, &id, author.record(deed, done).await).await?;
            let state = store.state(&queue, &id).await?.map_or("none", JobState::as_str);
            changed(&queue, &id, state, &format!("has priority {priority}"), console)?;
        }
        JobCommand::Remove { job, children } => remove(store, &job, children, author, console).await?,
    }
    Ok(Exit::Done)
}

/// Something done to a job, for the audit.
fn on(action: &'static str, queue: &QueueName, id: &JobId) -> Deed {
    Deed::new(action, format_args!("{queue}/{id}"))
}

pub(super) fn named(place: &JobPlace) -> Result<(QueueName, JobId), Failure> {
    Ok((QueueName::new(&place.queue)?, JobId::new(&place.id)?))
}

/// Adds to "there is no such job" what may be the reason: that there is no such queue.
async fn told<T>(
    store: &dyn Store,
    queue: &QueueName,
    id: &JobId,
    result: Result<T, StoreError>,
) -> Result<T, Failure> {
    match result {
        Err(StoreError::NotFound(_)) => Err(missing(store, queue, id).await),
        Err(error) => Err(error.into()),
        Ok(value) => Ok(value),
    }
}

pub(super) async fn missing(store: &dyn Store, queue: &QueueName, id: &JobId) -> Failure {
    let hint = unknown_queue(store, queue).await.unwrap_or_else(|| {
        format!("it may have been removed when it finished; see `jobcell job list {queue}`")
    });
    Failure::failed(format!("job {id:?} does not exist in queue {queue:?}; {hint}"))
}

async fn get(store: &dyn Store, place: &JobPlace, console: &mut Console<'_>) -> Result<(), Failure> {
    let (queue, id) = named(place)?;
    let Some((job, state)) = store.look_at(&queue, &id).await? else {
        return Err(missing(store, &queue, &id).await);
    };
    let receipts = store.receipts(&queue, &id).await?;
    let view = JobView::new(&job, &queue, state).with_attempts(&receipts);
    console.answer(&view, |_| describe(&job, &queue, state, &receipts))
}

async fn list(
    store: &dyn Store,
    queue: &str,
    states: &[JobState],
    page: Page,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let queue = QueueName::new(queue)?;
    let mut jobs = Vec::new();
    for state in states {
        let of_state = store.list(&queue, *state, page).await?;
        jobs.extend(of_state.into_iter().map(|job| (*state, job)));
    }
    if jobs.is_empty()
        && let Some(hint) = unknown_queue(store, &queue).await
    {
        console.note(&hint);
    }
    let views: Vec<JobView> =
        jobs.iter().map(|(state, job)| JobView::new(job, &queue, Some(*state))).collect();
    console.answer(&views, |_| {
        let row = |(state, job): &(JobState, Job)| {
            let when = job.finished_on.or(job.processed_on).unwrap_or(job.timestamp);
            let last = if when > 0 { time(when) } else { "-".to_owned() };
            let tried = format!("{}/{}", job.attempts_made, job.options.attempts_max());
            let reason = job.failed_reason.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
            let reason: String = reason.chars().take(60).collect();
            let cells = [job.id.as_str(), &job.name, state.as_str(), &tried, &last, &reason];
            cells.map(visible).to_vec()
        };
        table(&["ID", "NAME", "STATE", ">TRIED", "LAST", "REASON"], &jobs.iter().map(row).collect::<Vec<_>>())
    })
}

async fn logs(store: &dyn Store, place: &JobPlace, console: &mut Console<'_>) -> Result<(), Failure> {
    let (queue, id) = named(place)?;
    let mut lines = Vec::new();
    loop {
        let page = Page { offset: lines.len() as u64, limit: LOG_PAGE };
        let more = store.logs(&queue, &id, page).await?;
        let is_last = (more.len() as u64) < LOG_PAGE;
        lines.extend(more);
        if is_last {
            break;
        }
    }
    if lines.is_empty() && store.get(&queue, &id).await?.is_none() {
        return Err(missing(store, &queue, &id).await);
    }
    console.answer(&lines, |lines| lines.iter().map(|line| visible(line) + "\n").collect())
}

async fn remove(
    store: &dyn Admin,
    place: &JobPlace,
    children: bool,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (queue, id) = named(place)?;
    // What cannot be done is not asked for first.
    let state = store.state(&queue, &id).await?;
    match state {
        None if store.get(&queue, &id).await?.is_none() => return Err(missing(store, &queue, &id).await),
        Some(JobState::Active) => return Err(running(&queue, &id, "is running and")),
        _ => {}
    }
    if children {
        store.children(&queue, &id, 1).await?;
    }
    let with = if children { " with all jobs below it" } else { "" };
    console.confirm(&format!("removing job {id:?} of queue {queue:?}{with}"))?;
    let removed =
        if children { store.remove_tree(&queue, &id).await } else { store.remove(&queue, &id).await };
    let deed = on("job remove", &queue, &id)
        .from(json!({"state": state.map(JobState::as_str)}))
        .to(json!({"state": null, "children": children}));
    // That it was not removed is an outcome too.
    let outcome = match &removed {
        Ok(Removed::Yes) => Ok(()),
        Ok(Removed::NotFound) => Err("it does not exist".to_owned()),
        Ok(Removed::Running) => Err("it is running".to_owned()),
        Ok(Removed::Scheduled) => Err("it belongs to a scheduler".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let _ = author.record(deed, outcome).await;
    match removed? {
        Removed::Yes => changed(&queue, &id, "removed", &format!("is removed{with}"), console),
        Removed::NotFound => Err(missing(store, &queue, &id).await),
        Removed::Running => {
            let what = if children { "or one below it is running; it" } else { "is running and" };
            Err(running(&queue, &id, what))
        }
        Removed::Scheduled => Err(scheduled(store, &queue, &id).await),
    }
}

/// Why the latest job of a scheduler stays.
async fn scheduled(store: &dyn Store, queue: &QueueName, id: &JobId) -> Failure {
    let scheduler = match store.get(queue, id).await {
        Ok(job) => job.and_then(|job| job.scheduler).unwrap_or_default(),
        Err(error) => return error.into(),
    };
    Failure::failed(format!(
        "job {id:?} of queue {queue:?} belongs to scheduler {scheduler:?}; remove it with `jobcell schedule rm {queue} \
         {scheduler}`"
    ))
}

fn running(queue: &QueueName, id: &JobId, what: &str) -> Failure {
    let fix = format!("wait for its end, or end it with `jobcell job cancel {queue} {id}`");
    Failure::failed(format!("job {id:?} of queue {queue:?} {what} cannot be removed; {fix}"))
}

fn changed(
    queue: &QueueName,
    id: &JobId,
    state: &str,
    words: &str,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let value = serde_json::json!({ "id": id.as_str(), "queue": queue.as_str(), "state": state });
    console.answer(&value, |_| format!("job {} of queue {queue} {words}\n", visible(id.as_str())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn describe(job: &Job, queue: &QueueName, state: Option<JobState>, receipts: &[AttemptReceipt]) -> String {
    let mut rows: Vec<(&str, String)> = vec![
        ("id", job.id.to_string()),
        ("name", job.name.clone()),
        ("queue", queue.to_string()),
        ("state", state.map_or("none", JobState::as_str).to_owned()),
    ];
    let mut some = |label, value: Option<String>| rows.extend(value.map(|value| (label, value)));
    // An item of a plain list says nothing of when it was pushed.
    some("created", (job.timestamp > 0).then(|| time(job.timestamp)));
    some("due", (job.delay > 0).then(|| time(job.timestamp.saturating_add(job.delay))));
    some("started", job.processed_on.map(time));
    some("finished", job.finished_on.map(time));
    some("worker", job.processed_by.clone());
    let tried =
        format!("{} of {}, started {}", job.attempts_made, job.options.attempts_max(), job.attempts_started);
    some("attempts", Some(tried));
    some("versions", (!receipts.is_empty()).then(|| receipts::versions(receipts)));
    some("stalled", (job.stalled_count > 0).then(|| job.stalled_count.to_string()));
    some("priority", (job.priority > 0).then(|| job.priority.to_string()));
    some("tenant", job.options.tenant.clone());
    some("fresh", job.options.fresh.then(|| "yes: no kept result is taken".to_owned()));
    some("parent", job.parent_key.clone());
    some("data", Some(text(&job.data)));
    some("options", Some(text(&job.options_raw)));
    some("progress", job.progress.as_deref().map(text));
    some("result", job.result.as_deref().map(text));
    some("reason", job.failed_reason.clone());
    some("trace", job.stacktrace.last().cloned());
    let mut shown = String::new();
    for (label, value) in rows {
        // Later lines of a value stand below its first. Writing to a String cannot fail.
        let value = visible(&value).trim_end().replace('\n', "\n          ");
        let _ = writeln!(shown, "{label:<8}  {value}");
    }
    shown
}
