//! `[handlers.NAME.limits]`: what one attempt may use.

use std::time::Duration;

use jobcell_wasm::{HttpLimits, Limits};

use super::forms::{BYTES, COUNT, COUNT_OR_NONE, DURATION};
use super::reader::Reader;
use super::table::{Entry, Key, Section};

const MEMORY: Key<u64> = Key::value(
    "memory",
    BYTES,
    "\"64MiB\"",
    "All memories and tables of a cell together. Too little ends attempts with the reason `memory`, which \
     `jobcell_traps_total` counts; image work needs about four bytes for each pixel of the largest image, twice.",
);
const DEADLINE: Key<Duration> = Key::value(
    "deadline",
    DURATION,
    "\"30s\"",
    "The longest an attempt may take, computing and waiting together. A job's own `timeout` can only shorten it.",
);
const PAYLOAD: Key<u64> = Key::value(
    "payload",
    BYTES,
    "\"1MiB\"",
    "The largest payload the handler is given; a job with a larger one fails for good without being run. Large data \
     belongs into a blob.",
);
const RESULT: Key<u64> =
    Key::value("result", BYTES, "\"1MiB\"", "The largest result. It lives in the store's memory.");
const LOG: Key<u64> = Key::value(
    "log",
    BYTES,
    "\"64KiB\"",
    "What an attempt may leave in its job's log, stdout and stderr included; the rest is counted and dropped.",
);
const PROGRESS: Key<u64> = Key::value("progress", BYTES, "\"64KiB\"", "The largest progress value.");
const TABLE_ELEMENTS: Key<u64> = Key::value(
    "table-elements",
    COUNT,
    "20000",
    "Elements of one table: function pointers. A large Rust program has a few thousand.",
);
const HOST_CALL: Key<u64> = Key::value(
    "host-call",
    BYTES,
    "\"8MiB\"",
    "What one host call may carry out of the cell. A handler with blobs gets room for `blob` on top.",
);
const BLOB: Key<u64> = Key::value("blob", BYTES, "\"32MiB\"", "The largest blob, read or written.");
const CACHE_VALUE: Key<u64> = Key::value("cache-value", BYTES, "\"1MiB\"", "The largest cached value.");
const MESSAGE: Key<u64> = Key::value("message", BYTES, "\"256KiB\"", "The largest published message.");
const PUBLISHED: Key<u64> =
    Key::value("published", COUNT_OR_NONE, "1000", "Messages that one attempt may publish.");
const ENQUEUED: Key<u64> =
    Key::value("enqueued", COUNT_OR_NONE, "1000", "Jobs that one attempt may enqueue.");
const HTTP: Entry = Entry::section("http", &HTTP_SECTION);

pub(super) static LIMITS: Section = Section {
    about: "What one attempt may use. Whatever passes a limit is stopped or refused, and says so in the job's reason.",
    keys: &[
        MEMORY.entry(),
        DEADLINE.entry(),
        PAYLOAD.entry(),
        RESULT.entry(),
        LOG.entry(),
        PROGRESS.entry(),
        TABLE_ELEMENTS.entry(),
        HOST_CALL.entry(),
        BLOB.entry(),
        CACHE_VALUE.entry(),
        MESSAGE.entry(),
        PUBLISHED.entry(),
        ENQUEUED.entry(),
        HTTP,
    ],
};

const REQUESTS: Key<u64> = Key::value("requests", COUNT_OR_NONE, "32", "Requests in all.");
const CONCURRENT: Key<u64> = Key::value("concurrent", COUNT, "4", "Requests at the same time.");
const UPLOAD: Key<u64> = Key::value(
    "upload",
    BYTES,
    "\"32MiB\"",
    "All request bodies together. A body is held in memory until it is sent.",
);
const DOWNLOAD: Key<u64> =
    Key::value("download", BYTES, "\"32MiB\"", "All response bodies together, as they come over the wire.");
const TIMEOUT: Key<Duration> = Key::value(
    "timeout",
    DURATION,
    "\"30s\"",
    "The longest wait for the head of a response, connecting included. A handler may ask for less.",
);
static HTTP_SECTION: Section = Section {
    about: "What one attempt may use of outgoing HTTP.",
    keys: &[REQUESTS.entry(), CONCURRENT.entry(), UPLOAD.entry(), DOWNLOAD.entry(), TIMEOUT.entry()],
};

pub(super) fn read(reader: &Reader<'_>) -> Limits {
    let size = |key| usize::try_from(reader.value(key)).unwrap_or(usize::MAX);
    let few = |reader: &Reader<'_>, key| u32::try_from(reader.value(key)).unwrap_or(u32::MAX);
    let http = reader.section(HTTP.name, &HTTP_SECTION);
    let mut limits = Limits {
        memory: size(&MEMORY),
        table_elements: size(&TABLE_ELEMENTS),
        deadline: reader.value(&DEADLINE),
        result: size(&RESULT),
        payload: size(&PAYLOAD),
        progress: size(&PROGRESS),
        log: Limits::default().log,
        host_call: size(&HOST_CALL),
        enqueued: few(reader, &ENQUEUED),
        published: few(reader, &PUBLISHED),
        message: size(&MESSAGE),
        cache_value: size(&CACHE_VALUE),
        blob: size(&BLOB),
        http: HttpLimits {
            requests: few(&http, &REQUESTS),
            concurrent: few(&http, &CONCURRENT),
            upload: http.value(&UPLOAD),
            download: http.value(&DOWNLOAD),
            timeout: http.value(&TIMEOUT),
        },
    };
    limits.log.bytes = size(&LOG);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fault::Faults;

    #[test]
    fn the_defaults_here_are_those_of_the_engine() {
        let faults = Faults::default();
        let read = read(&Reader::open("limits".to_owned(), &LIMITS, None, &faults));
        assert_eq!(format!("{read:?}"), format!("{:?}", Limits::default()));
    }
}
