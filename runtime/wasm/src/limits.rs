//! What one attempt may use, and the meter that holds a cell to its memory.

use std::time::Duration;

use jobcell_core::attempt::LogLimits;
use wasmtime::ResourceLimiter;

use crate::stop::Stop;

/// What one attempt may use. Every bound is per attempt.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all linear memories together, plus 8 for each table element. Default 64 MiB; raise it for image work.
    pub memory: usize,
    /// Elements of one table. Default 20 000: a large Rust program has a few thousand.
    pub table_elements: usize,
    /// Core instances. Default 32: a component that carries an adapter has about four. At most what the engine has.
    pub instances: u32,
    /// Linear memories. Default 4: nearly every component has one. At most what the engine has.
    pub memories: u32,
    /// Tables. Default 8: nearly every component has two. At most what the engine has.
    pub tables: u32,
    /// Bytes of the stack that the engine keeps for the guest: return addresses and what does not fit into registers.
    /// Default 512 KiB, of which ordinary handlers use a few percent. Handlers with stacks of other sizes run in a pool
    /// of cells of their own, so there are at most [`Limits::STACKS_MAX`] sizes.
    pub stack: usize,
    /// The longest an attempt may take, computing and waiting together. Default 30 s.
    pub deadline: Duration,
    /// The longest an attempt may compute, host calls included and waiting excluded. Default 10 s: a handler that loops
    /// gives its core back long before the deadline, which has to leave time for slow peers.
    pub cpu: Duration,
    /// Bytes of the result. Default 1 MiB: it lives in the store's memory.
    pub result: usize,
    /// Bytes of the payload; a job with more is not run. Default 1 MiB.
    pub payload: usize,
    /// Bytes of one progress value. Default 64 KiB.
    pub progress: usize,
    /// What the attempt may leave in the job's log.
    pub log: LogLimits,
    /// Bytes that one host call may carry out of the guest, and the host allocates for it. Default 8 MiB; a handler
    /// with blobs gets room for its largest blob on top.
    pub host_call: usize,
    /// Component handles alive at once. Default 2048: upstream's 100 000 is far more than any handler needs.
    pub handles: usize,
    /// Resources of the host alive at once: streams, requests, pollables. Default 2048.
    pub resources: usize,
    /// Random bytes that one call may ask for. Default 64 KiB: the host makes them in its own memory.
    pub random: u64,
    /// Jobs that one attempt may enqueue. Default 1000.
    pub enqueued: u32,
    /// How deep a chain of jobs that enqueue jobs may get: an attempt of a job this far from its producer enqueues
    /// nothing. Default 8: long enough for any pipeline, and a job that enqueues itself ends soon.
    pub depth: u32,
    /// Messages that one attempt may publish. Default 1000.
    pub published: u32,
    /// Bytes of one published message. Default 256 KiB.
    pub message: usize,
    /// Bytes of one value of the cache or of a bucket. Default 1 MiB.
    pub cache_value: usize,
    /// Keys that one attempt may write, cache and key-value stores together. Default 1000.
    pub cache_keys: u32,
    /// Bytes of all values that one attempt may write, cache and key-value stores together. Default 16 MiB: they live
    /// in the store's memory.
    pub cache_bytes: u64,
    /// Bytes of one blob, read or written. Default 32 MiB.
    pub blob: usize,
    /// Bytes of all blobs together, read and written. Default 256 MiB: eight of the largest.
    pub blobs: u64,
    /// Outgoing HTTP.
    pub http: HttpLimits,
}

/// What one attempt may use of outgoing HTTP.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Requests in all. Default 32.
    pub requests: u32,
    /// Requests at the same time. Default 4.
    pub concurrent: u32,
    /// Bytes of all request bodies. Default 32 MiB; a request's body is held in memory until it is sent.
    pub upload: u64,
    /// Bytes of all response bodies, as they come over the wire. Default 32 MiB.
    pub download: u64,
    /// The longest wait for the head of a response, connecting included. Default 30 s; a guest may ask for less.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            table_elements: 20_000,
            instances: CORE_INSTANCES_MAX,
            memories: MEMORIES_MAX,
            tables: TABLES_MAX,
            stack: STACK_BYTES,
            deadline: Duration::from_secs(30),
            cpu: Duration::from_secs(10),
            result: MIB,
            payload: MIB,
            progress: 64 * 1024,
            log: LogLimits::default(),
            host_call: 8 * MIB,
            handles: 2048,
            resources: 2048,
            random: 64 * 1024,
            enqueued: 1000,
            depth: 8,
            published: 1000,
            message: 256 * 1024,
            cache_value: MIB,
            cache_keys: 1000,
            cache_bytes: 16 * MIB as u64,
            blob: 32 * MIB,
            blobs: 256 * MIB as u64,
            http: HttpLimits::default(),
        }
    }
}

impl Limits {
    /// The highest `instances`: what the engine can give to one cell.
    pub const INSTANCES_MAX: u32 = CORE_INSTANCES_MAX;
    /// The highest `memories`.
    pub const MEMORIES_MAX: u32 = MEMORIES_MAX;
    /// The highest `tables`.
    pub const TABLES_MAX: u32 = TABLES_MAX;
    /// The lowest `stack`: far less runs nothing.
    pub const STACK_MIN: usize = 64 << 10;
    /// The highest `stack`: every place of a pool reserves it twice.
    pub const STACK_MAX: usize = 64 * MIB;
    /// Different sizes of stacks that the handlers of one host can have.
    pub const STACKS_MAX: usize = 8;
    /// The highest `random`: nothing interrupts the host while it makes them.
    pub const RANDOM_MAX: u64 = 1 << 20;
    /// The highest `host_call`.
    pub const HOST_CALL_MAX: usize = 256 * MIB;
    /// The highest `handles`: upstream's default.
    pub const HANDLES_MAX: usize = 100_000;
    /// The highest `resources`. Each takes some hundred bytes to some KiB of the host's memory.
    pub const RESOURCES_MAX: usize = 100_000;

    /// The same with so many times the processor time, the stack, and the time in all that some of it is spent in.
    pub(crate) fn eased(self, times: u32) -> Self {
        let (cpu, deadline) = (self.cpu.saturating_mul(times), self.deadline.saturating_mul(times));
        Self { cpu, deadline, stack: self.stack.saturating_mul(times as usize), ..self }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            requests: 32,
            concurrent: 4,
            upload: 32 * MIB as u64,
            download: 32 * MIB as u64,
            timeout: Duration::from_secs(30),
        }
    }
}

const MIB: usize = 1 << 20;

/// The `stack` of handlers that are given none.
pub(crate) const STACK_BYTES: usize = 512 << 10;
/// Core instances of one component. A component that carries an adapter has about four.
pub(crate) const CORE_INSTANCES_MAX: u32 = 32;
/// Memories of one component.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub(crate) const TABLES_MAX: u32 = 8;
/// What one table element costs the host.
const TABLE_ELEMENT_BYTES: usize = 8;

/// Counts a cell's memory and refuses to let it pass its limit.
///
/// Invariant: `used <= limit` and `used <= peak`.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: usize,
    table_elements: usize,
    instances: u32,
    memories: u32,
    tables: u32,
    used: usize,
    peak: usize,
    largest_table: usize,
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { memory, table_elements, instances, memories, tables, .. } = *limits;
        Self {
            limit: memory,
            table_elements,
            instances,
            memories,
            tables,
            used: 0,
            peak: 0,
            largest_table: 0,
        }
    }

    /// The most bytes held at one time.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    /// The most elements one table had.
    pub(crate) fn largest_table(&self) -> usize {
        self.largest_table
    }

    /// A refusal ends the attempt at the very instruction that asked, so that the backtrace shows who wanted the
    /// memory; a guest told "no" would only report an allocation failure of its own.
    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            return Err(Stop::Memory { limit: self.limit, wanted: used }.into());
        }
        self.used = used;
        self.peak = self.peak.max(used);
        Ok(true)
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(current, desired)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Stop::MemoryRefused { held: self.used, cause: error.to_string() }.into())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            return Err(Stop::Table { limit: self.table_elements, wanted: desired }.into());
        }
        let grown = self
            .grow(current.saturating_mul(TABLE_ELEMENT_BYTES), desired.saturating_mul(TABLE_ELEMENT_BYTES))?;
        self.largest_table = self.largest_table.max(desired);
        Ok(grown)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Stop::MemoryRefused { held: self.used, cause: error.to_string() }.into())
    }

    fn instances(&self) -> usize {
        self.instances as usize
    }

    fn tables(&self) -> usize {
        self.tables as usize
    }

    fn memories(&self) -> usize {
        self.memories as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut meter = Meter::new(&Limits { memory: 1000, table_elements: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 400, None).unwrap());
        assert!(meter.memory_growing(0, 200, None).unwrap());
        assert!(meter.memory_growing(400, 500, None).unwrap());
        assert!(meter.table_growing(0, 37, None).unwrap());
        assert_eq!(meter.peak(), 700 + 37 * 8);
        assert!(meter.table_growing(37, 38, None).is_err());
        assert_eq!(meter.peak(), 996);
        assert_eq!(meter.largest_table(), 37, "what was refused is not held");
    }

    #[test]
    fn one_table_has_a_limit_of_its_own() {
        let mut meter = Meter::new(&Limits { table_elements: 10, ..Limits::default() });
        let error = meter.table_growing(0, 11, None).unwrap_err();
        assert!(matches!(error.downcast_ref::<Stop>(), Some(Stop::Table { limit: 10, wanted: 11 })));
    }
}
