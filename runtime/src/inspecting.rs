//! What a component says of itself, for the catalog of handlers: read from its bytes, before anything is stored or
//! compiled.

use jobcell_handlers::catalog::{Inspect, Inspected};
use jobcell_handlers::wants::Capability;
use jobcell_wasm::{Description, Need, screen};

/// Looks at components as this host's admission would, except for what it is granted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WasmInspect {
    /// Bytes that an artifact may have.
    pub(crate) artifact_max: usize,
}

impl Inspect for WasmInspect {
    fn inspect(&self, bytes: &[u8]) -> Result<Inspected, String> {
        if bytes.len() > self.artifact_max {
            return Err(format!(
                "it has {} bytes, and the limit is {}; build it with optimisation and strip debug information, or raise \
                 [cells] artifact-max",
                bytes.len(),
                self.artifact_max
            ));
        }
        let Description { wit, imports, .. } = screen(bytes).map_err(|error| error.to_string())?;
        let mut needs: Vec<Need> = imports.iter().filter_map(|import| import.needs).collect();
        needs.sort_unstable();
        needs.dedup();
        Ok(Inspected { wit, needs: needs.into_iter().map(capability).collect() })
    }
}

fn capability(need: Need) -> Capability {
    match need {
        Need::Http => Capability::Http,
        Need::Blobs => Capability::Blobs,
        Need::Cache => Capability::Cache,
        Need::Kv => Capability::Kv,
        Need::Enqueue => Capability::Enqueue,
        Need::Publish => Capability::Publish,
        Need::Secrets => Capability::Secrets,
    }
}
