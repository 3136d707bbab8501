//! Writes into a component what it is: its manifest.

use jobcell_handlers::Manifest;
use jobcell_handlers::manifest::{ManifestError, embed};
use jobcell_wasm::screen;

use super::build::Built;
use super::{Project, Recipe};

/// Why a component is no handler.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    /// No host would take it.
    #[error("handler {handler:?} was built, and no host would take it: {cause}")]
    Refused { handler: String, cause: jobcell_wasm::AdmitError },
    /// Its manifest cannot be read or written.
    #[error("handler {handler:?} was built: {cause}")]
    Manifest { handler: String, cause: ManifestError },
}

// === impl Project ===

impl Project {
    /// The component with a manifest. What its own says stays; what it leaves open is said by the project: the version,
    /// the language, what it wants. The same sources give the same bytes.
    ///
    /// # Errors
    /// When no host would take it, or what is to be said is too long or wrong.
    pub(crate) fn described(&self, built: &Built) -> Result<Vec<u8>, DescribeError> {
        let handler = || self.handler.clone();
        let fault = |cause| DescribeError::Manifest { handler: handler(), cause };
        let description =
            screen(&built.bytes).map_err(|cause| DescribeError::Refused { handler: handler(), cause })?;
        let mut manifest = Manifest::read(&built.bytes)
            .map_err(fault)?
            .unwrap_or_else(|| Manifest::unsaid(&self.handler, description.wit));
        if manifest.version.is_none() && !built.version.is_empty() {
            manifest.version = Some(built.version.clone());
        }
        if let Recipe::Cargo { profile, .. } = &self.recipe {
            manifest.language.get_or_insert_with(|| "rust".to_owned());
            manifest.build.insert("profile".to_owned(), profile.clone());
        }
        if self.wants.is_some() {
            manifest.wants.clone_from(&self.wants);
        }
        embed(&built.bytes, &manifest).map_err(fault)
    }
}
