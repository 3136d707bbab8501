//! `[handlers.NAME.limits]`: what one attempt may use.

use std::time::Duration;

use jobcell_core::attempt::LogLimits;
use jobcell_wasm::{HttpLimits, Limits};

use super::forms::{self, BYTES, COUNT, COUNT_OR_NONE, DURATION};
use super::host;
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};

const MEMORY: Key<u64> = Key::value(
    "memory",
    BYTES,
    "\"64MiB\"",
    "All memories and tables of a cell together. Too little ends attempts with the reason `memory`, which \
     `jobcell_traps_total` counts; image work needs about four bytes for each pixel of the largest image, twice.",
);
const TABLE_ELEMENTS: Key<u64> = Key::value(
    "table-elements",
    COUNT,
    "20000",
    "Elements of one table: function pointers. A large Rust program has a few thousand. At most \
     `cells.table-elements-max`.",
);
const INSTANCES: Key<u64> = Key::value(
    "instances",
    COUNT,
    "32",
    "Core instances of a cell. A component that carries an adapter has about four. At most 32, which the engine reserves.",
);
const MEMORIES: Key<u64> = Key::value(
    "memories",
    COUNT,
    "4",
    "Linear memories of a cell. Nearly every component has one. At most 4, which the engine reserves.",
);
const TABLES: Key<u64> = Key::value(
    "tables",
    COUNT,
    "8",
    "Tables of a cell. Nearly every component has two. At most 8, which the engine reserves.",
);
const STACK: Key<u64> = Key::new(
    "stack",
    forms::STACK,
    Absent::Means("`cells.stack`"),
    "The stack that the engine keeps for a guest: return addresses and what does not fit into registers. Too little ends \
     attempts with the reason `stack`; recursion over deeply nested input may need more. Each size that differs from \
     `cells.stack` has places for `cells.max` cells of its own. For 1000 of them that is 8 TiB of a process' 128 TiB of \
     address space, 2000 mappings (`vm.max_map_count`), and one megabyte of memory; so a host has at most 8 sizes. \
     64 KiB to 64 MiB. Arrays and borrowed values of a guest lie in its own memory: how much of that is stack is decided \
     when it is built.",
);
const DEADLINE: Key<Duration> = Key::value(
    "deadline",
    DURATION,
    "\"30s\"",
    "The longest an attempt may take, computing and waiting together: as long as clients wait for a slow service. A job's \
     own `timeout` can only shorten it.",
);
const CPU: Key<Duration> = Key::value(
    "cpu",
    DURATION,
    "\"10s\"",
    "The longest an attempt may compute; waiting does not count. A handler that loops gives its core back long before \
     the deadline, which has to leave time for slow peers. Raise it for image and video work.",
);
const PAYLOAD: Key<u64> = Key::value(
    "payload",
    BYTES,
    "\"1MiB\"",
    "The largest payload the handler is given; a job with a larger one fails for good without being run. Large data \
     belongs into a blob.",
);
const RESULT: Key<u64> =
    Key::value("result", BYTES, "\"1MiB\"", "The largest result: it lives in the store's memory.");
const LOG: Key<u64> = Key::value(
    "log",
    BYTES,
    "\"64KiB\"",
    "What an attempt may leave in its job's log, stdout and stderr included; the rest is counted and dropped, and the \
     log says so once. A person reads it, and it lives in the store's memory.",
);
const LOG_LINE: Key<u64> = Key::value(
    "log-line",
    BYTES,
    "\"4KiB\"",
    "The longest line of the log; the rest of the line is counted and dropped.",
);
const LOG_LINES: Key<u64> = Key::value(
    "log-lines",
    COUNT_OR_NONE,
    "1000",
    "Lines that an attempt may leave in its job's log: as many as a person scrolls through.",
);
const LOG_RATE: Key<u64> = Key::value(
    "log-rate",
    COUNT,
    "200",
    "Lines of the log a second, after a burst of twice as many. Faster ones are counted and dropped, and the log says \
     so once: nobody reads faster, and writing them loads the store.",
);
const PROGRESS: Key<u64> = Key::value(
    "progress",
    BYTES,
    "\"64KiB\"",
    "The largest progress value: it goes to everybody who watches, each time it changes.",
);
const PROGRESS_RATE: Key<u64> = Key::value(
    "progress-rate",
    COUNT,
    "5",
    "How often a second the progress and the log lines of a running attempt are written to the store. Of several values \
     in between the newest counts; no call fails. Fast enough for a person watching, slow enough for the store.",
);
const HOST_CALL: Key<u64> = Key::value(
    "host-call",
    BYTES,
    "\"8MiB\"",
    "What one host call may carry out of the cell: the host makes a copy. A handler with blobs or a larger `result` gets \
     room for them.",
);
const HANDLES: Key<u64> = Key::value(
    "handles",
    COUNT,
    "2048",
    "Component handles alive at once. Each costs the host memory, and no ordinary handler has more than a few dozen.",
);
const RESOURCES: Key<u64> = Key::value(
    "resources",
    COUNT,
    "2048",
    "The host's resources alive at once: streams, requests, pollables, timers. Each costs the host memory.",
);
const RANDOM: Key<u64> = Key::value(
    "random",
    BYTES,
    "\"64KiB\"",
    "Random bytes that one call may ask for: the host makes them in its own memory. Ask again for more.",
);
const BLOB: Key<u64> = Key::value(
    "blob",
    BYTES,
    "\"32MiB\"",
    "The largest blob, read or written: half of the default memory, as the handler holds it whole.",
);
const BLOBS: Key<u64> = Key::value(
    "blobs",
    BYTES,
    "\"256MiB\"",
    "All blobs of an attempt together, read and written: eight of the largest.",
);
const CACHE_VALUE: Key<u64> = Key::value(
    "cache-value",
    BYTES,
    "\"1MiB\"",
    "The largest value of the cache or a key-value store: it lives in the store's memory.",
);
const CACHE_KEYS: Key<u64> = Key::value(
    "cache-keys",
    COUNT_OR_NONE,
    "1000",
    "Keys that one attempt may write, cache and key-value stores together: they live in the store's memory.",
);
const CACHE_BYTES: Key<u64> = Key::value(
    "cache-bytes",
    BYTES,
    "\"16MiB\"",
    "Values that one attempt may write, cache and key-value stores together: they live in the store's memory.",
);
const MESSAGE: Key<u64> = Key::value(
    "message",
    BYTES,
    "\"256KiB\"",
    "The largest published message: it is copied to every listener.",
);
const PUBLISHED: Key<u64> = Key::value(
    "published",
    COUNT_OR_NONE,
    "1000",
    "Messages that one attempt may publish: each costs the store a call for every listener.",
);
const ENQUEUED: Key<u64> = Key::value(
    "enqueued",
    COUNT_OR_NONE,
    "1000",
    "Jobs that one attempt may enqueue. With `depth` it bounds what one job can become.",
);
const DEPTH: Key<u64> = Key::value(
    "depth",
    COUNT_OR_NONE,
    "8",
    "How deep a chain of jobs that enqueue jobs may get. A job of a producer is at 0, one that its handler enqueues at 1 \
     (`depth` in its options); at this depth a handler can enqueue nothing. Long enough for any pipeline, and a job that \
     enqueues itself ends soon. `0` lets the handler enqueue nothing at all.",
);
const HTTP: Entry = Entry::section("http", &HTTP_SECTION);

/// The operator's bounds on the limits of every handler.
pub(super) struct Ceilings<'a> {
    limits: Reader<'a>,
    http: Reader<'a>,
    /// The stack of handlers that say none.
    stack: u64,
}

/// Limits that are read against their ceilings.
struct Bounded<'r, 'a> {
    reader: &'r Reader<'a>,
    ceilings: &'r Reader<'a>,
}

pub(super) static LIMITS: Section = Section {
    about: "What one attempt may use. Whatever passes a limit is stopped or refused, and says so in the job's reason; the \
            attempt's receipt names the limits that were nearly used up. The operator can bound all of them at once, in \
            [`[cells.ceilings]`](#cells-ceilings).",
    keys: &KEYS,
};

const KEYS: [Entry; 30] = [
    MEMORY.entry(),
    TABLE_ELEMENTS.entry(),
    INSTANCES.entry(),
    MEMORIES.entry(),
    TABLES.entry(),
    STACK.entry(),
    DEADLINE.entry(),
    CPU.entry(),
    PAYLOAD.entry(),
    RESULT.entry(),
    LOG.entry(),
    LOG_LINE.entry(),
    LOG_LINES.entry(),
    LOG_RATE.entry(),
    PROGRESS.entry(),
    PROGRESS_RATE.entry(),
    HOST_CALL.entry(),
    HANDLES.entry(),
    RESOURCES.entry(),
    RANDOM.entry(),
    BLOB.entry(),
    BLOBS.entry(),
    CACHE_VALUE.entry(),
    CACHE_KEYS.entry(),
    CACHE_BYTES.entry(),
    MESSAGE.entry(),
    PUBLISHED.entry(),
    ENQUEUED.entry(),
    DEPTH.entry(),
    HTTP,
];

pub(super) static CEILINGS: Section = Section {
    about: "The operator's bounds on the limits of every handler, for hosts where handlers are configured by others: the \
            keys are those of [`[handlers.NAME.limits]`](#handlers-limits). A handler that asks for more is a fault, which \
            names both lines; one that leaves a limit out has its default or the ceiling, whichever is lower. A ceiling \
            that is not written is none.",
    keys: &CEILING_KEYS,
};
const CEILING_KEYS: [Entry; 30] = {
    let mut keys = ceilings(KEYS);
    keys[keys.len() - 1] = Entry::section(HTTP.name, &HTTP_CEILINGS);
    keys
};
static HTTP_CEILINGS: Section = Section { about: "Bounds of outgoing HTTP.", keys: &ceilings(HTTP_KEYS) };

/// The same keys, of which none has to have a value.
const fn ceilings<const N: usize>(mut keys: [Entry; N]) -> [Entry; N] {
    let mut i = 0;
    while i < N {
        keys[i].default = Absent::Means("none");
        keys[i].about = "The ceiling of the limit of this name.";
        i += 1;
    }
    keys
}

const REQUESTS: Key<u64> = Key::value(
    "requests",
    COUNT_OR_NONE,
    "32",
    "Requests in all: a handler that sends one for each of many things is better split into jobs, which are retried one by \
     one.",
);
const CONCURRENT: Key<u64> = Key::value(
    "concurrent",
    COUNT,
    "4",
    "Requests at the same time: one job must not crowd a service that others need.",
);
const UPLOAD: Key<u64> = Key::value(
    "upload",
    BYTES,
    "\"32MiB\"",
    "All request bodies together: one blob of the largest size. A body is held in memory until it is sent.",
);
const DOWNLOAD: Key<u64> = Key::value(
    "download",
    BYTES,
    "\"32MiB\"",
    "All response bodies together, as they come over the wire: one blob of the largest size.",
);
const TIMEOUT: Key<Duration> = Key::value(
    "timeout",
    DURATION,
    "\"30s\"",
    "The longest wait for the head of a response, connecting included: as long as the default deadline. A handler may ask \
     for less.",
);
static HTTP_SECTION: Section =
    Section { about: "What one attempt may use of outgoing HTTP.", keys: &HTTP_KEYS };
const HTTP_KEYS: [Entry; 5] =
    [REQUESTS.entry(), CONCURRENT.entry(), UPLOAD.entry(), DOWNLOAD.entry(), TIMEOUT.entry()];

/// Opens the ceilings and notes what is wrong with them.
pub(super) fn read_ceilings<'a>(cells: &Reader<'a>) -> Ceilings<'a> {
    let limits = cells.section(CEILINGS_NAME, &CEILINGS);
    let http = limits.section(HTTP.name, &HTTP_CEILINGS);
    let stack = host::stack(cells);
    let none = Ceilings { limits: Reader::empty(&limits), http: Reader::empty(&http), stack };
    read_from(&limits, &http, &none);
    Ceilings { limits, http, stack }
}

/// The name of the group under `[cells]`.
pub(super) const CEILINGS_NAME: &str = "ceilings";

// === impl Bounded ===

impl Bounded<'_, '_> {
    fn value<T: PartialOrd>(&self, key: &Key<T>) -> T {
        self.bounded(key, self.reader.value(key))
    }

    /// Of a key whose default is written elsewhere.
    fn value_or<T: PartialOrd>(&self, key: &Key<T>, default: T) -> T {
        self.bounded(key, self.reader.get(key).unwrap_or(default))
    }

    fn bounded<T: PartialOrd>(&self, key: &Key<T>, value: T) -> T {
        // What is wrong with the ceiling itself has been noted already.
        let Some((ceiling, node)) = self.ceilings.peek(key).filter(|(ceiling, _)| value > *ceiling) else {
            return value;
        };
        if self.reader.node(key.name).is_some() {
            let place = format!("{}.{}", self.ceilings.path, key.name);
            let cause = format!("is above the ceiling {place} = {} at {}", node.shown(), node.origin);
            self.reader.fault_shown(key.name, &cause, "lower it, or raise the ceiling");
        }
        ceiling
    }

    fn size(&self, key: &Key<u64>) -> usize {
        usize::try_from(self.value(key)).unwrap_or(usize::MAX)
    }

    fn few(&self, key: &Key<u64>) -> u32 {
        u32::try_from(self.value(key)).unwrap_or(u32::MAX)
    }
}

pub(super) fn read(reader: &Reader<'_>, ceilings: &Ceilings<'_>) -> Limits {
    read_from(reader, &reader.section(HTTP.name, &HTTP_SECTION), ceilings)
}

fn read_from(reader: &Reader<'_>, http: &Reader<'_>, ceilings: &Ceilings<'_>) -> Limits {
    let limits = Bounded { reader, ceilings: &ceilings.limits };
    let http = Bounded { reader: http, ceilings: &ceilings.http };
    Limits {
        memory: limits.size(&MEMORY),
        table_elements: limits.size(&TABLE_ELEMENTS),
        instances: limits.few(&INSTANCES),
        memories: limits.few(&MEMORIES),
        tables: limits.few(&TABLES),
        stack: usize::try_from(limits.value_or(&STACK, ceilings.stack)).unwrap_or(usize::MAX),
        deadline: limits.value(&DEADLINE),
        cpu: limits.value(&CPU),
        result: limits.size(&RESULT),
        payload: limits.size(&PAYLOAD),
        progress: limits.size(&PROGRESS),
        log: LogLimits {
            bytes: limits.size(&LOG),
            line_bytes: limits.size(&LOG_LINE),
            lines: limits.size(&LOG_LINES),
            rate: limits.few(&LOG_RATE),
            writes: limits.few(&PROGRESS_RATE),
        },
        host_call: limits.size(&HOST_CALL),
        handles: limits.size(&HANDLES),
        resources: limits.size(&RESOURCES),
        random: limits.value(&RANDOM),
        enqueued: limits.few(&ENQUEUED),
        depth: limits.few(&DEPTH),
        published: limits.few(&PUBLISHED),
        message: limits.size(&MESSAGE),
        cache_value: limits.size(&CACHE_VALUE),
        cache_keys: limits.few(&CACHE_KEYS),
        cache_bytes: limits.value(&CACHE_BYTES),
        blob: limits.size(&BLOB),
        blobs: limits.value(&BLOBS),
        http: HttpLimits {
            requests: http.few(&REQUESTS),
            concurrent: http.few(&CONCURRENT),
            upload: http.value(&UPLOAD),
            download: http.value(&DOWNLOAD),
            timeout: http.value(&TIMEOUT),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::{Fault, Faults};
    use crate::config::node::Node;

    fn read_with(limits: &str, ceilings: &str) -> (Limits, Vec<Fault>) {
        let faults = Faults::default();
        let [limits, cells] = [limits, ceilings].map(|toml| Node::from_default(&format!("{{ {toml} }}")));
        let cells = Reader::open("cells".to_owned(), &host::CELLS, Some(&cells), &faults);
        let ceilings = read_ceilings(&cells);
        let read = read(&Reader::open("limits".to_owned(), &LIMITS, Some(&limits), &faults), &ceilings);
        (read, faults.into_sorted())
    }

    #[test]
    fn the_defaults_here_are_those_of_the_engine() {
        let (read, faults) = read_with("", "");
        assert_eq!((format!("{read:?}"), faults), (format!("{:?}", Limits::default()), Vec::new()));
    }

    #[test]
    fn a_ceiling_lowers_defaults_and_refuses_what_is_written_above_it() {
        let (read, faults) = read_with(
            "cpu = \"20s\", enqueued = 5, http = { requests = 9 }",
            "ceilings = { memory = \"32MiB\", cpu = \"15s\", enqueued = 5, http = { requests = 8 } }",
        );
        assert_eq!((read.memory, read.cpu, read.enqueued), (32 << 20, Duration::from_secs(15), 5));
        assert_eq!(read.http.requests, 8);
        let told: Vec<_> = faults.iter().map(|fault| (fault.key.as_str(), fault.cause.as_str())).collect();
        let (cpu, requests) = (&told[0], &told[1]);
        assert_eq!((told.len(), cpu.0, requests.0), (2, "limits.cpu", "limits.http.requests"));
        assert!(cpu.1.contains("cells.ceilings.cpu = \"15s\" at "), "{}", cpu.1);
        assert!(requests.1.contains("cells.ceilings.http.requests = 8 at "), "{}", requests.1);
    }

    #[test]
    fn a_stack_is_the_handlers_own_or_that_of_the_cells_and_keeps_to_the_ceiling() {
        let stack = |limits: &str, cells: &str| {
            let (read, faults) = read_with(limits, cells);
            (read.stack >> 10, faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(stack("", "stack = \"1MiB\""), (1024, Vec::new()));
        assert_eq!(stack("stack = \"256KiB\"", "stack = \"1MiB\""), (256, Vec::new()));
        let ceiling = "stack = \"1MiB\", ceilings = { stack = \"128KiB\" }";
        assert_eq!(stack("", ceiling), (128, Vec::new()), "what nobody wrote is lowered");
        let (_, faults) = stack("stack = \"256KiB\"", ceiling);
        assert!(faults.len() == 1 && faults[0].contains("cells.ceilings.stack = \"128KiB\""), "{faults:?}");
        for wrong in ["63KiB", "65MiB"] {
            let (_, faults) = stack(&format!("stack = {wrong:?}"), "");
            assert!(faults.len() == 1 && faults[0].contains("64KiB"), "{faults:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_ceiling_is_said_once() {
        let (read, faults) =
            read_with("", "ceilings = { memory = 5, nothing = 1, http = { requests = -1 } }");
        assert_eq!(read.memory, Limits::default().memory);
        let mut keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["cells.ceilings.http.requests", "cells.ceilings.memory", "cells.ceilings.nothing"]);
    }
}
