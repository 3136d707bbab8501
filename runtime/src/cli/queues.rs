//! `jobcell queue …`: looking at queues and changing them.

mod bulk;
pub(super) mod explain;
mod limits;
mod overview;

use std::collections::BTreeSet;

use jobcell_core::{Admin, JobState, QueueName, Store, StoreError};
use jobcell_server::QueueView;
use serde::Serialize;
use serde_json::json;

use super::args::{QueueChoice, QueueCommand};
use super::author::{Author, Deed};
use super::console::{Console, counted, table, visible};
use super::exit::{Exit, Failure};
use crate::config::{Config, nearest};
use crate::stores::OpenStore;

/// What was done to a queue, as `--json` prints it.
#[derive(Serialize)]
struct Done {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(
    open: &OpenStore,
    config: &Config,
    command: QueueCommand,
    author: &Author,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let store = &*open.store;
    let configured: &BTreeSet<String> = &config.queues.keys().cloned().collect();
    match command {
        QueueCommand::Explain { queue } => return explain::run(config, open, queue, console).await,
        QueueCommand::Ls | QueueCommand::Counts { queue: None } => {
            let mut names: BTreeSet<QueueName> = store.queues().await?.into_iter().collect();
            names.extend(configured.iter().filter_map(|name| QueueName::new(name).ok()));
            show(store, configured, names, console).await?;
        }
        QueueCommand::Counts { queue: Some(queue) } => {
            let queue = QueueName::new(queue)?;
            note_unknown(store, configured, &queue, console).await;
            show(store, configured, BTreeSet::from([queue]), console).await?;
        }
        QueueCommand::Pause(choice) => {
            // Before it is done: from then on the store knows the queue.
            note_chosen(store, configured, &choice, console).await?;
            for_each(store, &choice, console, async |queue: &QueueName| {
                let deed = Deed::new("queue pause", queue)
                    .from(paused(store, queue).await)
                    .to(json!({"paused": true}));
                author.record(deed, store.pause(queue).await).await?;
                Ok((done(queue, Some(true), None), format!("queue {queue} is paused on every host\n")))
            })
            .await?;
        }
        QueueCommand::Resume(choice) => {
            note_chosen(store, configured, &choice, console).await?;
            for_each(store, &choice, console, async |queue: &QueueName| {
                let deed = Deed::new("queue resume", queue)
                    .from(paused(store, queue).await)
                    .to(json!({"paused": false}));
                author.record(deed, store.resume(queue).await).await?;
                Ok((done(queue, Some(false), None), format!("queue {queue} goes on\n")))
            })
            .await?;
        }
        QueueCommand::Drain { choice, delayed } => {
            let which = named(&choice);
            let what = if delayed { "all waiting and delayed jobs" } else { "all waiting jobs" };
            note_chosen(store, configured, &choice, console).await?;
            console.confirm(&format!("removing {what} of {which}"))?;
            for_each(store, &choice, console, async |queue: &QueueName| {
                let drained = store.drain(queue, delayed).await;
                let deed = Deed::new("queue drain", queue)
                    .to(json!({"delayed": delayed, "removed": drained.as_ref().ok()}));
                let removed = author.record(deed, drained).await?;
                Ok((
                    done(queue, None, Some(removed)),
                    format!("queue {queue}: {} removed\n", counted(removed, "job")),
                ))
            })
            .await?;
        }
        QueueCommand::Bulk(command) => {
            if let Some(choice) = command.choice() {
                note_chosen(store, configured, choice, console).await?;
            }
            bulk::run(store, command, author, console).await?;
        }
        QueueCommand::One(command) => {
            let queue = QueueName::new(command.queue())?;
            note_unknown(store, configured, &queue, console).await;
            return overview::run(store, &queue, command, author, console).await;
        }
    }
    Ok(Exit::Done)
}

/// Whether a queue is paused, for the audit: what cannot be read stops nobody.
async fn paused(store: &dyn Store, queue: &QueueName) -> serde_json::Value {
    json!({"paused": store.is_paused(queue).await.ok()})
}

/// The queues chosen, for questions.
fn named(choice: &QueueChoice) -> String {
    choice.queue.as_ref().map_or("every queue".to_owned(), |name| format!("queue {name:?}"))
}

fn done(queue: &QueueName, paused: Option<bool>, removed: Option<u64>) -> Done {
    Done { name: queue.to_string(), paused, removed }
}

/// Does something to each queue chosen, and tells about all of them.
async fn for_each(
    store: &dyn Store,
    choice: &QueueChoice,
    console: &mut Console<'_>,
    act: impl AsyncFn(&QueueName) -> Result<(Done, String), Failure>,
) -> Result<(), Failure> {
    let queues = match &choice.queue {
        Some(queue) => vec![QueueName::new(queue)?],
        None => store.queues().await?,
    };
    let (mut all, mut text) = (Vec::new(), String::new());
    for queue in &queues {
        let (done, line) = act(queue).await?;
        all.push(done);
        text += &visible(&line);
    }
    if choice.all {
        console.answer(&all, |_| text)
    } else {
        console.answer(&all.into_iter().next(), |_| text)
    }
}

async fn show(
    store: &dyn Store,
    configured: &BTreeSet<String>,
    names: BTreeSet<QueueName>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut views = Vec::new();
    for queue in &names {
        let looked =
            async { Ok::<_, StoreError>((store.is_paused(queue).await?, store.counts(queue).await?)) };
        let (paused, counts) = match looked.await {
            Ok(found) => found,
            // One whose keys somebody else has written must not hide the others.
            Err(StoreError::Corrupt(fault)) if names.len() > 1 => {
                console.note(&visible(&format!("queue {queue}: {fault}")));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let configured = configured.contains(queue.as_str());
        views.push(QueueView { name: queue.to_string(), paused, configured, counts });
    }
    console.answer(&views, |views| {
        let row = |view: &QueueView| {
            let counts = JobState::ALL.map(|state| view.counts.get(state).to_string());
            let is_paused = if view.paused { "paused" } else { "" };
            [vec![visible(&view.name)], counts.to_vec(), vec![is_paused.to_owned()]].concat()
        };
        let states = JobState::ALL.map(|state| format!(">{}", state.as_str().to_uppercase()));
        let mut titles = vec!["QUEUE"];
        titles.extend(states.iter().map(String::as_str));
        titles.push("");
        table(&titles, &views.iter().map(row).collect::<Vec<_>>())
    })
}

/// Whether the store of this queue changes many jobs at once; that of a list does not. Asked before a confirmation, which
/// would be for nothing, and where a queue has no jobs to be refused for.
async fn is_administered(store: &dyn Admin, queue: &QueueName) -> Result<bool, Failure> {
    // Whatever administers a queue knows its limits, and looking at them changes nothing.
    match store.limits(queue).await {
        Ok(_) => Ok(true),
        Err(StoreError::Rejected(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn note_chosen(
    store: &dyn Store,
    configured: &BTreeSet<String>,
    choice: &QueueChoice,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if let Some(queue) = &choice.queue {
        note_unknown(store, configured, &QueueName::new(queue)?, console).await;
    }
    Ok(())
}

/// Says that nothing is known of a queue. It is no fault: the queue may come later.
async fn note_unknown(
    store: &dyn Store,
    configured: &BTreeSet<String>,
    queue: &QueueName,
    console: &mut Console<'_>,
) {
    let Ok(stored) = store.queues().await else { return };
    let mut known: BTreeSet<&str> = stored.iter().map(QueueName::as_str).collect();
    known.extend(configured.iter().map(String::as_str));
    if known.contains(queue.as_str()) {
        return;
    }
    let hint = match nearest(queue.as_str(), known) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "no queue is known".to_owned(),
    };
    console
        .note(&format!("note: nothing is known of a queue {queue:?}, neither here nor in the store; {hint}"));
}

/// A sentence about a queue that the store does not have; none when it has it, or cannot be asked.
pub(super) async fn unknown_queue(store: &dyn Store, queue: &QueueName) -> Option<String> {
    let known = store.queues().await.ok()?;
    if known.contains(queue) {
        return None;
    }
    Some(match nearest(queue.as_str(), known.iter().map(QueueName::as_str)) {
        Some(nearest) => format!("the store has no queue {queue:?}; did you mean {nearest:?}?"),
        None => format!("the store has no queue {queue:?}, nor any other"),
    })
}
