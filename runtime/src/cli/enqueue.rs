//! `jobcell enqueue`: puts a job on a queue, and waits for its end when asked.

use std::time::Duration;

use jobcell_core::options::{Deduplication, JobOptions};
use jobcell_core::store::{Added, NewJob, Parent};
use jobcell_core::wait::{self, Ending};
use jobcell_core::{Clock, JobId, QueueName, Store, SystemClock};
use jobcell_server::raw;
use serde::Serialize;
use serde_json::value::RawValue;

use super::args::{DedupMode, EnqueueArgs};
use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use super::payload;

/// What `--json` prints.
#[derive(Serialize)]
struct Enqueued<'a> {
    id: &'a str,
    queue: &'a str,
    /// False when a job with this id, or the owner of the deduplication id, was there already.
    added: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command. `prefix` is what the keys of jobs begin with, by which a parent is named.
pub(super) async fn enqueue(
    store: &dyn Store,
    prefix: &str,
    args: EnqueueArgs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let queue = QueueName::new(&args.queue)?;
    let patience = args.wait.map(Duration::from_secs);
    let job = new_job(prefix, args, console)?;
    // Listen first: a job that is removed as soon as it ends is seen only in the events.
    let after = match patience {
        Some(_) => Some(wait::listen_from(store, &queue).await?),
        None => None,
    };
    let added = store.add(&queue, vec![job], SystemClock.now()).await?;
    let Some(added) = added.into_iter().next() else {
        return Err(Failure::failed("the store answered an add without an id; look at its log"));
    };
    match &added {
        Added::New(_) => {}
        Added::Duplicate(id) => console.note(&format!("job {id:?} exists already; nothing was added")),
        Added::Deduplicated(id) => {
            console.note(&format!("job {id:?} owns this deduplication id; nothing was added"));
        }
    }
    let enqueued = Enqueued {
        id: added.id().as_str(),
        queue: queue.as_str(),
        added: matches!(added, Added::New(_)),
        state: None,
        result: None,
        reason: None,
    };
    match (patience, after) {
        (Some(patience), Some(after)) => {
            if !console.json {
                console.note(&format!("job {} waits in queue {queue}", enqueued.id));
            }
            let ending = wait::for_ending(store, &queue, added.id(), after, patience).await?;
            ended(enqueued, ending, patience, console)
        }
        _ => {
            console.answer(&enqueued, |enqueued| format!("{}\n", visible(enqueued.id)))?;
            Ok(Exit::Done)
        }
    }
}

fn new_job(prefix: &str, args: EnqueueArgs, console: &mut Console<'_>) -> Result<NewJob, Failure> {
    let EnqueueArgs { queue: _, name, data, id, delay, priority, attempts, backoff, .. } = &args;
    if let Some(id) = id {
        JobId::custom(id)?;
    }
    if name.is_empty() {
        return Err(Failure::usage("the job's name is empty; handlers are chosen by it"));
    }
    let data = payload::read(data, console.input)?;
    let options = JobOptions {
        attempts: attempts.unwrap_or(0),
        backoff: backoff.clone(),
        delay: delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        priority: priority.unwrap_or(0),
        lifo: args.lifo,
        job_id: id.clone(),
        remove_on_complete: args.remove_on_complete.clone(),
        remove_on_fail: args.remove_on_fail.clone(),
        deduplication: args.dedup.clone().map(|dedup| moded(dedup, &args.dedup_mode)).transpose()?,
        tenant: args.tenant.clone(),
        fresh: args.fresh,
        ..JobOptions::default()
    };
    let parent =
        args.parent.map(|parent| Parent { queue_key: format!("{prefix}:{}", parent.queue), id: parent.id });
    Ok(NewJob { name: args.name, data, options, parent })
}

/// The rule with what a duplicate does.
fn moded(rule: Deduplication, modes: &[DedupMode]) -> Result<Deduplication, Failure> {
    let has = |mode| modes.contains(&mode);
    if has(DedupMode::Extend) && rule.ttl.is_none() {
        return Err(Failure::usage("--dedup-mode extend starts a time anew; give one: --dedup ID:TTL"));
    }
    Ok(Deduplication {
        extend: has(DedupMode::Extend),
        replace: has(DedupMode::Replace),
        keep_last_if_active: has(DedupMode::KeepLast),
        reschedule: has(DedupMode::Reschedule),
        ..rule
    })
}

fn ended(
    enqueued: Enqueued<'_>,
    ending: Ending,
    patience: Duration,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let (id, queue) = (enqueued.id, enqueued.queue);
    let (state, result, reason) = match ending {
        Ending::Completed(result) => ("completed", Some(result), None),
        Ending::Failed(reason) => ("failed", None, Some(reason)),
        Ending::Gone => ("gone", None, Some("it was removed before its end was seen".to_owned())),
        Ending::TimedOut => {
            let told = format!(
                "it had not ended after {} s; it goes on: see `jobcell job get {queue} {id}`",
                patience.as_secs()
            );
            ("pending", None, Some(told))
        }
    };
    if let Some(reason) = &reason {
        console.note(&format!("job {} {state}: {}", visible(id), visible(reason)));
    }
    let json = result.as_ref().map(|result| raw(result.as_bytes()));
    let answer = Enqueued { state: Some(state), result: json, reason, ..enqueued };
    let exit = if result.is_some() { Exit::Done } else { Exit::Failed };
    console.answer(&answer, |_| result.map(|result| visible(&result) + "\n").unwrap_or_default())?;
    Ok(exit)
}
