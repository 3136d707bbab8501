//! What a component says about itself, read from its bytes without compiling it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{
    ComponentExternalKind, ComponentTypeRef, FuncValidatorAllocations, Parser, Payload, ValidPayload,
    Validator, WasmFeatures,
};

use crate::admit::AdmitError;
use crate::engine::PROPOSALS;
use crate::interface::{Need, Standing, standing};
use crate::shape::Shape;
use crate::shape::types::Measures;

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

/// Proposals that the engine refuses, by the name of the refusal.
const REFUSED: [(&str, WasmFeatures); 20] = [
    ("threads", WasmFeatures::THREADS),
    ("shared-everything threads", WasmFeatures::SHARED_EVERYTHING_THREADS.union(WasmFeatures::THREADS)),
    ("exceptions", WasmFeatures::EXCEPTIONS.union(WasmFeatures::GC_TYPES)),
    ("legacy exceptions", WasmFeatures::LEGACY_EXCEPTIONS),
    ("function references", WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC_TYPES)),
    ("gc", WasmFeatures::GC.union(WasmFeatures::GC_TYPES).union(WasmFeatures::FUNCTION_REFERENCES)),
    ("memory64", WasmFeatures::MEMORY64),
    ("multi-memory", WasmFeatures::MULTI_MEMORY),
    ("tail calls", WasmFeatures::TAIL_CALL),
    ("relaxed simd", WasmFeatures::RELAXED_SIMD),
    ("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC),
    ("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES),
    ("memory control", WasmFeatures::MEMORY_CONTROL),
    (
        "stack switching",
        WasmFeatures::STACK_SWITCHING
            .union(WasmFeatures::EXCEPTIONS)
            .union(WasmFeatures::FUNCTION_REFERENCES)
            .union(WasmFeatures::GC_TYPES),
    ),
    ("component-model async", ASYNC),
    ("component-model threading", WasmFeatures::CM_THREADING.union(ASYNC)),
    ("component-model error contexts", WasmFeatures::CM_ERROR_CONTEXT.union(ASYNC)),
    ("component-model values", WasmFeatures::CM_VALUES),
    ("component-model fixed-length lists", WasmFeatures::CM_FIXED_LENGTH_LISTS),
    ("component-model maps", WasmFeatures::CM_MAP),
];

/// Async components with what extends them.
const ASYNC: WasmFeatures =
    WasmFeatures::CM_ASYNC.union(WasmFeatures::CM_ASYNC_STACKFUL).union(WasmFeatures::CM_MORE_ASYNC_BUILTINS);

/// Describes a component without compiling it. Works offline and needs no engine.
///
/// # Errors
/// What [`crate::Engine::admit`] says of bytes that are no component, or are malformed.
pub fn inspect(bytes: &[u8]) -> Result<Description, AdmitError> {
    let description = describe(bytes)?;
    validate(bytes)?;
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

/// Checks the whole binary as the engine would, and the size of its types, before any of it is compiled.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), AdmitError> {
    let error = match validate_all(bytes) {
        Ok(()) => return Ok(()),
        Err(Invalid::Capped(error)) => return Err(error),
        Err(Invalid::Binary(error)) => error,
    };
    let proposal = REFUSED.into_iter().find(|(_, feature)| valid(bytes, PROPOSALS.union(*feature)));
    Err(match proposal {
        Some((proposal, _)) => AdmitError::Proposal { proposal, at: error.offset() },
        None => error.into(),
    })
}

/// Why a binary does not pass.
enum Invalid {
    Binary(wasmparser::BinaryReaderError),
    Capped(AdmitError),
}

impl From<wasmparser::BinaryReaderError> for Invalid {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Binary(error)
    }
}

fn validate_all(bytes: &[u8]) -> Result<(), Invalid> {
    let mut validator = Validator::new_with_features(PROPOSALS);
    let (mut measures, mut spare) = (Measures::default(), FuncValidatorAllocations::default());
    for payload in Parser::new(0).parse_all(bytes) {
        match validator.payload(&payload?)? {
            ValidPayload::Func(function, body) => {
                let mut function = function.into_validator(spare);
                function.validate(&body)?;
                spare = function.into_allocations();
            }
            ValidPayload::End(types) => measures.hold(types.as_ref()).map_err(Invalid::Capped)?,
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    Ok(())
}

fn valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
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
