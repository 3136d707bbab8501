//! A guest that does what its payload says: it calls any import with any words, writes anywhere in its memory, answers
//! its allocator's calls as it likes, and returns any pointer. One component for each of the three string encodings, so
//! that no input has to be compiled.
//!
//! The payload is a program of one-byte operations. An operation below the number of imports calls that import; then
//! come [`SET_ALLOCATOR`] and the others. A word is a byte for its kind and the bytes of that kind, see `$word`. Behind
//! the payload's end the guest returns what lies at address 0, which is an empty result.

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use jobcell_wasm::Grants;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Resolve, TypeDefKind, WorldItem, WorldKey};

/// How the guest writes its strings.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Encoding {
    Utf8,
    Utf16,
    Latin1OrUtf16,
}

/// One import of the guest.
struct Import {
    module: String,
    name: String,
    params: Vec<WasmType>,
    results: Vec<WasmType>,
    /// Its last parameter is where the result goes.
    returns_there: bool,
}

/// The operation that chooses what the allocator does from then on.
const SET_ALLOCATOR: u8 = 200;
/// The operation that writes a word of four bytes: where, and what.
const STORE_4: u8 = 201;
/// The same with eight.
const STORE_8: u8 = 202;
/// The operation that grows the memory by up to 255 pages.
const GROW: u8 = 203;
/// The operation that traps.
const TRAP: u8 = 204;
/// The operation that copies within the memory: to where, from where, how much.
const COPY: u8 = 205;
/// The operation that returns this pointer.
const RETURN: u8 = 206;

/// Everything that the guest imports.
pub(crate) fn grants() -> Grants {
    serde_json::from_str(
        r#"{"http":[{"url":"http://127.0.0.1:9","private":true}],"blobs":["b"],"cache":true,"enqueue":["q","more-*"],
            "publish":["c","all-*"],"secrets":["s"],"config":{"k":"v"}}"#,
    )
    .expect("grants")
}

/// The guest.
pub(crate) fn component(encoding: Encoding) -> &'static [u8] {
    static COMPONENTS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| Encoding::ALL.map(build));
    &COMPONENTS[encoding as usize]
}

fn world() -> (Resolve, wit_parser::WorldId) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut resolve = Resolve::default();
    resolve.push_path(root.join("wit")).expect("our own contract");
    let (package, _) = resolve.push_path(root.join("tests/guests/hostile/wit/wasi.wit")).expect("WASI");
    let world = resolve.select_world(&[package], Some("hostile")).expect("the world of hostile guests");
    (resolve, world)
}

fn build(encoding: Encoding) -> Vec<u8> {
    let (resolve, world) = world();
    let mut module = wat::parse_str(text(&imports(&resolve, world))).expect("the guest's text");
    let strings = match encoding {
        Encoding::Utf8 => StringEncoding::UTF8,
        Encoding::Utf16 => StringEncoding::UTF16,
        Encoding::Latin1OrUtf16 => StringEncoding::CompactUTF16,
    };
    embed_component_metadata(&mut module, &resolve, world, strings).expect("metadata");
    let mut encoder = ComponentEncoder::default().module(&module).expect("a module of the world");
    encoder.encode().expect("a component")
}

/// Every function of every interface that the world imports, and the end of each resource.
fn imports(resolve: &Resolve, world: wit_parser::WorldId) -> Vec<Import> {
    let mut found = Vec::new();
    for (key, item) in &resolve.worlds[world].imports {
        let (WorldKey::Interface(_), WorldItem::Interface { id, .. }) = (key, item) else { continue };
        let module = resolve.name_world_key(key);
        let interface = &resolve.interfaces[*id];
        for function in interface.functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            found.push(Import {
                module: module.clone(),
                name: function.name.clone(),
                params: signature.params,
                results: signature.results,
                returns_there: signature.retptr,
            });
        }
        for (name, ty) in &interface.types {
            if matches!(resolve.types[*ty].kind, TypeDefKind::Resource) {
                found.push(Import {
                    module: module.clone(),
                    name: format!("[resource-drop]{name}"),
                    params: vec![WasmType::I32],
                    results: Vec::new(),
                    returns_there: false,
                });
            }
        }
    }
    found
}

/// The core module. Addresses: 0 stays zero unless written, 1024 to 2047 take the results of imports, 16384 and on are
/// free, from 65536 on the allocator gives out.
fn text(imports: &[Import]) -> String {
    let (mut declared, mut called, mut labels) = (String::new(), String::new(), String::new());
    for (n, import) in imports.iter().enumerate() {
        let Import { module, name, params, results, .. } = import;
        let words = |kind: &str, types: &[WasmType]| {
            types.iter().map(|ty| format!(" ({kind} {})", of(*ty))).collect::<String>()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            declared,
            "(import {module:?} {name:?} (func $import{n}{}{}))",
            words("param", params),
            words("result", results)
        );
        let _ = writeln!(called, ") {} br $next", call(n, import));
        let _ = write!(labels, " $op{n}");
    }
    let opened: String = (0..imports.len()).rev().map(|n| format!("(block $op{n} ")).collect();
    format!(
        r#"(module {declared}
  (memory (export "memory") 3)
  (global $begin (mut i32) (i32.const 0)) (global $at (mut i32) (i32.const 0)) (global $end (mut i32) (i32.const 0))
  (global $top (mut i32) (i32.const 65536)) (global $mode (mut i32) (i32.const 0)) (global $slot (mut i32) (i32.const 0))
  (func $take (param $n i32) (result i64) (local $v i64) (local $shift i64)
    (block $done (loop $more
      (br_if $done (i32.eqz (local.get $n)))
      (br_if $done (i32.ge_u (global.get $at) (global.get $end)))
      (local.set $v (i64.or (local.get $v) (i64.shl (i64.load8_u (global.get $at)) (local.get $shift))))
      (local.set $shift (i64.add (local.get $shift) (i64.const 8)))
      (global.set $at (i32.add (global.get $at) (i32.const 1)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br $more)))
    (local.get $v))
  (func $byte (result i32) (i32.wrap_i64 (call $take (i32.const 1))))
  (func $word (result i64) (local $from_end i32)
    (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
      (br_table $0 $1 $2 $3 $4 $5 $6 $7 (i32.and (call $byte) (i32.const 7))))
      (return (call $take (i32.const 1))))
      (return (call $take (i32.const 4))))
      (return (i64.add (i64.extend_i32_u (global.get $begin)) (call $take (i32.const 2)))))
      (return (i64.load32_u (i32.add (i32.const 1024) (i32.shl (call $byte) (i32.const 2))))))
      (return (call $take (i32.const 8))))
      (local.set $from_end (call $byte))
      (return (i64.extend_i32_u
        (i32.sub (i32.mul (memory.size) (i32.const 65536)) (local.get $from_end)))))
      (return (i64.extend_i32_u (i32.add (i32.const 16384) (i32.shl (call $byte) (i32.const 3))))))
    (i64.sub (i64.const -1) (call $take (i32.const 1))))
  (func $pointer (result i32) (i32.wrap_i64 (call $word)))
  (func $place (result i32)
    (global.set $slot (i32.and (i32.add (global.get $slot) (i32.const 1)) (i32.const 15)))
    (i32.add (i32.const 1024) (i32.shl (global.get $slot) (i32.const 6))))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (if (i32.eq (global.get $mode) (i32.const 1)) (then (return (i32.const 0))))
    (if (i32.eq (global.get $mode) (i32.const 2)) (then (return (i32.or (global.get $top) (i32.const 1)))))
    (if (i32.eq (global.get $mode) (i32.const 3)) (then (unreachable)))
    (if (i32.eq (global.get $mode) (i32.const 4)) (then (return (i32.const -1))))
    (if (i32.eq (global.get $mode) (i32.const 5)) (then (return (i32.const 196607))))
    (if (i32.eq (global.get $mode) (i32.const 6)) (then (drop (memory.grow (i32.const 1)))))
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (block $enough (loop $more
      (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
      (br $more)))
    (local.get $at))
  (func (export "cabi_post_handle") (param i32)
    (if (i32.eq (global.get $mode) (i32.const 7)) (then (unreachable)))
    (if (i32.eq (global.get $mode) (i32.const 8)) (then (loop $ever (br $ever)))))
  (func $step (param $op i32) (local $to i32) (local $from i32) (local $i32 i32) (local $i64 i64)
    (block $next
      (if (i32.eq (local.get $op) (i32.const {SET_ALLOCATOR})) (then (global.set $mode (call $byte)) (br $next)))
      (if (i32.eq (local.get $op) (i32.const {STORE_4})) (then
        (local.set $to (call $pointer)) (i32.store (local.get $to) (call $pointer)) (br $next)))
      (if (i32.eq (local.get $op) (i32.const {STORE_8})) (then
        (local.set $to (call $pointer)) (i64.store (local.get $to) (call $word)) (br $next)))
      (if (i32.eq (local.get $op) (i32.const {GROW})) (then (drop (memory.grow (call $byte))) (br $next)))
      (if (i32.eq (local.get $op) (i32.const {TRAP})) (then (unreachable)))
      (if (i32.eq (local.get $op) (i32.const {COPY})) (then
        (local.set $to (call $pointer)) (local.set $from (call $pointer))
        (memory.copy (local.get $to) (local.get $from) (call $byte)) (br $next)))
      (block $none {opened}
        (br_table{labels} $none (local.get $op))
      {called} )))
  (func (export "handle") (param $job i32) (result i32) (local $op i32)
    (global.set $begin (i32.load offset=24 (local.get $job)))
    (global.set $at (global.get $begin))
    (global.set $end (i32.add (global.get $begin) (i32.load offset=28 (local.get $job))))
    (block $ended (loop $more
      (br_if $ended (i32.ge_u (global.get $at) (global.get $end)))
      (local.set $op (call $byte))
      (if (i32.eq (local.get $op) (i32.const {RETURN})) (then (return (call $pointer))))
      (call $step (local.get $op))
      (br $more)))
    (i32.const 0)))"#
    )
}

/// One call with words of the program; what it returns goes where the program can use it.
fn call(n: usize, import: &Import) -> String {
    let Import { params, results, returns_there, .. } = import;
    let mut words = String::new();
    for (at, ty) in params.iter().enumerate() {
        words += match of(*ty) {
            _ if *returns_there && at + 1 == params.len() => "(call $place) ",
            "i32" => "(call $pointer) ",
            "i64" => "(call $word) ",
            "f32" => "(f32.reinterpret_i32 (call $pointer)) ",
            _ => "(f64.reinterpret_i64 (call $word)) ",
        };
    }
    let called = format!("(call $import{n} {words})");
    match results.first().map(|ty| of(*ty)) {
        None => called,
        Some("i32") => format!("(local.set $i32 {called}) (i32.store (call $place) (local.get $i32))"),
        Some("i64") => format!("(local.set $i64 {called}) (i64.store (call $place) (local.get $i64))"),
        Some(_) => format!("(drop {called})"),
    }
}

/// The plain type of a word. Memories are of 32 bits.
fn of(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

// === impl Encoding ===

impl Encoding {
    /// Every encoding.
    pub(crate) const ALL: [Self; 3] = [Self::Utf8, Self::Utf16, Self::Latin1OrUtf16];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_do_not_meet_imports() {
        let (resolve, world) = world();
        let count = imports(&resolve, world).len();
        assert!(count > 40 && count <= usize::from(SET_ALLOCATOR), "{count} imports");
    }
}
