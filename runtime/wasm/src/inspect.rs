//! What a component says about itself, read from its bytes without compiling it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload, Validator, WasmFeatures};

use crate::admit::AdmitError;
use crate::engine::PROPOSALS;
use crate::interface::{Need, Standing, standing};
use crate::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX};

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

/// The most of each that a component may have: beyond it compiling costs more than any handler is worth.
const FUNCTIONS_MAX: u32 = 50_000;
const BODY_BYTES_MAX: usize = 2 << 20;
const LOCALS_MAX: u32 = 20_000;
const DATA_SEGMENTS_MAX: u32 = 10_000;
const TYPES_MAX: u32 = 20_000;

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
const REFUSED: [(&str, WasmFeatures); 12] = [
    ("threads", WasmFeatures::THREADS),
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
    ("component-model async", WasmFeatures::CM_ASYNC),
];

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
        reader.take(payload?)?;
    }
    let Reader { imports, exports, shape, .. } = reader;
    shape.check()?;
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

/// Checks the whole binary as the engine would, before any of it is compiled.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), AdmitError> {
    let Err(error) = Validator::new_with_features(PROPOSALS).validate_all(bytes) else { return Ok(()) };
    let proposal = REFUSED.into_iter().find(|(_, feature)| valid(bytes, PROPOSALS.union(*feature)));
    Err(match proposal {
        Some((proposal, _)) => AdmitError::Proposal { proposal, at: error.offset() },
        None => error.into(),
    })
}

fn valid(bytes: &[u8], features: WasmFeatures) -> bool {
    Validator::new_with_features(features).validate_all(bytes).is_ok()
}

/// Walks through a component and all that is nested in it.
#[derive(Default)]
struct Reader {
    /// How many modules or components the reader is inside of; the outermost is 1.
    depth: usize,
    imports: Vec<Import>,
    exports: Vec<String>,
    shape: Shape,
}

/// What compiling will cost.
#[derive(Default)]
struct Shape {
    functions: u32,
    body_bytes: usize,
    locals: u32,
    data_segments: u32,
    types: u32,
    core_instances: u32,
    memories: u32,
}

// === impl Reader ===

impl Reader {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), AdmitError> {
        match payload {
            Payload::Version { .. } => self.depth += 1,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if self.depth == 1 => {
                for import in section {
                    let import = import?;
                    self.import(import.name.name, &import.ty);
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section {
                    let export = export?;
                    self.exports.push(describe_export(export.name.name, export.kind));
                }
            }
            payload => self.shape.take(payload)?,
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

// === impl Shape ===

impl Shape {
    fn take(&mut self, payload: Payload<'_>) -> Result<(), AdmitError> {
        match payload {
            Payload::CodeSectionStart { count, .. } => self.functions = self.functions.saturating_add(count),
            Payload::CodeSectionEntry(body) => {
                self.body_bytes = self.body_bytes.max(body.range().len());
                let mut locals = 0u32;
                for group in body.get_locals_reader()? {
                    locals = locals.saturating_add(group?.0);
                }
                self.locals = self.locals.max(locals);
            }
            Payload::DataSection(section) => {
                self.data_segments = self.data_segments.saturating_add(section.count());
            }
            Payload::TypeSection(section) => self.types = self.types.saturating_add(section.count()),
            Payload::ComponentTypeSection(section) => self.types = self.types.saturating_add(section.count()),
            Payload::InstanceSection(section) => {
                for instance in section {
                    if matches!(instance?, wasmparser::Instance::Instantiate { .. }) {
                        self.core_instances = self.core_instances.saturating_add(1);
                    }
                }
            }
            Payload::MemorySection(section) => self.memories = self.memories.saturating_add(section.count()),
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), AdmitError> {
        let Self { functions, body_bytes, locals, data_segments, types, core_instances, memories } = *self;
        let counts = [
            ("functions", u64::from(functions), u64::from(FUNCTIONS_MAX)),
            ("bytes in one function", body_bytes as u64, BODY_BYTES_MAX as u64),
            ("local variables in one function", u64::from(locals), u64::from(LOCALS_MAX)),
            ("data segments", u64::from(data_segments), u64::from(DATA_SEGMENTS_MAX)),
            ("types", u64::from(types), u64::from(TYPES_MAX)),
            ("core instances", u64::from(core_instances), u64::from(CORE_INSTANCES_MAX)),
            ("memories", u64::from(memories), u64::from(MEMORIES_MAX)),
        ];
        match counts.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, count, limit)) => Err(AdmitError::Shape { what, count, limit }),
            None => Ok(()),
        }
    }
}
