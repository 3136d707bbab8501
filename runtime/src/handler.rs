//! A Wasm handler as the embedding program describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobcell_handlers::Source;
use jobcell_wasm::{Grants, Limits};

/// A Wasm handler: where it comes from, what it may use and what it may touch.
#[derive(Debug, Clone)]
pub struct Handler {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) names: BTreeMap<String, String>,
}

impl Handler {
    /// A component in a file, with the default limits and no grants.
    #[must_use]
    pub fn wasm(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            source: Source::File(file.into()),
            limits: Limits::default(),
            grants: Grants::default(),
            names: BTreeMap::new(),
        }
    }

    /// What one attempt may use.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What it may touch.
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// Gives it jobs of the first name under the second.
    #[must_use]
    pub fn rename(mut self, job_name: impl Into<String>, to: impl Into<String>) -> Self {
        self.names.insert(job_name.into(), to.into());
        self
    }
}
