//! What came of the steps of a donation: its children, as they stand now.

use jobcell_sdk::prelude::*;
use jobcell_sdk::{HostError, context};
use serde::de::DeserializeOwned;

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// It was not asked for, or has not ended.
    Open,
    /// Its result.
    Done(T),
    /// It failed for good; what its handler gave as the reason.
    Failed(String),
}

/// The children of the running job that have ended, by their keys: `<prefix>:<queue>:<id>`.
#[derive(Debug, Clone)]
pub struct Children {
    done: Vec<(String, String)>,
    failed: Vec<(String, String)>,
}

impl Children {
    /// Asks the host.
    ///
    /// # Errors
    /// [`HostError::Unavailable`] when the store cannot be reached.
    pub fn read() -> Result<Self, HostError> {
        Ok(Self { done: context::children_values()?, failed: context::children_failures()? })
    }

    /// The child with this id, on whichever queue it is.
    ///
    /// # Errors
    /// [`Failure::Fatal`] for a result that is not what this step gives: another handler took its job.
    pub fn step<T: DeserializeOwned>(&self, id: &str) -> Result<Step<T>, Failure> {
        self.find(id, |key| id_of(key) == id)
    }

    /// The child whose id does not begin with this: the one that the producer put beneath the donation, before the donation
    /// made any of its own.
    ///
    /// # Errors
    /// As [`Children::step`].
    pub fn given<T: DeserializeOwned>(&self, name: &str, own: &str) -> Result<Step<T>, Failure> {
        self.find(name, |key| !id_of(key).starts_with(own))
    }

    fn find<T: DeserializeOwned>(&self, name: &str, is: impl Fn(&str) -> bool) -> Result<Step<T>, Failure> {
        if let Some((_, reason)) = self.failed.iter().find(|(key, _)| is(key)) {
            return Ok(Step::Failed(reason.clone()));
        }
        match self.done.iter().find(|(key, _)| is(key)) {
            Some((key, json)) => {
                let result = serde_json::from_str(json);
                Ok(Step::Done(result.or_fatal(format!("step {name}: the result of {key} is not readable"))?))
            }
            None => Ok(Step::Open),
        }
    }
}

fn id_of(key: &str) -> &str {
    key.rsplit_once(':').map_or(key, |(_, id)| id)
}
