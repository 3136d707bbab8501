//! `jobcell schedule …`: rules that make jobs again and again.

use std::time::Duration;

use jobcell_core::options::JobOptions;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{Page, Scheduled, Scheduler, SchedulerSpec, Schedulers};
use jobcell_core::{Admin, Clock, Millis, QueueName, SystemClock};
use serde::Serialize;
use serde_json::value::RawValue;

use super::args::{ScheduleCommand, ScheduleSetArgs};
use super::console::{Console, table, time, visible};
use super::enqueue::raw;
use super::exit::{Exit, Failure};
use super::payload;
use super::queues::unknown_queue;

/// Schedulers read at once.
const PAGE: u64 = 1000;

/// A scheduler as `--json` prints it: BullMQ's words.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    id: &'a str,
    queue: &'a str,
    name: &'a str,
    pattern: Option<&'a str>,
    tz: Option<&'a str>,
    every: Option<u64>,
    offset: Option<u64>,
    start_date: Option<Millis>,
    end_date: Option<Millis>,
    limit: Option<u64>,
    /// None once its timetable has ended.
    next: Option<Millis>,
    iteration_count: u64,
    data: Option<Box<RawValue>>,
    opts: &'a JobOptions,
}

/// What was set, as `--json` prints it.
#[derive(Serialize)]
struct Set<'a> {
    id: &'a str,
    queue: &'a str,
    job: &'a str,
    next: Millis,
}

pub(super) async fn run(
    store: &dyn Admin,
    command: ScheduleCommand,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::Ls { queue, id } => list(store, &queue, id.as_deref(), console).await?,
        ScheduleCommand::Set(args) => set(store, *args, console).await?,
        ScheduleCommand::Rm { queue, id } => remove(store, &queue, &id, console).await?,
    }
    Ok(Exit::Done)
}

async fn list(
    store: &dyn Admin,
    queue: &str,
    id: Option<&str>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let queue = QueueName::new(queue)?;
    let found = match id {
        None => all(store, &queue).await?,
        Some(id) => match store.scheduler(&queue, id).await? {
            Some(scheduler) => vec![scheduler],
            None => return Err(missing(store, &queue, id).await),
        },
    };
    if found.is_empty()
        && let Some(hint) = unknown_queue(store, &queue).await
    {
        console.note(&hint);
    }
    let now = SystemClock.now();
    let views: Vec<View<'_>> = found.iter().map(|scheduler| view(scheduler, &queue)).collect();
    let shown = |_: &Vec<View<'_>>| {
        let rows: Vec<_> = found.iter().map(|scheduler| row(scheduler, now)).collect();
        table(&["ID", "NAME", "RULE", "TZ", "NEXT", "IN", ">MADE"], &rows)
    };
    match id {
        None => console.answer(&views, shown),
        Some(_) => console.answer(&views.first(), |_| shown(&views)),
    }
}

async fn all(store: &dyn Schedulers, queue: &QueueName) -> Result<Vec<Scheduler>, Failure> {
    let mut found = Vec::new();
    let mut offset = 0;
    loop {
        let page = store.schedulers(queue, Page { offset, limit: PAGE }).await?;
        // Those that cannot be read are left out of a page, so only an empty one is the last for sure.
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
        offset += PAGE;
    }
}

async fn set(store: &dyn Admin, args: ScheduleSetArgs, console: &mut Console<'_>) -> Result<(), Failure> {
    let queue = QueueName::new(&args.queue)?;
    let data = args.data.as_deref().map(|data| payload::read(data, console.input)).transpose()?;
    let rule = match (args.every, &args.cron) {
        (Some(every), _) => Rule::Every { every: millis(every), offset: args.offset.map(millis) },
        (None, Some(pattern)) => {
            Rule::Cron { pattern: pattern.clone(), tz: args.tz.clone(), immediately: args.immediately }
        }
        (None, None) => return Err(Failure::usage("say when its jobs run: --every or --cron")),
    };
    let timetable = Timetable { rule, start: args.start, end: args.end, limit: args.limit };
    let options = JobOptions {
        attempts: args.attempts.unwrap_or(0),
        backoff: args.backoff,
        priority: args.priority.unwrap_or(0),
        remove_on_complete: args.remove_on_complete,
        remove_on_fail: args.remove_on_fail,
        tenant: args.tenant,
        ..JobOptions::default()
    };
    let name = args.name.unwrap_or_else(|| args.id.clone());
    if name.is_empty() {
        return Err(Failure::usage("the jobs' name is empty; handlers are chosen by it"));
    }
    let spec = SchedulerSpec { id: args.id, timetable, name, data, options };
    let now = SystemClock.now();
    // What is wrong with what was typed is bad usage; what is in the way in the store is not.
    spec.check().map_err(|error| Failure::usage(error.to_string()))?;
    spec.timetable.first(None, now).map_err(|error| Failure::usage(spec.rejected(&error).to_string()))?;
    let id = spec.id.clone();
    let Scheduled { job, due } = store.set_scheduler(&queue, spec, now).await?;
    let set = Set { id: &id, queue: queue.as_str(), job: job.as_str(), next: due };
    console.answer(&set, |_| {
        let (id, queue) = (visible(&id), visible(queue.as_str()));
        format!("scheduler {id} of queue {queue}: its next job runs at {}, {}\n", time(due), until(due, now))
    })
}

async fn remove(store: &dyn Admin, queue: &str, id: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    let queue = QueueName::new(queue)?;
    console.confirm(&format!("removing scheduler {id:?} of queue {queue:?}"))?;
    if !store.remove_scheduler(&queue, id).await? {
        return Err(missing(store, &queue, id).await);
    }
    let value = serde_json::json!({ "id": id, "queue": queue.as_str(), "removed": true });
    console.answer(&value, |_| {
        format!("scheduler {} of queue {} is removed\n", visible(id), visible(queue.as_str()))
    })
}

async fn missing(store: &dyn Admin, queue: &QueueName, id: &str) -> Failure {
    let hint = unknown_queue(store, queue)
        .await
        .unwrap_or_else(|| format!("see `jobcell schedule ls {queue}` for those there are"));
    Failure::failed(format!("scheduler {id:?} does not exist in queue {queue:?}; {hint}"))
}

fn view<'a>(scheduler: &'a Scheduler, queue: &'a QueueName) -> View<'a> {
    let Scheduler { spec, next, iterations } = scheduler;
    let SchedulerSpec { id, timetable, name, data, options } = spec;
    let Timetable { rule, start, end, limit } = timetable;
    let (pattern, tz) = match rule {
        Rule::Cron { pattern, tz, .. } => (Some(pattern.as_str()), tz.as_deref()),
        Rule::Every { .. } => (None, None),
    };
    View {
        id,
        queue: queue.as_str(),
        name,
        pattern,
        tz,
        every: timetable.every().map(|every| every.every),
        offset: timetable.every().and_then(|every| every.offset),
        start_date: *start,
        end_date: *end,
        limit: *limit,
        next: *next,
        iteration_count: *iterations,
        data: data.as_deref().map(|data| raw(String::from_utf8_lossy(data).into_owned())),
        opts: options,
    }
}

fn row(scheduler: &Scheduler, now: Millis) -> Vec<String> {
    let Scheduler { spec, next, iterations } = scheduler;
    let (rule, tz) = match &spec.timetable.rule {
        Rule::Every { every, .. } => {
            (format!("every {}", humantime::format_duration(Duration::from_millis(*every))), String::new())
        }
        Rule::Cron { pattern, tz, .. } => (pattern.clone(), tz.clone().unwrap_or_else(|| "UTC".to_owned())),
    };
    let made = match spec.timetable.limit {
        Some(limit) => format!("{iterations} of {limit}"),
        None => iterations.to_string(),
    };
    let when = next.map_or_else(|| "ended".to_owned(), time);
    let wait = next.map(|next| until(next, now)).unwrap_or_default();
    [spec.id.clone(), spec.name.clone(), rule, tz, when, wait, made]
        .iter()
        .map(|cell| visible(cell))
        .collect()
}

/// How long until then, in its two greatest units.
fn until(due: Millis, now: Millis) -> String {
    match due.saturating_sub(now).div_ceil(1000) {
        0 => "now".to_owned(),
        seconds => {
            let whole = humantime::format_duration(Duration::from_secs(seconds)).to_string();
            format!("in {}", whole.split(' ').take(2).collect::<Vec<_>>().join(" "))
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_two_units() {
        let told = [(5, 5), (5, 9), (1, 0), (61_000, 0), (90_061_000, 0)].map(|(due, now)| until(due, now));
        assert_eq!(told, ["now", "now", "in 1s", "in 1m 1s", "in 1day 1h"]);
    }
}
