//! Types: counted before anything recurses into them, and measured once they are known to be valid.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentFuncTypeId, ComponentValType,
};
use wasmparser::types::TypesRef;
use wasmparser::{BinaryReader, ComponentType, ComponentTypeDeclaration};

use super::{Cap, TYPE_DEPTH, TYPE_PARTS};
use crate::admit::AdmitError;

/// A type of a component begins with this byte, one of an instance with the next: only these hold further types.
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;
/// A declaration inside of such a type that is a type itself.
const TYPE_DECLARATION: u8 = 0x01;

/// Counts the types of a section with the declarations inside of them. The parser reads a nested type by calling
/// itself, without a bound: a few megabytes of them would end the process. So this comes first, and does not.
///
/// # Errors
/// When they are nested deeper than `nesting`, or cannot be read.
pub(crate) fn count(bytes: &[u8], section: Range<usize>, nesting: Cap) -> Result<u64, AdmitError> {
    let start = section.start;
    let content = bytes.get(section).ok_or_else(|| AdmitError::malformed("a section is cut off", start))?;
    let mut reader = BinaryReader::new(content, start);
    // Declarations that are still to be read, for each type that the reader is inside of.
    let mut left = vec![reader.read_var_u32()?];
    let mut counted = 0;
    while let Some(last) = left.last_mut() {
        let Some(rest) = last.checked_sub(1) else {
            left.pop();
            continue;
        };
        *last = rest;
        counted += 1;
        let is_section = left.len() == 1;
        let mut ahead = reader.clone();
        let is_type = is_section || ahead.read_u8()? == TYPE_DECLARATION;
        if !is_type {
            reader.read::<ComponentTypeDeclaration<'_>>()?;
        } else if matches!(ahead.clone().read_u8()?, COMPONENT_TYPE | INSTANCE_TYPE) {
            ahead.read_u8()?;
            nesting.hold(left.len() as u64)?;
            left.push(ahead.read_var_u32()?);
            reader = ahead;
        } else {
            ahead.read::<ComponentType<'_>>()?;
            reader = ahead;
        }
    }
    Ok(counted)
}

/// Measures the types that a component can make use of.
#[derive(Default)]
pub(crate) struct Measures(HashMap<ComponentDefinedTypeId, Measure>);

/// How large one type is when all it refers to is written out.
#[derive(Debug, Clone, Copy)]
struct Measure {
    parts: u64,
    depth: u64,
}

impl Measure {
    const LEAF: Self = Self { parts: 1, depth: 1 };

    fn of_many(count: usize) -> Self {
        Self { parts: 1 + count as u64, depth: 1 }
    }
}

impl Measures {
    /// Measures what a component defines, imports and exports.
    ///
    /// # Errors
    /// The cap that one of its types passes.
    pub(crate) fn hold(&mut self, types: TypesRef<'_>) -> Result<(), AdmitError> {
        for index in 0..types.component_type_count() {
            match types.component_any_type_at(index) {
                ComponentAnyTypeId::Defined(id) => self.hold_measure(types, id)?,
                ComponentAnyTypeId::Func(id) => self.hold_function(types, id)?,
                ComponentAnyTypeId::Resource(_)
                | ComponentAnyTypeId::Instance(_)
                | ComponentAnyTypeId::Component(_) => {}
            }
        }
        for index in 0..types.component_function_count() {
            self.hold_function(types, types.component_function_at(index))?;
        }
        Ok(())
    }

    fn hold_measure(&mut self, types: TypesRef<'_>, id: ComponentDefinedTypeId) -> Result<(), AdmitError> {
        let Measure { parts, depth } = self.defined(types, id);
        TYPE_PARTS.hold(parts)?;
        TYPE_DEPTH.hold(depth)
    }

    fn hold_function(&mut self, types: TypesRef<'_>, id: ComponentFuncTypeId) -> Result<(), AdmitError> {
        let Some(function) = types.get(id) else { return Ok(()) };
        for ty in function.params.iter().map(|(_, ty)| ty).chain(&function.result) {
            if let ComponentValType::Type(id) = ty {
                self.hold_measure(types, *id)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, types: TypesRef<'_>, ty: ComponentValType) -> Measure {
        match ty {
            ComponentValType::Primitive(_) => Measure::LEAF,
            ComponentValType::Type(id) => self.defined(types, id),
        }
    }

    /// Calls itself as deep as types are, which validation bounds at 100.
    fn defined(&mut self, types: TypesRef<'_>, id: ComponentDefinedTypeId) -> Measure {
        if let Some(known) = self.0.get(&id) {
            return *known;
        }
        let Some(ty) = types.get(id) else { return Measure::LEAF };
        let inner: Vec<ComponentValType> = match ty {
            ComponentDefinedType::Primitive(_)
            | ComponentDefinedType::Own(_)
            | ComponentDefinedType::Borrow(_) => return Measure::LEAF,
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => {
                return Measure::of_many(names.len());
            }
            ComponentDefinedType::Record(record) => record.fields.values().copied().collect(),
            ComponentDefinedType::Variant(variant) => {
                let bare = variant.cases.values().filter(|case| case.ty.is_none()).count();
                let mut measure = Measure::of_many(bare);
                for ty in variant.cases.values().filter_map(|case| case.ty) {
                    measure = measure.with(self.value(types, ty));
                }
                self.0.insert(id, measure);
                return measure;
            }
            ComponentDefinedType::Tuple(tuple) => tuple.types.to_vec(),
            ComponentDefinedType::List { element, .. }
            | ComponentDefinedType::FixedLengthList { element, .. } => vec![*element],
            ComponentDefinedType::Option { ty, .. } => vec![*ty],
            ComponentDefinedType::Map { key, value, .. } => vec![*key, *value],
            ComponentDefinedType::Result { ok, err, .. } => ok.iter().chain(err).copied().collect(),
            ComponentDefinedType::Future { ty, .. } | ComponentDefinedType::Stream { ty, .. } => {
                ty.iter().copied().collect()
            }
        };
        let mut measure = Measure::LEAF;
        for ty in inner {
            measure = measure.with(self.value(types, ty));
        }
        self.0.insert(id, measure);
        measure
    }
}

impl Measure {
    fn with(self, inner: Self) -> Self {
        Self {
            parts: self.parts.saturating_add(inner.parts),
            depth: self.depth.max(inner.depth.saturating_add(1)),
        }
    }
}
