//! The host functions, in memory: the native twin of the component's imports.

pub(crate) mod blobs;
pub(crate) mod cache;
pub(crate) mod http;
pub(crate) mod kv;
pub(crate) mod secrets;

use super::state;
use crate::error::HostError;

/// The set clock of the running host, if there is one.
pub(crate) fn now_ms() -> Option<u64> {
    state::running().and_then(|state| state.borrow().clock_ms)
}

/// Moves the set clock of the running host, or waits where there is none.
pub(crate) fn sleep(duration: std::time::Duration) {
    match state::running() {
        Some(state) if state.borrow().clock_ms.is_some() => state.borrow_mut().pass(duration),
        _ => std::thread::sleep(duration),
    }
}

/// A refusal, worded as the real host words it: what was refused and the line that would grant it.
fn denied(what: &str, grant: &str) -> HostError {
    HostError::Denied(format!("{what} is not granted; add `{grant}` to the handler's grants"))
}

pub(crate) mod context {
    //! The running job.

    use super::state;
    use crate::error::HostError;

    pub(crate) fn progress(json: &str) -> Result<(), HostError> {
        let value = serde_json::from_str(json)
            .map_err(|error| HostError::Invalid(format!("progress is not JSON: {error}")))?;
        state::with("context::progress", |state| state.progress.push(value));
        Ok(())
    }

    pub(crate) fn log(line: &str) {
        state::with("context::log", |state| state.logs.push(line.to_owned()));
    }

    pub(crate) fn is_cancelled() -> bool {
        state::with("context::is_cancelled", |state| state.cancelled)
    }

    pub(crate) fn remaining_ms() -> u64 {
        state::with("context::remaining", |state| {
            state.deadline_ms.map_or(u64::MAX, |deadline| deadline.saturating_sub(state.now_ms()))
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the component's import can fail")]
    pub(crate) fn update_data(data: &[u8]) -> Result<(), HostError> {
        state::with("context::update_data", |state| state.updated_data = Some(data.to_vec()));
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "the component's import can fail")]
    pub(crate) fn children_values() -> Result<Vec<(String, String)>, HostError> {
        Ok(state::with("context::children_values", |state| state.children_values.clone()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the component's import can fail")]
    pub(crate) fn children_failures() -> Result<Vec<(String, String)>, HostError> {
        Ok(state::with("context::children_failures", |state| state.children_failures.clone()))
    }
}

pub(crate) mod jobs {
    //! New work, recorded instead of queued.

    use super::{denied, state};
    use crate::error::HostError;
    use crate::jobs::Options;
    use crate::testing::Enqueued;

    pub(crate) fn enqueue(
        queue: &str,
        name: &str,
        data: &[u8],
        options: &Options,
    ) -> Result<String, HostError> {
        state::with("jobs::enqueue", |state| add(state, queue, name, data, options, false))
    }

    pub(crate) fn enqueue_child(
        queue: &str,
        name: &str,
        data: &[u8],
        options: &Options,
    ) -> Result<String, HostError> {
        state::with("jobs::enqueue_child", |state| add(state, queue, name, data, options, true))
    }

    fn add(
        state: &mut state::State,
        queue: &str,
        name: &str,
        data: &[u8],
        options: &Options,
        child: bool,
    ) -> Result<String, HostError> {
        if !state.queues.contains(queue) {
            return Err(denied(&format!("the queue `{queue}`"), &format!("enqueue = [\"{queue}\"]")));
        }
        let id = options.id.clone().unwrap_or_else(|| (state.enqueued.len() + 1).to_string());
        if !state.enqueued.iter().any(|job| job.queue == queue && job.id == id) {
            state.enqueued.push(Enqueued {
                id: id.clone(),
                queue: queue.to_owned(),
                name: name.to_owned(),
                data: data.to_vec(),
                options: options.clone(),
                child,
            });
        }
        Ok(id)
    }
}

pub(crate) mod publish {
    //! Messages, recorded instead of sent.

    use super::{denied, state};
    use crate::error::HostError;

    pub(crate) fn publish(channel: &str, message: &[u8]) -> Result<(), HostError> {
        state::with("publish::publish", |state| {
            if !state.channels.contains(channel) {
                let grant = format!("publish = [\"{channel}\"]");
                return Err(denied(&format!("the channel `{channel}`"), &grant));
            }
            state.published.push((channel.to_owned(), message.to_vec()));
            Ok(())
        })
    }
}

pub(crate) mod config {
    //! The settings that the test gave.

    use super::state;
    use crate::error::HostError;

    #[expect(clippy::unnecessary_wraps, reason = "the component's import can fail")]
    pub(crate) fn get(key: &str) -> Result<Option<String>, HostError> {
        Ok(state::with("config::get", |state| state.settings.get(key).cloned()))
    }
}
