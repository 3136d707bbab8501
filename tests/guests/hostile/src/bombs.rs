//! Bytes that are small to describe and large to have: bombs for the compiler and the reader, made when they are
//! needed.

use wasm_encoder::{
    BlockType, CodeSection, CustomSection, DataSection, Encode, ExportKind, ExportSection, Function,
    FunctionSection, IndirectNameMap, MemorySection, MemoryType, Module, NameMap, NameSection, TableSection,
    TableType, TypeSection, ValType,
};

use crate::guest::{Guest, Holds, Payload, Wasm};

/// A component of our world, up to its core module and from there on.
const HEAD: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/frame_head.bin"));
const TAIL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/frame_tail.bin"));

pub(crate) const fn frame_bytes() -> usize {
    HEAD.len() + TAIL.len()
}

const fn bomb(
    row: &'static str,
    name: &'static str,
    what: &'static str,
    ends: &'static [&'static str],
    make: fn() -> Vec<u8>,
) -> Guest {
    Guest {
        row,
        name,
        what,
        advisory: None,
        ends,
        needs: &[],
        holds: Holds::Nothing,
        payload: Payload::Json,
        at_once: 1,
        wasm: Wasm::Made(make),
    }
}

const REFUSED: &[&str] = &["refused"];
/// What a compiler within its bounds may also manage.
const EITHER: &[&str] = &["refused", "completed"];

pub(crate) const BOMBS: &[Guest] = &[
    bomb("C1", "empty_loops", "twenty thousand empty loops in one function", EITHER, empty_loops),
    bomb("C1", "block_chain", "fifteen thousand blocks, each with the last one's value", EITHER, block_chain),
    bomb(
        "C1",
        "one_large_function",
        "one function of a megabyte whose values all live to its end",
        EITHER,
        one_large_function,
    ),
    bomb(
        "C1",
        "wide_branch_tables",
        "branch tables of ten thousand targets, a hundred times",
        EITHER,
        wide_branch_tables,
    ),
    bomb("C1", "many_functions", "forty thousand functions", EITHER, many_functions),
    bomb("C2", "large_artifact", "nine megabytes of nothing in a custom section", REFUSED, large_artifact),
    bomb("C2", "too_many_functions", "sixty thousand functions", REFUSED, || functions(60_000)),
    bomb("C2", "too_large_function", "one function of three megabytes", REFUSED, too_large_function),
    bomb("C2", "too_many_locals", "forty thousand local variables in one function", REFUSED, || {
        locals(40_000)
    }),
    bomb(
        "C2",
        "four_billion_locals",
        "says that one function has four thousand million local variables",
        REFUSED,
        || locals(u32::MAX),
    ),
    bomb("C2", "too_many_types", "a million types", REFUSED, too_many_types),
    bomb("C2", "too_many_segments", "thirty-three thousand data segments", REFUSED, too_many_segments),
    bomb("C2", "lying_section", "a section that says it has four gigabytes", REFUSED, lying_section),
    bomb("C2", "cut_off", "ends in the middle of a module", REFUSED, cut_off),
    bomb("C3", "wide_variant", "a variant of ten thousand cases", EITHER, || component(&wide_variant())),
    bomb("C3", "deep_type", "a list of lists, five thousand deep", REFUSED, || component(&deep_type())),
    bomb("C3", "doubling_type", "a type that doubles sixty times", REFUSED, || component(&doubling_type())),
    bomb("C4", "too_many_instances", "a hundred instances of one module", REFUSED, || {
        component(&instances(100))
    }),
    bomb(
        "C4",
        "doubling_instances",
        "components that each hold two of the next, thirty levels deep",
        REFUSED,
        || component(&doubling_instances(30)),
    ),
    bomb("C4", "too_many_memories", "six memories in six modules", REFUSED, || component(&memories(6))),
    bomb(
        "C4",
        "too_many_tables",
        "twenty modules with a table each",
        &["refused", "resources", "requeued"],
        || component(&tables(20)),
    ),
    bomb("C4", "nested_components", "components inside of each other, two hundred deep", REFUSED, || {
        component(&nested(200))
    }),
    bomb(
        "C5",
        "precompiled_component",
        "claims to be machine code of this engine's components",
        REFUSED,
        || elf(2),
    ),
    bomb("C5", "precompiled_module", "claims to be machine code of this engine's modules", REFUSED, || {
        elf(1)
    }),
    bomb("C5", "shared_library", "is a shared library", REFUSED, || elf(0)),
    bomb(
        "C7",
        "long_names",
        "function names of a megabyte each, in the frames of a trap",
        &["trap", "refused"],
        long_names,
    ),
    bomb(
        "C7",
        "name_section_bomb",
        "a name section of seven megabytes of names for functions that are not there",
        &["completed", "refused"],
        name_section,
    ),
    bomb(
        "F6",
        "code_of_another_engine",
        "machine code with the mark of another engine's settings",
        REFUSED,
        other_engine,
    ),
];

// === the frame ===

/// A component of our world around this core module, which must export what the world asks for.
fn framed(module: Module) -> Vec<u8> {
    let module = module.finish();
    let mut bytes = HEAD.to_vec();
    section(&mut bytes, 1, &module);
    bytes.extend_from_slice(TAIL);
    bytes
}

/// The same around a harmless module, with these sections at its end: the frame names its parts by number, which
/// must not change.
fn component(sections: &[u8]) -> Vec<u8> {
    let mut bytes = framed(Handler::new().finish(|_| {}));
    bytes.extend_from_slice(sections);
    bytes
}

fn section(bytes: &mut Vec<u8>, id: u8, data: &[u8]) {
    bytes.push(id);
    data.encode(bytes);
}

/// A core module that is a handler, with room for more of everything.
struct Handler {
    types: TypeSection,
    functions: FunctionSection,
    codes: CodeSection,
}

/// Functions of every handler: the allocator, and `handle`.
const HANDLERS_OWN: u32 = 2;

impl Handler {
    fn new() -> Self {
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([], []);
        let (mut functions, mut codes) = (FunctionSection::new(), CodeSection::new());
        functions.function(0).function(1);
        let mut constant = |n: i32| {
            let mut body = Function::new([]);
            body.instructions().i32_const(n).end();
            codes.function(&body);
        };
        constant(16_384);
        constant(1024);
        Self { types, functions, codes }
    }

    /// Adds a function of no parameters and results.
    fn function(&mut self, body: &Function) {
        self.functions.function(2);
        self.codes.function(body);
    }

    fn finish(self, after: impl FnOnce(&mut Module)) -> Module {
        let Self { types, functions, codes } = self;
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0).export("cabi_realloc", ExportKind::Func, 0).export(
            "handle",
            ExportKind::Func,
            1,
        );
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&codes);
        after(&mut module);
        module
    }
}

fn one_function(body: &Function) -> Vec<u8> {
    let mut handler = Handler::new();
    handler.function(body);
    framed(handler.finish(|_| {}))
}

// === C1 ===

fn empty_loops() -> Vec<u8> {
    let mut body = Function::new([]);
    for _ in 0..20_000 {
        body.instructions().loop_(BlockType::Empty).end();
    }
    body.instructions().end();
    one_function(&body)
}

fn block_chain() -> Vec<u8> {
    let mut body = Function::new([(1, ValType::I32)]);
    for _ in 0..15_000 {
        body.instructions()
            .block(BlockType::Result(ValType::I32))
            .local_get(0)
            .local_get(0)
            .br_if(0)
            .end()
            .local_set(0);
    }
    body.instructions().end();
    one_function(&body)
}

fn one_large_function() -> Vec<u8> {
    let mut body = Function::new([(1000, ValType::I64)]);
    for n in 0..100_000u32 {
        body.instructions()
            .local_get(n % 1000)
            .local_get((n * 7 + 1) % 1000)
            .i64_mul()
            .local_set((n * 13 + 5) % 1000);
    }
    body.instructions().end();
    one_function(&body)
}

fn wide_branch_tables() -> Vec<u8> {
    let mut body = Function::new([]);
    let targets: Vec<u32> = (0..10_000).map(|n| n % 50).collect();
    for _ in 0..50 {
        body.instructions().block(BlockType::Empty);
    }
    for n in 0..100 {
        body.instructions().block(BlockType::Empty).i32_const(n).br_table(targets.iter().copied(), 0).end();
    }
    for _ in 0..51 {
        body.instructions().end();
    }
    one_function(&body)
}

fn many_functions() -> Vec<u8> {
    functions(40_000)
}

fn functions(count: u32) -> Vec<u8> {
    let mut handler = Handler::new();
    let mut body = Function::new([]);
    body.instructions().end();
    for _ in 0..count {
        handler.function(&body);
    }
    framed(handler.finish(|_| {}))
}

// === C2 ===

fn large_artifact() -> Vec<u8> {
    let padding = vec![0; 9 << 20];
    framed(Handler::new().finish(|module| {
        module.section(&CustomSection { name: "padding".into(), data: padding.into() });
    }))
}

fn too_large_function() -> Vec<u8> {
    let mut body = Function::new([]);
    for _ in 0..3 << 20 {
        body.instructions().nop();
    }
    body.instructions().end();
    one_function(&body)
}

fn locals(count: u32) -> Vec<u8> {
    let mut body = Function::new([(count, ValType::I64)]);
    body.instructions().end();
    one_function(&body)
}

fn too_many_types() -> Vec<u8> {
    let mut handler = Handler::new();
    for _ in 0..1_000_000 {
        handler.types.ty().function([], []);
    }
    framed(handler.finish(|_| {}))
}

fn too_many_segments() -> Vec<u8> {
    let mut data = DataSection::new();
    for _ in 0..33_000 {
        data.passive([]);
    }
    framed(Handler::new().finish(|module| {
        module.section(&data);
    }))
}

fn lying_section() -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    bytes.extend_from_slice(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    bytes
}

fn cut_off() -> Vec<u8> {
    let mut bytes = functions(100);
    bytes.truncate(HEAD.len() + 150);
    bytes
}

// === C3, C4: components inside of the component ===

/// Sections of a component.
const COMPONENT: u8 = 4;
const CORE_INSTANCE: u8 = 2;
const COMPONENT_INSTANCE: u8 = 5;
const TYPE: u8 = 7;
const CORE_MODULE: u8 = 1;

/// A component in a section, its inside made by `inside`.
fn inner(inside: &[u8]) -> Vec<u8> {
    let mut whole = vec![0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    whole.extend_from_slice(inside);
    let mut bytes = Vec::new();
    section(&mut bytes, COMPONENT, &whole);
    bytes
}

/// A section of `count` items.
fn items(id: u8, count: u32, data: &[u8]) -> Vec<u8> {
    let mut inside = Vec::new();
    count.encode(&mut inside);
    inside.extend_from_slice(data);
    let mut bytes = Vec::new();
    section(&mut bytes, id, &inside);
    bytes
}

fn wide_variant() -> Vec<u8> {
    let mut ty = vec![0x71];
    10_000u32.encode(&mut ty);
    for n in 0..10_000 {
        format!("c{n}").as_str().encode(&mut ty);
        // No payload, and nothing refined.
        ty.extend_from_slice(&[0, 0]);
    }
    inner(&items(TYPE, 1, &ty))
}

fn deep_type() -> Vec<u8> {
    // The first is a list of u8, every other a list of the one before.
    let mut types = vec![0x70, 0x7d];
    for n in 0..4999i64 {
        types.push(0x70);
        n.encode(&mut types);
    }
    inner(&items(TYPE, 5000, &types))
}

fn doubling_type() -> Vec<u8> {
    let mut types = vec![0x6f, 2, 0x7d, 0x7d];
    for n in 0..59i64 {
        types.extend_from_slice(&[0x6f, 2]);
        n.encode(&mut types);
        n.encode(&mut types);
    }
    inner(&items(TYPE, 60, &types))
}

fn module(with: impl FnOnce(&mut Module)) -> Vec<u8> {
    let mut module = Module::new();
    with(&mut module);
    let mut bytes = Vec::new();
    section(&mut bytes, CORE_MODULE, &module.finish());
    bytes
}

/// Makes core modules' instances of the module with this number, without arguments.
fn core_instances(module: u32, count: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..count {
        data.push(0);
        module.encode(&mut data);
        data.push(0);
    }
    items(CORE_INSTANCE, count, &data)
}

/// An instance of the first component in this scope.
fn component_instances(count: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for _ in 0..count {
        data.extend_from_slice(&[0, 0, 0]);
    }
    items(COMPONENT_INSTANCE, count, &data)
}

fn instances(count: u32) -> Vec<u8> {
    let mut inside = module(|_| {});
    inside.extend(core_instances(0, count));
    let mut bytes = inner(&inside);
    bytes.extend(component_instances(1));
    bytes
}

fn doubling_instances(levels: u32) -> Vec<u8> {
    let mut inside = module(|_| {});
    inside.extend(core_instances(0, 1));
    for _ in 0..levels {
        let mut next = inner(&inside);
        next.extend(component_instances(2));
        inside = next;
    }
    let mut bytes = inner(&inside);
    bytes.extend(component_instances(1));
    bytes
}

fn memories(count: u32) -> Vec<u8> {
    let mut inside = Vec::new();
    for n in 0..count {
        inside.extend(module(|module| {
            let mut memories = MemorySection::new();
            memories.memory(MemoryType {
                minimum: 1,
                maximum: None,
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
            module.section(&memories);
        }));
        inside.extend(core_instances(n, 1));
    }
    let mut bytes = inner(&inside);
    bytes.extend(component_instances(1));
    bytes
}

fn tables(count: u32) -> Vec<u8> {
    let mut inside = Vec::new();
    for n in 0..count {
        inside.extend(module(|module| {
            let mut tables = TableSection::new();
            tables.table(TableType {
                element_type: wasm_encoder::RefType::FUNCREF,
                table64: false,
                minimum: 1,
                maximum: None,
                shared: false,
            });
            module.section(&tables);
        }));
        inside.extend(core_instances(n, 1));
    }
    let mut bytes = inner(&inside);
    bytes.extend(component_instances(1));
    bytes
}

fn nested(levels: u32) -> Vec<u8> {
    (0..levels).fold(Vec::new(), |inside, _| inner(&inside))
}

// === C5, F6 ===

/// The head of an ELF file with the marks that the engine knows its own code by: its number for the system, and flags
/// that say what it is.
fn elf(flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, if flags == 0 { 0 } else { 200 }]);
    bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
    bytes[20] = 1;
    bytes[48..52].copy_from_slice(&flags.to_le_bytes());
    bytes[52] = 64;
    bytes
}

fn other_engine() -> Vec<u8> {
    let mut bytes = elf(2);
    bytes[64..].fill(0xcc);
    bytes
}

// === C7 ===

/// Bytes of one name.
const NAME: usize = 1 << 20;

fn long_names() -> Vec<u8> {
    let mut handler = Handler::new();
    // `handle` calls the first of a chain, the last of which aborts.
    let mut codes = CodeSection::new();
    let mut allocator = Function::new([]);
    allocator.instructions().i32_const(16_384).end();
    let mut handle = Function::new([]);
    handle.instructions().call(HANDLERS_OWN).i32_const(1024).end();
    codes.function(&allocator).function(&handle);
    const CHAIN: u32 = 6;
    for n in 1..=CHAIN {
        let mut body = Function::new([]);
        if n == CHAIN {
            body.instructions().i32_const(-4).i32_load(MEM).drop().end();
        } else {
            body.instructions().call(HANDLERS_OWN + n).end();
        }
        handler.functions.function(2);
        codes.function(&body);
    }
    handler.codes = codes;
    let mut map = NameMap::new();
    for n in 0..CHAIN {
        map.append(HANDLERS_OWN + n, &"n".repeat(NAME));
    }
    let mut names = NameSection::new();
    names.functions(&map);
    framed(handler.finish(|module| {
        module.section(&names);
    }))
}

const MEM: wasm_encoder::MemArg = wasm_encoder::MemArg { offset: 0, align: 2, memory_index: 0 };

fn name_section() -> Vec<u8> {
    let mut locals = IndirectNameMap::new();
    for function in 0..700_000u32 {
        let mut map = NameMap::new();
        map.append(u32::MAX, "x");
        locals.append(function, &map);
    }
    let mut names = NameSection::new();
    names.locals(&locals);
    framed(Handler::new().finish(|module| {
        module.section(&names);
    }))
}
