//! A Wasm handler as the embedding program describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobcell_core::recordings::Record;
use jobcell_core::results::KeepResults;
use jobcell_handlers::plan::{Plan, QUARANTINE};
use jobcell_handlers::{OciImage, Source};
use jobcell_wasm::{Grants, Limits};

/// A Wasm handler: where it comes from, what it may use and what it may touch.
#[derive(Debug, Clone)]
pub struct Handler {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) names: BTreeMap<String, String>,
    pub(crate) same_version: bool,
    pub(crate) quarantine: u32,
    pub(crate) watch: bool,
    pub(crate) record: Record,
    pub(crate) result_cache: Option<KeepResults>,
}

impl Handler {
    /// A component in a file, with the default limits and no grants. Changes of the file are taken while the host runs.
    #[must_use]
    pub fn wasm(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self::from(name, Source::File(file.into()))
    }

    /// What is deployed into the store under this name, for every host of the fleet. Its jobs wait for the first version.
    #[must_use]
    pub fn stored(name: impl Into<String>) -> Self {
        Self::from(name, Source::Store)
    }

    /// An image in an OCI registry. What a tag means is looked up again and again.
    #[must_use]
    pub fn image(name: impl Into<String>, image: OciImage) -> Self {
        Self::from(name, Source::Oci(image))
    }

    pub(crate) fn from(name: impl Into<String>, source: Source) -> Self {
        Self {
            name: name.into(),
            source,
            limits: Limits::default(),
            grants: Grants::default(),
            names: BTreeMap::new(),
            same_version: false,
            quarantine: QUARANTINE,
            watch: true,
            record: Record::Off,
            result_cache: None,
        }
    }

    /// What the machinery of handlers is told of it.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            name: self.name.clone(),
            source: self.source.clone(),
            same_version: self.same_version,
            quarantine: self.quarantine,
            watch: self.watch,
            record: self.record,
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

    /// Runs retries on the version of the attempt before. Default no.
    #[must_use]
    pub fn same_version(mut self, same: bool) -> Self {
        self.same_version = same;
        self
    }

    /// Takes a version out of use when so many different jobs break on it in the same way. Default 5; 0 is never.
    #[must_use]
    pub fn quarantine(mut self, jobs: u32) -> Self {
        self.quarantine = jobs;
        self
    }

    /// Whether changes of its file, or of what its tag means, are taken while the host runs. Default yes.
    #[must_use]
    pub fn watch(mut self, watch: bool) -> Self {
        self.watch = watch;
        self
    }

    /// Which attempts are recorded and kept, to be run again (`jobcell replay`). Default none.
    #[must_use]
    pub fn record(mut self, which: Record) -> Self {
        self.record = which;
        self
    }

    /// Keeps what its attempts come to, by the content of their jobs, and answers jobs with the same content with it. For
    /// handlers that do nothing but answer. Default no.
    #[must_use]
    pub fn keep_results(mut self, rule: KeepResults) -> Self {
        self.result_cache = Some(rule);
        self
    }
}
