//! `jobcell schedule …`: rules that make jobs again and again.

use std::time::Duration;

use jobcell_core::options::JobOptions;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::{Page, Scheduled, Scheduler, SchedulerSpec, Schedulers};
use jobcell_core::{Admin, Clock, Millis, QueueName, SystemClock};
use jobcell_server::{SchedulerView, rule_of};
use serde::Serialize;
use serde_json::Value;

use super::args::{ScheduleCommand, ScheduleSetArgs};
use super::author::{Author, Deed};
use super::console::{Console, duration, table, time, visible};
use super::exit::{Exit, Failure};
use super::payload;
use super::queues::unknown_queue;

/// Schedulers read at once.
const PAGE: u64 = 1000;

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
    author: &Author,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::Ls { queue, id } => list(store, &queue, id.as_deref(), console).await?,
        ScheduleCommand::Set(args) => set(store, *args, author, console).await?,
        ScheduleCommand::Rm { queue, id } => remove(store, &queue, &id, author, console).await?,
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
    let views: Vec<SchedulerView> =
        found.iter().map(|scheduler| SchedulerView::new(scheduler, &queue)).collect();
    let shown = |_: &Vec<SchedulerView>| {
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

async fn set(
    store: &dyn Admin,
    args: ScheduleSetArgs,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
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
    if args.name.as_deref() == Some("") {
        return Err(Failure::usage("the jobs' name is empty; handlers are chosen by it"));
    }
    let name = args.name.unwrap_or_else(|| args.id.clone());
    let spec = SchedulerSpec { id: args.id, timetable, name, data, options };
    let now = SystemClock.now();
    // What is wrong with what was typed is bad usage; what is in the way in the store is not.
    spec.check().map_err(|error| Failure::usage(error.to_string()))?;
    spec.timetable.first(None, now).map_err(|error| Failure::usage(spec.rejected(&error).to_string()))?;
    let id = spec.id.clone();
    // What was there before is worth a line in the audit, and not a failure.
    let before = store.scheduler(&queue, &id).await.ok().flatten();
    let deed = Deed::new("schedule set", format_args!("{queue}/{id}"))
        .from(before.map_or(Value::Null, |scheduler| rule_of(&scheduler.spec)))
        .to(rule_of(&spec));
    let Scheduled { job, due } = author.record(deed, store.set_scheduler(&queue, spec, now).await).await?;
    let set = Set { id: &id, queue: queue.as_str(), job: job.as_str(), next: due };
    console.answer(&set, |_| {
        let (id, queue) = (visible(&id), visible(queue.as_str()));
        format!("scheduler {id} of queue {queue}: its next job runs at {}, {}\n", time(due), until(due, now))
    })
}

async fn remove(
    store: &dyn Admin,
    queue: &str,
    id: &str,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let queue = QueueName::new(queue)?;
    // What cannot be done is not asked for first.
    let Some(before) = store.scheduler(&queue, id).await? else {
        return Err(missing(store, &queue, id).await);
    };
    console.confirm(&format!("removing scheduler {id:?} of queue {queue:?}"))?;
    let deed = Deed::new("schedule rm", format_args!("{queue}/{id}")).from(rule_of(&before.spec));
    if !author.record(deed, store.remove_scheduler(&queue, id).await).await? {
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

fn row(scheduler: &Scheduler, now: Millis) -> Vec<String> {
    let Scheduler { spec, next, iterations } = scheduler;
    let (rule, tz) = match &spec.timetable.rule {
        Rule::Every { every, .. } => {
            (format!("every {}", duration(Duration::from_millis(*every))), String::new())
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
            let whole = duration(Duration::from_secs(seconds));
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
        assert_eq!(told, ["now", "now", "in 1s", "in 1m 1s", "in 1d 1h"]);
    }
}
