//! Every setting of wasmtime that differs from its default, with the reason.

use std::num::NonZeroUsize;
use std::time::Duration;

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use super::{Clearing, Tier};
use crate::compile::Compiler;
use crate::limits::{CORE_INSTANCES_MAX, MEMORIES_MAX, STACK_BYTES, TABLES_MAX};

/// The engine's version. Kept equal to the resolved dependency by a test.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// What can be chosen about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Cells that can be alive at once. Default 1000. Each reserves 8 GiB of address space, not of memory.
    pub cells: u32,
    /// The highest memory limit a handler can have, in bytes. Default 1 GiB.
    pub memory_max: usize,
    /// Bytes that an artifact may have. Default 8 MiB: components of ordinary languages have one or two. One that
    /// carries a language's engine has about 10 MiB, and needs more of the compiler's bounds as well.
    pub artifact_max: usize,
    /// Elements one table can have. Default 20 000.
    pub table_elements: usize,
    /// The [`Limits::stack`](crate::Limits::stack) of most handlers: the pool for stacks of this size is set up at the
    /// start, so that what is wrong with it shows then. Default 512 KiB.
    pub stack: usize,
    /// The pace of interrupts: how late a deadline or a cancellation stops a computing guest. Default 2 ms: fifty guests
    /// that compute on two cores have a turn each within 50 ms, and a tick costs a few microseconds.
    pub tick: Duration,
    /// Who compiles artifacts. Default: a process of its own.
    pub compiler: Compiler,
    /// Let a version that is wanted at once ([`AdmitOptions::baseline`](crate::AdmitOptions::baseline)) begin on code of
    /// the baseline compiler, on x86-64. Default true: it is there six times as soon, and what asks for it is compared with
    /// nothing. Turn it off where anybody may hand in versions, who could pick either of two compilers to find a bug in.
    pub baseline: bool,
    /// Compile on all cores where this process compiles itself. Default true; turn it off where compiling must not
    /// disturb running jobs. A compiler process uses up to four, and half of them once
    /// jobs run ([`Engine::leave_room`](crate::Engine::leave_room)), behind whatever else wants them.
    pub parallel_compilation: bool,
    /// Clear the stacks of ended cells, so that nothing of one job is left where another one runs even if the
    /// compiler had a bug. Default true; costs about a microsecond a cell.
    pub stack_zeroing: bool,
    /// Let the kernel tell which pages a cell touched, where it can (Linux 6.7). Default true.
    pub pagemap_scan: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cells: 1000,
            memory_max: 1 << 30,
            artifact_max: 8 << 20,
            table_elements: 20_000,
            stack: STACK_BYTES,
            tick: Duration::from_millis(2),
            compiler: Compiler::default(),
            baseline: true,
            parallel_compilation: true,
            stack_zeroing: true,
            pagemap_scan: true,
        }
    }
}

/// Bytes of a memory that stay mapped between cells. Beyond 256 KiB the measured gain is nil.
const MEMORY_RESIDENT_BYTES: usize = 256 * 1024;
/// Bytes of a table that stay mapped between cells.
const TABLE_RESIDENT_BYTES: usize = 64 * 1024;
/// Bytes of a stack that are cleared by hand instead of by the kernel: what a small handler touches.
const STACK_RESIDENT_BYTES: usize = 32 * 1024;
/// What host functions have of a stack on top of the guest's part. One that used more would end the process.
const HOST_STACK_BYTES: usize = 1536 * 1024;
/// Frames in a backtrace.
const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(20).unwrap();

/// Whether the kernel can tell touched pages, asked of the kernel itself.
pub(super) fn clearing(config: &EngineConfig) -> Clearing {
    if !config.pagemap_scan {
        return Clearing::Remapping("the pagemap scan is switched off".to_owned());
    }
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        return Clearing::PagemapScan;
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Clearing::Remapping(format!("this kernel, {kernel}, has no PAGEMAP_SCAN; Linux 6.7 and newer have"))
}

/// For an engine that runs cells with stacks of this size.
pub(super) fn wasmtime_config(
    config: &EngineConfig,
    clearing: &Clearing,
    stack: usize,
    tier: Tier,
) -> Config {
    let mut wasm = code_config(tier);
    let stack = stack.saturating_mul(tier.allowance() as usize);
    // A host function that was called at the end of the guest's part may have the guest allocate room for its answer,
    // and the engine counts anew for that call: the guest's part has to be there twice.
    let whole = stack.saturating_mul(2).saturating_add(HOST_STACK_BYTES);
    wasm.parallel_compilation(config.parallel_compilation)
        .max_wasm_stack(stack)
        .async_stack_size(whole)
        .async_stack_zeroing(config.stack_zeroing)
        .wasm_backtrace_max_frames(Some(FRAMES_MAX))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, clearing)));
    wasm
}

/// For an engine that makes code for [`wasmtime_config`]'s and runs none: it reserves no memory for cells, and reads
/// no file, so that it fits into a confined process.
pub(crate) fn compiler_config(tier: Tier) -> Config {
    let mut wasm = code_config(tier);
    wasm.parallel_compilation(false).allocation_strategy(InstanceAllocationStrategy::OnDemand);
    wasm
}

/// What decides which code is made. Nothing else of it can be chosen, so that code which one process made fits every other
/// one of the same version on the same kind of processor.
fn code_config(tier: Tier) -> Config {
    let mut wasm = Config::new();
    match tier {
        // What it has the other compiler make, the ways in and out of the guest, is made quickly too; and what only
        // debuggers and profilers read is left out.
        Tier::Baseline => wasm
            .strategy(Strategy::Winch)
            .cranelift_opt_level(OptLevel::None)
            .generate_address_map(false)
            .native_unwind_info(false),
        Tier::Optimised => wasm.strategy(Strategy::Cranelift).cranelift_opt_level(OptLevel::Speed),
    };
    // In both: the configuration's own word on it, that the baseline compiler has no such interrupts, is older than they
    // are (upstream's #9737).
    wasm.epoch_interruption(true)
        // Guests' debug sections are parsed by a library that is not hardened; names are enough.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    proposals(&mut wasm);
    wasm
}

/// The parts of WebAssembly that guests may use: what compilers of ordinary languages need. What has a weak track
/// record, or multiplies what must be watched (threads, garbage collection, exceptions, 64-bit and several memories,
/// tail calls, async components …), stays off, and so does whatever a later engine knows.
pub(crate) const PROPOSALS: WasmFeatures = WasmFeatures::COMPONENT_MODEL
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::EXTENDED_CONST);

/// What the engine itself may use: the code that it makes between the components of a composed handler copies from one
/// memory into another. Guests are held to [`PROPOSALS`] at admission, before anything is compiled.
const ENGINE: WasmFeatures = PROPOSALS.union(WasmFeatures::MULTI_MEMORY);

fn proposals(wasm: &mut Config) {
    wasm.wasm_features(ENGINE, true)
        .wasm_features(ENGINE.complement(), false)
        .shared_memory(false)
        // Also the faster way: a call into a guest costs less without the data structures of async guests.
        .concurrency_support(false);
}

fn pool(config: &EngineConfig, clearing: &Clearing) -> PoolingAllocationConfig {
    let cells = config.cells;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(cells)
        .total_stacks(cells)
        // Usual components have one memory and two tables; a few unusual ones fit in as well, and beyond that an
        // attempt is given back. Any one fits where nothing else runs.
        .total_memories(cells.saturating_mul(2).max(MEMORIES_MAX))
        .total_tables(cells.saturating_mul(4).max(TABLES_MAX))
        .total_core_instances(cells.saturating_mul(8).max(CORE_INSTANCES_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memory_size(config.memory_max)
        .table_elements(config.table_elements)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_RESIDENT_BYTES)
        .pagemap_scan(match clearing {
            Clearing::PagemapScan => Enabled::Yes,
            Clearing::Remapping(_) => Enabled::No,
        });
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_runs_these_proposals_and_no_other() {
        let config = EngineConfig { cells: 1, ..EngineConfig::default() };
        for tier in [Tier::Baseline, Tier::Optimised] {
            let wasm = wasmtime_config(&config, &clearing(&config), STACK_BYTES, tier);
            let engine = wasmtime::Engine::new(&wasm).unwrap();
            assert_eq!(engine.get_wasm_features(), ENGINE, "{tier:?}");
        }
    }

    #[test]
    fn the_reported_version_is_the_resolved_one() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"")));
    }
}
