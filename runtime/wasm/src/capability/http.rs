//! `wasi:http`, as upstream links it, and one function of it made to answer: `http-error-code` for the body of a response.
//!
//! Upstream looks for an error of its bindings where bodies carry one of its embedding interface, and so finds none: a
//! guest would not learn whether a body was too long, too slow or broken off.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, FieldSizePayload, IoError};
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::cell::Cell;

/// The version that upstream links.
const TYPES: &str = "wasi:http/types@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "http-error-code",
        |mut cx: StoreContextMut<'_, Cell>, (error,): (Resource<IoError>,)| {
            let view = cx.data_mut().http();
            let error = view.table.get(&error)?;
            let code = error.downcast_ref::<ErrorCode>().cloned();
            Ok((code.or_else(|| error.downcast_ref().map(of_body)),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The code of what a body can fail with.
fn of_body(error: &Error) -> ErrorCode {
    let fields = |field_name: &Option<String>, field_size: Option<u32>| FieldSizePayload {
        field_name: field_name.clone(),
        field_size,
    };
    match error {
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::ConnectionTimeout => ErrorCode::ConnectionTimeout,
        Error::HttpResponseBodySize(size) => ErrorCode::HttpResponseBodySize(*size),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpResponseTimeout => ErrorCode::HttpResponseTimeout,
        Error::HttpResponseHeaderSectionSize(size) => ErrorCode::HttpResponseTrailerSectionSize(*size),
        Error::HttpResponseTrailerSectionSize(size) => ErrorCode::HttpResponseTrailerSectionSize(*size),
        Error::HttpResponseTrailerSize { field_name, field_size } => {
            ErrorCode::HttpResponseTrailerSize(fields(field_name, *field_size))
        }
        Error::TlsProtocolError => ErrorCode::TlsProtocolError,
        _ => ErrorCode::HttpProtocolError,
    }
}
