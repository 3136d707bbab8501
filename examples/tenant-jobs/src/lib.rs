//! What the team's worker did for one job id, as a handler: get the job's row, read the file that it names, total it.
//!
//! On the list there is only an id. The row comes from the team's internal API, or out of the job's record in Redis where
//! the producer wrote it there. Status, result, retries and updates are the host's: none of them is here.

mod report;
mod row;
mod service;

use jobcell_sdk::prelude::*;

use report::Report;
use row::Row;

/// Takes every job of the list, whatever it is called: the row says what there is to do.
///
/// # Errors
/// [`Failure::Fatal`] and [`Failure::Invalid`] for what stays wrong however often it is tried: no such row, a row of
/// another tenant, a file that is no list of orders. [`Failure::Retry`] while the API or the storage does not answer.
#[handler(any)]
pub fn totals(job: Job<Raw>) -> Result<Report, Failure> {
    let row = Row::of(&job)?;
    let orders = service::read(&row)?;
    Report::of(&orders)
}

jobcell_sdk::plugin!(totals);

#[cfg(test)]
mod tests;
