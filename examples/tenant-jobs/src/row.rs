//! The job's row: whose it is, and what there is to do.

use jobcell_sdk::prelude::*;
use serde::Deserialize;

use crate::service;

/// Longest id, tenant or file name.
const NAME_BYTES_MAX: usize = 128;

/// The columns of the table `jobs` that the work needs. The API may send more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// Whose job it is: its folder in the storage.
    pub(crate) tenant_id: String,
    /// The file in that folder.
    pub(crate) file: String,
}

impl Row {
    /// The row of this job: its payload, where the producer wrote one into the record, else what the API answers.
    ///
    /// # Errors
    /// As [`crate::totals`].
    pub(crate) fn of(job: &Job<Raw>) -> Result<Self, Failure> {
        let Raw(payload) = &job.data;
        let is_bare = payload.is_empty() || payload == b"null" || payload == job.id.as_bytes();
        let row = if is_bare {
            name("the job's id", &job.id)?;
            serde_json::from_slice(&service::row(&job.id)?).or_fatal("the API's answer is no row")?
        } else {
            serde_json::from_slice::<Self>(payload).or_invalid("the record's data")?
        };
        name("tenantId", &row.tenant_id)?;
        name("file", &row.file)?;
        match &job.tenant {
            // Whoever can write to the list could otherwise have one tenant's file totalled for another.
            Some(tenant) if *tenant != row.tenant_id => Err(Failure::fatal(format!(
                "the record says that the job is of tenant {tenant:?}, the row says {:?}",
                row.tenant_id
            ))),
            _ => Ok(row),
        }
    }
}

/// Anybody who reaches Redis can push anything: what becomes part of a URL is checked first.
fn name(what: &str, text: &str) -> Result<(), Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('.')
        && text.bytes().all(is_plain)
    {
        return Ok(());
    }
    let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
    Err(Failure::invalid(format!("{what} {shown:?} is not made of letters, digits, '-', '_' and '.'")))
}
