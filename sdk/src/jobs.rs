//! Putting work on a queue. The operator grants each queue by name.

use std::time::Duration;

use serde::Serialize;

use crate::error::HostError;
use crate::host;

/// How a new job is queued and retried. The default is one plain job with the queue's own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A job with this id that already exists is left as it is, and its id returned. Default: the store makes one.
    pub id: Option<String>,
    /// How long it waits before it may run; rounded up to whole milliseconds.
    pub delay: Option<Duration>,
    /// 1 is the highest; none is before all priorities.
    pub priority: Option<u32>,
    /// How many attempts in all; default: the queue's.
    pub attempts: Option<u32>,
    /// The pause between attempts; default: the queue's.
    pub backoff: Option<Backoff>,
    /// Before all waiting jobs instead of after them.
    pub lifo: bool,
    /// On whose behalf it runs; default: the running job's tenant.
    pub tenant: Option<String>,
    /// What its failure does to the parent, for a child.
    pub on_failure: OnChildFailure,
}

/// The pause before an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// The same pause each time.
    Fixed(Duration),
    /// This pause, then twice as long each time.
    Exponential(Duration),
}

/// What a failed child does to its parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChildFailure {
    /// The parent stays waiting, until someone retries or removes the child.
    #[default]
    Block,
    /// The parent fails as well.
    FailParent,
    /// The parent runs at once and finds the failure in [`crate::context::children_failures`].
    ContinueParent,
    /// The failure counts as done and is listed in [`crate::context::children_failures`].
    Ignore,
    /// The parent forgets the child.
    RemoveDependency,
}

/// Puts a job on a queue and returns its id.
///
/// # Errors
/// [`HostError::Denied`] when the queue is not granted, [`HostError::TooLarge`] over the payload limit,
/// [`HostError::Quota`] when this attempt has enqueued enough, [`HostError::Invalid`] when the payload has no JSON
/// form, [`HostError::Unavailable`] when the store cannot be reached.
pub fn enqueue(
    queue: &str,
    name: &str,
    data: &(impl Serialize + ?Sized),
    options: &Options,
) -> Result<String, HostError> {
    host::jobs::enqueue(queue, name, &encode(data)?, options)
}

/// The same, as a child of the running job, which can then answer [`crate::Failure::WaitForChildren`].
///
/// # Errors
/// As [`enqueue`].
pub fn enqueue_child(
    queue: &str,
    name: &str,
    data: &(impl Serialize + ?Sized),
    options: &Options,
) -> Result<String, HostError> {
    host::jobs::enqueue_child(queue, name, &encode(data)?, options)
}

fn encode(data: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, HostError> {
    serde_json::to_vec(data).map_err(|error| HostError::unencodable("the new job's payload", &error))
}
