//! What guests can call. One module an interface; each function decodes, checks the grant and the limits, calls the
//! port and encodes. A refusal is a value for the guest; nothing here traps.

mod blobs;
mod cache;
mod config;
mod context;
mod http;
mod jobs;
mod keyvalue;
mod logging;
mod publish;
mod secrets;

use jobcell_core::StoreError;
use wasmtime::component::{HasSelf, Linker};

pub(crate) use config::VERSIONS as CONFIG_VERSIONS;
pub(crate) use keyvalue::VERSIONS as KEYVALUE_VERSIONS;
pub(crate) use logging::VERSION as LOGGING_VERSION;

use crate::cell::Cell;
use crate::world::Handler;
use crate::world::jobcell::job::types::{self, Error};

/// Everything the host offers, linked once for the process.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Cell>> {
    let mut linker = Linker::new(engine);
    Handler::add_to_linker::<_, HasSelf<_>>(&mut linker, |cell: &mut Cell| cell)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    http::add_to_linker(&mut linker)?;
    config::add_to_linker(&mut linker)?;
    keyvalue::add_to_linker(&mut linker)?;
    logging::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Bytes of a key of the cache or of a bucket.
const KEY_BYTES_MAX: usize = 512;
/// Bytes of a tenant's name that can be a part of keys.
const TENANT_BYTES_MAX: usize = 512;

impl types::Host for Cell {}

impl Cell {
    /// Whose job it is: the first part of every key. Jobs without a tenant are those of the tenant `""`.
    ///
    /// # Errors
    /// A tenant comes with the job and may be any text, but one that no sensible producer has is not made a key.
    fn tenant(&self) -> Result<Option<&str>, Error> {
        let tenant = self.attempt.job.options.tenant.as_deref();
        let bytes = tenant.map_or(0, str::len);
        if bytes > TENANT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "the job's tenant has {bytes} bytes; the limit is {TENANT_BYTES_MAX}"
            )));
        }
        Ok(tenant)
    }
}

/// As much of a name that a guest chose as a message needs.
fn shown(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

/// What the guest hears when the store fails.
fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(_) => Error::Unavailable(error.to_string()),
        StoreError::NotFound(_) => Error::NotFound,
        StoreError::Rejected(why) => Error::Invalid(why),
        StoreError::Denied(_)
        | StoreError::WrongState { .. }
        | StoreError::Corrupt(_)
        | StoreError::Other(_) => Error::Other(error.to_string()),
    }
}

/// What the guest hears when the host runs without this part.
fn missing(what: &str) -> Error {
    Error::Unavailable(format!("this host runs without {what}"))
}

/// Whether a value keeps to its limit.
fn within(size: usize, limit: usize) -> Result<(), Error> {
    if size > limit { Err(Error::TooLarge(limit as u64)) } else { Ok(()) }
}
