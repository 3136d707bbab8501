//! Waiting for a job's end from outside, as `enqueue --wait` does.

use std::time::Duration;

use tokio::time::Instant;

use crate::job::JobState;
use crate::names::{JobId, QueueName};
use crate::store::{Store, StoreError};

/// The longest listening before the job's own record is looked at.
const LISTEN: Duration = Duration::from_secs(5);
/// Between two tries while the store is away.
const AWAY: Duration = Duration::from_millis(250);

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With this result, JSON text.
    Completed(String),
    /// For this reason.
    Failed(String),
    /// It was removed before it ended, or had been removed before anybody listened.
    Gone,
    /// It had not ended in time.
    TimedOut,
}

/// Where to start listening. Take it before the job is added, so that no event can be missed even when the job is
/// removed as soon as it is finished.
///
/// # Errors
/// When the store is away.
pub async fn listen_from(store: &dyn Store, queue: &QueueName) -> Result<String, StoreError> {
    store.last_event(queue).await
}

/// Waits until the job has ended, at most `timeout`. Cancel safe.
///
/// # Errors
/// When the store fails other than by being away for a moment.
pub async fn for_ending(
    store: &dyn Store,
    queue: &QueueName,
    id: &JobId,
    mut after: String,
    timeout: Duration,
) -> Result<Ending, StoreError> {
    let end = Instant::now() + timeout;
    let mut looked = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Ending::TimedOut);
        }
        let found = if looked {
            heard(store, queue, id, &mut after, left).await
        } else {
            stored_ending(store, queue, id).await
        };
        match found {
            Ok(Some(ending)) => return Ok(ending),
            Ok(None) => looked = true,
            Err(error) if error.is_transient() => tokio::time::sleep(left.min(AWAY)).await,
            Err(error) => return Err(error),
        }
    }
}

/// Listens for a while, at most so long.
async fn heard(
    store: &dyn Store,
    queue: &QueueName,
    id: &JobId,
    after: &mut String,
    left: Duration,
) -> Result<Option<Ending>, StoreError> {
    let events = store.events(queue, after, left.min(LISTEN)).await?;
    if events.is_empty() {
        // The stream may have been trimmed under us: the job's own record has the last word.
        if let Some(ending) = stored_ending(store, queue, id).await? {
            return Ok(Some(ending));
        }
        return Ok(store.get(queue, id).await?.is_none().then_some(Ending::Gone));
    }
    for event in events {
        if event.field("jobId") == Some(id.as_str()) {
            let text = |name| event.field(name).unwrap_or_default().to_owned();
            match event.event.as_str() {
                // A store that tells no results keeps them in the record for whoever waits.
                "completed" if event.field("returnvalue").is_none() => {
                    return Ok(Some(stored_ending(store, queue, id).await?.unwrap_or(Ending::Gone)));
                }
                "completed" => return Ok(Some(Ending::Completed(text("returnvalue")))),
                "failed" => return Ok(Some(Ending::Failed(text("failedReason")))),
                "removed" => return Ok(Some(Ending::Gone)),
                _ => {}
            }
        }
        *after = event.id;
    }
    Ok(None)
}

/// What the job's own record says; none while it has not ended.
async fn stored_ending(
    store: &dyn Store,
    queue: &QueueName,
    id: &JobId,
) -> Result<Option<Ending>, StoreError> {
    let Some(state) = store.state(queue, id).await? else {
        return Ok(None);
    };
    if !state.is_finished() {
        return Ok(None);
    }
    let Some(job) = store.get(queue, id).await? else {
        return Ok(Some(Ending::Gone));
    };
    Ok(Some(match state {
        JobState::Completed => Ending::Completed(
            job.result
                .map_or_else(|| "null".to_owned(), |result| String::from_utf8_lossy(&result).into_owned()),
        ),
        _ => Ending::Failed(job.failed_reason.unwrap_or_default()),
    }))
}
