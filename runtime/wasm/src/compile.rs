//! From an artifact's bytes to a component that can be linked: out of the cache, or by compiling.
//!
//! Compiling turns bytes into bytes and needs nothing of the running host, so that it can move into a process of its
//! own; loading happens here.

use wasmtime::component::Component;

use crate::admit::AdmitError;
use crate::compile_cache::{CompileCache, Entry};
use crate::engine::Engine;

/// The component for these bytes, which have been validated, and whether it came from the cache.
pub(crate) fn component(
    engine: &Engine,
    bytes: &[u8],
    digest: &str,
    cache: Option<&CompileCache>,
) -> Result<(Component, bool), AdmitError> {
    let Some(cache) = cache else {
        return Component::from_binary(engine.wasmtime(), bytes)
            .map(|component| (component, false))
            .map_err(|error| failed(&error));
    };
    let entry = cache.entry(engine.wasmtime(), digest);
    if let Some(component) = entry.load(engine.wasmtime()) {
        return Ok((component, true));
    }
    let code = compile(engine, bytes)?;
    match stored(&entry, &code, engine) {
        Some(component) => Ok((component, false)),
        // A full disk must not keep a handler from running.
        None => Component::from_binary(engine.wasmtime(), bytes)
            .map(|component| (component, false))
            .map_err(|error| failed(&error)),
    }
}

/// Machine code for these bytes: the step that an isolated compiler process would do.
fn compile(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, AdmitError> {
    engine.wasmtime().precompile_component(bytes).map_err(|error| failed(&error))
}

fn stored(entry: &Entry<'_>, code: &[u8], engine: &Engine) -> Option<Component> {
    match entry.store(code) {
        // Loading it back maps the file, whose pages all hosts of this machine share.
        Ok(()) => entry.load(engine.wasmtime()),
        Err(error) => {
            tracing::warn!(%error, "a compiled component could not be kept; it is compiled again at the next start");
            None
        }
    }
}

fn failed(error: &wasmtime::Error) -> AdmitError {
    AdmitError::Compile { cause: format!("{error:#}") }
}
