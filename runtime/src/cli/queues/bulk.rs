//! Many jobs at once: cleaning, promoting, retrying, trimming events, and removing a whole queue. What may take long is
//! done in parts and told on stderr as it goes.

use std::time::Duration;

use jobcell_core::store::Obliterated;
use jobcell_core::{Admin, Clock, JobState, QueueName, StoreError, SystemClock};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::args::{AgeLimit, BulkCommand, QueueChoice};
use super::super::author::{Author, Deed};
use super::super::console::{Console, counted, duration, visible};
use super::super::exit::Failure;
use super::{is_administered, named, unknown_queue};

/// Jobs after which it is told how far it is.
const TOLD_EVERY: u64 = 10_000;
/// How often a removal of everything tells what is left.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// What was done to a queue, as `--json` prints it.
#[derive(Serialize)]
struct Changed {
    name: String,
    /// What was done: `removed`, `promoted`, `retried`.
    #[serde(flatten)]
    count: std::collections::BTreeMap<&'static str, u64>,
}

/// What is done to many jobs of a queue.
enum Bulk {
    /// Remove those of a state.
    Clean(JobState, AgeLimit),
    /// Make delayed ones due now.
    Promote(Option<u64>),
    /// Put finished ones back.
    Retry(JobState, AgeLimit),
    /// Remove all events but the newest.
    Trim(u64),
}

impl Bulk {
    /// What it is called in the audit.
    fn action(&self) -> &'static str {
        match self {
            Self::Clean(..) => "queue clean",
            Self::Promote(_) => "queue promote",
            Self::Retry(..) => "queue retry",
            Self::Trim(_) => "queue trim",
        }
    }

    /// What was done to so many, for the audit.
    fn noted(&self, count: u64) -> Value {
        let word = self.word();
        match self {
            Self::Clean(state, _) | Self::Retry(state, _) => json!({"state": state.as_str(), word: count}),
            Self::Promote(_) | Self::Trim(_) => json!({word: count}),
        }
    }

    /// What was done, for `--json`.
    fn word(&self) -> &'static str {
        match self {
            Self::Clean(..) | Self::Trim(_) => "removed",
            Self::Promote(_) => "promoted",
            Self::Retry(..) => "retried",
        }
    }

    /// What was done to so many, for people.
    fn told(&self, count: u64) -> String {
        let (one, several) = match self {
            Self::Clean(..) | Self::Trim(_) => ("removed", "removed"),
            Self::Promote(_) => ("is due now", "are due now"),
            Self::Retry(..) => ("waits to be run again", "wait to be run again"),
        };
        let what = counted(count, if matches!(self, Self::Trim(_)) { "event" } else { "job" });
        format!("{what} {}", if count == 1 { one } else { several })
    }

    /// What a store offers that can do it.
    fn offer(&self) -> &'static str {
        match self {
            Self::Clean(..) => "cleaning",
            Self::Promote(_) => "promoting many jobs at once",
            Self::Retry(..) => "retrying many jobs at once",
            Self::Trim(_) => "an event stream",
        }
    }

    /// One part of at most so many; `before` is where the age limit ends.
    async fn part(
        &self,
        store: &dyn Admin,
        queue: &QueueName,
        before: u64,
        part: u64,
    ) -> Result<u64, Failure> {
        Ok(match self {
            Self::Clean(state, _) => store.clean(queue, *state, before, part).await?.len() as u64,
            Self::Promote(_) => store.promote_all(queue, part).await?,
            Self::Retry(state, _) => store.retry_all(queue, *state, before, part).await?,
            Self::Trim(keep) => store.trim_events(queue, *keep).await?,
        })
    }

    /// How many jobs there are at most to be done with.
    async fn size(&self, store: &dyn Admin, queue: &QueueName) -> Result<u64, Failure> {
        let (state, limit) = match self {
            Self::Clean(state, limit) | Self::Retry(state, limit) => (*state, limit.limit),
            Self::Promote(limit) => (JobState::Delayed, *limit),
            // One call does all of it.
            Self::Trim(_) => return Ok(1),
        };
        // What comes while it is done is not asked for.
        let there = store.counts(queue).await?.get(state);
        Ok(limit.map_or(there, |limit| limit.min(there)))
    }

    fn before(&self) -> u64 {
        let now = SystemClock.now();
        match self {
            Self::Clean(_, AgeLimit { older, .. }) | Self::Retry(_, AgeLimit { older, .. }) => {
                let older = older.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                now.saturating_sub(older)
            }
            Self::Promote(_) | Self::Trim(_) => now,
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    store: &dyn Admin,
    command: BulkCommand,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (choice, bulk) = match command {
        BulkCommand::Obliterate { queue, force } => {
            return obliterate(store, &queue, force, author, console).await;
        }
        BulkCommand::Clean { choice, state, which } => (choice, Bulk::Clean(state, which)),
        BulkCommand::Promote { choice, limit } => (choice, Bulk::Promote(limit)),
        BulkCommand::Retry { choice: _, state, which: _ } if !state.is_finished() => {
            let fix = "only failed and completed jobs can be retried";
            return Err(Failure::usage(format!("--state {state}: {fix}")));
        }
        BulkCommand::Retry { choice, state, which } => (choice, Bulk::Retry(state, which)),
        BulkCommand::Trim { choice, events } => (choice, Bulk::Trim(events)),
    };
    on_each(store, &choice, &bulk, author, console).await
}

/// Does it to each queue chosen, and tells about all of them.
async fn on_each(
    store: &dyn Admin,
    choice: &QueueChoice,
    bulk: &Bulk,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let named_ones = match &choice.queue {
        Some(queue) => vec![QueueName::new(queue)?],
        None => store.queues().await?,
    };
    let mut queues = Vec::with_capacity(named_ones.len());
    for queue in named_ones {
        if is_administered(store, &queue).await? {
            queues.push(queue);
            continue;
        }
        let refusal = StoreError::unsupported(&queue, bulk.offer());
        if !choice.all {
            return Err(refusal.into());
        }
        console.note(&visible(&format!("note: {refusal}; it is left out")));
    }
    if let Bulk::Clean(state, AgeLimit { older, limit }) = bulk {
        let which = named(choice);
        let many = limit.map_or("all".to_owned(), |limit| format!("up to {limit}"));
        let age = older.map_or(String::new(), |age| format!(" that are older than {}", duration(age)));
        console.confirm(&format!("removing {many} {state} jobs{age} of {which}"))?;
    }
    let word = bulk.word();
    let (mut all, mut text) = (Vec::new(), String::new());
    for queue in &queues {
        let mut count = 0;
        let ended = in_parts(store, queue, bulk, &mut count, console).await;
        // What was done before it failed was done.
        let deed = Deed::new(bulk.action(), queue).to(bulk.noted(count));
        let outcome = match &ended {
            Err(Failure::Told { message, .. }) => Err(format!("after {count}: {message}")),
            Ok(()) | Err(Failure::OutputClosed) => Ok(()),
        };
        let _ = author.record(deed, outcome).await;
        ended?;
        text += &visible(&format!("queue {queue}: {}\n", bulk.told(count)));
        all.push(Changed { name: queue.to_string(), count: [(word, count)].into() });
    }
    if choice.all {
        console.answer(&all, |_| text)
    } else {
        console.answer(&all.into_iter().next(), |_| text)
    }
}

/// Does it to one queue, counting in `count` also when it ends half done.
async fn in_parts(
    store: &dyn Admin,
    queue: &QueueName,
    bulk: &Bulk,
    count: &mut u64,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let (size, before) = (bulk.size(store, queue).await?, bulk.before());
    let mut asked = 0;
    while asked < size {
        let part = TOLD_EVERY.min(size - asked);
        let done = bulk.part(store, queue, before, part).await?;
        asked += part;
        *count += done;
        if done < part {
            break;
        }
        if asked < size {
            console.note(&visible(&format!("queue {queue}: {} so far", bulk.told(*count))));
        }
    }
    Ok(())
}

/// Removes a queue with everything in it.
async fn obliterate(
    store: &dyn Admin,
    queue: &str,
    force: bool,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let queue = QueueName::new(queue)?;
    if let Some(hint) = unknown_queue(store, &queue).await {
        return Err(Failure::failed(hint));
    }
    // What cannot be done is not asked for first.
    if !is_administered(store, &queue).await? {
        return Err(StoreError::unsupported(&queue, "obliterating").into());
    }
    if !store.is_paused(&queue).await? {
        return Err(refused(&queue, &Obliterated::NotPaused));
    }
    if !force && store.counts(&queue).await?.get(JobState::Active) > 0 {
        return Err(refused(&queue, &Obliterated::Active));
    }
    let what = if force { ", and jobs that run" } else { "" };
    console.confirm(&format!(
        "removing queue {queue:?} with all its jobs, schedulers, events and settings{what}"
    ))?;
    let removal = store.obliterate(&queue, force);
    let mut removal = std::pin::pin!(removal);
    let mut left = tokio::time::interval_at(tokio::time::Instant::now() + TOLD_AFTER, TOLD_AFTER);
    let ended = loop {
        tokio::select! {
            ended = &mut removal => break ended,
            _ = left.tick() => {
                // How far it is matters to nobody who cannot be told.
                let Ok(counts) = store.counts(&queue).await else { continue };
                let left: u64 = counts.0.values().sum();
                console.note(&visible(&format!("queue {queue}: {left} of its jobs are left")));
            }
        }
    };
    let outcome = match &ended {
        Ok(Obliterated::Yes) => Ok(()),
        Ok(Obliterated::NotPaused) => Err("it is not paused".to_owned()),
        Ok(Obliterated::Active) => Err("it has jobs that run".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let deed = Deed::new("queue obliterate", &queue).to(json!({"force": force}));
    let _ = author.record(deed, outcome).await;
    match ended? {
        Obliterated::Yes => {
            let value = serde_json::json!({ "name": queue.as_str(), "obliterated": true });
            console.answer(&value, |_| visible(&format!("queue {queue} is gone\n")))
        }
        not_yet @ (Obliterated::NotPaused | Obliterated::Active) => Err(refused(&queue, &not_yet)),
    }
}

/// Why a queue was not removed.
fn refused(queue: &QueueName, why: &Obliterated) -> Failure {
    let fix = match why {
        Obliterated::NotPaused => {
            format!("is not paused; `jobcell queue pause {queue}` first, so that nothing runs meanwhile")
        }
        Obliterated::Active => {
            "has jobs that run; wait for their end, or remove them with --force".to_owned()
        }
        Obliterated::Yes => "is gone".to_owned(),
    };
    Failure::failed(format!("queue {queue:?} {fix}"))
}

// === impl BulkCommand ===

impl BulkCommand {
    /// The queues that it is about, where it may be about several.
    pub(super) fn choice(&self) -> Option<&QueueChoice> {
        match self {
            Self::Clean { choice, .. }
            | Self::Promote { choice, .. }
            | Self::Retry { choice, .. }
            | Self::Trim { choice, .. } => Some(choice),
            Self::Obliterate { .. } => None,
        }
    }
}
