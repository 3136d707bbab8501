//! How large and how tangled an artifact is: counted from its bytes, against caps, before anything is validated or
//! compiled. What is counted is what costs the compiler or the host more than in proportion to the bytes.

pub(crate) mod types;

use std::ops::AddAssign;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Payload,
};

use crate::admit::AdmitError;
use crate::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};

/// The most of something that an artifact may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cap {
    what: &'static str,
    limit: u64,
}

const fn cap(what: &'static str, limit: u64) -> Cap {
    Cap { what, limit }
}

/// Five times what a component with a whole language engine in it has.
const FUNCTIONS: Cap = cap("functions", 50_000);
/// The loops of interpreters come out as functions of up to a megabyte.
const BODY_BYTES: Cap = cap("bytes in one function", 2 << 20);
const LOCALS: Cap = cap("local variables in one function", 20_000);
const DATA_SEGMENTS: Cap = cap("data segments", 10_000);
/// Types of modules and components, with the declarations inside of types.
const TYPES: Cap = cap("types", 20_000);
/// What one type takes to build in memory: 1 000 000 and 100 by the standard, which is what has overflowed stacks.
pub(crate) const TYPE_PARTS: Cap = cap("parts in one type", 2_000);
pub(crate) const TYPE_DEPTH: Cap = cap("levels of types inside of one type", 32);
/// Components inside of components, and types of components inside of such types.
const NESTING: Cap = cap("levels of components inside of components", 16);
const IMPORTS: Cap = cap("imports", 1_000);
const EXPORTS: Cap = cap("exports", 1_000);
/// These count what one instance of the whole has, however often a part of it is instantiated.
const INSTANCES: Cap = cap("component instances", 100);
const CORE_INSTANCES: Cap = cap("core instances", CORE_INSTANCES_MAX as u64);
const MEMORIES: Cap = cap("memories", MEMORIES_MAX as u64);
const TABLES: Cap = cap("tables", TABLES_MAX as u64);
/// Components and modules may be instantiated, not handed around: no toolchain does, and what is handed around cannot
/// be counted before it arrives.
const HANDED: Cap = cap("components or modules that are passed as arguments", 0);

/// All caps: part of what an admission means, and so of the names in the compile cache.
pub(crate) const CAPS: [Cap; 15] = [
    FUNCTIONS,
    BODY_BYTES,
    LOCALS,
    DATA_SEGMENTS,
    TYPES,
    TYPE_PARTS,
    TYPE_DEPTH,
    NESTING,
    IMPORTS,
    EXPORTS,
    INSTANCES,
    CORE_INSTANCES,
    MEMORIES,
    TABLES,
    HANDED,
];

impl Cap {
    pub(crate) fn hold(self, count: u64) -> Result<(), AdmitError> {
        let Self { what, limit } = self;
        if count > limit { Err(AdmitError::Shape { what, count, limit }) } else { Ok(()) }
    }
}

/// Counts while a reader walks through a component and all that is nested in it.
#[derive(Default)]
pub(crate) struct Shape {
    /// The components and modules that the reader is inside of, the outermost first.
    scopes: Vec<Scope>,
    functions: u64,
    data_segments: u64,
    types: u64,
    imports: u64,
    exports: u64,
}

/// One component or module that is being read.
#[derive(Default)]
struct Scope {
    is_component: bool,
    /// Its index spaces, with what one instance of each costs.
    modules: Vec<Weight>,
    components: Vec<Weight>,
    /// What one instance of it costs.
    own: Weight,
}

/// What one instance of a component or module brings along.
#[derive(Debug, Default, Clone, Copy)]
struct Weight {
    instances: u64,
    core_instances: u64,
    memories: u64,
    tables: u64,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, Self { instances, core_instances, memories, tables }: Self) {
        self.instances = self.instances.saturating_add(instances);
        self.core_instances = self.core_instances.saturating_add(core_instances);
        self.memories = self.memories.saturating_add(memories);
        self.tables = self.tables.saturating_add(tables);
    }
}

impl Weight {
    fn hold(self) -> Result<(), AdmitError> {
        let Self { instances, core_instances, memories, tables } = self;
        INSTANCES.hold(instances)?;
        CORE_INSTANCES.hold(core_instances)?;
        MEMORIES.hold(memories)?;
        TABLES.hold(tables)
    }
}

// === impl Shape ===

impl Shape {
    /// How many components and modules the reader is inside of; the outermost is 1.
    pub(crate) fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// Counts one part. `bytes` is the whole artifact.
    ///
    /// # Errors
    /// The cap that is passed by it.
    pub(crate) fn take(&mut self, payload: &Payload<'_>, bytes: &[u8]) -> Result<(), AdmitError> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding == Encoding::Component),
            Payload::End(_) => self.leave(),
            Payload::ComponentTypeSection(section) => {
                let types = types::count(bytes, section.range(), NESTING)?;
                count(&mut self.types, types, TYPES)
            }
            Payload::TypeSection(section) => count(&mut self.types, section.count().into(), TYPES),
            Payload::CoreTypeSection(section) => count(&mut self.types, section.count().into(), TYPES),
            Payload::CodeSectionStart { count: functions, .. } => {
                count(&mut self.functions, (*functions).into(), FUNCTIONS)
            }
            Payload::CodeSectionEntry(body) => {
                BODY_BYTES.hold(body.range().len() as u64)?;
                let mut locals = 0;
                for group in body.get_locals_reader()? {
                    count(&mut locals, group?.0.into(), LOCALS)?;
                }
                Ok(())
            }
            Payload::DataSection(section) => {
                count(&mut self.data_segments, section.count().into(), DATA_SEGMENTS)
            }
            Payload::ComponentImportSection(section) => {
                count(&mut self.imports, section.count().into(), IMPORTS)
            }
            Payload::ComponentExportSection(section) => {
                count(&mut self.exports, section.count().into(), EXPORTS)
            }
            _ => Ok(()),
        }?;
        self.weigh(payload)
    }

    fn enter(&mut self, is_component: bool) -> Result<(), AdmitError> {
        // One module has one instance; a component has what is made inside of it.
        let own = Weight { core_instances: u64::from(!is_component), ..Weight::default() };
        self.scopes.push(Scope { is_component, own, ..Scope::default() });
        NESTING.hold(self.scopes.len() as u64)
    }

    fn leave(&mut self) -> Result<(), AdmitError> {
        let Some(Scope { is_component, own, .. }) = self.scopes.pop() else { return Ok(()) };
        if let Some(outer) = self.scopes.last_mut() {
            let space = if is_component { &mut outer.components } else { &mut outer.modules };
            space.push(own);
        }
        Ok(())
    }

    /// Follows which component or module each index means, and adds up what their instances cost.
    fn weigh(&mut self, payload: &Payload<'_>) -> Result<(), AdmitError> {
        let Some((scope, outer)) = self.scopes.split_last_mut() else { return Ok(()) };
        match payload {
            Payload::MemorySection(section) => scope.own.memories += u64::from(section.count()),
            Payload::TableSection(section) => scope.own.tables += u64::from(section.count()),
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        scope.own += known(&scope.modules, module_index);
                        scope.own.hold()?;
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        scope.own += known(&scope.components, component_index);
                        scope.own.instances = scope.own.instances.saturating_add(1);
                        scope.own.hold()?;
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    scope.alias(outer, &alias?)?;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    // The outermost's imports are refused by their names, which says more.
                    let is_handed = !outer.is_empty()
                        && matches!(import?.ty, ComponentTypeRef::Module(_) | ComponentTypeRef::Component(_));
                    HANDED.hold(is_handed.into())?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    // What is exported can be meant by a further index from there on.
                    match export.kind {
                        ComponentExternalKind::Module => {
                            scope.modules.push(known(&scope.modules, export.index));
                        }
                        ComponentExternalKind::Component => {
                            scope.components.push(known(&scope.components, export.index));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        scope.own.hold()
    }
}

/// Adds to a count and holds it to its cap.
fn count(total: &mut u64, more: u64, cap: Cap) -> Result<(), AdmitError> {
    *total = total.saturating_add(more);
    cap.hold(*total)
}

/// What an index means. One that means nothing is refused when the component is validated.
fn known(space: &[Weight], index: u32) -> Weight {
    space.get(index as usize).copied().unwrap_or_default()
}

// === impl Scope ===

impl Scope {
    fn alias(&mut self, outer: &[Self], alias: &ComponentAlias<'_>) -> Result<(), AdmitError> {
        match *alias {
            ComponentAlias::Outer { kind, count, index } => {
                let meant = match (count as usize).checked_sub(1) {
                    None => Some(&*self),
                    Some(up) => outer.iter().rev().nth(up),
                };
                let found = |space: fn(&Self) -> &[Weight]| meant.map(|scope| known(space(scope), index));
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let weight = found(|scope| &scope.modules).unwrap_or_default();
                        self.modules.push(weight);
                    }
                    ComponentOuterAliasKind::Component => {
                        let weight = found(|scope| &scope.components).unwrap_or_default();
                        self.components.push(weight);
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
                Ok(())
            }
            ComponentAlias::InstanceExport {
                kind: ComponentExternalKind::Module | ComponentExternalKind::Component,
                ..
            } => HANDED.hold(1),
            ComponentAlias::InstanceExport { .. } | ComponentAlias::CoreInstanceExport { .. } => Ok(()),
        }
    }
}
