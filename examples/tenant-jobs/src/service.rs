//! The two services that a job asks: the team's internal API for its row, the storage for its file.

use std::time::Duration;

use jobcell_sdk::http::{Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{config, secrets};

use crate::row::Row;

/// A retry is cheaper than a slot that waits for a service which hangs.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The largest file; it is held whole.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest row.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// The row of a job, JSON. The API's token never enters the handler: the host puts it in the place of the stand-in.
///
/// # Errors
/// As [`answer`], and when the operator has set no `api`.
pub(crate) fn row(id: &str) -> Result<Vec<u8>, Failure> {
    let url = format!("{}/internal/jobs/{id}", base("api")?);
    let token = secrets::placeholder("internal-api")?;
    let request = Request::get(url).bearer(token).timeout(TIMEOUT).max_body(ROW_BYTES_MAX);
    answer(&format!("the row of job {id}"), request.send()?)
}

/// The file of a row.
///
/// # Errors
/// As [`answer`], and when the operator has set no `files`.
pub(crate) fn read(row: &Row) -> Result<Vec<u8>, Failure> {
    let path = format!("{}/{}", row.tenant_id, row.file);
    let request = Request::get(format!("{}/{path}", base("files")?));
    answer(&format!("the file {path}"), request.timeout(TIMEOUT).max_body(FILE_BYTES_MAX).send()?)
}

fn base(setting: &str) -> Result<String, Failure> {
    let url = config::get(setting)?;
    url.or_fatal(format!("the setting {setting:?} is missing; write it under grants.config"))
}

/// The body of an answer that has one.
///
/// # Errors
/// [`Failure::Retry`] while the service is away or too busy; [`Failure::Fatal`] for every other status: asking again
/// would be answered alike.
fn answer(what: &str, Response { status, body, .. }: Response) -> Result<Vec<u8>, Failure> {
    match status {
        200 => Ok(body),
        408 | 429 | 500..=599 => Err(Failure::retry(format!("{what} was answered with {status}"))),
        _ => Err(Failure::fatal(format!("{what} was answered with {status}"))),
    }
}
