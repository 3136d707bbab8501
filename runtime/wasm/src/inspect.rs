//! What a component says about itself, read from its bytes without compiling it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload, WasmFeatures};

use crate::admit::AdmitError;
use crate::engine::PROPOSALS;
use crate::interface::{Need, Standing, standing};
use crate::shape::Shape;
use crate::validate::{valid, validate};

/// What a component says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The sha256 of the bytes, in hex: the artifact's name.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// The version of `jobcell:job` it was built for, when it names one.
    pub wit: Option<String>,
    /// What it imports, in its own order.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Lines for its grants table, to be filled in.
    pub grants: Vec<String>,
    /// WebAssembly proposals it makes use of.
    pub features: Vec<&'static str>,
}

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The full name, with its version.
    pub name: String,
    /// Whether this host offers it.
    pub offered: bool,
    /// The grant it needs.
    pub needs: Option<Need>,
}

/// Proposals whose use is worth telling. The first word is what people call them.
const TOLD: [(&str, WasmFeatures); 6] = [
    ("simd", WasmFeatures::SIMD),
    ("bulk-memory", WasmFeatures::BULK_MEMORY),
    ("reference-types", WasmFeatures::REFERENCE_TYPES),
    ("multi-value", WasmFeatures::MULTI_VALUE),
    ("sign-extension", WasmFeatures::SIGN_EXTENSION),
    ("saturating-float-to-int", WasmFeatures::SATURATING_FLOAT_TO_INT),
];

/// Describes a component without compiling it. Works offline and needs no engine.
///
/// # Errors
/// What [`crate::Engine::admit`] says of bytes that are no component, or are malformed.
pub fn inspect(bytes: &[u8]) -> Result<Description, AdmitError> {
    let description = describe(bytes)?;
    validate(bytes, &description.digest)?;
    let used = TOLD.into_iter().filter(|(_, feature)| !valid(bytes, PROPOSALS.difference(*feature)));
    Ok(Description { features: used.map(|(name, _)| name).collect(), ..description })
}

/// The sha256 of an artifact, in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Reads imports, exports and the shape; everything of a [`Description`] but the features.
pub(crate) fn describe(bytes: &[u8]) -> Result<Description, AdmitError> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(AdmitError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(AdmitError::NotWasm { start: bytes.iter().take(8).copied().collect() });
    }
    if !Parser::is_component(bytes) {
        return Err(if Parser::is_core_wasm(bytes) {
            AdmitError::CoreModule
        } else {
            AdmitError::malformed("the header is cut off or of an unknown version", 4)
        });
    }
    let mut reader = Reader::default();
    for payload in Parser::new(0).parse_all(bytes) {
        reader.take(&payload?, bytes)?;
    }
    let Reader { imports, exports, shape: _ } = reader;
    let mut needs: Vec<_> = imports.iter().filter_map(|import| import.needs).collect();
    needs.sort_unstable();
    needs.dedup();
    let versions =
        imports.iter().filter_map(|import| import.name.strip_prefix("jobcell:job/")?.split_once('@'));
    Ok(Description {
        digest: digest(bytes),
        size: bytes.len() as u64,
        wit: versions.map(|(_, version)| version.to_owned()).next(),
        grants: needs.into_iter().map(|need| need.line().to_owned()).collect(),
        imports,
        exports,
        features: Vec::new(),
    })
}

/// Walks through a component and all that is nested in it.
#[derive(Default)]
struct Reader {
    imports: Vec<Import>,
    exports: Vec<String>,
    shape: Shape,
}

// === impl Reader ===

impl Reader {
    fn take(&mut self, payload: &Payload<'_>, bytes: &[u8]) -> Result<(), AdmitError> {
        // First of all, because it bounds what the rest will do.
        self.shape.take(payload, bytes)?;
        match payload {
            Payload::ComponentImportSection(section) if self.shape.depth() == 1 => {
                for import in section.clone() {
                    let import = import?;
                    self.import(import.name.name, &import.ty);
                }
            }
            Payload::ComponentExportSection(section) if self.shape.depth() == 1 => {
                for export in section.clone() {
                    let export = export?;
                    self.exports.push(describe_export(export.name.name, export.kind));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, name: &str, ty: &ComponentTypeRef) {
        // Worlds also import plain types, by which nothing can be reached.
        if matches!(ty, ComponentTypeRef::Type(_)) {
            return;
        }
        let (offered, needs) = match standing(name) {
            Standing::Offered(needs) => (true, needs),
            Standing::OtherVersion { .. } | Standing::Unknown => (false, None),
        };
        self.imports.push(Import { name: name.to_owned(), offered, needs });
    }
}

fn describe_export(name: &str, kind: ComponentExternalKind) -> String {
    let kind = match kind {
        ComponentExternalKind::Func => "func",
        ComponentExternalKind::Instance => "interface",
        ComponentExternalKind::Type => "type",
        ComponentExternalKind::Component => "component",
        ComponentExternalKind::Module => "module",
        ComponentExternalKind::Value => "value",
    };
    format!("{name} ({kind})")
}
