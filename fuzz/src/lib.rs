//! Fuzzing of everything that takes bytes or text from outside the host: artifacts, what a guest passes and returns,
//! URLs and addresses against grants, the configuration, and what other people's programs put into Redis.
//!
//! A target is a function of bytes that panics when a promise is broken. `cargo test` runs each over its kept corpus
//! (`fuzz/corpus/<target>`) and a fixed number of inputs made from it ([`short`]); `cargo xtask fuzz` runs one for as long
//! as wanted with libFuzzer, which looks for inputs that reach new code.

mod guest;
pub mod short;
pub mod targets;

/// Something to be fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: of the folder of its corpus, and on the command line.
    pub name: &'static str,
    /// Bytes that its inputs have at most; longer ones find nothing more.
    pub bytes_max: usize,
    /// Inputs that a short run makes: what takes about a second, or a few where a compiler runs.
    pub short: u32,
    /// Bytes of memory by which a short run may raise the process's peak.
    pub memory_max: u64,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
}

const MIB: u64 = 1 << 20;

/// Every target.
pub const TARGETS: [Target; 14] = [
    Target {
        name: "artifact",
        bytes_max: 16 << 10,
        short: 1_500,
        memory_max: 512 * MIB,
        run: targets::admission::artifact,
    },
    Target {
        name: "component",
        bytes_max: 8 << 10,
        short: 80,
        memory_max: 1024 * MIB,
        run: targets::admission::component,
    },
    Target {
        name: "guest",
        bytes_max: 4 << 10,
        short: 1_500,
        memory_max: 512 * MIB,
        run: targets::guest::guest,
    },
    Target {
        name: "http_rule",
        bytes_max: 1 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::http_rule::http_rule,
    },
    Target {
        name: "address",
        bytes_max: 64,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::address::address,
    },
    Target {
        name: "config",
        bytes_max: 4 << 10,
        short: 4_000,
        memory_max: 128 * MIB,
        run: targets::config::config,
    },
    Target {
        name: "options",
        bytes_max: 2 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::producer::options,
    },
    Target {
        name: "flow",
        bytes_max: 4 << 10,
        short: 10_000,
        memory_max: 128 * MIB,
        run: targets::producer::flow,
    },
    Target {
        name: "cron",
        bytes_max: 256,
        short: 1_000,
        memory_max: 128 * MIB,
        run: targets::producer::cron,
    },
    Target {
        name: "list_item",
        bytes_max: 8 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::producer::list_item,
    },
    Target {
        name: "record",
        bytes_max: 2 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::producer::record,
    },
    Target {
        name: "manifest",
        bytes_max: 8 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::handler::manifest,
    },
    Target {
        name: "signature",
        bytes_max: 256,
        short: 5_000,
        memory_max: 128 * MIB,
        run: targets::handler::signature,
    },
    Target {
        name: "wants",
        bytes_max: 1 << 10,
        short: 20_000,
        memory_max: 128 * MIB,
        run: targets::handler::wants,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
