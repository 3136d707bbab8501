//! What guests can call. One module an interface; each function decodes, checks the grant and the limits, calls the
//! port and encodes. A refusal is a value for the guest; nothing here traps.

mod blobs;
mod cache;
mod config;
mod context;
mod jobs;
mod logging;
mod publish;
mod secrets;

use jobcell_core::StoreError;
use wasmtime::component::{HasSelf, Linker};

pub(crate) use config::VERSIONS as CONFIG_VERSIONS;
pub(crate) use logging::VERSION as LOGGING_VERSION;

use crate::cell::Cell;
use crate::world::Handler;
use crate::world::jobcell::job::types::{self, Error};

/// Everything the host offers, linked once for the process.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Cell>> {
    let mut linker = Linker::new(engine);
    Handler::add_to_linker::<_, HasSelf<_>>(&mut linker, |cell: &mut Cell| cell)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    config::add_to_linker(&mut linker)?;
    logging::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl types::Host for Cell {}

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
